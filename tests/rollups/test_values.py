"""Values that strangers, and others who write into the raw table, choose: none stands for another, and none stops the job."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from unittest import mock

import pytest

from flask_statistics import Dimension
from flask_statistics.dimensions import OTHER_VALUE
from flask_statistics.rollups import dictionary

from ..conftest import App

OPTIONS = {"STATISTICS_ROLLUPS": True, "STATISTICS_SCHEDULER": False}
ONE_HASH = ("/kmonceaanfigebbg", "/nfgdibbofdnbagbj")
"""Two paths with one BLAKE2b of 64 bits."""
ALIKE = (
    "/a",
    "/A",
    "/ä",
    "/a\u0308",
    "/\u00e4 ",
    "/a ",
    "/a%09",
    "/",
    "/\u202e",
    "/\U0001f600",
    "/(other)",
    "/None",
    "/\x1a",
    "/\x1a001a",
    "/a%00",
)
"""What some collation takes for one, or some database for the end."""


class Both:
    """An app with rollups and one that answers from the raw rows, on one database."""

    def __init__(self, make_app: Callable[..., App], url: str | None, **options: Any) -> None:
        self.rolled: App = make_app(url, **OPTIONS, **options)
        at = url or str(self.rolled.flask.config["SQLALCHEMY_DATABASE_URI"])
        self.raw: App = make_app(at, STATISTICS_ENABLED=False, **options)

    def roll(self) -> None:
        with mock.patch("flask_statistics.rollups.job.SETTLING", timedelta(0)):
            done = self.rolled.flask.test_cli_runner().invoke(args=["statistics", "rollup"])
        assert done.exit_code == 0, done.output

    def same(self, *urls: str) -> None:
        """Both give the same answer, but for where it is from."""
        for url in urls:
            assert counted(self.rolled.json(url)) == counted(self.raw.json(url)), url


def counted(answer: Any) -> Any:
    """An answer without what is of the moment, and without times, which are kept in whole microseconds."""
    if isinstance(answer, list):
        return [counted(one) for one in answer]
    if not isinstance(answer, dict):
        return answer
    dropped = {"source", "as_of", "start", "end", "response_time", "undecided"}
    return {name: counted(value) for name, value in answer.items() if name not in dropped}


@pytest.fixture
def both(make_app: Callable[..., App], database_url: str) -> Both:
    return Both(make_app, database_url)


@pytest.fixture
def on_sqlite(make_app: Callable[..., App]) -> Iterator[tuple[Both, sqlite3.Connection]]:
    both = Both(make_app, None, dimensions=[Dimension("section", column="path", value=section)])
    connection = sqlite3.connect(str(both.rolled.flask.config["SQLALCHEMY_DATABASE_URI"]).removeprefix("sqlite:///"))
    yield both, connection
    connection.close()


def section(path: str) -> str:
    return path.split("/")[2]


def hits(app: App, dimension: str) -> dict[Any, int]:
    return {row["value"]: row["hits"] for row in app.json(f"breakdown/{dimension}?limit=1000")["rows"]}


def test_two_texts_with_one_hash_are_two_values(both: Both) -> None:
    for path in ONE_HASH:
        both.rolled.client.get(path)
    both.roll()
    both.rolled.client.get(ONE_HASH[1])
    both.roll()
    assert hits(both.rolled, "path") == {ONE_HASH[0]: 1, ONE_HASH[1]: 2}
    both.same("breakdown/path", *(f"summary?path={path}" for path in ONE_HASH))


def test_all_answers_are_exact_with_hashes_of_eight_bits(both: Both) -> None:
    def short(text: str) -> int:
        return len(text.encode()) % 8

    with mock.patch.object(dictionary, "hash_of", short):
        for number in range(300):
            both.rolled.client.get(f"/{number % 100}", headers={"Referer": f"https://{number % 50}.example/"})
            if number == 200:
                both.roll()
        both.roll()
        for path in ALIKE:
            both.rolled.client.get(path)
        urls = [f"breakdown/{name}?limit=1000" for name in ("path", "referrer", "status_code")]
        urls += [f"summary?path=/{number}&referrer={number % 50}.example" for number in range(0, 100, 9)]
        both.same(*urls, "breakdown/path?q=a&limit=1000")
        both.roll()
        both.same(*urls, "breakdown/path?q=a&limit=1000")


def test_texts_that_are_alike_to_a_database_are_different_values(both: Both) -> None:
    for times, path in enumerate(ALIKE, 1):
        for _ in range(times):
            both.rolled.client.get(path)
    both.roll()
    assert hits(both.rolled, "path") == hits(both.raw, "path")
    assert len(hits(both.rolled, "path")) == len(ALIKE)


def test_text_that_no_database_takes_is_a_value_of_its_own(make_app: Callable[..., App], database_url: str) -> None:
    names = {"/nul": "x\0y", "/half": "\ud800", "/mark": "?", "/escape": "\x1ad800", "/long": "x" * 100_000}
    both = Both(make_app, database_url, dimensions=[Dimension("odd", column="path", value=names.get)])
    for path in names:
        both.rolled.client.get(path)
    both.roll()
    assert hits(both.rolled, "odd") == dict.fromkeys(names.values(), 1)


def test_text_of_strangers_is_not_taken_for_the_folded_rest(make_app: Callable[..., App], database_url: str) -> None:
    both = Both(make_app, database_url, STATISTICS_MAX_VALUES=10)
    for number in range(30):
        both.rolled.client.get(f"/{number}", headers={"Referer": f"http://{number}.example/"})
    for number in range(5):
        for text in ("(other)", "((other))"):
            agent = {"REMOTE_ADDR": f"198.51.100.{number}"}
            both.rolled.client.get("/0", headers={"Referer": f"http://{text}/"}, environ_overrides=agent)
    assert hits(both.raw, "referrer")["((other))"] == 5
    both.roll()
    found = hits(both.rolled, "referrer")
    assert sum(found.values()) == 40
    assert found[OTHER_VALUE] == 40 - sum(count for value, count in found.items() if value != OTHER_VALUE)
    for value, count in found.items():
        assert both.rolled.json(f"summary?referrer={value}")["hits"] == count, value
    both.same("summary?referrer=((other))", "summary?referrer=(((other)))")


def test_status_of_nothing_is_a_number_in_both_modes(both: Both) -> None:
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    both.rolled.insert(*({"date": now, "path": "/", "status_code": code} for code in (0, 99, -1, 200, 1000)))
    both.roll()
    assert hits(both.rolled, "status_code") == dict.fromkeys((0, 99, -1, 200, 1000), 1)
    both.same("breakdown/status_code", "summary?status_code=0", "summary?status_code=-1&status_code=1000")


def test_function_that_fails_on_a_value_stops_nothing(
    make_app: Callable[..., App], database_url: str, caplog: Any
) -> None:
    both = Both(make_app, database_url, dimensions=[Dimension("section", column="path", value=section)])
    for path in ("/a/b", "/", "/a/c", "/x"):
        both.rolled.client.get(path)
    both.roll()
    assert hits(both.rolled, "section") == {"b": 1, "c": 1, OTHER_VALUE: 2}
    assert both.rolled.json("summary")["hits"] == 4
    both.rolled.client.get("/tail")
    assert hits(both.rolled, "section")[OTHER_VALUE] == 3
    told = [record.getMessage() for record in caplog.records if "'section'" in record.getMessage()]
    assert len(told) == 1
    assert "IndexError" in told[0]
    assert "/x" not in told[0]
    assert both.rolled.json("health")["rollups"]["unfit"]["names"] == ["section"]
    assert both.rolled.json("health")["rollups"]["unfit"]["requests"] == 2


ODD = {
    "size": ["'much'", "x'ff'", "9223372036854775807", "-5", "1e400"],
    "response_time": ["'slow'", "x'00'", "1e400", "-1e400", "-3"],
    "status_code": ["'OK'", "x'c3'", "9223372036854775807", "404.5"],
    "remote_address": ["x'ffff'", "12", "1.5"],
    "path": ["x'ff'", "5", "CAST(x'ff' AS TEXT)", "CAST(x'eda080' AS TEXT)", "'a' || char(0) || 'b'"],
    "user_agent": ["x'ff'", "CAST(x'c328' AS TEXT)", "7"],
    "referrer": ["x'ff'", "CAST(x'c328' AS TEXT)", "'http://[::'", "7.5"],
    "device": ["x'ff'", "0"],
    "method": ["CAST(x'80' AS TEXT)", "NULL"],
    "exception": ["x'2828'", "'('"],
}
DATES = (
    "'{:%Y-%m-%d}'",
    "'{:%Y-%m-%d %H}:99:00'",
    "'{:%Y-%m-%d %H:%M}'",
    "'{:%Y-%m-%dT%H:%M:%S}'",
    "'{:%Y-%m-%d %H:%M:%S}+02:00'",
    "'{:%Y-%m-%d}\t23:59'",
)


def stored(connection: sqlite3.Connection, column: str, value: str, date: datetime) -> None:
    known = {"date": f"'{date:%Y-%m-%d %H:%M:%S.%f}'", "path": "'/a/b'", "remote_address": "'192.0.2.1'", column: value}
    connection.execute(f"INSERT INTO request ({', '.join(known)}) VALUES ({', '.join(known.values())})")


@pytest.mark.parametrize("column", [*ODD, "date"])
def test_row_of_others_stops_nothing(on_sqlite: tuple[Both, sqlite3.Connection], column: str) -> None:
    both, connection = on_sqlite
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    yesterday = now - timedelta(days=1)
    values = [text.format(yesterday) for text in DATES] if column == "date" else ODD[column]
    stored(connection, "method", "'GET'", yesterday - timedelta(days=1))  # some sort as if they were of the day before
    for value in values:
        stored(connection, "method", "'GET'", yesterday)
        stored(connection, column, value, yesterday)
        stored(connection, "method", "'GET'", yesterday)
    stored(connection, "method", "'GET'", now)  # and others as if of later than they are
    connection.commit()
    both.roll()
    both.roll()
    total = connection.execute("SELECT count(*) FROM request").fetchone()[0]
    assert total == 3 * len(values) + 2
    assert both.rolled.json("summary?span=7d")["hits"] == total
    for view in ("", "errors", "list/path", "health", "list/status_code"):
        assert both.rolled.client.get(f"/statistics/{view}?span=7d").status_code == 200, view
    verified = both.rolled.flask.test_cli_runner().invoke(args=["statistics", "verify"])
    assert verified.exit_code == 0, verified.output
    # as they come in, they are read for a page before the job has seen them
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    for value in values if column != "date" else [text.format(now) for text in DATES]:
        stored(connection, column, value, now)
    connection.commit()
    assert both.rolled.client.get("/statistics/?span=7d").status_code == 200
    sure = total if column == "date" else total + len(values)
    assert both.rolled.json("summary?span=7d")["hits"] >= sure
