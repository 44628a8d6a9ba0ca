"""Record to row, and rows to the raw table: user agent parsed, values made to fit the user's columns. For all writers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from .. import user_agents
from ..models import RawTable

ROWS_A_STEP = 50
"""Rows that SQLite gets at once: old versions take no more than 999 values."""


def row_of(values: Mapping[str, Any], raw: RawTable) -> dict[str, Any]:
    """A record, given by its values, as parameters of an insert into the raw table."""
    agent = user_agents.parse(values["user_agent"])
    return raw.row({**values, "browser": agent.browser, "platform": agent.platform, "device": agent.device})


def insert(connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert `rows`, which have the same keys. Raises the database's error.

    On SQLite many in one step: its driver lets go of the interpreter at each, and to get it back in a busy process a
    thread waits for as long as a request takes.
    """
    first = 0
    if connection.dialect.name == "sqlite" and len(rows) >= ROWS_A_STEP:
        together = _together(table, connection.dialect, tuple(rows[0]))
        if together is not None:
            statement, fits = together
            for first in range(ROWS_A_STEP, len(rows) + 1, ROWS_A_STEP):
                some = rows[first - ROWS_A_STEP : first]
                values = [row[key] if fit is None else fit(row[key]) for row in some for key, fit in fits]
                connection.exec_driver_sql(statement, tuple(values))
    if first < len(rows):
        connection.execute(sa.insert(table), list(rows[first:]))


@lru_cache(maxsize=32)
def _together(
    table: sa.Table, dialect: sa.Dialect, keys: tuple[str, ...]
) -> tuple[str, Sequence[tuple[str, Callable[[Any], Any] | None]]] | None:
    """The statement that inserts `ROWS_A_STEP` rows, and for each of a row's values its key and what makes a parameter of
    it (None: it is one); None: the table has defaults that are made for each row."""
    compiled = sa.insert(table).compile(dialect=dialect, column_keys=list(keys))
    if compiled.insert_prefetch or compiled.positiontup is None:
        return None
    head, _, values = compiled.string.rpartition(" VALUES ")
    kinds = [(name, compiled.binds[name].type.dialect_impl(dialect)) for name in compiled.positiontup]
    fits = [(name, kind.bind_processor(dialect)) for name, kind in kinds]
    return f"{head} VALUES {', '.join([values] * ROWS_A_STEP)}", fits
