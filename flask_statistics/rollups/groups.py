"""Groups: how many requests have the same values of several dimensions, and the first and the last of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from ..queries.answers import Group
from .contents import Contents, Detail
from .dictionary import Dictionary
from .plans import Plan, Planner

Place = tuple[Detail, int]
"""A request: the segment that has it, and its ordinal there."""


@dataclass(slots=True)
class _Found:
    """What is known of one group so far."""

    hits: int = 0
    ends: dict[int, tuple[Place, Place]] = field(default_factory=dict)
    """The first and the last request of each audience."""


class Groups:
    """Answers about values that requests have together, over the connections of the questions."""

    def __init__(self, dictionary: Dictionary, contents: Contents, planner: Planner) -> None:
        self._dictionary = dictionary
        self._contents = contents
        self._planner = planner

    def of(self, dimensions: Sequence[str], plan: Plan) -> list[Group]:
        """The groups of what the plan selects, in no order."""
        found: dict[tuple[int, ...], _Found] = {}
        selected = sorted(plan.selected, key=lambda one: one[0].start)
        parts, columns = ([ask(name) for name in dimensions] for ask in (self._planner.part, self._planner.column))
        for detail, members in self._contents.loaded(selected, parts):
            ids = np.stack([detail.segment.values_of(name, members) for name in columns])
            values, firsts, counts = np.unique(ids, axis=1, return_index=True, return_counts=True)
            _, from_the_end = np.unique(ids[:, ::-1], axis=1, return_index=True)
            for key, first, last, hits in zip(
                map(tuple, values.T.tolist()), firsts.tolist(), from_the_end.tolist(), counts.tolist(), strict=True
            ):
                group = found.setdefault(key, _Found())
                group.hits += hits
                ends = (detail, members[first]), (detail, members[len(members) - 1 - last])
                known = group.ends.get(detail.audience)
                group.ends[detail.audience] = ends if known is None else (known[0], ends[1])
        return self._answered(dimensions, found)

    def _answered(self, dimensions: Sequence[str], found: dict[tuple[int, ...], _Found]) -> list[Group]:
        texts = [self._dictionary.texts(name, {key[k] for key in found}) for k, name in enumerate(dimensions)]
        moments = self._moments(place for group in found.values() for ends in group.ends.values() for place in ends)
        groups = []
        for key, group in found.items():
            firsts, lasts = zip(*group.ends.values(), strict=True)
            groups.append(
                Group(
                    tuple(each[number] for each, number in zip(texts, key, strict=True)),
                    group.hits,
                    min(moments[detail.id, ordinal] for detail, ordinal in firsts),
                    max(moments[detail.id, ordinal] for detail, ordinal in lasts),
                )
            )
        return groups

    def _moments(self, places: Iterable[Place]) -> dict[tuple[int, int], datetime]:
        """When requests began, by the segment's number and the ordinal."""
        ordinals: dict[int, tuple[Detail, set[int]]] = {}
        for detail, ordinal in places:
            ordinals.setdefault(detail.id, (detail, set()))[1].add(ordinal)
        return {
            (number, ordinal): moment
            for number, (detail, some) in ordinals.items()
            for ordinal, moment in self._contents.moments_of(detail, some).items()
        }
