"""Values of one dimension: how many requests each has, which are shown, and what is measured of these."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from pyroaring import BitMap

from ..dimensions import Value
from ..queries.answers import Breakdown, Row, Tally
from ..queries.interface import PERCENTILES, cut
from .contents import Contents, Detail
from .dictionary import Dictionary
from .grouping import counted, grouped, last_of
from .plans import Plan, Planner, Precomputed
from .source import Source
from .stored import StoredMeasures
from .sums import Columns, Groups, Sums
from .totals import Total, Totals

MOST_NAMED = 1_000
"""Values named by one statement."""


class Breakdowns:
    """Answers about values, over the connections of the questions."""

    def __init__(
        self,
        source: Source,
        dictionary: Dictionary,
        contents: Contents,
        stored: StoredMeasures,
        planner: Planner,
        totals: Totals,
    ) -> None:
        self._source = source
        self._dictionary = dictionary
        self._contents = contents
        self._stored = stored
        self._planner = planner
        self._totals = totals

    def hits(self, names: Sequence[str], plan: Plan) -> dict[str, Counter[int]]:
        """How many requests each value of each dimension has."""
        found = self._stored.hits(names, plan) if plan.precomputed is not None else {name: Counter() for name in names}
        parts = [self._planner.part(name) for name in names]
        for batch in self._contents.batches(plan.selected, parts):
            self._contents.need([detail for detail, _ in batch], parts)
            for name in names:
                if self._source.dimension(name).many:
                    column = self._planner.column(name)
                    found[name].update(counted(detail.segment.ids_of(column, members) for detail, members in batch))
                else:
                    for detail, members in batch:
                        found[name].update(detail.segment.counts(name, members))
        return found

    def searched(self, dimension: str, hits: Counter[int], search: str) -> Counter[int]:
        needle, label_of = search.casefold(), self._source.dimensions[dimension].label_of
        texts = self._dictionary.texts(dimension, hits)
        return Counter({n: count for n, count in hits.items() if needle in label_of(texts[n]).casefold()})

    def page(self, dimension: str, hits: Counter[int], sort: str, limit: int, offset: int) -> dict[int, Value]:
        """The values of one page by number, sorted by hits or by value; texts are read for those that may be on it."""
        candidates: list[int] = list(hits)
        if sort == "-hits":
            ranked = heapq.nlargest(offset + limit, hits.values())
            candidates = [number for number, count in hits.items() if count >= ranked[-1]]
        texts = self._dictionary.texts(dimension, candidates)
        numbers = {texts[number]: number for number in candidates}
        rows = [Row(texts[number], Tally(hits=hits[number]).measures()) for number in candidates]
        return {numbers[row.value]: row.value for row in cut(rows, sort=sort, limit=limit, offset=offset)}

    def answer(
        self,
        dimension: str,
        hits: Counter[int],
        shown: Mapping[int, Value],
        plan: Plan,
        want: frozenset[str],
        *,
        dated: bool = True,
    ) -> Breakdown:
        """The answer with the rows `shown`, and all that is wanted of them; `dated`: also when each was requested last.

        That is in contents of its own, of a segment for each value: for thousands that are only ranked it takes longer than
        all else.
        """
        found = {number: Total(Sums(hits=hits[number])) for number in shown}
        if want:
            found = self.sums(dimension, shown, plan, want, dated)
        rows = tuple(
            Row(value, self._totals.measures(found[number], want, dated=dated)) for number, value in shown.items()
        )
        return Breakdown(dimension, len(hits), rows, sum(hits.values()))

    def sums(
        self, dimension: str, shown: Collection[int], plan: Plan, want: frozenset[str], dated: bool
    ) -> dict[int, Total]:
        """The sums of each number of `shown`, of a dimension or of visitors."""
        found = {number: Total() for number in shown}
        number = self._dictionary.number_of(dimension)
        if plan.precomputed is not None and number is not None and shown:
            # all values, where a list of those that are shown would be too long for a statement
            precomputed = Precomputed(number, frozenset(shown) if len(shown) <= MOST_NAMED else None, False)
            for value, sums in self._stored.sums(plan.stored, precomputed, want, by="value_id").items():
                if value in found:
                    found[value].sums.add(sums)
        part = self._planner.part(dimension)
        for batch in self._contents.batches(plan.selected, [part, *self._contents.parts_for(want)]) if shown else ():
            self._contents.need([detail for detail, _ in batch], [part])
            self._fill_from(batch, dimension, found, want, plan.measured, dated)
        return found

    def _fill_from(
        self,
        selected: Sequence[tuple[Detail, BitMap]],
        dimension: str,
        found: Mapping[int, Total],
        want: frozenset[str],
        known: Mapping[int, Columns],
        dated: bool,
    ) -> None:
        """Add the measures that each value has in some detailed segments: in one go for all, as there may be hundreds.

        `known`: what is measured of all members, where that is known.
        """
        picked = [detail.segment.picked(dimension, found, members) for detail, members in selected]
        ids = np.concatenate([ids for _, ids in picked])
        if not len(ids):
            return
        wanted = [(detail, members, places) for (detail, members), (places, _) in zip(selected, picked, strict=True)]
        order, starts, values = grouped(ids)
        groups = Groups(Columns.joined(self._contents.columns(wanted, want, known)), timed=PERCENTILES in want)
        for value, sums in zip(values, groups.sums(order, starts), strict=True):
            found[value].sums.add(sums)
        if not dated:
            return
        ordinals = np.concatenate([places for places, _ in picked])
        detail_of = np.repeat(np.arange(len(picked)), [len(places) for places, _ in picked])
        audiences = np.array([detail.audience for detail, _ in selected])[detail_of]
        for audience in set(audiences.tolist()):
            mine = np.flatnonzero(audiences == audience)
            order, starts, values = grouped(ids[mine])
            lasts = mine[last_of(order, starts)]
            for value, number, ordinal in zip(values, detail_of[lasts].tolist(), ordinals[lasts].tolist(), strict=True):
                found[value].add_last(selected[number][0], ordinal)
