"""Every format of the dashboard, with its borders."""

from __future__ import annotations

from datetime import datetime, timezone
from zoneinfo import ZoneInfo

import pytest

from flask_statistics.formatting import (
    Change,
    Unit,
    bucket_label,
    change,
    clock,
    compact,
    decimal,
    duration,
    number,
    share,
    size,
    span_label,
    status_text,
    visible,
)

UTC = timezone.utc
BERLIN = ZoneInfo("Europe/Berlin")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")
CAIRO = ZoneInfo("Africa/Cairo")


def utc(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("n", "text"), [(None, "–"), (0, "0"), (999, "999"), (299_282, "299,282"), (-1234, "−1,234"), (-0.2, "0")]
)
def test_number_is_exact(n: float | None, text: str) -> None:
    assert number(n) == text


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (None, "–"),
        (9_446, "9,446"),
        (9_999, "9,999"),
        (10_000, "10.0k"),
        (12_649, "12.6k"),
        (12_650, "12.7k"),
        (99_949, "99.9k"),
        (99_950, "100k"),
        (999_499, "999k"),
        (999_950, "1.00M"),
        (1_240_000, "1.24M"),
        (9_995_000, "10.0M"),
        (1_500_000_000, "1.50B"),
        (999_999_999_999, "1.00T"),
        (12_340_000_000_000_000, "12,300T"),
        (-12_600, "−12.6k"),
    ],
)
def test_compact_rounds_at_borders(n: float | None, text: str) -> None:
    assert compact(n) == text


@pytest.mark.parametrize(
    ("n", "text"),
    [(None, "–"), (0, "0.0"), (0.44, "0.4"), (12, "12.0"), (99.94, "99.9"), (99.95, "100"), (1_204.4, "1,204")],
)
def test_decimal_has_a_tenth_below_a_hundred(n: float | None, text: str) -> None:
    assert decimal(n) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (1, 0, None),
        (1, None, None),
        (None, 5, None),
        (0, 7, "0%"),
        (7, 7, "100%"),
        (46, 100, "46%"),
        (7, 100, "7.0%"),
        (1, 1000, "0.1%"),
        (999, 1_000_000, "<0.1%"),
        (9_949, 100_000, "9.9%"),
        (9_950, 100_000, "10%"),
        (994, 1000, "99%"),
        (996, 1000, "99.6%"),
        (999, 1000, "99.9%"),
        (9_999, 10_000, ">99.9%"),
        (15, 10, "150%"),
    ],
)
def test_share_never_overstates(part: int | None, whole: int | None, text: str | None) -> None:
    assert share(part, whole) == text


@pytest.mark.parametrize(
    ("current", "previous", "expected"),
    [
        (107, 100, Change("+7%", "up", "good")),
        (97, 100, Change("−3%", "down", "bad")),
        (1000, 1001, Change("±0%", "flat", "flat")),
        (0, 0, Change("±0%", "flat", "flat")),
        (3, 0, Change("new", "up", "good")),
        (0, 8, Change("−100%", "down", "bad")),
        (250_000, 1, Change("+25.0M%", "up", "good")),
        (3, None, None),
        (None, 3, None),
    ],
)
def test_change_tells_direction_and_tone(
    current: float | None, previous: float | None, expected: Change | None
) -> None:
    assert change(current, previous) == expected


def test_change_lower_is_better() -> None:
    assert change(1, 2, lower_is_better=True) == Change("−50%", "down", "good")
    assert change(4, 2, lower_is_better=True) == Change("+100%", "up", "bad")
    assert change(4, 0, lower_is_better=True) == Change("new", "up", "bad")


def test_change_neutral_has_a_direction_only() -> None:
    assert change(4, 2, neutral=True) == Change("+100%", "up", "flat")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0, "0 ms"),
        (0.0004, "<1 ms"),
        (0.001, "1 ms"),
        (0.038, "38 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (1.24, "1.24 s"),
        (9.996, "10.0 s"),
        (12.4, "12.4 s"),
        (59.96, "1 min"),
        (125, "2 min 5 s"),
        (3599.6, "1 h"),
        (12_000, "3 h 20 min"),
        (187_200, "2 d 4 h"),
        (-0.038, "−38 ms"),
    ],
)
def test_duration_picks_the_unit(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("bytes_", "text"),
    [
        (None, "–"),
        (0, "0 B"),
        (312, "312 B"),
        (999.6, "1.0 kB"),
        (1_240_000, "1.2 MB"),
        (99_960_000, "100 MB"),
        (999_499_999, "999 MB"),
        (999_500_000, "1.0 GB"),
        (7_000_000_000_000_000_000, "7,000 PB"),
    ],
)
def test_size_is_si(bytes_: float | None, text: str) -> None:
    assert size(bytes_) == text


def test_clock_adds_what_today_leaves_out() -> None:
    now = utc(2026, 11, 22, 15)
    assert clock(utc(2026, 11, 22, 14, 33), now=now) == "14:33"
    assert clock(utc(2026, 11, 21, 14, 33), now=now) == "21 Nov 14:33"
    assert clock(utc(2025, 11, 21, 14, 33), now=now) == "21 Nov 2025 14:33"
    assert clock(None, now=now) == "–"


def test_clock_is_in_the_zone_of_now() -> None:
    assert clock(utc(2026, 11, 21, 23, 15), now=datetime(2026, 11, 22, 0, 30, tzinfo=BERLIN)) == "00:15"


@pytest.mark.parametrize(
    ("start", "end", "text"),
    [
        (utc(2026, 11, 16), utc(2026, 11, 23), "16 – 22 Nov 2026"),
        (utc(2026, 10, 30), utc(2026, 11, 6), "30 Oct – 5 Nov 2026"),
        (utc(2026, 11, 22), utc(2026, 11, 23), "22 Nov 2026"),
        (utc(2025, 12, 28), utc(2026, 1, 4), "28 Dec 2025 – 3 Jan 2026"),
        (utc(2025, 12, 1), utc(2026, 1, 1), "1 – 31 Dec 2025"),
        (utc(2026, 11, 21, 14), utc(2026, 11, 22, 14), "21 Nov 14:00 – 22 Nov 14:00"),
        (utc(2025, 12, 31, 14), utc(2026, 1, 1, 14), "31 Dec 2025 14:00 – 1 Jan 2026 14:00"),
        (utc(2026, 11, 22, 14), utc(2026, 11, 22, 18, 30), "22 Nov 14:00–18:30"),
    ],
)
def test_span_label_names_the_last_day_included(start: datetime, end: datetime, text: str) -> None:
    assert span_label(start, end) == text


def test_span_label_names_a_year_that_is_not_this_one() -> None:
    label = span_label(utc(2024, 3, 1, 14), utc(2024, 3, 2, 14), now=utc(2026, 11, 22))
    assert label == "1 Mar 2024 14:00 – 2 Mar 2024 14:00"


def test_span_label_day_without_a_midnight() -> None:
    # Egypt sets its clocks from 00:00 to 01:00 on the last Friday of April.
    start, end = datetime(2026, 4, 24, 1, tzinfo=CAIRO), datetime(2026, 4, 25, tzinfo=CAIRO)
    assert span_label(start, end) == "24 Apr 2026"


@pytest.mark.parametrize(
    ("start", "end", "unit", "text"),
    [
        (utc(2026, 11, 19, 20, 5), utc(2026, 11, 19, 20, 6), "minute", "Thu 19 Nov, 20:05"),
        (utc(2026, 11, 19, 20), utc(2026, 11, 19, 21), "hour", "Thu 19 Nov, 20:00–21:00"),
        (utc(2026, 11, 19, 23), utc(2026, 11, 20), "hour", "Thu 19 Nov, 23:00–00:00"),
        (utc(2026, 11, 19), utc(2026, 11, 20), "day", "Thu 19 Nov"),
        (utc(2026, 11, 16), utc(2026, 11, 23), "week", "16 Nov – 22 Nov"),
        (utc(2026, 11, 22), utc(2026, 11, 23), "week", "22 Nov"),
        (utc(2025, 12, 29), utc(2026, 1, 5), "week", "29 Dec 2025 – 4 Jan 2026"),
        (utc(2026, 11, 1), utc(2026, 12, 1), "month", "Nov 2026"),
    ],
)
def test_bucket_label_of_each_unit(start: datetime, end: datetime, unit: Unit, text: str) -> None:
    assert bucket_label(start, end, unit) == text


def test_bucket_label_of_a_repeated_hour() -> None:
    first, second = datetime(2026, 10, 25, 2, tzinfo=BERLIN), datetime(2026, 10, 25, 2, fold=1, tzinfo=BERLIN)
    third = datetime(2026, 10, 25, 3, tzinfo=BERLIN)
    assert bucket_label(first, second, "hour") == "Sun 25 Oct, 02:00–03:00 CEST"
    assert bucket_label(second, third, "hour") == "Sun 25 Oct, 02:00–03:00 CET"
    assert bucket_label(first, third, "day") == "Sun 25 Oct"


def test_bucket_label_before_a_skipped_hour() -> None:
    start, end = datetime(2026, 3, 29, 1, tzinfo=BERLIN), datetime(2026, 3, 29, 3, tzinfo=BERLIN)
    assert bucket_label(start, end, "hour") == "Sun 29 Mar, 01:00–02:00"


def test_bucket_label_half_hour_change() -> None:
    # Lord Howe Island sets its clocks from 02:00 to 02:30 in October.
    start, end = datetime(2026, 10, 4, 2, 30, tzinfo=LORD_HOWE), datetime(2026, 10, 4, 3, tzinfo=LORD_HOWE)
    assert bucket_label(start, end, "hour") == "Sun 4 Oct, 02:30–03:00"


def test_status_text_known_and_unknown() -> None:
    assert [status_text(code) for code in (404, 200, 599, 0, None)] == ["404 Not Found", "200 OK", "599", "0", "–"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (None, "–"),
        ("", ""),
        ("/größe/日本語/שלום", "/größe/日本語/שלום"),
        ("<b>&", "<b>&"),
        ("/a\u202egpj.exe", "/a\\u202egpj.exe"),
        ("\u2066\u2069\u200e\u200f\u061c", "\\u2066\\u2069\\u200e\\u200f\\u061c"),
        ("a\x00\x1b[31m\x7f\x85", "a\\u0000\\u001b[31m\\u007f\\u0085"),
        ("one\r\n\ttwo\u2028", "one\\r\\n\\ttwo\\u2028"),
        ("ad\u200bmin\ufeff\u00ad", "ad\\u200bmin\\ufeff\\u00ad"),
        ("\U000e0041", "\\U000e0041"),
        ("\udcff\u3164", "\\udcff\\u3164"),
    ],
)
def test_visible_shows_what_is_unseen(text: str | None, shown: str) -> None:
    assert visible(text) == shown
