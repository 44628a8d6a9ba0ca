"""Raw questions at their bounds: more combinations of values than fit into memory, and fewer values."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from flask_statistics.filters import Filters
from flask_statistics.queries import interface, raw
from flask_statistics.spans import Span

from ..conftest import App

NOON = datetime(2026, 11, 2, 12)
BROWSERS, PLATFORMS = ("chrome", "firefox", "safari"), ("Android", "iOS", "Linux")


def test_combinations_that_are_too_many_are_counted_one_by_one(
    make_app: Callable[..., App], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interface, "MOST_GROUPS", 5)
    app = make_app()
    both = [(browser, platform) for browser in BROWSERS for platform in PLATFORMS]
    app.insert(
        *(
            {"date": NOON, "path": "/", "browser": f"{browser} 1", "platform": platform}
            for number, (browser, platform) in enumerate(both, 1)
            for _ in range(number)
        )
    )
    state = app.statistics_state()
    span = Span(NOON, NOON + timedelta(hours=1), state.settings.timezone)
    with app.flask.app_context(), state.queries() as queries:
        found = queries.breakdowns(["browser", "platform"], span, Filters(), limit=2)
    assert [(row.value, row.measures.hits) for row in found["browser"].rows] == [("safari", 24), ("firefox", 15)]
    assert [(row.value, row.measures.hits) for row in found["platform"].rows] == [("Linux", 18), ("iOS", 15)]
    assert [(one.total, one.hits) for one in found.values()] == [(3, 45), (3, 45)]


def test_percentiles_of_too_many_values_are_those_of_the_commonest(
    make_app: Callable[..., App], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interface, "MOST_GROUPS", 5)
    monkeypatch.setattr(raw, "MOST_MEASURED", 3)
    app = make_app()
    app.insert(
        *(
            {"date": NOON, "path": f"/{number}", "response_time": (9 - number) / 10}
            for number in range(9)
            for _ in range(number + 1)
        )
    )
    found = app.json("breakdown/path?start=2026-11-02&end=2026-11-02&sort=-p95")
    assert [(row["value"], round(row["response_time"]["p95"], 2)) for row in found["rows"]] == [
        ("/6", 0.3),
        ("/7", 0.2),
        ("/8", 0.1),
    ]
