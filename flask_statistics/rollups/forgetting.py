"""Takes visitors out of rollups: segments without their requests, and all that was measured of these. Writes what it corrects.

A segment holds all that there is to know of its requests, so this needs no raw rows: those of old days may be gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import sqlalchemy as sa
from pyroaring import BitMap

from . import bitmaps, store, writing
from .building import MONTH_FACTOR
from .holder import Holder
from .measuring import Measured, measured
from .segment import Segment, between, chosen, hours_of
from .store import Draft, Header
from .tables import TOTAL, Tables
from .writing import Change


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

    What was measured of a whole month of which one of the segments that are erased `later` is a part waits for that one.
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
