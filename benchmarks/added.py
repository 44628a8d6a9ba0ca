"""What one package adds to a bare request of the same Flask, in its own environment; prints one line of JSON.

    python benchmarks/added.py original|monitoring|direct|spool|whole|sentry|sentry-tracing|opentelemetry|prometheus FOLDER

`whole` is the spool with every column, statements, calls and lines of the log. What the others collect goes nowhere.

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


def sentry(*, tracing: bool) -> Flask:
    """The app under Sentry's SDK, which sends to nobody."""
    import sentry_sdk  # type: ignore[import-not-found,unused-ignore]
    from sentry_sdk.transport import Transport  # type: ignore[import-not-found,unused-ignore]

    class Nowhere(Transport):  # type: ignore[misc,unused-ignore]
        def capture_envelope(self, envelope: object) -> None:
            """Forget it."""

    sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", transport=Nowhere, traces_sample_rate=1.0 if tracing else None)
    return bare()


def opentelemetry() -> Flask:
    """The app under OpenTelemetry's instrumentation, whose spans go nowhere."""
    from opentelemetry import trace  # type: ignore[import-not-found,unused-ignore]
    from opentelemetry.instrumentation.flask import FlaskInstrumentor  # type: ignore[import-not-found,unused-ignore]
    from opentelemetry.sdk.trace import TracerProvider  # type: ignore[import-not-found,unused-ignore]
    from opentelemetry.sdk.trace.export import (  # type: ignore[import-not-found,unused-ignore]
        BatchSpanProcessor,
        SpanExporter,
        SpanExportResult,
    )

    class Nowhere(SpanExporter):  # type: ignore[misc,unused-ignore]
        def export(self, spans: object) -> Any:
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    trace.set_tracer_provider(provider)
    app = bare()
    FlaskInstrumentor().instrument_app(app)
    return app


def prometheus() -> Flask:
    """The app under prometheus-flask-exporter."""
    from prometheus_flask_exporter import PrometheusMetrics  # type: ignore[import-not-found,unused-ignore]

    app = bare()
    PrometheusMetrics(app)
    return app


def whole(folder: Path) -> Flask:
    """The app under Flask-Statistics with all that it can note of a request."""
    from flask_sqlalchemy import SQLAlchemy

    from flask_statistics import RequestMixin, Statistics

    app = bare()
    app.config.update(
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{folder / 'whole'}.sqlite",
        STATISTICS_WRITER="spool",
        STATISTICS_SPOOL_PATH=str(folder / "spool"),
        STATISTICS_RELEASE="v1",
        STATISTICS_QUERIES=True,
        STATISTICS_OUTGOING=True,
        STATISTICS_LOG_LINES=True,
    )
    db: Any = SQLAlchemy(app)
    Statistics(app, db, type("Request", (RequestMixin, db.Model), {}))
    with app.app_context():
        db.create_all()
    return app


def made(kind: str, folder: Path) -> Flask:
    """The app under one of the packages."""
    if kind == "monitoring":
        return monitored(folder)
    if kind.startswith("sentry"):
        return sentry(tracing=kind.endswith("tracing"))
    others = {"opentelemetry": opentelemetry, "prometheus": prometheus}
    if kind in others:
        return others[kind]()
    return whole(folder) if kind == "whole" else recorded(folder, kind)


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
    requests = 500 if kind in ("direct", "original", "monitoring") else 10_000
    plain = bare()
    if kind.startswith("sentry"):  # which changes Flask itself, so that no app of the process is bare any more
        without = [seconds(plain, number) for number in range(-100, requests)][100:]
        app = made(kind, folder)
        usual = median(without)
        added = [seconds(app, number) - usual for number in range(-100, requests)][100:]
    else:
        without, added = in_turns(plain, made(kind, folder), requests)
    print(json.dumps({"bare_us": median(without) * 1e6, "added_us": median(added) * 1e6}))


def in_turns(plain: Flask, app: Flask, requests: int) -> tuple[list[float], list[float]]:
    """How long requests to `plain` take, and how much longer those to `app`."""
    without, added = [], []
    for number in range(-100, requests):
        if number % 2:
            first, second = seconds(plain, number), seconds(app, number)
        else:
            second, first = seconds(app, number), seconds(plain, number)
        if number >= 0:  # what comes before warms up
            without.append(first)
            added.append(second - first)
    return without, added


if __name__ == "__main__":
    main()
