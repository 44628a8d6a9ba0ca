"""Answers each question without reading a SQLite database for long at a time, where a reader keeps its writers waiting.

In any journal mode but WAL nobody can commit while somebody reads. So no transaction is open between two statements, and a
statement that takes longer than a moment is stopped: the rows of its span are then copied, a piece at a time, into a temporary
table of the connection that has the raw table's name, so that the same questions are asked of it. Rows with a newer key than
there was at the beginning are left out of all answers, so that these are of the same rows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from ..databases import budgets
from ..dimensions import Value
from ..filters import Filters
from ..models import LONG, RawTable
from ..spans import EARLIEST, LATEST, Span, naive_utc
from .answers import (
    Block,
    Breakdown,
    Client,
    ExceptionGroup,
    Freshness,
    Group,
    Link,
    Measures,
    Point,
    Profiles,
    RequestLog,
)
from .raw import RawQueries

LONGEST_READ_S = 0.2
"""How long one statement may read the database."""
AIMED_AT_S = (0.03, 0.1)
"""A piece shall take longer than the first and less than the second, without what it waits for others' writes."""
FIRST_PIECE, SMALLEST_PIECE = 2_000, 100
"""Rows, or keys."""

T = TypeVar("T")


class QueriesInPieces:
    """Answers of `RawQueries`, for which no statement reads the database for longer than `LONGEST_READ_S`."""

    source = "raw"
    freshness: Freshness | None = None

    def __init__(self, queries: RawQueries, connection: sa.Connection, raw: RawTable, budget: budgets.Budget) -> None:
        self._queries = queries
        self._connection = connection
        self._raw = raw
        self._budget = budget
        self._copy: _Copy | None = None
        budget.statement_s = LONGEST_READ_S
        self._earliest: datetime | None = None
        """As it was before there was a copy."""
        self._newest: Any = queries.conditions.newest
        self._begun = False

    def _begin(self) -> None:
        """Look which is the newest row, before the first question about many."""
        self._begun, raw, connection, queries = True, self._raw, self._connection, self._queries
        if self._newest is None and raw.key.type.python_type is int:
            self._newest = connection.scalar(sa.select(sa.func.max(raw.key)))
            queries.conditions.newest = self._newest

    def close(self) -> None:
        """Drop what was copied: else it would be found in the raw table's stead by whoever has the connection next."""
        self._budget.statement_s = None
        if self._copy is not None:
            copied, self._copy = self._copy, None
            self._budget.renew()
            try:
                copied.drop()
            except BaseException:
                self._connection.invalidate()
                raise

    def recover(self) -> None:
        self._queries.recover()

    # ---- questions -----------------------------------------------------------------------------------------------

    def earliest(self) -> datetime | None:
        if self._copy is not None:
            return self._earliest
        if not self._begun:
            self._begin()
        try:
            return self._queries.earliest()
        except sa.exc.OperationalError as error:
            if not self._took_long(error) or self._newest is None:
                raise
        date, key = self._raw.columns["date"], self._raw.key
        possible = (date >= self._raw.instant(EARLIEST), date < self._raw.instant(LATEST))
        found: datetime | None = None
        for low, high in self._keys():
            query = sa.select(sa.func.min(date)).where(*possible, key > low, key <= high)
            at = self._connection.scalar(query)
            found = at if found is None or (at is not None and at < found) else found
        return None if found is None else naive_utc(found)

    def complete_from(self, span: Span, filters: Filters, dimensions: Sequence[str] = ()) -> datetime | None:
        return self._queries.complete_from(span, filters, dimensions)

    def undecided(self, span: Span, filters: Filters) -> int:
        return self._queries.undecided(span, filters)

    def summary(self, span: Span, filters: Filters, **options: Any) -> Measures:
        return self._ask(span, lambda: self._queries.summary(span, filters, **options))

    def series(self, span: Span, unit: str, filters: Filters, **options: Any) -> list[Point]:
        return self._ask(span, lambda: self._queries.series(span, unit, filters, **options))

    def week(self, span: Span, filters: Filters, **options: Any) -> tuple[Measures, ...]:
        return self._ask(span, lambda: self._queries.week(span, filters, **options))

    def breakdown(self, dimension: str, span: Span, filters: Filters, **options: Any) -> Breakdown:
        return self._ask(span, lambda: self._queries.breakdown(dimension, span, filters, **options))

    def breakdowns(
        self, dimensions: Sequence[str], span: Span, filters: Filters, *, limit: int
    ) -> dict[str, Breakdown]:
        return self._ask(span, lambda: self._queries.breakdowns(dimensions, span, filters, limit=limit))

    def profiles(self, dimension: str, span: Span, unit: str, filters: Filters, *, limit: int) -> Profiles:
        return self._ask(span, lambda: self._queries.profiles(dimension, span, unit, filters, limit=limit))

    def blocks(
        self, dimension: str, values: Collection[Value], span: Span, unit: str, filters: Filters
    ) -> dict[Value, tuple[Block, ...]]:
        return self._ask(span, lambda: self._queries.blocks(dimension, values, span, unit, filters))

    def clients(self, addresses: Collection[Value], span: Span, filters: Filters) -> dict[Value, Client]:
        return self._ask(span, lambda: self._queries.clients(addresses, span, filters))

    def groups(self, dimensions: Sequence[str], span: Span, filters: Filters, *, limit: int) -> list[Group]:
        return self._ask(span, lambda: self._queries.groups(dimensions, span, filters, limit=limit))

    def exceptions(self, span: Span, filters: Filters, *, limit: int) -> list[ExceptionGroup]:
        return self._ask(span, lambda: self._queries.exceptions(span, filters, limit=limit))

    def links(self, span: Span, filters: Filters, *, limit: int) -> list[Link]:
        return self._ask(span, lambda: self._queries.links(span, filters, limit=limit))

    def requests(self, span: Span, filters: Filters, **options: Any) -> RequestLog:
        return self._ask(span, lambda: self._queries.requests(span, filters, **options))

    def beside(self, read: Callable[[sa.Connection], T]) -> T:
        return self._queries.beside(read)

    def request(self, key: str) -> dict[str, Any] | None:
        # the copy lacks what is long
        return self._queries.request(key, schema=None if self._copy is None else "main")

    # ---- pieces --------------------------------------------------------------------------------------------------

    def _ask(self, span: Span, question: Callable[[], T]) -> T:
        if not self._begun:
            self._begin()
        if self._copy is None:
            try:
                return question()
            except sa.exc.OperationalError as error:
                if not self._took_long(error):
                    raise
            self._earliest = self.earliest()
            self._copy = _Copy(self._connection, self._raw, self._newest, self._budget)
        self._copy.cover(span.start, span.end)
        self._budget.statement_s = None  # what it reads is its own
        try:
            return question()
        finally:
            self._budget.statement_s = LONGEST_READ_S

    def _took_long(self, error: sa.exc.OperationalError) -> bool:
        return budgets.is_timeout(error) and not self._budget.is_spent()

    def _keys(self) -> Iterator[tuple[int, int]]:
        """Ranges of keys that hold all rows, the first key excluded, each of which can be read in a moment."""
        oldest = self._connection.scalar(sa.select(sa.func.min(self._raw.key)))
        low, size = (self._newest if oldest is None else oldest - 1), FIRST_PIECE
        while low < self._newest:
            began = time.thread_time()
            yield low, min(low + size, self._newest)
            low, size = low + size, next_size(size, time.thread_time() - began)


class _Copy:
    """The rows of some periods in a temporary table that is found in the raw table's stead."""

    def __init__(self, connection: sa.Connection, raw: RawTable, newest: Any, budget: budgets.Budget) -> None:
        self._connection = connection
        self._raw = raw
        self._newest = newest
        self._budget = budget
        self._covered: list[tuple[datetime, datetime]] = []
        columns = {column.name: column for name, column in raw.columns.items() if name not in LONG}
        columns[raw.key.name] = raw.key
        self._names = list(columns)
        self._source, self._target = (
            sa.Table(
                raw.table.name,
                sa.MetaData(),
                *(sa.Column(name, column.type) for name, column in columns.items()),
                schema=schema,
            )
            for schema in ("main", "temp")
        )
        connection.execute(sa.schema.DropTable(self._target, if_exists=True))
        connection.execute(sa.schema.CreateTable(self._target))

    def drop(self) -> None:
        """Let the raw table be found again."""
        self._connection.execute(sa.schema.DropTable(self._target, if_exists=True))

    def cover(self, start: datetime, end: datetime) -> None:
        """Have all rows of the period, naive UTC."""
        missing = [(start, end)]
        for since, until in self._covered:
            missing = [
                part
                for low, high in missing
                for part in ((low, min(high, since)), (max(low, until), high))
                if part[0] < part[1]
            ]
        for since, until in missing:
            self._copy(since, until)
            self._covered.append((since, until))

    def _copy(self, start: datetime, end: datetime) -> None:
        date = self._source.c[self._raw.columns["date"].name]
        # the sum, as SQLite would take the index on the key for the better one
        key = self._source.c[self._raw.key.name] + 0
        known = [] if self._newest is None else [key <= self._newest]
        at, size, last = self._raw.instant(start), FIRST_PIECE, self._raw.instant(end)
        while True:
            began = time.thread_time()
            dates = sa.select(date).where(date < last, *known).order_by(date).limit(1)
            try:
                following = self._connection.scalar(dates.where(date >= at).offset(size))
                if following is not None and following == at:  # more rows of one instant than fit into a piece
                    following = self._connection.scalar(dates.where(date > at))
                # of two bounds on one side SQLite takes whichever
                self._insert(*known, date >= at, date < (last if following is None else following))
            except sa.exc.OperationalError as error:
                if not budgets.is_timeout(error) or self._budget.is_spent():
                    raise
                took = math.inf
            else:
                if following is None:
                    return
                at, took = following, time.thread_time() - began
            if took > AIMED_AT_S[1] and size <= FIRST_PIECE:  # there is no index on the date
                self._copy_unindexed([*known, date >= at, date < last])
                return
            size = next_size(size, took)

    def _copy_unindexed(self, within: Sequence[sa.ColumnElement[bool]]) -> None:
        """The same by ranges of keys, where there is no index on the date."""
        key = self._source.c[self._raw.key.name]
        if self._newest is None:
            self._budget.statement_s = None  # it cannot be had in pieces
            self._insert(*within)
            return
        low = self._connection.scalar(sa.select(sa.func.min(key)))
        low, size = (self._newest if low is None else low - 1), FIRST_PIECE
        while low < self._newest:
            began = time.thread_time()
            try:
                self._insert(*within, key > low, key <= low + size)
            except sa.exc.OperationalError as error:
                if not budgets.is_timeout(error) or self._budget.is_spent() or size <= SMALLEST_PIECE:
                    raise
                size //= 4
                continue
            low, size = low + size, next_size(size, time.thread_time() - began)

    def _insert(self, *where: sa.ColumnElement[bool]) -> None:
        rows = sa.select(*(self._source.c[name] for name in self._names)).where(*where)
        self._connection.execute(sa.insert(self._target).from_select(self._names, rows))


def next_size(size: int, took: float) -> int:
    """How large the next piece shall be, after one of `size` that took so many seconds."""
    shortest, longest = AIMED_AT_S
    return size * 2 if took < shortest else max(size // 2, SMALLEST_PIECE) if took > longest else size
