"""The overview: summary, series, paths and a panel for each dimension. Filtered by one path, it is that path's page."""

from __future__ import annotations

from ..queries.interface import EVERYTHING, HITS, USUAL
from . import pair, request_log, tables, week
from .chips import unswitched
from .nothing import without_hits
from .page import Page, covered
from .panel import Panel, View
from .series import rows, series
from .sides import is_pair
from .summary import ask_measures, summary
from .tables import grouping_of

RECENT = 20
"""Requests of a path that its page shows."""


def has_one_path(page: Page) -> bool:
    """Whether the filters let one path through."""
    texts = page.state.filters.texts("path")
    return len(texts) == 1 and bool(texts[0])


def _paths(page: Page) -> tables.Table | None:
    grouping = grouping_of(page)
    return tables.paths(page, grouping) if grouping else None


def _wanted(page: Page) -> frozenset[str]:
    """What its tiles need: a path's page has those of what requests waited for."""
    return EVERYTHING if has_one_path(page) and page.site.waits else USUAL


def _outside(page: Page) -> int | None:
    """How many requests the switches leave out; None: that is not known."""
    state, everything = page.state, unswitched(page.state.filters)
    shown = ask_measures(page, want=_wanted(page))
    if everything == state.filters or shown is None:
        return None
    found = page.ask(page.queries.summary, state.span, everything, want=HITS)
    return None if found is None else found.hits - shown.hits


VIEW = View(
    name="index",
    title="Overview",
    template="overview",
    instead=lambda page: without_hits(page, _wanted(page)),
    outside=_outside,
    file=lambda page: grouping_of(page) or "series",
    json="api_summary",
)
PANELS = (
    Panel(
        name="summary",
        page="index",
        title="Totals",
        compose=lambda page: summary(page, want=_wanted(page)),
        template="_summary",
        offered=lambda page: not is_pair(page),
        cost=("summary",),
    ),
    Panel(
        name="both",
        page="index",
        title="Side by side",
        compose=pair.tiles,
        template="_both",
        offered=is_pair,
        cost=("profiles", "summary"),
    ),
    Panel(
        name="series",
        page="index",
        title="Chart",
        compose=lambda page: series(page, metric=page.state.metric, label=covered(page)),
        template="_series",
        rows=rows,
        cost=("series",),
    ),
    Panel(
        name="paths",
        page="index",
        title="Paths",
        compose=_paths,
        template="_paths",
        offered=lambda page: not has_one_path(page) and not is_pair(page) and grouping_of(page) is not None,
        cost=("breakdown", "profiles"),
    ),
    Panel(
        name="recent",
        page="index",
        title="Latest requests",
        compose=lambda page: request_log.recent(page, limit=RECENT),
        template="_requests",
        offered=has_one_path,
        cost=("requests",),
    ),
    Panel(
        name="pairs",
        page="index",
        title="Side by side, paths",
        compose=pair.table,
        template="_pairs",
        offered=lambda page: is_pair(page) and not has_one_path(page) and grouping_of(page) is not None,
        cost=("breakdown",),
    ),
    week.PANEL,
)
"""Those of the dimensions follow."""
