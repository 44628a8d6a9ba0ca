"""Several gunicorns as if on several hosts, one database, and triggers that note who built what. For tests and `soak`."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import sqlalchemy as sa
from flask import Flask

from flask_statistics import traffic
from flask_statistics.state import state_of
from flask_statistics.writers.rows import insert_rows
from flask_statistics.writers.spool.folder import folder_for
from flask_statistics.writers.spool.listing import read_backlog

from .common import make_app
from .serving import Server, gunicorn, wait_until

_TRIGGERS = {
    "sqlite": (
        "CREATE TRIGGER note_hour AFTER INSERT ON statistics_hour BEGIN "
        "INSERT INTO noted_hour SELECT NEW.start, holder FROM statistics_lease; END",
        "CREATE TRIGGER note_run AFTER INSERT ON statistics_meta WHEN NEW.name = 'last_run' BEGIN "
        "INSERT INTO noted_run SELECT NEW.text, holder FROM statistics_lease; END",
    ),
    "postgresql": (
        "CREATE FUNCTION note_hour() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO noted_hour SELECT NEW.start, holder FROM statistics_lease; RETURN NEW; END $$",
        "CREATE FUNCTION note_run() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO noted_run SELECT NEW.text, holder FROM statistics_lease; RETURN NEW; END $$",
        "CREATE TRIGGER note_hour AFTER INSERT ON statistics_hour FOR EACH ROW EXECUTE FUNCTION note_hour()",
        "CREATE TRIGGER note_run AFTER INSERT ON statistics_meta FOR EACH ROW WHEN (NEW.name = 'last_run') "
        "EXECUTE FUNCTION note_run()",
    ),
}


class Noted:
    """A database that several hosts use, seen from outside: what their jobs did, and how they are connected.

    `noted_hour` has each hour that was built and committed, `noted_run` each run, both with who held the lease.
    """

    def __init__(self, url: str) -> None:
        """Empty tables, and triggers on them."""
        self.url = url
        self.app: Flask = make_app(url, STATISTICS_WRITER="spool", STATISTICS_ROLLUPS=True)
        rollups = state_of(self.app).rollups
        assert rollups is not None
        self._rollups = rollups
        self.engine = sa.create_engine(url, poolclass=sa.NullPool)
        metadata = sa.MetaData()
        self.hours = sa.Table(
            "noted_hour", metadata, sa.Column("start", sa.DateTime), sa.Column("holder", sa.String(80))
        )
        self.runs = sa.Table("noted_run", metadata, sa.Column("text", sa.Text), sa.Column("holder", sa.String(80)))
        metadata.create_all(self.engine)
        with self.engine.begin() as connection:
            for statement in _TRIGGERS[connection.dialect.name]:
                connection.exec_driver_sql(statement)

    def add_history(self, *, days: int, requests: int) -> datetime:
        """Store so many made-up requests of the days before this month, for the job to find; the month's beginning.

        In a month that the job works on already, rows so old would be late ones.
        """
        end = datetime.now(timezone.utc).replace(tzinfo=None, day=1, hour=0, minute=0, second=0, microsecond=0)
        rows = traffic.generate(start=end - timedelta(days=days), end=end, requests=requests, seed=1)
        with self.engine.begin() as connection:
            for _ in insert_rows(connection, state_of(self.app).raw, rows):
                pass
        return end

    def built(self, *, before: datetime) -> list[tuple[datetime, str]]:
        """Each time that an hour from before that moment was built: the hour, and who built it."""
        with self.engine.connect() as connection:
            query = sa.select(self.hours.c.start, self.hours.c.holder).where(self.hours.c.start < before)
            return [(start, holder) for start, holder in connection.execute(query)]

    def run_by(self) -> list[tuple[datetime, str]]:
        """Each run that brought the rollups up to date, in order: to which moment, and whose it was."""
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(self.runs.c.text, self.runs.c.holder))
            return sorted((datetime.fromisoformat(text), holder) for text, holder in rows)

    def holder(self) -> str | None:
        """Who has the lease, or died with it; None: nobody."""
        with self.engine.connect() as connection:
            return connection.scalar(sa.select(self._rollups.tables.lease.c.holder))

    def complete_from(self) -> datetime:
        """From which moment on everything is rolled up."""
        with self.engine.connect() as connection:
            start = self._rollups.status(connection, connection).covered_from
        assert start is not None, "the job has never run"
        return start

    def roll_up(self, now: datetime) -> dict[datetime, tuple[int, int]]:
        """Bring the rollups up to `now`: the hours that differ from the raw rows all the same, as `verify` counts them."""
        with self.app.app_context():
            job = self._rollups.job()
            assert job.run(now) is not None, "somebody still works on the rollups"
            return job.differences(datetime(2000, 1, 1), now)

    def raw_rows(self) -> int:
        """How many rows the raw table has."""
        with self.engine.connect() as connection:
            return connection.scalar(sa.text("SELECT count(*) FROM request")) or 0

    def connections(self) -> Counter[str]:
        """How many connections each host has to PostgreSQL."""
        query = (
            "SELECT application_name, count(*) FROM pg_stat_activity WHERE application_name LIKE 'host-%' GROUP BY 1"
        )
        with self.engine.connect() as connection:
            return Counter({name: count for name, count in connection.execute(sa.text(query))})  # noqa: C416 - as elsewhere

    def waiting(self, servers: list[Server]) -> int:
        """How many records are in the spools of these hosts."""
        state = state_of(self.app)
        folders = [
            folder_for(server.log.parent / "spool", state.engine().url, state.raw.table, self.app.logger)
            for server in servers
        ]
        return sum(read_backlog(folder).waiting for folder in folders)

    def close(self) -> None:
        with self.app.app_context():
            state_of(self.app).engine().dispose()


@contextmanager
def hosts(url: str, folder: Path, count: int, *, rollup_seconds: float) -> Iterator[list[Server]]:
    """So many gunicorns with 4 workers, each with a spool of its own in `folder`, at work: every worker was asked."""
    with ExitStack() as running:
        servers = []
        for number in range(count):
            own = folder / f"host-{number}"
            own.mkdir()
            name = {"application_name": own.name} if url.startswith("postgresql") else {}
            at = sa.make_url(url).update_query_dict(name).render_as_string(hide_password=False)
            # with --preload a new worker is there at once; a host without is what many have
            options = [] if number else ["--preload"]
            servers.append(running.enter_context(gunicorn(at, own, *options, rollup_seconds=rollup_seconds)))
        wait_until(lambda: all(_all_asked(server) for server in servers), "not every worker answers")
        yield servers


def _all_asked(server: Server) -> bool:
    """Ask once; whether each worker was asked: then it has a spool file."""
    server.get("/page/warm")
    return len(list((server.log.parent / "spool").glob("*.lock"))) >= 4


def pid_of(holder: str) -> int:
    """The process that a holder of the lease is."""
    return int(holder.split(":")[1])


def kill_holder(noted: Noted) -> str | None:
    """Kill the process that has the lease, if it still has it then; whoever it was. None: nobody has it."""
    holder = noted.holder()
    if holder is None:
        return None
    os.kill(pid_of(holder), signal.SIGKILL)
    return holder if noted.holder() == holder else None
