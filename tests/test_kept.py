"""Marks: who may make them, what they may be, and how many there are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from flask_statistics.guards import everybody, token
from flask_statistics.kept import EVENT, MOST_MARKS, RELEASE, Full, Kept, Mark, add_mark, note_releases

from .conftest import App

MakeApp = Callable[..., App]
AT = datetime(2026, 11, 26, 12, 10)
API = "/statistics/api/marks"


def inside() -> bool:
    """A guard that lets in, and is none of those that let everybody in."""
    return True


def marks(app: App) -> list[tuple[str, str, datetime]]:
    return [(mark.kind, mark.text, mark.at) for mark in app.statistics_state().read_kept().marks]


def change(app: App, work: Callable[[sa.Connection], Any]) -> Any:
    state = app.statistics_state()
    with state.our_engine().begin() as connection:
        return work(connection)


def test_marks_are_read_as_they_were_kept(make_app: MakeApp, database_url: str) -> None:
    app = make_app(database_url)
    tables, later = app.statistics_state().kept, AT + timedelta(minutes=1)
    kept = (Mark("ä“𝕊", AT), Mark("v42", later, RELEASE), Mark("V42", later + timedelta(days=1)))
    for mark in (kept[2], kept[0], kept[0]):
        change(app, partial(add_mark, tables=tables, mark=mark))
    assert change(app, lambda connection: note_releases(connection, tables, [kept[1]])) == 1
    assert app.statistics_state().read_kept() == Kept(marks=kept)
    assert app.flask.extensions["statistics"].app is app.flask
    assert app.statistics.query(app.flask).marks() == kept


def test_a_release_is_as_old_as_it_was_seen_first(make_app: MakeApp, database_url: str) -> None:
    app = make_app(database_url)
    tables, hour = app.statistics_state().kept, timedelta(hours=1)
    noted = [
        change(app, partial(note_releases, tables=tables, seen=[Mark("v42", at, RELEASE)]))
        for at in (AT, AT + hour, AT - hour)
    ]
    assert (noted, marks(app)) == ([1, 0, 1], [(RELEASE, "v42", AT - hour)])


def test_the_latest_releases_are_kept(make_app: MakeApp) -> None:
    app = make_app()
    tables = app.statistics_state().kept
    seen = [Mark(f"v{number}", AT + timedelta(minutes=number), RELEASE) for number in range(MOST_MARKS + 3)]
    change(app, lambda connection: note_releases(connection, tables, seen))
    assert [text for _, text, _ in marks(app)] == [mark.text for mark in seen[3:]]


def test_as_many_marks_as_there_may_be(make_app: MakeApp) -> None:
    app = make_app()
    tables = app.statistics_state().kept
    for number in range(MOST_MARKS):
        change(app, partial(add_mark, tables=tables, mark=Mark(f"{number}", AT)))
    with pytest.raises(Full, match=r"^100 marks are kept already: delete one first"):
        change(app, lambda connection: add_mark(connection, tables, Mark("one more", AT)))
    refused = make_app(before_f=inside).client.post(API, data={"text": "elsewhere there is room"})
    assert refused.status_code == 201


def test_a_missing_table_breaks_nothing(make_app: MakeApp, database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    app = make_app(database_url)
    app.client.get("/")
    change(app, lambda connection: app.statistics_state().kept.mark.drop(connection))
    page = app.client.get("/statistics/")
    assert (page.status_code, "Could not be computed" in page.text) == (200, False)
    assert app.json("marks") == {"marks": []}
    assert "marks and saved views could not be read" in caplog.text
    assert "flask statistics init" in caplog.text
    result = app.flask.test_cli_runner().invoke(args=["statistics", "init"])
    assert result.output == "Created the table statistics_mark.\n"


# ---- the API ---------------------------------------------------------------------------------------------------------


def test_marks_by_the_api(make_app: MakeApp) -> None:
    app = make_app(before_f=inside, STATISTICS_TIMEZONE="Europe/Berlin")
    asked = {"text": " Moved to PostgreSQL ", "at": "2026-11-26T12:10"}
    made = app.client.post(API, json=asked)
    expected = {
        "id": made.get_json()["id"],
        "kind": EVENT,
        "text": "Moved to PostgreSQL",
        "at": "2026-11-26T12:10:00+01:00",
    }
    assert (made.status_code, made.json) == (201, expected)
    assert app.client.post(API, data=asked).json == expected
    assert app.json("marks") == {"marks": [expected]}
    assert app.client.delete(f"{API}/{expected['id']}").json == {"id": expected["id"]}
    assert app.client.delete(f"{API}/{expected['id']}").status_code == 404
    assert app.json("marks") == {"marks": []}


@pytest.mark.parametrize(
    ("at", "kept"),
    [
        ("2026-11-26", datetime(2026, 11, 25, 23)),
        ("2026-11-26T12:10:59Z", datetime(2026, 11, 26, 12, 10)),
        ("2026-11-26T12:10-05:30", datetime(2026, 11, 26, 17, 40)),
        ("2026-10-25T02:30", datetime(2026, 10, 25, 0, 30)),  # the first of two
        ("2026-10-25T02:30+01:00", datetime(2026, 10, 25, 1, 30)),
        ("2026-03-29T02:30", datetime(2026, 3, 29, 1, 30)),  # no clock showed it
    ],
)
def test_marks_in_the_dashboards_zone(make_app: MakeApp, at: str, kept: datetime) -> None:
    app = make_app(before_f=inside, STATISTICS_TIMEZONE="Europe/Berlin")
    assert app.client.post(API, json={"text": "here", "at": at}).status_code == 201
    assert marks(app) == [(EVENT, "here", kept)]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "text is None, but must be a text of 1 to 64 characters that can be seen"),
        ({"text": "  "}, "text is '  ', but must be a text of 1 to 64 characters that can be seen"),
        ({"text": "x" * 65}, f"text is '{'x' * 65}', but must be a text of 1 to 64 characters that can be seen"),
        ({"text": "a\u202eb"}, "text is 'a\\u202eb', but must be a text of 1 to 64 characters that can be seen"),
        ({"text": "a\0b"}, "text is 'a\\x00b', but must be a text of 1 to 64 characters that can be seen"),
        ({"text": ["x"]}, "text is ['x'], but must be a text of 1 to 64 characters that can be seen"),
        ({"text": "x", "at": 5}, "at is 5, but must be a text such as 2026-11-26T12:10"),
        (
            {"text": "x", "at": "0001-01-01T00:00+14:00"},
            "at is '0001-01-01T00:00+14:00', but must be a date such as 2026-11-22, or 2026-11-22T14:00",
        ),
        ({"text": "x", "when": "now"}, "'when' is no parameter; there are text, at"),
        (["x"], 'What is sent must be an object of JSON, such as {"text": "Moved to PostgreSQL"}, or a form'),
        ({"text": "x" * 5_000}, "What is sent must say its length, of 4,096 bytes at most"),
    ],
)
def test_marks_that_cannot_be(make_app: MakeApp, body: Any, message: str) -> None:
    app = make_app(before_f=inside)
    refused = app.client.post(API, json=body)
    assert (refused.status_code, refused.json) == (400, {"error": message})
    assert marks(app) == []


def test_nobody_marks_what_everybody_sees(make_app: MakeApp) -> None:
    app = make_app(before_f=everybody)
    refused = app.client.post(API, json={"text": "spam"})
    assert (refused.status_code, marks(app)) == (403, [])
    assert refused.get_json()["error"].startswith(
        "Everybody may see this dashboard, so nobody may change anything by it"
    )
    assert app.client.delete(f"{API}/x").status_code == 403


def test_marks_by_a_token(make_app: MakeApp) -> None:
    secret = "a-token-that-is-long-enough"
    app = make_app(before_f=token(secret))
    assert app.client.post(API, json={"text": "x"}).status_code == 403
    bearer = {"Authorization": f"Bearer {secret}"}
    assert (
        app.client.post(API, json={"text": "x"}, headers={**bearer, "Origin": "https://evil.example"}).status_code
        == 403
    )
    assert app.client.post(API, json={"text": "x"}, headers=bearer).status_code == 201
    assert len(marks(app)) == 1


def test_marks_while_the_database_is_away(make_app: MakeApp, caplog: pytest.LogCaptureFixture) -> None:
    app = make_app(before_f=inside)
    change(app, lambda connection: app.statistics_state().kept.mark.drop(connection))
    refused = app.client.post(API, json={"text": "x"})
    assert refused.status_code == 503
    assert "flask statistics init" in refused.get_json()["error"]
    assert "what somebody decided could not be kept" in caplog.text
