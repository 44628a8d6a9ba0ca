"""MySQL and MariaDB: no setting of the server or the session changes a number, and what the model must have is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.dialects import mysql

from flask_statistics import SettingError
from flask_statistics.databases.expressions import exact
from flask_statistics.models import map_model
from flask_statistics.state import state_of

from ..conftest import App, original_model, whole_model

SESSIONS = {
    "defaults": "SET @nothing = 0",
    "time zone": "SET time_zone = '+05:30'",
    "isolation": "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
    "serializable": "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "modes": "SET sql_mode = 'ANSI,TRADITIONAL,ONLY_FULL_GROUP_BY,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT'",
    "no modes": "SET sql_mode = ''",
    "collation": "SET NAMES utf8mb4 COLLATE utf8mb4_unicode_ci",
}
INSTANTS = (datetime(2026, 3, 29, 1, 59, 59, 999999), datetime(2026, 3, 29, 2), datetime(2026, 3, 29, 2, 30, 0, 1))
"""Around a change of the clocks, in an hour that some zones do not have."""


@pytest.fixture
def url(new_database: Any) -> Iterator[str]:
    with new_database("mariadb") as url:
        yield url


def rows() -> list[dict[str, Any]]:
    return [
        {
            "date": instant,
            "path": path,
            "remote_address": address,
            "response_time": 0.1 * number + 1e-5,
            "size": 2**33 if number == 2 else number,
            "status_code": 200 + 100 * number,
            "exception": "KeyError('\\\\x')",
            "browser": "firefox 72.0",
        }
        for number, instant in enumerate(INSTANTS)
        for path, address in (("/Über", "2001:DB8::1"), ("/uber", "2001:db8::1"), ("/uber ", None))
    ]


def answers(app: App) -> list[Any]:
    """What the API says of all requests, but for when and from where it was read."""
    urls = ["summary", "series?unit=hour", "breakdown/path", "breakdown/path?sort=-p95", "breakdown/exception"]
    urls += ["summary?path=/uber", "summary?path!=/uber", "requests?path=/uber"]
    found = [app.json(f"{url}{'&' if '?' in url else '?'}start=2026-03-29&end=2026-03-29") for url in urls]
    return [{name: value for name, value in answer.items() if name not in ("as_of", "source")} for answer in found]


def alike(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(alike, one, other))
    return bool(one == (pytest.approx(other, abs=1e-6) if isinstance(other, float) else other))


@pytest.mark.parametrize("command", SESSIONS.values(), ids=SESSIONS)
def test_mysql_session_changes_no_number(
    make_app: Callable[..., App], new_database: Any, url: str, command: str
) -> None:
    options = {"connect_args": {"init_command": command}}
    app = make_app(
        url, STATISTICS_ROLLUPS=True, STATISTICS_SCHEDULER=False, TESTING=True, SQLALCHEMY_ENGINE_OPTIONS=options
    )
    plain = make_app()  # on SQLite
    for each in (app, plain):
        each.insert(*rows())
    expected, raw = answers(plain), answers(app)
    assert all(map(alike, raw, expected))
    result = app.flask.test_cli_runner().invoke(args=["statistics", "rollup"])
    assert result.exit_code == 0, result.output
    assert app.json("summary?span=all")["source"] == "rollup"
    assert all(map(alike, answers(app), expected))
    assert [row.date for row in app.rows()] == [row.date for row in plain.rows()]  # microseconds and all


def test_mysql_rollups_of_a_plain_model_equal_its_raw_rows(make_app: Callable[..., App], url: str) -> None:
    """Its collation, its whole seconds and its single precision are those of the numbers, in both modes."""
    app = make_app(url, model=original_model, STATISTICS_ROLLUPS=True, STATISTICS_SCHEDULER=False, TESTING=True)
    app.insert(*(row | {"size": 7} for row in rows()))
    raw = answers(app)
    assert [row["value"] for row in raw[2]["rows"]] == ["/uber", "/uber ", "/Über"]
    result = app.flask.test_cli_runner().invoke(args=["statistics", "rollup"])
    assert result.exit_code == 0, result.output
    assert all(map(alike, answers(app), raw))


def test_mysql_tables_of_ours_need_nothing_of_the_database(make_app: Callable[..., App], url: str) -> None:
    """An old server's defaults: its character set knows no emoji, its engine no transactions."""
    command = "SET default_storage_engine = 'MyISAM', character_set_server = 'latin1'"
    with sa.create_engine(url, poolclass=sa.NullPool).begin() as connection:
        connection.execute(sa.text("ALTER DATABASE CHARACTER SET latin1"))
    options = {"connect_args": {"init_command": command}}
    app = make_app(url, STATISTICS_ROLLUPS=True, STATISTICS_SCHEDULER=False, SQLALCHEMY_ENGINE_OPTIONS=options)
    app.insert({"date": INSTANTS[0], "path": "/\U0001f600", "user_agent": "日本"})
    assert app.flask.test_cli_runner().invoke(args=["statistics", "rollup"]).exit_code == 0
    assert app.json("breakdown/path?start=2026-03-29&end=2026-03-29")["rows"][0]["value"] == "/\U0001f600"
    query = sa.text("SELECT DISTINCT engine FROM information_schema.tables WHERE table_name LIKE 'statistics_%'")
    with state_of(app.flask).engine().connect() as connection:
        assert connection.scalars(query.bindparams()).all() == ["InnoDB"]


def test_mysql_needs_lengths(make_app: Callable[..., App]) -> None:
    with pytest.raises(SettingError) as refused:
        make_app("mysql+pymysql://nobody@127.0.0.1:1/none", model=lambda db: original_model(db))
    assert str(refused.value) == (
        "The table 'request' has columns without a length, which MySQL and MariaDB need: method, path, user_agent, "
        "remote_address, exception, referrer, browser, platform, mimetype. Give each one, such as db.String(255), or "
        "inherit from RequestMixin, which has fitting ones for every database."
    )


@pytest.mark.parametrize(
    ("is_mariadb", "expected"),
    [
        (True, "CONVERT(request.path USING utf8mb4) COLLATE utf8mb4_nopad_bin"),
        (False, "CONVERT(request.path USING utf8mb4) COLLATE utf8mb4_0900_bin"),
    ],
)
def test_exact_text_of_mysql_and_mariadb(is_mariadb: bool, expected: str) -> None:
    raw = map_model(whole_model(SQLAlchemy()))
    dialect = mysql.dialect(is_mariadb=is_mariadb)
    assert str(exact(raw.columns["path"]).compile(dialect=dialect)) == expected


def test_exact_leaves_what_needs_nothing() -> None:
    raw = map_model(original_model(SQLAlchemy(), length=9))
    dialect = mysql.dialect(is_mariadb=True)
    assert str(exact(raw.columns["response_time"]).compile(dialect=dialect)) == "CAST(request.response_time AS DOUBLE)"
    whole = map_model(whole_model(SQLAlchemy()))
    for name in ("response_time", "date", "size"):
        assert str(exact(whole.columns[name]).compile(dialect=dialect)) == f"request.{name}"
