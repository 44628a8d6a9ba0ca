"""How each row of a table changed against the comparison that is on."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from html import unescape
from io import StringIO

import pytest

from ..conftest import App
from .test_changes import SPAN, START, app_of, week

HEADS = ["Route", "Visitors", "+/−", "Hits", "Median", "p95", "+/−", "5xx", "Last seen"]


def cells(markup: str) -> dict[str, list[tuple[str, str]]]:
    """Of each row, by its label, title and text of its cells."""
    found = {}
    for row in re.findall(r'<tr><th scope="row".*?</tr>', markup, re.DOTALL):
        (label,) = re.findall(r"<a [^>]*>([^<]*)</a>", row)
        found[unescape(label)] = [
            (unescape(title), unescape(re.sub("<.*?>", "", text)))
            for title, text in re.findall(r'<td class="[^"]*"(?: title="([^"]*)")?>(.*?)</td>', row)
        ]
    return found


def order(markup: str) -> list[str]:
    return [row for row in cells(markup) if row.startswith("/")]


@pytest.fixture(scope="module", params=[False, True], ids=["raw", "rollups"])
def slower(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    url = f"sqlite:///{tmp_path_factory.mktemp('against') / 'db.sqlite'}"
    app = app_of(lambda _, **settings: App(url, **settings), rolled=request.param, slower=3)
    yield app
    app.close()


def get(app: App, path: str, query: str = "") -> str:
    response = app.client.get(f"/statistics/{path}?{SPAN}&by=route{query}")
    assert response.status_code == 200
    return response.text


def test_changes_come_after_the_page_with_the_same_table(slower: App) -> None:
    page = get(slower, "")
    paths = page.partition('id="fs-paths"')[2]
    assert re.findall(r'<th scope="col"[^>]*><a[^>]*>([^<]*?) ?<', paths) == HEADS
    assert {row[1] for row in cells(page).values() if len(row) == 8} == {("", "")}
    (url,) = [unescape(url) for url in re.findall(r'data-later="([^"]*)"', page) if "/paths?" in url]
    later = slower.client.get(url).text
    assert "data-later" not in later
    found = cells(later)["/search"]
    title, text = found[5]
    assert re.fullmatch(r"\+[12]\d\d%", text)
    assert re.fullmatch(
        r"2\d\d ms → [678]\d\d ms\. Not by chance: in fewer than 1 of 1,000 comparisons like this", title
    )
    assert 'class="n d bad" title="2' in later
    title, text = cells(later)["/cart"][5]
    assert title.endswith(". No more than chance would do")
    assert text in title or text.startswith(("+", "−", "±"))
    visitors = cells(later)["/search"][1]
    assert re.fullmatch(r"\d+ → \d+\. No more than chance would do", visitors[0])
    assert cells(later)["/about"][5] == ("", "–")  # it is new


def test_changes_are_in_the_page_for_whoever_runs_no_scripts(slower: App) -> None:
    (url,) = re.findall(r'<noscript><p class="more"><a href="([^"]*)">Show how each changed</a>', get(slower, ""))
    page = slower.client.get(unescape(url)).text
    assert cells(page)["/search"] == cells(get(slower, "panel/paths"))["/search"]
    assert "changed=1" not in "".join(re.findall(r'<thead>.*?</thead>|class="tabs".*?</nav>', page, re.DOTALL))


def test_rows_are_sorted_by_their_change(slower: App) -> None:
    assert order(get(slower, "", "&sort=-p95_change"))[0] == "/search"
    assert order(get(slower, "", "&sort=p95_change"))[-2:] == ["/search", "/about"]  # what cannot be told comes last
    assert order(get(slower, "list/route", "&sort=-p95_change"))[0] == "/search"
    visitors = [row[1][1] for row in cells(get(slower, "list/route", "&sort=visitors_change")).values()]
    known = [int(text.rstrip("%").replace("−", "-").replace("±", "")) for text in visitors if text != "–"]
    assert known == sorted(known)
    assert 'title="Sort by change of p95" aria-sort="descending"' in get(slower, "", "&sort=-p95_change")


def test_list_has_the_changes_of_its_rows(slower: App) -> None:
    page = get(slower, "list/route")
    (url,) = [unescape(url) for url in re.findall(r'data-later="([^"]*)"', page)]
    assert cells(slower.client.get(url).text)["/search"][5] == cells(get(slower, "panel/paths"))["/search"][5]


def test_file_has_what_it_was_before(slower: App) -> None:
    lines = list(csv.reader(StringIO(get(slower, "export/route.csv"))))
    assert lines[0][-2:] == ["Visitors before", "p95 before (s)"]
    search = next(line for line in lines if line[0] == "/search")
    assert 0.15 < float(search[-1]) < 0.35 < float(search[4])
    about = next(line for line in lines if line[0] == "/about")
    assert about[-2:] == ["", ""]
    assert get(slower, "export/route.csv", "&vs=off").splitlines()[0].endswith(",Last seen")


def test_without_a_comparison_there_are_no_changes(slower: App) -> None:
    assert "+/−" not in get(slower, "", "&vs=off")
    page = get(slower, "", "&vs=year")
    assert {row[5] for row in cells(page).values() if len(row) == 8} == {("", "–")}
    assert "Show how each changed" not in page


def test_api_does_not_sort_by_change(slower: App) -> None:
    error = slower.json("breakdown/route?sort=-p95_change", 400)
    assert "sort is '-p95_change', but must be one of" in str(error)


def test_values_that_are_too_rare_to_be_compared_say_so(make_app: Callable[..., App]) -> None:
    app = make_app(STATISTICS_ENABLED=False)
    app.insert(
        {"date": START - timedelta(days=8), "path": "/old"},
        *(
            {"date": START + timedelta(days=day, hours=hour), "path": f"/{number}", "remote_address": "192.0.2.1"}
            for number in range(501)
            for day in (-3, 3)
            for hour in range(1 if number == 500 else 2)
        ),
    )
    page = app.client.get(f"/statistics/panel/paths?{SPAN}&by=path&search=/50").text
    assert {label: row[1] for label, row in cells(page).items()} == {
        "/50": ("1 → 1. No more than chance would do", "±0%"),
        "/500": ("Too rare, or too new, to be compared", "–"),
    }
    page = app.client.get(f"/statistics/panel/paths?{SPAN}&by=path&sort=-visitors_change").text
    assert "Show 40 more of the 500 commonest paths" in page


def test_a_change_of_few_requests_is_none(make_app: Callable[..., App]) -> None:
    app = make_app(STATISTICS_ENABLED=False)
    rows = [*week(START - timedelta(days=7), "a"), *week(START, "b")]
    app.insert(
        *(row for row in rows if row["route"] != "/cart" or (row["date"].hour % 24 == 3 and row["date"].day % 2))
    )
    found = cells(get(app, "panel/paths"))
    assert re.fullmatch(r"Too few requests to tell: 1\d before, 1\d after", found["/cart"][5][0])
    assert found["/cart"][5][1] == "–"


def failing(page: str) -> dict[str, tuple[str, str]]:
    """Title and text of the change of each failing path."""
    (table,) = re.findall(r'id="fs-failing".*?</section>', page, re.DOTALL)
    return {label: cells[0] for label, cells in cells_of_changes(table).items()}


def cells_of_changes(table: str) -> dict[str, list[tuple[str, str]]]:
    rows = re.findall(r'<tr><th scope="row".*?</tr>', table, re.DOTALL)
    return {
        unescape(re.findall(r"<a [^>]*>(?:<strong>)?([^<]*)<", row)[0]): [
            (unescape(title), unescape(text))
            for title, text in re.findall(r'<td class="n mut"(?: title="([^"]*)")?>([+−±–n][^<]*)</td>', row)
        ]
        for row in rows
    }


def test_failing_paths_say_what_they_were(make_app: Callable[..., App]) -> None:
    app = app_of(make_app, failing=0.1)
    found = failing(get(app, "errors"))
    before, after = (
        app.json(f"summary?path=/search&start={start:%Y-%m-%d}&end={start + timedelta(days=6):%Y-%m-%d}")[
            "server_errors"
        ]
        for start in (START - timedelta(days=7), START)
    )
    assert found["/search"] == (f"{before} → {after}", f"+{round(100 * (after - before) / before)}%")
    order = [*failing(get(app, "errors", "&sort=-failures_change"))]
    assert order[0] == "/search"
    assert [*failing(get(app, "errors", "&sort=failures_change"))] == order[::-1]
    assert "+/−" not in get(app, "errors", "&vs=off&sort=failures_change")
    assert get(app, "list/path", "&sort=failures_change").count("<tr>") > 3  # which sorts by hits then
    assert failing(get(app, "errors", "&vs=year"))["/search"] == ("", "–")


def test_issues_say_what_they_were(make_app: Callable[..., App]) -> None:
    app = make_app(STATISTICS_ENABLED=False)
    failed = {"path": "/", "status_code": 500, "issue": "KeyError: “…” · a.py in b", "exception": "KeyError('x')"}
    app.insert(
        {"date": START - timedelta(days=8), "path": "/", "status_code": 200},
        *({"date": START - timedelta(days=3, minutes=number), **failed} for number in range(4)),
        *({"date": START + timedelta(days=3, minutes=number), **failed} for number in range(6)),
        {"date": START + timedelta(days=1), **failed, "issue": "ValueError · a.py in c"},
    )
    (table,) = re.findall(r'id="fs-issues".*?</section>', get(app, "errors"), re.DOTALL)
    changes = re.findall(r'<td class="n mut opt" title="([^"]*)">([^<]*)</td>', table)
    assert changes == [("4 → 6", "+50%"), ("0 → 1", "from 0")]
    (turned,) = re.findall(r'id="fs-issues".*?</section>', get(app, "errors", "&sort=failures_change"), re.DOTALL)
    assert re.findall(r'<td class="n mut opt" title="([^"]*)">', turned) == ["0 → 1", "4 → 6"]
    assert re.search(r'title="Sort by change" aria-sort="ascending"><a href="[^"]*sort=-failures_change', turned)
