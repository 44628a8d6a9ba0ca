"""The spool as a state machine: whatever crashes when, each record is stored once or counted as refused."""

from __future__ import annotations

import contextlib
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import booleans, integers
from sqlalchemy.orm import DeclarativeBase

from flask_statistics import RequestMixin
from flask_statistics.models import map_model
from flask_statistics.recorder import Record
from flask_statistics.writers import moving
from flask_statistics.writers.moving import FIELDS, Mover, encode, spool_table
from flask_statistics.writers.spool_file import SpoolFile

NOW = datetime(2026, 11, 22)


class Base(DeclarativeBase):
    pass


class Request(RequestMixin, Base):
    __tablename__ = "request"
    __table_args__ = (sa.CheckConstraint("method <> 'POISON'"),)


RAW = map_model(Request)
TABLE = spool_table(Base.metadata, None)


class Crash(BaseException):
    """The process ends here."""


class SpoolMachine(RuleBasedStateMachine):
    """An owner that appends and drains, and another process that drains the same file."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        folder = Path(self.folder.name)
        self.engine = sa.create_engine(f"sqlite:///{folder / 'app.sqlite'}", poolclass=sa.NullPool)
        self.raw_engine = self.engine
        # the disk's own speed is nothing to wait for here
        sa.event.listen(self.engine, "connect", lambda driver, _: driver.execute("PRAGMA synchronous = OFF").close())
        Base.metadata.create_all(self.engine)
        self.file = folder / "spool.sqlite"
        self.appended: set[str] = set()
        self.poison: set[str] = set()
        self.number = 0
        self.start()
        self.other = self.new_mover()
        self.other_spool = SpoolFile(self.file)

    def start(self) -> None:
        self.spool = SpoolFile(self.file, create=True)
        assert self.spool.claim(FIELDS)
        self.mover = self.new_mover()

    def new_mover(self) -> Mover:
        return Mover(RAW, TABLE, self.engine)

    @rule(count=integers(1, 7), poisoned=booleans())
    def append(self, count: int, poisoned: bool) -> None:
        for _ in range(count):
            self.number += 1
            path = f"/{self.number}"
            poison = poisoned and self.number % 3 == 0
            self.spool.append(
                encode(
                    Record(
                        date=NOW,
                        method="POISON" if poison else "GET",
                        path=path,
                        route=None,
                        query_string=None,
                        remote_address=None,
                        user_agent="",
                        referrer=None,
                    )
                )
            )
            (self.poison if poison else self.appended).add(path)

    @rule()
    def drain(self) -> None:
        self.move(self.mover, self.spool)

    @rule()
    def drain_by_another(self) -> None:
        self.move(self.other, self.other_spool)

    @rule(commits=integers(0, 4))
    def crash_after_a_commit(self, commits: int) -> None:
        """The process dies when the database has committed, and the spool has forgotten nothing of it."""
        self.crash_in("forget", commits)

    @rule(commits=integers(0, 4))
    def crash_before_a_commit(self, commits: int) -> None:
        def die(connection: Any) -> None:
            nonlocal commits
            commits -= 1
            if commits < 0:
                raise Crash

        sa.event.listen(self.engine, "commit", die)
        with contextlib.suppress(Crash):
            self.move(self.mover, self.spool)
        sa.event.remove(self.engine, "commit", die)
        self.restart()

    @rule(times=integers(0, 2))
    def crash_before_setting_aside(self, times: int) -> None:
        self.crash_in("set_aside", times)

    def crash_in(self, name: str, times: int) -> None:
        whole = getattr(self.spool, name)

        def die(*arguments: Any, **options: Any) -> Any:
            nonlocal times
            times -= 1
            if times < 0:
                raise Crash
            return whole(*arguments, **options)

        setattr(self.spool, name, die)
        with contextlib.suppress(Crash):
            self.move(self.mover, self.spool)
        self.restart()

    @rule()
    def restart(self) -> None:
        self.spool.close()
        self.start()

    @rule(behind=integers(1, 3))
    def another_is_behind(self, behind: int) -> None:
        """The other process read its batch before the owner moved the same rows."""
        batch = self.other_spool.batch(behind)
        known = self.other._known(batch.spool, 0) if batch.rows else None
        if batch.rows and (known is None or batch.rows[0][0] > known):
            with contextlib.suppress(moving.Overtaken):
                self.move(self.mover, self.spool)
                records = [(number, moving.decode(record, batch.fields)) for number, record in batch.rows]
                unharmed = [(number, record) for number, record in records if record.method != "POISON"]
                rows = [self.other.row(batch.spool, number, record) for number, record in unharmed]
                self.other.store(batch.spool, batch.rows[-1][0], rows, wait_ms=0)
        self.other._moved.clear()

    @precondition(lambda self: self.appended or self.poison)
    @rule()
    def table_is_away(self) -> None:
        self.rename("request", "hidden")
        with contextlib.suppress(sa.exc.SQLAlchemyError):
            self.move(self.mover, self.spool)
        self.rename("hidden", "request")

    def rename(self, old: str, new: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.text(f"ALTER TABLE {old} RENAME TO {new}"))

    def move(self, mover: Mover, spool: SpoolFile) -> None:
        while mover.move(spool, wait_ms=0)[0]:
            pass

    def stored(self) -> list[str]:
        with self.raw_engine.connect() as connection:
            return list(connection.scalars(sa.select(RAW.table.c.path)))

    @invariant()
    def nothing_is_stored_twice(self) -> None:
        stored = self.stored()
        assert len(stored) == len(set(stored))
        assert set(stored) <= self.appended

    def teardown(self) -> None:
        self.move(self.mover, self.spool)
        assert set(self.stored()) == self.appended
        refused = {moving.decode(record, FIELDS).path for record, _ in self.spool.refused(10_000)}
        assert refused == self.poison
        assert self.spool.waiting() == 0
        self.spool.close()
        self.other_spool.close()
        self.engine.dispose()
        self.folder.cleanup()


SpoolMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=15, deadline=None)
test_spool_states = SpoolMachine.TestCase
