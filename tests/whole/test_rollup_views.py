"""Every view of the dashboard answers from rollups what it answers from the raw rows."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from html import unescape
from typing import Any, NamedTuple

import pytest

from flask_statistics import health
from flask_statistics.pages.panels import BUILT_IN

from ..conftest import App, a_fortnight

NOW = datetime.now(timezone.utc).replace(tzinfo=None)
NAMES = tuple(panel.name for panel in BUILT_IN)
VIEWS = (
    "",
    "changes",
    "errors",
    "issue",
    "requests",
    "requests/3",
    "live",
    "list/path",
    "list/browser",
    "list/referrer",
    "list/exception",
)
PARTIALS = tuple(f"panel/{name}" for name in dict.fromkeys([*NAMES, "browser", "status_code", "exception"]))
EXPORTS = tuple(f"export/{name}.csv" for name in dict.fromkeys(panel.name for panel in BUILT_IN if panel.rows))
QUERIES = (
    "",
    "span=28d&unit=week&metric=time",
    "span=24h&metric=visitors&vs=year",
    "span=all&metric=errors&by=route",
    "device!=bot",
    "device=bot&q=page",
    "browser=firefox",
    "browser=firefox&platform=Windows&status_code!=404",
    "path=/",
    "status_code=5xx&sort=-p95&rows=50",
    "referrer=&exception!=",
    "path=/nowhere",
)


class Both(NamedTuple):
    """Two apps on one database: one answers from its raw rows, the other from rollups."""

    raw: App
    rolled: App


@pytest.fixture(autouse=True)
def no_page_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of a busy machine say what would make them faster, which is not the same in both modes."""
    monkeypatch.setattr(health, "SLOW_PAGE_S", math.inf)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    url = f"sqlite:///{tmp_path_factory.mktemp('rolled') / 'app.sqlite'}"
    rows = a_fortnight(NOW)
    quiet: dict[str, Any] = {"STATISTICS_ENABLED": False, "STATISTICS_SCHEDULER": False, "STATISTICS_QUERIES": True}
    rolled = App(url, STATISTICS_ROLLUPS=True, **quiet)
    rolled.insert(*rows[20:])
    assert rolled.flask.test_cli_runner().invoke(args=["statistics", "rollup"]).exit_code == 0
    since = datetime.now(timezone.utc).replace(tzinfo=None)
    rolled.insert(*(row | {"date": since} for row in rows[:20]))
    raw = App(url, **quiet)
    yield Both(raw, rolled)
    raw.close()
    rolled.close()


def shown(app: App, url: str) -> str:
    """A page but for what says how new its numbers are, which differs, and the minute in which it was asked for."""
    response = app.client.get(f"/statistics/{url}")
    assert response.status_code == 200, response.text
    assert "Could not be computed" not in response.text
    return re.sub(r'<p (?:class="fresh"|id="fs-slow").*?</p>', "", response.text, flags=re.DOTALL)


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("view", [*VIEWS, *PARTIALS, *EXPORTS, "export/path.csv"])
def test_rollup_view_is_the_raw_one(both: Both, view: str, query: str) -> None:
    if view == "issue":
        query = f"{query}&issue=KeyError:+%E2%80%9C%E2%80%A6%E2%80%9D+%C2%B7+shop/cart.py+in+cart"
    url = f"{view}?{query}"
    assert shown(both.rolled, url) == shown(both.raw, url)


def test_rollup_view_says_how_new_it_is(both: Both) -> None:
    pages = {app: app.client.get("/statistics/").text for app in both}
    titles = {
        app: re.findall(r'title="Ask again \(r\)([^"]*)"><time[^>]*>(\d\d:\d\d)</time> UTC', page)
        for app, page in pages.items()
    }
    assert [title for found in titles.values() for title, _ in found] == ["", "; updated every minute"]
    assert both.rolled.json("summary")["source"] == "rollup"


def test_rollup_view_of_values_folded_together(make_app: Callable[..., App]) -> None:
    app = make_app(
        STATISTICS_ENABLED=False, STATISTICS_SCHEDULER=False, STATISTICS_ROLLUPS=True, STATISTICS_MAX_VALUES=10
    )
    app.insert(*a_fortnight(NOW))
    assert app.flask.test_cli_runner().invoke(args=["statistics", "rollup"]).exit_code == 0
    page = app.client.get("/statistics/?span=28d").text
    row = re.search(r'href="([^"]*)">\(other\)</a></th><td class="n">(\d+)</td>', page)
    assert row is not None
    page = app.client.get(unescape(row[1])).text
    assert f'<strong class="kv" title="{row[2]}">' in page
    assert "(other)</b>" in page
