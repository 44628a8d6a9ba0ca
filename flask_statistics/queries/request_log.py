"""Single requests of the raw table: pages of them, and one with all that is stored of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from ..columns import plain_value
from ..filters import Filters
from ..models import KNOWN_COLUMNS, LONG, MEASURED, RawTable
from ..spans import Span
from .aggregates import instant_of, number_of
from .answers import RequestLog
from .conditions import Conditions
from .interface import UnknownRequest

NUMBERS = ("status_code", "size", *MEASURED)
"""Columns that hold numbers, and nothing else that can be shown."""


class RawRequests:
    """Requests, over one connection."""

    def __init__(self, connection: sa.Connection, raw: RawTable, conditions: Conditions) -> None:
        self._connection = connection
        self._raw = raw
        self._conditions = conditions
        self._position: tuple[str, tuple[Any, Any]] | None = None
        """The key that was asked for last, and where it is: both neighbours of a request begin there."""

    def page(
        self,
        span: Span,
        filters: Filters,
        *,
        limit: int,
        before: str | None = None,
        after: str | None = None,
        keys: Sequence[Any] | None = None,
    ) -> RequestLog:
        """As the interface says; with `keys`, only the requests that have one of them are looked at."""
        date, key = self._conditions.column("date"), self._raw.key
        where = self._conditions.where(span, filters)
        if keys is not None:
            where.append(key.in_(keys))
        names = [name for name in self._raw.columns if name in KNOWN_COLUMNS and name not in LONG]
        query = sa.select(key.label("_key"), *(self._raw.columns[name].label(name) for name in names))
        if after is not None:
            newer = query.where(*where, _later(date, key, *self.position(after))).order_by(date, key).limit(limit + 1)
            rows = list(self._connection.execute(newer).mappings())
            more, rows = len(rows) > limit, rows[:limit][::-1]
            has_newer, has_older = more, True
        else:
            if before is not None:
                where.append(_earlier(date, key, *self.position(before)))
            older = query.where(*where).order_by(date.desc(), key.desc()).limit(limit + 1)
            rows = list(self._connection.execute(older).mappings())
            has_newer, has_older, rows = before is not None, len(rows) > limit, rows[:limit]
        return RequestLog(
            tuple(_request(row) for row in rows),
            newer=str(rows[0]["_key"]) if rows and has_newer else None,
            older=str(rows[-1]["_key"]) if rows and has_older else None,
        )

    def position(self, key: str) -> tuple[Any, Any]:
        """Date and key of a stored request, where the log goes on. Raises `UnknownRequest`."""
        if self._position is not None and self._position[0] == key:
            return self._position[1]
        try:
            identity = self._raw.identity(key)
        except ValueError:
            raise UnknownRequest(key) from None
        date = self._connection.scalar(sa.select(self._conditions.column("date")).where(self._raw.key == identity))
        if date is None:
            raise UnknownRequest(key)
        self._position = key, (date, identity)
        return date, identity

    def one(self, key: str) -> dict[str, Any] | None:
        try:
            identity = self._raw.identity(key)
        except ValueError:
            return None
        columns = (column.label(name) for name, column in self._raw.columns.items())
        query = sa.select(self._raw.key.label("_key"), *columns).where(self._raw.key == identity)
        row = self._connection.execute(query).mappings().first()
        return None if row is None else _request(row)


def _later(date: Any, key: Any, at: Any, identity: Any) -> sa.ColumnElement[bool]:
    return sa.and_(date >= at, sa.or_(date > at, key > identity))


def _earlier(date: Any, key: Any, at: Any, identity: Any) -> sa.ColumnElement[bool]:
    return sa.and_(date <= at, sa.or_(date < at, key < identity))


def _request(row: Any) -> dict[str, Any]:
    found = {name: plain_value(value) for name, value in row.items() if name != "_key"}
    found["date"] = instant_of(found["date"])
    found |= {name: number_of(found[name]) for name in NUMBERS if name in found}
    return {"id": row["_key"], **found}
