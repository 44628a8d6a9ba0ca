"""ClickHouse, as a library: a raw table there answers what the same rows in SQLite answer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy

from flask_statistics import RequestMixin, SettingError
from flask_statistics.models import map_model

from .conftest import App, a_fortnight
from .shapes import sql_of
from .test_mysql import alike
from .test_statements import APIS, FILTERS
from .test_views import VIEWS

types = pytest.importorskip(
    "chdb_sqlalchemy.types", reason='chdb is not installed: pip install -e ".[dev,dev-clickhouse]"'
)

NOW = datetime(2026, 11, 22, 14, 37, 12, 345678)
ODD = ("/a", "/A", "/a ", "/é", "/it's \\ 100 %s ? :x", "/\U0001f600", "")


def bound_model(db: SQLAlchemy) -> type[Any]:
    """The page's model: its dates are of the dialect's own type, because ClickHouse's plain one has whole seconds."""
    date = db.Column(sa.DateTime().with_variant(types.DateTime64(6, "UTC"), "chdb"))
    return type("Request", (RequestMixin, db.Model), {"__bind_key__": "log", "date": date})


def rows() -> list[dict[str, Any]]:
    odd = [{"date": NOW - timedelta(microseconds=number), "path": path} for number, path in enumerate(ODD)]
    many = [{"date": NOW - timedelta(hours=number), "path": f"/many/{number}"} for number in range(200)]
    known = dict.fromkeys(map_model(bound_model(SQLAlchemy())).columns)
    return [known | row | {"index": number} for number, row in enumerate([*a_fortnight(NOW), *odd, *many], 1)]


@pytest.fixture(scope="module")
def apps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[App, App]]:
    """The same rows in ClickHouse and in SQLite."""
    folder = tmp_path_factory.mktemp("clickhouse")
    made = []
    for log in ("chdb:///:memory:", f"sqlite:///{folder / 'log.sqlite'}"):
        engine = sa.create_engine(log)
        if engine.dialect.name == "chdb":
            with engine.begin() as connection:
                connection.execute(sa.text(sql_of("ClickHouse")))
        binds = {"log": log}
        app = App(
            f"sqlite:///{folder / 'app.sqlite'}", model=bound_model, SQLALCHEMY_BINDS=binds, STATISTICS_ENABLED=False
        )
        with app.flask.app_context(), app.db.engines["log"].begin() as connection:
            for some in (rows()[first : first + 100] for first in range(0, len(rows()), 100)):
                connection.execute(sa.insert(app.Request.__table__).values(some))
        made.append(app)
    yield made[0], made[1]
    for app in made:
        app.close()


@pytest.mark.parametrize("filters", ["", *FILTERS, "q=many", "path=/a", "path!=/A", "path=/a%20", "exception="])
@pytest.mark.parametrize("api", [api for api in APIS if api != "health"])
def test_clickhouse_answers_as_sqlite(apps: tuple[App, App], api: str, filters: str) -> None:
    span = f"{'&' if '?' in api else '?'}start=2026-11-08&end=2026-11-22&{filters}"
    clickhouse, expected = (app.json(api + span) for app in apps)
    assert alike(clickhouse | {"as_of": 0}, expected | {"as_of": 0})


@pytest.mark.parametrize("view", VIEWS)
def test_clickhouse_shows_every_page(apps: tuple[App, App], view: str) -> None:
    clickhouse, expected = (app.client.get(f"/statistics/{view}") for app in apps)
    assert clickhouse.status_code == expected.status_code
    if view != "health":  # which tells of the database itself
        assert len(clickhouse.text) == pytest.approx(len(expected.text), abs=99)


@pytest.mark.parametrize("setting", ["STATISTICS_ENABLED", "STATISTICS_ROLLUPS"])
def test_clickhouse_can_only_be_read(setting: str) -> None:
    config = {"STATISTICS_ENABLED": False, "SQLALCHEMY_BINDS": {"log": "chdb:///:memory:"}, setting: True}
    with pytest.raises(SettingError, match=r"which can only be read: set STATISTICS_ENABLED = False"):
        App("sqlite://", model=bound_model, **config)
