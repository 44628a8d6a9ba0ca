"""The request log and its tools; one request keeps the list that it was chosen from, and leads to its neighbours there."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from html import unescape

import pytest

from flask_statistics.pages.request_log import COLUMNS
from flask_statistics.parameters import LOG_COLUMNS

from ..conftest import App

LIST = "/statistics/requests?start=2026-11-02&end=2026-11-03&browser=firefox"


@pytest.fixture
def app(make_app: Callable[..., App]) -> App:
    """Six requests a day of three days, by two browsers in turn."""
    app = make_app(STATISTICS_ENABLED=False)
    app.insert(
        *(
            {
                "date": datetime(2026, 11, 1) + timedelta(hours=4 * number),
                "path": f"/{number}",
                "browser": ("firefox 1", "chrome 1")[number % 2],
            }
            for number in range(18)
        )
    )
    return app


def links(app: App, url: str) -> dict[str, str]:
    """The links of a page, by their text; of those with the same the last."""
    page = unescape(app.client.get(url).text)
    return {
        re.sub(r"<[^>]+>", "", text).strip(): url
        for url, text in re.findall(r'<a\b[^>]*href="([^"]*)"[^>]*>(.*?)</a>', page)
    }


def test_one_request_leads_back_to_its_list(app: App) -> None:
    row = re.search(r'href="(/statistics/requests/9\?[^"]*)"', app.client.get(LIST).text)
    assert row is not None
    found = links(app, unescape(row[1]))
    assert found["‹ Requests · 2 – 3 Nov 2026 · Browser is Firefox"] == LIST
    assert found["/8"] == "/statistics/?start=2026-11-02&end=2026-11-03&browser=firefox&path=/8"
    assert found["Errors"] == "/statistics/errors?start=2026-11-02&end=2026-11-03&browser=firefox"


def test_one_request_leads_to_its_neighbours_in_the_list(app: App) -> None:
    url, seen = "/statistics/requests/13?start=2026-11-01&end=2026-11-03&browser=firefox", []
    while url:
        seen.append(int(re.findall(r"\d+", url)[0]))
        url = links(app, url).get("Earlier ›", "")
    assert seen == [13, 11, 9, 7, 5, 3, 1]
    assert "‹ Later" not in links(app, "/statistics/requests/17?start=2026-11-01&end=2026-11-03&browser=firefox")


def test_one_request_of_another_time_leads_to_those_of_its_day(app: App) -> None:
    found = links(app, "/statistics/requests/9?start=2026-10-01&end=2026-10-02")
    assert found["‹ Requests · 2 Nov 2026"] == "/statistics/requests?start=2026-11-02&end=2026-11-02"
    assert found["/8"] == "/statistics/?start=2026-11-02&end=2026-11-02&path=/8"


def test_a_request_that_is_not_stored_leads_back_to_the_list(app: App) -> None:
    found = links(app, LIST.replace("requests?", "requests/99?"))
    assert found["Back to the requests"] == LIST


# ---- what the log is narrowed to, and sorted by ----------------------------------------------------------------------


SLOW = "/statistics/requests?start=2026-11-01&end=2026-11-03"


@pytest.fixture
def slow(make_app: Callable[..., App]) -> App:
    """Nine requests that took 0 to 8 seconds, in no order, of which every third has a query."""
    app = make_app(STATISTICS_ENABLED=False, STATISTICS_QUERIES=True)
    app.insert(
        *(
            {
                "date": datetime(2026, 11, 2) + timedelta(hours=number),
                "path": f"/{number}",
                "query_string": "page=2" if number % 3 == 0 else None,
                "response_time": float(number * 4 % 9),
                "release": "v1",
                "db_time": 0.25,
            }
            for number in range(9)
        )
    )
    return app


def table_of(app: App, url: str) -> list[list[str]]:
    """The texts of the log's rows, its heads first."""
    page = app.client.get(url).text
    table = re.search(r'id="fs-requests".*?<table[^>]*>(.*?)</table>', page, re.DOTALL)
    if table is None:
        return []
    return [
        [unescape(re.sub(r"<[^>]+>", "", cell)).strip() for cell in re.findall(r"<t[hd]\b.*?</t[hd]>", row, re.DOTALL)]
        for row in re.findall(r"<tr>.*?</tr>", table[1], re.DOTALL)
    ]


def durations(app: App, url: str) -> list[str]:
    heads, *found = table_of(app, url)
    (place,) = (number for number, head in enumerate(heads) if head.startswith("Duration"))
    return [row[place] for row in found]


def test_heads_sort_the_log(slow: App) -> None:
    slowest = links(slow, SLOW)["Duration"]
    assert slowest == f"{SLOW}&first=slowest"
    assert durations(slow, slowest) == [f"{n:.2f} s" if n else "0 ms" for n in range(8, -1, -1)]
    assert links(slow, slowest)["Time (UTC)"] == SLOW
    assert (
        'aria-sort="descending"><a href="/statistics/requests?start=2026-11-01&amp;end=2026-11-03&amp;first=slowest"'
        in (slow.client.get(slowest).text)
    )


def test_a_log_of_the_slowest_goes_on_with_the_faster_ones(slow: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_statistics.pages.request_log.LOG_ROWS", 4)
    first = f"{SLOW}&first=slowest"
    second = links(slow, first)["Faster ›"]
    assert durations(slow, second) == ["4.00 s", "3.00 s", "2.00 s", "1.00 s"]
    assert durations(slow, links(slow, second)["‹ Slower"]) == ["8.00 s", "7.00 s", "6.00 s", "5.00 s"]


def test_log_is_narrowed_by_its_form(slow: App) -> None:
    url = f"{SLOW}&slower=3&text=PAGE"
    assert durations(slow, url) == ["6.00 s"]
    page = slow.client.get(url).text
    assert "Requests slower than 3.00 s with “PAGE” in path or query" in page
    assert '<input name="slower" value="3"' in page
    assert links(slow, url)["Show all"] == SLOW
    # what chooses the span, and other columns, keeps it
    assert page.count('<input type="hidden" name="slower" value="3">') >= 2
    assert len(slow.client.get(f"/statistics/export/requests.csv{url.partition('requests')[2]}").text.splitlines()) == 2


def test_a_log_that_is_narrowed_to_nothing_keeps_its_form(slow: App) -> None:
    page = slow.client.get(f"{SLOW}&slower=9").text
    assert "No requests slower than 9.00 s." in page
    assert '<input name="slower" value="9"' in page


def test_one_request_keeps_what_its_list_is_narrowed_to(slow: App) -> None:
    of_list = "start=2026-11-01&end=2026-11-03&slower=2&first=slowest"
    found = links(slow, f"/statistics/requests/5?{of_list}")  # it took 7 seconds
    assert found["‹ Requests slower than 2.00 s, slowest first · 1 – 3 Nov 2026"] == f"{SLOW}&slower=2&first=slowest"
    seen, url = [], found.get("Faster ›", "")
    while url:
        seen.append(int(re.findall(r"\d+", url)[0]))
        url = links(slow, url).get("Faster ›", "")
    assert seen == [7, 9, 2, 4]


def test_log_shows_the_columns_that_are_chosen(slow: App) -> None:
    assert table_of(slow, SLOW)[0] == [
        *("Time (UTC) ↓", "Status", "Method", "Path", "MIME type", "Size", "Duration", "Browser", "Client"),
    ]
    chosen = f"{SLOW}&column=release&column=db_time&column=path&column=release"
    heads, first, *_ = table_of(slow, chosen)
    assert heads == ["Time (UTC) ↓", "Path", "Duration", "Database", "Release"]
    assert first[1:] == ["/8", "5.00 s", "250 ms", "v1"]
    assert links(slow, chosen)["The usual ones"] == SLOW
    assert links(slow, chosen)["Duration"] == f"{SLOW}&first=slowest&column=path&column=db_time&column=release"


@pytest.mark.parametrize(
    ("query", "notice"),
    [
        ("slower=soon", "slower is 'soon', but must be a number from 0 to 86,400; it was left out."),
        ("slower=1e9", "slower is '1e9', but must be a number from 0 to 86,400; it was left out."),
        ("first=best", "first is 'best', but must be one of newest, slowest; it was left out."),
        ("column=password", "column is 'password', but must be one of status_code, method,"),
    ],
)
def test_what_the_log_cannot_read_is_said(slow: App, query: str, notice: str) -> None:
    assert notice in unescape(slow.client.get(f"{SLOW}&{query}").text)


def test_columns_are_those_that_can_be_asked_for() -> None:
    assert tuple(column.name for column in COLUMNS) == LOG_COLUMNS
