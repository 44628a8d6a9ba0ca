"""The contract: record, then ask every question; the same expected values on every database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
import sqlalchemy as sa
from flask import Flask, abort

from flask_statistics.filters import Filters, read_filters
from flask_statistics.queries.interface import CHEAP, EVERYTHING, HITS, PERCENTILES, SUMS, VISITORS
from flask_statistics.spans import Span
from flask_statistics.state import state_of
from flask_statistics.week import HOURS, text_of

from ..conftest import RAW_SHAPES, App, original_model, whole_model

FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:72.0) Gecko/20100101 Firefox/72.0"
SAFARI = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/17.1 Mobile/15E148 Safari/604.1"
)
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


def routes(app: Flask) -> None:
    app.add_url_rule("/", "home", lambda: "home")
    app.add_url_rule("/user/<int:number>", "user", lambda number: f"user {number}")
    app.add_url_rule("/broken", "broken", lambda: str(1 // 0))
    app.add_url_rule("/gone", "gone", lambda: abort(410))


def visit(app: App, path: str, agent: str, address: str, referrer: str | None = None) -> None:
    headers = {"User-Agent": agent} | ({"Referer": referrer} if referrer else {})
    app.client.get(path, headers=headers, environ_overrides={"REMOTE_ADDR": address})


@pytest.fixture(scope="module", params=RAW_SHAPES)
def url(request: pytest.FixtureRequest, new_database: Any) -> Iterator[str]:
    with new_database(request.param) as url:
        yield url


@pytest.fixture(scope="module", params=[whole_model, original_model], ids=["mixin", "original"])
def app(request: pytest.FixtureRequest, url: str) -> Iterator[App]:
    """Eight requests, recorded once for all questions that change nothing."""
    app = App(url, model=request.param, before=routes)
    visit(app, "/", FIREFOX, "192.0.2.1", "https://www.search.example/?q=1")
    visit(app, "/", FIREFOX, "192.0.2.1")
    visit(app, "/", SAFARI, "192.0.2.2", "http://news.example:8080/item")
    visit(app, "/user/7", SAFARI, "192.0.2.2")
    visit(app, "/broken", FIREFOX, "192.0.2.3")
    visit(app, "/gone", FIREFOX, "192.0.2.3")
    visit(app, "/nowhere", GOOGLEBOT, "192.0.2.4")
    visit(app, "/nowhere", "", "192.0.2.5")
    yield app
    with app.flask.app_context():
        app.db.drop_all()
    app.close()


def counts(answer: Any, *measures: str) -> list[list[Any]]:
    return [[row["value"], *(row[measure] for measure in measures)] for row in answer["rows"]]


def test_contract_summary(app: App) -> None:
    answer = app.json("summary")
    assert (answer["source"], answer["timezone"]) == ("raw", "UTC")
    assert [answer[name] for name in ("hits", "visitors", "client_errors", "server_errors")] == [8, 5, 3, 1]
    assert answer["size"] == sum(row.size for row in app.rows())
    times = sorted(row.response_time for row in app.rows())
    # MySQL's FLOAT shows six digits of each
    assert answer["response_time"]["max"] == pytest.approx(times[-1], rel=1e-5)
    assert answer["response_time"]["avg"] == pytest.approx(sum(times) / 8, rel=1e-5)
    assert answer["response_time"]["p50"] == pytest.approx(times[3], rel=0.02)
    assert answer["response_time"]["p95"] == pytest.approx(times[7], rel=0.02)


@pytest.mark.parametrize(
    ("dimension", "expected"),
    [
        ("path", [["/", 3, 2], ["/nowhere", 2, 2], ["/broken", 1, 1], ["/gone", 1, 1], ["/user/7", 1, 1]]),
        ("method", [["GET", 8, 5]]),
        ("status_code", [[200, 4, 2], [404, 2, 2], [410, 1, 1], [500, 1, 1]]),
        ("browser", [["firefox", 4, 2], ["mobile safari", 2, 1], ["googlebot", 1, 1], [None, 1, 1]]),
        ("platform", [["Windows", 4, 2], ["iOS", 2, 1], [None, 2, 2]]),
        ("device", [["desktop", 4, 2], ["mobile", 2, 1], ["bot", 1, 1], ["other", 1, 1]]),
        ("bot", [[None, 7, 4], ["search", 1, 1]]),
        ("referrer", [[None, 6, 5], ["news.example", 1, 1], ["search.example", 1, 1]]),
        ("mimetype", [["text/html", 8, 5]]),
        ("exception", [[None, 7, 5], ["ZeroDivisionError", 1, 1]]),
    ],
)
def test_contract_breakdown(app: App, dimension: str, expected: list[list[Any]]) -> None:
    answer = app.json(f"breakdown/{dimension}")
    if dimension == "device" and app.Request.__mro__[1].__name__ != "RequestMixin":
        expected = [["desktop", 4, 2], ["mobile", 2, 1], ["bot", 1, 1], [None, 1, 1]]
    assert counts(answer, "hits", "visitors") == expected
    assert answer["total"] == len(expected)


def test_contract_hours_of_the_week(app: App) -> None:
    now = datetime.now(timezone.utc).replace(tzinfo=None, minute=0, second=0, microsecond=0)
    state = state_of(app.flask)
    span = Span(now - timedelta(days=7), now + timedelta(hours=1), state.settings.timezone)
    with app.flask.app_context(), state.queries() as queries:
        everything = queries.summary(span, Filters())
        hours = queries.week(span, Filters())
        chosen = [number for number, hour in enumerate(hours) if hour.hits]
        of_them = queries.summary(span, Filters(at=tuple(text_of(number) for number in chosen)))
        rest = tuple(text_of(number) for number in range(HOURS) if number not in chosen)
        none = queries.breakdown("path", span, Filters(at=rest))
    assert sum(hour.hits for hour in hours) == everything.hits == of_them.hits == 8
    assert sum(hour.server_errors or 0 for hour in hours) == everything.server_errors
    assert none.rows == ()
    assert max(hour.response_time.max or 0 for hour in hours) == everything.response_time.max


def test_contract_profiles(app: App) -> None:
    """What `compare` is given: distributions of each value, cut into hours."""
    now = datetime.now(timezone.utc).replace(tzinfo=None, minute=0, second=0, microsecond=0)
    state = state_of(app.flask)
    span = Span(now - timedelta(hours=2), now + timedelta(hours=1), state.settings.timezone)
    with app.flask.app_context(), state.queries() as queries:
        found = queries.profiles("status_code", span, "hour", Filters(), limit=3)
    assert (found.total, found.hits) == (4, 8)
    assert [(one.value, one.hits, one.visitors, one.failed) for one in found.rows] == [
        (200, 4, 2, 0),
        (404, 2, 2, 0),
        (410, 1, 1, 0),
    ]
    for one in found.rows:
        assert sum(one.bins.values()) == one.hits == sum(block.hits for block in one.blocks)
        assert [block.timed for block in one.blocks] == [block.hits for block in one.blocks]
        assert len(one.blocks) == 3
    seconds = sum(row.response_time for row in app.rows() if row.status_code == 404)
    assert sum(block.seconds for block in found.rows[1].blocks) == pytest.approx(seconds, rel=1e-5)


@pytest.mark.parametrize(
    ("query", "hits", "visitors"),
    [
        ("browser=firefox", 4, 2),
        ("browser=Firefox&browser=googlebot", 5, 3),
        ("browser!=firefox", 4, 3),
        ("browser=", 1, 1),
        ("browser!=", 7, 4),
        ("status_code=4xx", 3, 3),
        ("status_code=404&status_code=500", 3, 3),
        ("status_code!=4xx", 5, 3),
        ("browser=firefox&status_code=5xx", 1, 1),
        ("referrer=search.example", 1, 1),
        ("referrer=", 6, 5),
        ("referrer!=&path=/", 2, 2),
        ("device!=bot", 7, 4),
        ("path=/user/7", 1, 1),
        ("q=USER", 1, 1),
        ("q=o&browser=firefox", 2, 1),
        ("path=/%00", 0, 0),
        ("exception=ZeroDivisionError", 1, 1),
    ],
)
def test_contract_filter(app: App, query: str, hits: int, visitors: int) -> None:
    answer = app.json(f"summary?{query}")
    assert [answer["hits"], answer["visitors"]] == [hits, visitors]
    assert sum(point["hits"] for point in app.json(f"series?unit=hour&{query}")["points"]) == hits
    assert len(app.json(f"requests?{query}")["rows"]) == hits


def test_contract_breakdown_options(app: App) -> None:
    by_path = "breakdown/path?sort={}&limit=2&offset={}"
    assert counts(app.json(by_path.format("value", 0))) == [["/"], ["/broken"]]
    assert counts(app.json(by_path.format("-value", 1))) == [["/nowhere"], ["/gone"]]
    assert counts(app.json(by_path.format("-server_errors", 0)), "server_errors") == [["/broken", 1], ["/", 0]]
    slowest = max(row.response_time for row in app.rows())  # its path may share its bin with another one
    assert app.json(by_path.format("-p95", 0))["rows"][0]["response_time"]["p95"] == pytest.approx(slowest, rel=0.02)
    assert counts(app.json("breakdown/path?search=NO"), "hits") == [["/nowhere", 2]]


def test_contract_series_days(app: App) -> None:
    points = app.json("series?unit=day&span=7d")["points"]
    assert [point["hits"] for point in points] == [0, 0, 0, 0, 0, 0, 8]
    assert [point["visitors"] for point in points] == [0, 0, 0, 0, 0, 0, 5]
    assert points[0]["response_time"] == {"avg": None, "p50": None, "p95": None, "p99": None, "max": None}
    assert points[6]["response_time"] == app.json("summary?span=today")["response_time"]


def test_contract_requests_pages(app: App) -> None:
    paths = [row.path for row in app.rows()][::-1]
    first = app.json("requests?limit=3")
    second = app.json(f"requests?limit=3&before={first['before']}")
    third = app.json(f"requests?limit=3&before={second['before']}")
    assert [row["path"] for page in (first, second, third) for row in page["rows"]] == paths
    assert (first["after"], third["before"]) == (None, None)
    assert app.json(f"requests?limit=3&after={third['after']}") | {"as_of": 0} == second | {"as_of": 0}


def test_contract_requests_by_text(app: App) -> None:
    def found(text: str) -> list[str]:
        return [row["path"] for row in app.json(f"requests?text={text}")["rows"]]

    assert found("NOWH") == ["/nowhere", "/nowhere"]
    assert found("user") == ["/user/7"]
    assert found("%25") == found("_") == found("%5C") == found("%00") == found("'") == []
    assert found("e&browser=firefox") == ["/gone", "/broken"]


def test_contract_slowest_requests_come_first(app: App) -> None:
    slowest = sorted(app.rows(), key=lambda row: (row.response_time, row.index), reverse=True)
    assert [row["path"] for row in app.json("requests?first=slowest")["rows"]] == [row.path for row in slowest]
    place, seen = "", []
    while place is not None:
        page = app.json(f"requests?first=slowest&limit=3&before={place}")
        seen += page["rows"]
        place = page["before"]
    assert [row["response_time"] for row in seen] == [row.response_time for row in slowest]
    third = app.json(f"requests?first=slowest&limit=3&after={seen[6]['id']}")
    assert third["rows"] == seen[3:6]
    # a bound between two times, as what a FLOAT of MariaDB tells is not all that it compares
    least = (slowest[0].response_time + slowest[-1].response_time) / 2
    slower = app.json(f"requests?slower={least!r}")["rows"]
    assert {row["id"] for row in slower} == {row.index for row in slowest if row.response_time > least}


DAY = datetime(2026, 3, 1)


def test_contract_requests_whose_time_is_not_known_come_last(make_app: Callable[..., App], database_url: str) -> None:
    app = make_app(database_url, STATISTICS_ENABLED=False)
    took = [0.5, None, 0.0, 2.0, None, 0.5]
    app.insert(*({"date": DAY, "path": f"/{n}", "response_time": each} for n, each in enumerate(took)))
    span = f"start={DAY:%Y-%m-%d}&end={DAY:%Y-%m-%d}"
    rows, place = [], ""
    while place is not None:
        page = app.json(f"requests?{span}&first=slowest&limit=2&before={place}")
        rows += [row["path"] for row in page["rows"]]
        place = page["before"]
    assert rows == ["/3", "/5", "/0", "/2", "/4", "/1"]
    assert [row["path"] for row in app.json(f"requests?{span}&slower=0")["rows"]] == ["/5", "/3", "/0"]


def test_contract_half_hour_zone(make_app: Callable[..., App], database_url: str) -> None:
    app = make_app(database_url, STATISTICS_TIMEZONE="Asia/Kolkata")
    last, first = datetime(2026, 3, 1, 18, 29, 59, 999999), datetime(2026, 3, 1, 18, 30)
    app.insert({"date": last, "path": "/", "status_code": 200}, {"date": first, "path": "/", "status_code": 200})
    points = app.json("series?unit=day&start=2026-03-01&end=2026-03-02")["points"]
    assert [(point["start"], point["hits"]) for point in points] == [
        ("2026-03-01T00:00:00+05:30", 1),
        ("2026-03-02T00:00:00+05:30", 1),
    ]
    hours = app.json("series?unit=hour&start=2026-03-01T22:00&end=2026-03-02T02:00")["points"]
    assert [point["hits"] for point in hours] == [0, 1, 1, 0]


def test_contract_daylight_saving(make_app: Callable[..., App], database_url: str) -> None:
    app = make_app(database_url, STATISTICS_TIMEZONE="Europe/Berlin")
    start = datetime(2026, 10, 24, 22)  # the day that has 25 hours begins
    app.insert(*({"date": start + timedelta(hours=hour), "path": "/"} for hour in range(25)))
    (day,) = app.json("series?unit=day&start=2026-10-25&end=2026-10-25")["points"]
    hours = app.json("series?unit=hour&start=2026-10-25&end=2026-10-25")["points"]
    assert day["hits"] == 25
    assert [point["hits"] for point in hours] == [1] * 25
    assert [point["start"][11:] for point in hours[2:4]] == ["02:00:00+02:00", "02:00:00+01:00"]


ALIKE = ("/a", "/A", "/a ", "/e", "/é", "/ｅ", "/ß", "/ss", "/\U0001f600", "/\U0001f4a9")
"""Paths that some collation or other takes for the same."""


@pytest.mark.parametrize("model", [whole_model, original_model], ids=["mixin", "original"])
def test_contract_text_is_compared_as_it_is(make_app: Callable[..., App], database_url: str, model: Any) -> None:
    app = make_app(database_url, model=model)
    now = datetime.now(timezone.utc).replace(tzinfo=None, microsecond=0)
    many = [f"/many/{number}" for number in range(200)]
    app.insert(*({"date": now, "path": path, "remote_address": path[1:]} for path in (*ALIKE, *many)))
    assert sorted(counts(app.json("breakdown/path?limit=500"), "hits", "visitors")) == sorted(
        [path, 1, 1] for path in (*ALIKE, *many)
    )
    assert app.json("summary")["visitors"] == len(ALIKE) + len(many)
    for path in ALIKE:
        assert app.json(f"summary?{urlencode({'path': path})}")["hits"] == 1
    assert app.json("summary?q=MANY")["hits"] == 200


PANEL_FILTERS = ("", "browser=firefox", "status_code=4xx&device!=bot", "q=o", "referrer=")


@pytest.mark.parametrize("query", PANEL_FILTERS)
def test_contract_breakdowns_are_the_breakdowns_without_their_own_filter(app: App, query: str) -> None:
    state = app.statistics_state()
    filters, errors = read_filters(parse_qsl(query, keep_blank_values=True), state.dimensions)
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    day = Span(now - timedelta(days=1), now + timedelta(days=1), state.settings.timezone)
    with state.queries() as queries:
        together = queries.breakdowns(tuple(state.dimensions), day, filters, limit=3)
        assert list(together) == list(state.dimensions)
        for name, found in together.items():
            alone = queries.breakdown(name, day, filters.without(name), limit=3)
            assert (found.dimension, found.total, found.hits) == (name, alone.total, alone.hits)
            assert [(row.value, row.measures.hits) for row in found.rows] == [
                (row.value, row.measures.hits) for row in alone.rows
            ]
    assert errors == []


def test_contract_want_leaves_out_but_changes_nothing(app: App) -> None:
    state = app.statistics_state()
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    day = Span(now - timedelta(days=1), now + timedelta(days=1), state.settings.timezone)
    with state.queries() as queries:
        whole = queries.summary(day, Filters())
        for want in (HITS, CHEAP, frozenset({VISITORS}), frozenset({PERCENTILES}), EVERYTHING):
            points = queries.series(day, "day", Filters(), want=want)
            measures = queries.summary(day, Filters(), want=want)
            assert (measures.hits, measures.last_requested) == (whole.hits, whole.last_requested)
            assert sum(point.measures.hits for point in points) == whole.hits
            assert SUMS not in want or measures.server_errors == whole.server_errors
            assert VISITORS not in want or measures.visitors == whole.visitors
            assert PERCENTILES not in want or measures.response_time == whole.response_time


def test_contract_recovers_from_a_question_that_failed(app: App) -> None:
    state = app.statistics_state()
    with state.queries() as queries:
        assert queries.freshness is None
        with pytest.raises(sa.exc.SQLAlchemyError):
            queries._connection.execute(sa.text("SELECT nothing FROM nowhere"))  # type: ignore[attr-defined]
        queries.recover()
        assert queries.earliest() is not None
