"""Hostile input: requests to record, and URLs of the dashboard, with what must hold whatever they are.

The suite tries some hundred of each; `benchmarks/fuzz.py` goes on for hours with the same strategies and checks.
"""

from __future__ import annotations

import io
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, urlencode

import schemathesis
import sqlalchemy as sa
from flask import Flask, Response, request
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from werkzeug.test import EnvironBuilder, run_wsgi_app

import flask_statistics
from flask_statistics.pages.panels import BUILT_IN

from .conftest import App

SLOWEST = 5.0
"""Seconds of computing that an answer of the dashboard may take; all tables are small, and SQLite computes in this thread."""
PATIENT = timedelta(minutes=1)
"""The time budget of a page, by the clock: a busy machine must not look like a slow query."""
MARKUP = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' autofocus onfocus=alert(1) x='",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% debug %}",
    "</title></textarea><svg/onload=alert(1)>",
    '=HYPERLINK("http://x")',
    "\r\nX-Injected: 1\r\n\r\n<b>",
    "\x00\x1b[2J\x7f\u202e\u2028\ufeff\ud800",
    "%00%0a%ff%c0%ae",
    "'; DROP TABLE request; --",
    "\N{FULLWIDTH LESS-THAN SIGN}script\N{FULLWIDTH GREATER-THAN SIGN}",
)
HEADERS = (
    "User-Agent",
    "Referer",
    "X-Real-IP",
    "X-Forwarded-For",
    "Sec-GPC",
    "DNT",
    "Cookie",
    "Range",
    "Accept",
    "Host",
)
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "X" * 50, "<b>")

texts = st.one_of(st.sampled_from(MARKUP), st.text(max_size=40), st.text("<>&\"'\\/%;=#?\r\n\0é", max_size=20))
long_texts = st.builds(lambda text, times: (text or "a") * times, texts, st.sampled_from([1, 1, 1, 100, 3_000]))
octets = st.one_of(st.binary(max_size=30), long_texts.map(lambda text: text.encode("utf-8", "surrogatepass")))


@dataclass(frozen=True)
class Sent:
    """A request as a server hands it over: bytes as Latin-1, which is what WSGI calls text."""

    method: str
    path: bytes
    query: bytes
    headers: tuple[tuple[str, bytes], ...]
    body: bytes
    content_type: bytes


sent = st.builds(
    Sent,
    method=st.one_of(st.sampled_from(METHODS), st.sampled_from(METHODS[:3])),
    path=octets,
    query=octets,
    headers=st.lists(st.tuples(st.sampled_from(HEADERS), octets), max_size=5).map(tuple),
    body=st.binary(max_size=50),
    content_type=st.one_of(
        octets, st.sampled_from([b"application/json", b"multipart/form-data; boundary=b", b"text/html; charset=\xff"])
    ),
)


def add_views(app: Flask) -> None:
    """A view for every path that does what clients can make a view do: echo, stream, read the body, fail."""

    def view(rest: str) -> Any:
        kind = sum(rest.encode("utf-8", "replace")) % 5
        if kind == 0:
            return Response(iter(["streamed", rest]), mimetype="text/plain")
        if kind == 1:
            raise LookupError(rest)
        if kind == 2:
            return str(request.form) + str(request.files) + str(request.cookies)
        return rest, 200 + kind * 100 + len(rest) % 4, {"Content-Type": "text/plain"}

    app.register_error_handler(LookupError, lambda error: (str(error), 500, {"Content-Type": "text/plain"}))
    app.add_url_rule("/<path:rest>", "echo", view, methods=METHODS[:7])


def record(app: App, request: Sent) -> None:
    """Send `request` and check that it was answered, and recorded once, as the columns can hold it."""
    before = _count(app)
    environ = EnvironBuilder(path="/", method="GET").get_environ()
    environ |= {
        "REQUEST_METHOD": request.method,
        "PATH_INFO": "/" + request.path.decode("latin-1"),
        "QUERY_STRING": request.query.decode("latin-1"),
        "CONTENT_TYPE": request.content_type.decode("latin-1"),
        "CONTENT_LENGTH": str(len(request.body)),
        "wsgi.input": io.BytesIO(request.body),
    }
    for name, value in request.headers:
        environ["HTTP_" + name.upper().replace("-", "_")] = value.decode("latin-1")
    body, status, _ = run_wsgi_app(app.flask.wsgi_app, environ, buffered=True)
    b"".join(body)
    counters = app.statistics_state().recorder.counters  # type: ignore[union-attr]
    assert counters.lost == 0, counters.last_error
    if not re.match(rb"/*statistics", request.path):  # the dashboard's own are not recorded
        assert _count(app) == before + 1
    assert status[:3].isdigit()


def _count(app: App) -> int:
    with app.statistics_state().engine().connect() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(app.Request.__table__)) or 0


# ---- the API by its description --------------------------------------------------------------------------------------

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def operations(app: App) -> dict[tuple[str, str], Any]:
    """What the app's own description says can be asked, by path and method."""
    schema = schemathesis.openapi.from_wsgi("/statistics/api/openapi.json", app.flask)
    found: list[Any] = list(schema.get_all_operations())
    return {(result.ok().path, result.ok().method.upper()): result.ok() for result in found}


def check_case(case: schemathesis.Case[Any]) -> None:
    """Ask, and check that status and answer are as described, and in time."""
    started = time.thread_time()
    case.call_and_validate(checks=CHECKS)
    assert time.thread_time() - started < SLOWEST


# ---- the dashboard ---------------------------------------------------------------------------------------------------

PAGES = ("", "changes", "errors", "requests", "live", "health")
PANELS = (*dict.fromkeys(panel.name for panel in BUILT_IN), "browser")
LISTS = ("path", "referrer", "browser", "exception", "status_code", "nowhere")
EXPORTS = (*dict.fromkeys(panel.name for panel in BUILT_IN if panel.rows), "path", "nowhere")
API = (
    "summary",
    "series",
    "changes",
    "breakdown/path",
    "breakdown/referrer",
    "breakdown/<b>",
    "requests",
    "marks",
    "panels",
    "health",
    "openapi.json",
)
PARAMETERS = (
    *("span", "start", "end", "unit", "metric", "vs", "q", "by", "sort", "search", "rows", "limit", "offset", "before"),
    *(
        "after",
        "paused",
        "path",
        "browser",
        "status_code",
        "referrer",
        "exception",
        "device",
        "bot",
        "browser!",
        "path!",
        "token",
    ),
)
SENSIBLE = (
    "",
    *("7d", "all", "9999d", "9999h", "0d", "1990-01-01", "2200-12-31", "0001-01-01", "9999-12-31", "2026-11-22T14:00"),
    *("minute", "hour", "month", "hits", "time", "errors", "prev", "year", "route", "-hits", "p95", "-value"),
    *("0", "1", "-1", "50", "200", "1000", "1000000000", "9" * 30, "1e9", "0x10", "٣", "5xx", "404", "bot", "(other)"),
)

addresses = st.one_of(
    st.sampled_from([*PAGES, *(f"list/{name}" for name in LISTS), *(f"panel/{name}" for name in PANELS)]),
    st.sampled_from([*(f"export/{name}.csv" for name in EXPORTS), *(f"api/{name}" for name in API)]),
    st.builds(
        lambda kind, rest: kind + quote_from_bytes(rest),
        st.sampled_from(["requests/", "list/", "panel/", "export/", "api/breakdown/", "static/", ""]),
        octets.map(lambda content: content[:200]),
    ),
)
queries = st.lists(st.tuples(st.sampled_from(PARAMETERS), st.one_of(st.sampled_from(SENSIBLE), texts)), max_size=6).map(
    lambda pairs: urlencode([(name, text.encode("utf-8", "surrogatepass")) for name, text in pairs])
)
methods = st.sampled_from(["GET"] * 20 + ["HEAD", "OPTIONS", "POST", "TRACE", "PUT"])


def view(app: App, address: str, query: str, method: str = "GET") -> None:
    """Ask for a URL of the dashboard and check the answer: no 500, in time, and no recorded text as markup."""
    started = time.thread_time()
    response = app.client.open(f"/statistics/{address}?{query}", method=method)
    body = response.text if response.mimetype != "text/css" else ""
    assert time.thread_time() - started < SLOWEST
    assert response.status_code < 500, (response.status_code, address, query)
    if response.mimetype == "text/html" and body:
        check_markup(body)
    response.close()


TEMPLATES = Path(flask_statistics.__file__).parent / "templates"
TAGS = {
    tag.lower()
    for path in TEMPLATES.rglob("*.html")
    for tag in re.findall(r"<([a-zA-Z][a-zA-Z0-9]*)", path.read_text())
} | {"title", "h1", "p"}
"""What our templates are made of, and what Werkzeug's own pages for 404 and 405 are."""
SCRIPTS = ("htmx.min.js", "statistics.js")


def check_markup(page: str) -> None:
    """Raise if the page has an element, a handler or a link that the dashboard's own templates cannot have made."""
    parser = _Markup()
    parser.feed(page)
    parser.close()


class _Markup(HTMLParser):
    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        for name, value in attributes:
            assert not name.startswith(("on", "style", "srcdoc", "formaction")), (tag, name)
            if name in ("href", "src", "action"):
                assert re.match(r"/statistics|#|https?://|data:,$", value or "", re.IGNORECASE), value
        if tag == "script":
            assert (dict(attributes)["src"] or "").partition("?")[0].endswith(SCRIPTS)


@contextmanager
def quiet_logs() -> Iterator[list[logging.LogRecord]]:
    """Collects what is logged meanwhile; raises at its end if a message has a line end or a control character."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign, assignment]
    logger = logging.getLogger()
    logger.addHandler(handler)
    try:
        yield records
    finally:
        logger.removeHandler(handler)
    for found in records:
        if found.name.startswith(("flask_statistics", "tests.app")) and "Flask-Statistics" in str(found.msg):
            assert found.getMessage().isprintable(), found.getMessage()
