"""Response times as a log-spaced histogram: the bins, and percentiles read from it. Pure.

A bin is 4 % wide, so its geometric middle is within 2 % of every response time in it. Both kinds of queries count into
these same bins, so they answer the same percentiles.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
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


def bin_of(seconds: float) -> int:
    """The bin that counts a response time of `seconds`."""
    return bisect_right(EDGES, seconds)


def middle(number: int) -> float:
    """The response time in seconds that stands for all in bin `number`."""
    if number == 0:
        return EDGES[0] / 2
    if number == len(EDGES):
        return EDGES[-1]
    return sqrt(EDGES[number - 1] * EDGES[number])


def percentile(histogram: Mapping[int, int], part: float, *, longest: float | None = None) -> float | None:
    """The response time in seconds that `part` (0 to 1) of all requests did not exceed, by nearest rank, within 2 %.

    `histogram` counts requests by bin. None if it is empty. `longest` is the longest time that really occurred; the
    answer never exceeds it.
    """
    return percentiles(histogram, (part,), longest=longest)[0]


def percentiles(
    histogram: Mapping[int, int], parts: Sequence[float], *, longest: float | None = None
) -> tuple[float | None, ...]:
    """The `percentile` of each of `parts`, from one look at the histogram."""
    bins = sorted(number for number, count in histogram.items() if count)
    if not bins:
        return (None,) * len(parts)
    sums = list(accumulate(histogram[number] for number in bins))
    # the rounding keeps 0.95 * 20 from becoming the 20th of 20 values
    ranks = (max(1, ceil(round(part * sums[-1], 6))) for part in parts)
    answers = (middle(bins[bisect_left(sums, rank)]) for rank in ranks)
    return tuple(answer if longest is None else min(answer, longest) for answer in answers)
