"""What recording costs: the median of a request with and without it, in turns in one process."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from werkzeug.test import EnvironBuilder

from flask_statistics.state import state_of
from flask_statistics.testing import quiet

from .common import bare_app, make_app

REQUESTS = 20_000
AGENT = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:72.0) Gecko/20100101 Firefox/72.0"


def seconds(app: Flask, number: int) -> float:
    """How long one request takes, by the WSGI call a server makes."""
    environ = EnvironBuilder(f"/page/{number}?a=1", headers=[("User-Agent", AGENT)]).get_environ()
    started = time.perf_counter()
    body: Any = app(environ, _start_response)
    b"".join(body)
    body.close()
    return time.perf_counter() - started


def _start_response(_status: str, _headers: Any, _error: Any = None, /) -> Callable[[bytes], object]:
    return lambda _: None


def recording_app(folder: Path, name: str, **config: Any) -> Flask:
    """An app with a SQLite file of its own, or with the database that the command line names."""
    url = sys.argv[1] if len(sys.argv) > 1 else f"sqlite:///{folder / name}.sqlite"
    return make_app(url, STATISTICS_SPOOL_PATH=folder / name, **config)


def warm_up(app: Flask) -> None:
    """Have a request stored, so that what a process does once is done: the spool's thread imports the user agents' library."""
    seconds(app, 0)
    recorder = state_of(app).recorder
    assert recorder is not None
    deadline = time.monotonic() + 60
    while recorder.backlog().waiting:
        assert time.monotonic() < deadline, "it is not stored"
        time.sleep(0.1)


def compare(app: Flask, requests: int, bare_of: Flask | None = None) -> tuple[float, float]:
    """Seconds of a bare request, and what `app` adds to it: medians of pairs that alternate who is first."""
    bare_of, added, bare = bare_of or bare_app(), [], []
    for number in range(-requests // 10, requests):
        if number % 2:
            first, second = seconds(bare_of, number), seconds(app, number)
        else:
            second, first = seconds(app, number), seconds(bare_of, number)
        if number >= 0:  # what comes before warms up
            bare.append(first)
            added.append(second - first)
    return median(bare), median(added)


def asking_app(count: int, *, measured: bool) -> Flask:
    """An app in memory whose page sends so many statements, with what they take measured or not."""
    app = make_app("sqlite:///:memory:", STATISTICS_QUERIES=measured)
    db: SQLAlchemy = app.extensions["sqlalchemy"]
    asked = [sa.text(f"SELECT {number}") for number in range(count)]

    def view(number: str) -> str:
        for statement in asked:
            db.session.execute(statement).scalar()
        return f"page {number}"

    app.view_functions["page"] = view
    return app


def compare_statements() -> None:
    """Print what it costs to measure none, five and fifty statements a request."""
    for count in (0, 5, 50):
        off, on = asking_app(count, measured=False), asking_app(count, measured=True)
        with quiet(off), quiet(on):
            bare, added = compare(on, REQUESTS // 4, off)
        each = f", {added / count * 1e6:.2f} us a statement" if count else ""
        print(f"{count:2} statements measured   {bare * 1e6:7.0f} us {added * 1e6:+9.1f} us a request{each}")


def main() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        collecting = recording_app(folder, "collecting")
        spool = recording_app(folder, "spool", STATISTICS_WRITER="spool")
        print(f"{'':24} {'bare':>10} {'added':>12}")
        for title, app, requests, writing in (
            ("collected, not written", collecting, REQUESTS, quiet(collecting)),
            ("spool writer", spool, REQUESTS, nullcontext()),
            ("direct writer", recording_app(folder, "direct"), REQUESTS // 10, nullcontext()),
        ):
            with writing:
                warm_up(app)
                bare, added = compare(app, requests)
            print(f"{title:24} {bare * 1e6:7.0f} us {added * 1e6:+9.1f} us a request")
        writer = state_of(spool).writer
        assert writer is not None
        writer.close()
    compare_statements()


if __name__ == "__main__":
    main()
