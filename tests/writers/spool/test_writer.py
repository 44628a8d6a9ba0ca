"""The spool writer in an app: what it stores, when, and what it says when it cannot."""

from __future__ import annotations

import io
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import Result
from flask import Flask, Response
from flask_sqlalchemy import SQLAlchemy

from benchmarks.serving import wait_until
from flask_statistics import RequestMixin
from flask_statistics.state import state_of
from flask_statistics.writers.spool import times
from flask_statistics.writers.spool import writer as spool
from flask_statistics.writers.spool.moving import Mover
from flask_statistics.writers.spool.writer import SpoolWriter

from ...conftest import App
from .test_journal import FullDisk

ROOT = Path(__file__).parents[3]
AT_ONCE = 10.0
"""Seconds: a wait for SQLite's lock would take longer."""


@pytest.fixture(autouse=True)
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dashboard waits until all that can be moved is moved, however slow the machine is."""
    monkeypatch.setattr(times, "SETTLE_S", 60.0)


@pytest.fixture
def make(make_app: Callable[..., App], tmp_path: Path) -> Callable[..., App]:
    """Makes apps with a spool in a folder of their own."""

    def make(url: str | None = None, **options: Any) -> App:
        options.setdefault("STATISTICS_SPOOL_PATH", str(tmp_path / "spool"))
        return make_app(url, STATISTICS_WRITER="spool", **options)

    return make


def writer_of(app: App) -> SpoolWriter:
    writer = app.statistics_state().writer
    assert isinstance(writer, SpoolWriter)
    return writer


def paths(app: App) -> list[str]:
    return [row.path for row in app.rows()]


def until_stored(app: App, *expected: str) -> None:
    wait_until(lambda: paths(app) == list(expected), f"{expected} are not stored")


def run(app: App, *arguments: str) -> Result:
    return app.flask.test_cli_runner().invoke(args=["statistics", *arguments])


def stored_in(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    found = [path for (path,) in connection.execute("SELECT path FROM request ORDER BY 1")]
    connection.close()
    return found


class Away:
    """A database that can go away and come back: its table is renamed."""

    def __init__(self, app: App) -> None:
        self.app = app

    def __enter__(self) -> None:
        self.rename("request", "hidden")

    def __exit__(self, *_: object) -> None:
        self.rename("hidden", "request")

    def rename(self, old: str, new: str) -> None:
        with self.app.flask.app_context(), self.app.db.engine.begin() as connection:
            connection.execute(sa.text(f"ALTER TABLE {old} RENAME TO {new}"))


# ---- stored, and when ------------------------------------------------------------------------------------------------


def test_spool_stores_what_direct_stores(make: Callable[..., App], make_app: Callable[..., App]) -> None:
    options = {"headers": {"User-Agent": "curl/8", "Referer": "https://a.example/?token=1"}}
    rows = []
    for app in (make(), make_app()):
        app.client.get("/ü%ff?a=1&password=2", **options)
        app.json("health")
        values = {column.key: getattr(app.row(), column.key) for column in app.Request.__table__.columns}
        rows.append({name: value for name, value in values.items() if name not in ("date", "response_time")})
    assert rows[0] == rows[1]
    assert rows[0]["device"] == "bot"


def test_spool_keeps_microseconds(make: Callable[..., App], database_url: str) -> None:
    app = make(database_url)
    for _ in range(3):
        app.client.get("/")
    app.json("health")
    assert any(row.date.microsecond % 1000 for row in app.rows())
    app.close()


def test_spool_moves_by_itself(make: Callable[..., App]) -> None:
    app = make()
    app.client.get("/one")
    app.client.get("/two")
    until_stored(app, "/one", "/two")
    assert app.json("health")["recorded"] == 2


def test_spool_leaves_nothing_on_the_disk_of_what_is_moved(
    make: Callable[..., App], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(times, "SWEEP_S", 0.05)
    app = make()
    app.client.get("/one")
    wait_until(lambda: list((tmp_path / "spool").glob("*.journal")) == [], "its journal is not deleted")
    app.client.get("/two")
    until_stored(app, "/one", "/two")


def test_spool_dashboard_shows_what_was_just_requested(make: Callable[..., App], database_url: str) -> None:
    app = make(database_url)
    for number in range(1, 4):
        app.client.get("/")
        assert app.json("summary")["hits"] == number
    app.close()


def test_spool_dashboard_shows_what_another_process_was_asked(make: Callable[..., App]) -> None:
    app = make()
    other = make(app.flask.config["SQLALCHEMY_DATABASE_URI"])
    app.client.get("/")
    assert other.json("summary")["hits"] == 1


def threads_of_ours() -> set[threading.Thread]:
    """Those that run now; apps of other tests may have left some."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("flask-statistics")}


def test_spool_in_tests_stores_at_the_end_of_each_request(make: Callable[..., App], tmp_path: Path) -> None:
    before = threads_of_ours()
    app = make(TESTING=True)
    app.client.get("/one")
    assert paths(app) == ["/one"]
    assert app.json("health")["recorded"] == 1
    assert not (tmp_path / "spool").exists()
    assert threads_of_ours() <= before


def test_spool_in_tests_waits_for_an_open_transaction(
    make: Callable[..., App], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(times, "INLINE_LOCK_WAIT_MS", 30_000)
    app = make(TESTING=True)
    with app.flask.app_context():
        app.db.session.add(app.Request(path="/mine"))
        app.db.session.flush()
        started = time.perf_counter()
        app.client.get("/nowhere")
        assert time.perf_counter() - started < AT_ONCE
        app.db.session.rollback()
    assert paths(app) == ["/nowhere"]


def test_spool_with_memory_leaves_the_hosts_transaction(make: Callable[..., App]) -> None:
    app = make("sqlite://")
    with app.flask.app_context():
        app.db.session.add(app.Request(path="/mine"))
        app.db.session.flush()
        app.client.get("/nowhere")
        app.db.session.rollback()
    app.client.get("/last")
    assert paths(app) == ["/nowhere", "/last"]


def test_spool_off_starts_and_stores_nothing(make: Callable[..., App], tmp_path: Path) -> None:
    app = make(STATISTICS_ENABLED=False)
    app.client.get("/")
    assert app.json("health")["recording"] is False
    assert not (tmp_path / "spool").exists()
    assert app.rows() == []


def test_spool_nothing_starts_before_the_first_request(make: Callable[..., App], tmp_path: Path) -> None:
    before = threads_of_ours()
    make()
    assert not (tmp_path / "spool").exists()
    assert threads_of_ours() <= before


# ---- processes ---------------------------------------------------------------------------------------------------------

SCRIPT = """if True:
    import os, signal, sys, threading, time
    from tests.conftest import App
    app = App("sqlite:///{folder}/app.sqlite", STATISTICS_WRITER="spool", STATISTICS_SPOOL_PATH="{folder}/spool")
"""


def script(folder: Path, code: str, *, expected: int = 0) -> str:
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(folder=folder) + "    " + "\n    ".join(code.splitlines())],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == expected, found.stderr
    return found.stderr


def test_spool_stores_at_exit(tmp_path: Path) -> None:
    assert "Traceback" not in script(tmp_path, "app.client.get('/a')")
    assert stored_in(tmp_path / "app.sqlite") == ["/a"]


def test_spool_stores_on_sigterm_which_ends_the_process_as_before(tmp_path: Path) -> None:
    code = "app.client.get('/a'); os.kill(os.getpid(), signal.SIGTERM); time.sleep(50)"
    script(tmp_path, code, expected=-signal.SIGTERM)
    assert stored_in(tmp_path / "app.sqlite") == ["/a"]


def test_spool_leaves_the_hosts_sigterm_alone(tmp_path: Path) -> None:
    code = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); app.client.get('/a'); os.kill(os.getpid(), 15); time.sleep(50)"
    script(tmp_path, code, expected=7)
    assert stored_in(tmp_path / "app.sqlite") == ["/a"]


def test_spool_of_a_killed_process_is_moved_by_the_next(tmp_path: Path) -> None:
    script(tmp_path, "app.client.get('/a'); app.client.get('/b'); os.kill(os.getpid(), 9)", expected=-9)
    assert stored_in(tmp_path / "app.sqlite") == []
    script(tmp_path, "app.client.get('/c')")
    assert stored_in(tmp_path / "app.sqlite") == ["/a", "/b", "/c"]
    assert len(list((tmp_path / "spool").glob("*.sqlite"))) == 1


def test_spool_of_a_dead_process_is_moved_by_a_living_one(make: Callable[..., App], tmp_path: Path) -> None:
    app = make(f"sqlite:///{tmp_path}/app.sqlite")
    app.client.get("/living")
    script(tmp_path, "app.client.get('/dead'); os.kill(os.getpid(), 9)", expected=-9)
    until_stored(app, "/living", "/dead")


def parent_and_child_store(folder: Path, *code: str) -> None:
    """Run `code`, fork, and see that a request before it, one of the parent and one of the child are stored."""
    fork = (
        "child = os.fork()",
        "app.client.get('/child' if child == 0 else '/parent')",
        "if child: assert os.waitpid(child, 0)[1] == 0",
    )
    script(folder, "\n".join([*code, *fork]))
    assert stored_in(folder / "app.sqlite") == ["/before", "/child", "/parent"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_spool_parent_and_forked_child_both_store(tmp_path: Path) -> None:
    parent_and_child_store(tmp_path, "app.client.get('/before')")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_spool_fork_that_waits_for_the_first_import_waits_for_the_transaction_after_it(tmp_path: Path) -> None:
    parent_and_child_store(
        tmp_path,
        "from flask_statistics import forks, user_agents",
        "from flask_statistics.writers.spool import moving",
        "parse, insert = user_agents.parse, moving.insert",
        "importing, forking, storing, forked = (threading.Event() for _ in range(4))",
        "os.register_at_fork(before=forking.set, after_in_parent=forked.set, after_in_child=forked.set)",
        "def slow_parse(text): importing.set(); forking.wait(30); return parse(text)",
        "def slow_insert(*some): insert(*some); storing.set(); forked.wait(30)",
        "def next():",  # what the fork waits for next: by then the thread is in its transaction, or is kept from it
        "    deadline = time.monotonic() + 30",
        "    while not (storing.is_set() or forks.is_awaited()) and time.monotonic() < deadline: time.sleep(0.001)",
        "forks.at(forks.Step.MOVERS, before=next)",
        "user_agents.parse, moving.insert = slow_parse, slow_insert",
        "app.client.get('/before')",
        "importing.wait(30)",
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_spool_child_of_a_process_that_is_storing_is_not_locked_out(tmp_path: Path) -> None:
    code = "\n".join(
        [
            "import sqlalchemy as sa",
            "from flask_statistics.state import state_of",
            "storing = threading.Event()",
            "@sa.event.listens_for(state_of(app.flask).engine(), 'after_cursor_execute')",
            "def linger(connection, cursor, statement, *_):",
            "    if statement.startswith('INSERT INTO request'):",
            "        storing.set()",
            "        time.sleep(0.3)",
            "app.client.get('/before')",
            "assert storing.wait(30)",
            "child = os.fork()",
            "if child == 0: app.client.get('/child')",
            "if child: assert os.waitpid(child, 0)[1] == 0",
        ]
    )
    assert "locked" not in script(tmp_path, code)
    assert stored_in(tmp_path / "app.sqlite") == ["/before", "/child"]


def test_spool_takes_requests_of_many_threads(make: Callable[..., App]) -> None:
    app = make()
    threads = [
        threading.Thread(target=lambda n=n: [app.flask.test_client().get(f"/{n}/{m}") for m in range(100)])
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    app.json("health")
    assert sorted(paths(app)) == sorted(f"/{n}/{m}" for n in range(8) for m in range(100))


# ---- faults ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(times, "BACK_OFF_S", (0.05, 0.1))
    monkeypatch.setattr(Mover, "flush_s", 0.05)


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


def test_spool_keeps_records_while_the_database_is_away(
    make: Callable[..., App], caplog: pytest.LogCaptureFixture, impatient: None
) -> None:
    app = make(before=lambda flask: flask.add_url_rule("/", "view", lambda: "hello"))
    with Away(app):
        for _ in range(3):
            assert app.client.get("/").data == b"hello"
        wait_until(lambda: bool(writer_of(app).backlog().trouble), "it does not notice")
        health = app.json("health")
        assert (health["status"], health["waiting"], health["lost"]) == ("degraded", 3, 0)
        assert health["trouble"].startswith("OperationalError: no such table: request")
        assert health["trouble"].endswith("run 'flask statistics init' once, or make a migration.")
        status = run(app, "status")
        assert status.exit_code == 1
        assert status.output.startswith(
            "Spool             3 requests waiting, 0 refused\nThey wait because OperationalError"
        )
    until_stored(app, "/", "/", "/")
    wait_until(lambda: app.json("health")["trouble"] is None, "it does not recover")
    first, *rest, last = (text for text in messages(caplog) if "records" in text)
    assert first.startswith("Flask-Statistics: records wait in the spool, because the database does not take them: ")
    assert "The table 'request' is missing: run 'flask statistics init' once, or make a migration." in first
    assert rest == []
    assert last.startswith("Flask-Statistics: the database takes records again, after ")


def test_spool_refuses_beyond_its_bound(
    make: Callable[..., App], caplog: pytest.LogCaptureFixture, impatient: None
) -> None:
    app = make(STATISTICS_SPOOL_MAX_ROWS=3)
    with Away(app):
        for number in range(5):
            app.client.get(f"/{number}")
        health = app.json("health")
        assert (health["waiting"], health["lost"]) == (3, 2)
        (said,) = (text for text in messages(caplog) if "could not record" in text)
        assert said.endswith(
            "the spool is full, 3 records wait. The database has been away for too long: when it is back, all that waits is "
            "stored. STATISTICS_SPOOL_MAX_ROWS can be raised."
        )
    until_stored(app, "/0", "/1", "/2")
    wait_until(lambda: app.json("health")["waiting"] == 0, "it is not emptied")
    app.client.get("/last")
    until_stored(app, "/0", "/1", "/2", "/last")


def test_spool_serves_when_its_folder_cannot_be_written(
    make: Callable[..., App], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    app = make(STATISTICS_SPOOL_PATH=str(tmp_path / "file" / "spool"), before=views)
    for _ in range(3):
        assert app.client.get("/").data == b"hello"
    health = app.json("health")
    assert health["lost"] == 3
    (said,) = (text for text in messages(caplog) if "could not record" in text)
    assert "Not a directory" in said
    folder = tmp_path / "file" / "spool"
    assert f"{spool.HELP} A file is in the way of the folder {folder}: move it." in said


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o720, 0o702])
def test_spool_refuses_a_folder_that_others_may_write(
    make: Callable[..., App], tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(mode)
    app = make(STATISTICS_SPOOL_PATH=str(folder), before=views)
    assert app.client.get("/").data == b"hello"
    assert app.json("health")["lost"] == 1
    (said,) = (text for text in messages(caplog) if "could not record" in text)
    assert "others may write to it: 'chmod go-w', or name a folder inside of it" in said
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("linked", [False, True])
def test_spool_refuses_a_folder_of_another_user(make: Callable[..., App], tmp_path: Path, linked: bool) -> None:
    (tmp_path / "ours").mkdir(mode=0o700)
    if linked:
        (tmp_path / "theirs").symlink_to(tmp_path / "ours")
    else:
        (tmp_path / "theirs").mkdir(mode=0o700)
    os.chown(tmp_path / "theirs", 65534, 65534, follow_symlinks=False)
    app = make(STATISTICS_SPOOL_PATH=str(tmp_path / "theirs"), before=views)
    assert app.client.get("/").data == b"hello"
    assert app.json("health")["lost"] == 1


@pytest.mark.parametrize("place", ["{base}-1.sqlite", "{base}-1.lock", "{base}-1.sqlite.{id}.journal"])
def test_spool_follows_no_symbolic_link(make: Callable[..., App], tmp_path: Path, place: str) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    app = make(before=views)
    app.client.get("/")
    until_stored(app, "/")
    base = writer_of(app).folder().name
    app.close()
    for number in range(2, 12) if "{id}" in place else [0]:
        (tmp_path / "spool" / place.format(base=base, id=number << 32)).unlink(missing_ok=True)
        (tmp_path / "spool" / place.format(base=base, id=number << 32)).symlink_to(victim)
    again = make(str(app.statistics_state().engine().url), before=views)
    assert again.client.get("/next").status_code == 404
    again.close()
    assert victim.read_text() == "mine"


def test_spool_serves_when_the_disk_is_full(
    make: Callable[..., App], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(io, "FileIO", FullDisk)
    monkeypatch.setattr(FullDisk, "takes", None)
    app = make(before=views)
    app.client.get("/")
    monkeypatch.setattr(FullDisk, "takes", 0)
    assert app.client.get("/").data == b"hello"
    monkeypatch.setattr(FullDisk, "takes", None)
    app.client.get("/after")
    assert app.json("health")["lost"] == 1
    assert paths(app) == ["/", "/after"]
    assert "No space left on device" in caplog.text
    assert any("The disk of" in text and "is full" in text for text in messages(caplog))


def views(flask: Flask) -> None:
    flask.add_url_rule("/", "view", lambda: "hello")


def picky(db: SQLAlchemy) -> type[Any]:
    never = sa.CheckConstraint("path NOT LIKE '/bad%'")
    return type("Request", (RequestMixin, db.Model), {"__table_args__": (never,)})


def test_spool_sets_aside_what_the_table_refuses(
    make: Callable[..., App], database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = make(database_url, model=picky)
    for path in ("/1", "/bad1", "/2", "/3", "/bad2", "/bad\n3", "/4"):
        app.client.get(path)
    health = app.json("health")
    assert paths(app) == ["/1", "/2", "/3", "/4"]
    assert (health["status"], health["waiting"], health["refused"], health["lost"]) == ("degraded", 0, 3, 0)
    lines = run(app, "status").output.splitlines()
    assert lines[0] == "Spool             0 requests waiting, 3 refused"
    assert [line.split(": ")[0].split(" UTC ")[1] for line in lines[1:4]] == ["GET /bad1", "GET /bad2", "GET /bad3"]
    (said,) = (text for text in messages(caplog) if "refused" in text)
    assert "set aside in the spool" in said
    assert "bad1" not in said
    app.close()


def test_spool_takes_sizes_beyond_any_column(make: Callable[..., App], database_url: str) -> None:
    def view() -> Response:
        response = Response(b"")
        response.headers["Content-Length"] = "9" * 30  # as a proxy's view copies it
        return response

    app = make(database_url, before=lambda flask: flask.add_url_rule("/huge", "huge", view))
    app.client.get("/huge")
    app.client.get("/next")
    app.json("health")
    assert [(row.path, row.size and row.size > 2**62) for row in app.rows()] == [("/huge", True), ("/next", False)]
    app.close()


def test_spool_goes_on_beside_a_file_that_cannot_be_used(
    make: Callable[..., App], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(times, "SWEEP_S", 0.05)
    app = make(STATISTICS_SPOOL_MAX_ROWS=10)
    app.client.get("/first")
    (file,) = (tmp_path / "spool").glob("*-1.sqlite")
    connection = sqlite3.connect(str(file).replace("-1.sqlite", "-2.sqlite"))
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    for number in range(30):
        app.client.get(f"/{number}")
        app.json("health")
    assert len(paths(app)) == 31
    assert app.json("health")["lost"] == 0
    assert sum("is of version 99" in text for text in messages(caplog) if "of another process" in text) == 1


def test_spool_sets_aside_what_is_no_record(make: Callable[..., App], impatient: None, tmp_path: Path) -> None:
    app = make()
    with Away(app):
        for path in ("/first", "/1", "/2", "/3", "/4", "/last"):
            app.client.get(path)
        (file,) = (tmp_path / "spool").glob("*.journal")
        header, first, *others, last, end = file.read_bytes().split(b"\n")
        for place, text in enumerate((b"{", b"[]", b'["2026-11-22", 1, 2]', b"1,2")):
            number, space, record = others[place].partition(b" ")
            others[place] = number + space + text.ljust(len(record))  # where the next line begins may be known already
        file.write_bytes(b"\n".join([header, first, *others, last, end]))
    until_stored(app, "/first", "/last")
    wait_until(lambda: app.json("health")["refused"] == 4, "not all are set aside")
    assert run(app, "status").output.count("unreadable record") == 4


def test_spool_damaged_file_is_put_away(
    make: Callable[..., App], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = make()
    app.client.get("/first")
    app.json("health")
    writer_of(app).close()
    (file,) = (tmp_path / "spool").glob("*.sqlite")
    file.write_bytes(b"no database at all" * 1000)
    app.client.get("/second")
    app.json("health")
    assert paths(app) == ["/first", "/second"]
    assert any("a spool file is damaged" in text for text in messages(caplog))
    assert len(list((tmp_path / "spool").glob("*.damaged-*"))) == 1


def test_spool_does_not_drain_another_databases_requests(make: Callable[..., App]) -> None:
    one, two = make(), make()
    with Away(one):
        one.client.get("/one")
        two.client.get("/two")
        assert two.json("summary")["hits"] == 1
    until_stored(one, "/one")
    assert paths(two) == ["/two"]


def test_spool_commits_rows_and_progress_together_where_the_engine_autocommits(make: Callable[..., App]) -> None:
    app = make(SQLALCHEMY_ENGINE_OPTIONS={"isolation_level": "AUTOCOMMIT"}, model=picky)
    for path in ("/1", "/bad", "/2"):
        app.client.get(path)
    assert app.json("health")["refused"] == 1
    assert paths(app) == ["/1", "/2"]
    assert state_of(app.flask).engine().get_execution_options() == {}
