"""Two values side by side: the same numbers as each filter alone has."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from html import unescape
from io import StringIO
from typing import Any

import pytest

from ..conftest import App
from .test_changes import START, TODAY, week

SPAN = f"start={START:%Y-%m-%d}&end={TODAY - timedelta(days=1):%Y-%m-%d}"
BROWSERS = {"firefox": "Firefox", "chrome": "Chrome"}


@pytest.fixture(scope="module", params=[False, True], ids=["raw", "rollups"])
def app(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """A week in which requests of Firefox take three times as long, and a fourth of them is Chrome's."""
    url = f"sqlite:///{tmp_path_factory.mktemp('sides') / 'db.sqlite'}"
    app = App(url, STATISTICS_ENABLED=False, STATISTICS_ROLLUPS=request.param, STATISTICS_SCHEDULER=False)
    firefox = [{**row, "response_time": 3 * row["response_time"], "browser": "firefox"} for row in week(START, "v42")]
    app.insert(*firefox, *({**row, "browser": "chrome"} for row in week(START, "v41")[::4]), *week(START, "x")[:5])
    if request.param:
        assert app.flask.test_cli_runner().invoke(args=["statistics", "rollup"]).exit_code == 0
    yield app
    app.close()


def get(app: App, query: str = "", path: str = "") -> str:
    response = app.client.get(f"/statistics/{path}?{SPAN}&by=route{query}")
    assert response.status_code == 200
    return response.text


def tiles(page: str) -> dict[str, tuple[list[str], str]]:
    """Both texts of each tile, and how they differ."""
    (section,) = re.findall(r'<section id="fs-both".*?</section>', page, re.DOTALL)
    return {
        label: (re.findall(r"<strong>(.*?)</strong>", tile), unescape(said))
        for label, tile, said in re.findall(
            r'<span class="kl" title="[^"]*">([^<]*)</span>(.*?)<span class="kc mut"><span class="[^"]*">([^<]*)<',
            section,
            re.DOTALL,
        )
    }


TWO = "&browser=chrome&browser=firefox&split=browser"


def test_tiles_have_what_each_filter_has_alone(app: App) -> None:
    found = tiles(get(app, TWO))
    alone = [app.json(f"summary?{SPAN}&browser={name}") for name in ("chrome", "firefox")]
    assert found["Hits"][0] == [f"{one['hits']:,}" for one in alone]
    assert found["Visitors"][0] == [f"{one['visitors']:,}" for one in alone]
    assert found["Visitors"][1].endswith(" Firefox to Chrome")
    assert found["Hits"][1] == "×4.0"
    assert re.fullmatch(r"×(2\.[5-9]|3\.\d) slower, sure", found["p95"][1])
    assert found["Server errors"][1].endswith("may be chance") or found["Server errors"][1] in ("", "as much")
    assert tiles(get(app, "&browser=firefox&browser=chrome&split=browser"))["p95"][1].endswith("faster, sure")


def test_chart_has_a_line_for_each(app: App) -> None:
    page = get(app, f"{TWO}&unit=day")
    (section,) = re.findall(r'id="fs-series".*?</section>', page, re.DOTALL)
    assert "per day, by browser" in section
    ends = re.findall(r'<text class="t(\d)"[^>]*>(\w+)<', section)
    assert sorted(ends) == [("0", "Chrome"), ("1", "Firefox")]
    for number, name in enumerate(("chrome", "firefox")):
        points = app.json(f"series?{SPAN}&unit=day&browser={name}")["points"]
        shown = [
            re.findall(r'<td class="n">([^<]*)</td>', row)[number]
            for row in re.findall(r"<tr data-start.*?</tr>", section)
        ]
        assert shown == [f"{point['hits']:,}" for point in points]
    lines = list(csv.reader(StringIO(get(app, f"{TWO}&unit=day", "export/series.csv"))))
    assert lines[0] == ["Start", "End", "Chrome", "Firefox"]
    assert [int(line[3]) for line in lines[1:]] == [point["hits"] for point in points]
    assert ">Chrome</text>" in get(app, f"{TWO}&unit=day", "chart.svg")


def test_table_has_two_columns_of_each_measure(app: App) -> None:
    (table,) = re.findall(r'id="fs-pairs".*?</section>', get(app, TWO), re.DOTALL)
    assert re.findall(r'<th class="n" scope="col">([^<]*)</th>', table) == ["Chrome", "Firefox"] * 3
    rows = {
        unescape(label): cells
        for label, cells in (
            (re.findall(r"<a [^>]*>([^<]*)</a>", row)[0], re.findall(r'<td class="n[^"]*">([^<]*)</td>', row))
            for row in re.findall(r"<tr><th scope=\"row\".*?</tr>", table)
        )
    }
    for column, name in enumerate(("chrome", "firefox")):
        for row in app.json(f"breakdown/route?{SPAN}&browser={name}")["rows"]:
            assert rows[row["value"]][column] == f"{row['visitors']:,}"
    assert 'id="fs-paths"' not in get(app, TWO)
    (url,) = re.findall(r'<a class="end" href="([^"]*)">Show both as one</a>', table)
    assert "split" not in url
    assert 'id="fs-paths"' in app.client.get(unescape(url)).text


def test_two_values_of_a_filter_offer_to_be_compared(app: App) -> None:
    page = get(app, "&browser=chrome&browser=firefox")
    (url,) = re.findall(r'<a class="op" href="([^"]*)">Compare</a>', page)
    assert "fs-both" in app.client.get(unescape(url)).text
    chip = get(app, TWO)
    assert "<span>and</span>" in chip
    assert ">Compare</a>" not in chip
    for other in (
        "&browser=chrome",
        "&browser!=chrome&browser!=firefox",
        "&browser=chrome&browser=firefox&browser=edge",
    ):
        assert ">Compare</a>" not in get(app, other)


def test_without_chosen_values_the_newest_releases_stand_side_by_side(app: App) -> None:
    found = tiles(get(app, "&split=release"))
    assert len(found["Hits"][0]) == 2
    assert "By release</a>" in get(app)
    assert '· <a href="/statistics/?' in get(app, "&split=release").partition(">Show as one")[0][-400:]


@pytest.mark.parametrize(
    ("query", "labels"),
    [
        ("&split=browser", ["Firefox", "Chrome"]),
        ("&split=browser&browser!=firefox", ["Chrome", "(unknown)"]),
        ("&split=browser&browser=chrome", ["Chrome", "Firefox"]),
        ("&split=status_code&status_code=5xx", ["5xx", "200 OK"]),
        ("&split=release&release!=v42", ["x", "v41"]),
    ],
)
def test_what_is_not_counted_stands_nowhere(app: App, query: str, labels: list[str]) -> None:
    page = get(app, query)
    shown = re.findall(r'<th class="n" scope="col">([^<]*)</th>', page.partition('id="fs-pairs"')[2])
    assert shown[:2] == labels


def test_chart_is_split_by_class_of_status(app: App) -> None:
    page = get(app, "&split=status_code&unit=day")
    (section,) = re.findall(r'id="fs-series".*?</section>', page, re.DOTALL)
    heads = re.findall(r'<th scope="col" class="n">([^<]*)</th>', section)
    assert heads == ["2xx, 3xx", "4xx", "5xx"]
    rows = [re.findall(r'<td class="n">([^<]*)</td>', row) for row in re.findall(r"<tr data-start.*?</tr>", section)]
    points = app.json(f"series?{SPAN}&unit=day")["points"]
    numbers = [[int(text.replace(",", "")) for text in row] for row in rows]
    assert [sum(row) for row in numbers] == [point["hits"] for point in points]
    assert [row[2] for row in numbers] == [point["server_errors"] for point in points]
    assert 'id="fs-summary"' in page
    assert 'id="fs-paths"' in page


@pytest.mark.parametrize("query", ["", "&status_code=4xx&status_code=5xx"])
def test_errors_split_by_status_count_each(make_app: Callable[..., App], query: str) -> None:
    app = make_app(STATISTICS_ENABLED=False)
    app.insert(*({"date": START, "path": "/", "status_code": status} for status in (200, 404, 404, 403, 500)))
    page = app.client.get(f"/statistics/errors?{SPAN}&unit=day&split=status_code{query}").text
    (section,) = re.findall(r'id="fs-series".*?</section>', page, re.DOTALL)
    assert ">Errors <small>per day, by status</small>" in section
    assert re.findall(r'<th scope="col" class="n">([^<]*)</th>', section) == ["4xx", "5xx"]
    (first, *_) = re.findall(r"<tr data-start.*?</tr>", section)
    assert re.findall(r'<td class="n">([^<]*)</td>', first) == ["3", "1"]
    (url,) = re.findall(r'href="([^"]*export/series.csv[^"]*)"', section)
    assert app.client.get(unescape(url)).text.splitlines()[1].endswith(",3,1")


def test_requests_without_an_exception_are_no_side(make_app: Callable[..., App]) -> None:
    app = make_app(STATISTICS_ENABLED=False)
    one, two, *rest = week(START, "v42")[:50]
    app.insert({**one, "exception": "KeyError('a')"}, {**two, "exception": "ValueError('b')"}, *rest)
    page = app.client.get(f"/statistics/?{SPAN}&split=exception").text
    assert tiles(page)["Hits"][0] == ["1", "1"]
    app = make_app(STATISTICS_ENABLED=False)
    app.insert({**one, "exception": "KeyError('a')"}, two, *rest)
    assert 'id="fs-both"' not in app.client.get(f"/statistics/?{SPAN}&split=exception").text


def test_a_dimension_with_one_value_is_not_split(make_app: Callable[..., App]) -> None:
    app = make_app(STATISTICS_ENABLED=False)
    app.insert(*week(START, "v42")[:50])
    page = app.client.get(f"/statistics/?{SPAN}&split=release").text
    assert 'id="fs-summary"' in page
    assert 'id="fs-both"' not in page


@pytest.mark.parametrize("name", ["fs-both", "fs-pairs"])
def test_panel_alone_is_what_its_page_has(app: App, name: str) -> None:
    alone: Any = app.client.get(f"/statistics/panel/{name.removeprefix('fs-')}?{SPAN}&by=route{TWO}").text
    assert alone in get(app, TWO)
    without = app.client.get(f"/statistics/panel/{name.removeprefix('fs-')}?{SPAN}")
    assert "There are not two values." in without.text
