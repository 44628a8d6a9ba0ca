"""Segments: what they answer for any set of requests, merging, and what the database keeps of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from flask_statistics.rollups import bitmaps, store
from flask_statistics.rollups.segment import NONE, OTHER, Segment, Shape, Sums, build, merge

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


def made(rows: list[Any], ids: Numbers, most_values: int = 100) -> Segment:
    return build(rows, hours=HOURS, shape=Shape(SHAPE.dimensions, most_values), ids=ids)


def content(segment: Segment) -> Any:
    """All that a segment holds, in a form that compares."""
    return (
        segment.hits,
        segment.hours,
        *(list(column) for column in (segment.offsets, segment.keys or (), segment.visitors)),
        *(list(slices) for slices in (segment.sizes, segment.times)),
        segment.timed,
        dict(segment.latency),
        dict(segment.errors),
        {name: dict(sets) for name, sets in segment.indexes.items()},
        {name: list(column) for name, column in segment.columns.items()},
        segment.values,
        segment.whole,
    )


@given(ROWS, st.integers(0, 40), st.integers(0, 40))
@settings(deadline=None)
def test_merge_is_associative(rows: list[Any], one: int, other: int) -> None:
    ids = Numbers()
    low, high = sorted((one, other))
    parts = [made(rows[:low], ids), made(rows[low:high], ids), made(rows[high:], ids)]
    left = merge([merge(parts[:2], most_values=100), parts[2]], most_values=100)
    right = merge([parts[0], merge(parts[1:], most_values=100)], most_values=100)
    assert content(left) == content(right) == content(merge([made(rows, ids)], most_values=100))


@given(ROWS, st.sets(st.integers(0, 39)))
@settings(deadline=None)
def test_sums_of_any_set(rows: list[Any], chosen: set[int]) -> None:
    ids = Numbers()
    segment, members = made(rows, ids), sorted(k for k in chosen if k < len(rows))
    alone = made([rows[k] for k in members], ids)
    bitmap = BitMap(members)
    sums = segment.sums(bitmap)
    sums.latency, sums.visitors = segment.latency_of(bitmap), segment.visitors_of(bitmap)
    sums.last = segment.moment(bitmap.max()) if members else None
    assert sums == alone.whole


@given(ROWS)
@settings(deadline=None)
def test_parts_round_trip(rows: list[Any]) -> None:
    segment = made(rows, Numbers())
    back = store._segment(store._parts(segment))
    back.hits, back.values, back.whole = segment.hits, segment.values, segment.whole
    assert content(back) == content(segment)


@given(ROWS, st.integers(0, 4 * 3600 * 10**6))
@settings(deadline=None)
def test_ordinal_of_any_moment(rows: list[Any], microsecond: int) -> None:
    segment, moment = made(rows, Numbers()), START + timedelta(microseconds=microsecond)
    assert segment.ordinal(moment) == sum(1 for one in rows if one[0] < moment)


def test_build_folds_rare_values() -> None:
    rows = [row(second, path=path) for second, path in enumerate(["/", "/", "/a", "/a", "/b", "/c"])]
    ids = Numbers()
    segment = made(rows, ids, most_values=2)
    frequent = ids.known["path"]
    assert {value: sums.hits for value, sums in segment.values["path"].items()} == {
        frequent["/"]: 2,
        frequent["/a"]: 2,
        OTHER: 2,
    }
    assert segment.whole.hits == 6


def test_merge_folds_as_build_does() -> None:
    rows = [row(second, path=path) for second, path in enumerate(["/", "/a", "/b", "/", "/a", "/c", "/c"])]
    ids = Numbers()
    whole = made(rows, ids, most_values=3)
    parts = [made(rows[:3], ids, most_values=3), made(rows[3:], ids, most_values=3)]
    merged = merge(parts, most_values=3)
    assert content(merged) == content(whole)


def test_empty_segment() -> None:
    segment = made([], Numbers())
    assert (segment.hits, segment.ordinal(START), segment.whole) == (0, 0, Sums())
    assert merge([segment, segment], most_values=9).hits == 0


def test_slices_hold_the_largest_numbers() -> None:
    numbers = [0, 1, 2**63 - 1, 255, 256]
    slices = bitmaps.slice_numbers(numbers)
    everything = BitMap(range(len(numbers)))
    assert bitmaps.total(slices, everything) == sum(numbers)
    assert bitmaps.largest(slices, BitMap([0, 3, 4])) == 256


def test_packed_reads_what_was_packed() -> None:
    sets = {7: BitMap([1, 2]), 3: BitMap(), 2**32 - 1: BitMap(range(100_000))}
    packed = bitmaps.Packed(bitmaps.pack(sets))
    assert packed[7] == BitMap([1, 2])
    assert dict(packed.items()) == sets
    assert (len(packed), 3 in packed, 4 in packed) == (3, True, False)
