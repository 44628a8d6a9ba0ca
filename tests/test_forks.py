"""A fork waits for what is at stake in other threads."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from flask_statistics import forks
from flask_statistics.writers.transaction import commit


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_waits_for_a_transaction_of_another_thread(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'app.sqlite'}"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (x INTEGER)"))
    inside = threading.Event()

    def insert(number: int) -> Callable[[sa.Connection], None]:
        return lambda connection: connection.exec_driver_sql(f"INSERT INTO t VALUES ({number})").close()

    def work(connection: sa.Connection) -> None:
        insert(1)(connection)
        inside.set()
        deadline = time.monotonic() + 10
        while not forks.is_awaited() and time.monotonic() < deadline:
            time.sleep(0.001)

    thread = threading.Thread(target=lambda: commit(engine, work, wait_ms=0))
    thread.start()
    assert inside.wait(10)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            own = sa.create_engine(url, connect_args={"timeout": 0}, poolclass=sa.NullPool)
            commit(own, insert(2), wait_ms=0)
            status = 0
        finally:
            os._exit(status)
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    commit(engine, insert(3), wait_ms=1_000)
    with engine.connect() as connection:
        assert sorted(connection.scalars(sa.text("SELECT x FROM t"))) == [1, 2, 3]
    engine.dispose()
