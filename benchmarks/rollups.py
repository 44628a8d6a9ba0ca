"""Rollups at scale: makes a raw table, backfills it, and times what one Overview asks, beside DuckDB.

    python benchmarks/rollups.py --rows 10000000 --days 365 --folder /var/tmp/fs-bench [--duckdb] [--url postgresql+psycopg://...]

Each step is kept in the folder and not repeated. Times are medians of several runs over a warm database; every question
is asked on a connection and a query object of its own for each Overview, as a page does.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
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
from flask_statistics.queries.interface import HITS, Queries
from flask_statistics.queries.raw import RawQueries
from flask_statistics.rollups.dictionary import Dictionary
from flask_statistics.rollups.job import Job, coverage, read_meta
from flask_statistics.rollups.queries import RollupQueries
from flask_statistics.rollups.source import Source
from flask_statistics.rollups.tables import define
from flask_statistics.spans import Span, preset

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

    def __init__(self, url: str) -> None:
        self.app = Flask("bench")
        self.app.config["SQLALCHEMY_DATABASE_URI"] = url
        self.db = SQLAlchemy(self.app)
        self.model = type("Request", (RequestMixin, self.db.Model), {})
        self.raw = map_model(self.model)
        self.tables = define(self.raw.table.metadata)
        self.dimensions = available(self.raw.columns)
        self.source = Source(self.raw, self.dimensions, ZONE, 5000)
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
            batch.append(row)
            if len(batch) == 50_000:
                self._insert(batch)
                batch.clear()
        self._insert(batch)
        print(f"raw rows made in {time.perf_counter() - started:.0f} s")

    def _insert(self, rows: list[dict[str, Any]]) -> None:
        if rows:
            with self.engine.begin() as connection:
                connection.execute(sa.insert(self.raw.table), rows)

    def queries(self, connection: sa.Connection) -> Queries:
        key = bytes.fromhex(read_meta(connection, self.tables)["visitor_key"])
        dictionary = Dictionary(connection, self.tables, self.dimensions, key=key, learn=False)
        raw = RawQueries(connection, self.raw, self.dimensions)
        return RollupQueries(
            connection, self.tables, self.source, raw, coverage=coverage(connection, self.tables), dictionary=dictionary
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
            timed("summary", lambda: queries.summary(span, filters))
            timed("previous", lambda: queries.summary(before, filters))
            timed("series", lambda: queries.series(span, span.default_unit(), filters, want=HITS))
            timed("paths", lambda: queries.breakdown("path", span, filters, limit=10))
            timed("panels", lambda: queries.breakdowns(PANELS, span, filters, limit=6))


def median_overview(bench: Bench, span: Span, filters: Filters, runs: int) -> tuple[float, dict[str, float]]:
    """Milliseconds of a whole Overview, and of its questions, medians."""
    each: list[dict[str, float]] = []
    for _ in range(runs):
        spent: dict[str, float] = {}
        bench.overview(span, filters, spent)
        each.append(spent)
    parts = {name: statistics.median(one[name] for one in each) * 1e3 for name in each[0]}
    return statistics.median(sum(one.values()) for one in each) * 1e3, parts


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--url")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--spans", default="7d,28d,365d")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    file = options.folder / f"rollups-{options.rows}-{options.days}.sqlite"
    bench = Bench(options.url or f"sqlite:///{file.resolve()}")
    bench.fill(options.rows, options.days)
    started = time.perf_counter()
    report = bench.job.run(NOW)
    spent = time.perf_counter() - started
    assert report is not None
    if report.built:
        print(f"backfill: {options.rows / spent:,.0f} rows/s ({spent:.0f} s)")
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    for name, pairs in FILTERS.items():
        filters, _ = read_filters(pairs, bench.dimensions)
        for length in options.spans.split(","):
            total, parts = median_overview(bench, bench.span(length), filters, options.runs)
            each = ", ".join(f"{part} {ms:.0f}" for part, ms in parts.items())
            print(f"{name:22s} {length:5s} {total:7.1f} ms   ({each})")
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
