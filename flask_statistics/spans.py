"""Spans of time: presets, dates, buckets and the period to compare with, in the configured time zone. Pure.

A span runs from `start` (included) to `end` (excluded), both naive UTC as the raw dates are; its days, hours and labels
are those of its zone, so a day can have 23 or 25 hours and an hour can start at half past.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

UNITS = ("minute", "hour", "day", "week", "month")
PRESETS = ("today", "24h", "7d", "28d", "91d", "12mo", "all")
FIRST_YEAR, LAST_YEAR = 1990, 2200
"""Dates outside are refused: no request was recorded there, and the calendar of some time zones ends."""
EARLIEST, LATEST = datetime(1900, 1, 1), datetime(LAST_YEAR + 1, 1, 1)
"""Rows that are dated before the one, or not before the other, cannot be of any span: they are counted as such, no more."""

_DAY = timedelta(days=1)
_TYPICAL = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": _DAY,
    "week": timedelta(days=7),
    "month": timedelta(days=30),
}


class SpanError(ValueError):
    """A span in a URL that cannot be read; the message names the parameter and says what it must be."""


@dataclass(frozen=True, slots=True)
class Span:
    """From `start` (included) to `end` (excluded), naive UTC."""

    start: datetime
    end: datetime
    zone: ZoneInfo
    name: str | None = None
    """The preset it came from, such as `7d`; None if its dates were given."""

    @property
    def local_start(self) -> datetime:
        """`start` in the span's zone, aware."""
        return to_local(self.start, self.zone)

    @property
    def local_end(self) -> datetime:
        """`end` in the span's zone, aware."""
        return to_local(self.end, self.zone)

    @property
    def whole_days(self) -> int | None:
        """How many local days it has; None if it does not start and end at midnight."""
        start, end = self.local_start, self.local_end
        if self.start != midnight(start.date(), self.zone) or self.end != midnight(end.date(), self.zone):
            return None
        return (end.date() - start.date()).days

    def moved(self, steps: int) -> Span:
        """The span of the same length `steps` lengths later (negative: earlier); whole days move by days."""
        days = self.whole_days
        if days:
            return self._shifted(timedelta(days=days * steps))
        length = (self.end - self.start) * steps
        return replace(self, start=self.start + length, end=self.end + length, name=None)

    def year_before(self) -> Span:
        """The span 52 weeks earlier, so that weekdays compare with the same weekdays."""
        return self._shifted(timedelta(days=-364))

    def elapsed(self, now: datetime, like: Span) -> Span:
        """This span cut to the part that has elapsed of the later span `like` at `now` (naive UTC).

        Without that, every morning's comparison with a whole day would show a loss.
        """
        if not like.start <= now < like.end:
            return self
        wall = to_local(now, like.zone).replace(tzinfo=None) - like.local_start.replace(tzinfo=None)
        end = from_wall(self.local_start.replace(tzinfo=None) + wall, self.zone)
        return replace(self, end=max(self.start, min(self.end, end)))

    def weeks_before(self) -> Span:
        """The span as many weeks earlier as it has, begun ones included."""
        weeks = math.ceil(
            (self.local_end.replace(tzinfo=None) - self.local_start.replace(tzinfo=None)) / timedelta(days=7)
        )
        return self._shifted(timedelta(days=-7 * weeks))

    def _shifted(self, by: timedelta) -> Span:
        start = from_wall(self.local_start.replace(tzinfo=None) + by, self.zone)
        end = from_wall(self.local_end.replace(tzinfo=None) + by, self.zone)
        return replace(self, start=start, end=end, name=None)

    def default_unit(self) -> str:
        """The unit that draws the span with 24 to 100 buckets or so."""
        length = self.end - self.start
        if length <= timedelta(hours=2):
            return "minute"
        if length <= timedelta(days=8):
            return "hour"
        return "day" if length <= timedelta(days=100) else "week" if length <= timedelta(days=3 * 366) else "month"

    def count(self, unit: str) -> int:
        """About how many buckets of `unit` it has (never less than half of the truth)."""
        return int((self.end - self.start) / _TYPICAL[unit]) + 1

    def edges(self, unit: str) -> list[datetime]:
        """Where its buckets of `unit` begin, and where the last one ends: naive UTC, rising, `start` to `end`.

        The first and the last bucket are cut at the span; weeks begin on Monday.
        """
        edges = [self.start]
        while (following := next_edge(edges[-1], unit, self.zone)) < self.end:
            edges.append(following)
        return [*edges, self.end] if self.end > self.start else edges


def to_local(moment: datetime, zone: ZoneInfo) -> datetime:
    """A naive UTC instant in `zone`, aware."""
    return moment.replace(tzinfo=timezone.utc).astimezone(zone)


def naive_utc(moment: datetime) -> datetime:
    """An instant as raw dates are, naive UTC; a naive one is taken to be that already."""
    return moment if moment.tzinfo is None else moment.astimezone(timezone.utc).replace(tzinfo=None)


def from_wall(wall: datetime, zone: ZoneInfo) -> datetime:
    """The naive UTC instant at which a clock in `zone` shows `wall`: the first of two, the next if it never does."""
    return naive_utc(wall.replace(tzinfo=zone))


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """When the local `day` begins, naive UTC."""
    return from_wall(datetime.combine(day, time()), zone)


def hour_of(moment: datetime, zone: ZoneInfo) -> datetime:
    """When the hour of `moment` began in `zone`, as buckets of hours do; both naive UTC."""
    day = midnight(to_local(moment, zone).date(), zone)
    return Span(day, moment + timedelta(microseconds=1), zone).edges("hour")[-2]


def next_edge(moment: datetime, unit: str, zone: ZoneInfo) -> datetime:
    """The first instant after `moment` (naive UTC) at which a bucket of `unit` begins in `zone`."""
    local = to_local(moment, zone)
    if unit == "minute":
        return moment + timedelta(seconds=60 - local.second, microseconds=-local.microsecond)
    if unit == "hour":
        into = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
        return moment + timedelta(hours=1) - into
    day = local.date()
    following = midnight(_next_day(day, unit), zone)
    while following <= moment:  # a day that a zone skipped has no length
        day += _DAY
        following = midnight(_next_day(day, unit), zone)
    return following


def _next_day(day: date, unit: str) -> date:
    if unit == "week":
        return day + timedelta(days=7 - day.weekday())
    if unit == "month":
        return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    return day + _DAY


def name_of(length: timedelta) -> str:
    """The name of the preset as long as `length`: whole days `7d`, else whole hours `36h`."""
    hours = round(length / timedelta(hours=1))
    return f"{hours // 24}d" if hours % 24 == 0 and hours != 24 else f"{hours}h"


def preset(name: str, *, now: datetime, zone: ZoneInfo, earliest: Callable[[], datetime | None]) -> Span:
    """The span called `name` at `now` (naive UTC): a preset, or any number of days or hours such as `30d`.

    Days are local and include today; hours end with the present one; `all` starts with the day of `earliest()`, the
    first request's date (None: there is none). Raises `SpanError` for another name.
    """
    today = to_local(now, zone).date()
    tomorrow = midnight(today + _DAY, zone)
    hours = re.fullmatch(r"([1-9]\d{0,3})h", name)
    if hours:
        end = next_edge(now, "hour", zone)
        return Span(end - timedelta(hours=int(hours[1])), end, zone, name)
    if name == "all":
        first = earliest()
        start = midnight(to_local(min(first, now), zone).date(), zone) if first else midnight(today, zone)
        return Span(start, tomorrow, zone, name)
    days = {"today": "1", "12mo": "364"}.get(name) or (re.fullmatch(r"([1-9]\d{0,3})d", name) or ("", ""))[1]
    if not days:
        raise SpanError(
            f"span is {name!r}, but must be one of {', '.join(PRESETS)}, or days or hours such as 30d or 36h"
        )
    return Span(midnight(today - timedelta(days=int(days) - 1), zone), tomorrow, zone, name)


def calendar(now: datetime, zone: ZoneInfo) -> dict[str, Span]:
    """Spans of whole days by what a calendar calls them, at `now` (naive UTC); those of the present end with today."""
    today = to_local(now, zone).date()
    monday, first = today - timedelta(days=today.weekday()), today.replace(day=1)
    before = (first - _DAY).replace(day=1)
    days = {
        "Yesterday": (today - _DAY, today),
        "This week": (monday, today + _DAY),
        "Last week": (monday - 7 * _DAY, monday),
        "This month": (first, today + _DAY),
        "Last month": (before, first),
        "This year": (today.replace(month=1, day=1), today + _DAY),
    }
    return {name: Span(midnight(start, zone), midnight(end, zone), zone) for name, (start, end) in days.items()}


def read_span(
    query: Mapping[str, str],
    *,
    now: datetime,
    zone: ZoneInfo,
    default: timedelta,
    earliest: Callable[[], datetime | None],
) -> Span:
    """The span that the parameters `start`, `end` and `span` ask for; without any, the default.

    `start` and `end` win over `span`. A day is `YYYY-MM-DD` (an `end` day is included), an instant `YYYY-MM-DDTHH:MM`
    in the zone (an `end` instant is excluded). A time that a clock set back shows twice is the first of the two; an
    `end` that is then not after `start` is the second. Without `start`, the default length ends at `end`; without
    `end`, it ends with today. Empty parameters count as absent. Raises `SpanError` for what cannot be read.
    """
    start, end = query.get("start"), query.get("end")
    if not start and not end:
        return preset(query.get("span") or name_of(default), now=now, zone=zone, earliest=earliest)
    upper = _instant("end", end, zone, days=1) if end else midnight(to_local(now, zone).date() + _DAY, zone)
    lower = _instant("start", start, zone, days=0) if start else _before(upper, default, zone)
    if lower >= upper and end:
        upper = _instant("end", end, zone, days=0, fold=1)
    if lower >= upper:
        raise SpanError(f"start is {start!r}, but must be before end, which is {end or 'today'!r}")
    return Span(lower, upper, zone)


def read_instant(name: str, text: str, zone: ZoneInfo) -> datetime:
    """The minute (naive UTC) that `text` says: a day, which begins, or an instant, in `zone` unless it says its offset from UTC.

    Raises `SpanError` for what cannot be read.
    """
    try:
        moment = datetime.fromisoformat(f"{text[:-1]}+00:00" if text.endswith("Z") else text)
    except ValueError:
        return _instant(name, text, zone, days=0)
    if moment.tzinfo is None or not FIRST_YEAR <= moment.year <= LAST_YEAR:
        return _instant(name, text, zone, days=0)
    return naive_utc(moment).replace(second=0, microsecond=0)


def _before(upper: datetime, length: timedelta, zone: ZoneInfo) -> datetime:
    return from_wall(to_local(upper, zone).replace(tzinfo=None) - length, zone)


def _instant(name: str, text: str, zone: ZoneInfo, *, days: int, fold: int = 0) -> datetime:
    for pattern, extra in (("%Y-%m-%d", timedelta(days=days)), ("%Y-%m-%dT%H:%M", timedelta())):
        try:
            wall = datetime.strptime(text, pattern)
        except ValueError:
            continue
        if FIRST_YEAR <= wall.year <= LAST_YEAR:
            return from_wall((wall + extra).replace(fold=fold), zone)
    raise SpanError(f"{name} is {text!r}, but must be a date such as 2026-11-22, or 2026-11-22T14:00")
