"""The time that the statements of one page may take together."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from . import known, of


class OutOfTime(sa.exc.SQLAlchemyError):
    """A question was not asked, because those before it took all the time they may take together."""


class Budget:
    """The time that the statements of one page may take together, from now on."""

    def __init__(self, limit: timedelta) -> None:
        self.limit = limit
        self.statement_s: float | None = None
        """How long each statement of SQLite may take, so that others can write; None: no statement has a limit of its own."""
        self._statement_until: float | None = math.inf
        """None: from when it is under way, as it may have to wait for a lock first."""
        self.renew()

    def begin_statement(self) -> None:
        """A statement begins."""
        self._statement_until = math.inf if self.statement_s is None else None

    def ends_statement(self) -> bool:
        """Whether the statement under way shall end."""
        now = time.monotonic()
        if self._statement_until is None:
            self._statement_until = now + (self.statement_s or 0.0)
        return now > self._deadline or now > self._statement_until

    def renew(self) -> None:
        """Begin anew: for work that is bounded piece by piece."""
        self._deadline = time.monotonic() + self.limit.total_seconds()

    @property
    def milliseconds(self) -> int:
        return max(1, round(self.limit.total_seconds() * 1000))

    def is_spent(self) -> bool:
        """Whether all of it has passed."""
        return time.monotonic() > self._deadline


@contextmanager
def time_budget(connection: sa.Connection, budget: Budget) -> Iterator[Budget]:
    """Let the database end what takes longer than `budget`, and refuse to ask more then; `is_timeout` knows both errors.

    After the block the connection is as it was before. Must come before the first statement.
    """

    def check(*_: Any) -> None:
        if budget.is_spent():
            raise OutOfTime(f"{budget.limit.total_seconds():g} s have passed")
        budget.begin_statement()

    sa.event.listen(connection, "before_cursor_execute", check)
    with of(connection).limited(connection, budget):
        yield budget


def is_timeout(error: Exception) -> bool:
    """Whether `error` says that a time budget was spent."""
    if isinstance(error, OutOfTime):
        return True
    return isinstance(error, sa.exc.DBAPIError) and any(database.is_timeout(error.orig) for database in known())
