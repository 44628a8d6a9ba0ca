"""Segments: what they answer for any set of requests, merging, and what the database keeps of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from flask_statistics.latency import BINS, bin_of
from flask_statistics.rollups import bitmaps, store
from flask_statistics.rollups.grouping import counted
from flask_statistics.rollups.measuring import Measured, measured
from flask_statistics.rollups.numbering import Ids, Shape, indexed, numbered
from flask_statistics.rollups.segment import NONE, OTHER, Segment, join
from flask_statistics.rollups.sums import Sums

START = datetime(2026, 11, 22, 10)
HOURS = [START + timedelta(hours=hour) for hour in range(5)]
SHAPE = Shape((("browser", False), ("path", True)), most_values=100)


class Numbers:
    """Numbers values as a dictionary would: the same value, the same number."""

    def __init__(self) -> None:
        self.known: dict[str, dict[Any, int]] = {}

    def __call__(self, name: str, raws: set[Any]) -> Mapping[Any, int]:
        known = self.known.setdefault(name, {None: NONE})
        for raw in sorted(raws - known.keys()):
            known[raw] = len(known) + 1
        return known


def row(second: float, **values: Any) -> tuple[Any, ...]:
    names = ("remote_address", "size", "response_time", "status_code", "browser", "path")
    date = START + timedelta(seconds=second)
    return (date, int(second * 10), *(values.get(name) for name in names))


ROWS = st.lists(
    st.builds(
        row,
        st.integers(0, 4 * 3600 - 1),
        remote_address=st.sampled_from([None, "a", "b", "c"]),
        size=st.one_of(st.none(), st.integers(0, 2**35)),
        response_time=st.one_of(st.none(), st.floats(0, 100)),
        status_code=st.sampled_from([None, 200, 404, 500]),
        browser=st.sampled_from([None, "firefox", "chrome"]),
        path=st.sampled_from(["/", "/a", "/b", "/c", "/d"]),
    ),
    max_size=40,
).map(lambda rows: sorted(rows, key=lambda one: one[:2]))


def made(rows: list[Any], ids: Ids, most_values: int = 100) -> Segment:
    raws = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(8)]
    shape = Shape(SHAPE.dimensions, most_values)
    return indexed(numbered(raws, hours=HOURS, shape=shape, ids=ids), shape)


def content(segment: Segment) -> Any:
    """All that a segment holds, in a form that compares."""
    columns = (segment.offsets, segment.visitors, segment.sizes, segment.times, segment.bins)
    return (
        segment.hits,
        segment.hours,
        [column.tolist() for column in columns],
        None if segment.keys is None else segment.keys.tolist(),
        dict(segment.errors),
        {name: dict(sets) for name, sets in segment.indexes.items()},
        {name: column[:].tolist() for name, column in segment.columns.items()},
    )


@given(ROWS, st.integers(0, 40), st.integers(0, 40))
def test_join_is_associative(rows: list[Any], one: int, other: int) -> None:
    ids = Numbers()
    low, high = sorted((one, other))
    parts = [made(rows[:low], ids), made(rows[low:high], ids), made(rows[high:], ids)]
    left = join([join(parts[:2], most_values=100), parts[2]], most_values=100)
    right = join([parts[0], join(parts[1:], most_values=100)], most_values=100)
    assert content(left) == content(right) == content(made(rows, ids))


@given(ROWS, st.integers(0, 40))
def test_measures_add(rows: list[Any], cut: int) -> None:
    ids = Numbers()
    added = measured(made(rows[:cut], ids))
    added.add(measured(made(rows[cut:], ids)))
    assert added == measured(made(rows, ids))


@given(ROWS, st.sets(st.integers(0, 39)))
def test_sums_of_any_set(rows: list[Any], chosen: set[int]) -> None:
    ids = Numbers()
    segment, members = made(rows, ids), sorted(k for k in chosen if k < len(rows))
    alone = [rows[k] for k in members]
    bitmap = BitMap(members)
    places = segment.places(bitmap)
    columns = segment.measures_at(places, summed=True, timed=True, seen=True)
    sums = columns.sums(timed=True)
    sums.hits, sums.last = len(members), segment.moment(bitmap.max()) if members else None
    addresses = {one[2] for one in alone} - {None}
    times = [one[4] for one in alone if one[4] is not None]
    assert sums == Sums(
        hits=len(alone),
        client_errors=sum(1 for one in alone if one[5] == 404),
        server_errors=sum(1 for one in alone if one[5] == 500),
        size=sum(one[3] or 0 for one in alone),
        time_us=sum(round(time * 1_000_000) for time in times),
        timed=len(times),
        longest_us=max((round(time * 1_000_000) for time in times), default=0),
        last=alone[-1][0] if alone else None,
        visitors=BitMap([ids("", addresses)[address] for address in addresses]),
        latency=Counter(bin_of(time) for time in times),
    )
    assert sums == measured(made(alone, ids)).whole


@given(ROWS, st.sets(st.integers(0, 39)))
def test_values_of_any_set(rows: list[Any], chosen: set[int]) -> None:
    ids = Numbers()
    segment, members = made(rows, ids), BitMap([k for k in chosen if k < len(rows)])
    for place, name in ((6, "browser"), (7, "path")):
        known = ids(name, {row[place] for row in rows})
        expected = Counter(known[rows[k][place]] for k in members)
        places, values = segment.picked(name, set(known.values()), members)
        assert sorted(places.tolist()) == list(members)
        assert [known[rows[k][place]] for k in places] == values.tolist()
        assert counted([values, values[:0]]) == expected
        if name == "browser":
            assert segment.counts(name, members) == expected
        assert segment.having_any(name, set(known.values())) == BitMap(range(segment.hits))
        assert segment.having_any(name, [2**32 - 1]) == BitMap()


def test_passing_ids_are_as_good_as_others() -> None:
    """Ids of rows in memory count down from the top of 32 bits."""
    rows = [row(second, remote_address=str(second), path=f"/{second % 3}") for second in range(5_000)]

    def ids(name: str, raws: set[Any]) -> Mapping[Any, int]:
        return {raw: 2**32 - 1 - number for number, raw in enumerate(sorted(raws, key=str))}

    segment = made(rows, ids)
    everything = segment.places(BitMap(range(5_000)))
    assert (
        len(segment.measures_at(everything, summed=False, timed=False, seen=True).sums(timed=False).visitors) == 5_000
    )
    assert counted([segment.columns["path"][:]]) == {2**32 - 1: 1_667, 2**32 - 2: 1_667, 2**32 - 3: 1_666}
    assert segment.having_any("path", [2**32 - 3]) == BitMap(range(2, 5_000, 3))


@given(ROWS)
def test_parts_round_trip(rows: list[Any]) -> None:
    ids = Numbers()
    segment = made(rows, ids)
    back = store.segment_of(dict(store.parts_of(segment)), segment.hits)
    assert content(back) == content(segment)
    for path in (*ids("path", {"/", "/none"}).values(), 2**32 - 1):
        assert back.having_any("path", [path]) == segment.having_any("path", [path])


@given(ROWS, st.integers(0, 4 * 3600 * 10**6))
def test_ordinal_of_any_moment(rows: list[Any], microsecond: int) -> None:
    segment, moment = made(rows, Numbers()), START + timedelta(microseconds=microsecond)
    assert segment.ordinal(moment) == sum(1 for one in rows if one[0] < moment)


def test_build_folds_rare_values() -> None:
    rows = [row(second, path=path) for second, path in enumerate(["/", "/", "/a", "/a", "/b", "/c"])]
    ids = Numbers()
    segment = made(rows, ids, most_values=2)
    frequent = ids.known["path"]
    assert {value: sums.hits for value, sums in measured(segment).values["path"].items()} == {
        frequent["/"]: 2,
        frequent["/a"]: 2,
        OTHER: 2,
    }
    assert measured(segment).whole.hits == 6


def test_join_and_measures_fold_as_build_does() -> None:
    rows = [row(second, path=path) for second, path in enumerate(["/", "/a", "/b", "/", "/a", "/c", "/c"])]
    ids = Numbers()
    whole = made(rows, ids, most_values=3)
    parts = [made(rows[:3], ids, most_values=3), made(rows[3:], ids, most_values=3)]
    assert content(join(parts, most_values=3)) == content(whole)
    added = Measured()
    for part in parts:
        added.add(measured(part))
    added.fold(3)
    assert added == measured(whole)


def test_empty_segment() -> None:
    segment = made([], Numbers())
    assert (segment.hits, segment.ordinal(START), measured(segment).whole) == (0, 0, Sums())
    assert join([segment, segment], most_values=9).hits == 0


def test_largest_numbers() -> None:
    """What no request has is cut, so that sums fit what databases add."""
    rows = [row(0, size=2**63 - 1, response_time=float("inf")), row(1, size=256, response_time=-1.0)]
    sums = measured(made(rows, Numbers())).whole
    assert (sums.size, sums.longest_us, sums.timed) == (2**48 + 256, 2**40, 2)


@given(
    st.sets(st.integers(0, 2**32 - 1)),
    st.sets(st.integers(0, 9_000)),
    st.dictionaries(st.integers(0, BINS - 1), st.integers(1, 2**40)),
)
def test_sets_round_trip(some: set[int], others: set[int], counts: dict[int, int]) -> None:
    rows = [
        store.sets_of(1, 0, 0, Sums(visitors=BitMap(numbers), latency=Counter(counts))) for numbers in (some, others)
    ]
    assert store.visitors_of([row["visitors"] for row in rows]) == BitMap(some | others)
    assert store.latency_of([row["latency"] for row in rows]) == {number: 2 * count for number, count in counts.items()}


def test_packed_reads_what_was_packed() -> None:
    sets = {7: BitMap([1, 2]), 3: BitMap(), 2**32 - 1: BitMap(range(100_000))}
    packed = bitmaps.Packed(bitmaps.pack(sets))
    assert packed[7] == BitMap([1, 2])
    assert dict(packed.items()) == sets
    assert (len(packed), 3 in packed, 4 in packed) == (3, True, False)
