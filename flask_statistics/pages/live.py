"""The live view: the last half hour a minute at a time, who is there now, and the newest requests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from ..formatting import compact, number
from ..queries.interface import VISITORS
from ..spans import Span, next_edge
from .page import Page
from .request_log import RequestTable, recent
from .series import Series, series

SHOWN = timedelta(minutes=30)
ACTIVE = timedelta(minutes=5)
"""A visitor counts as active for so long after a request."""
ROWS = 50


@dataclass(frozen=True, slots=True)
class Live:
    """The live view's parts; what is None could not be computed."""

    active: str | None
    active_exact: str
    has_visitors: bool
    """Whether the model tells visitors apart; if not, requests are counted."""
    hits: str | None
    """Requests of the half hour."""
    series: Series | None
    recent: RequestTable | None
    paused: bool
    pause_url: str
    """Stops or goes on."""
    poll_url: str


def live(page: Page) -> Live:
    """What the live view shows at `page.now`."""
    state, span = page.state, last(page, SHOWN)
    minutes = replace(
        state, base=page.site.url("requests"), span=span, unit="minute", unit_chosen=False, vs="off", metric="hits"
    )
    shown = replace(page, state=minutes)
    active = Span(page.now - ACTIVE, span.end, span.zone)
    measures = page.ask(page.queries.summary, active, state.filters, want=frozenset({VISITORS}))
    counted = None if measures is None else measures.visitors if page.has("remote_address") else measures.hits
    chart = series(shown, metric="hits", label="the last 30 minutes", compare=False)
    return Live(
        active=None if counted is None else compact(counted),
        active_exact=number(counted),
        has_visitors=page.has("remote_address"),
        hits=None if chart is None else number(chart.total),
        series=chart,
        recent=recent(shown, limit=ROWS, heading="Newest requests"),
        paused=state.paused,
        pause_url=state.url(paused=not state.paused),
        poll_url=state.url(),
    )


def last(page: Page, length: timedelta) -> Span:
    """The span of `length` that ends with the present minute."""
    zone = page.state.span.zone
    end = next_edge(page.now, "minute", zone)
    return Span(end - length, end, zone)
