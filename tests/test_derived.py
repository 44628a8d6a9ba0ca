"""Better rules for user agents, applied to what was stored before."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa

from flask_statistics import derived
from flask_statistics.state import state_of

from .conftest import App

MakeApp = Callable[..., App]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derived, "BATCH", 3)


def stored(app: App) -> list[tuple[Any, ...]]:
    return [(row.browser, row.platform, row.device) for row in app.rows()]


@pytest.mark.parametrize("rollups", [True, False])
def test_rebuild_all_corrects_rows_of_older_rules(make_app: MakeApp, database_url: str, rollups: bool) -> None:
    app = make_app(database_url, STATISTICS_ROLLUPS=rollups, STATISTICS_SCHEDULER=False)
    day = datetime(2026, 3, 1, 12)
    agents = [
        "kube-probe/1.31",
        "node",
        None,
        "",
        "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
    ]
    app.insert(*({"date": day, "path": "/", "user_agent": agent, "device": "mobile"} for agent in agents * 2))
    result = app.flask.test_cli_runner().invoke(args=["statistics", "rebuild", "--all"])
    assert (result.exit_code, result.output.count("8 raw rows got another browser")) == (0, 1)
    expected = [
        (None, None, "bot"),
        (None, None, "bot"),
        (None, None, "mobile"),
        (None, None, "other"),
        ("firefox 144.0", "Linux", "desktop"),
    ]
    assert stored(app) == expected * 2
    answer = app.json("breakdown/bot?start=2026-03-01&end=2026-03-01")
    assert [(row["value"], row["hits"]) for row in answer["rows"]] == [(None, 6), ("library", 2), ("monitor", 2)]
    assert (
        "0 raw rows got another" in app.flask.test_cli_runner().invoke(args=["statistics", "rebuild", "--all"]).output
    )


def test_correct_follows_a_key_of_two_columns(make_app: MakeApp) -> None:
    def model(db: Any) -> type[Any]:
        columns = {
            "host": db.Column(db.String(9), primary_key=True),
            "number": db.Column(db.Integer, primary_key=True),
            "date": db.Column(db.DateTime),
            "user_agent": db.Column(db.String(200)),
            "device": db.Column(db.String(9)),
        }
        return type("Request", (db.Model,), columns)

    app = make_app(model=model, STATISTICS_ENABLED=False)
    day = datetime(2026, 3, 1, 12)
    app.insert(
        *({"host": host, "number": number, "date": day, "user_agent": "node"} for host in "ab" for number in range(5))
    )
    app.flask.test_cli_runner().invoke(args=["statistics", "rebuild", "--all"])
    with state_of(app.flask).engine().connect() as connection:
        assert connection.scalars(sa.select(app.Request.__table__.c.device)).all() == ["bot"] * 10
