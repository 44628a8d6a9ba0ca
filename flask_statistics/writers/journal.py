"""Records that wait on the local disk, a line each: one system call to append, and no request waits for whoever reads.

A journal is a row of plain files, `<spool>.<id of its first line>.journal`. One process appends; any may read. A line is
an id, which only grows, and a record. What a record is, and how far a journal is moved, others know. A killed process
loses nothing; a power cut loses what the system had not written to the disk yet (usually the last 30 seconds).
"""

from __future__ import annotations

import errno
import io
import os
import threading
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Protocol

RANGE_BITS = 32
"""Each owner begins a range of ids of its own. After a power cut the files may have forgotten ids that are moved already,
and to use them again would be to take new records for moved ones."""
FILE_BYTES = 1 << 20
"""A longer file is followed by a new one, and deleted when it is moved."""

_CANCELLED = b"\x18"
"""Ends a line that could not be written as a whole, and that nobody was told is stored."""
_NEVER = 1 << 63
_BINARY = getattr(os, "O_BINARY", 0)
"""Windows would translate line ends."""

READ_BYTES = 4 * FILE_BYTES

Rows = Sequence[tuple[int, bytes]]
"""Id and record, in the order of their ids."""


class Journal(Protocol):
    """Where records wait."""

    def begin(self, first: int) -> None:
        """Give the id `first` to the next record."""

    def append(self, record: bytes) -> None:
        """Add a record without line ends. When this returns, the end of the process cannot lose it. Raises `OSError`."""

    def after(self, last: int, limit: int) -> tuple[Rows, bool]:
        """The oldest records after the id `last`, at most `limit`, and whether there may be more of them."""

    def waiting(self, last: int) -> int:
        """How many records there are after the id `last`."""

    def rest(self, last: int) -> None:
        """Delete everything, if nothing came after the id `last`. Only for the process that appends."""

    def clear(self) -> None:
        """Delete everything. Only where nothing waits, and nobody appends."""

    def leave(self) -> None:
        """Put away what is there: its ids mean nothing any more."""

    def end(self) -> None:
        """Append no more: who tries to gets an `OSError`."""

    def close(self) -> None:
        """Close what is open; the next use opens it again."""


class MemoryJournal:
    """Records of this process alone."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._next_id = 0
        self._rows: list[tuple[int, bytes]] = []

    def begin(self, first: int) -> None:
        self._next_id = first

    def append(self, record: bytes) -> None:
        with self.lock:
            self._rows.append((self._next_id, record))
            self._next_id += 1

    def after(self, last: int, limit: int) -> tuple[Rows, bool]:
        with self.lock:
            self._rows = [row for row in self._rows if row[0] > last]
            return self._rows[:limit], len(self._rows) > limit

    def waiting(self, last: int) -> int:
        with self.lock:
            return sum(number > last for number, _ in self._rows)

    def rest(self, last: int) -> None:
        """What is read is deleted anyway."""

    def clear(self) -> None:
        self._rows = []

    def leave(self) -> None:
        """There is nothing from another time."""

    def end(self) -> None:
        """Nobody else has it."""

    def close(self) -> None:
        """They stay."""


class FileJournal:
    """Records that survive their process, in files whose names begin with `base`."""

    def __init__(self, base: Path) -> None:
        self.lock = threading.Lock()
        self._base = base
        self._next_id = 0
        self._file: io.FileIO | None = None
        self._bytes = 0
        self._ended = False
        self._torn = False
        """Whether the last line is not whole, because the disk was full."""
        self._ends: dict[int, tuple[int, int]] = {}
        """Of the ids read last: the file, by its first id, and the offset at which the line ends."""

    def begin(self, first: int) -> None:
        self._next_id = first

    # ---- written by its owner ------------------------------------------------------------------------------------

    def append(self, record: bytes) -> None:
        with self.lock:
            if self._file is None or self._bytes > FILE_BYTES:
                self._begin_file()
            assert self._file is not None  # noqa: S101 - begun above
            line = b"%d %s\n" % (self._next_id, record)
            if self._torn:
                line = _CANCELLED + b"\n" + line
            self._torn = True
            written = self._file.write(line)
            if written != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._torn = False
            self._bytes += written
            self._next_id += 1

    def end(self) -> None:
        with self.lock:
            self._close()
            self._ended = True

    def _begin_file(self) -> None:
        if self._ended:
            raise OSError("the process is about to end")
        path = Path(f"{self._base}.{self._next_id}.journal")
        file = io.FileIO(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | _BINARY, 0o600), "w")
        if self._file is not None:
            self._file.close()
        self._file, self._bytes, self._torn = file, 0, False

    def rest(self, last: int) -> None:
        with self.lock:
            if last == self._next_id - 1:
                self._close()
                self.clear()

    def close(self) -> None:
        with self.lock:
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    # ---- read by anybody -----------------------------------------------------------------------------------------

    def after(self, last: int, limit: int) -> tuple[Rows, bool]:
        for first, following, path in self._files():
            if following <= last + 1:  # all of its ids are smaller
                path.unlink(missing_ok=True)
                continue
            offset, text = self._rest(path, first, last)
            # a damaged id must not reach into the range of a later owner
            end = min(following, ((first >> RANGE_BITS) + 1) << RANGE_BITS)
            rows = self._parse(text, offset, max(last, first - 1), end, limit, complete=following < _NEVER)
            if rows:
                self._ends = {number: (first, end) for number, _, end in rows}
                return [(number, record) for number, record, _ in rows], len(rows) >= limit or following < _NEVER
        return [], False

    def waiting(self, last: int) -> int:
        total = 0
        for first, following, path in self._files():
            if first > last and first >> RANGE_BITS == following >> RANGE_BITS:
                total += following - first  # ids have no gaps: after an outage, to count lines would be to read them
            elif following > last + 1:
                total += _lines(self._rest(path, first, last)[1])
        return total

    def clear(self) -> None:
        for _, _, path in self._files():
            path.unlink(missing_ok=True)

    def leave(self) -> None:
        for _, _, path in self._files():
            path.rename(f"{path}.stray")

    def _files(self) -> list[tuple[int, int, Path]]:
        """First id, first id of the next file, and path of each file, in the order of their ids."""
        prefix, suffix = f"{self._base.name}.", ".journal"
        names = [
            name
            for name in os.listdir(self._base.parent)  # noqa: PTH208 - a Path for each file of a large folder takes long
            if name.startswith(prefix) and name.endswith(suffix)
        ]
        numbered = [(name.split(".")[-2], name) for name in names]
        files = sorted((int(first), self._base.parent / name) for first, name in numbered if first.isdigit())
        edges = [*(first for first, _ in files), _NEVER]
        return [(first, following, path) for (first, path), (_, following) in zip(files, pairwise(edges), strict=True)]

    def _rest(self, path: Path, first: int, last: int) -> tuple[int, bytes]:
        """What a file has after the id `last`, and the offset at which that begins."""
        known, offset = self._ends.get(last, (first, 0))
        if known != first:
            offset = 0
        try:
            text = _read(path, offset)
        except FileNotFoundError:  # whoever else moves it was faster
            return offset, b""
        if offset or first > last:
            return offset, text
        skipped = 0
        for line in text.splitlines(keepends=True):
            number, _ = _split(line)
            if not 0 <= number <= last:  # a damaged line stands for what is missing, see `_parse`
                break
            skipped += len(line)
        return skipped, text[skipped:]

    @staticmethod
    def _parse(
        text: bytes, offset: int, last: int, following: int, limit: int, *, complete: bool
    ) -> list[tuple[int, bytes, int]]:
        """Id, record, and where its line ends, of the first `limit` in `text`; what is not whole yet is left.

        A damaged line stands for the records whose ids are missing where it is.
        """
        rows: list[tuple[int, bytes, int]] = []
        damaged, start = b"", 0
        while len(rows) < limit:
            end = text.find(b"\n", start)
            if end < 0:
                if damaged and complete and last + 1 < following:
                    rows.append((last + 1, damaged, offset + start))
                break
            line = text[start:end]
            number, record = _split(line)
            if line.endswith(_CANCELLED):
                pass
            elif last < number < following:
                if damaged and number > last + 1:
                    rows.append((number - 1, damaged, offset + start))
                rows.append((number, record, offset + end + 1))
                last, damaged = number, b""
            else:
                damaged = line
            start = end + 1
        return rows


def _read(path: Path, offset: int) -> bytes:
    """What a file has from `offset` on, in as few calls as can be: after each the thread waits for the interpreter."""
    descriptor = os.open(path, os.O_RDONLY | _BINARY)
    try:
        os.lseek(descriptor, offset, os.SEEK_SET)
        text = os.read(descriptor, READ_BYTES)
        while text and len(text) % READ_BYTES == 0:
            part = os.read(descriptor, READ_BYTES)
            if not part:
                break
            text += part
        return text
    finally:
        os.close(descriptor)


def _lines(text: bytes) -> int:
    """How many whole lines there are, but for those that were cancelled."""
    return text.count(b"\n") - text.count(_CANCELLED + b"\n")


def _split(line: bytes) -> tuple[int, bytes]:
    """Id and record of a line; -1 as the id if it is damaged."""
    number, _, record = line.partition(b" ")
    return (int(number), record) if number.isdigit() and len(number) < 19 else (-1, line)
