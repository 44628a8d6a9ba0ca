"""Pages of single requests: where each begins and ends, and whether there are others before and after it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from ..conftest import App

NOON = datetime(2026, 11, 2, 12)


@pytest.mark.parametrize(
    ("question", "ids", "newer", "older"),
    [
        ("", [5, 4], None, "4"),
        ("before=4", [3, 2], "3", "2"),
        ("before=3", [2, 1], "2", None),
        ("before=2", [1], "1", None),
        ("before=1", [], None, None),
        ("after=1", [3, 2], "3", "2"),
        ("after=2", [4, 3], "4", "3"),
        ("after=3", [5, 4], None, "4"),
        ("after=4", [5], None, "5"),
        ("after=5", [], None, None),
    ],
)
@pytest.mark.parametrize("apart", [True, False])
def test_pages_of_requests(
    make_app: Callable[..., App], question: str, ids: list[int], newer: str | None, older: str | None, apart: bool
) -> None:
    app = make_app()
    app.insert(*({"date": NOON + timedelta(seconds=number * apart), "path": f"/{number}"} for number in range(5)))
    found = app.json(f"requests?start=2026-11-02&end=2026-11-02&limit=2&{question}")
    assert [row["id"] for row in found["rows"]] == ids
    assert (found["after"], found["before"]) == (newer, older)
