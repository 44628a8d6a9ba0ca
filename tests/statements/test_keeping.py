"""What statements took is added up in tables, whoever else adds to them, and whatever the database does."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextvars import copy_context
from datetime import datetime, timedelta
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from flask import request
from flask_sqlalchemy import SQLAlchemy

from flask_statistics.connections import RECORDING
from flask_statistics.statements import keeping, tally
from flask_statistics.statements.keeping import Keeper
from flask_statistics.statements.table import add_packed
from flask_statistics.timing import collector, statements
from flask_statistics.timing.collector import Source, Times
from flask_statistics.timing.fingerprint import fingerprint, rules_of
from flask_statistics.timing.story import load

from ..conftest import App

HOUR = timedelta(hours=1)


def ask(db: SQLAlchemy, times: int) -> str:
    for number in range(times):
        db.session.execute(sa.text(f"SELECT {number}"))
    return "done"


def an_app(make_app: Callable[..., App], url: str | None = None, **options: Any) -> App:
    """An app that sends as many statements as its URL says."""
    app = make_app(url, STATISTICS_QUERIES=True, **options)
    app.flask.add_url_rule("/<int:times>", "view", lambda times: ask(app.db, times))
    return app


def stored(app: App) -> list[dict[str, Any]]:
    """What is in both tables, by text and hour; nothing of this process waits then."""
    state = app.statistics_state()
    state.settle()
    tables = state.statements
    assert tables is not None
    joined = sa.join(tables.query, tables.statement, tables.query.c.statement == tables.statement.c.id)
    query = sa.select(joined).order_by(tables.query.c.start, tables.statement.c.text)
    with state.our_engine().connect() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def sent(text: str, *microseconds: int, place: str | None = "shop/views.py:1") -> dict[Source, Times]:
    """One kind of statement with these times."""
    times = Times()
    for each in microseconds:
        times.add(each)
    return {Source(fingerprint(text, rules_of("sqlite")), place, 0, None, 0): times}


def test_a_thread_that_ends_its_statement_after_the_request_adds_nothing(make_app: Callable[..., App]) -> None:
    app = make_app(STATISTICS_QUERIES=True)
    begun, over = Event(), Event()
    threads: list[Thread] = []

    def wait() -> bool:
        begun.set()
        return over.wait(30)

    def work(engine: sa.Engine) -> None:
        with engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            driver.create_function("wait", 0, wait)
            connection.execute(sa.text("SELECT wait()"))

    @app.flask.route("/")
    def view() -> str:
        threads.append(Thread(target=copy_context().run, args=(work, app.db.engine)))
        threads[0].start()
        assert begun.wait(30)
        return ask(app.db, 1)

    app.client.get("/")
    over.set()
    threads[0].join()
    assert app.row().db_queries == 1
    assert [row["text"] for row in stored(app)] == ["SELECT ?"]


@pytest.mark.parametrize("writer", ["direct", "spool"])
def test_statements_are_added_up_by_hour(make_app: Callable[..., App], database_url: str, writer: str) -> None:
    app = an_app(make_app, database_url, STATISTICS_WRITER=writer)
    for times in (3, 10, 0):
        app.client.get(f"/{times}")
        app.statistics_state().settle()
    (row,) = stored(app)
    assert (row["text"], row["route"]) == ("SELECT ?", "/<int:times>")
    assert row["place"].startswith("tests/statements/test_keeping.py:")
    assert (row["calls"], row["requests"], row["repeated"]) == (13, 2, 1)
    assert 0 <= row["longest_us"] <= row["total_us"]
    bins: dict[int, int] = {}
    add_packed(bins, row["times"])
    assert sum(bins.values()) == 13
    assert row["start"].minute == row["start"].second == 0
    assert timedelta() <= row["seen_at"] - row["start"] < 2 * HOUR
    assert abs(row["total_us"] - sum(each.db_time for each in app.rows()) * 1e6) < 2


def test_requests_that_are_not_recorded_are_not_added(make_app: Callable[..., App]) -> None:
    app = an_app(make_app, STATISTICS_EXCLUDE=["/3"], disable_f=lambda: request.path == "/4")
    app.client.get("/3")
    app.client.get("/4")
    assert stored(app) == []


def test_without_the_setting_there_are_no_tables(make_app: Callable[..., App]) -> None:
    app = make_app()
    assert app.statistics_state().statements is None
    with app.flask.app_context():
        assert not [
            name for name in sa.inspect(app.db.engine).get_table_names() if name.endswith(("query", "statement"))
        ]


def keepers(app: App, count: int) -> list[Keeper]:
    """Keepers as other processes have them."""
    state = app.statistics_state()
    assert state.statements is not None
    return [
        Keeper(state.statements, lambda: state.our_engine_for(RECORDING), kept=None, logger=app.flask.logger)
        for _ in range(count)
    ]


def test_many_at_once_lose_nothing_of_each_other(make_app: Callable[..., App], database_url: str) -> None:
    app = an_app(make_app, database_url)
    with app.flask.app_context():
        app.db.engine.dispose()

    def work(keeper: Keeper) -> None:
        for number in range(10):
            for text in ("SELECT a", "SELECT b", f"SELECT c{number}"):
                keeper.keep("/", sent(text, 100, 5_000))
            keeper.settle()
        deadline = time.monotonic() + 60
        while keeper.waits:
            assert time.monotonic() < deadline, keeper.trouble
            keeper.settle()

    threads = [Thread(target=work, args=(keeper,)) for keeper in keepers(app, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = {row["text"]: row for row in stored(app)}
    assert len(found) == 12
    assert {found[text]["calls"] for text in ("SELECT a", "SELECT b")} == {80}
    assert sum(row["total_us"] for row in found.values()) == 4 * 10 * 3 * 5_100
    assert found["SELECT a"]["times"] == found["SELECT b"]["times"]


def test_a_statement_that_comes_meanwhile_is_added_to_by_one_at_a_time(
    make_app: Callable[..., App], database_url: str
) -> None:
    app = an_app(make_app, database_url)
    late, first, second = every = keepers(app, 3)
    for keeper in every:
        keeper.keep("/", sent("SELECT a", 100))
    state = app.statistics_state()
    engine, told = state.our_engine_for(RECORDING), list[str]()

    def meanwhile(_connection: Any, _cursor: Any, text: str, *_: Any) -> None:
        """While `late` has seen no row of the statement, the first one stores it; while it adds to that, the second one does."""
        if text.startswith("UPDATE statistics_statement") and not told:
            told.append("first begins")
            first.settle()
            told.append("first is over")
        elif text.startswith("SELECT statistics_query") and told[-1] == "first is over":
            told.append("second begins")
            second.settle()

    sa.event.listen(engine, "after_cursor_execute", meanwhile)
    try:
        late.settle()
    finally:
        sa.event.remove(engine, "after_cursor_execute", meanwhile)
    for keeper in every:
        keeper.settle()
    assert [row["calls"] for row in stored(app)] == [3]


def test_what_the_database_refuses_waits(make_app: Callable[..., App], caplog: pytest.LogCaptureFixture) -> None:
    app = an_app(make_app)
    state = app.statistics_state()
    assert state.statements is not None
    assert state.keeper is not None
    with app.flask.app_context():
        state.statements.query.drop(app.db.engine)
    for _ in range(2):
        app.client.get("/3")
        state.settle()
    assert caplog.text.count("could not be stored: no such table: statistics_query") == 1
    (problem,) = state.keeper.problems
    assert problem.endswith("and waits in memory: no such table: statistics_query.")
    assert problem in app.json("health")["problems"]
    assert app.flask.test_cli_runner().invoke(args=["statistics", "init"]).exit_code == 0
    (row,) = stored(app)
    assert (row["calls"], row["requests"]) == (6, 2)
    assert state.keeper.trouble is None


def test_a_commit_that_a_reader_keeps_waiting_stores_nothing_later(make_app: Callable[..., App]) -> None:
    app = an_app(make_app)
    (keeper,) = keepers(app, 1)
    path = app.flask.config["SQLALCHEMY_DATABASE_URI"].removeprefix("sqlite:///")
    reader = sqlite3.connect(path)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM statistics_query").fetchall()
    keeper.keep("/", sent("SELECT a", 100))
    keeper.settle()
    assert keeper.waits
    reader.rollback()
    reader.execute("BEGIN IMMEDIATE")  # no lock of ours is left either
    reader.close()
    keeper.settle()
    assert [row["calls"] for row in stored(app)] == [1]


def test_a_transaction_of_the_hosts_in_memory_is_let_be(make_app: Callable[..., App]) -> None:
    app = an_app(make_app, "sqlite:///:memory:")
    state = app.statistics_state()
    with app.flask.app_context():
        app.client.get("/3")
        app.db.session.execute(sa.insert(app.Request).values(date=datetime(2026, 1, 1)))
        assert state.keeper is not None
        state.keeper.settle()
        app.db.session.rollback()
        assert not app.db.session.scalar(sa.select(sa.func.count()).where(app.Request.date == datetime(2026, 1, 1)))
    assert len(stored(app)) == 1


def test_too_many_statements_of_a_day_become_one(make_app: Callable[..., App], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "MOST_STATEMENTS", 3)
    clock = iter(range(0, 7 * 14_400, 14_400))  # every four hours, the last one on the next day
    monkeypatch.setattr(tally, "time", SimpleNamespace(time=lambda: next(clock)))
    app = an_app(make_app)
    (keeper,) = keepers(app, 1)
    for number in range(6):
        keeper.keep("/", sent(f"SELECT c{number}", 100))
    keeper.settle()
    keeper.keep("/", sent("SELECT c5", 100))
    keeper.settle()
    told_apart = ["SELECT c0", "SELECT c1", "SELECT c2", "SELECT c5"]
    assert sorted(row["text"] for row in stored(app)) == ["(others)"] * 3 + told_apart


def test_many_kinds_of_one_request_are_no_query_in_a_loop(
    make_app: Callable[..., App], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (collector, statements):
        monkeypatch.setattr(module, "MOST_KINDS", 2)
    app = make_app(STATISTICS_QUERIES=True)

    @app.flask.route("/")
    def view() -> str:
        for number in range(14):
            app.db.session.execute(sa.text(f"SELECT 1 AS c{number}"))
        return "done"

    app.client.get("/")
    assert {row["text"]: (row["calls"], row["repeated"]) for row in stored(app)} == {
        "(others)": (12, 0),
        "SELECT ? AS c0": (1, 0),
        "SELECT ? AS c1": (1, 0),
    }
    told = load(app.row().story).statements
    assert [(one.text, one.is_many) for one in told if one.times > 1] == [("(others)", False)]


def test_what_waits_is_bounded_and_counted_as_lost(
    make_app: Callable[..., App], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally, "MOST_REQUESTS", 5)
    app = an_app(make_app)
    (keeper,) = keepers(app, 1)
    for _ in range(7):
        keeper.keep("/", sent("SELECT a", 100))
    assert keeper.problems == (
        "What statements took is lost of 2 requests of this process: too much waited to be stored.",
    )
    keeper.settle()
    assert [row["calls"] for row in stored(app)] == [5]


def test_the_thread_stores_by_itself_and_at_its_end(
    make_app: Callable[..., App], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "STORED_EVERY_S", 0.01)
    app = an_app(make_app)
    (keeper,) = keepers(app, 1)
    keeper.ensure_running()
    keeper.keep("/", sent("SELECT a", 100))
    deadline = time.monotonic() + 30
    while keeper.waits:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    monkeypatch.setattr(keeping, "STORED_EVERY_S", 600)
    keeper.keep("/", sent("SELECT b", 100))
    keeper.stop()
    assert [row["text"] for row in stored(app)] == ["SELECT a", "SELECT b"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_child_of_a_fork_stores_nothing_of_its_parents(make_app: Callable[..., App]) -> None:
    app = an_app(make_app)
    (keeper,) = keepers(app, 1)
    keeper.ensure_running()
    keeper.keep("/", sent("SELECT a", 100))
    child = os.fork()
    if not child:
        try:
            keeper.ensure_running()
            keeper.keep("/", sent("SELECT b", 100))
            keeper.stop()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    keeper.stop()
    assert {row["text"]: row["calls"] for row in stored(app)} == {"SELECT a": 1, "SELECT b": 1}


def test_prune_deletes_what_is_too_old(make_app: Callable[..., App], database_url: str) -> None:
    app = an_app(make_app, database_url, STATISTICS_RAW_RETENTION=timedelta(days=7))
    app.client.get("/3")
    (row,) = stored(app)
    tables = app.statistics_state().statements
    assert tables is not None
    old = row["start"] - timedelta(days=8)
    with app.flask.app_context(), app.db.engine.begin() as connection:
        numbers = {column.name: row[column.name] for column in tables.query.columns}
        connection.execute(sa.insert(tables.query).values(numbers | {"start": old}))
        connection.execute(sa.insert(tables.query).values(numbers | {"start": old, "statement": "0" * 32}))
        texts = {"id": "0" * 32, "digest": "0" * 32, "text": "SELECT old", "seen_at": old}
        connection.execute(sa.insert(tables.statement).values(texts))
    result = app.flask.test_cli_runner().invoke(args=["statistics", "prune"])
    assert result.output.splitlines()[0] == "2 rows of statements deleted."
    assert stored(app) == [row]
    with app.flask.app_context(), app.db.engine.connect() as connection:
        assert len(connection.execute(sa.select(tables.statement)).all()) == 1


def test_prune_by_a_clock_that_is_ahead_keeps_what_is_new(make_app: Callable[..., App]) -> None:
    app = an_app(make_app)
    app.client.get("/3")
    (row,) = stored(app)
    state = app.statistics_state()
    assert state.statements is not None
    assert keeping.prune(state.our_engine(), state.statements, datetime(2099, 1, 1), timedelta(days=7)) == 0
    assert stored(app) == [row]
