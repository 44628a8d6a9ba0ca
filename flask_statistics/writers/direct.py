"""The direct writer: one insert, committed before the request ends. Nothing can be lost; it costs one commit.

Writes the raw table, on a connection of its own from the host's pool, never through the host's session.
"""

from __future__ import annotations

import atexit
from collections import deque
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from .. import dialects
from ..models import RawTable
from ..recorder import Backlog, NotStored, Record
from .rows import row_of

LOCK_WAIT_MS = 1_000
"""How long an insert waits for another writer of a SQLite database."""
MOST_WAITING = 1_000
"""Rows that may wait for somebody's transaction to end; the next ones are refused."""


class _Locked(Exception):
    """The host is in the way, with a transaction or connections that it gives back, or another process's transaction."""


class _Disconnected(sa.exc.DBAPIError):
    """The connection was gone before anything was stored."""


class DirectWriter:
    """Inserts each record at once."""

    def __init__(self, raw: RawTable, engine: Callable[[], sa.Engine]) -> None:
        self._raw = raw
        self._engine = engine
        self._insert = sa.insert(raw.table)
        self._waiting: deque[dict[str, Any]] = deque()
        self._kept = False
        """Whether rows ever had to wait."""

    def write(self, record: Record, *, host_in_transaction: bool) -> None:
        """Store `record`, after what had to wait.

        While a transaction of the host's own is in the way it waits for the end of the host's context: to wait for the
        lock would be to wait for ourselves. If another process holds the lock for too long, which SQLite's unfair
        locking lets happen when many write, it waits for the next request. Raises `NotStored` if the database refuses it.
        """
        row = row_of(record, self._raw)
        self._store_or_keep([*self._take(), row], 0 if host_in_transaction else LOCK_WAIT_MS)

    def flush(self) -> None:
        """Store the rows that had to wait, if nothing is in the way any more. Raises `NotStored`."""
        self._flush(0)  # contexts end in the middle of requests too, and the next one comes soon

    def backlog(self) -> Backlog:
        """Rows that wait for somebody's transaction to end."""
        return Backlog(len(self._waiting), "A transaction of the app is in the way." if self._waiting else None)

    def _flush(self, wait_ms: int) -> None:
        rows = self._take()
        if rows:
            self._store_or_keep(rows, wait_ms)

    def _store_or_keep(self, rows: list[dict[str, Any]], wait_ms: int) -> None:
        try:
            self._store(rows, wait_ms)
        except _Locked as reason:
            if not self._kept:
                self._kept = True
                atexit.register(self._flush, LOCK_WAIT_MS)  # there may be no next request
            self._waiting.extend(rows[:MOST_WAITING])
            if len(rows) > MOST_WAITING:
                raise NotStored(len(rows) - MOST_WAITING, "A transaction stays open; close it.") from reason

    def _take(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        try:
            while True:
                rows.append(self._waiting.popleft())
        except IndexError:  # asking first whether there are any would be too early: other threads take them as well
            return rows

    def _store(self, rows: list[dict[str, Any]], wait_ms: int) -> None:
        engine = self._engine()
        try:
            shared = dialects.shared_connection(engine)
            if shared is not None and shared.in_transaction:
                raise _Locked("a transaction of the app is open")
            if not wait_ms and dialects.is_exhausted(engine.pool):
                raise _Locked("the app holds all connections of the pool")
            try:
                self._commit(engine, rows, wait_ms)
            except _Disconnected:  # the server restarted since the pool's connection was last used
                self._commit(engine, rows, wait_ms)
        except sa.exc.SQLAlchemyError as error:
            if dialects.is_locked(engine, error):
                raise _Locked("the database is locked") from error
            raise NotStored(len(rows), self._fix(error)) from error

    def _commit(self, engine: sa.Engine, rows: list[dict[str, Any]], wait_ms: int) -> None:
        with engine.connect() as connection, dialects.lock_wait(connection, wait_ms), connection.begin():
            try:
                connection.execute(self._insert, rows)
            except sa.exc.DBAPIError as error:
                # before the commit nothing is stored, so another try on a fresh connection cannot store it twice
                if error.connection_invalidated:
                    raise _Disconnected(str(error), None, error) from error
                raise

    def _fix(self, error: sa.exc.SQLAlchemyError) -> str:
        """What to do about `error`, found by looking whether the table is there."""
        if isinstance(error, sa.exc.TimeoutError):
            return "Does the app give its connections back? Or raise pool_size in SQLALCHEMY_ENGINE_OPTIONS."
        if not isinstance(error, sa.exc.StatementError) or error.statement is None:
            return "Is the database running and reachable?"  # to look would be to wait for it once more
        try:
            there = sa.inspect(self._engine()).has_table(self._raw.table.name, schema=self._raw.table.schema)
        except sa.exc.SQLAlchemyError:
            return "Is the database running and reachable?"
        if not there:
            return (
                f"The table {self._raw.table.name!r} is missing: run 'flask statistics init' once, or db.create_all()."
            )
        return "The table refused the row: do its columns allow what is recorded?"
