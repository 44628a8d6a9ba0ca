"""What is said where there are no numbers: why, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..filters import Filters
from ..formatting import day, just_before
from .page import Page, covered


@dataclass(frozen=True, slots=True)
class Nothing:
    """What is said instead of numbers where there are none."""

    heading: str
    text: str | None
    action: str
    url: str
    """Where the action leads."""
    warning: str | None = None


def nothing(page: Page) -> Nothing:
    """Why there are no numbers, and what to do about it."""
    state = page.state
    if state.filters:
        return Nothing("No requests match these filters.", None, "Clear all", state.url(filters=Filters()))
    if page.queries.earliest() is None:
        return Nothing(
            "No requests recorded yet",
            "The extension is installed. Visit any page of your app, then come back: requests show up within 5 seconds.",
            "Check again",
            state.url(),
            page.site.left_behind(),
        )
    return Nothing(
        f"No requests {_during(page)}.", None, "Show all time", state.url(span=replace(state.span, name="all"))
    )


def _during(page: Page) -> str:
    span = page.state.span
    first, last = span.local_start, just_before(span.local_end)
    if span.whole_days is None:
        return f"in {covered(page)}"
    if span.whole_days == 1:
        return f"on {covered(page)}"
    year = first.year != page.local_now.year or last.year != page.local_now.year
    return f"between {day(first, year=year)} and {day(last, year=year)}"
