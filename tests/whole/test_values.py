"""Any value that a dimension lists, used as a filter, gives its hits: whatever another writer stored, in both modes."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from html import unescape
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy

from flask_statistics import Dimension, RequestMixin
from flask_statistics.dimensions import BUILT_IN

from ..conftest import App

NAMES = tuple(dict.fromkeys(dimension.name for dimension in BUILT_IN))
NOW = datetime(2026, 3, 10, 12)
SPAN = "start=2026-03-01&end=2026-03-09"
TEXTS = (
    *("Firefox 72.0", "firefox 73.1", "FIREFOX", "Mobile Safari 17.1", "  spaced  ", "spaced", " ", "", None),
    *("100%", "a%25b", "a+b", "a&b=c", "a;b", "#x", "?", "!", "'\"", "<b>", "\\", "/", "//", "..", "(none)", "(other)", "null"),
    *("Ünïcode", "U\u0308nïcode", "ünïcode", "İstanbul", "ΑΣ", "ẞ", "\N{KELVIN SIGN}", "日本", "🙂", "👩\u200d🚀", "\u202eabc"),
    *("a\tb", "a\nb", "\x7f", "\ufeffbom", "é" * 15, "Bot", "BOT", "bot", "Mobile", "toaster", "200", "5xx", "0"),
    *("https://WWW.Example.org:8080/a?b", "https://example.org/", "http://[::1]/x", "http://münchen.example/", "http://"),
    *("KeyError('cart')", "keyerror('cart')", "(odd)", "None None", "72.0", "None"),
)  # fmt: skip
NUMBERS = (200, 404, 0, 1, 99, -1, 1000, 999_999, 2**31 - 1, -(2**31), None, 500)


def stored() -> list[dict[str, Any]]:
    """Rows of another writer: each text in each column, in different numbers of rows."""
    texts = ("path", "route", "referrer", "browser", "platform", "device", "method", "mimetype", "exception")
    rows = []
    for number, text in enumerate(TEXTS * 3):
        shifted = {name: TEXTS[(number + 7 * place) % len(TEXTS)] for place, name in enumerate(texts)}
        shifted |= dict.fromkeys(("device", "method"), (text or "")[:16] or None)
        rows.append(
            {
                **shifted,
                "date": datetime(2026, 3, 1, 12) + timedelta(hours=number),
                "status_code": NUMBERS[number % len(NUMBERS)],
                "remote_address": f"192.0.2.{number % 11}",
            }
        )
    return rows


@pytest.fixture(params=["raw", "rollups"])
def app(request: pytest.FixtureRequest, make_app: Callable[..., App], database_url: str) -> App:
    """With those rows, in each mode on each database."""
    app = make_app(
        database_url,
        STATISTICS_ENABLED=False,
        STATISTICS_ROLLUPS=request.param == "rollups",
        STATISTICS_SCHEDULER=False,
    )
    app.insert(*stored())
    rollups = app.statistics_state().rollups
    if rollups is not None:
        rollups.job().run(NOW)
    return app


def test_values_that_are_listed_select_their_hits(app: App) -> None:
    for name in NAMES:
        rows = app.json(f"breakdown/{name}?{SPAN}&limit=1000")["rows"]
        links = re.findall(
            r'<tr><th scope="row"[^>]*>.*?<a href="([^"]*)"',
            app.client.get(f"/statistics/list/{name}?{SPAN}&limit=1000").text,
        )
        links = [unescape(link).partition("?")[2] for link in links]
        # the lists of exceptions and campaigns leave out requests without one
        listed = [row for row in rows if name not in ("exception", "issue", "campaign") or row["value"] is not None]
        assert len(links) == min(len(listed), 50)
        for row, link in zip(listed, links, strict=False):
            found = app.json(f"summary?{link}")
            assert (found["hits"], found["visitors"]) == (row["hits"], row["visitors"]), (name, row["value"], link)
        assert sum(row["hits"] for row in rows) == 3 * len(TEXTS)


def test_values_are_the_same_in_both_modes(make_app: Callable[..., App]) -> None:
    both = []
    for rolled in (False, True):
        app = make_app(STATISTICS_ENABLED=False, STATISTICS_ROLLUPS=rolled, STATISTICS_SCHEDULER=False)
        app.insert(*stored())
        rollups = app.statistics_state().rollups
        if rollups is not None:
            rollups.job().run(NOW)
        both.append({name: app.json(f"breakdown/{name}?{SPAN}&limit=1000")["rows"] for name in NAMES})
    assert both[0] == both[1]


class Colour(Enum):
    """What a host may store."""

    RED = "r"
    BLUE = "b"


class Doubled(sa.TypeDecorator[Any]):
    """A type of somebody's own: numbers, stored doubled."""

    impl, cache_ok = sa.Integer, True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else 2 * value

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else value // 2


TYPED: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "flag": (sa.Boolean(), (True, False, None)),
    "day": (sa.Date(), (date(2026, 1, 2), date(1, 1, 1), None)),
    "moment": (sa.DateTime(), (datetime(2026, 1, 2, 3, 4, 5), datetime(9999, 1, 1), None)),
    "price": (sa.Numeric(8, 2), (Decimal("1.10"), Decimal(-3), None)),
    "ratio": (sa.Double(), (0.1, 5.0, None)),
    "tenant": (sa.Uuid(), (UUID(int=1), UUID(int=2**127), None)),
    "colour": (sa.Enum(Colour), (Colour.RED, Colour.BLUE, None)),
    "grade": (sa.Enum("a", "b", name="grade"), ("a", "b", None)),
    "half": (Doubled(), (1, 21, None)),
}
"""Types of columns of a host's own, and values in them."""


@pytest.mark.parametrize("rolled", [False, True], ids=["raw", "rollups"])
def test_values_of_any_type_select_their_hits(make_app: Callable[..., App], database_url: str, rolled: bool) -> None:
    def model(db: SQLAlchemy) -> type[Any]:
        own = {name: db.Column(kind) for name, (kind, _) in TYPED.items()}
        return type("Request", (RequestMixin, db.Model), own)

    app = make_app(
        database_url,
        model=model,
        dimensions=[Dimension(name) for name in TYPED],
        STATISTICS_ENABLED=False,
        STATISTICS_ROLLUPS=rolled,
        STATISTICS_SCHEDULER=False,
    )
    app.insert(
        *(
            {"date": datetime(2026, 3, 2, number), "status_code": 200 + place}
            | {name: values[place] for name, (_, values) in TYPED.items()}
            for number, place in enumerate((0, 0, 0, 1, 1, 2))
        )
    )
    rollups = app.statistics_state().rollups
    if rollups is not None:
        rollups.job().run(NOW)
    for name in (*TYPED, "status_code"):
        rows = app.json(f"breakdown/{name}?{SPAN}")["rows"]
        assert [row["hits"] for row in rows] == [3, 2, 1], name
        for row in rows:
            found = app.json(f"summary?{SPAN}&{urlencode({name: row['value'] or ''})}")
            assert found["hits"] == row["hits"], (name, row["value"])
        assert app.client.get(f"/statistics/list/{name}?{SPAN}").status_code == 200
    assert app.json(f"summary?{SPAN}&flag=true")["hits"] == 3


ODD = [
    *(("size", value) for value in ("'big'", "x'ff00'", "9e999", "-5", "92233720368547758079")),
    *(("response_time", value) for value in ("'slow'", "x'ff'", "9e999", "-9e999", "-1")),
    *(("status_code", value) for value in ("'x'", "9e999", "x'ff'")),
    *((name, "x'ff'") for name in ("path", "browser", "exception", "referrer", "user_agent", "method", "traceback")),
]
"""What SQLite holds in columns of other types when another writer puts it there: columns, and SQL for what is in them."""


@pytest.mark.parametrize("rollups", [False, True], ids=["raw", "rollups"])
def test_what_sqlite_holds_in_a_column_of_another_type_blinds_no_page(
    make_app: Callable[..., App], rollups: bool
) -> None:
    app = make_app(STATISTICS_ROLLUPS=rollups, STATISTICS_SCHEDULER=False, STATISTICS_ENABLED=False)
    date = datetime(2026, 3, 8)
    app.insert(*({"date": date, "path": "/a", "status_code": 200, "size": 1, "response_time": 0.1} for _ in range(30)))
    with app.statistics_state().engine().begin() as connection:
        for key, (column, value) in enumerate(ODD, 1):
            connection.exec_driver_sql(f'UPDATE request SET "{column}" = {value} WHERE "index" = {key}')
    if rollups:
        assert app.flask.test_cli_runner().invoke(args=["statistics", "rollup"]).exit_code == 0
    assert app.json(f"summary?{SPAN}")["hits"] == 30
    ones = [f"requests/{key}" for key in range(1, len(ODD) + 1)]
    lists = ["list/path", "list/status_code", "list/browser", "export/requests.csv", "export/path.csv", "api/requests"]
    for page in ("", "errors", "requests", "live", *lists, *ones):
        answer = app.client.get(f"/statistics/{page}?{SPAN}&rows=200")
        assert answer.status_code == 200, page
        assert "could not be" not in answer.text, page
