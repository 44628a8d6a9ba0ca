"""The spool as a state machine: whatever crashes when, each record is stored once or counted as refused."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

import sqlalchemy as sa
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import booleans, integers
from sqlalchemy.orm import DeclarativeBase

from flask_statistics import RequestMixin
from flask_statistics.models import map_model
from flask_statistics.record import Counters, NotStored, Record
from flask_statistics.writers.spool import journal, moving
from flask_statistics.writers.spool.drain import Drain
from flask_statistics.writers.spool.file import SpoolFile
from flask_statistics.writers.spool.lines import FIELDS, decode
from flask_statistics.writers.spool.moving import Mover
from flask_statistics.writers.spool.table import spool_table
from flask_statistics.writers.spool.writer import SpoolWriter

NOW = datetime(2026, 11, 22)
MOST_ROWS = 12
SILENT = logging.getLogger("tests.silent")
SILENT.setLevel(logging.CRITICAL)


class Base(DeclarativeBase):
    pass


class Request(RequestMixin, Base):
    __tablename__ = "request"
    __table_args__ = (sa.CheckConstraint("method <> 'POISON'"),)


RAW = map_model(Request)
TABLE = spool_table(Base.metadata, None)


class Crash(BaseException):
    """The process ends here."""


class Fragile(SpoolFile):
    """A spool file whose process may die before it notes something."""

    def __init__(self, path: Path | None) -> None:
        super().__init__(path)
        self.dies_in = ""
        self.lives = 0
        self.mark_moved = self.mortal("mark_moved", self.mark_moved)  # type: ignore[method-assign]
        self.aside.put = self.mortal("put", self.aside.put)  # type: ignore[method-assign]

    def die_in(self, method: str, times: int) -> None:
        self.dies_in, self.lives = method, times

    def mortal(self, method: str, whole: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any, **options: Any) -> None:
            if method == self.dies_in:
                self.lives -= 1
                if self.lives < 0:
                    raise Crash
            whole(*arguments, **options)

        return call


class ByHand(Drain):
    """A drain without a thread: whoever tests makes its rounds."""

    def __init__(self, mover: Mover, *, own: SpoolFile, **parts: Any) -> None:
        own.close()
        self.file = Fragile(own.path)
        super().__init__(mover, own=self.file, **parts)

    def start(self) -> None:
        """Nothing runs."""

    def settle(self) -> None:
        """Nobody waits."""


class SpoolMachine(RuleBasedStateMachine):
    """A process that appends and drains, and another one that drains the same file."""

    def __init__(self) -> None:
        super().__init__()
        self.small = mock.patch.object(journal, "FILE_BYTES", 500)  # so that there are several files
        self.small.start()
        self.folder = tempfile.TemporaryDirectory()
        folder = Path(self.folder.name)
        self.engine = sa.create_engine(f"sqlite:///{folder / 'app.sqlite'}", poolclass=sa.NullPool)
        # the disk's own speed is nothing to wait for here
        sa.event.listen(self.engine, "connect", lambda driver, _: driver.execute("PRAGMA synchronous = OFF").close())
        Base.metadata.create_all(self.engine)
        self.raw_engine = self.new_raw_engine()
        self.appended: set[str] = set()
        self.poison: set[str] = set()
        self.turned_away: set[str] = set()
        self.number = 0
        self.start()
        self.other = self.new_mover()
        (file,) = (folder / "spool").glob("*.sqlite")
        self.other_spool = SpoolFile(file)

    def new_raw_engine(self) -> sa.Engine:
        return self.engine

    def new_mover(self) -> Mover:
        return Mover(RAW, TABLE, self.engine)

    def start(self) -> None:
        self.writer = SpoolWriter(
            raw=RAW,
            table=TABLE,
            engine=lambda: self.raw_engine,
            table_engine=lambda: self.engine,
            folder=Path(self.folder.name) / "spool",
            most_rows=MOST_ROWS,
            counters=Counters(),
            logger=SILENT,
            testing=lambda: False,
            late=lambda oldest: None,
            drain=self.new_drain,
        )
        self.writer.settle()  # takes a file

    def new_drain(self, *arguments: Any, **parts: Any) -> ByHand:
        self.thread = ByHand(*arguments, **parts)
        return self.thread

    @rule(count=integers(1, 7), poisoned=booleans())
    def append(self, count: int, poisoned: bool) -> None:
        for _ in range(count):
            self.number += 1
            path = f"/{self.number}"
            poison = poisoned and self.number % 3 == 0
            record = Record(
                date=NOW,
                method="POISON" if poison else "GET",
                path=path,
                route=None,
                query_string=None,
                remote_address=None,
                user_agent="",
                referrer=None,
            )
            try:
                self.writer.write(record, host_in_transaction=False)
            except NotStored as reason:
                if not str(reason).startswith("the spool is full"):
                    raise
                self.turned_away.add(path)
            else:
                (self.poison if poison else self.appended).add(path)

    @rule()
    def drain(self) -> None:
        self.thread.round()

    @rule()
    def drain_by_another(self) -> None:
        while self.other.move(self.other_spool, wait_ms=0).more:
            pass

    @rule(commits=integers(0, 4))
    def crash_after_a_commit(self, commits: int) -> None:
        """The process dies when the database has committed, and the spool has forgotten nothing of it."""
        self.crash_in("mark_moved", commits)

    @rule(commits=integers(0, 4))
    def crash_before_a_commit(self, commits: int) -> None:
        def die(connection: Any) -> None:
            nonlocal commits
            commits -= 1
            if commits < 0:
                raise Crash

        sa.event.listen(self.engine, "commit", die)
        with contextlib.suppress(Crash):
            self.drain()
        sa.event.remove(self.engine, "commit", die)
        self.restart()

    @rule(times=integers(0, 2))
    def crash_before_setting_aside(self, times: int) -> None:
        self.crash_in("put", times)

    def crash_in(self, method: str, times: int) -> None:
        self.thread.file.die_in(method, times)
        with contextlib.suppress(Crash):
            self.drain()
        self.restart()

    @rule()
    def restart(self) -> None:
        self.end()
        self.start()

    def end(self) -> None:
        """The end of a process that does nothing any more."""
        self.writer.forked()
        self.thread.file.close()

    @rule(behind=integers(1, 3))
    def another_is_behind(self, behind: int) -> None:
        """The other process read its batch before the owner moved the same rows."""
        batch = self.other_spool.batch(behind)
        known = self.other.known(batch.spool, 0) if batch.rows else None
        if batch.rows and (known is None or batch.rows[0][0] > known):
            with contextlib.suppress(moving.Overtaken):
                self.drain()
                records = decode([record for _, record in batch.rows], batch.fields)
                numbered = [(number, record) for (number, _), record in zip(batch.rows, records, strict=True)]
                unharmed = [(number, record) for number, record in numbered if record.method != "POISON"]
                numbers, records = [number for number, _ in unharmed], [record for _, record in unharmed]
                rows = self.other.rows(batch.spool, numbers, records)
                self.other.store(batch.spool, batch.rows[-1][0], rows, wait_ms=0)
        self.other = self.new_mover()

    @precondition(lambda self: self.appended or self.poison)
    @rule()
    def table_is_away(self) -> None:
        self.rename("request", "hidden")
        self.drain()
        self.rename("hidden", "request")

    def rename(self, old: str, new: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.text(f"ALTER TABLE {old} RENAME TO {new}"))

    def stored(self) -> list[str]:
        with self.raw_engine.connect() as connection:
            return list(connection.scalars(sa.select(RAW.table.c.path)))

    @invariant()
    def nothing_is_stored_twice(self) -> None:
        stored = self.stored()
        assert len(stored) == len(set(stored))
        assert set(stored) <= self.appended

    @invariant()
    def no_more_wait_than_may(self) -> None:
        assert self.other_spool.waiting() <= MOST_ROWS

    def teardown(self) -> None:
        self.drain()
        assert set(self.stored()) == self.appended
        refused = decode([one.record for one in self.other_spool.aside.latest(10_000)], FIELDS)
        assert {record.path for record in refused} == self.poison
        assert len(self.appended) + len(self.poison) + len(self.turned_away) == self.number
        assert self.other_spool.waiting() == 0
        self.end()
        self.other_spool.close()
        self.engine.dispose()
        self.folder.cleanup()
        self.small.stop()


SpoolMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=50, deadline=None)
test_spool_states = SpoolMachine.TestCase
