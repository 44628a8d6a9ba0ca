"""Deletes what is too old: raw rows once they are rolled up as they are, and the rows of single hours.

Reads and deletes raw rows and segments. How old something is, is told by the clock, but no run believes a clock much more than
what is stored: one that was ahead by years would delete all raw rows.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from .. import dialects
from ..spans import EARLIEST, next_edge
from . import keeping, partitions, store
from .holder import Holder
from .meta import NEVER, PRUNED, RollupError, coverage_in, note_late, read_meta, write_meta
from .report import Report
from .tables import HOUR

PRUNED_A_TIME = 1_000
"""Raw rows deleted in one transaction."""
LONGEST_PAUSE_S = 2.0
"""Between two of these."""
LOOKED_AT = "retention_at"
"""In `statistics_meta`: what time it was for the retention of the last run."""
BELIEVED_A_RUN = timedelta(hours=1)
"""How much later it may be for it in the next run, after a leap of more than half of what is kept, which no request confirms."""


@dataclass(frozen=True, slots=True)
class Retention:
    """What is deleted when it gets old; None: nothing."""

    raw: timedelta | None = None
    hourly: timedelta | None = None


def prune(holder: Holder, retention: Retention, now: datetime, report: Report) -> None:
    """Delete what the retention settings say is too old, raw rows only where they are rolled up as they are."""
    segment = holder.tables.segment.c
    if retention.hourly is not None:
        with holder.transaction() as connection:
            old = (segment.unit == HOUR, ~segment.detailed, segment.end <= now - retention.hourly)
            store.delete(connection, holder.tables, *old)
    if retention.raw is None:
        return
    with holder.reading() as (connection, raw):
        meta = read_meta(connection, holder.tables)
        covered, pruned = coverage_in(meta), meta.get(PRUNED)
        if covered.start is None or covered.end is None:
            return
        believed = _believed(now, covered.end, meta.get(LOOKED_AT), retention.raw)
        parts = partitions.partitions(raw, holder.source.raw)
        limit = partitions.before(parts, holder.day_of(believed - retention.raw))
        oldest, newest = holder.source.oldest(raw), holder.source.newest(raw, before=limit)
    if meta.get(LOOKED_AT) != believed.isoformat():
        with holder.transaction() as connection:
            write_meta(connection, holder.tables, {LOOKED_AT: believed.isoformat()})
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
    for part in parts:
        if part.end <= limit:
            _drop(holder, part, report)
    _prune_raw(holder, limit, report)


def _believed(now: datetime, stored_until: datetime, before: str | None, kept: timedelta) -> datetime:
    """What time it is for the retention: `now`, but if that leaps, not much later than what is stored, or than the last run."""
    known = stored_until if before is None else max(stored_until, datetime.fromisoformat(before))
    if before is None or now - known <= kept / 2:
        return now
    return known + BELIEVED_A_RUN


def _drop(holder: Holder, part: partitions.Partition, report: Report) -> None:
    """Drop a partition that is too old, with all its rows."""
    try:
        with holder.transaction() as connection, holder.raw_beside(connection) as raw:
            rows = holder.source.count(raw, part.start or NEVER, part.end)
            partitions.drop(raw, part)
    except partitions.InUse as busy:
        raise RollupError(
            f"The partition {busy} is too old, but cannot be dropped while somebody reads the table for seconds. "
            "The next run tries again."
        ) from busy
    report.raw_deleted += rows


def _prune_raw(holder: Holder, limit: datetime, report: Report) -> None:
    """Delete the raw rows from before `limit`, in small batches."""
    key = holder.source.raw.key
    old_rows = sa.and_(*holder.source.within(EARLIEST, limit))  # what has a date that cannot be is not old
    while True:
        began = time.perf_counter()
        with holder.transaction() as connection, holder.raw_beside(connection) as raw:
            deleted = dialects.delete_at_once(raw, holder.source.raw.table, old_rows)
            if deleted is not None:
                report.raw_deleted += deleted
                return
            keys = list(raw.scalars(sa.select(key).where(old_rows).limit(PRUNED_A_TIME)))
            for some in store.chunks(keys):
                raw.execute(sa.delete(holder.source.raw.table).where(key.in_(some)))
        report.raw_deleted += len(keys)
        if len(keys) < PRUNED_A_TIME:
            return
        # as long as it took, which is longer where the host has much to do: half of the time is the host's alone
        time.sleep(min(time.perf_counter() - began, LONGEST_PAUSE_S))
