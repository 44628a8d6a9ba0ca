"""ClickHouse, as the library chdb, with 10,000,000 raw rows: an Overview without rollups, the job, and recording.

    python -m benchmarks.clickhouse [ROWS]

20,000 made-up requests are stored, and copied within ClickHouse to other days and addresses of a year. The job then rolls
up the newest days, into a SQLite file, and requests of the present are moved from a spool.
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
from clickhouse_connect.cc_sqlalchemy.types import DateTime64
from flask_sqlalchemy import SQLAlchemy

from flask_statistics import RequestMixin, traffic
from flask_statistics.dimensions import available
from flask_statistics.filters import Filters, read_filters
from flask_statistics.models import RawTable, map_model
from flask_statistics.queries.interface import HITS
from flask_statistics.queries.raw import RawQueries
from flask_statistics.record import Record
from flask_statistics.rollups.job import Job
from flask_statistics.rollups.source import Source
from flask_statistics.rollups.tables import define
from flask_statistics.spans import Span, preset
from flask_statistics.writers.spool.keyed import KeyedMover
from flask_statistics.writers.spool.lines import FIELDS, encode
from flask_statistics.writers.spool.own import OwnSpool
from flask_statistics.writers.spool.table import spool_table
from tests.shapes import sql_of

from .rollups import FILTERS, NOW, PANELS

MADE = 20_000
ROLLED_S = 30.0
"""How long history is rolled up."""
RECORDED = 50_000
ZONE = ZoneInfo("UTC")


def main() -> None:
    """Fill a ClickHouse in a temporary folder and print the medians."""
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    columns = {"date": sa.Column(DateTime64(6, "UTC"))}
    raw = map_model(type("Request", (RequestMixin, SQLAlchemy().Model), columns))
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
        roll_up(engine, raw, Path(folder))
        record(engine, raw, Path(folder))
        engine.dispose()


def roll_up(raw_engine: sa.Engine, raw: RawTable, folder: Path) -> None:
    """Roll history up for `ROLLED_S`, then run the job as it does each minute."""
    engine, metadata = sa.create_engine(f"sqlite:///{folder / 'rollups.sqlite'}"), sa.MetaData()
    tables = define(metadata)
    metadata.create_all(engine)
    job = Job(engine, tables, Source(raw, available(raw.columns), ZONE, 5_000), raw_engine=raw_engine)
    started = time.perf_counter()
    job.run(NOW, seconds=ROLLED_S)
    seconds = time.perf_counter() - started
    with engine.connect() as connection:
        rows = connection.scalar(sa.select(sa.func.sum(tables.hour.c.raw_rows)))
    print(f"{rows:,} rows rolled up, {rows / seconds:,.0f} a second")
    runs = [timed(partial(job.run, NOW + timedelta(minutes=minute), seconds=0)) for minute in range(1, 4)]
    print(f"{statistics.median(runs) * 1e3:,.0f} ms for a run of the job")
    engine.dispose()


def record(raw_engine: sa.Engine, raw: RawTable, folder: Path) -> None:
    """Move `RECORDED` requests from a spool, as many at a time as the mover takes."""
    engine, metadata = sa.create_engine(f"sqlite:///{folder / 'marks.sqlite'}"), sa.MetaData()
    table = spool_table(metadata, None)
    metadata.create_all(engine)
    spool = OwnSpool(folder / "spool.sqlite")
    spool.claim(FIELDS)
    names: dict[str, Any] = dict.fromkeys(Record.__slots__)
    for row in traffic.generate(start=NOW, end=NOW + timedelta(hours=1), requests=RECORDED, seed=2):
        spool.append(encode(Record(**names | {name: row[name] for name in names.keys() & row.keys()})))
    mover, moved = KeyedMover(raw, table, engine, raw_engine=raw_engine), []
    started = time.perf_counter()
    while (batch := mover.move(spool, wait_ms=0)).taken:
        moved.append(batch.stored)
    seconds = time.perf_counter() - started
    print(f"{sum(moved):,} requests moved in {len(moved)} batches, {sum(moved) / seconds:,.0f} a second")
    spool.close()
    engine.dispose()


def fill(connection: sa.Connection, table: sa.Table, wanted: int) -> None:
    """Store `wanted` rows over the year before `NOW`."""
    connection.execute(sa.text(sql_of("ClickHouse")))
    start = NOW - timedelta(days=365)
    made = traffic.generate(start=start, end=start + timedelta(days=1), requests=MADE, seed=1)
    nothing = {column.name: None for column in table.columns}
    rows = [nothing | row | {"index": number} for number, row in enumerate(made)]
    connection.execute(sa.insert(table), rows)
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
