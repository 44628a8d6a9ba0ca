"""Breakdowns: the values of a dimension as a panel of the most frequent ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ..dimensions import Dimension, Value
from ..formatting import compact, lower_first, number, share
from ..queries.answers import Breakdown, Row
from .page import Page
from .panel import Panel
from .tables import LISTED, bars, code_and_label, not_before, rows

PANEL_ROWS = 6
ELSEWHERE = (*LISTED, "issue")
"""Dimensions without a panel on the overview: the table of paths has the first ones, the errors view has issues."""
HINTS = {"campaign": ("Links with utm_source=… show up here.",)}
"""How a dimension gets values."""


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
    is_outside: bool
    """Whether the filters leave it out; a click selects it."""
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
        offered=lambda _: name not in ELSEWHERE,
        width="third",
        cost=("breakdowns",),
    )


def top_values(page: Page, name: str, among: tuple[str, ...] | None = None) -> TopValues:
    """The most frequent values of a dimension.

    A whole page asks for all of its dimensions at once, `among` which it is (None: those of the overview); if that fails, for
    each alone.
    """
    names: tuple[str, ...] = (name,)
    if page.is_whole:
        names = among or tuple(
            each for each, one in page.site.dimensions.items() if each not in ELSEWHERE and not one.of_clients
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
        note=None if found is None else not_before(page, found),
        all_text=f"All {lower_first(dimension.plural)}",
        all_url=page.other("list", dimension=name),
        csv_url=page.csv(name),
    )


def _top_rows(page: Page, found: Breakdown) -> tuple[TopValue, ...]:
    rows, outside = _interesting(page, found), _left_out(page, found.dimension)
    whole = found.hits - sum(row.measures.hits for row in rows if row.value in outside)
    return tuple(
        _top_value(page, found.dimension, row, fill, None if row.value in outside else whole)
        for row, fill in zip(rows, bars(rows, "hits", ()), strict=True)
    )


def _left_out(page: Page, name: str) -> frozenset[Value]:
    """The values of a dimension that the filters name to leave them out."""
    dimension = page.site.dimensions[name]
    return frozenset(v for c in page.state.filters.on(name) if c.negated for v in c.values(dimension))


def _interesting(page: Page, found: Breakdown) -> tuple[Row, ...]:
    """The rows that say something: nearly all requests have no exception, and no campaign."""
    sparse = page.site.dimensions[found.dimension].sparse
    return tuple(row for row in found.rows if not (sparse and row.value is None))


def _top_value(page: Page, name: str, row: Row, fill: float, whole: int | None) -> TopValue:
    """`whole`: of how many hits the row's are a share; None: the filters leave it out."""
    text = page.site.dimensions[name].text_of(row.value)
    code, label = code_and_label(page, name, row)
    return TopValue(
        code=code,
        label=label,
        url=page.toggled(name, row.value),
        current=text in page.state.filters.texts(name),
        hits=compact(row.measures.hits),
        exact=number(row.measures.hits),
        share="–" if whole is None else share(row.measures.hits, whole),
        is_outside=whole is None,
        fill=fill,
    )
