"""The database view: statements with their places and routes, from a route to them and back, and nothing that was entered."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from ..conftest import App


@pytest.fixture
def app(make_app: Callable[..., App]) -> App:
    """An app with a few requests to three routes."""
    app = make_app(STATISTICS_QUERIES=True)

    def ask(statement: str, times: int = 1) -> str:
        for _ in range(times):
            app.db.session.execute(sa.text(statement))
        return "done"

    app.flask.add_url_rule("/loop", "loop", lambda: ask("SELECT 1 AS looped", 12))
    app.flask.add_url_rule("/once", "once", lambda: ask("SELECT 'secret' AS once"))
    app.flask.add_url_rule("/<name>", "named", lambda name: ask("SELECT 2 AS named, '<script>secret</script>'"))
    for path in ("/loop", "/once", "/a", "/b"):
        app.client.get(path)
    return app


def page(app: App, query: str = "") -> str:
    response = app.client.get(f"/statistics/{query}")
    assert response.status_code == 200
    return response.text


def statements(text: str) -> list[str]:
    """The statements that a page lists."""
    return [html.unescape(found) for found in re.findall(r"<code title=\"[^\"]*\">([^<]*)</code>", text)]


def test_database_lists_statements_without_values(app: App) -> None:
    text = page(app, "database")
    assert sorted(statements(text)) == ["SELECT ? AS looped", "SELECT ? AS named, ?", "SELECT ? AS once"]
    assert "3 different ones" in text
    assert text.count("tests/pages/test_database.py:") >= 3
    assert "secret" not in text
    assert 'href="/statistics/?route=/loop"' in text
    assert ">N+1</b>" in text


def test_database_is_one_of_the_tabs(app: App, make_app: Callable[..., App]) -> None:
    assert 'href="/statistics/database?span=28d"' in page(app, "?span=28d")
    without = make_app()
    assert "/statistics/database" not in page(without)
    assert without.client.get("/statistics/database").status_code == 404
    assert without.client.get("/statistics/panel/statements").status_code == 404
    assert without.client.get("/statistics/export/statements.csv").status_code == 404


def test_database_orders(app: App) -> None:
    assert statements(page(app, "database?order=-repeated")) == ["SELECT ? AS looped"]
    assert statements(page(app, "database?order=-calls"))[0] == "SELECT ? AS looped"
    assert statements(page(app, "database?order=statement"))[0] == "SELECT ? AS looped"
    text = page(app, "database?order=-p95")
    assert 'aria-sort="descending"' in text
    assert "order is &#39;x&#39;" in page(app, "database?order=x")


def test_database_shows_more_on_demand(app: App) -> None:
    for number in range(12):
        app.flask.view_functions["once"] = lambda number=number: str(
            app.db.session.execute(sa.text(f"SELECT c{number} FROM (SELECT 1 AS c{number})")).scalar()
        )
        app.client.get("/once")
    text = page(app, "database")
    assert len(statements(text)) == 10
    assert "Show 5 more of 15 statements" in text
    assert len(statements(page(app, "database?rows=50"))) == 15


def test_database_of_a_route_and_back(app: App) -> None:
    overview = page(app, "?route=/loop&span=28d")
    assert statements(overview) == ["SELECT ? AS looped"]
    assert 'href="/statistics/database?span=28d&amp;route=/loop"' in overview
    assert "Statements of this route" in overview
    assert "Statements of this route" not in page(app, "?span=28d")
    of_route = page(app, "database?span=28d&route=/loop")
    assert statements(of_route) == ["SELECT ? AS looped"]
    assert "Statements of these routes are counted." in of_route
    assert 'href="/statistics/?span=28d&amp;route=/loop"' in of_route
    assert sorted(statements(page(app, "database?route!=/loop"))) == ["SELECT ? AS named, ?", "SELECT ? AS once"]


def test_database_of_the_route_that_answered_a_path(app: App) -> None:
    overview = page(app, "?path=/b&span=28d")
    assert statements(overview) == ["SELECT ? AS named, ?"]
    assert 'href="/statistics/database?span=28d&amp;route=/%3Cname%3E"' in overview
    assert "changes nothing here" not in overview
    app.client.get("/of/no/route")
    assert statements(page(app, "?path=/of/no/route&span=28d")) == []


def test_database_says_which_filters_change_nothing(app: App) -> None:
    text = page(app, "database?browser=Firefox&q=x&route=/loop")
    assert "Statements are counted by route alone: what is chosen by Browser, Path changes nothing here." in text
    assert "counted by route alone" not in page(app, "database?route=/loop")


def test_database_finds_statements_and_places(app: App) -> None:
    assert statements(page(app, "database?search=ONCE")) == ["SELECT ? AS once"]
    assert "No statement matches this search." in page(app, "database?search=<b>")
    assert len(statements(page(app, "database?search=test_database.py"))) == 3


def test_database_shortens_lists_of_columns(app: App) -> None:
    columns = ", ".join(f"column_{number}" for number in range(20))
    subquery = ", ".join(f"1 AS column_{number}" for number in range(20))
    app.flask.view_functions["once"] = lambda: str(
        app.db.session.execute(sa.text(f"SELECT {columns} FROM (SELECT {subquery})")).first()
    )
    app.client.get("/once")
    assert any(found.startswith("SELECT … FROM (SELECT") for found in statements(page(app, "database")))


def test_file_of_statements_has_all(app: App) -> None:
    response = app.client.get("/statistics/export/statements.csv?order=-calls")
    rows = list(csv.reader(io.StringIO(response.text)))
    assert rows[0][:6] == ["Statement", "Place", "Routes", "Calls", "Requests", "Requests that repeat it"]
    assert rows[1][:1] + rows[1][2:6] == ["SELECT ? AS looped", "/loop", "12", "1", "1"]
    assert len(rows) == 4


def test_partial_is_what_the_page_has(app: App) -> None:
    for of, name, query in (("database", "statements", "order=-p95"), ("index", "route_statements", "route=/loop")):
        partial = app.client.get(f"/statistics/panel/{of}/{name}?{query}").text
        assert partial.startswith('<section class="card" id="fs-statements"')
        assert partial in page(app, f"{of.replace('index', '')}?{query}")


def test_api_lists_the_panel(app: App) -> None:
    listed: list[dict[str, Any]] = app.json("panels")["panels"]
    found = {panel["name"]: panel["page"] for panel in listed if "statements" in panel["name"]}
    assert found == {"statements": "database", "route_statements": "index"}


def test_database_that_lacks_its_tables_says_so(app: App) -> None:
    state = app.statistics_state()
    assert state.statements is not None
    with app.flask.app_context():
        state.statements.query.drop(app.db.engine)
    response = app.client.get("/statistics/database")
    assert response.status_code == 503
    assert "flask statistics init" in response.text


def test_health_knows_the_tables(app: App) -> None:
    names = {table["name"] for table in app.json("health")["storage"]["tables"]}
    assert {"statistics_query", "statistics_statement"} <= names
