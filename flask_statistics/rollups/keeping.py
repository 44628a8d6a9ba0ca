"""Keeps the last days equal to their raw rows: rolls up what is new, counts again what is there, builds again what differs.

Reads the raw table, writes the rollup tables. What is rolled up reaches as far as there are raw rows, and never as far as a
clock alone says: a runner whose clock is ahead finds nothing there to close.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from ..spans import EARLIEST, Span, next_edge
from . import store
from .building import RowsGone, build_day, build_month, build_piece, hour_of, rows_noted
from .holder import Holder
from .meta import ALWAYS, LATE, NEVER, PRUNED, RECOUNTED, coverage, coverage_in, drop_meta, read_meta, write_meta
from .report import Report
from .tables import DAY, HOUR, MONTH, PIECE

FRESH, ROTATED = 50_000, 150_000
"""Of more raw rows than both together, each run counts the first many newest again, and the second many of the others in turn."""
RECOUNTED_TO = "recounted_to"
"""In `statistics_meta`: where the last run ended to count the others; the next one goes on with what is older."""
MICROSECOND = timedelta(microseconds=1)

Period = tuple[datetime, datetime, int]
"""Start, end (naive UTC) and how many raw rows it was built from."""


def grow(holder: Holder, now: datetime, report: Report) -> None:
    """Roll up the raw rows that came in since the last run and are dated before `now`."""
    zone = holder.source.zone
    with holder.reading() as (connection, raw):
        covered = coverage(connection, holder.tables)
        newest = holder.source.newest(raw, before=now)
        empty = connection.execute(sa.select(holder.tables.segment.c.id).limit(1)).first() is None
    at = covered.end
    if at is None or (empty and covered.start == covered.end):  # the clock of a run that found nothing may be wrong
        at = holder.day_of(newest or now)
        if covered.end != at:
            with holder.transaction() as connection:
                write_meta(connection, holder.tables, {"covered_from": at.isoformat(), "covered_until": at.isoformat()})
    until = at if newest is None else newest + MICROSECOND
    while at < until:
        with holder.reading() as (_, raw):
            following = holder.source.oldest(raw, since=at)
        if following is None or following >= until:
            break
        at = max(at, hour_of(holder, following))
        day_end = next_edge(at, "day", zone)
        if at == holder.day_of(at) and day_end <= until:
            build_day(holder, at, day_end, fewer=True, covers=day_end)
            at = day_end
        else:
            end = min(next_edge(at, "hour", zone), until)
            build_piece(holder, at, end)
            at = end
        report.built += 1


def recount(holder: Holder, now: datetime, report: Report) -> None:
    """Build again what, of the last two days or since late rows, has not as many raw rows as it was built from."""
    with holder.reading() as (connection, raw):
        meta = read_meta(connection, holder.tables)
        covered, late = coverage_in(meta), meta.get(LATE)
        if covered.start is None or covered.end is None:
            return
        recent = max(covered.start, holder.day_of(covered.end - RECOUNTED))
        frozen = max(frozen_before(holder, connection, raw), covered.start)
        since = recent if late is None else min(recent, holder.day_of(max(datetime.fromisoformat(late), EARLIEST)))
        some = list(days(holder, connection, raw, max(since, covered.start), covered.end))
        if now < recent:  # what is rolled up reaches into the future, by a clock that was wrong; rows come in here
            around = (holder.day_of(now - RECOUNTED), min(recent, next_edge(now, "day", holder.source.zone)))
            some = [*days(holder, connection, raw, max(around[0], covered.start), around[1]), *some]
        hours, pieces = _periods(holder, connection, some, frozen, covered.end)
        cursor = meta.get(RECOUNTED_TO) if late is None else None
        chosen, reached = _in_turn([*hours, *pieces], cursor, everything=late is not None)
        counted = holder.source.counts_of(raw, [(start, end) for start, end, _ in chosen])
    differing = {
        (start, end): (rows, counted.get(start, 0)) for start, end, rows in chosen if counted.get(start, 0) != rows
    }
    in_pieces = {(start, end) for start, end, _ in pieces}
    again = _Again(holder, now, recent, covered.end, report)
    again.build({period: rows for period, rows in differing.items() if period not in in_pieces})
    for (start, end), (rows, found) in sorted(differing.items()):
        if (start, end) in in_pieces and again.may(start, rows, found):
            again.piece(start, end)
    if late is None and cursor == reached:
        return
    with holder.transaction() as connection:
        if reached is not None:
            write_meta(connection, holder.tables, {RECOUNTED_TO: reached})
        elif late is None:
            drop_meta(connection, holder.tables, [RECOUNTED_TO])
        if late is not None:  # later rows than those counted here may have been noted meanwhile
            table = holder.tables.meta
            connection.execute(sa.delete(table).where(table.c.name == LATE, table.c.text == late))


def frozen_before(holder: Holder, connection: sa.Connection, raw: sa.Connection) -> datetime:
    """Hours that begin before this cannot be built again, as raw rows of theirs are gone: `NEVER` if none are.

    Months that are merged are built as a whole, so of these all hours are frozen, or none. `ALWAYS`: there are no raw rows.
    """
    oldest = holder.source.oldest(raw)
    if oldest is None:
        return ALWAYS
    pruned = read_meta(connection, holder.tables).get(PRUNED)
    first = hour_of(holder, oldest)
    edge = first if pruned is None else max(first, datetime.fromisoformat(pruned))
    hour, segment = holder.tables.hour.c, holder.tables.segment.c
    last = connection.scalar(sa.select(sa.func.max(hour.start)).where(hour.start < edge))
    if last is None:
        return NEVER
    merged = (segment.unit == MONTH, segment.detailed, segment.start <= last, segment.end > edge)
    return max([edge, *(header.end for header in store.headers(connection, holder.tables, *merged))])


def differences(holder: Holder, start: datetime, end: datetime) -> dict[datetime, tuple[int, int]]:
    """The hours from `start` to `end` (naive UTC) whose raw rows are not as many as rolled up: (rolled up, raw).

    Hours older than the oldest raw row are frozen and left out.
    """
    found: dict[datetime, tuple[int, int]] = {}
    with holder.reading() as (connection, raw):
        frozen, covered = frozen_before(holder, connection, raw), coverage(connection, holder.tables)
        if frozen == ALWAYS or covered.start is None or covered.end is None:
            return {}
        first, last = holder.day_of(max(start, covered.start, frozen)), min(end, covered.end)
        for day in days(holder, connection, raw, first, last):
            edges = Span(day, min(last, next_edge(day, "day", holder.source.zone)), holder.source.zone).edges("hour")
            counted, noted = holder.source.counts(raw, edges), rows_noted(connection, holder, day, edges[-1])
            for hour in sorted(counted.keys() | noted.keys()):
                if hour >= frozen and counted.get(hour, 0) != noted.get(hour, 0):
                    found[hour] = (noted.get(hour, 0), counted.get(hour, 0))
    return found


# ---- what is counted -------------------------------------------------------------------------------------------------


def days(
    holder: Holder, connection: sa.Connection, raw: sa.Connection, start: datetime, end: datetime
) -> Iterator[datetime]:
    """The local days of a period that have raw rows or were built from some; there may be a century between two."""
    hour, at = holder.tables.hour.c, start
    while at < end:
        noted = connection.scalar(sa.select(sa.func.min(hour.start)).where(hour.start >= at))
        following = [moment for moment in (noted, holder.source.oldest(raw, since=at)) if moment is not None]
        if not following or min(following) >= end:
            return
        day = max(at, holder.day_of(min(following)))
        yield day
        at = next_edge(day, "day", holder.source.zone)


def _periods(
    holder: Holder, connection: sa.Connection, some: Sequence[datetime], since: datetime, until: datetime
) -> tuple[list[Period], list[Period]]:
    """The hours of the days `some` from `since` to `until`; of those that are stored in pieces these, and what is between."""
    zone, segment = holder.source.zone, holder.tables.segment.c
    hours: list[Period] = []
    pieces: list[Period] = []
    stored: dict[datetime, dict[tuple[datetime, datetime], int]] = {}
    if not some:
        return [], []
    found = store.headers(connection, holder.tables, segment.unit == PIECE, segment.start >= some[0])
    for header in found:
        of_hour = stored.setdefault(hour_of(holder, header.start), {})
        of_hour[header.start, header.end] = of_hour.get((header.start, header.end), 0) + header.hits
    for day in some:
        end = min(next_edge(day, "day", zone), until)
        noted = rows_noted(connection, holder, day, end)
        for hour in Span(day, end, zone).edges("hour")[:-1] if end > day else ():
            full = next_edge(hour, "hour", zone)
            last = min(full, until)
            if hour < since:
                continue
            if hour not in stored and last == full:
                hours.append((hour, last, noted.get(hour, 0)))
                continue
            at = hour
            for (start, stop), rows in sorted(stored.get(hour, {}).items()):
                if at < start:
                    pieces.append((at, start, 0))
                pieces.append((start, stop, rows))
                at = stop
            if at < last:
                pieces.append((at, last, 0))
    return hours, pieces


def _in_turn(periods: list[Period], cursor: str | None, *, everything: bool) -> tuple[list[Period], str | None]:
    """The periods that this run counts, and where the next one shall go on; None: at the newest."""
    ordered = sorted(periods, reverse=True)
    if everything or sum(rows for _, _, rows in ordered) <= FRESH + ROTATED:
        return ordered, None
    chosen, left = [], FRESH
    while ordered and left > 0:
        chosen.append(ordered.pop(0))
        left -= chosen[-1][2]
    before = None if cursor is None else datetime.fromisoformat(cursor)
    rest = [period for period in ordered if before is None or period[0] < before] or ordered
    left = ROTATED
    while rest and left > 0:
        chosen.append(rest.pop(0))
        left -= chosen[-1][2]
    return chosen, chosen[-1][0].isoformat() if rest else None


# ---- what is built again ---------------------------------------------------------------------------------------------


class _Again:
    """Builds periods again whose raw rows are others."""

    def __init__(self, holder: Holder, now: datetime, recent: datetime, until: datetime, report: Report) -> None:
        self._holder = holder
        self._today = holder.day_of(now)
        self._recent = recent
        self._until = until
        self._report = report

    def may(self, start: datetime, rows: int, found: int) -> bool:
        """Whether a period that was built from `rows` may be built again from what was `found`; if not, it is reported.

        Fewer rows of the last days were deleted by the host, if there are others of the day; else they are gone.
        """
        if found >= rows or (start >= self._recent and self._has_rows(self._holder.day_of(start))):
            return True
        self._report.kept[start] = str(RowsGone(start, rows, found))
        return False

    def build(self, differing: dict[tuple[datetime, datetime], tuple[int, int]]) -> None:
        """Build the hours `differing` again, or what they were merged into: hours, stored rows and found ones."""
        hours = [start for (start, _), rows in sorted(differing.items()) if self.may(start, *rows)]
        segment = self._holder.tables.segment.c
        if not hours:
            return
        with self._holder.engine.connect() as connection:
            within = (segment.detailed, segment.end > hours[0], segment.unit != PIECE)
            found = store.headers(connection, self._holder.tables, *within)
        months = {header.start for header in found if header.unit == MONTH}
        in_hours = {self._holder.day_of(header.start) for header in found if header.unit == HOUR}
        whole = {header.start for header in found if header.unit == DAY}
        for month in sorted(months & {self._holder.month_of(hour) for hour in hours}):
            self._month(month)
        for day in sorted({self._holder.day_of(hour) for hour in hours}):
            if self._holder.month_of(day) in months:
                continue
            mine = [hour for hour in hours if self._holder.day_of(hour) == day]
            end = next_edge(day, "day", self._holder.source.zone)
            if day in whole or (day not in in_hours and end <= self._until and day != self._today):
                self._day(day, end)
            else:
                for hour in mine:
                    self.piece(hour, min(next_edge(hour, "hour", self._holder.source.zone), self._until))
            self._report.built += len(mine)

    def piece(self, start: datetime, end: datetime) -> None:
        """Build an hour, or a part of it, again."""
        build_piece(self._holder, start, end)

    def _day(self, day: datetime, end: datetime) -> None:
        open_until = min(end, self._until) if day == self._today else None
        try:
            build_day(self._holder, day, end, open_until=open_until, fewer=day >= self._recent)
        except RowsGone as gone:
            self._report.kept[day] = str(gone)

    def _month(self, month: datetime) -> None:
        holder, end = self._holder, next_edge(month, "month", self._holder.source.zone)
        with holder.reading() as (connection, raw):  # before it is built for nothing
            noted = rows_noted(connection, holder, month, end)
            counted = holder.source.counts(raw, Span(month, end, holder.source.zone).edges("hour"))
        less = any(counted.get(hour, 0) < rows for hour, rows in noted.items())
        if less and month < self._recent:
            self._report.kept[month] = str(RowsGone(month, sum(noted.values()), sum(counted.values())))
            return

        def count(_day: datetime) -> None:
            self._report.built += 1

        try:
            build_month(holder, month, count, fewer=month >= self._recent)
        except RowsGone as gone:
            self._report.kept[month] = str(gone)

    def _has_rows(self, day: datetime) -> bool:
        with self._holder.reading() as (_, raw):
            first = self._holder.source.oldest(raw, since=day)
        return first is not None and first < next_edge(day, "day", self._holder.source.zone)
