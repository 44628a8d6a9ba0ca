"""The direct writer: one insert, committed before the request ends. Nothing can be lost; it costs one commit.

Writes the raw table, on a connection of its own from the host's pool, never through the host's session.
"""

from __future__ import annotations

import atexit
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from ..models import RawTable
from ..recorder import Backlog, NotStored, Record
from .causes import Cause, blames_row, fix
from .rows import insert, row_of
from .transaction import Locked, commit

LOCK_WAIT_MS = 1_000
"""How long an insert waits for another writer of a SQLite database."""
MOST_WAITING = 1_000
"""Rows that may wait for somebody's transaction to end; the next ones are refused."""
NOTICED_S = 0.1
"""A failure that took longer is not tried again at once, so that few requests wait for it."""
SHARE = 0.1
"""Of the time, at most, in which requests wait for a database in trouble."""
LONGEST_PAUSE_S = 60.0


class DirectWriter:
    """Inserts each record at once."""

    def __init__(self, raw: RawTable, engine: Callable[[], sa.Engine]) -> None:
        self._raw = raw
        self._engine = engine
        self._waiting: deque[dict[str, Any]] = deque()
        self._pid = os.getpid()
        self._kept = False
        """Whether rows ever had to wait."""
        self._impatient_until = 0.0
        """Until then nobody waits for a lock: the last one waited in vain."""
        self._down_until = 0.0
        """Until then nobody knocks at the database: the last one waited long to learn that it is down."""
        self._down_because: sa.exc.SQLAlchemyError | None = None

    def write(self, record: Record, *, host_in_transaction: bool) -> int:
        """Store `record`, after what had to wait; how many rows are stored.

        While a transaction of the host's own is in the way it waits for the end of the host's context: to wait for the
        lock would be to wait for ourselves. If another process holds the lock for too long, which SQLite's unfair
        locking lets happen when many write, it waits for the next request. Raises `NotStored` if the database refuses it.
        """
        row = row_of(record.values(), self._raw)
        patient = not host_in_transaction and time.monotonic() >= self._impatient_until
        return self._store_or_keep([*self._take(), row], LOCK_WAIT_MS if patient else 0)

    def flush(self) -> int:
        """Store the rows that had to wait, if nothing is in the way any more; how many. Raises `NotStored`."""
        return self._flush(0)  # contexts end in the middle of requests too, and the next one comes soon

    def settle(self) -> int:
        """The same, before somebody looks at the rows."""
        return self._flush(0)

    def backlog(self) -> Backlog:
        """What waits in this process."""
        return Backlog(waiting=len(self._waiting), trouble=None)

    def close(self) -> None:
        """Nothing is open between requests."""

    def _flush(self, wait_ms: int) -> int:
        rows = self._take()
        return self._store_or_keep(rows, wait_ms) if rows else 0

    def _store_or_keep(self, rows: list[dict[str, Any]], wait_ms: int) -> int:
        started = time.monotonic()
        try:
            return self._store(rows, wait_ms)
        except Locked as reason:
            if wait_ms:
                self._impatient_until = _pause_after(started)
            self._keep(rows, reason)
            return 0

    def _keep(self, rows: list[dict[str, Any]], reason: Locked) -> None:
        if not self._kept:
            self._kept = True
            atexit.register(self._flush, LOCK_WAIT_MS)  # there may be no next request
        self._waiting.extend(rows[:MOST_WAITING])
        if len(rows) > MOST_WAITING:
            raise NotStored(len(rows) - MOST_WAITING, "A transaction stays open; close it.") from reason

    def _take(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._waiting.clear()  # they are the parent's, who stores them
            self._engine().dispose(close=False)  # so are the pool's connections
        try:
            while True:
                rows.append(self._waiting.popleft())
        except IndexError:  # asking first whether there are any would be too early: other threads take them as well
            return rows

    def _store(self, rows: list[dict[str, Any]], wait_ms: int) -> int:
        started = time.monotonic()
        if started < self._down_until:
            raise NotStored(len(rows), Cause.AWAY.value) from self._down_because
        engine = self._engine()
        try:
            commit(engine, lambda connection: self._execute(connection, rows), wait_ms=wait_ms)
        except sa.exc.SQLAlchemyError as error:
            if len(rows) > 1 and blames_row(error):
                return self._store_each(rows, wait_ms)
            if time.monotonic() - started > NOTICED_S:
                self._down_until, self._down_because = _pause_after(started), error
            raise NotStored(len(rows), fix(error)) from error
        return len(rows)

    def _store_each(self, rows: list[dict[str, Any]], wait_ms: int) -> int:
        """Store what the table takes: one row that it refuses must not cost the others."""
        stored, refused = 0, []
        while rows:
            try:
                stored += self._store([rows[0]], wait_ms)
            except NotStored as reason:
                refused.append(reason)
            except Locked as reason:
                self._keep(rows, reason)
                break
            rows = rows[1:]
        if refused:
            raise NotStored(len(refused), refused[0].fix, stored=stored) from refused[0].__cause__
        return stored

    def _execute(self, connection: sa.Connection, rows: list[dict[str, Any]]) -> None:
        insert(connection, self._raw.table, rows)


def _pause_after(started: float) -> float:
    """When a wait that began at `started` and was in vain may be repeated."""
    now = time.monotonic()
    return now + min((now - started) * (1 / SHARE - 1), LONGEST_PAUSE_S)
