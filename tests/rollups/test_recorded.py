"""What rollups do not know yet is said: a dimension that is new or changed, history that is not rolled up, what is folded."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flask_statistics import Dimension
from flask_statistics.filters import Filters
from flask_statistics.spans import Span

from ..conftest import App
from ..rollup_bench import Rolled, alike

NOW = datetime.now(timezone.utc).replace(tzinfo=None, microsecond=0)
OPTIONS = {"STATISTICS_ROLLUPS": True, "STATISTICS_SCHEDULER": False, "STATISTICS_ENABLED": False}


def section(path: str) -> str:
    return path.split("/")[1]


def shouted(path: str) -> str:
    return path.split("/")[1].upper()


def rows(days: int) -> list[dict[str, Any]]:
    return [
        {"date": NOW - timedelta(days=day, hours=1), "path": f"/{'ab'[day % 2]}/{day}", "remote_address": "192.0.2.1"}
        for day in range(days)
    ]


def run(app: App, *arguments: str) -> str:
    done = app.flask.test_cli_runner().invoke(args=["statistics", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def hits(app: App) -> dict[str, int]:
    return {row["value"]: row["hits"] for row in app.json("breakdown/section?span=all")["rows"]}


def rolled_up(make_app: Callable[..., App], url: str) -> str:
    """URL of an app whose 72 days of requests are rolled up without a dimension of its own."""
    app = make_app(url, **OPTIONS)
    app.insert(*rows(72))
    run(app, "rollup")
    assert app.json("summary?span=all")["complete_from"] is None
    return url


@pytest.fixture
def url(make_app: Callable[..., App], tmp_path: Path) -> str:
    """Of such an app."""
    return rolled_up(make_app, f"sqlite:///{tmp_path / 'rolled.sqlite'}")


def test_new_dimension_is_said_not_to_be_recorded_until_it_is(make_app: Callable[..., App], database_url: str) -> None:
    url = rolled_up(make_app, database_url)
    app = make_app(url, dimensions=[Dimension("section", column="path", value=section)], **OPTIONS)
    answer = app.json("breakdown/section?span=all")
    assert answer["complete_from"] is not None
    assert answer["rows"] == []
    assert app.json("summary?span=all")["complete_from"] is None
    assert app.json("summary?span=all&section=a")["complete_from"] == answer["complete_from"]
    assert len(app.json("series?span=all&section=a&unit=day")["points"]) <= 2  # of the days before it there is no zero
    assert "Not recorded before" in app.client.get("/statistics/?span=all").text
    assert "Not recorded before" in app.client.get("/statistics/list/section?span=all").text
    assert "was not recorded before" in app.client.get("/statistics/?span=all&section=a").text
    assert app.json("health")["rollups"]["incomplete"] == {"section": None}
    assert "section: recorded not at all yet" in run(app, "status")
    run(app, "rollup")
    assert hits(app) == {"a": 36, "b": 36}
    assert app.json("breakdown/section?span=all")["complete_from"] is None
    assert app.json("summary?span=all&section=a")["hits"] == 36
    assert app.json("health")["rollups"]["incomplete"] == {}
    assert "Not recorded" not in app.client.get("/statistics/?span=all").text
    run(app, "verify")


def test_history_of_a_new_dimension_is_built_newest_first(make_app: Callable[..., App], url: str) -> None:
    app = make_app(url, dimensions=[Dimension("section", column="path", value=section)], **OPTIONS)
    reached = []
    rollups = app.statistics_state().rollups
    assert rollups is not None
    job = rollups.job()

    def stop(day: datetime) -> None:
        answer = app.json("breakdown/section?span=all")
        reached.append((answer["complete_from"], sum(row["hits"] for row in answer["rows"])))
        if len(reached) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job.run(NOW, progress=stop)
    days = [datetime.fromisoformat(at) for at, _ in reached]
    assert days == sorted(days, reverse=True)
    assert [count for _, count in reached] == sorted(count for _, count in reached)
    assert 0 < reached[-1][1] < 72
    run(app, "rollup")
    assert hits(app) == {"a": 36, "b": 36}


def test_changed_function_is_never_mixed_with_the_one_before(make_app: Callable[..., App], url: str) -> None:
    run(make_app(url, dimensions=[Dimension("section", column="path", value=section)], **OPTIONS), "rollup")
    app = make_app(url, dimensions=[Dimension("section", column="path", value=shouted)], **OPTIONS)
    assert hits(app) == {}
    assert app.json("breakdown/section?span=all")["complete_from"] is not None
    run(app, "rollup")
    assert hits(app) == {"A": 36, "B": 36}
    run(app, "rollup")
    with app.statistics_state().engine().connect() as connection:
        texts = set(connection.scalars(sa.text("SELECT text FROM statistics_value")))
    assert not texts & {"a", "b"}


def test_periods_without_raw_rows_stay_not_recorded(make_app: Callable[..., App], url: str) -> None:
    kept = {"STATISTICS_RAW_RETENTION": timedelta(days=30)}
    run(make_app(url, **OPTIONS, **kept), "rollup")
    app = make_app(url, dimensions=[Dimension("section", column="path", value=section)], **OPTIONS, **kept)
    run(app, "rollup")
    run(app, "rollup")
    answer = app.json("breakdown/section?span=all")
    since = datetime.fromisoformat(answer["complete_from"]).replace(tzinfo=None)
    assert NOW - timedelta(days=32) <= since <= NOW - timedelta(days=28)
    assert sum(row["hits"] for row in answer["rows"]) in (29, 30, 31)
    assert app.json("summary?span=all")["hits"] == 72
    assert app.json("breakdown/section?span=7d")["complete_from"] is None


def test_answer_says_what_of_history_is_not_rolled_up(make_app: Callable[..., App], database_url: str) -> None:
    app = make_app(database_url, **OPTIONS)
    app.insert(*rows(72))
    run(app, "rollup", "--seconds", "0")
    answer = app.json("summary?span=all")
    assert answer["hits"] < 72
    assert datetime.fromisoformat(answer["complete_from"]) > datetime.fromisoformat(answer["start"])
    assert app.json("series?span=all&unit=day")["complete_from"] == answer["complete_from"]
    run(app, "rollup")
    answer = app.json("summary?span=all")
    assert (answer["hits"], answer["complete_from"]) == (72, None)


def test_filter_says_what_of_folded_values_it_cannot_know(make_app: Callable[..., App], database_url: str) -> None:
    app = make_app(database_url, STATISTICS_MAX_VALUES=10, **OPTIONS)
    day = NOW - timedelta(days=2)
    app.insert(
        *({"date": day, "path": f"/{n}", "status_code": 404, "remote_address": "192.0.2.1"} for n in range(50)),
        *({"date": day, "path": "/real", "status_code": 200, "remote_address": f"192.0.2.{n}"} for n in range(9)),
        {"date": NOW - timedelta(minutes=1), "path": "/real", "status_code": 200},
    )
    run(app, "rollup")
    answer = app.json("summary?span=7d&q=real")
    assert (answer["hits"], answer["undecided"]) == (10, 41)
    assert app.json("summary?span=7d&q=real&status_code=200")["undecided"] == 0
    assert app.json("summary?span=7d&path=/real")["undecided"] == 41
    assert app.json("summary?span=7d")["undecided"] == 0
    assert app.json("summary?span=7d&path=(other)")["hits"] == 41
    assert "41 requests have rare values" in app.client.get("/statistics/?span=7d&q=real").text
    assert f"69% of the requests of {day:%Y-%m-%d} have their path in (other)" in run(app, "status")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (lambda p: p[:1], lambda p: p[:1], True),
        (lambda p: p[:1], lambda p: p[:2], False),
        (lambda p: "X" + p, lambda p: "Y" + p, False),
        (section, section, True),
        (section, shouted, False),
        (partial(max, "a"), partial(max, "b"), False),
        (partial(max, "a"), partial(max, "a"), True),
        (str.lower, str.upper, False),
    ],
)
def test_fingerprint_tells_functions_apart(one: Any, other: Any, *, same: bool) -> None:
    first, second = (Dimension("x", column="path", value=value) for value in (one, other))
    assert first.is_made_by(second.fingerprint) is same
    assert len(first.fingerprint) <= 64


def test_fingerprint_survives_another_python_and_knows_a_version() -> None:
    dimension = Dimension("x", column="path", value=section)
    mine, _, exact = dimension.fingerprint.split(" ")
    assert dimension.is_made_by(f"{mine} cpython-399 0{exact[1:]}")
    assert not dimension.is_made_by(Dimension("x", column="path", value=section, version="2").fingerprint)
    assert not dimension.is_made_by(Dimension("x", column="route", value=section).fingerprint)
    assert not dimension.is_made_by("")


def waiting(days: int) -> list[dict[str, Any]]:
    """Requests of so many days, the later half of which were measured."""
    return [
        row | ({"db_time": number / 100, "db_queries": number} if number < days // 2 else {})
        for number, row in enumerate(rows(days))
    ]


def agrees(rolled: Rolled) -> bool:
    """Whether rollups and raw rows say the same of all days."""
    span = Span(NOW - timedelta(days=400), NOW + timedelta(days=1), rolled.zone)
    with rolled.raw() as raw, rolled.rollups() as rollups:
        return alike(rollups.series(span, "day", Filters()), raw.series(span, "day", Filters()))


def test_waits_that_were_measured_before_they_are_asked_for_get_their_past(database_url: str) -> None:
    before = Rolled(database_url, waits=())
    before.insert(waiting(72))
    before.job.run(NOW)
    assert agrees(before)
    rolled = Rolled(database_url, empty=False)
    assert not agrees(rolled)
    report = rolled.job.run(NOW + timedelta(minutes=1))
    assert report is not None
    assert 10 < report.built < 50  # days of which nothing is known are not built again
    assert agrees(rolled)
    assert rolled.job.verify().differences == []
    for one in (before, rolled):
        one.close()


def test_waits_are_kept_while_nobody_asks_for_them(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'app.sqlite'}"
    rolled, without = Rolled(url), Rolled(url, waits=())
    rolled.insert(waiting(72))
    rolled.job.run(NOW)
    with rolled.engine.begin() as connection:
        connection.execute(sa.delete(rolled.source.raw.table))
    without.job.run(NOW + timedelta(days=40))  # which joins days into months
    assert without.job.verify().differences == []
    rolled.job.run(NOW + timedelta(days=40, minutes=1))
    assert rolled.job.verify().differences == []
    span = Span(NOW - timedelta(days=400), NOW, rolled.zone)
    with rolled.rollups() as rollups:
        waited = rollups.summary(span, Filters()).db_queries
    assert waited is not None
    assert (waited.total, waited.max) == (sum(range(36)), 35)
    for one in (rolled, without):
        one.close()
