"""Verifies what answers: compares the rollups with the raw rows, and with themselves.

Reads all of it, a day or a month at a time, and writes nothing.

A period's segments are built again from its raw rows, in memory, and compared with what is stored: the contents of segments, and
what was measured of them. Where raw rows are gone, the rollups are compared with themselves alone.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import sqlalchemy as sa
from pyroaring import BitMap

from ..spans import Span, next_edge
from . import bitmaps, keeping, recorded, store
from .building import MONTH_FACTOR, rows_noted
from .dictionary import Dictionary, keys_in
from .holder import Holder
from .measuring import Measured, measured, total
from .meta import ALWAYS, NEVER, coverage, read_meta
from .segment import NONE, OTHER, Segment, between, flaws, hours_of
from .store import Draft, Header
from .structure import Difference, structure
from .sums import CLIENT_ERRORS, SERVER_ERRORS, Values
from .tables import BOTS, DAY, HOUR, MONTH, PEOPLE, PIECE, TOTAL, WAIT

COLUMNS = ("offsets", "visitors", "sizes", "times", "bins")
DAMAGE = (ValueError, LookupError, struct.error, zlib.error, OverflowError, TypeError)
"""What decoders raise on contents that are not what was stored."""


@dataclass(slots=True)
class Unit:
    """What is verified at once: a month whose days are joined, or a day, with the segments whose contents answer for it."""

    start: datetime
    """Naive UTC."""
    end: datetime
    """Naive UTC, excluded; not beyond what is rolled up."""
    headers: list[Header]

    @property
    def hits(self) -> int:
        """How many requests it has."""
        return sum(header.hits for header in self.headers)


@dataclass(slots=True)
class Found:
    """What was verified."""

    units: int = 0
    """Days and months looked at."""
    requests: int = 0
    """Requests in them."""
    frozen: int = 0
    """Of the units, those whose raw rows are gone: they were compared with themselves alone."""
    differences: list[Difference] = field(default_factory=list)


def units(holder: Holder, *, since: datetime = NEVER, until: datetime = ALWAYS) -> list[Unit]:
    """What there is to be verified from `since` to `until`, in time order: all that has requests, raw rows or notes."""
    segment, zone = holder.tables.segment.c, holder.source.zone
    with holder.reading() as (connection, raw):
        covered = coverage(connection, holder.tables)
        if covered.start is None or covered.end is None:
            return []
        found: dict[datetime, Unit] = {}
        months = []
        within = (segment.detailed, segment.start < until, segment.end > since)
        for header in store.headers(connection, holder.tables, *within, segment.unit == MONTH):
            unit = found.setdefault(header.start, Unit(header.start, header.end, []))
            unit.headers.append(header)
            months.append((header.start, header.end))
        for header in store.headers(connection, holder.tables, *within, segment.unit != MONTH):
            day = holder.day_of(header.start)
            end = max(min(next_edge(day, "day", zone), covered.end), header.start)
            found.setdefault(day, Unit(day, end, [])).headers.append(header)
        for day in keeping.days(holder, connection, raw, max(since, covered.start), min(until, covered.end)):
            if day not in found and not any(start <= day < end for start, end in months):
                found[day] = Unit(day, min(next_edge(day, "day", zone), covered.end), [])
    return [unit for _, unit in sorted(found.items())]


def verify(holder: Holder, *, progress: Callable[[Unit], None] = lambda unit: None) -> Found:
    """Verify all of the rollups. Whoever writes meanwhile is not taken for a difference: what differs is looked at twice."""
    found = Found()
    found.differences += structure(holder)
    if found.differences:
        found.differences = [one for one in structure(holder) if one in found.differences]
    with holder.engine.connect() as connection:
        if "visitor_key" not in read_meta(connection, holder.tables):
            return found
    for unit in units(holder):
        frozen, differences = check(holder, unit)
        found.units += 1
        found.requests += unit.hits
        found.frozen += frozen
        found.differences += differences
        progress(unit)
    found.differences += months(holder)
    return found


def check(holder: Holder, unit: Unit) -> tuple[bool, list[Difference]]:
    """Whether the raw rows of `unit` are gone, and what differs in it, also when it is looked at again."""
    frozen, differences = _Check(holder, unit).run()
    if differences:
        again = [one for one in units(holder, since=unit.start, until=unit.end) if one.start == unit.start]
        return _Check(holder, again[0]).run() if again else (frozen, differences)
    return frozen, differences


# ---- one unit --------------------------------------------------------------------------------------------------------


class _Check:
    """Compares all that is stored of one unit."""

    def __init__(self, holder: Holder, unit: Unit) -> None:
        self._holder = holder
        self._unit = unit
        self._found: list[Difference] = []

    def run(self) -> tuple[bool, list[Difference]]:
        holder, unit = self._holder, self._unit
        held: Counter[datetime] = Counter()
        contents: dict[int, list[tuple[Header, Segment]]] = {PEOPLE: [], BOTS: []}
        end = unit.start
        with holder.reading_long() as (connection, raw, beat):
            self._dictionary = Dictionary(
                connection, holder.tables, holder.source.dimensions, **keys(holder, connection)
            )
            self._incomplete = recorded.incomplete(connection, holder.tables, holder.source)
            noted = rows_noted(connection, holder, unit.start, unit.end)
            frozen = keeping.frozen_before(holder, connection, raw)
            counted = holder.source.counts(raw, Span(unit.start, unit.end, holder.source.zone).edges("hour"))
            for header in unit.headers:
                if (segment := self._contents(connection, header)) is not None:
                    contents.setdefault(header.audience, []).append((header, segment))
                    held.update(dict(hours_of(segment)))
                    self._stored_parts(connection, header, segment)
                end = max(end, header.end)
                beat()
            gone = unit.end <= frozen or (bool(noted) and not counted)
            self._hours(noted, held, counted, unit.end if gone else frozen)
            if not gone and not self._found:
                self._rows(raw, beat, contents, max(unit.start, frozen))
        return gone, sorted(set(self._found), key=lambda one: (one.start, one.says))

    def _says(self, start: datetime, says: str) -> None:
        self._found.append(Difference(start, says))

    def _contents(self, connection: sa.Connection, header: Header) -> Segment | None:
        """The contents of a segment, if they are whole."""
        try:
            (segment,) = store.read_segments(
                connection, self._holder.tables, [header], list(self._holder.source.dimensions)
            )
            wrong = flaws(segment)
            if not wrong and not all(header.start <= start < header.end for start, _ in self._within(header, segment)):
                wrong = ["hours"]
        except DAMAGE as error:
            self._says(header.start, f"the contents of the {header.unit} cannot be read ({error})")
            return None
        if wrong:
            self._says(header.start, f"the contents of the {header.unit} are not whole ({', '.join(wrong)})")
            return None
        self._known(connection, header, segment)
        return segment

    def _within(self, header: Header, segment: Segment) -> list[tuple[datetime, int]]:
        hours = hours_of(segment)
        return [(header.start, rows) for _, rows in hours] if header.unit == PIECE else hours

    def _known(self, connection: sa.Connection, header: Header, segment: Segment) -> None:
        """Whether all values that a segment names are there, and are of its dimensions."""
        value = self._holder.tables.value.c
        of_names = {**segment.indexes, **segment.columns}
        for name in of_names:
            column = segment.columns.get(name)
            ids = set(np.unique(column[:]).tolist()) if column is not None else set(segment.indexes[name])
            wanted = sorted(ids - {NONE, OTHER})
            known = 0
            for some in store.chunks(wanted):
                query = sa.select(sa.func.count()).where(
                    value.id.in_(some), value.dimension_id == self._dictionary.number_of(name)
                )
                known += connection.scalar(query) or 0
            if known != len(wanted):
                self._says(header.start, f"{len(wanted) - known:,} values of {name} are not in statistics_value")

    # ---- measures ------------------------------------------------------------------------------------------------

    def _stored_parts(self, connection: sa.Connection, header: Header, segment: Segment) -> None:
        """Compare what was measured of a segment, and of hours and days that were merged into it, with its contents."""
        whole = total(segment) if header.unit == PIECE else measured(segment)
        self._measures(connection, header, whole, stripped=False)
        columns = self._holder.tables.segment.c
        merged = store.headers(
            connection,
            self._holder.tables,
            ~columns.detailed,
            columns.unit.in_((HOUR, DAY)),
            columns.audience == header.audience,
            columns.start >= header.start,
            columns.end <= header.end,
        )
        for found in merged:
            if found.id != header.id:
                some = between(segment, found.start, found.end)
                self._measures(connection, found, measured(some), stripped=True)
        if header.unit == MONTH:
            zone = self._holder.source.zone
            for day in Span(header.start, header.end, zone).edges("day")[:-1]:
                hits = segment.ordinal(next_edge(day, "day", zone)) - segment.ordinal(day)
                stored = sum(one.hits for one in merged if one.unit == DAY and one.start == day)
                if hits != stored:
                    self._says(day, f"{stored:,} requests measured of the day, {hits:,} in the contents of its month")
        elif header.unit == DAY:
            hours = {one.start: one.hits for one in merged if one.unit == HOUR}
            for start, hits in hours_of(segment) if hours else ():
                if hours.get(start, 0) != hits:
                    self._says(start, f"{hours.get(start, 0):,} requests measured of the hour, {hits:,} in its day")

    def _measures(self, connection: sa.Connection, header: Header, expected: Measured, *, stripped: bool) -> None:
        self._found += compare_measures(connection, self._holder, self._dictionary, header, expected, stripped=stripped)

    # ---- rows ----------------------------------------------------------------------------------------------------

    def _hours(
        self,
        noted: Mapping[datetime, int],
        held: Mapping[datetime, int],
        counted: Mapping[datetime, int],
        frozen: datetime,
    ) -> None:
        """Compare how many requests each hour has: as noted, in contents, and, from `frozen` on, in raw rows."""
        for hour in sorted({*noted, *held, *counted}):
            stored, rows = held.get(hour, 0), counted.get(hour, 0)
            if hour >= frozen and rows != stored:
                self._says(hour, f"{stored:,} rolled up, {rows:,} raw rows")
            elif noted.get(hour, 0) != stored:
                self._says(hour, f"{stored:,} rolled up, {noted.get(hour, 0):,} noted")

    def _rows(
        self,
        raw: sa.Connection,
        beat: Callable[[], None],
        contents: Mapping[int, Sequence[tuple[Header, Segment]]],
        since: datetime,
    ) -> None:
        """Compare contents with what is built of the raw rows from `since` on, a day at a time."""
        zone, end = self._holder.source.zone, self._unit.end
        for day in Span(since, end, zone).edges("day")[:-1] if since < end else ():
            until = min(end, next_edge(day, "day", zone))
            built, _ = self._holder.source.segments(raw, day, until, ids=self._dictionary.ids, beat=beat)
            for audience, right in built.items():
                stored = [
                    between(segment, max(day, header.start), min(until, header.end))
                    for header, segment in sorted(contents.get(audience, ()), key=lambda one: one[0].start)
                    if header.start < until and header.end > day
                ]
                stored = [one for one in stored if one.hits]
                unknown = {name for name, known in self._incomplete.items() if known is None or known > day}
                found = different(stored, right, self._holder.source.most_values, self._holder.source.waits)
                wrong = [name.removeprefix(WAIT) for name in found if name not in unknown]
                if wrong:
                    people = "bots" if audience == BOTS else "people"
                    self._says(day, f"{', '.join(wrong)} of {people} are not those of the raw rows")


def different(stored: Sequence[Segment], right: Segment, most_values: int, waits: Sequence[str] = ()) -> list[str]:
    """What of the contents of segments that follow one another is not as in `right`, which was built of the raw rows.

    Of what requests waited for, it has `waits`, whose names begin with a `WAIT` here.
    What was folded where there are more than `most_values` is right, and so is a dimension that did not exist.
    """
    if sum(one.hits for one in stored) != right.hits:
        return ["requests"]
    if not right.hits:
        return []
    found = [
        name
        for name in COLUMNS
        if not np.array_equal(np.concatenate([getattr(one, name) for one in stored]), getattr(right, name))
    ]
    keys_of = [one.keys for one in stored if one.keys is not None]
    if right.keys is not None and (
        len(keys_of) != len(stored) or not np.array_equal(np.concatenate(keys_of), right.keys)
    ):
        found.append("keys")
    starts = [start for one in stored for start, _ in one.hours]
    if sorted(set(starts)) != [start for start, _ in right.hours]:
        found.append("hours")
    stored_errors, right_errors = ([(one.errors, one.hits) for one in some] for some in (stored, [right]))
    if any(
        _strung(stored_errors, number) != _strung(right_errors, number) for number in (CLIENT_ERRORS, SERVER_ERRORS)
    ):
        found.append("errors")
    for name in {**right.indexes, **right.columns}:
        ids, right_ids = np.concatenate([_ids(one, name) for one in stored]), _ids(right, name)
        differs = ids != right_ids
        if not differs.any():
            continue
        folded = (ids == OTHER) | (right_ids == OTHER)
        if (differs & ~folded).any() or len(np.unique(right_ids)) <= most_values:
            found.append(name)
    for name in waits:
        values, right_values = Values.joined([one.waited(name) for one in stored]), right.waited(name)
        if not np.array_equal(values.bins, right_values.bins) or not np.array_equal(
            values.numbers, right_values.numbers
        ):
            found.append(f"{WAIT}{name}")
    return found


def _ids(segment: Segment, name: str) -> Any:
    if name in segment.columns:
        return segment.columns[name][:]
    ids = np.zeros(segment.hits, dtype=np.uint32)
    for value, members in segment.indexes.get(name, {}).items():
        ids[bitmaps.ordinals(members)] = value
    return ids


def _strung(placed: Sequence[tuple[Mapping[int, BitMap], int]], number: int) -> BitMap:
    """The ordinals of one kind of error in segments that follow one another: given are the sets of each, and its requests."""
    moved, offset = [], 0
    for errors, hits in placed:
        if number in errors:
            moved.append((errors[number], offset))
        offset += hits
    return bitmaps.shifted(moved)


# ---- measures --------------------------------------------------------------------------------------------------------


def compare_measures(
    connection: sa.Connection,
    holder: Holder,
    dictionary: Dictionary,
    header: Header,
    expected: Measured,
    *,
    stripped: bool,
) -> list[Difference]:
    """Where the stored measures of a segment are not as `expected`. `stripped`: a larger segment has the others."""
    many = {number for name in holder.many() if (number := dictionary.number_of(name)) is not None}
    draft = Draft(header.unit, header.start, header.end, header.audience, None, expected)
    if expected.whole.hits != header.hits:
        return [
            Difference(
                header.start,
                f"{header.hits:,} requests are named for the {header.unit}, {expected.whole.hits:,} are in it",
            )
        ]
    if not header.hits:
        return [Difference(header.start, f"the {header.unit} has no requests")]
    right: dict[str, dict[Key, dict[str, Any]]] = {"rollup": {}, "sets": {}, "waits": {}}
    for name, rows in store.rows_of(header.id, draft, number_of=dictionary.number_of, many=holder.many()):
        for row in rows:
            dimension = row["dimension_id"]
            if stripped and dimension != TOTAL and (name != "rollup" or dimension in many):
                continue
            right[name][_key(row)] = row
    # of a day that is part of a month, values were folded on their own; of an hour, before the others of its day were known
    folded = {dimension for dimension, value, _ in right["rollup"] if value == OTHER and dimension != TOTAL}
    found = []
    tables = holder.tables
    for name, table in (("rollup", tables.rollup), ("sets", tables.sets), ("waits", tables.waits)):
        stored = {
            _key(row): dict(row)
            for row in connection.execute(sa.select(table).where(table.c.segment_id == header.id)).mappings()
        }
        names = {one.number: one.name for one in recorded.read(connection, holder.tables)}
        wrong: Counter[str] = Counter()
        for key in sorted({*right[name], *stored}):
            if stripped and key[0] in folded:
                continue
            if not _same(right[name].get(key), stored.get(key)):
                wrong["all requests" if key[0] == TOTAL else names.get(key[0], f"dimension {key[0]}")] += 1
        found += [
            Difference(header.start, f"{count:,} measures of {of} of the {header.unit} are not those of its contents")
            for of, count in wrong.items()
        ]
    return found


Key = tuple[int, int, str]
"""What names a row of measures among those of a segment: dimension, value and, of `statistics_waits`, the wait."""


def _key(row: Mapping[str, Any] | sa.RowMapping) -> Key:
    return row["dimension_id"], row["value_id"], row.get("wait", "")


def _same(right: Mapping[str, Any] | None, stored: Mapping[str, Any] | None) -> bool:
    if right is None or stored is None:
        return right is stored
    if right == stored:
        return True
    if "latency" not in right:
        return False
    try:
        return bool(
            store.visitors_of([right["visitors"]]) == store.visitors_of([stored["visitors"]])
            and store.latency_of([right["latency"]]) == store.latency_of([stored["latency"]])
        )
    except DAMAGE:
        return False


def months(holder: Holder) -> list[Difference]:
    """Where the measures of months whose days keep their contents are not those of their days."""
    segment = holder.tables.segment.c
    found: list[Difference] = []
    with holder.engine.connect() as connection:
        wholes = store.headers(connection, holder.tables, segment.unit == MONTH, ~segment.detailed)
    for whole in wholes:
        with holder.engine.connect() as connection:
            dictionary = Dictionary(connection, holder.tables, holder.source.dimensions, **keys(holder, connection))
            most, measures = holder.source.most_values * MONTH_FACTOR, Measured()
            within = (segment.detailed, segment.start >= whole.start, segment.end <= whole.end)
            try:
                for day in store.headers(connection, holder.tables, *within, segment.audience == whole.audience):
                    names = list(holder.source.dimensions)
                    measures.add(measured(store.read_joined(connection, holder.tables, [day], names, most_values=most)))
                    measures.fold(2 * most)
                measures.fold(most)
                found += compare_measures(connection, holder, dictionary, whole, measures, stripped=False)
            except DAMAGE:
                continue  # its day is named already
    return found


def keys(holder: Holder, connection: sa.Connection) -> dict[str, Any]:
    """What a dictionary that reads alone is made with besides the tables."""
    return keys_in(read_meta(connection, holder.tables))
