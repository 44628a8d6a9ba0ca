"""Rows a second that batches of inserts store, each batch committed: what moving rows in batches can reach.

python -m benchmarks.inserting [URL]
"""

from __future__ import annotations

import statistics
import time
from datetime import datetime, timedelta

import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy

from flask_statistics import RequestMixin, traffic
from flask_statistics.models import map_model

from .common import database

START = datetime(2026, 11, 1)
ROWS = 20_000
SIZES = (1, 100, 1_000, 5_000)


def main() -> None:
    """Print the median rate for each size of batch."""
    db = SQLAlchemy()
    raw = map_model(type("Request", (RequestMixin, db.Model), {}))
    made = traffic.generate(start=START, end=START + timedelta(days=7), requests=ROWS, seed=1)
    rows = [raw.row(row) for row in made]
    with database() as url:
        engine = sa.create_engine(url)
        raw.table.drop(engine, checkfirst=True)
        raw.table.create(engine)
        for size in SIZES:
            batches = [rows[first : first + size] for first in range(0, min(ROWS, 500 * size), size)]
            rates = []
            for batch in batches:
                started = time.perf_counter()
                with engine.begin() as connection:
                    connection.execute(sa.insert(raw.table), batch)
                rates.append(len(batch) / (time.perf_counter() - started))
            print(f"batches of {size:5,}: {statistics.median(rates):8,.0f} rows a second")


if __name__ == "__main__":
    main()
