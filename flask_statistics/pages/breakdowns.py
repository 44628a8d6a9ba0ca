"""Breakdowns: the values of a dimension as a panel of the most frequent ones, or as a table with every measure.

The columns of the table stand here once, for the page and for its export.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ..dimensions import Dimension
from ..filters import Filters
from ..formatting import clock, compact, decimal, duration, lower_first, number, share
from ..queries.answers import Breakdown, Row
from ..queries.interface import SORTS, USUAL, WAITED
from .frame import Link
from .page import Page, of_longest, plural
from .panel import EVERY_ROW, Cells, Panel

PANEL_ROWS = 6
LIST_ROWS = 50
LISTED = ("path", "route")
"""Dimensions that the table of paths lists."""
CODED = ("country",)
"""Dimensions whose values are codes that stand before their names."""


def _waited(name: str, part: str, row: Row) -> Any:
    waited = getattr(row.measures, name)
    return None if waited is None else getattr(waited, part)


HINTS = {"campaign": ("Links with utm_source=… show up here.",)}
"""How a dimension gets values."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table of a breakdown."""

    sort: str
    label: str
    needs: str | None
    """The model's column that it needs."""
    value: Callable[[Row], Any]
    """As a plain value, for exports."""
    left_out: str = ""
    """Where pages are too narrow for it, as the style sheet calls that width: far, mid, opt; empty: nowhere."""


COLUMNS = (
    Column("hits", "Hits", None, lambda row: row.measures.hits),
    Column("visitors", "Visitors", "remote_address", lambda row: row.measures.visitors, left_out="opt"),
    Column("p50", "Median", "response_time", lambda row: row.measures.response_time.p50, left_out="mid"),
    Column("p95", "p95", "response_time", lambda row: row.measures.response_time.p95),
    Column("db_time_p95", "Database", "db_time", partial(_waited, "db_time", "p95"), left_out="mid"),
    Column("db_queries_avg", "Statements", "db_queries", partial(_waited, "db_queries", "avg"), left_out="mid"),
    Column("http_time_p95", "Servers", "http_time", partial(_waited, "http_time", "p95"), left_out="mid"),
    Column("server_error_share", "5xx", "status_code", lambda row: row.measures.server_errors),
    Column("last_requested", "Last seen", None, lambda row: row.measures.last_requested, left_out="far"),
)
BAD_SHARE = 0.01
"""From this share of server errors on, it is shown in red."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One measure of one value."""

    text: str
    tone: str = ""
    """bad or mut, or nothing."""
    iso: str | None = None
    """The instant that a time of day stands for."""
    left_out: str = ""


@dataclass(frozen=True, slots=True)
class TableRow:
    """One value of the table."""

    code: str
    """What stands before the label in a fixed width; empty: nothing."""
    label: str
    url: str
    current: bool
    """Whether it is among the filters."""
    fill: float
    """Length of its bar in percent of the longest: by what the table is sorted by."""
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Head:
    """A column's heading, which sorts by it."""

    text: str
    url: str
    sorted: str | None
    """ascending, descending, or None."""
    left_out: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """The values of a dimension with every measure."""

    heading: str
    label: str
    """Of one value."""
    monospace: bool
    value_head: Head
    heads: tuple[Head, ...]
    rows: tuple[TableRow, ...]
    empty: str
    """What stands there without rows."""
    groupings: tuple[Link, ...]
    """Dimensions to choose from; empty: there is one only."""
    search: str
    search_hidden: tuple[tuple[str, str], ...]
    base: str
    more: Link | None
    """Shows more of it."""
    shown: str
    """How much of the whole is shown."""
    newer_url: str | None
    older_url: str | None
    csv_url: str
    unused_url: str | None = None
    """Routes that nobody asked for; None: it does not list routes."""


@dataclass(frozen=True, slots=True)
class TopValue:
    """One of the most frequent values."""

    code: str
    """What stands before the label in a fixed width; empty: nothing."""
    label: str
    url: str
    current: bool
    hits: str
    exact: str
    """The same in full."""
    share: str | None
    fill: float
    """Length of its bar in percent of the longest."""


@dataclass(frozen=True, slots=True)
class TopValues:
    """The most frequent values of a dimension."""

    name: str
    heading: str
    label: str
    rows: tuple[TopValue, ...] | None
    """None: could not be computed."""
    empty: str
    note: str | None
    """Since when it is recorded; None: always, as far as the span goes."""
    all_text: str
    all_url: str
    csv_url: str


# ---- panels ----------------------------------------------------------------------------------------------------------


def panel_of(dimension: Dimension) -> Panel:
    """The panel of a dimension's most frequent values. The table of paths lists paths and routes in the overview's stead."""
    name = dimension.name
    return Panel(
        name=name,
        page="index",
        title=dimension.plural,
        compose=partial(top_values, name=name),
        template="_breakdown",
        rows=partial(rows, name=name),
        offered=lambda _: name not in LISTED,
        width="third",
        cost=("breakdowns",),
    )


def top_values(page: Page, name: str) -> TopValues:
    """The most frequent values of a dimension.

    A whole page asks for all of its dimensions at once; if that fails, for each alone.
    """
    names = (
        tuple(each for each, one in page.site.dimensions.items() if each not in LISTED and not one.of_clients)
        if page.is_whole
        else (name,)
    )
    found = _ask_top_values(page, names)
    if found is None and len(names) > 1:
        found = _ask_top_values(page, (name,))
    return _top_values(page, name, None if found is None else found[name])


def _ask_top_values(page: Page, names: tuple[str, ...]) -> dict[str, Breakdown] | None:
    state = page.state
    return page.ask(page.queries.breakdowns, names, state.span, state.filters, limit=PANEL_ROWS)


def _top_values(page: Page, name: str, found: Breakdown | None) -> TopValues:
    dimension = page.site.dimensions[name]
    return TopValues(
        name=name,
        heading=dimension.plural,
        label=dimension.label,
        rows=None if found is None else _top_rows(page, found),
        empty=" ".join((f"No {lower_first(dimension.plural)} in this span.", *HINTS.get(dimension.name, ()))),
        note=None if found is None else _not_before(page, found),
        all_text=f"All {lower_first(dimension.plural)}",
        all_url=page.other("list", dimension=name),
        csv_url=page.csv(name),
    )


def _not_before(page: Page, found: Breakdown) -> str | None:
    since, state = found.complete_from, page.state
    if since is None or since == page.queries.complete_from(state.span, state.filters):  # the page says that
        return None
    return f"Not recorded before {clock(page.local(since), now=page.local_now)}."


def _top_rows(page: Page, found: Breakdown) -> tuple[TopValue, ...]:
    rows = _interesting(page, found)
    return tuple(_top_value(page, found, row, fill) for row, fill in zip(rows, bars(rows, "hits", ()), strict=True))


def _interesting(page: Page, found: Breakdown) -> tuple[Row, ...]:
    """The rows that say something: nearly all requests have no exception, and no campaign."""
    sparse = page.site.dimensions[found.dimension].sparse
    return tuple(row for row in found.rows if not (sparse and row.value is None))


def bars(rows: Sequence[Row], sort: str, columns: Collection[str]) -> tuple[float, ...]:
    """How long the bars of `rows` are, in percent of the longest: by what they are sorted by, by hits if no column shows that."""
    name = sort.removeprefix("-")
    measure = SORTS[name if name in columns and name != "last_requested" else "hits"]
    return of_longest(measure(row) or 0 for row in rows)


def _top_value(page: Page, found: Breakdown, row: Row, fill: float) -> TopValue:
    text = page.site.dimensions[found.dimension].text_of(row.value)
    code, label = _code_and_label(page, found.dimension, row)
    return TopValue(
        code=code,
        label=label,
        url=page.toggled(found.dimension, text),
        current=text in page.state.filters.texts(found.dimension),
        hits=compact(row.measures.hits),
        exact=number(row.measures.hits),
        share=share(row.measures.hits, found.hits),
        fill=fill,
    )


# ---- tables ----------------------------------------------------------------------------------------------------------


def paths(page: Page, dimension: str) -> Table | None:
    """The table of paths or routes, as many rows as the page's state says; None if the question failed."""
    state = page.state
    found = ask_table(page, dimension, limit=state.table.rows, offset=0)
    if found is None:
        return None
    more_rows = next((rows for rows in (50, 200) if rows > state.table.rows), None)
    more = _more(page, found, more_rows)
    groupings = tuple(name for name in reversed(LISTED) if name in page.site.dimensions)
    shown = _table(
        page,
        found,
        heading="Paths",
        groupings=tuple(Link(name.capitalize(), state.table_url(by=name), name == dimension) for name in groupings)
        if len(groupings) > 1
        else (),
        more=more,
        csv=page.csv(dimension),
    )
    return replace(shown, unused_url=page.other("unused")) if dimension == "route" else shown


def listing(page: Page, dimension: str) -> Table | None:
    """All values of a dimension, a page of them at a time; None if the question failed."""
    offset = page.state.table.offset
    found = ask_table(page, dimension, limit=LIST_ROWS, offset=offset)
    if found is None:
        return None
    return _table(
        page,
        found,
        heading=page.site.dimensions[dimension].plural,
        newer=page.state.table_url(offset=max(offset - LIST_ROWS, 0)) if offset else None,
        older=page.state.table_url(offset=offset + LIST_ROWS) if offset + LIST_ROWS < found.total else None,
        csv=page.csv(dimension),
    )


def ask_table(page: Page, dimension: str, *, limit: int, offset: int) -> Breakdown | None:
    """The rows of a table, sorted and searched as the page's state says."""
    state = page.state
    return page.ask(
        page.queries.breakdown,
        dimension,
        state.span,
        _listed(page, dimension),
        sort=state.table.sort,
        limit=limit,
        offset=offset,
        search=state.table.search,
        want=_wanted(page),
    )


def _listed(page: Page, dimension: str) -> Filters:
    """What a list is of: requests without an exception are nearly all, and are no exception."""
    filters = page.state.filters
    return filters.and_(dimension, "", negated=True) if page.site.dimensions[dimension].sparse else filters


def _wanted(page: Page) -> frozenset[str]:
    """What the columns need."""
    return USUAL.union(column.needs for column in offered_columns(page) if column.needs in WAITED)


def offered_columns(page: Page) -> tuple[Column, ...]:
    """The columns that the model can fill."""
    return tuple(column for column in COLUMNS if column.needs is None or page.has(column.needs))


def _table(
    page: Page,
    found: Breakdown,
    *,
    heading: str,
    csv: str,
    groupings: tuple[Link, ...] = (),
    more: Link | None = None,
    newer: str | None = None,
    older: str | None = None,
) -> Table:
    dimension, state = page.site.dimensions[found.dimension], page.state
    columns = offered_columns(page)
    filled = zip(found.rows, bars(found.rows, state.table.sort, {column.sort for column in columns}), strict=True)
    return Table(
        heading=heading,
        label=dimension.label,
        monospace=dimension.many,
        value_head=head(page, "value", dimension.label),
        heads=tuple(head(page, column.sort, column.label, column.left_out) for column in columns),
        rows=tuple(_table_row(page, found.dimension, row, columns, fill) for row, fill in filled),
        empty=f"No {lower_first(dimension.plural)} {'match this search' if state.table.search else 'in this span'}.",
        groupings=groupings,
        search=state.table.search,
        search_hidden=tuple(state.hidden("search")),
        base=state.base,
        more=more,
        shown=shown(page, found),
        newer_url=newer,
        older_url=older,
        csv_url=csv,
    )


def shown(page: Page, found: Breakdown) -> str:
    """How much of the whole is shown, and what is not in it."""
    dimension = page.site.dimensions[found.dimension]
    said = (_range(page.state.table.offset, found, dimension), _among(found), _not_before(page, found))
    return " · ".join(filter(None, said))


def head(page: Page, sort: str, text: str, left_out: str = "") -> Head:
    """A heading that sorts by its column, and turns the order round where it is sorted by it."""
    present = page.state.table.sort
    descending = present == f"-{sort}"
    following = sort if descending or (sort == "value" and present != "value") else f"-{sort}"
    return Head(
        text=text,
        url=page.state.table_url(sort=following),
        sorted="descending" if descending else "ascending" if present == sort else None,
        left_out=left_out,
    )


def _table_row(page: Page, dimension: str, row: Row, columns: tuple[Column, ...], fill: float) -> TableRow:
    text = page.site.dimensions[dimension].text_of(row.value)
    code, label = _code_and_label(page, dimension, row)
    return TableRow(
        code=code,
        label=label,
        url=page.other_filtered(dimension, text),
        current=text in page.state.filters.texts(dimension),
        fill=fill,
        cells=tuple(_cell(page, column, row) for column in columns),
    )


def _code_and_label(page: Page, dimension: str, row: Row) -> tuple[str, str]:
    code, label = str(row.value), page.label(dimension, row.value)
    return (code, label.removeprefix(f"{code} ")) if dimension in CODED and label != code and row.value else ("", label)


def _cell(page: Page, column: Column, row: Row) -> Cell:
    measures = row.measures
    if column.sort == "last_requested":
        if measures.last_requested is None:
            return Cell(clock(None, now=page.local_now), "mut", left_out=column.left_out)
        at = page.local(measures.last_requested)
        return Cell(clock(at, now=page.local_now), iso=at.isoformat(timespec="seconds"), left_out=column.left_out)
    if column.sort == "server_error_share":
        errors = measures.server_errors or 0
        tone = "bad" if errors > BAD_SHARE * measures.hits else "mut"
        return Cell((share(errors, measures.hits) or "0%") if errors else "0", tone)
    value = column.value(row)
    shown = duration if column.sort.endswith(("p50", "p95")) else decimal if column.sort.endswith("avg") else number
    text = shown(value)
    return Cell(text, left_out=column.left_out)


def _more(page: Page, found: Breakdown, rows: int | None) -> Link | None:
    """What shows the rest: more rows here, or the whole list."""
    rest = found.total - len(found.rows)
    if rest <= 0:
        return None
    noun = counted(found.total, page.site.dimensions[found.dimension])
    if rows is None:
        table = {"sort": page.state.table.sort, "search": page.state.table.search}
        return Link(f"All {noun}", page.state.listed_at(page.site.url("list", dimension=found.dimension), **table))
    return Link(f"Show {min(rest, rows - len(found.rows)):,} more of {noun}", page.state.table_url(rows=rows))


def _among(found: Breakdown) -> str:
    """What was not searched; empty: nothing."""
    return "" if found.among is None else f"searched among the {found.among:,} commonest alone"


def counted(count: int, dimension: Dimension) -> str:
    """`1 status code`, `2 status codes`."""
    return plural(count, lower_first(dimension.label), lower_first(dimension.plural))


def _range(offset: int, found: Breakdown, dimension: Dimension) -> str:
    if not found.rows:
        return ""
    return f"{offset + 1:,}–{offset + len(found.rows):,} of {counted(found.total, dimension)}"


# ---- the file --------------------------------------------------------------------------------------------------------

FILE_LABELS = {
    "p50": "Median (s)",
    "p95": "p95 (s)",
    "server_error_share": "5xx",
    "db_time_p95": "Database p95 (s)",
    "db_queries_avg": "Statements (average)",
    "http_time_p95": "Other servers p95 (s)",
}


def rows(page: Page, name: str) -> Iterator[Cells]:
    """All values of a dimension, sorted and searched as the page's state says."""
    state, dimension = page.state, page.site.dimensions[name]
    columns = offered_columns(page)
    yield [dimension.label, *(FILE_LABELS.get(column.sort, column.label) for column in columns)]
    found = page.queries.breakdown(
        name,
        state.span,
        _listed(page, name),
        sort=state.table.sort,
        search=state.table.search,
        limit=EVERY_ROW,
        want=_wanted(page),
    )
    for row in found.rows:
        yield [dimension.label_of(row.value), *(column.value(row) for column in columns)]
