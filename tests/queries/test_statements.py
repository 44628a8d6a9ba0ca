"""What statements took: the same answers from each database, for each span, route, search and order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from flask_statistics.queries.statements import StatementList, StatementQueries
from flask_statistics.spans import Span
from flask_statistics.statements import storing
from flask_statistics.statements.tally import Statement, Sum

from ..conftest import App

HOUR = timedelta(hours=1)
NOON = datetime(2026, 11, 22, 12)
PLACE = "shop/views.py:41"


@pytest.fixture
def queries(make_app: Callable[..., App], database_url: str) -> Iterator[StatementQueries]:
    """Statements of two hours: one of two routes, one in a loop, and one from nowhere."""
    app = make_app(database_url, STATISTICS_QUERIES=True)
    state = app.statistics_state()
    assert state.statements is not None
    common, loop = Statement("0a", "SELECT ? FROM ware", PLACE, "/a"), Statement("0b", "SELECT price", PLACE, "/a")
    sums = {
        (NOON, common): Sum(4, 4, 0, 4_000, 1_500, {100: 3, 200: 1}),
        (NOON + HOUR, common): Sum(1, 1, 0, 9_000, 9_000, {240: 1}),
        (NOON, Statement("0a", "SELECT ? FROM ware", PLACE, None)): Sum(1, 1, 0, 500, 500, {90: 1}),
        (NOON, loop): Sum(30, 2, 2, 3_000, 200, {60: 30}),
        (NOON, Statement("0c", "INSERT INTO Größe", None, "/b")): Sum(2, 2, 0, 100, 60, {10: 2}),
    }
    with state.our_engine().begin() as connection:
        for piece in storing.pieces(sums):
            storing.add(connection, state.statements, piece, NOON + HOUR)
    with app.flask.app_context():
        yield StatementQueries(state.statements, state.reading_ours)


def span(start: datetime, end: datetime) -> Span:
    return Span(start, end, ZoneInfo("UTC"))


ALL = span(NOON, NOON + 2 * HOUR)


def texts(found: StatementList) -> list[str]:
    return [row.text for row in found.rows]


def test_statements_are_added_up_over_hours_and_routes(queries: StatementQueries) -> None:
    found = queries.statements(ALL, limit=10)
    assert texts(found) == ["SELECT ? FROM ware", "SELECT price", "INSERT INTO Größe"]
    assert found.count == 3
    assert found.total == pytest.approx(0.0166)
    first = found.rows[0]
    assert (first.digest, first.place, first.routes) == ("0a", PLACE, (None, "/a"))
    assert (first.calls, first.requests, first.repeated, first.last) == (6, 6, 0, NOON + HOUR)
    assert first.total == pytest.approx(0.0135)
    assert first.longest == pytest.approx(0.009)
    assert first.p50 is not None
    assert first.p95 is not None
    assert 0 < first.p50 < first.p95 <= first.longest
    assert found.rows[2].place is None


def test_statements_of_a_span_are_those_of_the_hours_that_it_touches(queries: StatementQueries) -> None:
    assert queries.statements(span(NOON - HOUR, NOON), limit=10).count == 0
    assert queries.statements(span(NOON + timedelta(minutes=59), NOON + HOUR), limit=10).count == 3
    late = queries.statements(span(NOON + HOUR, NOON + 2 * HOUR), limit=10)
    assert [(row.text, row.calls) for row in late.rows] == [("SELECT ? FROM ware", 1)]


def test_statements_of_a_route(queries: StatementQueries) -> None:
    (row,) = queries.statements(ALL, wanted=lambda route: route is None, limit=10).rows
    assert (row.routes, row.calls) == ((None,), 1)
    assert texts(queries.statements(ALL, wanted=lambda route: route == "/b", limit=10)) == ["INSERT INTO Größe"]


@pytest.mark.parametrize(
    ("search", "count"), [("select", 2), ("GRÖSSE", 1), ("VIEWS.py:41", 2), ("%", 0), ("_", 0), ("", 3)]
)
def test_statements_that_contain_a_text(queries: StatementQueries, search: str, count: int) -> None:
    assert queries.statements(ALL, search=search, limit=10).count == count


@pytest.mark.parametrize(
    ("order", "first", "last"),
    [
        ("-total", "SELECT ? FROM ware", "INSERT INTO Größe"),
        ("total", "INSERT INTO Größe", "SELECT ? FROM ware"),
        ("-calls", "SELECT price", "INSERT INTO Größe"),
        ("-p50", "SELECT ? FROM ware", "INSERT INTO Größe"),
        ("p95", "INSERT INTO Größe", "SELECT ? FROM ware"),
        ("-longest", "SELECT ? FROM ware", "INSERT INTO Größe"),
        ("statement", "INSERT INTO Größe", "SELECT price"),
    ],
)
def test_statements_in_an_order(queries: StatementQueries, order: str, first: str, last: str) -> None:
    found = queries.statements(ALL, order=order, limit=10)
    assert (texts(found)[0], texts(found)[-1]) == (first, last)
    one = queries.statements(ALL, order=order, limit=1)
    assert (texts(one), one.count, one.total) == ([first], 3, found.total)
    assert one.rows == found.rows[:1]


def test_statements_in_loops_are_listed_alone(queries: StatementQueries) -> None:
    found = queries.statements(ALL, order="-repeated", limit=10)
    assert [(row.text, row.repeated, row.requests) for row in found.rows] == [("SELECT price", 2, 2)]
    assert found.count == 1
