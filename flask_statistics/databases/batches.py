"""Many rows, read in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from . import of


def read_in_batches(
    connection: sa.Connection, query: sa.Select[Any], date: sa.Column[Any], key: sa.Column[Any], *, size: int
) -> Iterator[list[Sequence[Any]]]:
    """The rows of `query`, whose first columns are `date` and `key`, in their order, so many at a time: each column's values.

    Each batch is a statement of its own that begins behind the last row, so that other statements may run on the
    connection in between, and its transaction may end: one that is not read to its end keeps SQLite's writers waiting.
    """
    query = query.order_by(date, key)
    read = of(connection).columns_of
    columns, at, last = read(connection, query.limit(size))
    while columns:
        yield columns
        if len(columns[0]) < size:
            return
        behind = sa.and_(date >= at, sa.or_(date > at, key > last))
        columns, at, last = read(connection, query.where(behind).limit(size))
