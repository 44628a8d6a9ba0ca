"""What all processes of an app on this host did: counted once each, whoever is asked, also of those that were killed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from benchmarks.chaos import UNPOOLED
from benchmarks.common import make_app as make_benchmarked
from benchmarks.serving import Server, gunicorn, wait_until
from flask_statistics import processes
from flask_statistics.guards import token
from flask_statistics.local_files import name_of
from flask_statistics.processes import Processes

from .conftest import App

MakeApp = Callable[..., App]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let those of this process write more often than once a second."""
    monkeypatch.setattr(processes, "EVERY_S", 0.05)


def processes_of(app: App) -> Processes:
    found = app.statistics_state().processes
    assert found is not None
    return found


def files_of(app: App, kind: str = "json") -> list[Path]:
    """The files of living processes, and of those that are not added to the total yet."""
    return [path for path in processes_of(app).files() if path.match(f"*-*-*-*.{kind}")]


def counted(app: App) -> tuple[int, int, int]:
    """Processes, requests recorded and lost, as any of them says."""
    found = app.json("health")
    return found["processes"], found["recorded"], found["lost"]


def says(app: App, *expected: int) -> None:
    """Wait until health counts so many: the others write once a second."""
    wait_until(lambda: counted(app) == expected, f"{expected} expected", 10)


@pytest.mark.parametrize("writer", ["direct", "spool"])
def test_processes_are_counted_together_whoever_is_asked(make_app: MakeApp, tmp_path: Path, writer: str) -> None:
    options: dict[str, Any] = {"STATISTICS_WRITER": writer, "STATISTICS_SPOOL_PATH": str(tmp_path / "spool")}
    first, second = (make_app(f"sqlite:///{tmp_path}/one.sqlite", **options) for _ in range(2))
    for number in range(5):
        first.client.get("/")
        if number:
            second.client.get("/")
    says(first, 2, 9, 0)
    says(second, 2, 9, 0)
    first.statistics_state().writer.close()  # type: ignore[union-attr]
    processes_of(first).end()
    says(second, 1, 9, 0)
    says(second, 1, 9, 0)  # it is added once
    assert len(files_of(second)) == 1


def test_processes_that_were_killed_are_counted_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'app.sqlite'}"
    make_benchmarked(url, **UNPOOLED)

    def health(server: Server) -> Any:
        return json.loads(server.get("/statistics/api/health"))

    def ask(server: Server, times: int) -> None:
        for number in range(times):
            server.get(f"/page/{number}")

    with gunicorn(url, tmp_path, writer="direct", workers=2) as server:
        ask(server, 30)
        wait_until(lambda: health(server)["recorded"] == 30, "30 were recorded")
        victim = server.workers()[0]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: victim not in server.workers(), "it lives")
        ask(server, 10)
        wait_until(lambda: health(server)["recorded"] == 40, "10 more were recorded")
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE request"))
        ask(server, 7)
        said: list[Any] = []
        wait_until(lambda: said.append(health(server)) or said[-1]["lost"] == 7, "7 were lost")  # type: ignore[func-returns-value]
        assert said[-1]["lost_because"] == {"OperationalError": 7}
        assert "7 requests were lost" in str(said[-1]["problems"])
    # all of them ended, and another process is asked
    app = make_benchmarked(url, create=False, **UNPOOLED)
    after = app.test_client().get("/statistics/api/health").get_json()
    assert (after["processes"], after["recorded"], after["lost"]) == (0, 40, 7)
    output = app.test_cli_runner().invoke(args=["statistics", "status"]).output
    assert "7 requests were lost" in output
    for path in app.extensions["statistics"].processes.files():
        path.unlink()


def test_processes_lose_what_waited_in_their_memory(make_app: MakeApp, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/one.sqlite"
    first, second = make_app(url), make_app(url)
    first.client.get("/")
    with first.flask.app_context(), first.db.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        for _ in range(3):
            first.client.get("/")
        wait_until(lambda: second.json("health")["waiting"] == 3, "they wait in the memory of another process", 10)
        assert "locked" in second.json("health")["trouble"]
        processes_of(first).end()  # as if the process ended with them
        assert second.json("health")["lost_because"] == {"ProcessEnded": 3}


@pytest.mark.parametrize("kind", ["lock", "json", "*"])
def test_processes_whose_files_are_deleted_are_counted_once(make_app: MakeApp, tmp_path: Path, kind: str) -> None:
    url = f"sqlite:///{tmp_path}/one.sqlite"
    first, second = make_app(url), make_app(url)
    for app in (first, second, first):
        app.client.get("/")
    says(second, 2, 3, 0)
    for path in files_of(first, kind):
        path.unlink(missing_ok=True)
    counted(second)  # it may take the other one for dead
    says(second, 2, 3, 0)
    first.client.get("/")
    says(second, 2, 4, 0)
    says(first, 2, 4, 0)


def test_processes_with_odd_files_beside_them(make_app: MakeApp) -> None:
    app = make_app()
    app.client.get("/")
    says(app, 1, 1, 0)
    (own,) = files_of(app)
    for number, text in enumerate(("", "[]", "null", '{"started_at": 1}', '{"started_at": null}', "\0\0", "{}")):
        own.with_name(f"{own.stem[:-8]}odd{number}.json").write_text(text)
    says(app, 1, 1, 0)
    assert files_of(app) == [own]


def test_processes_that_cannot_write_say_so(make_app: MakeApp, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    app = make_app(STATISTICS_WRITER="spool", STATISTICS_SPOOL_PATH=str(folder))
    folder.mkdir(0o700)
    folder.chmod(0o777)
    app.client.get("/")
    found = app.json("health")
    assert "others may write to it" in found["unknown_because"]
    page = app.client.get("/statistics/health").text
    assert "this one alone, as those of others cannot be read" in page
    assert app.client.get("/").status_code == 404


def test_processes_tell_when_a_token_was_used(make_app: MakeApp, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/one.sqlite"
    secret = "s" * 40
    first, second = (make_app(url, before_f=token({"anna": secret})) for _ in range(2))
    for app in (first, second):
        app.client.get("/")
    headers = {"Authorization": f"Bearer {secret}"}
    first.client.get("/statistics/api/summary", headers=headers)
    used = str(first.client.get("/statistics/api/health", headers=headers).get_json()["tokens"])
    assert "anna" in used
    assert "None" not in used
    wait_until(lambda: bool(processes_of(second).all().tokens), "the other one does not know", 10)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_processes_that_are_forked_begin_with_nothing(make_app: MakeApp) -> None:
    app = make_app()
    for _ in range(4):
        app.client.get("/")
    says(app, 1, 4, 0)
    child = os.fork()
    if not child:
        try:
            app.client.get("/")
            done = processes_of(app).own().recorded
            processes_of(app).end()
            os._exit(done)
        except BaseException:
            os._exit(99)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    says(app, 1, 5, 0)


def test_processes_of_tests_write_nothing(make_app: MakeApp) -> None:
    app = make_app(TESTING=True)
    app.client.get("/")
    assert files_of(app) == []
    assert app.json("health")["recorded"] == 1


def test_processes_write_nothing_before_a_request(make_app: MakeApp) -> None:
    app = make_app()
    assert app.json("health")["processes"] == 0
    assert files_of(app) == []


@pytest.mark.parametrize(
    "asked", ["host=/run/one", "port=5433", "unix_socket=/run/one.sock", "service=one", "dbname=one"]
)
def test_processes_of_two_servers_are_told_apart(asked: str) -> None:
    table = sa.Table("request", sa.MetaData())
    named = {
        name_of(sa.make_url(f"postgresql://{rest}"), table) for rest in ("/app", f"/app?{asked}", f"/app?{asked}1")
    }
    assert len(named) == 3
    assert (
        name_of(sa.make_url("postgresql:///app?sslmode=require"), table) in named
    )  # what it is asked besides is no address
