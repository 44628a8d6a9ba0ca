"""The job: keeps the rollup tables equal to the raw table. Reads the raw table, writes the rollup tables.

Nothing is ever added to a segment: the job remembers of each hour how many raw rows it was built from, counts them again
for the last two days, and rebuilds whatever differs, each in one transaction. So late rows, concurrent writers, crashed
runs and imports heal themselves, and running twice changes nothing. A closed day is merged from its hours, a closed
month from its days; days from before the first run are built newest first.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ..spans import Span, midnight, naive_utc, next_edge, to_local
from . import lease, store
from .dictionary import Dictionary
from .segment import Measured, Segment, measured
from .source import Source
from .tables import BOTS, DAY, HOUR, MONTH, PEOPLE, Tables

RECOUNTED = timedelta(days=2)
"""How far back each run counts raw rows again; a month is merged when it is older than this."""
PRUNED_A_TIME = 5_000
"""Raw rows deleted in one transaction."""
MOST_JOINED = 1_000_000
"""Requests of one audience and month whose days are joined: some 100 bytes of memory each while they are measured."""
SETTLING = timedelta(seconds=5)
"""How far behind the present a run stays: a request is stored when it ends, and dated when it began."""
LEASE = timedelta(seconds=60)
"""How long, at most, a runner that died keeps the others waiting; a living one renews it as it works."""
SHORTEST_LEASE = timedelta(seconds=3)
"""A living runner may count raw rows for so long before it renews."""
SHARE = 0.05
"""Of one core, at most, for keeping the last two days: a run that takes long is followed by a pause."""
EARLY = 0.1
"""Of the time between two runs, by which a run may be early: timers are not exact."""


class RollupError(RuntimeError):
    """The rollups cannot be kept as asked; the message says why and what to do."""


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


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which part of time is rolled up, naive UTC; None: nothing is."""

    start: datetime | None
    end: datetime | None
    """Excluded; rows from here on are not in any segment."""


@dataclass(slots=True)
class Job:
    """Runs over one raw table. `now` is given to each call; nothing here reads the clock but for the time it may take."""

    engine: sa.Engine
    tables: Tables
    source: Source
    retention: Retention = field(default_factory=Retention)
    lease_length: timedelta = LEASE
    holder: str = field(default_factory=lease.new_holder)
    _leased_at: float = 0.0
    """When the lease was taken, by `time.monotonic`."""
    _known: dict[str, dict[Any, int]] = field(default_factory=dict)
    """Numbers of values and visitors that transactions learnt, or found, and committed."""
    _known_by: bytes = b""
    """The key of the visitors' hashes that `_known` goes with: another one, and all numbers are other ones."""

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
        with self._leased(now) as mine:
            if not mine:
                return None
            deadline = None if seconds is None else time.monotonic() + seconds
            report = Report()
            self._check()
            started = time.monotonic()
            self._recount(now, report)
            self._close(now, report)
            report.seconds = time.monotonic() - started
            self._remember(now, report)
            self._backfill(now, report, deadline, progress)
            self._prune(now, report)
            return report

    def rebuild(
        self, start: datetime, end: datetime, now: datetime, *, progress: Callable[[datetime], None]
    ) -> Report | None:
        """Build the local days from `start` to `end` (naive UTC) again from raw rows, and the months they are merged in.

        Raises `RollupError` where the raw rows are gone.
        """
        with self._leased(now) as mine:
            if not mine:
                return None
            report = Report()
            with self.engine.connect() as connection:
                covered = coverage(connection, self.tables)
                months = store.headers(
                    connection,
                    self.tables,
                    self.tables.segment.c.unit == MONTH,
                    self.tables.segment.c.start < end,
                    self.tables.segment.c.end > start,
                )
            if covered.start is None or covered.end is None:
                return report
            start = min([start, *(month.start for month in months)])
            end = max([end, *(month.end for month in months)])
            first = self._day_of(max(start, covered.start))
            self._refuse_frozen(first, end)
            for day in Span(first, min(end, covered.end), self.source.zone).edges("day")[:-1]:
                self._build_day(day, min(next_edge(day, "day", self.source.zone), covered.end), now)
                report.built += 1
                progress(day)
            self._close(now, report)
            return report

    def remake(self, now: datetime, *, progress: Callable[[datetime], None]) -> Report | None:
        """Throw all rollups away and make them anew, those of raw rows that are gone lost; None as in `run`."""
        with self._leased(now) as mine:
            if not mine:
                return None
            with self._transaction(now) as connection:
                discard(connection, self.tables)
        return self.run(now, progress=progress)

    def prune(self, now: datetime) -> Report | None:
        """Delete what the retention settings say is too old; None as in `run`."""
        with self._leased(now) as mine:
            if not mine:
                return None
            report = Report()
            self._prune(now, report)
            return report

    def _refuse_frozen(self, start: datetime, end: datetime) -> None:
        hour = self.tables.hour.c
        with self.engine.connect() as connection:
            oldest = self.source.oldest(connection)
            first = connection.scalar(sa.select(sa.func.min(hour.start)).where(hour.start >= start, hour.start < end))
        if first is not None and self._frozen(first, oldest):
            gone = "All raw rows" if oldest is None else f"The raw rows before {oldest:%Y-%m-%d %H:%M} UTC"
            raise RollupError(
                f"{gone} are gone, so the rollups made of them cannot be built again. Give a later --from: months that "
                "are merged are built as a whole."
            )

    def has_frozen(self) -> bool:
        """Whether there are rollups whose raw rows are gone."""
        hour = self.tables.hour.c
        with self.engine.connect() as connection:
            oldest = self.source.oldest(connection)
            first = connection.scalar(sa.select(sa.func.min(hour.start)))
        return first is not None and self._frozen(first, oldest)

    # ---- what a run does -----------------------------------------------------------------------------------------

    def _check(self) -> None:
        """Refuse rollups of another time zone; make what is needed for the first."""
        zone = self.source.zone.key
        with self.engine.begin() as connection:
            meta = read_meta(connection, self.tables)
            if "timezone" not in meta:
                write_meta(connection, self.tables, {"timezone": zone, "visitor_key": secrets.token_hex(16)})
            check_zone(meta, zone)

    def _remember(self, now: datetime, report: Report) -> None:
        with self._transaction(now) as connection:
            write_meta(
                connection, self.tables, {"last_run": now.isoformat(), "last_run_seconds": f"{report.seconds:.3f}"}
            )

    def _recount(self, now: datetime, report: Report) -> None:
        """Build again each hour of the last two days whose raw rows are not as many as it was built from."""
        zone = self.source.zone
        with self.engine.connect() as connection:
            covered = coverage(connection, self.tables)
            start = self._day_of(now)
            if covered.start is not None and covered.end is not None:
                # counted from the last run, as rows may have come late while the job was away
                start = max(covered.start, self._day_of(min(now, covered.end) - RECOUNTED))
            edges = Span(start, now, zone).edges("hour")
            counted = self.source.counts(connection, edges)
            hour = self.tables.hour.c
            query = sa.select(hour.start, hour.raw_rows).where(hour.start >= start, hour.start < now)
            stored = {at: rows for at, rows in connection.execute(query)}  # noqa: C416 - rows are no tuples to mypy
            oldest = self.source.oldest(connection)
            days = {
                header.start
                for header in store.headers(
                    connection, self.tables, self.tables.segment.c.unit == DAY, self.tables.segment.c.end > start
                )
            }
        differing = [edge for edge in edges[:-1] if counted.get(edge, 0) != stored.get(edge, 0)]
        for day in sorted({self._day_of(edge) for edge in differing}):
            hours = [edge for edge in differing if self._day_of(edge) == day]
            if self._frozen(hours[0], oldest):
                hours = [edge for edge in hours if not self._frozen(edge, oldest)]
            if not hours:
                continue
            if day in days:
                self._build_day(day, next_edge(day, "day", zone), now)
            else:
                for edge in hours:
                    self._build_hour(edge, min(next_edge(edge, "hour", zone), now), now)
            report.built += len(hours)
        with self._transaction(now) as connection:
            write_meta(connection, self.tables, {"covered_until": now.isoformat()})
            if covered.start is None:
                write_meta(connection, self.tables, {"covered_from": start.isoformat()})

    def _close(self, now: datetime, report: Report) -> None:
        """Merge the hours of days that are over, and the days of months that are over for good."""
        segment = self.tables.segment.c
        today = self._day_of(now)
        with self.engine.connect() as connection:
            hours = store.headers(connection, self.tables, segment.unit == HOUR, segment.detailed, segment.end <= today)
            days = store.headers(connection, self.tables, segment.unit == DAY, segment.detailed)
            covered = coverage(connection, self.tables)
            merged = {header.start for header in store.headers(connection, self.tables, segment.unit == MONTH)}
        for day in sorted({self._day_of(header.start) for header in hours}):
            self._merge([h for h in hours if self._day_of(h.start) == day], DAY, day, now)
            report.merged += 1
        if hours:
            with self.engine.connect() as connection:
                days = store.headers(connection, self.tables, segment.unit == DAY, segment.detailed)
        for month in sorted({self._month_of(header.start) for header in days} - merged):
            over = next_edge(month, "month", self.source.zone) <= self._day_of(now - RECOUNTED)
            if (
                over
                and covered.start is not None
                and (covered.start <= month or (report.complete and self._at_start(covered)))
            ):
                self._merge([d for d in days if self._month_of(d.start) == month], MONTH, month, now)
                report.merged += 1

    def _at_start(self, covered: Coverage) -> bool:
        """Whether nothing is older than what is rolled up."""
        with self.engine.connect() as connection:
            oldest = self.source.oldest(connection)
        return covered.start is not None and (oldest is None or oldest >= covered.start)

    def _backfill(
        self, now: datetime, report: Report, deadline: float | None, progress: Callable[[datetime], None]
    ) -> None:
        """Build the days from before the first run, newest first."""
        zone = self.source.zone
        with self.engine.connect() as connection:
            oldest, covered = self.source.oldest(connection), coverage(connection, self.tables)
        if oldest is None or covered.start is None or oldest >= covered.start:
            return
        end = covered.start
        while end > oldest:
            if deadline is not None and time.monotonic() > deadline:
                report.complete, report.remaining_from = False, oldest
                return
            day = self._day_of(end - timedelta(microseconds=1))
            self._build_day(day, end, now, backfill=True)
            report.built += 1
            progress(day)
            if self._month_of(day) == day:
                self._close(now, report)
            with self.engine.connect() as connection:
                skip = connection.scalar(
                    sa.select(sa.func.max(self.source.raw.columns["date"])).where(
                        self.source.raw.columns["date"] < self.source.raw.instant(day)
                    )
                )
            end = day if skip is None else min(day, next_edge(naive_utc(skip), "day", zone))
        with self._transaction(now) as connection:
            write_meta(connection, self.tables, {"covered_from": self._day_of(oldest).isoformat()})
        self._close(now, report)

    def _prune(self, now: datetime, report: Report) -> None:
        """Delete what the retention settings say is too old, raw rows only where they are rolled up as they are."""
        segment = self.tables.segment.c
        if self.retention.hourly is not None:
            with self._transaction(now) as connection:
                old = (segment.unit == HOUR, ~segment.detailed, segment.end <= now - self.retention.hourly)
                store.delete(connection, self.tables, *old)
        if self.retention.raw is None:
            return
        limit = self._day_of(now - self.retention.raw)
        with self.engine.connect() as connection:
            covered, oldest = coverage(connection, self.tables), self.source.oldest(connection)
        if (
            oldest is None
            or covered.start is None
            or covered.end is None
            or oldest < covered.start
            or covered.end < limit
        ):
            return
        if oldest >= limit or self.differences(oldest, limit):
            return
        key = self.source.raw.key
        old_rows = self.source.raw.columns["date"] < self.source.raw.instant(limit)
        while True:
            with self._transaction(now) as connection:
                keys = list(connection.scalars(sa.select(key).where(old_rows).limit(PRUNED_A_TIME)))
                for some in store.chunks(keys):
                    connection.execute(sa.delete(self.source.raw.table).where(key.in_(some)))
            report.raw_deleted += len(keys)
            if len(keys) < PRUNED_A_TIME:
                return

    def differences(self, start: datetime, end: datetime) -> dict[datetime, tuple[int, int]]:
        """The hours from `start` to `end` (naive UTC) whose raw rows are not as many as rolled up: (rolled up, raw).

        Hours older than the oldest raw row are frozen and left out.
        """
        hour = self.tables.hour.c
        with self.engine.connect() as connection:
            oldest, covered = self.source.oldest(connection), coverage(connection, self.tables)
            if oldest is None or covered.start is None or covered.end is None:
                return {}
            first = self._day_of(max(start, covered.start, oldest))
            edges = Span(first, max(first, min(end, covered.end)), self.source.zone).edges("hour")
            counted = self.source.counts(connection, edges)
            rows = connection.execute(sa.select(hour.start, hour.raw_rows).where(hour.start >= first, hour.start < end))
            stored = {at: count for at, count in rows}  # noqa: C416 - as above
        hours = [edge for edge in sorted(counted.keys() | stored.keys()) if not self._frozen(edge, oldest)]
        return {
            edge: (stored.get(edge, 0), counted.get(edge, 0))
            for edge in hours
            if stored.get(edge, 0) != counted.get(edge, 0)
        }

    # ---- segments ------------------------------------------------------------------------------------------------

    def _build_hour(self, start: datetime, end: datetime, now: datetime) -> None:
        with self._transaction(now) as connection:
            self._build(connection, HOUR, start, end, now)

    def _build_day(self, start: datetime, end: datetime, now: datetime, *, backfill: bool = False) -> None:
        """Build a day from its raw rows, instead of its hours and of the month that it was merged in."""
        segment = self.tables.segment.c
        with self._transaction(now) as connection:
            within = (segment.start < end, segment.end > start)
            store.delete(connection, self.tables, segment.unit != DAY, *within)
            self._build(connection, DAY, start, next_edge(start, "day", self.source.zone), now, until=end)
            if backfill:
                write_meta(connection, self.tables, {"covered_from": start.isoformat()})

    def _build(
        self,
        connection: sa.Connection,
        unit: str,
        start: datetime,
        end: datetime,
        now: datetime,
        until: datetime | None = None,
    ) -> None:
        dictionary = self._dictionary(connection)

        def beat() -> None:
            self._renew(connection, now)

        segments, counts = self.source.segments(connection, start, until or end, ids=dictionary.ids, beat=beat)
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
                many=self._many(),
            )
        hour = self.tables.hour
        connection.execute(sa.delete(hour).where(hour.c.start >= start, hour.c.start < end))
        if counts:
            connection.execute(
                sa.insert(hour), [{"start": moment, "raw_rows": rows} for moment, rows in sorted(counts.items())]
            )

    def _merge(self, parts: list[store.Header], unit: str, start: datetime, now: datetime) -> None:
        """Merge segments into one of `unit`, each audience for itself, and take their contents away.

        Segments with more requests than memory should hold keep their contents; then only their measures are added.
        """
        with self._transaction(now) as connection:
            dictionary = self._dictionary(connection)
            many = [number for name in self._many() if (number := dictionary.number_of(name)) is not None]
            for audience in (PEOPLE, BOTS):
                mine = [part for part in parts if part.audience == audience]
                whole, measures = self._read_merged(connection, mine, unit)
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
                    many=self._many(),
                )
                if whole is not None:
                    store.strip(connection, self.tables, [part.id for part in mine], many=many)

    def _read_merged(
        self, connection: sa.Connection, headers: list[store.Header], unit: str
    ) -> tuple[Segment | None, Measured]:
        """Segments joined into one of `unit`, None if that would be too large, and their measures."""
        most, names = self.source.most_values, list(self.source.dimensions)
        if unit == DAY or sum(header.hits for header in headers) <= MOST_JOINED:
            whole = store.read_joined(connection, self.tables, headers, names, most_values=most)
            return whole, measured(whole)
        measures = Measured()
        for header in headers:
            measures.add(measured(store.read_joined(connection, self.tables, [header], names, most_values=most)))
        measures.fold(most)
        return None, measures

    def _many(self) -> set[str]:
        """The dimensions with many values."""
        return {name for name, dimension in self.source.dimensions.items() if dimension.many}

    def _dictionary(self, connection: sa.Connection) -> Dictionary:
        key = bytes.fromhex(read_meta(connection, self.tables)["visitor_key"])
        if key != self._known_by:
            self._known, self._known_by = {}, key
        dictionary = Dictionary(connection, self.tables, self.source.dimensions, key=key, learn=True, known=self._known)
        dictionary.register()
        return dictionary

    # ---- around --------------------------------------------------------------------------------------------------

    @contextmanager
    def _leased(self, now: datetime) -> Iterator[bool]:
        self._leased_at = time.monotonic()
        mine = lease.acquire(self.engine, self.tables, holder=self.holder, now=now, length=self.lease_length)
        try:
            yield mine
        except lease.LeaseLost as lost:
            raise RollupError(
                f"Another process took the rollups over, because this one had not got on for "
                f"{self.lease_length.total_seconds():g} s. What it had done stays, and the other one does the rest."
            ) from lost
        finally:
            if mine:
                lease.release(self.engine, self.tables, holder=self.holder)

    @contextmanager
    def _transaction(self, now: datetime) -> Iterator[sa.Connection]:
        """A transaction of the lease's holder: it writes nothing once somebody else took over."""
        try:
            with self.engine.begin() as connection:
                self._renew(connection, now)
                yield connection
        except BaseException:
            self._known_by = b""  # what it learnt is rolled back
            raise

    def _renew(self, connection: sa.Connection, now: datetime) -> None:
        """Keep the lease from this moment on, not from `now`, which is when the run began. Raises `LeaseLost`."""
        worked = timedelta(seconds=time.monotonic() - self._leased_at)
        lease.renew(connection, self.tables, holder=self.holder, now=now + worked, length=self.lease_length)

    def _day_of(self, moment: datetime) -> datetime:
        return midnight(to_local(moment, self.source.zone).date(), self.source.zone)

    def _month_of(self, moment: datetime) -> datetime:
        return midnight(to_local(moment, self.source.zone).date().replace(day=1), self.source.zone)

    def _frozen(self, moment: datetime, oldest: datetime | None) -> bool:
        """Whether the raw rows of that hour are gone: it is older than the oldest kept row's."""
        return oldest is None or next_edge(moment, "hour", self.source.zone) <= oldest


def coverage(connection: sa.Connection, tables: Tables) -> Coverage:
    """Which part of time is rolled up."""
    meta = read_meta(connection, tables)
    start, end = meta.get("covered_from"), meta.get("covered_until")
    return Coverage(
        start=None if start is None else datetime.fromisoformat(start),
        end=None if end is None else datetime.fromisoformat(end),
    )


def discard(connection: sa.Connection, tables: Tables) -> None:
    """Empty all rollup tables but for the lease, so that the next run makes them anew."""
    for table in tables.all():
        if table is not tables.lease:
            connection.execute(sa.delete(table))


def read_meta(connection: sa.Connection, tables: Tables) -> Mapping[str, str]:
    """What holds for all rollups."""
    return {name: text for name, text in connection.execute(sa.select(tables.meta.c.name, tables.meta.c.text))}  # noqa: C416


def write_meta(connection: sa.Connection, tables: Tables, values: Mapping[str, str]) -> None:
    """Store `values`, instead of those of the same names."""
    connection.execute(sa.delete(tables.meta).where(tables.meta.c.name.in_(list(values))))
    connection.execute(sa.insert(tables.meta), [{"name": name, "text": text} for name, text in values.items()])


def check_zone(meta: Mapping[str, str], zone: str) -> None:
    """Raise `RollupError` if the rollups were made for another time zone than `zone`."""
    made_for = meta.get("timezone", zone)
    if made_for != zone:
        raise RollupError(
            f"STATISTICS_TIMEZONE is {zone!r}, but the rollups were made for {made_for!r}: their days and hours are others. "
            "Run 'flask statistics rebuild --all' to make them anew, or set STATISTICS_TIMEZONE back."
        )
