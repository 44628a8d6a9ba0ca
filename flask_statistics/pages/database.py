"""The database view: which statements took the time, from where in the code, and for which routes. Values are never kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ..filters import Condition, Filters
from ..formatting import clipped, clock, duration, number, share
from ..parameters import ROWS
from ..queries.interface import HITS
from ..queries.statements import StatementList, StatementRow
from ..timing.fingerprint import LONGEST as KEPT
from .page import Link, Page, plural
from .panel import EVERY_ROW, Cells, Panel, View
from .tables import Head

OF_A_ROUTE = 10
"""Statements on the page of a route."""
NAMED = 10
"""Routes that a tooltip names."""
LONGEST = 300
"""Characters of a statement in a row; its tooltip, and the file, have all that is kept."""
LONG_LIST = 60
"""Characters from which on a list of columns is left out there."""
ORDERINGS = (("Most time", "-total"), ("Slowest", "-p95"), ("N+1", "-repeated"))
COLUMNS = (
    ("calls", "Calls", "n opt"),
    ("total", "Total", "n"),
    ("", "Share", "n opt"),
    ("p50", "Median", "n mid"),
    ("p95", "p95", "n"),
    ("longest", "Max", "n mid"),
)
"""Name of the order, heading and class; without an order it is that of the one before."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One statement from one place."""

    text: str
    """Shortened."""
    whole: str
    is_repeated: bool
    """Whether a request sent it so often that it looks like a query in a loop."""
    repeated: str
    """How many requests did."""
    place: str
    """Empty: it came from nowhere in the app's files."""
    place_url: str
    """All statements from there."""
    route: str
    """Or how many there are."""
    route_url: str | None
    """The overview of the route; None: there are more than one, or the app tells none."""
    routes: str
    """Their names."""
    fill: float
    """Length of its bar in percent: what the table is sorted by, against the most of a row."""
    calls: str
    total: str
    share: str
    p50: str
    p95: str
    longest: str
    last: str
    """When it was sent last."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading."""

    head: Head | None
    """What sorts by it; None: nothing does."""
    text: str
    css: str


@dataclass(frozen=True, slots=True)
class Statements:
    """The table of statements."""

    rows: tuple[Shown, ...] | None
    """None: they could not be computed."""
    count: str
    """`58 different ones`."""
    note: str
    """Which filters change nothing here; empty: none."""
    empty: str
    """What stands there without rows."""
    text_head: Head
    columns: tuple[Column, ...]
    orderings: tuple[Link, ...]
    search: str
    search_hidden: tuple[tuple[str, str], ...]
    base: str
    more: Link | None
    csv_url: str
    is_part: bool = False
    """Whether it is a part of another page: then it is not sorted and searched there."""


def statements(page: Page) -> Statements:
    """The statements of the span, as the page's state sorts and searches them."""
    state = page.state
    found = _ask(page, limit=state.table.rows)
    rows = next((rows for rows in ROWS if rows > state.table.rows), None)
    more = None
    if found is not None and rows is not None and found.count > len(found.rows):
        left = min(found.count, rows) - len(found.rows)
        more = Link(f"Show {left:,} more of {plural(found.count, 'statement')}", state.table_url(rows=rows))
    return _statements(page, found, more=more)


def of_route(page: Page) -> Statements:
    """Those of one route that took most time; of a path, those of the route that answered it most."""
    page = replace(page, state=replace(page.state, filters=_of_its_route(page)))
    found = _ask(page, limit=OF_A_ROUTE)
    return _statements(page, found, more=Link("All of its statements", page.other("database")), is_part=True)


def has_one_route(page: Page) -> bool:
    """Whether the filters let one route through, or one path, which a route has answered."""
    return any(_only(page, name) for name in ("route", "path")) and "route" in page.site.dimensions


def _only(page: Page, name: str) -> str | None:
    """The one value of a dimension that the filters let through; None: there are several, or none is named."""
    texts = page.state.filters.texts(name)
    return texts[0] if len(texts) == 1 and texts[0] else None


def _of_its_route(page: Page) -> Filters:
    """The filters, with the route of the one path that they let through in the place of the path."""
    state, filters = page.state, page.state.filters
    path = _only(page, "path")
    if path is None or _only(page, "route"):
        return filters
    answered = page.ask(page.queries.breakdown, "route", state.span, Filters().and_("path", path), limit=1, want=HITS)
    value = answered.rows[0].value if answered is not None and answered.rows else None
    return Filters().and_("route", page.site.dimensions["route"].text_of(value))


def _ask(page: Page, *, limit: int) -> StatementList | None:
    queries = page.site.statements
    if queries is None:
        return None
    state = page.state
    return page.ask(
        queries.statements,
        state.span,
        wanted=_wanted(page),
        search=state.table.search,
        order=state.table.order,
        limit=limit,
    )


def _wanted(page: Page) -> Callable[[str | None], bool]:
    """Which routes the filters let through."""
    conditions = [each for each in page.state.filters.conditions if each.dimension == "route"]
    dimension = page.site.dimensions.get("route")
    if dimension is None:
        return lambda route: True
    values = [(each.values(dimension), each.negated) for each in conditions]
    return lambda route: all((route in wanted) is not negated for wanted, negated in values)


def _statements(page: Page, found: StatementList | None, *, more: Link | None, is_part: bool = False) -> Statements:
    state = page.state
    rows = () if found is None else found.rows
    measure = _MEASURES.get(state.table.order.removeprefix("-"), _MEASURES["total"])
    most = max((measure(row) for row in rows), default=0)
    return Statements(
        rows=None if found is None else tuple(_shown(page, row, found.total, measure(row), most) for row in rows),
        count="" if found is None else plural(found.count, "different one"),
        note=_note(page.state.chosen, page),
        empty="No statement matches this search." if state.table.search else _empty(state.table.order),
        text_head=_head(page, "statement", "Statement"),
        columns=tuple(Column(_head(page, order, text) if order else None, text, css) for order, text, css in COLUMNS),
        orderings=tuple(
            Link(text, state.table_url(order=order), order == state.table.order) for text, order in ORDERINGS
        ),
        search=state.table.search,
        search_hidden=tuple(state.hidden("search")),
        base=state.base,
        more=more,
        csv_url=page.csv("statements"),
        is_part=is_part,
    )


_MEASURES: dict[str, Callable[[StatementRow], float]] = {
    "total": lambda row: row.total,
    "calls": lambda row: row.calls,
    "repeated": lambda row: row.repeated,
    "longest": lambda row: row.longest,
    "p50": lambda row: row.p50 or 0,
    "p95": lambda row: row.p95 or 0,
}


def _empty(order: str) -> str:
    if order.removeprefix("-") == "repeated":
        return "No request sent the same statement 10 times or more in this span."
    return "No statements in this span."


def _note(filters: Filters, page: Page) -> str:
    """Which filters the tables of statements cannot know."""
    labels = dict.fromkeys(_label(page, each) for each in filters.conditions if each.dimension != "route")
    others = {"Path": filters.contains, "Time": filters.at}
    names = dict.fromkeys([*labels, *(name for name, said in others.items() if said)])
    if not names:
        return ""
    return f"Statements are counted by route alone: what is chosen by {', '.join(names)} changes nothing here."


def _label(page: Page, condition: Condition) -> str:
    return page.site.dimensions[condition.dimension].label


def _head(page: Page, order: str, text: str) -> Head:
    present = page.state.table.order
    descending = present == f"-{order}"
    following = order if descending or (order == "statement" and present != order) else f"-{order}"
    return Head(
        text=text,
        url=page.state.table_url(order=following),
        sorted="descending" if descending else "ascending" if present == order else None,
    )


def _shown(page: Page, row: StatementRow, total: float, measure: float, most: float) -> Shown:
    place = row.place or ""
    only = row.routes[0] if len(row.routes) == 1 else None
    leads = only is not None and "route" in page.site.dimensions
    names = [_route(route) for route in row.routes]
    cut = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return Shown(
        text=clipped(_shortened(row.text), LONGEST),
        whole=clipped(row.text, KEPT),
        is_repeated=bool(row.repeated),
        repeated=plural(row.repeated, "request"),
        place=clipped(place),
        place_url=page.state.listed_at(page.site.url("database"), search=place),
        route=names[0] if len(names) == 1 else plural(len(names), "route"),
        route_url=page.other_filtered("route", page.site.dimensions["route"].text_of(only)) if leads else None,
        routes=", ".join(names[:NAMED]) + cut,
        fill=round(100 * measure / most, 1) if most else 0.0,
        calls=number(row.calls),
        total=_time(row.total),
        share=share(round(row.total * 1e6), round(total * 1e6)) or "–",
        p50=_time(row.p50),
        p95=_time(row.p95),
        longest=_time(row.longest),
        last=clock(page.local(row.last), now=page.local_now),
    )


def _shortened(text: str) -> str:
    """A statement without its long list of columns, which says less than what follows it."""
    before, word, after = text.partition(" FROM ")
    if text.startswith("SELECT ") and word and len(before) > LONG_LIST:
        return f"SELECT …{word}{after}"
    before, opening, rest = text.partition(" (")
    columns, closing, after = rest.partition(")")
    if text.startswith("INSERT ") and closing and len(columns) > LONG_LIST:
        return f"{before}{opening}…{closing}{after}"
    return text


def _route(route: str | None) -> str:
    return "(no route)" if route is None else clipped(route)


def _time(seconds: float | None) -> str:
    """As elsewhere; what took less than a millisecond, as most statements do, in microseconds."""
    if seconds is not None and 0 < seconds < 0.0009995:
        return f"{max(1, round(seconds * 1e6))} µs"
    return duration(seconds)


def rows(page: Page) -> Iterator[Cells]:
    """All statements of the span, as the page sorts and searches them."""
    yield [
        *("Statement", "Place", "Routes", "Calls", "Requests", "Requests that repeat it"),
        *("Total (s)", "Median (s)", "p95 (s)", "Max (s)", "Last seen"),
    ]
    queries, state = page.site.statements, page.state
    if queries is None:
        return
    found = queries.statements(
        state.span,
        wanted=_wanted(page),
        search=state.table.search,
        order=state.table.order,
        limit=EVERY_ROW,
    )
    for row in found.rows:
        routes = " ".join(route or "(no route)" for route in row.routes)
        yield [
            *(row.text, row.place, routes, row.calls, row.requests, row.repeated),
            *(row.total, row.p50, row.p95, row.longest, row.last),
        ]


VIEW = View(name="database", title="Database", instead=lambda _: None, file=lambda _: "statements", json=None)
PANELS = (
    Panel(
        name="statements",
        page="database",
        title="Statements",
        compose=statements,
        template="_statements",
        rows=rows,
    ),
)
OF_A_ROUTE_PANELS = (
    Panel(
        name="route_statements",
        page="index",
        title="Statements of this route",
        compose=of_route,
        template="_statements",
        offered=has_one_route,
    ),
)
"""On the overview."""
