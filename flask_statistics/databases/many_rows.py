"""Many rows into a table of SQLite at once: its driver lets go of the interpreter at each step, so there shall be few of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

STEPS = (500, 256, 64, 16, 4, 1)
"""Numbers of rows that SQLite gets at once; the largest is what a spool moves at a time."""
_USUAL_MOMENT = "0001-02-03 04:05:06.000007"
"""As SQLAlchemy stores instants in SQLite, unless told otherwise: also what Python writes."""
MOST_PARAMETERS = 32_766 if sqlite3.sqlite_version_info >= (3, 32) else 999
"""Of one statement of SQLite."""


@dataclass(frozen=True, slots=True)
class ManyRows:
    """How rows with some keys get into a table of SQLite."""

    statements: dict[int, str]
    """For so many rows, the largest number first."""
    names: Sequence[str]
    """The keys of a row in the order of the parameters."""
    values: Callable[[dict[str, Any]], tuple[Any, ...]]
    """The values of a row in the order of the parameters."""
    processors: Sequence[tuple[int, Callable[[Any], Any]]]
    """What makes a parameter of a value, at those places where it is none."""

    @property
    def statement(self) -> str:
        """The statement for one row."""
        return self.statements[1]

    def insert_rows(self, connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
        """Insert `rows`, as many at once as there is a statement for."""
        place = 0
        while place < len(rows):
            step = next(step for step in self.statements if step <= len(rows) - place)
            values = [value for row in rows[place : place + step] for value in self.parameters(row)]
            connection.exec_driver_sql(self.statements[step], tuple(values))
            place += step

    def insert_columns(self, connection: sa.Connection, columns: Mapping[str, Sequence[Any]]) -> None:
        """Insert rows that are given column by column, as many at once as SQLite takes."""
        parameters = tuple(chain.from_iterable(zip(*self.ordered(columns), strict=True)))
        step = MOST_PARAMETERS // len(columns) * len(columns)
        for place in range(0, len(parameters), step):
            some = parameters[place : place + step]
            connection.exec_driver_sql(self.of(len(some) // len(columns)), some)

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
def many_rows(table: sa.Table, dialect: sa.Dialect, keys: tuple[str, ...]) -> ManyRows | None:
    """None: another driver than Python's own, or SQLAlchemy makes more than the values, such as defaults."""
    if dialect.paramstyle != "qmark":
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
    return ManyRows(
        statements={
            step: f"{head} VALUES {', '.join([values] * step)}"
            for step in STEPS
            if step * len(names) <= MOST_PARAMETERS
        },
        names=names,
        values=itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],),
        processors=[(place, process) for place, process in processors if process is not None],
    )
