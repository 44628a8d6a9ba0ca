"""What is stored of addresses, and that the secret behind hashes is shared by all processes and gone the day after."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from flask_statistics import SettingError
from flask_statistics.addresses import DailyHash, NoSecret, hashed, local_day, secret_table, truncated

from .conftest import App

MakeApp = Callable[..., App]
DAY, NEXT = date(2026, 11, 21), date(2026, 11, 22)
A, B = "192.0.2.1", "192.0.2.2"


@pytest.mark.parametrize(
    ("address", "stored"),
    [
        ("203.0.113.77", "203.0.113.0"),
        ("::ffff:203.0.113.77", "203.0.113.0"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
        ("fe80::1%eth0", "fe80::"),
        ("::1", "::"),
        ("unix:", None),
        ("client.example", None),
        ("", None),
        (None, None),
    ],
)
def test_truncated(address: str | None, stored: str | None) -> None:
    assert truncated(address, DAY) == stored


def test_hashed() -> None:
    one = hashed(A, b"a")
    assert one is not None
    assert len(one) == 16
    assert hashed(A, b"a") == one == hashed(f"::ffff:{A}", b"a")
    assert one not in (hashed(A, b"b"), hashed(B, b"a"))
    assert hashed("2001:DB8::1", b"a") == hashed("2001:db8:0::1", b"a")
    assert hashed(None, b"a") is None


def test_local_day() -> None:
    assert local_day(datetime(2026, 11, 21, 23, 30), ZoneInfo("UTC")) == DAY
    assert local_day(datetime(2026, 11, 21, 23, 30), ZoneInfo("Europe/Berlin")) == NEXT


class Hashes:
    """A database with the table of the secret, and processes that share it."""

    def __init__(self, url: str) -> None:
        self.table = secret_table(sa.MetaData(), None)
        self.engine = sa.create_engine(url)
        self.table.metadata.create_all(self.engine)

    def process(self) -> DailyHash:
        return DailyHash(self.table, lambda: self.engine)

    def rows(self) -> list[Any]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.select(self.table))]


@pytest.fixture
def hashes(database_url: str) -> Any:
    found = Hashes(database_url)
    yield found
    found.engine.dispose()


def test_hash_is_the_same_in_all_processes_for_a_day(hashes: Hashes) -> None:
    one, other = hashes.process(), hashes.process()
    assert one(A, DAY) == other(A, DAY) == one(A, DAY)
    assert one(A, DAY) != one(B, DAY)
    assert one(None, DAY) is None


def test_hash_of_the_next_day_cannot_be_linked(hashes: Hashes) -> None:
    one, other = hashes.process(), hashes.process()
    before = one(A, DAY)
    ((_, _, secret),) = hashes.rows()
    after = one(A, NEXT)
    assert before != after == other(A, NEXT)
    ((_, day, new_secret),) = hashes.rows()
    assert (day, len(new_secret)) == (NEXT, 64)
    assert secret != new_secret


def test_hash_goes_on_where_the_clock_of_a_host_is_behind(hashes: Hashes) -> None:
    ahead, behind = hashes.process(), hashes.process()
    after = ahead(A, NEXT)
    assert behind(A, DAY) == after == ahead(A, DAY)


def test_hash_does_not_stay_with_a_clock_that_was_years_ahead(hashes: Hashes) -> None:
    hashes.process()("192.0.2.7", date(2030, 1, 1))
    days = [date(2026, 11, day) for day in (1, 2, 3, 4)]
    assert len({hashes.process()("192.0.2.7", day) for day in days}) == 4


def test_hash_asks_the_database_once_a_day(hashes: Hashes) -> None:
    one, statements = hashes.process(), []
    sa.event.listen(hashes.engine, "before_cursor_execute", lambda *event: statements.append(event[2]))
    for address in (A, B, A):
        one(address, DAY)
    asked = len(statements)
    assert asked == 3  # select, insert, select
    one(B, DAY)
    assert len(statements) == asked


def test_secret_is_overwritten_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "app.sqlite"
    hashes = Hashes(f"sqlite:///{path}")
    one = hashes.process()
    one(A, DAY)
    ((_, _, secret),) = hashes.rows()
    assert secret.encode() in path.read_bytes()
    one(A, NEXT)
    hashes.engine.dispose()
    assert secret.encode() not in path.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["app.sqlite"]


def test_hash_without_its_table(tmp_path: Path) -> None:
    table, engine = secret_table(sa.MetaData(), None), sa.create_engine(f"sqlite:///{tmp_path / 'empty.sqlite'}")
    asked: list[int] = []

    def get() -> sa.Engine:
        asked.append(1)
        return engine

    one = DailyHash(table, get)
    for _ in range(3):
        with pytest.raises(NoSecret):
            one(A, DAY)
    assert len(asked) == 1
    engine.dispose()


# ---- in an app -------------------------------------------------------------------------------------------------------


def request_from(app: App, address: str) -> None:
    app.client.get("/", environ_overrides={"REMOTE_ADDR": address})


@pytest.mark.parametrize("url", [None, "sqlite://"])
def test_recorded_hashes_count_visitors(make_app: MakeApp, url: str | None) -> None:
    app = make_app(url, STATISTICS_ANONYMIZE_IP="hash")
    for address in (A, B, A):
        request_from(app, address)
    first, second, third = (row.remote_address for row in app.rows())
    assert first == third != second
    assert app.json("summary?span=today")["visitors"] == 2
    assert not {A, B} & {first, second, third}


def test_recorded_networks(make_app: MakeApp, database_url: str) -> None:
    app = make_app(database_url, STATISTICS_ANONYMIZE_IP="truncate", STATISTICS_REAL_IP_HEADER="X-Real-IP")
    app.client.get("/", headers={"X-Real-IP": "203.0.113.77"})
    assert app.row().remote_address == "203.0.113.0"


def test_recording_goes_on_without_the_secret(
    make_app: MakeApp, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(database_url, STATISTICS_ANONYMIZE_IP="hash")
    with app.flask.app_context():
        app.db.metadata.tables["statistics_secret"].drop(app.db.engine)
    for address in (A, B):
        request_from(app, address)
    assert [row.remote_address for row in app.rows()] == [None, None]
    (record,) = caplog.records
    assert record.message == (
        "Flask-Statistics stores requests without their addresses, because the secret to hash them with cannot be read. "
        "Is the database running? 'flask statistics init' creates missing tables."
    )


def test_spool_gets_hashes_alone(make_app: MakeApp, tmp_path: Path) -> None:
    app = make_app(
        STATISTICS_ANONYMIZE_IP="hash", STATISTICS_WRITER="spool", STATISTICS_SPOOL_PATH=str(tmp_path / "spool")
    )
    request_from(app, "203.0.113.249")
    files = [path.read_bytes() for path in (tmp_path / "spool").rglob("*") if path.is_file()]
    assert files
    assert not any(b"203.0.113.249" in content for content in files)
    assert app.json("summary?span=today")["visitors"] == 1
    app.statistics_state().writer.close()  # type: ignore[union-attr]


def test_secret_is_kept_only_for_hashes(make_app: MakeApp) -> None:
    assert "statistics_secret" not in make_app(STATISTICS_ANONYMIZE_IP="truncate").db.metadata.tables


def test_a_table_of_the_hosts_with_that_name_is_refused(make_app: MakeApp) -> None:
    def before(flask: Any) -> None:
        flask.config["STATISTICS_ANONYMIZE_IP"] = "hash"

    def model(db: Any) -> Any:
        db.Table("statistics_secret", db.Column("id", db.Integer, primary_key=True))
        return type(
            "Request", (db.Model,), {"id": db.Column(db.Integer, primary_key=True), "date": db.Column(db.DateTime)}
        )

    with pytest.raises(SettingError, match=r"^The app has a table 'statistics_secret' of its own"):
        make_app(before=before, model=model)


@pytest.mark.parametrize(
    ("referrer", "stored", "stripped"),
    [
        ("https://a.example/b?c=d#e", "https://a.example/b?c=d#e", "https://a.example/b"),
        ("https://a.example/b#e?f", "https://a.example/b#e?f", "https://a.example/b"),
        ("https://user:pa%40ss@a.example/b@c", "https://a.example/b@c", "https://a.example/b@c"),
        ("//user@a.example?d", "//a.example?d", "//a.example"),
        ("android-app://com.example/", "android-app://com.example/", "android-app://com.example/"),
        ("mailto:a@b.example", "mailto:a@b.example", "mailto:a@b.example"),
        ("", "", ""),
    ],
)
def test_recorded_referrer(make_app: MakeApp, referrer: str, stored: str, stripped: str) -> None:
    for setting, expected in ((False, stored), (True, stripped)):
        app = make_app(STATISTICS_STRIP_REFERRER_QUERY=setting)
        app.client.get("/", headers={"Referer": referrer})
        assert app.row().referrer == expected
