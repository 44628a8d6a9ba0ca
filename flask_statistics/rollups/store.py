"""Segments in the database: writes whole ones, reads the parts that a question needs, for many segments at once."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import sqlalchemy as sa
from pyroaring import BitMap

from ..latency import BINS
from ..waits import WAITS
from . import bitmaps
from .bitmaps import Column
from .grouping import grouped
from .measuring import Measured
from .meta import read_meta, write_meta
from .numbering import passing_of
from .segment import NONE, Ranked, Segment, classes_of, join
from .sums import Columns, Sums, Values
from .tables import DAY, HOUR, PIECE, TOTAL, Tables

CHUNK = 400
"""Segments named by one statement."""
PARTS = ("hours", "offsets", "keys", "visitors", "sizes", "times", "bins", "errors")
"""Parts of every segment, stored as `:hours` and so on; besides, each dimension's index or `dimension:column`, and `:db_time`."""
MEASURES = {":visitors": "visitors", ":bins": "bins", ":sizes": "sizes", ":times": "times", ":errors": "classes"}
"""The parts that `Columns` are read from, and what they are there."""
PACKED = ":all"
"""The part of a piece that has all of them."""
ROWS_A_TIME = 2_000
"""Rows inserted by one statement."""
_NARROW = ("B", "H", "I", "Q")
"""Types of columns, the shortest first."""
_SET = b"R"
"""What ends a stored set that is a bitmap; other sets are columns."""
_LENGTH = struct.Struct("<I")
_EPOCH = datetime(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Header:
    """A stored segment without its content."""

    id: int
    unit: str
    start: datetime
    """Naive UTC."""
    end: datetime
    """Naive UTC, excluded."""
    audience: int
    hits: int
    detailed: bool
    """Whether its contents answer."""


def headers(connection: sa.Connection, tables: Tables, *where: sa.ColumnElement[bool]) -> list[Header]:
    """The stored segments that meet the conditions, in time order."""
    columns = tables.segment.c
    query = sa.select(
        columns.id, columns.unit, columns.start, columns.end, columns.audience, columns.hits, columns.detailed
    )
    rows = connection.execute(query.where(*where).order_by(columns.start, columns.audience))
    return [Header(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class Draft:
    """A segment to be stored."""

    unit: str
    start: datetime
    end: datetime
    audience: int
    segment: Segment | None
    """None: its parts keep their contents, and only the measures are stored."""
    measures: Measured
    merged: bool = False
    """Whether a larger segment has its contents, and all its sets but those of all requests."""

    @property
    def hits(self) -> int:
        return self.measures.whole.hits

    def header(self, number: int) -> Header:
        """What names it once it is stored under `number`."""
        return Header(number, self.unit, self.start, self.end, self.audience, self.hits, self.segment is not None)


def rows_of(
    number: int, draft: Draft, *, number_of: Callable[[str], int | None], many: Collection[str]
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """All rows of a draft but the one that names it, some at a time: the table's name here, and its rows.

    Of the dimensions `many`, which have many values, the columns of hours and days answer: their measures are stored for
    days, to be queried by hand, and with all their sets for months. A piece is soon part of an hour: of it nothing is stored
    by value, and its contents are one row.
    """
    whole, unit = draft.measures.whole, draft.unit
    rollups, sets = [_rollup(number, TOTAL, 0, whole)], [sets_of(number, TOTAL, 0, whole)]
    waits = waits_of(number, TOTAL, 0, whole)
    for name, of_values in draft.measures.values.items() if unit != PIECE else ():
        dimension = number_of(name)
        assert dimension is not None  # noqa: S101 - the job registers every dimension before it builds
        measured = sorted(of_values.items())
        for first in range(0, len(measured), ROWS_A_TIME):
            some = measured[first : first + ROWS_A_TIME]
            if name not in many or (unit != HOUR and not draft.merged):
                rollups += [_rollup(number, dimension, *one) for one in some]
            if not draft.merged and (name not in many or unit not in (HOUR, DAY)):
                sets += [sets_of(number, dimension, *one) for one in some]
                waits += [row for one in some for row in waits_of(number, dimension, *one)]
            if len(rollups) >= ROWS_A_TIME:
                yield "rollup", rollups
                rollups = []
            if len(sets) >= ROWS_A_TIME:
                yield "sets", sets
                sets = []
            if len(waits) >= ROWS_A_TIME:
                yield "waits", waits
                waits = []
    yield from ((table, rows) for table, rows in (("rollup", rollups), ("sets", sets), ("waits", waits)) if rows)
    if draft.segment is not None:
        assert not any(passing_of(draft.segment).values())  # noqa: S101 - the dictionary settles what is stored
        parts: Iterable[tuple[str, bytes]] = parts_of(draft.segment)
        if unit == PIECE:
            parts = [(PACKED, _pack_parts(dict(parts)))]
        for part, content in parts:  # one at a time, as those of a month are large
            yield "index", [{"segment_id": number, "part": part, "content": content}]


def new_ids(connection: sa.Connection, tables: Tables, count: int) -> range:
    """So many numbers that no segment ever had: what is left of a deleted one must not pass for another's."""
    stored = read_meta(connection, tables).get("next_segment")
    known = (
        0
        if stored is not None
        else max(
            connection.scalar(sa.select(sa.func.max(column))) or 0
            for column in (
                tables.segment.c.id,
                *(table.c.segment_id for table in tables.of_segments),
            )
        )
    )
    start = int(stored) if stored is not None else known + 1
    write_meta(connection, tables, {"next_segment": str(start + count)})
    return range(start, start + count)


def insert_header(connection: sa.Connection, tables: Tables, header: Header) -> None:
    """Let a segment answer whose rows are stored."""
    connection.execute(
        sa.insert(tables.segment).values(
            id=header.id,
            unit=header.unit,
            start=header.start,
            end=header.end,
            audience=header.audience,
            hits=header.hits,
            detailed=header.detailed,
        )
    )


def strip(connection: sa.Connection, tables: Tables, ids: Sequence[int], *, many: Sequence[int]) -> None:
    """Take from merged segments what the larger one has: their contents, sets and the measures of the dimensions `many`.

    The sets of all requests stay, so that the visitors of each day of a year are still at hand.
    """
    rollup = tables.rollup.c
    for some in chunks(ids):
        connection.execute(sa.delete(tables.index).where(tables.index.c.segment_id.in_(some)))
        for table in (tables.sets, tables.waits):
            others = (table.c.segment_id.in_(some), table.c.dimension_id != TOTAL)
            connection.execute(sa.delete(table).where(*others))
        connection.execute(sa.delete(tables.rollup).where(rollup.segment_id.in_(some), rollup.dimension_id.in_(many)))
        connection.execute(sa.update(tables.segment).where(tables.segment.c.id.in_(some)).values(detailed=False))


def read_joined(
    connection: sa.Connection, tables: Tables, headers: Sequence[Header], names: Sequence[str], *, most_values: int
) -> Segment:
    """The segments of `headers`, one audience's in time order, joined into one, with all they have of the dimensions `names`."""
    segments = read_segments(connection, tables, headers, names)
    return join(segments, most_values=most_values) if segments else empty(0)


def read_segments(
    connection: sa.Connection, tables: Tables, headers: Sequence[Header], names: Sequence[str]
) -> list[Segment]:
    """The segments of `headers`, one audience's, ready to be joined, with all they have of the dimensions `names`."""
    hits = {header.id: header.hits for header in headers}
    segments = [
        segment_of(contents, hits[number]) for number, contents in read_contents(connection, tables, hits, None).items()
    ]
    many = {name for segment in segments for name in segment.columns}
    for segment in segments:
        nothing = {NONE: BitMap(range(segment.hits))}  # of dimensions that came after it was built
        segment.indexes = {name: segment.indexes.get(name, nothing) for name in names if name not in many}
        segment.columns = {
            name: segment.columns.get(name, np.zeros(segment.hits, np.uint32)) for name in names if name in many
        }
    return segments


def read_contents(
    connection: sa.Connection, tables: Tables, ids: Iterable[int], parts: Iterable[str] | None
) -> dict[int, dict[str, bytes]]:
    """The stored `parts` (None: all) of segments by id, packed."""
    contents: dict[int, dict[str, bytes]] = {number: {} for number in ids}
    for number, part, content in _contents(connection, tables, list(contents), parts):
        contents[number][part] = content
    return contents


def read_columns(
    connection: sa.Connection, tables: Tables, wanted: Mapping[int, tuple[int, slice | Column]], parts: Iterable[str]
) -> dict[int, Columns]:
    """What is measured of some requests of segments, from their stored `parts`, by id.

    `wanted`: how many requests each segment has, and the places of those that are asked for. A year is some hundred
    megabytes, so each content is dropped as soon as they are taken from it.
    """
    found: dict[int, dict[str, Column]] = {number: {} for number in wanted}
    waits: dict[int, dict[str, Values]] = {number: {} for number in wanted}
    for number, part, content in _contents(connection, tables, list(wanted), parts):
        hits, places = wanted[number]
        if part[1:] in WAITS:
            values = _unpack_wait(content).at(places)
            whole = not isinstance(places, slice) or len(values.numbers) == hits
            waits[number][part[1:]] = values if whole else values.copied()
            continue
        column = classes_of(bitmaps.Packed(content), hits) if part == ":errors" else _unpack_array(content)
        taken = column[places]
        if isinstance(places, slice) and len(taken) < hits:
            taken = taken.copy()  # a slice would keep all of the column in memory
        found[number][MEASURES[part]] = taken
    return {number: Columns(**columns, waits=waits[number]) for number, columns in found.items()}


def _contents(
    connection: sa.Connection, tables: Tables, ids: Sequence[int], parts: Iterable[str] | None
) -> Iterator[tuple[int, str, bytes]]:
    """The stored `parts` (None: all) of segments, packed, each read when it is asked for."""
    table = tables.index.c
    names = None if parts is None else set(parts)
    wanted = [] if names is None else [table.part.in_([*names, PACKED])]
    for some in chunks(ids):
        query = sa.select(table.segment_id, table.part, table.content).where(table.segment_id.in_(some), *wanted)
        for number, part, content in connection.execute(query):
            if part != PACKED:
                yield number, part, content
                continue
            for name, blob in _unpack_parts(content):
                if names is None or name in names:
                    yield number, name, blob


def values_in(contents: Mapping[str, bytes]) -> BitMap:
    """The value ids that the stored contents of a segment have."""
    found = BitMap()
    for part, blob in contents.items():
        if part.find(":") > 0:
            found |= bitmaps.of(_unpack_values(blob).ids)
        elif not part.startswith(":"):
            found.update(bitmaps.Packed(blob))
    return found


def empty(hits: int) -> Segment:
    """A segment of which nothing but the number of its requests is loaded."""
    return segment_of({}, hits)


def clear(segment: Segment) -> None:
    """Drop all loaded parts of `segment` but for its hours."""
    nothing = empty(0)
    for part in PARTS:
        if part != "hours":
            setattr(segment, part, getattr(nothing, part))
    segment.indexes, segment.columns, segment.waits = {}, {}, {}


def fill(segment: Segment, contents: Mapping[str, bytes]) -> None:
    """Give `segment` the parts in `contents`."""
    other = segment_of(contents, segment.hits)
    for part in contents:
        if part.startswith(":") and part[1:] not in WAITS:
            setattr(segment, part[1:], getattr(other, part[1:]))
    segment.indexes = {**segment.indexes, **other.indexes}
    segment.columns = {**segment.columns, **other.columns}
    segment.waits = {**segment.waits, **other.waits}


def visitors_of(blobs: Iterable[bytes]) -> BitMap:
    """The union of what `statistics_sets.visitors` holds in several rows."""
    sets, plain = [], []
    for blob in blobs:
        if blob[-1:] == _SET:
            sets.append(bitmaps.load(blob))
        else:
            plain.append(_unpack_array(blob))
    return bitmaps.union([*sets, bitmaps.of(np.concatenate(plain))] if plain else sets)


def latency_of(blobs: Iterable[bytes]) -> dict[int, int]:
    """The sum of what `statistics_sets.latency` holds in several rows: bins as 16-bit numbers, then counts."""
    histogram = np.zeros(BINS, dtype=np.int64)
    for blob in blobs:
        width = np.dtype(chr(blob[-1])).itemsize
        length = (len(blob) - 1) // (2 + width)
        bins = np.frombuffer(blob, dtype=np.uint16, count=length)
        counts = np.frombuffer(blob, dtype=chr(blob[-1]), count=length, offset=2 * length)
        histogram[bins] += counts.astype(np.int64)
    found = np.flatnonzero(histogram)
    return dict(zip(found.tolist(), histogram[found].tolist(), strict=True))


def chunks(ids: Sequence[int]) -> Iterable[Sequence[int]]:
    """`ids` in pieces that one statement can name."""
    return (ids[first : first + CHUNK] for first in range(0, len(ids), CHUNK))


def _rollup(segment: int, dimension: int, value: int, sums: Sums) -> dict[str, Any]:
    return {
        "segment_id": segment,
        "dimension_id": dimension,
        "value_id": value,
        "hits": sums.hits,
        "client_errors": sums.client_errors,
        "server_errors": sums.server_errors,
        "size": sums.size,
        "time_us": sums.time_us,
        "timed": sums.timed,
        "longest_us": sums.longest_us,
        "last": sums.last,
        "visitors": len(sums.visitors),
    }


def sets_of(segment: int, dimension: int, value: int, sums: Sums) -> dict[str, Any]:
    """The row of `statistics_sets` with the visitors and the response times of a value in a segment."""
    return {
        "segment_id": segment,
        "dimension_id": dimension,
        "value_id": value,
        "visitors": _pack_set(sums.visitors),
        "latency": _pack_bins(sums.latency),
    }


def waits_of(segment: int, dimension: int, value: int, sums: Sums) -> list[dict[str, Any]]:
    """The rows of `statistics_waits` of a value in a segment."""
    return [
        {
            "segment_id": segment,
            "dimension_id": dimension,
            "value_id": value,
            "wait": name,
            "total": spread.total,
            "known": spread.known,
            "highest": spread.highest,
            "bins": _pack_bins(spread.bins),
        }
        for name, spread in sums.waits.items()
    ]


def _pack_bins(histogram: Mapping[int, int]) -> bytes:
    bins = sorted(histogram)
    counts = [histogram[number] for number in bins]
    return np.array(bins, dtype=np.uint16).tobytes() + _pack_array(np.array(counts, dtype=np.uint64))


def parts_of(segment: Segment) -> Iterator[tuple[str, bytes]]:
    """Name and blob of each part in which the contents of `segment` are stored."""
    hours = [number for start, first in segment.hours for number in (_seconds(start), first)]
    yield ":hours", _pack_long(hours)
    yield ":offsets", _pack_array(segment.offsets)
    yield ":visitors", _pack_array(segment.visitors)
    yield ":sizes", _pack_array(segment.sizes)
    yield ":times", _pack_array(segment.times)
    yield ":bins", _pack_array(segment.bins)
    yield ":errors", bitmaps.pack(segment.errors)
    if segment.keys is not None:
        yield ":keys", _pack_long(np.diff(segment.keys, prepend=np.int64(0)))
    for name, sets in segment.indexes.items():
        yield name, bitmaps.pack(sets)
    for name, column in segment.columns.items():
        yield f"{name}:column", _pack_values(column[:])
    for name, values in segment.waits.items():
        yield f":{name}", _pack_two(_pack_array(values.numbers), _pack_array(values.bins))


def _pack_parts(parts: Mapping[str, bytes]) -> bytes:
    """All parts of a segment in one blob: how many, then of each the lengths of name and content and both of them."""
    names = [name.encode() for name in parts]
    pieces = [_LENGTH.pack(len(names))]
    for name, content in zip(names, parts.values(), strict=True):
        pieces += [_LENGTH.pack(len(name)), _LENGTH.pack(len(content)), name, content]
    return b"".join(pieces)


def _unpack_parts(blob: bytes) -> Iterator[tuple[str, bytes]]:
    (count,), place = _LENGTH.unpack_from(blob), _LENGTH.size
    for _ in range(count):
        (of_name,), (of_content,) = _LENGTH.unpack_from(blob, place), _LENGTH.unpack_from(blob, place + _LENGTH.size)
        place += 2 * _LENGTH.size
        yield blob[place : place + of_name].decode(), blob[place + of_name : place + of_name + of_content]
        place += of_name + of_content


def segment_of(parts: Mapping[str, bytes], hits: int) -> Segment:
    """The segment of `hits` requests with the contents that some of its parts have."""
    hours = _unpack_long(parts.get(":hours")).tolist()
    return Segment(
        hits=hits,
        hours=[(_EPOCH + timedelta(seconds=hours[k]), hours[k + 1]) for k in range(0, len(hours), 2)],
        offsets=_unpack_array(parts.get(":offsets")),
        keys=np.cumsum(_unpack_long(parts[":keys"])) if ":keys" in parts else None,
        visitors=_unpack_array(parts.get(":visitors")),
        sizes=_unpack_array(parts.get(":sizes")),
        times=_unpack_array(parts.get(":times")),
        bins=_unpack_array(parts.get(":bins")),
        errors=bitmaps.Packed(parts[":errors"]) if ":errors" in parts else {},
        indexes={name: bitmaps.Packed(blob) for name, blob in parts.items() if ":" not in name},
        columns={name.partition(":")[0]: _unpack_values(blob) for name, blob in parts.items() if name.find(":") > 0},
        waits={part[1:]: _unpack_wait(blob) for part, blob in parts.items() if part[:1] == ":" and part[1:] in WAITS},
    )


def _seconds(moment: datetime) -> int:
    return int(moment.replace(tzinfo=timezone.utc).timestamp())


def _pack_array(column: Column) -> bytes:
    """A column as an array of its shortest type, whose letter comes last, so that the numbers are aligned."""
    largest = int(column.max(initial=0))
    code = next(letter for letter in _NARROW if largest <= np.iinfo(letter).max)
    return column.astype(code).tobytes() + code.encode()


def _unpack_array(blob: bytes | None) -> Column:
    if blob is None:
        return np.empty(0, dtype=np.uint32)
    code = chr(blob[-1])
    return np.frombuffer(blob, dtype=code, count=(len(blob) - 1) // np.dtype(code).itemsize)


def _pack_values(column: Column) -> bytes:
    """A column of value ids as the ranks of the ids, which are shorter, the ids, and the length of those in bytes."""
    order, starts, values = grouped(column)
    ranks = np.empty(len(column), dtype=np.uint32)
    ranks[order] = np.repeat(np.arange(len(values), dtype=np.uint32), np.diff(starts, append=len(column)))
    return _pack_two(_pack_array(ranks), _pack_array(np.array(values, dtype=np.uint32)))


def _unpack_values(blob: bytes) -> Ranked:
    return Ranked(*_unpack_two(blob))


def _unpack_wait(blob: bytes) -> Values:
    return Values(*_unpack_two(blob))


def _pack_two(one: bytes, other: bytes) -> bytes:
    """Two packed arrays in one blob: both, and the length of the second."""
    return one + other + _LENGTH.pack(len(other))


def _unpack_two(blob: bytes) -> tuple[Column, Column]:
    (length,) = _LENGTH.unpack_from(blob, len(blob) - _LENGTH.size)
    middle = len(blob) - _LENGTH.size - length
    return _unpack_array(blob[:middle]), _unpack_array(blob[middle : middle + length])


def _pack_set(numbers: BitMap) -> bytes:
    """A set of 32-bit numbers, as a bitmap or as a column, whichever is shorter."""
    plain = _pack_array(bitmaps.ordinals(numbers))
    packed = bitmaps.dump(numbers) + _SET
    return min(plain, packed, key=len)


def _pack_long(column: Sequence[int] | Column) -> bytes:
    """64-bit numbers, compressed: differences of keys are small and alike."""
    return zlib.compress(np.array(column, dtype=np.int64).tobytes(), 1)


def _unpack_long(blob: bytes | None) -> Column:
    return np.empty(0, dtype=np.int64) if blob is None else np.frombuffer(zlib.decompress(blob), dtype=np.int64)
