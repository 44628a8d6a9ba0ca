"""The routes: states and their texts, headers, prefixes, panels, failures, bad parameters, hostile values, statements."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy as sa
from flask import Flask, g
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client, TestResponse

from flask_statistics import Dimension, RequestMixin
from flask_statistics.config import PEOPLE, SettingError
from flask_statistics.connections import READING
from flask_statistics.formatting import clock, day
from flask_statistics.guards import everybody
from flask_statistics.pages.panels import BUILT_IN

from .conftest import App, a_fortnight, original_model

NOW = datetime.now(timezone.utc).replace(tzinfo=None)
VIEWS = (
    "",
    "?span=28d&metric=time&by=route&rows=50&sort=-p95",
    "?path=/",
    "?device!=bot&browser=firefox&q=page",
    "changes?span=24h&split=browser",
    "errors",
    "requests",
    "requests/1",
    "live",
    "health",
    "list/path",
    "list/exception?sort=value",
    "?path=/nowhere",
    "?start=2020-01-01&end=2020-01-07",
    "requests/none",
)
PARTIALS = (
    *dict.fromkeys(
        panel.name for panel in BUILT_IN if not panel.name.endswith("statements") and panel.name != "exceptions"
    ),  # as nothing measures them here, and exceptions have issues
    *("browser", "status_code", "exception"),
)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app with two weeks of requests, that records nothing more."""
    app = App(f"sqlite:///{tmp_path_factory.mktemp('views') / 'app.sqlite'}", STATISTICS_ENABLED=False)
    app.insert(*a_fortnight(NOW))
    yield app
    app.close()


def get(app: App, path: str = "", status: int = 200) -> str:
    response = app.client.get(f"/statistics/{path}")
    assert response.status_code == status, response.text
    return response.text


def quiet(make_app: Callable[..., App], url: str | None = None, **options: Any) -> App:
    return make_app(url, STATISTICS_ENABLED=False, **options)


# ---- states ----------------------------------------------------------------------------------------------------------


def nothing(page: str) -> list[str]:
    """Heading, text and ways out of what is said instead of numbers."""
    card = re.search(r'<section class="card help".*?</section>', page, re.DOTALL)
    assert card is not None
    texts = re.findall(r"<(h2|p|li)\b[^>]*>(.*?)</\1>", card[0], re.DOTALL)
    return [unescape(re.sub(r"<[^>]+>", "", text)) for _, text in texts]


def test_view_of_an_empty_install(make_app: Callable[..., App]) -> None:
    page = get(quiet(make_app))
    assert nothing(page) == [
        "Listening",
        "Open any page of this app. It shows up here within 5 seconds, by itself.",
        "Nothing after a visit? Then the path is excluded (STATISTICS_EXCLUDE), another process or host answered, "
        "or another database is written to.",
    ]
    assert 'hx-trigger="every 5s"' in page
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in page.partition("</head>")[0]


@pytest.mark.parametrize("view", ["", "errors", "requests"])
def test_view_of_an_empty_install_says_so(make_app: Callable[..., App], view: str) -> None:
    assert nothing(get(quiet(make_app), view))[0] == "Listening"


def test_view_of_an_empty_span(app: App) -> None:
    assert nothing(get(app, "?start=2020-01-01&end=2020-01-07")) == [
        "No requests between 1 Jan 2020 and 7 Jan 2020",
        f"Nothing was recorded before {clock(app.rows()[-1].date, now=NOW)}.",
        "Show all time",
    ]
    assert nothing(get(app, "errors?start=2020-11-01&end=2020-11-01"))[0] == "No requests on 1 Nov 2020"


def test_view_of_filters_without_a_match(app: App) -> None:
    start = day(NOW - timedelta(days=27))
    found = nothing(get(app, "?span=28d&path=/nowhere&browser=firefox&device!=bot"))
    assert found == [
        f"No requests that match these filters between {start} and {day(NOW)}",
        "700 requests then, of which none matches.",
        "Clear all filters 500 requests",
        "Without “Path is /nowhere” 300 requests",
        "The same filters at all times",
    ]
    assert nothing(get(app, "?span=28d&path=/nowhere"))[2:] == [
        "Without “Path is /nowhere” 700 requests",
        "The same filters at all times",
    ]


def test_view_of_filters_says_when_the_span_is_to_blame(app: App) -> None:
    assert nothing(get(app, "?start=2020-01-01&end=2020-01-01&path=/")) == [
        "No requests on 1 Jan 2020",
        "Whatever the filters say: none was recorded then.",
        "The same filters at all times",
    ]


@pytest.mark.parametrize(
    ("filters", "asked"),
    [
        ("q=no-such", "to “no-such”"),
        ("path=/no-such", "to /no-such"),
        ("path=/no-such&path=/none", "that match these filters"),
        ("browser=no-such", "that match these filters"),
        ("device!=bot&q=no-such", "to “no-such”"),
    ],
)
def test_view_without_a_match_says_what_was_asked_for(app: App, filters: str, asked: str) -> None:
    heading = nothing(get(app, f"?span=28d&{filters}"))[0]
    assert heading == f"No requests {asked} between {day(NOW - timedelta(days=27))} and {day(NOW)}"


def test_view_of_an_hour_offers_its_day_and_the_hour_after(make_app: Callable[..., App]) -> None:
    app = quiet(make_app)
    noon = (NOW - timedelta(days=2)).replace(hour=12, minute=30, second=0, microsecond=0)
    app.insert(
        *({"date": noon + timedelta(hours=hours), "path": path} for hours, path in ((0, "/a"), (1, "/b"), (6, "/b")))
    )
    found = nothing(get(app, f"?start={noon:%Y-%m-%d}T12:00&end={noon:%Y-%m-%d}T13:00&path=/b"))
    assert found == [
        f"No requests to /b on {day(noon)} between 12:00 and 13:00",
        "1 request then, of which none matches.",
        f"The whole of {day(noon)} 2 requests",
        "Without “Path is /b” 1 request",
        "The hour after, 13:00 – 14:00 1 request",
        "The same filters at all times",
    ]


def test_clear_all_leaves_people_alone(app: App) -> None:
    page = get(app, "?device!=bot&browser=firefox&q=page")
    assert re.findall(r'<a class="clear" href="([^"]*)"', page) == ["/statistics/?device!=bot"]
    assert "Remove filter Device" not in page
    assert "Remove filter Device" in get(app, "?device=mobile")


def test_view_of_an_empty_panel(app: App) -> None:
    page = get(app, "?referrer!=&status_code=404&exception=")
    assert "No exceptions in this span." in page


@pytest.mark.parametrize(
    "query",
    [
        "start=2026-13-45",
        "start=2026-01-02&end=2026-01-01",
        "start=0001-01-01",
        "span=fortnight",
        "span=99999999d",
        "unit=second",
        "unit=minute&span=all",
        "unit=hour&span=12mo",
        "metric=happiness",
        "vs=neighbour",
        "sort=colour",
        "by=moon",
        "rows=-1",
        "rows=999999999999999999999999",
        "offset=x",
        "status_code=teapot",
        "device=toaster",
        "start=1990-01-01&end=2199-12-31",
    ],
)
def test_view_falls_back_with_a_notice(app: App, query: str) -> None:
    page = get(app, f"?{query}")
    assert page.count('<p class="notice">') == 1


@pytest.mark.parametrize(
    "query",
    [
        *("path=%00", "path=", "end=&start=", "before=nonsense", "after=-9", "browser=%ff", "q=%25", "span=9999d"),
        *("search=" + "a" * 5000, "span=all&vs=year", "path=" + "%F0%9F%99%82" * 500, "nobody=knows", "offset=99999"),
    ],
)
@pytest.mark.parametrize("view", ["", "errors", "requests", "live", "list/browser", "panel/paths", "panel/requests"])
def test_view_never_fails_on_a_strange_query(app: App, view: str, query: str) -> None:
    allowed = (200, 302, 400) if view.startswith("panel/") else (200, 302)  # which has no place for a notice
    assert app.client.get(f"/statistics/{view}?{query}").status_code in allowed


def test_view_of_hours_that_a_clock_repeats_leads_to_each(make_app: Callable[..., App]) -> None:
    app = quiet(make_app, STATISTICS_TIMEZONE="Europe/Berlin")
    app.insert(*({"date": datetime(2026, 10, 24, 22) + timedelta(minutes=30 * n), "path": "/"} for n in range(50)))
    page = get(app, "?start=2026-10-25&end=2026-10-25&unit=hour")
    links = re.findall(r'href="/statistics/(\?start=2026-10-25T0[1-4][^"]*)"', page)
    hits = [re.findall(r'data-measure="hits">.*?title="(\d+)"', get(app, unescape(link)), re.DOTALL) for link in links]
    assert hits == [["2"], ["2"], ["4"], ["2"], ["2"]]  # one URL says 02:00 to 03:00: both hours that are called so


def test_view_of_the_original_parameters(app: App) -> None:
    day = f"{NOW - timedelta(days=3):%Y-%m-%d}"
    page = get(app, f"?start={day}&end={day}&path=/")
    assert re.findall(r"<b title=[^>]*>([^<]*)</b>", page) == ["/"]
    hits = app.json(f"summary?start={day}&end={day}&path=/")["hits"]
    assert (
        f'data-measure="hits"><span class="kl" title="Requests">Hits</span>\n<strong class="kv" title="{hits}">' in page
    )
    assert "Latest requests" in page
    assert 'id="fs-paths"' not in page


def test_view_takes_empty_fields_out_of_the_url(app: App) -> None:
    response = app.client.get("/statistics/?q=&span=28d&browser=")
    assert (response.status_code, response.location) == (302, "/statistics/?span=28d&browser=")


def test_view_of_an_unknown_request(app: App) -> None:
    assert "This request is not stored" in get(app, "requests/99999999", 404)
    assert "This request is not stored" in get(app, "requests/none", 404)


def test_view_of_unknown_names(app: App) -> None:
    for path in ("list/moon", "panel/moon", "export/moon.csv", "nowhere", "static/moon.css"):
        get(app, path, 404)


def test_view_of_a_request_shows_every_column(app: App) -> None:
    row = app.rows()[0]
    page = unescape(get(app, f"requests/{row.index}"))
    for text in (row.path, row.remote_address, row.user_agent, "500 Internal Server Error", "KeyError('cart')"):
        assert text in page
    assert "Traceback:\n  <b>line</b>" in page


# ---- models and dimensions -------------------------------------------------------------------------------------------


def minimal_model(db: Any) -> type[Any]:
    columns = {"id": db.Column(db.Integer, primary_key=True), "date": db.Column(db.DateTime)}
    return type("Request", (db.Model,), columns)


@pytest.mark.parametrize("model", [minimal_model, original_model])
def test_view_of_a_model_that_lacks_columns(make_app: Callable[..., App], model: Callable[..., Any]) -> None:
    app = quiet(make_app, model=model)
    app.insert({"date": NOW - timedelta(minutes=2)})
    for view in VIEWS:
        assert app.client.get(f"/statistics/{view}").status_code in (200, 404)
    page = get(app)
    assert ("Visitors" in page, 'id="fs-paths"' in page) == ((model is original_model),) * 2
    assert ">Route<" not in page


def tenant_model(db: Any) -> type[Any]:
    return type("Request", (RequestMixin, db.Model), {"tenant_id": db.Column(db.Integer)})


def test_view_of_a_dimension_of_ones_own(make_app: Callable[..., App]) -> None:
    app = quiet(make_app, model=tenant_model, dimensions=[Dimension("tenant", column="tenant_id")])
    app.insert(*({"date": NOW - timedelta(minutes=n), "tenant_id": n % 2 + 7, "path": "/"} for n in range(5)))
    panel = get(app, "panel/tenant")
    assert re.findall(r'href="[^"]*\?tenant=(\d)">\d</a></th><td class="n" title="(\d)">', panel) == [
        ("7", "3"),
        ("8", "2"),
    ]
    assert panel in get(app)
    assert "Tenant</span>" in get(app, "?tenant=7")
    assert "1–2 of 2 tenants" in get(app, "list/tenant")
    assert get(app, "export/tenant.csv").splitlines()[1].startswith("7,3,")


def test_view_with_a_dimension_that_raises(make_app: Callable[..., App], caplog: pytest.LogCaptureFixture) -> None:
    divisor = 0
    broken = Dimension("tenant", column="tenant_id", value=lambda raw: raw // divisor)
    app = quiet(make_app, model=tenant_model, dimensions=[broken])
    app.insert({"date": NOW - timedelta(minutes=2), "tenant_id": 1, "path": "/here", "browser": "firefox 1"})
    page = get(app)
    assert page.count("Could not be computed") == 1
    assert "/here" in page
    assert "Firefox" in page
    assert "tenant could not be computed: DimensionError: The function of the dimension 'tenant' failed" in caplog.text
    assert "Could not be computed" in get(app, "list/tenant")
    message = "The function of the dimension 'tenant' failed on a recorded value."
    assert app.json("breakdown/tenant", 500) == {"error": f"{message} See the app's log."}
    assert unescape(get(app, "export/tenant.csv", 500)).count(message) == 1
    divisor = 1
    (url,) = re.findall(r'<a href="" hx-get="/statistics/([^"]*)" [^>]*>Try again</a>', page)
    assert '<a href="/statistics/?tenant=1">1</a>' in get(app, url)


def test_view_with_a_dimension_that_cannot_be_displayed(
    make_app: Callable[..., App], caplog: pytest.LogCaptureFixture
) -> None:
    names = {7: "Acme"}
    tenant = Dimension("tenant", column="tenant_id", display=names.__getitem__)
    app = quiet(make_app, model=tenant_model, dimensions=[tenant])
    app.insert(*({"date": NOW - timedelta(minutes=n), "tenant_id": n % 2 + 7, "path": "/"} for n in range(3)))
    for view in ("", "list/tenant", "export/tenant.csv"):
        page = get(app, view)
        assert re.findall(r"[>\n](Acme|8)\b", page.replace("\r", "")) == ["Acme", "8"]
    assert "the dimension 'tenant' cannot display 8" in caplog.text


def test_view_with_a_statement_that_fails(make_app: Callable[..., App], database_url: str) -> None:
    app = quiet(make_app, database_url)
    app.insert({"date": NOW - timedelta(minutes=2), "path": "/here", "browser": "firefox 1"})
    with app.flask.app_context(), app.db.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE request DROP COLUMN mimetype"))
    page = get(app)
    failed = re.findall(r'<section class="card panel" id="fs-p-(\w+)"(?:(?!</section>).)*Could not', page, re.DOTALL)
    assert failed == ["mimetype", "content"]
    assert "/here" in page
    assert "Firefox" in page


def test_view_on_every_database(make_app: Callable[..., App], database_url: str) -> None:
    app = quiet(make_app, database_url)
    app.insert(*a_fortnight(NOW)[:120])
    for view in (*VIEWS, *(f"panel/{name}" for name in PARTIALS), "export/path.csv", "export/requests.csv"):
        response = app.client.get(f"/statistics/{view}")
        assert response.status_code in (200, 404)
        assert "Could not be computed" not in response.text, view


def test_view_without_the_table(make_app: Callable[..., App], database_url: str) -> None:
    app = quiet(make_app, database_url)
    with app.flask.app_context():
        app.db.drop_all()
    for view in ("", "errors", "requests", "requests/1", "live", "list/path", "panel/paths", "export/path.csv"):
        assert "The numbers cannot be read" in get(app, view, 503)


def test_missing_table_is_told_in_one_line_with_the_same_advice_everywhere(
    make_app: Callable[..., App], database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(database_url)
    app.client.get("/")
    app.rows()
    with app.flask.app_context():
        app.db.drop_all()
    app.client.get("/")
    advice = "The table 'request' is missing: run 'flask statistics init' once, or make a migration."
    for view in ("", "errors", "requests", "requests/1", "live", "list/path", "panel/paths", "export/path.csv"):
        assert advice in unescape(get(app, view, 503))
    for api in ("summary", "series", "breakdown/path", "requests"):
        assert advice in app.json(api, 503)["error"]
    told = [record for record in caplog.records if record.name == "tests.app" and record.levelno >= logging.WARNING]
    assert [advice in record.message and not record.exc_info for record in told] == [True, True]


def test_view_without_the_database(make_app: Callable[..., App]) -> None:
    app = quiet(make_app)
    app.statistics_state()._engines[None] = sa.create_engine("sqlite:////nowhere/at/all.sqlite")
    assert "The database did not answer" in get(app, "", 503)


def test_view_says_how_long_requests_are_kept(make_app: Callable[..., App]) -> None:
    days = timedelta(days=30)
    app = quiet(make_app, STATISTICS_ROLLUPS=True, STATISTICS_SCHEDULER=False, STATISTICS_RAW_RETENTION=days)
    app.insert({"date": NOW - timedelta(minutes=2), "path": "/here"})
    for view in ("requests", "?path=/here", "panel/requests"):
        assert "Raw requests are kept for 30 days." in get(app, view)


def test_view_offers_a_comparison_where_it_shows_one(app: App) -> None:
    offering = [view for view in ("", "errors", "requests", "live", "list/path") if 'id="fs-vs"' in get(app, view)]
    assert offering == ["", "errors", "list/path"]


# ---- panels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in PARTIALS if name != "week"])  # which comes after its page
def test_panel_is_what_its_page_includes(app: App, name: str) -> None:
    page = next((panel.page for panel in BUILT_IN if panel.name == name), "index").replace("index", "")
    client = "?span=28d&address=192.0.2.0"
    issue = "?span=28d&issue=ValueError:+none+left"
    two = "?span=28d&browser=firefox&browser=chrome&split=browser"
    of = {"recent": "?path=/&span=28d", "deny": client, "latest": client, "failure": issue, "both": two, "pairs": two}
    query = of.get(name, f"?span=28d&sort=-p95&device!=bot{'&changed=1' if name == 'paths' else ''}")
    response = app.client.get(f"/statistics/panel/{name}{query}")
    assert steady(response.text) in steady(get(app, page + query))
    assert response.headers["HX-Push-Url"].startswith(f"/statistics/{page}?")
    assert len(re.findall(r'^<section [^>]*id="fs-', response.text, re.MULTILINE)) == 1


def steady(markup: str) -> str:
    """Markup without the time of day, which may go on between two requests."""
    return re.sub(r"\d\d:\d\d(:\d\d)?|\s+", " ", markup).strip()


# ---- what is counted ---------------------------------------------------------------------------------------------------

PERSON = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}
CRAWLER = {"User-Agent": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"}


def hits_of(page: str) -> str:
    """What the tile of hits says."""
    (hits,) = re.findall(r'data-measure="hits">.*?<strong class="kv" title="([^"]*)">', page, re.DOTALL)
    return str(hits)


@pytest.fixture(params=[False, True], ids=["raw", "rollups"])
def visited(request: pytest.FixtureRequest, make_app: Callable[..., App]) -> App:
    """Two requests of people and three of a bot, with the settings that users have."""
    app = make_app(STATISTICS_DEFAULT_FILTERS=PEOPLE, STATISTICS_ROLLUPS=request.param, STATISTICS_SCHEDULER=False)
    for headers in (PERSON, CRAWLER, CRAWLER, PERSON, CRAWLER):
        app.client.get("/there", headers=headers)
    if request.param:
        assert app.flask.test_cli_runner().invoke(args=["statistics", "rollup"]).exit_code == 0
    return app


def test_people_are_counted_as_long_as_nothing_else_is_chosen(visited: App) -> None:
    page = get(visited)
    assert hits_of(page) == "2"
    assert '<p class="mut">People only. <a href="/statistics/?any=device">3 hits of bots are outside.</a></p>' in page
    for query, hits in (("?any=device", "5"), ("?device=bot", "3"), ("?device!=bot", "2"), ("?path=/there", "2")):
        assert hits_of(get(visited, query)) == hits
    assert "outside" not in get(visited, "?any=device")
    assert "Bots are outside." in get(visited, "requests")


def test_a_click_on_what_is_left_out_shows_it(visited: App) -> None:
    row = re.findall(
        r'<tr class="mut"><th [^>]*>.*?<a href="([^"]*)">Bot</a>, outside</th>.*?<td class="n mut">(.*?)</td>',
        get(visited),
    )
    assert row == [("/statistics/?device=bot", "–")]
    (url,) = re.findall(r'<a href="([^"]*)">Bot</a>', get(visited, "list/device?any=device"))
    assert url == "/statistics/?device=bot"


def test_all_are_counted_by_the_api_and_its_link_says_what_the_page_counts(visited: App) -> None:
    assert visited.json("summary")["hits"] == 5
    (url,) = re.findall(r'<a href="/statistics/api/(summary[^"]*)"', get(visited))
    assert visited.json(url)["hits"] == 2
    assert visited.client.get("/statistics/export/path.csv").text.splitlines()[1].startswith("/there,2,")


@pytest.mark.parametrize(
    ("query", "url"),
    [
        ("split=device", "/statistics/changes"),
        ("device=desktop&device=bot&split=device", "/statistics/changes"),
        ("any=device&split=device", "/statistics/changes?any=device"),
        ("device=bot&split=browser", "/statistics/changes?device=bot"),
    ],
)
def test_people_are_counted_again_after_two_devices(visited: App, query: str, url: str) -> None:
    assert f'<a href="{url}">Two times</a>' in get(visited, f"changes?{query}")


def test_bots_alone_are_no_empty_page(make_app: Callable[..., App]) -> None:
    app = make_app(STATISTICS_DEFAULT_FILTERS=PEOPLE)
    assert "Listening" in get(app)
    app.client.get("/", headers=CRAWLER)
    page = get(app)
    assert "No requests of people" in page
    assert '<a href="/statistics/?any=device">Not only people</a> <span class="mut">1 request</span>' in page
    assert "No requests of people for the API" in get(app, "?content=api")
    assert "No requests for assets" in get(app, "?any=device&content=asset")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("divice!=bot", "'divice!' is no parameter; did you mean device?"),
        ("device=toaster", "device is 'toaster', but must be one of bot, mobile, tablet, desktop, other."),
        ("people", 'must be a query string such as "device!=bot&content=page", or "" for all requests.'),
        (None, 'must be a query string such as "device!=bot&content=page", or "" for all requests.'),
    ],
)
def test_default_filters_that_cannot_be_read_are_refused(
    make_app: Callable[..., App], value: Any, message: str
) -> None:
    with pytest.raises(SettingError, match=re.escape(message)):
        make_app(STATISTICS_DEFAULT_FILTERS=value)


# ---- statements ------------------------------------------------------------------------------------------------------

STATEMENTS = {
    "": 15,
    "?metric=time": 17,
    "?vs=off": 12,
    "?span=all": 12,
    "?device!=bot&browser=firefox": 24,
    "?path=/": 14,
    "?path=/nowhere": 5,
    "errors": 18,
    "issue?issue=ValueError:+none+left": 12,
    "requests": 4,
    "requests?before=5": 5,
    "requests/1": 9,
    "live": 5,
    "list/path": 4,
    "list/browser": 5,
    "panel/paths": 15,
    "panel/browser": 1,
    "export/path.csv": 9,
}
"""SQL statements that a view may issue, and no more."""


@contextmanager
def statements(app: App) -> Iterator[list[str]]:
    """The SELECTs that are issued meanwhile, with their parameters."""
    issued: list[str] = []
    engine = app.statistics_state().raw_engine_for(READING)

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        issued.append(f"{statement} {parameters}")

    sa.event.listen(engine, "before_cursor_execute", note)
    yield issued
    sa.event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("view", STATEMENTS)
def test_view_issues_few_statements_and_none_twice(app: App, view: str) -> None:
    with statements(app) as issued:
        get(app, view)
    newest = [statement for statement in issued if statement.startswith('SELECT max(request."index")')]
    assert len(newest) <= 1  # as SQLite's file is read without a transaction
    assert len(issued) - len(newest) == STATEMENTS[view]
    assert len(set(issued)) == len(issued)


# ---- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["nowhere", "list/nothing", "page/nothing", "requests/none"])
def test_unknown_page_is_the_dashboards_own(make_app: Callable[..., App], path: str) -> None:
    app = make_app()
    page = get(app, path, 404)
    assert re.search(r'<link rel="icon" href="/statistics/static/icon.svg', page)
    assert re.search(r'<a class="btn" href="/statistics/[^"]*">Back to the', page)
    assert app.rows() == []


def test_links_to_files_have_names_of_their_own(app: App) -> None:
    for view in ("", "errors", "requests"):
        names = re.findall(r'download aria-label="([^"]*)">CSV<', get(app, view))
        assert len(set(names)) == len(names) > 1


def test_list_counts_in_its_own_plural(app: App) -> None:
    assert "1–3 of 3 status codes" in get(app, "list/status_code?span=28d")


def test_list_of_exceptions_leaves_out_requests_without_one(app: App) -> None:
    page = get(app, "list/exception?span=28d")
    assert "1–2 of 2 exceptions" in page
    assert "(none)" not in page
    assert "(none)" not in get(app, "export/exception.csv?span=28d")


def test_request_without_a_path_has_a_name(make_app: Callable[..., App]) -> None:
    app = quiet(make_app)
    app.insert({"date": NOW, "path": ""}, {"date": NOW, "path": None})
    page = get(app, "requests")
    assert len(re.findall(r'<a href="/statistics/\?path=">\(none\)</a>', page)) == 2
    assert "(empty)" in get(app, "requests/1")


# ---- every link ------------------------------------------------------------------------------------------------------

STARTS_ANEW = ("tests.app", "Clear all", "×", "is", "Firefox")
"""Texts of links that take filters away, as they say."""
SPANS = ("tests.app", "Today", "24 hours", "7 days", "91 days", "12 months", "All")


@pytest.mark.parametrize(
    "view",
    ["", "errors", "requests", "requests/1", "live", "health", "list/path", "list/browser", "?path=/", "?sort=-p95"],
)
def test_every_link_keeps_span_and_filters(app: App, view: str) -> None:
    page = get(app, f"{view}{'&' if '?' in view else '?'}span=28d&browser=firefox")
    links = re.findall(r'<a\b[^>]*\bhref="(/statistics/[^"]*)"[^>]*>(.*?)</a>', page, re.DOTALL)
    assert len(links) > 5
    for url, markup in links:
        query = parse_qs(urlsplit(unescape(url)).query, keep_blank_values=True)
        text = unescape(re.sub(r"<kbd>.*?</kbd>|<[^>]+>", "", markup)).strip()
        assert "firefox" in (*query.get("browser", ()), *query.get("browser!", ())) or text in STARTS_ANEW, (text, url)
        assert query.get("span") == ["28d"] or "start" in query or text in SPANS, (text, url)


# ---- headers and URLs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", [*VIEWS, "panel/paths", "export/path.csv", "nowhere", "api/summary"])
def test_headers_protect_every_view(app: App, view: str) -> None:
    headers = app.client.get(f"/statistics/{view}").headers
    assert headers["Content-Security-Policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    assert headers["Cache-Control"] == "private, no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "Set-Cookie" not in headers


def test_headers_carry_the_hosts_nonce(make_app: Callable[..., App]) -> None:
    app = quiet(make_app, STATISTICS_CSP_NONCE=lambda: g.setdefault("nonce", "aGVsbG8="))
    response = app.client.get("/statistics/")
    assert response.headers["Content-Security-Policy"].count("'nonce-aGVsbG8='") == 2
    assert response.text.count('nonce="aGVsbG8="') == 5


def test_static_files_are_kept_by_browsers_until_they_change(app: App) -> None:
    urls = re.findall(r'(?:href|src)="(/statistics/static/[^"]+)"', get(app))
    assert [url.partition("?v=")[0] for url in urls] == [
        f"/statistics/static/{name}"
        for name in ("icon.svg", "statistics.css", "htmx.min.js", "statistics.js", "views.css")
    ]
    for url in urls:
        for asked, control in ((url, "private, max-age=31536000, immutable"), (f"{url}0", "no-cache")):
            with app.client.get(asked) as response:
                assert response.headers["Cache-Control"] == control


@pytest.mark.parametrize("view", VIEWS)
def test_page_has_nothing_from_outside_and_nothing_inline(app: App, view: str) -> None:
    page = app.client.get(f"/statistics/{view}").text
    recorded = re.findall(r'<a href="(https?:[^"]*)" rel="noreferrer noopener nofollow" target="_blank">', page)
    assert all(url.startswith("https://www.search.example/") for url in recorded)
    urls = re.findall(r"(?:href|src|action|hx-get)=\"([^\"]*)\"", page)
    assert [url for url in urls if not url.startswith(("/statistics/", "#", "data:,")) and url not in recorded] == []
    assert re.findall(r"<style|<script(?! src=)|\sstyle=|\son\w+=|javascript:|hx-on|hx-vals", page) == []


@pytest.mark.parametrize("view", VIEWS)
def test_page_nests_and_has_unique_ids(app: App, view: str) -> None:
    page = app.client.get(f"/statistics/{view}").text
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert sorted(set(ids)) == sorted(ids)
    for tag in ("section", "div", "table", "a", "svg", "nav", "form", "ul", "details", "main"):
        assert len(re.findall(rf"<{tag}[\s>]", page)) == page.count(f"</{tag}>"), tag


def test_links_follow_prefix_and_mount(make_app: Callable[..., App]) -> None:
    app = quiet(make_app, before_f=everybody, STATISTICS_URL_PREFIX="/admin/numbers")
    app.insert(*a_fortnight(NOW)[:60])
    mounted = Client(DispatcherMiddleware(Flask("outer"), {"/shop": app.flask.wsgi_app}), TestResponse)
    for view in VIEWS:
        page = mounted.get(f"/shop/admin/numbers/{view}").text
        urls = re.findall(r"(?:href|src|action|hx-get)=\"(/[^\"]*)\"", page)
        assert urls
        assert [url for url in urls if not url.startswith("/shop/admin/numbers/")] == []
    assert 'data-path="/shop/admin/numbers/"' in mounted.get("/shop/admin/numbers/").text


def test_guard_refuses_every_new_route(make_app: Callable[..., App]) -> None:
    app = quiet(make_app, before_f=lambda: False)
    for view in (*VIEWS, "panel/paths", "export/path.csv", "nowhere"):
        get(app, view, 403)
    assert app.client.post("/statistics/theme", data={"theme": "dark"}).status_code == 403


def test_theme_is_kept_in_a_cookie(app: App) -> None:
    client = app.flask.test_client()
    response = client.post("/statistics/theme", data={"theme": "dark", "back": "/statistics/errors?span=28d"})
    assert (response.status_code, response.location) == (303, "/statistics/errors?span=28d")
    assert response.headers["Set-Cookie"].endswith("Path=/statistics/; SameSite=Lax")
    assert '<html lang="en" data-theme="dark">' in client.get("/statistics/").text
    client.post("/statistics/theme", data={"theme": "<b>"})
    assert '<html lang="en" data-theme="dark">' in client.get("/statistics/").text


@pytest.mark.parametrize(
    "back", ["https://evil.example/", "//evil.example/", "/statistics/\\evil", "/statistics/\r\nX: y", ""]
)
def test_theme_leads_nowhere_else(app: App, back: str) -> None:
    assert app.client.post("/statistics/theme", data={"theme": "auto", "back": back}).location == "/statistics/"


def test_theme_form_carries_the_token_of_a_host_that_checks_forms(make_app: Callable[..., App]) -> None:
    app = quiet(make_app)
    app.flask.jinja_env.globals["csrf_token"] = lambda: "t0ken"
    assert '<input type="hidden" name="csrf_token" value="t0ken">' in get(app)


def test_theme_is_not_changed_by_get(app: App) -> None:
    get(app, "theme?theme=dark", 404)


# ---- hostile values --------------------------------------------------------------------------------------------------


def test_hostile_values_are_text(make_app: Callable[..., App]) -> None:
    app = quiet(make_app)
    markup = '"><script>alert(1)</script>\u202e\n🙂'
    fields = ("path", "route", "method", "referrer", "browser", "platform", "device", "mimetype", "user_agent")
    texts = dict.fromkeys((*fields, "exception", "query_string", "traceback", "remote_address"), markup)
    app.insert({"date": NOW - timedelta(minutes=1), "status_code": 404, **texts})
    app.insert({"date": NOW - timedelta(minutes=1), "status_code": 500, "path": "/" + "x" * 8000, "referrer": "//e"})
    for view in (*VIEWS, "requests/1", "list/referrer", "?path=" + "%22%3E%3Cscript%3E"):
        page = app.client.get(f"/statistics/{view}").text
        assert "<script>alert" not in page
        assert "\u202e" not in page
        assert len(re.sub(r"=\"[^\"]*\"", "", page)) < 40_000
        assert 'href="//' not in page


@pytest.mark.parametrize(
    "referrer", ["javascript:alert(1)", "data:text/html,x", "//evil.example", "ftp://a/", "http://"]
)
def test_hostile_referrer_is_no_link(make_app: Callable[..., App], referrer: str) -> None:
    app = quiet(make_app)
    app.insert({"date": NOW - timedelta(minutes=1), "status_code": 404, "path": "/", "referrer": referrer})
    for view in ("errors", "requests/1"):
        page = get(app, view)
        assert f'href="{referrer}' not in page
        assert "_blank" not in page
