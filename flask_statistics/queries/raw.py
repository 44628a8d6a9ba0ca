"""Answers every question with SQL on the raw table, the user's own model.

Buckets come in as bound instants and latency bins as constants, so that one statement serves every database. Sorting,
searching and merging of values happen here and not in SQL: databases order and compare text differently.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from math import isfinite
from typing import Any

import sqlalchemy as sa

from .. import databases
from ..columns import plain_value
from ..databases import expressions
from ..dimensions import OTHER_VALUE, Dimension, Value, from_apart
from ..filters import Condition, Filters
from ..models import KNOWN_COLUMNS, RawTable
from ..spans import EARLIEST, LATEST, Span, naive_utc
from .answers import Breakdown, ExceptionGroup, Freshness, Link, Measures, Point, RequestLog, Row, Tally
from .interface import (
    EVERYTHING,
    PERCENTILE_SORTS,
    PERCENTILES,
    SUMS,
    VISITORS,
    TooManyValues,
    UnknownRequest,
    cut,
)

BUCKETS_A_STATEMENT = 256
"""A series with more buckets takes several statements, each over its own part of the span."""
COMBINED = (("browser", "platform", "device", "bot", "user_agent"), ("status_code", "method", "mimetype", "exception"))
"""Columns whose values go together, so that their combinations are few: one statement counts them for all of these."""
MOST_GROUPS = 100_000
"""Different values, or combinations of them, that one question may hold in memory: some 100 MB."""
MOST_MEASURED = 1_000
"""Of so many values, the commonest, is a percentile looked for where there are more than `MOST_GROUPS`."""
FEW = 100
"""So many values are ordinary parameters of a statement; more go in as one."""

NUMBERS = ("status_code", "response_time", "size")
"""Columns that hold numbers, and nothing else that can be shown."""


class RawQueries:
    """Answers from the raw table, over one connection."""

    source = "raw"
    freshness: Freshness | None = None

    def __init__(self, connection: sa.Connection, raw: RawTable, dimensions: dict[str, Dimension]) -> None:
        self._connection = connection
        self._raw = raw
        self._dimensions = dimensions
        self._seen: dict[tuple[Any, ...], list[Any]] = {}
        self.newest: Any = None
        """Rows with a higher key are left out; None: none are."""

    def recover(self) -> None:
        self._connection.rollback()

    # ---- questions -----------------------------------------------------------------------------------------------

    def earliest(self) -> datetime | None:
        date = self._column("date")
        possible = (date >= self._raw.instant(EARLIEST), date < self._raw.instant(LATEST))
        return _naive(self._connection.scalar(sa.select(expressions.lowest(date)).where(*possible)))

    def complete_from(self, span: Span, filters: Filters, dimensions: Sequence[str] = ()) -> datetime | None:
        return None

    def undecided(self, span: Span, filters: Filters) -> int:
        return 0

    def summary(self, span: Span, filters: Filters, *, want: frozenset[str] = EVERYTHING) -> Measures:
        where = self._where(span, filters)
        row = self._connection.execute(sa.select(*self._aggregates(want)).where(*where)).one()
        tally = self._tally(row)
        if PERCENTILES in want and self._raw.has("response_time"):
            tally.latency = self._latency(where).get((), Counter())
        return tally.measures()

    def series(self, span: Span, unit: str, filters: Filters, *, want: frozenset[str] = EVERYTHING) -> list[Point]:
        edges = span.edges(unit)
        where = self._conditions(span, filters)
        points: list[Point] = []
        for first in range(0, len(edges) - 1, BUCKETS_A_STATEMENT):
            points += self._points(edges[first : first + BUCKETS_A_STATEMENT + 1], where, want)
        return points

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
        asked = self._dimensions[dimension]
        where = self._where(span, filters)
        tallies, all_there = self._by_value(asked, where, want)
        if search:
            needle = search.casefold()
            tallies = {value: tally for value, tally in tallies.items() if needle in asked.label_of(value).casefold()}
        percentiles = PERCENTILES in want and self._raw.has("response_time")
        if percentiles and sort.removeprefix("-") in PERCENTILE_SORTS:
            if not all_there:  # a histogram of each would take a hundred times the memory
                tallies = {row.value: tallies[row.value] for row in _commonest(tallies, MOST_MEASURED)}
            self._add_latency(asked, where, tallies, None if all_there else list(tallies))
            percentiles = False
        rows = cut(_rows(tallies), sort=sort, limit=limit, offset=offset)
        if percentiles and rows:
            shown = {row.value: tallies[row.value] for row in rows}
            self._add_latency(asked, where, shown, [row.value for row in rows])
            rows = tuple(_rows(shown))
        if all_there or search:
            hits = sum(tally.hits for tally in tallies.values())
            return Breakdown(dimension, len(tallies), rows, hits, among=None if all_there else MOST_GROUPS)
        return Breakdown(dimension, max(len(tallies), self._different(asked, where)), rows, self._hits(where))

    def _hits(self, where: Sequence[sa.ColumnElement[bool]]) -> int:
        return self._connection.scalar(sa.select(sa.func.count()).select_from(self._raw.table).where(*where)) or 0

    def _different(self, dimension: Dimension, where: Sequence[sa.ColumnElement[bool]]) -> int:
        """How many raw values there are of `dimension`, which may mean fewer values of it."""
        return (
            self._connection.scalar(sa.select(sa.func.count(self._column(dimension.column).distinct())).where(*where))
            or 0
        )

    def breakdowns(
        self, dimensions: Sequence[str], span: Span, filters: Filters, *, limit: int
    ) -> dict[str, Breakdown]:
        found: dict[str, Breakdown] = {}
        for names in _together([self._dimensions[name] for name in dimensions], filters):
            found |= self._most_hits(names, span, filters, limit=limit)
        return {name: found[name] for name in dimensions}

    def _most_hits(self, names: Sequence[str], span: Span, filters: Filters, *, limit: int) -> dict[str, Breakdown]:
        """Breakdowns by several dimensions, none of them filtered, or by a single one without its own filter."""
        where = self._where(span, filters.without(names[0]) if len(names) == 1 else filters)
        columns = [self._column(self._dimensions[name].column) for name in names]
        query = _grouped(columns, sa.func.count().label("hits")).where(*where)
        groups, all_there = self._groups(query)
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
        total = max(found[name].total, self._different(self._dimensions[name], where))
        return {name: replace(found[name], total=total, hits=self._hits(where))}

    def exceptions(self, span: Span, filters: Filters, *, limit: int) -> list[ExceptionGroup]:
        if not self._raw.has("exception"):
            return []
        date, exception = self._column("date"), self._column("exception")
        paths: list[sa.ColumnElement[Any]] = [sa.func.nullif(self._column("path"), "")] if self._raw.has("path") else []
        found, _ = self._groups(
            _grouped([exception, *paths], sa.func.count().label("hits"), sa.func.min(date), sa.func.max(date)).where(
                *self._where(span, filters), exception.is_not(None), exception != ""
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
        path, referrer, date = self._column("path"), self._column("referrer"), self._column("date")
        found, _ = self._groups(
            _grouped([path, referrer], sa.func.count().label("hits"), sa.func.max(date)).where(
                *self._where(span, filters), path != "", referrer != ""
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
        keys: Sequence[Any] | None = None,
    ) -> RequestLog:
        """As the interface says; with `keys`, only the requests that have one of them are looked at."""
        date, key = self._column("date"), self._raw.key
        where = self._where(span, filters)
        if keys is not None:
            where.append(key.in_(keys))
        names = [name for name in self._raw.columns if name in KNOWN_COLUMNS and name != "traceback"]
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
        try:
            identity = self._raw.identity(key)
        except ValueError:
            raise UnknownRequest(key) from None
        date = self._connection.scalar(sa.select(self._column("date")).where(self._raw.key == identity))
        if date is None:
            raise UnknownRequest(key)
        return date, identity

    def request(self, key: str) -> dict[str, Any] | None:
        try:
            identity = self._raw.identity(key)
        except ValueError:
            return None
        columns = (column.label(name) for name, column in self._raw.columns.items())
        query = sa.select(self._raw.key.label("_key"), *columns).where(self._raw.key == identity)
        row = self._connection.execute(query).mappings().first()
        return None if row is None else _request(row)

    def _groups(self, query: sa.Select[Any]) -> tuple[list[Any], bool]:
        """The rows of a query that has one for each different value and its `hits`; whether these are all of them.

        Of very many, which a stranger can bring about, those with the most hits: a page must show what is common all the same.
        """
        rows = list(self._connection.execute(query.order_by(sa.desc("hits")).limit(MOST_GROUPS + 1)))
        return rows[:MOST_GROUPS], len(rows) <= MOST_GROUPS

    # ---- conditions ----------------------------------------------------------------------------------------------

    def _column(self, name: str) -> sa.ColumnElement[Any]:
        return expressions.exact(self._raw.columns[name])

    def _within(self, start: datetime, end: datetime) -> list[sa.ColumnElement[bool]]:
        date = self._column("date")
        # the sum, as SQLite would take the index on the key for the better one
        newest = [] if self.newest is None else [self._raw.key + 0 <= self.newest]
        return [date >= self._raw.instant(start), date < self._raw.instant(end), *newest]

    def _where(self, span: Span, filters: Filters) -> list[sa.ColumnElement[bool]]:
        return [*self._within(span.start, span.end), *self._conditions(span, filters)]

    def _conditions(self, span: Span, filters: Filters) -> list[sa.ColumnElement[bool]]:
        clauses = [self._condition(condition, span) for condition in filters.conditions]
        if filters.contains and "path" in self._dimensions:
            needle = filters.contains.casefold()
            found = self._raw_values(self._dimensions["path"], span, containing=filters.contains)
            paths = [path for path in found if path and needle in path.casefold()]
            clauses.append(_member(self._column("path"), paths))
        return clauses

    def _condition(self, condition: Condition, span: Span) -> sa.ColumnElement[bool]:
        dimension = self._dimensions[condition.dimension]
        column = self._column(dimension.column)
        values = condition.values(dimension)
        member = _member(column, self._raws(dimension, values, span))
        if not condition.negated:
            return sa.or_(member, column.is_(None)) if None in values else member
        if None in values:
            return sa.and_(column.is_not(None), sa.not_(member))
        return sa.or_(column.is_(None), sa.not_(member))

    def _raws(self, dimension: Dimension, values: Iterable[Value], span: Span) -> list[Any]:
        """The raw values, but for NULL, that mean one of `values`."""
        wanted = frozenset(values)
        if dimension.derived:
            texts = [value for value in wanted if isinstance(value, str)]
            raws = self._raw_values(dimension, span, containing=texts[0] if len(texts) == len(wanted) == 1 else "")
            return [raw for raw in raws if raw is not None and dimension.value_of(raw) in wanted]
        stored = _stored(wanted)
        cut = [self._raw.fit(dimension.column, raw) for raw in stored]
        raws = [raw for raw in dict.fromkeys([*stored, *cut]) if databases.of(self._connection).can_hold(raw)]
        return [*raws, ""] if None in wanted and _is_text(self._column(dimension.column)) else raws

    def _raw_values(self, dimension: Dimension, span: Span, *, containing: str = "") -> list[Any]:
        """All raw values of `dimension` that occur in `span`, looked up once.

        Of more than fit into memory, those that contain a text, of ASCII in any case. Raises `TooManyValues` if these are
        too many as well.
        """
        column = self._column(dimension.column)
        asked: tuple[Any, ...] = (dimension.column, span)
        if asked not in self._seen:
            query = sa.select(column).where(*self._within(span.start, span.end)).distinct().limit(MOST_GROUPS + 1)
            self._seen[asked] = [row[0] for row in self._connection.execute(query)]
        if len(self._seen[asked]) <= MOST_GROUPS:
            return self._seen[asked]
        # only of a path or a referrer is it known that its raw value contains what is asked for
        looks = databases.of(self._connection).has_escape
        if containing and looks and dimension.column in ("path", "referrer"):
            narrowed = (dimension.column, span, containing)
            if narrowed not in self._seen:
                within = (*self._within(span.start, span.end), column.icontains(containing, autoescape=True))
                query = sa.select(column).where(*within).distinct().limit(MOST_GROUPS + 1)
                self._seen[narrowed] = [row[0] for row in self._connection.execute(query)]
            asked = narrowed
        if len(self._seen[asked]) > MOST_GROUPS:
            raise TooManyValues(
                f"More than {MOST_GROUPS:,} different values would have to be looked through. Choose a shorter span or a "
                "longer text; with STATISTICS_ROLLUPS, rare ones are counted together."
            )
        return self._seen[asked]

    # ---- sums ----------------------------------------------------------------------------------------------------

    def _aggregates(self, want: frozenset[str], source: Any = None) -> list[sa.ColumnElement[Any]]:
        """The sums that `_tally` reads, over the raw table or over `source`, which has its columns."""
        columns = {
            name: source.c[name] if source is not None else column for name, column in self._measured(want).items()
        }
        sums: list[sa.ColumnElement[Any]] = [sa.func.count().label("hits"), sa.func.max(columns["date"]).label("last")]
        if "status_code" in columns:
            for label, low in (("client_errors", 400), ("server_errors", 500)):
                error = sa.case((columns["status_code"].between(low, low + 99), 1), else_=0)
                sums.append(sa.func.coalesce(sa.func.sum(error), 0).label(label))
        if "size" in columns:
            sums.append(sa.func.coalesce(sa.func.sum(columns["size"]), 0).label("size"))
        if "response_time" in columns:
            time = columns["response_time"]
            sums += [
                sa.func.sum(time).label("seconds"),
                sa.func.count(time).label("timed"),
                sa.func.max(time).label("longest"),
            ]
        if "remote_address" in columns:
            sums.append(sa.func.count(columns["remote_address"].distinct()).label("visitors"))
        return sums

    def _measured(self, want: frozenset[str]) -> dict[str, sa.ColumnElement[Any]]:
        """The columns that the sums in `want` read: of `date` alone, its index is enough."""
        names = ["date"]
        if SUMS in want:
            names += ["status_code", "size"]
        if SUMS in want or PERCENTILES in want:  # no percentile is above the longest time
            names.append("response_time")
        if VISITORS in want:
            names.append("remote_address")
        return {name: self._column(name) for name in names if self._raw.has(name)}

    def _tally(self, row: sa.Row[Any]) -> Tally:
        found = row._mapping
        return Tally(
            hits=found["hits"],
            visitors=found.get("visitors"),
            client_errors=_whole(found.get("client_errors")),
            server_errors=_whole(found.get("server_errors")),
            size=_whole(found.get("size")),
            seconds=float(_number(found.get("seconds")) or 0.0),
            timed=found.get("timed") or 0,
            longest=_number(found.get("longest")),
            last=_naive(found["last"]),
        )

    def _latency(
        self, where: Sequence[sa.ColumnElement[bool]], *groups: sa.ColumnElement[Any]
    ) -> dict[tuple[Any, ...], Counter[int]]:
        """Histograms of response times, by the values of `groups`."""
        time = self._column("response_time")
        labels = [group.label(f"group_{number}") for number, group in enumerate(groups)]
        source = (
            sa.select(expressions.latency_bin(time).label("bin"), *labels).where(*where, time.is_not(None)).subquery()
        )
        keys = [source.c[label.name] for label in labels]
        query = sa.select(*keys, source.c.bin, sa.func.count()).group_by(*keys, source.c.bin)
        histograms: dict[tuple[Any, ...], Counter[int]] = {}
        for *values, number, count in self._connection.execute(query):
            histograms.setdefault(tuple(values), Counter())[number] += count
        return histograms

    # ---- series --------------------------------------------------------------------------------------------------

    def _points(
        self, edges: Sequence[datetime], conditions: Sequence[sa.ColumnElement[bool]], want: frozenset[str]
    ) -> list[Point]:
        where = [*self._within(edges[0], edges[-1]), *conditions]
        bucket = self._bucket(edges)
        source = (
            sa.select(bucket.label("bucket"), *(c.label(n) for n, c in self._measured(want).items()))
            .where(*where)
            .subquery()
        )
        query = sa.select(source.c.bucket, *self._aggregates(want, source)).group_by(source.c.bucket)
        tallies = {row[0]: self._tally(row) for row in self._connection.execute(query)}
        if PERCENTILES in want and self._raw.has("response_time"):
            for (number,), histogram in self._latency(where, bucket).items():
                tallies[number].latency = histogram
        empty = self._empty(want)
        return [
            Point(start, end, tallies[number].measures() if number in tallies else empty)
            for number, (start, end) in enumerate(pairwise(edges))
        ]

    def _bucket(self, edges: Sequence[datetime]) -> sa.ColumnElement[int]:
        """The number of the bucket that `date` falls in, by halving: eight comparisons for 256 buckets."""
        date = self._column("date")

        def halve(low: int, high: int) -> Any:
            if low == high:
                return sa.literal_column(str(low), sa.Integer())
            middle = (low + high + 1) // 2
            return sa.case((date < self._raw.instant(edges[middle]), halve(low, middle - 1)), else_=halve(middle, high))

        answer: sa.ColumnElement[int] = halve(0, len(edges) - 2)
        return answer

    def _empty(self, want: frozenset[str]) -> Measures:
        """The measures of no requests: zeros where there is a column, None where there is none."""
        return Tally(
            visitors=0 if VISITORS in want and self._raw.has("remote_address") else None,
            client_errors=0 if SUMS in want and self._raw.has("status_code") else None,
            server_errors=0 if SUMS in want and self._raw.has("status_code") else None,
            size=0 if SUMS in want and self._raw.has("size") else None,
        ).measures()

    # ---- breakdowns ----------------------------------------------------------------------------------------------

    def _by_value(
        self, dimension: Dimension, where: Sequence[sa.ColumnElement[bool]], want: frozenset[str]
    ) -> tuple[dict[Value, Tally], bool]:
        """The sums of each value of `dimension`, or of the commonest ones; whether these are all."""
        column = self._column(dimension.column)
        group = sa.func.nullif(column, "", type_=column.type) if _is_text(column) else column
        inside = want - {VISITORS} if dimension.derived else want
        query = _grouped([group], *self._aggregates(inside)).where(*where)
        groups, all_there = self._groups(query)
        if not dimension.derived:
            return {dimension.value_of(row[0]): self._tally(row) for row in groups}, all_there
        tallies: dict[Value, Tally] = {}
        for row in groups:
            tallies.setdefault(dimension.value_of(row[0]), Tally()).add(self._tally(row))
        if VISITORS in want and self._raw.has("remote_address"):
            for value, count in self._visitors(dimension, group, where).items():
                if value in tallies:
                    tallies[value].visitors = count
        return tallies, all_there

    def _visitors(
        self, dimension: Dimension, group: sa.ColumnElement[Any], where: Sequence[sa.ColumnElement[bool]]
    ) -> dict[Value, int]:
        """Distinct addresses of each value of a derived dimension, whose raw values may share visitors."""
        address = self._column("remote_address")
        query = sa.select(group, address).where(*where).distinct()
        addresses: dict[Value, set[str]] = {}
        for raw, visitor in self._connection.execute(query):
            known = addresses.setdefault(dimension.value_of(raw), set())
            if visitor is not None:
                known.add(visitor)
        return {value: len(known) for value, known in addresses.items()}

    def _add_latency(
        self,
        dimension: Dimension,
        where: Sequence[sa.ColumnElement[bool]],
        tallies: dict[Value, Tally],
        values: Sequence[Value] | None,
    ) -> None:
        """Give each of `tallies` its histogram; `values`, if not None, are the only ones that are needed."""
        column = self._column(dimension.column)
        narrowed = list(where)
        if values is not None and not dimension.derived and None not in values:
            narrowed.append(_member(column, _stored(values)))
        for (raw,), histogram in self._latency(narrowed, column).items():
            tally = tallies.get(dimension.value_of(raw))
            if tally is not None:
                tally.latency.update(histogram)


def _grouped(by: Sequence[sa.ColumnElement[Any]], *aggregates: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """The `aggregates` for each combination of `by`, which stands before them.

    It is grouped by names: MariaDB with ONLY_FULL_GROUP_BY does not see that two expressions are the same.
    """
    labelled = [expression.label(f"_by_{number}") for number, expression in enumerate(by)]
    return sa.select(*labelled, *aggregates).group_by(*(label.name for label in labelled))


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


def _stored(values: Iterable[Value]) -> list[Any]:
    """How a column that is no function's holds `values`, but for None, and for the folded rest, of which there is none here."""
    return [from_apart(value) for value in values if value is not None and value != OTHER_VALUE]


def _member(column: sa.ColumnElement[Any], values: Sequence[Any]) -> sa.ColumnElement[bool]:
    if not values:
        return sa.false()
    if len(values) > FEW and _is_text(column):
        return expressions.one_of(column, values)
    return column.in_(values)


def _later(date: Any, key: Any, at: Any, identity: Any) -> sa.ColumnElement[bool]:
    return sa.and_(date >= at, sa.or_(date > at, key > identity))


def _earlier(date: Any, key: Any, at: Any, identity: Any) -> sa.ColumnElement[bool]:
    return sa.and_(date <= at, sa.or_(date < at, key < identity))


def _request(row: Any) -> dict[str, Any]:
    found = {name: plain_value(value) for name, value in row.items() if name != "_key"}
    found["date"] = _naive(found["date"])
    found |= {name: _number(found[name]) for name in NUMBERS if name in found}
    return {"id": row["_key"], **found}


def _is_text(column: sa.ColumnElement[Any]) -> bool:
    return isinstance(column.type, sa.String) and not isinstance(column.type, sa.Enum)


def _number(value: Any) -> int | float | None:
    """A stored number; None if it is none that can be shown: a column of SQLite can hold texts, and some floats are infinite."""
    plain = plain_value(value)
    return plain if isinstance(plain, (int, float)) and isfinite(plain) else None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _naive(value: datetime | None) -> datetime | None:
    return None if value is None else naive_utc(value)
