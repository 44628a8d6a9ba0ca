"""The line above the table of routes that says the biggest change, of what is sure alone. It comes with those of the rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..changes import BY, dimension_of
from ..confidence import FAILURES, TIMES, VISITORS, Finding
from .against import is_here
from .changes import amounts, ask_changes
from .page import Page

MOST_NAMED = 3
"""Routes that are named; of the others there is the number."""
SAID: tuple[tuple[str, str, str, Callable[[Finding], bool]], ...] = (
    ("fails more often", "fail more often", "", lambda one: one.what == FAILURES and one.is_worse),
    ("is slower", "are slower", " (p95)", lambda one: one.what == TIMES and one.is_worse),
    ("has fewer visitors", "have fewer visitors", "", lambda one: one.what == VISITORS and one.is_worse),
)
"""What is said of one and of several, in the order of what matters most; and what stands behind the figures."""


@dataclass(frozen=True, slots=True)
class Named:
    """A route with what changed of it."""

    label: str
    url: str
    text: str
    """`130 → 333 ms`."""


@dataclass(frozen=True, slots=True)
class Said:
    """What is said."""

    text: str
    """Empty: it comes later."""
    named: tuple[Named, ...]
    """The worst first; empty: there is nothing to name."""
    rest: str
    """What stands behind the names."""
    url: str
    """Of all changes."""


def said(page: Page) -> Said:
    """The biggest change, where the page has it."""
    url = page.other("changes")
    if not is_here(page):
        return Said("", (), "", url)
    whole = replace(page, state=replace(page.state, table=replace(page.state.table, split="")))
    by, (lots, found) = dimension_of(page.site.dimensions) or "", ask_changes(whole)
    if lots is None:
        return Said("There is nothing to compare with yet.", (), "", url)
    if found is None:
        return Said("Changes could not be computed.", (), "", url)
    dimension = page.site.dimensions[by]
    for of_one, of_many, unit, is_said in SAID:
        sure = [one for one in found.comparison.findings if one.is_sure and is_said(one)]
        if sure:
            noun = dimension.label.lower() if len(sure) == 1 else dimension.plural.lower()
            rest = len(sure) - MOST_NAMED
            return Said(
                text=f"{len(sure):,} {noun} {of_one if len(sure) == 1 else of_many} than before:",
                named=tuple(_named(page, by, one) for one in sure[:MOST_NAMED]),
                rest=f"{unit}{f' and {rest:,} more' if rest > 0 else ''}",
                url=url,
            )
    text = f"No {dimension.label.lower()} got slower, fails more or lost visitors beyond chance."
    return Said(text, (), "", url)


def _named(page: Page, by: str, one: Finding) -> Named:
    before, after = amounts(one)
    text = page.site.dimensions[by].text_of(one.value)
    return Named(page.label(by, one.value), page.other_filtered(by, text), f"{before} → {after}")


def is_offered(page: Page) -> bool:
    """Whether there may be something to compare with."""
    state = page.state
    if dimension_of(page.site.dimensions) is None or any(len(state.filters.texts(name)) == 1 for name in BY):
        return False  # of one route its tiles say it
    return state.vs != "off" and state.span.name != "all"
