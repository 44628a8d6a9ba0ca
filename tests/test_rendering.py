"""The dashboard owes nothing to the host's settings: whatever an app does to its pages and answers, ours are as ever."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import jinja2
import pytest
from flask import Flask, Response
from flask.json.provider import DefaultJSONProvider
from flask_sqlalchemy import SQLAlchemy
from markupsafe import Markup

from flask_statistics import SettingError, Statistics

from .conftest import App, whole_model

MakeApp = Callable[..., App]
MARKUP = "<form action='https://phish.example'>"
PAGES = ("", "errors", "requests", "live", "health", "list/path", "panel/paths")


class Delimiters(Flask):
    jinja_options = {  # noqa: RUF012
        "variable_start_string": "[[",
        "variable_end_string": "]]",
        "block_start_string": "[%",
        "block_end_string": "%]",
        "undefined": jinja2.StrictUndefined,
    }


class Unescaped(Flask):
    def select_jinja_autoescape(self, filename: str | None) -> bool:
        return False


class Json(Response):
    default_mimetype = "application/json"


class Api(Flask):
    response_class = Json

    class json_provider_class(DefaultJSONProvider):  # noqa: N801
        def dumps(self, obj: Any, **options: Any) -> str:
            return super().dumps({"data": obj}, **options)


class Filters(Flask):
    def create_jinja_environment(self) -> Any:
        environment = super().create_jinja_environment()
        environment.filters |= dict.fromkeys(("length", "capitalize", "e", "safe"), lambda value: "gone")
        environment.globals["csrf_token"] = "a text"
        return environment


class Failing(Flask):
    def __init__(self, *names: Any) -> None:
        super().__init__(*names)
        self.context_processor(self.fail)

    def fail(self) -> dict[str, Any]:
        raise ZeroDivisionError


def served(kind: type[Flask], **config: Any) -> Any:
    """A client of an app of this kind, with one request recorded."""
    app = kind("tests.host")
    app.config.update(SQLALCHEMY_DATABASE_URI="sqlite://", STATISTICS_DEFAULT_FILTERS="", **config)
    db = SQLAlchemy(app)
    Statistics(app, db, whole_model(db), lambda: True)
    with app.app_context():
        db.create_all()
    client = app.test_client()
    client.get(f"/{MARKUP}")
    return client


@pytest.mark.parametrize("kind", [Flask, Delimiters, Unescaped, Api, Filters, Failing])
def test_pages_are_the_same_in_every_app(kind: type[Flask], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    client = served(kind)
    for page in PAGES:
        response = client.get(f"/statistics/{page}")
        assert (response.status_code, response.content_type) == (200, "text/html; charset=utf-8"), page
        assert MARKUP not in response.text, page
        assert "{%" not in response.text, page
        assert "gone" not in response.text, page
    assert "&lt;form action=" in client.get("/statistics/").text
    summary = client.get("/statistics/api/summary")
    assert (summary.mimetype, client.get("/statistics/export/path.csv").mimetype) == ("application/json", "text/csv")
    assert client.get("/statistics/api/summary?span=x").json.keys() == {"error"}
    assert '"hits":1,' in summary.text
    with client.get("/statistics/static/statistics.css") as response:
        assert response.mimetype == "text/css"


def test_csrf_token_of_every_shape(make_app: MakeApp) -> None:
    app = make_app()
    for token in (lambda: "abc", "abc", Markup("abc")):
        app.flask.jinja_env.globals["csrf_token"] = token
        assert 'name="csrf_token" value="abc"' in app.client.get("/statistics/").text
    del app.flask.jinja_env.globals["csrf_token"]
    assert "csrf_token" not in app.client.get("/statistics/").text


def test_csrf_token_of_a_context_processor(make_app: MakeApp) -> None:
    app = make_app(before=lambda flask: flask.context_processor(lambda: {"csrf_token": lambda: "abc"}))
    assert 'name="csrf_token" value="abc"' in app.client.get("/statistics/").text


def test_template_of_the_app_replaces_ours(tmp_path: Path) -> None:
    (tmp_path / "flask_statistics").mkdir()
    (tmp_path / "flask_statistics" / "overview.html").write_text(
        "mine: {{ request.path }} {{ url_for('statistics.index') }}"
    )

    class Own(Flask):
        def __init__(self, name: str) -> None:
            super().__init__(name, template_folder=str(tmp_path))

    assert served(Own).get("/statistics/").text == "mine: /statistics/ /statistics/"


# ---- hosts and names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "found"),
    [
        (None, {"www.shop.example": 200, "shop.example": 200}),
        ("shop.example", {"www.shop.example": 404, "shop.example": 200}),
    ],
)
def test_dashboard_of_an_app_that_matches_hosts(host: str | None, found: dict[str, int]) -> None:
    class Hosts(Flask):
        def __init__(self, name: str) -> None:
            super().__init__(name, host_matching=True, static_host="www.shop.example")

    client = served(Hosts, STATISTICS_HOST=host)
    for name in found:
        for page in ("", "requests", "static/statistics.css", "api/summary"):
            with client.get(f"/statistics/{page}", base_url=f"http://{name}") as response:
                assert response.status_code == found[name], (name, page)
    assert 'href="/statistics/requests' in client.get("/statistics/", base_url="http://shop.example").text


def test_dashboard_on_a_subdomain() -> None:
    class Subdomains(Flask):
        def __init__(self, name: str) -> None:
            super().__init__(name, subdomain_matching=True)

    client = served(Subdomains, STATISTICS_SUBDOMAIN="admin", SERVER_NAME="shop.example")
    assert client.get("/statistics/", base_url="http://admin.shop.example").status_code == 200
    assert client.get("/statistics/", base_url="http://shop.example").status_code == 404


@pytest.mark.parametrize("key", ["HOST", "SUBDOMAIN"])
def test_host_that_nobody_looks_at_is_refused(make_app: MakeApp, key: str) -> None:
    with pytest.raises(SettingError, match=f"STATISTICS_{key} is 'x.example', but the app does not look at it"):
        make_app(**{f"STATISTICS_{key}": "x.example"})


@pytest.mark.parametrize(
    ("before", "why"),
    [
        (lambda app: app.extensions.update(statistics=object()), "an extension named 'statistics'"),
        (lambda app: app.cli.command("statistics")(lambda: None), "a command named 'statistics'"),
        (lambda app: app.add_url_rule("/statistics/", "mine", lambda: ""), "a page at '/statistics/' of its own"),
    ],
)
def test_name_that_is_taken_is_refused(make_app: MakeApp, before: Callable[[Flask], Any], why: str) -> None:
    with pytest.raises((RuntimeError, SettingError), match=why):
        make_app(before=before)


# ---- extensions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, False])
def test_extensions_leave_the_dashboard_alone(make_app: MakeApp, first: bool) -> None:
    from flask_compress import Compress
    from flask_cors import CORS
    from flask_debugtoolbar import DebugToolbarExtension

    def add(app: Flask) -> None:
        app.config.update(SECRET_KEY="x", DEBUG_TB_ENABLED=True)
        for extension in (CORS, DebugToolbarExtension, Compress):
            extension(app)

    app = make_app(before=add if first else None)
    if not first:
        add(app.flask)
    origin = {"Origin": "https://other.example"}
    app.flask.add_url_rule("/page", "page", lambda: "<html><body>hello</body></html>")
    assert "flDebug" in app.client.get("/page").text
    page = app.client.get("/statistics/", headers=origin)
    assert page.status_code == 200
    assert "flDebug" not in page.text
    assert "Access-Control-Allow-Origin" not in app.client.get("/statistics/api/summary", headers=origin).headers
    compressed = app.client.get("/statistics/", headers={"Accept-Encoding": "gzip, deflate"})
    assert compressed.headers["Content-Encoding"] == "deflate"
    assert zlib.decompress(compressed.data).endswith(b"</body>\n</html>")


def test_limiter_exempts_the_dashboard(make_app: MakeApp) -> None:
    from flask_limiter import Limiter
    from flask_limiter.util import get_remote_address

    def limit(app: Flask) -> None:
        Limiter(get_remote_address, app=app, default_limits=["1 per hour"], storage_uri="memory://")
        app.add_url_rule("/page", "page", lambda: "hello")

    app = make_app(before=limit)
    assert [app.client.get("/page").status_code for _ in range(2)] == [200, 429]
    assert [app.client.get("/statistics/").status_code for _ in range(3)] == [200] * 3


def test_talisman(make_app: MakeApp) -> None:
    from flask_talisman import Talisman

    app = make_app(before=lambda flask: Talisman(flask, force_https=False))
    assert app.client.get("/statistics/").status_code == 200


def test_apiflask_keeps_its_openapi_page() -> None:
    from apiflask import APIFlask

    client = served(APIFlask)
    assert client.get("/openapi.json").status_code == 200
    assert client.get("/statistics/").status_code == 200


def test_short_interval_is_no_false_alarm(make_app: MakeApp) -> None:
    app = make_app(STATISTICS_ROLLUPS=True, STATISTICS_SCHEDULER=False, STATISTICS_ROLLUP_INTERVAL=timedelta(seconds=1))
    app.client.get("/")
    assert app.flask.test_cli_runner().invoke(args=["statistics", "rollup"]).exit_code == 0
    assert app.json("health")["problems"] == []
