"""A real gunicorn in front of an app that records, and a second process that loads it. For tests and benchmarks.

`load` notes each request that got its whole response, under a path that nobody else asks for.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa
from flask import Flask

from .common import app_with_database, make_app

ROOT = Path(__file__).parents[1]


def served() -> Flask:
    """The app that gunicorn imports; what it is comes from the environment. The tables are there already."""
    if os.environ["BENCHMARK_WRITER"] == "none":
        return app_with_database(os.environ["BENCHMARK_DATABASE"])
    rollup_seconds = float(os.environ["BENCHMARK_ROLLUP_SECONDS"])
    return make_app(
        os.environ["BENCHMARK_DATABASE"],
        create=False,
        STATISTICS_WRITER=os.environ["BENCHMARK_WRITER"],
        STATISTICS_SPOOL_PATH=os.environ["BENCHMARK_SPOOL"],
        STATISTICS_ROLLUPS=rollup_seconds > 0,
        STATISTICS_ROLLUP_INTERVAL=timedelta(seconds=rollup_seconds or 60),
        SQLALCHEMY_ENGINE_OPTIONS={"connect_args": {"timeout": 30}}
        if os.environ["BENCHMARK_DATABASE"].startswith("sqlite")
        else {},
    )


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def workers(self) -> list[int]:
        """Pids of its worker processes."""
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in found.read_text().split()] if found.exists() else []

    def get(self, path: str, timeout: float = 10.0) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()


@contextmanager
def gunicorn(
    url: str, folder: Path, *options: str, writer: str = "spool", workers: int = 4, rollup_seconds: float = 0
) -> Iterator[Server]:
    """A gunicorn in front of the app on the database `url`, with its spool in `folder`; ended in an orderly way.

    `rollup_seconds` is the interval of the job; 0: there are no rollups.
    """
    command = ["gunicorn", "-w", str(workers), "-b", "127.0.0.1:{port}", "--reuse-port", *options]
    with running(
        [*command, "benchmarks.serving:served()"], url, folder, writer=writer, rollup_seconds=rollup_seconds
    ) as server:
        yield server


@contextmanager
def running(
    command: list[str], url: str, folder: Path, *, writer: str = "spool", rollup_seconds: float = 0
) -> Iterator[Server]:
    """A Python module that serves the app on `{port}`, as `gunicorn` says; at the end it gets SIGTERM."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "server.log"
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "BENCHMARK_WRITER": writer,
        "BENCHMARK_DATABASE": url,
        "BENCHMARK_SPOOL": str(folder / "spool"),
        "BENCHMARK_ROLLUP_SECONDS": str(rollup_seconds),
    }
    command = [sys.executable, "-m", *(word.replace("{port}", str(port)) for word in command)]
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=output, stderr=output)
    server = Server(process, port, log)
    try:
        wait_until(lambda: _answers(server), f"{command[2]} does not answer, see {log}")
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()  # its workers end when they see that they are alone
            raise


def _answers(server: Server) -> bool:
    try:
        return server.get("/statistics/static/none", timeout=1.0) != b""
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], otherwise: str, seconds: float = 60.0) -> None:
    """Poll until `condition` holds; `AssertionError` with `otherwise` if it does not within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(otherwise)
        time.sleep(0.02)


@contextmanager
def load(port: int, answered: Path, *, name: str, threads: int = 4, pause: float = 0.0) -> Iterator[None]:
    """A second process that asks for `/page/<name>-<number>` all the time and notes in `answered` what got its response."""
    command = [sys.executable, "-m", "benchmarks.serving", str(port), str(answered), name, str(threads), str(pause)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)})
    try:
        yield
    finally:
        assert process.stdin is not None
        process.stdin.close()  # it stops after the requests under way
        process.wait(30)


def count_answered(answered: Path) -> int:
    """How many requests of a load got their response up to now."""
    return answered.read_bytes().count(b"\n") if answered.exists() else 0


def stay(answered: Path, *, seconds: float, least: int) -> None:
    """Wait for so many seconds, and until so many more requests got their response: a busy machine may need longer."""
    before = count_answered(answered)
    time.sleep(seconds)
    wait_until(lambda: count_answered(answered) >= before + least, "requests are not answered")


class Answer(NamedTuple):
    """A request that got its response."""

    at: float
    """When it had it, seconds since the epoch."""
    seconds: float


def read_answered(answered: Path) -> dict[str, Answer]:
    """Path to what was noted of it, for each request that got its response."""
    lines = (line.split() for line in answered.read_text().splitlines())
    return {path: Answer(float(at), float(seconds)) for path, at, seconds in lines}


def stored(url: str) -> dict[str, int]:
    """How often each path of a load is in the raw table."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        query = sa.text("SELECT path, count(*) FROM request WHERE path LIKE '/page/%' GROUP BY path")
        return {path: count for path, count in connection.execute(query)}  # noqa: C416 - rows are no tuples to mypy


def _ask(port: int, name: str, stopping: threading.Event, answered: Callable[[str, float], None], pause: float) -> None:
    number = 0
    while not stopping.is_set():
        path = f"/page/{name}-{number}"
        number += 1
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        started = time.perf_counter()
        with suppress(OSError, http.client.HTTPException):  # its server was killed: no response, no promise
            connection.request("GET", path)
            response = connection.getresponse()
            if response.read() == f"page {name}-{number - 1}".encode():
                answered(path, time.perf_counter() - started)
        connection.close()
        if pause:
            time.sleep(pause)


def main() -> None:
    port, file, name, threads, pause = sys.argv[1:]
    stopping, lock = threading.Event(), threading.Lock()
    with Path(file).open("a", buffering=1) as output:

        def answered(path: str, seconds: float) -> None:
            with lock:
                output.write(f"{path} {time.time():.6f} {seconds:.6f}\n")

        askers = [
            threading.Thread(target=_ask, args=(int(port), f"{name}{number}", stopping, answered, float(pause)))
            for number in range(int(threads))
        ]
        for asker in askers:
            asker.start()
        sys.stdin.read()
        stopping.set()
        for asker in askers:
            asker.join()


if __name__ == "__main__":
    main()
