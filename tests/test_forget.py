"""One visitor is erased: from the raw table, and from rollups as if the requests had never been, raw rows or none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_statistics.rollups import closing, forgetting

from .conftest import App
from .rollup_bench import RAW, Rolled

MakeApp = Callable[..., App]
NOW = datetime(2026, 3, 5, 12, 30)
THEM, OTHER = "192.0.2.1", "192.0.2.2"
OPTIONS = {"STATISTICS_ROLLUPS": True, "STATISTICS_SCHEDULER": False, "STATISTICS_TIMEZONE": "Europe/Berlin"}


def rows(addresses: list[str | None]) -> list[dict[str, Any]]:
    """Five weeks of requests, that go round `addresses`."""
    return [
        {
            "date": NOW - timedelta(minutes=311 * number + 7, seconds=number % 50),
            "path": f"/{number % 7}",
            "method": "POST" if number % 5 == 0 else "GET",
            "status_code": 500 if number % 11 == 0 else 404 if number % 9 == 0 else 200,
            "size": number * 3,
            "response_time": None if number % 8 == 0 else number / 1000,
            "browser": ("firefox 1", "chrome 1", None)[number % 3],
            "device": "bot" if number % 6 == 0 else "desktop",
            "referrer": None if number % 4 else f"https://r{number % 3}.example/",
            "remote_address": address,
            "db_time": None if number % 3 else number / 10_000,
            "http_calls": number % 4,
        }
        for number, address in zip(range(170), addresses * 170, strict=False)
    ]


def command(app: App, *arguments: str) -> Any:
    return app.flask.test_cli_runner().invoke(args=["statistics", *arguments])


def rolled_app(make_app: MakeApp, url: str | None, some: list[dict[str, Any]], **options: Any) -> App:
    app = make_app(url, **OPTIONS, **options)
    app.insert(*some)
    rollups = app.statistics_state().rollups
    assert rollups is not None
    rollups.job().run(NOW)
    return app


def answers(app: App) -> list[Any]:
    """What the API says, over whole months, days and hours, with filters and without."""
    found = []
    spans = ("start=2026-01-01&end=2026-03-31", "start=2026-03-03T05:00&end=2026-03-05T13:00")
    questions = ("summary?", "series?unit=day&", "breakdown/path?", "breakdown/browser?", "requests?")
    filters = ("", "&browser=firefox&device!=bot")
    for question, span, filtered in product(questions, spans, filters):
        answer = app.json(f"{question}{span}{filtered}")
        for row in answer.get("rows", []):
            row.pop("id", None)
            row.pop("index", None)
        found.append({name: value for name, value in answer.items() if name not in ("as_of", "before", "after")})
    found.append(app.json("series?unit=hour&start=2026-03-01&end=2026-03-05")["points"])
    return found


def test_forget_leaves_what_would_be_without_them(make_app: MakeApp, new_database: Any, database_url: str) -> None:
    some = rows([THEM, OTHER, None, THEM, "2001:db8::1"])
    app = rolled_app(make_app, database_url, some)
    result = command(app, "forget", THEM, "--yes")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[0] == "68 raw rows of 192.0.2.1."
    assert "68 raw rows deleted." in result.output
    assert "68 requests taken out of the rollups of " in result.output
    assert result.output.endswith("Counted again: nothing is left.\n")
    never = rolled_app(make_app, None, [row for row in some if row["remote_address"] != THEM])
    assert answers(app) == answers(never)
    assert command(app, "verify").exit_code == 0


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_forget_takes_and_finds_any_spelling(make_app: MakeApp, database_url: str, address: str) -> None:
    older = {
        "192.0.2.1": ["::ffff:192.0.2.1", "::ffff:c000:201", "192.0.2.1:50001", "[::FFFF:192.0.2.1]:443"],
        "2001:db8::1": ["2001:DB8::1", "2001:db8:0:0:0:0:0:1", "[2001:db8::1]:443"],
    }
    others = ["192.0.2.11", "192.0.2.1.example", "2001:db8::11", "2001:db8::1:1"]
    app = rolled_app(make_app, database_url, rows([address, *older[address], *others]))
    result = command(app, "forget", older[address][-1].lower(), "--yes")
    assert result.exit_code == 0, result.output
    left = {row.remote_address for row in app.rows()}
    assert left == set(others)
    assert app.json("summary?span=all")["visitors"] == len(others)


@pytest.mark.parametrize("text", ["nonsense", "", "%", "192.0.2", "' OR 1=1 --"])
def test_forget_refuses_what_is_no_address(make_app: MakeApp, text: str) -> None:
    app = make_app()
    app.insert(*rows([THEM]))
    result = command(app, "forget", text, "--yes")
    assert result.exit_code == 1
    assert "is no address, and nothing is stored under it; nothing was done." in result.output
    assert len(app.rows()) == 170


def test_forget_of_a_host_that_a_log_named(make_app: MakeApp) -> None:
    app = make_app()
    app.insert(*rows(["client.example", OTHER]))
    assert command(app, "forget", "client.example", "--yes").exit_code == 0
    assert {row.remote_address for row in app.rows()} == {OTHER}


def test_forget_corrects_rollups_whose_raw_rows_are_gone(make_app: MakeApp) -> None:
    some = rows([THEM, OTHER, None])
    app = rolled_app(make_app, None, some)
    never = rolled_app(make_app, None, [row for row in some if row["remote_address"] != THEM])
    for each in (app, never):
        with each.statistics_state().engine().begin() as connection:
            connection.execute(sa.delete(each.Request.__table__).where(each.Request.date < NOW - timedelta(days=1)))
    result = command(app, "forget", THEM, "--yes")
    assert result.exit_code == 0, result.output
    assert "57 requests taken out of the rollups of " in result.output
    assert answers(app) == answers(never)


def test_forget_corrects_months_that_are_not_joined(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "MOST_JOINED", 0)
    some = rows([THEM, OTHER, OTHER])
    app = rolled_app(make_app, None, some)
    assert command(app, "forget", THEM, "--yes").exit_code == 0
    never = rolled_app(make_app, None, [row for row in some if row["remote_address"] != THEM])
    assert answers(app) == answers(never)


def test_forget_of_the_first_visitor_freezes_nothing(make_app: MakeApp) -> None:
    app = rolled_app(make_app, None, [{"date": NOW - timedelta(days=100), "remote_address": THEM}, *rows([OTHER])])
    rollups = app.statistics_state().rollups
    assert rollups is not None
    assert command(app, "forget", THEM, "--yes").exit_code == 0
    with app.flask.app_context():
        assert not rollups.job().has_frozen()


def test_forget_that_leaves_something_finds_it_the_next_time(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = rolled_app(make_app, None, rows([THEM, OTHER]))
    with monkeypatch.context() as broken:
        broken.setattr(forgetting, "forget", lambda *_, later: 0)
        assert command(app, "forget", THEM, "--yes").exit_code == 1
    result = command(app, "forget", THEM, "--yes")
    assert result.exit_code == 0, result.output
    assert "0 requests taken out" not in result.output


def test_forget_twice_changes_nothing(make_app: MakeApp) -> None:
    app = rolled_app(make_app, None, rows([THEM, OTHER]))
    command(app, "forget", THEM, "--yes")
    before = answers(app)
    result = command(app, "forget", THEM, "--yes")
    assert "0 raw rows deleted." in result.output
    assert "0 requests taken out of the rollups of 0 periods." in result.output
    assert answers(app) == before


def test_forgotten_visitor_who_returns_is_a_new_one(make_app: MakeApp) -> None:
    app = rolled_app(make_app, None, rows([THEM, OTHER]))
    rollups = app.statistics_state().rollups
    assert rollups is not None
    scheduled = rollups.job()  # which remembers whom it numbered
    scheduled.run(NOW)
    command(app, "forget", THEM, "--yes")
    app.insert({"date": NOW + timedelta(minutes=1), "remote_address": THEM, "path": "/back"})
    scheduled.run(NOW + timedelta(hours=2))
    assert app.json("summary?start=2026-01-01&end=2026-03-31")["visitors"] == 2
    with app.statistics_state().engine().connect() as connection:
        ids = [row.id for row in connection.execute(sa.select(rollups.tables.visitor))]
    assert sorted(ids) == [3, 4]  # 2 was theirs before
    result = command(app, "forget", THEM, "--yes")
    assert "1 request taken out of the rollups of 1 period." in result.output


def test_forget_without_rollups(make_app: MakeApp, database_url: str) -> None:
    app = make_app(database_url)
    app.insert(*rows([THEM, OTHER]))
    result = command(app, "forget", THEM, "--yes")
    assert (result.exit_code, result.output) == (
        0,
        "85 raw rows of 192.0.2.1.\nErasing\n85 raw rows deleted.\nCounted again: nothing is left.\n",
    )
    assert {row.remote_address for row in app.rows()} == {OTHER}


@pytest.mark.parametrize(
    ("setting", "said"),
    [("truncate", "everybody in the same one"), ("hash", "Hashes are stored: those of earlier days")],
)
def test_forget_finds_what_is_stored_today(make_app: MakeApp, setting: str, said: str) -> None:
    app = make_app(STATISTICS_ANONYMIZE_IP=setting)
    for address in ("192.0.2.1", "198.51.100.1"):
        app.client.get("/", environ_overrides={"REMOTE_ADDR": address})
    app.insert({"date": NOW, "remote_address": "192.0.2.1"})  # from before the setting
    result = command(app, "forget", "192.0.2.1", "--yes")
    assert result.exit_code == 0
    assert "2 raw rows deleted." in result.output
    assert said in result.output
    assert len(app.rows()) == 1


@pytest.mark.parametrize("rolls", [False, True])
def test_forget_leaves_no_bytes_in_the_file(make_app: MakeApp, tmp_path: Path, rolls: bool) -> None:
    app = make_app(STATISTICS_ROLLUPS=rolls, STATISTICS_SCHEDULER=False)
    address = "203.0.113.249"
    app.insert(*rows([address, OTHER]))
    assert address.encode() in (tmp_path / "app0.sqlite").read_bytes()
    assert command(app, "forget", address, "--yes").exit_code == 0
    app.close()
    assert address.encode() not in (tmp_path / "app0.sqlite").read_bytes()


def test_forget_asks_first(make_app: MakeApp) -> None:
    app = make_app()
    app.insert({"date": NOW, "remote_address": THEM})
    assert command(app, "forget", THEM).exit_code == 1
    assert len(app.rows()) == 1


def test_forget_while_the_job_runs(make_app: MakeApp) -> None:
    app = rolled_app(make_app, None, rows([THEM]))
    rollups = app.statistics_state().rollups
    assert rollups is not None
    with rollups.engine().begin() as connection:
        lease = {
            "name": "rollup",
            "holder": "other",
            "expires_at": datetime.now(timezone.utc).replace(tzinfo=None) + timedelta(seconds=30),
        }
        connection.execute(sa.delete(rollups.tables.lease))
        connection.execute(sa.insert(rollups.tables.lease).values(lease))
    result = command(app, "forget", THEM, "--yes")
    assert (result.exit_code, len(app.rows())) == (1, 170)
    assert "Another process is at work on the rollups; nothing was forgotten." in result.output


@given(
    addresses=st.lists(st.sampled_from([THEM, OTHER, None, "192.0.2.3"]), min_size=1, max_size=8),
    kept_days=st.integers(0, 40),
)
@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_forget_is_as_if_they_had_never_been(
    tmp_path_factory: Any, addresses: list[str | None], kept_days: int
) -> None:
    # both are rolled up as far
    last = {"date": NOW - timedelta(minutes=1), "path": "/", "remote_address": OTHER, "db_queries": 2}
    some = [*rows(addresses), last]
    found = []
    for forgets in (True, False):
        rolled = Rolled(f"sqlite:///{tmp_path_factory.mktemp('forget') / 'app.sqlite'}")
        rolled.insert(some if forgets else [row for row in some if row["remote_address"] != THEM])
        rolled.job.run(NOW)
        raw = rolled.source.raw
        with rolled.engine.begin() as connection:
            connection.execute(sa.delete(raw.table).where(raw.columns["date"] < NOW - timedelta(days=kept_days)))
        if forgets:
            forgotten = rolled.job.forget([THEM], NOW, delete_raw=delete_theirs, progress=lambda at: None)
            assert forgotten is not None
            assert forgotten.left == 0
            assert forgotten.requests == sum(row["remote_address"] == THEM for row in some)
        found.append(stored(rolled))
        rolled.close()
    assert found[0] == found[1]


def delete_theirs(connection: sa.Connection) -> int:
    table = RAW.table
    return connection.execute(sa.delete(table).where(table.c.remote_address == THEM)).rowcount


def stored(rolled: Rolled) -> list[Any]:
    """All measures of all segments, by what they are of, and the rows of each hour; visitors in number."""
    tables = rolled.job.tables
    rollup, segment, value = tables.rollup, tables.segment, tables.value
    columns = [column for column in rollup.c if column.name not in ("segment_id", "value_id")]
    query = (
        sa.select(segment.c.unit, segment.c.start, segment.c.audience, segment.c.detailed, value.c.text, *columns)
        .join_from(rollup, segment, segment.c.id == rollup.c.segment_id)
        .outerjoin(value, value.c.id == rollup.c.value_id)
    )
    with rolled.engine.connect() as connection:
        measures = [tuple(row) for row in connection.execute(query)]
        sets = connection.scalar(sa.select(sa.func.count()).select_from(tables.sets))
        columns = [column for column in tables.waits.c if column.name not in ("segment_id", "value_id")]
        query = (
            sa.select(segment.c.unit, segment.c.start, segment.c.audience, value.c.text, *columns)
            .join_from(tables.waits, segment, segment.c.id == tables.waits.c.segment_id)
            .outerjoin(value, value.c.id == tables.waits.c.value_id)
        )
        waits = sorted((tuple(row) for row in connection.execute(query)), key=str)
        hours = [tuple(row) for row in connection.execute(sa.select(tables.hour)) if row.raw_rows]
    return [sorted(measures, key=str), sets, sorted(hours), waits]
