"""Who may see the dashboard: every URL under the prefix asks `before_f`, and the guards that come with the package."""

from __future__ import annotations

import hashlib
import logging
import re
import sys
import time
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from threading import Event
from typing import Any
from urllib.parse import unquote

import pytest
from flask import Flask, abort, redirect, session
from flask_login import LoginManager, UserMixin, login_user
from itsdangerous import TimestampSigner
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.security import generate_password_hash

from flask_statistics import SettingError, guards
from flask_statistics.guards import (
    Failures,
    Guard,
    all_of,
    any_of,
    basic_auth,
    everybody,
    local_only,
    login_required,
    token,
    token_hash,
)
from flask_statistics.trail import Access, statistics_accessed

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


class Asked:
    """A guard that is an object, and answers in its own time."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def __call__(self) -> Any:
        return self.answer


@pytest.mark.parametrize(
    ("guard", "status"),
    [
        (Asked(True), 200),
        (Asked(False), 403),
        (lambda: Asked(True)(), 200),
        (any_of(lambda: False, Asked(True)), 200),
        (any_of(Asked(None), Asked(False)), 403),
        (all_of(Asked(True), lambda: True), 200),
        (all_of(lambda: True, Asked(None)), 403),
    ],
)
def test_guard_can_be_an_object_that_is_waited_for(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, guard: Guard, status: int
) -> None:
    monkeypatch.setattr(Flask, "async_to_sync", lambda _, function: lambda: result_of(function()))
    assert make_app(before_f=guard).client.get("/statistics/api/health").status_code == status


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


# ---- closed as it comes ----------------------------------------------------------------------------------------------


def ask(app: App, path: str = "/statistics/", address: str = "127.0.0.1", **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return app.client.get(path, headers=named, environ_overrides={"REMOTE_ADDR": address})


def test_dashboard_without_a_guard_answers_on_its_own_machine(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()
    assert ask(app).status_code == ask(app, "/statistics/api/summary", "::1").status_code == 200
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("key", ["TESTING", "ENV", "DEBUG"])
@pytest.mark.parametrize(
    "path", ["/statistics/", "/statistics/health", "/statistics/nowhere", "/statistics/static/x.css"]
)
def test_dashboard_without_a_guard_is_closed_to_others(make_app: MakeApp, path: str, key: str) -> None:
    app = make_app(**{key: True})
    for address in ("203.0.113.9", "2001:db8::1", "8.8.8.8", ""):
        found = ask(app, path, address)
        assert found.status_code == 403
        assert "guards" in found.text
        assert "everybody" in found.text
        assert found.headers["Cache-Control"] == "private, no-store"
        for leaked in ("tests", "203.0.113", "sqlite", "requests"):
            assert leaked not in found.text.lower()
    assert ask(app, path, X_Forwarded_For="127.0.0.1").status_code == 403


def test_closed_page_brings_its_style_and_nothing_else_is_let_in(make_app: MakeApp) -> None:
    found = ask(make_app(), "/statistics/", "203.0.113.9")
    (style,) = re.findall("<style>(.*?)</style>", found.text, re.DOTALL)
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = found.headers["Content-Security-Policy"]
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; ")
    assert re.findall(r'(?:src|href|action)="([^"]*)"', found.text) == ["data:,"]


def test_closed_api_answers_in_json(make_app: MakeApp) -> None:
    found = ask(make_app(), HEALTH, "203.0.113.9")
    assert (found.status_code, list(found.get_json())) == (403, ["error"])


@pytest.mark.parametrize(
    ("address", "host", "status"),
    [
        ("172.17.0.1", "localhost:5000", 200),
        ("192.168.1.7", "192.168.1.2:5000", 200),
        ("10.0.0.7", "shop.localhost", 200),
        ("fd00::7", "[fd00::1]:5000", 200),
        ("172.17.0.1", "rebound.example", 403),
        ("192.0.2.7", "localhost", 403),
    ],
)
def test_private_addresses_are_let_in_only_in_debug_mode(
    make_app: MakeApp, address: str, host: str, status: int
) -> None:
    assert ask(make_app(DEBUG=True), address=address, Host=host).status_code == status
    assert ask(make_app(), address=address, Host=host).status_code == 403


@pytest.mark.parametrize(
    ("address", "headers", "because"),
    [
        ("203.0.113.9", {}, "as it comes from 203.0.113.9"),
        ("127.0.0.1", {"X_Real_IP": "1.2.3.4"}, "as it has the header 'X-Real-Ip', which proxies add"),
        ("127.0.0.1", {"Host": "shop.example"}, "as it asks for the host 'shop.example'"),
        ("", {}, "as its address is not known"),
    ],
)
def test_closed_dashboard_is_said_once_with_the_reason(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture, address: str, headers: dict[str, str], because: str
) -> None:
    app = make_app()
    for _ in range(3):
        ask(app, address=address, **headers)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert because in record.getMessage()
    assert "Statistics(app, db, Request, guard)" in record.getMessage()


def test_everybody_opens_it(make_app: MakeApp, caplog: pytest.LogCaptureFixture) -> None:
    app = make_app(before_f=everybody)
    assert ask(app, address="203.0.113.9", X_Forwarded_For="6.6.6.6").status_code == 200
    assert app.json("health")["guarded"] is False
    assert make_app().json("health")["guarded"] is True
    assert caplog.records == []


# ---- a no is a no ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [False, "", 0, [], {}, (), b""])
def test_guard_that_answers_nothing_denies(make_app: MakeApp, answer: Any) -> None:
    for guard in (lambda: answer, any_of(lambda: answer), all_of(lambda: answer), any_of(no, lambda: answer)):
        assert make_app(before_f=guard).client.get("/statistics/").status_code == 403


def test_guard_that_answers_none_to_a_stranger_is_said_once(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    def is_admin() -> Any:
        return session.get("admin")

    app = make_app(before_f=is_admin, SECRET_KEY="a")
    for _ in range(3):
        assert app.client.get("/statistics/").status_code == 200  # as in version 1
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "the guard 'is_admin' answered None to somebody who is not logged in" in record.getMessage()
    assert "return True or False" in record.getMessage()


def test_guard_that_answers_none_to_somebody_known_is_quiet(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(before_f=lambda: None, before=with_login)
    ask(app, Authorization="Bearer x")
    app.client.get("/login")
    app.client.get("/statistics/")
    assert caplog.records == []


@pytest.mark.parametrize("combine", [any_of, all_of])
def test_none_within_our_guards_is_a_no(make_app: MakeApp, combine: Any) -> None:
    assert make_app(before_f=combine(lambda: None)).client.get("/statistics/").status_code == 403
    assert make_app(before_f=combine(combine(lambda: None))).client.get("/statistics/").status_code == 403


@pytest.mark.parametrize("answer", [None, True, False, "", 0])
def test_login_required_whose_handler_forgot_to_answer(make_app: MakeApp, answer: Any) -> None:
    def before(flask: Flask) -> None:
        with_login(flask)
        flask.login_manager.unauthorized_handler(lambda: answer)  # type: ignore[attr-defined]

    for guard in (login_required, any_of(no, login_required), all_of(login_required)):
        assert make_app(before=before, before_f=guard).client.get("/statistics/").status_code == 403


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/statistics/", {}, 302),
        ("/statistics/", {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}, 302),
        ("/statistics/", {"Accept": "application/json"}, 401),
        ("/statistics/", {"Accept": "text/csv"}, 401),
        ("/statistics/", {"Accept": "application/vnd.api+json"}, 401),
        ("/statistics/", {"Accept": "application/json, text/html;q=0.5"}, 401),
        ("/statistics/api/summary", {}, 401),
        ("/statistics/export/requests.csv", {}, 401),
        ("/statistics/errors", {"Authorization": "Bearer wrong"}, 401),
    ],
)
def test_login_required_tells_programs_without_a_form(
    make_app: MakeApp, path: str, headers: dict[str, str], status: int
) -> None:
    app = make_app(before=with_login, before_f=any_of(token(SECRET), login_required))
    found = app.client.get(path, headers=headers)
    assert found.status_code == status
    assert status == 302 or found.get_json() == {"error": "Log in first."}


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
    app = make_app(before_f=token(SECRET))
    assert send(app, **headers).status_code == status


def send(app: App, **headers: str) -> Any:
    """Ask with just these headers: a client that keeps cookies takes a Cookie header out."""
    return app.flask.test_client(use_cookies=False).get(HEALTH, headers=headers)


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
    assert send(make_app(before_f=token(SECRET)), Cookie=cookie).status_code == 200
    assert send(make_app(before_f=token(SECRET + "2")), Cookie=cookie).status_code == 403


NAMED = {"Ada": token_hash(SECRET), "monitor": SECRET + "2"}


@pytest.mark.parametrize(("secret", "label"), [(SECRET, "Ada"), (SECRET + "2", "monitor")])
def test_named_tokens_are_told_apart_on_health(make_app: MakeApp, secret: str, label: str) -> None:
    app = make_app(before_f=token(NAMED), SECRET_KEY="a")
    assert app.client.get(HEALTH, headers={"Authorization": f"Bearer {secret}"}).status_code == 200
    app.client.get(f"/statistics/?token={secret}")
    used = {each["label"]: each["used_at"] for each in app.json("health")["tokens"]}
    assert [name for name, at in used.items() if at is not None] == [label]
    page = app.client.get("/statistics/health").text
    assert f"Token {label}" in page
    assert "last used" in page
    assert "not used yet" in page
    assert secret not in page


def test_named_tokens_are_revoked_one_by_one(make_app: MakeApp) -> None:
    app = make_app(before_f=token(NAMED), SECRET_KEY="a")
    cookies = {
        label: app.client.get(f"/statistics/?token={secret}").headers["Set-Cookie"].partition(";")[0]
        for label, secret in (("Ada", SECRET), ("monitor", SECRET + "2"))
    }
    left = make_app(before_f=token({"monitor": NAMED["monitor"]}), SECRET_KEY="a")
    found = {label: send(left, Cookie=cookie).status_code for label, cookie in cookies.items()}
    assert found == {"Ada": 403, "monitor": 200}
    assert left.client.get(HEALTH, headers={"Authorization": f"Bearer {SECRET}"}).status_code == 403


def test_token_by_its_hash_opens_nothing(make_app: MakeApp) -> None:
    app = make_app(before_f=token({"Ada": token_hash(SECRET)}), SECRET_KEY="a")
    assert app.client.get(HEALTH, headers={"Authorization": f"Bearer {token_hash(SECRET)}"}).status_code == 403
    (kept,) = app.statistics_state().guard.tokens  # type: ignore[attr-defined]
    assert SECRET not in repr(kept)
    forged = TimestampSigner(kept.hash, salt="flask-statistics.token").sign(kept.id).decode()
    assert send(app, Cookie=f"statistics_token={forged}").status_code == 403


def test_token_by_its_hash_needs_a_secret_key(make_app: MakeApp, caplog: pytest.LogCaptureFixture) -> None:
    app = make_app(before_f=token({"Ada": token_hash(SECRET)}))
    assert app.client.get(f"/statistics/?token={SECRET}").status_code == 403
    assert "A token that is kept as a hash needs app.secret_key, which signs its cookies." in caplog.text
    assert app.client.get(HEALTH, headers={"Authorization": f"Bearer {SECRET}"}).status_code == 200


def test_log_out_ends_the_cookie(make_app: MakeApp) -> None:
    app = make_app(before_f=token(SECRET))
    app.client.get(f"/statistics/?token={SECRET}")
    assert 'action="/statistics/log-out"' in app.client.get("/statistics/").text
    assert app.client.get("/statistics/log-out").status_code == 404
    assert app.client.post("/statistics/log-out").status_code == 200
    assert app.client.get("/statistics/").status_code == 403
    assert "log-out" not in make_app().client.get("/statistics/").text


def test_token_command_makes_what_the_guard_takes(make_app: MakeApp) -> None:
    found = make_app().flask.test_cli_runner().invoke(args=["statistics", "token"])
    secret = found.output.splitlines()[0].rpartition(" ")[2]
    assert len(secret) >= 43
    assert token_hash(secret) in found.output


@pytest.mark.parametrize("named", [{}, {"": SECRET}, {1: SECRET}, {" ": SECRET}])
def test_token_refuses_labels_that_name_nobody(named: Any) -> None:
    with pytest.raises(SettingError, match=r"^token was given the labels"):
        token(named)


# ---- wrong passwords -------------------------------------------------------------------------------------------------


def test_wrong_passwords_are_counted_delayed_and_logged(make_app: MakeApp, caplog: pytest.LogCaptureFixture) -> None:
    app = make_app(before_f=basic_auth("admin", HASH))
    wrong, right = basic("admin:s3cr3t-guess"), basic("admin:pässword")
    statuses = [app.client.get(HEALTH, headers=wrong).status_code for _ in range(5)]
    assert statuses == [401, 401, 401, 429, 429]
    waiting = app.client.get(HEALTH, headers=right)  # from the same network
    assert (waiting.status_code, waiting.headers["Retry-After"]) in [(429, "1"), (429, "2")]
    other = app.client.get(HEALTH, headers=right, environ_overrides={"REMOTE_ADDR": "192.0.2.1"})
    assert (other.status_code, other.get_json()["wrong_passwords"]) == (200, 3)
    assert app.client.get(HEALTH, headers=right).status_code == 200  # it is known by now
    (record,) = caplog.records
    assert record.getMessage() == (
        "Flask-Statistics: 1 wrong names or passwords for the dashboard since start, the last one from 127.0.0.1."
    )
    assert "s3cr3t" not in caplog.text


def test_failures_double_the_wait_and_end_with_the_right_one() -> None:
    failures = Failures()
    waits = []
    for _ in range(12):
        failures.add("192.0.2.1", 1_000.0)
        waits.append(failures.wait_s("192.0.2.1", 1_000.0))
    assert waits == [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert failures.wait_s("192.0.2.2", 1_000.0) == 0
    assert (failures.any_of_late(1_001.0), failures.any_of_late(1_061.0)) == (True, False)
    failures.forget("192.0.2.1")
    assert failures.wait_s("192.0.2.1", 1_000.0) == 0
    assert [failures.add("a", at) for at in (1_001.0, 1_059.0, 1_060.0, 1_061.0)] == [False, False, True, False]
    for number in range(3_000):
        failures.add(str(number), 1_100.0)
    assert len(failures._networks) <= 1_000


def test_passwords_are_checked_one_at_a_time(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(before_f=basic_auth("admin", HASH))
    begun, go_on, most, now = Event(), Event(), [0], [0]

    def check(_hash: str, _password: str) -> bool:
        now[0] += 1
        most[0] = max(most[0], now[0])
        begun.set()
        go_on.wait(10)
        now[0] -= 1
        return False

    monkeypatch.setattr(guards, "check_password_hash", check)
    app.statistics_state().guard.failures.add("192.0.2.99", time.monotonic())  # type: ignore[attr-defined]
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(lambda: app.flask.test_client().get(HEALTH, headers=basic("admin:a")).status_code)
        assert begun.wait(10)
        others = [app.flask.test_client().get(HEALTH, headers=basic(f"admin:{text}")).status_code for text in "bcd"]
        go_on.set()
        assert (first.result(), others, most) == (401, [429] * 3, [1])


# ---- the trail -------------------------------------------------------------------------------------------------------


def test_trail_names_who_opened_and_exported(make_app: MakeApp, caplog: pytest.LogCaptureFixture) -> None:
    told: list[Access] = []
    app = make_app(before_f=any_of(no, basic_auth("admin", HASH)))
    app.insert({"date": datetime(2026, 11, 1), "path": "/", "remote_address": "203.0.113.9"})

    def keep(_app: Flask, access: Access) -> None:
        told.append(access)

    with statistics_accessed.connected_to(keep, app.flask):
        for path in ("requests/1", "export/requests.csv", "api/requests", "", "api/summary", "requests/999", "health"):
            app.client.get(
                f"/statistics/{path}?span=all",
                headers=basic("admin:pässword"),
                environ_overrides={"REMOTE_ADDR": "::ffff:192.0.2.7"},
            )
        app.client.get("/statistics/requests/1")  # refused
        app.flask.test_cli_runner().invoke(args=["statistics", "forget", "203.0.113.9", "--yes"])
    who = ("basic_auth", "admin", "192.0.2.7")
    assert told[:3] == [
        Access("opened", "request 1", *who),
        Access("exported", "requests.csv", *who),
        Access("exported", "requests as JSON", *who),
    ]
    (forgot,) = told[3:]
    assert (forgot.action, forgot.what, forgot.guard) == ("forgot", "a client with 1 raw row", "command line")
    lines = [record.getMessage() for record in caplog.records if record.name == "flask_statistics.trail"]
    assert lines[0] == "opened request 1 by admin from 192.0.2.7 (basic_auth)"
    assert len(lines) == 4
    assert "203.0.113.9" not in caplog.text


@pytest.mark.parametrize(
    ("guard", "reader"),
    [
        (everybody, ("everybody", None)),
        (lambda: True, ("<lambda>", None)),
        (token({"Ada": SECRET}), ("token", "Ada")),
        (all_of(token({"Ada": SECRET}), yes), ("token", "Ada")),
        (any_of(all_of(token({"Ada": SECRET}), no), yes), ("yes", None)),
        (None, ("local_only", None)),
    ],
)
def test_trail_names_guard_and_user(make_app: MakeApp, guard: Any, reader: tuple[str, str | None]) -> None:
    told: list[Access] = []
    app = make_app(before_f=guard)
    with statistics_accessed.connected_to(lambda _app, access: told.append(access), app.flask):
        app.client.get("/statistics/export/path.csv", headers={"Authorization": f"Bearer {SECRET}"})
    assert [(access.guard, access.user) for access in told] == [reader]


def test_trail_names_the_user_of_flask_login(make_app: MakeApp) -> None:
    told: list[Access] = []
    app = make_app(before=with_login, before_f=lambda: True)
    app.client.get("/login")
    with statistics_accessed.connected_to(lambda _app, access: told.append(access), app.flask):
        app.client.get("/statistics/export/path.csv")
    assert [access.user for access in told] == ["1"]


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
        ("127.0.0.1", {"Accept": "*/*", "X-Requested-With": "XMLHttpRequest", "HX-Request": "true", "DNT": "1"}, 200),
        (
            "127.0.0.1",
            {"X-CSRFToken": "a", "Sec-Fetch-Site": "none", "Authorization": "Basic a", "Origin": "http://localhost"},
            200,
        ),
    ],
)
def test_local_only(make_app: MakeApp, address: str, headers: dict[str, str], status: int) -> None:
    app = make_app(before_f=local_only)
    found = app.client.get(HEALTH, headers=headers, environ_overrides={"REMOTE_ADDR": address})
    assert found.status_code == status


PROXY_HEADERS = (
    *(
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Port",
        "X-Forwarded-Server",
        "X-Forwarded",
    ),
    *(
        "X-Forwarded-Scheme",
        "X-Forwarded-Prefix",
        "X-Forwarded-By",
        "X-Forwarded-Client-Cert",
        "X-Forwarded-Anything-New",
    ),
    *(
        "Forwarded",
        "Forwarded-For",
        "Via",
        "X-Real-IP",
        "X-Client-IP",
        "Client-IP",
        "X-Cluster-Client-IP",
        "True-Client-IP",
    ),
    *("CF-Connecting-IP", "CF-Ray", "CF-IPCountry", "CF-Visitor", "CF-Connecting-IPv6", "CDN-Loop", "Fly-Client-IP"),
    *("Fly-Forwarded-Proto", "Fastly-Client-IP", "X-Envoy-External-Address", "X-Envoy-Expected-Rq-Timeout-Ms"),
    *(
        "X-Original-Forwarded-For",
        "X-Original-Host",
        "X-Original-URL",
        "X-ProxyUser-IP",
        "X-Remote-IP",
        "X-Remote-Addr",
    ),
    *("X-Originating-IP", "X-Azure-ClientIP", "X-Azure-SocketIP", "X-ARR-LOG-ID", "X-Amzn-Trace-Id", "X-Amz-Cf-Id"),
    *(
        "X-AppEngine-User-IP",
        "X-Cloud-Trace-Context",
        "X-Varnish",
        "X-Vercel-Forwarded-For",
        "X-NF-Client-Connection-IP",
    ),
    *(
        "X-Request-ID",
        "X-Request-Start",
        "X-Scheme",
        "X-Host",
        "X-URL-Scheme",
        "X-SSL-Client-Cert",
        "X-Sucuri-ClientIP",
    ),
    *("DO-Connecting-IP", "Incap-Client-IP", "Akamai-Origin-Hop", "Ali-Cdn-Real-Ip", "X-B3-TraceId", "X-Proxy-Id"),
    *(
        "CloudFront-Viewer-Address",
        "X-Railway-Edge",
        "Rndr-Id",
        "Tailscale-User-Login",
        "Ngrok-Trace-Id",
        "X-Ngrok-Domain",
    ),
    *("Remote-User", "X-Auth-Request-User", "X-Consumer-Username", "Kong-Request-ID", "Uber-Trace-Id", "Sentry-Trace"),
    *("Tracestate", "Connect-Time", "Proxy", "L5d-Client-Id", "X-Country-Code", "X-Nobody-Knows"),
)
"""From the documentation of nginx, Apache, HAProxy, Envoy, Traefik, Varnish, and of clouds and content networks."""


@pytest.mark.parametrize("header", PROXY_HEADERS)
def test_local_only_denies_whatever_a_proxy_adds(make_app: MakeApp, header: str) -> None:
    app = make_app(before_f=local_only)
    for value in ("127.0.0.1", ""):
        assert app.client.get(HEALTH, headers={header: value}).status_code == 403


def test_local_only_denies_http_1_0_as_nginx_speaks_it(make_app: MakeApp) -> None:
    app = make_app(before_f=local_only)
    assert app.client.get(HEALTH, environ_overrides={"SERVER_PROTOCOL": "HTTP/1.0"}).status_code == 403


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
        (any_of(lambda: 0, lambda: None), 403),
        (all_of(yes, lambda: None), 403),
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
    for given in ((), (yes, True)):
        with pytest.raises(SettingError, match="takes guards, each a function without arguments"):
            combine(*given)
