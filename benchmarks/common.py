"""An app to measure, on a temporary SQLite file or on the database that the command line names."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_statistics import RequestMixin, Statistics
from flask_statistics.guards import everybody


@contextmanager
def database() -> Iterator[str]:
    """URL of a database to measure on."""
    if len(sys.argv) > 1:
        yield sys.argv[1]
        return
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite:///{Path(folder) / 'benchmark.sqlite'}"


def make_app(url: str, *, create: bool = True, **config: Any) -> Flask:
    """An app with one page, and empty tables unless they are not to be made."""
    app = bare_app()
    app.config.update(SQLALCHEMY_DATABASE_URI=url, **config)
    db = SQLAlchemy(app)
    Statistics(app, db, type("Request", (RequestMixin, db.Model), {}), everybody)
    with app.app_context():
        if create:
            db.drop_all()
            db.create_all()
        db.engine.dispose()  # whoever asks for an app to be served uses no connection of it
    return app


def app_with_database(url: str) -> Flask:
    """The same app, with its database and model and without statistics."""
    app = bare_app()
    app.config.update(SQLALCHEMY_DATABASE_URI=url)
    db = SQLAlchemy(app)
    type("Request", (RequestMixin, db.Model), {})
    return app


def bare_app() -> Flask:
    """The same app without a database."""
    app = Flask(__name__)
    app.add_url_rule("/page/<number>", "page", lambda number: f"page {number}")
    return app
