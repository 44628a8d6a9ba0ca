"""Since when each dimension is rolled up as it is configured, and how a new or changed one gets its past.

A dimension that is new, or whose column or function is another one, is in what is built from then on. What was built before
does not know it, so its days are built again from their raw rows, the newest first; until then, and for days whose raw rows
are gone, answers begin where it is known. Reads the raw table, writes the rollup tables.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from ..dimensions import Dimension
from ..spans import next_edge
from . import closing, store
from .building import RowsGone, build_day, build_month
from .holder import Holder
from .keeping import frozen_before
from .meta import coverage
from .report import Report
from .segment import MICROSECOND
from .tables import MONTH, Tables


@dataclass(frozen=True, slots=True)
class Stored:
    """A dimension as the tables know it."""

    number: int
    name: str
    made_by: str
    """The fingerprint of what its values were made by; empty: it was not configured meanwhile."""
    since: datetime | None
    """What began before (naive UTC) does not know it; None: all does."""


def read(connection: sa.Connection, tables: Tables) -> list[Stored]:
    """All dimensions that anything was rolled up by."""
    table = tables.dimension.c
    return [Stored(*row) for row in connection.execute(sa.select(table.id, table.name, table.made_by, table.since))]


def incomplete(
    connection: sa.Connection, tables: Tables, dimensions: Mapping[str, Dimension]
) -> dict[str, datetime | None]:
    """The configured dimensions that not all rollups know, and since when (naive UTC) they do; None: nothing does yet."""
    found = {stored.name: stored for stored in read(connection, tables)}
    answer: dict[str, datetime | None] = {}
    for name, dimension in dimensions.items():
        stored = found.get(name)
        if stored is None or not dimension.is_made_by(stored.made_by):
            answer[name] = None
        elif stored.since is not None:
            answer[name] = stored.since
    return answer


def complete(
    holder: Holder,
    now: datetime,
    report: Report,
    deadline: float | None,
    progress: Callable[[datetime], None],
) -> None:
    """Build again, newest first, the days that do not know a dimension yet, as far as their raw rows are there."""
    before = report.built
    _build(holder, now, report, deadline, progress)
    if report.built > before:
        closing.close(holder, now, report)


def _build(
    holder: Holder,
    now: datetime,
    report: Report,
    deadline: float | None,
    progress: Callable[[datetime], None],
) -> None:
    zone, segment = holder.source.zone, holder.tables.segment.c
    while True:
        with holder.reading() as (connection, raw):
            covered, frozen = coverage(connection, holder.tables), frozen_before(holder, connection, raw)
            pending = incomplete(connection, holder.tables, holder.source.dimensions)
            since = max((moment for moment in pending.values() if moment is not None), default=None)
            if since is None or covered.start is None or covered.end is None:
                return
            before = holder.source.newest(raw, before=min(since, covered.end))
            noted = connection.scalar(
                sa.select(sa.func.max(holder.tables.hour.c.start)).where(holder.tables.hour.c.start < since)
            )
            latest = max((moment for moment in (before, noted) if moment is not None), default=None)
            day = None if latest is None else holder.day_of(min(latest, since - MICROSECOND))
            months = (
                []
                if day is None
                else store.headers(
                    connection,
                    holder.tables,
                    segment.unit == MONTH,
                    segment.detailed,
                    segment.start <= day,
                    segment.end > day,
                )
            )
        if day is None:  # nothing is older
            _reach(holder, since, None)
            continue
        start = months[0].start if months else day
        end = min(covered.end, months[0].end if months else next_edge(day, "day", zone))
        if end < since:  # there is nothing in between
            _reach(holder, since, end)
            continue
        if start < covered.start or start < frozen:
            return
        if deadline is not None and time.monotonic() > deadline:
            report.complete, report.remaining_from = False, covered.start
            return
        try:
            if months:
                build_month(holder, start, progress, fewer=False)
            else:
                build_day(holder, start, end, open_until=end if end == covered.end else None, fewer=False)
        except RowsGone:
            return
        _reach(holder, end, start)
        report.built += 1
        progress(start)
        if holder.month_of(start) == start:
            closing.close(holder, now, report)


def _reach(holder: Holder, end: datetime, since: datetime | None) -> None:
    """Note that all dimensions that are known since `end`, or before, are known `since` then."""
    table = holder.tables.dimension
    with holder.transaction() as connection:
        earlier = [] if since is None else [table.c.since > since]
        names = list(holder.source.dimensions)
        where = (table.c.name.in_(names), table.c.since <= end, *earlier)
        connection.execute(sa.update(table).where(*where).values(since=since))
