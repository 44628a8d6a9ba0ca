"""What is stored of addresses, and that the secret behind hashes is shared by all processes and gone the day after."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_statistics import Dimension, SettingError
from flask_statistics.addresses import (
    LONGEST,
    DailyHash,
    NoSecret,
    hashed,
    local_day,
    logged_client,
    normal,
    secret_table,
    truncated,
)

from .conftest import App

MakeApp = Callable[..., App]
DAY, NEXT = date(2026, 11, 21), date(2026, 11, 22)
A, B = "192.0.2.1", "192.0.2.2"


@pytest.mark.parametrize(
    ("address", "stored"),
    [
        ("203.0.113.77", "203.0.113.0"),
        ("203.0.113.77:50001", "203.0.113.0"),
        ("[2001:db8:1:2::3]:443", "2001:db8:1::"),
        ("2002:cb00:714d::1", "2002:cb00:7100::"),
        ("64:ff9b::203.0.113.77", "64:ff9b::cb00:7100"),
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


# ---- one form --------------------------------------------------------------------------------------------------------

WRITINGS = {
    "192.0.2.7": (
        *("192.0.2.7", "192.0.2.7:50001", "192.0.2.7:", "192.0.2.7:_port", "::ffff:192.0.2.7", "::FFFF:C000:0207"),
        *("0:0:0:0:0:ffff:192.0.2.7", "[::ffff:192.0.2.7]", "[::ffff:c000:207]:443", "::ffff:192.0.2.7:443"),
        *(
            "::ffff:192.0.2.7%eth0",
            " 192.0.2.7\r\n",
            '"192.0.2.7"',
            "'192.0.2.7:80'",
            "\ufeff192.0.2.7",
            "\xa0192.0.2.7",
        ),
        '"[::ffff:192.0.2.7]:4711"',
    ),
    "2001:db8::1": (
        *("2001:db8::1", "2001:DB8::1", "2001:db8:0:0:0:0:0:1", "2001:0DB8:0000:0000:0000:0000:0000:0001"),
        *("[2001:db8::1]", "[2001:db8::1]:443", "2001:db8:0::1", "2001:db8::0.0.0.1", '"[2001:DB8::1]:4711"'),
        *("2001:db8:0:0:0:0:0:1:443", "\ufeff[2001:db8::1]", "2001:db8::1%3"),
    ),
    "fe80::7": ("fe80::7%eth0", "FE80::7%25en0", "[fe80::7%eth0]:22", "fe80:0::7"),
    "2002:c000:207::1": ("2002:C000:0207::1", "[2002:c000:207::1]:80"),
    "64:ff9b::c000:207": ("64:ff9b::192.0.2.7", "64:FF9B::C000:207"),
    None: (
        "",
        " ",
        "unix:",
        "unix:/run/app.sock",
        "-",
        "unknown",
        "client.example",
        "192.0.2",
        "192.0.2.7.8",
        "192.0.2.07",
    ),
}
"""Spellings of one client each. None: nobody."""


@pytest.mark.parametrize("address", WRITINGS)
def test_one_client_has_one_form(address: str | None) -> None:
    assert {text: normal(text) for text in WRITINGS[address]} == dict.fromkeys(WRITINGS[address], address)
    odd = (
        "[]",
        "[",
        "]:",
        ":",
        "::ffff:",
        "%",
        "[%]",
        "٣.0.2.7",
        "192.0.2.7/24",
        "1" * 9_999,
        "192.0.2.7" + " " * LONGEST,
    )
    assert {normal(text) for text in odd} == {None}


SPELLED = st.tuples(
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)),
    st.sampled_from(["{}", "{}", "[{}]", "[{}]:443", " {}", '"{}"', "\ufeff{}\n", "{}%eth0", "[{}%25en1]:8080"]),
    st.sampled_from([str, lambda address: address.exploded, lambda address: str(address).upper()]),
)


@given(SPELLED)
def test_every_spelling_of_an_address_is_the_address(spelled: tuple[Any, str, Callable[[Any], str]]) -> None:
    address, around, written = spelled
    expected = str(getattr(address, "ipv4_mapped", None) or address)
    assert normal(around.format(written(address))) == normal(expected) == expected
    if address.version == 4:
        assert {normal(f"{address}:8080"), normal(f"::ffff:{address}"), normal(f"[::FFFF:{address}]:1")} == {expected}


@given(st.text(max_size=40))
def test_any_text_is_one_address_or_nobody(text: str) -> None:
    found = normal(text)
    assert found is None or normal(found) == found
    assert logged_client(text) in (found, logged_client(logged_client(text)))


def test_names_of_hosts_in_logs() -> None:
    names = ("Client.Example.", "client.example:50001", "\ufeffclient.example")
    assert {logged_client(name) for name in names} == {"client.example"}
    assert {logged_client(name) for name in ("-", "unix:", "unknown", "", "a b", ":", "a" * 300, "x:y:z")} == {None}


@pytest.mark.parametrize("setting", [None, "truncate", "hash"])
def test_recorded_spellings_are_one_visitor(make_app: MakeApp, setting: str | None) -> None:
    app = make_app(STATISTICS_ANONYMIZE_IP=setting)
    for text in WRITINGS["192.0.2.7"]:
        request_from(app, text)
    assert len({row.remote_address for row in app.rows()}) == 1
    assert app.json("summary?span=today")["visitors"] == 1


@pytest.mark.parametrize("setting", [None, "truncate", "hash"])
def test_recorded_without_an_address_is_nobody(make_app: MakeApp, setting: str | None) -> None:
    app = make_app(STATISTICS_ANONYMIZE_IP=setting)
    for text in ("", "unix:", "unknown"):
        request_from(app, text)
    assert [row.remote_address for row in app.rows()] == [None] * 3
    assert app.json("summary?span=today")["visitors"] == 0


@pytest.mark.parametrize("fixed", [True, False])
def test_forwarded_addresses_with_ports(make_app: MakeApp, fixed: bool) -> None:
    app = make_app(STATISTICS_REAL_IP_HEADER=None if fixed else "X-Forwarded-For")
    if fixed:
        app.flask.wsgi_app = ProxyFix(app.flask.wsgi_app)  # type: ignore[method-assign]
    for address in ("192.0.2.7:50001", "192.0.2.7:50002", "6.6.6.6, 198.51.100.3:1024", "[2001:db8::5]:443"):
        app.client.get("/", headers={"X-Forwarded-For": address})
    assert [row.remote_address for row in app.rows()] == ["192.0.2.7", "192.0.2.7", "198.51.100.3", "2001:db8::5"]


def test_a_dimension_of_addresses_takes_any_spelling(make_app: MakeApp) -> None:
    app = make_app(dimensions=[Dimension("client", column="remote_address")])
    for address in ("192.0.2.7", "198.51.100.3"):
        request_from(app, address)
    app.insert({"date": datetime(2026, 11, 1), "remote_address": "::ffff:192.0.2.7"})
    for text in WRITINGS["192.0.2.7"]:
        assert app.json(f"summary?span=all&{urlencode({'client': text})}")["hits"] == 2
    rows = app.json("breakdown/client?span=all")["rows"]
    assert {row["value"]: row["hits"] for row in rows} == {"192.0.2.7": 2, "198.51.100.3": 1}


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
    assert asked <= 5  # select, lock, select, insert, unlock
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
