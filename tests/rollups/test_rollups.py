"""An app with rollups: the setting, the commands, health, the page, and the scheduler."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import Result

from benchmarks.serving import wait_until
from flask_statistics import Dimension
from flask_statistics.state import state_of

from ..conftest import App


@pytest.fixture
def app(make_app: Callable[..., App], database_url: str) -> App:
    return make_app(database_url, STATISTICS_ROLLUPS=True, TESTING=True, before=routes)


def routes(flask: Any) -> None:
    flask.add_url_rule("/", "home", lambda: "home")
    flask.add_url_rule("/other", "other", lambda: ("other", 503))


def command(app: App, *words: str, exit_code: int = 0) -> Result:
    result = app.flask.test_cli_runner().invoke(args=["statistics", *words])
    assert result.exit_code == exit_code, result.output
    return result


def old(day: int, **values: Any) -> dict[str, Any]:
    return {"date": datetime(2026, 3, day, 12), "path": "/old", "status_code": 200} | values


def test_rollups_answer_once_the_job_ran(app: App) -> None:
    app.insert(old(1), old(2))
    app.client.get("/")
    assert app.json("summary?span=all")["source"] == "raw"
    command(app, "rollup")
    app.client.get("/other")
    answer = app.json("summary?span=all")
    assert (answer["source"], answer["hits"], answer["server_errors"]) == ("rollup", 4, 1)
    assert [row["value"] for row in app.json("breakdown/path?span=all")["rows"]] == ["/old", "/", "/other"]
    assert app.json("summary?span=all&path=/other&status_code=5xx")["hits"] == 1


def test_rollups_have_the_apps_own_dimensions(make_app: Callable[..., App], database_url: str) -> None:
    """Of a column that is called as the primary key is here, and of dates as the database gives them."""

    def model(db: Any) -> type[Any]:
        columns = {
            "index": db.Column(db.Integer, primary_key=True),
            "date": db.Column(db.DateTime(timezone=True)),
            "key": db.Column(db.String(10)),
        }
        return type("Request", (db.Model,), columns)

    dimensions = [Dimension("key"), Dimension("clock", column="date", value=lambda date: f"{date:%H %z}".strip())]
    app = make_app(database_url, model=model, dimensions=dimensions, STATISTICS_ROLLUPS=True, TESTING=True)
    dates = [datetime(2026, 3, day, 12, tzinfo=timezone.utc) for day in (1, 1, 2)]
    app.insert(*({"date": date, "key": key} for date, key in zip(dates, ("a", "b", "a"), strict=True)))
    questions = [f"breakdown/{name}?span=all" for name in ("key", "clock")]
    raw = [app.json(question) for question in questions]
    assert [(row["value"], row["hits"]) for row in raw[0]["rows"]] == [("a", 2), ("b", 1)]
    command(app, "rollup")
    rolled = [app.json(question) for question in questions]
    assert [answer.pop("source") for answer in rolled + raw] == ["rollup", "rollup", "raw", "raw"]
    assert [answer["rows"] for answer in rolled] == [answer["rows"] for answer in raw]


def test_imported_days_are_counted_by_the_next_run(app: App, tmp_path: Path) -> None:
    app.insert(old(1), old(20))
    command(app, "rollup")
    log = tmp_path / "access.log"
    log.write_text('192.0.2.7 - - [05/Mar/2026:12:00:00 +0000] "GET /imported HTTP/1.1" 200 7 "-" "-"\n')
    command(app, "import-log", str(log))
    command(app, "rollup")
    answer = app.json("summary?start=2026-03-01&end=2026-03-31")
    assert (answer["source"], answer["hits"]) == ("rollup", 3)
    command(app, "verify")


def test_requests_that_waited_for_days_are_counted_by_the_next_run(
    make_app: Callable[..., App], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(database_url, STATISTICS_ROLLUPS=True, STATISTICS_WRITER="spool", TESTING=True, before=routes)
    app.insert(old(1))
    command(app, "rollup")

    ago = datetime.now(timezone.utc).replace(tzinfo=None) - datetime(2026, 3, 7, 12)
    monkeypatch.setattr("flask_statistics.recorder.EPOCH", datetime(1970, 1, 1) - ago)
    app.client.get("/")
    monkeypatch.undo()
    command(app, "rollup")
    answer = app.json("summary?start=2026-03-01&end=2026-03-31")
    assert (answer["source"], answer["hits"]) == ("rollup", 2)


@pytest.mark.parametrize(("interval", "length"), [(1, 3), (20, 15), (60, 45), (3600, 60)])
def test_lease_follows_the_interval(make_app: Callable[..., App], interval: int, length: int) -> None:
    app = make_app(STATISTICS_ROLLUPS=True, STATISTICS_ROLLUP_INTERVAL=timedelta(seconds=interval))
    rollups = app.statistics_state().rollups
    assert rollups is not None
    with app.flask.app_context():
        assert rollups.job().lease_length == timedelta(seconds=length)


def test_rollups_switched_off_leave_a_raw_app(app: App, make_app: Callable[..., App], database_url: str) -> None:
    app.client.get("/")
    command(app, "rollup")
    plain = make_app(database_url, TESTING=True, before=routes)
    plain.client.get("/")
    assert (plain.json("summary")["source"], plain.json("summary")["hits"]) == ("raw", 2)


def test_page_says_how_new_it_is(app: App) -> None:
    app.client.get("/")
    command(app, "rollup")
    assert "updated every minute" in app.client.get("/statistics/").text
    state = state_of(app.flask)
    assert state.rollups is not None
    meta = state.rollups.tables.meta
    with state.engine().begin() as connection:
        ago = (datetime(2000, 1, 1)).isoformat()
        connection.execute(sa.update(meta).where(meta.c.name.in_(["covered_until", "last_run"])).values(text=ago))
    notices = re.findall(r'<p class="notice.*?</p>', app.client.get("/statistics/").text)
    assert len(notices) == 1
    assert re.search(r">Numbers are [^.]* behind\. Run <code>flask statistics rollup</code>, or see", notices[0])


def test_page_names_what_is_being_prepared(app: App) -> None:
    app.insert(*(old(day) for day in (1, 2, 3)))
    command(app, "rollup", "--seconds", "0")
    assert "are still being prepared" in app.client.get("/statistics/?start=2026-03-01&end=2026-03-03").text
    command(app, "rollup")
    assert "are still being prepared" not in app.client.get("/statistics/?start=2026-03-01&end=2026-03-03").text


def test_missing_tables_leave_the_raw_answers(app: App, caplog: pytest.LogCaptureFixture) -> None:
    app.client.get("/")
    state = state_of(app.flask)
    assert state.rollups is not None
    with state.engine().begin() as connection:
        for table in state.rollups.tables.all():
            table.drop(connection)
    assert (app.json("summary")["source"], app.json("summary")["hits"]) == ("raw", 1)
    assert caplog.text.count("run 'flask statistics init'") == 1
    assert "error" in app.json("health")["rollups"]
    assert "Created the table statistics_segment." in command(app, "init").output
    command(app, "rollup")
    assert app.json("summary")["source"] == "rollup"


def test_health_says_how_the_rollups_stand(app: App) -> None:
    app.insert(old(1), {"date": datetime(2026, 4, 20)})
    command(app, "rollup")
    found = app.json("health")["rollups"]
    assert (found["preparing"], found["folded"]) == (False, {})
    assert found["segments"] == {"day": 1, "month": 1, "piece": 1}


def test_status_before_and_after(app: App) -> None:
    assert "none yet" in command(app, "status").output
    app.insert(old(1), {"date": datetime(2026, 4, 20)})
    command(app, "rollup")
    output = command(app, "status").output
    assert "Rolled up         from 2026-03-01 00:00 to " in output
    assert re.search(r"Segments +1 day|Segments +.*1 month", output)


def test_verify_and_rebuild(app: App) -> None:
    app.insert(old(1))
    command(app, "rollup")
    assert "are rolled up as they are" in command(app, "verify").output
    app.insert(old(1))
    assert "2026-03-01 12:00: 1 rolled up, 2 raw rows." in command(app, "verify", exit_code=1).output
    command(app, "rebuild", "--from", "2026-03-01", "--to", "2026-03-01")
    command(app, "verify")
    assert app.json("summary?span=all")["hits"] == 2


def test_verify_repairs_what_it_finds(app: App) -> None:
    app.insert(old(1), old(2), {"date": datetime(2026, 4, 20)})
    assert "Nothing is rolled up yet" in command(app, "verify", exit_code=1).output
    command(app, "rollup")
    state = state_of(app.flask)
    assert state.rollups is not None
    tables = state.rollups.tables
    with state.engine().begin() as connection:
        connection.execute(sa.delete(tables.segment))
    found = command(app, "verify", exit_code=1).output
    assert "2026-03-01 12:00: 0 rolled up, 1 raw rows." in found
    assert "3 requests of " in command(app, "verify", "--repair").output
    assert app.json("summary?span=all")["hits"] == 3
    with state.engine().begin() as connection:  # what a job verifies by itself, it says
        connection.execute(sa.delete(tables.rollup).where(tables.rollup.c.dimension_id == 0))
    for _ in range(2):
        command(app, "rollup")
    found = app.json("health")
    assert found["rollups"]["verified"]["until"] is not None
    differing = len(found["rollups"]["verified"]["differences"])
    assert differing > 0
    assert "Run 'flask statistics verify --repair'." in " ".join(found["problems"])
    assert f"{differing} differ" in command(app, "status", exit_code=1).output
    assert f"{differing} differ" in app.client.get("/statistics/health").text
    command(app, "verify", "--repair")
    assert app.json("health")["rollups"]["verified"]["differences"] == {}


@pytest.mark.parametrize("rolls", [False, True])
def test_dates_that_cannot_be_are_counted_and_break_no_page(
    make_app: Callable[..., App], database_url: str, rolls: bool
) -> None:
    app = make_app(
        database_url, STATISTICS_ROLLUPS=rolls, STATISTICS_TIMEZONE="America/New_York", TESTING=True, before=routes
    )
    dates = [datetime(1, 1, 1, 12), datetime(9999, 12, 31, 23, 59)]
    if not database_url.startswith("postgresql"):  # a date in year 1 is one of year 0 there, in New York
        dates.append(datetime(1000, 1, 1))
    app.insert(old(1), old(2), *({"date": date, "path": "/impossible"} for date in dates))
    if rolls:
        command(app, "rollup")
        command(app, "verify")
    for span in ("all", "7d", "12mo"):
        assert app.client.get(f"/statistics/?span={span}").status_code == 200
    assert app.json("summary?span=all")["hits"] == 2
    found = app.json("health")
    assert found["storage"]["impossible"] == len(dates)
    assert f"{len(dates)} raw rows have no date, or one that cannot be" in " ".join(found["problems"])


def test_prune_deletes_old_raw_rows(make_app: Callable[..., App], database_url: str) -> None:
    app = make_app(
        database_url, STATISTICS_ROLLUPS=True, STATISTICS_RAW_RETENTION=timedelta(days=30), TESTING=True, before=routes
    )
    app.insert(old(1), old(2))
    app.client.get("/")
    assert "2 raw rows deleted" in command(app, "rollup").output
    assert "deleted" not in command(app, "prune").output
    assert (len(app.rows()), app.json("summary?span=all")["hits"]) == (1, 3)


def test_another_time_zone_is_refused(app: App, make_app: Callable[..., App], database_url: str) -> None:
    app.client.get("/")
    command(app, "rollup")
    moved = make_app(database_url, STATISTICS_ROLLUPS=True, STATISTICS_TIMEZONE="Asia/Tokyo", TESTING=True)
    assert "rebuild --all" in command(moved, "rollup", exit_code=1).output
    assert (moved.json("summary")["source"], moved.json("summary")["hits"]) == ("raw", 1)
    command(moved, "rebuild", "--all")
    assert moved.json("summary")["source"] == "rollup"


def test_commands_without_rollups(make_app: Callable[..., App]) -> None:
    app = make_app()
    assert "STATISTICS_ROLLUPS = True" in command(app, "rollup", exit_code=1).output
    assert "Rollups           off" in command(app, "status").output


def test_scheduler_starts_with_the_first_request(make_app: Callable[..., App], database_url: str) -> None:
    app = make_app(database_url, STATISTICS_ROLLUPS=True, before=routes)
    rollups = state_of(app.flask).rollups
    assert rollups is not None
    assert rollups.scheduler is not None
    app.client.get("/")
    wait_until(lambda: app.json("summary")["source"] == "rollup", "the scheduler never ran the job")
    assert app.json("summary")["hits"] == 1


def test_scheduler_stays_off_when_told(make_app: Callable[..., App]) -> None:
    app = make_app(STATISTICS_ROLLUPS=True, STATISTICS_SCHEDULER=False)
    rollups = state_of(app.flask).rollups
    assert rollups is not None
    assert rollups.scheduler is None
