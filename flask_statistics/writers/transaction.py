"""One short transaction on the raw table's database, on a connection of its own from the host's pool. For all writers."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.pool import QueuePool

from .. import databases, forks


class Locked(Exception):
    """The host is in the way, with a transaction or connections that it gives back, or another process's transaction."""


class _Disconnected(sa.exc.DBAPIError):
    """The connection was gone before anything was stored."""


def commit(engine: sa.Engine, work: Callable[[sa.Connection], None], *, wait_ms: int) -> None:
    """Run `work` in a transaction and commit it, waiting `wait_ms` at most for a SQLite database that another one writes.

    0: nor for a connection of the pool. Raises `Locked`, with nothing stored, and the database's error.
    """
    database = databases.of(engine)
    try:
        shared = database.shared_connection(engine)
        if shared is not None and shared.in_transaction:
            raise Locked("a transaction of the app is open")
        if not wait_ms and _is_exhausted(engine.pool):
            raise Locked("the app holds all connections of the pool")
        try:
            _commit(engine, work, wait_ms)
        except _Disconnected:  # the server restarted since the pool's connection was last used
            _commit(engine, work, wait_ms)
    except sa.exc.SQLAlchemyError as error:
        if database.is_locked(error):
            raise Locked("the database is locked") from error
        raise


def _commit(engine: sa.Engine, work: Callable[[sa.Connection], None], wait_ms: int) -> None:
    with (
        forks.unforked(engine),
        _transactional(engine) as connection,
        databases.of(engine).lock_wait(connection, wait_ms),
    ):
        try:
            transaction = connection.begin()
            work(connection)
        except sa.exc.DBAPIError as error:
            # before the commit nothing is stored, so another try on a fresh connection cannot store it twice
            if error.connection_invalidated:
                raise _Disconnected(str(error), None, error) from error
            raise
        transaction.commit()


def _transactional(engine: sa.Engine) -> sa.Connection:
    """A connection whose transactions are real ones, also where the host's engine commits each statement."""
    connection = engine.connect()
    level = engine.get_execution_options().get("isolation_level", engine.dialect._on_connect_isolation_level)
    if level == "AUTOCOMMIT" and engine.dialect.default_isolation_level is not None:
        connection = connection.execution_options(isolation_level=engine.dialect.default_isolation_level)
    return connection


def _is_exhausted(pool: sa.Pool) -> bool:
    """Whether all connections of `pool` are in use, so that to ask for one is to wait."""
    return isinstance(pool, QueuePool) and 0 <= pool._max_overflow <= pool.checkedout() - pool.size()
