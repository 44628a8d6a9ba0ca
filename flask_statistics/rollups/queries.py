"""Answers every question from the rollup tables, and from the raw rows that came after the last run of the job.

Two ways lead to an answer. Without filters, or with one, the stored measures of months, days and hours are summed by the
database. With several, or for a part of a segment, the sets of ordinals are intersected, in the detailed segments, which
tile all of time that is rolled up. Rows that are not rolled up yet are built into a segment in memory, which answers as
the stored ones do.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import sqlalchemy as sa

from ..dimensions import OTHER_VALUE, Value
from ..filters import Filters
from ..queries.answers import (
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
)
from ..queries.interface import CHEAP, EVERY_REQUEST, EVERYTHING, HITS, NEEDED, PERCENTILES, USUAL, T, cut, ranked
from ..queries.raw import RawQueries
from ..spans import Span, naive_utc, to_local
from ..week import HOURS, hour_of_week
from . import store
from .breakdowns import Breakdowns
from .clients import Clients
from .contents import Contents
from .cover import ANY, MONTHS, SETS
from .dictionary import Dictionary
from .groups import Groups
from .meta import Coverage
from .plans import Planner, Precomputed
from .profiles import RollupProfiles
from .source import Source
from .stored import StoredMeasures, granularity_for, has_sets
from .tables import TOTAL, Tables
from .totals import Total, Totals

MOST_LISTED = 20_000
"""Raw rows of each audience looked at for exceptions and links, the newest."""


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
        clients_since: datetime | None = None,
    ) -> None:
        """`clients_since`: what began before (naive UTC) tells no clients any more; None: all does."""
        self._connection = connection
        self._raw_connection = raw_connection
        self._tables = tables
        self._source = source
        self._raw = raw
        self._dictionary = dictionary
        self._contents = Contents(connection, tables, source.zone, source.waits)
        self._stored = StoredMeasures(connection, tables, dictionary, source.waits)
        self._planner = Planner(
            connection,
            tables,
            source,
            raw_connection=raw_connection,
            coverage=coverage,
            dictionary=dictionary,
            contents=self._contents,
            clients_since=clients_since,
        )
        self._totals = Totals(source, self._contents)
        self._breakdowns = Breakdowns(source, dictionary, self._contents, self._stored, self._planner, self._totals)
        self._clients = Clients(
            source, raw_connection, dictionary, self._contents, self._planner, self._breakdowns, self._totals
        )

        self._groups = Groups(dictionary, self._contents, self._planner)
        self._profiles = RollupProfiles(
            connection,
            tables,
            source,
            dictionary,
            self._contents,
            self._planner,
            self._breakdowns,
            self._totals,
        )

    # ---- questions ------------------------------------------------------------------------------------------------

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
        known = self._planner.known_since(filters, dimensions)
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
        span = self._planner.where_folded(name, span)
        if span.start >= span.end:
            return 0
        others = filters.without(name)
        if name == "path":
            others = replace(others, contains="")
        return self.summary(span, others.and_(name, OTHER_VALUE), want=HITS).hits

    def summary(self, span: Span, filters: Filters, *, want: frozenset[str] = EVERYTHING) -> Measures:
        precomputed = self._planner.precomputed_for(filters)
        plan = self._planner.plan(span, filters, precomputed, granularity=granularity_for(precomputed, want))
        found = Total()
        if plan.precomputed is not None:
            for one in self._stored.sums(plan.stored, plan.precomputed, want).values():
                found.sums.add(one)
        for detail, members, columns in self._contents.measured(plan.selected, plan.measured, want):
            found.sums.hits += len(members)
            found.sums.add(columns.sums(timed=PERCENTILES in want))
            found.add_last(detail, members.max())
        return self._totals.measures(found, want)

    def series(self, span: Span, unit: str, filters: Filters, *, want: frozenset[str] = EVERYTHING) -> list[Point]:
        edges = span.edges(unit)
        found = self._buckets(edges, span, filters, want)
        return [
            Point(start, end, self._totals.measures(one, want))
            for (start, end), one in zip(pairwise(edges), found, strict=True)
        ]

    def week(self, span: Span, filters: Filters, *, want: frozenset[str] = USUAL) -> tuple[Measures, ...]:
        edges = span.edges("hour")
        hours = [self._totals.tally(Total(), want, dated=False) for _ in range(HOURS)]
        for start, one in zip(edges, self._buckets(edges, span, filters, want), strict=False):
            if one.sums.hits:
                hours[hour_of_week(to_local(start, span.zone))].add_hour(self._totals.tally(one, want, dated=False))
        return tuple(hour.measures() for hour in hours)

    def _buckets(self, edges: Sequence[datetime], span: Span, filters: Filters, want: frozenset[str]) -> list[Total]:
        """The sums of each bucket between two of `edges`."""
        precomputed = self._planner.precomputed_for(filters)
        plan = self._planner.plan(
            span, filters, precomputed, tuple(edges), granularity=granularity_for(precomputed, want)
        )
        found = [Total() for _ in edges[1:]]
        if plan.precomputed is not None:
            starts = {header.id: header.start for header in plan.stored}
            for segment, one in self._stored.sums(plan.stored, plan.precomputed, want, by="segment_id").items():
                found[place(edges, starts[segment])].sums.add(one)
        self._contents.need([detail for detail, _ in plan.selected], (":hours",))
        for detail, members, columns in self._contents.measured(plan.selected, plan.measured, want):
            first = max(0, place(edges, self._contents.moment_of_hour(detail, members.min())))
            since = 0
            for bucket, end in zip(found[first:], edges[first + 1 :], strict=True):
                high = self._contents.ordinal(detail, end)
                until = members.rank(high - 1) if high else 0
                if since < until:
                    bucket.sums.hits += until - since
                    bucket.sums.add(columns.at(slice(since, until)).sums(timed=PERCENTILES in want))
                    bucket.add_last(detail, members[until - 1])
                if until == len(members):
                    break
                since = until
        return found

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
        if dimension in self._source.clients:
            asked = self._clients.breakdown if self._has_keys() else self._raw.breakdown
            answer = asked(dimension, span, filters, sort=sort, limit=limit, offset=offset, search=search, want=want)
            return replace(answer, complete_from=self.complete_from(span, filters, (dimension,)))
        name = sort.removeprefix("-")
        needed = want | NEEDED.get(name, CHEAP)
        granularity = MONTHS if self._source.dimensions[dimension].many else SETS if has_sets(needed) else ANY
        plan = self._planner.plan(
            span,
            filters,
            self._planner.precomputed_of(dimension, filters),
            granularity=granularity,
            dimensions=(dimension,),
        )
        complete_from = self.complete_from(span, filters, (dimension,))
        hits = self._breakdowns.hits([dimension], plan)[dimension]
        if search:
            hits = self._breakdowns.searched(dimension, hits, search)
        if name in ("hits", "value"):
            shown = self._breakdowns.page(dimension, hits, sort, limit, offset)
            return replace(self._breakdowns.answer(dimension, hits, shown, plan, want), complete_from=complete_from)
        texts = self._dictionary.texts(dimension, hits)
        all_values = {number: texts[number] for number in hits}
        ranked = self._breakdowns.answer(
            dimension, hits, all_values, plan, NEEDED.get(name, CHEAP), dated=name == "last_requested"
        )
        rows = cut(list(ranked.rows), sort=sort, limit=limit, offset=offset)
        numbers = {value: number for number, value in all_values.items()}
        answer = self._breakdowns.answer(dimension, hits, {numbers[row.value]: row.value for row in rows}, plan, want)
        return replace(answer, complete_from=complete_from)

    def breakdowns(
        self, dimensions: Sequence[str], span: Span, filters: Filters, *, limit: int
    ) -> dict[str, Breakdown]:
        found = {
            name: self.breakdown(name, span, filters.without(name), limit=limit, want=HITS)
            for name in dimensions
            if name in self._source.clients
        }
        return found | self._rolled_up([name for name in dimensions if name not in found], span, filters, limit)

    def _rolled_up(self, dimensions: Sequence[str], span: Span, filters: Filters, limit: int) -> dict[str, Breakdown]:
        filtered = {condition.dimension for condition in filters.conditions}
        many = {name for name in dimensions if self._source.dimensions[name].many}
        together = [name for name in dimensions if name not in filtered.union(many, self._planner.incomplete)]
        found: dict[str, Breakdown] = {}
        for names in (together, *([name] for name in dimensions if name not in together)):
            others = filters.without(names[0]) if names and names[0] in filtered else filters
            total = Precomputed(TOTAL, None, False) if not self._planner.audiences(others)[1] else None
            plan = self._planner.plan(
                span, others, total, granularity=MONTHS if many.intersection(names) else ANY, dimensions=names
            )
            complete_from = self.complete_from(span, others, names)
            for name, hits in self._breakdowns.hits(names, plan).items():
                shown = self._breakdowns.page(name, hits, "-hits", limit, 0)
                found[name] = replace(
                    self._breakdowns.answer(name, hits, shown, plan, HITS), complete_from=complete_from
                )
        return {name: found[name] for name in dimensions}

    def profiles(self, dimension: str, span: Span, unit: str, filters: Filters, *, limit: int) -> Profiles:
        asked = self._raw if dimension in self._source.clients else self._profiles
        return asked.profiles(dimension, span, unit, filters, limit=limit)

    def blocks(
        self, dimension: str, values: Collection[Value], span: Span, unit: str, filters: Filters
    ) -> dict[Value, tuple[Block, ...]]:
        asked = self._raw if dimension in self._source.clients else self._profiles
        return asked.blocks(dimension, values, span, unit, filters)

    def clients(self, addresses: Collection[Value], span: Span, filters: Filters) -> dict[Value, Client]:
        asked = self._clients.about if self._has_keys() else self._raw.clients
        return asked(addresses, span, filters)

    def groups(self, dimensions: Sequence[str], span: Span, filters: Filters, *, limit: int) -> list[Group]:
        if any(name in self._source.clients for name in dimensions):
            return self._raw.groups(dimensions, span, filters, limit=limit)
        plan = self._planner.plan(span, filters, None, dimensions=dimensions)
        return ranked(self._groups.of(dimensions, plan), limit)

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
        self,
        span: Span,
        filters: Filters,
        *,
        limit: int,
        before: str | None = None,
        after: str | None = None,
        only: Only = EVERY_REQUEST,
        slowest: bool = False,
    ) -> RequestLog:
        if only or slowest:  # no segment knows which these are
            return self._raw.requests(
                span, filters, limit=limit, before=before, after=after, only=only, slowest=slowest
            )
        keys = None
        # without filters the index on date finds the newest rows; with them it might read the whole table
        if filters and self._has_keys():
            position = self._raw.position(before or after or "") if before or after else None
            # one more tells whether the log goes on, and another may be the request at the position itself
            keys = self._contents.nearest(
                self._planner.plan(span, filters, None).selected, limit + 2, position, newer=after is not None
            )
        if keys is None:
            return self._raw.requests(span, filters, limit=limit, before=before, after=after)
        return self._raw.requests(span, Filters(), limit=limit, before=before, after=after, keys=keys)

    def beside(self, read: Callable[[sa.Connection], T]) -> T:
        return read(self._connection)

    def request(self, key: str) -> dict[str, Any] | None:
        return self._raw.request(key)

    # ---- rows ------------------------------------------------------------------------------------------------------

    def _has_keys(self) -> bool:
        """Whether the model's keys are whole numbers, which segments have; if not, the raw table is asked."""
        return isinstance(self._source.raw.key.type, sa.Integer)

    def _listed(self, span: Span, filters: Filters, names: Sequence[str]) -> Iterable[dict[str, Any]]:
        """The newest raw rows of `span` that `filters` let through, `MOST_LISTED` of each audience, found by their keys."""
        keys = self._contents.nearest(self._planner.plan(span, filters, None).selected, MOST_LISTED, None, newer=False)
        raw = self._source.raw
        columns = [raw.columns[name].label(name) for name in ("date", *names)]
        for some in store.chunks(keys):
            for row in self._raw_connection.execute(sa.select(*columns).where(raw.key.in_(some))).mappings():
                yield {**row, "date": naive_utc(row["date"])}


def place(edges: Sequence[datetime], moment: datetime) -> int:
    return bisect_right(edges, moment) - 1
