"""What one database needs that the others do not, a function each. Everything else issues the same SQL everywhere."""

from __future__ import annotations

import json
import math
import os
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import NullPool, QueuePool, SingletonThreadPool, StaticPool
from sqlalchemy.sql.functions import FunctionElement

MYSQL = ("mysql", "mariadb")
"""What SQLAlchemy calls MySQL and MariaDB: the one or the other, as the URL says."""

CLICKHOUSE = ("clickhousedb",)
"""What `clickhouse-connect` calls ClickHouse, as a server and as a library. It has no transactions."""

LONGEST_FORK_WAIT_S = 5.0
"""How long a fork waits for transactions of our threads on SQLite."""


def shared_connection(engine: sa.Engine) -> Any | None:
    """The DBAPI connection of in-memory SQLite, which the host's session uses too; None anywhere else."""
    if engine.dialect.name != "sqlite":
        return None
    if isinstance(engine.pool, SingletonThreadPool):  # one a thread; all that hold it must give it back
        with closing(engine.raw_connection()) as borrowed:
            return borrowed.dbapi_connection
    if not isinstance(engine.pool, StaticPool):
        return None
    if engine.pool.connection.dbapi_connection is None:
        engine.connect().close()  # nobody has connected yet, so nobody has an open transaction either
    return engine.pool.connection.dbapi_connection


def reading_engine(engine: sa.Engine) -> sa.Engine:
    """An engine to read with that never commits or rolls back what the host has open.

    It is `engine` itself, but for in-memory SQLite: there, giving the connection back would roll the host's open
    transaction back, so reads go through a wrapper whose transactions do nothing.
    """
    if shared_connection(engine) is None:
        return engine
    return sa.create_engine("sqlite://", creator=lambda: _Borrowed(shared_connection(engine)), poolclass=NullPool)


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


def is_exhausted(pool: sa.Pool) -> bool:
    """Whether all connections of `pool` are in use, so that to ask for one is to wait."""
    return isinstance(pool, QueuePool) and 0 <= pool._max_overflow <= pool.checkedout() - pool.size()


def snapshot(connection: sa.Connection) -> None:
    """Let all that is read on `connection` from now on be of one moment: the rollup job may write in between.

    Must come before the first statement. On in-memory SQLite the host may have its own transaction on the connection, and
    nothing else can write.
    """
    if connection.dialect.name == "sqlite":
        driver = connection.connection.dbapi_connection
        if not isinstance(driver, _Borrowed) and driver is not None and not driver.in_transaction:
            driver.cursor().execute("BEGIN").close()
    elif connection.dialect.name not in CLICKHOUSE:
        connection.execution_options(isolation_level="REPEATABLE READ")


def readers_keep_writers_waiting(connection: sa.Connection) -> bool:
    """Whether nobody can commit while somebody reads: in SQLite's files, but for the journal mode WAL."""
    if connection.dialect.name != "sqlite":
        return False
    driver: Any = connection.connection.dbapi_connection
    if isinstance(driver, _Borrowed) or shared_connection(connection.engine) is not None:
        return False
    with closing(driver.cursor()) as cursor:
        return str(cursor.execute("PRAGMA journal_mode").fetchone()[0]).lower() != "wal"


def transactional(engine: sa.Engine) -> sa.Connection:
    """A connection whose transactions are real ones, also where the host's engine commits each statement."""
    connection = engine.connect()
    level = engine.get_execution_options().get("isolation_level", engine.dialect._on_connect_isolation_level)
    if level == "AUTOCOMMIT" and engine.dialect.default_isolation_level is not None:
        connection = connection.execution_options(isolation_level=engine.dialect.default_isolation_level)
    return connection


def end_when_idle(connection: sa.Connection, limit: timedelta) -> None:
    """Let the server end the transaction when it is told nothing for so long, as by a host that lost its power or its network:

    else the locks are kept until the network gives the host up, after hours. PostgreSQL and MariaDB can be told; MySQL has a
    time-out for all who are connected to it, which is not ours to change.
    """
    dialect = connection.dialect
    if dialect.name == "postgresql":
        milliseconds = round(limit.total_seconds() * 1000)
        connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = {milliseconds}")
    elif getattr(dialect, "is_mariadb", False):
        seconds = max(1, round(limit.total_seconds()))
        connection.exec_driver_sql(f"SET SESSION idle_transaction_timeout = {seconds}")


def set_in_transaction(connection: sa.Connection, statement: str) -> None:
    """Execute `statement`, a setting, where a transaction begins and SQLAlchemy does not let us. Raises what it would raise."""
    driver, errors = connection.connection, connection.dialect.loaded_dbapi.Error
    try:
        with closing(driver.cursor()) as cursor:
            cursor.execute(statement)
    except errors as error:
        gone = connection.dialect.is_disconnect(error, driver, None)
        if gone:
            connection.invalidate(error)
        raise sa.exc.DBAPIError.instance(
            statement, None, error, errors, connection_invalidated=gone, dialect=connection.dialect
        ) from error


LEAST_PAUSE_S = 0.03
"""Longer than what SQLite's own waiting leaves between two looks at a lock, at first."""


def let_others_write(engine: sa.Engine, *, after: float) -> None:
    """Leave SQLite's one lock for those who wait for it, for as long as a transaction held it (seconds); others have many."""
    if engine.dialect.name == "sqlite" and shared_connection(engine) is None:
        time.sleep(max(after, LEAST_PAUSE_S))


# ---- fork ------------------------------------------------------------------------------------------------------------


class _Forks:
    """Lets a fork wait until no thread is inside."""

    def __init__(self) -> None:
        self._registered = False
        self.renew()

    def renew(self) -> None:
        self._changed = threading.Condition()
        self._inside: set[int] = set()
        self._waiting = False

    def register(self) -> None:
        with self._changed:
            if not self._registered and hasattr(os, "register_at_fork"):
                self._registered = True
                # later than all others, so that a fork waits here first, and not with the locks of others in its hands
                os.register_at_fork(before=self._wait, after_in_parent=self._over, after_in_child=self.renew)

    def __enter__(self) -> None:
        self.register()
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting)
            self._inside.add(threading.get_ident())

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._inside.discard(threading.get_ident())
            self._changed.notify_all()

    def step_aside(self) -> None:
        if threading.get_ident() in self._inside:
            self.__exit__()
            self.__enter__()

    def _wait(self) -> None:
        with self._changed:
            self._waiting = True
            # not for ever: what is inside may itself wait for whoever forks
            self._changed.wait_for(lambda: not self._inside - {threading.get_ident()}, LONGEST_FORK_WAIT_S)

    def _over(self) -> None:
        with self._changed:
            self._waiting = False
            self._changed.notify_all()


_forks = _Forks()


def unforked(engine: sa.Engine) -> AbstractContextManager[None]:
    """Around a transaction of a thread of ours: the process is not forked within it, where that would do harm.

    SQLite counts the locks of a process in its memory, so a child that is forked while a thread holds one finds the
    database locked for as long as it lives, for the host as for us.
    """
    return _forks if engine.dialect.name == "sqlite" else nullcontext()


def expect_forks() -> None:
    """Have forks wait for `unforked` from now on: to be called before a thread starts that will be in it.

    A fork that is under way when the thread comes to it, as it waits for something else, would not wait for it any more.
    """
    _forks.register()


def let_fork() -> None:
    """Let a fork that waits for this thread go on, between two transactions within `unforked`."""
    _forks.step_aside()


# ---- time ------------------------------------------------------------------------------------------------------------


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
    limited = _LIMITED.get(connection.dialect.name)
    with limited(connection, budget) if limited else nullcontext():
        yield budget


def is_timeout(error: Exception) -> bool:
    """Whether `error` says that a time budget was spent."""
    if isinstance(error, OutOfTime):
        return True
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    original: Any = error.orig
    state = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)
    # SQLite, PostgreSQL, MariaDB and MySQL, ClickHouse
    known = str(original) == "interrupted" or state == "57014" or original.args[:1] in ((1969,), (3024,))
    return known or "Code: 159." in str(original)


@contextmanager
def _limited_sqlite(connection: sa.Connection, budget: Budget) -> Iterator[None]:
    """Interrupt statements of this thread: an in-memory database is on one connection, which others work with as well."""
    driver: Any = connection.connection.dbapi_connection
    ours = threading.get_ident()
    driver.set_progress_handler(lambda: threading.get_ident() == ours and budget.ends_statement(), _STEPS)
    try:
        yield
    finally:
        driver.set_progress_handler(None, 0)


_STEPS = 20_000
"""Steps of SQLite's machine between two looks at the clock: about a millisecond."""


@contextmanager
def _limited_postgresql(connection: sa.Connection, budget: Budget) -> Iterator[None]:
    """Limit each statement of each transaction; the setting ends with the transaction, as it is made in it."""

    limit = f"SET LOCAL statement_timeout = {_milliseconds(budget):d}"
    sa.event.listen(connection, "begin", lambda connection: set_in_transaction(connection, limit))
    yield


@contextmanager
def _limited_mysql(connection: sa.Connection, budget: Budget) -> Iterator[None]:
    """Limit each statement, and set the connection's own limit again afterwards."""
    mariadb = getattr(connection.dialect, "is_mariadb", False)
    variable = "max_statement_time" if mariadb else "max_execution_time"
    limit = budget.limit.total_seconds() if mariadb else _milliseconds(budget)
    with closing(connection.connection.cursor()) as cursor:
        cursor.execute(f"SELECT @@SESSION.{variable}")
        (before,) = cursor.fetchone()  # type: ignore[misc]
        cursor.execute(f"SET SESSION {variable} = {limit}")
    try:
        yield
    finally:
        if not connection.invalidated:
            with closing(connection.connection.cursor()) as cursor:
                cursor.execute(f"SET SESSION {variable} = {before}")


@contextmanager
def _limited_clickhouse(connection: sa.Connection, budget: Budget) -> Iterator[None]:
    """Limit each statement, and leave the connection as its URL has set it up afterwards; a user may not be let do that."""
    client: Any = connection.connection.dbapi_connection.client  # type: ignore[union-attr]
    if client.server_settings["max_execution_time"].readonly:
        yield
        return
    before = client.get_client_setting("max_execution_time")
    client.set_client_setting("max_execution_time", budget.limit.total_seconds())
    try:
        yield
    finally:
        client.set_client_setting("max_execution_time", before or 0)


_LIMITED: dict[str, Callable[[sa.Connection, Budget], AbstractContextManager[None]]] = {
    "sqlite": _limited_sqlite,
    "postgresql": _limited_postgresql,
    "mysql": _limited_mysql,
    "mariadb": _limited_mysql,
    "clickhousedb": _limited_clickhouse,
}


def _milliseconds(budget: Budget) -> int:
    return max(1, round(budget.limit.total_seconds() * 1000))


# ---- sizes -----------------------------------------------------------------------------------------------------------


def table_sizes(connection: sa.Connection, tables: Collection[sa.Table]) -> dict[str, int]:
    """The bytes that each of `tables` takes with its indexes, by full name; what cannot be told cheaply is left out."""
    found = _SIZES[connection.dialect.name](connection, tables) if connection.dialect.name in _SIZES else {}
    return {name: int(size) for name, size in found.items() if size is not None}


def database_size(connection: sa.Connection) -> int | None:
    """The bytes of a SQLite database, with all that others keep in it; None for other databases."""
    if connection.dialect.name != "sqlite":
        return None
    pages = sa.text("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
    return int(connection.scalar(pages) or 0)


def data_folder(connection: sa.Connection) -> Path | None:
    """Where the files of the database are; None: it does not tell, is on another machine, or keeps nothing on a disk."""
    url, name = connection.engine.url, connection.dialect.name
    if name == "sqlite":
        return (
            Path(url.database).resolve().parent
            if url.database and shared_connection(connection.engine) is None
            else None
        )
    host = url.host or url.query.get("host") or ""
    if not isinstance(host, str) or not (host in LOCAL_HOSTS or host.startswith("/")):
        return None
    if name == "postgresql":  # it shows the setting to some roles alone, and to others nothing
        found = connection.scalar(sa.text("SELECT setting FROM pg_settings WHERE name = 'data_directory'"))
    else:
        found = connection.scalar(sa.text("SELECT @@datadir")) if name in MYSQL else None
    return Path(found) if found else None


LOCAL_HOSTS = ("", "localhost", "127.0.0.1", "::1")
LARGEST_WALKED = 256 << 20
"""Bytes of a SQLite database of which each page is looked at to measure tables: a quarter of a second."""


def _sizes_sqlite(connection: sa.Connection, tables: Collection[sa.Table]) -> dict[str, int]:
    if (database_size(connection) or 0) > LARGEST_WALKED:
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


def _sizes_postgresql(connection: sa.Connection, tables: Collection[sa.Table]) -> dict[str, int]:
    size = sa.text("SELECT pg_total_relation_size(to_regclass(:name))")
    quoted = connection.dialect.identifier_preparer.format_table
    return {table.fullname: connection.scalar(size, {"name": quoted(table)}) for table in tables}


def _sizes_mysql(connection: sa.Connection, tables: Collection[sa.Table]) -> dict[str, int]:
    size = sa.text(
        "SELECT data_length + index_length FROM information_schema.tables "
        "WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :name"
    )
    return {table.fullname: connection.scalar(size, {"schema": table.schema, "name": table.name}) for table in tables}


def _sizes_clickhouse(connection: sa.Connection, tables: Collection[sa.Table]) -> dict[str, int]:
    size = sa.text(
        "SELECT total_bytes FROM system.tables WHERE database = COALESCE(:schema, currentDatabase()) AND name = :name"
    )
    return {table.fullname: connection.scalar(size, {"schema": table.schema, "name": table.name}) for table in tables}


_SIZES: dict[str, Callable[[sa.Connection, Collection[sa.Table]], Mapping[str, Any]]] = {
    "sqlite": _sizes_sqlite,
    "postgresql": _sizes_postgresql,
    "mysql": _sizes_mysql,
    "mariadb": _sizes_mysql,
    "clickhousedb": _sizes_clickhouse,
}


def row_count(connection: sa.Connection, table: sa.Table) -> int | None:
    """How many rows ClickHouse has, which it knows without a look at them; None for other databases."""
    if connection.dialect.name not in CLICKHOUSE:
        return None
    return connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0


# ---- writing ---------------------------------------------------------------------------------------------------------


@contextmanager
def lock_wait(connection: sa.Connection, milliseconds: int) -> Iterator[None]:
    """Wait at most so long for another writer of the SQLite database; other databases let writers insert side by side."""
    if connection.dialect.name != "sqlite":
        yield
        return
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
def overwriting(connection: sa.Connection) -> Iterator[None]:
    """Leave nothing of what is replaced or deleted in the pages of a SQLite database; other databases have no such switch."""
    if connection.dialect.name != "sqlite":
        yield
        return
    driver: Any = connection.connection.dbapi_connection
    with closing(driver.cursor()) as cursor:
        before = cursor.execute("PRAGMA secure_delete").fetchone()[0]
        cursor.execute("PRAGMA secure_delete = ON")
        try:
            yield
        finally:
            cursor.execute(f"PRAGMA secure_delete = {before:d}")


@contextmanager
def alone_with(connection: sa.Connection, table: sa.Table) -> Iterator[None]:
    """Within a transaction: have no other process in this block for `table`, where the database does not see to it by itself."""
    if connection.dialect.name == "postgresql":
        name = connection.dialect.identifier_preparer.format_table(table)
        connection.exec_driver_sql(f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE")
        yield
    elif connection.dialect.name in MYSQL:
        got = connection.scalar(sa.select(sa.func.get_lock(table.fullname, 1)))
        try:
            if not got:
                raise sa.exc.OperationalError("GET_LOCK", None, Exception("another process has it"))
            yield
        finally:
            connection.scalar(sa.select(sa.func.release_lock(table.fullname)))
    else:
        yield


def empty(connection: sa.Connection, table: sa.Table) -> None:
    """Delete all rows of a small table, and what was in its file: PostgreSQL and MySQL would keep it for long.

    MySQL commits first. Where the user may not truncate, the rows are deleted as usual.
    """
    if connection.dialect.name in ("postgresql", *MYSQL):
        name = connection.dialect.identifier_preparer.format_table(table)
        try:
            with connection.begin_nested():
                connection.exec_driver_sql(f"TRUNCATE TABLE {name}")
            return
        except sa.exc.ProgrammingError:
            pass
        except sa.exc.OperationalError as error:
            if "SAVEPOINT" in str(error.orig):  # it committed, and with that ended the savepoint
                return
    connection.execute(sa.delete(table))


def delete_at_once(connection: sa.Connection, table: sa.Table, where: sa.ColumnElement[bool]) -> int | None:
    """Delete in ClickHouse by one statement what others delete in small pieces; how many rows. None for other databases.

    Each such statement marks rows in all files in which there are some, so that one is better than many.
    """
    if connection.dialect.name not in CLICKHOUSE:
        return None
    rows = connection.scalar(sa.select(sa.func.count()).select_from(table).where(where)) or 0
    if rows:
        connection.execute(sa.delete(table).where(where))
    return rows


def overwrite_deleted(connection: sa.Connection, table: sa.Table) -> None:
    """Write the files of ClickHouse anew in which rows are marked as deleted, without these, and wait for the end of it."""
    name = connection.dialect.identifier_preparer.format_table(table)
    connection.exec_driver_sql(f"ALTER TABLE {name} APPLY DELETED MASK SETTINGS mutations_sync = 2")


def is_locked(engine: sa.Engine, error: Exception) -> bool:
    """Whether `error` says that another writer holds the SQLite database."""
    # MySQL says "Account is locked", which does not pass
    sqlite = engine.dialect.name == "sqlite"
    return sqlite and isinstance(error, sa.exc.OperationalError) and "locked" in str(error.orig)


def is_overloaded(error: sa.exc.SQLAlchemyError) -> bool:
    """Whether `error` says that ClickHouse takes no rows for now, and not for their own sake."""
    return _clickhouse_code(error) in CLICKHOUSE_OVERLOADED


def refuses_values(error: sa.exc.SQLAlchemyError) -> bool:
    """Whether `error` says that ClickHouse cannot take a row for its values, or for a CONSTRAINT of the table."""
    return _clickhouse_code(error) in CLICKHOUSE_REFUSALS


CLICKHOUSE_REFUSALS = (6, 27, 38, 41, 53, 69, 70, 72, 117, 131, 321, 349, 469)
"""What cannot be parsed, converted or held by its column, and what violates a constraint."""


def _clickhouse_code(error: sa.exc.SQLAlchemyError) -> int | None:
    code = re.match(r"Code: (\d+)\.", str(getattr(error, "orig", None)))
    return None if code is None else int(code[1])


CLICKHOUSE_OVERLOADED = (159, 202, 209, 210, 241, 242, 243, 252, 319)
"""It took too long, has too many queries, lost a connection twice over, has no memory, only reads, has no space on its disk,
has too many parts, and does not know what became of an insert."""


def is_conflict(error: sa.exc.DBAPIError) -> bool:
    """Whether another transaction of the same kind was in the way: MySQL says so where others say that a key is taken."""
    return isinstance(error, sa.exc.IntegrityError) or getattr(error.orig, "args", (None,))[0] in MYSQL_CONFLICTS


MYSQL_CONFLICTS = (1020, 1205, 1213)
"""The row changed since the snapshot, a lock was waited for too long, and two transactions waited for one another."""


def batches(
    connection: sa.Connection, query: sa.Select[Any], date: sa.Column[Any], key: sa.Column[Any], *, size: int
) -> Iterator[list[Sequence[Any]]]:
    """The rows of `query`, whose first columns are `date` and `key`, in their order, so many at a time: each column's values.

    Each batch is a statement of its own that begins behind the last row, so that other statements may run on the
    connection in between, and its transaction may end: one that is not read to its end keeps SQLite's writers waiting.
    """
    query = query.order_by(date, key)
    read = _rows_of_sqlite if connection.dialect.name == "sqlite" else _rows
    columns, at, last = read(connection, query.limit(size))
    while columns:
        yield columns
        if len(columns[0]) < size:
            return
        behind = sa.and_(date >= at, sa.or_(date > at, key > last))
        columns, at, last = read(connection, query.where(behind).limit(size))


def _rows(connection: sa.Connection, query: sa.Select[Any]) -> tuple[list[Sequence[Any]], Any, Any]:
    """The columns of what `query` finds, none if it finds nothing, and the first two values of the last row."""
    rows = connection.execute(query).all()
    # twice as fast as zip(), which makes an iterator for each row
    columns: list[Sequence[Any]] = [[row[place] for row in rows] for place in range(len(rows[0]))] if rows else []
    return (columns, columns[0][-1], columns[1][-1]) if rows else ([], None, None)


def _rows_of_sqlite(connection: sa.Connection, query: sa.Select[Any]) -> tuple[list[Sequence[Any]], Any, Any]:
    """The same without an object of SQLAlchemy's for each row, which would take a fifth of all the time of a backfill.

    The last row's values are as SQLite has them: its dates are text, and need not be written as SQLAlchemy writes them.
    """
    dialect = connection.dialect
    fits = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in query.selected_columns]
    result = connection.execute(query)
    errors = dialect.loaded_dbapi.Error
    try:
        rows = result.cursor.fetchall()
        columns: list[Sequence[Any]] = [
            column if fit is None else list(map(fit, column))
            for column, fit in zip(zip(*rows, strict=True), fits, strict=False)
        ]
    except errors as error:
        raise sa.exc.DBAPIError.instance(str(query), None, error, errors, dialect=dialect) from error
    finally:
        result.close()
    at, last = (sa.literal(value, _AsItIs()) for value in rows[-1][:2]) if rows else (None, None)
    return columns, at, last


class _AsItIs(sa.types.UserDefinedType[Any]):
    """Of a value that goes to the driver as it came from there."""

    cache_ok = True


def create_index(engine: sa.Engine, table: sa.Table, column: sa.Column[Any]) -> None:
    """Create an index on `column`, which the model does not declare, and leave the model's metadata as it is.

    PostgreSQL makes it while requests go on being recorded: elsewhere that costs seconds, there it would block inserts.
    """
    twin = sa.Table(table.name, sa.MetaData(), sa.Column(column.name, column.type), schema=table.schema)
    index = sa.Index(f"ix_{table.name}_{column.name}", twin.c[column.name], postgresql_concurrently=True)
    postgresql = engine.dialect.name == "postgresql"
    with engine.connect().execution_options(**({"isolation_level": "AUTOCOMMIT"} if postgresql else {})) as connection:
        index.create(connection)
        connection.commit()


class _Exact(FunctionElement[Any]):
    name = "exact"
    inherit_cache = True

    def __init__(self, column: sa.ColumnElement[Any]) -> None:
        super().__init__(column)
        self.type = column.type


def exact(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """`column` as Python sees it, to be grouped by, compared and added up.

    MySQL takes text for equal whatever its case, its accents and the spaces at its end, and shows fewer digits of a number
    of single precision than it reckons with.
    """
    text = isinstance(column.type, sa.String)
    return _Exact(column) if text or isinstance(column.type, sa.Float) else column


@compiles(_Exact)
def _exact(element: _Exact, compiler: Any, **kw: Any) -> str:
    (column,) = element.clauses
    return str(compiler.process(column, **kw))


@compiles(_Exact, "mysql")
@compiles(_Exact, "mariadb")
def _exact_mysql(element: _Exact, compiler: Any, **kw: Any) -> str:
    column = _exact(element, compiler, **kw)
    if isinstance(element.type, sa.Float):
        return column if isinstance(element.type, sa.Double) else f"CAST({column} AS DOUBLE)"
    # utf8mb4_bin, which both know, takes spaces at the end for nothing
    collation = "utf8mb4_nopad_bin" if compiler.dialect.is_mariadb else "utf8mb4_0900_bin"
    return f"CONVERT({column} USING utf8mb4) COLLATE {collation}"


def can_hold(connection: sa.Connection, value: Any) -> bool:
    """Whether a column of the database could hold `value`; what it cannot hold equals nothing that is stored.

    No driver takes half a surrogate pair, and PostgreSQL no NUL in text.
    """
    if not isinstance(value, str):
        return True
    whole = value.isascii() or value.encode("utf-8", "ignore").decode("utf-8") == value
    return whole and not ("\0" in value and connection.dialect.name == "postgresql")


class _Extreme(FunctionElement[Any]):
    inherit_cache = True

    def __init__(self, column: sa.ColumnElement[Any]) -> None:
        super().__init__(column)
        self.type = column.type


class lowest(_Extreme):  # noqa: N801 - a function of SQL
    """The lowest value of a column; NULL if there is none, where ClickHouse's own `min` is 1970."""

    name = "min"
    inherit_cache = True


class highest(_Extreme):  # noqa: N801 - as above
    """The highest value of a column; NULL if there is none, as above."""

    name = "max"
    inherit_cache = True


@compiles(lowest)
@compiles(highest)
def _extreme(element: _Extreme, compiler: Any, **kw: Any) -> str:
    (column,) = element.clauses
    return f"{element.name}({compiler.process(column, **kw)})"


@compiles(lowest, "clickhousedb")
@compiles(highest, "clickhousedb")
def _extreme_clickhouse(element: _Extreme, compiler: Any, **kw: Any) -> str:
    return f"if(count() = 0, NULL, {_extreme(element, compiler, **kw)})"


class _OneOf(FunctionElement[bool]):
    name = "one_of"
    type = sa.Boolean()
    inherit_cache = True


def one_of(column: sa.ColumnElement[str], values: Collection[str]) -> sa.ColumnElement[bool]:
    """`column IN (values)` with the values as one parameter, however many there are.

    A filter on a derived dimension can select thousands of raw values, more than any database takes as parameters.
    """
    return _OneOf(column, sa.literal(json.dumps(sorted(values)), sa.Text()))


@compiles(_OneOf, "sqlite")
def _one_of_sqlite(element: _OneOf, compiler: Any, **kw: Any) -> str:
    column, values = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608 - both are compiled by SQLAlchemy # nosec B608


@compiles(_OneOf, "postgresql")
@compiles(_OneOf, "cockroachdb")
def _one_of_postgresql(element: _OneOf, compiler: Any, **kw: Any) -> str:
    column, values = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{column} IN (SELECT json_array_elements_text(CAST({values} AS json)))"


@compiles(_OneOf, "mysql")
@compiles(_OneOf, "mariadb")
def _one_of_mysql(element: _OneOf, compiler: Any, **kw: Any) -> str:
    column, values = (compiler.process(clause, **kw) for clause in element.clauses)
    return (
        f"{column} IN (SELECT v FROM JSON_TABLE({values}, '$[*]' "  # noqa: S608 - as above # nosec B608
        "COLUMNS (v TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$')) AS listed)"
    )


@compiles(_OneOf, "clickhousedb")
def _one_of_clickhouse(element: _OneOf, compiler: Any, **kw: Any) -> str:
    column, values = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{column} IN (SELECT arrayJoin(JSONExtract({values}, 'Array(String)')))"
