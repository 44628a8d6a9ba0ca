"""The job: rebuild and never add, one runner at a time, retention, and what it refuses."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from unittest import mock
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from flask_statistics import bounds
from flask_statistics.filters import Filters, read_filters
from flask_statistics.rollups import closing, job, lease, meta, source
from flask_statistics.rollups.meta import Coverage, RollupError, coverage, write_meta
from flask_statistics.rollups.retention import Retention
from flask_statistics.spans import Span

from ..conftest import DATABASES, RAW_SHAPES
from ..rollup_bench import DIMENSIONS, TABLES, Rolled, killed_at

NOW = datetime(2026, 11, 22, 14, 37)


@pytest.fixture(scope="module", params=DATABASES)
def url(request: pytest.FixtureRequest, new_database: Any) -> Iterator[str]:
    with new_database(request.param) as url:
        yield url


sqlite_only = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
every_shape = pytest.mark.parametrize("url", RAW_SHAPES, indirect=True)
"""For what depends on how the raw table lies in its database."""
"""For what the job decides by itself; that a transaction which is killed leaves nothing is tested on each database."""


@pytest.fixture
def rolled(url: str) -> Iterator[Rolled]:
    rolled = Rolled(url)
    yield rolled
    rolled.close()


def at(day: int, hour: int = 12, **values: Any) -> dict[str, Any]:
    return {"date": datetime(2026, 11, day, hour, 30), "path": "/", "remote_address": "192.0.2.1"} | values


def hits(rolled: Rolled, day: int) -> int:
    with rolled.rollups() as queries:
        start = datetime(2026, 11, day)
        return queries.summary(Span(start, start + timedelta(days=1), rolled.zone), Filters()).hits


def raw_rows(rolled: Rolled) -> int:
    with rolled.engine.connect() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(rolled.source.raw.table)) or 0


def units(rolled: Rolled) -> list[tuple[str, datetime, bool]]:
    segment = TABLES.segment.c
    with rolled.engine.connect() as connection:
        query = sa.select(segment.unit, segment.start, segment.detailed).order_by(segment.start, segment.unit)
        return [(row.unit, row.start, row.detailed) for row in connection.execute(query)]


@every_shape
def test_run_builds_hours_days_and_months(rolled: Rolled) -> None:
    rolled.insert([{**at(1), "date": datetime(2026, month, 3, 4)} for month in (8, 10)])
    rolled.insert([at(20), at(22, 10), at(22, 13)])
    rolled.job.run(NOW)
    assert units(rolled) == [
        ("month", datetime(2026, 8, 1), True),
        ("day", datetime(2026, 8, 3), False),
        ("month", datetime(2026, 10, 1), False),
        ("day", datetime(2026, 10, 3), True),
        ("day", datetime(2026, 11, 20), True),
        ("hour", datetime(2026, 11, 22, 10), True),
        ("piece", datetime(2026, 11, 22, 13), True),
    ]


def test_run_twice_changes_nothing(rolled: Rolled) -> None:
    rolled.insert([at(day, hour) for day in (3, 20, 21, 22) for hour in (1, 13)])
    rolled.job.run(NOW)
    before = rolled.content()
    assert rolled.job.run(NOW) is not None
    assert rolled.another_job().run(NOW + timedelta(seconds=1)) is not None
    assert rolled.content() == before


def test_run_closes_the_day_that_is_over(rolled: Rolled) -> None:
    rolled.insert([at(22, 10), at(22, 11)])
    rolled.job.run(NOW)
    rolled.job.run(NOW + timedelta(days=1))  # what the clock says closes nothing
    hours = [("hour", datetime(2026, 11, 22, 10)), ("piece", datetime(2026, 11, 22, 11))]
    assert units(rolled) == [(*hour, True) for hour in hours]
    rolled.insert([at(23)])
    rolled.job.run(NOW + timedelta(days=1))
    assert units(rolled) == [
        ("day", datetime(2026, 11, 22), True),
        ("hour", datetime(2026, 11, 22, 10), False),
        ("hour", datetime(2026, 11, 22, 11), False),
        ("piece", datetime(2026, 11, 23, 12), True),
    ]


@every_shape
def test_run_heals_late_and_deleted_rows(rolled: Rolled) -> None:
    rolled.insert([at(10), at(21), at(21, 13), at(22, 9)])
    rolled.job.run(NOW)
    rolled.insert([at(21, 5, path="/late")])
    with rolled.engine.begin() as connection:
        table = rolled.source.raw.table
        connection.execute(sa.delete(table).where(table.c.date == datetime(2026, 11, 21, 13, 30)))
    rolled.job.run(NOW + timedelta(minutes=1))
    assert [hits(rolled, day) for day in (10, 21, 22)] == [1, 2, 1]


def test_run_after_days_away_catches_up(rolled: Rolled) -> None:
    rolled.job.run(NOW)
    rolled.insert([at(23), at(26, 3), at(27)])
    later = NOW + timedelta(days=6)
    assert hits(rolled, 26) == 1  # from the raw rows, before the job runs again
    rolled.job.run(later)
    assert [hits(rolled, day) for day in (23, 26, 27)] == [1, 1, 1]


def test_run_stops_at_its_time_and_goes_on(rolled: Rolled) -> None:
    rolled.insert([at(day) for day in range(1, 20)])
    report = rolled.job.run(NOW, seconds=0)
    assert report is not None
    assert (report.complete, report.remaining_from) == (False, datetime(2026, 11, 1, 12, 30))
    rolled.job.run(NOW)
    with rolled.engine.connect() as connection:
        assert coverage(connection, TABLES) == Coverage(datetime(2026, 11, 1), datetime(2026, 11, 19, 12, 30, 0, 1))
    assert [hits(rolled, day) for day in (1, 10, 19)] == [1, 1, 1]


def test_two_runs_at_once_leave_what_one_leaves(rolled: Rolled) -> None:
    rolled.insert([at(day, hour) for day in range(10, 23) for hour in (1, 2, 13)])
    reports: list[Any] = []
    threads = [threading.Thread(target=lambda: reports.append(rolled.another_job().run(NOW))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = rolled.content()
    assert any(report is not None for report in reports)
    rolled.another_job().remake(NOW, progress=lambda day: None)
    assert {name: len(rows) for name, rows in rolled.content().items()} == {n: len(r) for n, r in together.items()}
    assert rolled.content()["hours"] == together["hours"]


def test_lease_is_exclusive_and_expires(rolled: Rolled) -> None:
    minute = timedelta(minutes=1)
    assert lease.acquire(rolled.engine, TABLES, holder="one", now=NOW, length=minute)
    assert not lease.acquire(rolled.engine, TABLES, holder="two", now=NOW + minute / 2, length=minute)
    assert lease.acquire(rolled.engine, TABLES, holder="one", now=NOW + minute / 2, length=minute)
    assert rolled.job.run(NOW + minute) is None
    assert lease.acquire(rolled.engine, TABLES, holder="two", now=NOW + 2 * minute, length=minute)
    with rolled.engine.begin() as connection, pytest.raises(lease.LeaseLost):
        lease.renew(connection, TABLES, holder="one", now=NOW, length=minute)


def test_lease_is_refused_without_waiting_for_its_holder(rolled: Rolled) -> None:
    minute = timedelta(minutes=1)
    assert lease.acquire(rolled.engine, TABLES, holder="one", now=NOW, length=minute)
    with rolled.engine.begin() as connection:
        lease.renew(connection, TABLES, holder="one", now=NOW, length=minute)  # as it does while it builds
        started = time.perf_counter()
        assert not lease.acquire(rolled.engine, TABLES, holder="two", now=NOW, length=minute)
        assert time.perf_counter() - started < 4  # SQLite waits for a lock for 5 seconds, others for longer


@every_shape
def test_run_reads_rows_in_batches(rolled: Rolled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "BATCH", 3)  # the eight of a day have the same date: the key goes on
    rolled.insert([at(day, path=f"/{number}") for day in (20, 21, 22) for number in range(8)])
    rolled.job.run(NOW)
    assert [hits(rolled, day) for day in (20, 21, 22)] == [8, 8, 8]
    with rolled.rollups() as queries:
        found = queries.breakdown("path", Span(datetime(2026, 11, 20), NOW, rolled.zone), Filters())
    assert sorted((row.value, row.measures.hits) for row in found.rows) == [(f"/{number}", 3) for number in range(8)]


def test_run_is_due_an_interval_after_the_last_one_of_anybody(rolled: Rolled) -> None:
    other, minute = rolled.another_job(), timedelta(minutes=1)
    assert other.is_due(NOW, interval=minute)
    rolled.job.run(NOW)
    seconds = (0, 53, 54, 60, 3600)
    assert [other.is_due(NOW + timedelta(seconds=s), interval=minute) for s in seconds] == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert other.is_due(NOW - timedelta(hours=1), interval=minute), "a clock that was ahead stops all others"


def test_run_that_took_long_is_followed_by_a_pause(rolled: Rolled) -> None:
    rolled.job.run(NOW)
    with rolled.engine.begin() as connection:
        write_meta(connection, TABLES, {"last_run_seconds": "6"})
    due = [rolled.job.is_due(NOW + timedelta(seconds=s), interval=timedelta(minutes=1)) for s in (60, 107, 108)]
    assert due == [False, False, True]


def test_run_in_whose_midst_the_machine_was_halted_is_followed_by_no_longer_pause(rolled: Rolled) -> None:
    rolled.job.run(NOW)
    with rolled.engine.begin() as connection:
        write_meta(connection, TABLES, {"last_run_seconds": "36000"})
    minutes = (20, 27)  # a tenth may be missing
    due = [rolled.job.is_due(NOW + timedelta(minutes=m), interval=timedelta(minutes=1)) for m in minutes]
    assert due == [False, True]


def test_run_is_due_when_the_holder_of_the_lease_died(rolled: Rolled) -> None:
    rolled.job.run(NOW)
    lease.acquire(rolled.engine, TABLES, holder="dead", now=NOW, length=timedelta(seconds=3))
    assert rolled.job.is_due(NOW, interval=timedelta(minutes=1))


def test_run_ends_when_another_took_over(rolled: Rolled) -> None:
    rolled.insert([at(day) for day in (19, 20, 21)])

    def progress(_day: datetime) -> None:
        later = NOW + timedelta(hours=1)
        assert lease.acquire(rolled.engine, TABLES, holder="other", now=later, length=timedelta(seconds=60))

    with pytest.raises(
        RollupError, match=r"^Another process took the rollups over, because this one had not got on for 60 s"
    ):
        rolled.job.run(NOW, progress=progress)
    with rolled.engine.connect() as connection:
        assert coverage(connection, TABLES).start == datetime(2026, 11, 20)
        assert lease.holder_of(connection, TABLES) == ("other", NOW + timedelta(hours=1, seconds=60))


@every_shape
def test_raw_rows_are_deleted_once_rolled_up(url: str) -> None:
    if url.partition("?")[0].endswith("_partitioned"):
        pytest.skip("partitions are dropped: see test_partitions")
    rolled = Rolled(url, raw=timedelta(days=5))
    rolled.insert([at(day) for day in range(1, 23)])
    report = rolled.job.run(NOW)
    assert report is not None
    assert report.raw_deleted == 16
    assert [hits(rolled, day) for day in (1, 16, 17, 22)] == [1, 1, 1, 1]
    rolled.job.run(NOW + timedelta(minutes=1))
    assert hits(rolled, 1) == 1
    rolled.close()


def test_raw_rows_that_differ_are_not_deleted(url: str) -> None:
    rolled = Rolled(url)
    rolled.insert([at(day) for day in (1, 2, 22)])
    rolled.job.run(NOW)
    rolled.insert([at(2, 15)])  # too late for a recount
    pruning = rolled.another_job()
    pruning.retention = Retention(raw=timedelta(days=5))
    report = pruning.prune(NOW)
    assert report is not None
    assert report.raw_deleted == 0
    rolled.close()


def test_hours_of_closed_days_are_deleted(url: str) -> None:
    rolled = Rolled(url, hourly=timedelta(days=2))
    rolled.insert([at(22)])
    rolled.job.run(NOW)
    rolled.insert([at(25)])
    rolled.job.run(NOW + timedelta(days=3))
    assert units(rolled) == [("day", datetime(2026, 11, 22), True), ("piece", datetime(2026, 11, 25, 12), True)]
    rolled.close()


@every_shape
def test_rebuild_repairs_and_refuses(rolled: Rolled) -> None:
    rolled.insert([at(3), at(5), at(22)])
    rolled.job.run(NOW)
    rolled.insert([at(3, 15)])
    assert rolled.job.differences(datetime(2026, 1, 1), NOW) == {datetime(2026, 11, 3, 15): (0, 1)}
    rolled.job.rebuild(datetime(2026, 11, 3), datetime(2026, 11, 4), NOW, progress=lambda day: None)
    assert (hits(rolled, 3), rolled.job.differences(datetime(2026, 1, 1), NOW)) == (2, {})
    table = rolled.source.raw.table
    with rolled.engine.begin() as connection:
        connection.execute(sa.delete(table).where(table.c.date < datetime(2026, 11, 5)))
    with pytest.raises(RollupError, match=r"Raw rows from before 2026-11-05 12:00 UTC are gone.*later --from"):
        rolled.job.rebuild(datetime(2026, 11, 3), datetime(2026, 11, 4), NOW, progress=lambda day: None)
    assert hits(rolled, 3) == 2


def test_rebuild_of_a_merged_month(rolled: Rolled) -> None:
    august = [{**at(1), "date": datetime(2026, 8, day, 12)} for day in (1, 15, 31)]
    rolled.insert([*august, at(22)])
    rolled.job.run(NOW)
    rolled.insert([{**at(1), "date": datetime(2026, 8, 15, 3), "path": "/late"}])
    rolled.job.rebuild(datetime(2026, 8, 15), datetime(2026, 8, 16), NOW, progress=lambda day: None)
    with rolled.rollups() as queries:
        span = Span(datetime(2026, 8, 1), datetime(2026, 9, 1), rolled.zone)
        late = Filters().and_("path", "/late")
        assert (queries.summary(span, Filters()).hits, queries.summary(span, late).hits) == (4, 1)
    assert [unit for unit, _, detailed in units(rolled) if detailed] == ["month", "piece"]


def test_another_time_zone_is_refused(rolled: Rolled) -> None:
    rolled.job.run(NOW)
    moved = rolled.another_job()
    moved.source = replace(rolled.source, zone=ZoneInfo("Asia/Tokyo"))
    with pytest.raises(RollupError, match=r"STATISTICS_TIMEZONE is 'Asia/Tokyo'.*made for 'UTC'.*rebuild --all"):
        moved.run(NOW)
    assert moved.remake(NOW, progress=lambda day: None) is not None


def test_many_values_are_folded(url: str) -> None:
    rolled = Rolled(url, most_values=10)
    rolled.insert([at(20, path=f"/scan/{number}") for number in range(50)] + [at(20)] * 3)
    rolled.job.run(NOW)
    with rolled.rollups() as queries:
        span = Span(datetime(2026, 11, 20), datetime(2026, 11, 21), rolled.zone)
        found = queries.breakdown("path", span, Filters(), limit=2)
        assert queries.summary(span, Filters()).hits == 53
    assert [(row.value, row.measures.hits) for row in found.rows] == [("(other)", 41), ("/", 3)]
    assert found.total == 11
    rolled.close()


# ---- interrupted, late and long --------------------------------------------------------------------------------------


def october(rolled: Rolled) -> tuple[int, int]:
    """Hits of October, and those of one path: the one is stored, the other found in contents."""
    span = Span(datetime(2026, 10, 1), datetime(2026, 11, 1), rolled.zone)
    chosen, _ = read_filters([("path", "/"), ("method", "GET")], DIMENSIONS)
    with rolled.rollups() as queries:
        return queries.summary(span, Filters()).hits, queries.summary(span, chosen).hits


def of_october(day: int, **values: Any) -> dict[str, Any]:
    return {**at(1, method="GET", **values), "date": datetime(2026, 10, day, 12, 30)}


@sqlite_only
@pytest.mark.parametrize("transaction", [1, 2, 5, 32, 33, 34])
@pytest.mark.parametrize("joined", [True, False])
def test_killed_rebuild_of_a_merged_month(rolled: Rolled, transaction: int, joined: bool) -> None:
    rebuild_and_kill(rolled, transaction, joined=joined)


@pytest.mark.parametrize("joined", [True, False])
def test_killed_rebuild_of_a_merged_month_on_each_database(rolled: Rolled, joined: bool) -> None:
    rebuild_and_kill(rolled, 33, joined=joined)


def rebuild_and_kill(rolled: Rolled, transaction: int, *, joined: bool) -> None:
    rolled.insert([of_october(day) for day in range(1, 32)])
    with mock.patch.object(closing, "JOINED_AFTER", timedelta(days=2 if joined else 62)):
        rolled.job.run(NOW)
        with killed_at(rolled.engine, transaction):
            rolled.job.rebuild(datetime(2026, 10, 15), datetime(2026, 10, 16), NOW, progress=lambda day: None)
        assert october(rolled) == (31, 31)
        rolled.another_job().run(NOW + timedelta(minutes=2))
        assert october(rolled) == (31, 31)
    assert rolled.job.differences(datetime(2026, 1, 1), NOW) == {}


@pytest.mark.parametrize("days", [2, 62])
def test_late_rows_of_a_month_are_counted_when_they_are_noted(
    rolled: Rolled, days: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing, "JOINED_AFTER", timedelta(days=days))
    rolled.insert([of_october(20), at(22)])
    rolled.job.run(NOW)
    rolled.insert([of_october(10), of_october(25)])
    rolled.job.run(NOW)
    assert october(rolled) == (1, 1)
    with rolled.engine.begin() as connection:
        meta.note_late(connection, TABLES, datetime(2026, 10, 10, 12, 30))
    report = rolled.job.run(NOW)
    assert october(rolled) == (3, 3)
    assert report is not None
    assert report.built == (31 if days == 2 else 2)
    again = rolled.job.run(NOW)
    assert again is not None
    assert again.built == 0


@every_shape
def test_rows_before_all_others_are_rolled_up(rolled: Rolled) -> None:
    rolled.insert([of_october(20), at(22)])
    rolled.job.run(NOW)
    rolled.insert([{**of_october(10), "date": datetime(2026, 9, 10)}, of_october(2)])
    rolled.job.run(NOW)
    assert october(rolled) == (1, 1), "the late row of October was noted by nobody"
    with rolled.rollups() as queries:
        assert queries.summary(Span(datetime(2026, 9, 1), datetime(2026, 10, 1), rolled.zone), Filters()).hits == 1


def test_long_run_keeps_its_lease(rolled: Rolled) -> None:
    rolled.insert([at(day) for day in range(1, 20)])
    others: list[object] = []

    def another(_: datetime) -> None:
        with rolled.engine.connect() as connection:
            held = lease.holder_of(connection, TABLES)
        assert held is not None
        expires_at = held[1]
        assert expires_at > NOW + timedelta(seconds=60 + 10 * len(others))
        others.append(rolled.another_job().run(expires_at - timedelta(seconds=1)))

    with mock.patch("time.monotonic", side_effect=itertools.count(0, 10)):
        assert rolled.job.run(NOW, progress=another) is not None
    assert set(others) == {None}


@every_shape
def test_killed_prune_goes_on_and_late_rows_do_not_stop_it(url: str, rolled: Rolled) -> None:
    if url.partition("?")[0].endswith("_partitioned"):
        pytest.skip("partitions are dropped: see test_partitions")
    rolled.insert([at(3, size=number) for number in range(20)] + [at(20)])
    rolled.job.run(NOW)
    pruning = rolled.job_with(raw=timedelta(days=10))
    with mock.patch.object(bounds, "DELETED_A_TIME", 5), killed_at(rolled.engine, 9):
        pruning.prune(NOW)
    left = raw_rows(rolled)
    assert 1 < left < 21
    rolled.insert([at(4)])
    later = NOW + timedelta(minutes=2)
    pruning.run(later)  # which finds the late row
    pruning.run(later)
    assert (raw_rows(rolled), hits(rolled, 3), hits(rolled, 4)) == (1, 20, 1)
    with pytest.raises(RollupError, match="later --from"):
        pruning.rebuild(datetime(2026, 11, 3), datetime(2026, 11, 4), later, progress=lambda day: None)
    assert rolled.job.differences(datetime(2026, 1, 1), NOW) == {}


def test_months_keep_more_values_than_days(url: str) -> None:
    rolled = Rolled(url, most_values=2)
    rolled.insert([of_october(day, path=f"/{day}") for day in range(1, 20)])
    rolled.job.run(NOW)
    with rolled.rollups() as queries:
        span = Span(datetime(2026, 10, 1), datetime(2026, 11, 1), rolled.zone)
        assert queries.breakdown("path", span, Filters()).total == 19
    rolled.close()


def test_rebuild_of_today_leaves_it_open(rolled: Rolled) -> None:
    rolled.insert([at(22, 10), at(21)])
    rolled.job.run(NOW)
    rolled.job.rebuild(datetime(2026, 11, 21), datetime(2026, 11, 30), NOW, progress=lambda day: None)
    rolled.insert([{**at(22), "date": NOW + timedelta(seconds=30)}])
    assert hits(rolled, 22) == 2
    rolled.job.run(NOW + timedelta(minutes=1))
    assert hits(rolled, 22) == 2
    assert ("day", datetime(2026, 11, 22), True) not in units(rolled)


@pytest.mark.parametrize("transaction", range(6))
def test_killed_run_counts_nothing_twice(rolled: Rolled, transaction: int) -> None:
    rolled.insert([at(22, 9), at(22, 13)])
    rolled.job.run(NOW)
    rolled.insert([at(22, 13), {**at(22), "date": NOW + timedelta(seconds=10)}])
    with killed_at(rolled.engine, transaction):
        rolled.another_job().run(NOW + timedelta(minutes=2))
    assert hits(rolled, 22) in (3, 4), "the one that came late is known when its hour is built again"
    rolled.another_job().run(NOW + timedelta(minutes=4))
    assert hits(rolled, 22) == 4


def test_dimension_that_came_later_is_built_from_raw_rows(rolled: Rolled) -> None:
    few = replace(rolled.source, dimensions={n: d for n, d in DIMENSIONS.items() if n not in ("method", "referrer")})
    rolled.insert([of_october(5, referrer="https://a.example/"), at(20, method="POST"), at(22, 10, method="GET")])
    job.Job(rolled.engine, TABLES, few).run(NOW)
    rolled.insert([{**at(22, method="GET"), "date": NOW}])
    rolled.job.run(NOW + timedelta(minutes=1))
    span = Span(datetime(2026, 10, 1), datetime(2026, 12, 1), rolled.zone)
    with rolled.rollups() as queries:
        found = queries.breakdown("method", span, Filters())
        assert {row.value: row.measures.hits for row in found.rows} == {"GET": 3, "POST": 1}
        assert queries.summary(span, read_filters([("method", "GET")], DIMENSIONS)[0]).hits == 3
        assert queries.breakdown("referrer", span, Filters()).hits == 4
