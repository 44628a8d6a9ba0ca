"""Answers every question from the rollup tables, and from the raw rows that came after the last run of the job.

Two ways lead to an answer. Without filters, or with one, the stored measures of months, days and hours are summed by the
database. With several, or for a part of a segment, the sets of ordinals are intersected, in the detailed segments, which
tile all of time that is rolled up. Rows that are not rolled up yet are built into a segment in memory, which answers as
the stored ones do.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import sqlalchemy as sa
from pyroaring import BitMap

from ..dimensions import Value
from ..filters import Condition, Filters
from ..queries.answers import Breakdown, ExceptionGroup, Link, Measures, Point, RequestLog, Row, Tally
from ..queries.interface import (
    CHEAP,
    EVERYTHING,
    PERCENTILES,
    VISITORS,
    cut,
)
from ..queries.raw import RawQueries
from ..spans import Span, midnight, next_edge, to_local
from . import bitmaps, store
from .dictionary import Dictionary
from .job import Coverage
from .segment import Segment, Sums
from .source import AUDIENCE, Source
from .store import Header
from .tables import BOTS, HOUR, MONTH, PEOPLE, TOTAL, Tables

MOST_TAIL_ROWS = 200_000
"""Raw rows built into memory at most; more mean that the job has stopped, which the page says."""
MOST_LISTED = 20_000
"""Raw rows looked at for exceptions and links, the newest."""
FEW = 8
"""Where a filter leaves more than one request in so many, sets are intersected instead of looking each request up."""


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


@dataclass(slots=True)
class _Cover:
    """What answers a question about a span."""

    stored: list[Header]
    """Segments whose stored measures are summed; only without filters or with one."""
    details: list[_Detail]
    """The rest."""


@dataclass(slots=True)
class _Found:
    """Sums of one value, and where its latest request is."""

    sums: Sums = field(default_factory=Sums)
    last: dict[int, tuple[_Detail, int]] = field(default_factory=dict)
    """For each audience, the latest detailed segment and the ordinal in it."""


class RollupQueries:
    """Answers from rollups, over one connection."""

    source = "rollup"

    def __init__(
        self,
        connection: sa.Connection,
        tables: Tables,
        source: Source,
        raw: RawQueries,
        *,
        coverage: Coverage,
        dictionary: Dictionary,
    ) -> None:
        self._connection = connection
        self._tables = tables
        self._source = source
        self._raw = raw
        self._coverage = coverage
        self._dictionary = dictionary
        self._segments: dict[int, Segment] = {}
        self._loaded: dict[int, set[str]] = defaultdict(set)
        self._tails: dict[datetime, dict[int, Segment]] = {}

    # ---- questions -----------------------------------------------------------------------------------------------

    def earliest(self) -> datetime | None:
        first = self._connection.scalar(sa.select(sa.func.min(self._tables.hour.c.start)))
        raw = self._raw.earliest()
        return min((moment for moment in (first, raw) if moment is not None), default=None)

    def summary(self, span: Span, filters: Filters, *, want: frozenset[str] = EVERYTHING) -> Measures:
        audiences, rest = self._audiences(filters)
        single = self._single(rest)
        cover = self._cover(span, audiences, stored=single is not None)
        found = _Found()
        if single is not None:
            dimension, values, negated = single
            for sums in self._stored(cover.stored, dimension, values, negated, want, grouped=False).values():
                found.sums.add(sums)
        self._add(found, [(detail, members) for detail, members in self._members(cover.details, rest)], want)
        return self._measures(found, want)

    def series(self, span: Span, unit: str, filters: Filters, *, want: frozenset[str] = EVERYTHING) -> list[Point]:
        edges = span.edges(unit)
        audiences, rest = self._audiences(filters)
        single = self._single(rest) if unit in ("day", "week", "month") else None
        buckets = list(pairwise(edges))
        found = [_Found() for _ in buckets]
        cover = self._cover(span, audiences, stored=single is not None, edges=edges)
        if single is not None:
            dimension, values, negated = single
            by_start = self._stored_each(cover.stored, dimension, values, negated, want)
            for header in cover.stored:
                found[_place(edges, header.start)].sums.add(by_start.get(header.id, Sums()))
        for detail, members in self._members(cover.details, rest):
            self._need([detail], (":hours",))
            for (start, end), bucket in zip(buckets, found, strict=True):
                if any(start < until and end > since for since, until in detail.ranges):
                    low, high = self._ordinal(detail, start), self._ordinal(detail, end)
                    if low < high:
                        self._add(bucket, [(detail, members & BitMap(range(low, high)))], want)
        return [Point(start, end, self._measures(f, want)) for (start, end), f in zip(buckets, found, strict=True)]

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
        audiences, rest = self._audiences(filters)
        own = [c for c in rest.conditions if c.dimension == dimension]
        stored = not rest.contains and len(own) == len(rest.conditions) and len(own) <= 1
        cover = self._cover(span, audiences, stored=stored)
        parts = list(self._members(cover.details, rest))
        number = self._dictionary.number_of(dimension)
        hits: Counter[int] = Counter()
        base: dict[int, Sums] = {}
        if stored and number is not None:
            values, negated = self._condition(own[0]) if own else (None, False)
            base = self._stored(cover.stored, number, values, negated, CHEAP, grouped=True)
            hits.update({value: sums.hits for value, sums in base.items()})
        for detail, members in parts:
            hits.update(self._hits(detail, dimension, members))
        hits = +hits
        if search:
            hits = self._searched(dimension, hits, search)
        name = sort.removeprefix("-")
        if name in ("hits", "value"):
            shown = self._page(dimension, hits, sort, limit, offset)
            found = self._fill(dimension, shown, cover, stored, parts, want)
            rows = tuple(Row(value, self._measures(found[n], want)) for n, value in shown.items())
        else:
            texts = self._dictionary.texts(dimension, hits)
            needed = want if name in ("visitors", "p50", "p95", "p99") else CHEAP
            found = self._fill(dimension, {n: texts[n] for n in hits}, cover, stored, parts, needed)
            everything = [Row(texts[n], self._measures(found[n], needed)) for n in hits]
            rows = cut(everything, sort=sort, limit=limit, offset=offset)
            if needed != want:
                numbers = {texts[n]: n for n in hits}
                shown = {numbers[row.value]: row.value for row in rows}
                found = self._fill(dimension, shown, cover, stored, parts, want)
                rows = tuple(Row(value, self._measures(found[n], want)) for n, value in shown.items())
        return Breakdown(dimension, len(hits), rows, sum(hits.values()))

    def breakdowns(
        self, dimensions: Sequence[str], span: Span, filters: Filters, *, limit: int
    ) -> dict[str, Breakdown]:
        return {name: self.breakdown(name, span, filters.without(name), limit=limit, want=CHEAP) for name in dimensions}

    def exceptions(self, span: Span, filters: Filters, *, limit: int) -> list[ExceptionGroup]:
        if "exception" not in self._source.dimensions:
            return []
        groups: dict[tuple[str, str | None], list[datetime]] = defaultdict(list)
        for row in self._listed(span, filters.and_("exception", "", negated=True), ("exception", "path")):
            groups[row["exception"], row["path"]].append(row["date"])
        found = [ExceptionGroup(text, path, len(at), min(at), max(at)) for (text, path), at in groups.items()]
        return sorted(found, key=lambda group: (-group.hits, group.exception, group.path or ""))[:limit]

    def links(self, span: Span, filters: Filters, *, limit: int) -> list[Link]:
        if not {"path", "referrer"} <= self._source.dimensions.keys():
            return []
        links: dict[tuple[str, str], list[datetime]] = defaultdict(list)
        for row in self._listed(span, filters, ("path", "referrer")):
            if row["referrer"] and row["path"] is not None:
                links[row["path"], row["referrer"]].append(row["date"])
        found = [Link(path, referrer, len(at), max(at)) for (path, referrer), at in links.items()]
        return sorted(found, key=lambda link: (-link.hits, link.path, link.referrer))[:limit]

    def requests(
        self, span: Span, filters: Filters, *, limit: int, before: str | None = None, after: str | None = None
    ) -> RequestLog:
        # without filters the index on date finds them; with filters it might have to read the whole table
        return self._raw.requests(span, filters, limit=limit, before=before, after=after)

    def request(self, key: str) -> dict[str, Any] | None:
        return self._raw.request(key)

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

    def _single(self, filters: Filters) -> tuple[int, set[int] | None, bool] | None:
        """The dimension's number, value ids and negation whose stored measures answer; None: sets must be intersected."""
        if not filters:
            return TOTAL, None, False
        if filters.contains or len(filters.conditions) != 1:
            return None
        number = self._dictionary.number_of(filters.conditions[0].dimension)
        if number is None or self._source.dimensions[filters.conditions[0].dimension].many:
            return None
        return (number, *self._condition(filters.conditions[0]))

    def _condition(self, condition: Condition) -> tuple[set[int], bool]:
        """The value ids that a condition names, and whether it excludes them."""
        dimension = self._source.dimensions[condition.dimension]
        values = {self._stored_value(condition.dimension, value) for value in condition.values(dimension)}
        numbers = self._dictionary.values(condition.dimension, values)
        return {numbers[value] for value in values}, condition.negated

    def _stored_value(self, name: str, value: Value) -> Value:
        dimension = self._source.dimensions[name]
        return value if dimension.derived or value is None else self._source.raw.fit(dimension.column, value)

    def _members(self, details: Sequence[_Detail], filters: Filters) -> Iterable[tuple[_Detail, BitMap]]:
        """The ordinals of each segment that are asked for and that `filters` let through; none are left out."""
        tests = [(condition.dimension, *self._condition(condition)) for condition in filters.conditions]
        if filters.contains and "path" in self._source.dimensions:
            tests.append(("path", set(self._dictionary.containing("path", filters.contains)), False))
        self._need(details, [name for name, _, _ in tests])
        partial = [detail for detail in details if not detail.whole]
        self._need(partial, (":hours",))
        answer = []
        for detail in details:
            members = self._asked(detail)
            for name, values, negated in tests:
                sets = detail.segment.indexes.get(name, {})
                matching = bitmaps.union(sets[value] for value in values if value in sets)
                members = members - matching if negated else members & matching
            if members:
                answer.append((detail, members))
        return answer

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
        self, span: Span, audiences: Sequence[int], *, stored: bool, edges: Sequence[datetime] | None = None
    ) -> _Cover:
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
            chosen = self._whole_periods(start, end, found, list(edges or ()))
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
        return _Cover(pieces, details + self._tail(span, audiences))

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
        self, start: datetime, end: datetime, found: Sequence[Header], edges: Sequence[datetime]
    ) -> list[tuple[datetime, datetime]]:
        """The merged months, closed days and, today, hours that lie within, none within another."""
        zone, limit = self._source.zone, self._until()
        cuts = set(edges)
        months = sorted({(h.start, h.end) for h in found if h.unit == MONTH and start <= h.start and h.end <= end})
        if cuts:
            months = [(s, e) for s, e in months if not any(s < edge < e for edge in cuts)]
        in_hours = {midnight(to_local(h.start, zone).date(), zone) for h in found if h.unit == HOUR}
        chosen: list[tuple[datetime, datetime]] = list(months)
        gaps = _minus(start, end, months)
        for since, until in gaps:
            at = since
            while at < until:
                following = next_edge(at, "day", zone)
                begins = midnight(to_local(at, zone).date(), zone)
                if begins == at and following <= until and begins not in in_hours:
                    chosen.append((at, following))
                elif begins in in_hours:
                    hour = next_edge(at, "hour", zone)
                    if _starts_hour(at, zone) and min(hour, limit) <= until:
                        chosen.append((at, min(hour, limit)))
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
        if since not in self._tails:
            self._tails[since] = self._read_tail(since)
        details = []
        for audience, segment in self._tails[since].items():
            if audience in audiences and segment.hits:
                ranges = [(max(span.start, since), span.end)]
                details.append(_Detail(-1 - audience, since, audience, segment, ranges, whole=False))
        return details

    def _read_tail(self, since: datetime) -> dict[int, Segment]:
        date = self._source.raw.columns["date"]
        latest = self._connection.scalar(sa.select(sa.func.max(date)))
        latest = None if latest is None else _naive(latest)
        if latest is None or latest < since:
            return {}
        end = next_edge(latest, "hour", self._source.zone)
        if end - since > timedelta(days=1) and self._source.count(self._connection, since, end) > MOST_TAIL_ROWS:
            return {}
        segments, _ = self._source.segments(self._connection, since, end, ids=self._dictionary.ids)
        return segments

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
        self,
        headers: Sequence[Header],
        dimension: int,
        values: set[int] | None,
        negated: bool,
        want: frozenset[str],
        *,
        grouped: bool,
    ) -> dict[int, Sums]:
        """The stored measures of the values of a dimension over some segments; not `grouped`: under 0, of all together."""
        table = self._tables.rollup.c
        sums = (
            sa.func.sum(table.hits),
            sa.func.sum(table.client_errors),
            sa.func.sum(table.server_errors),
            sa.func.sum(table.size),
            sa.func.sum(table.time_us),
            sa.func.sum(table.timed),
            sa.func.max(table.longest_us),
            sa.func.max(table.last),
        )
        found: dict[int, Sums] = {}
        for ids in store.chunks([header.id for header in headers]):
            where = [table.segment_id.in_(ids), table.dimension_id == dimension, *self._of_values(values, negated)]
            key: list[sa.ColumnElement[Any]] = [table.value_id if grouped else sa.literal_column("0", sa.Integer())]
            query = sa.select(*key, *sums).where(*where)
            for value, *numbers, last in self._connection.execute(query.group_by(table.value_id) if grouped else query):
                if numbers[0]:
                    found.setdefault(value, Sums()).add(_sums(*map(int, numbers), last=last))
            blobs = [
                column for name, column in ((VISITORS, table.visitors), (PERCENTILES, table.latency)) if name in want
            ]
            if blobs:
                for row in self._connection.execute(sa.select(*key, *blobs).where(*where)):
                    sums_of = found[row[0]]
                    if VISITORS in want:
                        sums_of.visitors |= bitmaps.load(row[1])
                    if PERCENTILES in want:
                        sums_of.latency.update(store.read_latency(row[-1]))
        return found

    def _stored_each(
        self, headers: Sequence[Header], dimension: int, values: set[int] | None, negated: bool, want: frozenset[str]
    ) -> dict[int, Sums]:
        """The stored measures of the values of a dimension together, for each segment by its id."""
        table = self._tables.rollup.c
        columns = [table.hits, table.client_errors, table.server_errors, table.size, table.time_us, table.timed]
        columns += [table.longest_us, table.last]
        columns += [table.visitors] if VISITORS in want else []
        columns += [table.latency] if PERCENTILES in want else []
        found: dict[int, Sums] = {}
        for ids in store.chunks([header.id for header in headers]):
            where = [table.segment_id.in_(ids), table.dimension_id == dimension, *self._of_values(values, negated)]
            for row in self._connection.execute(sa.select(table.segment_id, *columns).where(*where)).mappings():
                found.setdefault(row["segment_id"], Sums()).add(store.sums_of(row))
        return found

    def _of_values(self, values: set[int] | None, negated: bool) -> list[sa.ColumnElement[bool]]:
        if values is None:
            return []
        column = self._tables.rollup.c.value_id
        return [column.not_in(values) if negated else column.in_(values)]

    # ---- values --------------------------------------------------------------------------------------------------

    def _hits(self, detail: _Detail, dimension: str, members: BitMap) -> Mapping[int, int]:
        """How many of `members` have each value of `dimension`."""
        segment = detail.segment
        all_of_it = len(members) == segment.hits
        many = self._source.dimensions[dimension].many
        if many and len(members) * FEW < segment.hits:
            part = f"{dimension}:column"
            self._need([detail], (part,))
            if dimension in segment.columns:
                return Counter(map(segment.columns[dimension].__getitem__, members))
        self._need([detail], (dimension,))
        sets = segment.indexes.get(dimension, {})
        if all_of_it:
            return {value: len(sets[value]) for value in sets}
        return {value: members.intersection_cardinality(sets[value]) for value in sets}

    def _searched(self, dimension: str, hits: Counter[int], search: str) -> Counter[int]:
        needle, label_of = search.casefold(), self._source.dimensions[dimension].label_of
        texts = self._dictionary.texts(dimension, hits)
        return Counter({n: count for n, count in hits.items() if needle in label_of(texts[n]).casefold()})

    def _page(self, dimension: str, hits: Counter[int], sort: str, limit: int, offset: int) -> dict[int, Value]:
        """The values of one page by number, sorted by hits or by value; texts are read for those alone that may be on it."""
        candidates: Iterable[int] = hits
        if sort.endswith("hits"):
            ranked = sorted(hits.values(), reverse=sort.startswith("-"))[: offset + limit]
            if not ranked:
                return {}
            worst = ranked[-1]
            candidates = [
                n for n, count in hits.items() if (count >= worst if sort.startswith("-") else count <= worst)
            ]
        texts = self._dictionary.texts(dimension, candidates)
        numbers = {texts[n]: n for n in candidates}
        rows = [Row(texts[n], Tally(hits=hits[n]).measures()) for n in candidates]
        return {numbers[row.value]: row.value for row in cut(rows, sort=sort, limit=limit, offset=offset)}

    def _fill(
        self,
        dimension: str,
        shown: Mapping[int, Value],
        cover: _Cover,
        stored: bool,
        parts: Sequence[tuple[_Detail, BitMap]],
        want: frozenset[str],
    ) -> dict[int, _Found]:
        """All that is wanted of some values."""
        found = {n: _Found() for n in shown}
        number = self._dictionary.number_of(dimension)
        if stored and number is not None and shown:
            for n, sums in self._stored(cover.stored, number, set(shown), False, want, grouped=True).items():
                found[n].sums.add(sums)
        self._need([detail for detail, _ in parts], (dimension,))
        for n, one in found.items():
            mine = []
            for detail, members in parts:
                sets = detail.segment.indexes.get(dimension, {})
                if n in sets:
                    mine.append((detail, members & sets[n]))
            self._add(one, mine, want)
        return found

    # ---- measures ------------------------------------------------------------------------------------------------

    def _add(self, found: _Found, parts: Sequence[tuple[_Detail, BitMap]], want: frozenset[str]) -> None:
        """Add the measures of the members of some detailed segments."""
        parts = [(detail, members) for detail, members in parts if members]
        needed = [":sizes", ":times", ":latency", ":errors"] + ([":visitors"] if VISITORS in want else [])
        self._need([detail for detail, _ in parts], needed)
        for detail, members in parts:
            found.sums.add(detail.segment.sums(members, visitors=VISITORS in want, latency=PERCENTILES in want))
            before = found.last.get(detail.audience)
            if before is None or before[0].start <= detail.start:
                found.last[detail.audience] = (detail, members.max())

    def _measures(self, found: _Found, want: frozenset[str]) -> Measures:
        """The measures as every answer has them: None for what the model lacks."""
        sums, has = found.sums, self._source.raw.has
        last = sums.last
        for detail, ordinal in found.last.values():
            self._need([detail], (":hours", ":offsets"))
            moment = detail.segment.moment(ordinal)
            last = moment if last is None or moment > last else last
        timed = has("response_time") and sums.timed
        return Tally(
            hits=sums.hits,
            visitors=len(sums.visitors) if VISITORS in want and has("remote_address") else None,
            client_errors=sums.client_errors if has("status_code") else None,
            server_errors=sums.server_errors if has("status_code") else None,
            size=sums.size if has("size") else None,
            seconds=sums.time_us / 1_000_000,
            timed=sums.timed,
            longest=sums.longest_us / 1_000_000 if timed else None,
            last=last,
            latency=sums.latency,
        ).measures()

    # ---- raw rows ------------------------------------------------------------------------------------------------

    def _listed(self, span: Span, filters: Filters, names: Sequence[str]) -> Iterable[dict[str, Any]]:
        """The newest raw rows of `span` that `filters` let through, found by their keys."""
        audiences, rest = self._audiences(filters)
        cover = self._cover(span, audiences, stored=False)
        parts = list(self._members(cover.details, rest))
        self._need([detail for detail, _ in parts], (":keys",))
        keys: list[int] = []
        for detail, members in sorted(parts, key=lambda part: part[0].start, reverse=True):
            if detail.segment.keys is not None:
                keys += [detail.segment.keys[ordinal] for ordinal in members]
            if len(keys) >= MOST_LISTED:
                break
        raw = self._source.raw
        columns = [raw.columns[name].label(name) for name in ("date", *names)]
        for some in store.chunks(sorted(keys, reverse=True)[:MOST_LISTED]):
            for row in self._connection.execute(sa.select(*columns).where(raw.key.in_(some))).mappings():
                yield {**row, "date": _naive(row["date"])}


def _sums(
    hits: int,
    client_errors: int,
    server_errors: int,
    size: int,
    time_us: int,
    timed: int,
    longest_us: int,
    *,
    last: datetime | None,
) -> Sums:
    return Sums(hits, client_errors, server_errors, size, time_us, timed, longest_us, last)


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


def _naive(moment: datetime) -> datetime:
    return moment if moment.tzinfo is None else moment.replace(tzinfo=None) - (moment.utcoffset() or timedelta())
