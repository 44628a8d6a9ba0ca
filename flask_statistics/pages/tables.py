"""Tables: the values of a dimension with every measure, on the overview, as a list of their own and as a file.

Their columns stand here once, for the page and for its file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ..changes import MOST_COMPARED
from ..dimensions import Dimension
from ..filters import Filters
from ..formatting import clock, decimal, duration, lower_first, number, share
from ..parameters import CHANGES, P95_CHANGE, VISITORS_CHANGE
from ..queries.answers import Breakdown, Row
from ..queries.interface import SORTS, USUAL, WAITED
from . import finding
from .against import Against, against_of, find_against, is_compared, is_here
from .finding import Said
from .page import Link, Page, of_longest, plural
from .panel import EVERY_ROW, Cells
from .summary import comparable_span

LIST_ROWS = 50
LISTED = ("path", "route")
"""Dimensions that the table of paths lists."""
CODED = ("country",)
"""Dimensions whose values are codes that stand before their names."""


def _waited(name: str, part: str, row: Row) -> Any:
    waited = getattr(row.measures, name)
    return None if waited is None else getattr(waited, part)


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
    hint: str = ""
    """What its head says of itself; empty: nothing."""

    @property
    def is_change(self) -> bool:
        """Whether it says how the column before it changed."""
        return self.sort in CHANGES


COLUMNS = (
    Column("visitors", "Visitors", "remote_address", lambda row: row.measures.visitors),
    Column(
        VISITORS_CHANGE,
        "+/−",
        "remote_address",
        lambda row: None,
        left_out="opt",
        hint="Sort by change of visitors",
    ),
    Column("hits", "Hits", None, lambda row: row.measures.hits, left_out="opt"),
    Column("p50", "Median", "response_time", lambda row: row.measures.response_time.p50, left_out="mid"),
    Column("p95", "p95", "response_time", lambda row: row.measures.response_time.p95),
    Column(P95_CHANGE, "+/−", "response_time", lambda row: None, hint="Sort by change of p95"),
    Column("db_time_p95", "Database", "db_time", partial(_waited, "db_time", "p95"), left_out="mid"),
    Column("db_queries_avg", "Statements", "db_queries", partial(_waited, "db_queries", "avg"), left_out="mid"),
    Column("http_time_p95", "Servers", "http_time", partial(_waited, "http_time", "p95"), left_out="mid"),
    Column("server_error_share", "5xx", "status_code", lambda row: row.measures.server_errors, left_out="opt"),
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
    title: str = ""
    is_change: bool = False
    """Whether it says how the row changed, which may come later."""


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
    hint: str = ""


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
    """Routes that nobody asked for; None: the model does not tell."""
    said: Said | None = None
    """The biggest change; None: it is not said here."""
    later: str = ""
    """The URL that has how each row changed; empty: it is here, or there is nothing to compare with."""
    changed_url: str = ""
    """The page with it, for whoever has no JavaScript."""


def not_before(page: Page, found: Breakdown) -> str | None:
    since, state = found.complete_from, page.state
    if since is None or since == page.queries.complete_from(state.span, state.filters):  # the page says that
        return None
    return f"Not recorded before {clock(page.local(since), now=page.local_now)}."


def bars(rows: Sequence[Row], sort: str, columns: Collection[str]) -> tuple[float, ...]:
    """How long the bars of `rows` are, in percent of the longest: by what they are sorted by, by hits if no column shows that."""
    name = sort.removeprefix("-")
    measure = SORTS[name if name in columns and name in SORTS and name != "last_requested" else "hits"]
    return of_longest(measure(row) or 0 for row in rows)


# ---- tables ----------------------------------------------------------------------------------------------------------


def grouping_of(page: Page) -> str | None:
    """The dimension that the table of paths lists; None if the model has none for it."""
    by, known = page.state.table.by, [name for name in LISTED if name in page.site.dimensions]
    return by if by in known else next(iter(known), None)


def paths(page: Page, dimension: str) -> Table | None:
    """The table of paths or routes, as many rows as the page's state says; None if the question failed."""
    state, against = page.state, against_of(page, dimension)
    found = ask_table(page, dimension, against, limit=state.table.rows, offset=0)
    if found is None:
        return None
    said = finding.said(page) if finding.is_offered(page) else None
    more_rows = next((rows for rows in (50, 200) if rows > state.table.rows), None)
    more = _more(page, found, more_rows)
    groupings = tuple(name for name in reversed(LISTED) if name in page.site.dimensions)
    shown = _table(
        page,
        found,
        against,
        heading="Paths",
        groupings=tuple(Link(name.capitalize(), state.table_url(by=name), name == dimension) for name in groupings)
        if len(groupings) > 1
        else (),
        more=more,
        csv=page.csv(dimension),
    )
    return replace(
        shown,
        unused_url=page.other("unused") if "route" in page.site.dimensions else None,
        said=said,
        later=shown.later and state.table_url_at(page.site.url("panel", name="paths")),
    )


def listing(page: Page, dimension: str) -> Table | None:
    """All values of a dimension, a page of them at a time; None if the question failed."""
    offset, against = page.state.table.offset, against_of(page, dimension)
    found = ask_table(page, dimension, against, limit=LIST_ROWS, offset=offset)
    if found is None:
        return None
    return _table(
        page,
        found,
        against,
        heading=page.site.dimensions[dimension].plural,
        newer=page.state.table_url(offset=max(offset - LIST_ROWS, 0)) if offset else None,
        older=page.state.table_url(offset=offset + LIST_ROWS) if offset + LIST_ROWS < found.total else None,
        csv=page.csv(dimension),
    )


def ask_table(page: Page, dimension: str, against: Against, *, limit: int, offset: int) -> Breakdown | None:
    """The rows of a table, sorted and searched as the page's state says; `against`: how they changed, where that is here."""
    state = page.state
    if state.table.is_by_change:
        return _by_change(page, dimension, against, limit=limit, offset=offset)
    return page.ask(
        page.queries.breakdown,
        dimension,
        state.span,
        _listed(page, dimension),
        sort=state.table.sort_by_measure,
        limit=limit,
        offset=offset,
        search=state.table.search,
        want=_wanted(page),
    )


def _by_change(page: Page, dimension: str, against: Against, *, limit: int, offset: int) -> Breakdown | None:
    """The rows of a table that is sorted by how they changed: of the commonest values, which are compared."""
    found = page.ask(_commonest, page, dimension)
    if found is None:
        return None
    name, descending = page.state.table.sort.removeprefix("-"), page.state.table.sort.startswith("-")
    ratios = [(against.moved(name, row.value).ratio, row) for row in found.rows]
    known = sorted(
        ((ratio, row) for ratio, row in ratios if ratio is not None), key=lambda one: one[0], reverse=descending
    )
    rows = [row for _, row in known] + [row for ratio, row in ratios if ratio is None]
    among = len(rows) if found.total > len(rows) else None
    return replace(found, rows=tuple(rows[offset : offset + limit]), total=len(rows), among=among)


def _commonest(page: Page, dimension: str) -> Breakdown:
    """The values that are compared, with all that their rows show."""
    return page.queries.breakdown(
        dimension,
        page.state.span,
        _listed(page, dimension),
        limit=MOST_COMPARED,
        search=page.state.table.search,
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
    """The columns that the model can fill; without a comparison no row has changed."""
    return tuple(
        column
        for column in COLUMNS
        if (column.needs is None or page.has(column.needs)) and (not column.is_change or is_compared(page))
    )


def _table(
    page: Page,
    found: Breakdown,
    against: Against,
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
    is_later = any(column.is_change for column in columns) and not is_here(page) and comparable_span(page) is not None
    changed_url = state.table_url(offset=state.table.offset, changed="1") if is_later else ""
    filled = zip(found.rows, bars(found.rows, state.table.sort, {column.sort for column in columns}), strict=True)
    return Table(
        heading=heading,
        label=dimension.label,
        monospace=dimension.many,
        value_head=head(page, "value", dimension.label),
        heads=tuple(replace(head(page, one.sort, one.label, one.left_out), hint=one.hint) for one in columns),
        rows=tuple(
            _table_row(page, found.dimension, row, columns, fill, None if is_later else against) for row, fill in filled
        ),
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
        later=changed_url,
        changed_url=changed_url,
    )


def shown(page: Page, found: Breakdown) -> str:
    """How much of the whole is shown, and what is not in it."""
    dimension = page.site.dimensions[found.dimension]
    said = (_range(page.state.table.offset, found, dimension), _among(page, found), not_before(page, found))
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


def _table_row(
    page: Page, dimension: str, row: Row, columns: tuple[Column, ...], fill: float, against: Against | None
) -> TableRow:
    text = page.site.dimensions[dimension].text_of(row.value)
    code, label = code_and_label(page, dimension, row)
    return TableRow(
        code=code,
        label=label,
        url=page.other_filtered(dimension, text),
        current=text in page.state.filters.texts(dimension),
        fill=fill,
        cells=tuple(
            _change_cell(column, row, against) if column.is_change else _cell(page, column, row) for column in columns
        ),
    )


def code_and_label(page: Page, dimension: str, row: Row) -> tuple[str, str]:
    code, label = str(row.value), page.label(dimension, row.value)
    return (code, label.removeprefix(f"{code} ")) if dimension in CODED and label != code and row.value else ("", label)


def _change_cell(column: Column, row: Row, against: Against | None) -> Cell:
    """How a row changed; empty until that is here."""
    moved = None if against is None else against.moved(column.sort, row.value)
    return Cell(
        text="" if moved is None else moved.text,
        tone=("" if moved is None else moved.tone) or "mut",
        left_out=column.left_out,
        title="" if moved is None else moved.title,
        is_change=True,
    )


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
        return Cell((share(errors, measures.hits) or "0%") if errors else "0", tone, left_out=column.left_out)
    value = column.value(row)
    shown = duration if column.sort.endswith(("p50", "p95")) else decimal if column.sort.endswith("avg") else number
    text = shown(value)
    return Cell(text, left_out=column.left_out)


def _more(page: Page, found: Breakdown, rows: int | None) -> Link | None:
    """What shows the rest: more rows here, or the whole list."""
    rest = found.total - len(found.rows)
    if rest <= 0:
        return None
    dimension = page.site.dimensions[found.dimension]
    is_cut = page.state.table.is_by_change and found.among is not None
    noun = (
        f"the {found.total:,} commonest {lower_first(dimension.plural)}" if is_cut else counted(found.total, dimension)
    )
    if rows is None:
        table = {"sort": page.state.table.sort, "search": page.state.table.search}
        return Link(f"All {noun}", page.state.listed_at(page.site.url("list", dimension=found.dimension), **table))
    return Link(f"Show {min(rest, rows - len(found.rows)):,} more of {noun}", page.state.table_url(rows=rows))


def _among(page: Page, found: Breakdown) -> str:
    """What was not searched, or not sorted; empty: nothing."""
    done = "sorted" if page.state.table.is_by_change else "searched"
    return "" if found.among is None else f"{done} among the {found.among:,} commonest alone"


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
    VISITORS_CHANGE: "Visitors before",
    P95_CHANGE: "p95 before (s)",
    "server_error_share": "5xx",
    "db_time_p95": "Database p95 (s)",
    "db_queries_avg": "Statements (average)",
    "http_time_p95": "Other servers p95 (s)",
}


def rows(page: Page, name: str) -> Iterator[Cells]:
    """All values of a dimension, sorted and searched as the page's state says."""
    state, dimension = page.state, page.site.dimensions[name]
    before = comparable_span(page)
    columns = sorted(
        (one for one in offered_columns(page) if before or not one.is_change),
        key=lambda one: (one.is_change, one.sort != "hits"),
    )
    yield [dimension.label, *(FILE_LABELS.get(column.sort, column.label) for column in columns)]
    against = Against(None if before is None else find_against(page, name, before))
    found = page.queries.breakdown(
        name,
        state.span,
        _listed(page, name),
        sort=state.table.sort_by_measure,
        search=state.table.search,
        limit=EVERY_ROW,
        want=_wanted(page),
    )
    for row in found.rows:
        yield [
            dimension.label_of(row.value),
            *(against.before(column.sort, row.value) if column.is_change else column.value(row) for column in columns),
        ]
