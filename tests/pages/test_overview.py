"""The overview: its values are the API's, and composing and rendering it is little work."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from functools import cache
from html import unescape
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl
from xml.etree import ElementTree

import pytest

from flask_statistics.filters import Filters
from flask_statistics.formatting import clock, duration, number, share
from flask_statistics.kept import Kept
from flask_statistics.pages.breakdowns import ELSEWHERE
from flask_statistics.queries.answers import Breakdown, Measures, Point, ResponseTime, Row
from flask_statistics.queries.interface import Queries
from flask_statistics.spans import Span

from ..conftest import App, a_fortnight

NOW = datetime.now(timezone.utc).replace(tzinfo=None)
QUERIES = (
    "",
    "?span=28d&unit=week&metric=visitors",
    "?span=24h&metric=time",
    "?span=all&metric=errors",
    "?device!=bot&browser=firefox&browser=googlebot",
    "?status_code=5xx&vs=year",
    "?status_code!=4xx",
    "?q=page/1&sort=-p95&rows=50",
    "?by=route&sort=last_requested&span=28d",
    "?search=page&sort=value",
)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    app = App(
        f"sqlite:///{tmp_path_factory.mktemp('overview') / 'app.sqlite'}",
        STATISTICS_ENABLED=False,
        STATISTICS_TIMEZONE="Asia/Kolkata",
    )
    app.insert(*a_fortnight(NOW))
    yield app
    app.close()


def page_of(app: App, query: str) -> str:
    response = app.client.get(f"/statistics/{query}")
    assert response.status_code == 200
    return response.text


def cells(markup: str) -> list[str]:
    """The texts of a table row's cells."""
    return [
        unescape(re.sub(r"<[^>]+>", "", cell)).strip() for cell in re.findall(r"<t[hd]\b.*?</t[hd]>", markup, re.DOTALL)
    ]


def rows(markup: str, element_id: str) -> list[list[str]]:
    """The rows of the first table in an element."""
    section = re.search(rf'id="{element_id}".*?</section>', markup, re.DOTALL)
    if section is None or "<table" not in section[0]:
        return []
    return [
        cells(row)
        for row in re.findall(r"<tr\b.*?</tr>", section[0].partition("<tbody")[2].partition("</table>")[0], re.DOTALL)
    ]


def bars(markup: str, element_id: str) -> list[float]:
    """How long the bars of the first table in an element are, in percent."""
    section = re.search(rf'id="{element_id}".*?</table>', markup, re.DOTALL)
    assert section is not None
    return [float(width) for width in re.findall(r'class="fill".*?<rect width="([\d.]+)%"', section[0], re.DOTALL)]


def with_(query: str, **extra: object) -> str:
    return query + ("&" if query else "?") + "&".join(f"{name}={value}" for name, value in extra.items())


@pytest.mark.parametrize("query", QUERIES)
def test_overview_tiles_are_the_apis_summary(app: App, query: str) -> None:
    page, summary = page_of(app, query), app.json(f"summary{query}")
    tiles = dict(re.findall(r'data-measure="(\w+)">.*?<strong class="kv" title="([^"]*)"', unescape(page), re.DOTALL))
    assert tiles == {
        "hits": number(summary["hits"]),
        "visitors": number(summary["visitors"]),
        "p50": duration(summary["response_time"]["p50"]),
        "p95": duration(summary["response_time"]["p95"]),
        "server_errors": number(summary["server_errors"]),
        "client_errors": number(summary["client_errors"]),
    }
    counts = [summary[name] for name in ("server_errors", "client_errors")]
    assert re.findall(r'<span class="mut">(\S+) (?:of hits|errors)</span>', unescape(page)) == [
        share(count, summary["hits"]) if count else "no" for count in counts
    ]


@pytest.mark.parametrize("query", QUERIES)
def test_overview_chart_is_the_apis_series(app: App, query: str) -> None:
    page = page_of(app, query)
    unit = re.search(r"<small>per (\w+)", page)
    assert unit is not None
    points = app.json(f"series{with_(query, unit=unit[1])}")["points"]
    read: dict[str, Any] = {
        "visitors": lambda p: [number(p["visitors"])],
        "time": lambda p: [duration(p["response_time"]["p50"]), duration(p["response_time"]["p95"])],
        "errors": lambda p: [number(p["server_errors"]), number(p["client_errors"])],
    }
    metric = re.search(r"metric=(\w+)", query)
    expected = [read.get(metric[1] if metric else "", lambda p: [number(p["hits"])])(point) for point in points]
    first = datetime.fromisoformat(app.json("requests?span=all&limit=1000")["rows"][-1]["date"])
    before = [end for _, end in pairwise(points) if datetime.fromisoformat(end["start"]) <= first]
    expected[: len(before)] = [["–"] * len(expected[0])] * len(before)  # nothing was recorded, which is not 0
    assert ("Hatched: nothing was recorded before " in page) == bool(before)
    starts = re.findall(r'<tr data-start="([^"]+)">', page)
    assert starts == [point["start"][:16] for point in points][: len(starts)]
    shown = [row[1 : 1 + len(expected[0])] for row in rows(page, "fs-table")]
    assert shown == expected[: len(starts)]
    assert sum(point["hits"] for point in points[len(starts) :]) == 0


@pytest.mark.parametrize("query", QUERIES)
def test_overview_paths_are_the_apis_breakdown(app: App, query: str) -> None:
    by = "route" if "by=route" in query else "path"
    limit = 50 if "rows=50" in query else 10
    now = datetime.now(timezone.utc).astimezone(app.statistics_state().settings.timezone)
    found = app.json(f"breakdown/{by}{with_(query, limit=limit)}")
    expected = [
        [
            row["value"] or "(no route matched)",
            number(row["visitors"]),
            number(row["hits"]),
            duration(row["response_time"]["p50"]),
            duration(row["response_time"]["p95"]),
            share(row["server_errors"], row["hits"]) if row["server_errors"] else "0",
            clock(datetime.fromisoformat(row["last_requested"]), now=now),
        ]
        for row in found["rows"]
    ]
    page = page_of(app, query)
    changes = (2, 6) if "span=all" not in query else ()
    assert [
        [cell for place, cell in enumerate(row) if place not in changes] for row in rows(page, "fs-paths")
    ] == expected
    rest = found["total"] - len(found["rows"])
    assert (f"of {found['total']} {by}s</a>" in page) == (rest > 0)


@pytest.mark.parametrize("query", QUERIES)
def test_overview_panels_are_the_apis_breakdowns(app: App, query: str) -> None:
    page = page_of(app, query)
    for name, dimension in app.statistics_state().dimensions.items():
        if name in ELSEWHERE or dimension.of_clients:
            continue
        others = "&".join(part for part in query[1:].split("&") if not part.startswith((f"{name}=", f"{name}!", "s")))
        span = re.search(r"span=\w+", query)
        status = re.search(r"status_code!?=\w+", query) if name != "status_code" else None
        kept = "&".join([others, *(found[0] for found in (span, status) if found)])
        found = app.json(f"breakdown/{name}?{kept}&limit=1000")["rows"]
        listed = [row for row in found[:6] if not (dimension.sparse and row["value"] is None)]
        excluded = [text for key, text in parse_qsl(query[1:]) if key == f"{name}!"]
        outside = [row for row in listed if any(row["value"] in dimension.values_of(text) for text in excluded)]
        total = sum(row["hits"] for row in found) - sum(row["hits"] for row in outside)
        assert rows(page, f"fs-p-{name}") == [
            [f"{dimension.label_of(row['value'])}, outside", number(row["hits"]), "–"]
            if row in outside
            else [dimension.label_of(row["value"]), number(row["hits"]), share(row["hits"], total)]
            for row in listed
        ]


@pytest.mark.parametrize("query", ["?status_code=4xx", "?status_code!=4xx", "?status_code!=404"])
def test_a_click_in_a_panel_selects_what_a_wider_filter_chose_or_left_out(app: App, query: str) -> None:
    panel = page_of(app, query).partition('id="fs-p-status_code"')[2].partition("</section>")[0]
    url, hits = re.findall(r'<a href="([^"]*)"[^>]*>404 Not Found</a>.*?<td class="n" title="(\d+)">', panel)[0]
    assert parse_qsl(url.partition("?")[2]) == [("status_code", "404")]
    assert app.json(f"summary?{url.partition('?')[2]}")["hits"] == int(hits)


@pytest.mark.parametrize(
    ("query", "measure"),
    [
        ("", lambda row: row["hits"]),
        ("?sort=-p95", lambda row: row["response_time"]["p95"]),
        ("?sort=visitors", lambda row: row["visitors"]),
        ("?sort=-server_error_share", lambda row: row["server_errors"] / row["hits"]),
        ("?sort=-last_requested", lambda row: row["hits"]),
        ("?sort=value", lambda row: row["hits"]),
    ],
)
def test_bars_compare_by_what_the_table_is_sorted_by(app: App, query: str, measure: Any) -> None:
    lengths = [measure(row) for row in app.json(f"breakdown/path{with_(query, limit=10)}")["rows"]]
    expected = [pytest.approx(100 * length / max(lengths), abs=0.06) for length in lengths]
    assert bars(page_of(app, query), "fs-paths") == expected


def test_bars_of_panels_compare_with_the_first_row(app: App) -> None:
    found = bars(page_of(app, "?span=28d"), "fs-p-browser")
    assert found[0] == 100
    assert found == sorted(found, reverse=True)
    assert found[-1] < 100


def drawn(page: str) -> list[tuple[str, str]]:
    """Class and path of what a chart draws."""
    return re.findall(r'<path class="([^"]*)" d="([^"]*)"', page)


@pytest.mark.parametrize(
    ("query", "classes"),
    [
        ("?span=28d", ["area", "s0", "s0 part", "sp"]),
        ("?span=28d&metric=time&vs=off", ["s0", "s0 part", "s1", "s1 part"]),
        (
            "?metric=errors&span=28d&vs=off",
            ["bars server_errors", "bars server_errors part", "bars client_errors", "bars client_errors part"],
        ),
        ("?span=28d&path=/page/1&vs=off", ["bars hits", "bars hits part"]),
    ],
)
def test_chart_draws_lines_or_bars(app: App, query: str, classes: list[str]) -> None:
    found = [name for name, _ in drawn(page_of(app, query))]
    assert [name for name in found if name in classes] == found
    assert set(found) >= {name for name in classes if "part" not in name and name != "sp"}


def test_chart_says_its_sum_and_its_highest_bucket(app: App) -> None:
    points = app.json("series?span=28d&unit=day")["points"]
    most = max(point["hits"] for point in points)
    (said,) = re.findall(r"<small>per day · ([^<]*)</small>", page_of(app, "?span=28d&unit=day"))
    assert said.startswith(f"{sum(point['hits'] for point in points):,} in all, most {most:,} on ")
    assert re.search(r"most [\d,]+ in \d+ \w+ – \d+ \w+<", page_of(app, "?span=28d&unit=week"))
    assert "<small>per day</small>" in page_of(app, "?span=28d&unit=day&metric=time")


@pytest.mark.parametrize("query", ["?span=28d", "?span=28d&metric=time", "?span=28d&metric=errors", "?span=all&vs=off"])
def test_chart_is_a_picture_of_its_own(app: App, query: str) -> None:
    page = page_of(app, query)
    (url,) = re.findall(r'<a href="(/statistics/chart\.svg[^"]*)" download', page)
    response = app.client.get(unescape(url))
    assert (response.status_code, response.mimetype) == (200, "image/svg+xml")
    assert response.headers["Content-Disposition"].startswith("attachment; filename=")
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'unsafe-inline';")
    root = ElementTree.fromstring(response.text)
    assert {element.tag.rpartition("}")[2] for element in root.iter()} <= {
        *["svg", "style", "rect", "text", "line", "path", "circle", "tspan"]
    }
    assert drawn(response.text) == drawn(page)
    assert "<style>" in response.text
    assert not re.search(r"https?:(?!//www\.w3\.org/2000/svg)|url\(", response.text)


def test_picture_of_what_cannot_be_read_is_refused(app: App) -> None:
    response = app.client.get("/statistics/chart.svg?metric=nothing")
    assert (response.status_code, response.mimetype) == (400, "text/plain")


# ---- work ------------------------------------------------------------------------------------------------------------


class StubQueries:
    """Answers every question of an overview at once, with as much as there can be."""

    source = "stub"
    freshness = None
    measures = Measures(12_345, 2_345, 45, 6, 7_890_123, ResponseTime(0.1, 0.05, 0.4, 0.9, 3.0), NOW)

    def recover(self) -> None: ...

    def beside(self, read: Any) -> Kept:
        return Kept()

    def earliest(self) -> datetime:
        return NOW - timedelta(days=100)

    def complete_from(self, span: Span, filters: Filters, dimensions: Any = ()) -> None: ...

    def undecided(self, span: Span, filters: Filters) -> int:
        return 0

    def summary(self, span: Span, filters: Filters, **_: Any) -> Measures:
        return self.measures

    def series(self, span: Span, unit: str, filters: Filters, **_: Any) -> list[Point]:
        return points_of(span, unit)

    def breakdown(self, dimension: str, span: Span, filters: Filters, *, limit: int, **_: Any) -> Breakdown:
        rows = tuple(Row(f"/some/path/{number}", self.measures) for number in range(limit))
        return Breakdown(dimension, 5_000, rows, 100_000)

    def breakdowns(self, dimensions: Any, span: Span, filters: Filters, *, limit: int) -> dict[str, Breakdown]:
        values: dict[str, Any] = {"status_code": 200}
        return {
            name: Breakdown(
                name, 99, tuple(Row(values.get(name, f"value {n}"), self.measures) for n in range(limit)), 100_000
            )
            for name in dimensions
        }


@cache
def points_of(span: Span, unit: str) -> list[Point]:
    """The stub's series, made once: it is the page that is timed."""
    return [Point(start, end, StubQueries.measures) for start, end in pairwise(span.edges(unit))]


@pytest.fixture
def stubbed(app: App) -> Iterator[App]:
    """The app with every question answered from a stub."""
    state = app.statistics_state()

    @contextmanager
    def queries() -> Iterator[Queries]:
        yield StubQueries()  # type: ignore[misc]

    original, state_type = type(state).queries, type(state)
    state_type.queries = lambda self: queries()  # type: ignore[method-assign]
    yield app
    state_type.queries = original  # type: ignore[method-assign]


def test_overview_is_rendered_in_few_calls(stubbed: App) -> None:
    # with fourteen panels of dimensions; counted and not timed, as a busy machine has the same number of them
    page_of(stubbed, "?device!=bot")
    calls = 0

    def count(_: Any, event: str, __: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        stubbed.client.get("/statistics/?device!=bot")
    finally:
        sys.setprofile(None)
    assert 1_000 < calls < 150_000


def waiting_app(make_app: Any, **settings: Any) -> App:
    app: App = make_app(**settings)
    app.insert(
        *(
            {
                "date": NOW - timedelta(minutes=number),
                "path": "/a",
                "response_time": 1.0,
                "db_time": 0.25,
                "db_queries": 2,
            }
            for number in range(1, 5)
        )
    )
    return app


def test_page_of_a_path_says_what_it_waited_for(make_app: Any) -> None:
    app = waiting_app(make_app, STATISTICS_QUERIES=True)
    shown = page_of(app, "?path=/a&span=24h&metric=db_queries")
    assert re.findall(r'data-measure="(db_\w+|http_\w+)"', shown) == ["db_time_p95", "db_queries_avg"]
    assert '<strong class="kv" title="250 ms">250 ms</strong>' in shown
    assert '<strong class="kv" title="2.0">2.0</strong>' in shown
    assert '<h2 id="fs-series-h">Statements <small>' in shown
    assert re.findall(r">(\w+ ?\w*)</a>", shown.partition('aria-label="What is drawn"')[2].partition("</nav>")[0]) == [
        "Response time",
        "Database time",
        "Statements",
    ]


def test_overview_shows_waits_where_they_are_measured(make_app: Any) -> None:
    app = waiting_app(make_app, STATISTICS_QUERIES=True)
    shown = page_of(app, "?span=24h&sort=-db_time_p95")
    assert 'data-measure="db' not in shown
    assert re.findall(r'<th scope="col"[^>]*><a [^>]*>([\w ]+)', shown)[:8] == [
        *("Path", "Visitors", "Hits", "Median", "p95", "Database ", "Statements", "5xx"),
    ]


def test_pages_say_nothing_of_waits_that_nobody_measures(make_app: Any) -> None:
    app = waiting_app(make_app)
    for query in ("?path=/a&span=24h&metric=db_queries", "?span=24h", "?span=24h&metric=time"):
        shown = page_of(app, query)
        assert not re.search("Statements|Database|What is drawn", shown)
