"""A mover: what it takes of a spool, what it counts as lost, and what becomes of records that the raw table refuses."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa

from flask_statistics.record import Record
from flask_statistics.writers.spool.journal import RANGE_BITS
from flask_statistics.writers.spool.lines import FIELDS, encode
from flask_statistics.writers.spool.moving import LATE, PAUSE_S, Moved, Mover, Overtaken, pause_after, try_again
from flask_statistics.writers.spool.own import EPOCH_S, OwnSpool

from .test_states import RAW, TABLE, Base

NOW = datetime.now(timezone.utc).replace(tzinfo=None)
RANGE = 1 << RANGE_BITS


class Bench:
    """A spool, the database that its records go to, and who moves them."""

    def __init__(self, folder: Path) -> None:
        self.engine = sa.create_engine(f"sqlite:///{folder / 'app.sqlite'}", poolclass=sa.NullPool)
        Base.metadata.create_all(self.engine)
        self.folder = folder
        self.late: list[datetime] = []
        self.mover = self.another_mover()
        self.spool = OwnSpool(folder / "spool.sqlite")
        self.spool.claim(FIELDS, now=EPOCH_S + 1)

    def another_mover(self) -> Mover:
        return Mover(RAW, TABLE, self.engine, late=self.late.append)

    def append(self, *paths: str, ago: timedelta = timedelta(0)) -> None:
        for path in paths:
            self.spool.append(encode(Record(NOW - ago, "GET", path)))

    def move(self, mover: Mover | None = None) -> Moved:
        return (mover or self.mover).move(self.spool, wait_ms=5_000)

    def try_again(self) -> bool:
        (one,) = self.spool.aside.latest(9)
        return try_again(self.mover, self.spool, one, wait_ms=5_000)

    def paths(self) -> list[str]:
        columns = RAW.table.c
        with self.engine.connect() as connection:
            return list(connection.scalars(sa.select(columns.path).order_by(columns.index)))

    def refuse(self, path: str) -> None:
        """Have the raw table refuse it from now on; empty: take all again."""
        with self.engine.begin() as connection:
            connection.execute(sa.text("DROP TRIGGER IF EXISTS refuse"))
            if path:
                when = f"CREATE TRIGGER refuse BEFORE INSERT ON {RAW.table.name} WHEN NEW.path = '{path}'"
                connection.execute(sa.text(f"{when} BEGIN SELECT RAISE(ABORT, 'no'); END"))

    def lines(self) -> list[Path]:
        return sorted(self.folder.glob("*.journal"))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.spool.close()


def test_all_is_taken_and_stored(bench: Bench) -> None:
    bench.append("/1", "/2")
    assert bench.move() == Moved(taken=2, stored=2, more=False)
    assert bench.move() == Moved(taken=0, stored=0, more=False)
    assert bench.spool.waiting() == 0
    assert bench.paths() == ["/1", "/2"]


def test_more_waits_behind_a_full_batch(bench: Bench) -> None:
    bench.append("/1", "/2", "/3")
    bench.mover.rows_a_time = 2
    assert bench.move() == Moved(taken=2, stored=2, more=True)
    assert bench.move() == Moved(taken=1, stored=1, more=False)


def test_rows_that_were_stored_before_the_spool_knew_are_taken_and_not_stored_again(bench: Bench) -> None:
    bench.append("/1", "/2")
    moved = bench.spool.moved()
    bench.spool.mark_moved = lambda *_, **__: None  # type: ignore[method-assign]  # it is stopped in between
    assert bench.move().stored == 2
    del bench.spool.mark_moved
    assert bench.spool.moved() == moved
    bench.append("/3")
    assert bench.move(bench.another_mover()) == Moved(taken=2, stored=0, more=True)
    assert bench.move(bench.another_mover()) == Moved(taken=1, stored=1, more=False)
    assert bench.paths() == ["/1", "/2", "/3"]


def test_whoever_is_overtaken_stores_nothing_and_asks_again(bench: Bench) -> None:
    bench.append("/1")
    assert bench.move().stored == 1
    other = bench.another_mover()
    bench.append("/2")
    assert bench.move(other).stored == 1
    bench.append("/3")
    assert bench.move() == Moved(taken=1, stored=0, more=True)  # what it knew was old
    assert bench.move() == Moved(taken=1, stored=1, more=False)
    assert bench.paths() == ["/1", "/2", "/3"]


def test_ids_that_are_missing_are_lost_and_counted_once(bench: Bench) -> None:
    bench.append("/1", "/2", "/3", "/4", "/5")
    (journal,) = bench.lines()
    head, *lines = journal.read_bytes().split(b"\n")
    journal.write_bytes(b"\n".join([head, lines[0], *lines[3:]]))
    bench.mover.rows_a_time = 2
    moved = [bench.move(), bench.move()]
    assert [one.lost for one in moved] == [2, 0]
    assert bench.paths() == ["/1", "/4", "/5"]


def test_the_first_ids_of_a_range_can_be_lost(bench: Bench) -> None:
    bench.append("/1", "/2", "/3")
    (journal,) = bench.lines()
    head, *lines = journal.read_bytes().split(b"\n")
    journal.write_bytes(b"\n".join([head, *lines[1:]]))
    assert bench.move() == Moved(taken=2, stored=2, more=False, lost=1)


def test_nothing_is_lost_between_two_owners(bench: Bench) -> None:
    bench.append("/1")
    bench.spool.close()
    bench.spool.claim(FIELDS, now=EPOCH_S + 9)
    bench.append("/2")
    assert bench.spool.batch(9).rows[0][0] == RANGE
    while (moved := bench.move()).more:
        assert moved.lost == 0
    assert bench.paths() == ["/1", "/2"]


def test_a_row_that_is_refused_is_set_aside_and_stored_once_when_it_can_be(bench: Bench) -> None:
    bench.refuse("/2")
    bench.append("/1", "/2", "/3")
    assert bench.move() == Moved(taken=3, stored=2, more=False)
    assert bench.paths() == ["/1", "/3"]
    (one,) = bench.spool.aside.latest(9)
    assert (one.number, one.tries) == (RANGE + 1, 0)
    assert one.error == "IntegrityError: no"
    assert not bench.try_again()
    (one,) = bench.spool.aside.latest(9)
    assert (one.number, one.tries) == (RANGE + 1, 1)
    bench.refuse("")
    assert bench.try_again()
    assert bench.spool.aside.count() == 0
    bench.mover.store_again(one, wait_ms=5_000)  # whoever stored it was stopped before the spool knew
    assert bench.paths() == ["/1", "/3", "/2"]


def test_a_record_that_nobody_can_read_is_never_tried_by_itself(bench: Bench) -> None:
    bench.append("/1")
    bench.spool.append(b"[1]")
    bench.append("/3")
    assert bench.move() == Moved(taken=3, stored=2, more=False)
    (one,) = bench.spool.aside.latest(9)
    assert (one.number, one.record) == (RANGE + 1, b"[1]")
    in_a_year = NOW.timestamp() + 365 * 86_400
    assert bench.spool.aside.latest(9, due_at=in_a_year) == []
    assert not bench.try_again()
    assert bench.spool.aside.latest(9, due_at=in_a_year) == []
    assert bench.spool.aside.latest(9)[0].tries == 1


def test_what_comes_late_is_told_of_before_and_after_it_is_stored(bench: Bench) -> None:
    bench.append("/now", ago=LATE - timedelta(hours=12))
    bench.move()
    assert bench.late == []
    bench.append("/late", ago=2 * LATE)
    bench.append("/later", ago=3 * LATE)
    bench.move()
    assert bench.late == [NOW - 3 * LATE] * 2


def test_rows_that_are_all_refused_while_the_database_is_well_are_each_set_aside(bench: Bench) -> None:
    bench.refuse("/bad")
    bench.append("/bad", "/bad")
    assert bench.move() == Moved(taken=2, stored=0, more=False)
    assert [one.number for one in bench.spool.aside.latest(9)] == [RANGE, RANGE + 1]


def test_database_has_one_name_for_all(bench: Bench) -> None:
    name = bench.mover.identity(wait_ms=5_000)
    assert name.endswith(f":{RAW.table.fullname}")
    assert bench.another_mover().identity(wait_ms=5_000) == name


def test_a_name_that_another_process_made_first_is_asked_for_again(bench: Bench) -> None:
    def others_first(connection: sa.Connection, statement: object, *_: object) -> None:
        if isinstance(statement, sa.Insert):
            connection.exec_driver_sql(f"INSERT INTO {TABLE.name} (spool, moved) VALUES ('database', 5)")

    sa.event.listen(bench.engine, "before_execute", others_first)
    with pytest.raises(Overtaken):
        bench.mover.identity(wait_ms=5_000)


def test_pauses_double_up_to_a_day() -> None:
    assert [pause_after(tries) for tries in range(3)] == [2 * PAUSE_S[0], 4 * PAUSE_S[0], 8 * PAUSE_S[0]]
    assert pause_after(100) == PAUSE_S[1]
