"""Segments in the database: writes whole ones, reads the parts that a question needs, for many segments at once."""

from __future__ import annotations

import struct
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import sqlalchemy as sa
from pyroaring import BitMap

from . import bitmaps
from .segment import Segment, Sums, fold, join
from .tables import TOTAL, Tables

CHUNK = 400
"""Segments named by one statement."""
PARTS = ("hours", "offsets", "keys", "visitors", "sizes", "times", "timed", "latency", "errors")
"""Parts of every segment, stored as `:hours` and so on; besides, each dimension's index and `dimension:column`."""
_LATENCY = struct.Struct("<HI")
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
    """Whether its index is stored."""


def headers(connection: sa.Connection, tables: Tables, *where: sa.ColumnElement[bool]) -> list[Header]:
    """The stored segments that meet the conditions, in time order."""
    columns = tables.segment.c
    query = sa.select(
        columns.id, columns.unit, columns.start, columns.end, columns.audience, columns.hits, columns.detailed
    )
    rows = connection.execute(query.where(*where).order_by(columns.start, columns.audience))
    return [Header(*row) for row in rows]


def write(
    connection: sa.Connection,
    tables: Tables,
    segment: Segment,
    *,
    unit: str,
    start: datetime,
    end: datetime,
    audience: int,
    number_of: Callable[[str], int | None],
) -> None:
    """Store `segment` anew, instead of the one of that unit, start and audience; an empty one is not stored."""
    columns = tables.segment.c
    delete(connection, tables, columns.unit == unit, columns.start == start, columns.audience == audience)
    if not segment.hits:
        return
    values = {"unit": unit, "start": start, "end": end, "audience": audience, "hits": segment.hits, "detailed": True}
    key = connection.execute(sa.insert(tables.segment).values(values)).inserted_primary_key
    assert key is not None  # noqa: S101 - an insert of one row always has it
    measured = [(TOTAL, 0, segment.whole)]
    for name, sums in segment.values.items():
        number = number_of(name)
        assert number is not None  # noqa: S101 - the job registers every dimension before it builds
        measured += [(number, value, measures) for value, measures in sorted(sums.items())]
    connection.execute(sa.insert(tables.rollup), [_rollup(key[0], *one) for one in measured])
    connection.execute(sa.insert(tables.sets), [_sets_of(key[0], *one) for one in measured])
    parts = [{"segment_id": key[0], "part": part, "content": content} for part, content in _parts(segment).items()]
    connection.execute(sa.insert(tables.index), parts)


def delete(connection: sa.Connection, tables: Tables, *where: sa.ColumnElement[bool]) -> None:
    """Delete the segments that meet the conditions, with all they have."""
    found = [row.id for row in connection.execute(sa.select(tables.segment.c.id).where(*where))]
    for ids in chunks(found):
        for table in (tables.rollup, tables.sets, tables.index):
            connection.execute(sa.delete(table).where(table.c.segment_id.in_(ids)))
        connection.execute(sa.delete(tables.segment).where(tables.segment.c.id.in_(ids)))


def strip(connection: sa.Connection, tables: Tables, ids: Sequence[int], *, many: Sequence[int] = ()) -> None:
    """Take the index of merged segments away, and the measures of the dimensions numbered `many`."""
    for some in chunks(ids):
        connection.execute(sa.delete(tables.index).where(tables.index.c.segment_id.in_(some)))
        for table in (tables.rollup, tables.sets) if many else ():
            connection.execute(sa.delete(table).where(table.c.segment_id.in_(some), table.c.dimension_id.in_(many)))
        connection.execute(sa.update(tables.segment).where(tables.segment.c.id.in_(some)).values(detailed=False))


def read_joined(
    connection: sa.Connection, tables: Tables, ids: Sequence[int], names: Mapping[int, str], *, most_values: int
) -> Segment:
    """The segments `ids`, one audience's in time order, merged into one; `names` are the dimensions by number.

    The measures are added as they are read, so that memory holds those of the whole and not of each part.
    """
    parts = read_parts(connection, tables, ids, None)
    for part in parts.values():
        part.hits = len(part.offsets)
        part.indexes = {name: part.indexes[name] for name in names.values()}
    joined = join(list(parts.values()))
    parts.clear()
    joined.values = {name: {} for name in names.values()}

    def place(dimension: int, value: int) -> Sums | None:
        if dimension == TOTAL:
            return joined.whole
        return joined.values[names[dimension]].setdefault(value, Sums()) if dimension in names else None

    streamed = {"yield_per": 1_000}
    for some in chunks(ids):
        measures = sa.select(tables.rollup).where(tables.rollup.c.segment_id.in_(some))
        for row in connection.execute(measures, execution_options=streamed).mappings():
            sums = place(row["dimension_id"], row["value_id"])
            if sums is not None:
                sums.add(_measures(row))
        sets = tables.sets.c
        query = sa.select(sets.dimension_id, sets.value_id, sets.visitors, sets.latency).where(
            sets.segment_id.in_(some)
        )
        for dimension, value, visitors, latency in connection.execute(query, execution_options=streamed):
            sums = place(dimension, value)
            if sums is not None:
                sums.visitors |= bitmaps.load(visitors)
                add_latency(sums.latency, latency)
    fold(joined, most_values)
    return joined


def read_parts(
    connection: sa.Connection, tables: Tables, ids: Iterable[int], parts: Iterable[str] | None
) -> dict[int, Segment]:
    """Segments by id with only the `parts` asked for (None: all); the rest of them is empty, measures always are."""
    found = read_contents(connection, tables, ids, parts)
    return {number: _segment(contents) for number, contents in found.items()}


def read_contents(
    connection: sa.Connection, tables: Tables, ids: Iterable[int], parts: Iterable[str] | None
) -> dict[int, dict[str, bytes]]:
    """The stored `parts` (None: all) of segments by id, packed."""
    contents: dict[int, dict[str, bytes]] = {number: {} for number in ids}
    wanted = None if parts is None else list(parts)
    table = tables.index.c
    for some in chunks(list(contents)):
        where = [table.segment_id.in_(some)] + ([] if wanted is None else [table.part.in_(wanted)])
        for number, part, content in connection.execute(
            sa.select(table.segment_id, table.part, table.content).where(*where)
        ):
            contents[number][part] = content
    return contents


def empty(hits: int) -> Segment:
    """A segment of which nothing but the number of its requests is loaded."""
    segment = _segment({})
    segment.hits = hits
    return segment


def clear(segment: Segment) -> None:
    """Drop all loaded parts of `segment` but for its hours."""
    nothing = _segment({})
    for part in PARTS:
        if part != "hours":
            setattr(segment, part, getattr(nothing, part))
    segment.indexes, segment.columns = {}, {}


def fill(segment: Segment, contents: Mapping[str, bytes]) -> None:
    """Give `segment` the parts in `contents`."""
    other = _segment(contents)
    for part in contents:
        if part.startswith(":"):
            setattr(segment, part[1:], getattr(other, part[1:]))
    segment.indexes = {**segment.indexes, **other.indexes}
    segment.columns = {**segment.columns, **other.columns}


def _measures(row: sa.RowMapping) -> Sums:
    return Sums(
        hits=row["hits"],
        client_errors=row["client_errors"],
        server_errors=row["server_errors"],
        size=row["size"],
        time_us=row["time_us"],
        timed=row["timed"],
        longest_us=row["longest_us"],
        last=row["last"],
    )


def add_latency(histogram: Counter[int], blob: bytes) -> None:
    """Add what `statistics_sets.latency` holds, one or several joined: pairs of a 16-bit bin and a 32-bit count."""
    for number, count in _LATENCY.iter_unpack(blob):
        histogram[number] += count


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


def _sets_of(segment: int, dimension: int, value: int, sums: Sums) -> dict[str, Any]:
    return {
        "segment_id": segment,
        "dimension_id": dimension,
        "value_id": value,
        "visitors": bitmaps.dump(sums.visitors),
        "latency": b"".join(_LATENCY.pack(*pair) for pair in sorted(sums.latency.items())),
    }


def _parts(segment: Segment) -> dict[str, bytes]:
    parts = {
        ":hours": _pack_long(number for start, first in segment.hours for number in (_seconds(start), first)),
        ":offsets": _pack_array(segment.offsets),
        ":visitors": _pack_array(segment.visitors),
        ":sizes": bitmaps.pack(dict(enumerate(segment.sizes))),
        ":times": bitmaps.pack(dict(enumerate(segment.times))),
        ":timed": bitmaps.dump(segment.timed),
        ":latency": bitmaps.pack(segment.latency),
        ":errors": bitmaps.pack(segment.errors),
    }
    if segment.keys is not None:
        parts[":keys"] = _pack_long(_differences(segment.keys))
    parts |= {name: bitmaps.pack(sets) for name, sets in segment.indexes.items()}
    return parts | {f"{name}:column": _pack_array(column) for name, column in segment.columns.items()}


def _segment(parts: Mapping[str, bytes]) -> Segment:
    hours = _unpack_long(parts.get(":hours"))
    return Segment(
        hits=0,
        hours=[(_EPOCH + timedelta(seconds=hours[k]), hours[k + 1]) for k in range(0, len(hours), 2)],
        offsets=_unpack_array(parts.get(":offsets")),
        keys=_sums(_unpack_long(parts[":keys"])) if ":keys" in parts else None,
        visitors=_unpack_array(parts.get(":visitors")),
        sizes=_slices(parts.get(":sizes")),
        times=_slices(parts.get(":times")),
        timed=bitmaps.load(parts[":timed"]) if ":timed" in parts else BitMap(),
        latency=_sets(parts.get(":latency")),
        errors=_sets(parts.get(":errors")),
        indexes={name: bitmaps.Packed(blob) for name, blob in parts.items() if ":" not in name},
        columns={name.partition(":")[0]: _unpack_array(blob) for name, blob in parts.items() if name.find(":") > 0},
    )


def _seconds(moment: datetime) -> int:
    return int(moment.replace(tzinfo=timezone.utc).timestamp())


def _pack_array(column: Sequence[int]) -> bytes:
    """A column as an array of its shortest type, whose letter comes first."""
    code = "H" if max(column, default=0) < 2**16 else "I"
    return code.encode() + array(code, column).tobytes()


def _unpack_array(blob: bytes | None) -> array[int]:
    column: array[int] = array("I" if blob is None else chr(blob[0]))
    if blob is not None:
        column.frombytes(memoryview(blob)[1:])
    return column


def _pack_long(column: Iterable[int]) -> bytes:
    """64-bit numbers, compressed: differences of keys are small and alike."""
    return zlib.compress(array("q", column).tobytes(), 1)


def _unpack_long(blob: bytes | None) -> array[int]:
    column: array[int] = array("q")
    if blob is not None:
        column.frombytes(zlib.decompress(blob))
    return column


def _differences(keys: Sequence[int]) -> Iterable[int]:
    before = 0
    for key in keys:
        yield key - before
        before = key


def _sums(differences: Sequence[int]) -> array[int]:
    key, keys = 0, array("q")
    for difference in differences:
        key += difference
        keys.append(key)
    return keys


def _slices(blob: bytes | None) -> list[BitMap]:
    return [] if blob is None else list(bitmaps.Packed(blob).values())


def _sets(blob: bytes | None) -> Mapping[int, BitMap]:
    return {} if blob is None else bitmaps.Packed(blob)
