"""One request: it keeps the list that it was chosen from, and leads to its neighbours there."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from html import unescape

import pytest

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
    assert found["‹ Requests · 2 Nov – 3 Nov 2026 · Browser is Firefox"] == LIST
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
