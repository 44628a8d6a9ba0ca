"""Looks values up by ordinal in a column: twenty times faster with NumPy, which is optional, than without. Pure.

`pip install flask-statistics[fast]` brings NumPy; the answers are the same.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pyroaring import BitMap

FEW = 1_000
"""Below so many members the plain way is as fast."""
LARGEST_MARKED = 1 << 26
"""Values up to here are marked in an array of bytes; larger ones, which only rows in memory have, are sorted."""


LARGEST_COUNTED = 1 << 22
"""The same, for counting."""


def is_fast() -> bool:
    """Whether to look each request up is cheaper than anything else."""
    return _numpy() is not None


@cache
def _numpy() -> Any | None:
    try:
        import numpy as np
    except ImportError:
        return None
    return np


def distinct(column: Sequence[int], members: BitMap) -> BitMap:
    """The values that `column`, an array, has at the ordinals `members`."""
    np = _numpy()
    if np is None or len(members) < FEW:
        return BitMap(array("I", map(column.__getitem__, members)))
    values = _values(np, column, members)
    largest = int(values.max())
    if largest > LARGEST_MARKED:
        return _bitmap(np.unique(values))
    marks = np.zeros(largest + 1, dtype=bool)
    marks[values] = True
    return _bitmap(np.flatnonzero(marks).astype(np.uint32))


def counts(column: Sequence[int], members: BitMap) -> Mapping[int, int]:
    """How often `column`, an array, has each value at the ordinals `members`."""
    np = _numpy()
    if np is None or len(members) < FEW:
        return Counter(map(column.__getitem__, members))
    gathered = _values(np, column, members)
    if int(gathered.max()) > LARGEST_COUNTED:
        values, numbers = np.unique(gathered, return_counts=True)
    else:
        each = np.bincount(gathered)
        values = np.flatnonzero(each)
        numbers = each[values]
    return dict(zip(values.tolist(), numbers.tolist(), strict=True))


def _values(np: Any, column: Sequence[int], members: BitMap) -> Any:
    ordinals = np.frombuffer(members.to_array(), dtype=np.uint32)
    return np.frombuffer(column, dtype=column.typecode)[ordinals]  # type: ignore[attr-defined]  # columns are arrays


def _bitmap(values: Any) -> BitMap:
    sorted_values = array("I")
    sorted_values.frombytes(values.astype("uint32").tobytes())
    return BitMap(sorted_values)
