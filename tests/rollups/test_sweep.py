"""What no segment names any more is deleted, and nobody can tell whose the numbers were whose raw rows are gone."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flask_statistics.filters import Filters
from flask_statistics.rollups import dictionary
from flask_statistics.rollups.dictionary import VISITOR_KEY, VISITOR_KEY_BEFORE
from flask_statistics.rollups.meta import read_meta
from flask_statistics.spans import Span

from ..conftest import App
from ..rollup_bench import TABLES, Rolled

NOW = datetime(2026, 11, 22, 14, 37)
ROLLED = {"STATISTICS_ROLLUPS": True, "STATISTICS_SCHEDULER": False}


@pytest.fixture
def rolled(database_url: str) -> Iterator[Rolled]:
    rolled = Rolled(database_url, most_values=10)
    yield rolled
    rolled.close()


def seen(date: datetime, number: int, **values: Any) -> dict[str, Any]:
    return {"date": date, "path": f"/{number}", "remote_address": f"192.0.2.{number}", "status_code": 200} | values


def texts(rolled: Rolled) -> set[str]:
    with rolled.engine.connect() as connection:
        return set(connection.scalars(sa.select(TABLES.value.c.text)))


def found(rolled: Rolled) -> set[str]:
    """The addresses that whoever has the rollup tables finds by trying all."""
    with rolled.engine.connect() as connection:
        meta = read_meta(connection, TABLES)
        hashes = set(connection.scalars(sa.select(TABLES.visitor.c.hash)))
    keys = [bytes.fromhex(meta[name]) for name in (VISITOR_KEY, VISITOR_KEY_BEFORE) if name in meta]
    tried = [f"192.0.2.{number}" for number in range(256)]
    return {address for address in tried for key in keys if dictionary.visitor_hash(address, key) in hashes}


def visitors(rolled: Rolled, start: datetime, end: datetime) -> tuple[int | None, int | None]:
    span = Span(start, end, rolled.zone)
    with rolled.rollups() as rollups, rolled.raw() as raw:
        return rollups.summary(span, Filters()).visitors, raw.summary(span, Filters()).visitors


def test_only_values_that_are_kept_are_numbered(rolled: Rolled) -> None:
    yesterday = NOW - timedelta(days=1)
    rolled.insert(
        seen(yesterday, number, path=f"/scan/{number}", status_code=404, remote_address="192.0.2.1")
        for number in range(200)
    )
    rolled.insert(seen(yesterday + timedelta(seconds=number), number % 8) for number in range(40))
    rolled.job.run(NOW)
    paths = {text for text in texts(rolled) if text.startswith("/")}
    assert len(paths) == 10
    assert {f"/{number}" for number in range(8)} <= paths


def test_values_that_no_segment_names_any_more_are_deleted(rolled: Rolled) -> None:
    today = NOW.replace(hour=9)
    rolled.insert(seen(today, number, path=f"/early/{number}") for number in range(10))
    rolled.job.run(NOW)
    rolled.insert(seen(today.replace(hour=11), number, path=f"/late/{number % 10}") for number in range(100))
    rolled.job.run(NOW)
    assert "/early/1" in texts(rolled)
    rolled.insert([seen(NOW + timedelta(days=1), 1, path="/late/1")])  # so the day is over
    rolled.job.run(NOW + timedelta(days=1, hours=1))
    assert {text for text in texts(rolled) if text.startswith("/")} == {f"/late/{number}" for number in range(10)}
    with rolled.rollups() as queries:
        rows = queries.breakdown("path", Span(today, NOW, rolled.zone), Filters()).rows
    assert {row.value: row.measures.hits for row in rows} == {f"/late/{n}": 10 for n in range(10)} | {"(other)": 10}


def test_addresses_are_not_found_once_their_raw_rows_are_gone(rolled: Rolled) -> None:
    job = rolled.job_with(raw=timedelta(days=30))
    start = NOW - timedelta(days=100)
    rolled.insert(seen(start + timedelta(days=day), day) for day in range(100))
    rolled.insert(seen(start + timedelta(days=day), 200) for day in range(0, 100, 10))
    job.run(NOW)
    assert found(rolled) == {f"192.0.2.{day}" for day in (*range(70, 100), 200)}
    with rolled.rollups() as queries:
        assert queries.summary(Span(start, NOW, rolled.zone), Filters()).visitors == 101
    in_rollups, in_raw = visitors(rolled, NOW - timedelta(days=30), NOW)
    assert in_rollups == in_raw == 31


def test_key_is_renewed_and_visitors_stay_the_same_while_raw_rows_are_there(rolled: Rolled) -> None:
    keys, start = set(), datetime(2026, 1, 1, 12)
    job = rolled.job_with(raw=timedelta(days=40))
    for day in range(0, 200, 4):
        now = start + timedelta(days=day)
        rolled.insert([seen(now, 1), seen(now, day)])
        job.run(now + timedelta(hours=1))
        with rolled.engine.connect() as connection:
            keys.add(read_meta(connection, TABLES)[VISITOR_KEY])
        if day % 20 == 0:
            in_rollups, in_raw = visitors(rolled, max(start, now - timedelta(days=39)), now + timedelta(hours=1))
            assert in_rollups == in_raw
    assert len(keys) >= 3
    with rolled.rollups() as queries:
        whole = queries.summary(Span(start, now + timedelta(hours=1), rolled.zone), Filters())
    assert whole.visitors == 51  # of days 0 to 196, and the one who always came
    assert {"192.0.2.1", "192.0.2.196"} <= found(rolled) <= {f"192.0.2.{day}" for day in (1, *range(150, 200))}


def test_forget_leaves_no_text_that_only_they_sent(
    make_app: Callable[..., App], database_url: str, tmp_path: Path
) -> None:
    app = make_app(database_url, **ROLLED)
    theirs, everybodys = f"/user/{secrets.token_hex(8)}", "/everybodys"
    known = {"method": "GET", "status_code": 200, "date": datetime(2026, 10, 3, 12), "referrer": None}
    host = f"{secrets.token_hex(8)}.example"
    for day in (
        datetime(2026, 3, 3, 4),
        datetime(2026, 10, 3, 12),
        datetime.now(timezone.utc).replace(tzinfo=None) - timedelta(hours=1),
    ):
        app.insert(
            known | {"date": day, "path": theirs, "remote_address": "192.0.2.1", "referrer": f"https://{host}/"},
            known | {"date": day, "path": everybodys, "remote_address": "192.0.2.1"},
            known | {"date": day, "path": everybodys, "remote_address": "192.0.2.2"},
        )
    command = app.flask.test_cli_runner().invoke
    assert command(args=["statistics", "rollup"]).exit_code == 0
    assert theirs in stored(app)
    done = command(args=["statistics", "forget", "192.0.2.1", "--yes"])
    assert done.exit_code == 0, done.output
    left = stored(app)
    assert everybodys in left
    assert theirs not in left
    assert host not in left
    assert "192.0.2.1" not in left
    assert command(args=["statistics", "verify"]).exit_code == 0
    assert {row["value"]: row["hits"] for row in app.json("breakdown/path?span=all")["rows"]} == {everybodys: 3}
    if database_url.startswith("sqlite"):
        content = Path(database_url.removeprefix("sqlite:///")).read_bytes()
        assert everybodys.encode() in content
        assert theirs.encode() not in content
        assert host.encode() not in content


def stored(app: App) -> str:
    """All that is in any table, as text."""
    with app.statistics_state().engine().connect() as connection:
        tables = [connection.execute(sa.select(table)).all() for table in app.db.metadata.sorted_tables]
    return repr(tables)
