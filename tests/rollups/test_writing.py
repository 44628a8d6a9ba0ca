"""Rollups are never replaced by less, whatever a clock, a row or another runner says."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event, Thread, current_thread
from typing import Any
from unittest import mock

import pytest
import sqlalchemy as sa

from flask_statistics import databases
from flask_statistics.databases import sqlite
from flask_statistics.filters import Filters
from flask_statistics.rollups import lease, numbering, source, writing
from flask_statistics.rollups.meta import RollupError, coverage, note_late
from flask_statistics.rollups.retention import Retention
from flask_statistics.spans import Span

from ..conftest import DATABASES
from ..rollup_bench import RAW, TABLES, Rolled, killed_at

NOW = datetime(2026, 11, 12, 15, 30)
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
BUSY_S = 2.0
"""How much longer a busy machine may take."""


@pytest.fixture(scope="module", params=DATABASES)
def url(request: pytest.FixtureRequest, new_database: Any) -> Iterator[str]:
    with new_database(request.param) as url:
        yield url


@pytest.fixture
def rolled(url: str) -> Iterator[Rolled]:
    rolled = Rolled(url)
    yield rolled
    rolled.close()


sqlite_only = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


def put(rolled: Rolled, *dates: datetime | None) -> None:
    rolled.insert({"date": date, "path": "/", "remote_address": "192.0.2.1", "status_code": 200} for date in dates)


def hits(rolled: Rolled, *, of: str | None = None) -> int:
    chosen = Filters() if of is None else Filters().and_("path", of).and_("status_code", "200")
    with rolled.rollups() as queries:
        return queries.summary(Span(datetime(2000, 1, 1), datetime(2100, 1, 1), rolled.zone), chosen).hits


def delete_raw(rolled: Rolled, *where: sa.ColumnElement[bool]) -> None:
    with rolled.engine.begin() as connection:
        connection.execute(sa.delete(RAW.table).where(*where))


# ---- clocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "leap",
    [timedelta(seconds=1), timedelta(hours=3), DAY, 40 * DAY, 3650 * DAY, -timedelta(seconds=1), -DAY, -400 * DAY],
    ids=str,
)
def test_clock_that_leaps_changes_no_number(rolled: Rolled, leap: timedelta) -> None:
    put(rolled, *(NOW - MINUTE * number for number in range(600)))
    rolled.job.run(NOW)
    rolled.job.run(NOW + leap)
    put(rolled, *(NOW + MINUTE * number for number in range(60)))
    for later in (timedelta(hours=1), timedelta(hours=2), DAY + timedelta(hours=3)):
        rolled.another_job().run(NOW + later)
        assert (hits(rolled), hits(rolled, of="/")) == (660, 660)
    assert rolled.job.differences(datetime(2000, 1, 1), datetime(2100, 1, 1)) == {}


@sqlite_only
def test_rows_of_a_clock_that_was_ahead_change_no_others(rolled: Rolled) -> None:
    future = NOW + 3650 * DAY
    put(rolled, *(NOW - MINUTE * number for number in range(100)), future)
    rolled.job.run(future + MINUTE)
    for number in range(1, 5):  # the clock is right again
        put(rolled, NOW + number * MINUTE)
        rolled.job.run(NOW + (number + 1) * MINUTE)
        assert (hits(rolled), hits(rolled, of="/")) == (101 + number, 101 + number)
    put(rolled, NOW + DAY)
    rolled.job.run(NOW + DAY + MINUTE)
    assert hits(rolled, of="/") == 106


@pytest.mark.parametrize("edge", [datetime(2026, 11, 13), datetime(2026, 12, 1), datetime(2027, 1, 1)], ids=str)
def test_two_runners_seconds_apart_at_midnight(rolled: Rolled, edge: datetime) -> None:
    put(rolled, *(edge - MINUTE * number for number in range(1, 500)))
    rolled.job.run(edge + timedelta(seconds=2))
    put(rolled, edge - timedelta(seconds=3), edge + timedelta(seconds=1))
    for _ in range(2):
        rolled.another_job().run(edge - timedelta(seconds=2))
        rolled.another_job().run(edge + timedelta(seconds=5))
    put(rolled, edge - timedelta(seconds=30))
    rolled.another_job().run(edge - timedelta(seconds=1))
    rolled.another_job().run(edge + timedelta(seconds=8))
    assert (hits(rolled), hits(rolled, of="/")) == (502, 502)


@sqlite_only
def test_leap_deletes_no_raw_rows_that_are_not_old(url: str) -> None:
    rolled = Rolled(url, raw=30 * DAY)
    put(rolled, *(NOW - number * DAY for number in range(60)))
    rolled.job.run(NOW)
    for number in range(20):
        rolled.job.run(NOW + 3650 * DAY + number * MINUTE)
    put(rolled, NOW + MINUTE)
    rolled.job.run(NOW + 2 * MINUTE)
    with rolled.engine.connect() as connection:
        left = connection.scalar(sa.select(sa.func.count()).select_from(RAW.table)) or 0
    assert left >= 29
    assert hits(rolled) == 61
    rolled.close()


@sqlite_only
def test_first_run_of_a_clock_that_was_ahead(rolled: Rolled) -> None:
    rolled.job.run(NOW + 3650 * DAY)
    put(rolled, NOW - MINUTE, NOW - 3 * DAY)
    rolled.job.run(NOW)
    put(rolled, NOW + MINUTE)
    rolled.job.run(NOW + 2 * MINUTE)
    assert hits(rolled) == 3


@pytest.mark.parametrize("ahead", [timedelta(hours=1), 365 * DAY], ids=str)
def test_lease_of_a_clock_that_was_ahead_is_void(rolled: Rolled, ahead: timedelta) -> None:
    assert lease.acquire(rolled.engine, TABLES, holder="dead", now=NOW + ahead, length=timedelta(seconds=45))
    rolled.job.lease_length = timedelta(seconds=45)
    assert rolled.job.run(NOW) is not None


# ---- less ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["postgresql", "mariadb"], indirect=True)
def test_runner_that_stands_still_with_locks_in_its_hands_delays_the_next_one(rolled: Rolled) -> None:
    put(rolled, *(NOW - day * DAY for day in range(5)))
    interval = timedelta(seconds=1)
    rolled.job.lease_length = interval
    stands, goes_on = Event(), Event()

    def stand_still(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO statistics_segment") and current_thread().name == "frozen":
            stands.set()
            assert goes_on.wait(60)

    def frozen() -> None:
        with pytest.raises((sa.exc.DBAPIError, RollupError)):
            rolled.job.run(NOW)

    sa.event.listen(rolled.engine, "before_cursor_execute", stand_still)
    thread = Thread(target=frozen, name="frozen")
    thread.start()
    try:
        assert stands.wait(60)
        began = time.monotonic()
        while (report := rolled.another_job().run(NOW + timedelta(seconds=time.monotonic() - began))) is None:
            assert time.monotonic() - began < 60, "nobody takes over"
        took = time.monotonic() - began
    finally:
        goes_on.set()
        thread.join()
        sa.event.remove(rolled.engine, "before_cursor_execute", stand_still)
    assert report.complete
    assert took < 2 * interval.total_seconds() + BUSY_S
    assert hits(rolled) == 5
    assert rolled.another_job().verify().differences == []


@sqlite_only
def test_hours_beside_a_day_do_not_replace_it(rolled: Rolled) -> None:
    put(rolled, *(NOW - DAY - MINUTE * number for number in range(300)), NOW)
    rolled.job.run(NOW + MINUTE)
    segment = TABLES.segment
    with rolled.engine.begin() as connection:  # as an older version left them
        row = connection.execute(sa.select(segment).where(segment.c.unit == "day")).mappings().one()
        hour = {**row, "id": 9_999, "unit": "hour", "end": row["start"] + timedelta(hours=1), "hits": 1}
        connection.execute(sa.insert(segment).values(hour))
    rolled.job.run(NOW + 2 * MINUTE)
    assert (hits(rolled), hits(rolled, of="/")) == (301, 301)


def test_deleted_raw_rows_of_long_ago_are_kept_and_said(rolled: Rolled) -> None:
    put(rolled, datetime(1990, 1, 1), *(NOW - 20 * DAY + MINUTE * number for number in range(50)), NOW)
    rolled.job.run(NOW + MINUTE)
    before = hits(rolled)
    delete_raw(rolled, RAW.table.c.date > NOW - 30 * DAY, RAW.table.c.date < NOW - 10 * DAY)
    put(rolled, NOW - 40 * DAY)  # an old log, say
    with rolled.engine.begin() as connection:
        note_late(connection, TABLES, NOW - 40 * DAY)
    report = rolled.job.run(NOW + 2 * MINUTE)
    assert report is not None
    assert hits(rolled) == before + 1
    assert sorted(report.kept) == [datetime(2026, 10, 23, 15), datetime(2026, 10, 23, 16)]
    assert "30 requests are rolled up, and only 0 raw rows are left" in report.kept[datetime(2026, 10, 23, 15)]


@sqlite_only
@pytest.mark.parametrize("transaction", range(0, 40, 3))
def test_killed_merges_lose_nothing(rolled: Rolled, transaction: int) -> None:
    put(rolled, *(NOW - timedelta(hours=number) for number in range(60)))
    rolled.job.run(NOW)
    put(rolled, NOW + DAY)
    with killed_at(rolled.engine, transaction):
        rolled.job.run(NOW + DAY + MINUTE)
    assert (hits(rolled), hits(rolled, of="/")) == (61, 61)
    rolled.another_job().run(NOW + DAY + 5 * MINUTE)
    assert (hits(rolled), hits(rolled, of="/")) == (61, 61)
    with rolled.engine.connect() as connection:
        named = set(connection.scalars(sa.select(TABLES.segment.c.id)))
        for table in (TABLES.rollup, TABLES.sets, TABLES.index):
            assert set(connection.scalars(sa.select(table.c.segment_id))) <= named, table


@pytest.fixture
def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """All changes are large ones."""
    monkeypatch.setattr(writing, "AT_ONCE", 0)
    monkeypatch.setattr(writing, "BYTES_AT_ONCE", 2_000)
    monkeypatch.setattr(writing, "NUMBERS_AT_ONCE", 3)
    monkeypatch.setattr(sqlite, "LEAST_PAUSE_S", 0.0)


def test_large_changes_are_what_small_ones_are(rolled: Rolled, request: pytest.FixtureRequest) -> None:
    days = (0, 1, 2, 20, 21, 40, 41, 75, 76, 77, 86)  # of the present month, one of days, and one that is merged
    put(rolled, *(NOW - day * DAY - timedelta(hours=2 * number) for day in days for number in range(8)))
    rolled.job.run(NOW)
    small = rolled.content()
    request.getfixturevalue("in_pieces")
    rolled.job.remake(NOW, progress=lambda day: None)
    assert rolled.content() == small
    rolled.job.rebuild(NOW - 90 * DAY, NOW, NOW, progress=lambda day: None)
    assert rolled.content() == small
    assert rolled.job.verify().differences == []


@sqlite_only
@pytest.mark.parametrize("transaction", [3, 7, 20, 33, 47, 60, 90, 140])
def test_killed_large_changes_lose_nothing(rolled: Rolled, transaction: int, in_pieces: None) -> None:
    put(rolled, *(NOW - timedelta(hours=number) for number in range(60)))
    rolled.job.run(NOW)
    put(rolled, NOW + DAY, NOW - DAY)
    with killed_at(rolled.engine, transaction):
        rolled.job.run(NOW + DAY + MINUTE)
    assert hits(rolled) in (61, 62), "the late one is known when its day is built again"
    rolled.another_job().run(NOW + DAY + 5 * MINUTE)
    assert (hits(rolled), hits(rolled, of="/")) == (62, 62)
    assert rolled.another_job().verify().differences == []


@sqlite_only
@pytest.mark.parametrize("transaction", [3, 5, 9, 14, 20])
def test_killed_remake_answers_nothing_and_can_be_repeated(rolled: Rolled, transaction: int, in_pieces: None) -> None:
    put(rolled, *(NOW - timedelta(hours=7 * number) for number in range(60)))
    rolled.job.run(NOW)
    with killed_at(rolled.engine, transaction):
        rolled.job.remake(NOW, progress=lambda day: None)
    with rolled.engine.connect() as connection:
        assert coverage(connection, TABLES).end is None, "something half deleted answers"
    later = NOW + timedelta(hours=1)  # its lease is over
    job = rolled.another_job()
    for again in (job.run, job.remake):
        assert again(later, progress=lambda day: None) is not None
        assert (hits(rolled), hits(rolled, of="/")) == (60, 60)
        assert rolled.another_job().verify().differences == []


@sqlite_only
def test_reading_keeps_no_writer_waiting(rolled: Rolled, monkeypatch: pytest.MonkeyPatch, in_pieces: None) -> None:
    monkeypatch.setattr(source, "BATCH", 10)
    put(rolled, *(NOW - DAY + number * MINUTE for number in range(200)), NOW)
    waited: list[float] = []

    def write(*_: Any) -> None:  # as the host does, in the middle of a build
        began = time.perf_counter()
        with sqlite3.connect(rolled.engine.url.database or "", timeout=0.2) as other:
            other.execute("CREATE TABLE IF NOT EXISTS host (n INTEGER)")
            other.execute("INSERT INTO host VALUES (1)")
        other.close()
        waited.append(time.perf_counter() - began)

    def after_writing(*arguments: Any, **options: Any) -> Any:
        write()
        return numbering.numbered(*arguments, **options)

    with mock.patch.object(source, "numbered", after_writing):
        rolled.job.run(NOW + MINUTE)
    assert len(waited) >= 20
    assert hits(rolled) == 201


# ---- dates -----------------------------------------------------------------------------------------------------------

IMPOSSIBLE = [
    datetime(1, 1, 1),
    datetime(1, 1, 1, 12),
    datetime(1, 1, 2),
    datetime(1899, 12, 31),
    datetime(2201, 1, 1),
    datetime(9999, 12, 30, 23),
    datetime(9999, 12, 31, 23, 59, 59, 999_999),
]


@sqlite_only
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kathmandu", "Pacific/Kiritimati"])
def test_dates_that_cannot_be_break_nothing(url: str, zone: str) -> None:
    rolled = Rolled(url, zone, raw=3650 * DAY)
    put(rolled, *(NOW - MINUTE * number for number in range(600)), None, *IMPOSSIBLE)
    for later in (timedelta(), MINUTE, DAY):
        assert rolled.job.run(NOW + later) is not None
        assert hits(rolled) == 600
    assert rolled.job.differences(datetime(1, 1, 1), datetime(9999, 12, 31)) == {}
    rolled.job.rebuild(datetime(1990, 1, 1), NOW, NOW + DAY, progress=lambda day: None)
    with rolled.engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(RAW.table)) == 608
    with rolled.rollups() as queries, rolled.raw() as raw:
        assert raw.earliest() == NOW - 599 * MINUTE
        assert NOW - 660 * MINUTE < (queries.earliest() or NOW) <= NOW - 599 * MINUTE
    rolled.close()


# ---- pieces ----------------------------------------------------------------------------------------------------------


@sqlite_only
def test_present_hour_grows_in_pieces_that_are_not_changed(rolled: Rolled) -> None:
    hour = NOW.replace(minute=0)
    stored: dict[int, Any] = {}
    for minute in range(1, 60):
        put(rolled, hour + (minute - 1) * MINUTE + timedelta(seconds=10))
        rolled.another_job().run(hour + minute * MINUTE)
        with rolled.engine.connect() as connection:
            found = {row.id: tuple(row) for row in connection.execute(sa.select(TABLES.segment))}
        assert all(found.get(number, row) == row for number, row in stored.items())
        assert len(found) <= 24
        stored = found
    assert (hits(rolled), hits(rolled, of="/")) == (59, 59)
    put(rolled, hour + timedelta(seconds=5))  # late
    rolled.job.run(hour + 59 * MINUTE)
    assert hits(rolled, of="/") == 60
    put(rolled, hour + 61 * MINUTE)
    rolled.job.run(hour + 62 * MINUTE)
    with rolled.engine.connect() as connection:
        units = connection.scalars(sa.select(TABLES.segment.c.unit).order_by(TABLES.segment.c.start)).all()
    assert list(units) == ["hour", "piece"]


def test_retention_is_by_the_clock_where_it_does_not_leap(url: str) -> None:
    if url.partition("?")[0].endswith("_partitioned"):
        pytest.skip("partitions are dropped: see test_partitions")
    rolled = Rolled(url)
    put(rolled, NOW - 40 * DAY, NOW)
    rolled.job.retention = Retention(raw=30 * DAY)
    rolled.job.run(NOW + MINUTE)
    report = rolled.job.run(NOW + 14 * DAY)
    assert report is not None
    assert hits(rolled) == 2
    rolled.close()


def test_others_are_let_write_for_as_long_as_a_piece_took_but_not_for_hours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, paused = sa.create_engine(f"sqlite:///{tmp_path}/x.sqlite"), list[float]()
    monkeypatch.setattr(time, "sleep", paused.append)
    for seconds in (0.0, 0.5, 3_600.0):
        databases.of(engine).let_others_write(engine, after=seconds)
    assert paused == [sqlite.LEAST_PAUSE_S, 0.5, sqlite.LONGEST_PAUSE_S]
