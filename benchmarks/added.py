"""What one package adds to a bare request of the same Flask, in its own environment; prints one line of JSON.

    python benchmarks/added.py original|monitoring|direct|spool FOLDER

Imports nothing of the other benchmarks: it also runs where an old Flask is, with the original package.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from flask import Flask
from werkzeug.test import EnvironBuilder

AGENT = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:72.0) Gecko/20100101 Firefox/72.0"
COLUMNS = "method path user_agent remote_address exception referrer browser platform mimetype"


def bare() -> Flask:
    """An app with one page."""
    app = Flask(__name__)
    app.add_url_rule("/page/<number>", "page", lambda number: f"page {number}")
    return app


def monitored(folder: Path) -> Flask:
    """The app under Flask-MonitoringDashboard, as its documentation binds it."""
    import flask_monitoringdashboard as dashboard  # type: ignore[import-not-found,unused-ignore]

    app = bare()
    app.secret_key = "measured"
    dashboard.config.database_name = f"sqlite:///{folder / 'monitoring.sqlite'}"
    dashboard.bind(app)
    return app


def recorded(folder: Path, kind: str) -> Flask:
    """The app under Flask-Statistics, with the model that the original's README shows."""
    from flask_sqlalchemy import SQLAlchemy

    from flask_statistics import Statistics

    app = bare()
    app.config.update(
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{folder / kind}.sqlite",
        SQLALCHEMY_TRACK_MODIFICATIONS=False,
        STATISTICS_WRITER="spool" if kind == "spool" else "direct",
        STATISTICS_SPOOL_PATH=str(folder / "spool"),
    )
    db: Any = SQLAlchemy(app)
    columns = {
        "index": db.Column(db.Integer, primary_key=True, autoincrement=True),
        "response_time": db.Column(db.Float),
        "date": db.Column(db.DateTime),
        "size": db.Column(db.Integer),
        "status_code": db.Column(db.Integer),
    }
    texts = {name: db.Column(db.String) for name in COLUMNS.split()}
    Statistics(app, db, type("Request", (db.Model,), columns | texts))
    with app.app_context():
        db.create_all()
    return app


def seconds(app: Flask, number: int) -> float:
    """How long one request takes, by the WSGI call that a server makes."""
    environ = EnvironBuilder(f"/page/{number}?a=1", headers=[("User-Agent", AGENT)]).get_environ()
    started = time.perf_counter()
    body: Any = app(environ, lambda *_: lambda data: None)
    b"".join(body)
    body.close()
    return time.perf_counter() - started


def main() -> None:
    kind, folder = sys.argv[1], Path(sys.argv[2])
    app, plain = monitored(folder) if kind == "monitoring" else recorded(folder, kind), bare()
    without, added = [], []
    requests = 10_000 if kind == "spool" else 500
    for number in range(-100, requests):
        if number % 2:
            first, second = seconds(plain, number), seconds(app, number)
        else:
            second, first = seconds(app, number), seconds(plain, number)
        if number >= 0:  # what comes before warms up
            without.append(first)
            added.append(second - first)
    print(json.dumps({"bare_us": median(without) * 1e6, "added_us": median(added) * 1e6}))


if __name__ == "__main__":
    main()
