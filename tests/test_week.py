"""Hours of the week: read, named, and found in a span, whatever its clock does."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_statistics.spans import Span, to_local
from flask_statistics.week import HOURS, WEEKDAYS, check, hour_of_week, hours_of, label_of, occurrences, ranges, text_of

ZONES = (
    "UTC",
    "Europe/Berlin",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "America/Havana",
    "Asia/Gaza",
)
texts = st.one_of(
    st.sampled_from([name.lower() for name in WEEKDAYS]),
    st.integers(0, 23).map(str),
    st.integers(0, HOURS - 1).map(text_of),
)


@pytest.mark.parametrize(
    ("text", "hours", "label"),
    [
        ("mon", [*range(24)], "Mon"),
        ("tue15", [39], "Tue 15–16"),
        ("sun23", [167], "Sun 23–24"),
        ("0", [0, 24, 48, 72, 96, 120, 144], "0–1"),
    ],
)
def test_text_names_hours(text: str, hours: list[int], label: str) -> None:
    assert sorted(hours_of(text)) == hours
    assert label_of(text) == label


@pytest.mark.parametrize(
    "text", ["", "moon", "24", "tue24", "Tue", "tue 15", "tue-15", "015", "tue15 ", "1" * 300, "١"]
)
def test_text_that_names_none_is_refused(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"^a day of the week, an hour from 0 to 23, or both, such as tue, 15 or tue15$"
    ):
        hours_of(text)


@given(st.integers(0, HOURS - 1))
def test_hour_is_written_and_read_back(hour: int) -> None:
    assert hours_of(text_of(hour)) == {hour}


@given(
    st.lists(texts, min_size=1, max_size=4),
    st.sampled_from(ZONES),
    st.datetimes(datetime(2015, 1, 1), datetime(2026, 12, 31)),
    st.integers(1, 60 * 24 * 400),
    st.data(),
)
def test_ranges_have_the_moments_of_these_hours(
    named: list[str], zone: str, start: datetime, minutes: int, data: st.DataObject
) -> None:
    span = Span(start, start + timedelta(minutes=minutes), ZoneInfo(zone))
    found = ranges(span, named)
    assert all(since < until for since, until in found)
    assert all(one[1] < other[0] for one, other in itertools.pairwise(found))
    hours = frozenset[int]().union(*map(hours_of, named))
    moment = start + timedelta(minutes=data.draw(st.integers(0, minutes - 1)))
    inside = any(since <= moment < until for since, until in found)
    assert inside == (hour_of_week(to_local(moment, span.zone)) in hours)


def test_ranges_of_all_hours_are_the_span() -> None:
    span = Span(datetime(2026, 3, 20, 5, 7), datetime(2026, 4, 2, 1), ZoneInfo("Europe/Berlin"))
    assert ranges(span, [name.lower() for name in WEEKDAYS]) == [(span.start, span.end)]


@pytest.mark.parametrize(("start", "length"), [(datetime(2026, 10, 25, 0), 2), (datetime(2026, 3, 29, 0), 0)])
def test_hour_that_a_clock_repeats_or_leaves_out(start: datetime, length: int) -> None:
    span = Span(start, start + timedelta(hours=20), ZoneInfo("Europe/Berlin"))
    found = ranges(span, ["2"])
    assert sum(((until - since) for since, until in found), timedelta()) == timedelta(hours=length)


def test_day_that_a_zone_skipped_is_none() -> None:
    span = Span(datetime(2011, 12, 28), datetime(2012, 1, 2), ZoneInfo("Pacific/Apia"))
    found = ranges(span, ["fri", "sat", "12"])
    assert all(one[1] < other[0] for one, other in itertools.pairwise(found))
    hours = [to_local(edge, span.zone) for edge in span.edges("hour")[:-1]]
    expected = sum(moment.weekday() in (4, 5) or moment.hour == 12 for moment in hours)
    assert sum((until - since for since, until in found), timedelta()) == timedelta(hours=expected)


def test_too_many_ranges_are_refused() -> None:
    span = Span(datetime(2025, 1, 1), datetime(2026, 12, 31), ZoneInfo("UTC"))
    check(span, ["tue15"])
    with pytest.raises(ValueError, match=r"^at most 400 separate times of the span; choose a shorter one$"):
        check(span, ["15"])


def test_occurrences_are_those_that_have_begun() -> None:
    span = Span(datetime(2026, 11, 23), datetime(2026, 12, 7), ZoneInfo("UTC"))
    counts = occurrences(span, datetime(2026, 12, 1, 10, 30))
    assert counts[:3] == [2, 2, 2]
    assert counts[24 : 24 + 12] == [2] * 11 + [1]
