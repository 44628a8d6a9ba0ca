"""Rollups at scale: makes a raw table, backfills it, and times what one Overview asks, beside DuckDB.

    python -m benchmarks.rollups --rows 10000000 --days 365 --folder DIR [--duckdb] [--job] [--waits] [--url postgresql+psycopg://...]

Each step is kept in the folder and not repeated. Times are medians of several runs over a warm database; every question
is asked on a connection and a query object of its own for each Overview, as a page does.
"""

from __future__ import annotations

import argparse
import csv
import gc
import resource
import statistics
import sys
import time
import zlib
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_statistics import RequestMixin, traffic
from flask_statistics.dimensions import available
from flask_statistics.filters import Filters, read_filters
from flask_statistics.models import map_model
from flask_statistics.queries.interface import HITS, USUAL, Queries
from flask_statistics.queries.raw import RawQueries
from flask_statistics.rollups.dictionary import Dictionary
from flask_statistics.rollups.job import Job
from flask_statistics.rollups.meta import coverage, read_meta
from flask_statistics.rollups.queries import RollupQueries
from flask_statistics.rollups.source import Source
from flask_statistics.rollups.tables import define
from flask_statistics.spans import Span, preset
from flask_statistics.waits import WAITS

NOW = datetime(2026, 11, 22, 14, 37, 12)
ZONE = ZoneInfo("UTC")
PANELS = ("referrer", "browser", "platform", "device", "status_code", "method", "mimetype", "exception", "route")
FILTERS = {
    "no filter": [],
    "people": [("device!", "bot")],
    "commonest browser": [("browser", "chrome")],
    "browser and platform": [("browser", "chrome"), ("platform", "Windows")],
}


class Bench:
    """One database under measurement."""

    def __init__(self, url: str, waits: tuple[str, ...] = ()) -> None:
        """`waits`: columns of what requests waited for that are filled, rolled up and asked for."""
        self.app = Flask("bench")
        self.app.config["SQLALCHEMY_DATABASE_URI"] = url
        self.db = SQLAlchemy(self.app)
        self.model = type("Request", (RequestMixin, self.db.Model), {})
        self.raw = map_model(self.model)
        self.tables = define(self.raw.table.metadata)
        self.dimensions = available(self.raw.columns)
        of_clients = {name: dimension for name, dimension in self.dimensions.items() if dimension.of_clients}
        others = {name: dimension for name, dimension in self.dimensions.items() if name not in of_clients}
        self.source = Source(self.raw, others, ZONE, 5000, of_clients, waits)
        with self.app.app_context():
            self.db.create_all()
            self.engine = self.db.engine
        self.job = Job(self.engine, self.tables, self.source)

    def fill(self, rows: int, days: int) -> None:
        """Make the raw rows, unless they are there."""
        with self.engine.begin() as connection:
            if (connection.scalar(sa.select(sa.func.count()).select_from(self.raw.table)) or 0) >= rows:
                return
        batch: list[dict[str, Any]] = []
        started = time.perf_counter()
        visitors = min(500_000, max(1_000, rows // 20))
        for row in traffic.generate(
            start=NOW - timedelta(days=days), end=NOW, requests=rows, seed=1, visitors=visitors
        ):
            batch.append(row | waited(row, self.source.waits))
            if len(batch) == 50_000:
                self._insert(batch)
                batch.clear()
        self._insert(batch)
        print(f"raw rows made in {time.perf_counter() - started:.0f} s")

    def _insert(self, rows: list[dict[str, Any]]) -> None:
        if rows:
            with self.engine.begin() as connection:
                known = self.raw.columns.keys()
                connection.execute(
                    sa.insert(self.raw.table), [{k: v for k, v in row.items() if k in known} for row in rows]
                )

    def add(self, start: datetime, end: datetime, a_day: int) -> None:
        """Add rows from `start` to `end` at so many a day."""
        count = max(1, round((end - start) / timedelta(days=1) * a_day))
        rows = traffic.generate(start=start, end=end, requests=count, seed=2)
        self._insert([row | waited(row, self.source.waits) for row in rows])

    def queries(self, connection: sa.Connection) -> Queries:
        key = bytes.fromhex(read_meta(connection, self.tables)["visitor_key"])
        dictionary = Dictionary(connection, self.tables, self.source.dimensions, key=key)
        raw = RawQueries(connection, self.raw, self.dimensions, self.source.waits)
        return RollupQueries(
            connection,
            self.tables,
            self.source,
            raw,
            raw_connection=connection,
            coverage=coverage(connection, self.tables),
            dictionary=dictionary,
        )

    def span(self, name: str) -> Span:
        return preset(name, now=NOW, zone=ZONE, earliest=lambda: NOW - timedelta(days=365))

    def overview(self, span: Span, filters: Filters, spent: dict[str, float]) -> None:
        """What one Overview asks, with the seconds of each question."""

        def timed(name: str, question: Callable[[], Any]) -> None:
            started = time.perf_counter()
            question()
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - started

        with self.engine.connect() as connection:
            started = time.perf_counter()
            queries = self.queries(connection)
            spent["open"] = time.perf_counter() - started
            before = span.moved(-1).elapsed(NOW, span)
            timed("summary", lambda: queries.summary(span, filters, want=USUAL))
            timed("previous", lambda: queries.summary(before, filters, want=USUAL))
            timed("series", lambda: queries.series(span, span.default_unit(), filters, want=HITS))
            timed("paths", lambda: queries.breakdown("path", span, filters, limit=10))
            if self.source.waits:
                timed("waits", lambda: queries.series(span, span.default_unit(), filters, want=frozenset({"db_time"})))
            timed("panels", lambda: queries.breakdowns(PANELS, span, filters, limit=6))


def waited(row: dict[str, Any], waits: tuple[str, ...]) -> dict[str, Any]:
    """What a made-up request waited for: some of its time, for up to 300 statements, and one of ten for another server."""
    chance = zlib.crc32(repr((row["date"], row["path"])).encode()) / 2**32
    found = {
        "db_time": row["response_time"] * chance,
        "db_queries": int(3 / (chance + 0.01)),
        "http_time": row["response_time"] / 2 if chance < 0.1 else 0.0,
        "http_calls": int(chance < 0.1),
    }
    return {name: found[name] for name in waits}


class DuckDb:
    """The same questions asked of DuckDB, from its own columnar copy of the raw rows; derived values are columns there."""

    def __init__(self, bench: Bench, file: Path) -> None:
        import duckdb

        fresh = not file.exists()
        self.connection = duckdb.connect(str(file))
        self.names = list(bench.dimensions)
        if fresh:
            self._load(bench, file.with_suffix(".csv"))

    def _load(self, bench: Bench, csv_file: Path) -> None:
        started = time.perf_counter()
        dimensions = list(bench.dimensions.values())
        columns = [
            bench.raw.columns[name] for name in ("date", "remote_address", "size", "response_time", "status_code")
        ]
        wanted = [*columns, *(bench.raw.columns[dimension.column] for dimension in dimensions)]
        known: list[dict[Any, Any]] = [{} for _ in dimensions]
        with bench.engine.connect() as connection, csv_file.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            labelled = [column.label(f"c{number}") for number, column in enumerate(wanted)]
            query = sa.select(*labelled).order_by(bench.raw.columns["date"])
            for batch in connection.execute(query, execution_options={"yield_per": 50_000}).partitions():
                for row in batch:
                    values = []
                    for dimension, cache, raw in zip(dimensions, known, row[5:], strict=True):
                        if raw not in cache:
                            cache[raw] = dimension.value_of(raw)
                        values.append(cache[raw])
                    writer.writerow([*row[:5], *values])
        types = {
            "date": "TIMESTAMP",
            "remote_address": "VARCHAR",
            "size": "BIGINT",
            "response_time": "DOUBLE",
            "status": "INTEGER",
        }
        types |= {f"d_{name}": "VARCHAR" for name in self.names}
        self.connection.execute(
            f"CREATE TABLE request AS SELECT * FROM read_csv('{csv_file}', header=false, columns={types!r})"
        )
        csv_file.unlink()
        print(f"DuckDB's copy made in {time.perf_counter() - started:.0f} s")

    def overview(self, span: Span, pairs: list[tuple[str, str]], spent: dict[str, float]) -> None:
        """What one Overview asks, with the seconds of each question."""
        where, values = ["date >= ?", "date < ?"], [str(value) for _, value in pairs]
        where += [
            f"d_{name.removesuffix('!')} IS DISTINCT FROM ?" if name.endswith("!") else f"d_{name} = ?"
            for name, _ in pairs
        ]
        condition = " AND ".join(where)
        measures = (
            "count(*), count(DISTINCT remote_address), count(*) FILTER (status BETWEEN 400 AND 499), "
            "count(*) FILTER (status BETWEEN 500 AND 599), sum(size), avg(response_time), max(response_time), "
            "quantile_disc(response_time, [0.5, 0.95, 0.99]), max(date)"
        )
        before = span.moved(-1).elapsed(NOW, span)

        def timed(name: str, query: str, over: Span = span) -> None:
            started = time.perf_counter()
            self.connection.execute(query, [over.start, over.end, *values]).fetchall()
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - started

        timed("summary", f"SELECT {measures} FROM request WHERE {condition}")
        timed("previous", f"SELECT {measures} FROM request WHERE {condition}", before)
        timed(
            "series",
            f"SELECT date_trunc('{span.default_unit()}', date), count(*) FROM request WHERE {condition} GROUP BY 1",
        )
        timed("paths", f"SELECT d_path, {measures} FROM request WHERE {condition} GROUP BY 1 ORDER BY 2 DESC LIMIT 10")
        for name in PANELS:
            timed(
                "panels", f"SELECT d_{name}, count(*) FROM request WHERE {condition} GROUP BY 1 ORDER BY 2 DESC LIMIT 6"
            )


def median_overview(ask: Callable[[dict[str, float]], None], runs: int) -> tuple[float, dict[str, float]]:
    """Milliseconds of a whole Overview, and of its questions, medians."""
    each: list[dict[str, float]] = []
    for _ in range(runs):
        spent: dict[str, float] = {}
        ask(spent)
        each.append(spent)
    parts = {name: statistics.median(one[name] for one in each) * 1e3 for name in each[0]}
    return statistics.median(sum(one.values()) for one in each) * 1e3, parts


def job_runs(bench: Bench, a_day: int) -> float:
    """Milliseconds of one run of the job a minute, at so many requests a day: the median over ten minutes of traffic.

    The runs begin half past an hour, so that half an hour of requests is built again each time.
    """
    each = []
    for minute in range(10):
        now = NOW + timedelta(minutes=minute)
        hour = now.replace(minute=0, second=0)
        if minute == 0:
            bench.add(hour, now, a_day)
        bench.add(now, now + timedelta(minutes=1), a_day)
        started = time.perf_counter()
        bench.job.run(now + timedelta(minutes=1))
        each.append(time.perf_counter() - started)
    return statistics.median(each) * 1e3


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--url", help="of an empty database; default: a SQLite file in the folder")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--spans", default="7d,28d,365d")
    parser.add_argument("--duckdb", action="store_true", help="ask DuckDB the same (pip install duckdb)")
    parser.add_argument("--waits", action="store_true", help="with db_time, db_queries, http_time and http_calls")
    parser.add_argument("--job", action="store_true", help="time the job's runs; adds rows after the last one")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    file = options.folder / f"rollups-{options.rows}-{options.days}{'-waits' * options.waits}.sqlite"
    bench = Bench(options.url or f"sqlite:///{file.resolve()}", tuple(WAITS) * options.waits)
    bench.fill(options.rows, options.days)
    backfill(bench, options.rows)
    duck = DuckDb(bench, file.with_suffix(".duckdb")) if options.duckdb else None
    before = peak_mb()
    print(f"{'':22s} {'span':5s} {'rollups':>10s}" + (f" {'DuckDB':>10s} {'ratio':>6s}" if duck else ""))
    for name, pairs in FILTERS.items():
        filters, _ = read_filters(pairs, bench.dimensions)
        for length in options.spans.split(","):
            span = bench.span(length)
            total, parts = median_overview(partial(bench.overview, span, filters), options.runs)
            line = f"{name:22s} {length:5s} {total:7.0f} ms"
            if duck:
                other, _ = median_overview(partial(duck.overview, span, pairs), options.runs)
                line += f" {other:7.0f} ms {other / total:5.1f}x"
            print(line + "   " + ", ".join(f"{part} {ms:.0f}" for part, ms in parts.items()))
    if duck is None:
        print(f"peak memory: {before:.0f} MB before the questions, {peak_mb():.0f} MB after")
    if options.job:
        for a_day in (30_000, 1_000_000):
            print(f"one run of the job at {a_day:,} requests a day: {job_runs(bench, a_day):.0f} ms")


def backfill(bench: Bench, rows: int) -> None:
    """Roll up what is not rolled up yet, and say how fast."""
    gc.freeze()  # as `flask statistics rollup` does
    started = time.perf_counter()
    report = bench.job.run(NOW)
    spent = time.perf_counter() - started
    assert report is not None, "another process has the lease"
    if report.built:
        print(f"backfill: {rows / spent:,.0f} rows/s ({spent:.0f} s), peak memory {peak_mb():.0f} MB")


def peak_mb() -> float:
    """The most memory this process had, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(sys.argv[1:])
