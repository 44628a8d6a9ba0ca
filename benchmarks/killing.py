"""Kills gunicorn's workers at random under load, then its master, and counts what got its response: stored exactly once?

python -m benchmarks.killing [--rounds 20] [--seconds 6] [--url URL]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .common import make_app
from .serving import Server, count_answered, gunicorn, load, read_answered, stored, wait_until


def kill(
    server: Server, *, seconds: float, pause: float, rng: random.Random, enough: Callable[[], bool]
) -> tuple[int, list[int]]:
    """Kill workers at random, two at least, for so many seconds and until it is `enough`, then the master.

    How many were killed, and the workers that outlive the master.
    """
    killed, started = 0, time.monotonic()
    while time.monotonic() < started + seconds or not ((killed > 1 and enough()) or time.monotonic() > started + 60):
        time.sleep(rng.uniform(0.1, 1.0) * pause)
        workers = server.workers()
        if workers:
            with suppress(ProcessLookupError):
                os.kill(rng.choice(workers), signal.SIGKILL)
                killed += 1
    orphans = server.workers()
    server.process.kill()
    for pid in rng.sample(orphans, len(orphans) // 2):  # the others see that they are alone, when nobody asks any more
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return killed, orphans


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def settle(server: Server) -> None:
    """Wait until nothing is in any spool."""
    wait_until(lambda: json.loads(server.get("/statistics/api/health"))["waiting"] == 0, "the spool is not emptied")


def one_round(
    url: str, folder: Path, number: int, *, seconds: float, seed: int, requests: int = 1_000
) -> dict[str, int]:
    """One round of at least so many seconds and answered requests.

    What was answered, lost, stored twice, stored without a response, and how many workers were killed.
    """
    answered, rng = folder / f"answered-{number}", random.Random(seed)
    answered.touch()
    # with --preload a new worker is a fork, and is there at once; without, it needs a second
    options, pause = (["--preload"], 0.5) if number % 2 == 0 else ([], 2.0)
    # a worker that nobody asks looks each half of the timeout whether its master lives
    with gunicorn(url, folder, "--timeout", "10", *options) as server, load(server.port, answered, name=f"{number}x"):
        killed, orphans = kill(
            server,
            seconds=seconds,
            pause=pause,
            rng=rng,
            enough=lambda: count_answered(answered) >= requests,
        )
    wait_until(lambda: not any(_lives(pid) for pid in orphans), "workers outlive their master")
    with gunicorn(url, folder) as server:
        settle(server)
    paths = read_answered(answered)
    found = {path: times for path, times in stored(url).items() if path.startswith(f"/page/{number}x")}
    return {
        "answered": len(paths),
        "lost": sum(path not in found for path in paths),
        "doubled": sum(times > 1 for times in found.values()),
        "unanswered": sum(path not in paths for path in found),
        "killed": killed,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--url", help="another database than a SQLite file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = arguments.url or f"sqlite:///{folder / 'app.sqlite'}"
        make_app(url, STATISTICS_WRITER="spool")
        total: dict[str, int] = {}
        for number in range(arguments.rounds):
            found = one_round(url, folder, number, seconds=arguments.seconds, seed=number)
            total = {key: total.get(key, 0) + value for key, value in found.items()}
            print(f"round {number + 1:2}", found, flush=True)
        print("total   ", total)
        if total["lost"] or total["doubled"]:
            raise SystemExit("Requests that got their response are not stored exactly once.")


if __name__ == "__main__":
    main()
