"""Times, and counts, as a log-spaced histogram: the bins, and percentiles read from it. Pure.

A bin is 4 % wide, so its geometric middle is within 2 % of every time in it. Both kinds of queries count into these same
bins, so they answer the same percentiles. A count of n has the bin of n milliseconds: each count up to 25 has one of its
own, and those up to some millions are told apart.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import ceil, sqrt

RATIO = 1.04
SHORTEST = 1e-5
LONGEST = 3600.0

_count = 1
while SHORTEST * RATIO**_count < LONGEST:
    _count += 1
EDGES: tuple[float, ...] = tuple(SHORTEST * RATIO**k for k in range(_count + 1))
"""Lower edges in seconds of bin 1, 2, ...; bin 0 holds what is shorter than 10 microseconds, the last one over an hour."""
BINS = len(EDGES) + 1
COUNT_EDGES: tuple[float, ...] = tuple(edge * 1_000 for edge in EDGES)
"""Lower edges of the same bins for counts."""


def bin_of(seconds: float) -> int:
    """The bin that counts a time of `seconds`."""
    return bisect_right(EDGES, seconds)


def bin_of_count(count: float) -> int:
    """The bin of a count."""
    return bisect_right(COUNT_EDGES, count)


def middle(number: int) -> float:
    """The time in seconds that stands for all in bin `number`."""
    if number == 0:
        return EDGES[0] / 2
    if number == len(EDGES):
        return EDGES[-1]
    return sqrt(EDGES[number - 1] * EDGES[number])


def middle_of_counts(number: int) -> float:
    """The count that stands for all in bin `number`: that count itself where the bin has one alone."""
    if number == 0:
        return 0.0
    if number == len(EDGES):
        return COUNT_EDGES[-1]
    return sqrt(ceil(COUNT_EDGES[number - 1]) * (ceil(COUNT_EDGES[number]) - 1))


def percentile(histogram: Mapping[int, int], part: float, *, longest: float | None = None) -> float | None:
    """The time in seconds that `part` (0 to 1) of all requests did not exceed, by nearest rank, within 2 %.

    `histogram` counts requests by bin. None if it is empty. `longest` is the longest time that really occurred; the
    answer never exceeds it.
    """
    return percentiles(histogram, (part,), longest=longest)[0]


def percentiles(
    histogram: Mapping[int, int],
    parts: Sequence[float],
    *,
    longest: float | None = None,
    middle_of: Callable[[int], float] = middle,
) -> tuple[float | None, ...]:
    """The `percentile` of each of `parts`, from one look at the histogram; `middle_of`: what stands for a bin."""
    bins = sorted(number for number, count in histogram.items() if count)
    if not bins:
        return (None,) * len(parts)
    sums = list(accumulate(histogram[number] for number in bins))
    # the rounding keeps 0.95 * 20 from becoming the 20th of 20 values
    ranks = (max(1, ceil(round(part * sums[-1], 6))) for part in parts)
    answers = (middle_of(bins[bisect_left(sums, rank)]) for rank in ranks)
    return tuple(answer if longest is None else min(answer, longest) for answer in answers)


@dataclass(slots=True)
class Spread:
    """What was measured of some requests, being added up: seconds, microseconds or counts, as whoever adds has them."""

    total: float = 0
    known: int = 0
    """Requests that have a value."""
    highest: float | None = None
    """None: no request has a value."""
    bins: dict[int, int] = field(default_factory=dict)
    """Requests by bin. A plain dict: rollups have one for each value of each segment, and a `Counter` takes long to make."""

    def add(self, other: Spread) -> None:
        """Take in `other`, whose requests are all different ones."""
        self.total += other.total
        self.known += other.known
        if other.highest is not None and (self.highest is None or other.highest > self.highest):
            self.highest = other.highest
        self.add_bins(other.bins)

    def add_bins(self, other: Mapping[int, int]) -> None:
        """Take in requests by bin."""
        if not self.bins:
            self.bins.update(other)
            return
        for number, hits in other.items():
            self.bins[number] = self.bins.get(number, 0) + hits
