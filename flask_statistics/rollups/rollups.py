"""The rollups of one app: their tables, the job that keeps them and the queries that they answer."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ..config import Settings
from ..dimensions import Dimension
from ..models import RawTable
from ..queries.answers import Freshness
from ..queries.interface import Queries
from ..queries.raw import RawQueries
from ..waits import offered
from . import lease, recorded, scrubbing, unfit
from .dictionary import Dictionary, keys_in
from .holder import LEASE, SHORTEST_LEASE
from .job import KEPT, Job
from .meta import (
    CHANGING,
    RollupError,
    check_zone,
    coverage,
    coverage_in,
    drop_meta,
    looked_until,
    note_late,
    read_meta,
    write_meta,
)
from .queries import RollupQueries
from .retention import Retention
from .scheduler import Scheduler
from .scrubbing import Scrubbed
from .segment import OTHER
from .source import Source
from .tables import DAY, MONTH, WAIT, Tables, define

MUCH = 0.1
"""From this share of its requests in `(other)` on, a day or month is named."""
MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Folded:
    """A period with many requests whose value of a dimension was folded."""

    unit: str
    """day, or month where only this is left."""
    start: datetime
    """Naive UTC."""
    dimension: str
    hits: int
    """In `(other)`."""
    share: float
    """Of all requests of its audience."""


@dataclass(slots=True)
class Status:
    """How the rollups stand."""

    covered_from: datetime | None
    """Naive UTC; None: the job has never run."""
    covered_until: datetime | None
    """Naive UTC; the newest request that is rolled up began just before."""
    looked_until: datetime | None
    """Up to when the last run looked for requests, naive UTC; None: the job has never run."""
    scrubbed: Scrubbed
    """How far the past is verified again, and what was found."""
    kept: dict[datetime, str]
    """Periods that the last run left as they are though their raw rows differ: start (naive UTC) and why."""
    oldest_raw: datetime | None
    """Naive UTC; older days than this are frozen. None: there are no raw rows."""
    last_run_seconds: float | None
    """What the last run took for the last two days; None: it has never run."""
    segments: dict[str, int]
    """How many segments there are of each unit."""
    values: int
    """Values numbered."""
    visitors: int
    """Visitors numbered."""
    folded: dict[str, int]
    """For each dimension with values beyond `MAX_VALUES`, the requests in `(other)`."""
    much_folded: tuple[Folded, ...]
    """Where most of the requests are in `(other)`, the worst first."""
    incomplete: dict[str, datetime | None]
    """Dimensions and waits that not all rollups know, and since when (naive UTC) they do; None: from the next run on."""
    unfit: unfit.Summary | None
    """Raw rows that hold what cannot be; None: there are none."""
    holder: tuple[str, datetime] | None
    """Who has the lease, and until when (naive UTC); None: nobody."""

    @property
    def preparing(self) -> bool:
        """Whether older raw rows are still to be rolled up."""
        return self.covered_from is None or (self.oldest_raw is not None and self.oldest_raw < self.covered_from)


@dataclass(slots=True)
class Rollups:
    """What an app with `STATISTICS_ROLLUPS` has."""

    source: Source
    tables: Tables
    engine: Callable[[], sa.Engine]
    raw_engine: Callable[[], sa.Engine]
    retention: Retention
    interval: timedelta
    logger: logging.Logger
    updated: Callable[[datetime], None] = lambda until: None
    """Told up to when (naive UTC) requests are rolled up, after each run of a job."""
    scheduler: Scheduler | None = None
    _complained: set[str] = field(default_factory=set)

    def job(self) -> Job:
        """A job with a name of its own for the lease."""
        # shorter than an interval, so that a runner that died is replaced within two
        length = min(max(self.interval * 0.75, SHORTEST_LEASE), LEASE)
        return Job(
            self.engine(),
            self.tables,
            self.source,
            length,
            raw_engine=self.raw_engine(),
            retention=self.retention,
            updated=self.updated,
        )

    def can_answer(self, connection: sa.Connection) -> bool:
        """Whether something is rolled up, and fits; else all that is asked is answered from the raw table."""
        meta = self._meta(connection)
        return meta is not None and coverage_in(meta).end is not None

    def _meta(self, connection: sa.Connection) -> Mapping[str, str] | None:
        """What is noted of the rollups; None: they cannot be read, or do not fit."""
        try:
            meta = read_meta(connection, self.tables)
            check_zone(meta, self.source.zone.key)
        except sa.exc.SQLAlchemyError as error:
            connection.rollback()
            self._complain("The rollup tables cannot be read (%s); run 'flask statistics init'.", error)
            return None
        except RollupError as error:
            self._complain("%s", error)
            return None
        return meta

    def queries(self, connection: sa.Connection, raw_connection: sa.Connection, raw: RawQueries) -> Queries:
        """What answers from rollups, and over `raw_connection` from later rows; `raw` while there are none, or none that fit."""
        meta = self._meta(connection)
        if meta is None:
            return raw
        covered = coverage_in(meta)
        if covered.start is None or covered.end is None:
            return raw
        dictionary = Dictionary(connection, self.tables, self.source.dimensions, **keys_in(meta))
        oldest = self.source.oldest(raw_connection)
        queries = RollupQueries(
            connection,
            self.tables,
            self.source,
            raw,
            raw_connection=raw_connection,
            coverage=covered,
            dictionary=dictionary,
            clients_since=oldest or covered.end,
        )
        queries.freshness = Freshness(
            as_of=looked_until(meta) or covered.end,
            interval=self.interval,
            preparing_before=covered.start if oldest is not None and oldest < covered.start else None,
        )
        return queries

    def status(self, connection: sa.Connection, raw_connection: sa.Connection) -> Status:
        """How the rollups stand. Raises `sqlalchemy.exc.SQLAlchemyError` if the tables are missing."""
        tables, meta = self.tables, read_meta(connection, self.tables)
        covered = coverage(connection, tables)
        segment, rollup, dimension = tables.segment.c, tables.rollup.c, tables.dimension.c
        folded = (
            sa.select(dimension.name, sa.func.sum(rollup.hits))
            .join(tables.rollup, rollup.dimension_id == dimension.id)
            .join(tables.segment, segment.id == rollup.segment_id)
            .where(rollup.value_id == OTHER, segment.detailed)
            .group_by(dimension.name)
        )
        return Status(
            covered_from=covered.start,
            covered_until=covered.end,
            looked_until=looked_until(meta),
            scrubbed=scrubbing.read(meta),
            kept={datetime.fromisoformat(at): why for at, why in json.loads(meta.get(KEPT, "{}")).items()},
            oldest_raw=self.source.oldest(raw_connection),
            last_run_seconds=float(meta["last_run_seconds"]) if "last_run_seconds" in meta else None,
            segments=_counts(connection, sa.select(segment.unit, sa.func.count()).group_by(segment.unit)),
            values=connection.scalar(sa.select(sa.func.count()).select_from(tables.value)) or 0,
            visitors=connection.scalar(sa.select(sa.func.count()).select_from(tables.visitor)) or 0,
            folded=_counts(connection, folded),
            much_folded=tuple(_much_folded(connection, tables)),
            incomplete={
                name.removeprefix(WAIT): since
                for name, since in recorded.incomplete(connection, tables, self.source).items()
            },
            unfit=unfit.summary(connection, tables),
            holder=lease.holder_of(connection, tables),
        )

    def note_late(self, oldest: datetime) -> None:
        """Let the next run count all hours again from `oldest` on (naive UTC), because rows of so long ago came in."""
        try:
            with self.engine().begin() as connection:
                note_late(connection, self.tables, oldest)
        except sa.exc.SQLAlchemyError as error:
            self._complain(
                "Requests came in late, and the rollups could not be told (%s): run 'flask statistics verify'.", error
            )

    def begin_changing(self) -> bool:
        """Note that values of raw rows are being changed; whether somebody who did so before was stopped."""
        with self.engine().begin() as connection:
            was_stopped = CHANGING in read_meta(connection, self.tables)
            write_meta(connection, self.tables, {CHANGING: "yes"})
        return was_stopped

    def end_changing(self) -> None:
        """All days whose rows were changed are built again."""
        with self.engine().begin() as connection:
            drop_meta(connection, self.tables, [CHANGING])

    def _complain(self, message: str, argument: object) -> None:
        """Log a fault the first time it shows."""
        if message not in self._complained:
            self._complained.add(message)
            self.logger.error("Flask-Statistics: " + message, argument)


def make_rollups(
    raw: RawTable,
    dimensions: dict[str, Dimension],
    settings: Settings,
    *,
    metadata: sa.MetaData,
    engine: Callable[[], sa.Engine],
    raw_engine: Callable[[], sa.Engine],
    logger: logging.Logger,
    updated: Callable[[datetime], None] = lambda until: None,
) -> Rollups:
    """The rollups of one app; their tables are defined in `metadata`, which is of `engine`, and nothing is started.

    `updated` is told after each run up to when requests are rolled up."""
    beside = metadata is raw.table.metadata
    rollups = Rollups(
        source=Source(
            raw,
            {name: dimension for name, dimension in dimensions.items() if not dimension.of_clients},
            settings.timezone,
            settings.max_values,
            {name: dimension for name, dimension in dimensions.items() if dimension.of_clients},
            offered(settings, raw),
        ),
        tables=define(metadata, raw.table.schema if beside else None),
        engine=engine,
        raw_engine=raw_engine,
        retention=Retention(raw=settings.raw_retention, hourly=settings.hourly_retention, rows=settings.raw_max_rows),
        interval=settings.rollup_interval,
        logger=logger,
        updated=updated,
    )
    if settings.scheduler and settings.enabled:
        rollups.scheduler = Scheduler(rollups.job, settings.rollup_interval, logger)
    return rollups


def _much_folded(connection: sa.Connection, tables: Tables) -> list[Folded]:
    segment, rollup, dimension = tables.segment.c, tables.rollup.c, tables.dimension.c
    share = rollup.hits * 1.0 / segment.hits
    query = (
        sa.select(segment.unit, segment.start, dimension.name, rollup.hits, share.label("share"))
        .join(tables.segment, segment.id == rollup.segment_id)
        .join(tables.dimension, rollup.dimension_id == dimension.id)
        .where(rollup.value_id == OTHER, segment.unit.in_((DAY, MONTH)), segment.detailed, share >= MUCH)
        .order_by(sa.desc("share"), segment.start.desc())
        .limit(MOST_NAMED)
    )
    return [
        Folded(unit, start, name, int(hits), float(folded))
        for unit, start, name, hits, folded in connection.execute(query)
    ]


def _counts(connection: sa.Connection, query: sa.Select[Any]) -> dict[str, int]:
    return {name: int(number) for name, number in connection.execute(query)}
