"""Spans: presets, dates, buckets and comparisons, in every time zone."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_statistics.spans import (
    FIRST_YEAR,
    LAST_YEAR,
    UNITS,
    Span,
    SpanError,
    calendar,
    from_wall,
    midnight,
    name_of,
    next_edge,
    preset,
    read_span,
    to_local,
)

NOW = datetime(2026, 11, 22, 14, 30, 15)
UTC, BERLIN, KOLKATA = ZoneInfo("UTC"), ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kolkata")
WEEK = timedelta(days=7)

zones = st.sampled_from(sorted(available_timezones())).map(ZoneInfo)
instants = st.datetimes(datetime(FIRST_YEAR, 1, 2), datetime(LAST_YEAR - 1, 12, 30))
lengths = st.timedeltas(timedelta(seconds=1), timedelta(days=60))


def read(query: dict[str, str], zone: ZoneInfo = UTC, default: timedelta = WEEK) -> Span:
    return read_span(query, now=NOW, zone=zone, default=default, earliest=lambda: datetime(2026, 3, 4, 5))


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (
            datetime(2026, 11, 22, 14),  # a Sunday
            {
                "Yesterday": ("2026-11-21", "2026-11-21"),
                "This week": ("2026-11-16", "2026-11-22"),
                "Last week": ("2026-11-09", "2026-11-15"),
                "This month": ("2026-11-01", "2026-11-22"),
                "Last month": ("2026-10-01", "2026-10-31"),
                "This year": ("2026-01-01", "2026-11-22"),
            },
        ),
        (
            datetime(2026, 12, 31, 23, 30),  # in Berlin it is the first day of the year
            {
                "Yesterday": ("2026-12-31", "2026-12-31"),
                "This week": ("2026-12-28", "2027-01-01"),
                "Last week": ("2026-12-21", "2026-12-27"),
                "This month": ("2027-01-01", "2027-01-01"),
                "Last month": ("2026-12-01", "2026-12-31"),
                "This year": ("2027-01-01", "2027-01-01"),
            },
        ),
    ],
)
def test_calendar_spans_are_whole_local_days(now: datetime, expected: dict[str, tuple[str, str]]) -> None:
    found = calendar(now, BERLIN)
    days = {name: (span.local_start, span.local_end - timedelta(days=1)) for name, span in found.items()}
    assert {name: (f"{first:%Y-%m-%d}", f"{last:%Y-%m-%d}") for name, (first, last) in days.items()} == expected
    assert all(span.whole_days for span in found.values())


# ---- properties --------------------------------------------------------------------------------------------------


@given(start=instants, length=lengths, zone=zones, unit=st.sampled_from(UNITS[1:]))
def test_edges_tile_the_span(start: datetime, length: timedelta, zone: ZoneInfo, unit: str) -> None:
    span = Span(start, start + length, zone)
    edges = span.edges(unit)
    assert (edges[0], edges[-1]) == (span.start, span.end)
    assert all(one < other for one, other in pairwise(edges))
    assert len(edges) - 1 <= 2 * span.count(unit) + 1


@given(start=instants, zone=zones)
def test_edges_of_days_are_local_midnights(start: datetime, zone: ZoneInfo) -> None:
    span = Span(start, start + timedelta(days=20), zone)
    for edge in span.edges("day")[1:-1]:
        before, after = to_local(edge - timedelta(microseconds=1), zone), to_local(edge, zone)
        assert before.date() < after.date()


@given(start=instants, zone=zones)
def test_edges_of_hours_change_the_hour_or_the_offset(start: datetime, zone: ZoneInfo) -> None:
    span = Span(start, start + timedelta(days=3), zone)
    for edge in span.edges("hour")[1:-1]:
        before, after = to_local(edge - timedelta(microseconds=1), zone), to_local(edge, zone)
        assert (before.hour, before.utcoffset()) != (after.hour, after.utcoffset())


@given(moment=instants, zone=zones, unit=st.sampled_from(UNITS))
def test_next_edge_is_later(moment: datetime, zone: ZoneInfo, unit: str) -> None:
    assert next_edge(moment, unit, zone) > moment


@given(moment=instants, zone=zones)
def test_local_time_comes_back(moment: datetime, zone: ZoneInfo) -> None:
    local = to_local(moment, zone)
    if local.fold == 0 and from_wall(local.replace(tzinfo=None), zone) != moment:
        raise AssertionError(local)


@given(start=instants, days=st.integers(1, 40), zone=zones)
def test_span_from_dates_has_whole_days(start: datetime, days: int, zone: ZoneInfo) -> None:
    first = start.date()
    last = first + timedelta(days=days - 1)
    span = read({"start": f"{first:%Y-%m-%d}", "end": f"{last:%Y-%m-%d}"}, zone)
    assert span.start == midnight(first, zone)
    assert span.end == midnight(last + timedelta(days=1), zone)
    assert span.whole_days == days
    assert span.moved(-1).end == span.start


# ---- daylight saving ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        (UTC, "2026-03-29", 24),
        (BERLIN, "2026-03-29", 23),
        (BERLIN, "2026-10-25", 25),
        (KOLKATA, "2026-03-29", 24),
        (ZoneInfo("Australia/Lord_Howe"), "2026-04-05", 25),  # by half an hour: one of 25 buckets is short
        (ZoneInfo("America/Sao_Paulo"), "2018-11-04", 23),  # midnight itself is skipped
    ],
)
def test_hours_of_a_day(zone: ZoneInfo, day: str, hours: int) -> None:
    span = read({"start": day, "end": day}, zone)
    assert len(span.edges("hour")) - 1 == hours
    assert span.edges("day") == [span.start, span.end]


def test_a_day_that_a_zone_skipped_is_empty() -> None:
    apia = ZoneInfo("Pacific/Apia")  # had no 30 December 2011
    span = read({"start": "2011-12-29", "end": "2011-12-31"}, apia)
    assert [to_local(edge, apia).day for edge in span.edges("day")] == [29, 31, 1]


def test_half_hour_zone() -> None:
    span = read({"start": "2026-03-01", "end": "2026-03-01"}, KOLKATA)
    assert (span.start, span.end) == (datetime(2026, 2, 28, 18, 30), datetime(2026, 3, 1, 18, 30))


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    span = read({"start": "2026-11-04", "end": "2026-12-02"})
    assert [edge.day for edge in span.edges("week")] == [4, 9, 16, 23, 30, 3]
    assert [edge.day for edge in span.edges("month")] == [4, 1, 3]


# ---- presets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "start", "end"),
    [
        ("today", datetime(2026, 11, 22), datetime(2026, 11, 23)),
        ("24h", datetime(2026, 11, 21, 15), datetime(2026, 11, 22, 15)),
        ("7d", datetime(2026, 11, 16), datetime(2026, 11, 23)),
        ("28d", datetime(2026, 10, 26), datetime(2026, 11, 23)),
        ("91d", datetime(2026, 8, 24), datetime(2026, 11, 23)),
        ("12mo", datetime(2025, 11, 24), datetime(2026, 11, 23)),
        ("all", datetime(2026, 3, 4), datetime(2026, 11, 23)),
        ("1d", datetime(2026, 11, 22), datetime(2026, 11, 23)),
        ("36h", datetime(2026, 11, 21, 3), datetime(2026, 11, 22, 15)),
    ],
)
def test_preset(name: str, start: datetime, end: datetime) -> None:
    assert read({"span": name}) == Span(start, end, UTC, name)


def test_preset_is_of_the_zone() -> None:
    auckland = ZoneInfo("Pacific/Auckland")  # where it is the 23rd already
    assert to_local(read({"span": "today"}, auckland).start, auckland).day == 23


def test_preset_all_without_requests_is_today() -> None:
    span = preset("all", now=NOW, zone=UTC, earliest=lambda: None)
    assert (span.start, span.end) == (datetime(2026, 11, 22), datetime(2026, 11, 23))


@pytest.mark.parametrize(
    ("length", "name"),
    [(WEEK, "7d"), (timedelta(days=1), "24h"), (timedelta(hours=36), "36h"), (timedelta(days=31), "31d")],
)
def test_name_of(length: timedelta, name: str) -> None:
    assert name_of(length) == name
    assert read({}, default=length).name == name


# ---- dates -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "start", "end"),
    [
        ({"start": "2026-11-01", "end": "2026-11-02"}, datetime(2026, 11, 1), datetime(2026, 11, 3)),
        ({"start": "2026-1-1", "end": "2026-1-1"}, datetime(2026, 1, 1), datetime(2026, 1, 2)),
        ({"start": "2026-11-20"}, datetime(2026, 11, 20), datetime(2026, 11, 23)),
        ({"end": "2026-11-10"}, datetime(2026, 11, 4), datetime(2026, 11, 11)),
        ({"start": "", "end": ""}, datetime(2026, 11, 16), datetime(2026, 11, 23)),
        ({"start": "", "end": "2026-11-10"}, datetime(2026, 11, 4), datetime(2026, 11, 11)),
        ({"start": "2026-11-20", "end": "", "span": "28d"}, datetime(2026, 11, 20), datetime(2026, 11, 23)),
        (
            {"start": "2026-11-01T10:30", "end": "2026-11-01T11:00"},
            datetime(2026, 11, 1, 10, 30),
            datetime(2026, 11, 1, 11),
        ),
    ],
)
def test_read_span(query: dict[str, str], start: datetime, end: datetime) -> None:
    span = read(query)
    assert (span.start, span.end) == (start, end)


MUST = "must be a date such as 2026-11-22, or 2026-11-22T14:00"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"start": "yesterday"}, f"start is 'yesterday', but {MUST}"),
        ({"start": "2026-11-01", "end": "2026-02-30"}, f"end is '2026-02-30', but {MUST}"),
        ({"start": "0001-01-01"}, f"start is '0001-01-01', but {MUST}"),
        ({"end": "9999-12-31"}, f"end is '9999-12-31', but {MUST}"),
        ({"start": "2026-11-01\0"}, f"start is '2026-11-01\\x00', but {MUST}"),
        (
            {"start": "2026-11-02", "end": "2026-11-01"},
            "start is '2026-11-02', but must be before end, which is '2026-11-01'",
        ),
        ({"start": "2027-01-01"}, "start is '2027-01-01', but must be before end, which is 'today'"),
        (
            {"span": "7 days"},
            "span is '7 days', but must be one of today, 24h, 7d, 28d, 91d, 12mo, all, or days or hours such as 30d or 36h",
        ),
        (
            {"span": "0d"},
            "span is '0d', but must be one of today, 24h, 7d, 28d, 91d, 12mo, all, or days or hours such as 30d or 36h",
        ),
    ],
)
def test_read_span_refuses(query: dict[str, str], message: str) -> None:
    with pytest.raises(SpanError) as error:
        read(query)
    assert str(error.value) == message


def test_read_of_an_hour_that_a_clock_set_back_repeats() -> None:
    first = read({"start": "2026-10-25T02:00", "end": "2026-10-25T02:00"}, BERLIN)
    assert (first.start, first.end) == (datetime(2026, 10, 25, 0), datetime(2026, 10, 25, 1))
    before = read({"start": "2026-10-25T01:00", "end": "2026-10-25T02:00"}, BERLIN)
    assert (before.start, before.end) == (datetime(2026, 10, 24, 23), datetime(2026, 10, 25, 0))
    for query in (
        {"start": "2026-10-25T04:00", "end": "2026-10-25T04:00"},
        {"start": "2026-11-01", "end": "2026-10-31"},
    ):
        with pytest.raises(SpanError):
            read(query, ZoneInfo("America/Havana") if "T" not in query["end"] else BERLIN)


# ---- comparisons -------------------------------------------------------------------------------------------------


def test_moved_keeps_whole_days_over_a_change_of_clocks() -> None:
    span = read({"start": "2026-10-25", "end": "2026-10-25"}, BERLIN)
    assert span.moved(-1) == read({"start": "2026-10-24", "end": "2026-10-24"}, BERLIN)
    assert span.moved(1) == read({"start": "2026-10-26", "end": "2026-10-26"}, BERLIN)


def test_moved_by_its_length() -> None:
    span = read({"span": "24h"})
    assert (span.moved(-1).start, span.moved(-1).end) == (span.start - timedelta(hours=24), span.start)


def test_year_before_has_the_same_weekdays() -> None:
    span = read({"span": "7d"})
    assert span.year_before().start == datetime(2025, 11, 17)
    assert span.year_before().start.weekday() == span.start.weekday()


@pytest.mark.parametrize(
    ("now", "end"),
    [
        (NOW, datetime(2026, 11, 15, 14, 30, 15)),
        (datetime(2026, 12, 1), datetime(2026, 11, 16)),
    ],
)
def test_elapsed_compares_like_with_like(now: datetime, end: datetime) -> None:
    span = read({"span": "7d"})
    before = span.moved(-1).elapsed(now, span)
    assert (before.start, before.end) == (datetime(2026, 11, 9), end)


@pytest.mark.parametrize(
    ("name", "unit"),
    [("2h", "minute"), ("24h", "hour"), ("7d", "hour"), ("28d", "day"), ("12mo", "week"), ("2000d", "month")],
)
def test_default_unit(name: str, unit: str) -> None:
    assert read({"span": name}).default_unit() == unit


def test_units_of_an_empty_span() -> None:
    span: Any = Span(NOW, NOW, UTC)
    assert span.edges("hour") == [NOW]
