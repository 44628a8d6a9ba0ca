"""Where what is known begins, and why not earlier: before that a page shows neither zeros nor changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ..formatting import clock, day
from .page import Page

SOON_DELETED = timedelta(days=1)
"""The oldest request is at most so much younger than it may get, where older ones are deleted."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """From when on the page's numbers are all there are."""

    at: datetime
    """Naive UTC."""
    day: str
    """`4 Nov`."""
    why: str
    """Why nothing is shown of the time before, to stand after a colon."""


def beginning(page: Page) -> Beginning | None:
    """Where the numbers of the page begin, whatever its span is; None: nothing is recorded, or that could not be told."""
    first, state = page.ask(page.queries.earliest), page.state
    since = page.ask(page.queries.complete_from, state.span, state.filters)
    freshness = page.queries.freshness
    preparing = None if freshness is None else freshness.preparing_before
    if first is None:
        return None
    if preparing is not None and max(first, since or preparing) <= preparing:
        return _beginning(page, preparing, "requests before {at} are still being counted")
    if since is not None and since > first:
        return _beginning(page, since, "what is filtered by was not recorded before {at}")
    if _older_are_deleted(page, first):
        return _beginning(page, first, "requests before {at} were deleted")
    return _beginning(page, first, "nothing was recorded before {at}")


def _beginning(page: Page, at: datetime, why: str) -> Beginning:
    local = page.local(at)
    year = local.year != page.local_now.year
    return Beginning(at, day(local, year=year), why.format(at=clock(local, now=page.local_now)))


def _older_are_deleted(page: Page, first: datetime) -> bool:
    """Whether the oldest request is as old as requests get. What rollups have is kept."""
    retention = page.site.retention
    return retention is not None and page.queries.freshness is None and first < page.now - retention + SOON_DELETED
