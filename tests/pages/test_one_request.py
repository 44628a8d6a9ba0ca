"""The page of one request: why it was slow, what happened meanwhile, who asked, and how to ask again."""

from __future__ import annotations

import logging
import re
import socketserver
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from html import unescape
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import sqlalchemy as sa
import urllib3
from flask import Flask, Response

from flask_statistics.timing.story import LONGEST_TEXT, Statement, Story, dump, load

from ..conftest import App

MakeApp = Callable[..., App]
HOSTILE = "</pre><script>alert(1)</script>'; rm -rf ~ #\n$(id)"


@pytest.fixture(autouse=True)
def factory() -> Iterator[None]:
    """Give back the way in which Python makes records of its log."""
    before = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(before)


def shop(app: App) -> None:
    """A view that asks its database in a loop."""

    def search() -> str:
        with app.db.engine.connect() as connection:
            for number in range(12):
                connection.execute(sa.text(f"SELECT {number} AS found"))
        logging.getLogger("shop").warning("the index is old")
        return "found"

    app.flask.add_url_rule("/search", "search", search)


def asks_in_a_loop(app: App) -> str:
    with app.db.engine.connect() as connection:
        for number in range(30):
            connection.execute(sa.text(f"SELECT {number} AS found"))
    return "found"


def asks_elsewhere(app: App) -> str:
    with socketserver.TCPServer(("127.0.0.1", 0), Slow) as server:
        Thread(target=server.handle_request).start()
        urllib3.request("GET", f"http://127.0.0.1:{server.server_address[1]}/")
    return "answered"


class Slow(socketserver.StreamRequestHandler):
    """Answers after a while."""

    def handle(self) -> None:
        self.rfile.readline()
        time.sleep(0.1)  # what a request waits for must take a while
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def streams_rows(app: App) -> Response:
    engine = app.db.engine

    def body() -> Iterator[str]:
        numbers = (
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 200000) SELECT count(*) FROM n"
        )
        for _ in range(3):
            with engine.connect() as connection:
                yield str(connection.scalar(sa.text(numbers)))

    return Response(body())


@pytest.mark.parametrize("view", [asks_in_a_loop, asks_elsewhere, streams_rows])
def test_nine_tenths_of_the_time_are_explained(make_app: MakeApp, view: Callable[[App], Any]) -> None:
    """What is listed, and what the app's own code took, is nearly all of it."""
    app = make_app(STATISTICS_QUERIES=True, STATISTICS_OUTGOING=True)
    app.flask.add_url_rule("/page", "page", lambda: view(app))
    for _ in range(2):  # what is imported by a request is seen from the next one on
        app.client.get("/page")
    row = app.rows()[-1]
    story = load(row.story)
    told: list[Any] = [*story.statements, *story.calls]
    listed = sum(one.total_us for one in told) / 1_000_000
    own_code = row.response_time - row.db_time - row.http_time
    assert 0 < listed <= row.response_time
    assert listed + own_code > 0.9 * row.response_time
    assert "Where the time went" in text_of(app, "/statistics/requests/2")


def text_of(app: App, url: str, element_id: str = "fs-main") -> str:
    """What a reader sees of a part of a page."""
    page = app.client.get(url).text
    found = re.search(rf'<(section|main)[^>]* id="{element_id}".*?</\1>', page, re.DOTALL)
    assert found is not None, f"no {element_id}"
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", found[0]))).strip()


def code_of(app: App, url: str, label: str) -> str:
    found = re.search(rf'aria-label="{label}"[^>]*>(.*?)</pre>', app.client.get(url).text, re.DOTALL)
    assert found is not None
    return unescape(found[1])


def test_a_slow_request_is_explained(make_app: MakeApp) -> None:
    app = make_app(STATISTICS_QUERIES=True, STATISTICS_OUTGOING=True, STATISTICS_LOG_LINES=True)
    shop(app)
    for _ in range(20):
        app.client.get("/search?q=mug")
    url = "/statistics/requests/20"
    head = text_of(app, url, "fs-request")
    assert re.search(r"(slower|faster) than [\w ]+ requests to /search , half of which take [<\d]+ ms", head)
    assert re.search(r"Database [<\d.]+ ms in 12 statements, [<\d.]+%", head)
    assert "Other servers 0 ms in 0 calls, 0%" in head
    waits = text_of(app, url, "fs-waits")
    assert "SELECT ? AS found N+1, 12 times" in waits
    (statements,) = re.findall(r'href="(/statistics/database[^"]*)" title="All', app.client.get(url).text)
    assert "SELECT ? AS found" in text_of(app, unescape(statements), "fs-statements")
    assert text_of(app, url, "fs-lines").endswith("WARNING shop: the index is old")
    assert text_of(app, url, "fs-who").startswith("Who asked Client 127.0.0.1")


def test_parts_of_the_time_make_up_all_of_it(make_app: MakeApp) -> None:
    app = make_app(STATISTICS_ENABLED=False)
    for db_time, http_time in ((0.5, 0.25), (0.5, None), (0.0, 0.0), (2.0, 3.0), (None, None)):
        app.insert({"date": datetime(2026, 11, 1), "response_time": 1.0, "db_time": db_time, "http_time": http_time})
    bars = []
    for key in range(1, 6):
        page = app.client.get(f"/statistics/requests/{key}").text
        bar = re.search(r'<div class="split".*?</div>', page, re.DOTALL)
        bars.append([float(width) for width in re.findall(r' width="([\d.]+)%"/>', bar[0])] if bar else None)
    assert bars == [[50, 25, 25], [50, 50], [0, 0, 100], [40, 60, 0], None]
    assert "Set STATISTICS_QUERIES to see where the time goes." in text_of(app, "/statistics/requests/5", "fs-request")


def test_requests_of_the_same_client_around_it(make_app: MakeApp) -> None:
    app = make_app(before=lambda flask: flask.add_url_rule("/<int:number>", "page", lambda number: str(number)))
    for number in range(14):
        for address in ("203.0.113.7", "192.0.2.1"):
            app.client.get(f"/{number}", environ_overrides={"REMOTE_ADDR": address})
    (key,) = (row.index for row in app.rows() if (row.path, row.remote_address) == ("/7", "203.0.113.7"))
    url = f"/statistics/requests/{key}?span=24h&browser="
    page = app.client.get(url).text
    card = re.search(r'id="fs-around".*?</section>', page, re.DOTALL)
    assert card is not None
    assert re.findall(r"GET (/\d+)<", card[0]) == [f"/{number}" for number in range(12, 1, -1)]
    assert re.findall(r'aria-current="true".*?GET (/\d+)<', card[0], re.DOTALL) == ["/7"]
    assert all(
        unescape(link).endswith("?span=24h&browser=")
        for link in re.findall(r'href="(/statistics/requests/[^"]*)"', card[0])
    )
    assert 'href="/statistics/clients?span=24h&amp;browser=&amp;address=203.0.113.7"' in card[0]


def test_request_of_nobody_has_no_neighbours(make_app: MakeApp) -> None:
    app = make_app(STATISTICS_ENABLED=False)
    app.insert(*({"date": datetime(2026, 11, 1) + timedelta(minutes=n), "path": "/"} for n in range(3)))
    page = app.client.get("/statistics/requests/2").text
    assert 'id="fs-around"' not in page
    assert "Could not be computed" not in page


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        (
            "GET",
            "/search",
            "q=blue+mug",
            "curl 'https://shop.example/search?q=blue+mug'",
        ),
        (
            "POST",
            "/cart/ä b",
            None,
            "curl --request POST https://shop.example/cart/%C3%A4%20b",
        ),
        ("HEAD", "/", None, "curl --head https://shop.example/"),
    ],
)
def test_as_curl(make_app: MakeApp, method: str, path: str, query: str | None, expected: str) -> None:
    app = make_app(STATISTICS_ENABLED=False)
    row = {"method": method, "path": path, "query_string": query, "host": "shop.example", "language": "de"}
    app.insert({"date": datetime(2026, 11, 1), **row})
    assert code_of(app, "/statistics/requests/1", "As curl") == f"{expected} \\\n  --header 'Accept-Language: de'"


def test_what_can_be_copied_is_harmless(make_app: MakeApp, tmp_path: Path) -> None:
    """Whatever was recorded, a shell gets one command with one URL, and Python one test that runs."""
    app = make_app(STATISTICS_ENABLED=False)
    row = dict.fromkeys(("method", "path", "query_string", "host", "language", "route"), HOSTILE)
    app.insert({"date": datetime(2026, 11, 1), "status_code": 404, **row})
    curl = code_of(app, "/statistics/requests/1", "As curl")
    shell = f"curl() {{ printf '%s\\0' \"$@\"; }}\n{curl}\n"
    said = subprocess.run(["sh", "-c", shell], capture_output=True, check=True, cwd=tmp_path).stdout.split(b"\0")
    (url,) = said[:-1]  # what is no method, host or language is left out
    assert url.startswith(b"http://localhost/%3C/pre%3E%3Cscript")
    assert not any(sign in url for sign in (b" ", b"\n", b"<", b"#"))
    test = code_of(app, "/statistics/requests/1", "As a test")
    names: dict[str, Any] = {}
    exec(compile(test, "test.py", "exec"), names)
    (function,) = (value for name, value in names.items() if name.startswith("test_"))

    class Client:
        def open(self, url: str, method: str) -> Any:
            assert method == HOSTILE.upper()
            return type("Response", (), {"status_code": 404})

    function(Client())
    assert "<script>alert" not in app.client.get("/statistics/requests/1").text


def test_as_a_test_of_an_app(make_app: MakeApp, tmp_path: Path) -> None:
    app = make_app(before=lambda flask: flask.add_url_rule("/search", "search", lambda: "found"))
    app.client.get("/search?q=mug")
    text = code_of(app, "/statistics/requests/1", "As a test")
    assert (
        text
        == "def test_search(client):\n    response = client.get('/search?q=mug')\n    assert response.status_code == 200"
    )
    (tmp_path / "test_it.py").write_text(
        "import pytest\nfrom flask import Flask\n\n@pytest.fixture\ndef client():\n    app = Flask('app')\n"
        f"    app.add_url_rule('/search', 'search', lambda: 'found')\n    return app.test_client()\n\n{text}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "test_it.py")],
        capture_output=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout


def test_an_error_is_asked_to_be_gone(make_app: MakeApp) -> None:
    def before(flask: Flask) -> None:
        flask.add_url_rule("/broken", "broken", lambda: str(1 // 0))

    app = make_app(before=before)
    app.client.get("/broken")
    assert code_of(app, "/statistics/requests/1", "As a test").endswith("assert response.status_code < 500")


@pytest.mark.parametrize(
    "stored", [None, "", "no JSON", "[]", '{"statements": 5}', '{"lines": [[1, 2]], "trace": {}}', "[" * 5_000, HOSTILE]
)
def test_whatever_is_stored_as_the_story(make_app: MakeApp, stored: str | None) -> None:
    app = make_app(STATISTICS_ENABLED=False)
    app.insert({"date": datetime(2026, 11, 1), "path": "/", "story": stored})
    assert app.client.get("/statistics/requests/1").status_code == 200


@pytest.mark.parametrize(
    "stored",
    [
        {"response_time": 1e308, "db_time": 1e308, "http_time": 1e308},
        {"response_time": 0.5, "story": '{"statements":[["0a","SELECT \\ud800",null,1,5000,5000]]}'},
    ],
)
def test_numbers_and_texts_of_other_writers_are_shown_somehow(make_app: MakeApp, stored: dict[str, Any]) -> None:
    app = make_app(STATISTICS_QUERIES=True)
    app.insert({"date": datetime(2026, 11, 1), "path": "/"} | stored)
    assert app.client.get("/statistics/requests/1").status_code == 200


def test_a_path_of_two_slashes_is_asked_for_at_the_app(make_app: MakeApp) -> None:
    app = make_app(STATISTICS_ENABLED=False)
    app.insert({"date": datetime(2026, 11, 1), "method": "GET", "path": "//other.example/x", "status_code": 404})
    assert "client.get('/%2Fother.example/x')" in code_of(app, "/statistics/requests/1", "As a test")


def test_hostile_story_is_escaped(make_app: MakeApp) -> None:
    app = make_app(STATISTICS_ENABLED=False)
    statement = Statement("0a", HOSTILE * 20, HOSTILE, 10**12, 10**15, 5)
    app.insert({"date": datetime(2026, 11, 1), "path": "/", "story": dump(Story((statement,)))})
    page = app.client.get("/statistics/requests/1").text
    assert "<script>alert" not in page
    assert "N+1, 1,000,000,000,000 times" in unescape(page)
    assert len(statement.text) > LONGEST_TEXT
