"""A segment: all that is known of the requests of one hour, day or month and one audience. Built, merged; pure.

Requests are numbered by (date, key): the k-th has ordinal k. For each value of each dimension a segment has the set of
ordinals with that value, so a filter is an intersection of sets, and for everything that is measured it has what gives
the measure of any set of ordinals: bit slices of size and response time, a set for each latency bin, and columns by
ordinal of visitor and date. Besides, it has the measures of each value already summed, for questions without a filter.

Merging segments in time order moves their ordinals up by the requests before them and adds the rest: so months come
from days and days from hours, and the parts of a merged segment answer as the whole does.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pyroaring import BitMap

from ..latency import bin_of
from . import bitmaps, gather

NOBODY = 0
"""Visitor id of requests without a client address."""
NONE = 0
"""Value id of requests that have no value in a dimension."""
OTHER = 1
"""Value id of values beyond the most that a dimension keeps a day."""
CLIENT_ERRORS, SERVER_ERRORS = 4, 5
DENSE = 300
"""From so many requests on, intersecting sets is cheaper than looking each request up."""
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
    latency: Counter[int] = field(default_factory=Counter)
    """Requests by latency bin."""

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
        self.latency.update(other.latency)


@dataclass(slots=True)
class Segment:
    """Requests of one period and audience, by ordinal."""

    hits: int
    hours: list[tuple[datetime, int]]
    """Start of each hour that has requests, naive UTC, and its first ordinal; rising."""
    offsets: Sequence[int]
    """Microseconds from the start of its hour, by ordinal."""
    keys: Sequence[int] | None
    """Key in the raw table, by ordinal; None: the model's keys are no whole numbers."""
    visitors: Sequence[int]
    """Visitor id, by ordinal."""
    sizes: Sequence[BitMap]
    """Bit slices of the size in bytes."""
    times: Sequence[BitMap]
    """Bit slices of the response time in microseconds."""
    timed: BitMap
    """Ordinals that have a response time."""
    latency: Mapping[int, BitMap]
    """Ordinals of each latency bin."""
    errors: Mapping[int, BitMap]
    """Ordinals of `CLIENT_ERRORS` and of `SERVER_ERRORS`."""
    indexes: Mapping[str, Mapping[int, BitMap]]
    """For each dimension, ordinals of each value id."""
    columns: Mapping[str, Sequence[int]]
    """For each dimension with many values, the value id by ordinal."""
    values: dict[str, dict[int, Sums]] = field(default_factory=dict)
    """For each dimension, the measures of each value id."""
    whole: Sums = field(default_factory=Sums)
    """The measures of all requests."""

    def moment(self, ordinal: int) -> datetime:
        """When that request began, naive UTC."""
        start, _ = self.hours[bisect_right(self.hours, ordinal, key=lambda hour: hour[1]) - 1]
        return start + timedelta(microseconds=self.offsets[ordinal])

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

    def sums(self, members: BitMap) -> Sums:
        """Errors, size and response times of the requests with ordinals `members`; visitors and latency stay empty."""
        timed = members & self.timed
        return Sums(
            hits=len(members),
            client_errors=members.intersection_cardinality(self.errors.get(CLIENT_ERRORS, _EMPTY)),
            server_errors=members.intersection_cardinality(self.errors.get(SERVER_ERRORS, _EMPTY)),
            size=bitmaps.total(self.sizes, members),
            time_us=bitmaps.total(self.times, timed),
            timed=len(timed),
            longest_us=bitmaps.largest(self.times, timed) if timed else 0,
        )

    def latency_of(self, members: BitMap) -> Counter[int]:
        """How many of `members` are in each latency bin."""
        bins = {number: members.intersection_cardinality(having) for number, having in self.latency.items()}
        return Counter({number: count for number, count in bins.items() if count})

    def visitors_of(self, members: BitMap) -> BitMap:
        """The visitor ids of the requests with ordinals `members`."""
        found = gather.distinct(self.visitors, members)
        found.discard(NOBODY)
        return found


_EMPTY = BitMap()


Ids = Callable[[str, set[Any]], Mapping[Any, int]]
"""For a dimension and raw values, the value id of each; for `VISITOR` and addresses, visitor ids."""
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


def build(rows: Sequence[Sequence[Any]], *, hours: Sequence[datetime], shape: Shape, ids: Ids) -> Segment:
    """The segment of `rows`, which are one audience's in the order of date and key.

    `hours` are the edges of the period's hours, rising; every row's date is within.
    """
    if not rows:
        return _empty(shape)
    dates, keys, addresses, raw_sizes, raw_times, statuses, *raws = zip(*rows, strict=True)
    columns = _Measured.of(dates, addresses, raw_sizes, raw_times, statuses, ids)
    starts = [(start, bisect_left(dates, start)) for start in hours[:-1]]
    ends = [first for _, first in starts[1:]] + [len(dates)]
    offsets = array("I")
    for (start, first), end in zip(starts, ends, strict=True):
        offsets.extend([(date - start) // MICROSECOND for date in dates[first:end]])
    latency, classes = _places(columns.bins), _places(columns.classes)
    latency.pop(None, None)
    segment = Segment(
        hits=len(dates),
        hours=[hour for hour, end in zip(starts, ends, strict=True) if hour[1] < end],
        offsets=offsets,
        keys=array("q", keys) if all(isinstance(key, int) for key in keys) else None,
        visitors=array("I", columns.visitors),
        sizes=bitmaps.slice_numbers(columns.sizes),
        times=bitmaps.slice_numbers(columns.times),
        timed=BitMap([ordinal for ordinal, number in enumerate(columns.bins) if number is not None]),
        latency={number: BitMap(ordinals) for number, ordinals in latency.items()},
        errors={n: BitMap(classes[n]) for n in (CLIENT_ERRORS, SERVER_ERRORS) if n in classes},
        indexes={},
        columns={},
    )
    segment.whole = columns.sums(range(len(dates)), BitMap(range(len(dates))), segment)
    indexes: dict[str, dict[int, BitMap]] = {}
    many_valued: dict[str, Sequence[int]] = {}
    for (name, many), raw in zip(shape.dimensions, raws, strict=True):
        known = ids(name, set(raw))
        column = _fold([known[value] for value in raw], shape.most_values)
        indexes[name], segment.values[name] = {}, {}
        for value, ordinals in _places(column).items():
            members = indexes[name][value] = BitMap(ordinals)
            segment.values[name][value] = columns.sums(ordinals, members, segment)
        if many:
            many_valued[name] = array("I", column)
    segment.indexes, segment.columns = indexes, many_valued
    return segment


@dataclass(frozen=True, slots=True)
class _Measured:
    """The measured columns of the rows of a segment being built."""

    dates: Sequence[datetime]
    visitors: list[int]
    sizes: list[int]
    times: list[int]
    bins: list[int | None]
    classes: list[int]

    @classmethod
    def of(
        cls,
        dates: Sequence[datetime],
        addresses: Sequence[str | None],
        sizes: Sequence[int | None],
        times: Sequence[float | None],
        statuses: Sequence[int | None],
        ids: Ids,
    ) -> _Measured:
        known = ids(VISITOR, {address for address in addresses if address is not None})
        return cls(
            dates=dates,
            visitors=[NOBODY if address is None else known[address] for address in addresses],
            sizes=[max(0, size) if size else 0 for size in sizes],
            times=[max(0, round(time * 1_000_000)) if time else 0 for time in times],
            bins=[None if time is None else bin_of(time) for time in times],
            classes=[status // 100 if status else 0 for status in statuses],
        )

    def sums(self, ordinals: Sequence[int], members: BitMap, segment: Segment) -> Sums:
        """The measures of the requests at `ordinals`, which rise and are not none; `members` are the same as a set."""
        if len(ordinals) < DENSE:
            latency = Counter([self.bins[k] for k in ordinals])
            untimed = latency.pop(None, 0)
            times = [self.times[k] for k in ordinals]
            sums = Sums(
                hits=len(ordinals),
                client_errors=members.intersection_cardinality(segment.errors.get(CLIENT_ERRORS, _EMPTY)),
                server_errors=members.intersection_cardinality(segment.errors.get(SERVER_ERRORS, _EMPTY)),
                size=sum([self.sizes[k] for k in ordinals]),
                time_us=sum(times),
                timed=len(ordinals) - untimed,
                longest_us=max(times),
                latency=latency,  # type: ignore[arg-type]  # None was taken out
            )
        else:
            sums = segment.sums(members)
            sums.latency = segment.latency_of(members)
        sums.last = self.dates[ordinals[-1]]
        sums.visitors = BitMap([self.visitors[k] for k in ordinals])
        sums.visitors.discard(NOBODY)
        return sums


def _places(column: Iterable[Any]) -> dict[Any, list[int]]:
    """The ordinals of each value of `column`, rising."""
    places: defaultdict[Any, list[int]] = defaultdict(list)
    for ordinal, value in enumerate(column):
        places[value].append(ordinal)
    return dict(places)


def _kept(counts: Mapping[int, int], most: int) -> set[int]:
    """The `most` values with the most hits, and beside them those that are no values."""
    by_rank = sorted(counts.keys() - {NONE, OTHER}, key=lambda value: (-counts[value], value))
    return {NONE, OTHER, *by_rank[:most]}


def _fold(column: list[int], most: int) -> list[int]:
    """`column` with its rarer values replaced by `OTHER` where it has more than `most`."""
    counts = Counter(column)
    kept = _kept(counts, most)
    return column if counts.keys() <= kept else [value if value in kept else OTHER for value in column]


def _empty(shape: Shape) -> Segment:
    names = [name for name, _ in shape.dimensions]
    return Segment(
        hits=0,
        hours=[],
        offsets=array("I"),
        keys=array("q"),
        visitors=array("I"),
        sizes=[],
        times=[],
        timed=BitMap(),
        latency={},
        errors={},
        indexes={name: {} for name in names},
        columns={name: array("I") for name, many in shape.dimensions if many},
        values={name: {} for name in names},
    )


def merge(parts: Sequence[Segment], *, most_values: int) -> Segment:
    """One segment of all requests of `parts`, which are one audience's, in time order, each with all it was built with.

    Beyond `most_values` of a dimension, the rarer values are folded into `OTHER`.
    """
    merged = join(parts)
    for part in parts:
        merged.whole.add(part.whole)
        for name, values in part.values.items():
            added = merged.values.setdefault(name, {})
            for value, sums in values.items():
                added.setdefault(value, Sums()).add(sums)
    fold(merged, most_values)
    return merged


def join(parts: Sequence[Segment]) -> Segment:
    """What `merge` makes of `parts`, but for the measures of values and of the whole, and without folding."""
    parts = [part for part in parts if part.hits] or list(parts[:1])
    placed: list[tuple[Segment, int]] = []
    hits = 0
    for part in parts:
        placed.append((part, hits))
        hits += part.hits
    return Segment(
        hits=hits,
        hours=_hours([(part.hours, offset) for part, offset in placed]),
        offsets=_joined("I", [part.offsets for part in parts]),
        keys=None if any(part.keys is None for part in parts) else _joined("q", [part.keys or () for part in parts]),
        visitors=_joined("I", [part.visitors for part in parts]),
        sizes=_slices([(part.sizes, offset) for part, offset in placed]),
        times=_slices([(part.times, offset) for part, offset in placed]),
        timed=bitmaps.shifted((part.timed, offset) for part, offset in placed),
        latency=_sets([(part.latency, offset) for part, offset in placed]),
        errors=_sets([(part.errors, offset) for part, offset in placed]),
        indexes={name: _sets([(part.indexes[name], offset) for part, offset in placed]) for name in parts[0].indexes},
        columns={name: _joined("I", [part.columns[name] for part in parts]) for name in parts[0].columns},
    )


def fold(segment: Segment, most_values: int) -> None:
    """Fold the rarer values of each dimension that has more than `most_values` into `OTHER`."""
    for name in list(segment.indexes):
        _fold_dimension(segment, name, most_values)


def _hours(parts: Sequence[tuple[Sequence[tuple[datetime, int]], int]]) -> list[tuple[datetime, int]]:
    hours: list[tuple[datetime, int]] = []
    for some, offset in parts:
        # where parts divide an hour, it goes on in the next one
        hours += [(start, first + offset) for start, first in some if not hours or start > hours[-1][0]]
    return hours


def _joined(code: str, columns: Sequence[Sequence[int]]) -> array[int]:
    whole: array[int] = array(code)
    for column in columns:
        # arrays of one type are copied as they are; a stored column may be of a shorter type
        whole.extend(column if isinstance(column, array) and column.typecode == code else iter(column))
    return whole


def _slices(parts: Sequence[tuple[Sequence[BitMap], int]]) -> list[BitMap]:
    bits = max(len(slices) for slices, _ in parts)
    return [
        bitmaps.shifted((slices[bit], offset) for slices, offset in parts if bit < len(slices)) for bit in range(bits)
    ]


def _sets(parts: Sequence[tuple[Mapping[int, BitMap], int]]) -> dict[int, BitMap]:
    members: defaultdict[int, list[tuple[BitMap, int]]] = defaultdict(list)
    for sets, offset in parts:
        for value in sets:
            members[value].append((sets[value], offset))
    return {value: bitmaps.shifted(pieces) for value, pieces in members.items()}


def _fold_dimension(segment: Segment, name: str, most: int) -> None:
    """Fold the rarer values of one dimension of a segment just merged."""
    sets, values = dict(segment.indexes[name]), segment.values[name]
    kept = _kept({value: len(members) for value, members in sets.items()}, most)
    rest = [value for value in sets if value not in kept]
    if not rest:
        return
    sets[OTHER] = bitmaps.union([sets.get(OTHER, _EMPTY), *(sets.pop(value) for value in rest)])
    for value in rest:
        values.setdefault(OTHER, Sums()).add(values.pop(value))
    segment.indexes = {**segment.indexes, name: sets}
    if name in segment.columns:
        folded = set(rest)
        column = array("I", [OTHER if value in folded else value for value in segment.columns[name]])
        segment.columns = {**segment.columns, name: column}
