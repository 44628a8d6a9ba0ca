"""Profiles: how the requests of each value are distributed, over times and over blocks of time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence
from datetime import datetime

import numpy as np
import sqlalchemy as sa

from ..dimensions import Value
from ..filters import Filters
from ..latency import Spread
from ..queries.answers import Block, Profiles, Tally
from ..queries.interface import CHEAP, USUAL
from ..spans import Span
from . import store
from .breakdowns import Breakdowns
from .contents import Contents, Detail
from .cover import ANY, MONTHS, SETS
from .dictionary import Dictionary
from .plans import Plan, Planner, Precomputed
from .source import Source
from .stored import of_precomputed
from .sums import SERVER_ERRORS, UNTIMED, Columns
from .tables import Tables
from .totals import Totals


class RollupProfiles:
    """Answers about distributions, over the connections of the questions."""

    def __init__(
        self,
        connection: sa.Connection,
        tables: Tables,
        source: Source,
        dictionary: Dictionary,
        contents: Contents,
        planner: Planner,
        breakdowns: Breakdowns,
        totals: Totals,
    ) -> None:
        self._connection = connection
        self._tables = tables
        self._source = source
        self._dictionary = dictionary
        self._contents = contents
        self._planner = planner
        self._breakdowns = breakdowns
        self._totals = totals

    def profiles(self, dimension: str, span: Span, unit: str, filters: Filters, *, limit: int) -> Profiles:
        """As the interface says."""
        many = self._source.dimensions[dimension].many
        precomputed = self._planner.precomputed_of(dimension, filters)
        plan = self._planner.plan(
            span, filters, precomputed, granularity=MONTHS if many else SETS, dimensions=(dimension,)
        )
        hits = self._breakdowns.hits([dimension], plan)[dimension]
        shown = self._breakdowns.page(dimension, hits, "-hits", limit, 0)
        totals = self._breakdowns.sums(dimension, shown, plan, USUAL, dated=False)
        blocks = self._blocks(dimension, shown, span, unit, filters)
        tallies = {number: self._totals.tally(totals[number], USUAL, dated=False) for number in shown}
        rows = tuple(tallies[number].profile(value, blocks[number]) for number, value in shown.items())
        return Profiles(len(hits), sum(hits.values()), rows)

    def blocks(
        self, dimension: str, values: Collection[Value], span: Span, unit: str, filters: Filters
    ) -> dict[Value, tuple[Block, ...]]:
        """As the interface says."""
        numbers = self._dictionary.values(dimension, set(values))
        blocks = self._blocks(dimension, [numbers[value] for value in values], span, unit, filters)
        return {value: tuple(tally.block() for tally in blocks[numbers[value]]) for value in values}

    def _blocks(
        self, dimension: str, numbers: Collection[int], span: Span, unit: str, filters: Filters
    ) -> dict[int, list[Tally]]:
        """What each of some values, by their numbers, has of each block of `unit`."""
        edges = span.edges(unit)
        blocks = {number: [Tally() for _ in edges[1:]] for number in numbers}
        if not blocks:
            return {}
        plan = self._planner.plan(
            span,
            filters,
            self._planner.precomputed_of(dimension, filters),
            tuple(edges),
            granularity=MONTHS if self._source.dimensions[dimension].many else ANY,
            dimensions=(dimension,),
        )
        self._add_stored(blocks, dimension, edges, plan)
        self._add_detailed(blocks, dimension, edges, plan)
        return blocks

    def _add_stored(
        self, blocks: dict[int, list[Tally]], dimension: str, edges: Sequence[datetime], plan: Plan
    ) -> None:
        """Add what is stored of whole segments, none of which crosses an edge."""
        number = self._dictionary.number_of(dimension)
        if plan.precomputed is None or number is None:
            return
        table = self._tables.rollup.c
        starts = {header.id: header.start for header in plan.stored}
        measures = (table.hits, table.server_errors, table.timed, table.time_us)
        for ids in store.chunks(list(starts)):
            where = of_precomputed(table, ids, Precomputed(number, None, False))
            for segment, value, *sums in self._connection.execute(
                sa.select(table.segment_id, table.value_id, *measures).where(*where)
            ):
                if value in blocks:
                    _add(blocks[value][bisect_right(edges, starts[segment]) - 1], *sums)

    def _add_detailed(
        self, blocks: dict[int, list[Tally]], dimension: str, edges: Sequence[datetime], plan: Plan
    ) -> None:
        """Add what the contents of detailed segments have."""
        part = self._planner.part(dimension)
        parts = [part, ":hours", *self._contents.parts_for(CHEAP)]
        for batch in self._contents.batches(plan.selected, parts):
            self._contents.need([detail for detail, _ in batch], [part, ":hours"])
            picked = [detail.segment.picked(dimension, blocks, members) for detail, members in batch]
            wanted = [(detail, members, places) for (detail, members), (places, _) in zip(batch, picked, strict=True)]
            columns = self._contents.columns(wanted, CHEAP, plan.measured)
            for (detail, _, places), (_, ids), measured in zip(wanted, picked, columns, strict=True):
                self._add_one(blocks, edges, detail, places, ids, measured)

    def _add_one(
        self,
        blocks: dict[int, list[Tally]],
        edges: Sequence[datetime],
        detail: Detail,
        places: np.ndarray,
        ids: np.ndarray,
        measured: Columns,
    ) -> None:
        if not len(ids):
            return
        first = max(0, bisect_right(edges, detail.start) - 1)
        marks = []
        for edge in edges[first + 1 : -1]:
            marks.append(self._contents.ordinal(detail, edge))
            if marks[-1] >= detail.segment.hits:
                break
        numbers, of_id = np.unique(ids, return_inverse=True)
        key = np.searchsorted(marks, places, side="right") * len(numbers) + of_id
        assert measured.classes is not None  # noqa: S101 - all three come together
        assert measured.times is not None  # noqa: S101
        assert measured.bins is not None  # noqa: S101
        sums = [
            np.bincount(key, weights=weights).astype(np.int64)
            for weights in (None, measured.classes == SERVER_ERRORS, measured.bins != UNTIMED, measured.times)
        ]
        for found in np.flatnonzero(sums[0]).tolist():
            block, value = divmod(found, len(numbers))
            _add(blocks[int(numbers[value])][first + block], *(int(column[found]) for column in sums))


def _add(block: Tally, hits: int, failed: int, timed: int, time_us: int) -> None:
    block.add(Tally(hits, server_errors=failed, time=Spread(time_us / 1_000_000, timed)))
