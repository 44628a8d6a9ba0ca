"""The summary: one tile a measure, with its change against the period before at equal elapsed time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..formatting import Change, change, compact, decimal, duration, number, share
from ..queries.answers import Measures
from ..queries.interface import USUAL, WAITED
from ..spans import Span, next_edge
from ..waits import WAITS
from .beginning import Beginning, beginning
from .page import Page, covered, versus

ALL_TILES = ("visitors", "hits", "p50", "p95", "server_errors", "client_errors")
WAIT_TILES = ("db_time_p95", "db_queries_avg", "http_time_p95", "http_calls_avg")
ERROR_TILES = ("server_errors", "client_errors", "hits")

NEEDS = {
    "visitors": "remote_address",
    "p50": "response_time",
    "p95": "response_time",
    "server_errors": "status_code",
    "client_errors": "status_code",
}
"""The column that a measure needs."""
LABELS = {
    "hits": "Hits",
    "visitors": "Visitors",
    "p50": "Median",
    "p95": "p95",
    "server_errors": "Server errors",
    "client_errors": "Client errors",
    "db_time_p95": "Database time",
    "db_queries_avg": "Statements",
    "http_time_p95": "Other servers",
    "http_calls_avg": "Outgoing calls",
}
MEANINGS = {
    "hits": "Requests",
    "visitors": "Different addresses",
    "p50": "Half of the requests were faster",
    "p95": "95 of 100 requests were faster",
    "server_errors": "Answers 500 to 599: this app failed",
    "client_errors": "Answers 400 to 499, such as not found",
    "db_time_p95": "95 of 100 requests waited less for their databases",
    "db_queries_avg": "Statements that a request sent to its databases, on average",
    "http_time_p95": "95 of 100 requests waited less for other servers",
    "http_calls_avg": "Calls that a request made to other servers, on average",
}
METRIC_OF = (
    {"hits": "hits", "visitors": "visitors", "p50": "time", "p95": "time"}
    | dict.fromkeys(("server_errors", "client_errors"), "errors")
    | {name: name.rpartition("_")[0] for name in WAIT_TILES}
)
"""What the chart draws when a tile is chosen."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One measure over the whole span."""

    measure: str
    label: str
    text: str
    exact: str
    """The same value in full."""
    change: Change | None
    """None: there is nothing to compare with."""
    versus: str
    """What the change is against."""
    meaning: str
    hint: str | None
    """Its share of the hits."""
    url: str
    """Draws the measure in the chart."""
    current: bool
    """Whether the chart draws it."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The tiles of a page."""

    label: str
    tiles: tuple[Tile, ...]
    waits: tuple[Tile, ...] = ()
    """Those of what requests waited for."""
    incomparable: str | None = None
    """Why no tile has a change although a comparison is asked for."""
    since: str = ""
    """The day that the numbers begin with, where that is why."""


def comparable_span(page: Page) -> Span | None:
    """The period to compare with; None if there is none: comparing is off, the span is all there is, or not all of that
    period is recorded, so that numbers of a part of it would be taken for those of the whole.
    """
    before = page.state.compared()
    return before if before is not None and _is_recorded(page, before) else None


def _is_recorded(page: Page, span: Span) -> bool:
    """Whether the numbers reach back to the beginning of `span`: to its first hour, or the first day of a week or more."""
    first, freshness = page.ask(page.queries.earliest), page.queries.freshness
    if first is None or (freshness and freshness.preparing_before and span.start < freshness.preparing_before):
        return False
    unit = "day" if (span.whole_days or 0) >= 7 else "hour"
    return first < next_edge(span.start, unit, span.zone)


def incomparable(page: Page) -> Beginning | None:
    """What leaves no period to compare with although one is asked for; None: there is one, or none is asked for."""
    before = page.state.compared()
    return None if before is None or _is_recorded(page, before) else beginning(page)


def ask_measures(page: Page, *, want: frozenset[str] = USUAL) -> Measures | None:
    """The measures of the page's span; None if the question failed."""
    state = page.state
    return page.ask(page.queries.summary, state.span, state.filters, want=want)


def summary(
    page: Page,
    *,
    names: tuple[str, ...] = ALL_TILES,
    want: frozenset[str] = USUAL,
    urls: Mapping[str, str] | None = None,
) -> Summary | None:
    """The tiles `names` of the page's span, as far as the model has what they need; None if the question failed.

    A tile leads to its page in `urls`; without them it selects what the chart draws.
    """
    measures = ask_measures(page, want=want)
    if measures is None:
        return None
    before = comparable_span(page)
    previous = None
    if before is not None:
        elapsed = before.elapsed(page.now, page.state.span)
        previous = page.ask(page.queries.summary, elapsed, page.state.filters, want=want)
    against = f"vs {versus(page)}" if before is not None else ""
    tiles, waits = (
        tuple(_tile(page, name, measures, previous, against) for name in offered(page, some))
        for some in (names, WAIT_TILES if want & WAITED else ())
    )
    if urls is not None:
        tiles = tuple(replace(tile, url=urls[tile.measure], current=False) for tile in tiles)
    why = incomparable(page)
    if why is None:
        return Summary(covered(page), tiles, waits)
    return Summary(covered(page), tiles, waits, f"Nothing to compare with: {why.why}.", why.day)


def offered(page: Page, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the measures that the model has a column for."""
    return tuple(name for name in names if is_offered(page, name))


def is_offered(page: Page, name: str) -> bool:
    """Whether the model has what the measure called `name` needs."""
    wait = name.rpartition("_")[0]
    needs = wait if wait in WAITS else NEEDS.get(name)
    return needs is None or page.has(needs)


def value_of(name: str, measures: Measures) -> float | None:
    """The measure called `name`."""
    wait, _, part = name.rpartition("_")
    if wait in WAITS:
        waited = getattr(measures, wait)
        return None if waited is None else getattr(waited, part)
    if name in ("p50", "p95"):
        value: float | None = getattr(measures.response_time, name)
    else:
        value = getattr(measures, name)
    return value


def _tile(page: Page, name: str, measures: Measures, previous: Measures | None, against: str) -> Tile:
    value = value_of(name, measures)
    timed, errors = name.endswith(("p50", "p95")), name.endswith("errors")
    judged = timed or errors
    shown = duration if timed else decimal if name.endswith("avg") else compact
    part = share(measures.client_errors if name == "client_errors" else measures.server_errors, measures.hits)
    return Tile(
        measure=name,
        label=LABELS[name],
        text=shown(value),
        exact=number(value) if shown is compact else shown(value),
        change=None
        if previous is None
        else change(value, value_of(name, previous), lower_is_better=judged, neutral=not judged),
        versus=against,
        meaning=MEANINGS[name],
        hint=None if not errors or not part else f"{part} of hits" if value else "no errors",
        url=page.state.url(metric=METRIC_OF[name]),
        current=page.state.metric == METRIC_OF[name],
    )
