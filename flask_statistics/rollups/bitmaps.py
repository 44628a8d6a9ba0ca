"""Sets of ordinals as Roaring bitmaps: from and to NumPy columns, and many packed into one blob. Pure."""

from __future__ import annotations

import struct
from array import array
from collections.abc import ItemsView, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

Column = npt.NDArray[Any]
"""Whole numbers by ordinal."""

_HEAD = struct.Struct("<I")
_ENTRY = struct.Struct("<II")


class Packed(Mapping[int, BitMap]):
    """Bitmaps by number in one blob, each read when it is asked for, and not kept: together they are as large again."""

    def __init__(self, blob: bytes) -> None:
        self._blob = blob
        (count,) = _HEAD.unpack_from(blob)
        position = _HEAD.size + count * _ENTRY.size
        self._places: dict[int, tuple[int, int]] = {}
        for number, length in _ENTRY.iter_unpack(blob[_HEAD.size : position]):
            self._places[number] = (position, position + length)
            position += length

    def __getitem__(self, number: int) -> BitMap:
        start, end = self._places[number]
        return BitMap.deserialize(self._blob[start:end])

    def items(self) -> ItemsView[int, BitMap]:
        """All of them at once, several times faster than one by one."""
        read, blob = BitMap.deserialize, self._blob
        return {number: read(blob[start:end]) for number, (start, end) in self._places.items()}.items()

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


def of(numbers: Column) -> BitMap:
    """The set of `numbers`, which fit into 32 bits."""
    plain = array("I")
    plain.frombytes(numbers.astype(np.uint32, copy=False).tobytes())
    return BitMap(plain)


def ordinals(members: BitMap) -> Column:
    """The members, rising."""
    return np.frombuffer(members.to_array(), dtype=np.uint32)


def union(bitmaps: Iterable[BitMap]) -> BitMap:
    """All members of all `bitmaps`; a new bitmap, empty if there are none."""
    return BitMap.union(BitMap(), *bitmaps)


def shifted(bitmaps: Iterable[tuple[BitMap, int]]) -> BitMap:
    """The union of bitmaps, each moved up by its offset."""
    return union(bitmap.shift(offset) if offset else bitmap for bitmap, offset in bitmaps)
