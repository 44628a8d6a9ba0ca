"""SQLite where readers keep writers waiting: no statement reads for long, and the numbers are the same."""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flask_statistics.connections import READING
from flask_statistics.filters import Filters
from flask_statistics.queries import in_pieces
from flask_statistics.queries.raw import RawQueries
from flask_statistics.spans import Span

from ..conftest import App, a_fortnight

MakeApp = Callable[..., App]
NOW = datetime.now(timezone.utc).replace(tzinfo=None, microsecond=0)
VIEWS = (
    "",
    "?span=all",
    "?q=page&vs=year",
    "?device=!bot&status_code=5xx",
    "errors",
    "issue?span=28d&issue=KeyError:+%E2%80%9C%E2%80%A6%E2%80%9D+%C2%B7+shop/cart.py+in+cart",
    "requests?path=/page/7",
    "list/path?sort=-p95",
    "list/referrer?search=q",
    "export/path.csv",
    "export/requests.csv",
    "api/summary?span=28d",
    "api/series?span=28d&unit=day",
    "api/breakdown/browser?browser=!firefox%20131.0",
    "api/requests",
    "api/issues?span=28d",
)


def shown(app: App, view: str) -> str:
    response = app.client.get(f"/statistics/{view}")
    assert response.status_code == 200, response.text
    assert "could not be computed" not in response.text.lower()
    text = re.sub(
        r'(\s*<p class="notice">.*?</p>)+\s*', "\n", response.text
    )  # on a page that took long on a busy machine
    text = re.sub(r"\d\d:\d\d(:\d\d(\.\d+)?)?", "", text)  # when it was asked
    text = re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.6f}", text)  # in what order floats are added
    return re.sub(r'"(as_of|end)": ?"[^"]*"|\n\s*', "", text)


def indexes(app: App) -> None:
    with app.flask.app_context(), app.db.engine.begin() as connection:
        for name in connection.scalars(
            sa.text("SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
        ):
            connection.exec_driver_sql(f"DROP INDEX {name}")


@pytest.mark.parametrize("indexed", [True, False])
def test_answers_in_pieces_are_those_of_one_moment(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, indexed: bool
) -> None:
    app = make_app(STATISTICS_ENABLED=False)
    app.insert(*a_fortnight(NOW - timedelta(hours=1)), {"date": None, "path": "/never"})
    if not indexed:
        indexes(app)
    whole = [shown(app, view) for view in VIEWS]
    copied: list[str] = []

    def note_copies(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if re.match(r'INSERT INTO "?temp"?\.', statement):
            copied.append(statement)

    with app.flask.app_context():
        reading = app.statistics_state().raw_engine_for(READING)
    sa.event.listen(reading, "before_cursor_execute", note_copies)
    monkeypatch.setattr(in_pieces, "FIRST_PIECE", 50)
    monkeypatch.setattr(in_pieces, "AIMED_AT_S", (0.0, 100.0 if indexed else 0.0))
    refuse_first_tries(app, monkeypatch)
    for view, expected in zip(VIEWS, whole, strict=True):
        copied.clear()
        assert shown(app, view) == expected, view
        assert copied or view.startswith("api/requests"), view
    with app.flask.app_context(), app.statistics_state().reading() as (connections, _):
        assert connections.raw.scalar(sa.text("SELECT count(*) FROM sqlite_temp_master")) == 0


def test_the_earliest_request_is_found_in_pieces(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(STATISTICS_ENABLED=False)
    hours = [*range(5, 100), 2, *range(100, 200), None]
    start = datetime(2026, 3, 1)
    app.insert(*({"date": None if hour is None else start + timedelta(hours=hour), "path": "/"} for hour in hours))
    monkeypatch.setattr(in_pieces, "FIRST_PIECE", 20)
    original, refused = RawQueries.earliest, [True]

    def earliest(self: RawQueries) -> datetime | None:
        if refused:
            refused.clear()
            raise sa.exc.OperationalError("", None, sqlite3.OperationalError("interrupted"))
        return original(self)

    monkeypatch.setattr(RawQueries, "earliest", earliest)
    assert app.json("summary?span=all")["start"] == "2026-03-01T00:00:00+00:00"
    assert not refused


@pytest.mark.parametrize(("first_piece", "stops"), [(50, (False, True, False, True)), (2_000, (True, True, True))])
def test_a_piece_that_takes_too_long_is_copied_in_smaller_ones(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, first_piece: int, stops: tuple[bool, ...]
) -> None:
    app = make_app(STATISTICS_ENABLED=False)
    app.insert(*a_fortnight(NOW - timedelta(hours=1)))
    whole = shown(app, "api/summary?span=28d")
    monkeypatch.setattr(in_pieces, "FIRST_PIECE", first_piece)
    stopped = iter(stops)
    stop_copies(app, lambda: next(stopped, False))
    refuse_first_tries(app, monkeypatch)
    assert shown(app, "api/summary?span=28d") == whole
    assert next(stopped, None) is None


def test_copying_ends_when_the_time_of_a_page_is_spent(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(STATISTICS_ENABLED=False, STATISTICS_QUERY_TIMEOUT=timedelta(seconds=0.3))
    app.insert(*a_fortnight(NOW - timedelta(hours=1)))
    stop_copies(app, lambda: True)
    refuse_first_tries(app, monkeypatch)
    assert app.client.get("/statistics/api/summary?span=28d").status_code == 503


def stop_copies(app: App, stopped: Callable[[], bool]) -> None:
    """Have a piece that is copied stopped, as when it takes too long, if `stopped` says so."""

    def stop(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if re.match(r'INSERT INTO "?temp"?\.', statement) and stopped():
            raise sa.exc.OperationalError("", None, sqlite3.OperationalError("interrupted"))

    with app.flask.app_context():
        reading = app.statistics_state().raw_engine_for(READING)
    sa.event.listen(reading, "before_cursor_execute", stop)


def refuse_first_tries(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each question that is asked of the database itself stopped."""
    for name in ("summary", "series", "breakdown", "breakdowns", "exceptions", "links", "requests"):
        original = getattr(RawQueries, name)

        def asked(self: Any, *arguments: Any, original: Any = original, **options: Any) -> Any:
            driver = self._connection.connection.dbapi_connection
            if not driver.execute("SELECT count(*) FROM sqlite_temp_master").fetchone()[0]:
                raise sa.exc.OperationalError("", None, sqlite3.OperationalError("interrupted"))
            return original(self, *arguments, **options)

        monkeypatch.setattr(RawQueries, name, asked)


@contextmanager
def host_writes(path: Path) -> Iterator[list[float]]:
    """Seconds of each write that a host makes each 50 ms; one that fails raises at the end."""
    seconds: list[float] = []
    stopping, failed = threading.Event(), []

    def write() -> None:
        with sqlite3.connect(path, timeout=5, isolation_level=None) as connection:
            while not stopping.wait(0.05):
                began = time.perf_counter()
                try:
                    connection.execute("INSERT INTO thing VALUES (1)")
                except sqlite3.Error as error:
                    failed.append(error)
                seconds.append(time.perf_counter() - began)
        connection.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield seconds
    finally:
        stopping.set()
        thread.join()
    assert failed == []


def filled(path: Path, rows: int) -> None:
    """Rows of the last week, made in the database: what is tried is how they are read."""
    with sqlite3.connect(path) as connection:
        connection.executescript(
            f"""
            PRAGMA synchronous = OFF;
            CREATE TABLE thing (id INTEGER);
            INSERT INTO request (date, method, path, status_code, response_time, size, remote_address, referrer, device)
            WITH RECURSIVE number (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n < {rows - 1})
            SELECT strftime('%Y-%m-%d %H:%M:%f000', 'now', printf('-%f seconds', 520000.0 * ({rows} - n) / {rows})), 'GET',
                '/page/' || (n * 7919 % 3001), iif(n % 50, 200, 500), n % 1000 / 1000.0, n % 20000,
                '10.0.' || (n % 250) || '.' || (n % 199), 'https://x.example/' || (n % 5000), 'desktop'
            FROM number;
            """
        )
    connection.close()


@pytest.mark.parametrize("rollups", [False, True])  # until something is rolled up, raw rows answer
def test_pages_let_the_host_write(make_app: MakeApp, tmp_path: Path, rollups: bool) -> None:
    path = tmp_path / "app.sqlite"
    app = make_app(
        f"sqlite:///{path}",
        STATISTICS_ENABLED=False,
        STATISTICS_ROLLUPS=rollups,
        STATISTICS_SCHEDULER=False,
        STATISTICS_QUERY_TIMEOUT=timedelta(seconds=60),
    )
    filled(path, 150_000)
    began = time.monotonic()
    with host_writes(path) as seconds:
        response = app.client.get("/statistics/?referrer=x.example&vs=year")
    assert response.status_code == 200
    assert "150,000" in response.text
    # usually 0.3 of some 4; without pieces it is nearly as long as the page
    assert max(seconds) < max(0.9, (time.monotonic() - began) / 4)


def test_pages_with_rollups_are_read_in_a_moment(make_app: MakeApp, tmp_path: Path) -> None:
    path = tmp_path / "app.sqlite"
    app = make_app(f"sqlite:///{path}", STATISTICS_ENABLED=False, STATISTICS_ROLLUPS=True, STATISTICS_SCHEDULER=False)
    filled(path, 30_000)
    rollups = app.statistics_state().rollups
    assert rollups is not None
    assert rollups.job().run(datetime.now(timezone.utc).replace(tzinfo=None)) is not None
    with host_writes(path) as seconds:
        for view in ("", "errors", "list/path", "api/summary"):
            assert app.client.get(f"/statistics/{view}").status_code == 200
    assert max(seconds) < 3.0  # of a busy machine; nobody waits for a whole page


def test_wal_is_read_of_one_moment(make_app: MakeApp, tmp_path: Path) -> None:
    path = tmp_path / "app.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    with make_app(f"sqlite:///{path}").statistics_state().reading() as (connections, _):
        assert connections.in_pieces is None


def test_rows_that_come_in_meanwhile_are_in_no_answer(make_app: MakeApp) -> None:
    app = make_app(STATISTICS_ENABLED=False)
    app.insert(*({"date": NOW - timedelta(minutes=number), "path": f"/{number}"} for number in range(5)))
    with app.flask.app_context(), app.statistics_state().queries() as queries:
        span = Span(NOW - timedelta(hours=1), NOW + timedelta(hours=1), app.statistics_state().settings.timezone)
        assert queries.summary(span, Filters()).hits == 5
        app.insert({"date": NOW, "path": "/new"})
        assert queries.summary(span, Filters()).hits == 5
        assert queries.breakdown("path", span, Filters()).total == 5
        assert len(queries.requests(span, Filters(), limit=10).rows) == 5


@pytest.mark.parametrize("command", ["show", "forget"])
@pytest.mark.parametrize("rollups", [False, True])
def test_commands_let_the_host_write(make_app: MakeApp, tmp_path: Path, command: str, rollups: bool) -> None:
    path = tmp_path / "app.sqlite"
    app = make_app(
        f"sqlite:///{path}", STATISTICS_ENABLED=False, STATISTICS_ROLLUPS=rollups, STATISTICS_SCHEDULER=False
    )
    filled(path, 7_000)
    host = sqlite3.connect(path, timeout=0, isolation_level=None)
    pieces = []

    def write(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "WHERE" in statement and "remote_address" in statement and statement.startswith("SELECT"):
            host.execute("INSERT INTO thing VALUES (1)")  # raises if we hold a lock
            pieces.append(statement)

    with app.flask.app_context():
        sa.event.listen(app.db.engine, "before_cursor_execute", write)
    options = ["--yes"] if command == "forget" else []
    found = app.flask.test_cli_runner().invoke(args=["statistics", command, "10.0.7.7", *options])
    host.close()
    assert (found.exit_code, found.exception) == (0, None)
    assert len(pieces) > 3
    assert all('request."index" <= ?' in statement for statement in pieces), pieces
