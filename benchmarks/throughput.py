"""Requests a second of a gunicorn with 4 workers, with each writer and with a database alone, in turns; and CPU a request.

python -m benchmarks.throughput [--rounds 5] [--seconds 4] [--url URL]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from .common import make_app
from .serving import Server, gunicorn, load, read_answered


def cpu_seconds(server: Server) -> float:
    """What the workers have used, which a busy machine changes little."""
    stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in server.workers()]
    return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")


def measure(server: Server, folder: Path, name: str, *, seconds: float) -> tuple[float, float]:
    """Requests a second under the load of a second process with four threads, and seconds of CPU a request."""
    answered = folder / f"answered-{name}"
    answered.touch()
    started, used = time.perf_counter(), cpu_seconds(server)
    with load(server.port, answered, name=name):
        time.sleep(seconds)
    taken = time.perf_counter() - started
    time.sleep(1)  # what was recorded is still moved
    requests = len(read_answered(answered))
    return requests / taken, (cpu_seconds(server) - used) / requests


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--url", help="another database than a SQLite file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        url = arguments.url or f"sqlite:///{folder / 'app.sqlite'}"
        make_app(url, STATISTICS_WRITER="spool")
        servers = {}
        for writer in ("none", "spool", "direct"):
            (folder / writer).mkdir()
            servers[writer] = stack.enter_context(gunicorn(url, folder / writer, writer=writer))
        found: dict[str, list[float]] = {writer: [] for writer in servers}
        used: dict[str, list[float]] = {writer: [] for writer in servers}
        for number in range(arguments.rounds + 1):
            for writer, server in servers.items():
                rate, cpu = measure(server, folder, f"{writer}{number}", seconds=arguments.seconds)
                if number:  # the first warms up
                    found[writer].append(rate)
                    used[writer].append(cpu)
        ratios = {
            writer: median(rate / bare for rate, bare in zip(rates, found["none"], strict=True))
            for writer, rates in found.items()
        }
        for writer, rates in found.items():
            print(
                f"{writer:8} {median(rates):6.0f} requests a second, {ratios[writer]:6.1%} of the app without, "
                f"{median(used[writer]) * 1e6:5.0f} us of CPU a request"
            )


if __name__ == "__main__":
    main()
