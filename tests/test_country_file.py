"""Countries out of a file: by whom it is asked and when, what is stored where addresses are not, and files that change."""

from __future__ import annotations

import sys
from collections.abc import Callable
from logging import getLogger
from pathlib import Path
from typing import Any

import pytest

from flask_statistics import SettingError, request_recording
from flask_statistics.country_file import LOOKED_AT_SECONDS, CountryFile

from . import mmdb
from .conftest import App

MakeApp = Callable[..., App]
AUSTRIA, JAPAN = {"country": {"iso_code": "AT", "names": {"en": "Austria"}}}, {"country_code": "jp"}
NETWORKS: dict[str, Any] = {
    "192.0.2.0/24": AUSTRIA,
    "198.51.100.0/25": JAPAN,
    "198.51.100.128/25": AUSTRIA,
    "203.0.113.0/24": {"country": "IS"},
    "2001:db8::/32": JAPAN,
    "2001:db9::/32": {"registered_country": {"iso_code": "AT"}},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    mmdb.write(tmp_path / "countries.mmdb", NETWORKS)
    return tmp_path / "countries.mmdb"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("address", "country"),
    [
        ("192.0.2.7", "AT"),
        ("198.51.100.7", "JP"),
        ("198.51.100.200", "AT"),
        ("203.0.113.1", "IS"),
        ("2001:db8::7", "JP"),
        ("::ffff:192.0.2.7", "AT"),
        ("2001:db9::7", None),
        ("10.0.0.1", None),
        ("0123456789abcdef", None),
        ("host.example", None),
        (None, None),
    ],
)
def test_country_of(path: Path, address: str | None, country: str | None) -> None:
    assert CountryFile(path, getLogger()).country_of(address) == country


@pytest.mark.parametrize("writer", ["direct", "spool"])
@pytest.mark.parametrize(
    ("anonymize", "address", "stored"),
    [(None, "198.51.100.200", "AT"), ("truncate", "198.51.100.200", "JP"), ("hash", "198.51.100.200", "AT")],
)
def test_recorded(
    make_app: MakeApp, path: Path, tmp_path: Path, writer: str, anonymize: str | None, address: str, stored: str
) -> None:
    """Of a network it is that of its first address; a hash has none, so it is asked before."""
    app = make_app(
        STATISTICS_COUNTRY=str(path),
        STATISTICS_ANONYMIZE_IP=anonymize,
        STATISTICS_WRITER=writer,
        STATISTICS_SPOOL_PATH=tmp_path / "spool",
    )
    app.client.get("/", environ_base={"REMOTE_ADDR": address})
    app.client.get("/", environ_base={"REMOTE_ADDR": "10.0.0.1"})
    assert [row.country for row in app.rows()] == [stored, None]


@pytest.mark.parametrize("anonymize", ["truncate", "hash"])
def test_no_whole_address_waits_in_the_spool(make_app: MakeApp, path: Path, tmp_path: Path, anonymize: str) -> None:
    app = make_app(
        STATISTICS_COUNTRY=path,
        STATISTICS_ANONYMIZE_IP=anonymize,
        STATISTICS_WRITER="spool",
        STATISTICS_SPOOL_PATH=tmp_path / "spool",
    )
    app.client.get("/", environ_base={"REMOTE_ADDR": "198.51.100.200"})
    files = [file for file in (tmp_path / "spool").rglob("*") if file.is_file()]
    assert files
    assert not any(b"198.51.100.200" in file.read_bytes() for file in files)
    assert app.row().country is not None
    assert "198.51.100.200" not in str(vars(app.row()))


def test_whoever_takes_the_address_out_takes_the_country_out(make_app: MakeApp, path: Path) -> None:
    def anonymous(_app: Any, *, record: Any) -> None:
        record.remote_address = None

    with request_recording.connected_to(anonymous):
        app = make_app(STATISTICS_COUNTRY=path)
        app.client.get("/", environ_base={"REMOTE_ADDR": "192.0.2.7"})
        assert app.row().country is None


def test_file_that_is_replaced_is_read_again(path: Path) -> None:
    clock = Clock()
    file = CountryFile(path, getLogger(), clock=clock)
    assert file.country_of("192.0.2.7") == "AT"
    mmdb.write(path.with_name("new"), {"192.0.2.0/24": JAPAN, "10.0.0.0/8": JAPAN})
    path.with_name("new").replace(path)
    assert file.country_of("192.0.2.7") == "AT"
    clock.now = LOOKED_AT_SECONDS + 1
    assert file.country_of("192.0.2.7") == "JP"


@pytest.mark.parametrize("content", [b"", b"damaged", None])
def test_file_that_is_damaged_later_is_logged_once(
    path: Path, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    clock = Clock()
    file = CountryFile(path, getLogger("app"), clock=clock)
    path.unlink() if content is None else path.write_bytes(content)
    for turn in range(1, 4):
        clock.now = turn * (LOOKED_AT_SECONDS + 1)
        assert file.country_of("192.0.2.7") == "AT"
    assert caplog.text.count("cannot be read again, so what it had before is used") == 1
    mmdb.write(path, {"192.0.2.0/24": JAPAN})
    clock.now += LOOKED_AT_SECONDS + 1
    assert file.country_of("192.0.2.7") == "JP"


def test_damaged_data_is_logged_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = path.read_bytes()
    place = content.index(b"country_code") - 1
    path.write_bytes(content[:place] + b"\xff" * 8 + content[place + 8 :])
    file = CountryFile(path, getLogger("app"))
    assert [file.country_of(address) for address in ("198.51.100.1", "198.51.100.2", "192.0.2.7")] == [None, None, "AT"]
    assert caplog.text.count("is damaged, so countries are NULL") == 1


def test_file_of_ipv4_alone(tmp_path: Path) -> None:
    mmdb.write(tmp_path / "4.mmdb", {"192.0.2.0/24": AUSTRIA}, version=4)
    file = CountryFile(tmp_path / "4.mmdb", getLogger())
    assert (file.country_of("192.0.2.7"), file.country_of("2001:db8::7")) == ("AT", None)


def test_missing_file_is_refused(make_app: MakeApp, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"^STATISTICS_COUNTRY is '.*none\.mmdb', but that file cannot be read "):
        make_app(STATISTICS_COUNTRY=str(tmp_path / "none.mmdb"))


def test_file_of_something_else_is_refused(make_app: MakeApp, tmp_path: Path) -> None:
    mmdb.write(tmp_path / "asn.mmdb", {"192.0.2.0/24": {"autonomous_system_number": 64496}})
    with pytest.raises(SettingError, match="but that file has no countries"):
        make_app(STATISTICS_COUNTRY=str(tmp_path / "asn.mmdb"))


def test_missing_package_is_said_with_its_pip_line(
    make_app: MakeApp, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "maxminddb", None)
    with pytest.raises(SettingError, match=r'which needs maxminddb: pip install "flask-statistics\[country\]"'):
        make_app(STATISTICS_COUNTRY=str(path))
