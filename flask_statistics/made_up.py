"""Stores made-up requests, and what their statements took, as real ones would be: for the demo and for `demo-data`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from . import traffic_waits
from .latency import bin_of
from .state import State
from .statements import storing
from .statements.tally import Statement, Sum, Sums
from .timing.story import MANY
from .writers.rows import insert_rows

Row = dict[str, Any]


def store(connection: sa.Connection, state: State, rows: Iterable[Row], *, now: datetime) -> Iterator[int]:
    """Insert `rows` in the transaction of `connection`; how many, time and again. What they sent is added at the end."""
    sums: Sums = {}
    yield from insert_rows(connection, state.raw, rows if state.statements is None else _counted(rows, sums))
    if state.statements is not None:
        for piece in storing.pieces(sums):
            storing.add(connection, state.statements, piece, now)


def _counted(rows: Iterable[Row], sums: Sums) -> Iterator[Row]:
    """`rows`, what they sent added to `sums`."""
    for row in rows:
        start = row["date"].replace(minute=0, second=0, microsecond=0)
        for sent in traffic_waits.statements(row["route"], row["response_time"]):
            each = sent.total_us / sent.times
            key = (start, Statement(sent.digest, sent.text, sent.place, row["route"]))
            sums.setdefault(key, Sum()).add(
                Sum(
                    calls=sent.times,
                    requests=1,
                    repeated=int(sent.times >= MANY),
                    total_us=sent.total_us,
                    longest_us=sent.longest_us,
                    bins={bin_of(each / 1_000_000): sent.times},
                )
            )
        yield row
