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
from flask_statistics.databases import many_rows
from flask_statistics.writers.rows import insert

from ..conftest import App

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


@pytest.mark.parametrize("number", [0, 1, 4, 63, 2 * many_rows.STEPS[0] + 3])
def test_rows_are_all_inserted(make_app: MakeApp, database_url: str, number: int) -> None:
    app = make_app(database_url)
    values = rows(number)
    inserted(app, values)
    assert [{"date": row.date, "path": row.path, "size": row.size} for row in app.rows()] == values
    app.close()


def test_rows_go_to_sqlite_many_in_a_step(make_app: MakeApp) -> None:
    sent = inserted(make_app(), rows(600))
    assert sent == [(size, False) for size in (500, 64, 16, 16, 4)]


def test_rows_go_to_an_old_sqlite_in_smaller_steps(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_rows, "MOST_PARAMETERS", 999)
    app = make_app()
    assert inserted(app, rows(600))[:2] == [(256, False), (256, False)]  # of three values
    wide = [row | dict.fromkeys(("method", "referrer"), "x") for row in rows(300)]
    assert {size for size, _ in inserted(app, wide)} == {64, 16, 4}
    assert len(app.rows()) == 900


def model_with_types(db: SQLAlchemy) -> type[Any]:
    columns = {"date": db.Column(sa.DateTime(timezone=True)), "tags": db.Column("the tags", sa.JSON())}
    return type("Request", (RequestMixin, db.Model), columns)


def test_rows_have_the_types_of_their_columns(make_app: MakeApp) -> None:
    app = make_app(model=model_with_types)
    aware = NOW.replace(tzinfo=timezone.utc)
    inserted(app, [{"date": aware, "the tags": ["a", 1]}] * 5)
    assert {(str(row.date), str(row.tags)) for row in app.rows()} == {(str(app.rows()[-1].date), "['a', 1]")}


class Never(sa.TypeDecorator[str]):
    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        raise ValueError("never")


def test_rows_that_a_type_of_the_users_does_not_take_are_told_as_by_sqlalchemy(make_app: MakeApp) -> None:
    app = make_app(model=lambda db: type("Request", (RequestMixin, db.Model), {"path": db.Column(Never())}))
    with pytest.raises(sa.exc.StatementError, match="never"):
        inserted(app, rows(1))


def model_with_defaults(db: SQLAlchemy) -> type[Any]:
    mark = db.Column(sa.String(36), default=lambda: str(uuid.uuid4()), unique=True)
    kind = db.Column(sa.String(9), server_default="web")
    return type("Request", (RequestMixin, db.Model), {"mark": mark, "kind": kind})


def test_rows_get_the_defaults_of_the_users_columns(make_app: MakeApp) -> None:
    app = make_app(model=model_with_defaults)
    sent = inserted(app, rows(100))
    assert len({row.mark for row in app.rows()}) == 100
    assert {row.kind for row in app.rows()} == {"web"}
    assert sent == [(100, True)]


@pytest.mark.parametrize(
    "default", [sa.func.lower("X"), sa.literal("x"), sa.text("'x'")], ids=["function", "literal", "text"]
)
def test_rows_get_what_the_database_makes_of_the_users_defaults(make_app: MakeApp, default: Any) -> None:
    app = make_app(
        model=lambda db: type("Request", (RequestMixin, db.Model), {"kind": db.Column(sa.String(9), default=default)})
    )
    inserted(app, rows(70))
    assert {row.kind for row in app.rows()} == {"x"}


def test_rows_get_keys_that_the_database_makes(make_app: MakeApp) -> None:
    key = sa.text("(lower(hex(randomblob(16))))")
    app = make_app(
        model=lambda db: type(
            "Request",
            (RequestMixin, db.Model),
            {"index": db.Column(sa.String(32), primary_key=True, server_default=key)},
        )
    )
    inserted(app, rows(70))
    assert len({row.index for row in app.rows()}) == 70


def test_rows_go_to_the_schema_that_the_engine_translates_to(make_app: MakeApp) -> None:
    app = make_app(
        SQLALCHEMY_ENGINE_OPTIONS={"execution_options": {"schema_translate_map": {"stats": None}}},
        model=lambda db: type("Request", (RequestMixin, db.Model), {"__table_args__": {"schema": "stats"}}),
    )
    inserted(app, rows(70))
    assert len(app.rows()) == 70


def test_rows_with_a_value_that_the_driver_does_not_take(make_app: MakeApp) -> None:
    app = make_app()
    with pytest.raises(sa.exc.StatementError, match="too large"):
        inserted(app, [{"date": NOW, "size": 10**30}])
