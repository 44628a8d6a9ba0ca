"""Statements of the host, timed and counted for the request that sent them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask, Response, copy_current_request_context, render_template
from flask_sqlalchemy import SQLAlchemy

from flask_statistics import RequestMixin, Statistics
from flask_statistics.timing.story import Statement, load

from ..conftest import App, whole_model

PLACE = "tests/timing/test_statements.py"


def with_view(make_app: Callable[..., App], view: Callable[[SQLAlchemy], Any], **options: Any) -> App:
    """An app with `view` at /, which gets its database."""
    app = make_app(**{"STATISTICS_QUERIES": True} | options)
    app.flask.add_url_rule("/", "view", lambda: view(app.db))
    return app


def many(db: SQLAlchemy, times: int = 10) -> str:
    for number in range(times):
        db.session.execute(sa.text(f"SELECT {number}"))
    return "done"


def told(row: Any) -> tuple[Statement, ...]:
    return load(row.story).statements


@pytest.mark.parametrize("writer", ["direct", "spool"])
def test_statements_of_a_request_are_stored_with_it(
    make_app: Callable[..., App], database_url: str, writer: str
) -> None:
    app = with_view(make_app, lambda db: many(db, 12), url=database_url, STATISTICS_WRITER=writer)
    app.client.get("/")
    row = app.row()
    assert row.db_queries == 12
    assert 0 < row.db_time <= row.response_time
    (statement,) = told(row)
    assert statement.text == "SELECT ?"
    assert statement.place == f"{PLACE}:{many.__code__.co_firstlineno + 2}"
    assert statement.times == 12
    assert abs(statement.total_us - row.db_time * 1e6) < 1


def test_a_request_without_statements_has_none(make_app: Callable[..., App]) -> None:
    app = with_view(make_app, lambda db: "nothing")
    app.client.get("/")
    row = app.row()
    assert (row.db_queries, row.db_time, row.story, row.http_calls) == (0, 0.0, None, None)


def test_without_the_setting_nothing_listens(make_app: Callable[..., App]) -> None:
    app = with_view(make_app, many, STATISTICS_QUERIES=False)
    app.client.get("/")
    row = app.row()
    assert (row.db_queries, row.db_time, row.story) == (None, None, None)
    with app.flask.app_context():
        events: Any = app.db.engine.dialect.dispatch
        assert not len(events.do_execute) + len(events.do_executemany)


def test_our_own_statements_are_not_counted(make_app: Callable[..., App]) -> None:
    app = make_app(url="sqlite:///:memory:", STATISTICS_QUERIES=True)
    app.flask.add_url_rule("/", "view", lambda: str(app.statistics.query().summary(span="7d").hits))
    for _ in range(2):
        app.client.get("/")
    assert [row.db_queries for row in app.rows()] == [0, 0]


def test_every_bind_is_listened_to(make_app: Callable[..., App]) -> None:
    def view(db: SQLAlchemy) -> str:
        for key in (None, "other"):
            with db.engines[key].connect() as connection:
                connection.execute(sa.text("SELECT 1"))
        return "done"

    app = with_view(make_app, view, SQLALCHEMY_BINDS={"other": "sqlite://"})
    app.client.get("/")
    assert app.row().db_queries == 2


def test_engines_that_are_made_later_are_listened_to(tmp_path: Any) -> None:
    app, db = Flask(__name__), SQLAlchemy()
    app.config.update(SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path / 'a.sqlite'}", STATISTICS_QUERIES=True)
    request = type("Request", (RequestMixin, db.Model), {})
    Statistics(app, db, request)
    db.init_app(app)  # after it

    @app.get("/")
    def view() -> str:
        return many(db, 3)

    with app.app_context():
        db.create_all()
    client = app.test_client()
    client.get("/")
    with app.app_context():
        engines: Any = db.engines
        engines["later"] = sa.create_engine("sqlite://")
    client.get("/")
    with app.app_context():
        assert list(db.session.scalars(sa.select(request.db_queries))) == [3, 3]  # type: ignore[attr-defined]
        assert len(engines["later"].dialect.dispatch.do_execute) == 1


def test_statements_of_an_engine_in_the_place_of_another_one_are_measured(make_app: Callable[..., App]) -> None:
    app = with_view(make_app, lambda db: many(db, 3))
    app.client.get("/")
    with app.flask.app_context():
        engines: Any = app.db.engines
        engines[None].dispose()
        engines[None] = sa.create_engine(engines[None].url)
    app.client.get("/")
    assert [row.db_queries for row in app.rows()] == [3, 3]


def test_a_thread_that_a_view_starts_is_no_part_of_its_request(make_app: Callable[..., App]) -> None:
    def view(db: SQLAlchemy) -> str:
        engine = db.engine

        def work() -> None:
            with engine.connect() as connection:
                connection.execute(sa.text("SELECT 1"))

        threads = [threading.Thread(target=work), threading.Thread(target=copy_context().run, args=(work,))]
        for thread in threads:
            thread.start()
            thread.join()
        return "done"

    app = with_view(make_app, view)
    app.client.get("/")
    assert app.row().db_queries == 1  # of the one that was handed the request's context


def test_what_goes_on_after_its_request_is_not_counted(make_app: Callable[..., App]) -> None:
    over = threading.Event()
    threads = []

    def view(db: SQLAlchemy) -> str:
        @copy_current_request_context
        def work() -> None:
            over.wait(30)
            many(db, 2)

        threads.append(threading.Thread(target=work))
        threads[0].start()
        return many(db, 1)

    app = with_view(make_app, view)
    app.client.get("/")
    over.set()
    threads[0].join()
    assert app.row().db_queries == 1


def test_statements_that_fail_are_counted_without_their_text(make_app: Callable[..., App]) -> None:
    def view(db: SQLAlchemy) -> str:
        for _ in range(10):
            with pytest.raises(sa.exc.OperationalError):
                db.session.execute(sa.text("SELECT joe@example.org"))
            db.session.rollback()
        return "done"

    app = with_view(make_app, view)
    app.client.get("/")
    row = app.row()
    assert row.db_queries == 10
    assert [one.text for one in told(row)] == ["SELECT (not understood)"]


def test_values_are_never_kept(make_app: Callable[..., App]) -> None:
    def view(db: SQLAlchemy) -> str:
        for number in range(10):
            db.session.execute(sa.text(f"SELECT 'secret {number}', :name"), {"name": "secret"})
        return "done"

    app = with_view(make_app, view)
    app.client.get("/")
    assert "secret" not in app.row().story


def test_executemany_is_one_statement(make_app: Callable[..., App]) -> None:
    def view(db: SQLAlchemy) -> str:
        rows = [{"a": number} for number in range(50)]
        with db.engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE t (a INTEGER)"))
            connection.execute(sa.text("INSERT INTO t VALUES (:a)"), rows)
            connection.exec_driver_sql("SELECT 1", execution_options={"no_parameters": True})
        return "done"

    app = with_view(make_app, view)
    app.client.get("/")
    assert app.row().db_queries == 3


def test_a_streamed_body_is_a_part_of_its_request(make_app: Callable[..., App]) -> None:
    def view(db: SQLAlchemy) -> Response:
        engine = db.engine

        def pieces() -> Iterator[str]:
            for _ in range(10):
                with engine.connect() as connection:
                    yield str(connection.execute(sa.text("SELECT 1")).scalar())

        return Response(pieces())

    app = with_view(make_app, view)
    assert app.client.get("/").text == "1" * 10
    row = app.row()
    assert row.db_queries == 10
    assert told(row)[0].place.startswith(PLACE)  # type: ignore[union-attr]


def test_requests_that_are_not_recorded_keep_nothing(make_app: Callable[..., App]) -> None:
    app = with_view(make_app, many, STATISTICS_EXCLUDE=["/"])
    app.client.get("/")
    assert app.rows() == []


def test_an_app_called_in_a_view_counts_for_itself(make_app: Callable[..., App]) -> None:
    inner = with_view(make_app, lambda db: many(db, 3))

    def view(db: SQLAlchemy) -> str:
        many(db, 1)
        inner.flask.test_client().get("/")
        return many(db, 1)

    outer = with_view(make_app, view)
    outer.client.get("/")
    assert (outer.row().db_queries, inner.row().db_queries) == (2, 3)


def test_listeners_of_the_host_are_asked_as_before(make_app: Callable[..., App]) -> None:
    seen: list[str] = []
    app = with_view(make_app, lambda db: many(db, 1))
    app.client.get("/")
    with app.flask.app_context():
        engine = app.db.engine

    def listener(_cursor: Any, statement: str, _parameters: Any, _context: Any) -> None:
        seen.append(statement)

    sa.event.listen(engine, "do_execute", listener)
    app.client.get("/")
    assert seen.count("SELECT 0") == 1
    assert [row.db_queries for row in app.rows()] == [1, 1]


def test_the_place_in_a_template_is_its_line(make_app: Callable[..., App], tmp_path: Any) -> None:
    templates = tmp_path / "templates"
    templates.mkdir()
    (templates / "page.html").write_text("{% for n in range(10) %}\n\n{{ ask() }}\n{% endfor %}\n")

    def before(flask: Flask) -> None:
        flask.root_path = str(tmp_path)

    app = make_app(STATISTICS_QUERIES=True, before=before)
    app.flask.jinja_loader.searchpath.append(str(templates))  # type: ignore[union-attr]
    app.flask.add_url_rule(
        "/", "view", lambda: render_template("page.html", ask=lambda: app.db.session.scalar(sa.text("SELECT 1")))
    )
    app.client.get("/")
    assert [one.place for one in told(app.row())] == ["templates/page.html:3"]


def test_a_model_without_the_columns_is_refused(make_app: Callable[..., App]) -> None:
    def model(db: SQLAlchemy) -> Any:
        return type(
            "Request", (db.Model,), {"id": db.Column(db.Integer, primary_key=True), "date": db.Column(db.DateTime)}
        )

    with pytest.raises(ValueError, match="STATISTICS_QUERIES is True, but the model has no column 'db_time'"):
        make_app(model=model, STATISTICS_QUERIES=True)


def test_engines_that_cannot_be_asked_for_break_no_request(make_app: Callable[..., App], caplog: Any) -> None:
    app = Flask(__name__)
    db = SQLAlchemy()
    app.config.update(STATISTICS_QUERIES=True, TESTING=True)  # what else fails is not waited for
    Statistics(app, db, whole_model(db))  # and never db.init_app(app)
    app.add_url_rule("/", "view", lambda: "done")
    for _ in range(2):
        assert app.test_client().get("/").text == "done"
    assert caplog.text.count("statements are not measured") == 1
