"""Exports: all rows of every table, in pieces, with formulas neutralised."""

from __future__ import annotations

import csv
import io
import re
import tracemalloc
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from html import unescape
from typing import Any

import pytest

from flask_statistics.export import neutralised

from .conftest import App

NOW = datetime.now(timezone.utc).replace(tzinfo=None)
DAY = datetime(2026, 3, 1, 12)
SPAN = "start=2026-03-01&end=2026-03-01"


@pytest.fixture
def app(make_app: Callable[..., App]) -> App:
    """Four requests on one day of March."""
    app = make_app(STATISTICS_ENABLED=False, STATISTICS_TIMEZONE="Europe/Berlin")
    app.insert(
        row(0, path="/a", status_code=200, response_time=0.5, remote_address="192.0.2.1"),
        row(1, path="/a", status_code=500, response_time=0.5, exception="KeyError('cart')", remote_address="192.0.2.2"),
        row(2, path="/=cmd", status_code=404, referrer="https://other.example/from"),
        row(3, path="=1+1", status_code=404, referrer="http://localhost/own"),
    )
    return app


def row(minute: int, **values: Any) -> dict[str, Any]:
    return {"date": DAY + timedelta(minutes=minute), "method": "GET", **values}


def export(app: App, name: str, query: str = SPAN) -> list[list[str]]:
    response = app.client.get(f"/statistics/export/{name}.csv?{query}")
    assert (response.status_code, response.mimetype) == (200, "text/csv")
    return list(csv.reader(io.StringIO(response.text)))


def test_export_of_a_breakdown(app: App) -> None:
    assert export(app, "path") == [
        ["Path", "Hits", "Visitors", "Median (s)", "p95 (s)", "5xx", "Last seen"],
        ["/a", "2", "2", "0.492816", "0.492816", "1", "2026-03-01T13:01:00.000+01:00"],
        ["/=cmd", "1", "0", "", "", "0", "2026-03-01T13:02:00.000+01:00"],
        ["'=1+1", "1", "0", "", "", "0", "2026-03-01T13:03:00.000+01:00"],
    ]


def test_export_of_what_requests_waited_for(make_app: Callable[..., App]) -> None:
    app = make_app(STATISTICS_QUERIES=True, STATISTICS_OUTGOING=True)
    app.insert(row(0, path="/a", db_time=0.5, db_queries=3), row(1, path="/a", db_queries=4), row(2, path="/b"))
    assert [cells[5:8] for cells in export(app, "path")] == [
        ["Database p95 (s)", "Statements (average)", "Other servers p95 (s)"],
        ["0.492816", "3.5", ""],
        ["", "", ""],
    ]
    series = export(app, "series", f"{SPAN}&metric=db_queries&unit=day&vs=off")
    assert [cells[2:] for cells in series] == [["Average", "p95"], ["3.5", "4.0"]]


def test_export_is_sorted_searched_and_filtered_as_the_page(app: App) -> None:
    assert [cells[0] for cells in export(app, "path", f"{SPAN}&sort=value")] == ["Path", "/=cmd", "/a", "'=1+1"]
    assert [cells[0] for cells in export(app, "path", f"{SPAN}&search=CMD")] == ["Path", "/=cmd"]
    assert [cells[0] for cells in export(app, "path", f"{SPAN}&status_code=5xx")] == ["Path", "/a"]


def test_export_of_the_series(app: App) -> None:
    app.insert(row(-37 * 60))
    table = export(app, "series", f"{SPAN}&metric=errors&unit=hour")
    assert table[0] == ["Start", "End", "5xx", "4xx", "Previous"]
    assert len(table) == 25
    assert table[14] == ["2026-03-01T13:00:00.000+01:00", "2026-03-01T14:00:00.000+01:00", "1", "2", "0"]


def test_export_of_the_series_has_no_previous_before_the_first_request(app: App) -> None:
    assert export(app, "series", SPAN)[0] == ["Start", "End", "Hits"]


@pytest.mark.parametrize("name", ["path", "series", "requests"])
def test_export_refuses_what_it_cannot_read(app: App, name: str) -> None:
    response = app.client.get(f"/statistics/export/{name}.csv?{SPAN}&status_code=teapot&brwser=x")
    assert (response.status_code, response.mimetype) == (400, "text/plain")
    assert response.text.splitlines() == [
        "status_code is 'teapot', but must be a status code such as 404, or a class of them such as 5xx; it was left out.",
        "'brwser' is no parameter; did you mean browser?",
    ]


def test_export_of_the_series_is_the_one_that_the_page_draws(app: App) -> None:
    page = unescape(app.client.get(f"/statistics/errors?{SPAN}&vs=off").text)
    url = re.search(r'"/statistics/export/series.csv\?([^"]*)"', page)
    assert url is not None
    assert export(app, "series", url[1])[0] == ["Start", "End", "5xx", "4xx"]


def test_export_of_the_error_tables(app: App) -> None:
    assert export(app, "exceptions")[1] == [
        *("KeyError", "'cart'", "/a", "1"),
        *("2026-03-01T13:01:00.000+01:00", "2026-03-01T13:01:00.000+01:00"),
    ]
    assert export(app, "failing")[1] == ["/a", "1", "2", "2026-03-01T13:01:00.000+01:00"]
    assert [cells[:3] for cells in export(app, "missing")] == [
        ["Path", "Hits", "Top referrer"],
        ["/=cmd", "1", "https://other.example/from"],
        ["'=1+1", "1", "http://localhost/own"],
    ]
    assert [cells[:3] for cells in export(app, "links")] == [
        ["Referrer", "Internal", "Path"],
        ["https://other.example/from", "no", "/=cmd"],
        ["http://localhost/own", "yes", "'=1+1"],
    ]


def test_export_of_the_log(app: App) -> None:
    table = export(app, "requests", f"{SPAN}&path=/a")
    assert len(table) == 3
    newest = dict(zip(table[0], table[1], strict=True))
    assert (newest["date"], newest["path"], newest["status_code"]) == ("2026-03-01T13:01:00.000+01:00", "/a", "500")
    assert "traceback" not in newest


@pytest.mark.parametrize("rollups", [False, True])
def test_export_has_what_was_there_at_its_beginning(
    make_app: Callable[..., App], database_url: str, monkeypatch: pytest.MonkeyPatch, rollups: bool
) -> None:
    monkeypatch.setattr("flask_statistics.pages.request_log.FILE_ROWS", 7)
    monkeypatch.setattr("flask_statistics.export.PIECE", 1)
    app = make_app(database_url, STATISTICS_ENABLED=False, STATISTICS_ROLLUPS=rollups, STATISTICS_SCHEDULER=False)
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    app.insert(*({"date": now - timedelta(minutes=number), "path": f"/{number}"} for number in range(1, 41)))
    response = app.client.get("/statistics/export/requests.csv?span=all", buffered=False)
    lines = response.iter_encoded()
    text = next(lines)
    for late in (0.5, 3.5, 20.5, 60):  # newer than all, and between those that were not read yet
        app.insert({"date": now - timedelta(minutes=late), "path": "/late"})
    text += b"".join(lines)
    response.close()
    paths = [row["path"] for row in csv.DictReader(io.StringIO(text.decode()))]
    assert paths == [f"/{number}" for number in range(1, 41)]
    app.close()


def test_export_without_rows_has_a_heading(app: App) -> None:
    for name in ("path", "exceptions", "failing", "missing", "links", "requests"):
        (heading,) = export(app, name, "start=2020-01-01&end=2020-01-01")
        assert len(heading) > 3
    assert heading == export(app, "requests", SPAN)[0]


def test_export_is_named_and_downloaded(app: App) -> None:
    response = app.client.get("/statistics/export/browser.csv")
    today = datetime.now(app.statistics_state().settings.timezone)
    assert response.headers["Content-Disposition"] == f'attachment; filename="browser-{today:%Y-%m-%d}.csv"'


def test_export_has_every_row_and_memory_stays_flat(make_app: Callable[..., App]) -> None:
    app = make_app(STATISTICS_ENABLED=False)
    app.insert(*(row(n % 60, path=f"/{n}", user_agent="x" * 300) for n in range(12_000)))
    app.client.get(f"/statistics/export/requests.csv?{SPAN}&path=/1")
    tracemalloc.start()
    length = rows = 0
    with app.client.get(f"/statistics/export/requests.csv?{SPAN}", buffered=False) as response:
        for piece in response.iter_encoded():
            length += len(piece)
            rows += piece.count(b"\r\n")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == 12_001
    assert length > 4_000_000
    assert peak < length


def test_export_gives_its_connection_back_when_the_client_leaves(app: App) -> None:
    with app.client.get(f"/statistics/export/requests.csv?{SPAN}", buffered=False) as response:
        next(response.iter_encoded())
    with app.flask.app_context():
        assert app.db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@A1", "\t=1", "\r1", "\n1", " =1", "＝1", "\ufeff=1", "=", "-"])
def test_neutralised_formula(text: str) -> None:
    assert neutralised(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "/=1", "a=1", "1-1", "'=1", "Mozilla/5.0 (X11)", "🙂"])
def test_neutralised_text_stays(text: str) -> None:
    assert neutralised(text) == text
