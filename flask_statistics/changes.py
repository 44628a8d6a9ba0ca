"""Which two lots of requests are compared, and what changed between them: asks for both, and has the numbers judged.

Lots are the same requests at two times, or two values of one dimension at the same time. Times are a whole number of weeks
apart where enough is recorded, so that Monday's noon is compared with Monday's noon.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from math import ceil
from typing import Any

from .confidence import Comparison, compare
from .dimensions import Value
from .filters import Filters
from .queries.answers import Profile, Profiles
from .queries.interface import Queries
from .spans import Span, from_wall, next_edge

MOST_COMPARED = 500
"""So many values, those with the most hits, are compared."""
LONG = timedelta(days=2)
"""A span longer than this ends with the last full hour, so that stored hours answer for it."""
WEEK = timedelta(days=7)
BY = ("route", "path")
"""What is compared, the first that the model has."""


@dataclass(frozen=True, slots=True)
class Lot:
    """One side of a comparison."""

    span: Span
    filters: Filters
    value: str | None = None
    """The text of its value, where two values are compared."""


@dataclass(frozen=True, slots=True)
class Lots:
    """Both sides."""

    before: Lot
    after: Lot
    same_hours: bool
    """Whether both have the same hours of the week."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed."""

    lots: Lots
    comparison: Comparison
    before: Mapping[Value, Profile]
    after: Mapping[Value, Profile]
    hits: tuple[int, int]
    """Requests of each lot, whether their values are compared or not."""


def dimension_of(dimensions: Mapping[str, Any]) -> str | None:
    """The dimension whose values are compared; None: the model has none for it."""
    return next((name for name in BY if name in dimensions), None)


# ---- lots ------------------------------------------------------------------------------------------------------------


def in_time(
    span: Span,
    filters: Filters,
    *,
    now: datetime,
    vs: str = "prev",
    against: date | None = None,
    known: datetime | None,
) -> Lots | None:
    """What has elapsed of `span` at `now`, and the same time before.

    That is some weeks earlier, the period just before where weeks are not recorded, the same of last year (`vs` is `year`),
    or what begins with an earlier day, `against`. `known`: when what is recorded begins. None: not all of that time is recorded.
    """
    after = elapsed(span, now)
    if span.name == "all" or known is None:
        return None
    if against is not None and against < after.local_start.date():
        befores = [_earlier(after, after.local_start.date() - against)]
    elif vs == "year":
        befores = [_earlier(after, timedelta(days=364))]
    else:
        weeks = ceil((span.end - span.start) / WEEK - 1e-3) * WEEK
        length = timedelta(days=span.whole_days) if span.whole_days else span.end - span.start
        befores = [_earlier(after, weeks), _earlier(after, length)]
    unit = "day" if after.end - after.start > WEEK / 2 else "hour"
    for before in befores:
        if known < next_edge(before.start, unit, span.zone):
            apart = after.local_start.replace(tzinfo=None) - before.local_start.replace(tzinfo=None)
            return Lots(Lot(before, filters), Lot(after, filters), same_hours=not apart % WEEK)
    return None


def against(span: Span, before: Span, filters: Filters, *, now: datetime) -> Lots:
    """What has elapsed of `span` at `now`, and as much of an earlier one."""
    after = elapsed(span, now)
    apart = span.local_start.replace(tzinfo=None) - before.local_start.replace(tzinfo=None)
    return Lots(Lot(_earlier(after, apart), filters), Lot(after, filters), same_hours=not apart % WEEK)


def in_values(span: Span, filters: Filters, *, dimension: str, values: tuple[str, str], now: datetime) -> Lots:
    """Two values of a dimension in the same time."""
    during = elapsed(span, now)
    lots = [Lot(during, filters.only(dimension, value), value) for value in values]
    return Lots(lots[0], lots[1], same_hours=False)


def elapsed(span: Span, now: datetime) -> Span:
    """What of `span` is over at `now`, to the minute: of long ones to the hour, so that what is stored of hours answers."""
    until = now.replace(second=0, microsecond=0)
    if span.end - span.start > LONG:
        until = until.replace(minute=0)
    return span if span.end <= until or until <= span.start else replace(span, end=until, name=None)


def _earlier(span: Span, by: timedelta) -> Span:
    start = from_wall(span.local_start.replace(tzinfo=None) - by, span.zone)
    end = from_wall(span.local_end.replace(tzinfo=None) - by, span.zone)
    return replace(span, start=start, end=max(start, end), name=None)


def block_of(span: Span) -> str:
    """The unit of the blocks that a span is cut into: some tens of them."""
    length = span.end - span.start
    if length <= timedelta(hours=2):
        return "minute"
    return "hour" if length <= timedelta(days=3) else "day" if length <= timedelta(days=120) else "week"


# ---- the answer ------------------------------------------------------------------------------------------------------


def changes(queries: Queries, dimension: str, lots: Lots) -> Changes:
    """What changed between both lots, by the values of `dimension`: two questions."""
    unit = block_of(lots.after.span)
    one, other = (
        queries.profiles(dimension, lot.span, unit, lot.filters, limit=MOST_COMPARED)
        for lot in (lots.before, lots.after)
    )
    before, after = ({row.value: row for row in found.rows} for found in (one, other))
    # what one list leaves out is neither new nor gone in the other
    known_before = before if _is_whole(other) else {value: row for value, row in before.items() if value in after}
    known_after = after if _is_whole(one) else {value: row for value, row in after.items() if value in before}
    # of two values one may be far more common: what is new is so against its share
    part = 0.5 if lots.after.value is None or not (one.hits and other.hits) else other.hits / (one.hits + other.hits)
    return Changes(
        lots,
        compare(known_before, known_after, same_hours=lots.same_hours, part=part),
        known_before,
        known_after,
        (one.hits, other.hits),
    )


def _is_whole(found: Profiles) -> bool:
    return found.total == len(found.rows)
