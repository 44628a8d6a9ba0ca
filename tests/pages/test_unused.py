"""Routes that nobody asked for, as the app declares them and as they were recorded."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape

import pytest
from flask import Blueprint

from ..conftest import App, original_model

MakeApp = Callable[..., App]


def shop(app: App) -> None:
    """Four routes of the app and one of a blueprint; two are asked for."""
    orders = Blueprint("orders", __name__, url_prefix="/orders")
    orders.add_url_rule("/<int:number>", "one", lambda number: str(number), methods=["GET", "DELETE"])
    app.flask.register_blueprint(orders)
    for name in ("cart", "search", "health", "old"):
        app.flask.add_url_rule(f"/{name}", name, lambda: "here")
    app.flask.add_url_rule("/old", "old_too", lambda: "here", methods=["POST"])
    for path in ("/cart", "/cart", "/search", "/nowhere"):
        app.client.get(path)


def rows(app: App, query: str = "") -> list[list[str]]:
    table = re.search(
        r'id="fs-unused".*?<tbody>(.*?)</tbody>', app.client.get(f"/statistics/unused{query}").text, re.DOTALL
    )
    if table is None:
        return []
    return [
        [unescape(re.sub(r"<[^>]+>", "", cell)).strip() for cell in re.findall(r"<t[hd]\b.*?</t[hd]>", row, re.DOTALL)]
        for row in re.findall(r"<tr>.*?</tr>", table[1], re.DOTALL)
    ]


@pytest.mark.parametrize("rollups", [False, True])
def test_routes_without_a_request_are_listed(make_app: MakeApp, database_url: str, rollups: bool) -> None:
    app = make_app(
        database_url, STATISTICS_ROLLUPS=rollups, STATISTICS_SCHEDULER=False, STATISTICS_EXCLUDE=("/health",)
    )
    shop(app)
    assert rows(app) == [
        ["/old", "GET, POST", "old", "never"],
        ["/orders/<int:number>", "DELETE, GET", "orders.one", "never"],
        ["/static/<path:filename>", "GET", "static", "never"],
    ]
    page = unescape(app.client.get("/statistics/unused").text)
    assert "3 of 5 routes" in page
    assert app.client.get("/statistics/export/unused.csv").text.splitlines() == [
        "route,methods,endpoint,last_requested",
        '/old,"GET, POST",old,',
        '/orders/<int:number>,"DELETE, GET",orders.one,',
        "/static/<path:filename>,GET,static,",
    ]


def test_a_route_of_before_the_span_says_when_it_was_asked_for(make_app: MakeApp) -> None:
    app = make_app()
    shop(app)
    year = app.rows()[0].date.year
    found = {row[0]: row[3] for row in rows(app, f"?start={year + 1}-01-01&end={year + 1}-01-02")}
    assert re.fullmatch(r"(\d+ \w+ (\d+ )?)?\d\d:\d\d", found["/cart"])
    assert found["/old"] == "never"
    filtered = {row[0]: row[3] for row in rows(app, "?browser=firefox")}
    assert filtered["/cart"] != "never"  # by others


def test_they_are_reached_from_the_overview(make_app: MakeApp) -> None:
    app = make_app()
    shop(app)
    for by in ("route", "path"):
        page = app.client.get(f"/statistics/?by={by}").text
        assert '<a href="/statistics/unused">Routes that nobody asked for</a>' in page
    page = unescape(app.client.get("/statistics/unused").text)
    (unmatched,) = re.findall(r'href="([^"]*)">Paths that no route matched', page)
    assert ">/nowhere</a>" in app.client.get(unmatched).text


def test_a_model_without_routes_has_no_such_page(make_app: MakeApp) -> None:
    assert make_app(model=original_model).client.get("/statistics/unused").status_code == 404
