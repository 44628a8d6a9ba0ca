"""Takes visitors out of rollups: a segment without their requests, and all that was measured of it. Writes what it corrects.

A segment holds all that there is to know of its requests, so this needs no raw rows: those of old days may be gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from datetime import datetime

import numpy as np
import sqlalchemy as sa
from pyroaring import BitMap

from . import bitmaps, store
from .segment import Measured, Segment, chosen, measured
from .store import Header
from .tables import TOTAL, Tables


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


class Eraser:
    """Corrects the stored segments of one connection's transaction."""

    def __init__(
        self,
        connection: sa.Connection,
        tables: Tables,
        names: Sequence[str],
        *,
        number_of: Callable[[str], int | None],
        many: Collection[str],
        most_values: int,
    ) -> None:
        self._connection = connection
        self._tables = tables
        self._names = names
        self._number_of = number_of
        self._many = many
        self._most_values = most_values

    def erase(self, header: Header, visitors: BitMap, *, later: Sequence[Header] = ()) -> int:
        """Take `visitors` out of a segment, and out of all that was measured of its requests; how many requests those were.

        What was measured of a whole month of which one of the segments that are erased `later` is a part waits for that one.
        """
        segment = store.read_joined(
            self._connection, self._tables, [header], self._names, most_values=self._most_values
        )
        theirs = np.isin(segment.visitors, bitmaps.ordinals(visitors))
        removed = int(np.count_nonzero(theirs))
        rest = chosen(segment, np.flatnonzero(~theirs))
        hours = Counter(dict(_hits_of(segment)))
        hours.subtract(dict(_hits_of(rest)))
        self._write(header, rest, measured(rest))
        self._correct_parts(header, rest)
        self._correct_wholes(header, later)
        hour = self._tables.hour
        for start, count in hours.items():
            if count:
                fewer = sa.update(hour).where(hour.c.start == start).values(raw_rows=hour.c.raw_rows - count)
                self._connection.execute(fewer)
        # an hour without rows is not remembered: one that is, and is older than all raw rows, passes for pruned
        self._connection.execute(sa.delete(hour).where(hour.c.start.in_(list(hours)), hour.c.raw_rows <= 0))
        return removed

    def count(self, header: Header, visitors: BitMap) -> int:
        """How many requests of a segment are those of `visitors`."""
        segment = store.read_joined(
            self._connection, self._tables, [header], self._names, most_values=self._most_values
        )
        return int(np.count_nonzero(np.isin(segment.visitors, bitmaps.ordinals(visitors))))

    def _correct_parts(self, header: Header, rest: Segment) -> None:
        """Measure anew the hours and days within a segment that were merged into it."""
        for part in self._others(header, self._tables.segment.c.start >= header.start, end=header.end):
            first, last = rest.ordinal(part.start), rest.ordinal(part.end)
            if last - first == part.hits:
                continue
            self._write(part, None, measured(chosen(rest, np.arange(first, last))))
            same = self._tables.segment.c
            where = (same.unit == part.unit, same.start == part.start, same.audience == part.audience)
            written = store.headers(self._connection, self._tables, *where)
            many = [number for name in self._many if (number := self._number_of(name)) is not None]
            store.strip(self._connection, self._tables, [found.id for found in written], many=many)

    def _correct_wholes(self, header: Header, later: Sequence[Header]) -> None:
        """Measure anew the month of a day whose contents were too large to be merged, once for all of its days."""
        segment = self._tables.segment.c
        for whole in self._others(header, segment.start <= header.start, segment.end >= header.end):
            if any(whole.start <= other.start < whole.end and other.audience == whole.audience for other in later):
                continue
            within = (segment.detailed, segment.audience == whole.audience)
            parts = store.headers(
                self._connection, self._tables, segment.start >= whole.start, segment.end <= whole.end, *within
            )
            total = Measured()
            for part in parts:
                contents = store.read_joined(
                    self._connection, self._tables, [part], self._names, most_values=self._most_values
                )
                total.add(measured(contents))
            total.fold(self._most_values)
            self._write(whole, None, total)

    def _others(self, header: Header, *where: sa.ColumnElement[bool], end: datetime | None = None) -> list[Header]:
        """The segments of the same audience without contents that meet the conditions, but for one of its own unit."""
        segment = self._tables.segment.c
        conditions = [~segment.detailed, segment.audience == header.audience, segment.unit != header.unit, *where]
        if end is not None:
            conditions.append(segment.end <= end)
        return store.headers(self._connection, self._tables, *conditions)

    def _write(self, header: Header, segment: Segment | None, measures: Measured) -> None:
        store.write(
            self._connection,
            self._tables,
            segment,
            measures,
            unit=header.unit,
            start=header.start,
            end=header.end,
            audience=header.audience,
            number_of=self._number_of,
            many=self._many,
        )


def _hits_of(segment: Segment) -> list[tuple[datetime, int]]:
    """The hours of a segment with how many requests each has."""
    ends = [*(first for _, first in segment.hours), segment.hits][1:]
    return [(start, end - first) for (start, first), end in zip(segment.hours, ends, strict=True)]
