"""How slow a host gets beside what we do in the background: pruning, a backfill, and twenty readers of the dashboard.

python -m benchmarks.beside [--rows 4000000] [--seconds 15] [--url postgresql+psycopg://...]

Two workers of gunicorn answer about 100 requests a second, and a host writes into a table of its own every 50 ms. Half of
the rows are old enough to be pruned. Times are those of the clients, on a machine that does all of it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from .chaos import host_writes
from .common import make_app
from .rollups import Bench
from .serving import Server, gunicorn, load, read_answered

DAYS = 60


def command(url: str, *arguments: str) -> None:
    """Run `flask statistics` with these arguments, as a process of its own does."""
    app = make_app(
        url,
        create=False,
        STATISTICS_ROLLUPS=arguments[0] == "rollup",
        STATISTICS_SCHEDULER=False,
        STATISTICS_RAW_RETENTION=timedelta(days=DAYS // 2) if arguments[0] == "prune" else None,
    )
    done = app.test_cli_runner().invoke(args=["statistics", *arguments])
    assert done.exit_code == 0, done.output


def beside(url: str, *arguments: str) -> Callable[[Server], None]:
    """What runs a command to its end."""

    def run(_server: Server) -> None:
        process = multiprocessing.get_context("spawn").Process(target=command, args=(url, *arguments))
        process.start()
        process.join()
        assert process.exitcode == 0

    return run


@contextmanager
def readers(server: Server, count: int) -> Iterator[None]:
    """So many clients that ask for the Overview of all days, one page after another."""
    stopping = threading.Event()

    def read() -> None:
        while not stopping.is_set():
            with suppress(OSError):
                server.get("/statistics/?span=91d", timeout=30.0)

    threads = [threading.Thread(target=read, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


def measure(name: str, url: str, folder: Path, server: Server, run: Callable[[Server], None]) -> None:
    """Load while `run` runs, and print how slow requests and the host's own writes were."""
    answered = folder / f"answered-{name.replace(' ', '-')}"
    with (
        host_writes(url, table=f"host_{len(list(folder.iterdir()))}") as writes,
        load(server.port, answered, name=name.replace(" ", ""), threads=2, pause=0.015),
    ):
        began = time.monotonic()
        run(server)
        seconds = time.monotonic() - began
    times = sorted(answer.seconds for answer in read_answered(answered).values())
    writes.sort()
    print(
        f"| {name} | {seconds:.0f} s | {len(times) / seconds:.0f} | {times[len(times) // 2] * 1000:.0f} ms "
        f"| {times[len(times) * 99 // 100] * 1000:.0f} ms | {times[-1] * 1000:.0f} ms "
        f"| {writes[len(writes) * 99 // 100] * 1000:.0f} ms | {writes[-1] * 1000:.0f} ms |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--url", help="another database than a SQLite file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = arguments.url or f"sqlite:///{folder / 'app.sqlite'}"
        make_app(url)
        bench = Bench(url)
        bench.fill(arguments.rows, DAYS)
        bench.engine.dispose()

        def nothing(_server: Server) -> None:
            time.sleep(arguments.seconds)

        def read(server: Server) -> None:
            with readers(server, 20):
                time.sleep(arguments.seconds)

        print("| beside | for | requests/s | median | 99 % | slowest | host's write, 99 % | slowest |")
        print("|---|---|---|---|---|---|---|---|")
        with gunicorn(url, folder, "--threads", "12", workers=2) as server:
            measure("nothing", url, folder, server, nothing)
            measure("twenty readers", url, folder, server, read)
            measure("a backfill", url, folder, server, beside(url, "rollup"))
            measure("prune", url, folder, server, beside(url, "prune"))
            measure("nothing again", url, folder, server, nothing)


if __name__ == "__main__":
    main()
