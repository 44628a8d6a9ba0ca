"""One short transaction on the raw table's database, on a connection of its own from the host's pool. For all writers."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from .. import dialects


class Locked(Exception):
    """The host is in the way, with a transaction or connections that it gives back, or another process's transaction."""


class _Disconnected(sa.exc.DBAPIError):
    """The connection was gone before anything was stored."""


def commit(engine: sa.Engine, work: Callable[[sa.Connection], None], *, wait_ms: int) -> None:
    """Run `work` in a transaction and commit it, waiting `wait_ms` at most for a SQLite database that another one writes.

    0: nor for a connection of the pool. Raises `Locked`, with nothing stored, and the database's error.
    """
    try:
        shared = dialects.shared_connection(engine)
        if shared is not None and shared.in_transaction:
            raise Locked("a transaction of the app is open")
        if not wait_ms and dialects.is_exhausted(engine.pool):
            raise Locked("the app holds all connections of the pool")
        try:
            _commit(engine, work, wait_ms)
        except _Disconnected:  # the server restarted since the pool's connection was last used
            _commit(engine, work, wait_ms)
    except sa.exc.SQLAlchemyError as error:
        if dialects.is_locked(engine, error):
            raise Locked("the database is locked") from error
        raise


def _commit(engine: sa.Engine, work: Callable[[sa.Connection], None], wait_ms: int) -> None:
    with (
        dialects.unforked(engine),
        dialects.transactional(engine) as connection,
        dialects.lock_wait(connection, wait_ms),
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
