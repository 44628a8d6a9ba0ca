"""Calls to other servers, timed and counted for the request that made them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextvars import copy_context
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest
import requests
import urllib3

from flask_statistics.timing import outgoing
from flask_statistics.timing.story import load

from ..conftest import App


class Answers(BaseHTTPRequestHandler):
    """`/moved` leads elsewhere, `/busy` wants to be asked again, all else is there."""

    asked: int = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        moved, busy = self.path.startswith("/moved"), self.path.startswith("/busy") and type(self).asked % 2
        self.send_response(302 if moved else 503 if busy else 200)
        if moved:
            self.send_header("Location", "/secret-path?token=secret")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
        """Say nothing."""


@pytest.fixture
def other() -> Iterator[str]:
    """Host and port of another server."""
    Answers.asked = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def unwatched() -> Iterator[None]:
    """Leave the libraries as they were."""
    yield
    outgoing.unwatch()


def calling(make_app: Callable[..., App], view: Callable[[], object], **options: Any) -> App:
    app = make_app(**{"STATISTICS_OUTGOING": True} | options)

    def endpoint() -> str:
        view()
        return "done"

    app.flask.add_url_rule("/", "view", endpoint)
    app.client.get("/")
    return app


def with_urllib3(url: str) -> None:
    with urllib3.PoolManager(retries=urllib3.Retry(3, status_forcelist=[503])) as pool:
        pool.request("GET", url)


def with_requests(url: str) -> None:
    requests.get(url, timeout=30)


def with_httpx(url: str) -> None:
    with httpx.Client(follow_redirects=True) as client:
        client.get(url)


def with_async_httpx(url: str) -> None:
    async def call() -> None:
        async with httpx.AsyncClient(follow_redirects=True) as client:
            await client.get(url)

    # in a thread, as this one may have a loop of a test of the browser
    thread = Thread(target=copy_context().run, args=(asyncio.run, call()))
    thread.start()
    thread.join()


BY = [with_urllib3, with_requests, with_httpx, with_async_httpx]


@pytest.mark.parametrize("call", BY)
def test_calls_of_a_request_are_stored_with_it(make_app: Callable[..., App], other: str, call: Any) -> None:
    app = calling(make_app, lambda: [call(f"http://{other}/secret-path?token=secret") for _ in range(10)])
    row = app.row()
    assert row.http_calls == 10
    assert 0 < row.http_time <= row.response_time
    (told,) = load(row.story).calls
    assert (told.method, told.host, told.times) == ("GET", other, 10)
    assert "secret" not in row.story
    assert row.db_queries is None


@pytest.mark.parametrize("call", BY)
def test_a_redirect_is_a_call_of_its_own(make_app: Callable[..., App], other: str, call: Any) -> None:
    assert calling(make_app, lambda: call(f"http://{other}/moved")).row().http_calls == 2


def test_what_is_tried_again_is_one_call(make_app: Callable[..., App], other: str) -> None:
    assert calling(make_app, lambda: with_urllib3(f"http://{other}/busy")).row().http_calls == 1
    assert Answers.asked == 2


@pytest.mark.parametrize("call", BY[:3])
def test_calls_that_fail_are_counted(make_app: Callable[..., App], other: str, call: Any) -> None:
    port = other.partition(":")[2]

    def view() -> None:
        with pytest.raises((requests.RequestException, httpx.HTTPError, urllib3.exceptions.HTTPError)):
            call(f"http://127.0.0.1:{port}0000/")

    calling(make_app, view)  # no such port can be: what matters is that the app gets the library's own error


def test_without_the_setting_the_libraries_are_as_they_were(make_app: Callable[..., App], other: str) -> None:
    before = urllib3.HTTPConnectionPool.urlopen
    app = calling(make_app, lambda: with_urllib3(f"http://{other}/"), STATISTICS_OUTGOING=False)
    assert app.row().http_calls is None
    assert urllib3.HTTPConnectionPool.urlopen is before


def test_libraries_are_as_they_were_after_it(make_app: Callable[..., App], other: str) -> None:
    before = urllib3.HTTPConnectionPool.urlopen, httpx.HTTPTransport.handle_request
    calling(make_app, lambda: with_urllib3(f"http://{other}/"))
    assert urllib3.HTTPConnectionPool.urlopen is not before[0]
    outgoing.unwatch()
    assert (urllib3.HTTPConnectionPool.urlopen, httpx.HTTPTransport.handle_request) == before


def test_calls_outside_of_requests_are_let_be(make_app: Callable[..., App], other: str) -> None:
    calling(make_app, lambda: None)
    for call in BY:
        call(f"http://{other}/")
    assert Answers.asked == len(BY)


def test_a_library_that_is_imported_later_is_watched_from_the_next_request_on(
    make_app: Callable[..., App], other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "httpx")
    app = calling(make_app, lambda: with_httpx(f"http://{other}/"))
    monkeypatch.setitem(sys.modules, "httpx", httpx)
    app.client.get("/")
    assert [row.http_calls for row in app.rows()] == [0, 1]


def test_methods_that_nobody_knows_are_not_kept(make_app: Callable[..., App], other: str) -> None:
    def view() -> None:
        with urllib3.PoolManager() as pool:
            for _ in range(10):
                pool.request("SECRET", f"http://{other}/")

    (told,) = load(calling(make_app, view).row().story).calls
    assert (told.method, told.times) == ("other", 10)
