"""Asks each question of a page once: whoever asks it again gets the same answer, or the same failure.

So each panel asks for all that it needs, and none has to know what others asked. It serves one page, as its answers grow old.
"""

from __future__ import annotations

from typing import Any

from .answers import Freshness
from .interface import Queries


class Remembering:
    """Asks `queries`."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries
        self._answers: dict[Any, Any] = {}
        self._failures: dict[Any, Exception] = {}

    @property
    def source(self) -> str:
        return self._queries.source

    @property
    def freshness(self) -> Freshness | None:
        return self._queries.freshness

    def recover(self) -> None:
        self._queries.recover()

    def _ask(self, name: str, *arguments: Any, **options: Any) -> Any:
        question = (name, _fixed(arguments), _fixed(sorted(options.items())))
        if question in self._failures:
            raise self._failures[question]
        if question not in self._answers:
            try:
                self._answers[question] = getattr(self._queries, name)(*arguments, **options)
            except Exception as error:
                self._failures[question] = error
                raise
        return self._answers[question]

    def earliest(self) -> Any:
        return self._ask("earliest")

    def summary(self, *arguments: Any, **options: Any) -> Any:
        return self._ask("summary", *arguments, **options)

    def series(self, *arguments: Any, **options: Any) -> Any:
        return self._ask("series", *arguments, **options)

    def breakdown(self, *arguments: Any, **options: Any) -> Any:
        return self._ask("breakdown", *arguments, **options)

    def breakdowns(self, *arguments: Any, **options: Any) -> Any:
        return self._ask("breakdowns", *arguments, **options)

    def exceptions(self, *arguments: Any, **options: Any) -> Any:
        return self._ask("exceptions", *arguments, **options)

    def links(self, *arguments: Any, **options: Any) -> Any:
        return self._ask("links", *arguments, **options)

    def requests(self, *arguments: Any, **options: Any) -> Any:
        return self._ask("requests", *arguments, **options)

    def request(self, *arguments: Any, **options: Any) -> Any:
        return self._ask("request", *arguments, **options)

    def complete_from(self, *arguments: Any, **options: Any) -> Any:
        return self._ask("complete_from", *arguments, **options)

    def undecided(self, *arguments: Any, **options: Any) -> Any:
        return self._ask("undecided", *arguments, **options)


def _fixed(value: Any) -> Any:
    """`value` as what can be looked up: lists of names become tuples."""
    return tuple(_fixed(each) for each in value) if isinstance(value, (list, tuple)) else value
