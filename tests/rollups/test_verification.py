"""`verify` finds whatever is changed in any rollup table or in raw rows, names it, and `repair` makes it right again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import sqlalchemy as sa

from flask_statistics.rollups import closing, scrubbing
from flask_statistics.rollups.verification import Found

from ..rollup_bench import RAW, TABLES, Rolled

NOW = datetime(2026, 11, 12, 15, 30)
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
SEGMENT, ROLLUP, SETS, WAITS, INDEX, VALUE, VISITOR = (
    TABLES.segment,
    TABLES.rollup,
    TABLES.sets,
    TABLES.waits,
    TABLES.index,
    TABLES.value,
    TABLES.visitor,
)


def rows() -> Iterator[dict[str, Any]]:
    """Of August, whose days are joined, of October, whose days are measured together, and of the days up to now."""
    starts = [datetime(2026, 8, 3, 4), datetime(2026, 8, 20, 22), datetime(2026, 10, 3), NOW - 3 * DAY, NOW - 4 * HOUR]
    for number in range(60):
        for start in starts:
            yield {
                "date": start + number * 4 * MINUTE,
                "path": f"/{number % 7}",
                "browser": ("chrome 1", "firefox 2")[number % 2],
                "status_code": (200, 404, 500)[number % 3],
                "device": ("desktop", "bot", "mobile")[number % 3],
                "remote_address": f"192.0.2.{number % 11}",
                "size": 100 + number,
                "response_time": number / 100,
                "referrer": f"https://{number % 5}.example/",
                "db_time": number / 1000,
                "db_queries": number % 30 or None,
            }


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that is rolled up, for each test to copy."""
    file = tmp_path_factory.mktemp("verify") / "app.sqlite"
    rolled = Rolled(f"sqlite:///{file}")
    recorded = sorted(rows(), key=lambda row: row["date"])
    rolled.insert(row for row in recorded if row["date"] < NOW - 20 * MINUTE)
    rolled.job.run(NOW - 20 * MINUTE)
    rolled.insert(row for row in recorded if row["date"] >= NOW - 20 * MINUTE)
    rolled.job.run(NOW)
    rolled.close()
    return file


@pytest.fixture
def rolled(tmp_path: Path, file: Path) -> Iterator[Rolled]:
    rolled = Rolled(f"sqlite:///{shutil.copy(file, tmp_path / 'app.sqlite')}", empty=False)
    yield rolled
    rolled.close()


def verify(rolled: Rolled) -> Found:
    return rolled.another_job().verify()


def ids(connection: sa.Connection, unit: str, *, detailed: bool = True) -> list[int]:
    where = (SEGMENT.c.unit == unit, SEGMENT.c.detailed == detailed)
    return list(connection.scalars(sa.select(SEGMENT.c.id).where(*where).order_by(SEGMENT.c.start)))


def change(connection: sa.Connection, table: sa.Table, *where: Any, **values: Any) -> None:
    assert connection.execute(sa.update(table).where(*where).values(**values)).rowcount > 0


def remove(connection: sa.Connection, table: sa.Table, *where: Any) -> None:
    assert connection.execute(sa.delete(table).where(*where)).rowcount > 0


def copy(connection: sa.Connection, table: sa.Table, *where: Any, **values: Any) -> None:
    for row in connection.execute(sa.select(table).where(*where)).mappings().all():
        connection.execute(sa.insert(table).values({**row, **values}))


def swap(connection: sa.Connection, table: sa.Table, column: str, one: Any, other: Any) -> None:
    first, second = (connection.scalar(sa.select(table.c[column]).where(where)) for where in (one, other))
    assert first != second
    change(connection, table, one, **{column: b"" if isinstance(first, bytes) else -1})
    change(connection, table, other, **{column: first})
    change(connection, table, one, **{column: second})


def blob(connection: sa.Connection, number: int, part: str) -> bytes:
    content = connection.scalar(sa.select(INDEX.c.content).where(INDEX.c.segment_id == number, INDEX.c.part == part))
    assert isinstance(content, bytes)
    return content


def of(number: int, part: str) -> sa.ColumnElement[bool]:
    return sa.and_(INDEX.c.segment_id == number, INDEX.c.part == part)


Mutation = Callable[[sa.Connection], None]
MUTATIONS: dict[str, Mutation] = {
    "all segments": lambda c: remove(c, SEGMENT),
    "a day": lambda c: remove(c, SEGMENT, SEGMENT.c.id == ids(c, "day")[0]),
    "a joined month": lambda c: remove(c, SEGMENT, SEGMENT.c.id == ids(c, "month")[0]),
    "a measured month": lambda c: remove(c, SEGMENT, SEGMENT.c.id == ids(c, "month", detailed=False)[0]),
    "a day of a joined month": lambda c: remove(c, SEGMENT, SEGMENT.c.id == ids(c, "day", detailed=False)[0]),
    "an hour": lambda c: remove(c, SEGMENT, SEGMENT.c.id == ids(c, "hour")[0]),
    "a piece": lambda c: remove(c, SEGMENT, SEGMENT.c.id == ids(c, "piece")[0]),
    "hits of a segment": lambda c: change(c, SEGMENT, SEGMENT.c.id == ids(c, "day")[0], hits=SEGMENT.c.hits + 1),
    "audience swapped": lambda c: swap(
        c, SEGMENT, "audience", SEGMENT.c.id == ids(c, "day")[0], SEGMENT.c.id == ids(c, "day")[1]
    ),
    "what answers": lambda c: change(c, SEGMENT, SEGMENT.c.id == ids(c, "day")[0], detailed=False),
    "a segment doubled": lambda c: copy(
        c, SEGMENT, SEGMENT.c.id == ids(c, "day")[0], id=9_999, start=NOW.replace(hour=0, minute=0) - DAY
    ),
    "hits of all": lambda c: change(
        c, ROLLUP, ROLLUP.c.segment_id == ids(c, "day")[0], ROLLUP.c.dimension_id == 0, hits=1
    ),
    "errors of a value": lambda c: change(
        c, ROLLUP, ROLLUP.c.segment_id.in_(ids(c, "month")), ROLLUP.c.client_errors > 0, client_errors=0
    ),
    "bytes of a value": lambda c: change(c, ROLLUP, ROLLUP.c.segment_id == ids(c, "hour")[0], size=ROLLUP.c.size + 1),
    "last of a value": lambda c: change(c, ROLLUP, ROLLUP.c.segment_id == ids(c, "day")[0], last=NOW),
    "visitors of a value": lambda c: change(c, ROLLUP, ROLLUP.c.segment_id == ids(c, "day")[0], visitors=99),
    "measures of a piece": lambda c: change(c, ROLLUP, ROLLUP.c.segment_id == ids(c, "piece")[0], timed=0),
    "a value's measures": lambda c: remove(
        c, ROLLUP, ROLLUP.c.segment_id == ids(c, "month", detailed=False)[0], ROLLUP.c.dimension_id == 3
    ),
    "measures of nobody": lambda c: copy(c, ROLLUP, ROLLUP.c.segment_id == ids(c, "day")[0], segment_id=8_888),
    "a set": lambda c: remove(c, SETS, SETS.c.segment_id == ids(c, "day")[0], SETS.c.dimension_id == 0),
    "a set cut": lambda c: change(c, SETS, SETS.c.segment_id == ids(c, "month")[0], visitors=b"\1\2B"),
    "a histogram": lambda c: change(c, SETS, SETS.c.segment_id == ids(c, "hour")[0], latency=b"\1\0\1B"),
    "a wait": lambda c: remove(c, WAITS, WAITS.c.segment_id == ids(c, "day")[0], WAITS.c.wait == "db_time"),
    "waits of a value": lambda c: change(c, WAITS, WAITS.c.segment_id == ids(c, "month")[0], total=WAITS.c.total + 1),
    "a wait's histogram": lambda c: change(c, WAITS, WAITS.c.segment_id == ids(c, "hour")[0], bins=b"\1\0\1B"),
    "waits of nobody": lambda c: copy(c, WAITS, WAITS.c.segment_id == ids(c, "day")[0], segment_id=8_888),
    "a wait's column": lambda c: remove(c, INDEX, of(ids(c, "day")[0], ":db_queries")),
    "a wait's column cut": lambda c: change(
        c, INDEX, of(ids(c, "day")[0], ":db_time"), content=blob(c, ids(c, "day")[0], ":db_time")[1:]
    ),
    "a column": lambda c: remove(c, INDEX, of(ids(c, "day")[0], ":sizes")),
    "keys": lambda c: remove(c, INDEX, of(ids(c, "day")[0], ":keys")),
    "an index": lambda c: remove(c, INDEX, of(ids(c, "month")[0], "browser")),
    "a column cut": lambda c: change(
        c, INDEX, of(ids(c, "day")[0], ":times"), content=blob(c, ids(c, "day")[0], ":times")[2:]
    ),
    "an index cut": lambda c: change(
        c, INDEX, of(ids(c, "day")[0], "browser"), content=blob(c, ids(c, "day")[0], "browser")[:-4]
    ),
    "columns swapped": lambda c: swap(
        c, INDEX, "content", of(ids(c, "month")[0], ":sizes"), of(ids(c, "month")[0], ":visitors")
    ),
    "a bit of a column": lambda c: change(
        c, INDEX, of(ids(c, "day")[0], ":visitors"), content=b"\1" + blob(c, ids(c, "day")[0], ":visitors")[1:]
    ),
    "a piece's contents": lambda c: change(
        c, INDEX, of(ids(c, "piece")[0], ":all"), content=blob(c, ids(c, "piece")[0], ":all")[:-9]
    ),
    "a note": lambda c: remove(c, TABLES.hour, TABLES.hour.c.start == datetime(2026, 10, 3)),
    "notes changed": lambda c: change(c, TABLES.hour, raw_rows=TABLES.hour.c.raw_rows + 1),
    "a value": lambda c: remove(c, VALUE, VALUE.c.text == "/3"),
    "a text": lambda c: change(c, VALUE, VALUE.c.text == "/3", text="/4"),
    "texts swapped": lambda c: swap(c, VALUE, "text", VALUE.c.text == "/3", VALUE.c.text == "/4"),
    "a visitor": lambda c: remove(c, VISITOR, VISITOR.c.id == 3),
    "visitors swapped": lambda c: swap(c, VISITOR, "hash", VISITOR.c.id == 3, VISITOR.c.id == 4),
    "dimensions swapped": lambda c: swap(
        c, TABLES.dimension, "id", TABLES.dimension.c.name == "browser", TABLES.dimension.c.name == "platform"
    ),
    "covered from": lambda c: change(c, TABLES.meta, TABLES.meta.c.name == "covered_from", text=NOW.isoformat()),
    "covered until": lambda c: change(
        c, TABLES.meta, TABLES.meta.c.name == "covered_until", text=(NOW - DAY).isoformat()
    ),
    "a raw row deleted": lambda c: remove(c, RAW.table, RAW.table.c.date == datetime(2026, 8, 3, 4)),
    "raw rows edited": lambda c: change(c, RAW.table, RAW.table.c.date < NOW - 5 * DAY, status_code=500),
    "a raw time edited": lambda c: change(c, RAW.table, RAW.table.c.date == datetime(2026, 10, 3), response_time=9.0),
    "a raw wait edited": lambda c: change(c, RAW.table, RAW.table.c.date == datetime(2026, 10, 3), db_queries=9),
    "a raw row added": lambda c: copy(c, RAW.table, RAW.table.c.date == datetime(2026, 10, 3), index=9_999),
}
UNREPAIRED = {"covered until"}


def test_verify_agrees_with_what_the_job_made(rolled: Rolled) -> None:
    found = verify(rolled)
    assert (found.differences, found.requests, found.frozen) == ([], 300, 0)
    with rolled.engine.begin() as connection:
        connection.execute(sa.delete(RAW.table).where(RAW.table.c.date < NOW - 5 * DAY))
    found = verify(rolled)
    assert (found.differences, found.frozen) == ([], 2)


@pytest.mark.parametrize("name", MUTATIONS)
def test_verify_finds_and_repairs(rolled: Rolled, name: str) -> None:
    before = rolled.content()
    with rolled.engine.begin() as connection:
        MUTATIONS[name](connection)
    found = verify(rolled)
    assert found.differences != [], name
    job = rolled.another_job()
    assert job.repair(found.differences, NOW + MINUTE) is not None
    job.run(NOW + MINUTE)
    assert [one.says for one in verify(rolled).differences] == []
    if not name.startswith("a raw") and name not in ("a value", "a visitor", "raw rows edited", "visitors swapped"):
        assert rolled.content()["hours"] == before["hours"]


@pytest.mark.parametrize(
    "name", ["hits of all", "a set cut", "a wait", "a day of a joined month", "a value's measures"]
)
def test_frozen_periods_are_repaired_from_their_contents(rolled: Rolled, name: str) -> None:
    before = rolled.content()
    with rolled.engine.begin() as connection:
        connection.execute(sa.delete(RAW.table).where(RAW.table.c.date < NOW - 2 * DAY))
        MUTATIONS[name](connection)
    found = verify(rolled)
    assert found.differences != []
    job = rolled.another_job()
    job.repair(found.differences, NOW + MINUTE)
    assert verify(rolled).differences == []
    assert rolled.content() == before


def test_frozen_contents_that_are_damaged_are_kept_and_named(rolled: Rolled) -> None:
    with rolled.engine.begin() as connection:
        connection.execute(sa.delete(RAW.table).where(RAW.table.c.date < NOW - 2 * DAY))
        MUTATIONS["a column cut"](connection)
    found = verify(rolled)
    rolled.another_job().repair(found.differences, NOW + MINUTE)
    (left,) = [one for one in verify(rolled).differences if "contents" in one.says]
    assert left.says == "the contents of the day are not whole (times)"


def test_merge_of_a_damaged_day_builds_it_again(rolled: Rolled, monkeypatch: pytest.MonkeyPatch) -> None:
    with rolled.engine.begin() as connection:
        MUTATIONS["a column cut"](connection)
    monkeypatch.setattr(closing, "JOINED_AFTER", 3 * DAY)
    for number in range(3):
        rolled.another_job().run(NOW + number * MINUTE)
    assert verify(rolled).differences == []


def test_scrubbing_goes_on_soon_after_the_machine_was_halted_in_its_midst(rolled: Rolled) -> None:
    rolled.insert([{"date": NOW - timedelta(days=days), "path": "/"} for days in (4, 3, 2)])
    rolled.job.run(NOW)
    rolled.job.scrub(NOW)
    instants = iter((0.0, 36_000.0))
    with mock.patch.object(scrubbing, "time", SimpleNamespace(perf_counter=lambda: next(instants))):
        halted = rolled.job.scrub(NOW + timedelta(hours=1))
    again = rolled.job.scrub(NOW + timedelta(hours=2))
    assert halted is not None
    assert again is not None
    assert halted.until is not None
    assert again.until is not None
    assert halted.until < again.until
