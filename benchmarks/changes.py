"""Changes at scale: are seeded ones found, how often is a quiet pair taken for one, and how long does its page take?

    python -m benchmarks.changes --rows 1000000 --folder DIR

A year of made-up requests, into whose last 28 days twenty regressions are put: a dozen routes are slower by a quarter to a
half, five fail in two of a hundred requests more, three lose three of ten visitors. They are compared with the 28 days
before. Quiet pairs are weeks of the rest of the year, each against the one before. All of it is asked of rollups; what is
made is kept.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from flask_statistics import changes, traffic
from flask_statistics.changes import Changes, Lot, Lots
from flask_statistics.confidence import FAILURES, TIMES, VISITORS
from flask_statistics.filters import Filters
from flask_statistics.spans import Span

from .common import make_app
from .rollups import NOW, ZONE, Bench, backfill

DAYS, COMPARED = 365, 28
END = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
"""The last whole day ends here."""
KINDS = ((TIMES, 12), (FAILURES, 5), (VISITORS, 3))
"""What is made worse, and for how many routes."""
PAIRS, FIRST_PAIR, APART = 20, 60, 14
"""Quiet pairs of weeks: how many, how many days before the end the latest one ends, and how far they are apart."""
RELEASED = 182.5
"""So many days before the end comes the release that makes the search slower: a change, and no quiet pair."""
TOP = 25


def seeded(routes: Sequence[str]) -> dict[str, str]:
    """Twenty of the routes, and what is worse for each: of commoner and of rarer ones alike."""
    count = sum(number for _, number in KINDS)
    chosen = [routes[place * len(routes) // count] for place in range(count)]
    kinds = [kind for kind, number in KINDS for _ in range(number)]
    order = sorted(range(count), key=lambda place: zlib.crc32(chosen[place].encode()))
    return {chosen[place]: kind for place, kind in zip(order, kinds, strict=True)}


def worse(row: dict[str, Any], kind: str | None, number: int) -> Iterator[dict[str, Any]]:
    """The row as the regression of its route makes it, or nothing where its visitor stays away."""
    if kind == TIMES:
        row["response_time"] *= 1.25 + (zlib.crc32(row["route"].encode()) % 26) / 100
    elif kind == FAILURES and number % 50 == 0:
        row["status_code"] = 500
    elif kind == VISITORS and zlib.crc32(row["remote_address"].encode()) % 10 < 3:
        return
    yield row


class Seeded(Bench):
    """A year in whose last days some routes are worse."""

    def fill_seeded(self, rows: int, regressions: dict[str, str]) -> None:
        """Make the raw rows, unless they are there."""
        with self.engine.connect() as connection:
            if self.source.newest(connection) is not None:
                return
        since, batch = END - timedelta(days=COMPARED), list[dict[str, Any]]()
        started = time.perf_counter()
        made = traffic.generate(start=END - timedelta(days=DAYS), end=END, requests=rows, seed=1)
        for number, row in enumerate(made):
            batch += worse(row, regressions.get(row["route"]) if row["date"] >= since else None, number)
            if len(batch) >= 50_000:
                self._insert(batch)
                batch.clear()
        self._insert(batch)
        print(f"raw rows made in {time.perf_counter() - started:.0f} s")

    def compared(self, end: datetime, days: int) -> Changes:
        """What changed in the days before `end`, against as many before these."""
        length = timedelta(days=days)
        before, after = (Lot(Span(until - length, until, ZONE), Filters()) for until in (end - length, end))
        with self.engine.connect() as connection:
            return changes.changes(self.queries(connection), "route", Lots(before, after, same_hours=True))


def routes_of() -> list[str]:
    """The routes of made-up traffic, the commonest first."""
    found: dict[str, int] = {}
    for row in traffic.generate(start=END - timedelta(days=1), end=END, requests=50_000, seed=1):
        if row["route"] is not None:
            found[row["route"]] = found.get(row["route"], 0) + 1
    return sorted(found, key=lambda route: (-found[route], route))


def page_ms(url: str, runs: int, parameters: str) -> float:
    """Milliseconds of the page, its questions included: the median."""
    app = make_app(url, create=False, STATISTICS_ROLLUPS=True, STATISTICS_SCHEDULER=False, STATISTICS_ENABLED=False)
    client, each = app.test_client(), []
    for _ in range(runs + 1):
        started = time.perf_counter()
        answer = client.get(f"/statistics/changes?{parameters}")
        each.append(time.perf_counter() - started)
        assert answer.status_code == 200, answer.text
    return statistics.median(each[1:]) * 1e3


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    url = f"sqlite:///{(options.folder / f'changes-{options.rows}.sqlite').resolve()}"
    regressions = seeded(routes_of())
    bench = Seeded(url)
    bench.fill_seeded(options.rows, regressions)
    backfill(bench, options.rows)

    found = bench.compared(END, COMPARED).comparison
    top = [(one.value, one.what) for one in found.findings[:TOP]]
    missed = [(route, kind) for route, kind in regressions.items() if (route, kind) not in top]
    print(
        f"{len(regressions) - len(missed)} of {len(regressions)} regressions in the top {TOP} of {len(found.findings)}"
    )
    for route, kind in missed:
        print(f"  missed: {kind} of {route}")
    for value, what in top:
        if regressions.get(str(value)) != what:
            print(f"  not seeded: {what} of {value}")

    alarms = []
    ends = [end for end in range(FIRST_PAIR, DAYS, APART) if not end - 1 < RELEASED < end + 15][:PAIRS]
    for days in ends:
        quiet = bench.compared(END - timedelta(days=days), 7).comparison
        alarms += [(days, one.value, one.what, one.chance) for one in quiet.findings]
    print(f"{len({days for days, *_ in alarms})} of {len(ends)} quiet pairs with a false alarm")
    for days, value, what, chance in alarms:
        print(f"  {days} days before the end: {what} of {value}, {chance:.2g}")

    bench.engine.dispose()
    for days in (7, COMPARED, 182):
        start, end = END - timedelta(days=days), END - timedelta(days=1)
        span = f"start={start:%Y-%m-%d}&end={end:%Y-%m-%d}"
        times = [page_ms(url, options.runs, each) for each in (span, f"{span}&device!=bot", f"{span}&browser=chrome")]
        print(
            f"the page, {days} days: {times[0]:.0f} ms, of people {times[1]:.0f} ms, of one browser {times[2]:.0f} ms"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
