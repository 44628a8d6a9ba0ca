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
        connection.begin(),
    ):
        try:
            work(connection)
        except sa.exc.DBAPIError as error:
            # before the commit nothing is stored, so another try on a fresh connection cannot store it twice
            if error.connection_invalidated:
                raise _Disconnected(str(error), None, error) from error
            raise


def refuses_a_row(error: sa.exc.SQLAlchemyError) -> bool:
    """Whether it is certainly for a row's own sake that the database failed with `error`."""
    if isinstance(error, sa.exc.DBAPIError):
        return isinstance(error, (sa.exc.DataError, sa.exc.IntegrityError))
    return isinstance(error, sa.exc.StatementError)


def fix(engine: sa.Engine, table: sa.Table, error: sa.exc.SQLAlchemyError) -> str:
    """What the operator can do about `error`, found by looking whether `table` is there."""
    if isinstance(error, sa.exc.TimeoutError):
        return "Does the app give its connections back? Or raise pool_size in SQLALCHEMY_ENGINE_OPTIONS."
    if not isinstance(error, sa.exc.StatementError) or error.statement is None:
        return "Is the database running and reachable?"  # to look would be to wait for it once more
    try:
        there = sa.inspect(engine).has_table(table.name, schema=table.schema)
    except sa.exc.SQLAlchemyError:
        return "Is the database running and reachable?"
    if not there:
        return f"The table {table.name!r} is missing: run 'flask statistics init' once, or db.create_all()."
    return "The table refused the row: do its columns allow what is recorded?"
