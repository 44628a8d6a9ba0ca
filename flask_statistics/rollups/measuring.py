"""What is stored of a segment beside it: the measures of all of its requests, and of each value of each dimension. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from . import bitmaps
from .bitmaps import Column
from .grouping import counted, grouped, last_of
from .segment import NONE, OTHER, Segment, found
from .sums import Groups, Sums


@dataclass(slots=True)
class Measured:
    """The measures of all requests of a segment, and of those of each value."""

    whole: Sums = field(default_factory=Sums)
    values: dict[str, dict[int, Sums]] = field(default_factory=dict)
    """For each dimension, by value id."""
    found: dict[str, set[int]] = field(default_factory=dict, compare=False)
    """For each dimension with many values, those of requests that matched a route and were found."""

    def add(self, other: Measured) -> None:
        """Take in `other`, whose requests are all different ones."""
        self.whole.add(other.whole)
        for name, ids in other.found.items():
            self.found.setdefault(name, set()).update(ids)
        for name, values in other.values.items():
            mine = self.values.setdefault(name, {})
            for value, sums in values.items():
                mine.setdefault(value, Sums()).add(sums)

    def fold(self, most_values: int) -> None:
        """Fold values as `fold` does with those of a segment."""
        for name, values in self.values.items():
            is_found = self.found.get(name, set())
            rank = {
                value: (value not in is_found, -len(sums.visitors), -sums.hits, value)
                for value, sums in values.items()
                if value not in (NONE, OTHER)
            }
            for value in sorted(rank, key=rank.__getitem__)[most_values:]:
                values.setdefault(OTHER, Sums()).add(values.pop(value))


def measured(segment: Segment) -> Measured:
    """The measures of `segment` and of each value in it."""
    if not segment.hits:
        return Measured(values={name: {} for name in (*segment.indexes, *segment.columns)})
    groups = Groups(segment.measures_at(slice(None), summed=True, timed=True, seen=True, waited=segment.waits))
    instants = segment.instants()

    def sums_of(order: Column, starts: Column) -> Iterator[Sums]:
        lasts = instants[last_of(order, starts)].tolist()
        for sums, last in zip(groups.sums(order, starts), lasts, strict=True):
            sums.last = last
            yield sums

    (whole,) = sums_of(np.arange(segment.hits), np.zeros(1, dtype=np.int64))
    answer, is_found = Measured(whole), found(segment)
    for name, sets in segment.indexes.items():
        ordinals = [bitmaps.ordinals(members) for members in sets.values()]
        starts = np.cumsum([0, *map(len, ordinals[:-1])])
        answer.values[name] = dict(zip(sets, sums_of(np.concatenate(ordinals), starts), strict=True))
    for name, column in segment.columns.items():
        order, starts, values = grouped(ids := column[:])
        answer.values[name] = dict(zip(values, sums_of(order, starts), strict=True))
        answer.found[name] = set(counted([ids[is_found]]))
    return answer


def total(segment: Segment) -> Measured:
    """The measures of all requests of `segment`, which has some, without those of each value."""
    columns = segment.measures_at(slice(None), summed=True, timed=True, seen=True, waited=segment.waits)
    sums = columns.sums(timed=True)
    sums.hits, sums.last = segment.hits, segment.moment(segment.hits - 1)
    return Measured(sums)
