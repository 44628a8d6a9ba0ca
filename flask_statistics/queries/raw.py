"""Answers every question with SQL on the raw table, the user's own model.

Buckets come in as bound instants and latency bins as constants, so that one statement serves every database. Sorting,
searching and merging of values happen here and not in SQL: databases order and compare text differently.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import Any

import sqlalchemy as sa

from ..databases import expressions
from ..dimensions import ADDRESS, Dimension, Value
from ..filters import Filters
from ..models import RawTable
from ..spans import EARLIEST, LATEST, Span, naive_utc, to_local
from ..week import HOURS, hour_of_week
from . import interface
from .aggregates import Aggregates, grouped, instant_of
from .answers import (
    Block,
    Breakdown,
    Client,
    ExceptionGroup,
    Freshness,
    Group,
    Link,
    Measures,
    Only,
    Point,
    Profiles,
    RequestLog,
    Row,
    Tally,
)
from .clients import RawClients
from .conditions import Conditions, is_text, member, stored_values
from .interface import BINNED_BY, CHEAP, EVERY_REQUEST, EVERYTHING, NEEDED, USUAL, VISITORS, cut, joined, ranked
from .request_log import RawRequests

BUCKETS_A_STATEMENT = 256
"""A series with more buckets takes several statements, each over its own part of the span."""
COMBINED = (
    ("browser", "platform", "device", "bot", "user_agent"),
    ("status_code", "method", "mimetype", "exception", "issue"),
    ("country", "host", "language", "release", "channel", "campaign"),
)
"""Columns whose values go together, so that their combinations are few: one statement counts them for all of these."""
MOST_MEASURED = 1_000
"""Of so many values, the commonest, is a percentile looked for where there are more than `interface.MOST_GROUPS`."""


class RawQueries:
    """Answers from the raw table, over one connection."""

    source = "raw"
    freshness: Freshness | None = None

    def __init__(
        self, connection: sa.Connection, raw: RawTable, dimensions: dict[str, Dimension], waits: Sequence[str] = ()
    ) -> None:
        """`waits`: those of what requests waited for that can be asked for."""
        self._connection = connection
        self._raw = raw
        self._dimensions = dimensions
        self.conditions = Conditions(connection, raw, dimensions)
        self._aggregates = Aggregates(connection, raw, self.conditions, waits)
        self._requests = RawRequests(connection, raw, self.conditions)

    def recover(self) -> None:
        self._connection.rollback()

    # ---- questions -----------------------------------------------------------------------------------------------

    def earliest(self) -> datetime | None:
        date = self.conditions.column("date")
        possible = (date >= self._raw.instant(EARLIEST), date < self._raw.instant(LATEST))
        return instant_of(self._connection.scalar(sa.select(expressions.lowest(date)).where(*possible)))

    def complete_from(self, span: Span, filters: Filters, dimensions: Sequence[str] = ()) -> datetime | None:
        return None

    def undecided(self, span: Span, filters: Filters) -> int:
        return 0

    def summary(self, span: Span, filters: Filters, *, want: frozenset[str] = EVERYTHING) -> Measures:
        where = self.conditions.where(span, filters)
        row = self._connection.execute(sa.select(*self._aggregates.aggregates(want)).where(*where)).one()
        tally = self._aggregates.tally(row)
        for name in self._aggregates.binned(want):
            tally.spread(name).bins = self._aggregates.bins(name, where).get((), {})
        return tally.measures()

    def series(self, span: Span, unit: str, filters: Filters, *, want: frozenset[str] = EVERYTHING) -> list[Point]:
        edges, empty = span.edges(unit), self._aggregates.empty(want)
        found = {number: tally.measures() for number, tally in self._tallies(edges, span, filters, want)}
        return [Point(start, end, found.get(number, empty)) for number, (start, end) in enumerate(pairwise(edges))]

    def week(self, span: Span, filters: Filters, *, want: frozenset[str] = USUAL) -> tuple[Measures, ...]:
        edges, hours = span.edges("hour"), [self._aggregates.none(want) for _ in range(HOURS)]
        for number, tally in self._tallies(edges, span, filters, want):
            hours[hour_of_week(to_local(edges[number], span.zone))].add_hour(tally)
        return tuple(hour.measures() for hour in hours)

    def breakdown(
        self,
        dimension: str,
        span: Span,
        filters: Filters,
        *,
        sort: str = "-hits",
        limit: int = 50,
        offset: int = 0,
        search: str = "",
        want: frozenset[str] = EVERYTHING,
    ) -> Breakdown:
        by = self._dimensions[dimension]
        want = want | NEEDED.get(sort.removeprefix("-"), CHEAP)
        where = self.conditions.where(span, filters)
        tallies, all_there = self._by_value(by, where, want)
        if search:
            needle = search.casefold()
            tallies = {value: tally for value, tally in tallies.items() if needle in by.label_of(value).casefold()}
        binned, ranking = self._aggregates.binned(want), BINNED_BY.get(sort.removeprefix("-"))
        if ranking in binned:
            if not all_there:  # a histogram of each would take a hundred times the memory
                tallies = {row.value: tallies[row.value] for row in _commonest(tallies, MOST_MEASURED)}
            self._add_bins(ranking, by, where, tallies, None if all_there else list(tallies))
            binned.remove(ranking)
        rows = cut(_rows(tallies), sort=sort, limit=limit, offset=offset)
        if binned and rows:
            shown = {row.value: tallies[row.value] for row in rows}
            for name in binned:
                self._add_bins(name, by, where, shown, list(shown))
            rows = tuple(_rows(shown))
        if all_there or search:
            hits = sum(tally.hits for tally in tallies.values())
            among = None if all_there else interface.MOST_GROUPS
            return Breakdown(dimension, len(tallies), rows, hits, among=among)
        total = max(len(tallies), self._aggregates.different(by.column, where))
        return Breakdown(dimension, total, rows, self._aggregates.hits(where))

    def breakdowns(
        self, dimensions: Sequence[str], span: Span, filters: Filters, *, limit: int
    ) -> dict[str, Breakdown]:
        found: dict[str, Breakdown] = {}
        for names in _together([self._dimensions[name] for name in dimensions], filters):
            found |= self._most_hits(names, span, filters, limit=limit)
        return {name: found[name] for name in dimensions}

    def _most_hits(self, names: Sequence[str], span: Span, filters: Filters, *, limit: int) -> dict[str, Breakdown]:
        """Breakdowns by several dimensions, none of them filtered, or by a single one without its own filter."""
        where = self.conditions.where(span, filters.without(names[0]) if len(names) == 1 else filters)
        columns = [self.conditions.column(self._dimensions[name].column) for name in names]
        query = grouped(columns, sa.func.count().label("hits")).where(*where)
        groups, all_there = self._aggregates.groups(query)
        if not all_there and len(names) > 1:  # too many combinations need not be too many values
            return {name: self._most_hits([name], span, filters, limit=limit)[name] for name in names}
        by_raw: list[Counter[Any]] = [Counter() for _ in names]
        for *raws, count in groups:
            for hits, raw in zip(by_raw, raws, strict=True):
                hits[raw] += count
        found = {name: _most(self._dimensions[name], hits, limit) for name, hits in zip(names, by_raw, strict=True)}
        if all_there:
            return found
        (name,) = names
        total = max(found[name].total, self._aggregates.different(self._dimensions[name].column, where))
        return {name: replace(found[name], total=total, hits=self._aggregates.hits(where))}

    def profiles(self, dimension: str, span: Span, unit: str, filters: Filters, *, limit: int) -> Profiles:
        by = self._dimensions[dimension]
        where = self.conditions.where(span, filters)
        tallies, all_there = self._by_value(by, where, USUAL)
        total = len(tallies) if all_there else max(len(tallies), self._aggregates.different(by.column, where))
        shown = {row.value: tallies[row.value] for row in _commonest(tallies, limit)}
        if shown and self._raw.has("response_time"):
            self._add_bins("response_time", by, where, shown, list(shown))
        blocks = self._blocks(by, span, unit, filters, shown) if shown else {}
        hits = sum(tally.hits for tally in tallies.values()) if all_there else self._aggregates.hits(where)
        return Profiles(total, hits, tuple(tally.profile(value, blocks[value]) for value, tally in shown.items()))

    def blocks(
        self, dimension: str, values: Collection[Value], span: Span, unit: str, filters: Filters
    ) -> dict[Value, tuple[Block, ...]]:
        found = self._blocks(self._dimensions[dimension], span, unit, filters, values)
        return {value: tuple(tally.block() for tally in tallies) for value, tallies in found.items()}

    def clients(self, addresses: Collection[Value], span: Span, filters: Filters) -> dict[Value, Client]:
        if ADDRESS not in self._dimensions:
            return {}
        clients = RawClients(self._connection, self._raw, self.conditions, self._dimensions[ADDRESS])
        return clients.about(addresses, span, filters)

    def groups(self, dimensions: Sequence[str], span: Span, filters: Filters, *, limit: int) -> list[Group]:
        by = [self._dimensions[name] for name in dimensions]
        date, columns = self.conditions.column("date"), [self.conditions.column(each.column) for each in by]
        rows, _ = self._aggregates.groups(
            grouped(columns, sa.func.count().label("hits"), sa.func.min(date), sa.func.max(date)).where(
                *self.conditions.where(span, filters)
            )
        )
        found: dict[tuple[Value, ...], Group] = {}
        for *raws, hits, first, last in rows:
            values = tuple(each.value_of(raw) for each, raw in zip(by, raws, strict=True))
            group = Group(values, hits, naive_utc(first), naive_utc(last))
            known = found.get(values)
            found[values] = group if known is None else joined(known, group)
        return ranked(found.values(), limit)

    def exceptions(self, span: Span, filters: Filters, *, limit: int) -> list[ExceptionGroup]:
        if not self._raw.has("exception"):
            return []
        date, exception = self.conditions.column("date"), self.conditions.column("exception")
        paths: list[sa.ColumnElement[Any]] = (
            [sa.func.nullif(self.conditions.column("path"), "")] if self._raw.has("path") else []
        )
        found, _ = self._aggregates.groups(
            grouped([exception, *paths], sa.func.count().label("hits"), sa.func.min(date), sa.func.max(date)).where(
                *self.conditions.where(span, filters), exception.is_not(None), exception != ""
            )
        )
        groups = [
            ExceptionGroup(
                str(text), str(path[0]) if path and path[0] else None, hits, naive_utc(first), naive_utc(last)
            )
            for text, *path, hits, first, last in found
        ]
        return sorted(groups, key=lambda group: (-group.hits, group.exception, group.path or ""))[:limit]

    def links(self, span: Span, filters: Filters, *, limit: int) -> list[Link]:
        if not (self._raw.has("path") and self._raw.has("referrer")):
            return []
        path, referrer, date = (
            self.conditions.column("path"),
            self.conditions.column("referrer"),
            self.conditions.column("date"),
        )
        found, _ = self._aggregates.groups(
            grouped([path, referrer], sa.func.count().label("hits"), sa.func.max(date)).where(
                *self.conditions.where(span, filters), path != "", referrer != ""
            )
        )
        links = [Link(str(at), str(source), hits, naive_utc(last)) for at, source, hits, last in found]
        return sorted(links, key=lambda link: (-link.hits, link.path, link.referrer))[:limit]

    def requests(
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
        return self._requests.page(
            span, filters, limit=limit, before=before, after=after, only=only, slowest=slowest, keys=keys
        )

    def position(self, key: str) -> tuple[Any, Any]:
        """Date and key of a stored request, where the log goes on. Raises `UnknownRequest`."""
        return self._requests.position(key)

    def beside(self, read: Callable[[sa.Connection], interface.T]) -> interface.T:
        return read(self._connection)

    def request(self, key: str, *, schema: str | None = None) -> dict[str, Any] | None:
        """As the interface says; `schema` is that of the raw table where another one of its name would be found."""
        return self._requests.one(key, schema=schema)

    # ---- series --------------------------------------------------------------------------------------------------

    def _tallies(
        self, edges: Sequence[datetime], span: Span, filters: Filters, want: frozenset[str]
    ) -> Iterator[tuple[int, Tally]]:
        """The sums of each bucket that has requests, by its number."""
        conditions = self.conditions.of_filters(span, filters)
        for first in range(0, len(edges) - 1, BUCKETS_A_STATEMENT):
            some = self._some_tallies(edges[first : first + BUCKETS_A_STATEMENT + 1], conditions, want)
            yield from ((first + number, tally) for number, tally in some.items())

    def _some_tallies(
        self, edges: Sequence[datetime], conditions: Sequence[sa.ColumnElement[bool]], want: frozenset[str]
    ) -> dict[int, Tally]:
        where = [*self.conditions.within(edges[0], edges[-1]), *conditions]
        bucket = self._aggregates.bucket(edges)
        source = (
            sa.select(bucket.label("bucket"), *(c.label(n) for n, c in self._aggregates.measured(want).items()))
            .where(*where)
            .subquery()
        )
        query = sa.select(source.c.bucket, *self._aggregates.aggregates(want, source)).group_by(source.c.bucket)
        tallies = {row[0]: self._aggregates.tally(row) for row in self._connection.execute(query)}
        for name in self._aggregates.binned(want):
            for (number,), histogram in self._aggregates.bins(name, where, bucket).items():
                tallies[number].spread(name).bins = histogram
        return tallies

    # ---- profiles ------------------------------------------------------------------------------------------------

    def _blocks(
        self, dimension: Dimension, span: Span, unit: str, filters: Filters, values: Collection[Value]
    ) -> dict[Value, list[Tally]]:
        """The sums of each of `values` in each bucket of `unit`."""
        edges, conditions = span.edges(unit), self.conditions.of_filters(span, filters)
        blocks = {value: [Tally() for _ in edges[1:]] for value in values}
        column = self.conditions.column(dimension.column)
        for first in range(0, len(edges) - 1, BUCKETS_A_STATEMENT):
            some = edges[first : first + BUCKETS_A_STATEMENT + 1]
            measured = {name: c.label(name) for name, c in self._aggregates.measured(CHEAP).items()}
            source = (
                sa.select(self._aggregates.bucket(some).label("bucket"), column.label("_value"), *measured.values())
                .where(*self.conditions.within(some[0], some[-1]), *conditions)
                .subquery()
            )
            by = (source.c.bucket, source.c["_value"])
            query = sa.select(*by, *self._aggregates.aggregates(CHEAP, source)).group_by(*by)
            for row in self._connection.execute(query):
                of_value = blocks.get(dimension.value_of(row[1]))
                if of_value is not None:
                    of_value[first + row[0]].add(self._aggregates.tally(row))
        return blocks

    # ---- breakdowns ----------------------------------------------------------------------------------------------

    def _by_value(
        self, dimension: Dimension, where: Sequence[sa.ColumnElement[bool]], want: frozenset[str]
    ) -> tuple[dict[Value, Tally], bool]:
        """The sums of each value of `dimension`, or of the commonest ones; whether these are all."""
        column = self.conditions.column(dimension.column)
        group = sa.func.nullif(column, "", type_=column.type) if is_text(column) else column
        inside = want - {VISITORS} if dimension.derived else want
        query = grouped([group], *self._aggregates.aggregates(inside)).where(*where)
        groups, all_there = self._aggregates.groups(query)
        if not dimension.derived:
            return {dimension.value_of(row[0]): self._aggregates.tally(row) for row in groups}, all_there
        tallies: dict[Value, Tally] = {}
        for row in groups:
            tallies.setdefault(dimension.value_of(row[0]), Tally()).add(self._aggregates.tally(row))
        if VISITORS in want and self._raw.has("remote_address"):
            for value, count in self._visitors(dimension, group, where).items():
                if value in tallies:
                    tallies[value].visitors = count
        return tallies, all_there

    def _visitors(
        self, dimension: Dimension, group: sa.ColumnElement[Any], where: Sequence[sa.ColumnElement[bool]]
    ) -> dict[Value, int]:
        """Distinct addresses of each value of a derived dimension, whose raw values may share visitors."""
        address = self.conditions.column("remote_address")
        query = sa.select(group, address).where(*where).distinct()
        addresses: dict[Value, set[str]] = {}
        for raw, visitor in self._connection.execute(query):
            known = addresses.setdefault(dimension.value_of(raw), set())
            if visitor is not None:
                known.add(visitor)
        return {value: len(known) for value, known in addresses.items()}

    def _add_bins(
        self,
        name: str,
        dimension: Dimension,
        where: Sequence[sa.ColumnElement[bool]],
        tallies: dict[Value, Tally],
        values: Sequence[Value] | None,
    ) -> None:
        """Give each of `tallies` its histogram of the column `name`; `values`, if not None, are the only ones that are needed."""
        column = self.conditions.column(dimension.column)
        narrowed = list(where)
        if values is not None and not dimension.derived and None not in values:
            narrowed.append(member(column, stored_values(values)))
        for (raw,), histogram in self._aggregates.bins(name, narrowed, column).items():
            tally = tallies.get(dimension.value_of(raw))
            if tally is not None:
                tally.spread(name).add_bins(histogram)


def _rows(tallies: dict[Value, Tally]) -> list[Row]:
    return [Row(value, tally.measures()) for value, tally in tallies.items()]


def _together(dimensions: Sequence[Dimension], filters: Filters) -> list[list[str]]:
    """The names of `dimensions`, those in one list that one statement can count."""
    filtered = {condition.dimension for condition in filters.conditions}
    groups: dict[Any, list[str]] = {}
    for dimension in dimensions:
        combined = next((columns for columns in COMBINED if dimension.column in columns), None)
        alone = combined is None or dimension.name in filtered
        groups.setdefault(dimension.name if alone else combined, []).append(dimension.name)
    return list(groups.values())


def _commonest(tallies: dict[Value, Tally], limit: int) -> tuple[Row, ...]:
    rows = [Row(value, Tally(hits=tally.hits).measures()) for value, tally in tallies.items()]
    return cut(rows, sort="-hits", limit=limit, offset=0)


def _most(dimension: Dimension, by_raw: Counter[Any], limit: int) -> Breakdown:
    """The values with the most hits, of the hits by raw value."""
    hits: Counter[Value] = Counter()
    for raw, count in by_raw.items():
        hits[dimension.value_of(raw)] += count
    rows = [Row(value, Tally(hits=count).measures()) for value, count in hits.items()]
    return Breakdown(dimension.name, len(rows), cut(rows, sort="-hits", limit=limit, offset=0), hits.total())
