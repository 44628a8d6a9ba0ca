"""What stands side by side: two values of a dimension, or classes of status codes."""

from __future__ import annotations

from dataclasses import dataclass

from ..filters import Filters
from ..formatting import clipped
from ..queries.interface import CHEAP, HITS
from .chips import chip_text
from .page import Link, Page

LONGEST_LABEL = 18
"""Characters for which there is room beside a chart."""
MOST_CHOICES = 20
"""Values to choose from."""
CHARTS = ("status_code", "release", "browser")
"""By what a chart can be split with one click."""
CLASSES = ("4xx", "5xx")
"""Classes of status codes that have a line of their own; all others have one together."""
OTHERS = "2xx, 3xx"
"""What these are called."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the values that stand side by side."""

    label: str
    filters: Filters


def values_of(page: Page, name: str) -> tuple[tuple[str, str], ...]:
    """Texts and labels of a dimension's values, filtered or not: the latest releases first, else the commonest."""
    return _values_of(page, name, page.state.filters.without(name))


def _values_of(page: Page, name: str, filters: Filters) -> tuple[tuple[str, str], ...]:
    found = page.ask(
        page.queries.breakdown,
        name,
        page.state.span,
        filters,
        sort="-last_requested" if name == "release" else "-hits",
        limit=MOST_CHOICES,
        want=CHEAP if name == "release" else HITS,
    )
    dimension = page.site.dimensions[name]
    return tuple(
        (dimension.text_of(row.value), page.label(name, row.value))
        for row in (found.rows if found else ())
        if not (dimension.sparse and row.value is None)  # nearly all requests have no exception
    )


def two_of(page: Page, name: str) -> tuple[str, str] | None:
    """The two values that are compared: those of the filters, or else the newest releases, or the commonest ones, of what is
    counted. One that is chosen alone is compared with one of the others.
    """
    filters = page.state.filters
    chosen = filters.texts(name)
    if len(chosen) == 2:
        return chosen[0], chosen[1]
    alone = chosen if len(chosen) == 1 else ()
    for text in alone:
        filters = filters.minus(name, text).and_(name, text, negated=True)
    known = [*alone, *(text for text, _ in _values_of(page, name, filters))]
    if len(known) < 2:
        return None
    return (known[1], known[0]) if name == "release" else (known[0], known[1])


def sides_of(page: Page) -> tuple[Side, ...]:
    """What stands side by side; empty: nothing is split, or there are no two values."""
    name, filters = page.state.table.split, page.state.filters
    if not name:
        return ()
    if name == "status_code" and not filters.on(name):
        rest = filters
        for text in CLASSES:
            rest = rest.and_(name, text, negated=True)
        return (Side(OTHERS, rest), *(Side(text, filters.only(name, text)) for text in CLASSES))
    two = two_of(page, name)
    dimension = page.site.dimensions[name]
    return (
        ()
        if two is None
        else tuple(Side(clipped(chip_text(dimension, text), LONGEST_LABEL), filters.only(name, text)) for text in two)
    )


def is_pair(page: Page) -> bool:
    """Whether two values stand side by side, and not a chart's lines alone."""
    return len(sides_of(page)) == 2


def split_links(page: Page) -> tuple[Link, ...]:
    """What a chart can be split by, or how it is whole again."""
    state = page.state
    if state.table.split:
        return (Link("Show as one", state.table_url(split="")),)
    known = [name for name in CHARTS if name in page.site.dimensions]
    return tuple(Link(page.site.dimensions[name].label.lower(), state.table_url(split=name)) for name in known)
