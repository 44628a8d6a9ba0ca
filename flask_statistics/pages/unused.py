"""Routes that nobody asked for: what could go, or what a link should lead to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from ..dimensions import Value
from ..filters import Filters
from ..formatting import clipped, clock
from ..queries.interface import HITS
from ..spans import Span
from .page import Page, Route, covered, plural
from .panel import Cells, Panel, View

MOST_ROUTES = 5_000
"""Routes of an app that are compared with those that were asked for."""


@dataclass(frozen=True, slots=True)
class UnusedRoute:
    """A route that was not asked for in the span."""

    rule: str
    url: str
    """Its overview at all times."""
    methods: str
    endpoint: str
    last: str
    """When it was asked for last, at all times; `never`."""
    last_iso: str
    """Empty: never."""


@dataclass(frozen=True, slots=True)
class Unused:
    """All of them, in the order of their rules."""

    rows: tuple[UnusedRoute, ...] | None
    """None: could not be computed."""
    count: str
    unmatched_url: str
    """Paths that no route matched."""
    csv_url: str


def unused(page: Page) -> Unused:
    """The app's routes without a request in the span that the filters let through."""
    found = page.ask(_unused, page)
    said = "" if found is None else f"{len(found)} of {plural(len(page.site.routes()), 'route')}, {covered(page)}"
    filters = page.state.filters.only("route", "")
    return Unused(
        rows=None if found is None else tuple(found),
        count=said,
        unmatched_url=page.state.at(page.site.url("list", dimension="path"), filters=filters),
        csv_url=page.csv("unused"),
    )


def rows(page: Page) -> Iterator[Cells]:
    """The same for a file."""
    yield ["route", "methods", "endpoint", "last_requested"]
    for row in _unused(page):
        yield [row.rule, row.methods, row.endpoint, row.last_iso]


def _unused(page: Page) -> list[UnusedRoute]:
    ask, state = page.queries.breakdown, page.state
    asked = {
        row.value for row in ask("route", state.span, state.filters, limit=MOST_ROUTES, sort="value", want=HITS).rows
    }
    left = [route for route in page.site.routes() if route.rule not in asked]
    first = page.queries.earliest() if left else None
    if first is None:
        lasts: dict[Value, datetime | None] = {}
    else:
        ever = Span(min(first, state.span.start), state.span.end, state.span.zone)
        found = ask("route", ever, Filters(), limit=MOST_ROUTES, sort="value", want=HITS).rows
        lasts = {row.value: row.measures.last_requested for row in found}
    return [_row(page, route, lasts.get(route.rule)) for route in left]


def _row(page: Page, route: Route, last: datetime | None) -> UnusedRoute:
    at = None if last is None else page.local(last)
    filters = Filters().and_("route", route.rule)
    return UnusedRoute(
        rule=clipped(route.rule),
        url=page.state.at(page.site.url("index"), filters=filters, span=replace(page.state.span, name="all")),
        methods=", ".join(route.methods),
        endpoint=clipped(route.endpoint),
        last="never" if at is None else clock(at, now=page.local_now),
        last_iso="" if at is None else at.isoformat(timespec="seconds"),
    )


VIEW = View(
    name="unused",
    title="Routes that nobody asked for",
    instead=lambda page: None,
    file=lambda page: "unused",
)
PANELS = (
    Panel(
        name="unused",
        page="unused",
        title="Routes that nobody asked for",
        compose=unused,
        template="_unused",
        rows=rows,
        cost=("breakdown",),
    ),
)
