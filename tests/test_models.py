"""The user's model: what a row holds whatever columns, names, types and lengths it has."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase

from flask_statistics import RequestMixin, SettingError
from flask_statistics.models import KNOWN_COLUMNS, fit, map_model
from flask_statistics.record import FIELDS
from flask_statistics.state import state_of
from flask_statistics.user_agents import columns_of

from .conftest import ORIGINAL_COLUMNS, App, original_model

MakeApp = Callable[..., App]


def model_of(**columns: Callable[[], sa.Column[Any]]) -> Callable[[SQLAlchemy], type[Any]]:
    """A model with a key `index` and these columns."""

    def model(db: SQLAlchemy) -> type[Any]:
        made = {name: column() for name, column in columns.items()}
        return type("Request", (db.Model,), {"index": db.Column(db.Integer, primary_key=True), **made})

    return model


def date() -> sa.Column[Any]:
    return sa.Column(sa.DateTime)


def broken(app: Flask) -> None:
    app.add_url_rule("/broken/<path:rest>", "broken", lambda rest: str(1 // 0))


# ---- columns -----------------------------------------------------------------------------------------------------


def test_mixin_has_the_known_columns() -> None:
    class Base(DeclarativeBase):
        pass

    class Request(RequestMixin, Base):
        __tablename__ = "request"

    assert set(map_model(Request).columns) == {"index", *KNOWN_COLUMNS}
    assert [column.name for column in Request.__table__.indexes.pop().columns] == ["date"]  # type: ignore[attr-defined]


def test_known_columns_are_what_records_and_user_agents_have() -> None:
    assert sorted(KNOWN_COLUMNS) == sorted([*FIELDS, *columns_of("")])


def test_original_model_is_filled(make_app: MakeApp, database_url: str) -> None:
    app = make_app(database_url, model=original_model)
    app.client.get("/nowhere", headers={"User-Agent": "curl/8.4.0"})
    row = app.row()
    assert (row.path, row.status_code, row.browser, row.platform) == ("/nowhere", 404, "curl 8.4.0", None)
    assert row.date.tzinfo is None


@pytest.mark.parametrize("missing", [name for name in ORIGINAL_COLUMNS if name != "date"])
def test_model_without_a_column(make_app: MakeApp, missing: str) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        original = original_model(db)
        columns = {
            column.name: db.Column(column.type) for column in original.__table__.columns if column.name != missing
        }
        key = {"index": db.Column(db.Integer, primary_key=True), "__tablename__": "without"}
        return type("Without", (db.Model,), columns | key)

    app = make_app(model=model, before=broken)
    app.client.get("/broken/x")
    assert app.row().date is not None
    summary = app.json("summary")
    assert summary["hits"] == 1
    app.json("series?unit=day")
    assert missing not in app.json("requests")["rows"][0]
    for dimension in state_of(app.flask).dimensions:
        assert app.json(f"breakdown/{dimension}?sort=-p95")["total"] == 1


def test_model_with_nothing_but_a_date(make_app: MakeApp, database_url: str) -> None:
    app = make_app(database_url, model=model_of(date=date))
    app.client.get("/")
    assert app.json("summary")["hits"] == 1
    assert app.json("summary")["visitors"] is None
    error = app.json("breakdown/path", 400)["error"]
    assert error == "dimension is 'path', but must be one of "
    assert app.json("requests")["rows"][0].keys() == {"id", "date"}


def test_model_with_other_names_in_the_database(make_app: MakeApp, database_url: str) -> None:
    columns: dict[str, Callable[[], sa.Column[Any]]] = {
        "date": lambda: sa.Column("requested_at", sa.DateTime),
        "path": lambda: sa.Column("url", sa.String(50), key="address"),
        "status_code": lambda: sa.Column("code", sa.Integer),
    }
    app = make_app(database_url, model=model_of(**columns))
    app.client.get("/nowhere")
    row = app.row()
    assert (row.path, row.status_code) == ("/nowhere", 404)
    assert app.json("breakdown/path?status_code=404")["rows"][0]["value"] == "/nowhere"


def test_model_with_required_columns_of_its_own(make_app: MakeApp, database_url: str) -> None:
    columns: dict[str, Callable[[], sa.Column[Any]]] = {
        "date": date,
        "path": lambda: sa.Column(sa.Text),
        "tenant": lambda: sa.Column(sa.String(10), nullable=False, default="main"),
        "made_by": lambda: sa.Column(sa.String(10), nullable=False, default=lambda: "nobody"),
        "kind": lambda: sa.Column(sa.String(10), nullable=False, server_default="web"),
    }
    app = make_app(database_url, model=model_of(**columns))
    app.client.get("/nowhere")
    row = app.row()
    assert (row.path, row.tenant, row.made_by, row.kind) == ("/nowhere", "main", "nobody", "web")


def test_model_on_a_bind(make_app: MakeApp, new_database: Any) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        return type("Request", (RequestMixin, db.Model), {"__bind_key__": "log"})

    with new_database("sqlite") as url:
        app = make_app(model=model, SQLALCHEMY_BINDS={"log": url})
        app.client.get("/nowhere")
        assert app.row().path == "/nowhere"
        assert app.json("summary")["hits"] == 1
        with app.flask.app_context():
            assert sa.inspect(app.db.engines["log"]).get_table_names() == [
                "request",
                "statistics_import",
                "statistics_issue",
                "statistics_mark",
                "statistics_view",
            ]
            assert sa.inspect(app.db.engine).get_table_names() == []
        app.close()


def test_model_with_aware_dates(make_app: MakeApp, database_url: str) -> None:
    app = make_app(database_url, model=model_of(date=lambda: sa.Column(sa.DateTime(timezone=True))))
    app.client.get("/")
    stored = app.row().date
    assert abs(stored.replace(tzinfo=stored.tzinfo or timezone.utc) - datetime.now(timezone.utc)).total_seconds() < 60
    assert app.json("summary?span=24h")["hits"] == 1
    assert app.json("requests")["rows"][0]["date"].endswith("+00:00")
    assert sum(point["hits"] for point in app.json("series?unit=hour")["points"]) == 1


def test_model_with_a_text_key(make_app: MakeApp) -> None:
    numbers = count()

    def model(db: SQLAlchemy) -> type[Any]:
        key = db.Column(db.String(36), primary_key=True, default=lambda: f"k{next(numbers)}")
        return type("Request", (db.Model,), {"index": key, "date": db.Column(db.DateTime)})

    app = make_app(model=model)
    for _ in range(3):
        app.client.get("/")
    first = app.json("requests?limit=2")
    assert (first["before"], len(first["rows"])) == ("k1", 2)
    assert [row["id"] for row in app.json("requests?before=k1")["rows"]] == ["k0"]


# ---- values ------------------------------------------------------------------------------------------------------


def test_values_of_columns_without_a_length_are_cut(make_app: MakeApp) -> None:
    app = make_app(model=original_model)
    app.client.get(
        "/" + "p" * 50_000, headers={"User-Agent": "u" * 50_000, "Referer": "https://r.example/" + "r" * 50_000}
    )
    row = app.row()
    assert [len(getattr(row, name)) for name in ("path", "user_agent", "referrer")] == [20_000, 20_000, 20_000]


def test_values_that_are_too_long_are_cut(make_app: MakeApp, database_url: str) -> None:
    app = make_app(database_url)
    path = "/" + "x" * 5_000
    headers = {"User-Agent": "y" * 3_000, "Referer": "z" * 4_000}
    app.client.get(path + "?" + "q" * 4_000, headers=headers)
    row = app.row()
    assert (row.path, row.user_agent, row.referrer) == (path[:2048], "y" * 1024, "z" * 2048)
    assert row.query_string == "q" * 2048
    assert app.json(f"summary?path={path}")["hits"] == 1


def test_nul_bytes_do_not_cost_the_row(make_app: MakeApp, database_url: str) -> None:
    app = make_app(database_url)
    app.client.get("/a%00b?c%00d", headers={"Referer": "http://x.example/%00"})
    assert app.row().path == "/a\N{SYMBOL FOR NULL}b"
    assert app.json("summary?path=/a%00b")["hits"] == 1
    assert app.json("breakdown/path?search=%00")["total"] == 0
    assert app.json("summary?q=%00")["hits"] == 0


@pytest.mark.parametrize(
    ("kind", "value", "stored"),
    [
        (sa.String(3), "abcd", "abc"),
        (sa.String(), "abcd", "abcd"),
        (sa.Text(), "a\0b", "a\u2400b"),
        (sa.String(3), "\ud800bc", "?bc"),
        (sa.String(3), None, None),
        (sa.Integer(), 5_000_000_000, 2**31 - 1),
        (sa.Integer(), None, None),
        (sa.SmallInteger(), 70_000, 2**15 - 1),
        (sa.BigInteger(), 5_000_000_000, 5_000_000_000),
        (sa.BigInteger(), 10**20, 2**63 - 1),
        (sa.DateTime(timezone=True), datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=timezone.utc)),
    ],
)
def test_fit(kind: Any, value: Any, stored: Any) -> None:
    make_fit = fit(sa.Column("column", kind))
    assert make_fit is not None
    assert make_fit(value) == stored
    if make_fit.has_nothing_to_do([value, None, value]):
        assert stored == value
    assert make_fit.has_nothing_to_do([])


@pytest.mark.parametrize("kind", [sa.Float(), sa.DateTime(), sa.LargeBinary()])
def test_fit_is_not_needed(kind: Any) -> None:
    assert fit(sa.Column("column", kind)) is None


# ---- refusals ----------------------------------------------------------------------------------------------------


def test_map_model_refuses_what_is_no_model() -> None:
    for wrong in (object, "Request", None):
        with pytest.raises(SettingError, match=r"must be a Flask-SQLAlchemy model class, for example class Request"):
            map_model(wrong)  # type: ignore[arg-type]


def test_map_model_refuses_a_model_without_date(make_app: MakeApp) -> None:
    with pytest.raises(SettingError) as error:
        make_app(model=model_of(path=lambda: sa.Column(sa.Text)))
    assert str(error.value) == (
        "The model Request has no column 'date', which every number on the dashboard needs. "
        "Add date = db.Column(db.DateTime, index=True), or inherit from RequestMixin."
    )


def test_map_model_refuses_a_model_whose_key_is_the_date(make_app: MakeApp) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        return type("Request", (db.Model,), {"date": db.Column(db.DateTime, primary_key=True)})

    with pytest.raises(SettingError, match="has no primary key besides 'date'"):
        make_app(model=model)


def test_identity_of_a_row(make_app: MakeApp) -> None:
    raw = state_of(make_app().flask).raw
    assert raw.identity("7") == 7
    for text in ("x", "", str(2**63), "\0"):
        with pytest.raises(ValueError):  # noqa: PT011 - int's own message
            raw.identity(text)


def test_model_mixin_beside_columns_of_ones_own(make_app: MakeApp) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        own = {"__tablename__": "hits", "tenant": db.Column(db.Integer, default=3)}
        return type("Hit", (RequestMixin, db.Model), own)

    app = make_app(model=model)
    app.client.get("/")
    assert app.row().tenant == 3
