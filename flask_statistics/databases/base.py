"""What each database does in its own way, as one that nobody knows does it: every method here is overridden somewhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa

from ..models import RawTable
from .causes import Cause

if TYPE_CHECKING:
    from .budgets import Budget

LOCAL_HOSTS = ("", "localhost", "127.0.0.1", "::1")

Columns = list[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition of the raw table."""

    name: str
    drop: sa.Executable
    """What drops it with its rows."""
    start: datetime | None
    """Naive UTC; None: it has no first instant."""
    end: datetime
    """Naive UTC, excluded. Of ClickHouse's, which do not tell what may come into them, both are those of their rows."""


class InUse(RuntimeError):
    """Somebody reads the raw table for too long for a partition to be dropped."""


class Insertion(Protocol):
    """Inserts rows with some keys into one table, in few steps. Raises what a driver or a type raises for a value."""

    @property
    def statement(self) -> str:
        """The statement for one row."""

    def insert_rows(self, connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
        """Insert `rows`, which have the same keys."""

    def insert_columns(self, connection: sa.Connection, columns: Mapping[str, Sequence[Any]]) -> None:
        """Insert rows that are given column by column."""


class Database:
    """What is special about a database: nothing. One class a database overrides what is; it keeps no state."""

    title = "the database"
    has_transactions = True
    """Whether several statements can be stored together, or not at all. Our own tables need that."""
    fork_waits_for_transactions = False
    """Whether a process must not be forked while a thread of ours is in a transaction."""
    compares_dates_as_text = False
    deletes_at_once = False
    """Whether `delete_at_once` deletes, and not None."""
    has_date_index = True
    """Whether an index by date makes it quicker; else its tables are sorted by themselves."""
    has_escape = True
    """Whether LIKE has ESCAPE."""

    # ---- connections -------------------------------------------------------------------------------------------------

    def shared_connection(self, engine: sa.Engine) -> Any | None:
        """The DBAPI connection of in-memory SQLite, which the host's session uses too; None anywhere else."""
        return None

    def reading_engine(self, engine: sa.Engine) -> sa.Engine:
        """An engine to read with that never commits or rolls back what the host has open: `engine` itself, in most cases."""
        return engine

    def network_limits(self, driver: str, connect_s: int, silence_s: int) -> Mapping[str, Any]:
        """Arguments of a driver's `connect`: a server that is gone is noticed, be it by packets that nobody answers."""
        return {}

    def limit_engine(self, engine: sa.Engine, *, lock_s: int, statement_s: int | None) -> None:
        """Limit how long each statement of `engine` waits for a lock and how long it takes, if that is not None."""

    def snapshot(self, connection: sa.Connection) -> None:
        """Let all that is read on `connection` from now on be of one moment: the rollup job may write in between.

        Must come before the first statement.
        """
        connection.execution_options(isolation_level="REPEATABLE READ")

    def readers_keep_writers_waiting(self, connection: sa.Connection) -> bool:
        """Whether nobody can commit while somebody reads."""
        return False

    def end_when_idle(self, connection: sa.Connection, limit: timedelta) -> None:
        """Let the server end the transaction when it is told nothing for so long, as by a host that lost its power.

        Else the locks are kept until the network gives the host up, after hours.
        """

    def insertion(self, table: sa.Table, dialect: sa.Dialect, keys: tuple[str, ...]) -> Insertion | None:
        """What inserts rows with these keys in fewer steps than SQLAlchemy does; None: nothing does."""
        return None

    def let_others_write(self, engine: sa.Engine, *, after: float) -> None:
        """Leave SQLite's one lock for those who wait for it, for as long as a transaction held it (seconds); others have many."""

    def limited(self, connection: sa.Connection, budget: Budget) -> AbstractContextManager[None]:
        """Let the database end statements that take longer than `budget`, within the block."""
        return nullcontext()

    # ---- sizes -------------------------------------------------------------------------------------------------------

    def table_sizes(self, connection: sa.Connection, tables: Collection[sa.Table]) -> dict[str, int]:
        """The bytes that each of `tables` takes with its indexes, by full name; what cannot be told cheaply is left out."""
        found = self._sizes(connection, tables)
        return {name: int(size) for name, size in found.items() if size is not None}

    def _sizes(self, connection: sa.Connection, tables: Collection[sa.Table]) -> Mapping[str, Any]:
        return {}

    def database_size(self, connection: sa.Connection) -> int | None:
        """The bytes of a SQLite database, with all that others keep in it; None for other databases."""
        return None

    def data_folder(self, connection: sa.Connection) -> Path | None:
        """Where the files of the database are; None: it does not tell, is on another machine, or keeps nothing on a disk."""
        url = connection.engine.url
        host = url.host or url.query.get("host") or ""
        if not isinstance(host, str) or not (host in LOCAL_HOSTS or host.startswith("/")):
            return None
        found = self._told_folder(connection)
        return Path(found) if found else None

    def _told_folder(self, connection: sa.Connection) -> str | None:
        """The folder, as a server on this machine tells it."""
        return None

    def row_count(self, connection: sa.Connection, table: sa.Table) -> int | None:
        """How many rows a table has, where the database knows it without a look at them; else None."""
        return None

    # ---- writing -----------------------------------------------------------------------------------------------------

    def lock_wait(self, connection: sa.Connection, milliseconds: int) -> AbstractContextManager[None]:
        """Wait at most so long for another writer of the SQLite database; other databases let writers insert side by side."""
        return nullcontext()

    def overwriting(self, connection: sa.Connection) -> AbstractContextManager[None]:
        """Leave nothing of what is replaced or deleted in the pages of the database, where it has a switch for that."""
        return nullcontext()

    def alone_with(self, connection: sa.Connection, table: sa.Table) -> AbstractContextManager[None]:
        """Within a transaction: have no other process in this block for `table`, if the database does not see to it."""
        return nullcontext()

    def empty(self, connection: sa.Connection, table: sa.Table) -> None:
        """Delete all rows of a small table, and what was in its file: some would keep it for long."""
        connection.execute(sa.delete(table))

    def delete_at_once(self, connection: sa.Connection, table: sa.Table, where: sa.ColumnElement[bool]) -> int | None:
        """Delete by one statement what is best deleted so; how many rows. None: it is to be deleted in small pieces."""
        return None

    def overwrite_deleted(self, connection: sa.Connection, table: sa.Table) -> None:
        """Leave nothing in the files of what `delete_at_once` deleted, and wait for the end of it."""

    index_options: Mapping[str, Any] = {}
    """Of the connection on which an index is made."""

    def create_index(self, engine: sa.Engine, table: sa.Table, column: sa.Column[Any]) -> None:
        """Create an index on `column`, which the model does not declare, and leave the model's metadata as it is."""
        twin = sa.Table(table.name, sa.MetaData(), sa.Column(column.name, column.type), schema=table.schema)
        index = sa.Index(f"ix_{table.name}_{column.name}", twin.c[column.name], postgresql_concurrently=True)
        with engine.connect().execution_options(**self.index_options) as connection:
            index.create(connection)
            connection.commit()

    def partitions(self, connection: sa.Connection, raw: RawTable) -> list[Partition]:
        """The partitions of the raw table that end, in the order of their dates; none if it is not partitioned by date."""
        return []

    def drop_partition(self, connection: sa.Connection, partition: Partition) -> None:
        """Drop `partition` and its rows. Raises `InUse`."""
        connection.execute(partition.drop)

    # ---- errors ------------------------------------------------------------------------------------------------------

    def is_timeout(self, original: Any) -> bool:
        """Whether a driver's error says that a statement took too long."""
        return False

    def is_locked(self, error: Exception) -> bool:
        """Whether `error` says that another writer holds the whole database."""
        return False

    def is_conflict(self, error: sa.exc.DBAPIError) -> bool:
        """Whether another transaction of the same kind was in the way."""
        return isinstance(error, sa.exc.IntegrityError)

    def is_overloaded(self, error: sa.exc.SQLAlchemyError) -> bool:
        """Whether `error` says that no rows are taken for now, and not for their own sake."""
        return False

    def refuses_values(self, error: sa.exc.SQLAlchemyError) -> bool:
        """Whether `error`, of no class that says so, says that a row cannot be taken for its values."""
        return False

    def cause(self, original: Any) -> Cause | None:
        """Why the database failed, by the code in a driver's error; None: it has none that is known here."""
        return None

    # ---- reading -----------------------------------------------------------------------------------------------------

    def columns_of(self, connection: sa.Connection, query: sa.Select[Any]) -> tuple[Columns, Any, Any]:
        """The columns of what `query` finds, none if it finds nothing, and the first two values of the last row."""
        rows = connection.execute(query).all()
        # twice as fast as zip(), which makes an iterator for each row
        columns: Columns = [[row[place] for row in rows] for place in range(len(rows[0]))] if rows else []
        return (columns, columns[0][-1], columns[1][-1]) if rows else ([], None, None)

    def quarter_of(self, date: sa.ColumnElement[Any]) -> sa.ColumnElement[int] | None:
        """Quarters of an hour since 1970, where many periods are counted faster by them than each by its edges; else None."""
        return None

    def can_hold(self, value: Any) -> bool:
        """Whether a column of the database could hold `value`; what it cannot hold equals nothing that is stored.

        No driver takes half a surrogate pair.
        """
        return not isinstance(value, str) or value.isascii() or value.encode("utf-8", "ignore").decode("utf-8") == value

    def exact(self, column: str, kind: sa.types.TypeEngine[Any], dialect: Any) -> str:
        """A text or number as Python sees it, to be grouped by, compared and added up."""
        return column

    def extreme(self, function: str, column: str) -> str:
        """The lowest or highest value of a column, NULL if there is none."""
        return f"{function}({column})"

    def one_of(self, column: str, values: str) -> str:
        """Whether `column` is among `values`, a list as JSON."""
        raise sa.exc.CompileError(f"{self.title} has no known way to look a value up in a list")

    def latency_bin(self, column: str, edges: tuple[float, ...]) -> str:
        """The bin of a time or a count, whose `edges` they are."""
        return _bin_cases(edges).replace(":time", column)

    def minute(self, column: str) -> str:
        """What tells the minute of one instant from that of another."""
        number = f"EXTRACT(YEAR FROM {column})"
        for part in ("MONTH", "DAY", "HOUR", "MINUTE"):
            number = f"({number} * 60 + EXTRACT({part} FROM {column}))"
        return number


def truncate(connection: sa.Connection, table: sa.Table) -> None:
    """Delete all rows of a table and what was in its file; where the user may not truncate, the rows alone."""
    name = connection.dialect.identifier_preparer.format_table(table)
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(f"TRUNCATE TABLE {name}")
    except sa.exc.ProgrammingError:
        connection.execute(sa.delete(table))
    except sa.exc.OperationalError as error:
        if "SAVEPOINT" not in str(error.orig):  # it committed, and with that ended the savepoint
            connection.execute(sa.delete(table))


@cache
def _bin_cases(edges: tuple[float, ...]) -> str:
    """`bisect_right(edges, :time)` as nested CASEs, nine deep; the edges are constants of ours."""

    def halve(low: int, high: int) -> str:
        if low == high:
            return str(low)
        middle = (low + high + 1) // 2
        return f"CASE WHEN :time < {edges[middle - 1]!r} THEN {halve(low, middle - 1)} ELSE {halve(middle, high)} END"

    return f"({halve(0, len(edges))})"
