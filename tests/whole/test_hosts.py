"""Many workers on several hosts with one database: each row once, one job for all of them, and no harm from a kill."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from benchmarks.hosts import Noted, hosts, kill_holder, pid_of
from benchmarks.serving import load, read_answered, stored, wait_until
from flask_statistics.rollups.holder import LEASE
from flask_statistics.rollups.job import EARLY

INTERVAL = timedelta(seconds=4)
DAYS = 50


def utc_now() -> datetime:
    return datetime.now(timezone.utc).replace(tzinfo=None)


@pytest.mark.skipif(sys.platform != "linux", reason="finds gunicorn's workers in /proc")
@pytest.mark.parametrize(("kind", "count"), [("postgresql", 2), ("sqlite", 1)], ids=["two hosts", "one host, SQLite"])
def test_holder_is_killed_in_a_run(
    new_database: Callable[[str], AbstractContextManager[str]], tmp_path: Path, kind: str, count: int
) -> None:
    with new_database(kind) as url:
        noted = Noted(url)
        connected: list[Counter[str]] = []
        with ExitStack() as running:
            servers = running.enter_context(hosts(url, tmp_path, count, rollup_seconds=INTERVAL.total_seconds()))
            began = utc_now()
            workers = {pid for server in servers for pid in server.workers()}
            for number, server in enumerate(servers):
                answered = tmp_path / f"answered-{number}"
                running.enter_context(load(server.port, answered, name=f"{number}x", threads=2, pause=0.05))
            month = noted.add_history(days=DAYS, requests=50 * DAYS)
            wait_until(lambda: len(noted.built(before=month)) > 24, "the job does not find the history")
            killed = kill_holder(noted)
            killed_at = time.monotonic()
            assert killed is not None, "the history was rolled up before anybody could be killed"
            assert pid_of(killed) in workers

            def others() -> set[str]:
                if kind == "postgresql":
                    connected.append(noted.connections())
                return {holder for _, holder in noted.built(before=month)} - {killed}

            wait_until(lambda: others() != set(), "nobody takes over")
            assert time.monotonic() - killed_at < LEASE.total_seconds() / 2, "its lease is not as short as the interval"
            wait_until(lambda: noted.complete_from() <= month - timedelta(days=DAYS), "the history is not rolled up")
            others()
            ended = utc_now()
        assert [server.process.returncode for server in servers] == [0] * count
        assert [server.log.parent for server in servers if "Traceback" in server.log.read_text()] == []
        assert noted.waiting(servers) == 0

        answers = [path for number in range(count) for path in read_answered(tmp_path / f"answered-{number}")]
        found = stored(url)
        assert len(answers) > 0
        assert [path for path in answers if found.get(path) != 1] == []
        # those that were under way when their worker was killed are stored, and not answered
        assert {path: times for path, times in found.items() if times != 1 and path != "/page/warm"} == {}

        # no hour was built twice, and all of them by two: who was killed, and who took over
        built = Counter(hour for hour, _ in noted.built(before=month))
        assert max(built.values()) == 1
        assert len({holder for _, holder in noted.built(before=month)} - {killed}) == 1
        runs = [moment for moment, _ in noted.run_by() if moment >= began]
        assert len(runs) <= 2 + (ended - began) / (INTERVAL * (1 - EARLY))
        # the thread that moves records, and the one that runs the job
        assert max((most for each in connected for most in each.values()), default=0) <= 2 * 4

        assert noted.roll_up(utc_now()) == {}
        noted.close()
