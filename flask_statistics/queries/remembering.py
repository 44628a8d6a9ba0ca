"""Asks each question of a page once: whoever asks it again gets the same answer, or the same failure.

So each panel asks for all that it needs, and none has to know what others asked. It serves one page, as its answers grow old.
"""

from __future__ import annotations

from typing import Any

from .answers import Freshness
from .interface import Queries
from .passing import Passing


class Remembering(Passing):
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


def _fixed(value: Any) -> Any:
    """`value` as what can be looked up: lists of names become tuples."""
    return tuple(_fixed(each) for each in value) if isinstance(value, (list, tuple)) else value
