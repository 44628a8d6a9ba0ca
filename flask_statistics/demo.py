"""A small shop to look at the dashboard with: ``flask --app flask_statistics.demo run``.

Keeps made-up requests of the last 28 days, and those you make yourself, in `flask-statistics-demo.sqlite` in the folder
where it is started. A later start fills the time since the last one. Delete the file to start over. It is also an
example of an app that uses Flask-Statistics: nothing in it is special.
"""

from __future__ import annotations

import random
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import click
import sqlalchemy as sa
from flask import Flask, redirect, render_template_string, request, url_for
from flask_sqlalchemy import SQLAlchemy
from werkzeug.wrappers import Response

from . import made_up, releases_seen, schema, traffic
from .connections import WORKING
from .dimensions import Dimension
from .extension import Statistics
from .models import RequestMixin
from .state import State, state_of

FILE_NAME = "flask-statistics-demo.sqlite"
LENGTH = timedelta(days=28)
REQUESTS = 30_000
"""Made-up requests in that time."""
VISITORS = 1_500
PRODUCTS = 12

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Flask-Statistics demo</title>
<style>
  body { font: 1rem/1.6 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem }
  li { margin: .4rem 0 }
</style>
<h1>{{ title }}</h1>
{{ body | safe }}
{% if request.endpoint != "home" %}<p><a href="{{ url_for('home') }}">Back</a></p>{% endif %}
</html>
"""
HOME = """
<p>This shop has {{ "{:,}".format(requests) }} made-up requests of 28 days, and one more with each page that you open.
See them in the <a href="{{ url_for('statistics.index') }}">statistics</a>.</p>
<p>Make some of your own:</p>
<ul>
  <li><a href="{{ url_for('slow') }}">a slow page</a></li>
  <li><a href="{{ url_for('moody') }}">a page that fails every third time</a></li>
  <li><a href="{{ url_for('products') }}">a page that asks its database in a loop</a></li>
  <li><a href="{{ url_for('product', number=7, tenant='north') }}">a product, for a tenant</a></li>
  <li><a href="{{ url_for('home') }}nowhere">a page that does not exist</a></li>
  <li><a href="{{ url_for('contact') }}">a form</a></li>
</ul>
"""
FORM = """
<form method="post">
  <label>Your message <input name="message" required></label>
  <button>Send</button>
</form>
"""


def create_app(database: str | Path | None = None) -> Flask:
    """The demo, with its data in the SQLite file `database`; None: `flask-statistics-demo.sqlite` in the current folder.

    Settings come from the environment as well, such as `FLASK_STATISTICS_TIMEZONE`.
    """
    path = Path(database or FILE_NAME).resolve()
    app = Flask(__name__)
    app.config.from_prefixed_env()
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{path}"
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"connect_args": {"timeout": 60}}  # workers wait for the one that fills
    app.config.setdefault("STATISTICS_TITLE", "shop.example")
    app.config.setdefault("STATISTICS_COUNTRY", "CF-IPCountry")  # what is made up has countries, releases and users
    app.config.setdefault("STATISTICS_RELEASE", "v43")
    app.config.setdefault("STATISTICS_USER", lambda: None)
    for name in ("QUERIES", "OUTGOING", "LOG_LINES"):
        app.config.setdefault(f"STATISTICS_{name}", True)
    db = SQLAlchemy(app)
    request_model = type("Request", (RequestMixin, db.Model), {"tenant": db.Column(db.String(32))})
    columns = {"id": db.Column(db.Integer, primary_key=True), "name": db.Column(db.String(80))}
    product = type("Product", (db.Model,), columns)
    tenant = Dimension("tenant", none="(none)", record=lambda: request.args.get("tenant", "")[:32] or None)
    Statistics(app, db, request_model, dimensions=[tenant])
    _add_pages(app)
    app.add_url_rule("/products", "products", lambda: _products(db, product))
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    made = fill(state_of(app), now=now)
    with app.app_context():
        mark_releases(state_of(app), now=now)
        db.engine.dispose()  # a server that forks now must not share the connection
    click.echo(f"Demo data are in {path} ({made:,} requests added); delete it to start over.", err=True)
    return app


def fill(state: State, *, now: datetime) -> int:
    """Store made-up requests from the last one stored, at most 28 days ago, to `now`; gives their number.

    Creates the tables and the columns that are missing.
    """
    raw = state.raw
    with state.engine().begin() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # workers that start together must not all fill the same time
        raw.table.metadata.create_all(connection)
        for lack in schema.lacking(state, connection, connection):  # a file of an older version
            for statement in lack.additions(connection.dialect):
                connection.exec_driver_sql(statement)
        last = connection.scalar(sa.select(sa.func.max(raw.columns["date"])))
        start = max(last, now - LENGTH) if last else now - LENGTH
        requests = int(REQUESTS * ((now - start) / LENGTH))
        if requests <= 0:
            return 0
        rows = traffic.generate(
            start=start, end=now, requests=requests, seed=int(start.timestamp()), visitors=VISITORS, paths=300
        )
        return sum(made_up.store(connection, state, rows, now=now))


def mark_releases(state: State, *, now: datetime) -> None:
    """Mark since when the made-up releases are seen, unless that is known."""
    if not state.read_kept().marks:
        queries, dimension = state.queries_apart(), state.dimensions[releases_seen.DIMENSION]
        engine, zone = state.our_engine_for(WORKING), state.settings.timezone
        releases_seen.mark_stored(queries, dimension, engine, state.kept, now=now, zone=zone)


def _add_pages(app: Flask) -> None:
    app.add_url_rule("/", "home", _home)
    app.add_url_rule("/slow", "slow", _slow)
    app.add_url_rule("/moody", "moody", _moody)
    app.add_url_rule("/product/<int:number>", "product", _product)
    app.add_url_rule("/contact", "contact", _contact, methods=["GET", "POST"])


def _page(title: str, body: str) -> str:
    return render_template_string(PAGE, title=title, body=body)


def _home() -> str:
    return _page("A small shop", render_template_string(HOME, requests=REQUESTS))


def _slow() -> str:
    time.sleep(random.uniform(0.3, 1.2))  # noqa: S311 - a demo # nosec B311
    return _page("That took a while", "<p>Its response time is in the statistics.</p>")


def _moody() -> str:
    if random.random() < 1 / 3:  # noqa: S311 - a demo # nosec B311
        raise RuntimeError("the page is in a bad mood")
    return _page("All is well", "<p>Reload: every third time or so it fails, with its exception in the statistics.</p>")


def _products(db: SQLAlchemy, product: Any) -> str:
    """All products, each read by itself, as happens by mistake."""
    if not db.session.scalar(sa.select(sa.func.count()).select_from(product)):
        db.session.add_all(product(name=f"Product {number}") for number in range(1, PRODUCTS + 1))
        db.session.commit()
    names = [
        db.session.scalar(sa.select(product.name).where(product.id == number)) for number in range(1, PRODUCTS + 1)
    ]
    listed = "".join(f"<li>{name}</li>" for name in names)
    return _page("All products", f"<p>Each was asked for by itself: see <em>Database</em>.</p><ul>{listed}</ul>")


def _product(number: int) -> str:
    return _page(f"Product {number}", "<p>All products are one route in the statistics.</p>")


def _contact() -> str | Response:
    if request.method == "POST":
        return redirect(url_for("contact", sent=1))
    return _page("Contact", "<p>Thank you. Nobody reads this.</p>" if "sent" in request.args else FORM)
