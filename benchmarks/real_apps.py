"""The test suites of other people's applications, run without and with the extension: the same passes, and what it costs.

Nothing of theirs is in this repository. Get the sources of applications that use Flask, with an environment in which their tests
pass and this package is installed, and name them:

    python -m benchmarks.real_apps --python ENVIRONMENT/bin/python microblog=FOLDER:tests.py flaskr=FOLDER/examples/tutorial

Before a colon stands the folder in which pytest runs, behind it what it is given. Every suite runs in turn without and with the
extension, which this module adds as a plugin of pytest: at each `SQLAlchemy.init_app` of the host's, and for an app without
one at its first test client, with a database of its own.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import tempfile
from collections import Counter
from functools import wraps
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_statistics import RequestMixin, Statistics
from flask_statistics.guards import everybody
from flask_statistics.state import NAME, State

ROOT = Path(__file__).parents[1]
TABLE = "requests_of_real_apps"
_states: list[State] = []


# ---- the plugin, in the process of the suite -----------------------------------------------------------------------


def add_to(app: Flask, db: SQLAlchemy) -> None:
    """Let an app record its requests, as the README says."""
    if NAME in app.extensions:
        return
    if TABLE not in db.metadata.tables:
        model = type("RequestOfRealApps", (RequestMixin, db.Model), {"__tablename__": TABLE})
        db.metadata.tables[TABLE].info["model"] = model
    model = db.metadata.tables[TABLE].info["model"]
    Statistics(app, db, model, everybody)
    _states.append(app.extensions[NAME])


def pytest_configure() -> None:
    """Have every app record."""
    init_app, test_client = SQLAlchemy.init_app, Flask.test_client

    @wraps(init_app)
    def init_and_add(self: SQLAlchemy, app: Flask) -> None:
        init_app(self, app)
        add_to(app, self)

    @wraps(test_client)
    def add_and_test(self: Flask, *arguments: Any, **options: Any) -> Any:
        if "sqlalchemy" not in self.extensions:
            self.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
            own = SQLAlchemy()
            own.init_app(self)
            with self.app_context():
                own.create_all()
        return test_client(self, *arguments, **options)

    SQLAlchemy.init_app = init_and_add  # type: ignore[method-assign]
    Flask.test_client = add_and_test  # type: ignore[method-assign]


def pytest_sessionfinish() -> None:
    """Say how much was recorded."""
    counters = [state.recorder.counters for state in _states if state.recorder is not None]
    recorded, lost = sum(one.recorded for one in counters), sum(one.lost for one in counters)
    because: Counter[str] = sum((one.lost_because for one in counters), Counter())
    told = f"{len(counters)} apps, {recorded} recorded, {lost} lost {dict(because) or ''}"
    Path(os.environ["REAL_APPS_COUNTS"]).write_text(told)


# ---- the driver ----------------------------------------------------------------------------------------------------


def outcomes(report: Path) -> dict[str, str]:
    """How each test ended, by its name."""
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        ended = next((child.tag for child in case if child.tag in ("failure", "error", "skipped")), "passed")
        found[f"{case.get('classname')}::{case.get('name')}"] = ended
    return found


def run(python: str, folder: Path, arguments: list[str], *, added: bool) -> tuple[dict[str, str], float, str]:
    """How the tests ended, the seconds of CPU that they took, and what was recorded."""
    with tempfile.TemporaryDirectory() as place:
        report, counts = Path(place) / "report.xml", Path(place) / "counts"
        command = [python, "-m", "pytest", "-q", "-o", f"cache_dir={place}", f"--junitxml={report}", *arguments]
        command += ["-p", "benchmarks.real_apps"] if added else []
        environment = os.environ | {"PYTHONPATH": str(ROOT), "REAL_APPS_COUNTS": str(counts)}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return outcomes(report), seconds, counts.read_text() if added else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--python", required=True, help="of an environment with the applications' packages and this one"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("apps", nargs="+", metavar="NAME=FOLDER[:ARGUMENTS]")
    options = parser.parse_args()
    for app in options.apps:
        name, _, place = app.partition("=")
        folder, _, arguments = place.partition(":")
        bare, added, told = [], [], ""
        ended: tuple[dict[str, str], dict[str, str]] = {}, {}
        for _ in range(options.rounds):
            without, seconds, _ = run(options.python, Path(folder), arguments.split(), added=False)
            bare.append(seconds)
            with_it, seconds, told = run(options.python, Path(folder), arguments.split(), added=True)
            added.append(seconds)
            ended = without, with_it
        different = sorted(
            test for test in ended[0].keys() | ended[1].keys() if ended[0].get(test) != ended[1].get(test)
        )
        counts = ", ".join(f"{number} {how}" for how, number in sorted(Counter(ended[0].values()).items()))
        ratio = statistics.median(added) / statistics.median(bare)
        print(f"{name}: {counts}; with the extension {'the same' if not different else f'other: {different}'}")
        print(
            f"  {statistics.median(bare):.1f} s and {statistics.median(added):.1f} s of CPU, {ratio:.2f} times; {told}"
        )


if __name__ == "__main__":
    main()
