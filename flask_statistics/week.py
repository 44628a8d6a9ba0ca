"""Hours of the week: what `tue`, `15` and `tue15` in a URL mean, and when in a span that is. Pure.

An hour of the week has a number, from 0 (Monday, midnight to one o'clock) to 167. Times are those of the span's zone: an hour
that a clock repeats is twice as long, and one that it leaves out is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, time, timedelta
from itertools import groupby

from .spans import Span, from_wall, to_local

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
HOURS = 7 * 24
MOST_RANGES = 400
"""So many separate times may be chosen of a span: each is a condition on the raw table."""
_TEXT = re.compile(r"(mon|tue|wed|thu|fri|sat|sun)?(\d|1\d|2[0-3])?", re.ASCII)


def hours_of(text: str) -> frozenset[int]:
    """The hours that a text such as `tue`, `15` or `tue15` names. Raises `ValueError` with what it must be."""
    found = _TEXT.fullmatch(text)
    if not text or found is None:
        raise ValueError("a day of the week, an hour from 0 to 23, or both, such as tue, 15 or tue15")
    day, hour = found.groups()
    days = range(7) if day is None else [[name.lower() for name in WEEKDAYS].index(day)]
    return frozenset(24 * each + of for each in days for of in (range(24) if hour is None else [int(hour)]))


def names_days(texts: Sequence[str]) -> bool:
    """Whether one of them names a day of the week."""
    return any(not text.isdigit() for text in texts)


def text_of(hour: int) -> str:
    """How a URL names one hour of the week."""
    return f"{WEEKDAYS[hour // 24].lower()}{hour % 24}"


def label_of(text: str) -> str:
    """What a reader sees for what `hours_of` reads: `Tue`, `15–16`, `Tue 15–16`."""
    found = _TEXT.fullmatch(text)
    day, hour = ("", "") if found is None else found.groups("")
    return " ".join(filter(None, (day.capitalize(), f"{hour}–{int(hour) + 1}" if hour else "")))


def hour_of_week(moment: datetime) -> int:
    """The number of the hour that an aware moment is in."""
    return 24 * moment.weekday() + moment.hour


def ranges(span: Span, texts: Sequence[str]) -> list[tuple[datetime, datetime]]:
    """When in `span` the hours are that `texts` name: naive UTC, rising, each from its start (included) to its end (excluded)."""
    hours = frozenset[int]().union(*map(hours_of, texts))
    runs = [list(_runs(hour % 24 for hour in sorted(hours) if hour // 24 == day)) for day in range(7)]
    found: list[tuple[datetime, datetime]] = []
    day, last = span.local_start.date(), span.local_end.date()
    while day <= last:
        midnight = datetime.combine(day, time())
        for first, end in runs[day.weekday()]:
            start, until = (from_wall(midnight + timedelta(hours=hour), span.zone) for hour in (first, end))
            # a day that a zone skipped is the next one
            start, until = max(start, span.start, *(end for _, end in found[-1:])), min(until, span.end)
            if start < until and found and found[-1][1] == start:
                found[-1] = (found[-1][0], until)
            elif start < until:
                found.append((start, until))
        day += timedelta(days=1)
    return found


def _runs(hours: Iterable[int]) -> Iterable[tuple[int, int]]:
    """Hours that follow each other, as the first one and the one after the last."""
    for _, group in groupby(enumerate(hours), key=lambda one: one[1] - one[0]):
        run = [hour for _, hour in group]
        yield run[0], run[-1] + 1


def check(span: Span, texts: Sequence[str]) -> None:
    """Raises `ValueError` where `span` has too many separate times of those that `texts` name."""
    if texts and len(ranges(span, texts)) > MOST_RANGES:
        raise ValueError(f"at most {MOST_RANGES} separate times of the span; choose a shorter one")


def occurrences(span: Span, until: datetime) -> list[int]:
    """How many of each hour of the week have begun in `span` until then (naive UTC)."""
    counts = [0] * HOURS
    for edge in span.edges("hour")[:-1]:
        if edge < until:
            counts[hour_of_week(to_local(edge, span.zone))] += 1
    return counts
