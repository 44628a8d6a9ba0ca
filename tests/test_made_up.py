"""Made-up requests are stored as real ones are, with what their statements took."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from .conftest import App


def test_demo_data_has_statements_where_they_are_kept(make_app: Callable[..., App], database_url: str) -> None:
    app = make_app(database_url, STATISTICS_QUERIES=True)
    arguments = ["statistics", "demo-data", "--requests", "500", "--days", "3"]
    for _ in range(2):  # the second time they are added to those that are there
        result = app.flask.test_cli_runner().invoke(args=[*arguments, "--yes"])
        assert result.exit_code == 0, result.output
    tables = app.statistics_state().statements
    assert tables is not None
    query = tables.query.c
    with app.flask.app_context():
        calls, total_us, loops = app.db.session.execute(
            sa.select(sa.func.sum(query.calls), sa.func.sum(query.total_us), sa.func.sum(query.repeated))
        ).one()
    rows = app.rows()
    assert calls == sum(row.db_queries for row in rows)
    assert int(total_us) == pytest.approx(1_000_000 * sum(row.db_time for row in rows), rel=1e-3)
    assert loops == sum(row.route == "/category/<slug>" for row in rows) > 0
    assert "N+1" in app.client.get("/statistics/database?span=7d").text


def test_demo_data_without_statements(make_app: Callable[..., App]) -> None:
    app = make_app()
    result = app.flask.test_cli_runner().invoke(args=["statistics", "demo-data", "--requests", "50"])
    assert result.exit_code == 0, result.output
    assert len(app.rows()) == 50
