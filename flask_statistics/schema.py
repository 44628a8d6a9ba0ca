"""The tables that an app needs, and what those in its databases lack: a model grows, and its table does not grow with it.

Reads what the databases say of their tables, and writes the statements that add what is missing; `flask statistics init`
runs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.schema import CreateColumn

from . import databases
from .models import OURS, RawTable
from .state import State


@dataclass(frozen=True, slots=True)
class Lack:
    """A table that is there, and lacks columns."""

    table: sa.Table
    columns: tuple[sa.Column[object], ...]

    def __str__(self) -> str:
        names = ", ".join(column.name for column in self.columns)
        return f"The table {self.table.fullname} lacks columns that its model has: {names}."

    def additions(self, dialect: sa.Dialect) -> list[str]:
        """The statements that add them.

        They take NULL where the model gives no value to rows that are there already, whatever the model says.
        """
        name = dialect.identifier_preparer.format_table(self.table)
        return [f"ALTER TABLE {name} ADD COLUMN {_definition(column, dialect)}" for column in self.columns]


def _definition(column: sa.Column[object], dialect: sa.Dialect) -> str:
    added = column._copy() if column.nullable or column.server_default is not None else None
    if added is None:
        added = sa.Column(column.name, column.type, nullable=True)
    return str(CreateColumn(added).compile(dialect=dialect)).strip()


def our_tables(state: State) -> list[sa.Table]:
    """The raw table, then those of this package."""
    raw = state.raw.table
    metadatas = dict.fromkeys((raw.metadata, state.metadata))
    return [raw, *(table for metadata in metadatas for table in metadata.sorted_tables if table.info.get(OURS))]


def engine_of(state: State, table: sa.Table) -> sa.Engine:
    """Where one of these tables is."""
    return state.engine() if table.metadata is state.raw.table.metadata else state.our_engine()


def lacking(state: State, raw: sa.Engine | sa.Connection, ours: sa.Engine | sa.Connection) -> list[Lack]:
    """What the tables of the app lack, the raw table first; missing tables, and those of ClickHouse, are left out.

    `raw` and `ours` are where the raw table and our own tables are looked up. Raises what the database does.
    """
    inspectors: dict[int, sa.Inspector] = {}
    found = []
    for table in our_tables(state):
        place = raw if engine_of(state, table) is state.engine() else ours
        if not databases.of(place).has_transactions:
            continue
        inspector = inspectors.setdefault(id(place), sa.inspect(place))
        if not inspector.has_table(table.name, schema=table.schema):
            continue
        there = {column["name"].lower() for column in inspector.get_columns(table.name, schema=table.schema)}
        missing = tuple(column for column in table.columns if column.name.lower() not in there)
        if missing:
            found.append(Lack(table, missing))
    return found


def missing(state: State, ours: sa.Engine | sa.Connection) -> list[str]:
    """The tables of marks and saved views that are not there, which no page fails of. Raises what the database does."""
    inspector = sa.inspect(ours)
    tables = (state.kept.mark, state.kept.view)
    return [table.fullname for table in tables if not inspector.has_table(table.name, schema=table.schema)]


def has_date_index(raw: RawTable, inspector: sa.Inspector) -> bool:
    """Whether the raw table has an index that begins with the date. Raises what the database does."""
    date, name, schema = raw.columns["date"].name, raw.table.name, raw.table.schema
    keys: list[list[Any]] = [[*inspector.get_pk_constraint(name, schema=schema)["constrained_columns"]]]
    keys += [[*index["column_names"]] for index in inspector.get_indexes(name, schema=schema)]
    keys += [[*constraint["column_names"]] for constraint in inspector.get_unique_constraints(name, schema=schema)]
    return any(key[:1] == [date] for key in keys)
