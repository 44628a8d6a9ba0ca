"""What the rollup tables cannot hold, whatever the raw rows are: names without contents, gaps, numbers given twice.

Reads the names of all segments and the tables that number values and visitors; writes nothing.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from ..spans import next_edge
from . import store, writing
from .building import hour_of
from .closing import over_before
from .dictionary import hash_of
from .holder import Holder
from .meta import NEVER, coverage, read_meta
from .store import Header
from .tables import BOTS, DAY, HOUR, MONTH, PEOPLE, PIECE

READ_A_TIME = 10_000
"""Rows of a table of numbers looked at at a time."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not as it must be."""

    start: datetime
    """Of the period that it is of, naive UTC."""
    says: str
    """What it is, as a sentence without its period."""


def structure(holder: Holder) -> list[Difference]:
    """What of the rollup tables cannot be, whatever the raw rows are."""
    tables, found = holder.tables, list[Difference]()
    with holder.engine.connect() as connection:
        meta, covered = read_meta(connection, tables), coverage(connection, tables)
        named = store.headers(connection, tables)
        if covered.start is None or covered.end is None:
            return [Difference(header.start, f"the {header.unit} is of nothing that is rolled up") for header in named]
        if "visitor_key" not in meta:
            return [Difference(covered.start, "the key of the visitors is gone: run 'flask statistics rebuild --all'")]
        found += [Difference(header.start, _cannot_be(header)) for header in impossible(holder, named)]
        found += _outside(named, covered.start, covered.end)
        found += _missing_months(holder, named, covered.start, covered.end)
        ids = {header.id for header in named} | set(json.loads(meta.get(writing.UNNAMED, "[]")))
        for table in tables.of_segments:
            for number in connection.scalars(sa.select(table.c.segment_id).distinct()):
                if number not in ids:
                    found.append(
                        Difference(covered.start, f"{table.name} has rows of a segment {number} that is not there")
                    )
        found += _numbers(holder, connection, meta, covered.start)
    return found


def _cannot_be(header: Header) -> str:
    return f"a {header.unit} to {header.end} of the audience {header.audience} cannot be"


def impossible(holder: Holder, named: Sequence[Header]) -> list[Header]:
    """The segments that begin or end where none can."""
    zone, found = holder.source.zone, []
    for header in named:
        if header.unit == PIECE:
            hour = hour_of(holder, header.start)
            right = hour <= header.start < header.end <= next_edge(hour, "hour", zone)
        else:
            begins = {HOUR: hour_of, DAY: Holder.day_of, MONTH: Holder.month_of}.get(header.unit)
            right = (
                begins is not None
                and begins(holder, header.start) == header.start
                and header.end == next_edge(header.start, header.unit, zone)
            )
        if not right or header.audience not in (PEOPLE, BOTS):
            found.append(header)
    return found


def _outside(named: Sequence[Header], since: datetime, until: datetime) -> Iterator[Difference]:
    """Segments that nothing asks, as they are not within what is rolled up, and those that others are beside."""
    last: dict[tuple[int, bool, str], datetime] = defaultdict(lambda: NEVER)
    for header in named:
        if header.detailed and (header.start < since or header.start >= until):
            yield Difference(
                header.start, f"the {header.unit} is outside of what is rolled up, so that nothing asks it"
            )
        key = (header.audience, header.detailed, "" if header.detailed else header.unit)
        if header.start < last[key]:
            yield Difference(header.start, f"the {header.unit} has requests that another segment has too")
        last[key] = max(last[key], header.end)


def _missing_months(holder: Holder, named: Sequence[Header], since: datetime, until: datetime) -> Iterator[Difference]:
    """Months that are over and whose days are not measured together."""
    limit = over_before(holder, until)
    there = {(header.start, header.audience) for header in named if header.unit == MONTH}
    expected = {
        (holder.month_of(header.start), header.audience) for header in named if header.unit == DAY and header.detailed
    }
    for month, audience in sorted(expected - there):
        if month >= since and next_edge(month, "month", holder.source.zone) <= limit:
            yield Difference(
                month, f"the days of the month are not measured together, of {('people', 'bots')[audience]}"
            )


def _numbers(holder: Holder, connection: sa.Connection, meta: Mapping[str, str], at: datetime) -> Iterator[Difference]:
    """What of the tables that number values and visitors cannot be."""
    value, visitor = holder.tables.value, holder.tables.visitor
    if wrong := len(wrong_values(holder, connection)):
        yield Difference(at, f"{wrong:,} rows of statistics_value have another text, or dimension, than they had")
    if None in {number for name in holder.source.dimensions for number in [_number_of(connection, holder, name)]}:
        yield Difference(at, "a dimension is not in statistics_dimension")
    for kind, table in (("value", value), ("visitor", visitor)):
        highest = connection.scalar(sa.select(sa.func.max(table.c.id))) or 0
        if highest >= int(meta.get(f"next_{kind}", 2)) and highest:
            yield Difference(at, f"the next number of a {kind} is one that is given already")
        twice = sa.select(table.c.id).group_by(table.c.id).having(sa.func.count() > 1)
        if kind == "visitor" and connection.execute(twice.limit(1)).first() is not None:
            yield Difference(at, "a number stands for two visitors")


def wrong_values(holder: Holder, connection: sa.Connection) -> list[int]:
    """The numbers of values that have another text, or another dimension, than when they were stored."""
    value, dimension = holder.tables.value, holder.tables.dimension
    known = set(connection.scalars(sa.select(dimension.c.id)))
    last, wrong = -1, list[int]()
    while True:
        query = sa.select(value.c.id, value.c.dimension_id, value.c.hash, value.c.text).where(value.c.id > last)
        rows = connection.execute(query.order_by(value.c.id).limit(READ_A_TIME)).all()
        wrong += [row.id for row in rows if row.dimension_id not in known or row.hash != hash_of(row.text)]
        if len(rows) < READ_A_TIME:
            return wrong
        last = rows[-1].id


def _number_of(connection: sa.Connection, holder: Holder, name: str) -> int | None:
    dimension = holder.tables.dimension.c
    return connection.scalar(sa.select(dimension.id).where(dimension.name == name))
