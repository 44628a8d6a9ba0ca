"""What this package, the original 1.0.2, Flask-MonitoringDashboard, Sentry, OpenTelemetry and prometheus-flask-exporter add to a
bare request, on the same machine.

    python -m benchmarks.others [--folder DIR] [--files DIR]

The others are installed in virtual environments of their own; the original needs Flask 2.0 and Flask-SQLAlchemy 2.5.
All on a SQLite file; one on a RAM disk (`--files /dev/shm`) shows what is not the disk's. Each round measures all in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
ORIGINAL = (
    *("flask-statistics==1.0.2", "Flask==2.0.3", "Werkzeug==2.0.3", "Flask-SQLAlchemy==2.5.1", "SQLAlchemy==1.4.54"),
    *("Jinja2==3.0.3", "itsdangerous==2.0.1", "click==8.0.4", "setuptools<81"),
)
MONITORING = ("flask-monitoringdashboard", "setuptools<81")
SENTRY = ("sentry-sdk[flask]",)
OPENTELEMETRY = ("opentelemetry-sdk", "opentelemetry-instrumentation-flask", "Flask", "setuptools<81")
PROMETHEUS = ("prometheus-flask-exporter",)
ROUNDS = 3


def environment(folder: Path, name: str, packages: tuple[str, ...]) -> str:
    """The Python of a virtual environment that has `packages`; made if it is not there yet."""
    python = folder / name / "bin" / "python"
    if not python.exists():
        venv.create(folder / name, with_pip=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
        subprocess.run(
            install, check=True, env={name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
        )
    return str(python)


def added(python: str, kind: str, path: str, files: Path | None) -> dict[str, float]:
    """One measurement, in an environment of its own, with its SQLite file in a folder of `files`."""
    with tempfile.TemporaryDirectory(dir=files) as folder:
        command = [python, str(ROOT / "benchmarks" / "added.py"), kind, folder]
        # beside the script is one that is called like a library which it needs
        env = os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
        found = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder, env=env)
    measured: dict[str, float] = json.loads(found.stdout.splitlines()[-1])
    return measured


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, help="keeps the virtual environments")
    parser.add_argument("--files", type=Path, help="where the SQLite files are made")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp())
    here = str(ROOT)
    compared = {
        "spool": (sys.executable, here),
        "direct": (sys.executable, here),
        "original": (environment(folder, "original", ORIGINAL), ""),
        "whole": (sys.executable, here),
        "monitoring": (environment(folder, "monitoring", MONITORING), ""),
        "sentry": (environment(folder, "sentry", SENTRY), ""),
        "sentry-tracing": (environment(folder, "sentry", SENTRY), ""),
        "opentelemetry": (environment(folder, "opentelemetry", OPENTELEMETRY), ""),
        "prometheus": (environment(folder, "prometheus", PROMETHEUS), ""),
    }
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in compared}
    for _ in range(ROUNDS):
        for kind, (python, path) in compared.items():
            found[kind].append(added(python, kind, path, arguments.files))
    for kind, rounds in found.items():
        bare, more = (median(one[key] for one in rounds) for key in ("bare_us", "added_us"))
        print(f"{kind:14} bare {bare:6.0f} us, added {more:8.0f} us a request")


if __name__ == "__main__":
    main()
