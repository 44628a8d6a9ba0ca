"""Faults under load with gunicorn: in a short form, what `benchmarks.chaos` runs for minutes."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from benchmarks import chaos, galera
from benchmarks.common import make_app
from benchmarks.serving import wait_until
from flask_statistics.state import state_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds gunicorn's workers in /proc")
SHORT = (
    "the spool's folder is deleted",
    "killed, and the database renamed",
    "killed, and the helper files zeroed",
    "killed, and the machine goes back",
)


@pytest.mark.parametrize("name", SHORT)
def test_chaos_costs_nothing(tmp_path: Path, name: str) -> None:
    found = chaos.on_sqlite(chaos.SQLITE[name], tmp_path, seconds=1.5)
    assert (found.lost, found.doubled, found.aside) == (0, 0, 0)
    assert found.answered == found.stored > 0


def test_chaos_of_a_full_disk_is_counted(tmp_path: Path) -> None:
    if not chaos.may_mount():
        pytest.skip("only root may mount a small disk")
    found = chaos.on_small_disk("spool", tmp_path, seconds=1.5)
    assert (found.doubled, found.aside) == (0, 0)
    assert found.answered == found.stored + found.lost
    assert found.lost == found.said > 0


def test_chaos_dead_shard_sets_nothing_aside(tmp_path: Path) -> None:
    found = chaos.shard_is_stopped(tmp_path, seconds=6.0)
    assert (found.lost, found.doubled, found.aside) == (0, 0, 0)
    assert found.answered == found.stored > 0


needs_galera = pytest.mark.skipif(galera.missing() is not None, reason=galera.missing() or "")


@needs_galera
# PyMySQL leaves a socket that a killed server refused to the garbage collector
@pytest.mark.filterwarnings(
    "ignore:unclosed <socket:ResourceWarning",
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning",
)
def test_chaos_node_of_galera_is_killed(tmp_path: Path) -> None:
    found = chaos.node_is_killed(tmp_path, seconds=6.0)
    gc.collect()  # here, where their warnings are expected
    assert (found.lost, found.doubled, found.aside) == (0, 0, 0)
    assert found.answered == found.stored > 0


@needs_galera
def test_chaos_of_two_runners_on_galera_that_commit_at_once_one_is_refused(tmp_path: Path) -> None:
    with galera.cluster() as nodes:
        first, second = (sa.create_engine(node.url, poolclass=sa.NullPool) for node in nodes)
        app = make_app(
            nodes[0].url,
            STATISTICS_WRITER="spool",
            STATISTICS_SPOOL_PATH=str(tmp_path / "spool"),
            STATISTICS_ROLLUPS=True,
            STATISTICS_SCHEDULER=False,
            **chaos.UNPOOLED,
        )
        for number in range(20):
            app.test_client().get(f"/page/{number}")
        writer = state_of(app).writer
        assert writer is not None
        wait_until(lambda: writer.backlog().waiting == 0, "it is not stored")
        refused = []
        for _ in range(10):
            with first.connect() as one, second.connect() as other:
                for each in (one, other):  # an hour ago, so that a run takes them
                    each.execute(sa.text("UPDATE request SET date = date - INTERVAL 1 HOUR"))
                one.commit()
                try:
                    other.commit()
                except sa.exc.DBAPIError as error:
                    refused.append(error)
                    break
        assert refused, "the cluster refuses none of two that change the same rows"
        result = app.test_cli_runner().invoke(args=["statistics", "rollup"])
        assert result.exit_code == 0, result.output
        verified = app.test_cli_runner().invoke(args=["statistics", "verify"])
        assert verified.exit_code == 0, verified.output
        writer.close()
        state_of(app).close()
