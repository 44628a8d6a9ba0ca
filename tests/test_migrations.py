"""Migrations that are written where other settings hold drop none of our tables."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask_migrate
import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_statistics import RequestMixin, Statistics
from flask_statistics.migrations import include_object

EVERYTHING = {"STATISTICS_ROLLUPS": True, "STATISTICS_WRITER": "spool", "STATISTICS_ANONYMIZE_IP": "hash"}


def app_with(url: str, **config: Any) -> Flask:
    app = Flask("tests.app")
    app.config.update(SQLALCHEMY_DATABASE_URI=url, STATISTICS_SCHEDULER=False, **config)
    db = SQLAlchemy(app)
    model = type("Request", (RequestMixin, db.Model), {})
    flask_migrate.Migrate(app, db, include_object=include_object)
    Statistics(app, db, model)
    return app


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where migrations go. Alembic's own configuration of logging is undone at the end: it silences all other loggers."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield tmp_path / "migrations"
    logging.root.handlers[:], logging.root.level = handlers, level
    for logger in logging.Logger.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.disabled = False


def migrate(app: Flask, folder: Path) -> str:
    """What a new migration does; empty: there was nothing to do."""
    before = set((folder / "versions").glob("*.py"))
    with app.app_context():
        flask_migrate.migrate(str(folder))
        flask_migrate.upgrade(str(folder))
    return "".join(path.read_text() for path in set((folder / "versions").glob("*.py")) - before)


# Flask-Migrate's template asks Flask-SQLAlchemy 3 in the words of 2 first
@pytest.mark.filterwarnings("ignore:'get_engine' is deprecated")
def test_migrations_keep_the_tables_of_other_settings(tmp_path: Path, folder: Path) -> None:
    url = f"sqlite:///{tmp_path / 'app.sqlite'}"
    production = app_with(url, **EVERYTHING)
    with production.app_context():
        flask_migrate.init(str(folder))
    first = migrate(production, folder)
    assert first.count("op.create_table(") == len(sa.inspect(sa.create_engine(url)).get_table_names()) - 1
    assert migrate(app_with(url), folder) == ""
    assert migrate(production, folder) == ""
    assert "statistics_segment" in sa.inspect(sa.create_engine(url)).get_table_names()


@pytest.mark.parametrize(
    ("name", "type_", "reflected", "model", "included"),
    [
        ("statistics_segment", "table", True, None, False),
        ("statistics_segment", "table", True, object(), True),
        ("statistics_segment", "table", False, None, True),
        ("request", "table", True, None, True),
        ("statistics_index", "index", True, None, True),
        (None, "unique_constraint", True, None, True),
    ],
)
def test_include_object(name: str | None, type_: str, reflected: bool, model: object, included: bool) -> None:
    assert include_object(object(), name, type_, reflected, model) is included
