"""Answers each question on connections that it takes and gives back, so that nothing is held between two questions.

For what is sent in pieces, whose pace is the client's.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from .answers import Freshness
from .interface import Queries


class QueriesApart:
    """Asks the queries that `reading` opens, anew for each question."""

    source = "raw"
    freshness: Freshness | None = None

    def __init__(self, reading: Callable[[], AbstractContextManager[Queries]]) -> None:
        self._reading = reading

    def recover(self) -> None:
        """Nothing: the next question has a connection of its own."""

    def _ask(self, name: str, *arguments: Any, **options: Any) -> Any:
        with self._reading() as queries:
            answer = getattr(queries, name)(*arguments, **options)
            self.source, self.freshness = queries.source, queries.freshness
            return answer

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
