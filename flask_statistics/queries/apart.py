"""Answers each question on connections that it takes and gives back, so that nothing is held between two questions.

For what is sent in pieces, whose pace is the client's.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from .answers import Freshness
from .interface import Queries
from .passing import Passing


class QueriesApart(Passing):
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
