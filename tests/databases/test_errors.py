"""Why a database failed: by the codes of each, and by what real ones answer."""

from __future__ import annotations

import errno
import re
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from flask_statistics.databases.causes import Cause
from flask_statistics.databases.errors import blames_row, cause_of, fix
from flask_statistics.writers.spool.disk import fix_folder


class Told(psycopg.OperationalError):
    """An error of PostgreSQL with a code."""

    def __init__(self, state: str) -> None:
        super().__init__("told")
        self.sqlstate = state


def of_postgresql(state: str) -> sa.exc.DBAPIError:
    return sa.exc.OperationalError("INSERT", None, Told(state))


def of_mysql(number: int) -> sa.exc.DBAPIError:
    return sa.exc.OperationalError("INSERT", None, Exception(number, "told"))


def of_sqlite(text: str) -> sa.exc.DBAPIError:
    return sa.exc.OperationalError("INSERT", None, sqlite3.OperationalError(text))


NOBODYS_ROW = {
    "08001 08006 57P01 57P02 57P03 HV00N HV000": Cause.AWAY,
    "40001 40P01": Cause.CONFLICT,
    "53100": Cause.DISK_FULL,
    "53200 53300": Cause.EXHAUSTED,
    "55P03 55006 55000": Cause.LOCKED,
    "57014": Cause.STOPPED,
    "58030 XX000 XX001": Cause.BROKEN,
    "25006": Cause.READ_ONLY,
    "28P01 42501": Cause.DENIED,
    "42P01": Cause.NO_TABLE,
    "42703": Cause.NO_COLUMN,
    "42804": Cause.OTHER_TYPE,
}


@pytest.mark.parametrize(
    ("state", "cause"), [(state, cause) for states, cause in NOBODYS_ROW.items() for state in states.split()]
)
def test_causes_of_postgresql_that_are_no_rows(state: str, cause: Cause) -> None:
    assert cause_of(of_postgresql(state)) is cause
    assert blames_row(of_postgresql(state)) is False


@pytest.mark.parametrize("state", ["22001", "22003", "22P02", "23502", "23505", "23514", "44000", "54000"])
def test_causes_of_postgresql_that_are_rows(state: str) -> None:
    assert blames_row(of_postgresql(state)) is True


def test_causes_that_a_trigger_hides_are_unknown() -> None:
    assert blames_row(of_postgresql("P0001")) is None
    assert blames_row(of_mysql(1644)) is None


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        *((number, Cause.AWAY) for number in (1047, 1053, 1158, 1159, 1160, 1161, 1429, 1927, 2003, 2006, 2013, 12701)),
        *((number, Cause.CONFLICT) for number in (1020, 1213)),
        (1205, Cause.LOCKED),
        (1040, Cause.EXHAUSTED),
        (1114, Cause.DISK_FULL),
        (1290, Cause.READ_ONLY),
        (1969, Cause.STOPPED),
        (1146, Cause.NO_TABLE),
        (1054, Cause.NO_COLUMN),
        (1045, Cause.DENIED),
    ],
)
def test_causes_of_mysql_that_are_no_rows(number: int, cause: Cause) -> None:
    assert cause_of(of_mysql(number)) is cause
    assert blames_row(of_mysql(number)) is False


@pytest.mark.parametrize("number", [1048, 1062, 1264, 1366, 1406, 4025, 3819])
def test_causes_of_mysql_that_are_rows(number: int) -> None:
    assert blames_row(of_mysql(number)) is True


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("database is locked", Cause.LOCKED),
        ("database table is locked", Cause.LOCKED),
        ("database or disk is full", Cause.DISK_FULL),
        ("disk I/O error", Cause.BROKEN),
        ("attempt to write a readonly database", Cause.READ_ONLY),
        ("unable to open database file", Cause.AWAY),
        ("database disk image is malformed", Cause.BROKEN),
        ("no such table: request", Cause.NO_TABLE),
        ("table request has no column named tenant", Cause.NO_COLUMN),
    ],
)
def test_causes_of_sqlite_without_a_code(text: str, cause: Cause) -> None:
    assert cause_of(of_sqlite(text)) is cause
    assert blames_row(of_sqlite(text)) is False


@pytest.fixture
def engine(database_url: str) -> sa.Engine:
    return sa.create_engine(database_url, poolclass=sa.NullPool)


def failure(engine: sa.Engine, *statements: str) -> Exception:
    try:
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(sa.text(statement))
    except sa.exc.SQLAlchemyError as error:
        return error
    raise AssertionError("it did not fail")


def test_causes_as_real_databases_tell_them(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE request (id INTEGER PRIMARY KEY, size INTEGER CHECK (size > 0))"))
    missing = failure(engine, "INSERT INTO hidden VALUES (1)")
    assert fix(missing).startswith("The table 'hidden' is missing: run 'flask statistics init' once")
    column = failure(engine, "INSERT INTO request (id, tenant) VALUES (1, 2)")
    assert fix(column).startswith("The table lacks the column 'tenant' that the model has")
    for refused in (
        "INSERT INTO request VALUES (1, -1)",  # a CHECK
        "INSERT INTO request VALUES (1, 1), (1, 1)",  # a key
        "INSERT INTO request VALUES (NULL, 1), (1, 1), (1, 1)",
    ):
        assert cause_of(failure(engine, refused)) is Cause.ROW, refused


def test_causes_of_servers_that_are_not_there() -> None:
    for url in ("postgresql+psycopg://nobody@127.0.0.1:1/none", "mysql+pymysql://nobody@127.0.0.1:1/none"):
        assert cause_of(failure(sa.create_engine(url), "SELECT 1")) is Cause.AWAY
    assert cause_of(failure(sa.create_engine("sqlite:////no/such/folder/app.sqlite"), "SELECT 1")) is Cause.AWAY


def test_causes_of_a_row_that_waits_for_a_lock(
    new_database: Callable[[str], AbstractContextManager[str]],
) -> None:
    limits = {"postgresql": "SET LOCAL lock_timeout = 50", "mariadb": "SET innodb_lock_wait_timeout = 1"}
    for kind, limit in limits.items():
        with new_database(kind) as url:
            engine = sa.create_engine(url, poolclass=sa.NullPool)
            with engine.begin() as connection:
                connection.execute(sa.text("CREATE TABLE thing (id INTEGER PRIMARY KEY)"))
            with engine.connect() as holding:
                holding.execute(sa.text("INSERT INTO thing VALUES (1)"))
                assert cause_of(failure(engine, limit, "INSERT INTO thing VALUES (1)")) is Cause.LOCKED


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, r"The disk of /\S+ is full \([\d,]+ kB free\): make room on it\."),
        (errno.EACCES, r"The app's user may not write to /"),
        (errno.EROFS, r"is read-only: mount it"),
        (errno.ENOTDIR, r"A file is in the way of the folder /"),
        (errno.EMFILE, r"too many files open"),
        (errno.ENOLCK, r"has no locks, as a network drive"),
        (errno.EIO, r"Is the disk of /\S+ there and whole\?"),
    ],
)
def test_causes_of_the_folder(number: int, expected: str, tmp_path: Path) -> None:
    told = fix_folder(OSError(number, "told"), tmp_path / "not" / "there")
    assert re.search(expected, told), told
