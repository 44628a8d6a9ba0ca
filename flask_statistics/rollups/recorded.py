"""Since when each dimension is rolled up as it is configured, and how a new or changed one gets its past.

A dimension that is new, or whose column or function is another one, is in what is built from then on. What was built before
does not know it, so its days are built again from their raw rows, the newest first; until then, and for days whose raw rows
are gone, answers begin where it is known. What requests waited for is noted in the same way, under names that begin with
`WAIT`: days without a raw row that knows of any need not be built again, and answers count requests of days that do not know it
as ones that nobody measured. Reads the raw table, writes the rollup tables.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from ..spans import next_edge
from . import closing, store
from .building import RowsGone, build_day, build_month
from .holder import Holder
from .keeping import frozen_before
from .meta import coverage
from .report import Report
from .segment import MICROSECOND
from .source import Source
from .tables import MONTH, WAIT, Tables

MADE_BY = "column"
"""The fingerprint of what requests waited for: it is made by nothing but its column."""


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


def incomplete(connection: sa.Connection, tables: Tables, source: Source) -> dict[str, datetime | None]:
    """The dimensions and waits that not all rollups know, and since when (naive UTC) they do; None: nothing does yet."""
    found = {stored.name: stored for stored in read(connection, tables)}
    answer: dict[str, datetime | None] = {}
    made_by = {name: dimension.is_made_by for name, dimension in source.dimensions.items()}
    for name, is_made_by in (made_by | {f"{WAIT}{name}": MADE_BY.__eq__ for name in source.waits}).items():
        stored = found.get(name)
        if stored is None or not is_made_by(stored.made_by):
            answer[name] = None
        elif stored.since is not None:
            answer[name] = stored.since
    return answer


def register_waits(connection: sa.Connection, tables: Tables, source: Source, until: datetime | None) -> None:
    """Note which waits are rolled up from now on, and which no more; what is rolled up `until` then knows nothing of new ones."""
    table = tables.dimension
    found = {stored.name: stored for stored in read(connection, tables) if stored.name[0] == WAIT}
    for name in (f"{WAIT}{name}" for name in source.waits):
        if name not in found:
            number = (connection.scalar(sa.select(sa.func.max(table.c.id))) or 0) + 1
            values = {"id": number, "name": name, "made_by": MADE_BY, "since": until}
            connection.execute(sa.insert(table).values(values))
        elif found[name].made_by != MADE_BY:
            changed = {"made_by": MADE_BY, "since": until}
            connection.execute(sa.update(table).where(table.c.name == name).values(changed))
    gone = [name for name, one in found.items() if one.made_by and name.removeprefix(WAIT) not in source.waits]
    if gone:
        connection.execute(sa.update(table).where(table.c.name.in_(gone)).values(made_by=""))


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
            pending = incomplete(connection, holder.tables, holder.source)
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
        unknown = {name for name, moment in pending.items() if moment is not None and moment > start}
        if all(name.startswith(WAIT) for name in unknown):
            with holder.reading() as (_, raw):
                known = holder.source.has_waited(raw, start, min(end, since))
            if not known:  # as before there was anything that measured it
                _reach(holder, end, start)
                continue
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
    """Note that all dimensions and waits that are known since `end`, or before, are known `since` then."""
    table = holder.tables.dimension
    with holder.transaction() as connection:
        earlier = [] if since is None else [table.c.since > since]
        names = [*holder.source.dimensions, *(f"{WAIT}{name}" for name in holder.source.waits)]
        where = (table.c.name.in_(names), table.c.since <= end, *earlier)
        connection.execute(sa.update(table).where(*where).values(since=since))
