"""Advice: each is given where it was measured to be wanted, and nowhere else; on Health, in status, on a slow page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa

from flask_statistics import advice as advice_module
from flask_statistics import health, schema
from flask_statistics.advice import Measured, advice
from flask_statistics.guards import everybody

from .conftest import App, a_fortnight

MakeApp = Callable[..., App]
WELL = Measured(
    rollups=False,
    page_s=0.2,
    rows=500_000,
    indexed=True,
    locks_out=True,
    spools=False,
    recording_s=0.004,
    recordings=500,
)


@pytest.fixture(autouse=True)
def seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page is slow after as long as users have it; those of tests are never taken for slow."""
    monkeypatch.setattr(advice_module, "SLOW_PAGE_S", 1.0)


@pytest.mark.parametrize(
    ("differs", "setting", "because"),
    [
        ({"guarded": False}, "Statistics(app, db, Request, login_required)", "nobody guards it"),
        ({"indexed": False}, "flask statistics init", "no index on the date"),
        ({"page_s": 2.4, "locks_out": False}, "STATISTICS_ROLLUPS = True", "took 2.40 s"),
        ({"rows": 3_000_000, "locks_out": False}, "STATISTICS_ROLLUPS = True", "3,000,000 raw rows"),
        ({"recording_s": 0.012}, 'STATISTICS_WRITER = "spool"', "12 ms of a request"),
        ({"bounded": False, "full_in_days": 80.2, "bytes_a_day": 1e9}, "STATISTICS_RAW_RETENTION =", "full in 80 days"),
        ({"bounded": False, "in_a_year": 5e11, "bytes_a_day": 1e9}, "STATISTICS_RAW_RETENTION =", "1.0 GB a day"),
    ],
)
def test_advice_names_the_setting_and_why(differs: dict[str, Any], setting: str, because: str) -> None:
    (line,) = advice(replace(WELL, **differs))
    assert setting in line
    assert because in line
    assert "\n" not in line


def test_advice_is_silent_where_all_is_well() -> None:
    assert advice(WELL) == ()
    assert advice(Measured(rollups=True, page_s=30, rows=10**8, spools=True, recording_s=1, recordings=1000)) == ()
    assert advice(replace(WELL, recording_s=1, recordings=5)) == ()
    assert advice(replace(WELL, rows=500, indexed=False)) == ()
    assert advice(replace(WELL, full_in_days=20)) == ()  # it is bounded; Health has it among the problems


def test_advice_of_a_slow_page_without_wal() -> None:
    lines = advice(replace(WELL, page_s=5))
    assert [line.partition(":")[0][:10] for line in lines] == ["A page too", "SQLite let"]
    assert "PRAGMA journal_mode = WAL" in lines[1]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "mariadb"])
def test_advice_on_health_status_and_a_slow_page(
    make_app: MakeApp, new_database: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with new_database(kind) as url:
        app = make_app(url, STATISTICS_ENABLED=False, before_f=everybody)
        app.insert(*a_fortnight(datetime.now(timezone.utc).replace(tzinfo=None)))
        quick = app.client.get("/statistics/").text
        assert "A page took" not in quick
        with app.flask.app_context(), app.db.engine.begin() as connection:
            for index in sa.inspect(connection).get_indexes("request"):
                on = " ON request" if kind == "mariadb" else ""
                connection.execute(sa.text(f"DROP INDEX {index['name']}{on}"))
        for module in (advice_module, health):
            monkeypatch.setattr(module, "SLOW_PAGE_S", 0.0)
        slow = app.client.get("/statistics/").text
        assert "A page took" in slow
        assert "with STATISTICS_ROLLUPS = True" in slow
        assert "no index on the date" in slow
        assert ("journal_mode = WAL" in slow) == (kind == "sqlite")
        page, told = app.client.get("/statistics/health").text, app.json("health")["advice"]
        output = app.flask.test_cli_runner().invoke(args=["statistics", "status"]).output
        for setting in ("STATISTICS_ROLLUPS = True", "login_required"):
            assert setting in str(told)
        for text in ("STATISTICS_ROLLUPS = True", "This page is public"):
            assert text in page
        assert "Advice            Everybody who can reach this app" in output
        app.close()


def test_advice_does_not_spoil_a_page(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(STATISTICS_ENABLED=False, STATISTICS_QUERY_TIMEOUT=timedelta(seconds=20))
    monkeypatch.setattr(health, "SLOW_PAGE_S", 0.0)

    def fail(*_: Any) -> None:
        raise sa.exc.OperationalError("", None, Exception("gone"))

    monkeypatch.setattr(schema, "has_date_index", fail)
    assert app.client.get("/statistics/").status_code == 200
