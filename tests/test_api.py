"""The JSON API where the contract suite does not look: bad parameters, shapes, zeros, strict SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from flask_statistics.connections import READING
from flask_statistics.state import state_of

from .conftest import App

MakeApp = Callable[..., App]
DAY = "start=2026-03-01&end=2026-03-01"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Any:
    app = App(f"sqlite:///{tmp_path_factory.mktemp('api') / 'app.sqlite'}")
    app.insert(
        *({"date": datetime(2026, 3, 1, 12) + timedelta(minutes=n), "path": f"/{n}", "size": n} for n in range(5))
    )
    yield app
    app.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("summary?start=x", "start is 'x', but must be a date such as 2026-11-22, or 2026-11-22T14:00"),
        ("series?end=2026-02-30", "end is '2026-02-30', but must be a date such as 2026-11-22, or 2026-11-22T14:00"),
        (
            "summary?start=2026-03-02&end=2026-03-01",
            "start is '2026-03-02', but must be before end, which is '2026-03-01'",
        ),
        (
            "summary?span=x",
            "span is 'x', but must be one of today, 24h, 7d, 28d, 91d, 12mo, all, or days or hours such as 30d or 36h",
        ),
        (
            "summary?status_code=x",
            "status_code is 'x', but must be a status code such as 404, or a class of them such as 5xx",
        ),
        ("series?unit=decade", "unit is 'decade', but must be one of minute, hour, day, week, month"),
        (
            "series?unit=minute&span=91d",
            "unit is 'minute', but the span has more than 10,000 of them; ask for a longer unit",
        ),
        (
            "breakdown/color",
            "dimension is 'color', but must be one of path, route, referrer, channel, campaign, browser, platform, "
            "device, bot, status_code, method, mimetype, content, exception, issue, host, language, address, network",
        ),
        (
            "breakdown/path?sort=up",
            "sort is 'up', but must be one of value, hits, visitors, client_errors, server_errors, error_share, "
            "server_error_share, size, avg, p50, p95, p99, max, last_requested, db_time_avg, db_time_p95, db_time_total, "
            "db_queries_avg, db_queries_p95, db_queries_total, http_time_avg, http_time_p95, http_time_total, http_calls_avg, "
            "http_calls_p95, http_calls_total, with - for the largest first",
        ),
        ("summary?span=7d&span=28d", "span is given with different values, but only one can count"),
        ("breakdown/path?limit=0", "limit is '0', but must be a whole number from 1 to 1,000"),
        ("breakdown/path?limit=1001", "limit is '1001', but must be a whole number from 1 to 1,000"),
        ("breakdown/path?offset=-1", "offset is '-1', but must be a whole number from 0 to 1,000,000,000"),
        ("requests?limit=²", "limit is '²', but must be a whole number from 1 to 1,000"),
        ("requests?limit=" + "9" * 50, f"limit is '{'9' * 50}', but must be a whole number from 1 to 1,000"),
        ("requests?before=x", "before is 'x', but must be the id of a stored request"),
        ("requests?after=99999", "after is '99999', but must be the id of a stored request"),
        ("requests?slower=-1", "slower is '-1', but must be a number from 0 to 86,400"),
        ("requests?slower=nan", "slower is 'nan', but must be a number from 0 to 86,400"),
        ("requests?first=last", "first is 'last', but must be one of newest, slowest"),
        ("requests?before=1&after=2", "before and after are both given, but only one of them can be"),
    ],
)
def test_api_refuses(app: App, url: str, message: str) -> None:
    assert app.json(url, 400) == {"error": message}


@pytest.mark.parametrize(
    "url", ["summary", "series", "breakdown/path", "requests", "changes", "health", "openapi.json"]
)
def test_api_names_unknown_parameters(app: App, url: str) -> None:
    assert app.json(f"{url}?staus_code=500", 400) == {
        "error": "'staus_code' is no parameter; did you mean status_code?"
    }


def test_api_knows_what_pages_link_to(app: App) -> None:
    assert app.json(f"summary?{DAY}&metric=time&vs=off&sort=-p95&paused=1")["hits"] == 5


def test_api_summary_of_nothing(app: App) -> None:
    found = app.json("summary?start=2025-01-01&end=2025-01-01")
    assert found | {"as_of": None} == {
        "start": "2025-01-01T00:00:00+00:00",
        "end": "2025-01-02T00:00:00+00:00",
        "timezone": "UTC",
        "source": "raw",
        "as_of": None,
        "complete_from": None,
        "undecided": 0,
        "hits": 0,
        "visitors": 0,
        "client_errors": 0,
        "server_errors": 0,
        "size": 0,
        "response_time": {"avg": None, "p50": None, "p95": None, "p99": None, "max": None},
        "last_requested": None,
    }


def test_api_counts_the_last_second_of_the_day(make_app: MakeApp, database_url: str) -> None:
    app = make_app(database_url)
    moments = ["00:00:00", "23:59:59", "23:59:59.000060", "23:59:59.999999"]
    app.insert(*({"date": datetime.fromisoformat(f"2026-03-01 {moment}")} for moment in moments))
    app.insert({"date": datetime(2026, 3, 2)}, {"date": datetime(2026, 2, 28, 23, 59, 59, 999999)})
    assert app.json(f"summary?{DAY}")["hits"] == 4
    assert [point["hits"] for point in app.json("series?unit=day&start=2026-02-28&end=2026-03-02")["points"]] == [
        1,
        4,
        1,
    ]


def test_api_series_has_zeros(app: App) -> None:
    points = app.json("series?unit=day&start=2026-02-27&end=2026-03-03")["points"]
    assert [(point["start"][:10], point["hits"], point["visitors"]) for point in points] == [
        ("2026-02-27", 0, 0),
        ("2026-02-28", 0, 0),
        ("2026-03-01", 5, 0),
        ("2026-03-02", 0, 0),
        ("2026-03-03", 0, 0),
    ]


def test_api_rows_without_anything_break_nothing(make_app: MakeApp, database_url: str) -> None:
    app = make_app(database_url)
    app.insert({"date": datetime(2026, 3, 1)}, {"date": datetime(2026, 3, 1), "remote_address": "192.0.2.1"})
    summary = app.json(f"summary?{DAY}")
    assert [summary[name] for name in ("hits", "visitors", "client_errors", "server_errors", "size")] == [2, 1, 0, 0, 0]
    for dimension in state_of(app.flask).dimensions:
        if dimension in ("address", "network"):
            continue
        for sort in ("-hits", "avg", "-p95", "value", "last_requested", "server_error_share"):
            (row,) = app.json(f"breakdown/{dimension}?{DAY}&sort={sort}")["rows"]
            assert (row["value"], row["hits"], row["visitors"]) == (None, 2, 1)
    assert len(app.json(f"requests?{DAY}")["rows"]) == 2


def test_api_reads_what_the_original_stored(make_app: MakeApp) -> None:
    app = make_app()
    date = datetime(2026, 3, 1)
    app.insert(
        {"date": date, "browser": "None None", "platform": None},
        {"date": date, "browser": "firefox 72.0", "platform": "windows"},
    )
    browsers = app.json(f"breakdown/browser?{DAY}")["rows"]
    assert [row["value"] for row in browsers] == ["firefox", None]
    assert app.json(f"summary?{DAY}&platform=Windows")["hits"] == 1


def test_api_many_values_in_a_filter(make_app: MakeApp, database_url: str) -> None:
    app = make_app(database_url)
    hosts = [f"https://x.example/{number}'\"\\é" for number in range(150)]
    app.insert(*({"date": datetime(2026, 3, 1), "referrer": host} for host in [*hosts, "https://y.example/", None]))
    assert app.json(f"summary?{DAY}&referrer=x.example")["hits"] == 150
    assert app.json(f"summary?{DAY}&referrer!=x.example")["hits"] == 2
    assert app.json(f"breakdown/referrer?{DAY}")["rows"][0]["hits"] == 150


def test_api_longer_series_than_a_statement_holds(make_app: MakeApp, database_url: str) -> None:
    app = make_app(database_url)
    app.insert(*({"date": datetime(2026, 3, 1) + timedelta(hours=h), "path": "/"} for h in range(0, 600, 7)))
    points = app.json("series?unit=hour&start=2026-03-01&end=2026-03-25")["points"]
    assert [point["hits"] for point in points] == [1 if hour % 7 == 0 else 0 for hour in range(600)]


MANY = [
    {
        "date": datetime(2026, 3, 1),
        "path": f"/{n}",
        "referrer": f"http://{n}.example/{hit}",
        "status_code": 404,
        "user_agent": f"agent {n} {hit}",
        "response_time": n / 100,
        "browser": "firefox 1",
        "exception": f"KeyError({n})",
    }
    for n in range(9)
    for hit in range(n + 1)
]
"""The value 8 nine times, 7 eight times, and so on."""


@pytest.fixture
def flooded(make_app: MakeApp, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """An app with more different values than fit into memory, as a stranger can bring about."""
    monkeypatch.setattr("flask_statistics.queries.interface.MOST_GROUPS", 5)
    app = make_app(database_url)
    app.insert(*MANY)
    yield app
    app.close()


@pytest.mark.parametrize("sort", ["-hits", "-p95", "-avg"])
def test_api_shows_the_commonest_of_too_many_values(flooded: App, sort: str) -> None:
    found = flooded.json(f"breakdown/path?span=all&limit=2&sort={sort}")
    assert (found["total"], [row["value"] for row in found["rows"]]) == (9, ["/8", "/7"])
    assert [row["hits"] for row in found["rows"]] == [9, 8]


def test_api_filters_by_one_of_too_many_values(flooded: App) -> None:
    assert flooded.json("summary?span=all&path=/3")["hits"] == 4
    assert flooded.json("summary?span=all&q=/3")["hits"] == 4
    assert flooded.json("summary?span=all&q=/", 503)["error"].startswith("More than 5 different values")
    assert flooded.json("summary?span=all&browser=firefox")["hits"] == 45


def test_search_among_too_many_values_says_so(flooded: App) -> None:
    said = "searched among the 5 commonest alone"
    assert said in flooded.client.get("/statistics/list/path?span=all&search=8").text
    assert said not in flooded.client.get("/statistics/list/path?span=all").text
    assert said not in flooded.client.get("/statistics/list/browser?span=all&search=fire").text
    assert flooded.json("breakdown/path?span=all&search=8")["searched"] == 5
    assert flooded.json("breakdown/browser?span=all&search=fire")["searched"] is None


def test_views_show_the_commonest_of_too_many_values(flooded: App) -> None:
    for view in ("", "errors", "list/path", "list/referrer", "list/browser", "export/path.csv"):
        page = flooded.client.get(f"/statistics/{view}?span=all")
        assert page.status_code == 200
        assert "Could not be computed" not in page.text
    assert "/8" in flooded.client.get("/statistics/?span=all").text
    assert flooded.json("breakdown/browser?span=all")["rows"][0]["hits"] == 45


def test_api_database_error_is_503_and_logged(make_app: MakeApp, caplog: pytest.LogCaptureFixture) -> None:
    app = make_app(TESTING=False)
    with app.flask.app_context():
        app.db.drop_all()
    assert app.json("summary", 503) == {
        "error": "The database could not answer. The table 'request' is missing: run 'flask statistics init' once, or make a "
        "migration. The app's log says more."
    }
    (record,) = (record for record in caplog.records if record.name == "tests.app")
    assert record.message.startswith(
        "Flask-Statistics: a question to the database failed: OperationalError: no such table"
    )


def test_api_health_after_a_request(app: App) -> None:
    found = app.json("health")
    assert {"storage", "started_at", "settings"} <= set(found)
    del found["storage"], found["started_at"], found["settings"]
    assert found == {
        "status": "ok",
        "problems": [],
        "advice": [],
        "database": "ok",
        "guarded": True,
        "guard": "local_only",
        "tokens": [],
        "wrong_passwords": None,
        "recording": True,
        "processes": 0,
        "unknown_because": None,
        "recorded": 0,
        "waiting": 0,
        "refused": 0,
        "trouble": None,
        "lost": 0,
        "lost_because": {},
        "last_error": None,
        "last_error_at": None,
        "overhead": {"requests": 0, "p50": None, "p95": None},
        "rollups": None,
    }


def test_api_does_not_write(app: App) -> None:
    statements: list[str] = []
    engine = state_of(app.flask).raw_engine_for(READING)

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    for url in ("summary", "series", "breakdown/path", "breakdown/browser", "requests", "health"):
        app.json(f"{url}?span=all")
    sa.event.remove(engine, "before_cursor_execute", note)
    assert statements
    looking = ("SELECT", "PRAGMA main.table_", "PRAGMA main.index_")  # whether there is an index
    assert [statement for statement in statements if not statement.lstrip().startswith(looking)] == []


def test_api_answers_are_not_cached(app: App) -> None:
    headers = app.client.get("/statistics/api/summary").headers
    assert headers["Cache-Control"] == "private, no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"


WAITED: list[dict[str, object]] = [
    {"path": "/", "db_time": 0.25, "db_queries": 3, "http_time": 0.0, "http_calls": 0},
    {"path": "/", "db_time": 0.5, "db_queries": 0},
    {"path": "/none"},
]


@pytest.mark.parametrize("rolled", [False, True], ids=["raw", "rollups"])
def test_api_says_what_requests_waited_for(make_app: MakeApp, database_url: str, *, rolled: bool) -> None:
    app = make_app(
        database_url,
        STATISTICS_ROLLUPS=rolled,
        STATISTICS_SCHEDULER=False,
        STATISTICS_QUERIES=True,
        STATISTICS_OUTGOING=True,
    )
    app.insert(*({"date": datetime(2026, 3, 1, 12), **row} for row in WAITED))
    if rolled:
        app.flask.test_cli_runner().invoke(args=["statistics", "rollup"])
    found = app.json(f"summary?{DAY}")
    assert found["source"] == ("rollup" if rolled else "raw")
    assert found["db_time"] == {
        "avg": 0.375,
        "p50": pytest.approx(0.25, rel=0.02),
        "p95": pytest.approx(0.5, rel=0.02),
        "p99": pytest.approx(0.5, rel=0.02),
        "max": 0.5,
        "total": 0.75,
    }
    assert found["db_queries"] == {"avg": 1.5, "p50": 0, "p95": 3, "p99": 3, "max": 3, "total": 3}
    assert found["http_calls"] == {"avg": 0, "p50": 0, "p95": 0, "p99": 0, "max": 0, "total": 0}
    nothing = {"avg": None, "p50": None, "p95": None, "p99": None, "max": None, "total": 0}
    (one, other) = app.json(f"breakdown/path?sort=-db_queries_p95&{DAY}")["rows"]
    assert (one["value"], one["db_time"], other["value"], other["db_time"]) == ("/", found["db_time"], "/none", nothing)
    (point,) = app.json(f"series?unit=day&{DAY}")["points"]
    assert point["db_time"] == found["db_time"]
    measures = app.json("openapi.json")["paths"]["/summary"]["get"]["responses"]["200"]["content"]["application/json"]
    assert {"db_time", "http_calls"} <= set(measures["schema"]["required"])


@pytest.mark.parametrize("rolled", [False, True], ids=["raw", "rollups"])
def test_api_says_nothing_of_waits_that_nothing_measures(make_app: MakeApp, *, rolled: bool) -> None:
    app = make_app(STATISTICS_ROLLUPS=rolled, STATISTICS_SCHEDULER=False, STATISTICS_QUERIES=True)
    app.insert(*({"date": datetime(2026, 3, 1, 12), **row} for row in WAITED))
    app.flask.test_cli_runner().invoke(args=["statistics", "rollup"])
    found = app.json(f"summary?{DAY}")
    assert "db_time" in found
    assert "http_time" not in found
    assert app.json(f"breakdown/path?sort=-http_time_avg&{DAY}")["rows"][0]["hits"] == 2
