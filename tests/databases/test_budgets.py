"""Time budgets on each database: long statements end, the connection stays as it was, what a reader is told then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from flask_statistics.databases import budgets
from flask_statistics.databases.batches import read_in_batches
from flask_statistics.queries.raw import RawQueries

from ..conftest import App

MakeApp = Callable[..., App]
SHORT = timedelta(milliseconds=300)
"""Long enough for a small question on a busy machine."""
NUMBERS = (
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {most}) SELECT count(*) FROM {source}"
)
ENDLESS = sa.text(NUMBERS.format(most=900, source="c AS c1, c AS c2, c AS c3, c AS c4"))
"""MariaDB ends a recursion after a thousand rows; to combine them takes for ever."""
LONG = sa.text(NUMBERS.format(most=100_000, source="c"))


@contextmanager
def connected(url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def test_time_budget_ends_a_statement(database_url: str) -> None:
    with connected(database_url) as connection:
        started = time.monotonic()
        with budgets.time_budget(connection, budgets.Budget(SHORT)), pytest.raises(sa.exc.DBAPIError) as caught:
            connection.execute(ENDLESS)
        assert budgets.is_timeout(caught.value)
        assert time.monotonic() - started < 30


def test_time_budget_refuses_the_next_question(database_url: str) -> None:
    with connected(database_url) as connection, budgets.time_budget(connection, budgets.Budget(SHORT)) as budget:
        with pytest.raises(sa.exc.DBAPIError):
            connection.execute(ENDLESS)
        connection.rollback()
        with pytest.raises(budgets.OutOfTime) as caught:
            connection.execute(sa.text("SELECT 1"))
        assert budgets.is_timeout(caught.value)
        budget.renew()
        assert connection.scalar(sa.text("SELECT 1")) == 1


def test_time_budget_holds_after_a_rollback(database_url: str) -> None:
    with connected(database_url) as connection, budgets.time_budget(connection, budgets.Budget(SHORT)) as budget:
        connection.execute(sa.text("SELECT 1"))
        connection.rollback()
        budget.renew()
        with pytest.raises(sa.exc.DBAPIError) as caught:
            connection.execute(ENDLESS)
        assert budgets.is_timeout(caught.value)


def test_time_budget_leaves_the_connection_as_it_was(database_url: str) -> None:
    engine = sa.create_engine(database_url, pool_size=1, max_overflow=0)
    with engine.connect() as connection, budgets.time_budget(connection, budgets.Budget(SHORT)):
        connection.execute(sa.text("SELECT 1"))
        before = connection.connection.dbapi_connection
    deadline = time.monotonic() + SHORT.total_seconds() + 0.05
    with engine.connect() as connection:
        assert connection.connection.dbapi_connection is before
        if engine.dialect.name in ("mysql", "mariadb"):
            assert connection.scalar(sa.text("SELECT @@max_statement_time")) == 0
        else:
            while time.monotonic() < deadline:
                assert connection.scalar(LONG) == 100_000
        if engine.dialect.name == "postgresql":
            assert connection.scalar(sa.text("SHOW statement_timeout")) == "0"
    engine.dispose()


def test_time_budget_leaves_other_threads_of_one_connection_alone() -> None:
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool, connect_args={"check_same_thread": False})
    found: list[Any] = []

    def host() -> None:
        with engine.connect() as connection:
            found.append(connection.scalar(LONG))

    with (
        engine.connect() as connection,
        budgets.time_budget(connection, budgets.Budget(timedelta(milliseconds=1))) as budget,
    ):
        while not budget.is_spent():
            pass
        thread = threading.Thread(target=host)
        thread.start()
        thread.join()
    assert found == [100_000]
    engine.dispose()


def test_other_errors_are_no_timeout(database_url: str) -> None:
    with connected(database_url) as connection, pytest.raises(sa.exc.DBAPIError) as caught:
        connection.execute(sa.text("SELECT nowhere"))
    assert not budgets.is_timeout(caught.value)
    assert not budgets.is_timeout(ValueError("interrupted"))


class Backwards(sa.types.TypeDecorator[str]):
    """A type of the user's."""

    impl = sa.String(20)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else value[::-1]

    process_result_value = process_bind_param


LOG = sa.Table(
    "log",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("date", sa.DateTime),
    sa.Column("text", Backwards),
)


def test_batches_are_columns_in_the_order_of_date_and_key(database_url: str) -> None:
    dates = [datetime(2026, 3, 1, 0, 0, second) for second in (2, 1, 1, 3, 2)]
    with connected(database_url) as connection:
        LOG.create(connection)
        rows = [{"id": k, "date": date, "text": None if k == 4 else f"ab{k}"} for k, date in enumerate(dates, 1)]
        connection.execute(sa.insert(LOG), rows)
        query = sa.select(LOG.c.date, LOG.c.id, LOG.c.text)
        found = list(read_in_batches(connection, query, LOG.c.date, LOG.c.id, size=2))
        assert connection.scalar(sa.select(sa.func.count()).where(LOG.c.text == "ab1")) == 1
    assert [[list(column) for column in batch] for batch in found] == [
        [[dates[1], dates[2]], [2, 3], ["ab2", "ab3"]],
        [[dates[0], dates[4]], [1, 5], ["ab1", "ab5"]],
        [[dates[3]], [4], [None]],
    ]


def test_batches_end_with_the_time(tmp_path: Path) -> None:
    many = "INSERT INTO log (id) WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 50000) SELECT n FROM c"
    with connected(f"sqlite:///{tmp_path / 'log.sqlite'}") as connection:
        LOG.create(connection)
        connection.execute(sa.text(many))
        connection.commit()
        with budgets.time_budget(connection, budgets.Budget(SHORT)) as budget:
            query = sa.select(LOG.c.date, LOG.c.id)
            batches = read_in_batches(connection, query, LOG.c.date, LOG.c.id, size=25_000)
            next(batches)
            while not budget.is_spent():
                pass
            with pytest.raises(sa.exc.SQLAlchemyError) as caught:
                list(batches)
        assert budgets.is_timeout(caught.value)


# ---- what a reader is told -------------------------------------------------------------------------------------------


@pytest.fixture
def slow(make_app: MakeApp, database_url: str, monkeypatch: pytest.MonkeyPatch) -> App:
    """An app whose summaries never end."""
    app = make_app(database_url, STATISTICS_QUERY_TIMEOUT=timedelta(seconds=1))
    app.insert({"date": datetime(2026, 3, 1), "path": "/"})
    monkeypatch.setattr(RawQueries, "summary", lambda self, *_, **__: self._connection.execute(ENDLESS))
    return app


def test_api_says_that_a_question_takes_too_long(slow: App) -> None:
    assert slow.json("summary", 503) == {
        "error": "This took longer than STATISTICS_QUERY_TIMEOUT (1 s). "
        "Ask for a shorter span or fewer filters, or see STATISTICS_ROLLUPS."
    }
    assert slow.json("breakdown/path?span=all")["rows"][0]["hits"] == 1


def test_page_shows_what_it_has_when_time_is_up(
    make_app: MakeApp, database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(database_url, STATISTICS_QUERY_TIMEOUT=timedelta(seconds=1))
    app.insert({"date": datetime(2026, 3, 1), "path": "/"})
    monkeypatch.setattr(RawQueries, "breakdowns", lambda self, *_, **__: self._connection.execute(ENDLESS))
    page = app.client.get("/statistics/?span=all")
    assert page.status_code == 200
    assert (
        "Some numbers took longer than 1.00 s and are not shown. Choose a shorter span or fewer filters." in page.text
    )
    assert "Could not be computed" in page.text
    assert len([record for record in caplog.records if "could not be computed" in record.message]) == 1


def test_page_without_any_answer_says_why(slow: App) -> None:
    page = slow.client.get("/statistics/panel/summary?span=all")
    assert page.status_code == 503
    assert "This took longer than STATISTICS_QUERY_TIMEOUT (1 s)." in page.text


def test_export_may_take_longer_than_its_pieces(
    make_app: MakeApp, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_statistics.pages.request_log.FILE_ROWS", 1)
    monkeypatch.setattr("flask_statistics.export.PIECE", 1)
    limit, late = timedelta(seconds=10), [0.0]
    monkeypatch.setattr(budgets, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + sum(late)))
    app = make_app(database_url, STATISTICS_QUERY_TIMEOUT=limit)
    app.insert(*({"date": datetime(2026, 3, 1, hour), "path": f"/{hour}"} for hour in range(3)))
    with app.client.get("/statistics/export/requests.csv?span=all") as response:
        lines = []
        for piece in response.response:
            lines.append(piece)
            late.append(limit.total_seconds() * 0.6)
    assert len(b"".join(lines).splitlines()) == 4  # type: ignore[arg-type]
