"""What recording costs: the median of a request with and without it, in turns in one process."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

from flask import Flask
from werkzeug.test import EnvironBuilder

from flask_statistics.recorder import Backlog, Record
from flask_statistics.state import state_of

from .common import bare_app, database, make_app

REQUESTS = 5_000
AGENT = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:72.0) Gecko/20100101 Firefox/72.0"


class NoWriter:
    """Takes records and forgets them: what is left is the cost of collecting them."""

    def write(self, record: Record, *, host_in_transaction: bool) -> None: ...

    def flush(self) -> None: ...

    def backlog(self) -> Backlog:
        return Backlog(0, None)


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


def main() -> None:
    with database() as url:
        collecting, recording = make_app(url), make_app(url)
        recorder = state_of(collecting).recorder
        assert recorder is not None
        recorder._writer = NoWriter()
        apps = {"bare": bare_app(), "collected, not written": collecting, "recorded (direct writer)": recording}
        times: dict[str, list[float]] = {name: [] for name in apps}
        for number in range(REQUESTS):
            for name, app in apps.items():
                times[name].append(seconds(app, number))
    bare = median(times["bare"])
    for name, found in times.items():
        cost = median(found)
        print(f"{name:26} {cost * 1e6:8.0f} us a request, {(cost - bare) * 1e6:+8.0f} us")


if __name__ == "__main__":
    main()
