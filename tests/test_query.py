"""The numbers for Python are those of the API, in both modes; and what cannot be read is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask

from flask_statistics import Statistics
from flask_statistics.query import BadParameter, Query
from flask_statistics.spans import SpanError

from .conftest import App

MakeApp = Callable[..., App]
TODAY = datetime.now(timezone.utc).date()
AGENTS = {
    "Firefox": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Chrome": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    "curl": "curl/8.0",
}


@pytest.fixture(params=["raw", "rollups"])
def app(make_app: MakeApp, request: pytest.FixtureRequest) -> App:
    """An app with requests of three agents for four paths."""
    options = {"STATISTICS_ROLLUPS": True, "STATISTICS_SCHEDULER": False} if request.param == "rollups" else {}
    made = make_app(before=routes, **options)
    for number, (agent, path) in enumerate((a, p) for a in AGENTS.values() for p in ("/", "/a", "/b", "/nowhere")):
        for _ in range(number % 3 + 1):
            made.client.get(path, headers={"User-Agent": agent})
    made.statistics_state().writer.settle()  # type: ignore[union-attr]
    if options:
        assert made.flask.test_cli_runner().invoke(args=["statistics", "rollup"]).exit_code == 0
    return made


def routes(app: Flask) -> None:
    for path in ("/", "/a", "/b"):
        app.add_url_rule(path, path, lambda: "hello")


def query_of(app: App) -> Query:
    return app.statistics.query(app.flask)


ASKED: list[dict[str, Any]] = [
    {},
    {"span": "7d"},
    {"span": "all", "browser": "Firefox"},
    {"span": "1d", "path": ["/", "/a"]},
    {"status_code": "4xx"},
    {"browser!": ["Firefox", "Chrome"]},
    {"browser": "Chrome", "path!": "/a"},
    {"q": "no"},
    {"referrer": None},
    {"start": TODAY - timedelta(days=2), "end": TODAY + timedelta(days=1)},
]


def url_of(question: str, asked: dict[str, Any], **more: Any) -> str:
    pairs = {name: "" if value is None else value for name, value in {**asked, **more}.items()}
    return f"{question}?{urlencode(pairs, doseq=True)}"


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_query_answers_as_the_api(app: App, asked: dict[str, Any]) -> None:
    query = query_of(app)
    wanted = {name: value for name, value in asked.items() if not name.isidentifier()}
    rest = {name: value for name, value in asked.items() if name.isidentifier()}
    said = app.json(url_of("summary", asked))
    found = query.summary(wanted, **rest)
    assert (found.hits, found.visitors, found.client_errors) == tuple(
        said[name] for name in ("hits", "visitors", "client_errors")
    )
    rows = app.json(url_of("breakdown/path", asked, sort="value"))["rows"]
    listed = query.breakdown("path", wanted, sort="value", **rest).rows
    assert [(row.value, row.measures.hits) for row in listed] == [(row["value"], row["hits"]) for row in rows]
    points = app.json(url_of("series", asked, unit="day"))["points"]
    assert [point.measures.hits for point in query.series(wanted, unit="day", **rest)] == [
        point["hits"] for point in points
    ]
    log = app.json(url_of("requests", asked, limit=5))
    newest = query.requests(wanted, limit=5, **rest)
    assert [row["id"] for row in newest.rows] == [row["id"] for row in log["rows"]]
    assert query.complete_from(wanted, **rest) is None


def test_query_of_the_present_context(app: App) -> None:
    with app.flask.app_context():
        assert Statistics.query().summary(span="all") == query_of(app).summary(span="all")


def test_query_counts_what_was_just_requested(make_app: Callable[..., App]) -> None:
    app = make_app(STATISTICS_WRITER="spool", before=lambda flask: flask.add_url_rule("/", "home", lambda: "home"))
    app.client.get("/")
    assert query_of(app).summary().hits == 1
    app.close()


def test_query_instants_with_a_zone(app: App) -> None:
    end = datetime.now(timezone.utc) + timedelta(minutes=2)
    assert query_of(app).summary(start=end - timedelta(hours=3), end=end).hits == query_of(app).summary(span="all").hits
    assert query_of(app).summary(start=end, end=end + timedelta(hours=1)).hits == 0


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"brwoser": "firefox"}, "'brwoser' is no parameter; did you mean browser?"),
        ({"vs": "prev"}, "'vs' is no parameter"),
        ({"limit": 5}, "'limit' is no parameter"),
        ({"status_code": "abc"}, "status_code is 'abc', but must be"),
    ],
    ids=str,
)
def test_query_refuses_by_name(app: App, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(BadParameter, match=said):
        query_of(app).summary(**asked)


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda query: query.breakdown("brwoser"), "dimension is 'brwoser'"),
        (lambda query: query.breakdown("path", sort="loudest"), "sort is 'loudest'"),
        (lambda query: query.series(unit="fortnight"), "unit is 'fortnight'"),
        (lambda query: query.series(unit="hour", start="1999-01-01"), "more than 10,000"),
        (lambda query: query.complete_from(dimensions=["brwoser"]), "dimension is 'brwoser'"),
        (lambda query: query.summary(span=["7d", "24h"]), "span is .*, but must be a single value"),
        (lambda query: query.summary(q=["x", "y"]), "q is .*, but must be a single value"),
        (lambda query: query.summary({"path": "/"}, path="/x"), "path is given twice"),
        (lambda query: query.summary(path=b"/x"), "path is b'/x', but must be a text, a number or a date"),
        (lambda query: query.summary(path=(one for one in "ab")), "path is <generator"),
        (lambda query: query.breakdown("path", limit="5"), "limit is '5', but must be a whole number from 1 on"),
        (lambda query: query.breakdown("path", limit=0), "limit is 0, but must be a whole number from 1 on"),
        (lambda query: query.breakdown("path", offset=-1), "offset is -1, but must be a whole number from 0 on"),
        (lambda query: query.breakdown("path", search=5), "search is 5, but must be a text"),
        (lambda query: query.breakdown("path", sort=None), "sort is None, but must be a text"),
        (lambda query: query.breakdown(None), "dimension is None, but must be a text"),
        (lambda query: query.series(unit=5), "unit is 5, but must be a text"),
        (lambda query: query.requests(limit=-1), "limit is -1, but must be a whole number from 1 on"),
        (lambda query: query.requests(slower="x"), "slower is 'x', but must be a number of seconds, 0 or more"),
        (lambda query: query.requests(before="1", after="2"), "before and after are both given"),
    ],
    ids=lambda said: said if isinstance(said, str) else "",
)
def test_query_refuses_what_no_question_has(app: App, ask: Callable[[Query], Any], said: str) -> None:
    with pytest.raises(BadParameter, match=said):
        ask(query_of(app))


def test_query_refuses_a_span_that_cannot_be_read(app: App) -> None:
    with pytest.raises(SpanError, match="span is 'forever'"):
        query_of(app).summary(span="forever")


def test_query_of_an_app_without_statistics() -> None:
    with pytest.raises(RuntimeError, match="not registered"):
        Statistics.query(Flask("bare"))
