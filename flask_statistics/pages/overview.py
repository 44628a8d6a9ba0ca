"""The overview: summary, series, paths and a panel for each dimension. Filtered by one path, it is that path's page."""

from __future__ import annotations

from dataclasses import dataclass

from ..formatting import clipped
from . import breakdowns, request_log
from .breakdowns import Panel, Table
from .nothing import Nothing, nothing
from .page import Page, covered
from .series import Series, series
from .summary import Summary, ask_measures, summary

RECENT = 20
"""Requests of a path that its page shows."""


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
