"""Which lots are compared."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from flask_statistics.changes import block_of, dimension_of, elapsed, in_time, in_values
from flask_statistics.filters import Filters
from flask_statistics.spans import Span

UTC, BERLIN = ZoneInfo("UTC"), ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 25, 12, 40)
LONG_AGO = datetime(2020, 1, 1)
WEEK = Span(datetime(2026, 11, 19), datetime(2026, 11, 26), UTC, "7d")
TODAY = Span(datetime(2026, 11, 25), datetime(2026, 11, 26), UTC, "today")


def test_a_week_is_compared_with_the_one_before_as_far_as_it_has_elapsed() -> None:
    lots = in_time(WEEK, Filters(), now=NOW, known=LONG_AGO)
    assert lots is not None
    assert (lots.after.span.start, lots.after.span.end) == (WEEK.start, datetime(2026, 11, 25, 12))
    assert (lots.before.span.start, lots.before.span.end) == (datetime(2026, 11, 12), datetime(2026, 11, 18, 12))
    assert lots.same_hours


def test_a_day_is_compared_with_the_same_day_of_the_week_before() -> None:
    lots = in_time(TODAY, Filters(), now=NOW, known=LONG_AGO)
    assert lots is not None
    assert (lots.before.span.start, lots.before.span.end) == (datetime(2026, 11, 18), datetime(2026, 11, 18, 12, 40))


def test_a_day_is_compared_with_yesterday_where_weeks_are_not_recorded() -> None:
    lots = in_time(TODAY, Filters(), now=NOW, known=datetime(2026, 11, 23, 9))
    assert lots is not None
    assert (lots.before.span.start, lots.same_hours) == (datetime(2026, 11, 24), False)
    assert in_time(TODAY, Filters(), now=NOW, known=datetime(2026, 11, 24, 9)) is None
    assert in_time(TODAY, Filters(), now=NOW, known=None) is None


def test_the_same_of_last_year_has_the_same_weekdays() -> None:
    lots = in_time(WEEK, Filters(), now=NOW, vs="year", known=LONG_AGO)
    assert lots is not None
    assert lots.before.span.start == datetime(2025, 11, 20)
    assert lots.same_hours


@pytest.mark.parametrize(("day", "same"), [(date(2026, 11, 5), True), (date(2026, 11, 6), False)])
def test_what_begins_with_a_day_is_compared_with(day: date, same: bool) -> None:
    lots = in_time(WEEK, Filters(), now=NOW, against=day, known=LONG_AGO)
    assert lots is not None
    assert (lots.before.span.start.date(), lots.same_hours) == (day, same)


def test_a_later_day_is_nothing_to_compare_with() -> None:
    lots = in_time(WEEK, Filters(), now=NOW, against=date(2026, 11, 20), known=LONG_AGO)
    assert lots is not None
    assert lots.before.span.start == datetime(2026, 11, 12)


def test_hours_stay_the_same_where_clocks_change() -> None:
    span = Span(datetime(2026, 10, 25, 22), datetime(2026, 10, 31, 23), BERLIN)
    lots = in_time(span, Filters(), now=NOW, known=LONG_AGO)
    assert lots is not None
    assert [each.span.local_start.hour for each in (lots.before, lots.after)] == [23, 23]
    assert lots.same_hours


def test_all_time_has_nothing_before_it() -> None:
    assert in_time(Span(LONG_AGO, WEEK.end, UTC, "all"), Filters(), now=NOW, known=LONG_AGO) is None


def test_two_values_are_compared_in_the_same_time() -> None:
    filters = Filters().and_("release", "1").and_("release", "2").and_("device", "bot")
    lots = in_values(WEEK, filters, dimension="release", values=("1", "2"), now=NOW)
    assert lots.before.span == lots.after.span == elapsed(WEEK, NOW)
    assert [lot.filters.texts("release") for lot in (lots.before, lots.after)] == [("1",), ("2",)]
    assert lots.before.filters.texts("device") == ("bot",)


def test_blocks_are_some_tens() -> None:
    lengths = (timedelta(hours=1), timedelta(days=1), timedelta(days=7), timedelta(days=182))
    assert [block_of(Span(NOW, NOW + length, UTC)) for length in lengths] == ["minute", "hour", "day", "week"]


def test_routes_are_compared_or_else_paths() -> None:
    assert [dimension_of(names) for names in ({"path": 1, "route": 1}, {"path": 1}, {})] == ["route", "path", None]
