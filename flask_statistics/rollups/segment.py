"""A segment: all that is known of the requests of one hour, day or month and one audience. Built, joined, measured; pure.

Requests are numbered by (date, key): the k-th has ordinal k. What is measured stands in columns by ordinal: visitor, size,
response time, latency bin, instant and key. A dimension with few values has the set of ordinals of each, so a filter is
an intersection of sets; one with many values has a column of value ids. From these any question about any set of requests
is answered, by NumPy and Roaring bitmaps.

Joining segments in time order moves their ordinals up by the requests before them: so months come from days and days from
hours, and the parts of a joined segment answer as the whole does.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
from pyroaring import BitMap

from . import bitmaps
from .bitmaps import Column
from .grouping import among, counted
from .sums import CLIENT_ERRORS, NOBODY, SERVER_ERRORS, Columns, Values

NONE = 0
"""Value id of requests that have no value in a dimension."""
OTHER = 1
"""Value id of values beyond the most that a dimension keeps a day."""
NOT_FOUND = 404
ROUTE = "route"
"""The dimension that has no value where no route matched."""
VISITORS = ":visitors"
"""In the place of a dimension's name: the column of visitor ids."""
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Ranked:
    """A column of value ids as it is stored: half as large, and taken apart only where it is asked for."""

    ranks: Column
    """Where in `ids` the value id of each request is."""
    ids: Column
    """Each value id once."""

    def __getitem__(self, places: Column | slice) -> Column:
        found: Column = self.ids[self.ranks[places]]
        return found

    def among(self, values: Collection[int]) -> Column:
        """Whether the value id of each request is one of `values`."""
        found: Column = among(self.ids, values)[self.ranks]
        return found


@dataclass(slots=True)
class Segment:
    """Requests of one period and audience, by ordinal."""

    hits: int
    hours: list[tuple[datetime, int]]
    """Start of each hour that has requests, naive UTC, and its first ordinal; rising."""
    offsets: Column
    """Microseconds from the start of its hour."""
    keys: Column | None
    """Key in the raw table; None: the model's keys are no whole numbers."""
    visitors: Column
    """Visitor ids."""
    sizes: Column
    """Bytes; 0 if unknown."""
    times: Column
    """Microseconds of response time; 0 if unknown."""
    bins: Column
    """Latency bins."""
    errors: Mapping[int, BitMap]
    """Ordinals of `CLIENT_ERRORS` and of `SERVER_ERRORS`, and those of the first that are `NOT_FOUND`."""
    indexes: Mapping[str, Mapping[int, BitMap]]
    """For each dimension with few values, the ordinals of each value id; each ordinal is in one."""
    columns: Mapping[str, Column | Ranked]
    """For each dimension with many values, the value ids."""
    waits: Mapping[str, Values] = field(default_factory=dict)
    """What they waited for, by column; what no request has is left out."""

    def moment(self, ordinal: int) -> datetime:
        """When that request began, naive UTC."""
        start, _ = self.hours[bisect_right(self.hours, ordinal, key=lambda hour: hour[1]) - 1]
        return start + timedelta(microseconds=int(self.offsets[ordinal]))

    def ordinal(self, moment: datetime) -> int:
        """The first ordinal that began at `moment` (naive UTC) or later; `hits` if none did."""
        place = bisect_right(self.hours, moment, key=lambda hour: hour[0]) - 1
        if place < 0:
            return 0
        start, first = self.hours[place]
        if moment == start:
            return first
        end = self.hours[place + 1][1] if place + 1 < len(self.hours) else self.hits
        # in the hour's own part of the column the offsets rise
        return bisect_left(self.offsets, (moment - start) // MICROSECOND, first, end)

    def instants(self) -> Column:
        """When each request began, as `datetime64[us]`, naive UTC."""
        starts = np.array([start for start, _ in self.hours], dtype="datetime64[us]")
        ends = [first for _, first in self.hours[1:]] + [self.hits]
        lengths = [end - first for (_, first), end in zip(self.hours, ends, strict=True)]
        instants: Column = np.repeat(starts, lengths) + self.offsets.astype("timedelta64[us]")
        return instants

    def places(self, members: BitMap) -> slice | Column:
        """Where in the columns the requests with ordinals `members` are; a slice if they follow one another."""
        if not members:
            return slice(0)
        first, last = members.min(), members.max()
        return slice(first, last + 1) if len(members) == last + 1 - first else bitmaps.ordinals(members)

    def having_any(self, name: str, values: Collection[int]) -> BitMap:
        """The ordinals that have one of `values` of a dimension."""
        column = self._column(name)
        if column is not None:
            having = column.among(values) if isinstance(column, Ranked) else among(column, values)
            return bitmaps.of(np.flatnonzero(having))
        sets = self._sets(name)
        return bitmaps.union(sets[value] for value in values if value in sets)

    def counts(self, name: str, members: BitMap) -> Mapping[int, int]:
        """How many of `members` have each value of a dimension with few values."""
        sets = self._sets(name)
        if len(members) == self.hits:
            return {value: len(having) for value, having in sets.items()}
        counts = {value: members.intersection_cardinality(having) for value, having in sets.items()}
        return {value: count for value, count in counts.items() if count}

    def ids_of(self, name: str, members: BitMap) -> Column:
        """The value ids that `members` have of a dimension with many values."""
        column = self._column(name)
        if column is None:  # as with sets
            return np.full(len(members), NONE, dtype=np.uint32)
        return column[self.places(members)]

    def picked(self, name: str, values: Collection[int], members: BitMap) -> tuple[Column, Column]:
        """The ordinals of `members` that have one of `values` of a dimension, and the value id of each.

        Those of one value rise.
        """
        column = self._column(name)
        if column is not None:
            places = self.places(members)
            ids = column[places]
            chosen = np.flatnonzero(among(ids, values))
            return (chosen + places.start if isinstance(places, slice) else places[chosen]), ids[chosen]
        sets = self._sets(name)
        pairs = [(value, bitmaps.ordinals(members & sets[value])) for value in values if value in sets]
        ids = np.repeat(
            np.array([value for value, _ in pairs], dtype=np.uint32), [len(members) for _, members in pairs]
        )
        return np.concatenate([members for _, members in pairs] or [ids]), ids

    def values_of(self, name: str, members: BitMap) -> Column:
        """The value id of each of `members`, in their order."""
        if self._column(name) is not None:
            return self.ids_of(name, members)
        ordinals, found = bitmaps.ordinals(members), np.full(len(members), NONE, dtype=np.uint32)
        sets = self._sets(name)
        for value in sets:
            found[np.searchsorted(ordinals, bitmaps.ordinals(members & sets[value]))] = value
        return found

    def measures_at(
        self, places: Column | slice, *, summed: bool, timed: bool, seen: bool, waited: Collection[str] = ()
    ) -> Columns:
        """What is measured of the requests at `places`: sums, response times by bin, visitors, what they waited for."""
        classes = classes_of(self.errors, self.hits) if summed else None
        waits = {name: self.waited(name) for name in waited}
        return Columns(self.visitors, self.bins, self.sizes, self.times, classes, waits).at(
            places, summed=summed, timed=timed, seen=seen
        )

    def waited(self, name: str) -> Values:
        """What the column called `name` says that each request waited for."""
        return self.waits[name] if name in self.waits else Values.none(self.hits)

    def _column(self, name: str) -> Column | Ranked | None:
        """The ids of a dimension with many values, or of visitors; None: it has sets, or nothing is known of it."""
        return self.visitors if name == VISITORS else self.columns.get(name)

    def _sets(self, name: str) -> Mapping[int, BitMap]:
        """The ordinals of each value of a dimension; none had a value if the segment is older than the dimension."""
        return self.indexes[name] if name in self.indexes else {NONE: BitMap(range(self.hits))}


def classes_of(errors: Mapping[int, BitMap], hits: int) -> Column:
    """Which of `CLIENT_ERRORS` and `SERVER_ERRORS` each of so many requests is, or 0."""
    classes = np.zeros(hits, dtype=np.uint8)
    for number in (CLIENT_ERRORS, SERVER_ERRORS):
        if number in errors:
            classes[bitmaps.ordinals(errors[number])] = number
    return classes


def sets_by(values: list[int], order: Column, starts: Column) -> dict[int, BitMap]:
    """The part of `order` of each value as a set; each begins at one of `starts`."""
    edges = pairwise([*starts.tolist(), len(order)])
    return {value: bitmaps.of(order[start:end]) for value, (start, end) in zip(values, edges, strict=True)}


def chosen(segment: Segment, keep: Column) -> Segment:
    """The segment of the requests with ordinals `keep`, which rise: they are numbered anew."""
    starts = [start for start, _ in segment.hours]
    before = np.searchsorted(keep, [first for _, first in segment.hours]).tolist()
    ends = [*before, len(keep)][1:]
    wanted = bitmaps.of(keep)

    def renumbered(sets: Mapping[int, BitMap]) -> dict[int, BitMap]:
        rest = {value: members & wanted for value, members in sets.items()}
        return {v: bitmaps.of(np.searchsorted(keep, bitmaps.ordinals(some))) for v, some in rest.items() if some}

    return Segment(
        hits=len(keep),
        hours=[(start, first) for start, first, end in zip(starts, before, ends, strict=True) if end > first],
        offsets=segment.offsets[keep],
        keys=None if segment.keys is None else segment.keys[keep],
        visitors=segment.visitors[keep],
        sizes=segment.sizes[keep],
        times=segment.times[keep],
        bins=segment.bins[keep],
        errors=renumbered(segment.errors),
        indexes={name: renumbered(sets) for name, sets in segment.indexes.items()},
        columns={name: column[keep] for name, column in segment.columns.items()},
        waits=known({name: values.at(keep) for name, values in segment.waits.items()}),
    )


def known(waits: Mapping[str, Values]) -> dict[str, Values]:
    """Those of `waits` that some request has."""
    return {name: values for name, values in waits.items() if not values.is_none()}


def join(segments: Sequence[Segment], *, most_values: int) -> Segment:
    """One segment of all requests of `segments`, which are one audience's, in time order, each with all it was built with.

    Beyond `most_values` of a dimension, the rarer values are folded into `OTHER`.
    """
    segments = [segment for segment in segments if segment.hits] or list(segments[:1])
    if len(segments) == 1:
        return segments[0]
    placed: list[tuple[Segment, int]] = []
    hits = 0
    for segment in segments:
        placed.append((segment, hits))
        hits += segment.hits
    keys = [segment.keys for segment in segments if segment.keys is not None]
    joined = Segment(
        hits=hits,
        hours=_hours([(segment.hours, offset) for segment, offset in placed]),
        offsets=np.concatenate([segment.offsets for segment in segments]),
        keys=np.concatenate(keys) if len(keys) == len(segments) else None,
        visitors=np.concatenate([segment.visitors for segment in segments]),
        sizes=np.concatenate([segment.sizes for segment in segments]),
        times=np.concatenate([segment.times for segment in segments]),
        bins=np.concatenate([segment.bins for segment in segments]),
        errors=_sets([(segment.errors, offset) for segment, offset in placed]),
        indexes={
            name: _sets([(segment.indexes[name], offset) for segment, offset in placed]) for name in segments[0].indexes
        },
        columns={
            name: np.concatenate([segment.columns[name][:] for segment in segments]) for name in segments[0].columns
        },
        waits={
            name: Values.joined([segment.waited(name) for segment in segments])
            for name in dict.fromkeys(name for segment in segments for name in segment.waits)
        },
    )
    fold(joined, most_values)
    return joined


def _hours(placed: Sequence[tuple[Sequence[tuple[datetime, int]], int]]) -> list[tuple[datetime, int]]:
    hours: list[tuple[datetime, int]] = []
    for some, offset in placed:
        # where segments divide an hour, it goes on in the next one
        hours += [(start, first + offset) for start, first in some if not hours or start > hours[-1][0]]
    return hours


def _sets(placed: Sequence[tuple[Mapping[int, BitMap], int]]) -> dict[int, BitMap]:
    members: defaultdict[int, list[tuple[BitMap, int]]] = defaultdict(list)
    for sets, offset in placed:
        for value in sets:
            members[value].append((sets[value], offset))
    return {value: bitmaps.shifted(pieces) for value, pieces in members.items()}


def fold(segment: Segment, most_values: int) -> None:
    """Fold the values of each dimension beyond the `most_values` that matter most into `OTHER`.

    Strangers choose what they ask for, so hits alone do not count: first comes what a route matched and was found, then what
    many visitors asked for, then what was asked for often.
    """
    for name, sets in segment.indexes.items():
        if len(sets.keys() - {NONE, OTHER}) > most_values:
            order = np.concatenate([bitmaps.ordinals(members) for members in sets.values()])
            ids = np.empty(segment.hits, dtype=np.uint32)
            ids[order] = np.repeat(list(sets), [len(members) for members in sets.values()])
            rare = _rare(segment, ids, most_values)
            common = {value: members for value, members in sets.items() if value not in rare and value != OTHER}
            others = bitmaps.union(members for value, members in sets.items() if value in rare or value == OTHER)
            segment.indexes = {**segment.indexes, name: {**common, OTHER: others}}
    for name, column in segment.columns.items():
        if segment.hits > most_values:
            ids = column[:]
            if len(counted([ids]).keys() - {NONE, OTHER}) > most_values:
                rare = _rare(segment, ids, most_values)
                folded = np.where(among(ids, rare), np.uint32(OTHER), ids)
                segment.columns = {**segment.columns, name: folded}


def found(segment: Segment) -> Column:
    """Whether each request matched a route and was found, as far as the model tells."""
    answer = np.ones(segment.hits, dtype=bool)
    if NOT_FOUND in segment.errors:
        answer[bitmaps.ordinals(segment.errors[NOT_FOUND])] = False
    routes = segment.indexes.get(ROUTE, {})
    if NONE in routes:
        answer[bitmaps.ordinals(routes[NONE])] = False
    return answer


def _rare(segment: Segment, ids: Column, most: int) -> set[int]:
    """Of the value `ids` of all requests, those that are not among the `most` that matter most."""
    values, places, hits = np.unique(ids, return_inverse=True, return_counts=True)
    is_found = np.zeros(len(values), dtype=bool)
    is_found[places[found(segment)]] = True
    known = segment.visitors != NOBODY
    pairs = np.unique(places[known].astype(np.uint64) << np.uint64(32) | segment.visitors[known].astype(np.uint64))
    visitors = np.bincount((pairs >> np.uint64(32)).astype(np.int64), minlength=len(values))
    ranked = values[np.lexsort((values, -hits, -visitors, ~is_found))]
    return set(ranked[~np.isin(ranked, (NONE, OTHER))][most:].tolist())


def hours_of(segment: Segment) -> list[tuple[datetime, int]]:
    """The hours of a segment with how many requests each has."""
    ends = [*(first for _, first in segment.hours), segment.hits][1:]
    return [(start, end - first) for (start, first), end in zip(segment.hours, ends, strict=True)]


def between(segment: Segment, start: datetime, end: datetime) -> Segment:
    """The requests of `segment` from `start` (included) to `end` (excluded), naive UTC."""
    first, last = segment.ordinal(start), segment.ordinal(end)
    return segment if last - first == segment.hits else chosen(segment, np.arange(first, last))


def flaws(segment: Segment) -> list[str]:
    """What of a stored segment's contents cannot be, as it would be after a part of them was cut, lost or taken for another."""
    hits = segment.hits
    found = [name for name in ("offsets", "visitors", "sizes", "times", "bins") if len(getattr(segment, name)) != hits]
    if segment.keys is not None and len(segment.keys) != hits:
        found.append("keys")
    firsts = [first for _, first in segment.hours]
    if firsts[:1] != [0] or any(a >= b for a, b in pairwise([*firsts, hits])):
        found.append("hours")
    found += ["errors" for members in segment.errors.values() if members and members.max() >= hits]
    for name, sets in segment.indexes.items():
        if (
            sum(map(len, sets.values())) != hits
            or len(bitmaps.union(sets.values())) != hits
            or (hits and bitmaps.union(sets.values()).max() != hits - 1)
        ):
            found.append(name)
    found += [name for name, column in segment.columns.items() if len(column[:]) != hits]
    found += [name for name, values in segment.waits.items() if {len(values.numbers), len(values.bins)} != {hits}]
    return found
