"""The command line: what `init` and `demo-data` do and say."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import Result
from flask_sqlalchemy import SQLAlchemy

from flask_statistics import RequestMixin
from flask_statistics.state import state_of

from ..conftest import App, original_model

MakeApp = Callable[..., App]
NOTHING = "Nothing to do: tables and index are there.\n"


def run(app: App, *arguments: str, **options: Any) -> Result:
    return app.flask.test_cli_runner().invoke(args=["statistics", *arguments], **options)


def dates(app: App) -> list[str]:
    """The columns that have an index."""
    with app.flask.app_context():
        indexes = sa.inspect(app.db.engine).get_indexes("request")
    return [name for index in indexes for name in index["column_names"] if name]


def test_init_creates_tables_and_index(make_app: MakeApp, database_url: str) -> None:
    app = make_app(database_url)
    with app.flask.app_context():
        app.db.drop_all()
    result = run(app, "init")
    assert (result.exit_code, result.output) == (
        0,
        "Created the table request.\nCreated the table statistics_import.\nCreated the table statistics_issue.\n"
        "Created the table statistics_mark.\nCreated the table statistics_view.\n",
    )
    assert dates(app) == ["date"]
    assert run(app, "init").output == NOTHING


def test_init_creates_the_index_that_a_model_lacks(make_app: MakeApp, database_url: str) -> None:
    app = make_app(database_url, model=original_model)
    app.client.get("/")
    assert run(app, "init").output == "Created an index on request.date.\n"
    assert dates(app) == ["date"]
    assert run(app, "init").output == NOTHING
    assert app.row().path == "/"
    assert app.Request.__table__.indexes == set()


def test_init_with_a_database_column_of_another_name(make_app: MakeApp) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        columns = {"index": db.Column(db.Integer, primary_key=True), "date": db.Column("at", db.DateTime)}
        return type("Request", (db.Model,), columns)

    app = make_app(model=model)
    assert run(app, "init").output == "Created an index on request.at.\n"
    assert dates(app) == ["at"]


@pytest.mark.parametrize("kind", ["unique", "index"])
def test_init_takes_an_index_that_begins_with_the_date(make_app: MakeApp, kind: str) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        columns = {"index": db.Column(db.Integer, primary_key=True), "date": db.Column(db.DateTime)}
        path = {"path": db.Column(db.Text)}
        extra = db.UniqueConstraint("date", "path") if kind == "unique" else db.Index("mine", "date", "path")
        return type("Request", (db.Model,), {**columns, **path, "__table_args__": (extra,)})

    assert run(make_app(model=model), "init").output == NOTHING


def test_init_leaves_the_hosts_tables_alone(make_app: MakeApp) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        type("Thing", (db.Model,), {"id": db.Column(db.Integer, primary_key=True)})
        return type("Request", (RequestMixin, db.Model), {})

    app = make_app(model=model)
    with app.flask.app_context():
        app.db.drop_all()
    run(app, "init")
    with app.flask.app_context():
        assert sorted(sa.inspect(app.db.engine).get_table_names()) == [
            "request",
            "statistics_import",
            "statistics_issue",
            "statistics_mark",
            "statistics_view",
        ]


def test_init_without_a_database(make_app: MakeApp) -> None:
    app = make_app()
    state_of(app.flask)._engines[None] = sa.create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")
    result = run(app, "init")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: The database refused: connection failed: ")
    assert result.stderr.endswith("Is it running, and may the app's user create tables?\n")


def test_demo_data(make_app: MakeApp, database_url: str) -> None:
    app = make_app(database_url)
    result = run(app, "demo-data", "--requests", "700", "--days", "7", "--seed", "3")
    assert (result.exit_code, result.stdout) == (0, "700 requests stored. See them at /statistics/?span=7d\n")
    rows, now = app.rows(), datetime.now(timezone.utc).replace(tzinfo=None)
    assert len(rows) == 700
    assert now - timedelta(days=7, minutes=1) < rows[0].date < rows[-1].date < now
    assert now - rows[-1].date < timedelta(hours=3)


def test_demo_data_is_the_same_for_a_seed(make_app: MakeApp) -> None:
    apps = [make_app() for _ in range(3)]
    for app, seed in zip(apps, ("3", "3", "4"), strict=True):
        run(app, "demo-data", "--requests", "50", "--seed", seed)
    one, same, other = ([row.path for row in app.rows()] for app in apps)
    assert one == same != other


def test_demo_data_asks_before_it_mixes(make_app: MakeApp) -> None:
    app = make_app()
    app.client.get("/mine")
    refused = run(app, "demo-data", "--requests", "5", input="n\n")
    assert refused.exit_code == 1
    assert "Requests are stored already, and made-up ones cannot be told apart later. Go on? [y/N]: n" in refused.output
    assert [row.path for row in app.rows()] == ["/mine"]
    assert run(app, "demo-data", "--requests", "5", input="y\n").exit_code == 0
    assert run(app, "demo-data", "--requests", "5", "--yes").exit_code == 0
    assert len(app.rows()) == 11


@pytest.mark.parametrize("option", ["--requests", "--days"])
def test_demo_data_refuses_numbers(make_app: MakeApp, option: str) -> None:
    assert run(make_app(), "demo-data", option, "0").exit_code == 2


def test_commands_use_the_right_app(make_app: MakeApp) -> None:
    one, two = make_app(), make_app()
    run(one, "demo-data", "--requests", "3")
    run(two, "demo-data", "--requests", "4")
    assert (len(one.rows()), len(two.rows())) == (3, 4)
