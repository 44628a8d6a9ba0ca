"""Marks on pages: flags in charts, what leads from one to the time before and after it, and what such a comparison is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

from .. import charts
from ..changes import Lots, dimension_of
from ..formatting import clipped, clock, duration
from ..kept import RELEASE, Mark
from ..spans import Span, from_wall, midnight, to_local
from .page import Page

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
LONGEST = 28
"""Days on each side of a mark that are compared, at most."""
ISSUE = "issue"
MOST_DRAWN = 50
"""Marks in one chart."""
MOST_TOLD = 8
"""Marks that one flag names in full."""
LONGEST_NAME = 24
"""Characters of a mark in menus and headings."""


@dataclass(frozen=True, slots=True)
class Told:
    """A mark, or several that a flag stands for, as a page tells of it."""

    label: str
    title: str
    url: str | None
    """Compares before and after; None: the app cannot have that, or it is to come."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a chart shows of marks."""

    flags: tuple[tuple[charts.Flag, Told], ...] = ()
    rows: Mapping[int, tuple[Told, ...]] = field(default_factory=dict)
    """Of the chart's table, those in whose time something happened."""


def drawn(page: Page, buckets: Sequence[charts.Bucket]) -> Drawn:
    """The marks in a chart that has these buckets, the latest `MOST_DRAWN` of them."""
    placed = [
        (place, mark)
        for mark in page.site.kept().marks
        if (place := charts.place_of(buckets, page.local(mark.at))) is not None
    ][-MOST_DRAWN:]
    told = [_told(page, mark) for _, mark in placed]
    rows: dict[int, tuple[Told, ...]] = {}
    for (place, _), each in zip(placed, told, strict=True):
        rows[place] = (*rows.get(place, ()), each)
    found = charts.flags(buckets, [(page.local(mark.at), called(mark)) for _, mark in placed])
    return Drawn(tuple((flag, _together(flag.label, [told[number] for number in flag.marks])) for flag in found), rows)


def _told(page: Page, mark: Mark) -> Told:
    return Told(
        called(mark), f"{called(mark)}, since {clock(page.local(mark.at), now=page.local_now)}", around_url(page, mark)
    )


def _together(label: str, some: Sequence[Told]) -> Told:
    """A flag says all of its marks, up to `MOST_TOLD`, and leads to what the latest one changed."""
    said = "; ".join(each.title for each in some[-MOST_TOLD:])
    return Told(label, f"{said}. Compare before and after" if some[-1].url else said, some[-1].url)


def called(mark: Mark) -> str:
    """What a reader sees of it."""
    return clipped(mark.text, LONGEST_NAME)


def latest(page: Page) -> Mark | None:
    """The newest release, or else the latest mark; None: nothing is marked up to now."""
    past = [mark for mark in page.site.kept().marks if mark.at <= page.now]
    releases = [mark for mark in past if mark.kind == RELEASE]
    return next(reversed(releases or past), None)


def since(page: Page, mark: Mark) -> Span:
    """From the mark to the end of today."""
    zone = page.state.span.zone
    return Span(mark.at, midnight(page.local_now.date() + DAY, zone), zone)


# ---- before and after ------------------------------------------------------------------------------------------------


def around_url(page: Page, mark: Mark) -> str | None:
    """What changed with `mark`: as long before it as after; None: it is to come, or the app has no changes."""
    if dimension_of(page.site.dimensions) is None or mark.at >= page.now - timedelta(minutes=1):
        return None
    span, against = around(
        mark.at,
        until=next_of_its_kind(page.site.kept().marks, mark),
        now=page.now,
        known=page.ask(page.queries.earliest),
        like=page.state.span,
    )
    filters = page.state.filters.without(ISSUE)  # of failures of one kind alone, all requests fail
    state = replace(page.state, span=span, filters=filters, unit_chosen=False)
    return state.listed_at(page.site.url("changes"), against="" if against is None else f"{against:%Y-%m-%d}")


def around(
    at: datetime, *, until: datetime | None, now: datetime, known: datetime | None, like: Span
) -> tuple[Span, date | None]:
    """The time after a mark, until the next one or now, and the day with which as long a time before it begins.

    Whole weeks where there are any on both sides, or else whole days. After less than a day, its hours are compared with those of
    the day before; None, where these are not recorded: with as long just before. `known`: when what is recorded begins.
    """
    zone = like.zone
    wall = to_local(at, zone).replace(tzinfo=None)
    over = now.replace(minute=0, second=0, microsecond=0)
    before = timedelta() if known is None else at - known
    days = min((min(until or over, over) - at) // DAY, before // DAY, LONGEST)
    days -= days % 7 if days > 7 else 0
    if days >= 1:
        return Span(at, from_wall(wall + days * DAY, zone), zone), (wall - days * DAY).date()
    end = min(until or now, now, at + DAY).replace(second=0, microsecond=0)
    return Span(at, max(end, at + timedelta(minutes=1)), zone), (wall - DAY).date() if before >= DAY else None


def next_of_its_kind(marks: Sequence[Mark], mark: Mark) -> datetime | None:
    """When the next mark of its kind was; None: there is none."""
    return next((each.at for each in marks if each.kind == mark.kind and each.at > mark.at), None)


@dataclass(frozen=True, slots=True)
class Around:
    """What a comparison of before and after a mark says of itself."""

    heading: str
    before: str
    after: str
    scope: str


def around_mark(page: Page, lots: Lots) -> Around | None:
    """What is said of a comparison whose later side begins with a mark; None: it begins with none."""
    if lots.after.value is not None:
        return None
    marks, start = page.site.kept().marks, lots.after.span.start
    mark = next((mark for mark in reversed(marks) if mark.at == start), None)
    if mark is None or lots.before.span.end > start:
        return None
    former = next((each for each in reversed(marks) if each.kind == mark.kind == RELEASE and each.at < start), None)
    ran_before = former is not None and former.at <= lots.before.span.start
    if former is not None and ran_before:
        after, before = called(mark), called(former)
        return Around(f"{after} against {before}", before, after, _scope(mark, lots, before))
    after, before = f"after {called(mark)}", f"before {called(mark)}"
    return Around(f"Before and after {called(mark)}", before, after, _scope(mark, lots, "the day before"))


def _scope(mark: Mark, lots: Lots, former: str) -> str:
    span = lots.after.span
    if span.end - span.start < DAY:
        elapsed = span.end - span.start
        long = duration((elapsed - elapsed % HOUR if elapsed > HOUR else elapsed).total_seconds())
        ran = f"{called(mark)} has run for {long} only" if mark.kind == RELEASE else f"Only {long} after {called(mark)}"
        with_ = "as long before" if lots.before.span.end == span.start else f"the same hours of {former}"
        return f"{ran}; compared with {with_}. Visitors are not compared."
    if lots.same_hours:
        return "As long before as after, the same hours of the week."
    return "As many days before as after. Not the same days of the week, so visitors are not compared."
