"""Reads what no index helps with out of the raw table, a piece at a time where a reader of SQLite keeps its writers waiting."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from . import databases
from .models import RawTable
from .queries.in_pieces import FIRST_PIECE, next_size


def scanned(engine: sa.Engine, raw: RawTable, query: sa.Select[Any]) -> Iterator[Sequence[sa.Row[Any]]]:
    """The rows that `query` finds in the raw table, in pieces. Nothing is open between two of them.

    What it sums up is summed up for each piece. Where keys are no numbers, there is one piece.
    """
    key = raw.key
    with engine.connect() as connection:
        locks_out = databases.of(connection).readers_keep_writers_waiting(connection)
        if not locks_out or key.type.python_type is not int:
            yield connection.execute(query).all()
            return
        lowest, highest = (connection.scalar(sa.select(end(key))) for end in (sa.func.min, sa.func.max))
        low, size = (0 if lowest is None else lowest - 1), FIRST_PIECE
        while highest is not None and low < highest:
            connection.rollback()
            began = time.thread_time()
            found = connection.execute(query.where(key > low, key <= low + size)).all()
            connection.rollback()
            low, size = low + size, next_size(size, time.thread_time() - began)
            yield found
