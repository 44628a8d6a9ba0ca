"""What the app's statements took in a span, of `statistics_query` and `statistics_statement`: one row a statement and place.

The tables know hours and routes, and nothing else of the requests: a span is answered by the hours that it touches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ..latency import percentiles
from ..spans import Span
from ..statements.table import EPOCH, Tables, add_packed

MICROSECOND = 1e-6
BY_HISTOGRAM = ("p50", "p95")
"""Orders for which the histograms of all statements must be read."""
NAMED_AT_ONCE = 500
"""Up to so many hashes are named in a statement; for more, the histograms of all are read."""

Connect = Callable[[], AbstractContextManager[sa.Connection]]


@dataclass(frozen=True, slots=True)
class StatementRow:
    """What one statement took, sent from one place, for all routes that are asked for."""

    digest: str
    text: str
    """Without literals."""
    place: str | None
    """`shop/views.py:41`; None: from nowhere in the app's files."""
    routes: tuple[str | None, ...]
    """Those for which it was sent, in their order; None: no route answered."""
    calls: int
    requests: int
    repeated: int
    """Of these requests, those that sent it so often that it is a query in a loop (N+1)."""
    total: float
    """Seconds of all calls."""
    p50: float | None
    """Seconds; None: not asked for."""
    p95: float | None
    longest: float
    """Seconds."""
    last: datetime
    """When it was sent last, in whatever span, naive UTC."""


@dataclass(frozen=True, slots=True)
class StatementList:
    """The statements of a span."""

    rows: tuple[StatementRow, ...]
    count: int
    """How many different ones there are, rows or not."""
    total: float
    """Seconds of all of them."""


@dataclass(slots=True)
class _Group:
    """One statement and place, while it is added up."""

    text: str
    ids: list[str] = field(default_factory=list)
    routes: set[str | None] = field(default_factory=set)
    calls: int = 0
    requests: int = 0
    repeated: int = 0
    total_us: int = 0
    longest_us: int = 0
    last: datetime = EPOCH
    bins: dict[int, int] = field(default_factory=dict)

    def add(self, row: sa.Row[Any]) -> None:
        self.ids.append(row.id)
        self.routes.add(row.route)
        self.calls += int(row.calls)
        self.requests += int(row.requests)
        self.repeated += int(row.repeated)
        self.total_us += int(row.total_us)
        self.longest_us = max(self.longest_us, int(row.longest_us))
        self.last = max(self.last, row.seen_at)


_Key = tuple[str, str | None]
_ORDERS: dict[str, Callable[[tuple[_Key, _Group]], Any]] = {
    "total": lambda item: item[1].total_us,
    "calls": lambda item: item[1].calls,
    "repeated": lambda item: item[1].repeated,
    "longest": lambda item: item[1].longest_us,
    "p50": lambda item: percentiles(item[1].bins, (0.5,))[0],
    "p95": lambda item: percentiles(item[1].bins, (0.95,))[0],
    "statement": lambda item: (item[1].text.casefold(), item[0][1] or ""),
}


class StatementQueries:
    """Answers what statements took."""

    def __init__(self, tables: Tables, connect: Connect) -> None:
        self._tables = tables
        self._connect = connect

    def statements(
        self,
        span: Span,
        *,
        wanted: Callable[[str | None], bool] = lambda route: True,
        search: str = "",
        order: str = "-total",
        limit: int,
    ) -> StatementList:
        """What statements took in the hours of `span`, for routes that are `wanted`, `limit` of them in `order`.

        `search` is contained in the statement or its place, in any case. `order` is one of `parameters.ORDERS`, `-` before it:
        largest first; by `repeated` only those that were repeated are counted and listed.
        """
        name = order.removeprefix("-")
        with self._connect() as connection:
            found = self._groups(connection, span, wanted, search.casefold())
            if name == "repeated":
                found = {key: group for key, group in found.items() if group.repeated}
            if name in BY_HISTOGRAM:
                self._read_histograms(connection, span, found.values())
            # a second order, so that equal ones keep theirs
            ordered = sorted(
                sorted(found.items(), key=_ORDERS["total"], reverse=True), key=_ORDERS[name], reverse=order != name
            )
            shown = ordered[:limit]
            if name not in BY_HISTOGRAM:
                self._read_histograms(connection, span, [group for _, group in shown])
        total = sum(group.total_us for group in found.values()) * MICROSECOND
        return StatementList(tuple(_row(key, group) for key, group in shown), len(found), total)

    def _groups(
        self, connection: sa.Connection, span: Span, wanted: Callable[[str | None], bool], search: str
    ) -> dict[_Key, _Group]:
        found: dict[_Key, _Group] = {}
        for row in connection.execute(self._sums(span)):
            if wanted(row.route) and (search in row.text.casefold() or search in (row.place or "").casefold()):
                found.setdefault((row.digest, row.place), _Group(row.text)).add(row)
        return found

    def _sums(self, span: Span) -> sa.Select[Any]:
        """What each statement of the span took, with its text."""
        query, statement = self._tables.query.c, self._tables.statement.c
        sums = [sa.func.sum(query[name]).label(name) for name in ("calls", "requests", "repeated", "total_us")]
        added = (
            sa.select(query.statement, *sums, sa.func.max(query.longest_us).label("longest_us"))
            .where(*self._within(span))
            .group_by(query.statement)
            .subquery()
        )
        return sa.select(
            *(statement.id, statement.digest, statement.text, statement.place, statement.route, statement.seen_at),
            *(column for column in added.c if column.name != "statement"),
        ).join_from(self._tables.statement, added, added.c.statement == statement.id)

    def _within(self, span: Span) -> tuple[sa.ColumnElement[bool], ...]:
        start = self._tables.query.c.start
        return start >= span.start.replace(minute=0, second=0, microsecond=0), start < span.end

    def _read_histograms(self, connection: sa.Connection, span: Span, groups: Iterable[_Group]) -> None:
        bins = {each: group.bins for group in groups for each in group.ids}
        query = self._tables.query.c
        times = sa.select(query.statement, query.times).where(*self._within(span))
        if len(bins) <= NAMED_AT_ONCE:
            times = times.where(query.statement.in_(bins))
        for key, text in connection.execute(times):
            if key in bins:
                add_packed(bins[key], text)


def _row(key: _Key, group: _Group) -> StatementRow:
    longest = group.longest_us * MICROSECOND
    p50, p95 = percentiles(group.bins, (0.5, 0.95), longest=longest)
    return StatementRow(
        digest=key[0],
        text=group.text,
        place=key[1],
        routes=tuple(sorted(group.routes, key=lambda route: route or "")),
        calls=group.calls,
        requests=group.requests,
        repeated=group.repeated,
        total=group.total_us * MICROSECOND,
        p50=p50,
        p95=p95,
        longest=longest,
        last=group.last,
    )
