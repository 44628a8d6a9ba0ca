"""Records from a spool file into the raw table, each of them once, whenever it is stopped and whoever else is at it.

With the rows, in the same transaction, `statistics_spool` gets the highest id moved of that spool; the change is made
only if it still has the id that this process knows, so of two that move the same rows one is refused. Only afterwards
the spool forgets. What the raw table refuses is set aside in the spool before the others go on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _text
from types import NoneType
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..models import RawTable, own_table
from ..recorder import Record
from .causes import blames_row
from .journal import Rows
from .rows import insert, rows_of
from .spool_file import SpoolFile
from .transaction import commit

NAME = "statistics_spool"
LATE = timedelta(days=1)
"""Rows that come later than this may be of hours that nobody counts any more."""
ROWS_A_TIME = 500
FLUSH_S = 0.5
"""How long a record waits for others, so that they are moved together."""
MOST_TRIED = 20
"""Rows that are tried to learn whether an error is theirs or the database's."""

FIELDS = json.dumps(list(Record.__slots__))
"""What a record consists of, as a spool file notes it."""
UNREADABLE = (ValueError, TypeError, KeyError, RecursionError)
"""What `decode`, and making a row of what it gives, raise for what is no record."""
_KINDS: dict[str, tuple[type, ...]] = {
    "date": (str,),
    "user_agent": (str,),
    "status_code": (int,),
    "size": (int, NoneType),
    "response_time": (float,),
}


def spool_table(metadata: sa.MetaData, schema: str | None) -> sa.Table:
    """`statistics_spool`: of each spool file, how far it is moved."""
    return own_table(
        metadata,
        schema,
        NAME,
        sa.Column("spool", sa.String(32), primary_key=True),  # random name of the file
        sa.Column("moved", sa.BigInteger, nullable=False),  # highest id that is in the raw table, or was refused by it
        # of the spool, for keys that the raw table's database does not make; NULL: it makes them
        sa.Column("number", sa.Integer, unique=True),
    )


def encode(record: Record) -> bytes:
    """`record` as a spool keeps it: its values as a JSON array in ASCII, in the order of `FIELDS`.

    Put together by hand: to call the encoder of a list takes three times as long, in each request.
    """
    return (
        f'["{record.date.isoformat()}",{_text(record.method)},{_text(record.path)},{_optional(record.route)},'
        f"{_optional(record.query_string)},{_optional(record.remote_address)},{_text(record.user_agent)},"
        f"{_optional(record.referrer)},{record.status_code},{'null' if record.size is None else record.size},"
        f"{_optional(record.mimetype)},{_optional(record.exception)},{_optional(record.traceback)},{record.response_time}]"
    ).encode("ascii")


def _optional(text: str | None) -> str:
    return "null" if text is None else _text(text)


def decode(records: Sequence[bytes], fields: str) -> list[dict[str, Any]]:
    """The values, by name, of records that `encode` made. Raises `ValueError` or `TypeError` if one of them is none."""
    names = tuple(json.loads(fields))
    found = json.loads(b"[" + b",".join(records) + b"]")  # all at once, which takes half the time
    if len(found) != len(records):
        raise ValueError("a line of several records")
    for values in found:
        _check(names, tuple(map(type, values)))
    decoded = [dict(zip(names, values, strict=True)) for values in found]
    for record in decoded:
        record["date"] = datetime.fromisoformat(record["date"])
        if record["date"].tzinfo is not None:
            raise ValueError("the date has a time zone")
    return decoded


@lru_cache(maxsize=64)
def _check(names: tuple[str, ...], kinds: tuple[type, ...]) -> None:
    for name, kind in zip(names, kinds, strict=True):
        if kind not in _KINDS.get(name, (str, NoneType)):
            raise TypeError(f"{name} is a {kind.__name__}")


class Moved(NamedTuple):
    """What became of some records of a spool."""

    taken: int
    """Records that it had, and has no more, or that were somebody else's."""
    stored: int
    """Records that are in the raw table now."""
    more: bool
    """Whether more may wait."""


class Overtaken(Exception):
    """Somebody else moved rows of the spool meanwhile; nothing was stored."""


class _Refused(Exception):
    """The rows, or one of them, cannot be stored; the message says why."""


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
            moved = self._known(batch.spool, wait_ms)
            if moved is not None and batch.rows[0][0] <= moved:
                # whoever moved them was stopped before the spool forgot them
                spool.forget(moved)
                return Moved(sum(number <= moved for number, _ in batch.rows), 0, more=True)
            stored = _Moving(self, spool, batch.spool, batch.fields, wait_ms).move(batch.rows)
        except Overtaken:
            self._moved.pop(batch.spool, None)
            return Moved(len(batch.rows), 0, more=True)
        except BaseException:
            self._moved.pop(batch.spool, None)  # a commit that failed may have been one all the same
            raise
        return Moved(len(batch.rows), stored, batch.more)

    def _known(self, spool: str, wait_ms: int) -> int | None:
        if spool not in self._moved:
            query = sa.select(self._table.c.moved).where(self._table.c.spool == spool)

            def ask(connection: sa.Connection) -> None:
                self._moved[spool] = connection.scalar(query)

            commit(self._engine, ask, wait_ms=wait_ms)
        return self._moved[spool]

    def rows(self, spool: str, numbers: Sequence[int], records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The records of these ids in the spool, given by their values, as parameters of an insert."""
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

    def __init__(self, mover: Mover, spool: SpoolFile, name: str, fields: str, wait_ms: int) -> None:
        self._mover = mover
        self._spool = spool
        self._name = name
        self._fields = fields
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
        self._spool.forget(rows[-1][0], stored_from=rows[0][0])
        return len(rows)

    def _store(self, rows: Rows) -> None:
        try:
            records = decode([record for _, record in rows], self._fields)
            values = self._mover.rows(self._name, [number for number, _ in rows], records)
        except UNREADABLE as error:  # somebody else wrote into the file
            raise _Refused(_line(error)) from error
        oldest = min(record["date"] for record in records)
        late = oldest < datetime.now(timezone.utc).replace(tzinfo=None) - LATE
        if late:
            self._mover.late(oldest)  # before as well, as the process may end in between
        try:
            self._mover.store(self._name, rows[-1][0], values, wait_ms=self._wait_ms)
        except InsertFailed as failure:
            if self._is_about_a_row(failure.error, rows):
                raise _Refused(_line(failure.error)) from failure
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
        # before the database learns that it is moved, so that a crash in between cannot lose it
        self._spool.set_aside(number, record, str(reason))
        self._mover.store(self._name, number, [], wait_ms=self._wait_ms)
        self._spool.forget(number)


def _line(error: Exception) -> str:
    """An error in one line, without the values that the database repeats."""
    cause = getattr(error, "orig", None) or error
    text = "".join(filter(str.isprintable, str(cause).partition("\n")[0]))
    return f"{type(cause).__name__}: {text}"[:500]
