"""The direct writer: the host's session and transactions are never touched, and a database in trouble breaks nothing."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_statistics import RequestMixin, databases
from flask_statistics.state import state_of
from flask_statistics.writers import direct

from ..conftest import App, whole_model

MakeApp = Callable[..., App]
AT_ONCE = 10.0
"""Seconds: a wait for a lock, or a connection, takes longer where `LONG_MS` or a pool's own 30 seconds hold."""
LONG_MS = 30_000


class Host:
    """An app with a table of its own, `thing`, and views that treat the session in every way."""

    def __init__(self, make_app: MakeApp, url: str | None = None, **options: Any) -> None:
        self.app = make_app(url, model=self.model, before=self.views, **options)

    def model(self, db: SQLAlchemy) -> type[Any]:
        self.db = db
        self.Thing: Any = type(
            "Thing", (db.Model,), {"id": db.Column(db.Integer, primary_key=True), "name": db.Column(db.Text)}
        )
        return whole_model(db)

    def views(self, flask: Flask) -> None:
        for view in (self.add, self.add_and_fail, self.flush, self.commit, self.break_session, self.read):
            flask.add_url_rule(f"/{view.__name__}", view.__name__, view)

    def add(self) -> str:
        self.db.session.add(self.Thing(name="added"))
        return "added"

    def add_and_fail(self) -> str:
        self.add()
        raise ValueError("failed")

    def flush(self) -> str:
        self.add()
        self.db.session.flush()
        return "flushed"

    def commit(self) -> str:
        self.add()
        self.db.session.commit()
        return "committed"

    def break_session(self) -> str:
        self.db.session.add_all([self.Thing(id=1), self.Thing(id=1)])
        try:
            self.db.session.flush()
        except sa.exc.IntegrityError:
            return "broken"
        return "whole"

    def read(self) -> str:
        return str(len(self.db.session.scalars(sa.select(self.Thing)).all()))

    def things(self) -> int:
        with self.app.flask.app_context():
            return self.db.session.scalar(sa.select(sa.func.count()).select_from(self.Thing)) or 0


@pytest.fixture(params=["file", "memory", "postgresql", "mariadb"])
def host(request: pytest.FixtureRequest, make_app: MakeApp, new_database: Any) -> Any:
    if request.param in ("postgresql", "mariadb"):
        with new_database(request.param) as url:
            host = Host(make_app, url)
            yield host
            host.app.close()
    else:
        yield Host(make_app, "sqlite://" if request.param == "memory" else None)


@pytest.fixture(autouse=True)
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure that takes long because the machine is busy is no sign of a database that is down."""
    monkeypatch.setattr(direct, "NOTICED_S", LONG_MS / 1000)


@pytest.fixture
def long_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for SQLite's lock waits for long."""
    monkeypatch.setattr(direct, "LOCK_WAIT_MS", LONG_MS)


# ---- the host's session ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("long_wait")
@pytest.mark.parametrize("path", ["/add", "/add_and_fail", "/flush"])
def test_direct_does_not_commit_what_the_host_did_not(host: Host, path: str) -> None:
    started = time.perf_counter()
    host.app.client.get(path)
    assert time.perf_counter() - started < AT_ONCE
    assert host.things() == 0
    assert host.app.row().path == path


def test_direct_leaves_what_the_host_committed(host: Host) -> None:
    host.app.client.get("/commit")
    assert host.things() == 1
    assert host.app.row().path == "/commit"


def test_direct_records_when_the_session_is_broken(host: Host) -> None:
    assert host.app.client.get("/break_session").text == "broken"
    assert host.app.row().status_code == 200


@pytest.mark.usefixtures("long_wait")
@pytest.mark.parametrize("path", ["/add", "/flush", "/read"])
def test_direct_waits_for_an_outer_context(host: Host, path: str) -> None:
    with host.app.flask.app_context():
        started = time.perf_counter()
        host.app.client.get(path)
        assert time.perf_counter() - started < AT_ONCE
        host.db.session.rollback()
    assert host.things() == 0
    assert host.app.row().path == path


def test_direct_does_not_commit_an_outer_transaction(host: Host) -> None:
    with host.app.flask.app_context():
        host.db.session.add(host.Thing(name="test"))
        host.db.session.flush()
        host.app.client.get("/nowhere")
        host.app.client.get("/elsewhere")
        assert host.db.session.scalar(sa.select(sa.func.count()).select_from(host.Thing)) == 1
    assert host.things() == 0
    assert [row.path for row in host.app.rows()] == ["/nowhere", "/elsewhere"]


def test_direct_lets_an_outer_transaction_be_committed(host: Host) -> None:
    with host.app.flask.app_context():
        host.db.session.add(host.Thing(name="test"))
        host.db.session.flush()
        host.app.client.get("/nowhere")
        host.db.session.commit()
    assert host.things() == 1
    assert host.app.row().path == "/nowhere"


def test_direct_never_opens_the_hosts_session(make_app: MakeApp) -> None:
    host = Host(make_app)
    opened: list[Any] = []
    sa.event.listen(host.db.session, "after_begin", lambda *arguments: opened.append(arguments))
    host.app.client.get("/nowhere")
    assert opened == []
    assert host.app.row().path == "/nowhere"


def test_direct_refuses_when_too_many_wait(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(direct, "MOST_WAITING", 2)
    host = Host(make_app)
    with host.app.flask.app_context():
        host.db.session.add(host.Thing(name="test"))
        host.db.session.flush()
        for number in range(4):
            host.app.client.get(f"/{number}")
    assert [row.path for row in host.app.rows()] == ["/0", "/1"]
    (record,) = caplog.records
    assert "the database is locked. Another transaction holds a lock" in record.message
    assert host.app.json("health")["lost"] == 2


SHARED_MEMORY = "sqlite:///file:{}?mode=memory&cache=shared&uri=true"
"""In-memory SQLite where each thread has one connection, which a session and its writer share."""


@pytest.mark.parametrize("question", ["/nowhere", "/statistics/api/summary"])
def test_direct_leaves_the_transaction_of_a_threads_connection(make_app: MakeApp, question: str) -> None:
    options = {"poolclass": sa.pool.SingletonThreadPool}
    host = Host(make_app, SHARED_MEMORY.format(question.count("/")), SQLALCHEMY_ENGINE_OPTIONS=options)
    with host.app.flask.app_context():
        for end, things in ((host.db.session.rollback, 0), (host.db.session.commit, 1)):
            host.db.session.add(host.Thing(name="test"))
            host.db.session.flush()
            assert host.app.client.get(question).status_code in (200, 404)
            end()
            assert host.db.session.scalar(sa.select(sa.func.count()).select_from(host.Thing)) == things
            host.db.session.rollback()


def test_direct_reads_a_memory_that_was_made_anew(make_app: MakeApp) -> None:
    app = make_app("sqlite://")
    app.client.get("/")
    assert app.json("summary")["hits"] == 1
    with app.flask.app_context():
        app.db.engine.dispose()
        app.db.create_all()
    assert app.json("summary")["hits"] == 0


def test_direct_waits_for_a_connection_that_the_host_holds(make_app: MakeApp) -> None:
    host = Host(make_app, SQLALCHEMY_ENGINE_OPTIONS={"pool_size": 1, "max_overflow": 0})
    with host.app.flask.app_context():
        host.read()
        started = time.perf_counter()
        host.app.client.get("/nowhere")
        assert time.perf_counter() - started < AT_ONCE
    assert host.app.row().path == "/nowhere"


@pytest.mark.usefixtures("long_wait")
def test_direct_does_not_wait_in_a_context_inside_an_open_transaction(host: Host) -> None:
    with host.app.flask.app_context():
        host.db.session.add(host.Thing(name="test"))
        host.db.session.flush()
        host.app.client.get("/nowhere")
        started = time.perf_counter()
        with host.app.flask.app_context():
            pass
        assert time.perf_counter() - started < AT_ONCE
    assert host.app.row().path == "/nowhere"


def test_direct_stores_rows_of_many_threads_once(make_app: MakeApp) -> None:
    app = make_app()
    app.client.get("/")  # imports what a first request does
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: app.flask.test_client().get(f"/{number}"), range(80)))
    app.json("health")
    assert sorted(row.path for row in app.rows()) == sorted(["/", *(f"/{number}" for number in range(80))])
    assert app.json("health")["lost"] == 0


# ---- a database in trouble ---------------------------------------------------------------------------------------


def only_error(caplog: pytest.LogCaptureFixture) -> str:
    (record,) = (record for record in caplog.records if record.name == "tests.app")
    assert record.levelno == logging.ERROR
    return record.message


def test_direct_missing_table(make_app: MakeApp, database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    app = make_app(database_url, before=lambda flask: flask.add_url_rule("/", "view", lambda: "hello"))
    with app.flask.app_context():
        app.db.drop_all()
    assert app.client.get("/").data == b"hello"
    app.client.get("/")
    assert only_error(caplog).startswith(
        "Flask-Statistics could not record a request, which was served all the same (1 lost"
    )
    assert only_error(caplog).endswith(
        "The table 'request' is missing: run 'flask statistics init' once, or make a migration."
    )
    health = app.json("health")
    assert (health["status"], health["recorded"], health["lost"]) == ("degraded", 0, 2)
    assert health["database"] != "ok"
    assert app.flask.test_cli_runner().invoke(args=["statistics", "init"]).exit_code == 0
    app.client.get("/")
    assert app.row().path == "/"
    assert app.json("health")["recorded"] == 1


@pytest.mark.parametrize("url", ["postgresql+psycopg://nobody@127.0.0.1:1/none", "sqlite:////nowhere/at/all.sqlite"])
def test_direct_rows_wait_for_a_database_that_is_down(
    make_app: MakeApp, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(before=lambda flask: flask.add_url_rule("/", "view", lambda: "hello"))
    state = state_of(app.flask)
    there = state.engine()
    state._engines[None] = away = sa.create_engine(url)
    assert app.client.get("/").data == b"hello"
    health = app.json("health")
    assert (health["status"], health["waiting"], health["lost"]) == ("degraded", 1, 0)
    assert health["database"].startswith("OperationalError: ")
    assert health["trouble"].startswith("OperationalError: ")
    assert health["trouble"].endswith(" Is the database running and reachable?")
    state._engines[None] = there
    app.client.get("/after")
    assert [row.path for row in app.rows()] == ["/", "/after"]
    assert app.json("health")["trouble"] is None
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    away.dispose()


def test_direct_log_has_nothing_of_the_row(
    make_app: MakeApp, new_database: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def picky(db: SQLAlchemy) -> type[Any]:
        never = sa.CheckConstraint("status_code < 0")
        return type("Request", (RequestMixin, db.Model), {"__table_args__": (never,)})

    with new_database("postgresql") as url:
        app = make_app(url, model=picky)
        app.client.get("/%0ACRITICAL forged", headers={"User-Agent": "somebody"})
        assert only_error(caplog).endswith(
            " The table refused the row: do its columns, constraints and triggers allow what is recorded?"
        )
        assert "_store" in caplog.text
        for text in ("forged", "somebody"):
            assert text not in caplog.text
            assert text not in app.json("health")["last_error"]
        app.close()


def test_direct_knocks_once_at_a_database_that_is_down(make_app: MakeApp) -> None:
    knocks: list[int] = []

    def connect() -> Any:
        knocks.append(1)  # each can take as long as the driver's timeout, and the visitor waits
        raise sqlite3.OperationalError("unreachable")

    app = make_app()
    state_of(app.flask)._engines[None] = sa.create_engine("sqlite:///x", creator=connect)
    app.client.get("/")
    assert len(knocks) == 1


@pytest.mark.parametrize("database", ["file", "postgresql"])
def test_direct_never_waits_for_the_hosts_pool(make_app: MakeApp, new_database: Any, database: str) -> None:
    options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": LONG_MS / 1000}
    with new_database("sqlite" if database == "file" else database) as url:
        app = make_app(url, SQLALCHEMY_ENGINE_OPTIONS=options)
        with state_of(app.flask).engine().connect():
            started = time.perf_counter()
            app.client.get("/")
            assert app.json("summary")["hits"] == 1
            assert time.perf_counter() - started < AT_ONCE
        app.close()


def test_is_locked_is_about_sqlite_only() -> None:
    error = sa.exc.OperationalError("INSERT", {}, Exception("Account is locked."))
    assert not databases.named("postgresql").is_locked(error)


def test_direct_logs_a_lasting_fault_once_a_minute(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()
    with app.flask.app_context():
        app.db.drop_all()
    for _ in range(5):
        app.client.get("/")
    only_error(caplog)
    recorder = state_of(app.flask).recorder
    assert recorder is not None
    recorder._quiet_until = 0.0
    app.client.get("/")
    assert "(6 lost since start)" in caplog.records[-1].message


def test_direct_keeps_rows_while_another_process_holds_the_lock(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct, "LOCK_WAIT_MS", 20)
    app = make_app()
    engine = sa.create_engine(app.flask.config["SQLALCHEMY_DATABASE_URI"])
    with engine.begin() as other:
        other.execute(sa.text("DELETE FROM request"))
        app.client.get("/one")
        app.client.get("/two")
    app.client.get("/three")
    assert [row.path for row in app.rows()] == ["/one", "/two", "/three"]
    assert caplog.records == []
    engine.dispose()


def test_direct_stores_kept_rows_at_exit(tmp_path: Path) -> None:
    code = """if True:
        import sqlalchemy as sa
        from tests.conftest import App
        from flask_statistics.writers import direct
        direct.LOCK_WAIT_MS = 20
        app = App("sqlite:///app.sqlite")
        other = sa.create_engine(app.flask.config["SQLALCHEMY_DATABASE_URI"]).connect()
        other.execute(sa.text("DELETE FROM request"))
        app.client.get("/last")
        other.close()
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    code = code.replace("sqlite:///app", f"sqlite:///{tmp_path}/app")
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "Traceback" not in found.stderr
    connection = sqlite3.connect(tmp_path / "app.sqlite")
    assert connection.execute("SELECT path FROM request").fetchall() == [("/last",)]
    connection.close()


def test_direct_gives_the_hosts_lock_wait_back(make_app: MakeApp) -> None:
    app = make_app(SQLALCHEMY_ENGINE_OPTIONS={"connect_args": {"timeout": 7}, "poolclass": sa.pool.StaticPool})
    app.client.get("/")
    with app.flask.app_context(), app.db.engine.connect() as connection:
        assert connection.scalar(sa.text("PRAGMA busy_timeout")) == 7000


def test_direct_survives_a_restart_of_the_server(
    make_app: MakeApp, new_database: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with new_database("postgresql") as url:
        app = make_app(url)
        app.client.get("/before")
        admin = sa.create_engine(url, poolclass=sa.NullPool)
        with admin.connect() as connection:
            connection.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        app.client.get("/after")
        with app.flask.app_context():
            app.db.engine.dispose()  # the host's own are gone as well
        assert [row.path for row in app.rows()] == ["/before", "/after"]
        assert caplog.records == []
        app.close()


def test_direct_row_that_the_table_refuses(make_app: MakeApp, caplog: pytest.LogCaptureFixture) -> None:
    def strict(db: SQLAlchemy) -> type[Any]:
        columns = {"index": db.Column(db.Integer, primary_key=True), "date": db.Column(db.DateTime)}
        return type(
            "Request", (db.Model,), columns | {"tenant": db.Column(db.Integer, db.CheckConstraint("date IS NULL"))}
        )

    app = make_app(model=strict)
    app.client.get("/")
    assert only_error(caplog).endswith(
        "The table refused the row: do its columns, constraints and triggers allow what is recorded?"
    )
