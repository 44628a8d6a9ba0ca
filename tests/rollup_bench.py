"""A raw table and its rollups without an app around them, for tests of the rollups' parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

from flask_statistics import RequestMixin, databases
from flask_statistics.dimensions import available
from flask_statistics.models import map_model
from flask_statistics.queries.answers import Block, Waited
from flask_statistics.queries.raw import RawQueries
from flask_statistics.rollups.dictionary import Dictionary
from flask_statistics.rollups.job import Job
from flask_statistics.rollups.meta import coverage, read_meta
from flask_statistics.rollups.queries import RollupQueries
from flask_statistics.rollups.retention import Retention
from flask_statistics.rollups.source import Source
from flask_statistics.rollups.tables import define
from flask_statistics.waits import WAITS

from .shapes import create_all


class Base(DeclarativeBase):
    pass


class Request(RequestMixin, Base):
    __tablename__ = "request"


RAW = map_model(Request)
TABLES = define(Base.metadata)
DIMENSIONS = available(RAW.columns)
ROLLED_UP = {name: dimension for name, dimension in DIMENSIONS.items() if not dimension.of_clients}
CLIENTS = {name: dimension for name, dimension in DIMENSIONS.items() if dimension.of_clients}


class Rolled:
    """A database with a raw table and rollups of it."""

    def __init__(
        self,
        url: str,
        zone: str = "UTC",
        *,
        most_values: int = 5_000,
        empty: bool = True,
        waits: tuple[str, ...] = tuple(WAITS),
        **retention: Any,
    ) -> None:
        """`empty`: whether what the database holds is deleted first; `waits`: what of these is asked for and rolled up."""
        self.engine = sa.create_engine(url)
        self.zone = ZoneInfo(zone)
        self.source = Source(RAW, ROLLED_UP, self.zone, most_values, CLIENTS, waits)
        self.job = Job(self.engine, TABLES, self.source, retention=Retention(**retention))
        create_all(self.engine, Base.metadata, RAW.table)
        if not empty:
            return
        with self.engine.begin() as connection:
            for table in Base.metadata.tables.values():
                connection.execute(sa.delete(table))

    def another_job(self) -> Job:
        """A job as another process has it."""
        return Job(self.engine, TABLES, self.source, retention=self.job.retention)

    def job_with(self, **retention: Any) -> Job:
        """A job that deletes what is older."""
        return Job(self.engine, TABLES, self.source, retention=Retention(**retention))

    def insert(self, rows: Iterable[dict[str, Any]]) -> None:
        known = {name: None for name in RAW.columns if name != "index"}
        values = [known | row for row in rows]
        if values:
            with self.engine.begin() as connection:
                connection.execute(sa.insert(RAW.table), values)

    @contextmanager
    def raw(self) -> Iterator[RawQueries]:
        with self.engine.connect() as connection:
            yield RawQueries(connection, RAW, DIMENSIONS, self.source.waits)

    @contextmanager
    def rollups(self) -> Iterator[RollupQueries]:
        with self.engine.connect() as connection:
            databases.of(connection).snapshot(connection)
            key = bytes.fromhex(read_meta(connection, TABLES)["visitor_key"])
            yield RollupQueries(
                connection,
                TABLES,
                self.source,
                RawQueries(connection, RAW, DIMENSIONS, self.source.waits),
                raw_connection=connection,
                coverage=coverage(connection, TABLES),
                dictionary=Dictionary(connection, TABLES, ROLLED_UP, key=key),
                clients_since=self.source.oldest(connection),
            )

    def content(self) -> dict[str, list[tuple[Any, ...]]]:
        """All that the rollup tables hold, but for what says when the job ran; segments by what they are of."""
        segment, tables = TABLES.segment.c, TABLES.of_segments
        with self.engine.connect() as connection:
            found = {"hours": sorted(map(tuple, connection.execute(sa.select(TABLES.hour))))}
            for table in tables:
                columns = [column for column in table.c if column.name != "segment_id"]
                query = sa.select(segment.unit, segment.start, segment.audience, *columns).join(
                    TABLES.segment, segment.id == table.c.segment_id
                )
                found[table.name] = sorted(map(tuple, connection.execute(query)))
        return found

    def close(self) -> None:
        self.engine.dispose()


def alike(one: Any, other: Any) -> bool:
    """Whether two answers are equal; times are kept in whole microseconds, of each request."""
    if isinstance(one, Waited) and isinstance(other, Waited):
        totals = abs(one.total - other.total) <= 1e-4  # of some hundred requests
        one, other = (dataclasses.replace(each, total=0) for each in (one, other))
        return totals and alike(dataclasses.astuple(one), dataclasses.astuple(other))
    if isinstance(one, Block) and isinstance(other, Block):
        seconds = abs(one.seconds - other.seconds) <= 1e-4  # as above
        return seconds and dataclasses.replace(one, seconds=0) == dataclasses.replace(other, seconds=0)
    if dataclasses.is_dataclass(one):
        names = [field.name for field in dataclasses.fields(one)]
        return type(one) is type(other) and all(alike(getattr(one, name), getattr(other, name)) for name in names)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(alike(*pair) for pair in zip(one, other, strict=True))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= 1e-6 + 1e-9 * abs(one)
    return bool(one == other)


class Killed(Exception):
    pass


@contextmanager
def killed_at(engine: sa.Engine, transaction: int) -> Iterator[None]:
    """Lets the job die when it begins the transaction of that number."""
    begun = 0

    def count(_connection: sa.Connection) -> None:
        nonlocal begun
        begun += 1
        if begun > transaction:
            raise Killed

    sa.event.listen(engine, "begin", count)
    try:
        yield
    except Killed:
        pass
    finally:
        sa.event.remove(engine, "begin", count)
