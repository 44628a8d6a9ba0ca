"""A state machine: rows late, edited and deleted, clocks that leap, kills, retention, rebuilds, forgetting, verification.

After each run the rollups are what an independent table says, which has every row that was not deleted by anybody but the
retention. `python -m benchmarks.rollup_states` takes thousands of steps.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flask_statistics.filters import Filters, read_filters
from flask_statistics.queries.answers import Measures
from flask_statistics.rollups.meta import note_late
from flask_statistics.rollups.retention import Retention
from flask_statistics.spans import Span

from ..rollup_bench import DIMENSIONS, RAW, TABLES, Rolled, killed_at

START = datetime(2026, 10, 20, 9, 13)
ALL = (datetime(2026, 1, 1), datetime(2030, 1, 1))
LEAPS = [timedelta(seconds=s) for s in (-1, 1, -7, 120)] + [timedelta(days=d) for d in (-400, -1, 1, 40, 3650)]
PATHS, STATUSES, VISITORS = ("/", "/a", "/b"), (200, 404, 500), ("192.0.2.1", "192.0.2.2", "192.0.2.3")
COUNTED: Counter[str] = Counter()
"""Steps taken, by rule: for the benchmark."""


class Rollups(RuleBasedStateMachine):
    """One table with rollups, and one without that nothing is ever deleted from but what somebody deletes."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.rolled = Rolled(f"sqlite:///{Path(self.folder.name) / 'rolled.sqlite'}")
        self.expected = Rolled(f"sqlite:///{Path(self.folder.name) / 'expected.sqlite'}")
        self.now, self.key = START, 0
        self.ran = self.unseen = self.retained = False

    def teardown(self) -> None:
        self.rolled.close()
        self.expected.close()
        self.folder.cleanup()

    # ---- what the host and its visitors do -------------------------------------------------------------------------

    def _insert(self, dates: list[datetime], choice: int) -> None:
        rows = []
        for number, date in enumerate(dates):
            self.key += 1
            n = choice + number
            rows.append(
                {
                    "index": self.key,
                    "date": date,
                    "path": PATHS[n % 3],
                    "status_code": STATUSES[n // 3 % 3],
                    "remote_address": VISITORS[n // 9 % 3],
                    "device": ("desktop", "bot")[n % 2],
                    "method": "GET",
                    "size": n,
                }
            )
        self.rolled.insert(rows)
        self.expected.insert(rows)
        self.ran = False

    @rule(ago=st.lists(st.integers(0, 7_200), min_size=1, max_size=6), choice=st.integers(0, 26))
    def requests(self, ago: list[int], choice: int) -> None:
        COUNTED["requests"] += 1
        self._insert([self.now - timedelta(seconds=s) for s in ago], choice)

    @precondition(lambda self: self.key > 0)
    @rule(days=st.integers(3, 20), choice=st.integers(0, 26), noted=st.booleans())
    def late_rows(self, days: int, choice: int, noted: bool) -> None:
        COUNTED["late"] += 1
        date = self.now - timedelta(days=days)
        self._insert([date], choice)
        if noted:
            with self.rolled.engine.begin() as connection:
                note_late(connection, TABLES, date)
        self.unseen = True

    def _of_recent(self, place: int) -> int | None:
        with self.rolled.engine.connect() as connection:
            recent = RAW.table.c.date > self.now - timedelta(days=20)
            keys = list(connection.scalars(sa.select(RAW.table.c["index"]).where(recent)))
        return keys[place % len(keys)] if len(keys) > 20 else None

    @rule(place=st.integers(0, 1000), status=st.sampled_from(STATUSES))
    def edit(self, place: int, status: int) -> None:
        COUNTED["edit"] += 1
        if (key := self._of_recent(place)) is not None:
            for one in (self.rolled, self.expected):
                with one.engine.begin() as connection:
                    mine = RAW.table.c["index"] == key
                    connection.execute(sa.update(RAW.table).where(mine).values(status_code=status))
            self.unseen = True

    @rule(place=st.integers(0, 1000))
    def delete(self, place: int) -> None:
        COUNTED["delete"] += 1
        if (key := self._of_recent(place)) is not None:
            day = self._same_day(key)
            if day > 1:  # all rows of a day that are gone pass for pruned
                for one in (self.rolled, self.expected):
                    with one.engine.begin() as connection:
                        connection.execute(sa.delete(RAW.table).where(RAW.table.c["index"] == key))
                self.unseen = True

    def _same_day(self, key: int) -> int:
        with self.rolled.engine.connect() as connection:
            date = connection.scalar(sa.select(RAW.table.c.date).where(RAW.table.c["index"] == key)) or START
            start = date.replace(hour=0, minute=0, second=0, microsecond=0)
            within = (RAW.table.c.date >= start, RAW.table.c.date < start + timedelta(days=1))
            return connection.scalar(sa.select(sa.func.count()).select_from(RAW.table).where(*within)) or 0

    @rule(minutes=st.sampled_from([1, 1, 7, 59, 60, 300, 1440, 3 * 1440, 33 * 1440]))
    def time_passes(self, minutes: int) -> None:
        COUNTED["time"] += 1
        self.now += timedelta(minutes=minutes)

    # ---- what the job does -----------------------------------------------------------------------------------------

    def _run(self, now: datetime) -> None:
        job = self.rolled.another_job()
        job.retention = Retention(raw=timedelta(days=30) if self.retained else None, hourly=timedelta(days=2))
        self.now += timedelta(minutes=3)  # whoever was killed has lost the lease
        assert job.run(now + timedelta(minutes=3)) is not None

    @rule()
    def run(self) -> None:
        COUNTED["run"] += 1
        self._run(self.now)
        self.ran = True

    @rule(leap=st.sampled_from(LEAPS))
    def run_by_a_wrong_clock(self, leap: timedelta) -> None:
        COUNTED["leap"] += 1
        self._run(self.now + leap)
        self.ran = False

    @rule(transaction=st.integers(0, 12))
    def killed_run(self, transaction: int) -> None:
        COUNTED["kill"] += 1
        with killed_at(self.rolled.engine, transaction):
            self._run(self.now)
        self.ran = False

    @rule()
    def begin_to_delete_old_rows(self) -> None:
        self.retained = True

    @precondition(lambda self: self.ran)
    @rule(days=st.integers(0, 4))
    def rebuild(self, days: int) -> None:
        COUNTED["rebuild"] += 1
        start = (self.now - timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0)
        self.rolled.another_job().rebuild(start, self.now, self.now, progress=lambda day: None)

    @precondition(lambda self: self.ran and not self.unseen)
    @rule(visitor=st.sampled_from(VISITORS))
    def forget(self, visitor: str) -> None:
        COUNTED["forget"] += 1

        def delete_raw(connection: sa.Connection) -> int:
            theirs = RAW.table.c.remote_address == visitor
            return int(connection.execute(sa.delete(RAW.table).where(theirs)).rowcount)

        forgotten = self.rolled.another_job().forget(
            [visitor], self.now, delete_raw=delete_raw, progress=lambda day: None
        )
        assert forgotten is not None
        assert forgotten.left == 0
        with self.expected.engine.begin() as connection:
            delete_raw(connection)

    @precondition(lambda self: self.ran)
    @rule()
    def verify(self) -> None:
        COUNTED["verify"] += 1
        found = self.rolled.another_job().verify()
        differs = self._answers(self.rolled, stored=True) != self._answers(self.expected, stored=False)
        if not self.unseen:
            assert found.differences == []
        assert bool(found.differences) >= differs

    @precondition(lambda self: self.ran)
    @rule()
    def repair(self) -> None:
        COUNTED["repair"] += 1
        job = self.rolled.another_job()
        job.repair(job.verify().differences, self.now)
        assert job.verify().differences == []
        self.unseen = False

    # ---- what must hold --------------------------------------------------------------------------------------------

    def _answers(self, one: Rolled, *, stored: bool) -> Any:
        span, rest = Span(*ALL, one.zone), Filters()
        two, _ = read_filters([("path", "/a"), ("status_code", "404")], DIMENSIONS)
        with one.rollups() if stored else one.raw() as queries:
            paths = queries.breakdown("path", span, rest, limit=9)
            statuses = queries.breakdown("status_code", span, rest, limit=9)
            return (
                self._comparable(queries.summary(span, rest)),
                self._comparable(queries.summary(span, two)),
                [(row.value, self._comparable(row.measures)) for row in paths.rows],
                [(row.value, self._comparable(row.measures)) for row in statuses.rows],
            )

    def _comparable(self, measures: Measures) -> Measures:
        """Without visitors, once raw rows are deleted: who comes back after that is a new visitor, as nobody can tell."""
        return replace(measures, visitors=None) if self.retained else measures

    @invariant()
    def rollups_are_what_there_is(self) -> None:
        if self.ran and not self.unseen and self.key:
            assert self._answers(self.rolled, stored=True) == self._answers(self.expected, stored=False)


Rollups.TestCase.settings = settings(
    max_examples=10,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
test_rollups_in_all_states = Rollups.TestCase
