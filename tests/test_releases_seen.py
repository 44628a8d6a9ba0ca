"""Since when a release is seen: noted by its process, or found in what is stored, alike in both modes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_statistics.kept import RELEASE, Mark
from flask_statistics.releases_seen import to_minute

from .conftest import App

MakeApp = Callable[..., App]
NOW = datetime(2026, 11, 28, 17, 42)
BOTH = pytest.mark.parametrize("rollups", [False, True], ids=["raw", "rollups"])


def now() -> datetime:
    return datetime.now(timezone.utc).replace(tzinfo=None)


def rows(*seen: tuple[str | None, datetime]) -> list[dict[str, Any]]:
    return [{"date": at, "path": "/", "method": "GET", "status_code": 200, "release": release} for release, at in seen]


def fill(app: App) -> str:
    state = app.statistics_state()
    if state.rollups is not None:
        state.rollups.job().run(now())
    result = app.flask.test_cli_runner().invoke(args=["statistics", "fill", "marks"])
    assert result.exit_code == 0, result.output
    return result.stdout


def marked(app: App) -> dict[str, datetime]:
    return {mark.text: mark.at for mark in app.statistics_state().read_kept().marks}


@BOTH
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu"])
def test_releases_are_found_in_what_is_stored(make_app: MakeApp, rollups: bool, zone: str) -> None:
    app = make_app(
        STATISTICS_ROLLUPS=rollups, STATISTICS_RELEASE="v0", STATISTICS_SCHEDULER=False, STATISTICS_TIMEZONE=zone
    )
    hour = timedelta(hours=1)
    first, second = datetime(2026, 10, 24, 23, 59, 59), datetime(2026, 10, 25, 1, 30, 7)
    seen = [
        ("v1", first),
        ("v1", second + hour),
        ("v2", second),
        ("v2", first + 3 * hour),
        (None, first - hour),
        ("", first),
    ]
    app.insert(*rows(*seen))
    assert fill(app) == "2 releases found, 2 of them marked anew.\n"
    assert marked(app) == {"v1": to_minute(first), "v2": to_minute(second)}
    assert fill(app) == "2 releases found, 0 of them marked anew.\n"


@settings(max_examples=30)
@given(
    seen=st.lists(
        st.tuples(
            st.sampled_from(["v1", "v2", "<b>v3</b>", "v' --", "\u202ev", None]),
            st.datetimes(datetime(2026, 1, 1), datetime(2026, 4, 1)),
        ),
        max_size=20,
    )
)
@pytest.mark.parametrize("rollups", [False, True], ids=["raw", "rollups"])
def test_each_release_begins_with_its_first_request(
    make_app: MakeApp, rollups: bool, seen: list[tuple[str | None, datetime]]
) -> None:
    app = make_app(
        STATISTICS_ROLLUPS=rollups,
        STATISTICS_RELEASE="v0",
        STATISTICS_SCHEDULER=False,
        STATISTICS_TIMEZONE="America/St_Johns",
    )
    app.insert(*rows(*seen))
    fill(app)
    expected: dict[str, datetime] = {}
    for release, at in sorted(seen, key=lambda each: each[1]):
        if release is not None:
            expected.setdefault(release, to_minute(at))
    assert marked(app) == expected
    app.close()


def test_rollups_know_releases_whose_rows_are_gone(make_app: MakeApp) -> None:
    app = make_app(STATISTICS_ROLLUPS=True, STATISTICS_RELEASE="v0", STATISTICS_SCHEDULER=False)
    first = datetime(2026, 1, 5, 12, 10, 30)
    app.insert(*rows(("v1", first), ("v2", first + timedelta(days=40))))
    state = app.statistics_state()
    assert state.rollups is not None
    state.rollups.job().run(NOW)
    with state.engine().begin() as connection:
        connection.execute(state.raw.table.delete())
    assert app.flask.test_cli_runner().invoke(args=["statistics", "fill", "marks"]).exit_code == 0
    assert marked(app)["v1"] == datetime(2026, 1, 5, 12, 10)


def test_fill_marks_needs_releases(make_app: MakeApp) -> None:
    app = make_app()
    refused = app.flask.test_cli_runner().invoke(args=["statistics", "fill", "marks"])
    assert (
        refused.stderr
        == "Error: Nothing is known of releases: set STATISTICS_RELEASE, and let the model have the column 'release'.\n"
    )


def test_a_process_notes_its_release(make_app: MakeApp, database_url: str) -> None:
    app = make_app(database_url, STATISTICS_RELEASE="v42")
    app.client.get("/")
    seen = app.statistics_state().release_seen
    assert seen is not None
    seen.ensure_noted()
    seen.ensure_noted()
    assert seen._thread is not None
    seen._thread.join(10)
    (mark,) = app.statistics_state().read_kept().marks
    assert (mark.text, mark.kind) == ("v42", RELEASE)
    assert timedelta() <= now() - mark.at < timedelta(minutes=2)
    seen.note(app.statistics_state().our_engine(), Mark("v42", mark.at + timedelta(days=1), RELEASE))
    assert app.statistics_state().read_kept().marks == (mark,)


def test_without_a_release_nothing_is_noted(make_app: MakeApp) -> None:
    assert make_app().statistics_state().release_seen is None
