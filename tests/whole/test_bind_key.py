"""Rollups in another database than the raw table: the same numbers, and no row deleted before they are committed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy

from flask_statistics import RequestMixin, SettingError, Statistics
from flask_statistics.config import read_settings
from flask_statistics.forget import forget
from flask_statistics.rollups.job import Job

from ..conftest import App
from ..rollup_bench import killed_at
from ..test_forget import NOW, OTHER, THEM, answers, command, rows

MakeApp = Callable[..., App]
OPTIONS = {"STATISTICS_ROLLUPS": True, "STATISTICS_SCHEDULER": False}


def logged(db: SQLAlchemy) -> type[Any]:
    return type("Request", (RequestMixin, db.Model), {"__bind_key__": "log"})


@pytest.fixture
def make(make_app: MakeApp, tmp_path: Path) -> MakeApp:
    """Makes apps whose raw table is in a SQLite file of its own, and whose rollups are in the main database."""

    def make(**options: Any) -> App:
        binds = {"log": f"sqlite:///{tmp_path / 'log.sqlite'}"}
        return make_app(model=logged, SQLALCHEMY_BINDS=binds, STATISTICS_BIND_KEY=None, **OPTIONS, **options)

    return make


def job_of(app: App) -> Job:
    rollups = app.statistics_state().rollups
    assert rollups is not None
    return rollups.job()


def tables(app: App, bind_key: str | None) -> set[str]:
    with app.flask.app_context():
        return set(sa.inspect(app.db.engines[bind_key]).get_table_names())


def raw_rows(app: App) -> int:
    with app.flask.app_context():
        return int(app.db.session.scalar(sa.select(sa.func.count()).select_from(app.Request)) or 0)


def segments(app: App) -> int:
    rollups = app.statistics_state().rollups
    assert rollups is not None
    with app.flask.app_context(), app.db.engine.connect() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(rollups.tables.segment)) or 0


def test_bind_key_says_where_the_rollups_are(make: MakeApp) -> None:
    app = make(STATISTICS_WRITER="spool")
    assert tables(app, "log") == {"request", "statistics_import", "statistics_spool"}
    assert {"statistics_rollup", "statistics_hour", "statistics_lease"} <= tables(app, None)
    with app.flask.app_context():
        app.db.drop_all()
    assert "Created the table statistics_rollup." in command(app, "init").output
    assert tables(app, "log") == {"request", "statistics_import", "statistics_spool"}
    assert "statistics_rollup" in tables(app, None)


def test_bind_key_changes_no_number(make: MakeApp, make_app: MakeApp) -> None:
    found = []
    for app in (make(), make_app(**OPTIONS)):
        app.insert(*rows([THEM, OTHER, None]))
        job_of(app).run(NOW)
        found.append(answers(app))
        assert command(app, "verify").exit_code == 0
        assert app.json("summary?start=2026-01-01&end=2026-03-31")["source"] == "rollup"
        health = app.json("health")
        assert {table["name"] for table in health["storage"]["tables"]} > {"request", "statistics_rollup"}
    assert found[0] == found[1]


def test_bind_key_late_rows_are_counted(make: MakeApp) -> None:
    app = make()
    app.insert(*rows([THEM]))
    job_of(app).run(NOW)
    app.insert(
        {"date": NOW - timedelta(hours=30), "path": "/late"}, {"date": NOW + timedelta(seconds=9), "path": "/new"}
    )
    assert app.json("summary?span=all&path=/late")["hits"] == 0
    job_of(app).run(NOW + timedelta(seconds=1))
    for path in ("/late", "/new"):
        assert app.json(f"summary?span=all&path={path}")["hits"] == 1
    assert [row["path"] for row in app.json("requests?span=all&q=e&limit=2")["rows"]] == ["/new", "/late"]


def test_bind_key_retention_leaves_the_numbers(make: MakeApp) -> None:
    app = make(STATISTICS_RAW_RETENTION=timedelta(days=7))
    app.insert(*rows([THEM, OTHER]))
    before = raw_rows(app)
    report = job_of(app).run(NOW)
    assert report is not None
    assert report.raw_deleted == before - raw_rows(app) > 100
    assert app.json("summary?start=2026-01-01&end=2026-03-31")["hits"] == before
    assert command(app, "verify").exit_code == 0


@pytest.mark.parametrize("transaction", [2, 4, 6, 8])
def test_bind_key_job_that_dies_deletes_nothing_that_is_not_rolled_up(make: MakeApp, transaction: int) -> None:
    app = make(STATISTICS_RAW_RETENTION=timedelta(days=7))
    app.insert(*rows([THEM]))
    before = raw_rows(app)
    for bind_key in (None, "log"):
        with app.flask.app_context():
            engine = app.db.engines[bind_key]
        with killed_at(engine, transaction):
            job_of(app).run(NOW)
        assert raw_rows(app) == before or segments(app)
        job_of(app).run(NOW + timedelta(minutes=2))  # the lease of the one that died is over
        assert app.json("summary?start=2026-01-01&end=2026-03-31")["hits"] == before


@pytest.mark.parametrize("bind_key", [None, "log"])
def test_bind_key_forget_that_dies_can_be_repeated(make: MakeApp, bind_key: str | None) -> None:
    app = make()
    app.insert(*rows([THEM, OTHER]))
    job_of(app).run(NOW)
    with app.flask.app_context():
        engine = app.db.engines[bind_key]
    for transaction in (2, 5, 8):
        with killed_at(engine, transaction):
            forget(app.statistics_state(), [THEM], NOW + timedelta(minutes=2 * transaction))
    result = command(app, "forget", THEM, "--yes")
    assert result.exit_code == 0, result.output
    assert "Counted again: nothing is left." in result.output
    assert raw_rows(app) == app.json("summary?start=2026-01-01&end=2026-03-31")["hits"] == 85
    assert command(app, "verify").exit_code == 0


# ---- wrong ones ------------------------------------------------------------------------------------------------------


def test_bind_key_that_is_no_name() -> None:
    with pytest.raises(SettingError) as error:
        read_settings({"STATISTICS_BIND_KEY": 3})
    assert str(error.value) == (
        "STATISTICS_BIND_KEY is 3, but must be None, for the main database, or the name of a bind in SQLALCHEMY_BINDS, "
        'for example "log".'
    )


def test_bind_key_that_the_app_does_not_have(make_app: MakeApp) -> None:
    with pytest.raises(SettingError) as error:
        make_app(SQLALCHEMY_BINDS={"log": "sqlite://"}, STATISTICS_BIND_KEY="logs", **OPTIONS)
    assert str(error.value) == (
        "STATISTICS_BIND_KEY is 'logs', but must be one of 'log', None: add it to SQLALCHEMY_BINDS, or "
        "SQLALCHEMY_DATABASE_URI for None."
    )


def test_bind_key_before_the_binds_are_known(make_app: MakeApp) -> None:
    app = make_app()
    app.flask.config["STATISTICS_BIND_KEY"] = None
    with pytest.raises(SettingError, match=r"call db\.init_app\(app\) before statistics\.init_app"):
        Statistics(app.flask, SQLAlchemy(), app.Request)


def test_bind_key_of_the_raw_table_is_beside_it(make_app: MakeApp) -> None:
    """Also in a metadata of the model's own, which the app's are not."""
    own = sa.MetaData()

    def model(db: SQLAlchemy) -> type[Any]:
        return type("Request", (RequestMixin, db.Model), {"metadata": own})

    make_app(model=model, STATISTICS_BIND_KEY=None, **OPTIONS)
    assert {"request", "statistics_rollup"} <= own.tables.keys()
