"""What changed between two lots of requests, and how sure that is. Pure.

*The tests.* Failures: the share of server errors. Visitors: their number, which is as likely before as after where nothing
changed. Times, two of them, of which the stronger counts: the share of requests that took at least the 95th percentile of both
lots together, which sees that the slow ones got slower; and the ranks of all (Mann and Whitney 1947), which sees that most did.
Shares are tested exactly while events are few, else by the likelihood ratio. The deviation z is in standard deviations.

*Requests come in clusters:* a slow hour has many slow requests. So both lots are cut into blocks of time, and how much the
difference between before and after varies from block to block, against what chance alone would do, is the dispersion D; that
of one route is drawn towards that of the middle route, as few blocks tell little (Smyth 2004, "Linear models and empirical
Bayes methods"). z / sqrt(D), never more than z, has Student's distribution.

*Its error:* chances are multiplied by the number of tests made (Bonferroni), so "1 in 20" is of the whole list: had nothing
changed, one list in 20 would show something, at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import erfc, exp, inf, lgamma, log, sqrt
from statistics import NormalDist, median

from .dimensions import Value
from .latency import middle, percentile
from .queries.answers import Block, Profile

TIMES, FAILURES, VISITORS, NEW, GONE = "p95", "fails", "visitors", "new", "gone"
"""What can have changed."""
SURE, LIKELY = 1 / 1_000, 1 / 20
"""A change is sure, or likely, if chance alone shows one in fewer than so many lists."""
LEAST_CHANGE = 1.05
"""Smaller changes than by this factor matter to nobody, however sure they are; bins of times are 4 % wide."""
LEAST_TIMED = 20
"""So many timed requests each lot must have before their 95th percentiles are compared."""
LEAST_EVENTS = 5
"""Failures, or visitors, of both lots together: fewer cannot be told from chance, whoever has them, and are not tested."""
LEAST_FAILING = 0.001
"""A share of failures that changes by less is no change."""
MOST_EXACT = 500
"""Events up to which the test is exact."""
PRIOR_BLOCKS = 20
"""As much as so many blocks of its own, at most, tells what is known of the other routes about how one varies."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that changed for one value."""

    value: Value
    what: str
    """`TIMES`, `FAILURES`, `VISITORS`, `NEW` or `GONE`."""
    before: float
    """Seconds, share of requests, or number of visitors; of what is new or gone, requests."""
    after: float
    ratio: float
    """After against before; inf: there was nothing before."""
    low: float
    """From here ..."""
    high: float
    """... to here it may be: where that has 1 in it, the change may be chance."""
    chance: float
    """How many of lists like this would show such a change though nothing had changed, 0 to 1."""
    cost: float
    """Requests, or visitors, that it concerns."""

    @property
    def is_sure(self) -> bool:
        """Whether it can be relied on; if not, it is likely."""
        return self.chance < SURE

    @property
    def is_worse(self) -> bool:
        """Slower, failing more, or with fewer visitors."""
        return self.what == GONE or (self.what != NEW and (self.ratio < 1) == (self.what == VISITORS))


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changed between two lots of requests."""

    findings: tuple[Finding, ...]
    """Those that are at least likely: the sure ones first, then those that concern most requests; new and gone ones last."""
    unchanged: tuple[Value, ...]
    """Values for which nothing is found, in the order of their requests after."""
    tests: int
    """How many were made."""


@dataclass(frozen=True, slots=True)
class _Test:
    """One test, before it is known how much its like vary."""

    value: Value
    what: str
    before: float
    after: float
    ratio: float
    z: float
    """Standard deviations, positive for more."""
    cost: float
    dispersion: float
    freedom: int
    """Degrees of freedom of the dispersion; 0: it is not known."""
    kind: str
    """Those of one kind vary alike: what is tested, or `RANKS`."""


RANKS = "ranks"
NOTHING = Profile(None, 0, None, None, {}, ())


def compare(
    before: Mapping[Value, Profile], after: Mapping[Value, Profile], *, same_hours: bool, part: float = 0.5
) -> Comparison:
    """What changed between the two lots, by value.

    `same_hours`: whether block for block of both is the same time of the week, for the same length, so that visitors can be
    compared by their number. `part`: of what did not change, so much is expected in the second lot.
    """
    values = dict.fromkeys([*after, *before])
    made = [
        test
        for value in values
        for test in _tests(
            value, before.get(value, NOTHING), after.get(value, NOTHING), same_hours=same_hours, part=part
        )
    ]
    usual = {kind: _usual([test for test in made if test.kind == kind]) for kind in {test.kind for test in made}}
    found: dict[tuple[Value, str], Finding] = {}
    for test in made:
        one = _finding(test, usual[test.kind], len(made))
        known = None if one is None else found.get((one.value, one.what))
        if one is not None and (known is None or one.chance < known.chance):
            found[one.value, one.what] = one
    findings = sorted(
        found.values(), key=lambda one: (one.what in (NEW, GONE), not one.is_sure, -one.cost, str(one.value))
    )
    changed = {one.value for one in findings}
    return Comparison(tuple(findings), tuple(value for value in values if value not in changed), len(made))


# ---- tests -----------------------------------------------------------------------------------------------------------


def _tests(value: Value, before: Profile, after: Profile, *, same_hours: bool, part: float) -> Iterable[_Test]:
    """Those for which there is enough of one value."""
    if before.hits and after.hits:
        yield from _test_times(value, before, after, same_hours)
        yield from _test_failures(value, before, after, same_hours)
        if same_hours and before.visitors is not None and after.visitors is not None:
            yield from _test_visitors(value, before, after)
    else:
        yield from _test_presence(value, before, after, same_hours, part)


def _test_times(value: Value, before: Profile, after: Profile, same_hours: bool) -> Iterable[_Test]:
    counts = [sum(lot.bins.values()) for lot in (before, after)]
    if min(counts) < LEAST_TIMED:
        return
    together = dict(before.bins)
    for number, count in after.bins.items():
        together[number] = together.get(number, 0) + count
    edge = _tail(together)
    slow = [sum(count for number, count in lot.bins.items() if number >= edge) for lot in (before, after)]
    p95 = percentile(before.bins, 0.95) or 0.0, percentile(after.bins, 0.95) or 0.0
    mean = sum(middle(number) * count for number, count in together.items()) / sum(counts)
    variance = _variance(before.bins, after.bins, float)
    higher, of_ranks = ranks(before.bins, after.bins)
    of_slow = two_shares(slow[0], counts[0], slow[1], counts[1])
    dispersion, freedom = _dispersion(_times(before), _times(after), variance, same_hours)
    # what slow days do to ranks is in logarithms, of which the variance is another part of that of chance
    logarithms = _variance(before.bins, after.bins, log) or 1.0
    of_logarithms = 1 + (dispersion - 1) * max(1.0, variance / mean**2 / logarithms)
    slower = abs(slow[1] / counts[1] - slow[0] / counts[0]) * counts[1]
    ratio = _ratio(*p95)
    yield _Test(value, TIMES, *p95, ratio, of_slow, slower, dispersion, freedom, TIMES)
    yield _Test(value, TIMES, *p95, ratio, of_ranks, abs(2 * higher - 1) * counts[1], of_logarithms, freedom, RANKS)


def _variance(before: Mapping[int, int], after: Mapping[int, int], scale: Callable[[float], float]) -> float:
    """Of times within the lots: what both differ by is what is asked for."""
    squares = 0.0
    for bins in (before, after):
        whole = sum(bins.values())
        mean = sum(scale(middle(number)) * count for number, count in bins.items()) / whole
        squares += sum(count * (scale(middle(number)) - mean) ** 2 for number, count in bins.items())
    return squares / (sum(before.values()) + sum(after.values()))


def _tail(bins: Mapping[int, int]) -> int:
    """The bin with which the slowest twentieth begins, and not the fastest one of all."""
    left = 0.05 * sum(bins.values())
    numbers = sorted(bins, reverse=True)
    for number in numbers:
        left -= bins[number]
        if left <= 0:
            return number if number > numbers[-1] else number + 1
    return numbers[-1] + 1


def _test_failures(value: Value, before: Profile, after: Profile, same_hours: bool) -> Iterable[_Test]:
    if before.failed is None or after.failed is None or before.failed + after.failed < LEAST_EVENTS:
        return
    shares = before.failed / before.hits, after.failed / after.hits
    together = (before.failed + after.failed) / (before.hits + after.hits)
    smoothed = (before.failed + 0.5) / (before.hits + 1), (after.failed + 0.5) / (after.hits + 1)
    yield _Test(
        value,
        FAILURES,
        *shares,
        _ratio(*(smoothed if not before.failed or not after.failed else shares)),
        two_shares(before.failed, before.hits, after.failed, after.hits),
        abs(shares[1] - shares[0]) * after.hits,
        *_dispersion(_failures(before), _failures(after), together * (1 - together), same_hours),
        FAILURES,
    )


def _test_visitors(value: Value, before: Profile, after: Profile) -> Iterable[_Test]:
    counts = before.visitors or 0, after.visitors or 0
    if sum(counts) < LEAST_EVENTS:
        return
    yield _Test(
        value,
        VISITORS,
        *counts,
        _ratio(*(count + 0.5 if not min(counts) else count for count in counts)),
        one_share(counts[1], sum(counts), 0.5),
        abs(counts[1] - counts[0]),
        *_dispersion_of_visitors(before, after, sum(counts)),
        VISITORS,
    )


def _test_presence(value: Value, before: Profile, after: Profile, same_hours: bool, part: float) -> Iterable[_Test]:
    there = after if after.hits else before
    events = there.hits if there.visitors is None else there.visitors
    if events < LEAST_EVENTS:
        return
    spread = _dispersion_of_visitors(before, after, events) if same_hours else (1.0, 0)
    yield _Test(
        value,
        NEW if after.hits else GONE,
        before.hits,
        after.hits,
        inf if after.hits else 0.0,
        one_share(events if after.hits else 0, events, part),
        there.hits,
        *spread,
        VISITORS,
    )


def _ratio(before: float, after: float) -> float:
    return after / before if before else inf if after else 1.0


def two_shares(some: int, whole: int, others: int, other_whole: int) -> float:
    """By how many standard deviations the second share is above the first, though both may be the same."""
    events, rest = some + others, whole + other_whole - some - others
    if not events or not rest:
        return 0.0
    if min(events, rest) > MOST_EXACT:
        cells = ((some, whole), (others, other_whole))
        share = events / (events + rest)
        gained = sum(_gain(part, all_ * share) + _gain(all_ - part, all_ * (1 - share)) for part, all_ in cells)
        return _signed_root(gained, others / other_whole - some / whole)
    if events > rest:
        return -two_shares(whole - some, whole, other_whole - others, other_whole)

    def log_chance(count: int) -> float:
        return _log_choose(other_whole, count) + _log_choose(whole, events - count)

    least, most = max(0, events - whole), min(events, other_whole)
    return _exact(others, least, most, log_chance, _log_choose(whole + other_whole, events))


def ranks(before: Mapping[int, int], after: Mapping[int, int]) -> tuple[float, float]:
    """How often one of the second lot is above one of the first, and by how many standard deviations that is above a half."""
    one, other = sum(before.values()), sum(after.values())
    whole, below, above, ties = one + other, 0, 0.0, 0
    for number in sorted({*before, *after}):
        mine, theirs = before.get(number, 0), after.get(number, 0)
        above += theirs * (below + mine / 2)
        below += mine
        ties += (mine + theirs) ** 3 - (mine + theirs)
    variance = one * other / 12 * (whole + 1 - ties / (whole * (whole - 1)))
    return above / one / other, (above - one * other / 2) / sqrt(variance) if variance > 0 else 0.0


def one_share(some: int, whole: int, part: float) -> float:
    """By how many standard deviations `some` of `whole` are more than the `part` that is expected."""
    if whole > MOST_EXACT:
        gained = _gain(some, whole * part) + _gain(whole - some, whole * (1 - part))
        return _signed_root(gained, some - whole * part)

    def log_chance(count: int) -> float:
        return _log_choose(whole, count) + count * log(part) + (whole - count) * log(1 - part)

    return _exact(some, 0, whole, log_chance, 0.0)


def _gain(seen: float, expected: float) -> float:
    return 2 * seen * log(seen / expected) if seen else 0.0


def _signed_root(squared: float, sign: float) -> float:
    root = sqrt(max(0.0, squared))
    return root if sign > 0 else -root


def _log_choose(whole: int, some: int) -> float:
    return lgamma(whole + 1) - lgamma(some + 1) - lgamma(whole - some + 1)


def _exact(seen: int, least: int, most: int, log_chance: Callable[[int], float], log_all: float) -> float:
    """The deviation whose chance is that of a count as far out as `seen`, on its side."""
    above = sum(exp(log_chance(count) - log_all) for count in range(seen, most + 1))
    below = sum(exp(log_chance(count) - log_all) for count in range(least, seen + 1))
    tail = max(min(above, below, 0.5), 1e-300)
    deviation = -NormalDist().inv_cdf(tail)
    return deviation if above < below else -deviation


# ---- dispersion ------------------------------------------------------------------------------------------------------


def _dispersion(
    before: Sequence[tuple[int, float]], after: Sequence[tuple[int, float]], variance: float, same_hours: bool
) -> tuple[float, int]:
    """How often the variance of chance the means of blocks have, and its degrees of freedom; blocks are counts and sums.

    Block by block of the same hours where both have them, so that the ups and downs of a week are no dispersion.
    """
    if variance <= 0:
        return 1.0, 0
    if not same_hours or len(before) != len(after):
        (one, free), (other, as_free) = (_scatter([(n, total / n) for n, total in lot if n]) for lot in (before, after))
        return ((one + other) / variance / (free + as_free), free + as_free) if free + as_free else (1.0, 0)
    pairs = [
        (n * m / (n + m), other / m - total / n)
        for (n, total), (m, other) in zip(before, after, strict=True)
        if n and m
    ]
    squared, free = _scatter(pairs)
    return (squared / variance / free, free) if free else (1.0, 0)


def _times(lot: Profile) -> list[tuple[int, float]]:
    return [(block.timed, block.seconds) for block in lot.blocks]


def _failures(lot: Profile) -> list[tuple[int, float]]:
    return [(block.hits, float(block.failed)) for block in lot.blocks]


def _scatter(weighted: Sequence[tuple[float, float]]) -> tuple[float, int]:
    """The weighted squares of the distances from the mean, and how many can be chosen freely."""
    whole = sum(weight for weight, _ in weighted)
    if not whole:
        return 0.0, 0
    mean = sum(weight * value for weight, value in weighted) / whole
    return sum(weight * (value - mean) ** 2 for weight, value in weighted), max(0, len(weighted) - 1)


def _dispersion_of_visitors(before: Profile, after: Profile, visitors: int) -> tuple[float, int]:
    """That of numbers of visitors, from the requests of the blocks: each visitor has several, so that these vary more."""
    hits = before.hits + after.hits
    pairs = [(one, other) for one, other in _paired(before.blocks, after.blocks) if one + other]
    if len(pairs) < 2 or not before.hits or not after.hits:
        return 1.0, 0
    part = after.hits / hits
    squares = sum((other - (one + other) * part) ** 2 / ((one + other) * part * (1 - part)) for one, other in pairs)
    return squares / (len(pairs) - 1) * visitors / hits, len(pairs) - 1


def _paired(before: Sequence[Block], after: Sequence[Block]) -> Iterable[tuple[int, int]]:
    return ((one.hits, other.hits) for one, other in zip(before, after, strict=False))


@dataclass(frozen=True, slots=True)
class _Usual:
    """How tests of one kind vary."""

    dispersion: float
    """Of the middle one."""
    freedom: int
    """Degrees of freedom of all of them together."""


def _usual(tests: Sequence[_Test]) -> _Usual:
    known = [test.dispersion for test in tests if test.freedom]
    return _Usual(median(known) if known else 1.0, sum(test.freedom for test in tests))


# ---- chances ---------------------------------------------------------------------------------------------------------


def _finding(test: _Test, usual: _Usual, tests: int) -> Finding | None:
    """What a test finds; None: no more than chance would do, or too little to matter."""
    prior = min(PRIOR_BLOCKS, usual.freedom - test.freedom)
    freedom = test.freedom + prior
    dispersion = (test.freedom * test.dispersion + prior * usual.dispersion) / freedom if freedom else 1.0
    deviation = abs(test.z) / sqrt(max(1.0, dispersion))
    chance = min(1.0, tests * tail(deviation, freedom))
    if chance >= LIKELY or not _matters(test):
        return None
    low = high = test.ratio
    if test.what not in (NEW, GONE):
        # the interval of the test itself (Miettinen 1976): it meets 1 where the test is at its limit
        reach = abs(log(test.ratio)) * _limit(LIKELY / tests, freedom) / deviation
        low, high = test.ratio * exp(-reach), test.ratio * exp(reach)
    return Finding(test.value, test.what, test.before, test.after, test.ratio, low, high, chance, test.cost)


def _matters(test: _Test) -> bool:
    """Whether a change is large enough, and is what the test has seen."""
    if test.what in (NEW, GONE):
        return True
    if test.what == FAILURES and abs(test.after - test.before) < LEAST_FAILING:
        return False
    return (test.ratio >= LEAST_CHANGE and test.z > 0) or (test.ratio <= 1 / LEAST_CHANGE and test.z < 0)


def tail(deviation: float, freedom: int) -> float:
    """The chance of a deviation as far from 0, to either side, in Student's distribution; without `freedom` in the normal one.

    By Wallace's approximation (1959), which is within some percent.
    """
    if freedom:
        deviation = (8 * freedom + 1) / (8 * freedom + 3) * sqrt(freedom * log(1 + deviation * deviation / freedom))
    return erfc(deviation / sqrt(2))


def _limit(chance: float, freedom: int) -> float:
    """The deviation that has this chance."""
    low, high = 0.0, 1e6
    for _ in range(100):
        between = (low + high) / 2
        low, high = (between, high) if tail(between, freedom) > chance else (low, between)
    return high
