"""What one Overview asks of 10,000,000 raw rows in ClickHouse, as the library chdb, without rollups.

    python -m benchmarks.clickhouse [ROWS]

20,000 made-up requests are stored, and copied within ClickHouse to other days and addresses of a year.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy

from flask_statistics import RequestMixin, traffic
from flask_statistics.dimensions import available
from flask_statistics.filters import Filters, read_filters
from flask_statistics.models import map_model
from flask_statistics.queries.interface import HITS
from flask_statistics.queries.raw import RawQueries
from flask_statistics.spans import Span, preset
from tests.shapes import sql_of

from .rollups import FILTERS, NOW, PANELS

MADE = 20_000
ZONE = ZoneInfo("UTC")


def main() -> None:
    """Fill a ClickHouse in a temporary folder and print the medians."""
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    raw = map_model(type("Request", (RequestMixin, SQLAlchemy().Model), {}))
    with tempfile.TemporaryDirectory() as folder:
        engine = sa.create_engine(f"clickhousedb://?interface=chdb&path={folder}/chdb")
        with engine.connect() as connection:
            fill(connection, raw.table, wanted)
            size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
            print(f"{size / 1e6:,.0f} MB on disk")
            for name, pairs in FILTERS.items():
                filters, _ = read_filters(pairs, available(raw.columns))
                for length in ("7d", "28d", "365d"):
                    span = preset(length, now=NOW, zone=ZONE, earliest=lambda: NOW - timedelta(days=365))
                    seconds = [timed(partial(overview, connection, raw, span, filters)) for _ in range(3)]
                    print(f"{name:22s} {length:5s} {statistics.median(seconds) * 1e3:7,.0f} ms")


def fill(connection: sa.Connection, table: sa.Table, wanted: int) -> None:
    """Store `wanted` rows over the year before `NOW`."""
    connection.execute(sa.text(sql_of("ClickHouse")))
    start = NOW - timedelta(days=365)
    made = traffic.generate(start=start, end=start + timedelta(days=1), requests=MADE, seed=1)
    nothing = {column.name: None for column in table.columns}
    rows = [nothing | row | {"index": number} for number, row in enumerate(made)]
    for first in range(0, MADE, 500):
        connection.execute(sa.insert(table).values(rows[first : first + 500]))
    copies = wanted // MADE
    names = [f'"{column.name}"' for column in table.columns]
    copied = {
        '"index"': f'"index" + (number + 1) * {MADE}',
        '"date"': f"date + INTERVAL toUInt32((number + 1) * {364 * 86_400 / max(1, copies)}) SECOND",
        '"remote_address"': "concat(remote_address, '/', toString(number % 50))",
    }
    chosen = ", ".join(copied.get(name, name) for name in names)
    query = f"INSERT INTO request ({', '.join(names)}) SELECT {chosen} FROM numbers({copies - 1}) AS n, request"
    started = time.perf_counter()
    connection.exec_driver_sql(query)
    rows_now = connection.scalar(sa.select(sa.func.count()).select_from(table))
    print(f"{rows_now:,} rows, copied in {time.perf_counter() - started:.0f} s")


def overview(connection: sa.Connection, raw: Any, span: Span, filters: Filters) -> None:
    """What one Overview asks."""
    queries = RawQueries(connection, raw, available(raw.columns))
    queries.summary(span, filters)
    queries.summary(span.moved(-1).elapsed(NOW, span), filters)
    queries.series(span, span.default_unit(), filters, want=HITS)
    queries.breakdown("path", span, filters, limit=10)
    queries.breakdowns(PANELS, span, filters, limit=6)


def timed(question: Any) -> float:
    """Seconds that `question` takes."""
    started = time.perf_counter()
    question()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
