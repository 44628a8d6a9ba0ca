"""Segments tile a span, whatever is merged, closed or still in pieces."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from flask_statistics.rollups.cover import ANY, MONTHS, SETS, cover, minus
from flask_statistics.rollups.store import Header
from flask_statistics.rollups.tables import DAY, HOUR, MONTH, PIECE
from flask_statistics.spans import midnight, next_edge

ZONES = ("UTC", "Europe/Berlin", "Asia/Kathmandu")
MONTHS_THERE = [datetime(2026, month, 1) for month in (1, 2, 3, 4)]
"""The first two can be merged; of the third there are days, and its last is in hours."""


def stored(zone: ZoneInfo, merged: int, minutes: int) -> tuple[list[Header], datetime]:
    """Headers of merged months, closed days and the hours of one day, the last of them in pieces; and how far they go."""
    found: list[Header] = []

    def add(unit: str, start: datetime, end: datetime, *, detailed: bool = True) -> None:
        found.append(Header(len(found), unit, start, end, 0, 5, detailed))

    edges = [midnight(month.date(), zone) for month in MONTHS_THERE]
    for number, (start, end) in enumerate(pairwise(edges)):
        if number < merged:
            add(MONTH, start, end)
        day = start
        while day < end:
            following = next_edge(day, "day", zone)
            if following < edges[-1]:
                add(DAY, day, following, detailed=number >= merged)
            day = following
    hour = midnight(datetime(2026, 3, 31).date(), zone)
    until = hour + timedelta(minutes=minutes)
    while (following := next_edge(hour, "hour", zone)) <= until:
        add(HOUR, hour, following)
        hour = following
    for start, end in pairwise([hour, hour + (until - hour) / 2, until]):
        if start < end:
            add(PIECE, start, end)
    return sorted(found, key=lambda header: header.start), until


MOMENTS = st.integers(-600, 140_000).map(lambda minutes: datetime(2025, 12, 31) + timedelta(minutes=minutes))


@given(
    st.sampled_from(ZONES),
    st.integers(0, 2),
    st.integers(0, 1_300),
    st.lists(MOMENTS, min_size=2, max_size=6),
    st.sampled_from([ANY, SETS, MONTHS]),
    st.booleans(),
)
def test_cover_tiles_the_span(
    name: str, merged: int, minutes: int, moments: list[datetime], granularity: int, has_stored: bool
) -> None:
    zone = ZoneInfo(name)
    headers, until = stored(zone, merged, minutes)
    start, *edges, end = sorted(moments)
    start, end = max(start, headers[0].start), min(end, until)
    asked = [header for header in headers if header.start < end and header.end > start]
    whole, parts = cover(
        start, end, asked, until=until, zone=zone, stored=has_stored, edges=edges, granularity=granularity
    )
    periods = [(header.start, header.end) for header in whole]
    assert not any(since < edge < to for since, to in periods for edge in edges)
    if not has_stored:
        assert whole == []
    if granularity == MONTHS:
        assert {header.unit for header in whole} <= {MONTH}
    tiles = sorted(periods + [one for part in parts for one in part.ranges])
    if start < end:
        assert (tiles[0][0], tiles[-1][1]) == (start, end)
    assert all(first[1] == second[0] for first, second in pairwise(tiles))
    assert all(part.whole == (part.ranges == [(part.header.start, part.header.end)]) for part in parts)


@given(MOMENTS, MOMENTS, st.lists(MOMENTS, max_size=8))
def test_minus_and_what_is_taken_are_the_whole_period(start: datetime, end: datetime, moments: list[datetime]) -> None:
    edges = sorted(set(moments))
    taken = list(zip(edges[::2], edges[1::2], strict=False))
    left = minus(start, end, taken)
    assert all(since < until for since, until in left)
    inside = [(max(since, start), min(until, end)) for since, until in taken if since < end and until > start]
    tiles = sorted(left + [period for period in inside if period[0] < period[1]])
    if start < end:
        assert (tiles[0][0], tiles[-1][1]) == (start, end)
    assert all(first[1] == second[0] for first, second in pairwise(tiles))
