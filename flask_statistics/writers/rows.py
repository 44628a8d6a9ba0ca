"""Record to row, and rows to the raw table: user agent parsed, values made to fit the user's columns. For all writers."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import chain, islice
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from .. import user_agents
from ..models import RawTable
from ..record import FIELDS, Record

STEPS = (500, 256, 64, 16, 4, 1)
"""Numbers of rows that SQLite gets at once; the largest is what a spool moves at a time."""
_USUAL_MOMENT = "0001-02-03 04:05:06.000007"
"""As SQLAlchemy stores instants in SQLite, unless told otherwise: also what Python writes."""
BATCH = 5_000
"""Rows of many that are sent at once."""
MOST_PARAMETERS = 32_766 if sqlite3.sqlite_version_info >= (3, 32) else 999
"""Of one statement of SQLite."""


def row_of(record: Record, raw: RawTable) -> dict[str, Any]:
    """A record as parameters of an insert into the raw table."""
    return raw.row({**raw.own, **record.values(), **user_agents.columns_of(record.user_agent)})


def rows_of(records: Sequence[Record], raw: RawTable) -> list[dict[str, Any]]:
    """The same of many, column by column: in 14 us a row, against 36 one by one."""
    agents = [user_agents.columns_of(record.user_agent) for record in records]

    def column(name: str) -> list[Any]:
        if name in FIELDS:
            return [getattr(record, name) for record in records]
        if name in raw.own:  # a spool may hold requests from before the dimension was added
            return [(record.own or {}).get(name) for record in records]
        return [agent[name] for agent in agents]

    return _across(raw.fitted({name: column(name) for name, _, _ in raw.fits}))


def _across(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Rows of columns."""
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def insert_rows(connection: sa.Connection, raw: RawTable, rows: Iterable[Mapping[str, Any]]) -> Iterator[int]:
    """Insert `rows` (values by attribute name) in batches; gives the size of each one after it is sent."""
    rows = iter(rows)
    while some := list(islice(rows, BATCH)):
        batch = _across(raw.fitted({name: [row[name] for row in some] for name in some[0]}))
        insert(connection, raw.table, batch)
        yield len(batch)


def insert_columns(
    connection: sa.Connection,
    raw: RawTable,
    names: Sequence[str],
    rows: Sequence[tuple[Any, ...]],
    *,
    fitting: Collection[str] = (),
) -> None:
    """Insert `rows`, whose values are those of the attributes `names`, as many as there are. Raises the database's error.

    Of the attributes `fitting`, all values are known to fit their columns.

    Many thousands at a time, in half the time of `insert`. SQLite gets as many in one step as it takes: meanwhile other threads
    have the interpreter, and at the end of each step this one may wait for it.
    """
    if not rows:
        return
    columns = raw.fitted(dict(zip(names, zip(*rows, strict=True), strict=True)), fitting=fitting)
    keys = tuple(columns)
    translated = connection.get_execution_options().get("schema_translate_map")
    ours = None if translated else _insertion(raw.table, connection.dialect, keys)
    if ours is None:
        insert(connection, raw.table, _across(columns))
        return
    ordered = ours.ordered(columns)
    parameters = tuple(chain.from_iterable(zip(*ordered, strict=True)))
    step = MOST_PARAMETERS // len(keys) * len(keys)
    try:
        for place in range(0, len(parameters), step):
            some = parameters[place : place + step]
            connection.exec_driver_sql(ours.of(len(some) // len(keys)), some)
    except (ValueError, TypeError, OverflowError) as error:
        raise sa.exc.StatementError(str(error), ours.statements[1], None, error) from error


def insert(connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert `rows`, which have the same keys. Raises the database's error.

    On SQLite many in one step: its driver lets go of the interpreter at each, and to get it back in a busy process a
    thread waits for as long as a request takes. 500 rows take 8 ms (23 where another thread computes), against 22 (36) by
    SQLAlchemy's executions of one row each, and 17 (29) by one statement that reads JSON.
    """
    if not rows:
        return
    statement = sa.insert(table)
    translated = connection.get_execution_options().get("schema_translate_map")
    ours = None if translated else _insertion(table, connection.dialect, tuple(rows[0]))
    try:
        if ours is None:
            connection.execute(statement, list(rows))
        else:
            _insert_together(connection, ours, rows)
    except (ValueError, TypeError, OverflowError) as error:
        # a value that the driver, or a type of the user's, does not take; usually SQLAlchemy says it like this
        raise sa.exc.StatementError(str(error), str(statement), None, error) from error


def _insert_together(connection: sa.Connection, ours: _Insertion, rows: Sequence[dict[str, Any]]) -> None:
    place = 0
    while place < len(rows):
        step = next(step for step in ours.statements if step <= len(rows) - place)
        values = [value for row in rows[place : place + step] for value in ours.parameters(row)]
        connection.exec_driver_sql(ours.statements[step], tuple(values))
        place += step


@dataclass(frozen=True, slots=True)
class _Insertion:
    """How rows with some keys get into a table of SQLite."""

    statements: dict[int, str]
    """For so many rows, the largest number first."""
    names: Sequence[str]
    """The keys of a row in the order of the parameters."""
    values: Callable[[dict[str, Any]], tuple[Any, ...]]
    """The values of a row in the order of the parameters."""
    processors: Sequence[tuple[int, Callable[[Any], Any]]]
    """What makes a parameter of a value, at those places where it is none."""

    def of(self, rows: int) -> str:
        """The statement for so many rows."""
        return self.statements[1] + f", ({', '.join('?' * len(self.names))})" * (rows - 1)

    def ordered(self, columns: Mapping[str, Sequence[Any]]) -> list[Sequence[Any]]:
        """The parameters of many rows, given column by column."""
        ordered = [columns[name] for name in self.names]
        for place, process in self.processors:
            ordered[place] = [*map(process, ordered[place])]
        return ordered

    def parameters(self, row: dict[str, Any]) -> list[Any]:
        parameters = list(self.values(row))
        for place, process in self.processors:
            parameters[place] = process(parameters[place])
        return parameters


def _processor(kind: Any, dialect: sa.Dialect) -> Callable[[Any], Any] | None:
    """What makes a parameter of a value of a type; None: nothing needs to be done."""
    process: Callable[[Any], Any] | None = kind.bind_processor(dialect)
    if process is None or type(kind) is not sqlite.DATETIME or process(datetime(1, 2, 3, 4, 5, 6, 7)) != _USUAL_MOMENT:
        return process

    def quick(value: Any) -> Any:
        if type(value) is not datetime or value.tzinfo is not None:
            return process(value)
        return f"{value}" if value.microsecond else f"{value}.000000"

    return quick


@lru_cache(maxsize=32)
def _insertion(table: sa.Table, dialect: sa.Dialect, keys: tuple[str, ...]) -> _Insertion | None:
    """None: another database, or the table has defaults or expressions beside the values, which SQLAlchemy knows to make."""
    if dialect.name != "sqlite" or dialect.paramstyle != "qmark":
        return None
    compiled = sa.insert(table).inline().compile(dialect=dialect, column_keys=list(keys))
    if compiled.insert_prefetch or compiled.positiontup is None or sorted(compiled.positiontup) != sorted(keys):
        return None
    head, _, values = compiled.string.rpartition(" VALUES ")
    if values != f"({', '.join('?' * len(keys))})":
        return None
    names = compiled.positiontup
    kinds = [compiled.binds[name].type.dialect_impl(dialect) for name in names]
    processors = [(place, _processor(kind, dialect)) for place, kind in enumerate(kinds)]
    return _Insertion(
        statements={
            step: f"{head} VALUES {', '.join([values] * step)}"
            for step in STEPS
            if step * len(names) <= MOST_PARAMETERS
        },
        names=names,
        values=itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],),
        processors=[(place, process) for place, process in processors if process is not None],
    )
