"""Clients in rollups, which have no address: told as long as their raw rows are there, and no longer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from unittest import mock

import pytest
import sqlalchemy as sa

from flask_statistics.filters import Filters, read_filters
from flask_statistics.rollups import clients
from flask_statistics.spans import Span

from ..conftest import App
from ..rollup_bench import DIMENSIONS, TABLES, Rolled

NOW = datetime(2026, 11, 22, 14, 37)


@pytest.fixture
def rolled(database_url: str) -> Iterator[Rolled]:
    rolled = Rolled(database_url)
    yield rolled
    rolled.close()


def seen(days_ago: int, address: str | None, **values: Any) -> dict[str, Any]:
    return {"date": NOW - timedelta(days=days_ago), "path": "/", "remote_address": address} | values


def hits(rolled: Rolled, dimension: str, **options: Any) -> dict[Any, int]:
    span = Span(NOW - timedelta(days=90), NOW + timedelta(days=1), rolled.zone)
    with rolled.rollups() as rollups:
        rows = rollups.breakdown(dimension, span, Filters(), **options).rows
    return {row.value: row.measures.hits for row in rows}


def test_no_address_is_in_the_rollup_tables(rolled: Rolled) -> None:
    rolled.insert([seen(1, "203.0.113.77"), seen(40, "203.0.113.78")])
    rolled.job.run(NOW)
    with rolled.engine.connect() as connection:
        for table in TABLES.all():
            assert "203.0.113.7" not in repr(connection.execute(sa.select(table)).all()), table.name
        assert set(connection.scalars(sa.select(TABLES.visitor.c.network))) == {"203.0.113.0/24"}
    assert hits(rolled, "address") == {"203.0.113.77": 1, "203.0.113.78": 1}


def test_clients_are_told_from_the_oldest_raw_row_on(rolled: Rolled) -> None:
    rolled.insert([seen(40, "203.0.113.1"), seen(40, "192.0.2.1"), seen(2, "203.0.113.1"), seen(1, None)])
    job = rolled.job_with(raw=timedelta(days=7))
    job.run(NOW)
    job.run(NOW + timedelta(hours=2))
    span = Span(NOW - timedelta(days=90), NOW + timedelta(days=1), rolled.zone)
    with rolled.rollups() as rollups:
        answer = rollups.breakdown("address", span, Filters())
        filtered = rollups.summary(span, read_filters([("address", "203.0.113.1")], DIMENSIONS)[0])
        everybody = rollups.summary(span, Filters())
    with rolled.engine.connect() as connection:
        oldest = rolled.source.oldest(connection)
        networks = connection.scalars(sa.select(TABLES.visitor.c.network)).all()
    if oldest == NOW - timedelta(days=2):  # else a partition waits for the end of its month
        assert {row.value: row.measures.hits for row in answer.rows} == {"203.0.113.1": 1, None: 1}
        assert (answer.complete_from, filtered.hits, everybody.hits) == (oldest, 1, 4)
        assert list(networks) == ["203.0.113.0/24"]


def test_a_client_whose_row_somebody_deleted_is_counted(rolled: Rolled) -> None:
    rolled.insert([seen(2, "203.0.113.1"), seen(1, "192.0.2.1")])
    rolled.job.run(NOW)
    with rolled.engine.begin() as connection:
        raw = rolled.source.raw
        connection.execute(sa.delete(raw.table).where(raw.columns["remote_address"] == "192.0.2.1"))
    found = hits(rolled, "address")
    assert found.pop("203.0.113.1") == 1
    ((name, count),) = found.items()
    assert (str(name).startswith("(unknown "), count) == (True, 1)


def test_clients_with_equal_hits_stand_in_the_order_of_their_addresses(rolled: Rolled) -> None:
    addresses = [f"192.0.2.{number}" for number in (7, 3, 9, 1, 5)]
    rolled.insert([seen(1, address) for address in addresses])
    rolled.insert([seen(40, "192.0.2.9")])
    rolled.job.run(NOW)
    assert list(hits(rolled, "address", limit=3)) == ["192.0.2.9", "192.0.2.1", "192.0.2.3"]
    assert list(hits(rolled, "address", limit=2, offset=3)) == ["192.0.2.5", "192.0.2.7"]


def test_of_very_many_clients_the_commonest_are_searched(rolled: Rolled) -> None:
    rolled.insert([seen(1, f"192.0.2.{number}") for number in range(9)] + [seen(1, "203.0.113.1")] * 2)
    rolled.job.run(NOW)
    span = Span(NOW - timedelta(days=90), NOW + timedelta(days=1), rolled.zone)
    with mock.patch.object(clients, "MOST_NAMED", 4), rolled.rollups() as rollups:
        answer = rollups.breakdown("address", span, Filters(), search="203.0")
        by_hits = rollups.breakdown("address", span, Filters(), limit=1)
    assert (answer.among, [row.value for row in answer.rows]) == (4, ["203.0.113.1"])
    assert (by_hits.total, by_hits.among) == (10, None)


def test_a_forgotten_client_is_told_nowhere(make_app: Callable[..., App], database_url: str) -> None:
    app = make_app(database_url, STATISTICS_ROLLUPS=True, STATISTICS_SCHEDULER=False)
    for address in ("203.0.113.7", "203.0.113.7", "192.0.2.1"):
        app.client.get("/", environ_overrides={"REMOTE_ADDR": address})
    run = app.flask.test_cli_runner()
    assert run.invoke(args=["statistics", "rollup"]).exit_code == 0
    result = run.invoke(args=["statistics", "forget", "203.0.113.7", "--yes"])
    assert result.exit_code == 0, result.output
    for dimension, left in (("address", "192.0.2.1"), ("network", "192.0.2.0/24")):
        assert [row["value"] for row in app.json(f"breakdown/{dimension}")["rows"]] == [left]
    assert app.json("summary?network=203.0.113.0/24")["hits"] == 0
