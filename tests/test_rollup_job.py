"""The job: rebuild and never add, one runner at a time, retention, and what it refuses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from flask_statistics.filters import Filters
from flask_statistics.rollups import lease
from flask_statistics.rollups.job import Coverage, Retention, RollupError, coverage, write_meta
from flask_statistics.spans import Span

from .conftest import DATABASES
from .rollup_bench import TABLES, Rolled

NOW = datetime(2026, 11, 22, 14, 37)


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, new_database: Any) -> Iterator[str]:
    with new_database(request.param) as url:
        yield url


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


def units(rolled: Rolled) -> list[tuple[str, datetime, bool]]:
    segment = TABLES.segment.c
    with rolled.engine.connect() as connection:
        query = sa.select(segment.unit, segment.start, segment.detailed).order_by(segment.start, segment.unit)
        return [(row.unit, row.start, row.detailed) for row in connection.execute(query)]


def test_run_builds_hours_days_and_months(rolled: Rolled) -> None:
    rolled.insert([{**at(1), "date": datetime(2026, 10, 3, 4)}, at(20), at(22, 10)])
    rolled.job.run(NOW)
    assert units(rolled) == [
        ("month", datetime(2026, 10, 1), True),
        ("day", datetime(2026, 10, 3), False),
        ("day", datetime(2026, 11, 20), True),
        ("hour", datetime(2026, 11, 22, 10), True),
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
    rolled.job.run(NOW + timedelta(days=1))
    assert units(rolled) == [
        ("day", datetime(2026, 11, 22), True),
        ("hour", datetime(2026, 11, 22, 10), False),
        ("hour", datetime(2026, 11, 22, 11), False),
    ]


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
        assert coverage(connection, TABLES) == Coverage(datetime(2026, 11, 1), NOW)
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


def test_run_is_due_when_the_holder_of_the_lease_died(rolled: Rolled) -> None:
    rolled.job.run(NOW)
    lease.acquire(rolled.engine, TABLES, holder="dead", now=NOW, length=timedelta(seconds=3))
    assert rolled.job.is_due(NOW, interval=timedelta(minutes=1))


def test_lease_is_renewed_as_the_holder_works(rolled: Rolled) -> None:
    rolled.insert([at(day) for day in (19, 20, 21)])
    done: list[datetime] = []

    def progress(day: datetime) -> None:
        done.append(day)
        worked = timedelta(seconds=50 * len(done))
        assert rolled.another_job().run(NOW + worked - timedelta(seconds=1)) is None
        rolled.job._leased_at -= 50  # as if the next day took so long

    rolled.job.run(NOW, progress=progress)
    assert done == [datetime(2026, 11, day) for day in (21, 20, 19)]


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
        assert coverage(connection, TABLES).start == datetime(2026, 11, 21)
        assert lease.holder_of(connection, TABLES) == ("other", NOW + timedelta(hours=1, seconds=60))


def test_raw_rows_are_deleted_once_rolled_up(url: str) -> None:
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
    rolled.job.run(NOW + timedelta(days=3))
    assert units(rolled) == [("day", datetime(2026, 11, 22), True)]
    rolled.close()


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
    with pytest.raises(RollupError, match=r"raw rows before 2026-11-05 12:30 UTC are gone.*later --from"):
        rolled.job.rebuild(datetime(2026, 11, 3), datetime(2026, 11, 4), NOW, progress=lambda day: None)
    assert hits(rolled, 3) == 2


def test_rebuild_of_a_merged_month(rolled: Rolled) -> None:
    october = [{**at(1), "date": datetime(2026, 10, day, 12)} for day in (1, 15, 31)]
    rolled.insert([*october, at(22)])
    rolled.job.run(NOW)
    rolled.insert([{**at(1), "date": datetime(2026, 10, 15, 3), "path": "/late"}])
    rolled.job.rebuild(datetime(2026, 10, 15), datetime(2026, 10, 16), NOW, progress=lambda day: None)
    with rolled.rollups() as queries:
        span = Span(datetime(2026, 10, 1), datetime(2026, 11, 1), rolled.zone)
        late = Filters().and_("path", "/late")
        assert (queries.summary(span, Filters()).hits, queries.summary(span, late).hits) == (4, 1)
    assert [unit for unit, _, detailed in units(rolled) if detailed] == ["month", "hour"]


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
