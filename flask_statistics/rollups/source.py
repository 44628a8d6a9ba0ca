"""Raw rows to segments: reads a period of the raw table and builds its segments, a batch at a time.

The job stores what this builds; a query builds with it, in memory, the rows that the job has not seen yet.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import sqlalchemy as sa

from .. import databases
from ..databases import expressions
from ..dimensions import Dimension
from ..models import RawTable
from ..spans import EARLIEST, LATEST, Span, hour_of, naive_utc
from . import reading
from .bitmaps import Column
from .numbering import FIXED, Ids, Shape, indexed, numbered
from .segment import OTHER, Segment, chosen, join
from .tables import BOTS, PEOPLE
from .unfit import Unfit

BATCH = 20_000
"""Raw rows in memory at a time."""
COUNTED = 24
"""Periods counted by one statement."""
MOST_RANGES = 4 * COUNTED
"""Periods of ClickHouse that are counted each for itself: such a count need not look at the rows, but takes 3 ms."""
EPOCH, QUARTER = datetime(1970, 1, 1), timedelta(minutes=15)
AUDIENCE = "device"
"""The dimension whose value `bot` makes the audience."""


@dataclass(frozen=True, slots=True)
class Source:
    """The raw table as the rollups read it, over a connection to its database."""

    raw: RawTable
    dimensions: Mapping[str, Dimension]
    zone: ZoneInfo
    most_values: int
    clients: Mapping[str, Dimension] = field(default_factory=dict)
    """Dimensions that tell clients: nothing is rolled up by them, as visitors' numbers are there in any case."""
    waits: tuple[str, ...] = ()
    """The columns of what requests waited for that are rolled up."""

    def dimension(self, name: str) -> Dimension:
        """The dimension called `name`, whichever it is."""
        return self.clients[name] if name in self.clients else self.dimensions[name]

    @property
    def shape(self) -> Shape:
        """What `columns` are."""
        return Shape(tuple((d.name, d.many) for d in self.dimensions.values()), self.most_values, self.waits)

    def within(self, start: datetime, end: datetime) -> list[sa.ColumnElement[bool]]:
        """The condition that a raw row's date is in the period, naive UTC."""
        date = self.raw.columns["date"]
        return [date >= self.raw.instant(start), date < self.raw.instant(end)]

    def columns(
        self, connection: sa.Connection, start: datetime, end: datetime, unfit: Unfit | None = None
    ) -> Iterator[list[Sequence[Any]]]:
        """The raw rows of the period in the order of date and key, a batch at a time: for each column, its values.

        `UNREADABLE` stands for what cannot be read; a date that cannot be is that of the row before. `unfit` knows where.
        """
        fixed = [
            self.raw.key if name == "key" else self.raw.columns[name] if self.raw.has(name) else sa.null()
            for name in FIXED
        ]
        waits = [self.raw.columns[name] for name in self.waits]
        wanted = [*fixed, *waits, *(self.raw.columns[dimension.column] for dimension in self.dimensions.values())]
        places = {column: number for number, column in enumerate(dict.fromkeys(wanted))}  # two may be of one column
        labelled = [expressions.exact(column).label(f"c{number}") for number, column in enumerate(places)]
        query = sa.select(*labelled).where(*self.within(start, end))
        # a type of somebody's own may give others than it takes
        aware = self.raw.aware or isinstance(self.raw.columns["date"].type, sa.TypeDecorator)
        rows, latest, unfit = 0, start, Unfit() if unfit is None else unfit
        for batch in reading.batches(connection, query, self.raw, list(places), size=BATCH, unfit=unfit):
            found = [batch[places[column]] for column in wanted]
            if aware:  # a dimension of dates gets them as they are
                found[0] = [naive_utc(date) if isinstance(date, datetime) else date for date in found[0]]
            if not reading.rise(found[0], latest, end):
                hours = Span(start, end, self.zone).edges("hour")
                counts = self.counts(connection, hours)
                found[0], odd = reading.placed(found[0], rows, latest, hours, counts)
                unfit.add("date", odd)
            rows, latest = rows + len(found[0]), found[0][-1]
            yield found

    def count(self, connection: sa.Connection, start: datetime, end: datetime) -> int:
        """How many raw rows the period has."""
        return (
            connection.scalar(sa.select(sa.func.count()).select_from(self.raw.table).where(*self.within(start, end)))
            or 0
        )

    def has_waited(self, connection: sa.Connection, start: datetime, end: datetime) -> bool:
        """Whether it is known of any raw row of the period what it waited for."""
        known = sa.or_(sa.false(), *(self.raw.columns[name].is_not(None) for name in self.waits))
        query = sa.select(sa.literal(1)).select_from(self.raw.table).where(*self.within(start, end), known).limit(1)
        return connection.scalar(query) is not None

    def counts(self, connection: sa.Connection, edges: list[datetime]) -> dict[datetime, int]:
        """How many raw rows each period between `edges` has, by its start; periods without any are left out."""
        quarter = databases.of(connection).quarter_of(self.raw.columns["date"])
        if quarter is not None and len(edges) > MOST_RANGES:
            return self._counts_in_one_pass(connection, quarter, edges)
        return self.counts_of(connection, list(pairwise(edges)))

    def counts_of(self, connection: sa.Connection, periods: Sequence[tuple[datetime, datetime]]) -> dict[datetime, int]:
        """How many raw rows each of `periods` has, by its start; those without any are left out."""
        counts: dict[datetime, int] = {}
        query, instant = _counting(self.raw.table, self.raw.columns["date"]), self.raw.instant
        for first in range(0, len(periods), COUNTED):
            some = list(periods[first : first + COUNTED])
            some += [(some[-1][1], some[-1][1])] * (COUNTED - len(some))
            values = {f"start{n}": instant(start) for n, (start, _) in enumerate(some)}
            values |= {f"end{n}": instant(end) for n, (_, end) in enumerate(some)}
            for number, rows in connection.execute(query, values):
                if rows:
                    counts[some[number][0]] = rows
        return counts

    def _counts_in_one_pass(
        self, connection: sa.Connection, quarter: sa.ColumnElement[int], edges: list[datetime]
    ) -> dict[datetime, int]:
        """The same by the quarters of an hour of all dates."""
        counts: dict[datetime, int] = {}
        query = sa.select(quarter, sa.func.count()).where(*self.within(edges[0], edges[-1])).group_by(quarter)
        for number, rows in connection.execute(query):
            # an hour of any time zone begins with a quarter of an hour of UTC
            start = edges[bisect_right(edges, max(edges[0], EPOCH + number * QUARTER)) - 1]
            counts[start] = counts.get(start, 0) + rows
        return counts

    def newest(self, connection: sa.Connection, *, before: datetime | None = None) -> datetime | None:
        """When the newest raw row, of those `before` an instant, began, naive UTC; None if there is none.

        Rows whose date cannot be are none, here as everywhere.
        """
        within = self.within(EARLIEST, LATEST if before is None else min(before, LATEST))
        return reading.edge(connection, self.raw, within, newest=True)

    def oldest(self, connection: sa.Connection, *, since: datetime = EARLIEST) -> datetime | None:
        """When the oldest raw row, of those `since` an instant, began, naive UTC; None if there is none."""
        within = self.within(max(since, EARLIEST), LATEST)
        return reading.edge(connection, self.raw, within, newest=False)

    def segments(
        self,
        connection: sa.Connection,
        start: datetime,
        end: datetime,
        *,
        ids: Ids,
        beat: Callable[[], None] | None = None,
        unfit: Unfit | None = None,
    ) -> tuple[dict[int, Segment], dict[datetime, int]]:
        """The segments of the period by audience, and how many raw rows each of its hours has.

        `beat` is called after each batch; `unfit` is told what was left out.
        """
        # of an hour that it begins within, what came before is no part of it, but offsets count from its beginning
        hours = [hour_of(start, self.zone), *Span(start, end, self.zone).edges("hour")[1:]]
        batches: dict[int, list[Segment]] = {PEOPLE: [], BOTS: []}
        counts: dict[datetime, int] = {}
        shape, unfit = self.shape, Unfit() if unfit is None else unfit
        for raws in self.columns(connection, start, end, unfit):
            batch = numbered(raws, hours=hours, shape=shape, ids=ids, leave_out=unfit.add)
            unfit.finish(batch.hours)
            for audience, places in self._split(batch, raws, ids).items():
                batches[audience].append(indexed(chosen(batch, places), shape))
            for (hour, first), following in zip(batch.hours, [*batch.hours[1:], (end, batch.hits)], strict=True):
                counts[hour] = counts.get(hour, 0) + following[1] - first
            if beat is not None:
                beat()
        nothing: list[list[Any]] = [[] for _ in (*FIXED, *self.waits, *self.dimensions)]
        none = indexed(numbered(nothing, hours=hours, shape=shape, ids=ids), shape)
        joined = {audience: join(some or [none], most_values=self.most_values) for audience, some in batches.items()}
        return joined, counts

    def _split(self, batch: Segment, raws: Sequence[Sequence[Any]], ids: Ids) -> dict[int, Column]:
        """The ordinals in `batch`, whose raw columns are given, that each audience has; an audience without any is left out."""
        if AUDIENCE not in self.dimensions:
            return {PEOPLE: np.arange(batch.hits)}
        distinct = set(raws[len(FIXED) + len(self.waits) + list(self.dimensions).index(AUDIENCE)])
        known = ids(AUDIENCE, distinct)
        of_bots = [known[raw] for raw in distinct if known[raw] != OTHER and self._is_bot(raw)]
        is_bot = np.isin(batch.columns[AUDIENCE][:], of_bots)
        split = {PEOPLE: np.flatnonzero(~is_bot), BOTS: np.flatnonzero(is_bot)}
        return {audience: places for audience, places in split.items() if len(places)}

    def _is_bot(self, raw: Any) -> bool:
        return self.dimensions[AUDIENCE].value_of(raw) == "bot"


@lru_cache(maxsize=32)
def _counting(table: sa.FromClause, date: sa.Column[Any]) -> sa.CompoundSelect[Any]:
    """The statement that counts the rows of some periods: made once, as to make it takes longer than to run it.

    A range count for each reads the index alone, which is ten times faster than to sort rows into buckets.
    """
    each = [
        sa.select(sa.literal_column(str(number), sa.Integer()).label("number"), sa.func.count().label("rows"))
        .select_from(table)
        .where(
            date >= sa.bindparam(f"start{number}", type_=date.type),
            date < sa.bindparam(f"end{number}", type_=date.type),
        )
        for number in range(COUNTED)
    ]
    return sa.union_all(*each)
