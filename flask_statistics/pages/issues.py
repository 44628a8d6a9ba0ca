"""Issues: exceptions that are one, with when they came, who was hit, in which releases, and what was decided about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ..dimensions import Value
from ..filters import Filters
from ..formatting import clipped, clock, number
from ..issue_states import (
    IGNORED,
    OPEN,
    RESOLVED,
    STATES,
    Standing,
    groups_ever,
    names,
    standing,
    with_issue,
)
from ..issues.text import Issue, issue_from
from ..parameters import FAILURES_CHANGE
from ..queries.answers import Block, Group, Measures, Row
from ..queries.interface import HITS, SUMS, VISITORS
from .against import UNKNOWN, Moved, before_of, by_difference, counted, is_compared
from .page import Link, Page, plural
from .panel import Cells, Panel
from .tables import Head, head

SHOWN = 50
"""Issues of the table."""
MOST_ISSUES = 1_000
"""Issues of a span that are looked at, those with the most hits."""
MOST_BARS, FINEST = 48, 200
"""Bars of a small chart, and the buckets that may be added up for them."""
FINER = ("hour", "day", "week")
LABELS = {OPEN: "Open", RESOLVED: "Resolved", IGNORED: "Ignored"}


@dataclass(frozen=True, slots=True)
class When:
    """An instant in a table."""

    text: str
    iso: str


@dataclass(frozen=True, slots=True)
class Tag:
    """What is special about an issue."""

    text: str
    tone: str
    """bad, warn or mut."""


@dataclass(frozen=True, slots=True)
class Spark:
    """When the requests of an issue came: a bar for each part of the span, the highest as high as there is room."""

    path: str
    bars: int
    is_hot: bool


@dataclass(frozen=True, slots=True)
class IssueRow:
    """One issue."""

    type: str
    url: str
    """Its own page."""
    tag: Tag | None
    message: str
    place: str
    spark: Spark | None
    """None: could not be computed."""
    hits: str
    moved: Moved
    """How the hits changed."""
    visitors: str
    releases: str
    first: When | None
    """Of all that is kept."""
    last: When | None


@dataclass(frozen=True, slots=True)
class IssueList:
    """The issues of one state."""

    rows: tuple[IssueRow, ...] | None
    """None: could not be computed."""
    change_head: Head | None
    """The head of how rows changed; None: nothing is compared with."""
    states: tuple[Link, ...]
    figures: str
    has_visitors: bool
    has_releases: bool
    empty: str
    left_out: str
    """What is not listed; empty: nothing."""
    unfilled: Link | None
    """Failed requests from before issues were recorded; None: there are none."""
    csv_url: str


@dataclass(frozen=True, slots=True)
class Listed:
    """One issue of the span, and all that is known of it."""

    row: Row
    issue: Issue
    groups: Sequence[Group]
    """Its requests of each release, of all that is kept, oldest first."""
    standing: Standing

    @property
    def first_requested(self) -> datetime | None:
        """Naive UTC; None: it could not be asked for."""
        return self.groups[0].first_requested if self.groups else None


def has_issues(page: Page) -> bool:
    """Whether the model keeps the issues of exceptions."""
    return "issue" in page.site.dimensions


# ---- what is known ---------------------------------------------------------------------------------------------------


def groups_of(page: Page, filters: Filters) -> Mapping[Value, Sequence[Group]]:
    """For each issue its requests of each release, of all that is kept, oldest first."""
    return groups_ever(page.queries, page.site.dimensions, page.state.span, filters, page.now)


def _listed(page: Page) -> list[Listed]:
    state = page.state
    found = page.queries.breakdown(
        "issue", state.span, with_issue(state.filters), limit=MOST_ISSUES, want=frozenset({SUMS, VISITORS})
    )
    groups = page.ask(groups_of, page, with_issue(Filters())) or {} if found.rows else {}
    decisions = page.ask(page.site.issues.decisions, page.queries) or {} if page.site.issues and found.rows else {}
    return [
        Listed(
            row,
            issue_from(str(row.value)),
            groups.get(row.value, ()),
            standing(decisions.get(str(row.value)), groups.get(row.value, ())),
        )
        for row in found.rows
    ]


def tag_of(page: Page, groups: Sequence[Group], stands: Standing) -> Tag | None:
    """What is special about an issue: that it came back, is new, resolved or ignored; None: nothing."""
    if stands.is_again:
        return Tag("again", "warn")
    if stands.state == RESOLVED:
        return Tag(f"resolved in {clipped(stands.release, 40)}" if stands.release else "resolved", "mut")
    if stands.state == IGNORED:
        return Tag("ignored", "mut")
    if not is_new(page, groups):
        return None
    release = next(names(groups[:1]), None)
    return Tag(f"new in {clipped(release, 40)}" if release else "new", "bad")


def is_new(page: Page, groups: Sequence[Group]) -> bool:
    """Whether an issue came up in the span, of which one knows where requests from before it are kept."""
    known, start = page.ask(page.queries.earliest), page.state.span.start
    return bool(groups) and known is not None and known < start <= groups[0].first_requested


def releases_of(groups: Sequence[Group]) -> str:
    """`v42`, `v41, v42` or `v39 – v42`."""
    found = [clipped(name, 24) for name in names(groups)]
    return ", ".join(found) if len(found) < 3 else f"{found[0]} – {found[-1]}"


# ---- the panel -------------------------------------------------------------------------------------------------------


def issues(page: Page) -> IssueList:
    """The issues of the state that is chosen, most hits first."""
    found, chosen = page.ask(_listed, page), page.state.table.standing
    counts = {state: sum(one.standing.state == state for one in found or ()) for state in STATES}
    mine = [one for one in found or () if one.standing.state == chosen]
    is_sorted = is_compared(page) and page.state.table.is_by_failures_change
    before = before_of(page, "issue", [one.row.value for one in (mine if is_sorted else mine[:SHOWN])])
    if is_sorted:
        mine = by_difference(
            page, mine, lambda one: (hits_of((before or {}).get(one.row.value)), one.row.measures.hits)
        )
    sparks = _sparks(page, mine[:SHOWN])
    hits = sum(one.row.measures.hits for one in found or ())
    return IssueList(
        rows=None if found is None else tuple(_row(page, one, sparks, before) for one in mine[:SHOWN]),
        change_head=change_head(page),
        states=tuple(
            Link(f"{LABELS[state]} {number(counts[state])}", page.state.table_url(standing=state), state == chosen)
            for state in STATES
        ),
        figures=plural(hits, "failed request") if hits else "",
        has_visitors=page.has("remote_address"),
        has_releases="release" in page.site.dimensions,
        empty=f"No {chosen} issues in this span." if found else "No exceptions in this span.",
        left_out=_left_out(found or (), mine),
        unfilled=_unfilled(page),
        csv_url=page.csv("issues"),
    )


def change_head(page: Page) -> Head | None:
    """The head of how failures changed, which sorts by it; None: nothing is compared with."""
    if not is_compared(page):
        return None
    return replace(head(page, FAILURES_CHANGE, "+/−"), hint="Sort by change")


def _left_out(found: Sequence[Listed], mine: Sequence[Listed]) -> str:
    if len(found) >= MOST_ISSUES:
        return f"Only the {number(MOST_ISSUES)} most frequent ones are looked at."
    return f"The first {SHOWN}; all as" if len(mine) > SHOWN else ""


def _unfilled(page: Page) -> Link | None:
    if "exception" not in page.site.dimensions:
        return None
    if page.state.filters.texts("issue"):
        return None
    filters = page.state.filters.and_("issue", "")
    found = page.ask(page.queries.breakdown, "exception", page.state.span, filters, limit=MOST_ISSUES, want=HITS)
    hits = sum(row.measures.hits for row in (found.rows if found else ()) if row.value is not None)
    if not hits:
        return None
    filters = filters.and_("exception", "", negated=True)
    return Link(plural(hits, "failed request"), page.state.at(page.site.url("requests"), filters=filters))


def _row(page: Page, one: Listed, sparks: Mapping[Value, Spark], before: Mapping[Value, Measures] | None) -> IssueRow:
    measures, first = one.row.measures, one.first_requested
    return IssueRow(
        type=clipped(one.issue.type, 100),
        url=issue_url(page, str(one.row.value)),
        tag=tag_of(page, one.groups, one.standing),
        message=clipped(one.issue.message),
        place=clipped(one.issue.place),
        spark=sparks.get(one.row.value),
        hits=number(measures.hits),
        moved=UNKNOWN if before is None else counted(measures.hits, hits_of(before.get(one.row.value))),
        visitors=number(measures.visitors),
        releases=releases_of(one.groups),
        first=None if first is None else when(page, first),
        last=None if measures.last_requested is None else when(page, measures.last_requested),
    )


def hits_of(measures: Measures | None) -> int:
    """Of a value that may have had no requests."""
    return 0 if measures is None else measures.hits


def issue_url(page: Page, text: str) -> str:
    """The page of one issue, of the same requests."""
    return page.state.at(page.site.url("issue"), filters=page.state.filters.only("issue", text))


def when(page: Page, moment: datetime) -> When:
    """A naive UTC instant as tables show it."""
    at = page.local(moment)
    return When(clock(at, now=page.local_now), at.isoformat(timespec="seconds"))


# ---- small charts ----------------------------------------------------------------------------------------------------


def _sparks(page: Page, shown: Sequence[Listed]) -> dict[Value, Spark]:
    """The small chart of each issue, all asked for at once."""
    state, values = page.state, tuple(one.row.value for one in shown)
    if not values:
        return {}
    unit = next(unit for unit in (*FINER, "month") if unit == "month" or state.span.count(unit) <= FINEST)
    found = page.ask(page.queries.blocks, "issue", values, state.span, unit, state.filters) or {}
    hot = {one.row.value for one in shown if one.standing.state == OPEN and is_new(page, one.groups)}
    return {value: spark(blocks, is_hot=value in hot) for value, blocks in found.items()}


def spark(blocks: Sequence[Block], *, is_hot: bool = False) -> Spark:
    """The small chart of blocks of time, oldest first."""
    each = -(-len(blocks) // MOST_BARS)
    sums = [sum(block.hits for block in blocks[first : first + each]) for first in range(0, len(blocks), each)]
    most = max(sums, default=0) or 1
    drawn = ((place, max(2, round(20 * hits / most))) for place, hits in enumerate(sums) if hits)
    return Spark("".join(f"M{place} 20v-{height}h.7v{height}z" for place, height in drawn), len(sums), is_hot)


# ---- the file --------------------------------------------------------------------------------------------------------


def rows(page: Page) -> Iterator[Cells]:
    """All issues of the span, in any state."""
    yield ["Type", "Message", "Place", "State", "Hits", "Visitors", "Releases", "First seen", "Last seen"]
    for one in _listed(page):
        measures = one.row.measures
        yield [
            *(one.issue.type, one.issue.message, one.issue.place),
            "again" if one.standing.is_again else one.standing.state,
            *(measures.hits, measures.visitors),
            ", ".join(names(one.groups)),
            *(one.first_requested, measures.last_requested),
        ]


PANEL = Panel(
    name="issues",
    page="errors",
    title="Issues",
    compose=issues,
    template="_issues",
    rows=rows,
    offered=has_issues,
    cost=("blocks", "breakdown", "groups"),
)
