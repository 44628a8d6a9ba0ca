"""How long a host that writes to SQLite waits while history is rolled up: a day of many requests, and a month that is merged.

python -m benchmarks.rollup_locks [--rows 500000] [--month 1000000]
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from flask_statistics import traffic

from .rollups import NOW, Bench


def host(file: str, ended: threading.Event, waits: list[float], errors: list[str]) -> None:
    """Write every 50 ms, as long as it takes."""
    connection = sqlite3.connect(file, timeout=5, isolation_level=None)
    while not ended.is_set():
        began = time.perf_counter()
        try:
            connection.execute("INSERT INTO host VALUES (1)")
        except sqlite3.OperationalError as error:
            errors.append(str(error))
        waits.append(time.perf_counter() - began)
        time.sleep(0.05)
    connection.close()


def run(folder: Path, mode: str, *, rows: int, start: datetime, end: datetime) -> None:
    """Roll up so many rows beside a host that writes; print its waits, and the longest transaction of the job."""
    file = folder / f"{mode}-{rows}.sqlite"
    bench = Bench(f"sqlite:///{file}")
    with bench.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE host (n INTEGER)")
    raw = sqlite3.connect(file)
    raw.execute(f"PRAGMA journal_mode={mode}")
    raw.close()
    batch = []
    for row in traffic.generate(start=start, end=end, requests=rows, seed=1, visitors=max(1_000, rows // 20)):
        batch.append(row)
        if len(batch) == 50_000:
            bench._insert(batch)
            batch = []
    bench._insert(batch)
    bench._insert(list(traffic.generate(start=NOW - timedelta(hours=1), end=NOW, requests=10, seed=2)))
    held: list[float] = []
    began = [0.0]
    sa.event.listen(bench.engine, "before_cursor_execute", lambda *a: _began(a[2], began))
    sa.event.listen(bench.engine, "commit", lambda connection: _ended(began, held, commit=True))
    sa.event.listen(bench.engine, "rollback", lambda connection: began.__setitem__(0, 0.0))
    ended, waits, errors = threading.Event(), list[float](), list[str]()
    thread = threading.Thread(target=host, args=(str(file), ended, waits, errors))
    thread.start()
    started = time.perf_counter()
    bench.job.run(NOW)
    seconds = time.perf_counter() - started
    ended.set()
    thread.join()
    waits.sort()
    print(
        f"{mode:6s} {rows:9,d} rows: {seconds:5.1f} s, host wrote {len(waits)} times, waited {waits[len(waits) // 2]:.3f} s, "
        f"at most {waits[-1]:.3f} s, {len(errors)} errors; longest transaction {max(held):.3f} s without its commit"
    )


def _began(statement: str, began: list[float]) -> None:
    if not began[0] and not statement.startswith(("SELECT", "PRAGMA")):
        began[0] = time.perf_counter()


def _ended(began: list[float], held: list[float], *, commit: bool) -> None:
    if commit and began[0]:
        held.append(time.perf_counter() - began[0])
    began[0] = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--month", type=int, default=1_000_000)
    options = parser.parse_args()
    day = datetime(2026, 11, 10)
    for mode in ("delete", "wal"):
        with tempfile.TemporaryDirectory() as name:
            run(Path(name), mode, rows=options.rows, start=day, end=day + timedelta(days=1))
            run(Path(name), mode, rows=options.month, start=datetime(2026, 6, 1), end=datetime(2026, 7, 1))


if __name__ == "__main__":
    main()
