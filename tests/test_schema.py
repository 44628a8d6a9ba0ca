"""A table that its model outgrew: what is missing is named, with the statements that add it, and added on request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy

from flask_statistics import RequestMixin

from .conftest import App, execute, original_model


def outgrown(db: SQLAlchemy) -> type[Any]:
    """The original's model with the columns that came later, and one of the host's own that cannot be NULL."""
    columns = {"plan": db.Column("the plan", db.String(20), nullable=False, default="free")}
    return type("Request", (RequestMixin, db.Model), columns)


@pytest.fixture
def app(make_app: Callable[..., App], database_url: str) -> App:
    """An app with the original's table, and a model that has more."""
    old = make_app(database_url, model=original_model, STATISTICS_ENABLED=False)
    old.close()
    return make_app(database_url, model=outgrown)


def run(app: App, *arguments: str) -> tuple[int, str, str]:
    result = app.flask.test_cli_runner().invoke(args=["statistics", *arguments])
    return result.exit_code, result.stdout, result.stderr


MISSING = ("route", "query_string", "device", "traceback", "the plan")


def test_init_prints_what_adds_missing_columns(app: App, database_url: str) -> None:
    code, out, err = run(app, "init")
    assert code == 1
    assert "The table request lacks columns that its model has: " in err
    assert "init --alter" in err
    statements = [line for line in out.splitlines() if line.startswith("ALTER TABLE request ADD COLUMN ")]
    assert len(statements) >= len(MISSING)
    execute(sa.make_url(database_url), *statements)  # as somebody would paste them
    code, out, err = run(app, "init")
    assert (code, err) == (0, "")


def test_init_alters_on_request_and_then_records(app: App) -> None:
    code, out, _ = run(app, "init", "--alter")
    assert code == 0
    assert "Added the column request.route." in out
    assert run(app, "init", "--alter") == (0, "Nothing to do: tables and index are there.\n", "")
    app.client.get("/here")
    assert [(row.path, row.status_code) for row in app.rows()] == [("/here", 404)]


def test_status_and_health_name_missing_columns(app: App) -> None:
    code, out, err = run(app, "status")
    assert code == 1
    assert "ALTER TABLE request ADD COLUMN route" in out
    for name in MISSING:
        assert name in err
    problems = app.json("health")["problems"]
    assert any("lacks columns" in problem and "route" in problem for problem in problems)


def test_init_of_a_table_that_fits_says_nothing_to_do(make_app: Callable[..., App]) -> None:
    app = make_app()
    assert run(app, "init") == (0, "Nothing to do: tables and index are there.\n", "")
