"""The hours of the week: what a cell says is what a click on it selects."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from html import unescape
from io import StringIO
from typing import Any

import pytest

from flask_statistics.week import HOURS, WEEKDAYS, hour_of_week

from ..conftest import App

ZONE = "Asia/Kolkata"
MONDAY = datetime(2026, 11, 2, tzinfo=timezone(timedelta(hours=5, minutes=30)))
SPAN = "start=2026-11-02&end=2026-11-15"


def at(day: int, hour: int, **values: Any) -> dict[str, Any]:
    moment = (MONDAY + timedelta(days=day, hours=hour, minutes=20)).astimezone(timezone.utc).replace(tzinfo=None)
    return {
        "date": moment,
        "path": "/a",
        "status_code": 200,
        "response_time": 0.1,
        "remote_address": "192.0.2.1",
    } | values


@pytest.fixture(params=[False, True], ids=["raw", "rollups"])
def app(request: pytest.FixtureRequest, make_app: Callable[..., App]) -> App:
    app = make_app(
        STATISTICS_TIMEZONE=ZONE, STATISTICS_ENABLED=False, STATISTICS_ROLLUPS=request.param, STATISTICS_SCHEDULER=False
    )
    app.insert(
        *(at(1, 15, remote_address=f"192.0.2.{number}") for number in range(3)),
        *(at(8, 15, remote_address="192.0.2.1", response_time=2.0) for _ in range(2)),
        *(at(2, hour, status_code=500, path="/b") for hour in (0, 0, 23)),
        at(13, 4),
    )
    if request.param:
        assert app.flask.test_cli_runner().invoke(args=["statistics", "rollup"]).exit_code == 0
    return app


def cells(markup: str) -> dict[str, str]:
    """Titles of the cells, with their URLs."""
    return {
        unescape(title): unescape(url)
        for url, title in re.findall(r'<a href="([^"]*)" tabindex="-1"><rect [^>]*><title>([^<]*)</title>', markup)
    }


def hits(app: App, url: str) -> int:
    (text,) = re.findall(r'data-measure="hits">.*?title="([\d,]*)">', app.client.get(url).text, re.DOTALL)
    return int(text)


def test_week_comes_after_the_overview_and_says_what_an_hour_has(app: App) -> None:
    page = app.client.get(f"/statistics/?{SPAN}").text
    (url,) = [unescape(url) for url in re.findall(r'data-later="([^"]*)"', page) if "/week" in url]
    assert '<a href="/statistics/week?start=2026-11-02&amp;end=2026-11-15">Show weekday and hour</a>' in page
    panel = app.client.get(url).text
    found = cells(panel)
    assert len(found) == HOURS
    assert {title for title in found if not title.endswith(": 0 hits an hour")} == {
        "Tue 15–16: 2.5 hits an hour",
        "Wed 0–1: 1 hits an hour",
        "Wed 23–24: 0.5 hits an hour",
        "Sun 4–5: 0.5 hits an hour",
    }
    assert "Most Tue 15–16, least Mon 0–1." in panel
    assert "2.5 hits an hour</span>" in panel
    assert panel.count('<rect class="h5"') == 2  # with the one of the legend


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("visitors", {"Tue 15–16: 2 visitors an hour", "Wed 0–1: 0.5 visitors an hour"}),
        ("time", {"Tue 15–16: 2.00 s (p95)", "Wed 0–1: 99 ms (p95)"}),
        ("errors", {"Wed 0–1: 1 server errors an hour", "Wed 23–24: 0.5 server errors an hour"}),
        ("db_time", {"Tue 15–16: 2.5 hits an hour"}),
    ],
)
def test_week_has_what_the_chart_has(app: App, metric: str, expected: set[str]) -> None:
    found = cells(app.client.get(f"/statistics/panel/week?{SPAN}&metric={metric}").text)
    assert expected <= found.keys()


def test_cell_selects_its_requests(app: App) -> None:
    found = cells(app.client.get(f"/statistics/panel/week?{SPAN}").text)
    for title, expected in (("Tue 15–16: 2.5", 5), ("Wed 0–1: 1", 2), ("Sun 4–5: 0.5", 1)):
        (url,) = [url for each, url in found.items() if each.startswith(title)]
        assert hits(app, url) == expected
        page = app.client.get(url).text
        assert f'<span>Time</span> is <b title="{title.partition(":")[0]}">' in page
    links = dict(
        re.findall(r'<a href="([^"]*)" title="[^"]*">(\w+)</a>', app.client.get(f"/statistics/panel/week?{SPAN}").text)
    )
    by_name = {text: unescape(url) for url, text in links.items()}
    assert [hits(app, by_name[name]) for name in ("Tue", "Wed", "15", "21")] == [5, 3, 5, 1]
    assert "at=15&at=16&at=17" in by_name["15"]


def test_chosen_hour_leaves_the_others_to_choose(app: App) -> None:
    panel = app.client.get(f"/statistics/panel/week?{SPAN}&at=tue15&path=/a").text
    assert "Sun 4–5: 0.5 hits an hour" in cells(panel)
    (chosen,) = re.findall(r'<a href="([^"]*)" tabindex="-1"><rect class="h5 on"', panel)
    assert unescape(chosen) == f"/statistics/?{SPAN}&path=/a"


def test_table_has_the_same(app: App) -> None:
    page = app.client.get(f"/statistics/week?{SPAN}").text
    titles = [unescape(title) for title in re.findall(r'<td class="n"><a [^>]*title="([^"]*)"', page)]
    assert sorted(titles) == sorted(cells(app.client.get(f"/statistics/panel/week?{SPAN}").text))
    lines = list(csv.reader(StringIO(app.client.get(f"/statistics/export/week.csv?{SPAN}").text)))
    assert lines[0] == ["Weekday", "Hour", "Hits an hour"]
    assert len(lines) == HOURS + 1
    assert ["Tue", "15", "2.5"] in lines


def test_hour_of_the_week_that_has_not_been_is_empty(make_app: Callable[..., App]) -> None:
    app = make_app(STATISTICS_DEFAULT_FILTERS="")
    app.client.get("/")
    found = cells(app.client.get("/statistics/panel/week?span=today").text)
    now = datetime.now(timezone.utc)
    assert len(found) in (now.hour + 1, now.hour + 2, 1)
    assert all(title.startswith(WEEKDAYS[hour_of_week(now) // 24]) for title in found) or now.hour == 0


def test_api_and_file_take_hours_of_the_week(app: App) -> None:
    assert app.json(f"summary?{SPAN}&at=tue15")["hits"] == 5
    assert app.json(f"summary?{SPAN}&at=tue15&at=wed")["hits"] == 8
    assert app.json(f"breakdown/path?{SPAN}&at=wed")["rows"][0]["value"] == "/b"
    assert [row["path"] for row in app.json(f"requests?{SPAN}&at=4")["rows"]] == ["/a"]
    assert "at is 'noon', but must be a day of the week" in str(app.json(f"summary?{SPAN}&at=noon", 400))
    assert "at must be at most 400 separate times" in str(app.json("summary?start=2024-01-01&end=2026-11-15&at=4", 400))
    notice = app.client.get("/statistics/?start=2024-01-01&end=2026-11-15&at=4").text
    assert "at must be at most 400 separate times of the span; choose a shorter one. It was left out." in notice
