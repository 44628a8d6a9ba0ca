"""What answers a question: filters become ordinals of the segments that cover the span, found out once for all questions."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from pyroaring import BitMap

from .. import week
from ..filters import Condition, Filters
from ..spans import Span, next_edge
from . import store
from .contents import Contents, Detail
from .cover import ANY, cover
from .dictionary import Dictionary
from .meta import Coverage
from .recorded import incomplete
from .segment import OTHER, VISITORS, Segment
from .source import AUDIENCE, Source
from .store import Header
from .sums import Columns
from .tables import BOTS, DAY, HOUR, MONTH, PEOPLE, PIECE, TOTAL, Tables

MOST_TAIL_ROWS = 200_000
"""Raw rows built into memory at most; more mean that the job has stopped, which the page says."""


@dataclass(frozen=True, slots=True)
class Precomputed:
    """Values of one dimension whose measures are stored of whole segments, so that no sets need be intersected."""

    dimension: int
    """Number in the tables."""
    values: frozenset[int] | None
    """Value ids; None: all."""
    negated: bool
    """Whether all but these are meant."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What answers questions about one span under some filters."""

    precomputed: Precomputed | None
    """Whose stored measures are summed over `stored`."""
    stored: list[Header]
    selected: list[tuple[Detail, BitMap]]
    """The rest: detailed segments and the ordinals in them that are asked for and pass the filters."""
    measured: dict[int, Columns] = field(default_factory=dict)
    """What is measured of these ordinals, for some of the segments, by number."""


class Planner:
    """Finds out what answers, over one connection to the rollups and one to the raw table."""

    def __init__(
        self,
        connection: sa.Connection,
        tables: Tables,
        source: Source,
        *,
        raw_connection: sa.Connection,
        coverage: Coverage,
        dictionary: Dictionary,
        contents: Contents,
        clients_since: datetime | None,
    ) -> None:
        """`clients_since`: what began before (naive UTC) tells no clients any more; None: all does."""
        self._connection = connection
        self._raw_connection = raw_connection
        self._tables = tables
        self._source = source
        self._coverage = coverage
        self._dictionary = dictionary
        self._contents = contents
        self._matches: dict[Any, BitMap] = {}
        self._plans: dict[Any, Plan] = {}
        self._tails: dict[datetime, dict[int, Segment]] = {}
        self.incomplete = incomplete(connection, tables, source)
        if clients_since is not None:
            self.incomplete |= dict.fromkeys(source.clients, clients_since)

    def plan(
        self,
        span: Span,
        filters: Filters,
        precomputed: Precomputed | None,
        edges: tuple[datetime, ...] | None = None,
        *,
        granularity: int = ANY,
        dimensions: Iterable[str] = (),
    ) -> Plan:
        """What answers questions about `span` under `filters`, found out once for all of them.

        `precomputed`: whose stored measures may be summed; None: sets must be intersected. With `edges`, no stored segment
        crosses one of them. `granularity`: `ANY`, `SETS` or `MONTHS`.
        """
        since = self.known_since(filters, dimensions)
        if since is not None and since > span.start:
            span = Span(since, max(since, span.end), span.zone)
        # without stored segments it makes no difference what decides which of them answer
        key = (span.start, span.end, filters, None if precomputed is None else (edges, granularity))
        if key not in self._plans:
            audiences, rest = self.audiences(filters)
            stored, details = self._cover(
                span, audiences, stored=precomputed is not None, edges=edges or (), granularity=granularity
            )
            if filters.at:
                details = _during(details, week.ranges(span, filters.at))
            self._plans[key] = Plan(precomputed, stored, self._members(details, rest))
        return replace(self._plans[key], precomputed=precomputed)

    def precomputed_of(self, dimension: str, filters: Filters) -> Precomputed | None:
        """What of `dimension` itself is asked for, if nothing else is filtered: then its stored measures answer."""
        _, rest = self.audiences(filters)
        if not rest:
            return Precomputed(TOTAL, None, False)
        if rest.contains or rest.at or [condition.dimension for condition in rest.conditions] != [dimension]:
            return None
        return self._of_condition(rest.conditions[0])

    def known_since(self, filters: Filters, dimensions: Iterable[str]) -> datetime | None:
        """What began before (naive UTC) is not known by one of the dimensions that are asked about; None: all is."""
        names = {condition.dimension for condition in filters.conditions}.union(dimensions)
        if filters.contains:
            names.add("path")
        moments = [self.incomplete[name] or self.until() for name in names & self.incomplete.keys()]
        return max(moments, default=None)

    def until(self) -> datetime:
        until = self._coverage.end
        assert until is not None  # noqa: S101 - as above
        return until

    # ---- filters --------------------------------------------------------------------------------------------------

    def audiences(self, filters: Filters) -> tuple[tuple[int, ...], Filters]:
        """The audiences that `filters` let through, and the filters that remain: bots or not needs no set."""
        for condition in filters.conditions:
            if condition.dimension == AUDIENCE and condition.texts == ("bot",):
                rest = replace(filters, conditions=tuple(c for c in filters.conditions if c is not condition))
                others, remaining = self.audiences(rest)
                mine = PEOPLE if condition.negated else BOTS
                return tuple(audience for audience in others if audience == mine), remaining
        return (PEOPLE, BOTS), filters

    def precomputed_for(self, filters: Filters) -> Precomputed | None:
        """The one thing whose stored measures answer; None: sets must be intersected."""
        _, rest = self.audiences(filters)
        if not rest:
            return Precomputed(TOTAL, None, False)
        if (
            rest.contains
            or rest.at
            or len(rest.conditions) != 1
            or self._source.dimension(rest.conditions[0].dimension).many
        ):
            return None
        return self._of_condition(rest.conditions[0])

    def _of_condition(self, condition: Condition) -> Precomputed | None:
        number = self._dictionary.number_of(condition.dimension)
        return None if number is None else Precomputed(number, *self._condition(condition))

    def _condition(self, condition: Condition) -> tuple[frozenset[int], bool]:
        """The value ids that a condition names, and whether it excludes them."""
        dimension = self._source.dimension(condition.dimension)
        values = condition.values(dimension)
        if dimension.of_clients:
            return self._dictionary.numbers_of_clients(dimension.name, values), condition.negated
        if not dimension.derived:
            values |= {self._source.raw.fit(dimension.column, value) for value in values}
        numbers = self._dictionary.values(condition.dimension, set(values))
        return frozenset(numbers[value] for value in values), condition.negated

    def _members(self, details: Sequence[Detail], filters: Filters) -> list[tuple[Detail, BitMap]]:
        """The ordinals of each segment that are asked for and that `filters` let through; none are left out."""
        tests = [(condition.dimension, *self._condition(condition)) for condition in filters.conditions]
        if filters.contains and "path" in self._source.dimensions:
            tests.append(("path", frozenset(self._dictionary.containing("path", filters.contains)), False))
        self._contents.need([detail for detail in details if not detail.whole], (":hours",))
        found = [(detail, self._contents.ordinals(detail)) for detail in details]
        for name, values, negated in tests:
            matches = self._matching(found, name, values)
            pairs = zip(found, matches, strict=True)
            found = [(detail, some - having if negated else some & having) for (detail, some), having in pairs]
        return [(detail, members) for detail, members in found if members]

    def _matching(
        self, selected: Sequence[tuple[Detail, BitMap]], name: str, values: frozenset[int]
    ) -> Iterator[BitMap]:
        """The ordinals of each segment that have one of `values` of a dimension, remembered for other filters with them."""
        keys = [(id(detail.segment), name, values) for detail, _ in selected]
        unknown = [one for one, key in zip(selected, keys, strict=True) if key not in self._matches]
        for detail, _ in self._contents.loaded(unknown, [self.part(name)]):
            self._matches[id(detail.segment), name, values] = detail.segment.having_any(self.column(name), values)
        return (self._matches[key] for key in keys)

    def part(self, name: str) -> str:
        """The part of a detailed segment that has the values of a dimension."""
        if name == VISITORS or name in self._source.clients:
            return VISITORS
        return f"{name}:column" if self._source.dimensions[name].many else name

    def column(self, name: str) -> str:
        """The column of a segment that has the ids of a dimension."""
        return VISITORS if name in self._source.clients else name

    # ---- segments -------------------------------------------------------------------------------------------------

    def _cover(
        self, span: Span, audiences: Sequence[int], *, stored: bool, edges: Sequence[datetime], granularity: int
    ) -> tuple[list[Header], list[Detail]]:
        """The segments that answer for `span`: what is stored, and what came after it."""
        since, until = self._coverage.start, self.until()
        assert since is not None  # noqa: S101 - without coverage there are raw queries only
        start, end = max(span.start, since), min(span.end, until)
        columns = self._tables.segment.c
        found = store.headers(
            self._connection,
            self._tables,
            columns.start < end,
            columns.end > start,
            columns.audience.in_(audiences),
            sa.or_(columns.detailed, columns.unit != HOUR),  # the hours of closed days are in the days,
        )
        zone = self._source.zone
        whole, slices = cover(
            start, end, found, until=until, zone=zone, stored=stored, edges=edges, granularity=granularity
        )
        details = []
        for one in slices:
            header, segment = one.header, self._contents.segment(one.header)
            details.append(Detail(header.id, header.start, header.audience, segment, one.ranges, one.whole))
        return whole, details + self._tail(span, audiences)

    def _tail(self, span: Span, audiences: Sequence[int]) -> list[Detail]:
        """The raw rows of `span` that came after the last run of the job, as segments in memory."""
        since = self.until()
        if span.end <= since:
            return []
        end = next_edge(span.end - timedelta(microseconds=1), "hour", self._source.zone)
        if end not in self._tails:
            self._tails[end] = self._read_tail(since, end)
        details = []
        for audience, segment in self._tails[end].items():
            if audience in audiences and segment.hits:
                ranges = [(max(span.start, since), span.end)]
                details.append(Detail(-1 - audience, since, audience, segment, ranges, whole=False))
        return details

    def _read_tail(self, since: datetime, until: datetime) -> dict[int, Segment]:
        latest = self._source.newest(self._raw_connection)
        if latest is None or latest < since:
            return {}
        end = min(until, next_edge(latest, "hour", self._source.zone))
        if end - since > timedelta(days=1) and self._source.count(self._raw_connection, since, end) > MOST_TAIL_ROWS:
            return {}
        segments, _ = self._source.segments(self._raw_connection, since, end, ids=self._dictionary.ids)
        return segments

    def where_folded(self, name: str, span: Span) -> Span:
        """The part of `span` in which something of a dimension may be folded: found cheaply, as it is asked on each page."""
        segment, rollup = self._tables.segment.c, self._tables.rollup.c
        headers = store.headers(self._connection, self._tables, segment.start < span.end, segment.end > span.start)
        of_it = (rollup.dimension_id == self._dictionary.number_of(name), rollup.value_id == OTHER)
        for ids in store.chunks([header.id for header in headers if header.unit in (DAY, MONTH)]):
            query = sa.select(rollup.segment_id).where(rollup.segment_id.in_(ids), *of_it).limit(1)
            if self._connection.scalar(query) is not None:
                return span
        hours = (header.start for header in headers if header.unit in (PIECE, HOUR) and header.detailed)
        since = max(span.start, min(hours, default=self.until()))
        return Span(since, max(since, span.end), span.zone)


def _during(details: Sequence[Detail], times: Sequence[tuple[datetime, datetime]]) -> list[Detail]:
    """What of `details` is in one of `times`, which rise and do not overlap."""
    found, starts, ends = [], [start for start, _ in times], [end for _, end in times]
    for detail in details:
        ranges = [
            (max(start, since), min(end, until))
            for start, end in detail.ranges
            for since, until in times[bisect_right(ends, start) : bisect_left(starts, end)]
        ]
        if ranges:
            found.append(replace(detail, ranges=ranges, whole=False))
    return found
