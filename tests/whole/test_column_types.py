"""Models as people write them: types that work in both modes, and all that cannot work refused at the start, with the fix."""

from __future__ import annotations

import enum
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.dialects import mysql, postgresql

from flask_statistics import RequestMixin, SettingError

from ..conftest import App

MakeModel = Callable[[SQLAlchemy], type[Any]]
_numbers = count(1)


def mixin_with(**columns: Callable[[], sa.Column[Any]]) -> MakeModel:
    """The mixin's model with some columns declared otherwise, or more of them."""
    return lambda db: type("Request", (RequestMixin, db.Model), {name: make() for name, make in columns.items()})


def of(kind: Any, **options: Any) -> Callable[[], sa.Column[Any]]:
    return lambda: sa.Column(kind, **options)


def keyed(kind: Any, **options: Any) -> MakeModel:
    """A model of columns of its own whose key is of a type."""

    def model(db: SQLAlchemy) -> type[Any]:
        columns = {
            "index": sa.Column(kind, primary_key=True, **options),
            "date": sa.Column(sa.DateTime),
            "path": sa.Column(sa.String(200)),
            "status_code": sa.Column(sa.Integer),
        }
        return type("Request", (db.Model,), columns)

    return model


class Lenient(sa.TypeDecorator[datetime]):
    """Takes naive instants and gives aware ones."""

    impl, cache_ok = sa.DateTime, True

    def process_bind_param(self, value: datetime | None, _dialect: Any) -> datetime | None:
        return value.astimezone(timezone.utc).replace(tzinfo=None) if value is not None and value.tzinfo else value

    def process_result_value(self, value: datetime | None, _dialect: Any) -> datetime | None:
        return None if value is None else value.replace(tzinfo=timezone.utc)


class Strict(Lenient):
    """Takes aware instants alone, and gives such."""

    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("naive")
        return super().process_bind_param(value, dialect)


class Epoch(sa.TypeDecorator[datetime]):
    impl, cache_ok = sa.Integer, True


class Local(sa.TypeDecorator[datetime]):
    """Another instant than it got."""

    impl, cache_ok = sa.DateTime, True

    def process_result_value(self, value: datetime | None, _dialect: Any) -> datetime | None:
        return None if value is None else value + timedelta(hours=1)


class Guid(sa.TypeDecorator[UUID]):
    """A UUID as text, as many have written it before there was one in SQLAlchemy."""

    impl, cache_ok = sa.CHAR(32), True

    def process_bind_param(self, value: UUID | None, _dialect: Any) -> str | None:
        return None if value is None else value.hex

    def process_result_value(self, value: str | None, _dialect: Any) -> UUID | None:
        return None if value is None else UUID(value)


class Method(enum.Enum):
    GET = "GET"
    POST = "POST"


class Address(sa.TypeDecorator[Any]):
    impl, cache_ok = postgresql.INET, True


# ---- what works ----------------------------------------------------------------------------------------------------

EVERYWHERE: dict[str, MakeModel] = {
    "numeric": mixin_with(response_time=of(sa.Numeric(10, 6)), size=of(sa.Numeric(20, 0))),
    "too_narrow": mixin_with(response_time=of(sa.Numeric(1, 1)), size=of(sa.Numeric(2, 0))),
    "aware": mixin_with(date=of(sa.DateTime(timezone=True))),
    "lenient": mixin_with(date=of(Lenient)),
    "strict": mixin_with(date=of(Strict)),
    "uuid_key": keyed(sa.Uuid, default=uuid4),
    "guid_key": keyed(Guid, default=uuid4),
    "text_key": keyed(sa.String(36), default=lambda: f"k{next(_numbers)}"),
    "never_null": mixin_with(referrer=of(sa.String(99), nullable=False, default="")),
}
POSTGRESQL: dict[str, MakeModel] = {
    "inet": mixin_with(remote_address=of(postgresql.INET)),
    "decorated_inet": mixin_with(remote_address=of(Address)),
    "inet_here": mixin_with(remote_address=of(sa.String(64).with_variant(postgresql.INET(), "postgresql"))),
}
MARIADB: dict[str, MakeModel] = {
    "mediumint": mixin_with(size=of(mysql.MEDIUMINT)),
    "narrow": mixin_with(response_time=of(mysql.DECIMAL(2, 1))),
}
ON_SERVERS = ("numeric", "strict")
WORKING = [
    *(pytest.param("sqlite", model, id=f"sqlite-{name}") for name, model in EVERYWHERE.items()),
    *(
        pytest.param(database, model, id=f"{database}-{name}")
        for database, more in (("postgresql", POSTGRESQL), ("mariadb", MARIADB))
        for name, model in ({name: EVERYWHERE[name] for name in ON_SERVERS} | more).items()
    ),
]


def routes(app: Flask) -> None:
    app.add_url_rule("/large", "large", lambda: "x" * 10_000_000)


@pytest.mark.parametrize(("database", "model"), WORKING)
def test_type_works_in_both_modes(make_app: Any, new_database: Any, database: str, model: MakeModel) -> None:
    with new_database(database) as url:
        app = make_app(url, model=model, before=routes, STATISTICS_ROLLUPS=True, STATISTICS_SCHEDULER=False)
        app.client.get("/large")
        app.client.get("/nowhere", environ_overrides={"REMOTE_ADDR": "2001:db8::1"})
        raw = answers(app)
        assert raw["hits"] == 2
        rollups = app.statistics_state().rollups
        assert rollups is not None
        rollups.job().run(datetime.now(timezone.utc).replace(tzinfo=None) + timedelta(hours=2))
        assert answers(app) == raw
        newest, oldest = (row["id"] for row in app.json("requests")["rows"])
        assert app.client.get(f"/statistics/requests/{oldest}").status_code == 200
        assert [row["id"] for row in app.json(f"requests?before={newest}")["rows"]] == [oldest]
        if app.statistics_state().raw.has("remote_address"):
            forgotten = app.flask.test_cli_runner().invoke(args=["statistics", "forget", "2001:db8::1", "--yes"])
            assert forgotten.exit_code == 0, forgotten.output
            assert answers(app)["hits"] == 1
        app.close()


def answers(app: App) -> dict[str, Any]:
    summary = app.json("summary?span=24h")
    counted = {name: summary[name] for name in ("hits", "visitors", "size", "client_errors")}
    paths = {row["value"]: row["hits"] for row in app.json("breakdown/path?span=24h")["rows"]}
    pages = {page: app.client.get(f"/statistics/{page}").status_code for page in ("", "live", "health")}
    return counted | paths | pages | {"points": sum(point["hits"] for point in app.json("series?span=24h")["points"])}


def test_what_must_not_be_null_gets_its_default(make_app: Any) -> None:
    app = make_app(model=EVERYWHERE["never_null"])
    app.client.get("/")
    app.client.get("/", headers={"Referer": "https://from.example/"})
    assert [row.referrer for row in app.rows()] == ["", "https://from.example/"]


# ---- what cannot work ------------------------------------------------------------------------------------------------

TEXTS = "db.String"
REFUSED_TYPES = [
    ("date", sa.Date, "db.DateTime"),
    ("date", sa.Time, "db.DateTime"),
    ("date", sa.String(40), "db.DateTime"),
    ("date", sa.Integer, "db.DateTime"),
    ("date", sa.Float, "db.DateTime"),
    ("date", sa.Interval, "db.DateTime"),
    ("date", Epoch, "db.DateTime"),
    ("date", Local, "db.DateTime"),
    ("status_code", sa.String(3), "db.Integer"),
    ("status_code", sa.Numeric(3, 0), "db.Integer"),
    ("status_code", mysql.TINYINT, "db.Integer"),
    ("size", sa.String(9), "db.BigInteger"),
    ("size", sa.Boolean, "db.BigInteger"),
    ("response_time", sa.String(9), "db.Float"),
    ("response_time", sa.Interval, "db.Float"),
    ("remote_address", sa.BigInteger, "db.String"),
    ("remote_address", sa.Uuid, "db.String"),
    ("remote_address", postgresql.CIDR, "db.String"),
    ("remote_address", postgresql.MACADDR, "db.String"),
    ("method", sa.Enum("GET", "POST"), TEXTS),
    ("method", sa.Enum(Method), TEXTS),
    ("method", mysql.SET("GET", "POST"), TEXTS),
    ("path", sa.JSON, TEXTS),
    ("path", postgresql.ARRAY(sa.String), TEXTS),
    ("path", postgresql.INET, TEXTS),
    ("user_agent", sa.PickleType, TEXTS),
    ("query_string", sa.LargeBinary, TEXTS),
    ("bot", sa.Boolean, TEXTS),
    ("route", sa.Integer, TEXTS),
]


@pytest.mark.parametrize(("name", "kind", "fix"), REFUSED_TYPES)
def test_type_that_cannot_hold_it_is_refused(make_app: Any, name: str, kind: Any, fix: str) -> None:
    with pytest.raises(SettingError, match=rf"^The column '{name}' of the model Request is .*, but must be {fix}"):
        make_app(model=mixin_with(**{name: of(kind)}))


def test_type_of_this_database_alone_is_looked_at(make_app: Any) -> None:
    elsewhere = sa.String(20).with_variant(sa.Enum("GET", "POST"), "postgresql")
    make_app(model=mixin_with(method=of(elsewhere)))
    here = sa.String(20).with_variant(sa.Enum("GET", "POST"), "sqlite")
    with pytest.raises(SettingError, match=r"^The column 'method' of the table 'request' is .*, but must be db.String"):
        make_app(model=mixin_with(method=of(here)))


def based_on(**attributes: Any) -> MakeModel:
    """The mixin on a class of the host's own."""

    def model(db: SQLAlchemy) -> type[Any]:
        base = type("Base", (db.Model,), {name: make() for name, make in attributes.items()} | {"__abstract__": True})
        return type("Request", (RequestMixin, base), {})

    return model


def joined(db: SQLAlchemy) -> type[Any]:
    base = type("Base", (db.Model,), {"id": sa.Column(sa.Integer, primary_key=True), "date": sa.Column(sa.DateTime)})
    key = {"id": sa.Column(sa.Integer, sa.ForeignKey("base.id"), primary_key=True)}
    return type("Request", (base,), key | {"path": sa.Column(sa.String(200))})


def sharing_a_table(db: SQLAlchemy) -> type[Any]:
    kind = {"kind": sa.Column(sa.String(9)), "__mapper_args__": {"polymorphic_on": "kind"}}
    base = type("Event", (RequestMixin, db.Model), kind)
    return type("Request", (base,), {"__mapper_args__": {"polymorphic_identity": "request"}})


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (based_on(id=of(sa.Integer, primary_key=True)), "the key (index, id), and nothing numbers 'index'"),
        (based_on(id=of(sa.Uuid, primary_key=True, default=uuid4)), "the key (index, id), and nothing numbers 'index'"),
        (
            based_on(made_by=of(sa.Integer, nullable=False)),
            "'made_by' of the model Request must not be NULL and has no",
        ),
        (joined, "The model Request inherits from the model Base"),
        (sharing_a_table, "The model Request inherits from the model Event"),
        (
            mixin_with(tenant=of(sa.String(9), nullable=False)),
            "'tenant' of the model Request must not be NULL and has no",
        ),
        (
            mixin_with(seen=of(sa.DateTime, nullable=False, onupdate=datetime.now)),
            "'seen' of the model Request must not",
        ),
        (
            mixin_with(referrer=of(sa.String(9), nullable=False)),
            "'referrer' of the model Request must not be NULL, but",
        ),
        (
            mixin_with(size=of(sa.Integer, nullable=False, server_default="0")),
            "'size' of the model Request must not be",
        ),
        (mixin_with(path=of(sa.String(99), unique=True)), "'path' of the model Request is unique"),
        (keyed(sa.Uuid), "The key 'index' of the model Request is Uuid(), and nothing gives it values"),
        (
            keyed(sa.String(36)),
            "The key 'index' of the model Request is String(length=36), and nothing gives it values",
        ),
        (
            keyed(sa.Integer, autoincrement=False),
            "The key 'index' of the model Request is Integer(), and nothing gives",
        ),
        (keyed(sa.BigInteger), "SQLite numbers rows only in a column of the type INTEGER"),
        (
            keyed(sa.LargeBinary(16), default=lambda: uuid4().bytes),
            "The key 'index' of the model Request is LargeBinary",
        ),
        (
            keyed(sa.DateTime, default=datetime.now),
            "The key 'index' of the model Request is DateTime(), but must be of",
        ),
    ],
)
def test_model_whose_rows_would_be_lost_is_refused(make_app: Any, model: MakeModel, why: str) -> None:
    with pytest.raises(SettingError) as refusal:
        make_app(model=model)
    assert why in str(refusal.value)


def test_hashes_are_refused_where_only_addresses_can_be(make_app: Any, new_database: Any) -> None:
    why = "^STATISTICS_ANONYMIZE_IP is 'hash', but the column 'remote_address' is INET"
    with new_database("postgresql") as url, pytest.raises(SettingError, match=why):
        make_app(url, model=POSTGRESQL["inet"], STATISTICS_ANONYMIZE_IP="hash")


def test_model_whose_rows_would_be_lost_is_read_all_the_same(make_app: Any) -> None:
    app = make_app(model=mixin_with(tenant=of(sa.String(9), nullable=False)), STATISTICS_ENABLED=False)
    app.insert({"date": datetime.now(timezone.utc).replace(tzinfo=None), "path": "/", "tenant": "a"})
    assert app.json("summary")["hits"] == 1


def test_model_with_columns_that_are_filled_elsewhere(make_app: Any) -> None:
    by_trigger = of(sa.String(9), server_default=sa.FetchedValue())
    made = of(sa.String(50), server_default=None, nullable=True)
    computed = lambda: sa.Column(sa.String(9), sa.Computed("method || '!'"), nullable=False)  # noqa: E731
    app = make_app(model=mixin_with(by_trigger=by_trigger, made=made, computed=computed))
    app.client.get("/")
    assert app.row().computed == "GET!"
