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
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
from pyroaring import BitMap

from ..latency import BINS, EDGES
from . import bitmaps
from .bitmaps import Column

NOBODY = 0
"""Visitor id of requests without a client address."""
NONE = 0
"""Value id of requests that have no value in a dimension."""
OTHER = 1
"""Value id of values beyond the most that a dimension keeps a day."""
UNTIMED = BINS
"""Latency bin of requests without a response time: one beyond the real ones."""
CLIENT_ERRORS, SERVER_ERRORS = 4, 5
NOT_FOUND = 404
ROUTE = "route"
"""The dimension that has no value where no route matched."""
PASSING = 2**31
"""Ids from here on are of one building alone: what is stored has lasting ones."""
LARGEST_MARKED = 1 << 24
"""Ids up to here are marked in an array; larger ones, which few but rows in memory have, are sorted."""
LEAST_COUNTED, MOST_GAPS = 10_000, 16
"""Ids up to the first, and so many times their number more, are counted in an array; others are sorted."""
FEW = 4_096
"""Up to so many ids, a bitmap is made of them as they are."""
LARGEST_SIZE, LONGEST_US = 2**48, 2.0**40
"""Bytes and microseconds of one request: a thousand times what there is, and sums of many still fit what databases add."""
MICROSECOND = timedelta(microseconds=1)


@dataclass(slots=True)
class Sums:
    """Measures being added up, over any requests."""

    hits: int = 0
    client_errors: int = 0
    server_errors: int = 0
    size: int = 0
    """Bytes."""
    time_us: int = 0
    """Microseconds of response time."""
    timed: int = 0
    """Requests that have a response time."""
    longest_us: int = 0
    """Microseconds of the slowest."""
    last: datetime | None = None
    """Date of the latest, naive UTC."""
    visitors: BitMap = field(default_factory=BitMap)
    """Visitor ids."""
    latency: dict[int, int] = field(default_factory=dict)
    """Requests by latency bin. A plain dict: there is one for each value of each segment, and a `Counter` takes long to make."""

    def add(self, other: Sums) -> None:
        """Take in `other`, whose requests are all different ones."""
        self.hits += other.hits
        self.client_errors += other.client_errors
        self.server_errors += other.server_errors
        self.size += other.size
        self.time_us += other.time_us
        self.timed += other.timed
        self.longest_us = max(self.longest_us, other.longest_us)
        if other.last is not None and (self.last is None or other.last > self.last):
            self.last = other.last
        self.visitors |= other.visitors
        self.add_latency(other.latency)

    def add_latency(self, other: Mapping[int, int]) -> None:
        """Take in requests by latency bin."""
        if not self.latency:
            self.latency.update(other)
            return
        for number, hits in other.items():
            self.latency[number] = self.latency.get(number, 0) + hits


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
        found: Column = _among(self.ids, values)[self.ranks]
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
        if name in self.columns:
            column = self.columns[name]
            having = column.among(values) if isinstance(column, Ranked) else _among(column, values)
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
        if name not in self.columns:  # as with sets
            return np.full(len(members), NONE, dtype=np.uint32)
        return self.columns[name][self.places(members)]

    def picked(self, name: str, values: Collection[int], members: BitMap) -> tuple[Column, Column]:
        """The ordinals of `members` that have one of `values` of a dimension, and the value id of each.

        Those of one value rise.
        """
        if name in self.columns:
            places = self.places(members)
            ids = self.columns[name][places]
            chosen = np.flatnonzero(_among(ids, values))
            return (chosen + places.start if isinstance(places, slice) else places[chosen]), ids[chosen]
        sets = self._sets(name)
        parts = [(value, bitmaps.ordinals(members & sets[value])) for value in values if value in sets]
        ids = np.repeat(np.array([value for value, _ in parts], dtype=np.uint32), [len(part) for _, part in parts])
        return np.concatenate([part for _, part in parts] or [ids]), ids

    def measures_at(self, places: Column | slice, *, summed: bool, timed: bool, seen: bool) -> Columns:
        """What is measured of the requests at `places`: sums, response times by bin, visitors."""
        classes = classes_of(self.errors, self.hits) if summed else None
        return Columns(self.visitors, self.bins, self.sizes, self.times, classes).at(
            places, summed=summed, timed=timed, seen=seen
        )

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


def _among(column: Column, values: Collection[int]) -> Column:
    """Whether each of `column` is one of `values`."""
    wanted = np.fromiter(values, dtype=np.int64, count=len(values))
    largest = int(column.max(initial=0))
    if largest > LARGEST_MARKED:
        return np.isin(column, wanted)
    marks = np.zeros(largest + 1, dtype=bool)
    marks[wanted[wanted <= largest]] = True
    return marks[column]


def counted(columns: Iterable[Column]) -> dict[int, int]:
    """How often each id is in `columns`."""
    total, found = np.zeros(0, dtype=np.int64), Counter[int]()
    for ids in columns:
        if int(ids.max(initial=0)) > LEAST_COUNTED + MOST_GAPS * len(ids):
            values, counts = np.unique(ids, return_counts=True)
            found.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
            continue
        each = np.bincount(ids)
        longer, shorter = (each, total) if len(each) > len(total) else (total, each)
        longer[: len(shorter)] += shorter
        total = longer
    values = np.flatnonzero(total)
    found.update(dict(zip(values.tolist(), total[values].tolist(), strict=True)))
    return dict(found)


def ordered_places(numbers: Column) -> Column:
    """The places of `numbers`, which fit into 32 bits, in their order; equal ones in that of their places."""
    # 16 bits at a time, which NumPy sorts by radix, in a quarter of the time
    order = np.argsort(numbers.astype(np.uint16), kind="stable").astype(np.uint32)
    if int(numbers.max(initial=0)) >= 2**16:
        order = order[np.argsort((numbers >> 16).astype(np.uint16)[order], kind="stable")]
    return order


def grouped(ids: Column) -> tuple[Column, Column, list[int]]:
    """The places of `ids` ordered by id and place, where each id's begin among them, and the ids, rising."""
    order = ordered_places(ids)
    ordered = ids[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] + 1))
    return order, starts, ordered[starts].tolist()


def _sets_by(values: list[int], order: Column, starts: Column) -> dict[int, BitMap]:
    """The part of `order` of each value as a set; each begins at one of `starts`."""
    edges = pairwise([*starts.tolist(), len(order)])
    return {value: bitmaps.of(order[start:end]) for value, (start, end) in zip(values, edges, strict=True)}


class Unreadable:
    """What stands for a raw value that could not be read."""

    def __repr__(self) -> str:
        return "a value that cannot be read"


UNREADABLE = Unreadable()
Ids = Callable[[str, set[Any]], Mapping[Any, int]]
"""For a dimension and raw values, the value id of each, and of others that are known already.

For `VISITOR` and addresses, visitor ids; `NOBODY` for None.
"""
VISITOR = ""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the raw rows that a segment is built from look like."""

    dimensions: tuple[tuple[str, bool], ...]
    """Name of each dimension, and whether it has many values; their raw values stand after those of `FIXED`."""
    most_values: int
    """Distinct values kept a dimension; the rarer ones become `OTHER`."""


FIXED = ("date", "key", "remote_address", "size", "response_time", "status_code")
"""What the columns before the dimensions' are."""


LeaveOut = Callable[[str, Iterable[int]], None]
"""Told the name of a column or dimension, and the places of rows whose value there is left out, as nothing can have it."""


def _keep_silent(_name: str, _places: Iterable[int]) -> None:
    pass


def numbered(
    raws: Sequence[Sequence[Any]],
    *,
    hours: Sequence[datetime],
    shape: Shape,
    ids: Ids,
    leave_out: LeaveOut = _keep_silent,
) -> Segment:
    """The requests of raw rows, all of whose dimensions are columns: what `indexed` makes segments of.

    `raws` are the columns of the rows, which are in the order of date and key; `hours` the edges of the period's hours,
    rising. Every row's date is within; all else may be anything.
    """
    dates, keys, addresses, sizes, seconds, statuses, *values = raws
    starts, firsts, offsets = _hours_of(dates, hours)
    times, bins = _times_of(_plain_numbers(seconds, "response_time", leave_out))
    codes = np.nan_to_num(_plain_numbers(statuses, "status_code", leave_out))
    classes = codes // 100
    return Segment(
        hits=len(dates),
        hours=list(zip(starts, firsts, strict=True)),
        offsets=offsets,
        keys=np.array(keys, dtype=np.int64) if {int}.issuperset(map(type, keys)) else None,
        visitors=_ids_of(addresses, VISITOR, ids),
        sizes=np.clip(np.nan_to_num(_plain_numbers(sizes, "size", leave_out)), 0, LARGEST_SIZE).astype(np.uint64),
        times=times,
        bins=bins,
        errors={
            number: bitmaps.of(np.flatnonzero(alike == number))
            for number, alike in ((CLIENT_ERRORS, classes), (SERVER_ERRORS, classes), (NOT_FOUND, codes))
            if number in alike
        },
        indexes={},
        columns={
            name: _values_of(column, name, ids, leave_out)
            for (name, _), column in zip(shape.dimensions, values, strict=True)
        },
    )


def indexed(segment: Segment, shape: Shape) -> Segment:
    """One audience's segment as it is stored: with sets for the dimensions with few values, and their rarer values folded."""
    indexes: dict[str, Mapping[int, BitMap]] = {}
    for name, many in shape.dimensions:
        if not many:
            order, begins, values = grouped(segment.columns[name][:])
            indexes[name] = _sets_by(values, order, begins)
    columns = {name: segment.columns[name] for name, many in shape.dimensions if many}
    segment = replace(segment, indexes=indexes, columns=columns)
    fold(segment, shape.most_values)
    return segment


def _values_of(raws: Sequence[Any], name: str, ids: Ids, leave_out: LeaveOut) -> Column:
    found = _ids_of(raws, name, ids)
    if OTHER in found:  # nothing is folded yet: these could not be read, or the dimension's function failed on them
        leave_out(name, np.flatnonzero(found == OTHER).tolist())
    return found


def _ids_of(raws: Sequence[Any], name: str, ids: Ids) -> Column:
    def read(known: Mapping[Any, int], raws: Sequence[Any]) -> Column:
        return np.fromiter(map(known.__getitem__, raws), dtype=np.uint32, count=len(raws))

    try:
        return read(ids(name, set()), raws)  # most often all of them are known from earlier rows
    except KeyError:
        return read(ids(name, set(raws)), raws)
    except TypeError:  # lists of PostgreSQL, JSON
        texts = [raw if isinstance(raw, Hashable) else str(raw) for raw in raws]
        return read(ids(name, set(texts)), texts)


def _plain_numbers(raws: Sequence[Any], name: str, leave_out: LeaveOut) -> Column:
    """Numbers of at most 53 bits; NaN for None, and for what is no number."""
    try:
        numbers: Column = np.array(raws, dtype=np.float64)  # None becomes NaN
    except (TypeError, ValueError, OverflowError):
        numbers = np.array([_number(raw) for raw in raws], dtype=np.float64)
    if np.isnan(numbers).any() and (
        odd := [n for n in np.flatnonzero(np.isnan(numbers)).tolist() if raws[n] is not None]
    ):
        leave_out(name, odd)
    return numbers


def _number(raw: Any) -> float:
    try:
        return float(raw)
    except (TypeError, ValueError, OverflowError):
        return np.nan


def _renumbered_ids(ids: Column, lasting: Mapping[int, int]) -> Column:
    if not lasting or int(ids.max(initial=0)) < PASSING:
        return ids
    numbers = np.array(sorted(lasting), dtype=np.uint32)
    others = np.array([lasting[number] for number in numbers.tolist()], dtype=np.uint32)
    answer: Column = ids.copy()
    places = np.flatnonzero(ids >= PASSING)
    answer[places] = others[np.searchsorted(numbers, ids[places])]
    return answer


def passing_of(segment: Segment) -> dict[str, set[int]]:
    """The passing ids that `segment` names, by dimension; under `VISITOR` those of visitors."""
    answer = {VISITOR: _passing_in(segment.visitors)}
    answer |= {name: {value for value in sets if value >= PASSING} for name, sets in segment.indexes.items()}
    return answer | {name: _passing_in(column[:]) for name, column in segment.columns.items()}


def _passing_in(ids: Column) -> set[int]:
    return set(np.unique(ids[ids >= PASSING]).tolist()) if int(ids.max(initial=0)) >= PASSING else set()


def renumbered(segment: Segment, lasting: Mapping[str, Mapping[int, int]]) -> Segment:
    """`segment` with the ids that `lasting` has for its passing ones, by dimension and, under `VISITOR`, of visitors."""
    nothing: Mapping[int, int] = {}
    return replace(
        segment,
        visitors=_renumbered_ids(segment.visitors, lasting.get(VISITOR, nothing)),
        indexes={
            name: {lasting.get(name, nothing).get(value, value): members for value, members in sets.items()}
            for name, sets in segment.indexes.items()
        },
        columns={
            name: _renumbered_ids(column[:], lasting.get(name, nothing)) for name, column in segment.columns.items()
        },
    )


def chosen(segment: Segment, keep: Column) -> Segment:
    """The segment of the requests with ordinals `keep`, which rise: they are numbered anew."""
    starts = [start for start, _ in segment.hours]
    before = np.searchsorted(keep, [first for _, first in segment.hours]).tolist()
    ends = [*before, len(keep)][1:]
    kept = bitmaps.of(keep)

    def renumbered(sets: Mapping[int, BitMap]) -> dict[int, BitMap]:
        rest = {value: members & kept for value, members in sets.items()}
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
    )


def _hours_of(dates: Sequence[datetime], hours: Sequence[datetime]) -> tuple[list[datetime], list[int], Column]:
    """The hours that have requests, the first ordinal of each, and each request's offset."""
    starts, firsts, offsets = [], [], np.empty(len(dates), dtype=np.uint32)
    first = 0
    for start, end in pairwise(hours):
        last = bisect_left(dates, end, first)
        if last > first:
            # an hour has no days, and this is ten times faster than to let NumPy read the dates
            gone = [(since := date - start).seconds * 1_000_000 + since.microseconds for date in dates[first:last]]
            offsets[first:last] = gone
            starts.append(start)
            firsts.append(first)
            first = last
    return starts, firsts, offsets


def _times_of(times: Column) -> tuple[Column, Column]:
    """Response times in microseconds, and their bins; `times` are in seconds, NaN where there is none."""
    untimed = np.isnan(times)
    bins = np.searchsorted(EDGES, times, side="right").astype(np.uint16)
    bins[untimed] = UNTIMED
    times[untimed] = 0
    return np.rint(np.clip(times * 1_000_000, 0, LONGEST_US)).astype(np.uint64), bins


def join(parts: Sequence[Segment], *, most_values: int) -> Segment:
    """One segment of all requests of `parts`, which are one audience's, in time order, each with all it was built with.

    Beyond `most_values` of a dimension, the rarer values are folded into `OTHER`.
    """
    parts = [part for part in parts if part.hits] or list(parts[:1])
    if len(parts) == 1:
        return parts[0]
    placed: list[tuple[Segment, int]] = []
    hits = 0
    for part in parts:
        placed.append((part, hits))
        hits += part.hits
    keys = [part.keys for part in parts if part.keys is not None]
    joined = Segment(
        hits=hits,
        hours=_hours([(part.hours, offset) for part, offset in placed]),
        offsets=np.concatenate([part.offsets for part in parts]),
        keys=np.concatenate(keys) if len(keys) == len(parts) else None,
        visitors=np.concatenate([part.visitors for part in parts]),
        sizes=np.concatenate([part.sizes for part in parts]),
        times=np.concatenate([part.times for part in parts]),
        bins=np.concatenate([part.bins for part in parts]),
        errors=_sets([(part.errors, offset) for part, offset in placed]),
        indexes={name: _sets([(part.indexes[name], offset) for part, offset in placed]) for name in parts[0].indexes},
        columns={name: np.concatenate([part.columns[name][:] for part in parts]) for name in parts[0].columns},
    )
    fold(joined, most_values)
    return joined


def _hours(parts: Sequence[tuple[Sequence[tuple[datetime, int]], int]]) -> list[tuple[datetime, int]]:
    hours: list[tuple[datetime, int]] = []
    for some, offset in parts:
        # where parts divide an hour, it goes on in the next one
        hours += [(start, first + offset) for start, first in some if not hours or start > hours[-1][0]]
    return hours


def _sets(parts: Sequence[tuple[Mapping[int, BitMap], int]]) -> dict[int, BitMap]:
    members: defaultdict[int, list[tuple[BitMap, int]]] = defaultdict(list)
    for sets, offset in parts:
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
            kept = {value: members for value, members in sets.items() if value not in rare and value != OTHER}
            others = bitmaps.union(members for value, members in sets.items() if value in rare or value == OTHER)
            segment.indexes = {**segment.indexes, name: {**kept, OTHER: others}}
    for name, column in segment.columns.items():
        if segment.hits > most_values:
            ids = column[:]
            if len(counted([ids]).keys() - {NONE, OTHER}) > most_values:
                rare = _rare(segment, ids, most_values)
                folded = np.where(_among(ids, rare), np.uint32(OTHER), ids)
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


# ---- measures of every value -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Measured:
    """The measures of all requests of a segment, and of those of each value."""

    whole: Sums = field(default_factory=Sums)
    values: dict[str, dict[int, Sums]] = field(default_factory=dict)
    """For each dimension, by value id."""
    found: dict[str, set[int]] = field(default_factory=dict, compare=False)
    """For each dimension with many values, those of requests that matched a route and were found."""

    def add(self, other: Measured) -> None:
        """Take in `other`, whose requests are all different ones."""
        self.whole.add(other.whole)
        for name, ids in other.found.items():
            self.found.setdefault(name, set()).update(ids)
        for name, values in other.values.items():
            mine = self.values.setdefault(name, {})
            for value, sums in values.items():
                mine.setdefault(value, Sums()).add(sums)

    def fold(self, most_values: int) -> None:
        """Fold values as `fold` does with those of a segment."""
        for name, values in self.values.items():
            is_found = self.found.get(name, set())
            rank = {
                value: (value not in is_found, -len(sums.visitors), -sums.hits, value)
                for value, sums in values.items()
                if value not in (NONE, OTHER)
            }
            for value in sorted(rank, key=rank.__getitem__)[most_values:]:
                values.setdefault(OTHER, Sums()).add(values.pop(value))


@dataclass(frozen=True, slots=True)
class Columns:
    """What is measured of some requests, by place; None: that is not asked for."""

    visitors: Column | None = None
    bins: Column | None = None
    sizes: Column | None = None
    times: Column | None = None
    classes: Column | None = None
    """`CLIENT_ERRORS`, `SERVER_ERRORS` or anything else."""

    @classmethod
    def joined(cls, parts: Sequence[Columns]) -> Columns:
        """Those of all `parts`, which are not none and have the same ones."""

        def strung(columns: Sequence[Column | None]) -> Column | None:
            found = [column for column in columns if column is not None]
            return np.concatenate(found) if found else None

        return cls(
            visitors=strung([part.visitors for part in parts]),
            bins=strung([part.bins for part in parts]),
            sizes=strung([part.sizes for part in parts]),
            times=strung([part.times for part in parts]),
            classes=strung([part.classes for part in parts]),
        )

    @property
    def size(self) -> int:
        """Bytes in memory."""
        columns = (self.visitors, self.bins, self.sizes, self.times, self.classes)
        return sum(column.nbytes for column in columns if column is not None)

    def at(self, places: Column | slice, *, summed: bool = True, timed: bool = True, seen: bool = True) -> Columns:
        """What is known of those at `places`: sums, response times by bin, visitors."""

        def taken(column: Column | None, wanted: bool) -> Column | None:
            return column[places] if wanted and column is not None else None

        return Columns(
            visitors=taken(self.visitors, seen),
            bins=taken(self.bins, timed or summed),
            sizes=taken(self.sizes, summed),
            times=taken(self.times, summed),
            classes=taken(self.classes, summed),
        )

    def sums(self, *, timed: bool) -> Sums:
        """The measures of all of them together, but for how many they are and the last date.

        `timed`: whether to count latency bins, and not only which requests have a response time.
        """
        sums = Sums()
        if self.visitors is not None:
            sums.visitors = _distinct_visitors(self.visitors)
        if self.bins is not None:
            counts = np.bincount(self.bins, minlength=UNTIMED + 1)
            sums.timed = len(self.bins) - int(counts[UNTIMED])
            bins = np.flatnonzero(counts[:UNTIMED]) if timed else counts[:0]
            sums.latency = dict(zip(bins.tolist(), counts[bins].tolist(), strict=True))
        if self.sizes is not None and self.times is not None and self.classes is not None:
            sums.client_errors, sums.server_errors = np.bincount(self.classes, minlength=SERVER_ERRORS + 1)[
                [CLIENT_ERRORS, SERVER_ERRORS]
            ].tolist()
            sums.size = int(self.sizes.sum(dtype=np.uint64))
            sums.time_us = int(self.times.sum(dtype=np.uint64))
            sums.longest_us = int(self.times.max(initial=0))
        return sums


def _distinct_visitors(ids: Column) -> BitMap:
    """The visitor ids among `ids`."""
    if len(ids) <= FEW or int(ids.max()) > LARGEST_MARKED:
        found = bitmaps.of(ids)
    else:
        marks = np.zeros(int(ids.max()) + 1, dtype=bool)
        marks[ids] = True
        found = bitmaps.of(np.flatnonzero(marks))
    found.discard(NOBODY)
    return found


def measured(segment: Segment) -> Measured:
    """The measures of `segment` and of each value in it."""
    if not segment.hits:
        return Measured(values={name: {} for name in (*segment.indexes, *segment.columns)})
    groups = Groups(segment.measures_at(slice(None), summed=True, timed=True, seen=True))
    instants = segment.instants()

    def sums_of(order: Column, starts: Column) -> Iterator[Sums]:
        lasts = instants[last_of(order, starts)].tolist()
        for sums, last in zip(groups.sums(order, starts), lasts, strict=True):
            sums.last = last
            yield sums

    (whole,) = sums_of(np.arange(segment.hits), np.zeros(1, dtype=np.int64))
    answer, is_found = Measured(whole), found(segment)
    for name, sets in segment.indexes.items():
        parts = [bitmaps.ordinals(members) for members in sets.values()]
        starts = np.cumsum([0, *map(len, parts[:-1])])
        answer.values[name] = dict(zip(sets, sums_of(np.concatenate(parts), starts), strict=True))
    for name, column in segment.columns.items():
        order, starts, values = grouped(ids := column[:])
        answer.values[name] = dict(zip(values, sums_of(order, starts), strict=True))
        answer.found[name] = set(counted([ids[is_found]]))
    return answer


def total(segment: Segment) -> Measured:
    """The measures of all requests of `segment`, which has some, without those of each value."""
    sums = segment.measures_at(slice(None), summed=True, timed=True, seen=True).sums(timed=True)
    sums.hits, sums.last = segment.hits, segment.moment(segment.hits - 1)
    return Measured(sums)


def hours_of(segment: Segment) -> list[tuple[datetime, int]]:
    """The hours of a segment with how many requests each has."""
    ends = [*(first for _, first in segment.hours), segment.hits][1:]
    return [(start, end - first) for (start, first), end in zip(segment.hours, ends, strict=True)]


def part(segment: Segment, start: datetime, end: datetime) -> Segment:
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
    return found


def last_of(order: Column, starts: Column) -> Column:
    """The last place of each group in `order`; each begins at one of `starts`."""
    lasts: Column = order[np.append(starts[1:], len(order)) - 1]
    return lasts


class Groups:
    """The measures of groups of requests, all groups of one division at once."""

    def __init__(self, columns: Columns, *, timed: bool = True) -> None:
        """`timed`: whether to count latency bins, and not only which requests have a response time."""
        self._columns = columns
        self._by_visitor = None if columns.visitors is None else ordered_places(columns.visitors)
        self._by_bin = None if columns.bins is None or not timed else ordered_places(columns.bins)

    def sums(self, order: Column, starts: Column) -> Iterator[Sums]:
        """The measures of each group but its last date; `order` are all places, group by group, from `starts` on."""
        columns, count = self._columns, len(starts)
        ends = np.append(starts[1:], len(order))
        group_of = np.empty(len(order), dtype=np.uint16 if count < 2**16 else np.uint32)
        group_of[order] = np.repeat(np.arange(count, dtype=group_of.dtype), ends - starts)
        numbers = [ends - starts]
        if columns.sizes is not None and columns.times is not None and columns.bins is not None:
            classes, times = columns.classes[order], columns.times[order]  # type: ignore[index]  # they come together
            numbers += [
                np.add.reduceat(classes == CLIENT_ERRORS, starts, dtype=np.int64),
                np.add.reduceat(classes == SERVER_ERRORS, starts, dtype=np.int64),
                np.add.reduceat(columns.sizes[order], starts, dtype=np.uint64),
                np.add.reduceat(times, starts, dtype=np.uint64),
                np.add.reduceat(columns.bins[order] != UNTIMED, starts, dtype=np.int64),
                np.maximum.reduceat(times, starts),
            ]
        found = [Sums(*group) for group in zip(*(column.tolist() for column in numbers), strict=True)]
        if columns.visitors is not None and self._by_visitor is not None:
            visitors, _, edges = _distinct(group_of, self._by_visitor, columns.visitors, count, without=NOBODY)
            for sums, (first, last) in zip(found, pairwise(edges), strict=True):
                sums.visitors = bitmaps.of(visitors[first:last])
        if columns.bins is not None and self._by_bin is not None:
            bins, hits, edges = _distinct(group_of, self._by_bin, columns.bins, count, without=UNTIMED)
            bin_list, hit_list = bins.tolist(), hits.tolist()
            for sums, (first, last) in zip(found, pairwise(edges), strict=True):
                sums.latency = dict(zip(bin_list[first:last], hit_list[first:last], strict=True))
        return iter(found)


def _distinct(
    group_of: Column, order: Column, column: Column, count: int, *, without: int
) -> tuple[Column, Column, list[int]]:
    """The distinct numbers of `column` in each of `count` groups, rising, how often each, and where each group's begin.

    `order` are all ordinals in the order of `column`.
    """
    places = order[np.argsort(group_of[order], kind="stable")]
    groups, numbers = group_of[places], column[places]
    fresh = np.ones(len(places), dtype=bool)
    fresh[1:] = (groups[1:] != groups[:-1]) | (numbers[1:] != numbers[:-1])
    firsts = np.flatnonzero(fresh)
    often = np.diff(firsts, append=len(places))
    kept = numbers[firsts] != without
    firsts, often = firsts[kept], often[kept]
    return numbers[firsts], often, np.searchsorted(groups[firsts], np.arange(count + 1)).tolist()
