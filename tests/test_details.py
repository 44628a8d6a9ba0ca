"""Columns that not every model has, filled by requests, through both writers, on every database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_statistics import SettingError

from .conftest import App, original_model

MakeApp = Callable[..., App]
SETTINGS: dict[str, Any] = {
    "STATISTICS_COUNTRY": "CF-IPCountry",
    "STATISTICS_RELEASE": "v42",
    "STATISTICS_USER": lambda: "ada",
}
STORED = {
    "country": "AT",
    "host": "shop.example",
    "language": "de-AT",
    "release": "v42",
    "user": "ada",
    "channel": "internal",
    "campaign": "spring sale",
}
HEADERS = {
    "CF-IPCountry": "at",
    "Host": "Shop.Example:8080",
    "Accept-Language": "de-at,de;q=0.9",
    "Referer": "https://shop.example/cart",
}


@pytest.mark.parametrize("writer", ["direct", "spool"])
def test_recorded_on_every_database(make_app: MakeApp, database_url: str, tmp_path: Any, writer: str) -> None:
    app = make_app(database_url, STATISTICS_WRITER=writer, STATISTICS_SPOOL_PATH=tmp_path / "spool", **SETTINGS)
    app.client.get("/?utm_campaign=spring+sale", headers=HEADERS)
    row = app.row()
    assert {name: getattr(row, name) for name in STORED} == STORED
    for name, value in STORED.items():
        answer = app.json(f"breakdown/{name}")
        assert [(one["value"], one["hits"]) for one in answer["rows"]] == [(value, 1)]
        assert app.json(f"summary?{name}={value}")["hits"] == 1
        assert app.json(f"summary?{name}!={value}")["hits"] == 0


def test_nothing_is_offered_that_no_setting_fills(make_app: MakeApp) -> None:
    app = make_app()
    app.client.get("/")
    row = app.row()
    assert (row.country, row.release, row.user) == (None, None, None)
    assert not {"country", "release", "user"} & {*app.statistics_state().dimensions}


def test_all_that_is_there_is_offered_where_nothing_is_recorded(make_app: MakeApp) -> None:
    assert {*STORED} <= {*make_app(STATISTICS_ENABLED=False).statistics_state().dimensions}


@pytest.mark.parametrize(("name", "value"), [("release", "v42"), ("country", "CF-IPCountry"), ("user", "flask-login")])
def test_setting_without_its_column_is_refused(make_app: MakeApp, name: str, value: Any) -> None:
    with pytest.raises(SettingError) as caught:
        make_app(model=original_model, **{f"STATISTICS_{name.upper()}": value})
    assert str(caught.value) == (
        f"STATISTICS_{name.upper()} is set, but the model has no column {name!r} to store it in: let it inherit from "
        "RequestMixin, or declare the column as that does."
    )


@pytest.mark.parametrize("value", ["", " ", "x" * 65, 42, b"v42"])
def test_release_refuses(make_app: MakeApp, value: Any) -> None:
    with pytest.raises(SettingError, match='must be None, a text of 1 to 64 characters, "git" or "package:NAME"'):
        make_app(STATISTICS_RELEASE=value)


def test_host_behind_a_proxy_is_that_of_the_client(make_app: MakeApp) -> None:
    app = make_app()
    app.flask.wsgi_app = ProxyFix(app.flask.wsgi_app, x_host=1)  # type: ignore[method-assign]
    app.client.get("/", headers={"Host": "10.0.0.7", "X-Forwarded-Host": "shop.example"})
    assert app.row().host == "shop.example"


@pytest.mark.parametrize("headers", [{"Host": "a b", "Accept-Language": "*"}, {"Host": "", "Accept-Language": "\xff"}])
def test_what_is_no_host_and_no_language_is_null(make_app: MakeApp, headers: dict[str, str]) -> None:
    app = make_app()
    app.client.get("/", headers=headers)
    assert (app.row().host, app.row().language) == (None, None)


def test_model_without_the_columns(make_app: MakeApp) -> None:
    app = make_app(model=original_model)
    app.client.get("/", headers=HEADERS)
    assert app.row().path == "/"
    assert not {*STORED} & {*app.statistics_state().dimensions}


def test_channel_and_campaign_are_those_of_what_is_stored(make_app: MakeApp) -> None:
    app = make_app()
    app.client.get("/?utm_medium=email&utm_campaign=hello&token=geheim")
    app.client.get(
        "/?utm_campaign=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
    )
    mailed, secret = app.rows()
    assert (mailed.channel, mailed.campaign) == ("mail", "hello")
    assert "utm_campaign=eyJ" not in secret.query_string
    assert "eyJ" not in secret.campaign


def test_a_panel_of_campaigns_leaves_out_who_follows_none(make_app: MakeApp) -> None:
    app = make_app()
    for url in ("/", "/", "/?utm_source=news"):
        app.client.get(url)
    for page in ("panel/campaign", "list/campaign"):
        text = app.client.get(f"/statistics/{page}").text
        assert ">news</a>" in text
        assert "(no campaign)" not in text
    assert app.json("summary?campaign=")["hits"] == 2
    assert ">Direct</a>" in app.client.get("/statistics/panel/channel").text


def test_language_is_found_however_it_is_written(make_app: MakeApp) -> None:
    app = make_app()
    app.client.get("/", headers=HEADERS)
    assert app.json("summary?language=DE-at&host=Shop.Example")["hits"] == 1


@pytest.mark.parametrize("sent", ["XX", "T1", "ZZ", "DEU", "D", "", "Ä1", "d e", None])
def test_what_is_no_country_is_null(make_app: MakeApp, sent: str | None) -> None:
    app = make_app(STATISTICS_COUNTRY="X-Country")
    app.client.get("/", headers={} if sent is None else {"X-Country": sent})
    assert app.row().country is None


@pytest.mark.parametrize("value", [42, "", "a header", "/var/lib/countries.csv"])
def test_country_refuses(make_app: MakeApp, value: Any) -> None:
    with pytest.raises(
        SettingError, match=r"must be None, the name of a header that your proxy sets, .* of an \.mmdb file"
    ):
        make_app(STATISTICS_COUNTRY=value)


def test_country_is_shown_with_its_name(make_app: MakeApp) -> None:
    app = make_app(**SETTINGS)
    app.client.get("/", headers=HEADERS)
    app.client.get("/")
    for page in ("panel/country", "list/country"):
        text = app.client.get(f"/statistics/{page}").text
        assert "<code>AT</code> Austria</a>" in text
        assert ">(unknown)</a>" in text
    assert "AT Austria,1" in app.client.get("/statistics/export/country.csv").text
    assert app.json("summary?country=at")["hits"] == 1
