"""One spool: a journal of records that wait for their way into the raw table, and a SQLite file beside it, in WAL mode.

The file keeps what changes with each move: how far the journal is moved, and what the raw table refused. It knows records
as bytes and ids only: what is in a record, and where it goes, is left to others.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import sqlite3
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from .journal import RANGE_BITS, FileJournal, MemoryJournal, Rows

SCHEMA_VERSION = 1
LOCK_WAIT_S = 5.0
"""How long a drain waits for another one of the same file."""
_SCHEMA = (
    "CREATE TABLE set_aside (id INTEGER PRIMARY KEY, record BLOB NOT NULL, error TEXT NOT NULL)",
    "CREATE TABLE meta (name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

_META = "SELECT json_group_object(name, text) FROM meta"
"""In one row: after each the thread waits for the interpreter."""
_FORGET = """INSERT INTO meta VALUES ('moved', ?) ON CONFLICT (name) DO UPDATE SET text = excluded.text
WHERE CAST(excluded.text AS INTEGER) > CAST(text AS INTEGER)"""

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
    rows: Rows
    more: bool
    """Whether more may wait."""


class SpoolFile:
    """One spool, through one connection that any thread may use; None as its path: in memory, for this process alone."""

    def __init__(self, path: Path | None, *, create: bool = False) -> None:
        self.path = path
        self._create = create
        self._journal: FileJournal | MemoryJournal = MemoryJournal() if path is None else FileJournal(path)
        self.append = self._journal.append  # called by each request, and for nothing but to be passed on
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        with _register:
            _files.add(self)

    def claim(self, fields: str) -> bool:
        """Begin to append records made of `fields`; False: others wait in it that only a drain can take out.

        Only for the one process that owns the file. Raises `OSError`, `sqlite3.Error` and `SpoolUnusable`.
        """

        def claim(connection: sqlite3.Connection) -> bool:
            meta, home = self._meta(connection), self._home()
            waits = self._journal.waiting(_moved(meta)) > 0
            if (meta.get("home"), meta.get("fields")) != (home, fields) and waits:
                return False
            if not waits:
                self._journal.clear()
            if meta.get("home") != home:
                meta["spool"] = secrets.token_hex(16)  # a copy of a file must not pass for the file
            used = max(int(meta.get("first_id", 0)), _moved(meta))
            first = ((used >> RANGE_BITS) + 1) << RANGE_BITS
            meta |= {"home": home, "fields": fields, "first_id": str(first)}
            connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", meta.items())
            self._journal.begin(first)
            return True

        # what a power cut takes away must not be the claim, see RANGE_BITS
        return self._in_transaction(claim, begin="BEGIN IMMEDIATE", durable=True)

    def waiting(self) -> int:
        """How many records wait."""
        return self._journal.waiting(_moved(self._read_meta()))

    def fields(self) -> str:
        """What the records consist of, as their owner wrote it; empty in a file that nobody has claimed yet."""
        return self._read_meta().get("fields", "")

    def batch(self, limit: int) -> Batch:
        """The `limit` oldest records, or fewer; none in a file that nobody has claimed yet."""
        meta = self._read_meta()
        rows, more = self._journal.after(_moved(meta), limit)
        return Batch(meta.get("spool", ""), meta.get("fields", ""), rows, more)

    def forget(self, last: int, *, stored_from: int | None = None) -> None:
        """Note that all up to the id `last` is moved. Those from `stored_from` on are not refused any more."""

        with self._lock:
            connection = self._connection or self._open()
            # first, so that nothing that is stored is shown as refused, whatever ends the process in between
            if stored_from is not None:
                connection.execute("DELETE FROM set_aside WHERE id BETWEEN ? AND ?", (stored_from, last))
            connection.execute(_FORGET, (str(last),))

    def set_aside(self, number: int, record: bytes, error: str) -> None:
        """Keep the record as one that the raw table refused. It goes on waiting until it is forgotten."""
        self._in_transaction(
            lambda connection: connection.execute(
                "INSERT OR REPLACE INTO set_aside VALUES (?, ?, ?)", (number, record, error)
            )
        )

    def refused(self, most: int) -> list[tuple[bytes, str]]:
        """Record and error of the latest that were set aside, `most` at most, oldest first."""

        def read(connection: sqlite3.Connection) -> list[tuple[bytes, str]]:
            query = "SELECT record, error FROM set_aside WHERE id <= ? ORDER BY id DESC LIMIT ?"
            return connection.execute(query, (_moved(self._meta(connection)), most)).fetchall()

        return self._in_transaction(read)[::-1]

    def count_refused(self) -> int:
        """How many were set aside."""

        def count(connection: sqlite3.Connection) -> int:
            query = "SELECT count(*) FROM set_aside WHERE id <= ?"
            return int(connection.execute(query, (_moved(self._meta(connection)),)).fetchone()[0])

        return self._in_transaction(count)

    def note(self, trouble: str | None) -> None:
        """Remember, for whoever asks from another process, why records wait; None: nothing is wrong any more."""

        def note(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM meta WHERE name = 'trouble'")
            if trouble is not None:
                connection.execute("INSERT INTO meta VALUES ('trouble', ?)", (trouble,))

        self._in_transaction(note, begin="BEGIN IMMEDIATE")

    def trouble(self) -> str | None:
        """Why records wait; None: nothing is wrong."""
        return self._read_meta().get("trouble")

    def rest(self) -> None:
        """Leave nothing of what is moved on the disk, if nothing waits. Only for the file's owner."""
        self._journal.rest(_moved(self._read_meta()))

    def tidy(self) -> None:
        """Delete a journal of which all is moved. Only while nobody owns the file."""
        if not self.waiting():
            self._journal.clear()

    def end(self) -> None:
        """Append no more: who tries to gets an `OSError`."""
        self._journal.end()
        self.close()

    def close(self) -> None:
        """Close what is open; the next use opens it again."""
        with self._lock:
            self._close()
        self._journal.close()

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
        if not version and not (self._create or self.path is None):
            raise SpoolUnusable(f"{self.path} is still empty")
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("PRAGMA synchronous = NORMAL")
        if not version:
            self._journal.leave()  # of a file that is gone, and nobody knows how much of it is moved
            connection.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute("COMMIT")

    def _read_meta(self) -> dict[str, str]:
        with self._lock:
            return self._meta(self._connection or self._open())

    @staticmethod
    def _meta(connection: sqlite3.Connection) -> dict[str, str]:
        return dict(json.loads(connection.execute(_META).fetchone()[0]))

    def _close(self) -> None:
        if self._connection is not None and self.path is not None:
            self._connection.close()
            self._connection = None

    def _home(self) -> str:
        """Where the file is: a copy, or one that came with the image of a container, is somewhere else."""
        return "" if self.path is None else f"{platform.node()}:{self.path.stat().st_ino}"


def _moved(meta: dict[str, str]) -> int:
    """The highest id that is moved."""
    return int(meta.get("moved", 0))


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
        file._journal.lock.acquire()
        file._lock.acquire()
        with suppress(sqlite3.Error):  # the next use opens it again, and says what is wrong
            file._close()


def _after_fork() -> None:
    while _held:
        file = _held.pop()
        file._lock.release()
        file._journal.lock.release()
    if _register.locked():  # some servers tell the child alone
        _register.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


def damaged(error: Exception) -> bool:
    """Whether `error` says that a file is no SQLite database, or a broken one."""
    return isinstance(error, sqlite3.DatabaseError) and any(
        text in str(error) for text in ("malformed", "not a database")
    )
