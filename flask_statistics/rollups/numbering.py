"""Raw values become the numbers of a segment, and passing numbers lasting ones. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
from pyroaring import BitMap

from ..latency import EDGES
from ..waits import WAITS
from . import bitmaps
from .bitmaps import Column
from .grouping import grouped
from .segment import NOT_FOUND, OTHER, Segment, fold, known, sets_by
from .sums import CLIENT_ERRORS, SERVER_ERRORS, UNTIMED, Values

PASSING = 2**31
"""Ids from here on are of one building alone: what is stored has lasting ones."""
LARGEST_SIZE, LONGEST_US = 2**48, 2.0**40
"""Bytes and microseconds (or counts) of one request: a thousand times what there is, and sums of many fit what databases add."""


class Unreadable:
    """What stands for a raw value that could not be read."""

    def __repr__(self) -> str:
        return "a value that cannot be read"


UNREADABLE = Unreadable()
Ids = Callable[[str, set[Any]], Mapping[Any, int]]
"""For a dimension and raw values, the value id of each, and of others that are known already.

For `VISITOR` and addresses, visitor ids; `NOBODY` for None.
"""
VISITOR = ""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the raw rows that a segment is built from look like."""

    dimensions: tuple[tuple[str, bool], ...]
    """Name of each dimension, and whether it has many values; their raw values stand after those of `FIXED` and `waits`."""
    most_values: int
    """Distinct values kept a dimension; the rarer ones become `OTHER`."""
    waits: tuple[str, ...] = ()
    """The columns of what requests waited for; they stand after those of `FIXED`."""


FIXED = ("date", "key", "remote_address", "size", "response_time", "status_code")
"""What the first columns are."""
LeaveOut = Callable[[str, Iterable[int]], None]
"""Told the name of a column or dimension, and the places of rows whose value there is left out, as nothing can have it."""


def _keep_silent(_name: str, _places: Iterable[int]) -> None:
    pass


def numbered(
    raws: Sequence[Sequence[Any]],
    *,
    hours: Sequence[datetime],
    shape: Shape,
    ids: Ids,
    leave_out: LeaveOut = _keep_silent,
) -> Segment:
    """The requests of raw rows, all of whose dimensions are columns: what `indexed` makes segments of.

    `raws` are the columns of the rows, which are in the order of date and key; `hours` the edges of the period's hours,
    rising. Every row's date is within; all else may be anything.
    """
    dates, keys, addresses, sizes, seconds, statuses = raws[: len(FIXED)]
    waits, values = raws[len(FIXED) :][: len(shape.waits)], raws[len(FIXED) + len(shape.waits) :]
    starts, firsts, offsets = _hours_of(dates, hours)
    times = _values_in(_plain_numbers(seconds, "response_time", leave_out), EDGES, unit=1_000_000)
    codes = np.nan_to_num(_plain_numbers(statuses, "status_code", leave_out))
    classes = codes // 100
    return Segment(
        hits=len(dates),
        hours=list(zip(starts, firsts, strict=True)),
        offsets=offsets,
        keys=np.array(keys, dtype=np.int64) if {int}.issuperset(map(type, keys)) else None,
        visitors=_ids_of(addresses, VISITOR, ids),
        sizes=np.clip(np.nan_to_num(_plain_numbers(sizes, "size", leave_out)), 0, LARGEST_SIZE).astype(np.uint64),
        times=times.numbers,
        bins=times.bins,
        errors={
            number: bitmaps.of(np.flatnonzero(alike == number))
            for number, alike in ((CLIENT_ERRORS, classes), (SERVER_ERRORS, classes), (NOT_FOUND, codes))
            if number in alike
        },
        indexes={},
        columns={
            name: _values_of(column, name, ids, leave_out)
            for (name, _), column in zip(shape.dimensions, values, strict=True)
        },
        waits=known(
            {
                name: _values_in(
                    _plain_numbers(column, name, leave_out),
                    WAITS[name].edges,
                    unit=1 if WAITS[name].counts else 1_000_000,
                )
                for name, column in zip(shape.waits, waits, strict=True)
            }
        ),
    )


def indexed(segment: Segment, shape: Shape) -> Segment:
    """One audience's segment as it is stored: with sets for the dimensions with few values, and their rarer values folded."""
    indexes: dict[str, Mapping[int, BitMap]] = {}
    for name, many in shape.dimensions:
        if not many:
            order, begins, values = grouped(segment.columns[name][:])
            indexes[name] = sets_by(values, order, begins)
    columns = {name: segment.columns[name] for name, many in shape.dimensions if many}
    segment = replace(segment, indexes=indexes, columns=columns)
    fold(segment, shape.most_values)
    return segment


def _values_of(raws: Sequence[Any], name: str, ids: Ids, leave_out: LeaveOut) -> Column:
    found = _ids_of(raws, name, ids)
    if OTHER in found:  # nothing is folded yet: these could not be read, or the dimension's function failed on them
        leave_out(name, np.flatnonzero(found == OTHER).tolist())
    return found


def _ids_of(raws: Sequence[Any], name: str, ids: Ids) -> Column:
    def read(known: Mapping[Any, int], raws: Sequence[Any]) -> Column:
        return np.fromiter(map(known.__getitem__, raws), dtype=np.uint32, count=len(raws))

    try:
        return read(ids(name, set()), raws)  # most often all of them are known from earlier rows
    except KeyError:
        return read(ids(name, set(raws)), raws)
    except TypeError:  # lists of PostgreSQL, JSON
        texts = [raw if isinstance(raw, Hashable) else str(raw) for raw in raws]
        return read(ids(name, set(texts)), texts)


def _plain_numbers(raws: Sequence[Any], name: str, leave_out: LeaveOut) -> Column:
    """Numbers of at most 53 bits; NaN for None, and for what is no number."""
    try:
        numbers: Column = np.array(raws, dtype=np.float64)  # None becomes NaN
    except (TypeError, ValueError, OverflowError):
        numbers = np.array([_number(raw) for raw in raws], dtype=np.float64)
    if np.isnan(numbers).any() and (
        odd := [n for n in np.flatnonzero(np.isnan(numbers)).tolist() if raws[n] is not None]
    ):
        leave_out(name, odd)
    return numbers


def _number(raw: Any) -> float:
    try:
        return float(raw)
    except (TypeError, ValueError, OverflowError):
        return np.nan


def _renumbered_ids(ids: Column, lasting: Mapping[int, int]) -> Column:
    if not lasting or int(ids.max(initial=0)) < PASSING:
        return ids
    numbers = np.array(sorted(lasting), dtype=np.uint32)
    others = np.array([lasting[number] for number in numbers.tolist()], dtype=np.uint32)
    answer: Column = ids.copy()
    places = np.flatnonzero(ids >= PASSING)
    answer[places] = others[np.searchsorted(numbers, ids[places])]
    return answer


def passing_of(segment: Segment) -> dict[str, set[int]]:
    """The passing ids that `segment` names, by dimension; under `VISITOR` those of visitors."""
    answer = {VISITOR: _passing_in(segment.visitors)}
    answer |= {name: {value for value in sets if value >= PASSING} for name, sets in segment.indexes.items()}
    return answer | {name: _passing_in(column[:]) for name, column in segment.columns.items()}


def _passing_in(ids: Column) -> set[int]:
    return set(np.unique(ids[ids >= PASSING]).tolist()) if int(ids.max(initial=0)) >= PASSING else set()


def renumbered(segment: Segment, lasting: Mapping[str, Mapping[int, int]]) -> Segment:
    """`segment` with the ids that `lasting` has for its passing ones, by dimension and, under `VISITOR`, of visitors."""
    nothing: Mapping[int, int] = {}
    return replace(
        segment,
        visitors=_renumbered_ids(segment.visitors, lasting.get(VISITOR, nothing)),
        indexes={
            name: {lasting.get(name, nothing).get(value, value): members for value, members in sets.items()}
            for name, sets in segment.indexes.items()
        },
        columns={
            name: _renumbered_ids(column[:], lasting.get(name, nothing)) for name, column in segment.columns.items()
        },
    )


def _hours_of(dates: Sequence[datetime], hours: Sequence[datetime]) -> tuple[list[datetime], list[int], Column]:
    """The hours that have requests, the first ordinal of each, and each request's offset."""
    starts, firsts, offsets = [], [], np.empty(len(dates), dtype=np.uint32)
    first = 0
    for start, end in pairwise(hours):
        last = bisect_left(dates, end, first)
        if last > first:
            # an hour has no days, and this is ten times faster than to let NumPy read the dates
            gone = [(since := date - start).seconds * 1_000_000 + since.microseconds for date in dates[first:last]]
            offsets[first:last] = gone
            starts.append(start)
            firsts.append(first)
            first = last
    return starts, firsts, offsets


def _values_in(values: Column, edges: Sequence[float], *, unit: int) -> Values:
    """Measured values, NaN where there is none, with their bins between `edges`, in whole numbers of which one is `unit`."""
    unknown = np.isnan(values)
    bins = np.searchsorted(edges, values, side="right").astype(np.uint16)
    bins[unknown] = UNTIMED
    values[unknown] = 0
    return Values(np.rint(np.clip(values * unit, 0, LONGEST_US)).astype(np.uint64), bins)
