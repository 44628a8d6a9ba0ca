"""The contents of detailed segments while questions are answered: read when they are needed, dropped when they take too much.

Two budgets: `MOST_LOADED` for what is read of segments, `MOST_KEPT` for what is measured of filtered requests.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import sqlalchemy as sa
from pyroaring import BitMap

from ..queries.interface import PERCENTILES, SUMS, USUAL, VISITORS
from ..spans import naive_utc, to_local
from ..waits import WAITS
from . import bitmaps, store
from .bitmaps import Column
from .segment import MICROSECOND, Segment
from .store import Header
from .sums import Columns, Values
from .tables import BOTS, PEOPLE, Tables

MOST_LOADED = 20_000_000
"""Bytes of the contents of segments that one question has in memory at a time."""
MOST_KEPT = 28_000_000
"""Bytes of what is measured of filtered requests that are kept for the next question about them."""
WIDTHS = {":visitors": 4, ":sizes": 4, ":times": 4, ":bins": 2, ":offsets": 4, ":keys": 8} | {
    f":{name}": 6 for name in WAITS
}
"""Bytes a request that parts of segments take in memory; of others, 2."""
_PARTS = {SUMS: (":sizes", ":times", ":bins", ":errors"), PERCENTILES: (":bins",), VISITORS: (":visitors",)}
"""Parts of a detailed segment that each measure needs."""


@dataclass(slots=True)
class Detail:
    """A detailed segment within a span, whose parts are loaded as they are needed."""

    id: int
    """Negative: in memory, with all its parts."""
    start: datetime
    audience: int
    segment: Segment
    ranges: list[tuple[datetime, datetime]]
    """What of it is asked for, naive UTC."""
    whole: bool
    """Whether that is all of it."""


class Contents:
    """The contents of detailed segments, over one connection to the rollups."""

    def __init__(self, connection: sa.Connection, tables: Tables, zone: ZoneInfo, waits: Sequence[str] = ()) -> None:
        """`waits`: those of what requests waited for that can be asked for."""
        self._connection = connection
        self._tables = tables
        self._zone = zone
        self._waits = waits
        self._segments: dict[int, Segment] = {}
        self._loaded: dict[int, set[str]] = defaultdict(set)
        self._left = MOST_KEPT

    def segment(self, header: Header) -> Segment:
        """The segment of that header, at first without contents."""
        if header.id not in self._segments:
            self._segments[header.id] = store.empty(header.hits)
        return self._segments[header.id]

    def need(self, details: Sequence[Detail], parts: Iterable[str]) -> None:
        """Load `parts` of the segments that lack them: one statement for all."""
        wanted = list(dict.fromkeys(parts))
        ids = [detail.id for detail in details if detail.id >= 0 and not self._loaded[detail.id].issuperset(wanted)]
        missing = [part for part in wanted if any(part not in self._loaded[number] for number in ids)]
        if not ids or not missing:
            return
        for number, contents in store.read_contents(self._connection, self._tables, ids, missing).items():
            store.fill(self._segments[number], contents)
            self._loaded[number].update(missing)

    def batches(
        self, selected: Sequence[tuple[Detail, BitMap]], names: Iterable[str]
    ) -> Iterator[Sequence[tuple[Detail, BitMap]]]:
        """`selected` in batches whose contents `names` fit into memory together, all of them if they do, none if there are none.

        What was loaded for one of several is dropped before the next.
        """
        most = MOST_LOADED // max(1, sum(WIDTHS.get(name, 2) for name in set(names)))
        if sum(detail.segment.hits for detail, _ in selected) <= most:
            if selected:
                yield selected
            return
        batch: list[tuple[Detail, BitMap]] = []
        for detail, members in selected:
            if batch and sum(one.segment.hits for one, _ in batch) + detail.segment.hits > most:
                yield batch
                self._unload(batch)
                batch = []
            batch.append((detail, members))
        yield batch
        self._unload(batch)

    def loaded(
        self, selected: Sequence[tuple[Detail, BitMap]], names: Sequence[str]
    ) -> Iterator[tuple[Detail, BitMap]]:
        """`selected` one by one, with their contents `names`, which are read for many of them at a time."""
        for batch in self.batches(selected, names):
            self.need([detail for detail, _ in batch], names)
            yield from batch

    def _unload(self, selected: Sequence[tuple[Detail, BitMap]]) -> None:
        for detail, _ in selected:
            if detail.id >= 0:
                store.clear(detail.segment)
                self._loaded[detail.id] &= {":hours"}

    # ---- ordinals -------------------------------------------------------------------------------------------------

    def moment_of_hour(self, detail: Detail, ordinal: int) -> datetime:
        """When the hour of that request began, naive UTC."""
        hours = detail.segment.hours
        return hours[bisect_right(hours, ordinal, key=lambda hour: hour[1]) - 1][0]

    def ordinals(self, detail: Detail) -> BitMap:
        """Those within the span."""
        if detail.whole:
            return BitMap(range(detail.segment.hits))
        return bitmaps.union(
            BitMap(range(self.ordinal(detail, start), self.ordinal(detail, end))) for start, end in detail.ranges
        )

    def ordinal(self, detail: Detail, moment: datetime) -> int:
        segment = detail.segment
        if not any(start == moment for start, _ in segment.hours) and moment > segment.hours[0][0]:
            zone = self._zone
            if to_local(moment, zone).minute or moment.second or moment.microsecond:
                self.need([detail], (":offsets",))
            else:  # an hour without requests: the next one's first
                return next((first for start, first in segment.hours if start >= moment), segment.hits)
        return segment.ordinal(moment)

    # ---- measures -------------------------------------------------------------------------------------------------

    def measured(
        self, selected: Sequence[tuple[Detail, BitMap]], known: dict[int, Columns], want: frozenset[str]
    ) -> Iterator[tuple[Detail, BitMap, Columns]]:
        """The `selected`, each with what is measured of its members.

        If that is everything, it is put into `known` for later questions while there is room.
        """
        if not want:
            yield from ((detail, members, Columns()) for detail, members in selected)
            return
        for batch in self.batches(selected, self.parts_for(want)):
            wanted = [(detail, members, detail.segment.places(members)) for detail, members in batch]
            for (detail, members), columns in zip(batch, self.columns(wanted, want, known), strict=True):
                if want == USUAL and detail.id not in known and columns.size <= self._left:
                    self._left -= columns.size
                    known[detail.id] = columns
                yield detail, members, columns

    def columns(
        self,
        wanted: Sequence[tuple[Detail, BitMap, slice | Column]],
        want: frozenset[str],
        known: Mapping[int, Columns],
    ) -> list[Columns]:
        """What is measured of some requests of detailed segments: given are the members and the places, which are some of them.

        `known`: what is measured of all members, where that is known.
        """
        waited = self._waited(want)
        if waited:
            known = {}  # of what is kept nobody knows what it waited for
        unknown = {
            detail.id: (detail.segment.hits, places)
            for detail, _, places in wanted
            if detail.id >= 0 and detail.id not in known
        }
        parts = self.parts_for(want)
        read = store.read_columns(self._connection, self._tables, unknown, parts) if parts else {}
        summed, timed, seen = is_summed(want), PERCENTILES in want, VISITORS in want
        found = []
        for detail, members, places in wanted:
            if detail.id in known:
                among: slice | Column = slice(None)  # all of them
                if not isinstance(places, slice):
                    among = np.searchsorted(bitmaps.ordinals(members), places)
                found.append(known[detail.id].at(among, summed=summed, timed=timed, seen=seen))
            elif detail.id < 0:
                found.append(detail.segment.measures_at(places, summed=summed, timed=timed, seen=seen, waited=waited))
            else:
                found.append(_with_all(waited, read.get(detail.id, Columns()), places))
        return found

    def parts_for(self, want: frozenset[str]) -> list[str]:
        """The parts of a detailed segment from which `want` is measured."""
        needed = want | {SUMS} if is_summed(want) else want
        parts = [part for wanted, some in _PARTS.items() if wanted in needed for part in some]
        return [*parts, *(f":{name}" for name in self._waited(want))]

    def _waited(self, want: frozenset[str]) -> list[str]:
        return [name for name in self._waits if name in want]

    # ---- keys -----------------------------------------------------------------------------------------------------

    def nearest(
        self,
        selected: Sequence[tuple[Detail, BitMap]],
        count: int,
        position: tuple[datetime, Any] | None,
        *,
        newer: bool,
    ) -> list[int]:
        """Keys among which are the `count` newest of the members, or those next to a request's `position`."""
        keys: list[int] = []
        for audience in (PEOPLE, BOTS):  # whose segments need not begin at the same time
            wanted = count
            mine = [one for one in selected if one[0].audience == audience]
            for detail, members in sorted(mine, key=lambda one: one[0].start, reverse=not newer):
                if position is not None:
                    place = self.place_of(detail, *position)
                    members = members & BitMap(range(place, detail.segment.hits) if newer else range(place))
                chosen = members[:wanted] if newer else members[max(0, len(members) - wanted) :]
                keys += self.keys_of(detail, chosen)
                wanted -= len(chosen)
                if not wanted:
                    break  # what follows is further away than all of these
        return keys

    def keys_of(self, detail: Detail, members: BitMap) -> list[int]:
        """The keys of some requests; the column is dropped again, as those of a year are large."""
        if not members:
            return []
        self.need([detail], (":keys",))
        assert detail.segment.keys is not None  # noqa: S101 - `_has_keys`
        keys: list[int] = detail.segment.keys[detail.segment.places(members)].tolist()
        if detail.id >= 0:
            detail.segment.keys = None
            self._loaded[detail.id].discard(":keys")
        return keys

    def moments_of(self, detail: Detail, ordinals: Iterable[int]) -> dict[int, datetime]:
        """When some requests began, naive UTC, by ordinal; the column is dropped again."""
        self.need([detail], (":hours", ":offsets"))
        moments = {ordinal: detail.segment.moment(ordinal) for ordinal in ordinals}
        if detail.id >= 0:
            detail.segment.offsets = np.empty(0, dtype=np.uint32)
            self._loaded[detail.id].discard(":offsets")
        return moments

    def place_of(self, detail: Detail, date: datetime, key: Any) -> int:
        """The ordinal that the request with that date and key has, or would have."""
        self.need([detail], (":hours", ":offsets"))
        segment, date = detail.segment, naive_utc(date)
        place = segment.ordinal(date)
        alike = BitMap(range(place, segment.ordinal(date + MICROSECOND)))
        return place + bisect_left(self.keys_of(detail, alike), key)


def _with_all(waited: Sequence[str], columns: Columns, places: slice | Column) -> Columns:
    """`columns` with all that is asked for of what requests waited for: where no request has it, it is not stored."""
    if columns.waits.keys() == set(waited):
        return columns
    count = len(places) if not isinstance(places, slice) else places.stop - (places.start or 0)
    return replace(columns, waits={name: columns.waits.get(name) or Values.none(count) for name in waited})


def is_summed(want: frozenset[str]) -> bool:
    """Whether sums are needed: no percentile is above the longest time."""
    return SUMS in want or PERCENTILES in want
