"""The job: keeps the rollup tables equal to the raw table. Reads the raw table, writes the rollup tables.

Nothing is ever added to a segment: the job remembers of each hour how many raw rows it was built from, counts them again
for the last two days, and rebuilds whatever differs, each in one transaction. So late rows, concurrent writers, crashed
runs and imports heal themselves, and running twice changes nothing. The raw table may be in another database: rows are
deleted there only after what was made of them is committed here. A closed day is merged from its hours, a closed
month from its days; days from before the first run are built newest first.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa

from ..spans import next_edge, to_local
from . import (
    closing,
    forgetting,
    keeping,
    lease,
    recorded,
    repair,
    retention,
    scrubbing,
    store,
    sweep,
    verification,
    writing,
)
from .building import build_day, build_month, rows_noted
from .dictionary import VISITOR_KEY, new_key
from .forgetting import Forgotten
from .holder import Holder
from .meta import (
    ALWAYS,
    NEVER,
    PRUNED,
    RECOUNTED,
    RollupError,
    check_zone,
    coverage,
    coverage_in,
    read_meta,
    write_meta,
)
from .report import Report
from .retention import Retention
from .scrubbing import Scrubbed
from .structure import Difference
from .tables import MONTH
from .verification import Found, Unit

SETTLING = timedelta(seconds=5)
"""How far behind the present a run stays: a request is stored when it ends, and dated when it began."""
SHARE = 0.05
"""Of one core, at most, for keeping the last two days: a run that takes long is followed by a pause."""
LONGEST_PAUSE = timedelta(minutes=30)
"""A machine that was halted in the midst of a run, or whose disk was, must not pause for twenty times as long."""
KEPT, MOST_KEPT = "kept", 20
"""In `statistics_meta`: what the last run left as it was, the first so many periods, and why."""
EARLY = 0.1
"""Of the time between two runs, by which a run may be early: timers are not exact."""


@dataclass(slots=True)
class Job(Holder):
    """Runs over one raw table, as the holder of the lease."""

    retention: Retention = field(default_factory=Retention)
    updated: Callable[[datetime], None] = lambda until: None
    """Told up to when (naive UTC) requests are rolled up, after each run."""

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
        took = timedelta(seconds=float(meta["last_run_seconds"]))
        pause = max(interval, min(took / SHARE, LONGEST_PAUSE))
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
            keeping.grow(self, now, report)
            keeping.recount(self, now, report)
            report.seconds = time.monotonic() - started
            self._remember(now, report)
            closing.close(self, now, report)
            self._backfill(now, report, deadline, progress)
            if report.complete:
                recorded.complete(self, now, report, deadline, progress)
            retention.prune(self, self.retention, now, report)
            if report.merged or report.raw_deleted:
                sweep.sweep(self, now)
            return report

        report = self.as_holder(now, work)
        if report is not None:
            self.updated(now)
        return report

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
            first = self.day_of(max(start, covered.start))
            with self.reading() as (connection, raw):
                days = list(keeping.days(self, connection, raw, first, min(end, covered.end)))
            self._refuse_frozen(days, months)
            for day in days:
                if self.month_of(day) not in months:
                    following = min(next_edge(day, "day", zone), covered.end)
                    build_day(
                        self, day, following, open_until=following if following == covered.end else None, fewer=True
                    )
                    report.built += 1
                    progress(day)

            def count(day: datetime) -> None:
                report.built += 1
                progress(day)

            for month in sorted(months):
                build_month(self, month, count, fewer=True)
            closing.close(self, now, report)
            sweep.sweep(self, now)
            return report

        return self.as_holder(now, work)

    def remake(self, now: datetime, *, progress: Callable[[datetime], None]) -> Report | None:
        """Throw all rollups away and make them anew, those of raw rows that are gone lost; None as in `run`."""

        def work() -> bool:
            sweep.discard(self)
            return True

        return self.run(now, progress=progress) if self.as_holder(now, work) else None

    def prune(self, now: datetime) -> Report | None:
        """Delete what the retention settings say is too old; None as in `run`."""

        def work() -> Report:
            report = Report()
            retention.prune(self, self.retention, now, report)
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
    ) -> Forgotten | None:
        """Erase the visitors with these stored addresses from all rollups, and from the raw table by `delete_raw`.

        `delete_raw` deletes some rows of theirs and says how many, 0 at the end. `progress` is told each period that was
        corrected. Stopped halfway, the same call goes on. None: another runner has the lease.
        """

        def work() -> Forgotten:
            self._check()
            return forgetting.forget_visitors(self, addresses, delete_raw, progress)

        return self.as_holder(now, work)

    def held(self, addresses: Collection[str]) -> list[tuple[str, datetime, int]]:
        """Unit, start and number of requests of each period whose rollups know the visitors with these stored addresses."""
        return forgetting.held(self, addresses)

    def _refuse_frozen(self, days: Sequence[datetime], months: Mapping[datetime, datetime]) -> None:
        """Raise `RollupError` if `days`, or `months` that are built as a whole, have too few raw rows for it."""
        hour, zone = self.tables.hour.c, self.source.zone
        ends = [*(next_edge(day, "day", zone) for day in days), *months.values()]
        start, end = min([*days, *months], default=ALWAYS), max(ends, default=NEVER)
        with self.reading() as (connection, raw):
            frozen_before = keeping.frozen_before(self, connection, raw)
            first = connection.scalar(sa.select(sa.func.min(hour.start)).where(hour.start >= start, hour.start < end))
            if first is None or first >= frozen_before:
                periods = {day: next_edge(day, "day", zone) for day in days if self.month_of(day) not in months}
                for since, until in sorted((periods | dict(months)).items()):
                    noted = sum(rows_noted(connection, self, since, until).values())
                    if noted and not self.source.count(raw, since, until):
                        raise RollupError(
                            f"All raw rows of {to_local(since, zone):%Y-%m-%d} are gone, so its rollups, of {noted:,} "
                            "requests, cannot be built again."
                        )
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
            return first is not None and first < keeping.frozen_before(self, connection, raw)

    def frozen(self) -> tuple[datetime, datetime] | None:
        """The time whose rollups take in no more rows, as its raw rows are gone: start, and end excluded; None: there is none."""
        hour = self.tables.hour.c
        with self.reading() as (connection, raw):
            first, last = connection.execute(sa.select(sa.func.min(hour.start), sa.func.max(hour.start))).one()
            if first is None:
                return None
            pruned = read_meta(connection, self.tables).get(PRUNED)
            before = keeping.frozen_before(self, connection, raw)
        if before == ALWAYS:
            before = last + timedelta(hours=1) if pruned is None else datetime.fromisoformat(pruned)
        return (first, before) if first < before else None

    def buildable_from(self) -> datetime:
        """The first local day (naive UTC) from which on nothing is frozen, so that `rebuild` may build it and all later ones."""
        hour = self.tables.hour.c
        with self.reading() as (connection, raw):
            before = keeping.frozen_before(self, connection, raw)
            last = connection.scalar(sa.select(sa.func.max(hour.start)).where(hour.start < before))
        if last is None:
            return NEVER
        following = next_edge(self.day_of(last), "day", self.source.zone)
        return following if before == ALWAYS else max(following, self.day_of(before))

    # ---- what a run does -----------------------------------------------------------------------------------------

    def _check(self) -> None:
        """Refuse rollups of another time zone; make what is needed for the first."""
        zone = self.source.zone.key
        with self.engine.connect() as connection:
            discarding = sweep.DISCARDING in read_meta(connection, self.tables)
        if discarding:
            sweep.discard(self)
        with self.engine.begin() as connection:
            meta = read_meta(connection, self.tables)
            if "timezone" not in meta:
                write_meta(connection, self.tables, {"timezone": zone, VISITOR_KEY: new_key()})
            check_zone(meta, zone)
            self.dictionary(connection).register(coverage_in(meta).end)
            recorded.register_waits(connection, self.tables, self.source, coverage_in(meta).end)
        writing.sweep(self)  # what a run that was killed left

    def _remember(self, now: datetime, report: Report) -> None:
        with self.transaction() as connection:
            kept = {moment.isoformat(): why for moment, why in sorted(report.kept.items())[:MOST_KEPT]}
            done = {"last_run": now.isoformat(), "last_run_seconds": f"{report.seconds:.3f}"}
            write_meta(connection, self.tables, done | {KEPT: json.dumps(kept)})

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
            build_day(self, day, end, fewer=True, backfill=True)
            report.built += 1
            progress(day)
            if self.month_of(day) == day:
                closing.close(self, now, report)
            with self.reading() as (_, raw):
                skip = self.source.newest(raw, before=day)
            end = day if skip is None else min(day, next_edge(skip, "day", zone))
        day = self.day_of(oldest)
        with self.transaction() as connection:
            write_meta(connection, self.tables, {"covered_from": day.isoformat()})
        self._reach_back(day, now)
        closing.close(self, now, report)

    def _reach_back(self, covered_from: datetime, now: datetime) -> None:
        """Note that all is rolled up from the beginning of its month on, when that is to be merged: nothing is older."""
        month = self.month_of(covered_from)
        if month < covered_from and next_edge(month, "month", self.source.zone) <= self.day_of(now - RECOUNTED):
            with self.transaction() as connection:
                write_meta(connection, self.tables, {"covered_from": month.isoformat()})

    def verify(self, *, progress: Callable[[Unit], None] = lambda unit: None) -> Found:
        """What differs between rollups and raw rows, and within the rollups. Needs no lease, and writes nothing.

        `progress` is told each day or month that was looked at.
        """
        return verification.verify(self, progress=progress)

    def scrub(self, now: datetime) -> Scrubbed | None:
        """Verify a little of the past, as much as there is time for since it was done last; None as in `run`."""
        return self.as_holder(now, lambda: scrubbing.scrub(self, now))

    def verifiable(self) -> int:
        """How many requests `verify` will look at."""
        segment = self.tables.segment.c
        with self.engine.connect() as connection:
            return int(connection.scalar(sa.select(sa.func.sum(segment.hits)).where(segment.detailed)) or 0)

    def repair(
        self,
        differences: Sequence[Difference],
        now: datetime,
        *,
        progress: Callable[[datetime], None] = lambda day: None,
    ) -> Report | None:
        """Repair what `verify` found, as far as there are raw rows or contents for it; None as in `run`."""

        def work() -> Report:
            report = Report()
            self._check()
            repair.repair(self, differences, progress=progress)
            closing.close(self, now, report)
            scrubbing.remember(self, [])
            return report

        return self.as_holder(now, work)

    def differences(self, start: datetime, end: datetime) -> dict[datetime, tuple[int, int]]:
        """The hours from `start` to `end` (naive UTC) whose raw rows are not as many as rolled up: (rolled up, raw).

        Hours older than the oldest raw row are frozen and left out.
        """
        return keeping.differences(self, start, end)
