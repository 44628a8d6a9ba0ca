"""Wiring: the public constructor, app factories, several apps, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from functools import partial
from html import unescape
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from flask import Blueprint, Flask, g, request
from flask_sqlalchemy import SQLAlchemy
from markupsafe import Markup
from werkzeug.local import LocalProxy

import flask_statistics
from flask_statistics import Dimension, Record, RequestMixin, SettingError, Statistics, Writer
from flask_statistics.record import Backlog, Counters
from flask_statistics.state import State, state_of

from .conftest import App, whole_model

MakeApp = Callable[..., App]


def new(**config: Any) -> tuple[Flask, SQLAlchemy, type[Any]]:
    app = Flask("tests.app")
    app.config.update(SQLALCHEMY_DATABASE_URI="sqlite://", **config)
    db = SQLAlchemy(app)
    return app, db, whole_model(db)


def test_statistics_takes_four_positional_arguments() -> None:
    app, db, model = new()
    Statistics(app, db, model, lambda: False)
    assert app.test_client().get("/statistics/").status_code == 403


def test_statistics_init_app_later() -> None:
    app, db, model = new()
    statistics = Statistics()
    statistics.init_app(app, db, model, lambda: False)
    assert app.test_client().get("/statistics/").status_code == 403
    assert vars(statistics).keys() == {"_own", "_apps"}  # panels of one's own, and the names that each app has taken


def test_statistics_app_factory() -> None:
    db = SQLAlchemy()
    model = whole_model(db)
    statistics = Statistics()

    def create_app() -> Flask:
        app = Flask("tests.app")
        app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
        db.init_app(app)
        statistics.init_app(app, db, model)
        with app.app_context():
            db.create_all()
        return app

    for app in (create_app(), create_app()):
        app.test_client().get("/")
        assert app.test_client().get("/statistics/api/summary").get_json()["hits"] == 1


def test_statistics_before_the_database_knows_the_app() -> None:
    app, db = Flask("tests.app"), SQLAlchemy()
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    model = whole_model(db)
    Statistics(app, db, model)
    db.init_app(app)
    with app.app_context():
        db.create_all()
    app.test_client().get("/")
    assert app.test_client().get("/statistics/api/summary").get_json()["hits"] == 1


def test_statistics_with_some_arguments_is_refused() -> None:
    app, db, _ = new()
    with pytest.raises(
        TypeError, match=r"^Statistics takes app, db and model together, Statistics\(app, db, Request\)"
    ):
        Statistics(app, db)


def test_statistics_unknown_argument_is_refused() -> None:
    app, db, model = new()
    with pytest.raises(TypeError, match="url_prefix"):
        Statistics(app, db, model, url_prefix="/x")  # type: ignore[call-arg]


def test_statistics_refuses_a_strange_database() -> None:
    app, _, model = new()
    with pytest.raises(SettingError, match=r"^db is 'db', but must be the app's flask_sqlalchemy.SQLAlchemy object\.$"):
        Statistics(app, "db", model)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["before_f", "disable_f"])
def test_statistics_refuses_what_is_no_function(name: str) -> None:
    app, db, model = new()
    with pytest.raises(SettingError, match=rf"^{name} is True, but must be a function without arguments, or None\.$"):
        Statistics(app, db, model, **{name: True})  # type: ignore[arg-type]


def test_statistics_twice_on_one_app_is_refused() -> None:
    app, db, model = new()
    Statistics(app, db, model)
    with pytest.raises(RuntimeError, match=r"^This app is registered with a Statistics object already"):
        Statistics(app, db, model)


def test_statistics_refuses_a_blueprint_of_its_name_and_changes_nothing() -> None:
    app, db, model = new()
    app.register_blueprint(Blueprint("statistics", __name__))
    with pytest.raises(RuntimeError, match=r"^The app has a blueprint named 'statistics' of its own already"):
        Statistics(app, db, model)
    assert "statistics" not in app.extensions
    assert app.wsgi_app.__func__ is Flask.wsgi_app  # type: ignore[attr-defined]


def test_statistics_refuses_a_table_of_its_name() -> None:
    app, db, model = new()
    type("Mine", (db.Model,), {"__tablename__": "statistics_import", "id": db.Column(db.Integer, primary_key=True)})
    with pytest.raises(SettingError, match=r"^The app has a table 'statistics_import' of its own"):
        Statistics(app, db, model)


def test_state_of_an_app_without_statistics() -> None:
    with pytest.raises(RuntimeError, match=r"Did you forget to call statistics.init_app\(app, db, Request\)\?"):
        state_of(Flask("tests.app"))


def test_statistics_warns_of_unknown_settings(caplog: pytest.LogCaptureFixture) -> None:
    app, db, model = new(STATISTICS_TIMEZON="UTC", STATISTICS_MINE=1)
    Statistics(app, db, model)
    assert [record.message for record in caplog.records] == [
        "Flask-Statistics knows no setting STATISTICS_TIMEZON. Did you mean STATISTICS_TIMEZONE?",
        "Flask-Statistics knows no setting STATISTICS_MINE.",
    ]


def test_statistics_disable_f_can_be_overridden() -> None:
    class Mine(Statistics):
        def disable_f(self) -> bool:
            return True

    app, db, model = new()
    Mine(app, db, model)
    app.test_client().get("/")
    assert app.test_client().get("/statistics/api/health").get_json()["recorded"] == 0


def test_statistics_endpoint_and_prefix() -> None:
    app, db, model = new(STATISTICS_URL_PREFIX="/admin/hits")
    Statistics(app, db, model)
    with app.test_request_context():
        assert app.url_for("statistics.index") == "/admin/hits/"
    client = app.test_client()
    assert client.get("/admin/hits").status_code == 308
    assert client.get("/admin/hits/api/health").get_json()["recorded"] == 0
    assert client.get("/statistics/").status_code == 404


@pytest.mark.parametrize(("length", "days"), [(timedelta(days=7), 7), (timedelta(days=31), 31)])
def test_statistics_default_span(make_app: MakeApp, length: timedelta, days: int) -> None:
    found = make_app(STATISTICS_DEFAULT_DATE_SPAN=length).json("summary")
    start, end = (datetime.fromisoformat(found[name]) for name in ("start", "end"))
    assert end - start == timedelta(days=days)
    assert start.time() == end.time() == time()


def test_statistics_dimension_of_ones_own(make_app: MakeApp, database_url: str) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        return type("Request", (RequestMixin, db.Model), {"tenant_id": db.Column(db.Integer, default=7)})

    app = make_app(database_url, model=model, dimensions=[Dimension("tenant", column="tenant_id")])
    app.client.get("/")
    assert [(row["value"], row["hits"]) for row in app.json("breakdown/tenant")["rows"]] == [(7, 1)]
    assert app.json("summary?tenant=7")["hits"] == 1
    assert app.json("summary?tenant=8")["hits"] == 0
    assert app.json("summary?tenant=x", 400)["error"] == "tenant is 'x', but must be a whole number"


@pytest.mark.parametrize(
    ("dimension", "message"),
    [
        (Dimension("browser"), "There is a dimension 'browser' already; give yours another name."),
        (
            Dimension("tenant"),
            "The dimension 'tenant' reads the column 'tenant', which the model does not have.",
        ),
    ],
)
def test_statistics_refuses_a_dimension(dimension: Dimension, message: str) -> None:
    app, db, model = new()
    with pytest.raises(SettingError) as error:
        Statistics(app, db, model, dimensions=[dimension])
    assert str(error.value) == message


def test_public_names() -> None:
    assert flask_statistics.__all__ == [
        "Backlog",
        "Dimension",
        "NotStored",
        "PanelQuery",
        "Record",
        "RequestMixin",
        "SettingError",
        "Statistics",
        "Writer",
        "request_recording",
        "requests_lost",
        "requests_stored",
        "rollups_updated",
    ]


def test_import_is_light() -> None:
    heavy = ("user_agents", "ua_parser", "crawleruseragents", "apscheduler", "numpy", "pyroaring")
    code = f"import sys, flask_statistics; print([name for name in {heavy!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


class Word(str, Enum):
    """A text that is somebody's own."""

    PLAIN = "plain"


class Instant(datetime):
    """An instant that is somebody's own."""


OWN: dict[str, tuple[Any, Any, Any]] = {
    "text": (sa.String(5), "quite long", "quite"),
    "number": (sa.Integer, "7", 7),
    "flag": (sa.Boolean, True, True),
    "day": (sa.Date, datetime(2026, 2, 3, 4), date(2026, 2, 3)),
    "moment": (sa.DateTime, datetime(2026, 2, 3, 4, tzinfo=timezone(timedelta(hours=1))), datetime(2026, 2, 3, 3)),
    "price": (sa.Numeric(8, 2), 1.25, Decimal("1.25")),
    "key": (sa.Uuid, "12345678-1234-5678-1234-567812345678", UUID("12345678-1234-5678-1234-567812345678")),
    "proxy": (sa.String(9), LocalProxy(lambda: g.who), "acme"),
    "proxy_of_none": (sa.String(9), LocalProxy(lambda: None), None),
    "proxy_of_a_day": (sa.Date, LocalProxy(lambda: date(2026, 2, 3)), date(2026, 2, 3)),
    "proxy_of_a_key": (sa.Uuid, LocalProxy(lambda: UUID(int=7)), UUID(int=7)),
    "markup": (sa.String(9), Markup("<b>"), "<b>"),
    "word": (sa.String(9), Word.PLAIN, "plain"),
    "their_instant": (sa.DateTime, Instant(2026, 2, 3), datetime(2026, 2, 3)),
    "absent": (sa.String(5), None, None),
    "too_large": (sa.Integer, 2**40, None),
    "no_flag": (sa.Boolean, "x", None),
    "no_day": (sa.Date, "2026-02-03", None),
}
"""Columns of a host's own: type, what its function returns, what is stored."""


@pytest.mark.parametrize("writer", ["direct", "spool"])
def test_dimension_fills_its_column(
    make_app: MakeApp, tmp_path: Path, writer: str, caplog: pytest.LogCaptureFixture
) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        columns = {name: db.Column(kind) for name, (kind, *_) in OWN.items()} | {"tenant_id": db.Column(db.String(20))}
        return type("Request", (RequestMixin, db.Model), columns)

    def who() -> None:
        g.who = "acme"
        if request.path != "/nobody":
            g.tenant = request.path

    asked: list[str] = []

    def tenant() -> Any:
        asked.append(request.path)
        return g.tenant

    app = make_app(
        model=model,
        before=lambda flask: flask.before_request(who),
        dimensions=[
            Dimension("tenant", column="tenant_id", record=tenant),
            *(Dimension(f"own_{name}", column=name, record=partial(lambda value: value, OWN[name][1])) for name in OWN),
        ],
        TESTING=True,
        STATISTICS_WRITER=writer,
        STATISTICS_SPOOL_PATH=tmp_path / "spool",
    )
    for path in ("/one", "/two", "/nobody", "/nobody"):
        app.client.get(path)
    assert [row.tenant_id for row in app.rows()] == ["/one", "/two", None, None]
    assert asked == ["/one", "/two", "/nobody", "/nobody"]
    assert {name: getattr(app.rows()[0], name) for name in OWN} == {name: stored for name, (*_, stored) in OWN.items()}
    logged = [entry.message.partition("'")[2].partition("'")[0] for entry in caplog.records]
    assert sorted(logged) == ["no_day", "no_flag", "tenant_id", "too_large"]
    assert app.json("summary?tenant=/two")["hits"] == 1


def test_dimension_fills_its_column_beside_older_requests_in_the_spool(make_app: MakeApp, tmp_path: Path) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        return type("Request", (RequestMixin, db.Model), {"tenant_id": db.Column(db.String(20))})

    options: dict[str, Any] = {
        "STATISTICS_WRITER": "spool",
        "STATISTICS_SPOOL_PATH": tmp_path / "spool",
        "TESTING": True,
    }
    before = make_app(model=model, **options)
    before.client.get("/before")
    url = before.flask.config["SQLALCHEMY_DATABASE_URI"]
    after = make_app(
        url, model=model, dimensions=[Dimension("tenant", column="tenant_id", record=lambda: "a")], **options
    )
    after.client.get("/after")
    assert [(row.path, row.tenant_id) for row in after.rows()] == [("/before", None), ("/after", "a")]


@pytest.mark.parametrize(
    ("column", "options", "record", "why"),
    [
        ("path", {}, len, "fills itself"),
        ("index", {}, len, "fills itself"),
        ("own", {}, 7, "record of the dimension 'tenant' is 7, but must be a function without arguments."),
        ("own", {"nullable": False}, len, "must not be NULL"),
        ("own", {"type_": sa.LargeBinary}, len, "can fill only columns of texts"),
    ],
)
def test_dimension_that_cannot_fill_its_column_is_refused(
    make_app: MakeApp, column: str, options: dict[str, Any], record: Any, why: str
) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        return type("Request", (RequestMixin, db.Model), {"own": db.Column(**{"type_": sa.String(20)} | options)})

    with pytest.raises(SettingError, match=why):
        make_app(model=model, dimensions=[Dimension("tenant", column=column, record=record)])


class Kept(Writer):
    """A writer of somebody's own."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def write(self, record: Record, *, host_in_transaction: bool) -> int:
        self.records.append(record)
        return 0


def test_extension_writer_of_ones_own(make_app: MakeApp) -> None:
    kept = Kept()
    app = make_app(writer=kept)
    app.client.get("/elsewhere", headers={"Referer": "/here"})
    assert app.rows() == []
    assert [(record.path, record.referrer, record.status_code) for record in kept.records] == [
        ("/elsewhere", "/here", 404)
    ]
    health = app.json("health")
    assert (health["recorded"], health["lost"]) == (0, 0)


def test_extension_writer_that_fails_loses_what_it_was_given(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Writer):
        def write(self, record: Record, *, host_in_transaction: bool) -> int:
            raise ConnectionError("the queue is away")

    app = make_app(writer=Failing())
    assert app.client.get("/").status_code == 404
    assert app.json("health")["lost_because"] == {"ConnectionError": 1}
    assert "the queue is away" in caplog.text
    assert "a fault of the app's own writer" in caplog.text


def test_extension_writer_that_is_none_is_refused(make_app: MakeApp) -> None:
    with pytest.raises(SettingError, match=r"inherits flask_statistics\.Writer"):
        make_app(writer=print)


@pytest.mark.parametrize("answer", ["stored", [1], -3], ids=str)
def test_statistics_writer_that_does_not_say_how_many_costs_no_request(
    make_app: Callable[..., App], caplog: pytest.LogCaptureFixture, answer: Any
) -> None:
    class Odd(Writer):
        def write(self, record: Record, *, host_in_transaction: bool) -> int:
            return answer  # type: ignore[no-any-return]

        def settle(self) -> int:
            return answer  # type: ignore[no-any-return]

        def backlog(self) -> Backlog:
            raise OSError("no queue")

        def in_memory(self) -> Backlog:
            return None  # type: ignore[return-value]

    app = make_app(writer=Odd(), before=lambda flask: flask.add_url_rule("/", "home", lambda: "home"))
    assert app.client.get("/").text == "home"
    assert "and not how many rows are in the table now that were not" in caplog.text
    page = unescape(app.client.get("/statistics/health").text)
    assert "backlog() of the app's writer failed: OSError: no queue" in page
    assert app.json("health")["recorded"] == 0


def test_extension_steps_can_be_overridden() -> None:
    class Half(Writer):
        """Passes on each second record."""

        def __init__(self, inner: Writer) -> None:
            self._inner, self._seen = inner, 0

        def write(self, record: Record, *, host_in_transaction: bool) -> int:
            self._seen += 1
            return self._inner.write(record, host_in_transaction=host_in_transaction) if self._seen % 2 else 0

        def settle(self) -> int:
            return self._inner.settle()

        def close(self) -> None:
            self._inner.close()

    class Sampling(Statistics):
        def make_writer(self, state: State, counters: Counters) -> Writer:
            return Half(super().make_writer(state, counters))

    app = Flask("tests.app")
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    db = SQLAlchemy(app)
    model = whole_model(db)
    Sampling(app, db, model)
    with app.app_context():
        db.create_all()
        for number in range(4):
            app.test_client().get(f"/{number}")
        assert [row.path for row in db.session.query(model).order_by(model.index)] == ["/0", "/2"]
    state_of(app).close()
