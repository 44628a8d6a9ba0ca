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
from .answers import Only, RequestLog
from .conditions import Conditions
from .interface import EVERY_REQUEST, UnknownRequest

NUMBERS = ("status_code", "size", *MEASURED)
"""Columns that hold numbers, and nothing else that can be shown."""
UNKNOWN_TIME = -1.0
"""Stands for a time that is not known, so that it comes after all others."""


class RawRequests:
    """Requests, over one connection."""

    def __init__(self, connection: sa.Connection, raw: RawTable, conditions: Conditions) -> None:
        self._connection = connection
        self._raw = raw
        self._conditions = conditions
        self._position: tuple[tuple[str, bool], tuple[Any, Any]] | None = None
        """The key that was asked for last, in which order, and where it is: both neighbours of a request begin there."""

    def page(
        self,
        span: Span,
        filters: Filters,
        *,
        limit: int,
        before: str | None = None,
        after: str | None = None,
        only: Only = EVERY_REQUEST,
        slowest: bool = False,
        keys: Sequence[Any] | None = None,
    ) -> RequestLog:
        """As the interface says; with `keys`, only the requests that have one of them are looked at."""
        by, key = self._by(slowest), self._raw.key
        where = [*self._conditions.where(span, filters), *self._conditions.only(only)]
        if keys is not None:
            where.append(key.in_(keys))
        names = [name for name in self._raw.columns if name in KNOWN_COLUMNS and name not in LONG]
        query = sa.select(key.label("_key"), *(self._raw.columns[name].label(name) for name in names))
        if after is not None:
            newer = (
                query.where(*where, _later(by, key, *self._place(after, slowest))).order_by(by, key).limit(limit + 1)
            )
            rows = list(self._connection.execute(newer).mappings())
            more, rows = len(rows) > limit, rows[:limit][::-1]
            has_newer, has_older = more, True
        else:
            if before is not None:
                where.append(_earlier(by, key, *self._place(before, slowest)))
            older = query.where(*where).order_by(by.desc(), key.desc()).limit(limit + 1)
            rows = list(self._connection.execute(older).mappings())
            has_newer, has_older, rows = before is not None, len(rows) > limit, rows[:limit]
        return RequestLog(
            tuple(_request(row) for row in rows),
            newer=str(rows[0]["_key"]) if rows and has_newer else None,
            older=str(rows[-1]["_key"]) if rows and has_older else None,
        )

    def position(self, key: str) -> tuple[Any, Any]:
        """Date and key of a stored request, where the log goes on. Raises `UnknownRequest`."""
        return self._place(key, slowest=False)

    def _by(self, slowest: bool) -> sa.ColumnElement[Any]:
        """What requests are in the order of, which all of them have."""
        if not slowest or not self._raw.has("response_time"):
            return self._conditions.column("date")
        return sa.func.coalesce(self._conditions.column("response_time"), UNKNOWN_TIME)

    def _place(self, key: str, slowest: bool) -> tuple[Any, Any]:
        """Where a stored request is in that order, and its key. Raises `UnknownRequest`."""
        if self._position is not None and self._position[0] == (key, slowest):
            return self._position[1]
        try:
            identity = self._raw.identity(key)
        except ValueError:
            raise UnknownRequest(key) from None
        found = self._connection.scalar(sa.select(self._by(slowest)).where(self._raw.key == identity))
        if found is None:
            raise UnknownRequest(key)
        self._position = (key, slowest), (found, identity)
        return found, identity

    def one(self, key: str, *, schema: str | None) -> dict[str, Any] | None:
        try:
            identity = self._raw.identity(key)
        except ValueError:
            return None
        columns = (column.label(name) for name, column in self._raw.columns.items())
        query = sa.select(self._raw.key.label("_key"), *columns).where(self._raw.key == identity)
        options = {"schema_translate_map": {None: schema}} if schema else {}
        row = self._connection.execute(query, execution_options=options).mappings().first()
        return None if row is None else _request(row)


def _later(by: Any, key: Any, at: Any, identity: Any) -> sa.ColumnElement[bool]:
    return sa.and_(by >= at, sa.or_(by > at, key > identity))


def _earlier(by: Any, key: Any, at: Any, identity: Any) -> sa.ColumnElement[bool]:
    return sa.and_(by <= at, sa.or_(by < at, key < identity))


def _request(row: Any) -> dict[str, Any]:
    found = {name: plain_value(value) for name, value in row.items() if name != "_key"}
    found["date"] = instant_of(found["date"])
    found |= {name: number_of(found[name]) for name in NUMBERS if name in found}
    return {"id": row["_key"], **found}
