"""One spool: records that wait on the local disk for their way into the raw table, and those that it refused.

A request writes a line to the journal, a plain file: one system call, a third of what an insert into SQLite costs, and
no request ever waits for whoever reads. Whoever drains absorbs the journal into a SQLite file in WAL mode beside it. It
knows texts and ids only: what is in a record, and where it goes, is left to others. A killed process loses nothing; a
power cut loses what the system had not written to the disk yet (usually the last 30 seconds), never the files.
"""

from __future__ import annotations

import errno
import io
import os
import platform
import secrets
import sqlite3
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

SCHEMA_VERSION = 1
LOCK_WAIT_S = 5.0
"""How long a drain waits for another one of the same file."""
RANGE_BITS = 32
"""Each owner begins a range of ids of its own. After a power cut the files may have forgotten ids that are moved already,
and to use them again would be to take new records for moved ones."""
JOURNAL_BYTES = 1 << 20
"""A longer journal is followed by a new one, and deleted when it is absorbed."""
FREE_PAGES = 500
"""What a file may keep of its size when it is empty again."""
FREED_A_TIME = 1_000
"""Pages given back at once."""

_SCHEMA = (
    "CREATE TABLE waiting (id INTEGER PRIMARY KEY, record TEXT NOT NULL)",
    "CREATE TABLE set_aside (id INTEGER PRIMARY KEY, record TEXT NOT NULL, error TEXT NOT NULL)",
    "CREATE TABLE meta (name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

_T = TypeVar("_T")


class SpoolUnusable(Exception):
    """The file is there and is no spool of this version."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The oldest records that wait."""

    spool: str
    """Random name of the spool that they are in."""
    fields: str
    """What the records consist of, as their owner wrote it."""
    rows: Sequence[tuple[int, str]]
    """Id and record, in the order of their ids."""


class SpoolFile:
    """One file, through one connection that any thread may use; None as its path: in memory, for this process alone."""

    def __init__(self, path: Path | None, *, create: bool = False) -> None:
        self.path = path
        self._create = create
        self._next_id = 0
        self._journal: io.FileIO | None = None
        self._journal_bytes = 0
        self._journal_lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        with _register:
            _files.add(self)

    def claim(self, fields: str) -> bool:
        """Begin to append records made of `fields`; False: others wait in it that only a drain can take out.

        Only for the one process that owns the file. Raises `OSError`, `sqlite3.Error` and `SpoolUnusable`.
        """

        self.absorb()

        def claim(connection: sqlite3.Connection) -> bool:
            meta, home = dict(connection.execute("SELECT name, text FROM meta")), self._home()
            waits = connection.execute("SELECT 1 FROM waiting LIMIT 1").fetchone() is not None
            if (meta.get("home"), meta.get("fields")) != (home, fields) and waits:
                return False
            if meta.get("home") != home:
                meta["spool"] = secrets.token_hex(16)  # a copy of a file must not pass for the file
            first = int(meta.get("first_id", 0)) + (1 << RANGE_BITS)
            meta |= {"home": home, "fields": fields, "first_id": str(first)}
            connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", meta.items())
            self._next_id = first
            return True

        # what a power cut takes away must not be the claim, see RANGE_BITS
        return self._in_transaction(claim, begin="BEGIN IMMEDIATE", durable=True)

    def append(self, record: str) -> None:
        """Add one record, a line of ASCII; when this returns, the end of the process cannot lose it. Raises `OSError`."""
        if self.path is None:
            self._insert(record)
            return
        with self._journal_lock:
            if self._journal is None or self._journal_bytes > JOURNAL_BYTES:
                self._begin_journal()
            assert self._journal is not None  # noqa: S101 - begun above
            line = b"%d %s\n" % (self._next_id, record.encode("ascii"))
            written = self._journal.write(line)
            if written != len(line):  # the disk is full
                self._journal.truncate(self._journal_bytes)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._journal_bytes += written
            self._next_id += 1

    def _begin_journal(self) -> None:
        path = Path(f"{self.path}.{self._next_id}.journal")
        journal = io.FileIO(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600), "w")
        if self._journal is not None:
            self._journal.close()
        self._journal, self._journal_bytes = journal, path.stat().st_size

    def _insert(self, record: str) -> None:
        with self._lock:
            connection = self._connection or self._open()
            connection.execute("INSERT INTO waiting VALUES (?, ?)", (self._next_id, record))
            self._next_id += 1

    def absorb(self) -> None:
        """Take into the SQLite file what is in the journals; any process may. Raises `OSError` and `sqlite3.Error`."""
        journals = self._journals()
        if not journals:
            return

        def absorb(connection: sqlite3.Connection) -> None:
            reached = self._reached(connection)
            for number, path in journals:
                if number >= reached[0]:
                    reached = number, self._absorb(connection, path, reached[1] if number == reached[0] else 0)
            connection.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                [("journal", str(reached[0])), ("offset", str(reached[1]))],
            )

        # in the order of their ids, all that are there: what came later could be moved first, and lower ids be forgotten
        self._in_transaction(absorb, begin="BEGIN IMMEDIATE")
        for _, path in journals[:-1]:
            path.unlink(missing_ok=True)

    def _absorb(self, connection: sqlite3.Connection, path: Path, offset: int) -> int:
        """Take the lines of a journal from `offset` on; where the last whole one ends."""
        try:
            with path.open("rb") as journal:
                journal.seek(offset)
                text = journal.read()
        except FileNotFoundError:  # another drain was faster
            return offset
        whole = text[: text.rfind(b"\n") + 1]
        for line in whole.splitlines():
            number, _, record = line.partition(b" ")
            if number.isdigit() and len(number) < 19:
                connection.execute(
                    "INSERT OR IGNORE INTO waiting VALUES (?, ?)", (int(number), record.decode("ascii", "replace"))
                )
            else:
                connection.execute(
                    "INSERT INTO set_aside (record, error) VALUES (?, 'damaged line')",
                    (line.decode("ascii", "replace"),),
                )
        return offset + len(whole)

    def _journals(self) -> list[tuple[int, Path]]:
        """The journals with the first id that is in each, in the order of these."""
        if self.path is None:
            return []
        paths = self.path.parent.glob(f"{self.path.name}.*.journal")
        return sorted((int(path.name.split(".")[-2]), path) for path in paths)

    @staticmethod
    def _reached(connection: sqlite3.Connection) -> tuple[int, int]:
        """The journal that is absorbed in part, by its first id, and how many bytes of it are."""
        meta = dict(connection.execute("SELECT name, text FROM meta WHERE name IN ('journal', 'offset')"))
        return int(meta.get("journal", 0)), int(meta.get("offset", 0))

    def _lines_in_journals(self, connection: sqlite3.Connection) -> int:
        number, offset = self._reached(connection)
        lines = 0
        for first, path in self._journals():
            if first >= number:
                with suppress(FileNotFoundError), path.open("rb") as journal:  # absorbed meanwhile
                    journal.seek(offset if first == number else 0)
                    lines += journal.read().count(b"\n")
        return lines

    def waiting(self) -> int:
        """How many records wait."""

        def count(connection: sqlite3.Connection) -> int:
            # a range has no gaps, so that its ends tell; to count a million rows would be to read them
            total, position = self._lines_in_journals(connection), 0
            while True:
                (first,) = connection.execute("SELECT min(id) FROM waiting WHERE id >= ?", (position,)).fetchone()
                if first is None:
                    return total
                position = ((first >> RANGE_BITS) + 1) << RANGE_BITS
                (last,) = connection.execute("SELECT max(id) FROM waiting WHERE id < ?", (position,)).fetchone()
                total += last - first + 1

        return self._in_transaction(count)

    def batch(self, limit: int) -> Batch:
        """The `limit` oldest records; none in a file that nobody has claimed yet."""

        def read(connection: sqlite3.Connection) -> Batch:
            meta = dict(connection.execute("SELECT name, text FROM meta WHERE name IN ('spool', 'fields')"))
            rows = connection.execute("SELECT id, record FROM waiting ORDER BY id LIMIT ?", (limit,)).fetchall()
            return Batch(meta.get("spool", ""), meta.get("fields", ""), rows)

        if limit:
            self.absorb()
        return self._in_transaction(read)

    def forget(self, last: int, *, stored_from: int | None = None) -> None:
        """Delete all up to the id `last`: they are moved. Those from `stored_from` on are not refused any more."""

        def forget(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM waiting WHERE id <= ?", (last,))
            if stored_from is not None:
                connection.execute("DELETE FROM set_aside WHERE id BETWEEN ? AND ?", (stored_from, last))

        self._in_transaction(forget, begin="BEGIN IMMEDIATE")

    def set_aside(self, number: int, record: str, error: str) -> None:
        """Keep the record as one that the raw table refused. It goes on waiting until it is forgotten."""
        self._in_transaction(
            lambda connection: connection.execute(
                "INSERT OR REPLACE INTO set_aside VALUES (?, ?, ?)", (number, record, error)
            )
        )

    def refused(self, most: int) -> list[tuple[str, str]]:
        """Record and error of the latest that were set aside, `most` at most, oldest first."""
        query = "SELECT record, error FROM set_aside WHERE id NOT IN (SELECT id FROM waiting) ORDER BY id DESC LIMIT ?"
        return self._in_transaction(lambda connection: connection.execute(query, (most,)).fetchall())[::-1]

    def count_refused(self) -> int:
        """How many were set aside."""
        query = "SELECT count(*) FROM set_aside WHERE id NOT IN (SELECT id FROM waiting)"
        return int(self._in_transaction(lambda connection: connection.execute(query).fetchone()[0]))

    def note(self, trouble: str | None) -> None:
        """Remember, for whoever asks from another process, why records wait; None: nothing is wrong any more."""

        def note(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM meta WHERE name = 'trouble'")
            if trouble is not None:
                connection.execute("INSERT INTO meta VALUES ('trouble', ?)", (trouble,))

        self._in_transaction(note, begin="BEGIN IMMEDIATE")

    def trouble(self) -> str | None:
        """Why records wait; None: nothing is wrong."""
        query = "SELECT text FROM meta WHERE name = 'trouble'"
        found = self._in_transaction(lambda connection: connection.execute(query).fetchone())
        return None if found is None else str(found[0])

    def tidy(self) -> bool:
        """Give free pages back to the disk, a part of them; whether more is to be done."""
        if self.path is None:
            return False
        with self._lock:
            connection = self._connection or self._open()
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
            if free > FREE_PAGES:
                # it gives a page back with each step, of which `execute` makes but one
                connection.executescript(f"PRAGMA incremental_vacuum({min(free - FREE_PAGES // 2, FREED_A_TIME)})")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            return bool(free > FREE_PAGES + FREED_A_TIME)

    def close(self) -> None:
        """Close what is open; the next use opens it again."""
        with self._lock:
            self._close()
        with self._journal_lock:
            if self._journal is not None:
                self._journal.close()
                self._journal = None

    # ---- the connection ------------------------------------------------------------------------------------------

    def _in_transaction(
        self, work: Callable[[sqlite3.Connection], _T], *, begin: str = "BEGIN", durable: bool = False
    ) -> _T:
        with self._lock:
            connection = self._connection or self._open()
            if durable:
                connection.execute("PRAGMA synchronous = FULL")
            connection.execute(begin)
            try:
                found = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            finally:
                if durable:
                    connection.execute("PRAGMA synchronous = NORMAL")
            return found

    def _open(self) -> sqlite3.Connection:
        if self.path is None:
            connection = _connect(":memory:")
        else:
            if self._create:
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            connection = _connect(f"{self.path.absolute().as_uri()}?mode=rw")
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, SCHEMA_VERSION):
            raise SpoolUnusable(f"{self.path} is of version {version}, and not of {SCHEMA_VERSION}")
        if not version:
            if not (self._create or self.path is None):
                raise SpoolUnusable(f"{self.path} is still empty")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("PRAGMA synchronous = NORMAL")
        if not version:
            for _, journal in self._journals():
                # of a file that is gone, and nobody knows how much of it is moved
                journal.rename(f"{journal}.stray")
            connection.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute("COMMIT")

    def _close(self) -> None:
        if self._connection is not None and self.path is not None:
            self._connection.close()
            self._connection = None

    def _home(self) -> str:
        """Where the file is: a copy, or one that came with the image of a container, is somewhere else."""
        return "" if self.path is None else f"{platform.node()}:{self.path.stat().st_ino}"


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=LOCK_WAIT_S)


# ---- fork: SQLite's connections must not be carried into a child -----------------------------------------------------

_files: weakref.WeakSet[SpoolFile] = weakref.WeakSet()
_register = threading.Lock()
_held: list[SpoolFile] = []


def _before_fork() -> None:
    _register.acquire()
    _held.extend(_files)
    for file in _held:
        file._journal_lock.acquire()
        file._lock.acquire()
        with suppress(sqlite3.Error):  # the next use opens it again, and says what is wrong
            file._close()


def _after_fork() -> None:
    while _held:
        file = _held.pop()
        file._lock.release()
        file._journal_lock.release()
    _register.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


def damaged(error: Exception) -> bool:
    """Whether `error` says that a file is no SQLite database, or a broken one."""
    return isinstance(error, sqlite3.DatabaseError) and any(
        text in str(error) for text in ("malformed", "not a database")
    )
