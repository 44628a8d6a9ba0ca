"""What `confidence` says of made-up lots: as many false alarms as it states, at most, and real changes found."""

from __future__ import annotations

from math import erfc, exp, log, sqrt
from random import Random

import pytest

from flask_statistics.confidence import (
    FAILURES,
    GONE,
    LIKELY,
    NEW,
    TIMES,
    VISITORS,
    Comparison,
    compare,
    one_share,
    ranks,
    tail,
    two_shares,
)
from flask_statistics.dimensions import Value
from flask_statistics.latency import bin_of
from flask_statistics.queries.answers import Block, Profile

ROUTES, DAYS = 12, 7


def lot(
    random: Random,
    *,
    hits: float = 60,
    slower: float = 1.0,
    failing: float = 0.02,
    visitors: float = 1.0,
    clusters: float = 0.0,
) -> dict[Value, Profile]:
    """A week of routes, the first of which is `slower`, fails so often and has so many `visitors` as the others have.

    `clusters`: how much the days differ in speed, as logarithms.
    """
    found: dict[Value, Profile] = {}
    for number in range(ROUTES):
        bins: dict[int, int] = {}
        blocks, changed = [], number == 0
        for _ in range(DAYS):
            count = round(hits * random.uniform(0.7, 1.3) * (visitors if changed else 1))
            day = random.gauss(0, clusters) if clusters else 0.0
            times = [
                exp(random.gauss(-2.5 + day, 0.6)) * (slower if changed else 1) * (9 if random.random() < 0.01 else 1)
                for _ in range(count)
            ]
            for seconds in times:
                bins[bin_of(seconds)] = bins.get(bin_of(seconds), 0) + 1
            failed = sum(random.random() < (failing if changed else 0.02) for _ in range(count))
            blocks.append(Block(count, failed, count, sum(times)))
        whole = sum(block.hits for block in blocks)
        found[f"/{number}"] = Profile(
            f"/{number}", whole, round(whole / 2), sum(block.failed for block in blocks), bins, tuple(blocks)
        )
    return found


def compared(seed: int, **changes: float) -> Comparison:
    random = Random(seed)
    clusters = changes.pop("clusters", 0.0)
    return compare(lot(random, clusters=clusters), lot(random, clusters=clusters, **changes), same_hours=True)


@pytest.mark.parametrize("clusters", [0.0, 0.3])
def test_quiet_pairs_show_something_no_more_often_than_stated(clusters: float) -> None:
    pairs = 60
    alarms = sum(bool(compared(seed, clusters=clusters).findings) for seed in range(pairs))
    assert alarms <= 2 * LIKELY * pairs


def test_slow_days_alone_would_be_taken_for_changes_without_the_dispersion() -> None:
    quiet = 0
    for seed in range(20):
        random = Random(seed)
        lots = [lot(random, clusters=0.3) for _ in range(2)]
        without = [
            {value: Profile(value, one.hits, one.visitors, one.failed, one.bins, ()) for value, one in each.items()}
            for each in lots
        ]
        quiet += not any(one.what == TIMES for one in compare(without[0], without[1], same_hours=True).findings)
    assert quiet <= 5


@pytest.mark.parametrize(
    ("changes", "what", "worse"),
    [
        ({"slower": 1.6}, TIMES, True),
        ({"slower": 0.6}, TIMES, False),
        ({"failing": 0.1}, FAILURES, True),
        ({"failing": 0.0}, FAILURES, False),
        ({"visitors": 0.5}, VISITORS, True),
        ({"visitors": 2.0}, VISITORS, False),
    ],
)
def test_changes_are_found(changes: dict[str, float], what: str, worse: bool) -> None:
    random = Random(1)
    found = compare(lot(random, hits=300), lot(random, hits=300, **changes), same_hours=True).findings
    assert [(one.value, one.what, one.is_worse, one.is_sure) for one in found] == [("/0", what, worse, True)]
    assert not found[0].low <= 1 <= found[0].high
    assert found[0].low <= found[0].ratio <= found[0].high


def test_the_chance_is_that_of_the_whole_list() -> None:
    random = Random(3)
    before, after = lot(random), lot(random, slower=1.8)
    alone = compare({"/0": before["/0"]}, {"/0": after["/0"]}, same_hours=True)
    whole = compare(before, after, same_hours=True)
    assert (alone.tests, whole.tests) == (4, 4 * ROUTES)
    assert whole.findings[0].chance > 0
    assert len(whole.unchanged) == ROUTES - 1


def test_what_is_there_on_one_side_only_is_new_or_gone() -> None:
    random = Random(4)
    before, after = lot(random), lot(random)
    del before["/1"], after["/2"]
    found = compare(before, after, same_hours=True).findings
    assert {(one.value, one.what) for one in found} == {("/1", NEW), ("/2", GONE)}
    few: dict[Value, Profile] = {"/x": Profile("/x", 3, 3, 0, {}, ())}
    assert compare({}, few, same_hours=True).findings == ()


def test_a_change_too_small_to_matter_is_none_however_sure_it_is() -> None:
    block = (Block(10**7, 0, 0, 0.0),)
    before: dict[Value, Profile] = {"/": Profile("/", 10**7, 10**7, 0, {}, block)}
    after: dict[Value, Profile] = {"/": Profile("/", 10**7, 10**7 + 200_000, 0, {}, block)}
    assert compare(before, after, same_hours=True).findings == ()


def test_visitors_are_left_out_where_the_hours_differ() -> None:
    random = Random(5)
    found = compare(lot(random), lot(random, visitors=3.0), same_hours=False)
    assert not [one for one in found.findings if one.what == VISITORS]


def test_nothing_is_compared_with_nothing() -> None:
    assert compare({}, {}, same_hours=True) == Comparison((), (), 0)


def test_shares_are_exact_where_there_are_few() -> None:
    # Fisher's tea: 3 of 4 against 1 of 4 has the chance of 17 in 70
    assert erfc(two_shares(1, 4, 3, 4) / sqrt(2)) / 2 == pytest.approx(17 / 70)
    assert two_shares(3, 4, 1, 4) == pytest.approx(-two_shares(1, 4, 3, 4))
    assert erfc(one_share(8, 8, 0.5) / sqrt(2)) / 2 == pytest.approx(1 / 256)
    assert (two_shares(0, 9, 0, 9), two_shares(9, 9, 9, 9)) == (0.0, 0.0)
    assert two_shares(95, 100, 60, 100) == pytest.approx(-two_shares(5, 100, 40, 100))


def test_ranks_see_that_most_got_slower() -> None:
    # 1, 2, 3, 4 against 3, 4, 5, 6: 14 of 16 pairs, two of them ties of a half each
    higher, deviation = ranks({1: 1, 2: 1, 3: 1, 4: 1}, {3: 1, 4: 1, 5: 1, 6: 1})
    assert higher == pytest.approx(14 / 16)
    assert deviation == pytest.approx(1.753, abs=0.001)
    assert ranks({5: 9}, {5: 9}) == (0.5, 0.0)


def test_shares_of_many_are_near_the_exact_ones() -> None:
    assert two_shares(400, 9_000, 480, 9_000) == pytest.approx(2.755, abs=0.02)
    assert one_share(5_200, 10_000, 0.5) == pytest.approx(4.0, abs=0.02)


@pytest.mark.parametrize(("t", "freedom", "chance"), [(2.228, 10, 0.05), (4.587, 10, 0.001), (2.042, 30, 0.05)])
def test_tails_are_those_of_tables(t: float, freedom: int, chance: float) -> None:
    assert log(tail(t, freedom)) == pytest.approx(log(chance), abs=0.05)


def test_tails_without_freedom_are_normal() -> None:
    assert tail(1.959964, 0) == pytest.approx(0.05, abs=1e-6)
