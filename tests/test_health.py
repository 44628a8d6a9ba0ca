"""Health: what is collected, on each database, and the same facts as page, JSON and command line."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from flask_statistics import health
from flask_statistics.databases import sqlite
from flask_statistics.guards import everybody

from .conftest import App, a_fortnight

MakeApp = Callable[..., App]


def now() -> datetime:
    return datetime.now(timezone.utc).replace(tzinfo=None)


def collect(app: App) -> health.Health:
    with app.flask.app_context():
        return health.collect(app.statistics_state(), now())


def status(app: App) -> Any:
    return app.flask.test_cli_runner().invoke(args=["statistics", "status"])


def test_health_counts_what_this_process_recorded(make_app: MakeApp, database_url: str) -> None:
    app = make_app(database_url)
    for _ in range(20):
        app.client.get("/")
    found = collect(app)
    assert (found.status, found.problems, found.guarded) == ("ok", (), True)
    recording = found.recording
    assert recording is not None
    assert (recording.recorded, recording.waiting, recording.refused, recording.lost) == (20, 0, 0, 0)
    assert recording.overhead_requests == 20
    assert recording.overhead_p50 is not None
    assert recording.overhead_p95 is not None
    assert 0 < recording.overhead_p50 <= recording.overhead_p95 < 1


def test_health_measures_tables_and_growth(make_app: MakeApp, database_url: str) -> None:
    app = make_app(database_url)
    app.insert(*a_fortnight(now()))
    storage = collect(app).storage
    assert storage is not None
    assert storage.rows == 700
    assert [table.name for table in storage.tables] == [
        "request",
        "statistics_import",
        "statistics_issue",
        "statistics_mark",
        "statistics_view",
    ]
    raw, *ours = (table.size for table in storage.tables)
    assert raw is not None
    assert raw > 30_000  # MariaDB estimates
    assert all(size is not None and 30_000 > size > 0 for size in ours)
    assert storage.rows_a_day == pytest.approx(24 * 60 / 29, rel=0.01)
    assert storage.bytes_a_day == pytest.approx(raw / 700 * 24 * 60 / 29, rel=0.01)
    assert storage.in_30_days == pytest.approx(
        raw + sum(size or 0 for size in ours) + 30 * (storage.bytes_a_day or 0), rel=0.01
    )


def test_health_forecast_ends_with_the_retention(make_app: MakeApp) -> None:
    app = make_app(STATISTICS_ROLLUPS=True, STATISTICS_RAW_RETENTION=timedelta(days=60), STATISTICS_SCHEDULER=False)
    app.insert(*a_fortnight(now()))
    storage = collect(app).storage
    assert storage is not None
    assert storage.bytes_a_day is not None
    assert storage.in_30_days is not None
    assert storage.in_a_year is not None
    assert storage.in_a_year - storage.in_30_days < 30 * storage.bytes_a_day


def test_health_of_a_large_file_goes_by_its_size(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "LARGEST_WALKED", 1)
    app = make_app()
    app.insert(*a_fortnight(now()))
    storage = collect(app).storage
    assert storage is not None
    assert {table.size for table in storage.tables} == {None}
    assert storage.database is not None
    assert storage.bytes_a_day == pytest.approx(storage.database / 700 * 24 * 60 / 29, rel=0.01)


def test_health_of_an_empty_install(make_app: MakeApp, database_url: str) -> None:
    found = collect(make_app(database_url)).storage
    assert found is not None
    assert (found.rows, found.oldest, found.rows_a_day, found.in_a_year) == (0, None, None, None)


def test_health_of_lost_requests(make_app: MakeApp) -> None:
    app = make_app()
    with app.flask.app_context():
        app.db.drop_all()
    app.client.get("/")
    found = collect(app)
    assert found.recording is not None
    assert found.recording.lost_because == {"OperationalError": 1}
    assert found.status == "degraded"
    assert [problem[:27] for problem in found.problems] == [
        "The database did not answer",
        "1 requests were lost since ",
    ]
    page = app.client.get("/statistics/health")
    assert page.status_code == 503
    assert "no such table: request" in page.text
    assert app.json("health")["status"] == "degraded"
    output = status(app)
    assert output.exit_code == 1
    assert "no such table: request" in output.output


def test_health_of_rollups(make_app: MakeApp) -> None:
    app = make_app(STATISTICS_ROLLUPS=True, STATISTICS_SCHEDULER=False)
    app.insert(*a_fortnight(now()))
    rollups = app.statistics_state().rollups
    assert rollups is not None
    assert collect(app).rollup_lag is None
    rollups.job().run(now() - timedelta(minutes=2))
    found = collect(app)
    assert found.problems == ()
    assert found.rollup_lag is not None
    assert timedelta(minutes=2) <= found.rollup_lag < timedelta(minutes=3)
    assert "Last job took" in app.client.get("/statistics/health").text
    late = health.collect(app.statistics_state(), now() + timedelta(hours=1))
    assert late.problems == ("The rollups are behind: does the scheduler, or cron, still run?",)


def test_health_without_the_rollup_tables(make_app: MakeApp) -> None:
    app = make_app(STATISTICS_ROLLUPS=True, STATISTICS_SCHEDULER=False)
    with app.flask.app_context():
        app.db.metadata.tables["statistics_meta"].drop(app.db.engine)
    assert "no such table: statistics_meta" in app.json("health")["rollups"]["error"]
    assert app.client.get("/statistics/health").status_code == 200


def test_health_masks_secrets(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(STATISTICS_TIMEZONE="Europe/Berlin", STATISTICS_CSP_NONCE=lambda: "bm9uY2U=")
    url = (
        app.statistics_state()
        .engine()
        .url.set(
            drivername="postgresql",
            username="u",
            password="hunter2",
            host="db.example",
            query={"sslpassword": "hunter2"},
        )
    )
    monkeypatch.setattr(app.statistics_state().engine(), "url", url)
    settings = {setting.key: setting for setting in collect(app).settings}
    assert settings["STATISTICS_TIMEZONE"].value == "'Europe/Berlin'"
    assert not settings["STATISTICS_TIMEZONE"].default
    assert settings["STATISTICS_ROLLUPS"].default
    assert settings["STATISTICS_CSP_NONCE"].value == "a function"
    assert settings["SQLALCHEMY_DATABASE_URI"].value.startswith("postgresql://u:***@db.example/")
    for text in (app.client.get("/statistics/health").text, str(app.json("health")), status(app).output):
        assert "db.example" in text
        assert 'hunter2"' not in text
        assert "'hunter2'" not in text
        assert ":hunter2@" not in text


def test_health_page_and_command_say_the_same(make_app: MakeApp) -> None:
    app = make_app()
    app.insert(*a_fortnight(now()))
    page = re.sub(r"<[^>]+>", " ", app.client.get("/statistics/health").text)
    output = status(app)
    assert output.exit_code == 0
    for text in ("about 700", "50 requests", "Whole file"):
        assert text in page
        assert text in output.output
    assert "Recording works." in page
    assert "Nothing was lost." in page
    assert "local_only" in page
    assert app.json("health")["storage"]["rows"] == 700


def test_health_begins_with_the_worst(make_app: MakeApp, tmp_path: Path) -> None:
    assert "This page is public" not in make_app(before_f=lambda: True).client.get("/statistics/health").text
    page = make_app(before_f=everybody).client.get("/statistics/health").text
    lines = re.findall(r'<li><span class="(\w+)" aria-hidden="true">.</span> <strong>([^<]*)</strong>', page)
    assert lines[:2] == [("bad", "This page is public."), ("good", "Recording works.")]
    assert str(tmp_path) not in page


def test_health_of_an_app_that_records_nothing(make_app: MakeApp) -> None:
    app = make_app(STATISTICS_ENABLED=False)
    assert collect(app).recording is None
    assert "off (STATISTICS_ENABLED)" in app.client.get("/statistics/health").text


def test_health_needs_one_connection(make_app: MakeApp) -> None:
    options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 1}
    app = make_app(STATISTICS_ROLLUPS=True, STATISTICS_SCHEDULER=False, SQLALCHEMY_ENGINE_OPTIONS=options)
    assert app.json("health")["status"] == "ok"
    assert app.client.get("/statistics/health").status_code == 200
