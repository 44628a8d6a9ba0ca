"""What bounds the raw table: how old its rows may be and how many; with rollups and without, and no number changes by it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa

from benchmarks.serving import wait_until
from flask_statistics import bounds, health, pruning
from flask_statistics.bounds import believed
from flask_statistics.pace import LONGEST_PAUSE_S, Pace, Yielding

from .conftest import App, a_fortnight

MakeApp = Callable[..., App]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOW = datetime.now(timezone.utc).replace(tzinfo=None, microsecond=0)


@pytest.fixture(autouse=True)
def in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few rows take many statements."""
    monkeypatch.setattr(bounds, "DELETED_A_TIME", 150)
    monkeypatch.setattr(bounds, "NAMED_A_TIME", 40)
    monkeypatch.setattr(bounds, "COUNTED_A_TIME", 300)


def filled(app: App, rows: int, *, apart: timedelta = timedelta(minutes=10)) -> App:
    """The app with so many rows, the last of them of a minute ago, in no order of their dates."""
    dates = [NOW - timedelta(minutes=1) - apart * number for number in range(rows)]
    with app.flask.app_context(), app.db.engine.begin() as connection:
        table = app.Request.__table__
        values = [{"date": date, "path": f"/{date.minute}", "method": "GET"} for date in dates[::2] + dates[1::2]]
        connection.execute(sa.insert(table), values)
    return app


def dates(app: App) -> list[datetime]:
    with app.flask.app_context():
        return sorted(app.db.session.scalars(sa.select(app.Request.date).where(app.Request.date.is_not(None))))


def prune(app: App) -> Any:
    return app.flask.test_cli_runner().invoke(args=["statistics", "prune"])


def test_prune_by_age_in_hours_without_rollups(make_app: MakeApp, database_url: str) -> None:
    app = filled(make_app(database_url, STATISTICS_RAW_RETENTION=36 * HOUR, STATISTICS_ENABLED=False), 500)
    app.insert({"date": None}, {"date": datetime(1850, 1, 1)})
    result = prune(app)
    assert result.exit_code == 0, result.output
    left = [date for date in dates(app) if date.year > 1900]
    assert 214 <= len(left) <= 217
    assert left[0] >= datetime.now(timezone.utc).replace(tzinfo=None) - 36 * HOUR - timedelta(minutes=1)
    assert f"{500 - len(left)} raw rows deleted." in result.output
    assert "0 raw rows deleted." in prune(app).output
    assert "Raw requests are kept for 36 hours." in app.client.get("/statistics/requests").text


def test_prune_by_number_without_rollups(make_app: MakeApp, database_url: str) -> None:
    app = filled(make_app(database_url, STATISTICS_RAW_MAX_ROWS=1000, STATISTICS_ENABLED=False), 1700)
    expected = dates(app)[-1000:]
    result = prune(app)
    assert "700 raw rows deleted." in result.output, result.output
    assert dates(app) == expected
    assert "0 raw rows deleted." in prune(app).output


def test_prune_counts_rows_and_not_keys(make_app: MakeApp) -> None:
    app = filled(make_app(STATISTICS_RAW_MAX_ROWS=1000), 1500)
    with app.flask.app_context(), app.db.engine.begin() as connection:
        connection.execute(sa.delete(app.Request).where(app.Request.index % 2 == 0))
    assert "0 raw rows deleted." in prune(app).output
    assert len(dates(app)) == 750


def test_prune_of_rows_of_one_instant_keeps_no_fewer(make_app: MakeApp) -> None:
    app = filled(make_app(STATISTICS_RAW_MAX_ROWS=1000), 1500, apart=timedelta(0))
    assert "0 raw rows deleted." in prune(app).output


def test_prune_with_nothing_to_go_by_says_so(make_app: MakeApp) -> None:
    result = prune(make_app())
    assert result.exit_code == 1
    assert "STATISTICS_RAW_MAX_ROWS" in result.output


def test_pruner_works_from_the_first_request_on(make_app: MakeApp) -> None:
    app = filled(make_app(STATISTICS_RAW_RETENTION=DAY, STATISTICS_RAW_MAX_ROWS=1000), 300)
    assert len(dates(app)) == 300
    app.client.get("/")
    wait_until(lambda: len(dates(app)) < 150, "nothing is deleted", 10)


@pytest.mark.parametrize("settings", [{"STATISTICS_SCHEDULER": False}, {"TESTING": True}])
def test_pruner_is_off(make_app: MakeApp, settings: dict[str, Any]) -> None:
    app = filled(make_app(STATISTICS_RAW_RETENTION=DAY, **settings), 300)
    app.client.get("/")
    assert "flask-statistics-pruner" not in {thread.name for thread in threading.enumerate()}
    assert len(dates(app)) == 301


def test_pruner_pauses_no_longer_after_the_machine_was_halted(make_app: MakeApp) -> None:
    pruner = make_app(STATISTICS_RAW_RETENTION=DAY).statistics_state().pruner
    assert isinstance(pruner, pruning.Pruner)
    often, hour = pruner.pause_after(0.0), pruning.LONGEST_PAUSE_S
    assert (often < hour, pruner.pause_after(hour)) == (True, hour)


def test_pruner_does_not_believe_a_clock_that_leaps(make_app: MakeApp) -> None:
    app = filled(make_app(STATISTICS_RAW_RETENTION=30 * DAY), 50)
    deleted, at = pruning.prune(app.statistics_state(), NOW + 3650 * DAY, before=NOW)
    assert (deleted, at) == (0, NOW + HOUR)
    assert believed(NOW + DAY, NOW, NOW, 30 * DAY) == NOW + DAY
    assert pruning.prune(app.statistics_state(), NOW + 3650 * DAY)[0] == 50  # asked for, and nothing to know it by


def rolled(make_app: MakeApp, url: str | None = None, **settings: Any) -> App:
    return make_app(url, STATISTICS_ROLLUPS=True, STATISTICS_SCHEDULER=False, **settings)


def run(app: App, now: datetime) -> Any:
    state = app.statistics_state()
    assert state.rollups is not None
    return state.rollups.job().run(now)


def hits(app: App) -> int:
    return int(app.json("summary?span=all")["hits"])


@pytest.mark.parametrize("settings", [{"STATISTICS_RAW_RETENTION": 30 * HOUR}, {"STATISTICS_RAW_MAX_ROWS": 1000}])
def test_prune_with_rollups_leaves_the_numbers(make_app: MakeApp, database_url: str, settings: dict[str, Any]) -> None:
    app = filled(rolled(make_app, database_url, STATISTICS_ENABLED=False, **settings), 1600, apart=timedelta(minutes=3))
    before = app.json("breakdown/path?span=all")["rows"]
    report = run(app, NOW)
    left = dates(app)
    assert report.raw_deleted == 1600 - len(left) > 500
    kept = settings.get("STATISTICS_RAW_RETENTION", 1000 * timedelta(minutes=3))
    assert NOW - kept - 61 * timedelta(minutes=1) <= left[0] <= NOW - kept + timedelta(minutes=2)
    for minutes in (0, 70, 140):
        run(app, NOW + timedelta(minutes=minutes))
        assert hits(app) == 1600
        assert app.json("breakdown/path?span=all")["rows"] == before
    verified = app.flask.test_cli_runner().invoke(args=["statistics", "verify"])
    assert verified.exit_code == 0, verified.output


def test_prune_of_a_part_of_a_day_lets_no_late_row_replace_it(make_app: MakeApp) -> None:
    """A day is built again as a whole from raw rows of which some are gone: what it had must stay."""
    app = filled(
        rolled(make_app, STATISTICS_ENABLED=False, STATISTICS_RAW_RETENTION=30 * HOUR), 1600, apart=timedelta(minutes=3)
    )
    run(app, NOW)
    edge = dates(app)[0]
    for late in (edge + 2 * HOUR, edge - 2 * HOUR, edge + timedelta(minutes=1)):
        app.insert({"date": late, "path": "/late"})
        run(app, NOW + timedelta(minutes=1))
        run(app, NOW + timedelta(minutes=2))
        assert 1600 <= hits(app) <= 1603
    for days in (1, 2, 3):
        run(app, NOW + days * DAY)
        assert 1600 <= hits(app) <= 1603


def test_prune_deletes_nothing_that_is_not_rolled_up(make_app: MakeApp) -> None:
    app = filled(rolled(make_app, STATISTICS_ENABLED=False, STATISTICS_RAW_MAX_ROWS=1000), 1600)
    assert prune(app).exit_code == 0
    assert len(dates(app)) == 1600
    run(app, NOW)
    assert len(dates(app)) < 1100


def test_health_says_when_the_disk_will_be_full(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    apps = [make_app(STATISTICS_ENABLED=False, **kept) for kept in ({}, {"STATISTICS_RAW_MAX_ROWS": 1000})]
    for app in apps:
        app.insert(*a_fortnight(NOW))
    found = [collect(app) for app in apps]
    growth = found[0].storage.bytes_a_day
    assert found[0].problems == ()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, round(10 * growth)))
    whole, bounded = (collect(app) for app in apps)
    assert [problem[:57] for problem in whole.problems] == ["The disk of the database is full in about 10 days, at the"]
    assert "STATISTICS_RAW_MAX_ROWS" in whole.problems[0]
    assert whole.storage.full_in_days == pytest.approx(10, rel=0.01)
    assert (bounded.problems, bounded.storage.full_in_days) == ((), None)
    assert bounded.storage.in_a_year < whole.storage.in_a_year / 10
    output = apps[0].flask.test_cli_runner().invoke(args=["statistics", "status"])
    assert output.exit_code == 1
    assert "are free" in output.output
    assert "full_in_days" in apps[0].json("health")["storage"]


def collect(app: App) -> Any:
    with app.flask.app_context():
        return health.collect(app.statistics_state(), NOW)


def test_pace_is_half_and_less_where_others_are_at_work() -> None:
    pace = Pace()
    assert [pace.seconds(0.01, 1000), pace.seconds(0.02, 1000), pace.seconds(0.04, 1000)] == pytest.approx(
        [0.01, 0.04, 0.16]
    )
    assert pace.seconds(0.1, 1000) == pytest.approx(0.8)
    assert pace.seconds(60, 1000) == LONGEST_PAUSE_S


def test_yielding_costs_nothing_where_nobody_else_is_at_work() -> None:
    assert [Yielding.seconds(0.5, worked) for worked in (0.5, 0.4, 0.26)] == [0, 0, 0]
    assert Yielding.seconds(0.5, 0.1) == pytest.approx(0.4)
    assert Yielding.seconds(60, 0.1) == LONGEST_PAUSE_S
