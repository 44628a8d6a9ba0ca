"""What an app does not use, it does not load."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
APP = """
import sys
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from flask_statistics import RequestMixin, Statistics, guards

app = Flask("app")
app.config |= {"SQLALCHEMY_DATABASE_URI": sys.argv[1], "STATISTICS_WRITER": sys.argv[2], "STATISTICS_SPOOL_PATH": sys.argv[3]}
db = SQLAlchemy(app)

class Request(RequestMixin, db.Model):
    pass

Statistics(app, db, Request, guards.everybody)
with app.app_context():
    db.create_all()
client = app.test_client()
client.get("/")
for page in ("", "requests", "health", "api/summary"):
    assert client.get(f"/statistics/{page}").status_code == 200, page
print(*(name for name in sys.modules))
"""


def loaded(folder: Path, writer: str) -> set[str]:
    """The modules that an app has loaded that recorded a request and showed its dashboard."""
    arguments = [f"sqlite:///{folder}/app.sqlite", writer, str(folder / "spool")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", APP, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.split())


FILES = ("writer", "drain", "emptying", "journal", "lines", "file", "folder", "moving", "ending")
MEASURING = {f"timing.{name}" for name in ("timing", "collector", "statements", "outgoing", "log_lines")}
MEASURING |= {f"statements.{name}" for name in ("keeping", "storing", "tally")}
SPOOL = {f"writers.spool.{name}" for name in FILES}


@pytest.mark.parametrize(
    ("writer", "used", "unused"), [("direct", {"writers.direct"}, SPOOL), ("spool", SPOOL, {"writers.direct"})]
)
def test_app_loads_what_it_uses(tmp_path: Path, writer: str, used: set[str], unused: set[str]) -> None:
    found = loaded(tmp_path, writer)
    ours = {name.removeprefix("flask_statistics.") for name in found if name.startswith("flask_statistics.")}
    assert ours >= used | {"views", "databases.sqlite"}
    assert not ours & (unused | MEASURING)
    assert {name for name in ours if name.startswith(("rollups", "access_log", "cli"))} <= {
        *("rollups", "rollups.partitions"),
        *("access_log", "access_log.table"),
        *("cli", "cli.shared"),
    }
    of_others = {f"databases.{name}" for name in ("clickhouse", "mysql", "postgresql")}
    of_commands = {"derived", "forget", "held", "migrations", "testing", "writers.spool.client"}
    assert not ours & (of_others | of_commands | {"demo", "traffic", "writers.spool.keyed"})
    assert not found & {"numpy", "pyroaring", "apscheduler", "clickhouse_connect"}
    assert ("msgspec" in found) is (writer == "spool")
