"""The SQLite file beside a journal, in WAL mode: how far the journal is moved, for whom it is, and what the raw table refused.

It is small, as it has nothing of records that merely wait, and may be lost: then it is made again from the journal's headers.
"""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from ...local_files import NO_FOLLOW

SCHEMA_VERSION = 2
LOCK_WAIT_S = 5.0
"""How long a drain waits for another one of the same file."""
_SCHEMA = (
    "CREATE TABLE set_aside (id INTEGER PRIMARY KEY, record BLOB NOT NULL, error TEXT NOT NULL, spool TEXT NOT NULL, "
    "fields TEXT NOT NULL, tries INTEGER NOT NULL, next_at REAL)",
    "CREATE TABLE meta (name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID",
    # some pages to spare, so that what is refused can be set aside on a disk that is full
    "INSERT INTO set_aside VALUES (0, zeroblob(65536), '', '', '', 0, NULL)",
    "DELETE FROM set_aside",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

_META = "SELECT json_group_object(name, text) FROM meta"
"""In one row: after each the thread waits for the interpreter."""
_MARK_MOVED = """INSERT INTO meta VALUES ('moved', ?) ON CONFLICT (name) DO UPDATE SET text = excluded.text
WHERE CAST(excluded.text AS INTEGER) > CAST(text AS INTEGER)"""

_T = TypeVar("_T")


class SpoolUnusable(Exception):
    """The file is there and is no spool of this version."""


class Notes:
    """One connection to the file, which any thread may use; None as its path: in memory, for this process alone."""

    def __init__(self, path: Path | None, *, create: bool, recover: Callable[[], Mapping[str, str]]) -> None:
        """`create`: make the file if it is missing. Of a new one, `recover` gives what the one before had noted."""
        self._path = path
        self._create = create
        self._recover = recover
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self.seen = 0
        """The highest id that is moved, as far as this object knows: the disk may be too full to note it, or gone."""

    def read(self) -> dict[str, str]:
        """All notes, by name."""
        with self._lock:
            return meta_of(self._connection or self._open())

    def write(self, notes: Mapping[str, str], *, without: str | None = None) -> None:
        """Note these, in place of what has their names, and take out the one named `without`."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM meta WHERE name = ?", (without,))
            put(connection, notes)

        self.in_transaction(write, begin="BEGIN IMMEDIATE")

    def moved_of(self, meta: Mapping[str, str]) -> int:
        """The highest id that is moved, by these notes and what this object knows beside."""
        self.see(int(meta.get("moved", 0)))
        return self.seen

    def see(self, last: int) -> None:
        """Take what is up to the id `last` for moved, without a look at the file: it may be gone."""
        self.seen = max(self.seen, last)

    def mark_moved(self, last: int, *, stored_from: int | None = None) -> None:
        """Note that all up to the id `last` is moved. Those from `stored_from` on are not refused any more.

        On a disk that is full, only this object notes it: whoever comes later asks the database.
        """
        self.see(last)
        with self._lock:
            connection = self._connection or self._open()
            try:
                # first, so that nothing that is stored is shown as refused, whatever ends the process in between
                if stored_from is not None:
                    connection.execute("DELETE FROM set_aside WHERE id BETWEEN ? AND ?", (stored_from, last))
                connection.execute(_MARK_MOVED, (str(last),))
            except sqlite3.OperationalError as error:
                if not has_no_space(error):
                    raise

    def home(self) -> str:
        """Where the file is: a copy, or one that came with the image of a container, is somewhere else."""
        return "" if self._path is None else f"{platform.node()}:{self._path.stat().st_ino}"

    def in_transaction(
        self, work: Callable[[sqlite3.Connection], _T], *, begin: str = "BEGIN", durable: bool = False
    ) -> _T:
        """What `work` gives, committed; `durable`: so that a power cut cannot take it away."""
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

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        with self._lock:
            self._close()

    def hold(self) -> None:
        """Close the connection, and let nobody open it until `release`: SQLite's must not be carried into a child."""
        self._lock.acquire()
        with suppress(sqlite3.Error):  # the next use opens it again, and says what is wrong
            self._close()

    def release(self) -> None:
        """End a `hold`."""
        self._lock.release()

    def _close(self) -> None:
        if self._connection is not None and self._path is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._path is None:
            connection = _connect(":memory:")
        else:
            flags = (os.O_CREAT if self._create else 0) | os.O_RDWR | NO_FOLLOW
            with suppress(*() if self._create else (FileNotFoundError,)):  # SQLite says that it is gone
                os.close(os.open(self._path, flags, 0o600))
            connection = _connect(f"{self._path.absolute().as_uri()}?mode=rw")
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
            raise SpoolUnusable(f"{self._path} is of version {version}, and not of {SCHEMA_VERSION}")
        if not version and not (self._create or self._path is None):
            raise SpoolUnusable(f"{self._path} is still empty")
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("PRAGMA synchronous = NORMAL")
        if version:
            return
        meta = self._recover()
        connection.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA:
            connection.execute(statement)
        if meta:
            put(connection, {**meta, "home": self.home()})
        connection.execute("COMMIT")


def meta_of(connection: sqlite3.Connection) -> dict[str, str]:
    """All notes, by name, within a transaction."""
    return dict(json.loads(connection.execute(_META).fetchone()[0]))


def put(connection: sqlite3.Connection, notes: Mapping[str, str]) -> None:
    """Note these, in place of what has their names, within a transaction."""
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", notes.items())


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=LOCK_WAIT_S)


def damaged(error: Exception) -> bool:
    """Whether `error` says that a file is no SQLite database, a broken one, or one with other tables."""
    return isinstance(error, sqlite3.DatabaseError) and any(
        text in str(error) for text in ("malformed", "not a database", "no such table", "no such column")
    )


def has_no_space(error: sqlite3.Error) -> bool:
    """Whether `error` says that a file cannot be written for now, though it can be read."""
    return any(text in str(error) for text in ("disk is full", "disk I/O", "readonly"))
