"""The job: keeps the rollup tables equal to the raw table. Reads the raw table, writes the rollup tables.

Nothing is ever added to a segment: the job remembers of each hour how many raw rows it was built from, counts them again
for the last two days, and rebuilds whatever differs, each in one transaction. So late rows, concurrent writers, crashed
runs and imports heal themselves, and running twice changes nothing. The raw table may be in another database: rows are
deleted there only after what was made of them is committed here. A closed day is merged from its hours, a closed
month from its days; days from before the first run are built newest first.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa
from pyroaring import BitMap

from .. import dialects
from ..spans import Span, next_edge
from . import erase, lease, partitions, store, sweep, unfit
from .dictionary import FORGOTTEN, VISITOR_KEY, new_key
from .holder import Holder
from .meta import (
    ALWAYS,
    LATE,
    NEVER,
    PRUNED,
    RECOUNTED,
    RollupError,
    check_zone,
    coverage,
    discard,
    read_meta,
    write_meta,
)
from .segment import Measured, Segment, measured
from .tables import BOTS, DAY, HOUR, MONTH, PEOPLE
from .unfit import Unfit

PRUNED_A_TIME = 5_000
"""Raw rows deleted in one transaction."""
MOST_JOINED = 1_000_000
"""Requests of one audience and month whose days are joined: some 100 bytes of memory each while they are measured."""
JOINED_AFTER = timedelta(days=62)
"""How old a month is when its days are joined: a part of it, as of the last 28 days, is faster answered by days."""
MONTH_FACTOR = 10
"""How many times as many values of a dimension are kept of a month as of a day."""
SETTLING = timedelta(seconds=5)
"""How far behind the present a run stays: a request is stored when it ends, and dated when it began."""
SHARE = 0.05
"""Of one core, at most, for keeping the last two days: a run that takes long is followed by a pause."""
EARLY = 0.1
"""Of the time between two runs, by which a run may be early: timers are not exact."""


@dataclass(frozen=True, slots=True)
class Retention:
    """What is deleted when it gets old; None: nothing."""

    raw: timedelta | None = None
    hourly: timedelta | None = None


@dataclass(slots=True)
class Report:
    """What a run did."""

    seconds: float = 0.0
    """What it took to bring the last two days up to date, history not counted."""

    built: int = 0
    """Hours and days built from raw rows."""
    merged: int = 0
    """Days and months merged."""
    raw_deleted: int = 0
    """Raw rows deleted because of their age."""
    complete: bool = True
    """Whether all of history is rolled up; False: the next run goes on."""
    remaining_from: datetime | None = None
    """What is not rolled up yet begins here, naive UTC; None if complete."""


@dataclass(slots=True)
class Erased:
    """What was erased of some visitors."""

    raw_rows: int = 0
    """Raw rows deleted."""
    requests: int = 0
    """Requests taken out of segments."""
    periods: int = 0
    """Segments corrected."""
    left: int = 0
    """Requests in segments in which they are found all the same: 0, or something is wrong."""


@dataclass(slots=True)
class Job(Holder):
    """Runs over one raw table, as the holder of the lease."""

    retention: Retention = field(default_factory=Retention)

    # ---- runs ----------------------------------------------------------------------------------------------------

    def is_due(self, now: datetime, *, interval: timedelta) -> bool:
        """Whether it is time for a run: the last one, of whichever process, began an `interval` ago, or died.

        After a run that took long it is more than the interval, so that all processes together keep to `SHARE`.
        Reads `statistics_meta` and `statistics_lease`.
        """
        with self.engine.connect() as connection:
            meta = read_meta(connection, self.tables)
            given_back = lease.holder_of(connection, self.tables) is None
        if "last_run" not in meta or not given_back:  # whether it works or died, the lease will tell
            return True
        pause = max(interval, timedelta(seconds=float(meta["last_run_seconds"]) / SHARE))
        since = now - datetime.fromisoformat(meta["last_run"])
        # far in the future was the clock of a host that was wrong, and it may be gone
        return since >= pause * (1 - EARLY) or since <= -pause

    def run(
        self, now: datetime, *, seconds: float | None = None, progress: Callable[[datetime], None] = lambda day: None
    ) -> Report | None:
        """Bring the rollups up to `now`, and go on with history for at most `seconds` (None: to its end).

        `progress` is told each day of history that is done. None: another runner has the lease. Raises `RollupError`
        if the rollups were made for another time zone.
        """
        deadline = None if seconds is None else time.monotonic() + seconds

        def work() -> Report:
            report = Report()
            self._check()
            started = time.monotonic()
            self._recount(now, report)
            self._close(now, report)
            report.seconds = time.monotonic() - started
            self._remember(now, report)
            self._backfill(now, report, deadline, progress)
            self._prune(now, report)
            if report.merged or report.raw_deleted:
                sweep.sweep(self, now)
            return report

        return self.as_holder(now, work)

    def rebuild(
        self, start: datetime, end: datetime, now: datetime, *, progress: Callable[[datetime], None]
    ) -> Report | None:
        """Build the local days from `start` to `end` (naive UTC) again from raw rows, and the months they are merged in.

        Raises `RollupError` where the raw rows are gone.
        """
        zone, segment = self.source.zone, self.tables.segment.c

        def work() -> Report:
            report = Report()
            with self.engine.connect() as connection:
                covered = coverage(connection, self.tables)
                within = (segment.unit == MONTH, segment.detailed, segment.start < end, segment.end > start)
                months = {header.start: header.end for header in store.headers(connection, self.tables, *within)}
            if covered.start is None or covered.end is None:
                return report
            first, today = self.day_of(max(start, covered.start)), self.day_of(covered.end)
            self._refuse_frozen(min([first, *months]), max([end, *months.values()]))
            for day in Span(first, max(first, min(end, today)), zone).edges("day")[:-1]:
                if self.month_of(day) not in months:
                    self._build_day(day, next_edge(day, "day", zone))
                    report.built += 1
                    progress(day)
            for month in sorted(months):
                self._rebuild_month(month, report, progress)
            if end > today:
                for hour in Span(today, covered.end, zone).edges("hour")[:-1]:
                    self._build_hour(hour, min(next_edge(hour, "hour", zone), covered.end))
                report.built += 1
                progress(today)
            self._close(now, report)
            sweep.sweep(self, now)
            return report

        return self.as_holder(now, work)

    def remake(self, now: datetime, *, progress: Callable[[datetime], None]) -> Report | None:
        """Throw all rollups away and make them anew, those of raw rows that are gone lost; None as in `run`."""

        def work() -> bool:
            with self.transaction() as connection:
                discard(connection, self.tables)
            return True

        return self.run(now, progress=progress) if self.as_holder(now, work) else None

    def prune(self, now: datetime) -> Report | None:
        """Delete what the retention settings say is too old; None as in `run`."""

        def work() -> Report:
            report = Report()
            self._prune(now, report)
            sweep.sweep(self, now)
            return report

        return self.as_holder(now, work)

    def forget(
        self,
        addresses: Collection[str],
        now: datetime,
        *,
        delete_raw: Callable[[sa.Connection], int],
        progress: Callable[[datetime], None],
    ) -> Erased | None:
        """Erase the visitors with these stored addresses from all rollups, and from the raw table by `delete_raw`.

        `delete_raw` deletes some rows of theirs and says how many, 0 at the end. `progress` is told each period that was
        corrected. Stopped halfway, the same call goes on. None: another runner has the lease.
        """

        def work() -> Erased:
            self._check()
            erased = Erased()
            with self.transaction() as connection:
                numbered = self.dictionary(connection).numbered_visitors(addresses)
                visitors = BitMap(numbered.values())
                held = erase.holding(connection, self.tables, visitors) if numbered else []
            while deleted := self._delete_some(delete_raw):
                erased.raw_rows += deleted
            for header in held:
                with self.transaction() as connection:
                    erased.requests += self._eraser(connection).erase(header, visitors)
                erased.periods += 1
                progress(header.start)
            with self.transaction() as connection:
                erased.left = sum(header.hits for header in erase.holding(connection, self.tables, visitors))
                if not erased.left:  # or the next try would not find them
                    self.dictionary(connection).forget_visitors(numbered)
                    write_meta(connection, self.tables, {FORGOTTEN: secrets.token_hex(8)})
            sweep.sweep_values(self)
            return erased

        return self.as_holder(now, work)

    def _delete_some(self, delete_raw: Callable[[sa.Connection], int]) -> int:
        with self.transaction() as connection, self.raw_beside(connection) as raw:
            return delete_raw(raw)

    def _eraser(self, connection: sa.Connection) -> erase.Eraser:
        return erase.Eraser(
            connection,
            self.tables,
            list(self.source.dimensions),
            number_of=self.dictionary(connection).number_of,
            many=self.many(),
            most_values=self.source.most_values * MONTH_FACTOR,
        )

    def _refuse_frozen(self, start: datetime, end: datetime) -> None:
        hour = self.tables.hour.c
        with self.reading() as (connection, raw):
            frozen_before = self._frozen_before(connection, raw)
            first = connection.scalar(sa.select(sa.func.min(hour.start)).where(hour.start >= start, hour.start < end))
        if first is not None and first < frozen_before:
            gone = (
                "All raw rows"
                if frozen_before == ALWAYS
                else f"Raw rows from before {frozen_before:%Y-%m-%d %H:%M} UTC"
            )
            raise RollupError(
                f"{gone} are gone, so the rollups made of them cannot be built again. Give a later --from: months that "
                "are merged are built as a whole."
            )

    def has_frozen(self) -> bool:
        """Whether there are rollups whose raw rows are gone."""
        hour = self.tables.hour.c
        with self.reading() as (connection, raw):
            first = connection.scalar(sa.select(sa.func.min(hour.start)))
            return first is not None and first < self._frozen_before(connection, raw)

    # ---- what a run does -----------------------------------------------------------------------------------------

    def _check(self) -> None:
        """Refuse rollups of another time zone; make what is needed for the first."""
        zone = self.source.zone.key
        with self.engine.begin() as connection:
            meta = read_meta(connection, self.tables)
            if "timezone" not in meta:
                write_meta(connection, self.tables, {"timezone": zone, VISITOR_KEY: new_key()})
            check_zone(meta, zone)

    def _remember(self, now: datetime, report: Report) -> None:
        with self.transaction() as connection:
            write_meta(
                connection, self.tables, {"last_run": now.isoformat(), "last_run_seconds": f"{report.seconds:.3f}"}
            )

    def _recount(self, now: datetime, report: Report) -> None:
        """Build again each hour, of the last two days or since late rows, whose raw rows are not as many as it was built from."""
        zone, segment, hour = self.source.zone, self.tables.segment.c, self.tables.hour.c
        with self.reading() as (connection, raw):
            covered, late = coverage(connection, self.tables), read_meta(connection, self.tables).get(LATE)
            start = self.day_of(now)
            if covered.start is not None and covered.end is not None:
                # counted from the last run, as rows may have come late while the job was away
                start = min(now, covered.end) - RECOUNTED
                start = max(
                    covered.start, self.day_of(start if late is None else min(start, datetime.fromisoformat(late)))
                )
            edges = Span(start, now, zone).edges("hour")
            counted = self.source.counts(raw, edges)
            query = sa.select(hour.start, hour.raw_rows).where(hour.start >= start, hour.start < now)
            stored = {at: rows for at, rows in connection.execute(query)}  # noqa: C416 - rows are no tuples to mypy
            frozen_before = self._frozen_before(connection, raw)
            found = store.headers(connection, self.tables, segment.detailed, segment.end > start)
        if covered.start is None:
            with self.transaction() as connection:
                write_meta(
                    connection, self.tables, {"covered_from": start.isoformat(), "covered_until": start.isoformat()}
                )
        merged = {header.start for header in found if header.unit == MONTH}
        still_open = {self.day_of(now), *(self.day_of(header.start) for header in found if header.unit == HOUR)}
        differing = [
            edge for edge in edges[:-1] if edge >= frozen_before and counted.get(edge, 0) != stored.get(edge, 0)
        ]
        for month in sorted({self.month_of(edge) for edge in differing} & merged):
            self._rebuild_month(month, report, lambda day: None)
        closed = {self.day_of(edge) for edge in differing} - still_open
        for day in sorted({self.day_of(edge) for edge in differing}):
            if self.month_of(day) in merged:
                continue
            hours = [edge for edge in differing if self.day_of(edge) == day]
            if day in closed:
                self._build_day(day, next_edge(day, "day", zone))
            else:
                for edge in hours:
                    self._build_hour(edge, min(next_edge(edge, "hour", zone), now))
            report.built += len(hours)
        with self.transaction() as connection:
            write_meta(connection, self.tables, {"covered_until": now.isoformat()})
            meta = self.tables.meta
            # later rows than those counted here may have been noted meanwhile
            connection.execute(sa.delete(meta).where(meta.c.name == LATE, meta.c.text == (late or "")))

    def _close(self, now: datetime, report: Report) -> None:
        """Merge the hours of days that are over, and the days of months that are over for good."""
        segment = self.tables.segment.c
        today = self.day_of(now)
        with self.engine.connect() as connection:
            hours = store.headers(connection, self.tables, segment.unit == HOUR, segment.detailed, segment.end <= today)
            days = store.headers(connection, self.tables, segment.unit == DAY, segment.detailed)
            covered = coverage(connection, self.tables)
            merged = {header.start for header in store.headers(connection, self.tables, segment.unit == MONTH)}
        for day in sorted({self.day_of(header.start) for header in hours}):
            self._merge([h for h in hours if self.day_of(h.start) == day], DAY, day, joined=True)
            report.merged += 1
        if hours:
            with self.engine.connect() as connection:
                days = store.headers(connection, self.tables, segment.unit == DAY, segment.detailed)
        for month in sorted({self.month_of(header.start) for header in days}):
            end = next_edge(month, "month", self.source.zone)
            if end > self.day_of(now - RECOUNTED) or covered.start is None or covered.start > month:
                continue
            parts = [d for d in days if self.month_of(d.start) == month]
            hits = [sum(part.hits for part in parts if part.audience == audience) for audience in (PEOPLE, BOTS)]
            joined = end <= self.day_of(now - JOINED_AFTER) and max(hits) <= MOST_JOINED
            if joined or month not in merged:
                self._merge(parts, MONTH, month, joined=joined)
                report.merged += 1

    def _backfill(
        self, now: datetime, report: Report, deadline: float | None, progress: Callable[[datetime], None]
    ) -> None:
        """Build the days from before the first run, newest first."""
        zone = self.source.zone
        with self.reading() as (connection, raw):
            oldest, covered = self.source.oldest(raw), coverage(connection, self.tables)
        if covered.start is None:
            return
        if oldest is None or oldest >= covered.start:
            self._reach_back(covered.start, now)
            return
        end = covered.start
        while end > oldest:
            if deadline is not None and time.monotonic() > deadline:
                report.complete, report.remaining_from = False, oldest
                return
            day = self.day_of(end - timedelta(microseconds=1))
            self._build_day(day, end, backfill=True)
            report.built += 1
            progress(day)
            if self.month_of(day) == day:
                self._close(now, report)
            with self.reading() as (_, raw):
                skip = self.source.newest(raw, before=day)
            end = day if skip is None else min(day, next_edge(skip, "day", zone))
        day = self.day_of(oldest)
        with self.transaction() as connection:
            write_meta(connection, self.tables, {"covered_from": day.isoformat()})
        self._reach_back(day, now)
        self._close(now, report)

    def _reach_back(self, covered_from: datetime, now: datetime) -> None:
        """Note that all is rolled up from the beginning of its month on, when that is to be merged: nothing is older."""
        month = self.month_of(covered_from)
        if month < covered_from and next_edge(month, "month", self.source.zone) <= self.day_of(now - RECOUNTED):
            with self.transaction() as connection:
                write_meta(connection, self.tables, {"covered_from": month.isoformat()})

    def _prune(self, now: datetime, report: Report) -> None:
        """Delete what the retention settings say is too old, raw rows only where they are rolled up as they are."""
        segment = self.tables.segment.c
        if self.retention.hourly is not None:
            with self.transaction() as connection:
                old = (segment.unit == HOUR, ~segment.detailed, segment.end <= now - self.retention.hourly)
                store.delete(connection, self.tables, *old)
        if self.retention.raw is None:
            return
        limit = self.day_of(now - self.retention.raw)
        with self.reading() as (connection, raw):
            covered, oldest = coverage(connection, self.tables), self.source.oldest(raw)
            pruned = read_meta(connection, self.tables).get(PRUNED)
            parts = partitions.partitions(raw, self.source.raw)
        limit = partitions.before(parts, limit)
        if (
            oldest is None
            or covered.start is None
            or covered.end is None
            or oldest < covered.start
            or covered.end < limit
        ):
            return
        since = oldest if pruned is None else max(oldest, datetime.fromisoformat(pruned))
        if oldest >= limit or self.differences(since, limit):
            return
        with self.transaction() as connection:
            # from now on nothing before it is built again: what was begun to be deleted is not all there
            write_meta(connection, self.tables, {PRUNED: max(limit, since).isoformat()})
        for part in parts:
            if part.end <= limit:
                self._drop(part, report)
        self._prune_raw(limit, report)

    def _drop(self, part: partitions.Partition, report: Report) -> None:
        """Drop a partition that is too old, with all its rows."""
        try:
            with self.transaction() as connection, self.raw_beside(connection) as raw:
                rows = self.source.count(raw, part.start or NEVER, part.end)
                partitions.drop(raw, part)
        except partitions.InUse as busy:
            raise RollupError(
                f"The partition {busy} is too old, but cannot be dropped while somebody reads the table for seconds. "
                "The next run tries again."
            ) from busy
        report.raw_deleted += rows

    def _prune_raw(self, limit: datetime, report: Report) -> None:
        """Delete the raw rows from before `limit`, in small batches."""
        key = self.source.raw.key
        old_rows = self.source.raw.columns["date"] < self.source.raw.instant(limit)
        while True:
            with self.transaction() as connection, self.raw_beside(connection) as raw:
                deleted = dialects.delete_at_once(raw, self.source.raw.table, old_rows)
                if deleted is not None:
                    report.raw_deleted += deleted
                    return
                keys = list(raw.scalars(sa.select(key).where(old_rows).limit(PRUNED_A_TIME)))
                for some in store.chunks(keys):
                    raw.execute(sa.delete(self.source.raw.table).where(key.in_(some)))
            report.raw_deleted += len(keys)
            if len(keys) < PRUNED_A_TIME:
                return

    def differences(self, start: datetime, end: datetime) -> dict[datetime, tuple[int, int]]:
        """The hours from `start` to `end` (naive UTC) whose raw rows are not as many as rolled up: (rolled up, raw).

        Hours older than the oldest raw row are frozen and left out.
        """
        hour = self.tables.hour.c
        with self.reading() as (connection, raw):
            frozen_before, covered = self._frozen_before(connection, raw), coverage(connection, self.tables)
            if frozen_before == ALWAYS or covered.start is None or covered.end is None:
                return {}
            first = self.day_of(max(start, covered.start, frozen_before))
            edges = Span(first, max(first, min(end, covered.end)), self.source.zone).edges("hour")
            counted = self.source.counts(raw, edges)
            rows = connection.execute(sa.select(hour.start, hour.raw_rows).where(hour.start >= first, hour.start < end))
            stored = {at: count for at, count in rows}  # noqa: C416 - as above
        hours = [edge for edge in sorted(counted.keys() | stored.keys()) if edge >= frozen_before]
        return {
            edge: (stored.get(edge, 0), counted.get(edge, 0))
            for edge in hours
            if stored.get(edge, 0) != counted.get(edge, 0)
        }

    # ---- segments ------------------------------------------------------------------------------------------------

    def _build_hour(self, start: datetime, end: datetime) -> None:
        """Build an hour from its raw rows up to `end`, which is covered from now on."""
        with self.transaction() as connection:
            self._note_rows(connection, start, end, self._build(connection, HOUR, start, end))
            covered = coverage(connection, self.tables).end
            if covered is not None and covered < end:  # at once, as what is not covered is read from the raw table
                write_meta(connection, self.tables, {"covered_until": end.isoformat()})

    def _build_day(self, start: datetime, end: datetime, *, backfill: bool = False) -> None:
        """Build a day from its raw rows, instead of its hours; a month that left it its contents is merged again later."""
        segment = self.tables.segment.c
        with self.transaction() as connection:
            within = (segment.start < end, segment.end > start)
            store.delete(connection, self.tables, segment.unit != DAY, *within)
            self._note_rows(connection, start, end, self._build(connection, DAY, start, end))
            if backfill:
                write_meta(connection, self.tables, {"covered_from": start.isoformat()})

    def _rebuild_month(self, month: datetime, report: Report, progress: Callable[[datetime], None]) -> None:
        """Build the days of a merged month again; the month answers until the last of them is built."""
        zone, segment = self.source.zone, self.tables.segment.c
        end = next_edge(month, "month", zone)
        counts: dict[datetime, int] = {}
        for day in Span(month, end, zone).edges("day")[:-1]:
            with self.transaction() as connection:
                counts |= self._build(connection, DAY, day, next_edge(day, "day", zone), detailed=False)
            report.built += 1
            progress(day)
        with self.transaction() as connection:
            store.delete(connection, self.tables, segment.unit == MONTH, segment.start == month)
            store.show(connection, self.tables, segment.unit == DAY, segment.start >= month, segment.end <= end)
            self._note_rows(connection, month, end, counts)

    def _build(
        self, connection: sa.Connection, unit: str, start: datetime, end: datetime, *, detailed: bool = True
    ) -> dict[datetime, int]:
        """Build the segments of a period from its raw rows up to `end`; how many each hour has.

        Without `detailed`, their contents are stored for later.
        """
        dictionary = self.dictionary(connection)

        def beat() -> None:
            self.renew(connection)

        with self.raw_beside(connection) as raw:
            left_out = Unfit()
            segments, counts = self.source.segments(raw, start, end, ids=dictionary.ids, beat=beat, unfit=left_out)
        segments = dictionary.settle(segments)
        unfit.note(connection, self.tables, left_out, start, end)
        full = next_edge(start, unit, self.source.zone)
        for audience, segment in segments.items():
            store.write(
                connection,
                self.tables,
                segment,
                measured(segment),
                unit=unit,
                start=start,
                end=full,
                audience=audience,
                number_of=dictionary.number_of,
                many=self.many(),
                detailed=detailed,
            )
        return counts

    def _note_rows(
        self, connection: sa.Connection, start: datetime, end: datetime, counts: Mapping[datetime, int]
    ) -> None:
        """Remember how many raw rows each hour of the period was built from."""
        hour = self.tables.hour
        connection.execute(sa.delete(hour).where(hour.c.start >= start, hour.c.start < end))
        if counts:
            connection.execute(
                sa.insert(hour), [{"start": moment, "raw_rows": rows} for moment, rows in sorted(counts.items())]
            )

    def _merge(self, parts: list[store.Header], unit: str, start: datetime, *, joined: bool) -> None:
        """Merge segments into one of `unit`, each audience for itself.

        `joined`: whether it gets their contents, which are taken away from them; if not, it has the measures alone.
        """
        most = self.source.most_values * (1 if unit == DAY else MONTH_FACTOR)
        with self.transaction() as connection:
            dictionary = self.dictionary(connection)
            many = [number for name in self.many() if (number := dictionary.number_of(name)) is not None]
            for audience in (PEOPLE, BOTS):
                mine = [part for part in parts if part.audience == audience]
                whole, measures = self._read_merged(connection, mine, most, joined=joined)
                store.write(
                    connection,
                    self.tables,
                    whole,
                    measures,
                    unit=unit,
                    start=start,
                    end=next_edge(start, unit, self.source.zone),
                    audience=audience,
                    number_of=dictionary.number_of,
                    many=self.many(),
                )
                if whole is not None:
                    store.strip(connection, self.tables, [part.id for part in mine], many=many)

    def _read_merged(
        self, connection: sa.Connection, headers: list[store.Header], most_values: int, *, joined: bool
    ) -> tuple[Segment | None, Measured]:
        """Segments `joined` into one, or None, and their measures."""
        names = list(self.source.dimensions)
        if joined:
            whole = store.read_joined(connection, self.tables, headers, names, most_values=most_values)
            return whole, measured(whole)
        measures = Measured()
        for header in headers:
            part = store.read_joined(connection, self.tables, [header], names, most_values=most_values)
            measures.add(measured(part))
            measures.fold(2 * most_values)  # a bound for memory; the last one is that of what is stored
        measures.fold(most_values)
        return None, measures

    def _frozen_before(self, connection: sa.Connection, raw: sa.Connection) -> datetime:
        """Hours that begin before this cannot be built again, as raw rows of theirs are gone: `NEVER` if none are.

        Months that are merged are built as a whole, so of these all hours are frozen, or none. `ALWAYS`: there are no raw rows.
        """
        oldest = self.source.oldest(raw)
        if oldest is None:
            return ALWAYS
        pruned = read_meta(connection, self.tables).get(PRUNED)
        first = Span(self.day_of(oldest), oldest + timedelta(microseconds=1), self.source.zone).edges("hour")[-2]
        edge = first if pruned is None else max(first, datetime.fromisoformat(pruned))
        hour, segment = self.tables.hour.c, self.tables.segment.c
        last = connection.scalar(sa.select(sa.func.max(hour.start)).where(hour.start < edge))
        if last is None:
            return NEVER
        merged = (segment.unit == MONTH, segment.detailed, segment.start <= last, segment.end > edge)
        return max([edge, *(header.end for header in store.headers(connection, self.tables, *merged))])
