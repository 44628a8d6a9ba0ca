"""Takes visitors out of rollups: segments without their requests, and all that was measured of these. Writes what it corrects.

A segment holds all that there is to know of its requests, so this needs no raw rows: those of old days may be gone.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import sqlalchemy as sa
from pyroaring import BitMap

from ..pace import Pace
from . import bitmaps, store, sweep, writing
from .building import MONTH_FACTOR
from .dictionary import FORGOTTEN, VISITOR_KEY
from .holder import Holder
from .measuring import Measured, measured
from .meta import read_meta, write_meta
from .segment import Segment, between, chosen, hours_of
from .store import Draft, Header
from .tables import TOTAL, Tables
from .writing import Change


@dataclass(slots=True)
class Forgotten:
    """What was forgotten of some visitors."""

    raw_rows: int = 0
    """Raw rows deleted."""
    requests: int = 0
    """Requests taken out of segments."""
    periods: int = 0
    """Segments corrected."""
    left: int = 0
    """Requests in segments in which they are found all the same: 0, or something is wrong."""


def forget_visitors(
    holder: Holder,
    addresses: Collection[str],
    delete_raw: Callable[[sa.Connection], int],
    progress: Callable[[datetime], None],
) -> Forgotten:
    """Forget the visitors with these stored addresses, in raw rows by `delete_raw` and in rollups; see `Job.forget`."""
    forgotten = Forgotten()
    # the lease keeps segments as they are, so they are looked through without a transaction, in which others would wait
    with holder.engine.connect() as connection:
        numbered = holder.dictionary(connection).numbered_visitors(addresses)
        visitors = BitMap(numbered.values())
        found = holding(connection, holder.tables, visitors) if numbered else []
    pace = Pace()
    while deleted := _delete_some(holder, delete_raw):
        forgotten.raw_rows += deleted
        pace.pause(deleted)
    for number, header in enumerate(found, 1):
        forgotten.requests += forget(holder, header, visitors, later=found[number:])
        forgotten.periods += 1
        progress(header.start)
    with holder.engine.connect() as connection:
        forgotten.left = sum(header.hits for header in holding(connection, holder.tables, visitors))
    if not forgotten.left:  # or the next try would not find them
        with holder.transaction() as connection:
            holder.dictionary(connection).forget_visitors(numbered)
            write_meta(connection, holder.tables, {FORGOTTEN: secrets.token_hex(8)})
    sweep.sweep_values(holder)
    return forgotten


def held(holder: Holder, addresses: Collection[str]) -> list[tuple[str, datetime, int]]:
    """Unit, start and number of requests of each period whose rollups know the visitors with these stored addresses."""
    with holder.reading() as (connection, _):
        if VISITOR_KEY not in read_meta(connection, holder.tables):  # no run has begun yet
            return []
        visitors = BitMap(holder.dictionary(connection).numbered_visitors(addresses).values())
        if not visitors:
            return []
        found = holding(connection, holder.tables, visitors)
        return [(header.unit, header.start, count(connection, holder, header, visitors)) for header in found]


def _delete_some(holder: Holder, delete_raw: Callable[[sa.Connection], int]) -> int:
    with holder.transaction() as connection, holder.raw_beside(connection) as raw:
        return delete_raw(raw)


def holding(connection: sa.Connection, tables: Tables, visitors: BitMap) -> list[Header]:
    """The segments with contents in which one of `visitors` is, in time order."""
    found = []
    sets = tables.sets.c
    for header in store.headers(connection, tables, tables.segment.c.detailed):
        blobs = connection.scalars(
            sa.select(sets.visitors).where(sets.segment_id == header.id, sets.dimension_id == TOTAL)
        )
        if store.visitors_of(blobs).intersect(visitors):
            found.append(header)
    return found


def count(connection: sa.Connection, holder: Holder, header: Header, visitors: BitMap) -> int:
    """How many requests of a segment are those of `visitors`."""
    return int(np.count_nonzero(_theirs(_contents(connection, holder, header), visitors)))


def forget(holder: Holder, header: Header, visitors: BitMap, *, later: Sequence[Header]) -> int:
    """Take `visitors` out of a segment, and out of all that was measured of its requests; how many requests those were.

    What was measured of a whole month of which one of the segments that are corrected `later` is a part waits for that one.
    """
    with holder.engine.connect() as connection:
        dictionary = holder.dictionary(connection)
        segment = _contents(connection, holder, header)
        theirs = _theirs(segment, visitors)
        rest = chosen(segment, np.flatnonzero(~theirs))
        drafts, replaced = [_draft(header, rest, measured(rest))], [header]
        for one in _merged_into(connection, holder, header):
            left = between(rest, one.start, one.end)
            if left.hits != one.hits:
                replaced.append(one)
                drafts.append(_draft(one, None, measured(left), merged=True))
        for one in _measured_with(connection, holder, header):
            if not any(one.start <= other.start < one.end and other.audience == one.audience for other in later):
                replaced.append(one)
                drafts.append(_draft(one, None, _whole(connection, holder, one, header, rest)))
    hours = Counter(dict(hours_of(segment)))
    hours.subtract(dict(hours_of(rest)))
    noted = holder.tables.hour

    def remember(connection: sa.Connection) -> None:
        for start, fewer in hours.items():
            if fewer:
                left = sa.update(noted).where(noted.c.start == start).values(raw_rows=noted.c.raw_rows - fewer)
                connection.execute(left)
        # an hour without rows is not remembered: one that is, and is older than all raw rows, passes for pruned
        connection.execute(sa.delete(noted).where(noted.c.start.in_(list(hours)), noted.c.raw_rows <= 0))

    writing.commit(holder, dictionary, Change(drafts, replaced=replaced, remember=remember))
    return int(np.count_nonzero(theirs))


def _contents(connection: sa.Connection, holder: Holder, header: Header) -> Segment:
    most_values = holder.source.most_values * MONTH_FACTOR
    return store.read_joined(
        connection, holder.tables, [header], list(holder.source.dimensions), most_values=most_values
    )


def _theirs(segment: Segment, visitors: BitMap) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether each request is one of `visitors`'."""
    return np.isin(segment.visitors, bitmaps.ordinals(visitors))


def _draft(header: Header, segment: Segment | None, measures: Measured, *, merged: bool = False) -> Draft:
    return Draft(header.unit, header.start, header.end, header.audience, segment, measures, merged)


def _merged_into(connection: sa.Connection, holder: Holder, header: Header) -> list[Header]:
    """The hours and days whose contents a segment has."""
    segment = holder.tables.segment.c
    return _others(connection, holder, header, segment.start >= header.start, segment.end <= header.end)


def _measured_with(connection: sa.Connection, holder: Holder, header: Header) -> list[Header]:
    """The month of a day whose contents were too large to be merged."""
    segment = holder.tables.segment.c
    return _others(connection, holder, header, segment.start <= header.start, segment.end >= header.end)


def _others(connection: sa.Connection, holder: Holder, header: Header, *where: sa.ColumnElement[bool]) -> list[Header]:
    """The segments of the same audience without contents that meet the conditions, but for one of its own unit."""
    segment = holder.tables.segment.c
    of_it = (~segment.detailed, segment.audience == header.audience, segment.unit != header.unit)
    return store.headers(connection, holder.tables, *of_it, *where)


def _whole(connection: sa.Connection, holder: Holder, whole: Header, header: Header, rest: Segment) -> Measured:
    """The measures of a month of days, of which that of `header` has only the `rest`."""
    segment, most_values = holder.tables.segment.c, holder.source.most_values * MONTH_FACTOR
    within = (segment.start >= whole.start, segment.end <= whole.end, segment.audience == whole.audience)
    found = Measured()
    for one in store.headers(connection, holder.tables, segment.detailed, *within):
        found.add(measured(rest if one.id == header.id else _contents(connection, holder, one)))
        found.fold(2 * most_values)  # a bound for memory; the last one is that of what is stored
    found.fold(most_values)
    return found
