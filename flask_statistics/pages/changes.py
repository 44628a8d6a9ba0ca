"""Changes: what got slower, fails more, lost visitors, is new or gone, against another time or between two values.

Ranked by how sure that is, which `confidence` says; how it looks is said here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta

from .. import changes as asked
from ..changes import Changes, Lot, Lots
from ..confidence import FAILURES, GONE, NEW, TIMES, VISITORS, Finding
from ..dimensions import Value
from ..filters import Filters
from ..formatting import duration, number, share, span_label, visible
from ..page_state import PageState
from ..queries.interface import HITS
from ..spans import next_edge
from .chips import chip_text
from .evidence import Interval, chance_text, change_text, distributions, interval, odds
from .marks import around_mark
from .nothing import Nothing, nothing
from .page import Link, Page, plural
from .panel import Cells, Panel, View
from .sides import two_of, values_of
from .summary import ask_measures

SPLITS = ("release", "device", "browser", "platform", "country", "language", "host", "method")
"""Dimensions of which two values can be chosen here, as far as the model has them."""
MOST_ROWS = 100
"""Changes that a page lists; its file has all of them."""
KINDS: tuple[tuple[str, str, Callable[[Finding], bool]], ...] = (
    ("all", "All", lambda _: True),
    ("slower", "Slower", lambda one: one.what == TIMES and one.is_worse),
    ("faster", "Faster", lambda one: one.what == TIMES and not one.is_worse),
    ("failing", "Failing", lambda one: one.what == FAILURES),
    ("traffic", "Traffic", lambda one: one.what == VISITORS),
    ("presence", "New and gone", lambda one: one.what in (NEW, GONE)),
)
"""Which changes are listed: the name in URLs, the label, and those that are of the kind."""
COUNTED: tuple[tuple[str, Callable[[Finding], bool]], ...] = (
    ("slower", KINDS[1][2]),
    ("faster", KINDS[2][2]),
    ("fails more", lambda one: one.what == FAILURES and one.is_worse),
    ("fails less", lambda one: one.what == FAILURES and not one.is_worse),
    ("lost visitors", lambda one: one.what == VISITORS and one.is_worse),
    ("gained visitors", lambda one: one.what == VISITORS and not one.is_worse),
    ("new", lambda one: one.what == NEW),
    ("gone", lambda one: one.what == GONE),
)


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One thing that changed."""

    label: str
    url: str
    counts: str
    """Of requests, on both sides."""
    what: str
    before: str
    after: str
    change: str
    tone: str
    """bad, good, or nothing where neither is."""
    interval: Interval | None
    sure: str
    chance: str
    was: str
    """The distribution of times before, as a path; empty: it is of something else."""
    now: str


@dataclass(frozen=True, slots=True)
class Quiet:
    """A value that did not change by more than chance."""

    label: str
    url: str
    counts: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A form that chooses two values of a dimension."""

    label: str
    name: str
    values: tuple[tuple[str, str], ...]
    """Texts in URLs, and labels."""
    before: str
    after: str
    hidden: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Changed:
    """What changed."""

    heading: str
    counts: str
    scope: str
    """What is compared, and what could not be."""
    label: str
    before: str
    after: str
    """What the sides are called."""
    rows: tuple[ChangeRow, ...] | None
    """None: could not be computed."""
    quiet: tuple[Quiet, ...]
    empty: str
    kinds: tuple[Link, ...]
    same: Link | None
    """What did not change."""
    legend: str
    csv_url: str
    base: str
    choice: Choice | None
    """Two values to choose from; None: two times are compared."""
    others: tuple[Link, ...]
    """What else can be compared."""
    against: str
    against_hidden: tuple[tuple[str, str], ...]
    whole_url: str
    """The overview, which shows the same requests."""


# ---- what is compared ------------------------------------------------------------------------------------------------


def lots_of(page: Page) -> Lots | None:
    """Both sides that the page's state asks for; None: there is nothing to compare with."""
    state = page.state
    if state.table.split:
        values = two_of(page, state.table.split)
        if values is None:
            return None
        return asked.in_values(state.span, state.filters, dimension=state.table.split, values=values, now=page.now)
    against = date.fromisoformat(state.table.against) if state.table.against else None
    known = page.ask(page.queries.earliest)
    return asked.in_time(state.span, state.filters, now=page.now, vs=state.vs, against=against, known=known)


def ask_changes(page: Page) -> tuple[Lots | None, Changes | None]:
    """What is compared, and what changed; None for what there is not, or what failed."""
    by, lots = asked.dimension_of(page.site.dimensions), lots_of(page)
    if by is None or lots is None:
        return lots, None
    return lots, page.ask(asked.changes, page.queries, by, lots)


# ---- the panel -------------------------------------------------------------------------------------------------------


def changed(page: Page) -> Changed:
    """What changed, as the page lists it."""
    state, by = page.state, asked.dimension_of(page.site.dimensions) or ""
    lots, found = ask_changes(page)
    around = None if lots is None else around_mark(page, lots)
    names = _names(page, lots) if around is None else (around.before, around.after)
    findings = () if found is None else found.comparison.findings
    listed = [one for one in findings if _is_of(state.table.show, one)]
    noun = page.site.dimensions[by].plural.lower()
    return Changed(
        heading="What changed" if lots is None else around.heading if around else f"{names[1]} against {names[0]}",
        counts="" if found is None else _counts(found),
        scope="" if lots is None else around.scope if around else _scope(lots),
        label=page.site.dimensions[by].label,
        before=names[0],
        after=names[1],
        rows=None
        if found is None and lots is not None
        else tuple(_row(page, by, found, one) for one in listed[:MOST_ROWS] if found is not None),
        quiet=() if found is None or state.table.show != "same" else _quiet(page, by, found),
        empty=_empty(page, lots, found, noun),
        kinds=tuple(Link(text, state.table_url(show=name), name == state.table.show) for name, text, _ in KINDS),
        same=None if found is None else _same(page, found, noun),
        legend="" if found is None else _legend(findings, len({*found.after, *found.before}), noun),
        csv_url=page.csv("changes"),
        base=state.base,
        choice=_choice(page),
        others=_others(page),
        against=state.table.against,
        against_hidden=tuple(
            pair for pair in state.hidden("against", "split") if pair[0] not in _names_of_split(page.state.table.split)
        ),
        whole_url=page.other("index"),
    )


def _is_of(kind: str, one: Finding) -> bool:
    return any(name == kind and is_of(one) for name, _, is_of in KINDS)


def _names(page: Page, lots: Lots | None) -> tuple[str, str]:
    """What both sides are called."""
    if lots is None:
        return "before", "after"
    if lots.before.value is not None and lots.after.value is not None:
        dimension = page.site.dimensions[page.state.table.split]
        return chip_text(dimension, lots.before.value), chip_text(dimension, lots.after.value)
    return _when(page, lots.before), _when(page, lots.after)


def _when(page: Page, lot: Lot) -> str:
    """Its days; those of a long span, of which the last has not ended, without the hour that it is cut at."""
    start, end = lot.span.local_start, lot.span.local_end
    if lot.span.end - lot.span.start > asked.LONG:
        end = page.local(next_edge(lot.span.end - timedelta(microseconds=1), "day", lot.span.zone))
    return span_label(start, end, now=page.local_now)


def _scope(lots: Lots) -> str:
    if lots.before.value is not None:
        return "The same time on both sides. Visitors are not compared: one of them may just be rarer."
    if lots.same_hours:
        return "The same hours of the week on both sides."
    return "Not the same hours of the week, as these are not recorded: visitors are not compared."


def _counts(found: Changes) -> str:
    numbers = [(sum(map(is_of, found.comparison.findings)), text) for text, is_of in COUNTED]
    said = [f"{count:,} {text}" for count, text in numbers if count]
    return ", ".join([*said, f"{len(found.comparison.unchanged):,} as before"])


def _empty(page: Page, lots: Lots | None, found: Changes | None, noun: str) -> str:
    """What stands there without rows."""
    if lots is None:
        if page.state.table.split:
            label = page.site.dimensions[page.state.table.split].label.lower()
            return f"There are no two values of {label} in this span."
        return "There is nothing to compare with: not all of the time before is recorded."
    if found is None or page.state.table.show not in ("all", "same"):
        return "No changes of this kind."
    if not found.comparison.tests:
        return f"Too few requests to tell: {found.hits[0]:,} before, {found.hits[1]:,} after."
    compared = f"{len(found.comparison.unchanged):,} {noun}, {sum(found.hits):,} requests"
    return f"Nothing changed beyond chance. {compared} were compared."


def _same(page: Page, found: Changes, noun: str) -> Link | None:
    count = len(found.comparison.unchanged)
    if not count:
        return None
    text = plural(count, noun.removesuffix("s")) + " changed by no more than chance"
    return Link(text, page.state.table_url(show="same"), page.state.table.show == "same")


def _legend(findings: tuple[Finding, ...], compared: int, noun: str) -> str:
    """What the bet means, by the first one that is listed."""
    bets = [one.chance for one in findings if one.what not in (NEW, GONE)]
    if not bets:
        return ""
    one_in = odds(bets[0])
    return (
        f"“1 in {one_in} by chance”: had nothing changed, one list like this in {one_in} would show such a difference somewhere "
        f"among its {compared:,} {noun}."
    )


def _quiet(page: Page, by: str, found: Changes) -> tuple[Quiet, ...]:
    return tuple(
        Quiet(page.label(by, value), _url(page, by, value), _hits(found, value)) for value in found.comparison.unchanged
    )


# ---- rows ------------------------------------------------------------------------------------------------------------


def _row(page: Page, by: str, found: Changes, one: Finding) -> ChangeRow:
    was, now = found.before.get(one.value), found.after.get(one.value)
    drawn = ("", "") if one.what != TIMES or was is None or now is None else distributions(was.bins, now.bins)
    good = not one.is_worse
    before, after = amounts(one)
    return ChangeRow(
        label=page.label(by, one.value),
        url=_url(page, by, one.value),
        counts=_hits(found, one.value),
        what=one.what,
        before=before,
        after=after,
        change=change_text(one),
        tone="" if one.what not in (TIMES, FAILURES) else "good" if good else "bad",
        interval=None if one.what in (NEW, GONE) else interval(one),
        sure={NEW: "New", GONE: "Gone"}.get(one.what, "Sure" if one.is_sure else "Likely"),
        chance=chance_text(one.chance),
        was=drawn[0],
        now=drawn[1],
    )


def _url(page: Page, by: str, value: Value) -> str:
    return page.other_filtered(by, page.site.dimensions[by].text_of(value))


def _hits(found: Changes, value: Value) -> str:
    was, now = found.before.get(value), found.after.get(value)
    return f"{0 if was is None else was.hits:,} → {plural(0 if now is None else now.hits, 'request')}"


def amounts(one: Finding) -> tuple[str, str]:
    """What it was and is, in words."""
    if one.what == TIMES:
        return duration(one.before), duration(one.after)
    if one.what == FAILURES:
        before, after = (share(round(amount * 1e9), 10**9) or "0%" for amount in (one.before, one.after))
        return before, after
    before, after = (number(amount) if amount else "–" for amount in (one.before, one.after))
    return before, after


# ---- what else can be compared ---------------------------------------------------------------------------------------


def _choice(page: Page) -> Choice | None:
    name = page.state.table.split
    if not name:
        return None
    values, two = values_of(page, name), two_of(page, name)
    texts = [text for text, _ in values]
    dimension = page.site.dimensions[name]
    given = [(text, chip_text(dimension, text)) for text in page.state.filters.texts(name) if text not in texts]
    return Choice(
        label=page.site.dimensions[name].label,
        name=name,
        # of what cannot be seen there is no choice: a page does not repeat it as it is
        values=tuple((text, label) for text, label in (*values, *given) if visible(text) == text),
        before="" if two is None else two[0],
        after="" if two is None else two[1],
        hidden=tuple(pair for pair in page.state.hidden() if pair[0] not in _names_of_split(name) | {"against"}),
    )


def _names_of_split(name: str) -> set[str]:
    return {name, f"{name}!"} if name else set()


def _others(page: Page) -> tuple[Link, ...]:
    state = page.state
    split = state.table.split
    without = _unsplit(state) if split else state.filters
    known = [name for name in SPLITS if name in page.site.dimensions]
    times = Link("Two times", _compared(page, "", without), not split)
    return (
        times,
        *(
            Link(
                f"Two {page.site.dimensions[name].plural.lower()}",
                _compared(page, name, without if split != name else state.filters),
                split == name,
            )
            for name in known
        ),
    )


def _unsplit(state: PageState) -> Filters:
    """The filters without the values that are compared: what is usual of their dimension counts again."""
    split = state.table.split
    rest = state.filters.without(split)
    usual = state.usual.on(split) if state.filters.on(split) else ()
    return replace(rest, conditions=(*usual, *rest.conditions))


def _compared(page: Page, split: str, filters: Filters) -> str:
    table = page.state.table
    return page.state.url(filters=filters, table=type(table)(show=table.show, split=split))


# ---- the file --------------------------------------------------------------------------------------------------------


def rows(page: Page) -> Iterator[Cells]:
    """All changes, those that did not change left out."""
    by = asked.dimension_of(page.site.dimensions) or ""
    yield [
        *(page.site.dimensions[by].label, "Requests before", "Requests after", "What", "Before", "After"),
        *("Ratio", "From", "To", "By chance"),
    ]
    lots = lots_of(page)
    if lots is None:
        return
    found = asked.changes(page.queries, by, lots)
    for one in found.comparison.findings:
        if _is_of(page.state.table.show, one):
            was, now = found.before.get(one.value), found.after.get(one.value)
            bounds = [None] * 3 if one.what in (NEW, GONE) else [one.ratio, one.low, one.high]
            yield [
                page.site.dimensions[by].label_of(one.value),
                *(0 if each is None else each.hits for each in (was, now)),
                *(one.what, one.before, one.after, *bounds, one.chance),
            ]


# ---- the view --------------------------------------------------------------------------------------------------------


def _instead(page: Page) -> Nothing | None:
    measures = ask_measures(page, want=HITS)
    return nothing(page) if measures is not None and not measures.hits else None


VIEW = View(name="changes", title="Changes", instead=_instead, file=lambda _: "changes", json="api_changes")
PANELS = (
    Panel(
        name="changes",
        page="changes",
        title="What changed",
        compose=changed,
        template="_changes",
        rows=rows,
        cost=("profiles",),
    ),
)
