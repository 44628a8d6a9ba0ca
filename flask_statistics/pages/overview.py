"""The overview: summary, series, paths and a panel for each dimension. Filtered by one path, it is that path's page."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..filters import Filters
from ..formatting import clipped, day, just_before, span_label
from . import breakdowns, request_log
from .breakdowns import Panel, Table
from .page import Page
from .series import Series, series
from .summary import Summary, ask_measures, summary

RECENT = 20
"""Requests of a path that its page shows."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """What is said instead of numbers where there are none."""

    heading: str
    text: str | None
    action: str
    url: str
    """Where the action leads."""


@dataclass(frozen=True, slots=True)
class Overview:
    """The overview's parts. `nothing` stands instead of all the others; a part that is None could not be computed."""

    nothing: Nothing | None = None
    summary: Summary | None = None
    series: Series | None = None
    path: str | None = None
    """The one path that is shown; None: many."""
    recent: request_log.RequestTable | None = None
    """Its latest requests."""
    grouped: bool = True
    """Whether there are paths to list."""
    paths: Table | None = None
    panels: tuple[Panel, ...] = ()


def overview(page: Page) -> Overview:
    """What the overview shows. Without requests it asks no more than whether there ever was one."""
    measures = ask_measures(page)
    if measures is not None and not measures.hits:
        return Overview(nothing=nothing(page))
    label, path = covered(page), the_path(page)
    grouping = None if path else grouping_of(page)
    return Overview(
        summary=None if measures is None else summary(page, measures, label=label),
        series=series_alone(page),
        path=path,
        recent=recent(page) if path else None,
        grouped=grouping is not None,
        paths=breakdowns.paths(page, grouping) if grouping else None,
        panels=breakdowns.panels(page, panel_names(page)),
    )


def summary_alone(page: Page) -> Summary | None:
    """The summary as the overview shows it."""
    measures = ask_measures(page)
    return None if measures is None else summary(page, measures, label=covered(page))


def series_alone(page: Page) -> Series | None:
    """The series as the overview shows it."""
    return series(page, metric=page.state.metric, label=covered(page))


def paths_alone(page: Page) -> Table | None:
    """The table of paths as the overview shows it."""
    grouping = grouping_of(page)
    return breakdowns.paths(page, grouping) if grouping else None


def recent(page: Page) -> request_log.RequestTable | None:
    """The latest requests as the page of a path shows them."""
    return request_log.recent(page, limit=RECENT)


def the_path(page: Page) -> str | None:
    """The one path that the filters let through, as shown; None if there may be several."""
    texts = page.state.filters.texts("path")
    return clipped(texts[0]) if len(texts) == 1 and texts[0] else None


def grouping_of(page: Page) -> str | None:
    """The dimension that the table of paths lists; None if the model has none for it."""
    by = page.state.table.by
    return by if by in page.site.dimensions else None


def panel_names(page: Page) -> tuple[str, ...]:
    """Every registered dimension that the table of paths does not list."""
    return tuple(name for name in page.site.dimensions if name not in ("path", "route"))


def covered(page: Page) -> str:
    """What the span covers."""
    span = page.state.span
    return span_label(span.local_start, span.local_end, now=page.local_now)


def nothing(page: Page) -> Nothing:
    """Why there are no numbers, and what to do about it."""
    state = page.state
    if state.filters:
        return Nothing("No requests match these filters.", None, "Clear all", state.url(filters=Filters()))
    if page.asker.earliest() is None:
        return Nothing(
            "No requests recorded yet",
            "The extension is installed. Visit any page of your app, then come back: requests show up within 5 seconds.",
            "Check again",
            state.url(),
        )
    return Nothing(
        f"No requests {_during(page)}.", None, "Show all time", state.url(span=replace(state.span, name="all"))
    )


def _during(page: Page) -> str:
    span = page.state.span
    first, last = span.local_start, just_before(span.local_end)
    if span.whole_days is None:
        return f"in {covered(page)}"
    if span.whole_days == 1:
        return f"on {covered(page)}"
    year = first.year != page.local_now.year or last.year != page.local_now.year
    return f"between {day(first, year=year)} and {day(last, year=year)}"
