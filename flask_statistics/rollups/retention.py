"""Deletes what is too old or too much: raw rows once they are rolled up as they are, and the rows of single hours.

Reads and deletes raw rows and segments.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import sqlalchemy as sa

from .. import bounds, databases
from ..databases.base import InUse, Partition
from ..pace import Pace
from ..spans import next_edge
from . import keeping, partitions, store, writing
from .building import hour_of
from .holder import Holder
from .meta import NEVER, PRUNED, RollupError, coverage_in, note_late, read_meta, write_meta
from .report import Report
from .tables import HOUR
from .writing import Change

LOOKED_AT = "retention_at"
"""In `statistics_meta`: what time it was for the retention of the last run."""
DAY = timedelta(days=1)
HOURS_AT_ONCE = 24
"""Hours whose rows one transaction deletes, at most."""


@dataclass(frozen=True, slots=True)
class Retention:
    """What is deleted when it gets old; None: nothing."""

    raw: timedelta | None = None
    hourly: timedelta | None = None
    rows: int | None = None
    """Of the raw table."""


def prune(holder: Holder, retention: Retention, now: datetime, report: Report) -> None:
    """Delete what the settings say is too old or too much, raw rows only where they are rolled up as they are."""
    segment = holder.tables.segment.c
    if retention.hourly is not None:
        with holder.engine.connect() as connection:
            where = (segment.unit == HOUR, ~segment.detailed, segment.end <= now - retention.hourly)
            old = store.headers(connection, holder.tables, *where)
            dictionary = holder.dictionary(connection) if old else None
        for first in range(0, len(old), HOURS_AT_ONCE):
            assert dictionary is not None  # noqa: S101 - as something is old
            writing.commit(holder, dictionary, Change(replaced=old[first : first + HOURS_AT_ONCE]))
    if retention.raw is None and retention.rows is None:
        return
    too_many = (
        None if retention.rows is None else bounds.newest_of(partial(_raw, holder), holder.source.raw, retention.rows)
    )
    with holder.reading() as (connection, raw):
        meta = read_meta(connection, holder.tables)
        covered, pruned = coverage_in(meta), meta.get(PRUNED)
        if covered.start is None or covered.end is None:
            return
        limits = [] if too_many is None else [hour_of(holder, too_many)]
        believed = meta.get(LOOKED_AT)
        if retention.raw is not None:
            before = None if believed is None else datetime.fromisoformat(believed)
            at = bounds.believed(now, covered.end, before, retention.raw)
            believed, last = at.isoformat(), at - retention.raw
            limits.append(hour_of(holder, last) if retention.raw % DAY else holder.day_of(last))
        if not limits:
            return
        found = databases.of(raw).partitions(raw, holder.source.raw)
        limit = partitions.before(found, max(limits))
        oldest, newest = holder.source.oldest(raw), holder.source.newest(raw, before=limit)
    if believed is not None and meta.get(LOOKED_AT) != believed:
        with holder.transaction() as connection:
            write_meta(connection, holder.tables, {LOOKED_AT: believed})
    if oldest is None or newest is None or oldest < covered.start or newest >= covered.end:
        return
    since = oldest if pruned is None else max(oldest, datetime.fromisoformat(pruned))
    if since < limit and (differing := keeping.differences(holder, since, limit)):
        with holder.transaction() as connection:  # late rows, which the next run rolls up
            note_late(connection, holder.tables, min(differing))
        report.kept |= {hour: f"{rows:,} rolled up, {found:,} raw rows" for hour, (rows, found) in differing.items()}
        return
    gone = min(limit, next_edge(newest, "hour", holder.source.zone))
    with holder.transaction() as connection:
        # from now on nothing before it is built again: what was begun to be deleted is not all there
        write_meta(connection, holder.tables, {PRUNED: max(gone, since).isoformat()})
    for partition in found:
        if partition.end <= limit:
            _drop(holder, partition, report)
    _prune_raw(holder, limit, report)


@contextmanager
def _raw(holder: Holder) -> Iterator[sa.Connection]:
    with holder.reading() as (_, raw):
        yield raw


def _drop(holder: Holder, partition: Partition, report: Report) -> None:
    """Drop a partition that is too old, with all its rows."""
    try:
        with holder.transaction() as connection, holder.raw_beside(connection) as raw:
            rows = holder.source.count(raw, partition.start or NEVER, partition.end)
            databases.of(raw).drop_partition(raw, partition)
    except InUse as busy:
        raise RollupError(
            f"The partition {busy} is too old, but cannot be dropped while somebody reads the table for seconds. "
            "The next run tries again."
        ) from busy
    report.raw_deleted += rows


def _prune_raw(holder: Holder, limit: datetime, report: Report) -> None:
    """Delete the raw rows from before `limit`, in small batches."""
    pace = Pace()
    while True:
        with holder.transaction() as connection, holder.raw_beside(connection) as raw:
            deleted = bounds.delete_some(raw, holder.source.raw, limit)
        report.raw_deleted += deleted
        if deleted != bounds.DELETED_A_TIME:
            return
        pace.pause(deleted)
