"""Locks of a host that vanished."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from flask_statistics import databases

from .test_budgets import SHORT, connected


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_end_when_idle_gives_back_the_locks_of_a_host_that_vanished(new_database: Any, kind: str) -> None:
    with new_database(kind) as url:
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        change = sa.text("UPDATE t SET x = x + 1")
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE t AS SELECT 1 AS x"))
        with engine.connect() as vanished:
            databases.of(vanished).end_when_idle(vanished, timedelta(milliseconds=100))
            vanished.execute(change)
            with engine.begin() as connection:
                connection.execute(change)  # waits for the lock
                assert connection.scalar(sa.text("SELECT x FROM t")) == 2
            with pytest.raises(sa.exc.DBAPIError, match=r"idle-in-transaction timeout|Lost connection|gone away"):
                vanished.execute(change)


def test_end_when_idle_leaves_other_databases_alone(new_database: Any) -> None:
    with new_database("sqlite") as url, connected(url) as connection:
        databases.of(connection).end_when_idle(connection, SHORT)
        assert not connection.in_transaction()
