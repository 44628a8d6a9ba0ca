"""Records from a spool file into a raw table of a database without transactions and sequences, as ClickHouse: each of them once.

The key of a row follows from its record and from where that waited, so it is the same on each try. Before rows are inserted,
the database is asked which of their keys it has; only afterwards `statistics_spool`, in the main database, notes that they are
moved. So what a crash or an error of unknown outcome left is completed, and nothing is stored twice. One mover at a time
works on a spool: a lock beside the file sees to it, that ends with its process.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ... import databases, forks
from ...local_files import try_lock
from ...models import RawTable
from ...record import Record
from ...spans import naive_utc
from ..rows import insert, rows_of
from ..transaction import Locked, commit
from .aside import Refused
from .file import SpoolFile
from .journal import RANGE_BITS, Rows
from .lines import UNREADABLE, decode
from .moving import MOST_TRIED, InsertFailed, Moved, Mover, Overtaken

EPOCH = datetime(2020, 1, 1)
SECOND_BITS, SPOOL_BITS, ID_BITS = 32, 12, 19
"""Of a key: seconds since `EPOCH` (until 2156), the number of the spool, the id in it. 63 in all, so keys are positive.

Two requests have the same key only if they began in the same second, and besides in spools between which 4,096 others came,
or in one spool with a multiple of 524,288 others ended between them, or just as many before and after it got a new owner.
What is stored is known by date and key, so that even then none is lost unless they began in the same microsecond."""
OWNER_STEP = 324_029
"""By so much the ids of a spool's next owner are shifted, which begin anew: the golden section keeps them all apart."""
LOOKED_EVERY_S = 0.01


def key_of(date: datetime, spool: int, number: int) -> int:
    """The key of the record that began at `date` (naive UTC) and has the id `number` in the spool of that number."""
    seconds = (date - EPOCH) // timedelta(seconds=1)
    seconds = min(max(seconds, 0), (1 << SECOND_BITS) - 1)
    number += (number >> RANGE_BITS) * OWNER_STEP
    low = (spool % (1 << SPOOL_BITS)) << ID_BITS | number % (1 << ID_BITS)
    return seconds << (SPOOL_BITS + ID_BITS) | low


class KeyedMover(Mover):
    """Moves records into a raw table without transactions; `table` is in the database of `engine`."""

    rows_a_time = 5_000  # each insert makes files, which are merged in the background
    flush_s = 2.0

    def __init__(
        self,
        raw: RawTable,
        table: sa.Table,
        engine: sa.Engine,
        late: Callable[[datetime], None] = lambda oldest: None,
        *,
        raw_engine: sa.Engine,
    ) -> None:
        super().__init__(raw, table, engine, late)
        self._raw_engine = raw_engine
        self._numbers: dict[str, int] = {}
        """Number of each spool."""
        self._date = raw.columns["date"]
        self._lock: int | None = None
        _movers.add(self)
        forks.expect()

    def move(self, spool: SpoolFile, *, wait_ms: int) -> Moved:
        """As for other databases. Raises `Locked` too while another process moves the same records."""
        with self._alone(spool, wait_ms):
            return super().move(spool, wait_ms=wait_ms)

    @contextmanager
    def _alone(self, spool: SpoolFile, wait_ms: int) -> Iterator[None]:
        """Be the only one who moves what is in `spool`; one in memory is of this process alone."""
        if spool.path is None:
            yield
            return
        deadline = time.monotonic() + wait_ms / 1000
        while (lock := try_lock(spool.path.with_suffix(".moving"))) is None:
            if time.monotonic() > deadline:
                raise Locked("another process moves the same records")
            time.sleep(LOOKED_EVERY_S)
        self._lock = lock
        try:
            yield
        finally:
            self.unlock()

    def unlock(self) -> None:
        """Let others move the records, if this one kept them from it."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def known(self, spool: str, wait_ms: int) -> int | None:
        if spool not in self._moved:
            commit(self._engine, lambda connection: self._ask(connection, spool), wait_ms=wait_ms)
        return self._moved[spool]

    def _ask(self, connection: sa.Connection, spool: str) -> None:
        """Learn how far `spool` is moved, and its number; a new one gets the next. Raises `Overtaken`."""
        columns = self._table.c
        known = connection.execute(sa.select(columns.moved, columns.number).where(columns.spool == spool)).first()
        if known is not None:
            self._moved[spool], self._numbers[spool] = known.moved, known.number
            return
        number = (connection.scalar(sa.select(sa.func.max(columns.number))) or 0) + 1
        try:
            connection.execute(sa.insert(self._table).values(spool=spool, moved=0, number=number))
        except sa.exc.IntegrityError as error:  # another process took that number
            raise Overtaken from error
        self._moved[spool], self._numbers[spool] = 0, number

    def rows(self, spool: str, numbers: Sequence[int], records: Sequence[Record]) -> list[dict[str, Any]]:
        numbered = zip(numbers, records, rows_of(records, self.raw), strict=True)
        key, of = self.raw.key.key, self._numbers[spool]
        return [row | {key: key_of(record.date, of, number)} for number, record, row in numbered]

    def store(self, spool: str, last: int, rows: list[dict[str, Any]], *, wait_ms: int) -> None:
        if rows:
            self._insert_missing(rows)
        ours = sa.and_(self._table.c.spool == spool, self._table.c.moved == self._moved[spool])
        moved = sa.update(self._table).where(ours).values(moved=last)

        def note(connection: sa.Connection) -> None:
            if connection.execute(moved).rowcount != 1:
                raise Overtaken

        commit(self._engine, note, wait_ms=wait_ms)
        self._moved[spool] = last

    def store_again(self, one: Refused, *, wait_ms: int) -> None:
        """As for other databases: it has the key that it always had, by which it is known if it is there."""
        self.known(one.spool, wait_ms)
        records = decode([one.record], one.fields)
        self.late(records[0].date)  # before as well, as the process may end in between
        self._insert_missing(self.rows(one.spool, [one.number], records))
        self.late(records[0].date)

    def _insert_missing(self, rows: Sequence[dict[str, Any]]) -> None:
        """Insert those of `rows` that are not there, in one piece. Raises `InsertFailed` and the database's error."""
        with self._raw_engine.connect() as connection:
            there = self._there(connection, rows)
            missing = [row for row in rows if not self._is_in(there, row)]
            if not missing:
                return
            try:
                insert(connection, self.raw.table, missing)
            except (sa.exc.OperationalError, sa.exc.InterfaceError):  # the database itself was not reached
                raise
            except sa.exc.SQLAlchemyError as error:
                database = databases.of(connection)
                if database.is_overloaded(error):
                    raise
                raise InsertFailed(_as_data_error(error) if database.refuses_values(error) else error) from error

    def _there(self, connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> set[tuple[int, datetime]]:
        """Key and date of what is stored under the keys of `rows`, looked for where the table is sorted by its dates."""
        key, dates = self.raw.key, [row[self._date.key] for row in rows]
        start, end = min(dates).replace(microsecond=0), max(dates) + timedelta(seconds=1)
        keys = [row[key.key] for row in rows]
        query = sa.select(key, self._date).where(self._date >= start, self._date < end, key.in_(keys))
        return {(number, naive_utc(date)) for number, date in connection.execute(query)}

    def _is_in(self, there: Collection[tuple[int, datetime]], row: Mapping[str, Any]) -> bool:
        key, date = row[self.raw.key.key], naive_utc(row[self._date.key])
        # a column of milliseconds, or of whole seconds, keeps less of a date than we have
        kept = (date.microsecond, date.microsecond // 1000 * 1000, 0)
        return any((key, date.replace(microsecond=microsecond)) in there for microsecond in kept)

    def takes_any(self, spool: str, rows: Rows, fields: str, wait_ms: int) -> bool:
        """Whether the raw table takes one of `rows`: what it takes is stored, and is there already when its turn comes."""
        return any(self._stores(spool, number, record, fields) for number, record in rows[-MOST_TRIED:])

    def _stores(self, spool: str, number: int, record: bytes, fields: str) -> bool:
        try:
            self._insert_missing(self.rows(spool, [number], decode([record], fields)))
        except (*UNREADABLE, InsertFailed):
            return False
        return True


def _as_data_error(error: sa.exc.SQLAlchemyError) -> sa.exc.SQLAlchemyError:
    """What its driver calls an error of the database like any other, as what it is: of a row, also if that is the only one."""
    if not isinstance(error, sa.exc.DBAPIError):
        return error
    return sa.exc.DataError(error.statement, error.params, error.orig or error)


# ---- a fork: the lock of a move that is under way is the parent's ----------------------------------------------------

_movers: weakref.WeakSet[KeyedMover] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for mover in list(_movers):
        mover.unlock()


forks.at(forks.Step.MOVERS, in_child=_after_fork_in_child)
