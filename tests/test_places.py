"""What readers of the dashboard take from the host: nothing while they read slowly, and a bounded part of its threads."""

from __future__ import annotations

import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import datetime, timedelta, timezone
from threading import Event, Thread
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.serving import make_server

from flask_statistics import places
from flask_statistics.connections import READING

from .conftest import App

MakeApp = Callable[..., App]
ROWS = 4_000
LONG = "/" + "x" * 1_900
"""Several megabytes in all: more than sockets keep on their way."""


@contextmanager
def served(app: Flask) -> Iterator[int]:
    """A port on which `app` answers."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def slow_reader(port: int, url: str) -> Iterator[socket.socket]:
    """Somebody who has read the beginning of an answer, and reads no further for now."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.sendall(f"GET /statistics/{url} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        assert client.recv(12).endswith(b" 200")
        yield client


def many_rows(make_app: MakeApp, url: str | None) -> App:
    app = make_app(url, STATISTICS_ENABLED=False)
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    rows = [
        {"date": now - timedelta(seconds=n), "path": f"{LONG}{n}", "referrer": LONG, "status_code": 404}
        for n in range(ROWS)
    ]
    with app.flask.app_context():
        app.db.session.execute(sa.insert(app.Request), rows)
        app.db.session.commit()
    return app


def rest_of(client: socket.socket) -> bytes:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    return b"".join(iter(lambda: client.recv(1 << 20), b""))


@pytest.mark.parametrize("name", ["requests", "path", "links"])
def test_a_slow_reader_of_a_file_locks_nobody_out(make_app: MakeApp, name: str) -> None:
    app = many_rows(make_app, None)
    path = app.flask.config["SQLALCHEMY_DATABASE_URI"].removeprefix("sqlite:///")
    with served(app.flask) as port, slow_reader(port, f"export/{name}.csv") as client:
        with closing(sqlite3.connect(path, timeout=5)) as host:
            for _ in range(5):
                host.execute("INSERT INTO request (path, date) VALUES ('/host', '2001-01-01 00:00:00')")
                host.commit()
        assert rest_of(client).count(LONG.encode()) >= ROWS


def test_a_slow_reader_of_a_file_holds_no_connection(make_app: MakeApp, new_database: Any) -> None:
    with new_database("postgresql") as url:
        app = many_rows(make_app, url)
        with served(app.flask) as port, slow_reader(port, "export/requests.csv") as client:
            deadline = time.monotonic() + 20
            while app.statistics_state().raw_engine_for(READING).pool.checkedout():  # type: ignore[attr-defined]
                assert time.monotonic() < deadline
                time.sleep(0.02)
            assert rest_of(client).count(LONG.encode()) >= ROWS
        app.close()


def test_a_file_goes_on_where_rows_were_deleted_meanwhile(make_app: MakeApp) -> None:
    app = many_rows(make_app, None)
    with served(app.flask) as port, slow_reader(port, "export/requests.csv") as client:
        with app.flask.app_context():
            app.db.session.execute(sa.delete(app.Request).where(app.Request.index % 1000 > 900))
            app.db.session.commit()
        ids = [line.partition(b",")[0] for line in rest_of(client).split(b"\r\n") if LONG.encode() in line]
    assert len(ids) == len(set(ids)) >= ROWS * 9 // 10
    assert str(ROWS).encode() not in ids[:10]


def test_few_files_are_sent_at_once(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "FILES_AT_ONCE", 1)
    app = many_rows(make_app, None)
    with served(app.flask) as port, slow_reader(port, "export/requests.csv"):
        refused = app.client.get("/statistics/export/requests.csv")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "30")
        assert "Other files of the statistics are being sent." in refused.text
    deadline = time.monotonic() + 20
    while app.client.get("/statistics/export/path.csv").status_code == 503:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(("url", "said"), [("", "<h1"), ("api/summary", '{"error":'), ("panel/paths", "busy")])
def test_few_pages_are_computed_at_once(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    monkeypatch.setattr(places, "WAIT_S", 0.2)
    monkeypatch.setattr(places, "MOST_WAITING", 1)
    app, go_on, inside = make_app(STATISTICS_ENABLED=False), Event(), []

    def hold(*_: Any) -> None:
        inside.append(1)
        go_on.wait(20)

    engine = app.statistics_state().raw_engine_for(READING)
    sa.event.listen(engine, "before_cursor_execute", hold)
    with ThreadPoolExecutor(8) as readers:
        held = [readers.submit(app.flask.test_client().get, "/statistics/") for _ in range(places.PAGES_AT_ONCE)]
        deadline = time.monotonic() + 20
        while len(inside) < places.PAGES_AT_ONCE:
            assert time.monotonic() < deadline, "the pages are not computed"
            time.sleep(0.01)
        started = time.monotonic()
        refused = list(readers.map(lambda _: app.flask.test_client().get(f"/statistics/{url}"), range(4)))
        assert time.monotonic() - started < 5
        assert app.client.get("/nowhere").status_code == 404  # the host goes on
        go_on.set()
        assert [page.result().status_code for page in held] == [200] * places.PAGES_AT_ONCE
    sa.event.remove(engine, "before_cursor_execute", hold)
    for answer in refused:
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "3")
        assert said in answer.text
    assert app.client.get(f"/statistics/{url}").status_code == 200
