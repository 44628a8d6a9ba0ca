"""Clients: requests by address and by network, though rollups hold neither.

A client is a visitor's number there. The address behind it is read from a raw row of that visitor's; a network stands beside the
visitor's hash, for as long as a raw row of the visitor's is there. So what began before the oldest raw row is not told.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import sqlalchemy as sa
from pyroaring import BitMap

from ..dimensions import NETWORK, Value
from ..filters import Filters
from ..queries.answers import Breakdown, Client, Measures, Row, Tally
from ..queries.interface import CHEAP, NEEDED, SORTS, cut
from ..spans import Span
from . import store
from .breakdowns import Breakdowns
from .contents import Contents, Detail
from .dictionary import Dictionary
from .plans import Plan, Planner
from .segment import VISITORS
from .source import Source
from .sums import NOBODY
from .tables import BOTS, PEOPLE
from .totals import Total, Totals

MOST_NAMED = 20_000
"""Of so many clients, those with the most hits, are addresses read to sort or search by these."""


class Clients:
    """Answers about clients, over the connections of the questions."""

    def __init__(
        self,
        source: Source,
        raw_connection: sa.Connection,
        dictionary: Dictionary,
        contents: Contents,
        planner: Planner,
        breakdowns: Breakdowns,
        totals: Totals,
    ) -> None:
        self._source = source
        self._raw_connection = raw_connection
        self._dictionary = dictionary
        self._contents = contents
        self._planner = planner
        self._breakdowns = breakdowns
        self._totals = totals

    # ---- questions -----------------------------------------------------------------------------------------------

    def breakdown(
        self,
        dimension: str,
        span: Span,
        filters: Filters,
        *,
        sort: str,
        limit: int,
        offset: int,
        search: str,
        want: frozenset[str],
    ) -> Breakdown:
        """As the interface says."""
        plan = self._planner.plan(span, filters, None, dimensions=(dimension,))
        groups = self._groups(dimension, self._breakdowns.hits([dimension], plan)[dimension])
        hits, names, among = groups.hits, groups.names, None
        if search or sort.endswith("value"):
            commonest = [group for group, _ in hits.most_common(MOST_NAMED)]
            among = None if len(commonest) == len(hits) else MOST_NAMED
            names |= self._addresses(plan, [group for group in commonest if group not in names])
            hits = self._searched(dimension, {group: hits[group] for group in commonest}, names, search)
        measured = self._ranking(plan, hits, groups, sort)
        candidates = _candidates(measured, sort, offset + limit)[:MOST_NAMED]
        names |= self._addresses(plan, [group for group in candidates if group not in names])
        rows = [Row(names[group], _measures(measured[group])) for group in candidates]
        shown = cut(rows, sort=sort, limit=limit, offset=offset)
        if want:
            group_of = {names[group]: group for group in candidates}
            totals = self._sums(plan, [group_of[row.value] for row in shown], groups, want)
            shown = tuple(Row(row.value, self._totals.measures(totals[group_of[row.value]], want)) for row in shown)
        return Breakdown(dimension, len(hits), shown, sum(hits.values()), among=among)

    def about(self, addresses: Collection[Value], span: Span, filters: Filters) -> dict[Value, Client]:
        """As the interface says."""
        plan = self._planner.plan(span, filters, None)  # which numbers those that came after the last run
        numbers = self._dictionary.clients([address for address in addresses if isinstance(address, str)])
        wanted = frozenset(numbers.values())
        ids, minutes = [], []
        self._contents.need([detail for detail, _ in plan.selected], (":hours",))
        for detail, members in self._contents.loaded(plan.selected, (VISITORS, ":offsets")):
            ordinals, found = detail.segment.picked(VISITORS, wanted, members)
            ids.append(found)
            minutes.append(detail.segment.instants()[ordinals].astype("datetime64[m]"))
        peaks = _most_in_one(ids, minutes)
        rows = self._latest(plan, peaks, ["user_agent"] if self._source.raw.has("user_agent") else [])
        return {
            address: Client(peaks[number], str(agent) if (agent := rows.get(number, {}).get("user_agent")) else None)
            for address, number in numbers.items()
            if number in peaks
        }

    # ---- groups --------------------------------------------------------------------------------------------------

    def _groups(self, dimension: str, hits: Counter[int]) -> _Groups:
        """Which visitors make one value, of `hits` by their numbers."""
        if dimension == NETWORK:
            by_value: dict[Value, list[int]] = defaultdict(list)
            networks = self._dictionary.networks(hits)
            for number in hits:
                by_value[networks.get(number)].append(number)
            return _Groups(
                Counter({some[0]: sum(map(hits.__getitem__, some)) for some in by_value.values()}),
                {some[0]: value for value, some in by_value.items()},
                {some[0]: some for some in by_value.values()},
            )
        nobody = [number for number in {NOBODY, *self._dictionary.clients([""]).values()} if number in hits]
        together = Counter(hits)
        count = sum(together.pop(number) for number in nobody)
        return _Groups(together + Counter({NOBODY: count}), {NOBODY: None}, {NOBODY: nobody})

    def _searched(
        self, dimension: str, hits: Mapping[int, int], names: Mapping[int, Value], search: str
    ) -> Counter[int]:
        needle, label_of = search.casefold(), self._source.dimension(dimension).label_of
        return Counter({group: count for group, count in hits.items() if needle in label_of(names[group]).casefold()})

    # ---- measures ------------------------------------------------------------------------------------------------

    def _ranking(self, plan: Plan, hits: Mapping[int, int], groups: _Groups, sort: str) -> Mapping[int, Measures | int]:
        """What the groups are sorted by: their hits, or what is measured of them."""
        name = sort.removeprefix("-")
        if name in ("hits", "value"):
            return hits
        want, dated = NEEDED.get(name, CHEAP), name == "last_requested"
        totals = self._sums(plan, list(hits), groups, want, dated=dated)
        return {group: self._totals.measures(total, want, dated=dated) for group, total in totals.items()}

    def _sums(
        self, plan: Plan, wanted: Sequence[int], groups: _Groups, want: frozenset[str], *, dated: bool = True
    ) -> dict[int, Total]:
        numbers = [number for group in wanted for number in groups.members(group)]
        by_number = self._breakdowns.sums(VISITORS, numbers, plan, want, dated)
        found = {}
        for group in wanted:
            first, *others = groups.members(group)
            found[group] = by_number[first]
            for number in others:
                found[group].add(by_number[number])
        return found

    # ---- raw rows ------------------------------------------------------------------------------------------------

    def _addresses(self, plan: Plan, numbers: Collection[int]) -> dict[int, Value]:
        """The address behind each number; of a row that somebody deleted, what says so."""
        value_of = self._source.dimension("address").value_of
        rows = self._latest(plan, numbers, ["remote_address"])
        unknown: dict[int, Value] = {number: f"(unknown {number})" for number in numbers}
        return unknown | {number: value_of(row["remote_address"]) for number, row in rows.items()}

    def _latest(self, plan: Plan, numbers: Iterable[int], names: Sequence[str]) -> dict[int, Mapping[str, Any]]:
        """Of the raw row of each visitor's latest request the columns `names`; of rows that are gone there is none."""
        if not names:
            return {}
        raw, number_of = self._source.raw, {key: number for number, (_, key) in self._newest(plan, numbers).items()}
        columns = [raw.columns[name].label(name) for name in names]
        rows: dict[int, Mapping[str, Any]] = {}
        for some in store.chunks(list(number_of)):
            query = sa.select(raw.key.label("_key"), *columns).where(raw.key.in_(some))
            rows |= {number_of[row["_key"]]: dict(row) for row in self._raw_connection.execute(query).mappings()}
        return rows

    def _newest(self, plan: Plan, numbers: Iterable[int]) -> dict[int, tuple[datetime, int]]:
        """When the latest request of each visitor began, and its key."""
        wanted, found = frozenset(numbers), dict[int, tuple[datetime, int]]()
        for audience in (PEOPLE, BOTS):  # whose segments need not begin at the same time
            mine = [one for one in plan.selected if one[0].audience == audience]
            places = self._newest_places(sorted(mine, key=lambda one: one[0].start, reverse=True), wanted)
            details = {id(detail): detail for detail, _ in places.values()}
            self._contents.need(list(details.values()), (":hours", ":offsets"))
            for detail in details.values():
                here = {number: place for number, (there, place) in places.items() if there is detail}
                chosen = BitMap(here.values())
                keys = dict(zip(chosen, self._contents.keys_of(detail, chosen), strict=True))
                for number, place in here.items():
                    newest = (detail.segment.moment(place), keys[place])
                    found[number] = max(found.get(number, newest), newest)
        return found

    def _newest_places(
        self, selected: Sequence[tuple[Detail, BitMap]], wanted: frozenset[int]
    ) -> dict[int, tuple[Detail, int]]:
        """The segment and the ordinal of each visitor's latest request; `selected` are the newest segments first."""
        places: dict[int, tuple[Detail, int]] = {}
        for detail, members in self._contents.loaded(selected, (VISITORS,)):
            ordinals, ids = detail.segment.picked(VISITORS, wanted - places.keys(), members)
            places |= {number: (detail, place) for number, place in zip(ids.tolist(), ordinals.tolist(), strict=True)}
            if len(places) == len(wanted):
                break
        return places


@dataclass(frozen=True, slots=True)
class _Groups:
    """Which visitors make one value, by the number that stands for all of them."""

    hits: Counter[int]
    names: dict[int, Value]
    """The values, as far as they are known."""
    several: Mapping[int, Sequence[int]]
    """The numbers, where it is not that one alone."""

    def members(self, group: int) -> Sequence[int]:
        return self.several.get(group, (group,))


def _most_in_one(ids: Sequence[Any], minutes: Sequence[Any]) -> dict[int, int]:
    """The most requests of each visitor in one minute."""
    found: dict[int, int] = {}
    if ids:
        pairs = np.stack([np.concatenate(ids).astype(np.int64), np.concatenate(minutes).astype(np.int64)])
        (numbers, _), counts = np.unique(pairs, axis=1, return_counts=True)
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
            found[number] = max(count, found.get(number, 0))
    return found


def _measures(measured: Measures | int) -> Measures:
    return Tally(hits=measured).measures() if isinstance(measured, int) else measured


def _candidates(measured: Mapping[int, Measures | int], sort: str, count: int) -> list[int]:
    """The groups among which the first `count` are, however those that are equal stand, the first ones first."""
    name = sort.removeprefix("-")
    if name == "value":
        return list(measured)
    sorted_by: Iterable[tuple[int, Any]] = measured.items()
    if name != "hits":
        sorted_by = ((group, SORTS[name](Row(group, _measures(one)))) for group, one in measured.items())
    known = {group: measure for group, measure in sorted_by if measure is not None}
    ranked = sorted(known, key=known.__getitem__, reverse=sort.startswith("-"))
    if count >= len(ranked):
        return ranked + [group for group in measured if group not in known]
    last = known[ranked[count - 1]]
    while count < len(ranked) and known[ranked[count]] == last:
        count += 1
    return ranked[:count]
