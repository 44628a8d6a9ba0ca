"""Numbers, times and recorded values as the dashboard shows them.

Pure functions from a value to plain text; nothing here is HTML. Times come in as aware datetimes of the configured
zone and `now` is always a parameter. Names of months and days are English constants, so that no locale of the
process changes a page. What is missing (None) is shown as an en dash.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from http import HTTPStatus
from typing import Literal

Unit = Literal["minute", "hour", "day", "week", "month"]

MISSING = "–"
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

_MINUS = "−"
_TICK = timedelta(microseconds=1)
_ESCAPED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Blank though Unicode calls them letters, marks or symbols: joiner, Hangul fillers, Khmer vowels, Mongolian
# selectors, blank Braille.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
_SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(frozen=True)
class Change:
    """How a value moved against the previous period."""

    text: str
    """Whole percent with its sign (`+7%`, `−3%`, `±0%`), or `new` where the previous value was 0."""
    direction: Literal["up", "down", "flat"]
    """Which way the value moved, as far as the shown text tells."""
    tone: Literal["good", "bad", "flat"]
    """Whether that is welcome; `flat` where it is neither."""


def number(n: float | None) -> str:
    """The exact whole number with separators: `299,282`."""
    if n is None:
        return MISSING
    whole = _half_up(abs(n))
    return f"{_sign(n, whole)}{whole:,}"


def compact(n: float | None) -> str:
    """Exact below 10,000, three digits above: `9,446`, `12.6k`, `1.24M`, `1.50B`, `2.00T`."""
    if n is None or _half_up(abs(n)) < 10_000:
        return number(n)
    whole = _half_up(abs(n))
    step = 10 ** (len(str(whole)) - 3)
    rounded = (whole + step // 2) // step * step
    unit, suffix = next((u, s) for u, s in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k")) if rounded >= u)
    decimals = 2 if rounded < 10 * unit else 1 if rounded < 100 * unit else 0
    return f"{_sign(n, rounded)}{rounded / unit:,.{decimals}f}{suffix}"


def decimal(n: float | None) -> str:
    """An average count, with a tenth below 100: `0.4`, `12.0`, `1,204`."""
    if n is None or _half_up(abs(n) * 10) >= 1_000:
        return number(n)
    tenths = _half_up(abs(n) * 10)
    return f"{_sign(n, tenths)}{tenths / 10:.1f}"


def share(part: int | None, whole: int | None) -> str | None:
    """The part in percent: `46%`, `7.0%`, `<0.1%`; None where there is no whole to compare with.

    Only nothing is `0%` and only everything is `100%`: a part just below the whole is `99.6%` or `>99.9%`.
    """
    if part is None or not whole:
        return None
    tenths = (2000 * part + whole) // (2 * whole)
    if part <= 0:
        return "0%"
    if part < whole and 1000 * part > 999 * whole:
        return ">99.9%"
    if 1000 * part < whole:
        return "<0.1%"
    if tenths < 100 or (part < whole and tenths >= 995):
        return f"{tenths // 10}.{tenths % 10}%"
    return f"{(200 * part + whole) // (2 * whole):,}%"


def change(
    current: float | None, previous: float | None, *, lower_is_better: bool = False, neutral: bool = False
) -> Change | None:
    """How `current` moved against `previous`; None where either is missing.

    `lower_is_better` reverses the tone, for errors and response times; `neutral` leaves it `flat`, for values that are
    neither good nor bad.
    """
    if current is None or previous is None:
        return None
    if not previous:
        percent, text = (math.copysign(100, current), "new") if current else (0.0, "±0%")
    else:
        percent = (current - previous) / abs(previous) * 100
        whole = _half_up(abs(percent))
        text = f"{'+' if percent > 0 else _MINUS}{compact(whole)}%" if whole else "±0%"
    if text == "±0%":
        return Change(text, "flat", "flat")
    direction: Literal["up", "down"] = "up" if percent > 0 else "down"
    if neutral:
        return Change(text, direction, "flat")
    return Change(text, direction, "good" if (direction == "down") == lower_is_better else "bad")


LONGEST_S = 1e12
"""Seconds that are shown at most: other writers may have stored any number."""


def duration(seconds: float | None) -> str:
    """The time in the fitting unit: `<1 ms`, `38 ms`, `1.24 s`, `12.4 s`, `2 min 5 s`, `3 h 20 min`, `2 d 4 h`.

    A second part of 0 is left out (`2 min`).
    """
    if seconds is None:
        return MISSING
    if seconds < 0:
        return _MINUS + duration(-seconds)
    seconds = min(seconds, LONGEST_S)
    if 0 < seconds < 0.001:
        return "<1 ms"
    if _half_up(seconds * 1000) < 1000:
        return f"{_half_up(seconds * 1000)} ms"
    if _half_up(seconds * 100) < 1000:
        return f"{_half_up(seconds * 100) / 100:.2f} s"
    if _half_up(seconds * 10) < 600:
        return f"{_half_up(seconds * 10) / 10:.1f} s"
    if (whole := _half_up(seconds)) < 3600:
        return _two_parts(whole, 60, "min", "s")
    if (minutes := _half_up(seconds / 60)) < 24 * 60:
        return _two_parts(minutes, 60, "h", "min")
    return _two_parts(_half_up(seconds / 3600), 24, "d", "h")


def size(bytes_: float | None) -> str:
    """Bytes in powers of 1000: `312 B`, `1.2 MB`, `124 MB`."""
    if bytes_ is None:
        return MISSING
    if bytes_ < 0:
        return _MINUS + size(-bytes_)
    if _half_up(bytes_) < 1000:
        return f"{_half_up(bytes_)} B"
    scaled = ((bytes_ / 1000**power, unit) for power, unit in enumerate(("kB", "MB", "GB", "TB"), start=1))
    value, unit = next(((v, u) for v, u in scaled if _half_up(v) < 1000), (bytes_ / 1000**5, "PB"))
    if _half_up(value * 10) < 1000:
        return f"{_half_up(value * 10) / 10:.1f} {unit}"
    return f"{_half_up(value):,} {unit}"


def lower_first(text: str) -> str:
    """`text` inside a sentence; abbreviations stay as they are."""
    return text if text[:2].isupper() else text[:1].lower() + text[1:]


def clock(moment: datetime | None, *, now: datetime) -> str:
    """The time of day, with the date unless it is today's: `14:33`, `21 Nov 14:33`, `21 Nov 2025 14:33`.

    Both are aware; the zone of `now` decides.
    """
    if moment is None:
        return MISSING
    local = moment.astimezone(now.tzinfo)
    if local.date() == now.date():
        return _time(local)
    return f"{day(local, year=local.year != now.year)} {_time(local)}"


def span_label(start: datetime, end: datetime, *, now: datetime | None = None) -> str:
    """What a half-open span of aware local datetimes covers.

    Whole days: `22 Nov 2026`, `16 – 22 Nov 2026`, `30 Oct – 5 Nov 2026`, `28 Dec 2025 – 3 Jan 2026`. With an edge inside a day:
    `21 Nov 14:00 – 22 Nov 14:00`, `22 Nov 14:00–18:00`; these name the year where the edges differ in it, or where it
    is not that of `now`.
    """
    last = just_before(end)
    if starts_day(start) and starts_day(end):
        if start.date() == last.date():
            return day(start, year=True)
        same_month = (start.year, start.month) == (last.year, last.month)
        first = str(start.day) if same_month else day(start, year=start.year != last.year)
        return f"{first} – {day(last, year=True)}"
    year = start.year != end.year or (now is not None and now.year != end.year)
    if start.date() == end.date():
        return f"{day(start, year=year)} {_time(start)}–{_time(last + _TICK)}"
    return f"{day(start, year=year)} {_time(start)} – {day(end, year=year)} {_time(end)}"


def bucket_label(start: datetime, end: datetime, unit: Unit) -> str:
    """The name of one bucket (aware, local, half-open) in tooltips and tables.

    `Thu 19 Nov, 20:05` a minute, `Thu 19 Nov, 20:00–21:00` an hour, `Thu 19 Nov`, `16 Nov – 22 Nov`, `Nov 2026`. In
    the hours that a clock set back repeats, the name of the zone tells them apart: `Sun 25 Oct, 02:00–03:00 CEST`.
    """
    last = just_before(end)
    if unit == "month":
        return f"{MONTHS[start.month - 1]} {start.year}"
    if unit == "week":
        if start.date() == last.date():
            return day(start)
        year = start.year != last.year
        return f"{day(start, year=year)} – {day(last, year=year)}"
    weekday = f"{WEEKDAYS[start.weekday()]} {day(start)}"
    if unit == "day":
        return weekday
    zone = f" {start.tzname()}" if _repeated(start) else ""
    # The end is told by the clock that ran during the bucket: 02:00, also where clocks were then set to 03:00.
    until = "" if _elapsed(start, end) <= timedelta(minutes=1) else f"–{_time(last + _TICK)}"
    return f"{weekday}, {_time(start)}{until}{zone}"


def just_before(end: datetime) -> datetime:
    """The last instant before `end`: in UTC and back, as arithmetic on local datetimes ignores changes of the clock."""
    return (end.astimezone(timezone.utc) - _TICK).astimezone(end.tzinfo)


def starts_day(moment: datetime) -> bool:
    """Midnight, or the first instant of a day whose midnight was skipped by a change of the clock."""
    return just_before(moment).date() != moment.date()


def status_text(code: int | None) -> str:
    """A status code with its standard phrase: `404 Not Found`; an unknown code stands alone."""
    if code is None:
        return MISSING
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return str(code)


def visible(text: str | None) -> str:
    r"""A recorded value with everything unseen shown as an escape: `\n`, `\u202e`, `\U000e0041`.

    Control characters, format characters (those that change the direction of text among them), line separators, lone
    surrogates and blank letters are escaped, so that a value can neither reorder the page nor pass for another one.
    Escaping for HTML is left to the template.
    """
    if text is None:
        return MISSING
    return "".join(_escape(c) if _unseen(c) else c for c in text)


def clipped(text: str | None, length: int = 200) -> str:
    """`visible`, cut to so many characters with an ellipsis: a recorded path can have thousands."""
    if text is None or len(text) <= length:
        return visible(text)
    return f"{visible(text[: length - 1])}…"


def _half_up(value: float) -> int:
    return math.floor(value + 0.5)


def _sign(n: float, shown: int) -> str:
    return _MINUS if n < 0 and shown else ""


def _two_parts(total: int, base: int, large: str, small: str) -> str:
    whole, rest = divmod(total, base)
    return f"{whole} {large} {rest} {small}" if rest else f"{whole} {large}"


def day(moment: datetime, *, year: bool = False) -> str:
    """`22 Nov`, or `22 Nov 2026`."""
    text = f"{moment.day} {MONTHS[moment.month - 1]}"
    return f"{text} {moment.year}" if year else text


def _time(moment: datetime) -> str:
    return f"{moment.hour:02}:{moment.minute:02}"


def _elapsed(start: datetime, end: datetime) -> timedelta:
    return end.astimezone(timezone.utc) - start.astimezone(timezone.utc)


def _repeated(moment: datetime) -> bool:
    return moment.replace(fold=0).utcoffset() != moment.replace(fold=1).utcoffset()


def _unseen(character: str) -> bool:
    return unicodedata.category(character) in _ESCAPED_CATEGORIES or character in _BLANK


def _escape(character: str) -> str:
    code = ord(character)
    return _SHORT_ESCAPES.get(character) or (f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
