"""What is said where there are no numbers: why, and what leads to some."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

from ..filters import Filters
from ..formatting import clock, day, just_before, lower_first
from ..queries.interface import HITS
from ..spans import Span, midnight
from .chips import chips, switched_on, unswitched, without_chips
from .page import Page, covered, plural
from .summary import ask_measures

MOST_TRIED = 4
"""Filters of which each is tried without the others."""
MOST_WAYS = 4
"""Ways out that are offered."""
ASKED_FOR = {
    "People": "of people",
    "Bots": "of bots",
    "Pages": "for pages",
    "API": "for the API",
    "Assets": "for assets",
}
"""Requests that a switch of the toolbar asks for."""
LENGTHS = {timedelta(minutes=1): "minute", timedelta(hours=1): "hour"}
"""What parts of a day are called."""


@dataclass(frozen=True, slots=True)
class Way:
    """A link that leads to numbers."""

    text: str
    url: str
    hits: str = ""
    """How many requests it leads to; empty: that was not counted."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """What is said instead of numbers where there are none."""

    heading: str
    text: str | None
    ways: tuple[Way, ...]
    """The best one first."""
    warning: str | None = None
    waits: bool = False
    """Whether the first request is awaited, and shows by itself."""


def without_hits(page: Page, want: frozenset[str]) -> Nothing | None:
    """What is said instead of a page that asks `want` of all its requests; None: there are some, or that is not known."""
    measures = ask_measures(page, want=want)
    return nothing(page) if measures is not None and not measures.hits else None


def nothing(page: Page) -> Nothing:
    """Why there are no numbers, and what to do about it."""
    state = page.state
    first = page.ask(page.queries.earliest)
    if first is None and not state.chosen:
        return _first_start(page)
    all_time = replace(state.span, name="all")
    of_span = _count(page, state.span, Filters()) if state.filters else 0
    if not state.filters or (not state.chosen and not of_span):
        early = first is not None and state.span.end <= first
        return Nothing(
            f"No requests {_during(page)}",
            f"Nothing was recorded before {clock(page.local(first), now=page.local_now)}." if early and first else None,
            (Way("Show all time", state.url(span=all_time)),),
        )
    ways = sorted(_ways(page), key=lambda way: -way[0])
    known = [Way(text, url, plural(hits, "request")) for hits, text, url in ways if hits]
    wider = Way("The same filters at all times", state.url(span=all_time))
    if of_span == 0:
        return Nothing(f"No requests {_during(page)}", "Whatever the filters say: none was recorded then.", (wider,))
    text = None if of_span is None else f"{plural(of_span, 'request')} then, of which none matches."
    return Nothing(
        f"No requests {_asked_for(page)} {_during(page)}",
        text,
        (*known[:MOST_WAYS], wider) if state.span.name != "all" else tuple(known[:MOST_WAYS]),
    )


def _asked_for(page: Page) -> str:
    """What the filters ask for, where it is said in a few words."""
    filters, found = page.state.filters, chips(page)
    if not found:
        return " ".join(ASKED_FOR[name] for name in switched_on(filters))
    only = found[0].values[0].text if len(found) == len(found[0].values) == 1 else None
    if only and filters.contains:
        return f"to “{only}”"
    return f"to {only}" if only and filters.texts("path") else "that match these filters"


def _first_start(page: Page) -> Nothing:
    return Nothing(
        "Listening",
        "Open any page of this app. It shows up here within 5 seconds, by itself.",
        (),
        page.site.left_behind(),
        waits=True,
    )


def _ways(page: Page) -> Iterator[tuple[int, str, str]]:
    """Hits, text and URL of what is near to what was asked for."""
    state, filters, whole_day = page.state, page.state.filters, _day_around(page)
    found = chips(page)
    for chip in found[:MOST_TRIED] if len(found) > 1 else ():
        yield _count(page, state.span, chip.without) or 0, f"Without “{chip.text}”", state.url(filters=chip.without)
    if found:
        kept = without_chips(filters)
        text = "Clear all filters" if len(found) > 1 else f"Without “{found[0].text}”"
        yield _count(page, state.span, kept) or 0, text, state.url(filters=kept)
    switched = without_chips(filters)
    if switched:
        everything = unswitched(filters)
        text = f"Not only {' and '.join(lower_first(name) for name in switched_on(filters))}"
        yield _count(page, state.span, everything) or 0, text, state.url(filters=everything)
    if whole_day is not None:
        text = f"The whole of {day(whole_day.local_start)}"
        yield _count(page, whole_day, filters) or 0, text, state.url(span=whole_day)
        after = state.span.moved(1)
        if after.start < page.now:
            name = LENGTHS.get(after.end - after.start, "time")
            times = f"{after.local_start:%H:%M} – {after.local_end:%H:%M}"
            yield _count(page, after, filters) or 0, f"The {name} after, {times}", state.url(span=after)


def _count(page: Page, span: Span, filters: Filters) -> int | None:
    measures = page.ask(page.queries.summary, span, filters, want=HITS)
    return None if measures is None else measures.hits


def _day_around(page: Page) -> Span | None:
    """The day that the span is a part of; None: it is more than that."""
    span = page.state.span
    first, last = span.local_start.date(), just_before(span.local_end).date()
    if first != last or span.whole_days:
        return None
    return Span(midnight(first, span.zone), midnight(first + timedelta(days=1), span.zone), span.zone)


def _during(page: Page) -> str:
    span = page.state.span
    first, last = span.local_start, just_before(span.local_end)
    if span.whole_days is None and first.date() == last.date():
        return f"on {day(first)} between {first:%H:%M} and {span.local_end:%H:%M}"
    if span.whole_days is None:
        return f"in {covered(page)}"
    if span.whole_days == 1:
        return f"on {covered(page)}"
    year = first.year != page.local_now.year or last.year != page.local_now.year
    return f"between {day(first, year=year)} and {day(last, year=year)}"
