"""Who may see the dashboard: every URL under the prefix asks `before_f`, and the guards that come with the package."""

from __future__ import annotations

import logging
import re
import sys
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pytest
from flask import Flask, abort, redirect
from flask_login import LoginManager, UserMixin, login_user
from itsdangerous import TimestampSigner
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.security import generate_password_hash

from flask_statistics import SettingError
from flask_statistics.guards import Guard, all_of, any_of, basic_auth, local_only, login_required, token

from .conftest import App, result_of

MakeApp = Callable[..., App]


def raise_error() -> None:
    raise ValueError("no")


@pytest.mark.parametrize("answer", [None, True])
def test_guard_allows(make_app: MakeApp, answer: bool | None) -> None:
    app = make_app(before_f=lambda: answer)
    assert app.client.get("/statistics/").status_code == 200


@pytest.mark.parametrize(
    ("guard", "status"),
    [
        (lambda: False, 403),
        (lambda: redirect("/login"), 302),
        (lambda: ("Log in first", 401), 401),
        (lambda: "no", 200),
        (lambda: abort(404), 404),
        (raise_error, 403),
        (lambda: 5, 403),
        (lambda: 0, 403),
    ],
)
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api/summary",
        "/api/series",
        "/api/breakdown/path",
        "/api/requests",
        "/api/health",
        "/nowhere",
        "/api/nowhere",
    ],
)
def test_guard_denies_every_url(make_app: MakeApp, guard: Callable[[], Any], status: int, path: str) -> None:
    app = make_app(before_f=guard)
    response = app.client.get(f"/statistics{path}")
    assert response.status_code == status
    assert b"hits" not in response.data
    assert response.headers["Cache-Control"] == "private, no-store"


@pytest.mark.parametrize("path", ["/", "/api/summary", "/%61pi/summary", "/api//summary", "/api/summary/", "/nowhere"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_guard_denies_every_method_and_spelling(make_app: MakeApp, method: str, path: str) -> None:
    assert make_app(before_f=lambda: False).client.open(f"/statistics{path}", method=method).status_code == 403


METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND")


def spellings(app: App) -> list[str]:
    """A URL for each rule of the dashboard, and ways to write them that Flask, a proxy or a client might undo."""
    rules = [rule for rule in app.flask.url_map.iter_rules() if rule.endpoint.startswith("statistics.")]
    assert len(rules) >= 17
    urls = [re.sub(r"<(\w+:)?\w+>", "summary", rule.rule) for rule in rules]
    urls += ["/statistics", "/statistics/panel/nowhere", "/statistics/nowhere", "/statistics/static/nowhere.css"]
    return [
        spelling
        for url in urls
        for spelling in (
            url,
            f"{url}/",
            url.replace("/statistics", "//statistics", 1),
            url.replace("/statistics/", "/statistics//", 1),
            url.replace("/statistics/", "/statistics/static/../", 1),
            url.replace("/statistics/", "/statistics/static/..%2f", 1),
            "".join(f"%{ord(letter):x}" if letter.isalpha() else letter for letter in url),
        )
    ]


@pytest.mark.parametrize("method", METHODS)
def test_guard_denies_every_rule_method_and_spelling(make_app: MakeApp, method: str) -> None:
    app = make_app(before_f=lambda: ("Log in first", 200))
    for url in spellings(app):
        response = app.client.open("/", method=method, environ_overrides={"PATH_INFO": unquote(url)})
        assert response.status_code == 200, url
        assert response.data == (b"" if method == "HEAD" else b"Log in first"), url
        assert response.headers["Cache-Control"] == "private, no-store", url
        assert "Allow" not in response.headers, url
        assert "Location" not in response.headers, url
        assert "Set-Cookie" not in response.headers, url


def test_guard_that_allows_leaves_405_and_redirects_as_they_are(make_app: MakeApp) -> None:
    app = make_app(before_f=lambda: True)
    refused = app.client.post("/statistics/")
    assert refused.status_code == 405
    assert set(refused.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    moved = app.client.get("/statistics")
    assert (moved.status_code, moved.headers["Location"]) == (308, "http://localhost/statistics/")


@pytest.mark.parametrize(("answer", "status"), [(True, 200), (False, 403)])
def test_guard_can_be_a_coroutine_function(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, answer: bool, status: int
) -> None:
    async def guard() -> bool:
        return answer

    monkeypatch.setattr(Flask, "async_to_sync", lambda _, function: lambda: result_of(function()))
    assert make_app(before_f=guard).client.get("/statistics/api/health").status_code == status


def test_guard_that_raises_is_logged(make_app: MakeApp, caplog: pytest.LogCaptureFixture) -> None:
    make_app(before_f=raise_error).client.get("/statistics/")
    assert [record.message for record in caplog.records] == [
        "Flask-Statistics: before_f raised, so the request was refused."
    ]
    assert caplog.records[0].exc_info


def test_guard_is_not_asked_for_other_pages(make_app: MakeApp) -> None:
    app = make_app(before_f=raise_error)
    assert app.client.get("/nowhere").status_code == 404


def test_open_dashboard_is_said_once(make_app: MakeApp, caplog: pytest.LogCaptureFixture) -> None:
    app = make_app()
    for _ in range(3):
        app.client.get("/statistics/api/health")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.message == (
        "The statistics at /statistics/ are open to everyone who can reach this app. Close them with one of "
        "flask_statistics.guards: Statistics(app, db, Request, basic_auth(name, password_hash))."
    )


@pytest.mark.parametrize("key", ["DEBUG", "TESTING"])
def test_open_dashboard_is_not_said_while_developing(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    make_app(**{key: True}).client.get("/statistics/api/health")
    assert caplog.records == []


# ---- guards that come with the package -------------------------------------------------------------------------------

HEALTH = "/statistics/api/health"
SECRET = "0123456789abcdefghij"
HASH = generate_password_hash("pässword", "pbkdf2:sha256:1")


def yes() -> bool:
    return True


def no() -> bool:
    return False


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(text.encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        (basic("admin:pässword"), 200),
        (basic("admin:wrong"), 401),
        (basic("other:pässword"), 401),
        (basic("admin"), 401),
        ({"Authorization": "Basic !"}, 401),
        ({"Authorization": "Bearer pässword"}, 401),
    ],
)
def test_basic_auth(make_app: MakeApp, headers: dict[str, str], status: int) -> None:
    app = make_app(before_f=basic_auth("admin", HASH))
    for _ in range(2):
        response = app.client.get(HEALTH, headers=headers)
        assert response.status_code == status
        assert response.headers.get("WWW-Authenticate") == (
            None if status == 200 else 'Basic realm="Statistics", charset="UTF-8"'
        )


def test_basic_auth_remembers_no_wrong_name(make_app: MakeApp) -> None:
    app = make_app(before_f=basic_auth("admin", HASH))
    statuses = [app.client.get(HEALTH, headers=basic(f"{name}:pässword")).status_code for name in ("admin", "other")]
    assert statuses == [200, 401]


@pytest.mark.parametrize("text", ["password", "", "md5$salt$hash", "plain$$password"])
def test_basic_auth_refuses_what_is_no_hash(text: str) -> None:
    with pytest.raises(SettingError, match=r"^basic_auth was given something that is no password hash\."):
        basic_auth("admin", text)


def test_token_is_swapped_for_a_cookie(make_app: MakeApp) -> None:
    app = make_app(before_f=token(SECRET))
    assert app.client.get(HEALTH).status_code == 403
    swap = app.client.get(f"/statistics/errors?span=7d&token={SECRET}&browser!=a%26b", base_url="https://localhost")
    assert swap.status_code == 303
    assert swap.headers["Location"] == "/statistics/errors?span=7d&browser%21=a%26b"
    assert swap.headers["Cache-Control"] == "private, no-store"
    assert SECRET not in str(swap.headers)
    attributes = swap.headers["Set-Cookie"].split("; ")[1:]
    assert [a for a in attributes if not a.startswith("Expires")] == [
        "Max-Age=2592000",
        "Secure",
        "HttpOnly",
        "Path=/statistics",
        "SameSite=Lax",
    ]
    assert app.client.get("/statistics/errors", base_url="https://localhost").status_code == 200


@pytest.mark.parametrize("path", ["/statistics", "/statistics/", "/statistics/api/health", "//statistics/errors"])
def test_token_leaves_every_url(make_app: MakeApp, path: str) -> None:
    app = make_app(before_f=token(SECRET))
    swap = app.client.get(f"/?token={SECRET}", environ_overrides={"PATH_INFO": path})
    assert swap.headers["Location"] == path.replace("//", "/")
    found = app.client.get(swap.headers["Location"], follow_redirects=True)
    assert found.status_code == 200


def test_token_under_a_prefix_of_the_server(make_app: MakeApp) -> None:
    app = make_app(before_f=token(SECRET))
    swap = app.client.get(f"/statistics/?token={SECRET}", environ_overrides={"SCRIPT_NAME": "/a shop"})
    assert swap.headers["Location"] == "/a%20shop/statistics/"
    assert "Path=/a%20shop/statistics;" in swap.headers["Set-Cookie"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": f"Bearer {SECRET}"}, 200),
        ({"Authorization": f"Bearer {SECRET}x"}, 403),
        ({"Authorization": "Bearer é"}, 403),
        ({"Authorization": f"Basic {SECRET}"}, 403),
        ({"Cookie": f"statistics_token={SECRET}"}, 403),
        ({"Cookie": "statistics_token=may see.aaaaaa.AAAA"}, 403),
        ({"Cookie": "statistics_token=é"}, 403),
    ],
)
def test_token_by_header(make_app: MakeApp, headers: dict[str, str], status: int) -> None:
    assert make_app(before_f=token(SECRET)).client.get(HEALTH, headers=headers).status_code == status


def test_token_cookie_ends(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(before_f=token(SECRET))
    app.client.get(f"/statistics/?token={SECRET}")
    assert app.client.get(HEALTH).status_code == 200
    now = TimestampSigner.get_timestamp(TimestampSigner("x"))
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda self: now + 31 * 24 * 3600)
    assert app.client.get(HEALTH).status_code == 403


def test_token_cookie_ends_with_the_secret(make_app: MakeApp) -> None:
    swap = make_app(before_f=token(SECRET)).client.get(f"/statistics/?token={SECRET}")
    cookie = swap.headers["Set-Cookie"].partition(";")[0]
    other = make_app(before_f=token(SECRET + "2"))
    assert other.client.get(HEALTH, headers={"Cookie": cookie}).status_code == 403


@pytest.mark.parametrize("secret", ["", "short", None])
def test_token_refuses_a_secret_that_can_be_guessed(secret: Any) -> None:
    with pytest.raises(SettingError, match=r"^token was given a secret that is not a text of at least 20 characters\."):
        token(secret)


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("127.8.8.8", {"Host": "127.0.0.1:5000"}, 200),
        ("::1", {"Host": "[::1]"}, 200),
        ("::1", {"Host": "[::1]:5000"}, 200),
        ("::ffff:127.0.0.1", {"Host": "LOCALHOST:80"}, 200),
        ("192.0.2.1", {}, 403),
        ("::ffff:192.0.2.1", {}, 403),
        ("", {}, 403),
        ("127.0.0.1", {"Host": "rebound.example"}, 403),
        ("127.0.0.1", {"Host": "localhost.rebound.example"}, 403),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, 403),
        ("127.0.0.1", {"Forwarded": "for=127.0.0.1"}, 403),
        ("127.0.0.1", {"Via": "1.1 proxy"}, 403),
        ("127.0.0.1", {"X-Real-IP": ""}, 403),
    ],
)
def test_local_only(make_app: MakeApp, address: str, headers: dict[str, str], status: int) -> None:
    app = make_app(before_f=local_only)
    found = app.client.get(HEALTH, headers=headers, environ_overrides={"REMOTE_ADDR": address})
    assert found.status_code == status


def test_local_only_asks_who_really_called(make_app: MakeApp) -> None:
    app = make_app(before_f=local_only)
    app.flask.wsgi_app = ProxyFix(app.flask.wsgi_app)  # type: ignore[method-assign]
    local, foreign = ({"REMOTE_ADDR": address} for address in ("127.0.0.1", "192.0.2.1"))
    assert app.client.get(HEALTH, environ_overrides=local).status_code == 200
    assert app.client.get(HEALTH, environ_overrides=foreign).status_code == 403


class User(UserMixin):  # type: ignore[misc]  # Flask-Login has no types
    id = "1"


def with_login(flask: Flask) -> None:
    flask.secret_key = "a"
    manager = LoginManager(flask)
    manager.user_loader(lambda _: User())
    manager.login_view = "login"
    flask.add_url_rule("/login", "login", lambda: str(login_user(User())))


def test_login_required(make_app: MakeApp) -> None:
    app = make_app(before=with_login, before_f=login_required)
    denied = app.client.get("/statistics/errors")
    assert (denied.status_code, denied.headers["Location"]) == (302, "/login?next=%2Fstatistics%2Ferrors")
    app.client.get("/login")
    assert app.client.get("/statistics/errors").status_code == 200


@pytest.mark.parametrize(
    ("installed", "message"),
    [
        (True, "login_required needs a LoginManager: LoginManager(app), with a user_loader."),
        (False, "login_required needs Flask-Login: pip install Flask-Login"),
    ],
)
def test_login_required_without_flask_login(
    make_app: MakeApp,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    installed: bool,
    message: str,
) -> None:
    if not installed:
        monkeypatch.setitem(sys.modules, "flask_login", None)
    assert make_app(before_f=login_required).client.get(HEALTH).status_code == 403
    assert message in caplog.text


@pytest.mark.parametrize(
    ("guard", "status"),
    [
        (any_of(no, yes), 200),
        (any_of(yes, raise_error), 200),
        (any_of(no, no), 403),
        (any_of(no, basic_auth("admin", HASH)), 401),
        (any_of(lambda: abort(404), no, lambda: redirect("/login")), 404),
        (any_of(lambda: abort(404), yes), 200),
        (any_of(raise_error, yes), 403),
        (any_of(lambda: 0, lambda: None), 200),
        (all_of(yes, lambda: None), 200),
        (all_of(yes, no), 403),
        (all_of(yes, lambda: abort(404)), 404),
        (all_of(basic_auth("admin", HASH), raise_error), 401),
        (all_of(any_of(no, yes), yes), 200),
    ],
)
def test_guards_combined(make_app: MakeApp, guard: Guard, status: int) -> None:
    assert make_app(before_f=guard).client.get(HEALTH).status_code == status


def test_token_beside_a_guard_that_redirects(make_app: MakeApp) -> None:
    app = make_app(before_f=any_of(lambda: redirect("/login"), token(SECRET)))
    assert app.client.get("/statistics/").headers["Location"] == "/login"
    assert app.client.get(f"/statistics/?token={SECRET}", follow_redirects=True).status_code == 200


@pytest.mark.parametrize("combine", [any_of, all_of])
def test_guards_combined_wrongly(combine: Callable[..., Guard]) -> None:
    for guards in ((), (yes, True)):
        with pytest.raises(SettingError, match="takes guards, each a function without arguments"):
            combine(*guards)
