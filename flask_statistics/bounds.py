"""What bounds the raw table: how old its rows may get, and how many they may be; those beyond are deleted, the oldest first.

Reads and deletes raw rows, in small pieces, each in a transaction that is over soon.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from . import databases
from .models import RawTable
from .spans import EARLIEST, LATEST, naive_utc

DELETED_A_TIME = 1_000
"""Raw rows deleted in one transaction."""
NAMED_A_TIME = 400
"""Of them, keys in one statement."""
COUNTED_A_TIME = 50_000
"""Raw rows counted by one statement, which is over in some milliseconds."""
BELIEVED_A_RUN = timedelta(hours=1)
"""How much later it may be in the next run, after a leap of more than half of what is kept, which no request confirms."""

Connect = Callable[[], AbstractContextManager[sa.Connection]]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What bounds the raw table; None: nothing does."""

    age: timedelta | None = None
    rows: int | None = None

    def __bool__(self) -> bool:
        return self.age is not None or self.rows is not None


def believed(now: datetime, stored_until: datetime, before: datetime | None, kept: timedelta) -> datetime:
    """What time it is for the retention: `now`, but if that leaps, not much later than what is stored, or than `before`.

    `before` is what time it was for the last run; None: nobody knows. No run believes a clock much more than what is stored:
    one that was ahead by years would delete all raw rows.
    """
    known = stored_until if before is None else max(stored_until, before)
    if before is None or now - known <= kept / 2:
        return now
    return known + BELIEVED_A_RUN


def newest_of(connect: Connect, raw: RawTable, rows: int) -> datetime | None:
    """When the oldest of the newest `rows` raw rows began, naive UTC; None: there are fewer, or just these.

    Rows without a date, or with one that cannot be, are not counted. Each statement reads a part of the index on the date.
    """
    date, key = raw.columns["date"], raw.key
    if key.type.python_type is int:
        with connect() as connection:
            ends = [connection.scalar(sa.select(end(key))) for end in (sa.func.min, sa.func.max)]
        if ends[0] is None or ends[1] - ends[0] < rows:  # no two have the same key
            return None
    behind: sa.ColumnElement[bool] = sa.and_(date < raw.instant(LATEST), date >= raw.instant(EARLIEST))
    left = rows
    query = sa.select(date, key).order_by(date.desc(), key.desc()).limit(1)
    found: Any = None
    while left > 0:
        step = min(left, COUNTED_A_TIME)
        with connect() as connection:
            found = connection.execute(query.where(behind).offset(step - 1)).first()
        if found is None:
            return None
        left -= step
        at, last = found
        behind = sa.and_(date >= raw.instant(EARLIEST), date <= at, sa.or_(date < at, key < last))
    return naive_utc(found[0])


def delete_some(connection: sa.Connection, raw: RawTable, before: datetime) -> int:
    """Delete some of the raw rows from before an instant (naive UTC), the oldest; how many: 0 at the end.

    What has a date that cannot be is not old.
    """
    date = raw.columns["date"]
    old = sa.and_(date >= raw.instant(EARLIEST), date < raw.instant(before))
    deleted = databases.of(connection).delete_at_once(connection, raw.table, old)
    if deleted is not None:
        return deleted
    keys = list(connection.scalars(sa.select(raw.key).where(old).order_by(date).limit(DELETED_A_TIME)))
    for first in range(0, len(keys), NAMED_A_TIME):
        connection.execute(sa.delete(raw.table).where(raw.key.in_(keys[first : first + NAMED_A_TIME])))
    return len(keys)
