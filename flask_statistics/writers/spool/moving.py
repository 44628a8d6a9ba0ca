"""Records from a spool file into the raw table, each of them once, whenever it is stopped and whoever else is at it.

With the rows, in the same transaction, `statistics_spool` gets the highest id moved of that spool; the change is made
only if it still has the id that this process knows, so of two that move the same rows one is refused. Only afterwards
the spool marks them as moved. What the raw table refuses is set aside in the spool before the others go on, and is tried
again later.

One row of `statistics_spool` is no spool: `database` has a random number, by which spool files know the database, whatever
its address and name are.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

import sqlalchemy as sa

from ...databases.errors import blames_row
from ...models import RawTable
from ...record import Record
from ..rows import insert, rows_of
from ..transaction import commit
from .aside import Refused
from .file import Batch, SpoolFile
from .journal import RANGE_BITS, Rows
from .lines import UNREADABLE, decode
from .table import DATABASE

LATE = timedelta(days=1)
"""Rows that come later than this may be of hours that nobody counts any more."""
ROWS_A_TIME = 500
FLUSH_S = 0.5
"""How long a record waits for others, so that they are moved together."""
PAUSE_S = (60.0, 86_400.0)
"""After how long what was set aside is tried again for the first time, and how long the pauses become at most."""
MOST_TRIED = 20
"""Rows that are tried to learn whether an error is theirs or the database's."""


class Moved(NamedTuple):
    """What became of some records of a spool."""

    taken: int
    """Records that it had, and has no more, or that were somebody else's."""
    stored: int
    """Records that are in the raw table now."""
    more: bool
    """Whether more may wait."""
    lost: int = 0
    """Records that were damaged beyond being known."""


class Overtaken(Exception):
    """Somebody else moved rows of the spool meanwhile; nothing was stored."""


class _Refused(Exception):
    """The rows, or one of them, cannot be stored; the message says why."""

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.again = again
        """Whether to try it again by itself: a record that cannot be read will never be one."""


class InsertFailed(Exception):
    """The database failed, and not before it was given the rows."""

    def __init__(self, error: sa.exc.SQLAlchemyError) -> None:
        super().__init__(str(error))
        self.error = error


class Mover:
    """Moves records into one raw table, on a database with transactions."""

    rows_a_time = ROWS_A_TIME
    flush_s = FLUSH_S

    def __init__(
        self, raw: RawTable, table: sa.Table, engine: sa.Engine, late: Callable[[datetime], None] = lambda oldest: None
    ) -> None:
        """`late` is told the oldest date, naive UTC, of rows that come later than `LATE`."""
        self.raw = raw
        self.late = late
        self._table = table
        self._engine = engine
        self._moved: dict[str, int | None] = {}
        """Highest id moved of each spool, as far as this process knows; None: it has no row yet."""

    def move(self, spool: SpoolFile, *, wait_ms: int) -> Moved:
        """Move the oldest records of `spool`.

        Raises `Locked` and the database's error, with all still in the spool that is not stored.
        """
        batch = spool.batch(self.rows_a_time)
        if not batch.rows:
            return Moved(0, 0, more=False)
        try:
            if batch.unmet and not spool.abandoned:
                self._moved.pop(batch.spool, None)
            moved = self.known(batch.spool, wait_ms)
            if batch.unmet and not spool.abandoned and spool.meet(batch.first, moved):
                return Moved(0, 0, more=True)
            if not moved and batch.rest_of:
                moved = self._moved_before(batch, wait_ms)
            if moved and batch.rows[0][0] <= moved:
                # whoever moved them was stopped before the spool forgot them
                spool.mark_moved(moved)
                return Moved(sum(number <= moved for number, _ in batch.rows), 0, more=True)
            # a file that was made again does not know what was moved before
            moving = _Moving(self, spool, batch, wait_ms, last=max(batch.last, moved or 0))
            stored = moving.move(batch.rows)
        except Overtaken:
            self._moved.pop(batch.spool, None)
            return Moved(len(batch.rows), 0, more=True)
        except BaseException:
            self._moved.pop(batch.spool, None)  # a commit that failed may have been one all the same
            raise
        return Moved(len(batch.rows), stored, batch.more, moving.lost)

    def _moved_before(self, batch: Batch, wait_ms: int) -> int | None:
        """How far the spool was moved that these records were in before; None: they were not reached, or others came since."""
        self._moved.pop(batch.rest_of, None)
        moved = self.known(batch.rest_of, wait_ms)
        same_range = moved is not None and moved >> RANGE_BITS == batch.rows[0][0] >> RANGE_BITS
        return moved if same_range else None

    def identity(self, *, wait_ms: int) -> str:
        """By what spool files know the raw table: the random number of its database, made if there is none, and its name.

        Raises `Overtaken`, `Locked` and the database's error.
        """
        columns = self._table.c
        found: list[int] = []

        def ask(connection: sa.Connection) -> None:
            known = connection.scalar(sa.select(columns.moved).where(columns.spool == DATABASE))
            if known is None:
                known = secrets.randbits(62)
                try:
                    connection.execute(sa.insert(self._table).values(spool=DATABASE, moved=known))
                except sa.exc.IntegrityError as error:  # another process was faster
                    raise Overtaken from error
            found.append(known)

        commit(self._engine, ask, wait_ms=wait_ms)
        return f"{found[-1]:x}:{self.raw.table.fullname}"

    def store_again(self, one: Refused, *, wait_ms: int) -> None:
        """Store what was set aside, once, however often it is tried.

        Raises what `decode` does, `InsertFailed`, `Locked` and the database's error.
        """
        records = decode([one.record], one.fields)
        values, date = self.rows(one.spool, [one.number], records), records[0].date
        name = hashlib.sha256(f"{one.spool} {one.number}".encode()).hexdigest()[:32]

        def work(connection: sa.Connection) -> None:
            try:
                connection.execute(sa.insert(self._table).values(spool=name, moved=one.number))
            except sa.exc.IntegrityError as error:
                raise Overtaken from error
            inserting.append(True)
            insert(connection, self.raw.table, values)

        inserting: list[bool] = []
        self.late(date)  # before as well, as the process may end in between
        try:
            commit(self._engine, work, wait_ms=wait_ms)
        except Overtaken:  # it was stored, and whoever did it was stopped before the spool knew
            pass
        except sa.exc.SQLAlchemyError as error:
            if inserting:
                raise InsertFailed(error) from error
            raise
        self.late(date)

    def known(self, spool: str, wait_ms: int) -> int | None:
        """The highest id moved of that spool, asked of the database once; None: it has no row yet."""
        if spool not in self._moved:
            query = sa.select(self._table.c.moved).where(self._table.c.spool == spool)

            def ask(connection: sa.Connection) -> None:
                self._moved[spool] = connection.scalar(query)

            commit(self._engine, ask, wait_ms=wait_ms)
        return self._moved[spool]

    def rows(self, spool: str, numbers: Sequence[int], records: Sequence[Record]) -> list[dict[str, Any]]:
        """The records of these ids in the spool as parameters of an insert."""
        return rows_of(records, self.raw)

    def store(self, spool: str, last: int, rows: list[dict[str, Any]], *, wait_ms: int) -> None:
        """Insert `rows` and note that all up to `last` is moved. Raises `Overtaken`, `InsertFailed` and the database's error."""
        moved, columns = self._moved[spool], self._table.c

        def work(connection: sa.Connection) -> None:
            # first of all: whoever else moves the same rows waits here for our commit
            if moved is None:
                try:
                    connection.execute(sa.insert(self._table).values(spool=spool, moved=last))
                except sa.exc.IntegrityError as error:
                    raise Overtaken from error
            else:
                ours = sa.and_(columns.spool == spool, columns.moved == moved)
                if connection.execute(sa.update(self._table).where(ours).values(moved=last)).rowcount != 1:
                    raise Overtaken
            if rows:
                inserting.append(True)
                insert(connection, self.raw.table, rows)

        inserting: list[bool] = []
        try:
            commit(self._engine, work, wait_ms=wait_ms)
        except sa.exc.SQLAlchemyError as error:
            if inserting:
                raise InsertFailed(error) from error
            raise
        self._moved[spool] = last

    def takes_any(self, spool: str, rows: Rows, fields: str, wait_ms: int) -> bool:
        """Whether the raw table takes one of `rows`, found by inserting them without a commit."""
        return any(self._takes(record, fields, wait_ms) for _, record in rows[-MOST_TRIED:])

    def _takes(self, record: bytes, fields: str, wait_ms: int) -> bool:
        def work(connection: sa.Connection) -> None:
            insert(connection, self.raw.table, rows_of(decode([record], fields), self.raw))
            raise _Taken  # rolls back

        try:
            commit(self._engine, work, wait_ms=wait_ms)
        except _Taken:
            return True
        except (*UNREADABLE, sa.exc.SQLAlchemyError):
            return False
        raise AssertionError("it is rolled back by an exception")


class _Taken(Exception):
    """The raw table took a row that was tried; it is rolled back."""


class _Moving:
    """One batch on its way: halved where the raw table refuses it, until the row is found that it is about."""

    def __init__(self, mover: Mover, spool: SpoolFile, batch: Batch, wait_ms: int, *, last: int) -> None:
        self.lost = 0
        """Records of which nothing was left to move."""
        self._mover = mover
        self._spool = spool
        self._name = batch.spool
        self._fields = batch.fields
        self._last = last
        self._wait_ms = wait_ms
        self._suspicious = False
        """Whether an error that could be the database's is known to be a row's."""

    def move(self, rows: Rows) -> int:
        """Move `rows`, in their order; how many are stored."""
        try:
            self._store(rows)
        except _Refused as reason:
            if len(rows) == 1:
                self._set_aside(rows[0], reason)
                return 0
            half = len(rows) // 2
            return self.move(rows[:half]) + self.move(rows[half:])
        self._spool.mark_moved(rows[-1][0], stored_from=rows[0][0])
        self._count_lost(rows)
        return len(rows)

    def _count_lost(self, rows: Rows) -> None:
        """Count the ids that are missing before and among `rows`: within the range of an owner there are no gaps."""
        if rows[-1][0] - self._last != len(rows):
            last = self._last
            for number, _ in rows:
                self.lost += number - 1 - max(last, (number >> RANGE_BITS << RANGE_BITS) - 1)
                last = number
        self._last = rows[-1][0]

    def _store(self, rows: Rows) -> None:
        try:
            records = decode([record for _, record in rows], self._fields)
            values = self._mover.rows(self._name, [number for number, _ in rows], records)
        except UNREADABLE as error:  # somebody else wrote into the file
            raise _Refused(one_line(error), again=False) from error
        oldest = min(record.date for record in records)
        late = oldest < datetime.now(timezone.utc).replace(tzinfo=None) - LATE
        if late:
            self._mover.late(oldest)  # before as well, as the process may end in between
        try:
            self._mover.store(self._name, rows[-1][0], values, wait_ms=self._wait_ms)
        except InsertFailed as failure:
            if self._is_about_a_row(failure.error, rows):
                raise _Refused(one_line(failure.error), again=True) from failure
            raise failure.error from None
        if late:
            self._mover.late(oldest)

    def _is_about_a_row(self, error: sa.exc.SQLAlchemyError, rows: Rows) -> bool:
        blamed = blames_row(error)
        if blamed is not None:
            return blamed
        # what a trigger raises can be about the row, or about whatever the trigger asked for
        self._suspicious = self._suspicious or self._mover.takes_any(self._name, rows, self._fields, self._wait_ms)
        return self._suspicious

    def _set_aside(self, row: tuple[int, bytes], reason: _Refused) -> None:
        number, record = row
        next_at = time.time() + PAUSE_S[0] if reason.again else None
        # before the database learns that it is moved, so that a crash in between cannot lose it
        self._spool.aside.put(number, record, str(reason), spool=self._name, fields=self._fields, next_at=next_at)
        self._mover.store(self._name, number, [], wait_ms=self._wait_ms)
        self._spool.mark_moved(number)
        self._count_lost([row])


def try_again(mover: Mover, spool: SpoolFile, one: Refused, *, wait_ms: int) -> bool:
    """Store what was set aside in `spool`, or note why it was refused once more; whether it is stored.

    Raises `Locked` and the database's error, if that is not about the row.
    """
    try:
        mover.store_again(one, wait_ms=wait_ms)
    except UNREADABLE as error:
        spool.aside.refuse_again(one.number, one_line(error), next_at=None)
        return False
    except InsertFailed as failure:
        if blames_row(failure.error) is False:
            raise failure.error from None
        spool.aside.refuse_again(one.number, one_line(failure.error), next_at=time.time() + pause_after(one.tries))
        return False
    spool.aside.take_out(one.number)
    return True


def pause_after(tries: int) -> float:
    """Seconds until what was refused so many times after it was set aside is tried once more."""
    shortest, longest = PAUSE_S
    return min(shortest * 2.0 ** min(tries + 1, 30), longest)


def one_line(error: BaseException) -> str:
    """An error in one line, without the values that the database repeats."""
    cause = getattr(error, "orig", None) or error
    text = "".join(filter(str.isprintable, str(cause).partition("\n")[0]))
    return f"{type(cause).__name__}: {text}"[:500]
