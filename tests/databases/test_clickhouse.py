"""ClickHouse, as a library: a raw table there answers what the same rows in SQLite answer, from raw rows and from rollups."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_statistics import RequestMixin, SettingError, Statistics
from flask_statistics.databases import budgets
from flask_statistics.models import map_model
from flask_statistics.rollups import source
from flask_statistics.rollups.job import Job
from flask_statistics.rollups.report import Report
from flask_statistics.spans import Span

from ..conftest import App, a_fortnight
from ..test_forget import THEM, command
from ..test_views import VIEWS
from ..whole.test_statements import APIS, FILTERS
from .test_mysql import alike

REASON = 'chdb is not installed: pip install -e ".[dev,dev-clickhouse]"'
pytest.importorskip("chdb", reason=REASON)
types = pytest.importorskip("clickhouse_connect.cc_sqlalchemy.types", reason=REASON)

NOW = datetime(2026, 11, 22, 14, 37, 12, 345678)
ODD = ("/a", "/A", "/a ", "/é", "/it's \\ 100 %s ? :x", "/\U0001f600", "")
ROLLUPS = {"STATISTICS_ROLLUPS": True, "STATISTICS_SCHEDULER": False, "STATISTICS_ENABLED": False}
MakeApp = Callable[..., App]


def bound_model(db: SQLAlchemy) -> type[Any]:
    """The page's model: its dates are of the dialect's own type, because ClickHouse's plain one has whole seconds."""
    date = db.Column(sa.DateTime().with_variant(types.DateTime64(6, "UTC"), "clickhousedb"))
    return type("Request", (RequestMixin, db.Model), {"__bind_key__": "log", "date": date})


def rows() -> list[dict[str, Any]]:
    odd = [{"date": NOW - timedelta(microseconds=number), "path": path} for number, path in enumerate(ODD)]
    many = [{"date": NOW - timedelta(hours=number), "path": f"/many/{number}"} for number in range(200)]
    return [*a_fortnight(NOW), *odd, *many]


def insert(app: App, some: list[dict[str, Any]], first: int = 1) -> None:
    """Store rows with the keys from `first` on."""
    known = dict.fromkeys(map_model(app.Request).columns)
    numbered = [known | row | {"index": number} for number, row in enumerate(some, first)]
    with app.flask.app_context(), app.db.engines["log"].begin() as connection:
        connection.execute(sa.insert(app.Request.__table__), numbered)


def count(app: App) -> int:
    with app.flask.app_context(), app.db.engines["log"].connect() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(app.Request.__table__)) or 0


@pytest.fixture(scope="module")
def apps(tmp_path_factory: pytest.TempPathFactory, new_database: Any) -> Iterator[tuple[App, App]]:
    """The same rows in ClickHouse and in SQLite."""
    folder = tmp_path_factory.mktemp("clickhouse")
    made = []
    with new_database("clickhouse") as clickhouse:
        for log in (clickhouse, f"sqlite:///{folder / 'log.sqlite'}"):
            app = App(
                f"sqlite:///{folder / 'app.sqlite'}",
                model=bound_model,
                SQLALCHEMY_BINDS={"log": log},
                STATISTICS_ENABLED=False,
            )
            insert(app, rows())
            made.append(app)
        yield made[0], made[1]
        for app in made:
            app.close()


@pytest.fixture
def make(make_app: MakeApp, new_database: Any, tmp_path: Path) -> Iterator[MakeApp]:
    """Makes apps whose raw table is in an empty ClickHouse, and all else in a SQLite file."""
    with new_database("clickhouse") as url:

        def make(**options: Any) -> App:
            main = f"sqlite:///{tmp_path / 'app.sqlite'}"
            return make_app(main, model=bound_model, SQLALCHEMY_BINDS={"log": url}, **options)

        yield make


def job_of(app: App) -> Job:
    rollups = app.statistics_state().rollups
    assert rollups is not None
    return rollups.job()


def run(app: App, now: datetime) -> Report:
    report = job_of(app).run(now)
    assert report is not None
    return report


# ---- raw rows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("filters", ["", *FILTERS, "q=many", "path=/a", "path!=/A", "path=/a%20", "exception="])
@pytest.mark.parametrize("api", [api for api in APIS if api != "health"])
def test_clickhouse_answers_as_sqlite(apps: tuple[App, App], api: str, filters: str) -> None:
    span = f"{'&' if '?' in api else '?'}start=2026-11-08&end=2026-11-22&{filters}"
    clickhouse, expected = (app.json(api + span) for app in apps)
    assert alike(clickhouse | {"as_of": 0}, expected | {"as_of": 0})


@pytest.mark.parametrize("view", VIEWS)
def test_clickhouse_shows_every_page(apps: tuple[App, App], view: str) -> None:
    clickhouse, expected = (app.client.get(f"/statistics/{view}") for app in apps)
    assert clickhouse.status_code == expected.status_code
    if view != "health":  # which tells of the database itself
        assert len(clickhouse.text) == pytest.approx(len(expected.text), abs=99)


def test_clickhouse_health_tells_rows_and_sizes(apps: tuple[App, App]) -> None:
    storage = apps[0].json("health")["storage"]
    assert storage["rows"] == len(rows())
    assert storage["tables"][0]["name"] == "request"
    assert storage["tables"][0]["size"] > 1_000


def test_clickhouse_ends_what_takes_too_long(apps: tuple[App, App]) -> None:
    endless = sa.text("SELECT max(sipHash64(number)) FROM system.numbers")
    with apps[0].statistics_state().engine().connect() as connection:
        started = time.monotonic()
        budget = budgets.Budget(timedelta(milliseconds=50))
        with budgets.time_budget(connection, budget), pytest.raises(sa.exc.DBAPIError) as caught:
            connection.execute(endless)
        assert budgets.is_timeout(caught.value)
        assert time.monotonic() - started < 5
    limits = sa.text("SELECT value FROM system.settings WHERE name = 'max_execution_time'")
    with apps[0].statistics_state().engine().connect() as connection:
        assert float(connection.scalar(limits)) == 0


# ---- rollups ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rolled(tmp_path_factory: pytest.TempPathFactory, new_database: Any) -> Iterator[tuple[App, App]]:
    """The same rows in ClickHouse and in SQLite, rolled up but for the last minutes."""
    folder = tmp_path_factory.mktemp("rolled")
    made: list[App] = []
    with new_database("clickhouse") as clickhouse:
        for log in (clickhouse, f"sqlite:///{folder / 'log.sqlite'}"):
            main = f"sqlite:///{folder / f'app{len(made)}.sqlite'}"
            app = App(main, model=bound_model, SQLALCHEMY_BINDS={"log": log}, STATISTICS_BIND_KEY=None, **ROLLUPS)
            insert(app, rows())
            run(app, NOW - timedelta(minutes=80))
            made.append(app)
        yield made[0], made[1]
        for app in made:
            app.close()


@pytest.mark.parametrize("filters", ["", *FILTERS, "q=many", "path=/a", "path!=/A", "path=/a%20", "exception="])
@pytest.mark.parametrize("api", [api for api in APIS if api != "health"])
def test_clickhouse_rolled_up_answers_as_raw_rows(
    rolled: tuple[App, App], apps: tuple[App, App], api: str, filters: str
) -> None:
    span = f"{'&' if '?' in api else '?'}start=2026-11-08&end=2026-11-22&{filters}"
    clickhouse, sqlite, raw = (app.json(api + span) for app in (*rolled, apps[1]))
    assert clickhouse.get("source", "rollup") == "rollup"
    assert alike(clickhouse | {"as_of": 0}, sqlite | {"as_of": 0})
    assert alike(clickhouse | {"as_of": 0, "source": 0}, raw | {"as_of": 0, "source": 0})


def test_clickhouse_request_log_goes_on(rolled: tuple[App, App]) -> None:
    for filters in ("", "&browser=firefox&q=page"):
        found: list[list[dict[str, Any]]] = []
        for app in rolled:
            pages, before = [], ""
            for _ in range(4):
                page = app.json(f"requests?span=all&limit=40{filters}{before}")
                pages += page["rows"]
                before = f"&before={page['before']}"
            found.append(pages)
        assert alike(found[0], found[1])
        assert len({row["id"] for row in found[0]}) == 160


def test_clickhouse_is_read_in_batches(rolled: tuple[App, App], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "BATCH", 90)
    keys = []
    for app in rolled:
        job, state = job_of(app), app.statistics_state()
        with state.engine().connect() as connection:
            batches = list(job.source.columns(connection, datetime(2026, 11, 8), NOW + timedelta(days=1)))
        assert max(len(keys_of) for _, keys_of, *_ in batches) == 90
        keys.append([key for _, keys_of, *_ in batches for key in keys_of])
    assert keys[0] == keys[1]
    assert len(keys[0]) == len(rows())


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/New_York"])
def test_clickhouse_counts_many_hours_as_few(
    rolled: tuple[App, App], zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    span, counts = Span(datetime(2026, 11, 8, 5), NOW - timedelta(hours=2), ZoneInfo(zone)), []
    app = rolled[0]
    for most in (0, 10_000):
        monkeypatch.setattr(source, "MOST_RANGES", most)
        with app.statistics_state().engine().connect() as connection:
            counts.append(job_of(app).source.counts(connection, span.edges("hour")))
    assert counts[0] == counts[1]
    assert len(counts[0]) > 300


def test_clickhouse_verify_finds_nothing(rolled: tuple[App, App]) -> None:
    assert command(rolled[0], "verify").exit_code == 0


def test_clickhouse_late_rows_are_counted(make: MakeApp) -> None:
    app = make(**ROLLUPS)
    insert(app, rows())
    run(app, NOW)
    insert(app, [{"date": NOW - timedelta(hours=30), "path": "/late"}], 10_000)
    assert app.json("summary?start=2026-11-01&end=2026-11-22&path=/late")["hits"] == 0
    assert run(app, NOW + timedelta(minutes=1)).built >= 1
    assert app.json("summary?start=2026-11-01&end=2026-11-22&path=/late")["hits"] == 1
    assert command(app, "verify").exit_code == 0


MONTHS = [datetime(2026, month, day) for month, day in ((8, 3), (9, 30), (10, 10), (10, 31), (11, 21))]


def test_clickhouse_partitions_that_are_too_old_are_dropped(make: MakeApp) -> None:
    app = make(STATISTICS_RAW_RETENTION=timedelta(days=30), **ROLLUPS)
    insert(app, [{"date": date, "path": f"/{date:%m}"} for date in MONTHS])
    assert run(app, NOW).raw_deleted == 2
    assert count(app) == 3  # 10 October is older than 30 days, but its month is not yet
    assert run(app, NOW + timedelta(minutes=1)).raw_deleted == 0
    span = "start=2026-08-01&end=2026-11-22"
    assert [row["value"] for row in app.json(f"breakdown/path?{span}")["rows"]] == ["/10", "/08", "/09", "/11"]
    assert command(app, "verify").exit_code == 0
    assert run(app, NOW + timedelta(days=9)).raw_deleted == 2
    assert (count(app), app.json(f"summary?{span}")["hits"]) == (1, 5)


def test_clickhouse_partitions_whose_rows_differ_are_kept(make: MakeApp) -> None:
    app = make(STATISTICS_RAW_RETENTION=timedelta(days=30), **ROLLUPS)
    run(app, NOW)
    insert(app, [{"date": date, "path": "/"} for date in MONTHS])
    report = job_of(app).prune(NOW)
    assert report is not None
    assert (report.raw_deleted, count(app)) == (0, 5)


def test_clickhouse_table_without_partitions_is_pruned(make: MakeApp) -> None:
    app = make(STATISTICS_RAW_RETENTION=timedelta(days=30), **ROLLUPS)
    with app.flask.app_context(), app.db.engines["log"].begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE plain AS request ENGINE = MergeTree PARTITION BY tuple() ORDER BY date"
        )
        connection.exec_driver_sql("EXCHANGE TABLES plain AND request")
    insert(app, [{"date": date, "path": "/"} for date in MONTHS])
    assert run(app, NOW).raw_deleted == 3
    assert (count(app), app.json("summary?start=2026-08-01&end=2026-11-22")["hits"]) == (2, 5)


def test_clickhouse_forgets_a_visitor(make: MakeApp) -> None:
    app = make(**ROLLUPS)
    insert(app, [row | {"remote_address": THEM if place % 3 else "192.0.2.77"} for place, row in enumerate(rows())])
    run(app, NOW + timedelta(minutes=1))
    before = count(app)
    result = command(app, "forget", THEM, "--yes")
    assert result.exit_code == 0, result.output
    assert "Counted again: nothing is left." in result.output
    assert before / 4 < count(app) < before / 2
    assert app.json("summary?start=2026-11-01&end=2026-11-22")["hits"] == count(app)
    with app.flask.app_context(), app.db.engines["log"].begin() as connection:
        connection.exec_driver_sql("SET apply_deleted_mask = 0")
        assert connection.scalar(sa.select(sa.func.count()).select_from(app.Request.__table__)) == count(app)


# ---- settings --------------------------------------------------------------------------------------------------------


def test_clickhouse_is_not_written_request_by_request(make: MakeApp) -> None:
    with pytest.raises(SettingError) as error:
        make()
    assert str(error.value) == (
        "STATISTICS_WRITER is 'direct', but the model is bound to ClickHouse, which wants many rows at a time: set "
        'STATISTICS_WRITER = "spool", or STATISTICS_ENABLED = False to read only.'
    )


def test_clickhouse_needs_the_binds_to_be_known() -> None:
    app, db = Flask("tests.app"), SQLAlchemy()
    app.config["SQLALCHEMY_BINDS"] = {"log": "clickhousedb://127.0.0.1/app"}
    with pytest.raises(SettingError, match=r"^The model is bound to ClickHouse: call db\.init_app\(app\) before"):
        Statistics(app, db, bound_model(db))


def test_clickhouse_keeps_no_rollups(make: MakeApp) -> None:
    with pytest.raises(
        SettingError, match=r"STATISTICS_BIND_KEY is 'log', which is on ClickHouse, but our tables need"
    ):
        make(STATISTICS_BIND_KEY="log", **ROLLUPS)


def test_clickhouse_cannot_be_the_only_database(make_app: MakeApp, new_database: Any) -> None:
    with (
        new_database("clickhouse") as url,
        pytest.raises(SettingError, match=r"STATISTICS_BIND_KEY is None, which is on"),
    ):
        make_app(url, STATISTICS_ENABLED=False)


def test_clickhouse_init_makes_our_tables(make: MakeApp) -> None:
    app = make(**ROLLUPS)
    with app.flask.app_context():
        app.db.drop_all(None)
        assert "Created the table statistics_rollup." in command(app, "init").output
        with app.db.engines["log"].begin() as connection:
            connection.exec_driver_sql("DROP TABLE request")
    result = command(app, "init")
    assert result.exit_code == 1
    assert "'request' is missing in ClickHouse" in result.stderr


@pytest.mark.parametrize("words", [("demo-data", "--requests", "1"), ("import-log", __file__)])
def test_clickhouse_takes_no_imports(make: MakeApp, words: tuple[str, ...]) -> None:
    app = make(**ROLLUPS)
    result = command(app, *words)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: The model is bound to ClickHouse, into which only requests are recorded")
    assert count(app) == 0
