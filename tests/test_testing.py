"""The kit for users' tests: used as its documentation says, and each of its switches on a whole app."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from flask_statistics import Dimension, RequestMixin
from flask_statistics.record import NotStored
from flask_statistics.testing import loud, quiet, recording

from .conftest import App, original_model

MakeApp = Callable[..., App]
pytest_plugins = ["pytester"]

CONFTEST = """
import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from flask_statistics import RequestMixin, Statistics

pytest_plugins = ["flask_statistics.testing"]


@pytest.fixture
def app():
    app = Flask("app")
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    db = SQLAlchemy(app)
    Statistics(app, db, type("Request", (RequestMixin, db.Model), {}))
    app.add_url_rule("/", "home", lambda: "Hello!")
    return app
"""
TEST = """
def test_home_is_recorded(app, statistics):
    app.test_client().get("/", headers={"User-Agent": "curl/8.0"})
    app.test_client().get("/nowhere")
    home, nowhere = statistics.requests
    assert (home.path, home.route, home.status_code) == ("/", "/", 200)
    assert statistics.requests[-1].path == "/nowhere"
    assert repr(statistics.requests) == "[<GET / 200>, <GET /nowhere 404>]"
"""


def test_fixture(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(TEST)
    pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:schemathesis").assert_outcomes(passed=1)


def test_recording_keeps_what_the_model_would_store(make_app: MakeApp) -> None:
    app = make_app(model=original_model)
    with recording(app.flask) as statistics:
        app.client.get("/" + "x" * 30_000, headers={"User-Agent": "curl/8.0"})
    (found,) = statistics.requests
    assert len(found.path) == 20_000
    assert not hasattr(found, "route")
    assert app.rows() == []
    app.client.get("/stored")
    assert app.row().path == "/stored"


def test_loud_raises_what_recording_fails_with(make_app: MakeApp) -> None:
    app = make_app()
    with app.flask.app_context():
        app.db.drop_all()
    with loud(app.flask), pytest.raises(NotStored) as caught:
        app.client.get("/")
    assert isinstance(caught.value.__cause__, sa.exc.OperationalError)
    assert app.client.get("/").status_code == 404


def test_loud_raises_what_disable_f_raises(make_app: MakeApp) -> None:
    app = make_app(disable_f=lambda: 1 / 0)
    with recording(app.flask), pytest.raises(ZeroDivisionError):
        app.client.get("/")
    assert app.client.get("/").status_code == 404


def test_quiet(make_app: MakeApp) -> None:
    app = make_app()
    with quiet(app.flask):
        app.client.get("/unseen")
    app.client.get("/seen")
    assert app.row().path == "/seen"


def test_testing_needs_an_app_that_records(make_app: MakeApp) -> None:
    app = make_app(STATISTICS_ENABLED=False)
    with pytest.raises(RuntimeError, match="STATISTICS_ENABLED is False"), recording(app.flask):
        pass


def test_recording_has_the_columns_that_a_dimension_fills(make_app: MakeApp) -> None:
    def model(db: Any) -> type[Any]:
        return type("Request", (RequestMixin, db.Model), {"tenant_id": db.Column(db.String(20))})

    app = make_app(model=model, dimensions=[Dimension("tenant", column="tenant_id", record=lambda: "acme")])
    with recording(app.flask) as memory:
        app.client.get("/")
    assert memory.requests[-1].tenant_id == "acme"
