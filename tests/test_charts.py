"""Geometry of the chart: paths, ticks, rows and hit areas."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone, tzinfo
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_statistics.charts import (
    FLAGS_APART,
    FLAGS_LEFT,
    LONGEST_FLAG,
    Chart,
    Dot,
    End,
    HitArea,
    Line,
    Row,
    XTick,
    YTick,
    flags,
    line_chart,
    place_of,
)
from flask_statistics.formatting import Unit, duration, number

UTC = timezone.utc
BERLIN = ZoneInfo("Europe/Berlin")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")
MONDAY = datetime(2026, 11, 16, tzinfo=UTC)
LATER = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def at(month: int, day: int, hour: int = 0, minute: int = 0, *, year: int = 2026, zone: tzinfo = UTC) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=zone)


def evenly(start: datetime, step: timedelta, count: int) -> list[tuple[datetime, datetime]]:
    """Buckets of equal length in real time."""
    edges = [(start.astimezone(UTC) + i * step).astimezone(start.tzinfo) for i in range(count + 1)]
    return list(pairwise(edges))


def chart(
    values: Sequence[float | None],
    *,
    start: datetime = MONDAY,
    step: timedelta = DAY,
    unit: Unit = "day",
    now: datetime = LATER,
    previous: Sequence[float | None] | None = None,
) -> Chart:
    lines = [Line("hits", "Hits", values)]
    buckets = evenly(start, step, len(values))
    return line_chart(buckets, lines, previous=previous, unit=unit, now=now, format_value=number)


def test_path_of_finished_buckets() -> None:
    (line,) = chart([0, 50, 100, 25]).lines
    assert line.path == "M125 180l250-90 250-90 250 135"
    assert line.area == "M125 180V180l250-90 250-90 250 135V180z"
    assert (line.partial, line.dots) == ("", ())


def test_path_has_a_gap_where_there_is_no_data_and_a_dot_for_what_stands_alone() -> None:
    (line,) = chart([10, 10, None, 5, None, 0, 10]).lines
    assert line.path == "M71.4 0l142.9 0M785.7 180l142.9-180"
    assert line.dots == (Dot(50.0, 110.0, hollow=False),)


def test_single_bucket_is_a_dot() -> None:
    (line,) = chart([10]).lines
    assert (line.path, line.area, line.dots) == ("", "", (Dot(50.0, 20.0, hollow=False),))


def test_path_dashes_the_unfinished_bucket_and_leaves_out_the_future() -> None:
    drawn = chart([4, 8, 2, 99], now=at(11, 18, 12))
    (line,) = drawn.lines
    assert (line.path, line.partial) == ("M125 90l250-90", "M375 0l250 135")
    assert line.dots == (Dot(62.5, 155.0, hollow=True),)
    assert [(row.partial, row.future) for row in drawn.rows] == [
        (False, False),
        (False, False),
        (True, False),
        (False, True),
    ]
    assert drawn.rows[3].values == (("Hits", "–"),)
    assert len(drawn.hits) == 3


def test_path_of_an_unfinished_bucket_alone() -> None:
    (line,) = chart([3], now=at(11, 16, 9)).lines
    assert (line.path, line.area, line.partial) == ("", "", "")
    assert line.dots == (Dot(50.0, 65.0, hollow=True),)


def test_path_of_an_unfinished_bucket_after_a_gap() -> None:
    (line,) = chart([4, None, 4], now=at(11, 18, 9)).lines
    assert (line.path, line.partial) == ("", "")
    assert line.dots == (Dot(16.67, 20.0, hollow=False), Dot(83.33, 20.0, hollow=True))


def test_path_stays_compact() -> None:
    (line,) = chart([(i * 37) % 101 for i in range(168)], step=HOUR, unit="hour").lines
    assert line.path.startswith("M3 180l5.9-67 6-66 5.9 115 6-67")
    assert len(line.path) < 168 * 8


def test_paths_of_two_lines_have_no_area() -> None:
    lines = [Line("server_errors", "5xx", [1, 2]), Line("client_errors", "4xx", [4, 4])]
    drawn = line_chart(evenly(at(11, 16), HOUR, 2), lines, unit="hour", now=LATER, format_value=number)
    assert [(line.key, line.path, line.area) for line in drawn.lines] == [
        ("server_errors", "M250 135l500-45", ""),
        ("client_errors", "M250 0l500 0", ""),
    ]


def bars(
    *values: Sequence[float | None], now: datetime = LATER, previous: Sequence[float | None] | None = None
) -> Chart:
    names = ("server_errors", "client_errors")
    lines = [Line(name, name, one) for name, one in zip(names, values, strict=False)]
    buckets = evenly(MONDAY, DAY, len(values[0]))
    return line_chart(buckets, lines, previous=previous, unit="day", now=now, format_value=number, bars=True)


def test_bars_leave_out_what_is_nothing() -> None:
    (line,) = bars([0, 2, None, 4]).lines
    assert line.path == "M280 180V90h190V180zM780 180V0h190V180z"
    assert (line.area, line.partial, line.dots) == ("", "", ())


def test_bars_stand_on_each_other_and_set_the_scale() -> None:
    drawn = bars([1, 2], [3, None])
    assert drawn.is_bars
    assert [line.path for line in drawn.lines] == ["M60 180V135h380V180zM560 180V90h380V180z", "M60 135V0h380V135z"]
    assert [tick.label for tick in drawn.y_ticks] == ["0", "2", "4"]
    assert drawn.ends == ()


def test_bar_of_the_unfinished_bucket_is_apart() -> None:
    (line,) = bars([4, 2, 9], now=at(11, 17, 9)).lines
    assert (line.path, line.partial) == ("M40 180V0h253.3V180z", "M373.3 180V90h253.3V180z")


def test_ends_have_the_names_of_lines_at_least_14_pixels_apart() -> None:
    lines = [Line("p50", "Median", [0, 0]), Line("p95", "p95", [4, 0]), Line("p99", "p99", [4, 4])]
    options: Any = {"unit": "day", "now": LATER, "format_value": number}
    drawn = line_chart(evenly(MONDAY, DAY, 2), lines, previous=[1, 0], previous_label="9 – 15 Nov", **options)
    assert drawn.ends == (
        End("p99", 2, 20.0),
        End("Median", 0, 172.0),
        End("p95", 1, 186.0),
        End("9 – 15 Nov", None, 200.0),
    )


def test_end_of_a_line_without_a_value_has_no_name() -> None:
    assert chart([None, None]).ends == ()
    assert chart([4, 2, None], now=at(11, 17, 9)).ends == (End("Hits", 0, 110.0),)


def test_previous_runs_over_the_future_and_sets_the_scale() -> None:
    drawn = chart([5, 5], previous=[10, None], now=at(11, 16, 9))
    assert drawn.previous == "M125 0l250 0"
    assert [row.previous for row in drawn.rows] == ["10", "–"]
    assert drawn.y_ticks[-1].label == "10"


def test_no_previous() -> None:
    drawn = chart([5, 5])
    assert drawn.previous is None
    assert [row.previous for row in drawn.rows] == [None, None]


@pytest.mark.parametrize(
    ("highest", "labels"),
    [
        (0, ["0", "1"]),
        (1, ["0", "1"]),
        (2, ["0", "1", "2"]),
        (3, ["0", "2", "4"]),
        (5, ["0", "3", "6"]),
        (9, ["0", "5", "10"]),
        (11, ["0", "10", "20"]),
        (23, ["0", "15", "30"]),
        (1000, ["0", "500", "1,000"]),
        (2_681, ["0", "1,500", "3,000"]),
        (999_999, ["0", "500,000", "1,000,000"]),
    ],
)
def test_y_ticks_of_counts_are_whole(highest: int, labels: list[str]) -> None:
    assert [tick.label for tick in chart([0, highest]).y_ticks] == labels


def test_y_ticks_of_times() -> None:
    lines = [Line("p95", "p95", [0.038, 0.22, None])]
    drawn = line_chart(evenly(at(11, 16), HOUR, 3), lines, unit="hour", now=LATER, format_value=duration)
    assert drawn.y_ticks == (
        YTick(200.0, "0 ms"),
        YTick(110.0, "150 ms"),
        YTick(20.0, "300 ms"),
    )


def test_y_ticks_without_data() -> None:
    drawn = chart([None, None])
    assert [tick.label for tick in drawn.y_ticks] == ["0", "1"]
    assert drawn.lines[0].path == ""
    assert drawn.rows[0].values == (("Hits", "–"),)


def test_y_ticks_half_with_the_label_of_another_is_left_out() -> None:
    lines = [Line("p50", "Median", [0.0003])]
    drawn = line_chart(evenly(at(11, 16), HOUR, 1), lines, unit="hour", now=LATER, format_value=duration)
    assert [tick.label for tick in drawn.y_ticks] == ["0 ms", "<1 ms"]


def test_x_ticks_of_a_week_of_hours() -> None:
    ticks = chart([1] * 168, step=HOUR, unit="hour").x_ticks
    assert ticks[:2] == (XTick(7.14, "Mon 16", "middle", False), XTick(21.43, "Tue 17", "middle", True))
    assert [tick.label for tick in ticks[2:]] == ["Wed 18", "Thu 19", "Fri 20", "Sat 21", "Sun 22"]


@pytest.mark.parametrize(
    ("unit", "start", "step", "count", "labels"),
    [
        ("minute", at(11, 22, 14, 7), timedelta(minutes=1), 30, "14:10 14:15 14:20 14:25 14:30 14:35"),
        ("hour", at(11, 22), HOUR, 24, "00:00 03:00 06:00 09:00 12:00 15:00 18:00 21:00"),
        ("hour", at(11, 21, 14), HOUR, 24, "15:00 18:00 21:00 Sun 22 03:00 06:00 09:00 12:00"),
        ("hour", at(11, 22, 9, 30), HOUR, 1, "09:30"),
        ("day", at(11, 16), timedelta(days=1), 7, "Mon 16 Tue 17 Wed 18 Thu 19 Fri 20 Sat 21 Sun 22"),
        ("day", at(10, 26), timedelta(days=1), 28, "26 Oct 2 Nov 9 Nov 16 Nov"),
        ("day", at(8, 24), timedelta(days=1), 91, "31 Aug 14 Sep 28 Sep 12 Oct 26 Oct 9 Nov"),
        ("week", at(11, 16), timedelta(weeks=1), 2, "16 Nov 23 Nov"),
        ("week", at(1, 5), timedelta(weeks=1), 40, "Mar May Jul Sep"),
    ],
)
def test_x_ticks_of_each_unit(unit: Unit, start: datetime, step: timedelta, count: int, labels: str) -> None:
    assert " ".join(tick.label for tick in chart([1] * count, start=start, step=step, unit=unit).x_ticks) == labels


def test_x_ticks_stand_in_the_middle_of_their_bucket_or_day() -> None:
    hours = chart([1] * 24, step=HOUR, unit="hour").x_ticks
    assert (hours[1].label, hours[1].x) == ("03:00", round(100 * 3.5 / 24, 2))
    days = chart([1] * 28, start=at(10, 26)).x_ticks
    assert (days[1].label, days[1].x) == ("2 Nov", round(100 * 7.5 / 28, 2))
    (*_, half) = chart([1] * 156, step=HOUR, unit="hour").x_ticks  # the last day has twelve hours
    assert (half.label, half.x) == ("Sun 22", round(100 * 150 / 156, 2))


def test_x_ticks_of_several_years_name_them() -> None:
    firsts = [at(1 + i % 12, 1, year=2025 + i // 12) for i in range(25)]
    buckets = list(pairwise(firsts))
    drawn = line_chart(buckets, [Line("hits", "Hits", [1] * 24)], unit="month", now=LATER, format_value=number)
    assert [tick.label for tick in drawn.x_ticks] == [
        *("Jan 2025", "Apr 2025", "Jul 2025", "Oct 2025"),
        *("Jan 2026", "Apr 2026", "Jul 2026", "Oct 2026"),
    ]


@pytest.mark.parametrize("unit", ["minute", "hour", "day", "week", "month"])
@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 10, 25, 60, 92, 93, 168, 365, 400])
def test_x_ticks_are_one_to_eight(unit: Unit, count: int) -> None:
    steps = {"minute": timedelta(minutes=1), "hour": HOUR, "day": timedelta(days=1), "week": timedelta(weeks=1)}
    drawn = chart([1] * count, start=at(11, 18, 14, 37), step=steps.get(unit, timedelta(days=30)), unit=unit)
    assert 1 <= len(drawn.x_ticks) <= 8
    assert len({tick.x for tick in drawn.x_ticks}) == len(drawn.x_ticks)


def test_row_of_a_bucket() -> None:
    rows = chart([12_600, 1], previous=[298, 2], start=at(11, 19, 20), step=HOUR, unit="hour").rows
    assert rows[0] == Row(
        label="Thu 19 Nov, 20:00–21:00",
        start=at(11, 19, 20),
        end=at(11, 19, 21),
        x=0.0,
        width=50.0,
        values=(("Hits", "12,600"),),
        previous="298",
        partial=False,
        future=False,
    )


def test_hits_are_buckets_up_to_92() -> None:
    drawn = chart([1] * 92, step=HOUR, unit="hour")
    assert len(drawn.hits) == 92
    assert drawn.hits[0] == HitArea(
        label="Mon 16 Nov, 00:00–01:00",
        start=at(11, 16),
        end=at(11, 16, 1),
        x=0.0,
        width=1.09,
        rows=(drawn.rows[0],),
    )


def test_hits_are_days_above_92() -> None:
    drawn = chart([1] * 168, step=HOUR, unit="hour", now=at(11, 18, 12))
    assert [(hit.label, hit.start, hit.end, len(hit.rows)) for hit in drawn.hits] == [
        ("Mon 16 Nov", at(11, 16), at(11, 17), 24),
        ("Tue 17 Nov", at(11, 17), at(11, 18), 24),
        ("Wed 18 Nov", at(11, 18), at(11, 19), 24),
    ]


def test_hits_of_minutes_are_hours_above_92() -> None:
    drawn = chart([1] * 120, start=at(11, 22, 13, 30), step=timedelta(minutes=1), unit="minute")
    assert [(hit.label, len(hit.rows)) for hit in drawn.hits] == [
        ("Sun 22 Nov, 13:30–14:00", 30),
        ("Sun 22 Nov, 14:00–15:00", 60),
        ("Sun 22 Nov, 15:00–15:30", 30),
    ]


@pytest.mark.parametrize(
    ("start", "count", "hours"),
    [
        (at(3, 28, zone=BERLIN), 95, [24, 23, 24, 24]),
        (at(10, 24, zone=BERLIN), 97, [24, 25, 24, 24]),
    ],
)
def test_hits_of_days_of_23_and_25_hours(start: datetime, count: int, hours: list[int]) -> None:
    drawn = chart([1] * count, start=start, step=HOUR, unit="hour")
    assert [len(hit.rows) for hit in drawn.hits] == hours
    assert [tick.label for tick in drawn.x_ticks[::2]] == [hit.label.rpartition(" ")[0] for hit in drawn.hits]


def test_hits_of_a_half_hour_change() -> None:
    # Clocks go from 02:00 back to 01:30 on 5 April: real hours then begin at half past.
    drawn = chart([1] * 96, start=at(4, 4, zone=LORD_HOWE), step=HOUR, unit="hour")
    assert [(hit.label, len(hit.rows)) for hit in drawn.hits] == [
        ("Sat 4 Apr", 24),
        ("Sun 5 Apr", 25),
        ("Mon 6 Apr", 24),
        ("Tue 7 Apr", 23),
    ]


def test_now_in_a_repeated_hour() -> None:
    now = datetime(2026, 10, 25, 2, 30, fold=0, tzinfo=BERLIN)
    drawn = chart([1] * 4, start=at(10, 25, 1, zone=BERLIN), step=HOUR, unit="hour", now=now)
    assert [(row.label, row.partial) for row in drawn.rows] == [
        ("Sun 25 Oct, 01:00–02:00", False),
        ("Sun 25 Oct, 02:00–03:00 CEST", True),
        ("Sun 25 Oct, 02:00–03:00 CET", False),
        ("Sun 25 Oct, 03:00–04:00", False),
    ]
    assert [row.future for row in drawn.rows] == [False, False, True, True]


def test_no_buckets_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^A chart needs at least one bucket\.$"):
        chart([])


def test_missing_values_are_refused() -> None:
    message = r"^1 values do not fit 2 buckets; None stands for no data\.$"
    with pytest.raises(ValueError, match=message):
        chart([1, 2], previous=[1])


# ---- flags -----------------------------------------------------------------------------------------------------------


def flagged(*hours: float, names: Sequence[str] = (), count: int = 100) -> list[tuple[float, str, str]]:
    """Position, name and anchor of the flags of marks so many hours after the beginning of a chart of `count` hours."""
    marks = [(MONDAY + number * HOUR, names[place] if names else f"v{place + 1}") for place, number in enumerate(hours)]
    return [(flag.x, flag.label, flag.anchor) for flag in flags(evenly(MONDAY, HOUR, count), marks)]


def test_flags_that_are_near_are_one() -> None:
    assert flagged(10, 16, 40) == [(10, "v1", "start"), (16, "v2", "start"), (40, "v3", "start")]
    assert flagged(10, 15.9, 40) == [(15.9, "v1, v2", "start"), (40, "v3", "start")]
    assert flagged(10, 12, 14, 16, 40) == [(10, "v1", "start"), (16, "v4 +2", "start"), (40, "v5", "start")]


def test_flags_at_the_right_have_their_name_at_the_left() -> None:
    assert flagged(91.9, 99.9) == [(91.9, "v1", "start"), (99.9, "v2", "end")]
    assert flagged(0, 92) == [(0, "v1", "start"), (92, "v2", "end")]


def test_flags_outside_of_the_chart_are_left_out() -> None:
    assert flagged(-0.1, 0, 99.99, 100) == [(0, "v2", "start"), (99.99, "v3", "end")]


def test_flags_are_as_long_as_there_is_room_for() -> None:
    long = ["a rather long name of a mark"] * 2
    assert flagged(10, 20, names=long) == [(10, "a rather lo…", "start"), (20, "a rather long name of a…", "start")]
    assert flagged(90, 97, names=long) == [(90, "a r…", "start"), (97, "a r…", "end")]


def test_flags_in_an_hour_that_comes_twice() -> None:
    edges = [at(10, 25, zone=BERLIN), at(10, 26, zone=BERLIN)]
    buckets = evenly(edges[0], HOUR, 25)
    marks = [(datetime(2026, 10, 25, hour, 30, tzinfo=UTC).astimezone(BERLIN), f"{hour}") for hour in (0, 1)]
    assert [place_of(buckets, moment) for moment, _ in marks] == [2, 3]
    (flag,) = flags(buckets, marks)
    assert (flag.x, flag.label, flag.marks) == (14, "0, 1", (0, 1))


@given(
    hours=st.lists(st.floats(-10, 110), max_size=60),
    names=st.lists(st.text(min_size=1, max_size=70), min_size=60, max_size=60),
)
def test_flags_are_apart_in_order_and_complete(hours: list[float], names: list[str]) -> None:
    marks = [(MONDAY + hour * HOUR, name) for hour, name in zip(sorted(hours), names, strict=False)]
    found = flags(evenly(MONDAY, HOUR, 100), marks)
    assert all(0 <= flag.x <= 100 and 1 <= len(flag.label) <= LONGEST_FLAG for flag in found)
    assert all(after.x - before.x >= FLAGS_APART - 0.01 for before, after in pairwise(found))
    inside = [number for number, (moment, _) in enumerate(marks) if MONDAY <= moment < MONDAY + 100 * HOUR]
    assert [number for flag in found for number in flag.marks] == inside
    assert [flag.anchor for flag in found] == ["end" if flag.x >= FLAGS_LEFT else "start" for flag in found]
    for flag in found:
        assert all(flag.x - (marks[number][0] - MONDAY) / HOUR < FLAGS_APART + 0.01 for number in flag.marks)
