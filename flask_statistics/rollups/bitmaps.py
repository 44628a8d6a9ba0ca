"""Sets of ordinals as Roaring bitmaps: packed into blobs, and numbers kept as one bitmap a binary digit. Pure.

A column of numbers is sliced by bit: slice b holds the ordinals whose number has bit b set. The sum over any set of
requests is then the sum of `2^b * |slice b and set|`, exact, at the cost of some forty intersections instead of one
look-up a request.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence
from itertools import compress

from pyroaring import BitMap

_HEAD = struct.Struct("<I")
_ENTRY = struct.Struct("<II")
_BIT_TABLES = tuple(bytes((byte >> bit) & 1 for byte in range(256)) for bit in range(8))


class Packed(Mapping[int, BitMap]):
    """Bitmaps by number in one blob, each read only when it is asked for."""

    def __init__(self, blob: bytes) -> None:
        self._blob = blob
        (count,) = _HEAD.unpack_from(blob)
        position = _HEAD.size + count * _ENTRY.size
        self._places: dict[int, tuple[int, int]] = {}
        for number, length in _ENTRY.iter_unpack(blob[_HEAD.size : position]):
            self._places[number] = (position, position + length)
            position += length
        self._read: dict[int, BitMap] = {}

    def __getitem__(self, number: int) -> BitMap:
        bitmap = self._read.get(number)
        if bitmap is None:
            start, end = self._places[number]
            bitmap = self._read[number] = BitMap.deserialize(self._blob[start:end])
        return bitmap

    def items(self) -> ItemsView[int, BitMap]:
        """All of them at once, several times faster than one by one."""
        read, blob = self._read, self._blob
        for number, (start, end) in self._places.items():
            if number not in read:
                read[number] = BitMap.deserialize(blob[start:end])
        return read.items()

    def __contains__(self, number: object) -> bool:
        return number in self._places

    def __iter__(self) -> Iterator[int]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def pack(bitmaps: Mapping[int, BitMap]) -> bytes:
    """The blob that `Packed` reads."""
    blobs = [(number, dump(bitmap)) for number, bitmap in bitmaps.items()]
    head = [_HEAD.pack(len(blobs)), *(_ENTRY.pack(number, len(blob)) for number, blob in blobs)]
    return b"".join([*head, *(blob for _, blob in blobs)])


def dump(bitmap: BitMap) -> bytes:
    """`bitmap` as bytes, in its shortest form."""
    bitmap.run_optimize()
    return bytes(bitmap.serialize())


def load(blob: bytes) -> BitMap:
    """The bitmap that `dump` wrote."""
    return BitMap.deserialize(blob)


def union(bitmaps: Iterable[BitMap]) -> BitMap:
    """All members of all `bitmaps`; a new bitmap, empty if there are none."""
    return BitMap.union(BitMap(), *bitmaps)


def shifted(bitmaps: Iterable[tuple[BitMap, int]]) -> BitMap:
    """The union of bitmaps, each moved up by its offset."""
    return union(bitmap.shift(offset) if offset else bitmap for bitmap, offset in bitmaps)


def slice_numbers(numbers: Sequence[int]) -> list[BitMap]:
    """The bit slices of a column of numbers, from 0 up to 2^63 - 1; the number's place is its ordinal."""
    blob, ordinals = array("Q", numbers).tobytes(), range(len(numbers))
    slices: list[BitMap] = []
    for byte in range(8):
        plane = blob[byte if sys.byteorder == "little" else 7 - byte :: 8]
        if plane.count(0) == len(plane):
            slices += [BitMap() for _ in _BIT_TABLES]
        else:
            slices += [BitMap(array("I", compress(ordinals, plane.translate(table)))) for table in _BIT_TABLES]
    while slices and not slices[-1]:
        slices.pop()
    return slices


def total(slices: Sequence[BitMap], members: BitMap) -> int:
    """The sum of the numbers of `members`."""
    return sum(members.intersection_cardinality(bitmap) << bit for bit, bitmap in enumerate(slices))


def largest(slices: Sequence[BitMap], members: BitMap) -> int:
    """The largest number of `members`, which are not empty."""
    answer = 0
    for bit in range(len(slices) - 1, -1, -1):
        having = members & slices[bit]
        if having:
            members, answer = having, answer | 1 << bit
    return answer
