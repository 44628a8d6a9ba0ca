"""What a request of the host waits for when its database is in trouble: one of them a second, all others next to nothing."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import pytest
import sqlalchemy as sa

from .conftest import App

pytestmark = pytest.mark.usefixtures("hurried")

MakeApp = Callable[..., App]
BUSY_S = 0.6
"""A request that took longer has waited: all else is a machine that is busy."""
DEADLINE_S = 20.0


class Network:
    """A port that leads to a server, until its packets are dropped."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._up = Event()
        self._up.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        Thread(target=self._accept, daemon=True).start()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Nothing passes, as if the server had stopped or the cable were cut."""
        self._up.clear()
        try:
            yield
        finally:
            self._up.set()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            for source, target in ((client, server), (server, client)):
                Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                self._up.wait()
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            end.close()


def times_of(app: App, *, requests: int = 24, at_once: int = 8) -> list[float]:
    """How long each of some requests took, that came from several visitors at once."""

    def ask(number: int) -> float:
        started = time.perf_counter()
        assert app.flask.test_client().get(f"/{number}").status_code == 404
        return time.perf_counter() - started

    with ThreadPoolExecutor(at_once) as visitors:
        return list(visitors.map(ask, range(requests)))


def assert_patient(times: list[float]) -> None:
    assert max(times) < 1 + BUSY_S, times
    assert len([seconds for seconds in times if seconds > BUSY_S]) <= 1, times


def assert_stored(app: App, rows: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while len(app.rows()) < rows:
        assert time.monotonic() < deadline, app.json("health")
        time.sleep(0.05)
    assert len(app.rows()) == rows


@pytest.mark.parametrize("writer", ["direct", "spool"])
@pytest.mark.parametrize(
    ("database", "lock"), [("postgresql", "LOCK TABLE request"), ("mariadb", "LOCK TABLES request READ")]
)
def test_requests_do_not_wait_for_a_locked_table(
    make_app: MakeApp, new_database: Any, tmp_path: Any, database: str, lock: str, writer: str
) -> None:
    with new_database(database) as url:
        app = make_app(url, STATISTICS_WRITER=writer, STATISTICS_SPOOL_PATH=tmp_path)
        app.client.get("/before")
        migration = sa.create_engine(url)
        with migration.begin() as connection:
            connection.exec_driver_sql(lock)
            assert_patient(times_of(app))
            if database == "mariadb":
                connection.exec_driver_sql("UNLOCK TABLES")
        migration.dispose()
        assert_stored(app, 25)
        app.close()


@pytest.mark.parametrize(
    ("database", "lock"),
    [("postgresql", "LOCK TABLE request IN ACCESS EXCLUSIVE MODE"), ("mariadb", "LOCK TABLES request WRITE")],
)
def test_the_dashboard_answers_while_the_raw_table_is_locked(
    make_app: MakeApp, new_database: Any, database: str, lock: str
) -> None:
    with new_database(database) as url:
        app = make_app(url, SQLALCHEMY_ENGINE_OPTIONS={"pool_size": 1, "max_overflow": 0})
        app.client.get("/before")
        migration = sa.create_engine(url)
        with (
            migration.begin() as connection,
            app.flask.app_context(),
            app.db.engine.connect(),
        ):  # nor does the pool matter
            connection.exec_driver_sql(lock)
            started = time.perf_counter()
            assert app.json("health")["database"] != "ok"
            assert app.client.get("/statistics/").status_code == 503
            assert time.perf_counter() - started < 8  # each waits two seconds for the lock, and not once for each panel
        migration.dispose()


@pytest.mark.parametrize("writer", ["direct", "spool"])
@pytest.mark.parametrize("database", ["postgresql", "mariadb"])
def test_requests_do_not_wait_for_a_server_that_is_silent(
    make_app: MakeApp, new_database: Any, tmp_path: Any, database: str, writer: str
) -> None:
    with new_database(database) as text:
        url = sa.make_url(text)
        host = str(url.query["host"]) + "/.s.PGSQL.5432" if database == "postgresql" else str(url.query["unix_socket"])
        network = Network(host)
        reached = url.set(host="127.0.0.1", port=network.port, query={})
        app = make_app(
            reached.render_as_string(hide_password=False), STATISTICS_WRITER=writer, STATISTICS_SPOOL_PATH=tmp_path
        )
        app.client.get("/before")
        with network.down():
            assert_patient(times_of(app))
        assert_stored(app, 25)
        app.close()
        network.close()


def test_a_column_of_another_type_is_told_as_such(make_app: MakeApp, new_database: Any, tmp_path: Any) -> None:
    with new_database("postgresql") as url:
        app = make_app(url, STATISTICS_WRITER="spool", STATISTICS_SPOOL_PATH=tmp_path)
        with app.flask.app_context(), app.db.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE request ALTER COLUMN size TYPE date USING NULL")
        app.client.get("/")
        deadline = time.monotonic() + DEADLINE_S
        while not any("has another type than in the model" in problem for problem in app.json("health")["problems"]):
            assert time.monotonic() < deadline, app.json("health")["problems"]
            time.sleep(0.05)
        app.close()


def test_requests_do_not_wait_for_an_address_hash_that_does_not_come(make_app: MakeApp, new_database: Any) -> None:
    with new_database("postgresql") as text:
        url = sa.make_url(text)
        network = Network(str(url.query["host"]) + "/.s.PGSQL.5432")
        reached = url.set(host="127.0.0.1", port=network.port, query={}).render_as_string(hide_password=False)
        app = make_app(reached, STATISTICS_ANONYMIZE_IP="hash")
        with network.down():
            assert_patient(times_of(app))
        assert_stored(app, 24)
        assert {row.remote_address for row in app.rows()} == {None}
        app.close()
        network.close()


def test_rows_wait_for_a_disk_that_is_full(make_app: MakeApp) -> None:
    app, pages = make_app(), {"most": 1_000_000}

    def connected(connection: Any, _record: Any) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages['most']}")

    with app.flask.app_context():
        sa.event.listen(app.db.engine, "connect", connected)  # our own connections hear it as well
        pages["most"] = 1
        app.db.engine.dispose()
    times = times_of(app, requests=200)
    assert_patient(times)
    health = app.json("health")
    assert (health["waiting"] + health["recorded"], health["lost"]) == (200, 0)
    assert "make room on it" in health["trouble"]
    app.statistics_state().close()
    pages["most"] = 1_000_000
    assert_stored(app, 200)
    assert app.json("health")["problems"] == []


def test_our_connections_are_made_as_the_hosts(make_app: MakeApp, new_database: Any) -> None:
    """By its arguments, its `creator` and its listeners: a key, a search path or a token works for them as well."""
    with new_database("postgresql") as url:
        execution = {"schema_translate_map": {None: "stats"}}
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE SCHEMA stats")
        app = make_app(url, SQLALCHEMY_ENGINE_OPTIONS={"execution_options": execution})
        with app.flask.app_context():
            asked: list[bool] = []
            sa.event.listen(app.db.engine, "do_connect", lambda *arguments: asked.append(True))
        app.client.get("/")
        assert app.json("summary")["hits"] == 1
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SELECT count(*) FROM stats.request")) == 1
        assert len(asked) == 2  # for recording, and for the page
        engine.dispose()
        app.close()
