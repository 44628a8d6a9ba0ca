"""Records that wait on the local disk, a line each: one system call to append, and no request waits for whoever reads.

A journal is a row of plain files, `<spool>.<id of its first line>.journal`. One process appends; any may read. A line is
an id, which only grows by one, and a record. The first line of each file is a header: whose records these are. What a
record is, and how far a journal is moved, others know. A killed process loses nothing; a power cut loses what the system
had not written to the disk yet (usually the last 30 seconds).
"""

from __future__ import annotations

import errno
import io
import math
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Protocol

from ...local_files import NO_FOLLOW, Identity, identity_of
from .text import BINARY, CANCELLED, as_header, count_lines, header_of, parse, read, read_from

if sys.platform == "win32":

    def _hold(descriptor: int) -> None:
        """Nothing: an open file cannot be deleted there, nor its lock file, so nobody else can take it."""

    def _is_held(path: Path) -> bool:
        return False
else:
    import fcntl

    def _hold(descriptor: int) -> None:
        """Let others see that its owner lives, also when the lock file of the spool was deleted."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _is_held(path: Path) -> bool:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False


RANGE_BITS = 32
"""Each owner begins a range of ids of its own. After a power cut the files may have forgotten ids that are moved already,
and to use them again would be to take new records for moved ones."""
FILE_BYTES = 1 << 20
"""A longer file is followed by a new one, and deleted when it is moved."""

LOOK_S = 1.0
"""How often an append looks whether the files are still where they were."""

_NEVER = 1 << 63
Rows = Sequence[tuple[int, bytes]]
"""Id and record, in the order of their ids."""


class PulledAway(OSError):
    """The files are not where they were: deleted, moved or replaced by somebody."""


class Salvage(NamedTuple):
    """What is left of the files of a journal that were pulled away."""

    first: int
    """Id of the first line of `text`."""
    text: bytes
    """The lines of the last file, if it was deleted: what was moved away may come back, and must not be stored twice."""
    gone: int
    """Records that waited in files that were deleted or moved away, and are not in `text`."""


class Journal(Protocol):
    """Where records wait."""

    complete: bool
    """Whether nobody appends any more, so that what is damaged at the end is told."""

    def begin(self, first: int, header: Mapping[str, str]) -> None:
        """Give the id `first` to the next record; new files begin with `header`."""

    def describe(self, header: Mapping[str, str]) -> None:
        """Begin new files with another header from now on."""

    def append(self, record: bytes) -> None:
        """Add a record without line ends. When this returns, the end of the process cannot lose it. Raises `OSError`."""

    def after(self, last: int, limit: int) -> tuple[Rows, bool]:
        """The oldest records after the id `last`, at most `limit`, and whether there may be more of them."""

    def waiting(self, last: int) -> int:
        """How many records there are after the id `last`."""

    def delete_if_moved(self, last: int) -> None:
        """Delete everything, if nothing came after the id `last`. Only for the process that appends."""

    def clear(self) -> None:
        """Delete everything. Only where nothing waits, and nobody appends."""

    def headers(self) -> list[tuple[int, dict[str, str]]]:
        """Of each file, the id of its first line and its header, in the order of their ids; empty: it has none."""

    def put_away(self) -> None:
        """Put away what is there: nobody knows whose it is."""

    def end(self) -> None:
        """Append no more: who tries to gets an `OSError`."""

    def close(self) -> None:
        """Close what is open; the next use opens it again."""


class MemoryJournal:
    """Records of this process alone."""

    def __init__(self) -> None:
        self.complete = False
        self.lock = threading.Lock()
        self._next_id = 0
        self._rows: list[tuple[int, bytes]] = []

    def begin(self, first: int, header: Mapping[str, str]) -> None:
        self._next_id = first

    def describe(self, header: Mapping[str, str]) -> None:
        """Nobody else reads it."""

    def headers(self) -> list[tuple[int, dict[str, str]]]:
        return []

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

    def delete_if_moved(self, last: int) -> None:
        """What is read is deleted anyway."""

    def clear(self) -> None:
        self._rows = []

    def put_away(self) -> None:
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
        self._header = b""
        self._next_id = 0
        self._file: io.FileIO | None = None
        self._path = base
        """Of the file that is open."""
        self._begun: list[int] = []
        """First ids of the files that were begun here."""
        self._bytes = 0
        self._look_at = 0.0
        self.watched: tuple[tuple[Path, Identity | None], ...] = ()
        """Files that must stay where they are, as somebody else could take the spool without them."""
        self.complete = False
        self._ended = False
        self._left = False
        """Whether its process goes on in another one."""
        self._torn = False
        """Whether the last line is not whole, because the disk was full."""
        self._ends: dict[int, tuple[int, int]] = {}
        """Of the ids read last: the file, by its first id, and the offset at which the line ends."""

    def begin(self, first: int, header: Mapping[str, str]) -> None:
        self._next_id = first
        self.describe(header)

    def describe(self, header: Mapping[str, str]) -> None:
        self._header = as_header(header)

    # ---- written by its owner ------------------------------------------------------------------------------------

    def append(self, record: bytes) -> None:
        with self.lock:
            if self._file is None or self._bytes > FILE_BYTES:
                self._begin_file()
            elif time.monotonic() >= self._look_at:
                self._look()
            assert self._file is not None  # noqa: S101 - begun above
            line = b"%d %s\n" % (self._next_id, record)
            if not self._bytes:
                line = self._header + line
            if self._torn:
                line = CANCELLED + b"\n" + line
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

    def seal(self) -> None:
        """Append no more: who tries to gets `PulledAway`. What is open stays so, and can be saved."""
        with self.lock:
            self._left, self._look_at = True, 0.0

    def go_elsewhere(self) -> None:
        """The same, and close it."""
        self.seal()
        self.close()

    def _begin_file(self) -> None:
        if self._ended:
            raise OSError("the process is about to end")
        self._see_that_it_stays()
        path = Path(f"{self._base}.{self._next_id}.journal")
        flags = os.O_CREAT | os.O_RDWR | os.O_APPEND | NO_FOLLOW | BINARY
        try:
            descriptor = os.open(path, flags, 0o600)
        except FileNotFoundError as error:
            raise PulledAway(errno.ESTALE, "its folder was deleted or moved", str(path.parent)) from error
        file = io.FileIO(descriptor, "r+")
        try:
            _hold(file.fileno())
        except OSError as error:
            file.close()
            raise PulledAway(errno.ESTALE, "another process has the spool") from error
        if self._file is not None:
            self._file.close()
        self._file, self._path, self._bytes, self._torn = file, path, 0, False
        self._begun.append(self._next_id)
        self._look()  # now that others see the file: either we see that they took the spool, or they that it is ours

    def look(self) -> None:
        """Raise `PulledAway` if a file is not where it was. Only for the process that appends."""
        with self.lock:
            self._look()

    def _see_that_it_stays(self) -> None:
        if self._left:
            raise PulledAway(errno.ESTALE, "its process goes on in another one", str(self._base))

    def _look(self) -> None:
        self._see_that_it_stays()
        self._look_at = time.monotonic() + LOOK_S
        for path, identity in self.watched:
            if identity_of(path) != identity:
                raise PulledAway(errno.ESTALE, "it was deleted, moved or replaced", str(path))
        if self._file is not None:
            open_ = os.fstat(self._file.fileno())
            if identity_of(self._path) != (open_.st_dev, open_.st_ino):
                raise PulledAway(errno.ESTALE, "it was deleted, moved or replaced", str(self._path))

    def salvage(self, last: int) -> Salvage:
        """What can still be read of what came after the id `last`, and how much cannot."""
        with self.lock:
            first, text = self._next_id, b""
            if self._file is not None and not os.fstat(self._file.fileno()).st_nlink:
                first, text = self._begun[-1], read(self._file.fileno(), 0)
            gone = 0
            for start, following in pairwise([*self._begun, self._next_id]):
                if start == first and text:
                    continue
                if following > last + 1 and not Path(f"{self._base}.{start}.journal").exists():
                    gone += following - max(start, last + 1)
            return Salvage(first, text, gone)

    def count(self, saved: Salvage, last: int) -> int:
        """How many records of what was saved came after the id `last`."""
        return len(parse(saved.text, saved.first - 1, last, _NEVER, math.inf, complete=True))

    def delete_if_moved(self, last: int) -> None:
        with self.lock:
            if last == self._next_id - 1 and not self._left:  # else the files are, or may be, another process's
                self._close()
                self._begun.clear()
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
            known, offset = self._ends.get(last, (first, 0))
            if known != first:
                offset = 0
            # a damaged id must not reach into the range of a later owner
            end = min(following, ((first >> RANGE_BITS) + 1) << RANGE_BITS)
            complete = self.complete or following < _NEVER
            before = last if offset else first - 1
            rows = parse(read_from(path, offset), before, last, end, limit, complete=complete)
            if rows:
                self._ends = {number: (first, offset + end) for number, _, end in rows}
                return [(number, record) for number, record, _ in rows], len(rows) >= limit or following < _NEVER
        return [], False

    def waiting(self, last: int) -> int:
        total = 0
        for first, following, path in self._files():
            if first > last and first >> RANGE_BITS == following >> RANGE_BITS:
                total += following - first  # ids have no gaps: after an outage, to count lines would be to read them
            elif following > last + 1:
                known, offset = self._ends.get(last, (first, 0))
                text = read_from(path, offset if known == first else 0)
                if first > last or (known == first and offset):
                    total += count_lines(text)
                else:
                    total += len(parse(text, first - 1, last, following, math.inf, complete=True))
        return total

    def is_held(self) -> bool:
        """Whether a living process appends to it."""
        return any(_is_held(path) for _, _, path in self._files())

    def clear(self) -> None:
        for _, _, path in self._files():
            path.unlink(missing_ok=True)

    def put_away(self) -> None:
        for _, _, path in self._files():
            path.rename(f"{path}.stray")

    def headers(self) -> list[tuple[int, dict[str, str]]]:
        return [(first, header_of(path)) for first, _, path in self._files()]

    def _files(self) -> list[tuple[int, int, Path]]:
        """First id, first id of the next file, and path of each file, in the order of their ids."""
        prefix, suffix = f"{self._base.name}.", ".journal"
        if not self._base.parent.is_dir():
            return []
        names = [
            name
            for name in os.listdir(self._base.parent)  # noqa: PTH208 - a Path for each file of a large folder takes long
            if name.startswith(prefix) and name.endswith(suffix)
        ]
        numbered = [(name.split(".")[-2], name) for name in names]
        files = sorted(
            (int(first), self._base.parent / name) for first, name in numbered if first.isascii() and first.isdigit()
        )
        edges = [*(first for first, _ in files), _NEVER]
        return [(first, following, path) for (first, path), (_, following) in zip(files, pairwise(edges), strict=True)]
