"""Measures of any set of requests: columns of what was measured, and their sums for all or for each value. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

import numpy as np
from pyroaring import BitMap

from ..latency import BINS, Spread
from . import bitmaps
from .bitmaps import Column
from .grouping import LARGEST_MARKED, distinct, ordered_places

NOBODY = 0
"""Visitor id of requests without a client address."""
UNTIMED = BINS
"""Bin of requests without a response time, or without another measured value: one beyond the real ones."""
CLIENT_ERRORS, SERVER_ERRORS = 4, 5
FEW = 4_096
"""Up to so many ids, a bitmap is made of them as they are."""


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
    waits: dict[str, Spread] = field(default_factory=dict)
    """Microseconds or counts of what they waited for, by column; what no request has is left out."""

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
        for name, spread in other.waits.items():
            self.waits.setdefault(name, Spread()).add(spread)

    def add_latency(self, other: Mapping[int, int]) -> None:
        """Take in requests by latency bin."""
        if not self.latency:
            self.latency.update(other)
            return
        for number, hits in other.items():
            self.latency[number] = self.latency.get(number, 0) + hits


@dataclass(frozen=True, slots=True)
class Values:
    """What one column of the raw table says of what requests waited for, by place."""

    numbers: Column
    """Microseconds, or counts; 0 where there is none."""
    bins: Column
    """`UNTIMED` where there is none."""

    @classmethod
    def none(cls, count: int) -> Values:
        """Those of so many requests that have none."""
        return cls(np.zeros(count, dtype=np.uint8), np.full(count, UNTIMED, dtype=np.uint16))

    @classmethod
    def joined(cls, some: Sequence[Values]) -> Values:
        """Those of all of `some`, which are not none."""
        return cls(np.concatenate([one.numbers for one in some]), np.concatenate([one.bins for one in some]))

    def at(self, places: Column | slice) -> Values:
        """Those at `places`."""
        return Values(self.numbers[places], self.bins[places])

    def copied(self) -> Values:
        """The same, which keeps nothing else in memory."""
        return Values(self.numbers.copy(), self.bins.copy())

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return int(self.numbers.nbytes + self.bins.nbytes)

    def is_none(self) -> bool:
        """Whether no request has one."""
        return not (self.bins != UNTIMED).any()

    def spread(self) -> Spread:
        """All of them together."""
        counts = np.bincount(self.bins, minlength=UNTIMED + 1)
        bins = np.flatnonzero(counts[:UNTIMED])
        if not len(bins):
            return Spread()
        return Spread(
            total=int(self.numbers.sum(dtype=np.uint64)),
            known=len(self.bins) - int(counts[UNTIMED]),
            highest=int(self.numbers.max()),
            bins=dict(zip(bins.tolist(), counts[bins].tolist(), strict=True)),
        )


@dataclass(frozen=True, slots=True)
class Columns:
    """What is measured of some requests, by place; None: that is not asked for."""

    visitors: Column | None = None
    bins: Column | None = None
    sizes: Column | None = None
    times: Column | None = None
    classes: Column | None = None
    """`CLIENT_ERRORS`, `SERVER_ERRORS` or anything else."""
    waits: Mapping[str, Values] = field(default_factory=dict)
    """What they waited for, by column; what is not asked for is left out."""

    @classmethod
    def joined(cls, columns: Sequence[Columns]) -> Columns:
        """Those of all `columns`, which are not none and have the same ones."""

        def strung(columns: Sequence[Column | None]) -> Column | None:
            found = [column for column in columns if column is not None]
            return np.concatenate(found) if found else None

        return cls(
            visitors=strung([one.visitors for one in columns]),
            bins=strung([one.bins for one in columns]),
            sizes=strung([one.sizes for one in columns]),
            times=strung([one.times for one in columns]),
            classes=strung([one.classes for one in columns]),
            waits={name: Values.joined([one.waits[name] for one in columns]) for name in columns[0].waits},
        )

    @property
    def size(self) -> int:
        """Bytes in memory."""
        columns = (self.visitors, self.bins, self.sizes, self.times, self.classes)
        known: list[Column | Values] = [column for column in columns if column is not None]
        return sum(column.nbytes for column in [*known, *self.waits.values()])

    def at(
        self,
        places: Column | slice,
        *,
        summed: bool = True,
        timed: bool = True,
        seen: bool = True,
        waited: Collection[str] | None = None,
    ) -> Columns:
        """What is known of those at `places`: sums, response times by bin, visitors, what they waited for (None: all of it)."""

        def taken(column: Column | None, wanted: bool) -> Column | None:
            return column[places] if wanted and column is not None else None

        return Columns(
            visitors=taken(self.visitors, seen),
            bins=taken(self.bins, timed or summed),
            sizes=taken(self.sizes, summed),
            times=taken(self.times, summed),
            classes=taken(self.classes, summed),
            waits={name: values.at(places) for name, values in self.waits.items() if waited is None or name in waited},
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
        spreads = {name: values.spread() for name, values in self.waits.items()}
        sums.waits = {name: spread for name, spread in spreads.items() if spread.known}
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


class Groups:
    """The measures of groups of requests, all groups of one division at once."""

    def __init__(self, columns: Columns, *, timed: bool = True) -> None:
        """`timed`: whether to count latency bins, and not only which requests have a response time."""
        self._columns = columns
        self._by_visitor = None if columns.visitors is None else ordered_places(columns.visitors)
        self._by_bin = None if columns.bins is None or not timed else ordered_places(columns.bins)
        self._waits = [(name, values, ordered_places(values.bins)) for name, values in columns.waits.items()]

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
            visitors, _, edges = distinct(group_of, self._by_visitor, columns.visitors, count, without=NOBODY)
            for sums, (first, last) in zip(found, pairwise(edges), strict=True):
                sums.visitors = bitmaps.of(visitors[first:last])
        if columns.bins is not None and self._by_bin is not None:
            bins, hits, edges = distinct(group_of, self._by_bin, columns.bins, count, without=UNTIMED)
            bin_list, hit_list = bins.tolist(), hits.tolist()
            for sums, (first, last) in zip(found, pairwise(edges), strict=True):
                sums.latency = dict(zip(bin_list[first:last], hit_list[first:last], strict=True))
        for name, values, by_bin in self._waits:
            for sums, spread in zip(found, _spreads(values, by_bin, group_of, order, starts), strict=True):
                if spread.known:
                    sums.waits[name] = spread
        return iter(found)


def _spreads(values: Values, by_bin: Column, group_of: Column, order: Column, starts: Column) -> Iterator[Spread]:
    """The spread of each group, as `Groups.sums` has them; `by_bin`: all places in the order of their bins."""
    numbers = values.numbers[order]
    totals = np.add.reduceat(numbers, starts, dtype=np.uint64).tolist()
    known = np.add.reduceat(values.bins[order] != UNTIMED, starts, dtype=np.int64).tolist()
    highest = np.maximum.reduceat(numbers, starts).tolist()
    bins, hits, edges = distinct(group_of, by_bin, values.bins, len(starts), without=UNTIMED)
    bin_list, hit_list = bins.tolist(), hits.tolist()
    for number, (first, last) in enumerate(pairwise(edges)):
        histogram = dict(zip(bin_list[first:last], hit_list[first:last], strict=True))
        yield Spread(totals[number], known[number], highest[number], histogram)
