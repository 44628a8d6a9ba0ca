"""Rows that are inserted many at once are the ones that are inserted one by one."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy

from flask_statistics import RequestMixin
from flask_statistics.writers.rows import ROWS_A_STEP, insert

from .conftest import App

MakeApp = Callable[..., App]
NOW = datetime(2026, 11, 22, 14, 37, 12, 345678)


def rows(number: int, **more: Any) -> list[dict[str, Any]]:
    return [
        {"date": NOW + timedelta(seconds=n), "path": f"/{n}?\N{GREEK SMALL LETTER ALPHA}", "size": n or None, **more}
        for n in range(number)
    ]


def inserted(app: App, values: list[dict[str, Any]]) -> list[tuple[int, bool]]:
    """Rows of each statement, and whether it was one execution for each row."""
    sent: list[tuple[int, bool]] = []
    with app.flask.app_context():
        engine = app.db.engine

        def note(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
            sent.append((len(parameters) if many else statement.count("(") - 1, many))

        sa.event.listen(engine, "before_cursor_execute", note)
        with engine.begin() as connection:
            insert(connection, app.Request.__table__, values)
        sa.event.remove(engine, "before_cursor_execute", note)
    return sent


@pytest.mark.parametrize("number", [0, 1, ROWS_A_STEP - 1, ROWS_A_STEP, 2 * ROWS_A_STEP + 3])
def test_rows_are_all_inserted(make_app: MakeApp, database_url: str, number: int) -> None:
    app = make_app(database_url)
    values = rows(number)
    inserted(app, values)
    assert [{"date": row.date, "path": row.path, "size": row.size} for row in app.rows()] == values
    app.close()


def test_rows_go_to_sqlite_many_in_a_step(make_app: MakeApp) -> None:
    sent = inserted(make_app(), rows(2 * ROWS_A_STEP + 3))
    assert sent == [(ROWS_A_STEP, False), (ROWS_A_STEP, False), (3, True)]


def model_with_types(db: SQLAlchemy) -> type[Any]:
    columns = {"date": db.Column(sa.DateTime(timezone=True)), "tags": db.Column("the tags", sa.JSON())}
    return type("Request", (RequestMixin, db.Model), columns)


def test_rows_have_the_types_of_their_columns(make_app: MakeApp) -> None:
    app = make_app(model=model_with_types)
    aware = NOW.replace(tzinfo=timezone.utc)
    inserted(app, [{"date": aware, "the tags": ["a", 1]}] * (ROWS_A_STEP + 1))
    assert {(str(row.date), str(row.tags)) for row in app.rows()} == {(str(app.rows()[-1].date), "['a', 1]")}


def model_with_defaults(db: SQLAlchemy) -> type[Any]:
    mark = db.Column(sa.String(36), default=lambda: str(uuid.uuid4()), unique=True)
    kind = db.Column(sa.String(9), server_default="web")
    return type("Request", (RequestMixin, db.Model), {"mark": mark, "kind": kind})


def test_rows_get_the_defaults_of_the_users_columns(make_app: MakeApp) -> None:
    app = make_app(model=model_with_defaults)
    sent = inserted(app, rows(2 * ROWS_A_STEP))
    assert len({row.mark for row in app.rows()}) == 2 * ROWS_A_STEP
    assert {row.kind for row in app.rows()} == {"web"}
    assert sent == [(2 * ROWS_A_STEP, True)]
