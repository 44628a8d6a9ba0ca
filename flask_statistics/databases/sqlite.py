"""SQLite, in files and in memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool, SingletonThreadPool, StaticPool

from .base import Columns, Database, Insertion
from .causes import Cause
from .many_rows import many_rows

if TYPE_CHECKING:
    from .budgets import Budget

LEAST_PAUSE_S = 0.03
"""Longer than what SQLite's own waiting leaves between two looks at a lock, at first."""
LONGEST_PAUSE_S = 2.0
"""A machine that was halted in the midst of a transaction must not pause for as long again."""
LARGEST_WALKED = 256 << 20
"""Bytes of a database of which each page is looked at to measure tables: a quarter of a second."""
_STEPS = 20_000
"""Steps of SQLite's machine between two looks at the clock: about a millisecond."""

CAUSES = {
    **dict.fromkeys((5, 6, 17), Cause.LOCKED),
    3: Cause.DENIED,
    7: Cause.EXHAUSTED,
    8: Cause.READ_ONLY,
    9: Cause.STOPPED,
    10: Cause.BROKEN,
    11: Cause.BROKEN,
    13: Cause.DISK_FULL,
    14: Cause.AWAY,
    15: Cause.LOCKED,
    18: Cause.ROW,
    19: Cause.ROW,
    20: Cause.ROW,
    22: Cause.BROKEN,
    23: Cause.DENIED,
    26: Cause.BROKEN,
}
"""Primary result codes; 1 stands for anything."""
TEXTS = {
    "locked": Cause.LOCKED,
    "schema has changed": Cause.LOCKED,
    "full": Cause.DISK_FULL,
    "readonly": Cause.READ_ONLY,
    "unable to open": Cause.AWAY,
    "disk I/O error": Cause.BROKEN,
    "malformed": Cause.BROKEN,
    "not a database": Cause.BROKEN,
    "interrupted": Cause.STOPPED,
    "no such table": Cause.NO_TABLE,
    "no column named": Cause.NO_COLUMN,
    "no such column": Cause.NO_COLUMN,
}
"""Where there is no code: before Python 3.11, and for 1."""


class SQLite(Database):
    """One file and one lock for all of it, counted for each process; or memory, and one connection for all threads."""

    title = "SQLite"
    fork_waits_for_transactions = (
        True  # a child that is forked meanwhile finds the database locked for as long as it lives
    )
    compares_dates_as_text = True

    def shared_connection(self, engine: sa.Engine) -> Any | None:
        """The DBAPI connection of in-memory SQLite, which the host's session uses too; None anywhere else."""
        if isinstance(engine.pool, SingletonThreadPool):  # one a thread; all that hold it must give it back
            with closing(engine.raw_connection()) as borrowed:
                return borrowed.dbapi_connection
        if not isinstance(engine.pool, StaticPool):
            return None
        if engine.pool.connection.dbapi_connection is None:
            engine.connect().close()  # nobody has connected yet, so nobody has an open transaction either
        return engine.pool.connection.dbapi_connection

    def reading_engine(self, engine: sa.Engine) -> sa.Engine:
        """`engine` itself for a file. In memory, giving the connection back would roll the host's open transaction back, so
        reads go through a wrapper whose transactions do nothing.
        """
        if self.shared_connection(engine) is None:
            return engine
        return sa.create_engine(
            "sqlite://", creator=lambda: _Borrowed(self.shared_connection(engine)), poolclass=NullPool
        )

    def limit_engine(self, engine: sa.Engine, *, lock_s: int, statement_s: int | None) -> None:
        """Limit how long each connection waits for a lock, and leave none open; its statements are steps in this process."""

        def connected(connection: Any, _record: Any) -> None:
            connection.execute(f"PRAGMA busy_timeout = {lock_s * 1000:d}").close()

        def given_back(connection: Any, _record: Any) -> None:
            # a commit that waited for a reader in vain leaves its transaction open, and SQLAlchemy takes it for ended: the
            # next one on this connection would store it as well, and until then nobody else could write
            if connection is not None and connection.in_transaction:
                connection.rollback()

        sa.event.listen(engine, "connect", connected)
        sa.event.listen(engine, "checkin", given_back)

    def snapshot(self, connection: sa.Connection) -> None:
        """In memory the host may have its own transaction on the connection, and nothing else can write."""
        driver = connection.connection.dbapi_connection
        if not isinstance(driver, _Borrowed) and driver is not None and not driver.in_transaction:
            driver.cursor().execute("BEGIN").close()

    def readers_keep_writers_waiting(self, connection: sa.Connection) -> bool:
        """So it is in files, but for the journal mode WAL."""
        driver: Any = connection.connection.dbapi_connection
        if isinstance(driver, _Borrowed) or self.shared_connection(connection.engine) is not None:
            return False
        with closing(driver.cursor()) as cursor:
            return str(cursor.execute("PRAGMA journal_mode").fetchone()[0]).lower() != "wal"

    def insertion(self, table: sa.Table, dialect: sa.Dialect, keys: tuple[str, ...]) -> Insertion | None:
        return many_rows(table, dialect, keys)

    def let_others_write(self, engine: sa.Engine, *, after: float) -> None:
        if self.shared_connection(engine) is None:
            time.sleep(min(max(after, LEAST_PAUSE_S), LONGEST_PAUSE_S))

    @contextmanager
    def limited(self, connection: sa.Connection, budget: Budget) -> Iterator[None]:
        """Interrupt statements of this thread: an in-memory database is on one connection, which others work with as well."""
        driver: Any = connection.connection.dbapi_connection
        ours = threading.get_ident()
        driver.set_progress_handler(lambda: threading.get_ident() == ours and budget.ends_statement(), _STEPS)
        try:
            yield
        finally:
            driver.set_progress_handler(None, 0)

    def _sizes(self, connection: sa.Connection, tables: Collection[sa.Table]) -> dict[str, int]:
        if (self.database_size(connection) or 0) > LARGEST_WALKED:
            return {}
        pages = sa.text(
            "SELECT tbl_name, sum(pgsize) FROM sqlite_master JOIN dbstat ON dbstat.name = sqlite_master.name "
            "GROUP BY tbl_name"
        )
        try:
            sizes = {row[0]: row[1] for row in connection.execute(pages)}
        except sa.exc.OperationalError as error:
            if "dbstat" not in str(error.orig):  # left out of some builds of SQLite
                raise
            return {}
        return {table.fullname: sizes[table.name] for table in tables if table.name in sizes}

    def database_size(self, connection: sa.Connection) -> int | None:
        """The bytes of the file, with all that others keep in it."""
        pages = sa.text("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
        return int(connection.scalar(pages) or 0)

    def data_folder(self, connection: sa.Connection) -> Path | None:
        name = connection.engine.url.database
        if not name or self.shared_connection(connection.engine) is not None:
            return None
        return Path(name).resolve().parent

    @contextmanager
    def lock_wait(self, connection: sa.Connection, milliseconds: int) -> Iterator[None]:
        """Wait at most so long for another writer of the database."""
        driver = connection.connection.dbapi_connection
        assert driver is not None  # noqa: S101 - a checked-out connection has one
        cursor = driver.cursor()
        before = cursor.execute("PRAGMA busy_timeout").fetchone()[0]
        cursor.execute(f"PRAGMA busy_timeout = {milliseconds:d}")
        try:
            yield
        finally:
            cursor.execute(f"PRAGMA busy_timeout = {before:d}")
            cursor.close()

    @contextmanager
    def overwriting(self, connection: sa.Connection) -> Iterator[None]:
        """Leave nothing of what is replaced or deleted in the pages of the database."""
        driver: Any = connection.connection.dbapi_connection
        with closing(driver.cursor()) as cursor:
            before = cursor.execute("PRAGMA secure_delete").fetchone()[0]
            cursor.execute("PRAGMA secure_delete = ON")
            try:
                yield
            finally:
                cursor.execute(f"PRAGMA secure_delete = {before:d}")

    def is_timeout(self, original: Any) -> bool:
        return str(original) == "interrupted"

    def is_locked(self, error: Exception) -> bool:
        return isinstance(error, sa.exc.OperationalError) and "locked" in str(error.orig)

    def cause(self, original: Any) -> Cause | None:
        if not type(original).__module__.startswith(("sqlite3", "pysqlite3", "sqlcipher3")):
            return None
        code = getattr(original, "sqlite_errorcode", None)
        if code is not None and code & 0xFF in CAUSES:
            return CAUSES[code & 0xFF]
        return next((cause for text, cause in TEXTS.items() if text in str(original)), None)

    def columns_of(self, connection: sa.Connection, query: sa.Select[Any]) -> tuple[Columns, Any, Any]:
        """The same without an object of SQLAlchemy's for each row, which would take a fifth of all the time of a backfill.

        The last row's values are as SQLite has them: its dates are text, and need not be written as SQLAlchemy writes them.
        """
        dialect = connection.dialect
        fits = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in query.selected_columns]
        result = connection.execute(query)
        errors = dialect.loaded_dbapi.Error
        try:
            rows = result.cursor.fetchall()
            columns: Columns = [
                column if fit is None else list(map(fit, column))
                for column, fit in zip(zip(*rows, strict=True), fits, strict=False)
            ]
        except errors as error:
            raise sa.exc.DBAPIError.instance(str(query), None, error, errors, dialect=dialect) from error
        finally:
            result.close()
        at, last = (sa.literal(value, _AsItIs()) for value in rows[-1][:2]) if rows else (None, None)
        return columns, at, last

    def one_of(self, column: str, values: str) -> str:
        return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608 - both are compiled by SQLAlchemy # nosec B608

    def minute(self, column: str) -> str:
        """Of a text such as `2026-11-28 12:10:59.000000`."""
        return f"substr({column}, 1, 16)"


class _AsItIs(sa.types.UserDefinedType[Any]):
    """Of a value that goes to the driver as it came from there."""

    cache_ok = True


class _Borrowed:
    """A DBAPI connection of somebody else's: its transactions are not ours to end, nor is it ours to change or close."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def commit(self) -> None: ...

    def rollback(self) -> None: ...

    def close(self) -> None: ...

    def create_function(self, *_: Any, **__: Any) -> None:
        """Nothing: SQLAlchemy gave it its functions already, and SQLite refuses new ones while a statement runs."""


DATABASES = {"sqlite": SQLite()}
