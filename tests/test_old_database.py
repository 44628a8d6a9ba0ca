"""A SQLite file beside the app that an upgrade of Flask-SQLAlchemy left behind is named: at the start, by init, on the page."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_statistics import RequestMixin, Statistics
from flask_statistics.old_database import left_behind


def app_in(folder: Path, url: str) -> Flask:
    folder.mkdir(exist_ok=True)
    app = Flask("tests.app", root_path=str(folder), instance_path=str(folder / "instance"))
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    db = SQLAlchemy(app)
    Statistics(app, db, type("Request", (RequestMixin, db.Model), {}))
    return app


def recorded(folder: Path, url: str) -> None:
    """Let an app there record a request."""
    app = app_in(folder, url)
    assert app.test_cli_runner().invoke(args=["statistics", "init"]).exit_code == 0
    app.test_client().get("/")


def test_old_database_is_named_everywhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorded(tmp_path, f"sqlite:///{tmp_path / 'database.db'}")  # where Flask-SQLAlchemy 2 had it
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        app = app_in(tmp_path, "sqlite:///database.db")
    assert f"but {tmp_path / 'database.db'} does" in caplog.text
    init = app.test_cli_runner().invoke(args=["statistics", "init"])
    assert (init.exit_code, str(tmp_path / "database.db") in init.stderr) == (0, True)
    page = app.test_client().get("/statistics/").text
    assert f"but {tmp_path / 'database.db'} does" in page
    app.test_client().get("/")
    assert "database.db" not in app.test_client().get("/statistics/").text


def test_old_database_is_left_alone_where_nothing_is_lost(tmp_path: Path) -> None:
    recorded(tmp_path, "sqlite:///database.db")  # in the instance folder
    (tmp_path / "database.db").write_bytes(b"")
    (tmp_path / "text.db").write_text("no database")
    places = {"root": str(tmp_path), "instance": str(tmp_path / "instance"), "table": "request"}
    for url in (
        "sqlite:///database.db",
        "sqlite:///text.db",
        "sqlite:///none.db",
        "sqlite://",
        "sqlite:///:memory:",
        "",
        "x",
    ):
        assert left_behind(url, **places) is None
    assert left_behind(f"sqlite:///{tmp_path / 'database.db'}", **places) is None
    assert left_behind("postgresql://localhost/database.db", **places) is None
