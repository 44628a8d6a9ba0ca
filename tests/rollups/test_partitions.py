"""A raw table in partitions: which there are, and that those which are too old are dropped."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy

from flask_statistics import databases
from flask_statistics.databases import postgresql
from flask_statistics.databases.base import Partition
from flask_statistics.models import map_model
from flask_statistics.rollups import partitions
from flask_statistics.rollups.meta import RollupError

from ..conftest import original_model
from ..rollup_bench import RAW, Rolled
from .test_job import hits

NOW = datetime(2026, 11, 22, 14, 37)
AUTUMN = [datetime(2026, month, day) for month, day in ((9, 1), (9, 30), (10, 10), (11, 2), (11, 21))]


@pytest.fixture
def rolled(new_database: Any) -> Iterator[Rolled]:
    with new_database("postgresql_partitioned") as url:
        rolled = Rolled(url, raw=timedelta(days=30))
        yield rolled
        rolled.close()


@pytest.fixture
def connection(new_database: Any) -> Iterator[sa.Connection]:
    with new_database("postgresql") as url:
        kolkata = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"options": "-c TimeZone=Asia/Kolkata"})
        with kolkata.connect() as connection:
            yield connection


def raw_dates(rolled: Rolled) -> list[datetime]:
    with rolled.engine.connect() as connection:
        return sorted(connection.scalars(sa.select(RAW.table.c.date)))


def schema_of(part: Partition) -> str | None:
    assert isinstance(part.drop, sa.schema.DropTable)
    return part.drop.element.schema


def names(rolled: Rolled) -> list[str]:
    with rolled.engine.connect() as connection:
        return [part.name for part in databases.of(connection).partitions(connection, RAW)]


def test_partitions_that_are_too_old_are_dropped(rolled: Rolled) -> None:
    outside = datetime(2020, 5, 5)  # in the default partition
    rolled.insert({"date": date, "path": "/"} for date in (outside, *AUTUMN))
    report = rolled.job.run(NOW)
    assert report is not None
    assert report.raw_deleted == 3
    assert raw_dates(rolled) == AUTUMN[2:]  # 10 October is older than 30 days, but its partition is not yet
    assert names(rolled)[0] == "request_2026_10"
    assert [hits(rolled, day) for day in (2, 21)] == [1, 1]
    again = rolled.job.run(NOW + timedelta(minutes=1))
    assert again is not None
    assert again.raw_deleted == 0
    assert rolled.job.run(NOW + timedelta(days=9)) is not None
    assert (raw_dates(rolled), names(rolled)[0]) == (AUTUMN[3:], "request_2026_11")


def test_partitions_whose_rows_differ_are_kept(rolled: Rolled) -> None:
    rolled.job.run(NOW)
    rolled.insert({"date": date, "path": "/"} for date in AUTUMN)
    report = rolled.job.prune(NOW)
    assert report is not None
    assert (report.raw_deleted, raw_dates(rolled)) == (0, AUTUMN)


def test_partition_in_use_is_dropped_by_a_later_run(rolled: Rolled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "LOCK_WAIT", "50ms")
    rolled.insert({"date": date, "path": "/"} for date in AUTUMN)
    with rolled.engine.connect() as reader:
        reader.execute(sa.select(RAW.table.c.date)).all()
        with pytest.raises(RollupError, match=r"request_2026_01 is too old, but .* The next run tries again\."):
            rolled.job.run(NOW)
    assert raw_dates(rolled) == AUTUMN
    assert rolled.job.run(NOW) is not None
    assert raw_dates(rolled) == AUTUMN[2:]


def test_partitions_are_found_whatever_they_are_called(connection: sa.Connection) -> None:
    """Another schema, names to be quoted, dates with a time zone, and parts that have no end."""
    connection.exec_driver_sql('CREATE SCHEMA "My Log"')
    connection.exec_driver_sql(
        'CREATE TABLE "My Log"."Request" (index int, date timestamptz) PARTITION BY RANGE (date)'
    )
    for name, bounds in (
        ("late", "FROM ('2026-03-01 00:00+00') TO (MAXVALUE)"),
        ("Feb '26", "FROM ('2026-02-01 00:00+00') TO ('2026-03-01 00:00+00')"),
        ("early", "FROM (MINVALUE) TO ('2026-02-01 00:00+00')"),
    ):
        connection.exec_driver_sql(f'CREATE TABLE "{name}" PARTITION OF "My Log"."Request" FOR VALUES {bounds}')
    db = SQLAlchemy()
    columns = {"index": db.Column(db.Integer, primary_key=True), "date": db.Column(db.DateTime(timezone=True))}
    names = {"__tablename__": "Request", "__table_args__": {"schema": "My Log"}}
    raw = map_model(type("Request", (db.Model,), columns | names))
    found = databases.of(connection).partitions(connection, raw)
    february, march = datetime(2026, 2, 1), datetime(2026, 3, 1)
    assert [(schema_of(part), part.name, part.start, part.end) for part in found] == [
        ("public", "early", None, february),
        ("public", "Feb '26", february, march),
    ]
    assert partitions.before(found, datetime(2026, 2, 9)) == february
    assert partitions.before(found, datetime(2026, 1, 9)) == datetime(2026, 1, 9)
    databases.of(connection).drop_partition(connection, found[1])
    assert [part.name for part in databases.of(connection).partitions(connection, raw)] == ["early"]


@pytest.mark.parametrize(
    "shape", ["", "PARTITION BY HASH (date)", "PARTITION BY RANGE (index)", "PARTITION BY RANGE (date, index)"]
)
def test_tables_that_are_not_partitioned_by_date_have_none(connection: sa.Connection, shape: str) -> None:
    connection.exec_driver_sql(f"CREATE TABLE request (index int, date timestamp) {shape}")
    if "RANGE (index)" in shape:
        connection.exec_driver_sql("CREATE TABLE a PARTITION OF request FOR VALUES FROM (1) TO (2)")
    assert databases.of(connection).partitions(connection, map_model(original_model(SQLAlchemy()))) == []


def test_partitions_on_other_servers_are_none(new_database: Any) -> None:
    with new_database("postgresql_sharded") as url:
        rolled = Rolled(url)
        assert names(rolled) == []
        rolled.close()
