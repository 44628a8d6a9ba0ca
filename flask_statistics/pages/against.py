"""What each row of a table is against the comparison that is on: how its visitors and its p95 changed, and whether by chance.

It takes two questions about distributions, which cost more than the table itself. So it comes after its page, and with it only
where the URL asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from .. import changes as asked
from ..changes import Changes
from ..confidence import LEAST_TIMED, TIMES, VISITORS, Finding
from ..dimensions import Value
from ..filters import Condition
from ..formatting import change, duration, number
from ..latency import percentile
from ..parameters import VISITORS_CHANGE
from ..queries.answers import Measures, Profile
from ..queries.interface import CHEAP
from ..spans import Span
from .evidence import odds
from .page import Page
from .summary import comparable_span

T = TypeVar("T")
P95 = 0.95
MOST_TOLD = 1_000
"""A smaller chance than one in so many is called so."""


@dataclass(frozen=True, slots=True)
class Moved:
    """How one measure of one value changed."""

    text: str
    """`+156%`; `–`: there is nothing to compare with, or too little."""
    tone: str
    """bad, good, or nothing where it may be chance, or neither is."""
    title: str
    """Both amounts, and whether it is chance; empty: there is nothing to compare with."""
    ratio: float | None
    """After against before; None: that cannot be told."""


UNKNOWN = Moved("–", "", "", None)
RARE = Moved("–", "", "Too rare, or too new, to be compared", None)
"""Of a value that is not among the commonest ones, which alone are compared, or came after the last full hour."""


def is_compared(page: Page) -> bool:
    """Whether something is compared with at all, recorded or not."""
    return page.state.compared() is not None


def is_here(page: Page) -> bool:
    """Whether this answer has the changes: it is a part that comes later, or the URL asks for them, or sorts by one."""
    table = page.state.table
    return is_compared(page) and (not page.is_whole or bool(table.changed) or table.is_by_change)


def find_against(page: Page, dimension: str, before: Span) -> Changes:
    """What changed of the values of `dimension` against an earlier span."""
    state = page.state
    return asked.changes(page.queries, dimension, asked.against(state.span, before, state.filters, now=page.now))


def against_of(page: Page, dimension: str) -> Against:
    """How the values of `dimension` changed against what the page is compared with, where this answer has that."""
    before = comparable_span(page) if is_here(page) else None
    return Against(None if before is None else page.ask(find_against, page, dimension, before))


def before_of(page: Page, dimension: str, values: Sequence[Value]) -> Mapping[Value, Measures] | None:
    """The sums of some values in the time that the page is compared with; None: there is none, or the question failed."""
    before, state = comparable_span(page), page.state
    if before is None or not values:
        return None
    texts = tuple(page.site.dimensions[dimension].text_of(value) for value in values)
    filters = state.filters.without(dimension)
    narrowed = replace(filters, conditions=(*filters.conditions, Condition(dimension, texts)))
    span = before.elapsed(page.now, state.span)
    found = page.ask(page.queries.breakdown, dimension, span, narrowed, limit=len(values), want=CHEAP)
    return None if found is None else {row.value: row.measures for row in found.rows}


def counted(now: int | None, was: int | None) -> Moved:
    """How a number changed that nobody tests."""
    moved = change(now, was, neutral=True)
    if moved is None or was is None:
        return UNKNOWN
    text = moved.text if was or not now else "from 0"
    return Moved(text, "", f"{number(was)} → {number(now)}", now / was if now is not None and was else None)


def by_difference(page: Page, rows: Sequence[T], counts: Callable[[T], tuple[int, int]]) -> list[T]:
    """`rows` by how much more, or less, they are now: `counts` has what each was and is."""
    descending = page.state.table.sort.startswith("-")

    def difference(row: T) -> int:
        was, now = counts(row)
        return now - was

    return sorted(rows, key=difference, reverse=descending)


class Against:
    """What changed, by value."""

    def __init__(self, found: Changes | None) -> None:
        self._before: Mapping[Value, Profile] = {} if found is None else found.before
        self._after: Mapping[Value, Profile] = {} if found is None else found.after
        findings = () if found is None else found.comparison.findings
        self._findings: dict[tuple[Value, str], Finding] = {(one.value, one.what): one for one in findings}

    def moved(self, column: str, value: Value) -> Moved:
        """How what the column called so compares changed."""
        was, now = self._before.get(value), self._after.get(value)
        if was is None or now is None:
            return RARE if now is None and self._after else UNKNOWN
        return self._visitors(was, now) if column == VISITORS_CHANGE else self._p95(was, now)

    def before(self, column: str, value: Value) -> float | None:
        """What it was; None: that is not known."""
        was = self._before.get(value)
        if was is None:
            return None
        return was.visitors if column == VISITORS_CHANGE else percentile(was.bins, P95)

    def _visitors(self, was: Profile, now: Profile) -> Moved:
        moved = change(now.visitors, was.visitors, neutral=True)
        if moved is None or not was.visitors or now.visitors is None:
            return UNKNOWN
        amounts = f"{number(was.visitors)} → {number(now.visitors)}"
        return Moved(
            moved.text,
            "",
            f"{amounts}. {_chance(self._findings.get((now.value, VISITORS)))}",
            now.visitors / was.visitors,
        )

    def _p95(self, was: Profile, now: Profile) -> Moved:
        timed = [sum(one.bins.values()) for one in (was, now)]
        before, after = percentile(was.bins, P95), percentile(now.bins, P95)
        moved = change(after, before, lower_is_better=True)
        if moved is None or not before or after is None or min(timed) < LEAST_TIMED:
            return Moved("–", "", f"Too few requests to tell: {timed[0]:,} before, {timed[1]:,} after", None)
        found = self._findings.get((now.value, TIMES))
        return Moved(
            moved.text,
            "" if found is None else moved.tone,
            f"{duration(before)} → {duration(after)}. {_chance(found)}",
            after / before,
        )


def _chance(found: Finding | None) -> str:
    if found is None:
        return "No more than chance would do"
    many = f"{MOST_TOLD:,}" if found.chance < 1 / MOST_TOLD else odds(found.chance)
    return f"Not by chance: in fewer than 1 of {many} comparisons like this"
