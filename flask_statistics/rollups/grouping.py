"""Ids in columns, counted and grouped with NumPy. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

import numpy as np

from .bitmaps import Column

LARGEST_MARKED = 1 << 24
"""Ids up to here are marked in an array; larger ones, which few but rows in memory have, are sorted."""
LEAST_COUNTED, MOST_GAPS = 10_000, 16
"""Ids up to the first, and so many times their number more, are counted in an array; others are sorted."""


def among(column: Column, values: Collection[int]) -> Column:
    """Whether each of `column` is one of `values`."""
    wanted = np.fromiter(values, dtype=np.int64, count=len(values))
    largest = int(column.max(initial=0))
    if largest > LARGEST_MARKED:
        return np.isin(column, wanted)
    marks = np.zeros(largest + 1, dtype=bool)
    marks[wanted[wanted <= largest]] = True
    return marks[column]


def counted(columns: Iterable[Column]) -> dict[int, int]:
    """How often each id is in `columns`."""
    total, found = np.zeros(0, dtype=np.int64), Counter[int]()
    for ids in columns:
        if int(ids.max(initial=0)) > LEAST_COUNTED + MOST_GAPS * len(ids):
            values, counts = np.unique(ids, return_counts=True)
            found.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
            continue
        each = np.bincount(ids)
        longer, shorter = (each, total) if len(each) > len(total) else (total, each)
        longer[: len(shorter)] += shorter
        total = longer
    values = np.flatnonzero(total)
    found.update(dict(zip(values.tolist(), total[values].tolist(), strict=True)))
    return dict(found)


def ordered_places(numbers: Column) -> Column:
    """The places of `numbers`, which fit into 32 bits, in their order; equal ones in that of their places."""
    # 16 bits at a time, which NumPy sorts by radix, in a quarter of the time
    order = np.argsort(numbers.astype(np.uint16), kind="stable").astype(np.uint32)
    if int(numbers.max(initial=0)) >= 2**16:
        order = order[np.argsort((numbers >> 16).astype(np.uint16)[order], kind="stable")]
    return order


def grouped(ids: Column) -> tuple[Column, Column, list[int]]:
    """The places of `ids` ordered by id and place, where each id's begin among them, and the ids, rising."""
    order = ordered_places(ids)
    ordered = ids[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] + 1))
    return order, starts, ordered[starts].tolist()


def last_of(order: Column, starts: Column) -> Column:
    """The last place of each group in `order`; each begins at one of `starts`."""
    lasts: Column = order[np.append(starts[1:], len(order)) - 1]
    return lasts


def distinct(
    group_of: Column, order: Column, column: Column, count: int, *, without: int
) -> tuple[Column, Column, list[int]]:
    """The distinct numbers of `column` in each of `count` groups, rising, how often each, and where each group's begin.

    `order` are all ordinals in the order of `column`.
    """
    places = order[np.argsort(group_of[order], kind="stable")]
    groups, numbers = group_of[places], column[places]
    fresh = np.ones(len(places), dtype=bool)
    fresh[1:] = (groups[1:] != groups[:-1]) | (numbers[1:] != numbers[:-1])
    firsts = np.flatnonzero(fresh)
    often = np.diff(firsts, append=len(places))
    kept = numbers[firsts] != without
    firsts, often = firsts[kept], often[kept]
    return numbers[firsts], often, np.searchsorted(groups[firsts], np.arange(count + 1)).tolist()
