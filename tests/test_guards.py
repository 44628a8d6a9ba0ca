"""Who may see the dashboard: every URL under the prefix but static files asks `before_f`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, abort, redirect

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


@pytest.mark.parametrize("path", ["", "//", "//api/summary", "/static/../api/summary", "/static/..%2fapi.py"])
def test_guard_is_not_got_round(make_app: MakeApp, path: str) -> None:
    app = make_app(before_f=lambda: False)
    for method in ("GET", "POST", "TRACE"):
        response = app.client.open(f"/statistics{path}", method=method, follow_redirects=True)
        assert response.status_code in (403, 404, 405)


@pytest.mark.parametrize(("answer", "status"), [(True, 200), (False, 403)])
def test_guard_can_be_a_coroutine_function(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, answer: bool, status: int
) -> None:
    async def guard() -> bool:
        return answer

    monkeypatch.setattr(Flask, "async_to_sync", lambda _, function: lambda: result_of(function()))
    assert make_app(before_f=guard).client.get("/statistics/api/health").status_code == status


def test_guard_leaves_static_files_open(make_app: MakeApp) -> None:
    app = make_app(before_f=lambda: False)
    with app.client.get("/statistics/static/statistics.css") as response:
        assert response.status_code == 200


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
        "The statistics at /statistics/ are open to everyone who can reach this app. Close them with a function that "
        "answers True for those who may see them: Statistics(app, db, Request, may_see_statistics)."
    )


@pytest.mark.parametrize("key", ["DEBUG", "TESTING"])
def test_open_dashboard_is_not_said_while_developing(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    make_app(**{key: True}).client.get("/statistics/api/health")
    assert caplog.records == []
