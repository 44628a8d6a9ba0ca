"""Signals: who listens hears of each request, may change or drop it, and can break nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from blinker import NamedSignal
from flask import Flask

from benchmarks.serving import wait_until
from flask_statistics import Record, request_recording, requests_lost, requests_stored, rollups_updated

from .conftest import App, result_of

MakeApp = Callable[..., App]
Listen = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Collects what a signal tells of an app; `answer` is called with it as well."""
    connected: list[tuple[NamedSignal, Any, Flask]] = []

    def start(signal: NamedSignal, app: App, answer: Callable[..., Any] = lambda **_: None) -> list[dict[str, Any]]:
        heard: list[dict[str, Any]] = []

        def receive(sender: Flask, **values: Any) -> None:
            assert sender is app.flask
            heard.append(values)
            answer(**values)

        signal.connect(receive, app.flask)
        connected.append((signal, receive, app.flask))
        return heard

    yield start
    for signal, receiver, sender in connected:
        signal.disconnect(receiver, sender)


@pytest.mark.parametrize("writer", ["direct", "spool"])
def test_request_recording_changes_what_is_stored(make_app: MakeApp, listen: Listen, writer: str) -> None:
    app = make_app(STATISTICS_WRITER=writer)

    def change(record: Record) -> None:
        assert record.status_code == 404
        record.path, record.referrer = record.path.upper(), None

    listen(request_recording, app, change)
    app.client.get("/some/path", headers={"Referer": "/other"})
    wait_until(lambda: bool(app.rows()), "it is not stored")
    assert (app.row().path, app.row().referrer) == ("/SOME/PATH", None)


@pytest.mark.parametrize("writer", ["direct", "spool"])
def test_request_recording_drops(make_app: MakeApp, listen: Listen, writer: str) -> None:
    app = make_app(STATISTICS_WRITER=writer)
    listen(request_recording, app, lambda record: record.drop() if record.path == "/dropped" else None)
    for path in ("/dropped", "/stored"):
        app.client.get(path)
    wait_until(lambda: bool(app.rows()), "it is not stored")
    assert app.row().path == "/stored"
    assert app.json("health")["lost"] == 0


def broken(record: Record) -> None:
    raise LookupError("no such tenant")


def set_to(name: str, value: Any) -> Callable[..., None]:
    return lambda record: setattr(record, name, value)


@pytest.mark.parametrize("writer", ["direct", "spool"])
@pytest.mark.parametrize(
    ("receiver", "said"),
    [
        (broken, "no such tenant"),
        (set_to("path", 5), "stored in path"),
        (set_to("path", None), "stored in path"),
        (set_to("size", "5"), "stored in size"),
        (set_to("date", datetime.now(timezone.utc)), "stored in date"),
        (set_to("response_time", float("nan")), "stored in response_time"),
        (set_to("own", []), "stored in own"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_request_recording_that_fails_loses_the_record_and_says_why(
    make_app: MakeApp, listen: Listen, caplog: pytest.LogCaptureFixture, writer: str, receiver: Any, said: str
) -> None:
    app = make_app(STATISTICS_WRITER=writer)
    listen(request_recording, app, receiver)
    lost = listen(requests_lost, app)
    assert app.client.get("/").status_code == 404
    assert app.rows() == []
    assert "A receiver of the signal request_recording must be mended" in caplog.text
    assert said in caplog.text
    assert [one["rows"] for one in lost] == [1]
    assert app.json("health")["lost"] == 1


@pytest.mark.parametrize("writer", ["direct", "spool"])
def test_requests_stored_counts_each_request_once(make_app: MakeApp, listen: Listen, writer: str) -> None:
    app = make_app(STATISTICS_WRITER=writer)
    stored = listen(requests_stored, app)
    for number in range(5):
        app.client.get(f"/{number}")
    wait_until(lambda: sum(one["rows"] for one in stored) >= 5, "they are not stored")
    assert sum(one["rows"] for one in stored) == len(app.rows()) == 5


def test_requests_lost_says_how_many_and_why(make_app: MakeApp, listen: Listen) -> None:
    app = make_app()
    lost = listen(requests_lost, app)
    with app.flask.app_context():
        app.db.session.execute(sa.text(f"DROP TABLE {app.Request.__tablename__}"))
        app.db.session.commit()
    app.client.get("/")
    (one,) = lost
    assert (one["rows"], one["reason"]) == (1, "OperationalError")
    assert "no such table" in one["error"]


def test_rollups_updated_after_each_run(make_app: MakeApp, listen: Listen) -> None:
    app = make_app(STATISTICS_ROLLUPS=True, STATISTICS_SCHEDULER=False)
    updated = listen(rollups_updated, app)
    app.client.get("/")
    assert app.flask.test_cli_runner().invoke(args=["statistics", "rollup"]).exit_code == 0
    (one,) = updated
    assert one["until"] <= datetime.now(timezone.utc).replace(tzinfo=None)


@pytest.mark.parametrize("signal", [requests_stored, rollups_updated], ids=lambda signal: str(signal.name))
def test_signals_whose_receiver_fails_break_nothing(
    make_app: MakeApp, listen: Listen, caplog: pytest.LogCaptureFixture, signal: NamedSignal
) -> None:
    app = make_app(STATISTICS_ROLLUPS=True, STATISTICS_SCHEDULER=False)

    def fail(**_: Any) -> None:
        raise LookupError("nobody is there")

    failed, others = listen(signal, app, fail), listen(signal, app)
    app.client.get("/")
    assert app.flask.test_cli_runner().invoke(args=["statistics", "rollup"]).exit_code == 0
    assert len(app.rows()) == 1
    assert len(failed) == len(others) == 1  # each heard it, though one failed
    assert f"a receiver of the signal '{signal.name}' failed" in caplog.text


def test_signals_to_coroutines(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    app, heard = make_app(), []

    def run(_app: Flask, function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *values, **named: result_of(function(*values, **named))

    monkeypatch.setattr(Flask, "async_to_sync", run)  # asgiref need not be installed

    async def change(_app: Flask, record: Record) -> None:
        record.path = "/awaited"

    async def hear(_app: Flask, rows: int) -> None:
        heard.append(rows)

    with request_recording.connected_to(change, app.flask), requests_stored.connected_to(hear, app.flask):
        app.client.get("/")
    assert (app.row().path, heard) == ("/awaited", [1])


def test_signals_of_another_app_are_not_heard(make_app: MakeApp, listen: Listen) -> None:
    first, second = make_app(), make_app()
    heard = [listen(signal, first) for signal in (request_recording, requests_stored)]
    second.client.get("/")
    assert heard == [[], []]
    assert second.row().path == "/"


def test_signals_are_logged_at_error(make_app: MakeApp, listen: Listen, caplog: pytest.LogCaptureFixture) -> None:
    app = make_app()
    listen(request_recording, app, broken)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            app.client.get("/")
    assert len([one for one in caplog.records if "could not record" in one.getMessage()]) == 1  # once a minute
