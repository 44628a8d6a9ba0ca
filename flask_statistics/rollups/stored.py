"""Sums of what is stored: measures of whole months, days and hours, added up by the database."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from ..latency import Spread
from ..queries.interface import PERCENTILES, VISITORS, WAITED
from . import store
from .contents import is_summed
from .cover import ANY, SETS
from .dictionary import Dictionary
from .plans import Plan, Precomputed
from .store import Header
from .sums import Sums
from .tables import TOTAL, Tables


class StoredMeasures:
    """What is stored of segments, over one connection."""

    def __init__(
        self, connection: sa.Connection, tables: Tables, dictionary: Dictionary, waits: Sequence[str] = ()
    ) -> None:
        """`waits`: those of what requests waited for that can be asked for."""
        self._connection = connection
        self._tables = tables
        self._dictionary = dictionary
        self._waits = waits

    def sums(
        self, headers: Sequence[Header], precomputed: Precomputed, want: frozenset[str], *, by: str | None = None
    ) -> dict[int, Sums]:
        """The stored measures over some segments, by `value_id` or `segment_id`; by None: of all together, under 0."""
        table = self._tables.rollup.c
        key = sa.literal_column("0", sa.Integer()) if by is None else table[by]
        measures: list[Any] = [sa.func.sum(table.hits)]
        if is_summed(want):
            names = ("client_errors", "server_errors", "size", "time_us", "timed")
            measures += [*(sa.func.sum(table[name]) for name in names), sa.func.max(table.longest_us)]
        found: dict[int, Sums] = {}
        for ids in store.chunks([header.id for header in headers]):
            query = sa.select(key, sa.func.max(table.last), *measures).where(*of_precomputed(table, ids, precomputed))
            for group, last, *numbers in self._connection.execute(query if by is None else query.group_by(key)):
                if numbers[0]:
                    whole: list[Any] = [int(number) for number in numbers]
                    sums = Sums(*whole)
                    sums.last = last
                    found.setdefault(group, Sums()).add(sums)
            if VISITORS in want or PERCENTILES in want:
                self._add_sets(found, ids, precomputed, want, by)
            if waits := [name for name in self._waits if name in want]:
                self._add_waits(found, ids, precomputed, waits, by)
        return found

    def _add_sets(
        self, found: dict[int, Sums], ids: Sequence[int], precomputed: Precomputed, want: frozenset[str], by: str | None
    ) -> None:
        table = self._tables.sets.c
        key = sa.literal_column("0", sa.Integer()) if by is None else table[by]
        visitors = table.visitors if VISITORS in want else sa.null()
        latency = table.latency if PERCENTILES in want else sa.null()
        sets: dict[int, list[bytes]] = defaultdict(list)
        histograms: dict[int, list[bytes]] = defaultdict(list)
        for group, members, histogram in self._connection.execute(
            sa.select(key, visitors, latency).where(*of_precomputed(table, ids, precomputed))
        ):
            if members is not None:
                sets[group].append(members)
            if histogram is not None:
                histograms[group].append(histogram)
        for group, blobs in sets.items():
            found[group].visitors |= store.visitors_of(blobs)
        for group, blobs in histograms.items():
            found[group].add_latency(store.latency_of(blobs))

    def _add_waits(
        self,
        found: dict[int, Sums],
        ids: Sequence[int],
        precomputed: Precomputed,
        waits: Sequence[str],
        by: str | None,
    ) -> None:
        table = self._tables.waits.c
        key = sa.literal_column("0", sa.Integer()) if by is None else table[by]
        query = sa.select(key, table.wait, table.total, table.known, table.highest, table.bins)
        spreads: dict[tuple[int, str], Spread] = defaultdict(Spread)
        histograms: dict[tuple[int, str], list[bytes]] = defaultdict(list)
        for group, wait, total, known, highest, bins in self._connection.execute(
            query.where(*of_precomputed(table, ids, precomputed), table.wait.in_(waits))
        ):
            spreads[group, wait].add(Spread(total, known, highest))
            histograms[group, wait].append(bins)
        for (group, wait), spread in spreads.items():
            spread.add_bins(store.latency_of(histograms[group, wait]))
            found[group].waits.setdefault(wait, Spread()).add(spread)

    def hits(self, names: Sequence[str], plan: Plan) -> dict[str, Counter[int]]:
        """How many requests each value of each dimension has in the stored segments, in one statement."""
        numbers = {self._dictionary.number_of(name): name for name in names}
        table = self._tables.rollup.c
        found: dict[str, Counter[int]] = {name: Counter() for name in names}
        values = None if plan.precomputed is None or plan.precomputed.dimension == TOTAL else plan.precomputed
        for ids in store.chunks([header.id for header in plan.stored]):
            if values is None:
                known = [number for number in numbers if number is not None]
                where = [table.segment_id.in_(ids), table.dimension_id.in_(known)]
            else:
                where = of_precomputed(table, ids, values)
            key = (table.dimension_id, table.value_id)
            query = sa.select(*key, sa.func.sum(table.hits)).where(*where).group_by(*key)
            for dimension, value, hits in self._connection.execute(query):
                found[numbers[dimension]][value] += int(hits)
        return found


def of_precomputed(table: Any, ids: Sequence[int], precomputed: Precomputed) -> list[Any]:
    """The condition for rows of `precomputed` in some segments."""
    where = [table.segment_id.in_(ids), table.dimension_id == precomputed.dimension]
    if precomputed.values is None:
        return where
    return [
        *where,
        table.value_id.not_in(precomputed.values) if precomputed.negated else table.value_id.in_(precomputed.values),
    ]


def has_sets(want: frozenset[str]) -> bool:
    """Whether what is wanted is stored where the sets of values are, and not of each segment."""
    return not want.isdisjoint({VISITORS, PERCENTILES, *WAITED})


def granularity_for(precomputed: Precomputed | None, want: frozenset[str]) -> int:
    """Which stored measures have what is wanted of `precomputed`."""
    return SETS if precomputed is not None and precomputed.dimension != TOTAL and has_sets(want) else ANY
