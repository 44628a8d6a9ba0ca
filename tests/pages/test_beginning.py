"""Where what is known begins: the first request, what is still counted, what was not recorded, what was deleted."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from flask_statistics.pages.beginning import Beginning, beginning
from flask_statistics.queries.answers import Freshness

from .test_frame import NOW, Stub, page_of

FIRST = datetime(2026, 11, 16, 15)


class Incomplete(Stub):
    """Knows the filtered dimension since a day."""

    def __init__(self, since: datetime | None = None) -> None:
        super().__init__()
        self.first = FIRST
        self.since = since

    def complete_from(self, *_: object) -> datetime | None:
        return self.since


@pytest.mark.parametrize(
    ("since", "preparing", "retention", "found"),
    [
        (None, None, None, (FIRST, "16 Nov", "nothing was recorded before 16 Nov 15:00")),
        (None, None, timedelta(days=6), (FIRST, "16 Nov", "requests before 16 Nov 15:00 were deleted")),
        (None, None, timedelta(days=90), (FIRST, "16 Nov", "nothing was recorded before 16 Nov 15:00")),
        (
            datetime(2026, 11, 18),
            None,
            None,
            (datetime(2026, 11, 18), "18 Nov", "what is filtered by was not recorded before 18 Nov 00:00"),
        ),
        (
            datetime(2026, 11, 20),
            datetime(2026, 11, 20),
            None,
            (datetime(2026, 11, 20), "20 Nov", "requests before 20 Nov 00:00 are still being counted"),
        ),
    ],
)
def test_beginning_says_why(
    since: datetime | None, preparing: datetime | None, retention: timedelta | None, found: tuple[datetime, str, str]
) -> None:
    stub = Incomplete(since)
    if preparing is not None:
        stub.freshness = Freshness(NOW, timedelta(minutes=1), preparing_before=preparing)
    page = page_of(stub=stub)
    assert beginning(replace(page, site=replace(page.site, retention=retention))) == Beginning(*found)
