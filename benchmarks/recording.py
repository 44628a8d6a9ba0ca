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

from flask import Flask
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


def compare(app: Flask, requests: int) -> tuple[float, float]:
    """Seconds of a bare request, and what `app` adds to it: medians of pairs that alternate who is first."""
    bare_of, added, bare = bare_app(), [], []
    for number in range(-requests // 10, requests):
        if number % 2:
            first, second = seconds(bare_of, number), seconds(app, number)
        else:
            second, first = seconds(app, number), seconds(bare_of, number)
        if number >= 0:  # what comes before warms up
            bare.append(first)
            added.append(second - first)
    return median(bare), median(added)


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


if __name__ == "__main__":
    main()
