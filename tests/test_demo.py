"""The demo: seeded once, topped up later, and its pages work."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_statistics import demo
from flask_statistics.state import state_of


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "REQUESTS", 2_800)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    app = demo.create_app(tmp_path / "demo.sqlite")
    yield app
    state_of(app).engine().dispose()


def dates(app: Flask) -> list[datetime]:
    state = state_of(app)
    with state.engine().connect() as connection:
        return list(connection.scalars(sa.select(state.raw.columns["date"]).order_by(sa.text("date"))))


def test_demo_seeds_four_weeks(capsys: pytest.CaptureFixture[str], app: Flask, tmp_path: Path) -> None:
    now, found = datetime.now(timezone.utc).replace(tzinfo=None), dates(app)
    assert len(found) == 2_800
    assert now - timedelta(days=28, minutes=1) < found[0] < now - timedelta(days=27)
    assert now - timedelta(hours=1) < found[-1] < now
    made = f"Demo data are in {tmp_path}/demo.sqlite (2,800 requests added); delete it to start over.\n"
    assert capsys.readouterr().err == made


def test_demo_that_is_started_again_keeps_its_data(app: Flask, tmp_path: Path) -> None:
    before = dates(app)
    again = demo.create_app(tmp_path / "demo.sqlite")
    after = dates(again)
    assert after[:2_800] == before
    assert len(after) < 2_820
    state_of(again).engine().dispose()


def test_demo_fills_the_time_since_the_last_request(app: Flask) -> None:
    last = dates(app)[-1]
    now = last + timedelta(days=3)
    assert demo.fill(state_of(app), now=now) == 300
    assert demo.fill(state_of(app), now=now) < 10
    found = dates(app)[2_800:]
    assert last <= found[0]
    assert found[-1] < now


def test_demo_fills_at_most_four_weeks(app: Flask) -> None:
    now = dates(app)[-1] + timedelta(days=300)
    assert demo.fill(state_of(app), now=now) == 2_800


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/", 200, 'href="/statistics/"'),
        ("/product/7", 200, "Product 7"),
        ("/contact", 200, "<form"),
        ("/contact?sent=1", 200, "Thank you"),
        ("/nowhere", 404, "Not Found"),
        ("/statistics/api/summary", 200, "hits"),
    ],
)
def test_demo_pages(app: Flask, path: str, status: int, text: str) -> None:
    response = app.test_client().get(path)
    assert response.status_code == status
    assert text in response.text


def test_demo_page_that_fails_now_and_then(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter([0.1, 0.9])
    monkeypatch.setattr("flask_statistics.demo.random.random", lambda: next(numbers))
    assert [app.test_client().get("/moody").status_code for _ in range(2)] == [500, 200]


def test_demo_slow_page(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []
    monkeypatch.setattr("flask_statistics.demo.time.sleep", naps.append)
    assert app.test_client().get("/slow").status_code == 200
    assert 0.3 <= naps[0] <= 1.2


def test_demo_form(app: Flask) -> None:
    response = app.test_client().post("/contact", data={"message": "hi"})
    assert (response.status_code, response.location) == (302, "/contact?sent=1")


def test_demo_default_file_is_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLASK_STATISTICS_TIMEZONE", "Europe/Berlin")
    app = demo.create_app()
    assert [path.name for path in tmp_path.iterdir()] == ["flask-statistics-demo.sqlite"]
    assert state_of(app).settings.timezone.key == "Europe/Berlin"
    state_of(app).engine().dispose()


def test_demo_adds_columns_to_the_file_of_an_older_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state_of(demo.create_app()).engine().dispose()
    with closing(sqlite3.connect("flask-statistics-demo.sqlite")) as file:
        file.execute("ALTER TABLE request DROP COLUMN release")
    app = demo.create_app()
    assert app.test_client().get("/statistics/").status_code == 200
    state_of(app).engine().dispose()
