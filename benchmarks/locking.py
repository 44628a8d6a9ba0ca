"""Locks the SQLite database in the middle of a load: is anything lost, doubled or slow?

python -m benchmarks.locking [--seconds 10]
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from pathlib import Path

from .common import make_app
from .serving import gunicorn, load, read_answered, stay, stored


def run(folder: Path, *, seconds: float) -> dict[str, float]:
    """Load while another process holds a write transaction for so many seconds: what was lost, doubled, and how slow, in s."""
    file, answered = folder / "app.sqlite", folder / "answered"
    make_app(f"sqlite:///{file}", STATISTICS_WRITER="spool")
    with (
        gunicorn(f"sqlite:///{file}", folder, workers=2) as server,
        load(server.port, answered, name="x", threads=2, pause=0.01),
    ):
        stay(answered, seconds=1.0, least=20)
        other = sqlite3.connect(file, isolation_level=None, timeout=60)
        other.execute("BEGIN IMMEDIATE")
        began = time.time()
        stay(answered, seconds=seconds, least=20)
        ended = time.time()
        other.execute("ROLLBACK")
        other.close()
    answers, found = read_answered(answered), stored(f"sqlite:///{file}")
    locked = sorted(answer.seconds for answer in answers.values() if began <= answer.at <= ended)
    return {
        "answered while locked": len(locked),
        "lost": sum(path not in found for path in answers),
        "doubled": sum(times > 1 for times in found.values()),
        "median": locked[len(locked) // 2],
        "99 %": locked[len(locked) * 99 // 100],
        "slowest": locked[-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10.0)
    with tempfile.TemporaryDirectory() as name:
        print(run(Path(name), seconds=parser.parse_args().seconds))


if __name__ == "__main__":
    main()
