"""Answers every question from the rollup tables, and from the raw rows that came after the last run of the job.

Two ways lead to an answer. Without filters, or with one, the stored measures of months, days and hours are summed by the
database. With several, or for a part of a segment, the sets of ordinals are intersected, in the detailed segments, which
tile all of time that is rolled up. Rows that are not rolled up yet are built into a segment in memory, which answers as
the stored ones do.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import sqlalchemy as sa
from pyroaring import BitMap

from ..dimensions import OTHER_VALUE, Value
from ..filters import Condition, Filters
from ..queries.answers import Breakdown, ExceptionGroup, Freshness, Link, Measures, Point, RequestLog, Row, Tally
from ..queries.interface import CHEAP, EVERYTHING, HITS, PERCENTILES, SUMS, VISITORS, cut
from ..queries.raw import RawQueries
from ..spans import Span, midnight, naive_utc, next_edge, to_local
from . import bitmaps, store
from .bitmaps import Column
from .dictionary import Dictionary
from .meta import Coverage
from .recorded import incomplete
from .segment import MICROSECOND, OTHER, Columns, Groups, Segment, Sums, counted, grouped, last_of
from .source import AUDIENCE, Source
from .store import Header
from .tables import BOTS, DAY, HOUR, MONTH, PEOPLE, PIECE, TOTAL, Tables

MOST_TAIL_ROWS = 200_000
"""Raw rows built into memory at most; more mean that the job has stopped, which the page says."""
MOST_LISTED = 20_000
"""Raw rows of each audience looked at for exceptions and links, the newest."""
MOST_NAMED = 1_000
"""Values named by one statement."""
MOST_LOADED = 20_000_000
"""Bytes of the contents of segments that one question has in memory at a time."""
MOST_KEPT = 28_000_000
"""Bytes of what is measured of filtered requests that are kept for the next question about them."""
WIDTHS = {":visitors": 4, ":sizes": 4, ":times": 4, ":bins": 2, ":offsets": 4, ":keys": 8}
"""Bytes a request that parts of segments take in memory; of others, 2."""


@dataclass(slots=True)
class _Detail:
    """A detailed segment within a span, whose parts are loaded as they are needed."""

    id: int
    """Negative: in memory, with all its parts."""
    start: datetime
    audience: int
    segment: Segment
    ranges: list[tuple[datetime, datetime]]
    """What of it is asked for, naive UTC."""
    whole: bool
    """Whether that is all of it."""


@dataclass(frozen=True, slots=True)
class _Single:
    """Values of one dimension."""

    dimension: int
    """Number in the tables."""
    values: frozenset[int] | None
    """Value ids; None: all."""
    negated: bool
    """Whether all but these are meant."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What answers questions about one span under some filters."""

    single: _Single | None
    """Whose stored measures are summed over `stored`."""
    stored: list[Header]
    parts: list[tuple[_Detail, BitMap]]
    """The rest: detailed segments and the ordinals in them that are asked for and pass the filters."""
    kept: dict[int, Columns] = field(default_factory=dict)
    """What is measured of these ordinals, for some of the segments, by number."""


@dataclass(slots=True)
class _Found:
    """Sums of one value, and where its latest request is."""

    sums: Sums = field(default_factory=Sums)
    last: dict[int, tuple[_Detail, int]] = field(default_factory=dict)
    """For each audience, the latest detailed segment and the ordinal in it."""

    def add_last(self, detail: _Detail, ordinal: int) -> None:
        """Remember that request if it is later than what is known."""
        before = self.last.get(detail.audience)
        if before is None or before[0].start <= detail.start:
            self.last[detail.audience] = (detail, ordinal)


ANY, SETS, MONTHS = range(3)
"""Which stored measures answer: those of any segment; those that have the sets of values, which are taken from days when
their month is merged; those of months, which alone have them of dimensions with many values."""
_PARTS = {SUMS: (":sizes", ":times", ":bins", ":errors"), PERCENTILES: (":bins",), VISITORS: (":visitors",)}
"""Parts of a detailed segment that each measure needs."""
_NEEDED = {
    "visitors": frozenset({VISITORS}),
    "p50": frozenset({PERCENTILES, SUMS}),  # no percentile exceeds the longest time
    "p95": frozenset({PERCENTILES, SUMS}),
    "p99": frozenset({PERCENTILES, SUMS}),
}
"""What must be measured of every value to sort by it, where it is not among the sums."""


class RollupQueries:
    """Answers from rollups, over one connection to them and one to the raw table, which may be the same."""

    source = "rollup"
    freshness: Freshness | None = None

    def __init__(
        self,
        connection: sa.Connection,
        tables: Tables,
        source: Source,
        raw: RawQueries,
        *,
        raw_connection: sa.Connection,
        coverage: Coverage,
        dictionary: Dictionary,
    ) -> None:
        self._connection = connection
        self._raw_connection = raw_connection
        self._tables = tables
        self._source = source
        self._raw = raw
        self._coverage = coverage
        self._dictionary = dictionary
        self._segments: dict[int, Segment] = {}
        self._loaded: dict[int, set[str]] = defaultdict(set)
        self._matches: dict[Any, BitMap] = {}
        self._plans: dict[Any, _Plan] = {}
        self._left = MOST_KEPT
        self._tails: dict[datetime, dict[int, Segment]] = {}
        self._incomplete = incomplete(connection, tables, source.dimensions)

    # ---- questions -----------------------------------------------------------------------------------------------

    def recover(self) -> None:
        self._connection.rollback()
        self._raw.recover()

    def earliest(self) -> datetime | None:
        first: datetime | None = self._connection.scalar(sa.select(sa.func.min(self._tables.hour.c.start)))
        raw = self._raw.earliest()
        if raw is not None and (first is None or raw < first + timedelta(hours=1)):
            return raw  # an hour's rows say when in it the first request came
        return first

    def complete_from(self, span: Span, filters: Filters, dimensions: Iterable[str] = ()) -> datetime | None:
        known = self._known_since(filters, dimensions)
        if self.freshness is not None and self.freshness.preparing_before is not None:
            known = max(known or self.freshness.preparing_before, self.freshness.preparing_before)
        if known is None or known <= span.start:
            return None
        earliest = self.earliest()
        return None if earliest is None or earliest >= min(known, span.end) else known

    def undecided(self, span: Span, filters: Filters) -> int:
        names = {condition.dimension for condition in filters.conditions} | ({"path"} if filters.contains else set())
        return max((self._folded(name, span, filters) for name in names & self._source.dimensions.keys()), default=0)

    def _folded(self, name: str, span: Span, filters: Filters) -> int:
        """Requests of `span` that the other filters let through and whose value of a filtered dimension is folded."""
        if any(OTHER_VALUE in condition.texts for condition in filters.conditions if condition.dimension == name):
            return 0  # these are what is asked for, or what is not
        span = self._where_folded(name, span)
        if span.start >= span.end:
            return 0
        others = filters.without(name)
        if name == "path":
            others = replace(others, contains="")
        return self.summary(span, others.and_(name, OTHER_VALUE), want=HITS).hits

    def _where_folded(self, name: str, span: Span) -> Span:
        """The part of `span` in which something of a dimension may be folded: found cheaply, as it is asked on each page."""
        segment, rollup = self._tables.segment.c, self._tables.rollup.c
        headers = store.headers(self._connection, self._tables, segment.start < span.end, segment.end > span.start)
        of_it = (rollup.dimension_id == self._dictionary.number_of(name), rollup.value_id == OTHER)
        for ids in store.chunks([header.id for header in headers if header.unit in (DAY, MONTH)]):
            query = sa.select(rollup.segment_id).where(rollup.segment_id.in_(ids), *of_it).limit(1)
            if self._connection.scalar(query) is not None:
                return span
        hours = (header.start for header in headers if header.unit in (PIECE, HOUR) and header.detailed)
        since = max(span.start, min(hours, default=self._until()))
        return Span(since, max(since, span.end), span.zone)

    def _known_since(self, filters: Filters, dimensions: Iterable[str]) -> datetime | None:
        """What began before (naive UTC) is not known by one of the dimensions that are asked about; None: all is."""
        names = {condition.dimension for condition in filters.conditions}.union(dimensions)
        if filters.contains:
            names.add("path")
        moments = [self._incomplete[name] or self._until() for name in names & self._incomplete.keys()]
        return max(moments, default=None)

    def summary(self, span: Span, filters: Filters, *, want: frozenset[str] = EVERYTHING) -> Measures:
        single = self._single(filters)
        plan = self._plan(span, filters, single, kept=_kept(single, want))
        found = _Found()
        if plan.single is not None:
            for one in self._stored(plan.stored, plan.single, want).values():
                found.sums.add(one)
        for detail, members, columns in self._measured(plan, want):
            found.sums.hits += len(members)
            found.sums.add(columns.sums(timed=PERCENTILES in want))
            found.add_last(detail, members.max())
        return self._measures(found, want)

    def series(self, span: Span, unit: str, filters: Filters, *, want: frozenset[str] = EVERYTHING) -> list[Point]:
        edges = span.edges(unit)
        buckets = list(pairwise(edges))
        single = self._single(filters) if unit in ("day", "week", "month") else None
        plan = self._plan(span, filters, single, tuple(edges), kept=_kept(single, want))
        found = [_Found() for _ in buckets]
        if plan.single is not None:
            starts = {header.id: header.start for header in plan.stored}
            for segment, one in self._stored(plan.stored, plan.single, want, by="segment_id").items():
                found[_place(edges, starts[segment])].sums.add(one)
        self._need([detail for detail, _ in plan.parts], (":hours",))
        for detail, members, columns in self._measured(plan, want):
            first = max(0, _place(edges, self._moment_of_hour(detail, members.min())))
            since = 0
            for bucket, end in zip(found[first:], edges[first + 1 :], strict=True):
                high = self._ordinal(detail, end)
                until = members.rank(high - 1) if high else 0
                if since < until:
                    bucket.sums.hits += until - since
                    bucket.sums.add(columns.at(slice(since, until)).sums(timed=PERCENTILES in want))
                    bucket.add_last(detail, members[until - 1])
                if until == len(members):
                    break
                since = until
        return [Point(start, end, self._measures(one, want)) for (start, end), one in zip(buckets, found, strict=True)]

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
        name = sort.removeprefix("-")
        needed = want | _NEEDED.get(name, CHEAP)
        kept = MONTHS if self._source.dimensions[dimension].many else SETS if _has_sets(needed) else ANY
        plan = self._plan(span, filters, self._alone(dimension, filters), kept=kept, dimensions=(dimension,))
        complete_from = self.complete_from(span, filters, (dimension,))
        hits = self._hits_of([dimension], plan)[dimension]
        if search:
            hits = self._searched(dimension, hits, search)
        if name in ("hits", "value"):
            shown = self._page(dimension, hits, sort, limit, offset)
            return replace(self._breakdown(dimension, hits, shown, plan, want), complete_from=complete_from)
        texts = self._dictionary.texts(dimension, hits)
        all_values = {number: texts[number] for number in hits}
        ranked = self._breakdown(dimension, hits, all_values, plan, _NEEDED.get(name, CHEAP))
        rows = cut(list(ranked.rows), sort=sort, limit=limit, offset=offset)
        numbers = {value: number for number, value in all_values.items()}
        answer = self._breakdown(dimension, hits, {numbers[row.value]: row.value for row in rows}, plan, want)
        return replace(answer, complete_from=complete_from)

    def breakdowns(
        self, dimensions: Sequence[str], span: Span, filters: Filters, *, limit: int
    ) -> dict[str, Breakdown]:
        filtered = {condition.dimension for condition in filters.conditions}
        many = {name for name in dimensions if self._source.dimensions[name].many}
        together = [name for name in dimensions if name not in filtered.union(many, self._incomplete)]
        found: dict[str, Breakdown] = {}
        for names in (together, *([name] for name in dimensions if name not in together)):
            rest = filters.without(names[0]) if names and names[0] in filtered else filters
            alone = _Single(TOTAL, None, False) if not self._audiences(rest)[1] else None
            plan = self._plan(span, rest, alone, kept=MONTHS if many.intersection(names) else ANY, dimensions=names)
            complete_from = self.complete_from(span, rest, names)
            for name, hits in self._hits_of(names, plan).items():
                shown = self._page(name, hits, "-hits", limit, 0)
                found[name] = replace(self._breakdown(name, hits, shown, plan, HITS), complete_from=complete_from)
        return {name: found[name] for name in dimensions}

    def exceptions(self, span: Span, filters: Filters, *, limit: int) -> list[ExceptionGroup]:
        if "exception" not in self._source.dimensions:
            return []
        if not self._has_keys():
            return self._raw.exceptions(span, filters, limit=limit)
        groups: dict[tuple[str, str | None], list[datetime]] = defaultdict(list)
        for row in self._listed(span, filters.and_("exception", "", negated=True), ("exception", "path")):
            groups[str(row["exception"]), str(row["path"]) if row["path"] else None].append(row["date"])
        found = [ExceptionGroup(text, path, len(at), min(at), max(at)) for (text, path), at in groups.items()]
        return sorted(found, key=lambda group: (-group.hits, group.exception, group.path or ""))[:limit]

    def links(self, span: Span, filters: Filters, *, limit: int) -> list[Link]:
        if not {"path", "referrer"} <= self._source.dimensions.keys():
            return []
        if not self._has_keys():
            return self._raw.links(span, filters, limit=limit)
        links: dict[tuple[str, str], list[datetime]] = defaultdict(list)
        for row in self._listed(span, filters.and_("referrer", "", negated=True), ("path", "referrer")):
            if row["referrer"] and row["path"]:
                links[str(row["path"]), str(row["referrer"])].append(row["date"])
        found = [Link(path, referrer, len(at), max(at)) for (path, referrer), at in links.items()]
        return sorted(found, key=lambda link: (-link.hits, link.path, link.referrer))[:limit]

    def requests(
        self, span: Span, filters: Filters, *, limit: int, before: str | None = None, after: str | None = None
    ) -> RequestLog:
        keys = None
        # without filters the index on date finds the newest rows; with them it might read the whole table
        if filters and self._has_keys():
            position = self._raw.position(before or after or "") if before or after else None
            # one more tells whether the log goes on, and another may be the request at the position itself
            keys = self._nearest(self._plan(span, filters, None).parts, limit + 2, position, newer=after is not None)
        if keys is None:
            return self._raw.requests(span, filters, limit=limit, before=before, after=after)
        return self._raw.requests(span, Filters(), limit=limit, before=before, after=after, keys=keys)

    def request(self, key: str) -> dict[str, Any] | None:
        return self._raw.request(key)

    # ---- plans ---------------------------------------------------------------------------------------------------

    def _plan(
        self,
        span: Span,
        filters: Filters,
        single: _Single | None,
        edges: tuple[datetime, ...] | None = None,
        *,
        kept: int = ANY,
        dimensions: Iterable[str] = (),
    ) -> _Plan:
        """What answers questions about `span` under `filters`, found out once for all of them.

        `single`: whose stored measures may be summed; None: sets must be intersected. With `edges`, no stored segment
        crosses one of them. `kept`: `ANY`, `SETS` or `MONTHS`.
        """
        since = self._known_since(filters, dimensions)
        if since is not None and since > span.start:
            span = Span(since, max(since, span.end), span.zone)
        # without stored segments it makes no difference what decides which of them answer
        asked = (span.start, span.end, filters, None if single is None else (edges, kept))
        if asked not in self._plans:
            audiences, rest = self._audiences(filters)
            stored, details = self._cover(span, audiences, stored=single is not None, edges=edges or (), kept=kept)
            self._plans[asked] = _Plan(single, stored, self._members(details, rest))
        return replace(self._plans[asked], single=single)

    def _alone(self, dimension: str, filters: Filters) -> _Single | None:
        """What of `dimension` itself is asked for, if nothing else is filtered: then its stored measures answer."""
        _, rest = self._audiences(filters)
        if not rest:
            return _Single(TOTAL, None, False)
        if rest.contains or [condition.dimension for condition in rest.conditions] != [dimension]:
            return None
        return self._of_condition(rest.conditions[0])

    # ---- filters -------------------------------------------------------------------------------------------------

    def _audiences(self, filters: Filters) -> tuple[tuple[int, ...], Filters]:
        """The audiences that `filters` let through, and the filters that remain: bots or not needs no set."""
        for condition in filters.conditions:
            if condition.dimension == AUDIENCE and condition.texts == ("bot",):
                rest = Filters(tuple(c for c in filters.conditions if c is not condition), filters.contains)
                others, remaining = self._audiences(rest)
                mine = PEOPLE if condition.negated else BOTS
                return tuple(audience for audience in others if audience == mine), remaining
        return (PEOPLE, BOTS), filters

    def _single(self, filters: Filters) -> _Single | None:
        """The one thing whose stored measures answer; None: sets must be intersected."""
        _, rest = self._audiences(filters)
        if not rest:
            return _Single(TOTAL, None, False)
        if rest.contains or len(rest.conditions) != 1 or self._source.dimensions[rest.conditions[0].dimension].many:
            return None
        return self._of_condition(rest.conditions[0])

    def _of_condition(self, condition: Condition) -> _Single | None:
        number = self._dictionary.number_of(condition.dimension)
        return None if number is None else _Single(number, *self._condition(condition))

    def _condition(self, condition: Condition) -> tuple[frozenset[int], bool]:
        """The value ids that a condition names, and whether it excludes them."""
        dimension = self._source.dimensions[condition.dimension]
        values = condition.values(dimension)
        if not dimension.derived:
            values |= {self._source.raw.fit(dimension.column, value) for value in values}
        numbers = self._dictionary.values(condition.dimension, set(values))
        return frozenset(numbers[value] for value in values), condition.negated

    def _members(self, details: Sequence[_Detail], filters: Filters) -> list[tuple[_Detail, BitMap]]:
        """The ordinals of each segment that are asked for and that `filters` let through; none are left out."""
        tests = [(condition.dimension, *self._condition(condition)) for condition in filters.conditions]
        if filters.contains and "path" in self._source.dimensions:
            tests.append(("path", frozenset(self._dictionary.containing("path", filters.contains)), False))
        self._need([detail for detail in details if not detail.whole], (":hours",))
        found = [(detail, self._asked(detail)) for detail in details]
        for name, values, negated in tests:
            matches = self._matching(found, name, values)
            pairs = zip(found, matches, strict=True)
            found = [(detail, some - having if negated else some & having) for (detail, some), having in pairs]
        return [(detail, members) for detail, members in found if members]

    def _matching(self, parts: Sequence[tuple[_Detail, BitMap]], name: str, values: frozenset[int]) -> Iterator[BitMap]:
        """The ordinals of each segment that have one of `values` of a dimension, remembered for other filters with them."""
        keys = [(id(detail.segment), name, values) for detail, _ in parts]
        unknown = [part for part, key in zip(parts, keys, strict=True) if key not in self._matches]
        for detail, _ in self._loaded_parts(unknown, [self._part(name)]):
            self._matches[id(detail.segment), name, values] = detail.segment.having_any(name, values)
        return (self._matches[key] for key in keys)

    def _moment_of_hour(self, detail: _Detail, ordinal: int) -> datetime:
        """When the hour of that request began, naive UTC."""
        hours = detail.segment.hours
        return hours[bisect_right(hours, ordinal, key=lambda hour: hour[1]) - 1][0]

    def _asked(self, detail: _Detail) -> BitMap:
        if detail.whole:
            return BitMap(range(detail.segment.hits))
        return bitmaps.union(
            BitMap(range(self._ordinal(detail, start), self._ordinal(detail, end))) for start, end in detail.ranges
        )

    def _ordinal(self, detail: _Detail, moment: datetime) -> int:
        segment = detail.segment
        if not any(start == moment for start, _ in segment.hours) and moment > segment.hours[0][0]:
            zone = self._source.zone
            if to_local(moment, zone).minute or moment.second or moment.microsecond:
                self._need([detail], (":offsets",))
            else:  # an hour without requests: the next one's first
                return next((first for start, first in segment.hours if start >= moment), segment.hits)
        return segment.ordinal(moment)

    # ---- cover ---------------------------------------------------------------------------------------------------

    def _cover(
        self, span: Span, audiences: Sequence[int], *, stored: bool, edges: Sequence[datetime], kept: int
    ) -> tuple[list[Header], list[_Detail]]:
        """The segments that answer for `span`: those whose measures are stored as they are, and parts of detailed ones.

        With `edges`, no stored segment crosses one of them.
        """
        start, end = self._clamped(span)
        columns = self._tables.segment.c
        found = store.headers(
            self._connection,
            self._tables,
            columns.start < end,
            columns.end > start,
            columns.audience.in_(audiences),
            sa.or_(columns.detailed, columns.unit != HOUR),  # the hours of closed days are in the days,
        )
        chosen: list[tuple[datetime, datetime]] = []
        pieces: list[Header] = []
        if stored and start < end:
            chosen = self._whole_periods(start, end, found, edges, kept=kept)
            within = set(chosen)
            pieces = [header for header in found if (header.start, min(header.end, self._until())) in within]
        details = []
        for header in found:
            if header.detailed:
                since, until = max(start, header.start), min(end, header.end)
                ranges = _minus(since, until, chosen)
                if ranges:
                    whole = ranges == [(header.start, header.end)] or ranges == [(header.start, self._until())]
                    details.append(
                        _Detail(header.id, header.start, header.audience, self._segment(header), ranges, whole)
                    )
        return pieces, details + self._tail(span, audiences)

    def _clamped(self, span: Span) -> tuple[datetime, datetime]:
        """The part of the span that is rolled up."""
        since, until = self._coverage.start, self._until()
        assert since is not None  # noqa: S101 - without coverage there are raw queries only
        return max(span.start, since), min(span.end, until)

    def _until(self) -> datetime:
        until = self._coverage.end
        assert until is not None  # noqa: S101 - as above
        return until

    def _whole_periods(
        self, start: datetime, end: datetime, found: Sequence[Header], edges: Sequence[datetime], *, kept: int
    ) -> list[tuple[datetime, datetime]]:
        """The merged months, closed days and, today, hours that lie within and are `kept`, none within another."""
        zone = self._source.zone
        cuts = set(edges)
        merged = sorted({(h.start, h.end) for h in found if h.unit == MONTH and start <= h.start and h.end <= end})
        if cuts:
            merged = [(s, e) for s, e in merged if not any(s < edge < e for edge in cuts)]
        if kept == MONTHS:
            return merged
        merged_days = {h.start for h in found if h.unit == DAY and not h.detailed} if kept == SETS else set()
        parts = [h for h in found if h.unit in (PIECE, HOUR)]
        in_hours = {midnight(to_local(h.start, zone).date(), zone) for h in parts}
        stored = {h.start for h in parts if h.unit == HOUR}
        chosen: list[tuple[datetime, datetime]] = list(merged)
        gaps = _minus(start, end, merged)
        for since, until in gaps:
            at = since
            while at < until:
                following = next_edge(at, "day", zone)
                begins = midnight(to_local(at, zone).date(), zone)
                if begins == at and following <= until and begins not in in_hours and begins not in merged_days:
                    chosen.append((at, following))
                elif begins in in_hours:
                    hour = next_edge(at, "hour", zone)
                    if at in stored and hour <= until:  # of pieces of hours the contents answer
                        chosen.append((at, hour))
                    following = hour
                at = following
        return sorted(chosen)

    def _segment(self, header: Header) -> Segment:
        if header.id not in self._segments:
            self._segments[header.id] = store.empty(header.hits)
        return self._segments[header.id]

    def _tail(self, span: Span, audiences: Sequence[int]) -> list[_Detail]:
        """The raw rows of `span` that came after the last run of the job, as segments in memory."""
        since = self._until()
        if span.end <= since:
            return []
        end = next_edge(span.end - timedelta(microseconds=1), "hour", self._source.zone)
        if end not in self._tails:
            self._tails[end] = self._read_tail(since, end)
        details = []
        for audience, segment in self._tails[end].items():
            if audience in audiences and segment.hits:
                ranges = [(max(span.start, since), span.end)]
                details.append(_Detail(-1 - audience, since, audience, segment, ranges, whole=False))
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

    def _batches(
        self, parts: Sequence[tuple[_Detail, BitMap]], names: Iterable[str]
    ) -> Iterator[Sequence[tuple[_Detail, BitMap]]]:
        """`parts` in pieces whose contents `names` fit into memory together, all of them if they do, none if there are none.

        What was loaded for one of several is dropped before the next.
        """
        most = MOST_LOADED // max(1, sum(WIDTHS.get(name, 2) for name in set(names)))
        if sum(detail.segment.hits for detail, _ in parts) <= most:
            if parts:
                yield parts
            return
        batch: list[tuple[_Detail, BitMap]] = []
        for detail, members in parts:
            if batch and sum(one.segment.hits for one, _ in batch) + detail.segment.hits > most:
                yield batch
                self._forget(batch)
                batch = []
            batch.append((detail, members))
        yield batch
        self._forget(batch)

    def _loaded_parts(
        self, parts: Sequence[tuple[_Detail, BitMap]], names: Sequence[str]
    ) -> Iterator[tuple[_Detail, BitMap]]:
        """`parts` one by one, with their contents `names`, which are read for many of them at a time."""
        for batch in self._batches(parts, names):
            self._need([detail for detail, _ in batch], names)
            yield from batch

    def _forget(self, parts: Sequence[tuple[_Detail, BitMap]]) -> None:
        for detail, _ in parts:
            if detail.id >= 0:
                store.clear(detail.segment)
                self._loaded[detail.id] &= {":hours"}

    def _need(self, details: Sequence[_Detail], parts: Iterable[str]) -> None:
        """Load `parts` of the segments that lack them: one statement for all."""
        wanted = list(dict.fromkeys(parts))
        ids = [detail.id for detail in details if detail.id >= 0 and not self._loaded[detail.id].issuperset(wanted)]
        missing = [part for part in wanted if any(part not in self._loaded[number] for number in ids)]
        if not ids or not missing:
            return
        for number, contents in store.read_contents(self._connection, self._tables, ids, missing).items():
            store.fill(self._segments[number], contents)
            self._loaded[number].update(missing)

    # ---- stored measures -----------------------------------------------------------------------------------------

    def _stored(
        self, headers: Sequence[Header], single: _Single, want: frozenset[str], *, by: str | None = None
    ) -> dict[int, Sums]:
        """The stored measures over some segments, by `value_id` or `segment_id`; by None: of all together, under 0."""
        table = self._tables.rollup.c
        key = sa.literal_column("0", sa.Integer()) if by is None else table[by]
        measures: list[Any] = [sa.func.sum(table.hits)]
        if _is_summed(want):
            names = ("client_errors", "server_errors", "size", "time_us", "timed")
            measures += [*(sa.func.sum(table[name]) for name in names), sa.func.max(table.longest_us)]
        found: dict[int, Sums] = {}
        for ids in store.chunks([header.id for header in headers]):
            query = sa.select(key, sa.func.max(table.last), *measures).where(*_of(table, ids, single))
            for group, last, *numbers in self._connection.execute(query if by is None else query.group_by(key)):
                if numbers[0]:
                    whole: list[Any] = [int(number) for number in numbers]
                    sums = Sums(*whole)
                    sums.last = last
                    found.setdefault(group, Sums()).add(sums)
            if _has_sets(want):
                self._add_sets(found, ids, single, want, by)
        return found

    def _add_sets(
        self, found: dict[int, Sums], ids: Sequence[int], single: _Single, want: frozenset[str], by: str | None
    ) -> None:
        table = self._tables.sets.c
        key = sa.literal_column("0", sa.Integer()) if by is None else table[by]
        visitors = table.visitors if VISITORS in want else sa.null()
        latency = table.latency if PERCENTILES in want else sa.null()
        sets: dict[int, list[bytes]] = defaultdict(list)
        histograms: dict[int, list[bytes]] = defaultdict(list)
        for group, members, histogram in self._connection.execute(
            sa.select(key, visitors, latency).where(*_of(table, ids, single))
        ):
            if members is not None:
                sets[group].append(members)
            if histogram is not None:
                histograms[group].append(histogram)
        for group, blobs in sets.items():
            found[group].visitors |= store.visitors_of(blobs)
        for group, blobs in histograms.items():
            found[group].add_latency(store.latency_of(blobs))

    def _stored_hits(self, names: Sequence[str], plan: _Plan) -> dict[str, Counter[int]]:
        """How many requests each value of each dimension has in the stored segments, in one statement."""
        numbers = {self._dictionary.number_of(name): name for name in names}
        table = self._tables.rollup.c
        found: dict[str, Counter[int]] = {name: Counter() for name in names}
        values = None if plan.single is None or plan.single.dimension == TOTAL else plan.single
        for ids in store.chunks([header.id for header in plan.stored]):
            if values is None:
                known = [number for number in numbers if number is not None]
                where = [table.segment_id.in_(ids), table.dimension_id.in_(known)]
            else:
                where = _of(table, ids, values)
            key = (table.dimension_id, table.value_id)
            query = sa.select(*key, sa.func.sum(table.hits)).where(*where).group_by(*key)
            for dimension, value, hits in self._connection.execute(query):
                found[numbers[dimension]][value] += int(hits)
        return found

    # ---- values --------------------------------------------------------------------------------------------------

    def _hits_of(self, names: Sequence[str], plan: _Plan) -> dict[str, Counter[int]]:
        """How many requests each value of each dimension has."""
        found = self._stored_hits(names, plan) if plan.single is not None else {name: Counter() for name in names}
        parts = [self._part(name) for name in names]
        for batch in self._batches(plan.parts, parts):
            self._need([detail for detail, _ in batch], parts)
            for name in names:
                if self._source.dimensions[name].many:
                    found[name].update(counted(detail.segment.ids_of(name, members) for detail, members in batch))
                else:
                    for detail, members in batch:
                        found[name].update(detail.segment.counts(name, members))
        return found

    def _part(self, name: str) -> str:
        """The part of a detailed segment that has the values of a dimension."""
        return f"{name}:column" if self._source.dimensions[name].many else name

    def _searched(self, dimension: str, hits: Counter[int], search: str) -> Counter[int]:
        needle, label_of = search.casefold(), self._source.dimensions[dimension].label_of
        texts = self._dictionary.texts(dimension, hits)
        return Counter({n: count for n, count in hits.items() if needle in label_of(texts[n]).casefold()})

    def _page(self, dimension: str, hits: Counter[int], sort: str, limit: int, offset: int) -> dict[int, Value]:
        """The values of one page by number, sorted by hits or by value; texts are read for those that may be on it."""
        candidates: list[int] = list(hits)
        if sort == "-hits":
            ranked = heapq.nlargest(offset + limit, hits.values())
            candidates = [number for number, count in hits.items() if count >= ranked[-1]]
        texts = self._dictionary.texts(dimension, candidates)
        numbers = {texts[number]: number for number in candidates}
        rows = [Row(texts[number], Tally(hits=hits[number]).measures()) for number in candidates]
        return {numbers[row.value]: row.value for row in cut(rows, sort=sort, limit=limit, offset=offset)}

    def _breakdown(
        self, dimension: str, hits: Counter[int], shown: Mapping[int, Value], plan: _Plan, want: frozenset[str]
    ) -> Breakdown:
        """The answer with the rows `shown`, and all that is wanted of them."""
        found = {number: _Found(Sums(hits=hits[number])) for number in shown}
        if want:
            found = self._fill(dimension, shown, plan, want)
        rows = tuple(Row(value, self._measures(found[number], want)) for number, value in shown.items())
        return Breakdown(dimension, len(hits), rows, sum(hits.values()))

    def _fill(self, dimension: str, shown: Mapping[int, Value], plan: _Plan, want: frozenset[str]) -> dict[int, _Found]:
        found = {number: _Found() for number in shown}
        number = self._dictionary.number_of(dimension)
        if plan.single is not None and number is not None and shown:
            # all values, where a list of those that are shown would be too long for a statement
            single = _Single(number, frozenset(shown) if len(shown) <= MOST_NAMED else None, False)
            for value, sums in self._stored(plan.stored, single, want, by="value_id").items():
                if value in found:
                    found[value].sums.add(sums)
        part = self._part(dimension)
        for batch in self._batches(plan.parts, [part, *_parts_for(want)]) if shown else ():
            self._need([detail for detail, _ in batch], [part])
            self._fill_from(batch, dimension, found, want, plan.kept)
        return found

    def _fill_from(
        self,
        parts: Sequence[tuple[_Detail, BitMap]],
        dimension: str,
        found: Mapping[int, _Found],
        want: frozenset[str],
        kept: Mapping[int, Columns],
    ) -> None:
        """Add the measures that each value has in some detailed segments: in one go for all, as there may be hundreds.

        `kept`: what is measured of all members, where that is known.
        """
        picked = [detail.segment.picked(dimension, found, members) for detail, members in parts]
        ids = np.concatenate([ids for _, ids in picked])
        if not len(ids):
            return
        asked = [(detail, members, places) for (detail, members), (places, _) in zip(parts, picked, strict=True)]
        order, starts, values = grouped(ids)
        groups = Groups(Columns.joined(self._columns(asked, want, kept)), timed=PERCENTILES in want)
        for value, sums in zip(values, groups.sums(order, starts), strict=True):
            found[value].sums.add(sums)
        ordinals = np.concatenate([places for places, _ in picked])
        part_of = np.repeat(np.arange(len(picked)), [len(places) for places, _ in picked])
        audiences = np.array([detail.audience for detail, _ in parts])[part_of]
        for audience in set(audiences.tolist()):
            mine = np.flatnonzero(audiences == audience)
            order, starts, values = grouped(ids[mine])
            lasts = mine[last_of(order, starts)]
            for value, number, ordinal in zip(values, part_of[lasts].tolist(), ordinals[lasts].tolist(), strict=True):
                found[value].add_last(parts[number][0], ordinal)

    # ---- measures ------------------------------------------------------------------------------------------------

    def _measured(self, plan: _Plan, want: frozenset[str]) -> Iterator[tuple[_Detail, BitMap, Columns]]:
        """The parts of a plan, each with what is measured of its members.

        If that is everything, it is kept for later questions while there is room.
        """
        if not want:
            yield from ((detail, members, Columns()) for detail, members in plan.parts)
            return
        for batch in self._batches(plan.parts, _parts_for(want)):
            asked = [(detail, members, detail.segment.places(members)) for detail, members in batch]
            for (detail, members), columns in zip(batch, self._columns(asked, want, plan.kept), strict=True):
                if want == EVERYTHING and detail.id not in plan.kept and columns.size <= self._left:
                    self._left -= columns.size
                    plan.kept[detail.id] = columns
                yield detail, members, columns

    def _columns(
        self,
        asked: Sequence[tuple[_Detail, BitMap, slice | Column]],
        want: frozenset[str],
        kept: Mapping[int, Columns],
    ) -> list[Columns]:
        """What is measured of some requests of detailed segments: given are the members and the places, which are some of them.

        `kept`: what is measured of all members, where that is known.
        """
        unknown = {
            detail.id: (detail.segment.hits, places)
            for detail, _, places in asked
            if detail.id >= 0 and detail.id not in kept
        }
        parts = _parts_for(want)
        read = store.read_columns(self._connection, self._tables, unknown, parts) if parts else {}
        summed, timed, seen = _is_summed(want), PERCENTILES in want, VISITORS in want
        found = []
        for detail, members, places in asked:
            if detail.id in kept:
                among: slice | Column = slice(None)  # all of them
                if not isinstance(places, slice):
                    among = np.searchsorted(bitmaps.ordinals(members), places)
                found.append(kept[detail.id].at(among, summed=summed, timed=timed, seen=seen))
            elif detail.id < 0:
                found.append(detail.segment.measures_at(places, summed=summed, timed=timed, seen=seen))
            else:
                found.append(read.get(detail.id, Columns()))
        return found

    def _measures(self, found: _Found, want: frozenset[str]) -> Measures:
        """The measures as every answer has them: None for what the model lacks or was not asked for."""
        sums, has = found.sums, self._source.raw.has
        summed = SUMS in want
        return Tally(
            hits=sums.hits,
            visitors=len(sums.visitors) if VISITORS in want and has("remote_address") else None,
            client_errors=sums.client_errors if summed and has("status_code") else None,
            server_errors=sums.server_errors if summed and has("status_code") else None,
            size=sums.size if summed and has("size") else None,
            seconds=sums.time_us / 1_000_000,
            timed=sums.timed,
            longest=sums.longest_us / 1_000_000 if sums.timed else None,
            last=self._last(found) if want else None,
            latency=Counter(sums.latency),
        ).measures()

    def _last(self, found: _Found) -> datetime | None:
        last = found.sums.last
        for detail, ordinal in found.last.values():
            self._need([detail], (":hours", ":offsets"))
            moment = detail.segment.moment(ordinal)
            last = moment if last is None or moment > last else last
        return last

    # ---- raw rows ------------------------------------------------------------------------------------------------

    def _nearest(
        self,
        parts: Sequence[tuple[_Detail, BitMap]],
        count: int,
        position: tuple[datetime, Any] | None,
        *,
        newer: bool,
    ) -> list[int]:
        """Keys among which are the `count` newest of the members, or those next to a request's `position`."""
        keys: list[int] = []
        for audience in (PEOPLE, BOTS):  # whose segments need not begin at the same time
            wanted = count
            mine = [part for part in parts if part[0].audience == audience]
            for detail, members in sorted(mine, key=lambda part: part[0].start, reverse=not newer):
                if position is not None:
                    place = self._place_of(detail, *position)
                    members = members & BitMap(range(place, detail.segment.hits) if newer else range(place))
                chosen = members[:wanted] if newer else members[max(0, len(members) - wanted) :]
                keys += self._keys_of(detail, chosen)
                wanted -= len(chosen)
                if not wanted:
                    break  # what follows is further away than all of these
        return keys

    def _keys_of(self, detail: _Detail, members: BitMap) -> list[int]:
        """The keys of some requests; the column is dropped again, as those of a year are large."""
        if not members:
            return []
        self._need([detail], (":keys",))
        assert detail.segment.keys is not None  # noqa: S101 - `_has_keys`
        keys: list[int] = detail.segment.keys[detail.segment.places(members)].tolist()
        if detail.id >= 0:
            detail.segment.keys = None
            self._loaded[detail.id].discard(":keys")
        return keys

    def _has_keys(self) -> bool:
        """Whether the model's keys are whole numbers, which segments have; if not, the raw table is asked."""
        return isinstance(self._source.raw.key.type, sa.Integer)

    def _place_of(self, detail: _Detail, date: datetime, key: Any) -> int:
        """The ordinal that the request with that date and key has, or would have."""
        self._need([detail], (":hours", ":offsets"))
        segment, date = detail.segment, naive_utc(date)
        place = segment.ordinal(date)
        alike = BitMap(range(place, segment.ordinal(date + MICROSECOND)))
        return place + bisect_left(self._keys_of(detail, alike), key)

    def _listed(self, span: Span, filters: Filters, names: Sequence[str]) -> Iterable[dict[str, Any]]:
        """The newest raw rows of `span` that `filters` let through, `MOST_LISTED` of each audience, found by their keys."""
        keys = self._nearest(self._plan(span, filters, None).parts, MOST_LISTED, None, newer=False)
        raw = self._source.raw
        columns = [raw.columns[name].label(name) for name in ("date", *names)]
        for some in store.chunks(keys):
            for row in self._raw_connection.execute(sa.select(*columns).where(raw.key.in_(some))).mappings():
                yield {**row, "date": naive_utc(row["date"])}


def _of(table: Any, ids: Sequence[int], single: _Single) -> list[Any]:
    """The condition for rows of `single` in some segments."""
    where = [table.segment_id.in_(ids), table.dimension_id == single.dimension]
    if single.values is None:
        return where
    return [*where, table.value_id.not_in(single.values) if single.negated else table.value_id.in_(single.values)]


def _parts_for(want: frozenset[str]) -> list[str]:
    """The parts of a detailed segment from which `want` is measured."""
    needed = want | {SUMS} if _is_summed(want) else want
    return [part for wanted, some in _PARTS.items() if wanted in needed for part in some]


def _is_summed(want: frozenset[str]) -> bool:
    """Whether sums are needed: no percentile is above the longest time."""
    return SUMS in want or PERCENTILES in want


def _has_sets(want: frozenset[str]) -> bool:
    return VISITORS in want or PERCENTILES in want


def _kept(single: _Single | None, want: frozenset[str]) -> int:
    """Which stored measures have what is wanted of `single`."""
    return SETS if single is not None and single.dimension != TOTAL and _has_sets(want) else ANY


def _place(edges: Sequence[datetime], moment: datetime) -> int:
    return bisect_right(edges, moment) - 1


def _starts_hour(moment: datetime, zone: Any) -> bool:
    local = to_local(moment, zone)
    return not (local.minute or local.second or local.microsecond)


def _minus(
    start: datetime, end: datetime, taken: Sequence[tuple[datetime, datetime]]
) -> list[tuple[datetime, datetime]]:
    """What of the period is in none of the periods `taken`, which rise."""
    rest = []
    for since, until in taken:
        if until <= start or since >= end:
            continue
        if since > start:
            rest.append((start, since))
        start = max(start, until)
    if start < end:
        rest.append((start, end))
    return rest
