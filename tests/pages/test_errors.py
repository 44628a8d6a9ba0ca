"""The errors view, the live view and the log: what they list, from recorded rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from html import unescape
from typing import Any

import pytest
from flask_sqlalchemy import SQLAlchemy

from ..conftest import App
from .test_overview import bars, cells


def without_issues(db: SQLAlchemy) -> type[Any]:
    """A model from before there were issues."""
    texts = ("method", "path", "referrer", "exception", "remote_address")
    columns: dict[str, Any] = {name: db.Column(db.String(200)) for name in texts}
    columns |= {"index": db.Column(db.Integer, primary_key=True), "date": db.Column(db.DateTime, index=True)}
    return type("Request", (db.Model,), columns | {"status_code": db.Column(db.Integer)})


@pytest.fixture
def app(make_app: Callable[..., App]) -> App:
    app = make_app(model=without_issues, STATISTICS_ENABLED=False)
    app.insert(
        row(9, path="/a", status_code=500, exception="KeyError('cart')"),
        row(8, path="/a", status_code=500, exception="KeyError('cart')"),
        row(7, path="/a", status_code=200, remote_address="192.0.2.1"),
        row(6, path="/b", status_code=503, exception="shop.Closed: <at night>"),
        row(5, path="/gone", status_code=404, referrer="http://localhost/own?x=1"),
        row(4, path="/gone", status_code=404, referrer="http://localhost/own?x=1"),
        row(3, path="/gone", status_code=404, referrer="https://other.example/links"),
        row(2, path="/wp", status_code=404, remote_address="192.0.2.2"),
    )
    return app


def row(minutes_ago: int, **values: Any) -> dict[str, Any]:
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    return {"date": now - timedelta(minutes=minutes_ago), "method": "GET", **values}


def table(app: App, view: str, element_id: str) -> list[list[str]]:
    """The rows of a card's table, without their times."""
    response = app.client.get(f"/statistics/{view}")
    assert response.status_code == 200
    section = re.search(rf'id="{element_id}".*?</section>', response.text, re.DOTALL)
    assert section is not None
    body = section[0].partition("<tbody")[2]
    lines = (cells(line) for line in re.findall(r"<tr\b.*?</tr>", body, re.DOTALL))
    return [[cell for cell in line if not re.search(r"\d\d:\d\d", cell)] for line in lines]


VIEW = "errors?span=24h"


def test_errors_groups_exceptions(app: App) -> None:
    assert table(app, VIEW, "fs-exceptions") == [["KeyErrorcart", "/a", "2"], ["shop.Closed: <at night>", "/b", "1"]]


def test_errors_lists_failing_paths(app: App) -> None:
    assert table(app, VIEW, "fs-failing") == [["/a", "2", "–", "67%"], ["/b", "1", "–", "100%"]]


def test_errors_lists_paths_not_found_with_their_top_referrer(app: App) -> None:
    assert table(app, VIEW, "fs-missing") == [["/gone", "3", "localhost/own"], ["/wp", "1", "(direct)"]]


def test_scanners_are_apart_from_paths_not_found(make_app: Callable[..., App]) -> None:
    app = make_app(STATISTICS_ENABLED=False)
    app.insert(
        row(9, path="/gone", status_code=404, device="desktop"),
        row(8, path="/gone", status_code=404, device="bot"),
        row(7, path="/wp-login.php", status_code=404, device="desktop"),
        row(6, path="/old.php", status_code=404, device="desktop", referrer="https://other.example/"),
        row(5, path="/.env", status_code=404, device="bot"),
    )
    assert table(app, VIEW, "fs-missing") == [["/gone", "1", "(direct)"], ["/old.php", "1", "other.example/"]]
    page = app.client.get(f"/statistics/{VIEW}").text
    apart = re.search(r'<a href="([^"]*)" title="[^"]*">3 by scanners</a> are apart', page)
    assert apart is not None
    everything = app.client.get(unescape(apart[1])).text
    assert [path in everything for path in ("/wp-login.php", "/.env", "/old.php")] == [True] * 3
    (url,) = re.findall(r'href="([^"]*)">/gone<', page.partition('id="fs-missing"')[2].partition("</section>")[0])
    assert len(app.json(f"requests?{unescape(url).partition('?')[2]}")["rows"]) == 1
    lines = app.client.get("/statistics/export/missing.csv?span=24h").text.splitlines()[1:]
    assert [line.split(",")[0] for line in lines] == ["/gone", "/old.php"]
    bots = app.client.get(f"/statistics/{VIEW}&device=bot").text
    assert "1 by scanners</a> is apart" in bots
    assert table(app, f"{VIEW}&device=bot", "fs-missing") == [["/gone", "1", "(direct)"]]


def test_errors_tells_whose_links_are_broken(app: App) -> None:
    assert table(app, VIEW, "fs-links") == [
        ["localhost/own", "yours", "/gone", "2"],
        ["other.example/links", "other", "/gone", "1"],
    ]


def test_errors_bars_compare_counts(app: App) -> None:
    page = app.client.get(f"/statistics/{VIEW}").text
    assert bars(page, "fs-exceptions") == bars(page, "fs-failing") == bars(page, "fs-links") == [100, 50]
    assert bars(page, "fs-missing") == [100, 33.3]


def test_errors_says_where_it_is_cut(app: App) -> None:
    says = "The 10 most frequent; all as"
    assert says not in app.client.get(f"/statistics/{VIEW}").text
    referrer = "https://other.example/"
    app.insert(*(row(1, path=f"/{n}", status_code=500, exception="KeyError()") for n in range(10)))
    app.insert(*(row(1, path=f"/gone{n}", status_code=404, referrer=referrer) for n in range(10)))
    for panel in ("exceptions", "links"):
        assert len(table(app, f"panel/{panel}?span=24h", f"fs-{panel}")) == 10
        assert says in app.client.get(f"/statistics/panel/{panel}?span=24h").text


def test_errors_links_lead_to_the_requests(app: App) -> None:
    page = unescape(app.client.get(f"/statistics/{VIEW}").text)
    urls = re.findall(r'href="(/statistics/requests\?[^"]*path=/a[^"]*)"', page)
    assert [len(app.json(f"requests?{url.partition('?')[2]}")["rows"]) for url in urls] == [2, 2]


def test_errors_keeps_the_filters(app: App) -> None:
    assert table(app, f"{VIEW}&path=/b", "fs-exceptions") == [["shop.Closed: <at night>", "/b", "1"]]
    assert table(app, f"{VIEW}&path=/b", "fs-missing") == []


def test_live_counts_who_is_there(app: App) -> None:
    page = app.client.get("/statistics/live").text
    values = re.findall(r'<strong class="kv"[^>]*>([^<]*)</strong>', page)
    assert values == ["1", "8"]
    assert len(table(app, "live", "fs-table")) == 30
    assert [line[1] for line in table(app, "live", "fs-requests")][:2] == ["GET", "GET"]


def test_live_filters(app: App) -> None:
    assert len(table(app, "live?path=/gone", "fs-requests")) == 3


def test_live_ignores_the_span(app: App) -> None:
    assert len(table(app, "live?start=2020-01-01&end=2020-01-02", "fs-requests")) == 8


def test_requests_page_both_ways(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_statistics.pages.request_log.LOG_ROWS", 3)
    seen, view = [], "requests?span=24h"
    while view:
        page = unescape(app.client.get(f"/statistics/{view}").text)
        seen.append([line[2] for line in table(app, view, "fs-requests")])
        older = re.search(r'href="/statistics/([^"]*)"[^>]*>Older', page)
        newer = re.search(r'href="/statistics/([^"]*)"[^>]*>‹ Newer', page)
        assert bool(newer) == (len(seen) > 1)
        view = older[1] if older else ""
    assert seen == [["/wp", "/gone", "/gone"], ["/gone", "/bshop.Closed: <at night>", "/a"], ["/aKeyError('cart')"] * 2]


def test_requests_of_an_unknown_place_begin_anew(app: App) -> None:
    assert len(table(app, "requests?span=24h&before=nonsense", "fs-requests")) == 8
