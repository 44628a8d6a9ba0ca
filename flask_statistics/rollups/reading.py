"""Raw rows as they can be read: in batches, and one value at a time where a row has one that cannot be. Reads the raw table."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any

import sqlalchemy as sa

from .. import databases
from ..databases import expressions
from ..databases.batches import read_in_batches
from ..models import RawTable
from ..spans import naive_utc
from .numbering import UNREADABLE
from .unfit import Unfit

NAMED = 400
"""Rows named by one statement."""


def batches(
    connection: sa.Connection,
    query: sa.Select[Any],
    raw: RawTable,
    columns: Sequence[Any],
    *,
    size: int,
    unfit: Unfit,
) -> Iterator[list[Sequence[Any]]]:
    """The rows of `query`, which selects `columns`, the first of them date and key; `UNREADABLE` for what cannot be read.

    What was left out of the batch at hand is in `unfit`.
    """
    last: Any = None
    try:
        for batch in read_in_batches(connection, query, raw.columns["date"], raw.key, size=size):
            last = batch[1][-1]
            yield batch
        return
    except Exception as error:
        if not _is_of_a_value(error):
            raise
    keys = list(connection.scalars(query.with_only_columns(raw.key).order_by(raw.columns["date"], raw.key)))
    keys = keys[keys.index(last) + 1 :] if last is not None else keys
    for first in range(0, len(keys), size):
        rows: list[Sequence[Any]] = []
        for some in range(first, min(first + size, len(keys)), NAMED):
            rows += _rows(connection, query, raw, columns, keys[some : min(some + NAMED, first + size)])
        if rows:
            for place, row in enumerate(rows):
                for column, value in zip(columns, row, strict=True):
                    if value is UNREADABLE:
                        unfit.add(getattr(column, "key", None) or "?", [place])
            yield [list(column) for column in zip(*rows, strict=True)]


def _is_of_a_value(error: Exception) -> bool:
    """Whether it is a stored value that cannot be read, and not the database that does not answer."""
    if isinstance(error, sa.exc.DBAPIError):
        return isinstance(error, sa.exc.DataError) or "decode" in str(error.orig).lower()
    return isinstance(error, (ValueError, TypeError, ArithmeticError, LookupError, AttributeError))


def _rows(
    connection: sa.Connection, query: sa.Select[Any], raw: RawTable, columns: Sequence[Any], keys: Sequence[Any]
) -> list[Sequence[Any]]:
    """The rows with these keys, in their order."""
    try:
        found = {row[1]: row for row in connection.execute(query.where(raw.key.in_(keys)))}
    except Exception as error:
        if not _is_of_a_value(error):
            raise
        if len(keys) == 1:
            return [
                [keys[0] if n == 1 else _value(connection, raw, column, keys[0]) for n, column in enumerate(columns)]
            ]
        half = len(keys) // 2
        return [row for some in (keys[:half], keys[half:]) for row in _rows(connection, query, raw, columns, some)]
    return [found[key] for key in keys if key in found]


def _value(connection: sa.Connection, raw: RawTable, column: Any, key: Any) -> Any:
    try:
        return connection.scalar(sa.select(expressions.exact(column)).where(raw.key == key))
    except Exception as error:
        if not _is_of_a_value(error):
            raise
        return UNREADABLE


def edge(
    connection: sa.Connection, raw: RawTable, where: Sequence[sa.ColumnElement[bool]], *, newest: bool
) -> datetime | None:
    """When the newest, or oldest, raw row that meets `where` began, naive UTC; None if there is none.

    SQLite compares dates as text, so one that another writer stored in another form is not where it belongs: it is passed over.
    """
    date = raw.columns["date"]
    query = sa.select((expressions.highest if newest else expressions.lowest)(date)).where(*where)
    try:
        found: datetime | None = connection.scalar(query)
    except ValueError:
        found = None
    else:
        plain = not databases.of(connection).compares_dates_as_text or not isinstance(date.type, sa.DateTime)
        if found is None or plain or _is_stored(connection, date, found):
            return None if found is None else naive_utc(found)
    order = date.desc() if newest else date
    for text in connection.scalars(sa.select(sa.cast(date, sa.Text)).where(*where).order_by(order)):
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            continue
        if _is_stored(connection, date, found):
            return found
    return None


def _is_stored(connection: sa.Connection, date: Any, moment: datetime) -> bool:
    """Whether that instant is stored in the form in which it is compared."""
    return connection.scalar(sa.select(sa.literal(1)).where(date == moment).limit(1)) is not None


def rise(dates: Sequence[Any], latest: datetime, end: datetime) -> bool:
    """Whether `dates` are naive instants from `latest` on, before `end`, in order."""
    if {datetime}.issuperset(map(type, dates)):
        try:
            return bool(dates[0] >= latest and dates[-1] < end and list(dates) == sorted(dates))
        except TypeError:  # some have a time zone
            pass
    return False


def placed(
    dates: Sequence[Any], before: int, latest: datetime, hours: Sequence[datetime], counts: Mapping[datetime, int]
) -> tuple[list[datetime], list[int]]:
    """`dates` that rise, within the hours in which the database counts their rows, and the places of those that are made up.

    `before`: how many rows of the period came before these, the last at `latest`; `counts`: how many each hour has.
    """
    firsts = [0, *accumulate(counts.get(start, 0) for start in hours[:-1])]
    answer: list[datetime] = []
    odd = []
    for place, date in enumerate(dates):
        hour = min(bisect_right(firsts, before + place) - 1, len(hours) - 2)
        latest = max(latest, hours[hour])
        sound = isinstance(date, datetime) and date.tzinfo is None and latest <= date < hours[hour + 1]
        if sound:
            latest = date
        else:
            odd.append(place)
        answer.append(latest)
    return answer, odd
