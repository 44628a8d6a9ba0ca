"""One spool: a journal of records that wait for their way into the raw table, and a SQLite file beside it, in WAL mode.

The file keeps what changes with each move: how far the journal is moved, and what the raw table refused. If it is lost, it
is made again from the journal's headers, and the database knows how far the journal is moved. It knows records as bytes and
ids only: what is in a record, and where it goes, is left to others.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ... import forks
from ...local_files import NO_FOLLOW, identity_of
from .journal import RANGE_BITS, FileJournal, MemoryJournal, PulledAway, Rows, as_header

SCHEMA_VERSION = 2
LOCK_WAIT_S = 5.0
"""How long a drain waits for another one of the same file."""
EPOCH_S = 1_577_836_800
"""Ranges of ids are numbered by seconds from here, the beginning of 2020: also a machine that was put back to an older state
begins a range that the database has not seen."""
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
    last: int
    """Highest id that is moved, as far as the file knows."""
    first: int
    """Where the latest range of ids begins that an owner of the file has begun."""
    unmet: bool
    """Whether nobody has compared that range with the database yet, see `SpoolFile.meet`."""
    rest_of: str
    """Name of the spool that the records were in before it was pulled away; empty: they were in no other."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that was set aside."""

    number: int
    """Its id."""
    record: bytes
    error: str
    """Why it was refused last, in one line."""
    spool: str
    """Random name of the spool that it was in."""
    fields: str
    """What it consists of."""
    tries: int
    """How often it was tried again."""


class SpoolFile:
    """One spool, through one connection that any thread may use; None as its path: in memory, for this process alone."""

    def __init__(self, path: Path | None, *, create: bool = False) -> None:
        self.path = path
        self._create = create
        self._journal: FileJournal | MemoryJournal = MemoryJournal() if path is None else FileJournal(path)
        self.append = self._journal.append  # called by each request, and for nothing but to be passed on
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self._inherited = 0
        """How many records waited when it was claimed."""
        self._first = 0
        """The first id of its owner."""
        self._claimed: dict[str, str] = {}
        """What the headers of its journal say, for its owner."""
        self._moved = 0
        """The highest id that is moved, as far as this object knows: the disk may be too full to note it, or gone."""
        with _register:
            _files.add(self)
        forks.expect()

    def claim(
        self, fields: str, hints: Mapping[str, str] | None = None, *, fresh: bool = False, now: float | None = None
    ) -> bool:
        """Begin to append records made of `fields`; False: others wait in it that only a drain can take out.

        `hints` say for whom: `database` is the database's random id, empty if it is not known yet, `address` is for people.
        `fresh`: as another spool, in which none wait. `now` is in seconds since 1970. Only for the one process that owns the
        file. Raises `OSError`, `sqlite3.Error` and `SpoolUnusable`.
        """
        for_whom = dict(hints or {})

        def claim(connection: sqlite3.Connection) -> bool:
            meta, home = self._meta(connection), self._home()
            waits = self._inherited = self._journal.waiting(self._moved_of(meta))
            another = for_whom.get("database") and meta.get("database") not in ("", None, for_whom["database"])
            if waits and (fresh or another or (meta.get("home"), meta.get("fields")) != (home, fields)):
                return False
            if not waits:
                self._journal.clear()
            if meta.get("home") != home or fresh or meta.get("rest_of"):
                meta["spool"] = secrets.token_hex(16)  # a copy of a file must not pass for the file
            used = max(int(meta.get("first_id", 0)), self._moved_of(meta)) >> RANGE_BITS
            first = max(used + 1, int(time.time() if now is None else now) - EPOCH_S) << RANGE_BITS
            meta |= for_whom | {"home": home, "fields": fields, "first_id": str(first), "rest_of": ""}
            if not waits:
                meta.pop("trouble", None)  # what was wrong then
                connection.execute("DELETE FROM meta WHERE name = 'trouble'")
            connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", meta.items())
            self._claimed, self._first = _header(meta), first
            self._journal.begin(first, self._claimed)
            return True

        # what a power cut takes away must not be the claim, see RANGE_BITS
        return self._in_transaction(claim, begin="BEGIN IMMEDIATE", durable=True)

    def watch(self, *paths: Path) -> None:
        """Have an append raise `PulledAway` from now on if one of `paths`, or the file itself, is not what it was."""
        if self.path is not None and isinstance(self._journal, FileJournal):
            self._journal.watched = tuple((path, identity_of(path)) for path in (self.path, *paths))

    def look(self) -> None:
        """Raise `PulledAway` if the files are not where they were. Only for the file's owner."""
        if isinstance(self._journal, FileJournal):
            self._journal.look()

    def look_at_itself(self) -> None:
        """Raise `PulledAway` if the file beside the journal is not where it was. Only for the file's owner."""
        if isinstance(self._journal, FileJournal):
            for path, identity in self._journal.watched[:1]:
                if identity_of(path) != identity:
                    raise PulledAway(str(path))

    def salvage(self, path: Path) -> int:
        """Write what can be saved of records whose files were deleted into a journal of the new file `path`; how many.

        0 as well if the files were moved away, as they may come back, and nothing must be stored twice. `gone` says what is
        lost all the same. Only for the file's owner. Raises `OSError`.
        """
        if not isinstance(self._journal, FileJournal):
            return 0
        saved = self._journal.salvage(self._moved)
        rows = self._journal.count(saved, self._moved)
        if rows:
            moved = {"moved": str(max(self._moved, saved.first - 1))}
            header = self._claimed | {"spool": secrets.token_hex(16), "rest_of": self._claimed["spool"]} | moved
            descriptor = os.open(f"{path}.{saved.first}.journal", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with open(descriptor, "wb") as file:  # noqa: PTH123 - the mode is for its user alone
                file.write(as_header(header) + saved.text)
        return rows

    def gone(self) -> int:
        """How many records waited in files that are not there any more, and cannot be saved. Only for the file's owner."""
        if not isinstance(self._journal, FileJournal):
            return 0
        # of what an owner before left, all is gone or nothing
        inherited = self._inherited if self._moved < self._first and not self._journal.headers() else 0
        return self._journal.salvage(self._moved).gone + inherited

    def note_moved(self, last: int) -> None:
        """Take what is up to the id `last` for moved, without a look at the file: it may be gone."""
        self._moved = max(self._moved, last)

    def belong_to(self, hints: Mapping[str, str]) -> None:
        """Note for whom the records are; what says so is known."""

        def note(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", hints.items())

        self._in_transaction(note, begin="BEGIN IMMEDIATE")

    def describe(self) -> None:
        """Have new files of the journal say what the file says now. Only for the file's owner."""
        self._claimed = _header(self._read_meta())
        self._journal.describe(self._claimed)

    def hints(self) -> dict[str, str]:
        """For whom the records are, see `claim`; with the name of the spool."""
        meta = self._read_meta()
        return {name: meta.get(name, "") for name in ("database", "address", "spool")}

    def meet(self, first: int, moved: int | None) -> bool:
        """Compare the range that begins with `first`, and of which nothing was moved yet, with what the database has.

        If the database has seen the range, the machine was put back to an older state, and what came in that range before
        was of another life: then the records from `first` on get a new spool, all before are moved, and the answer is True.
        """

        def meet(connection: sqlite3.Connection) -> bool:
            meta = self._meta(connection)
            if meta.get("first_id") != str(first) or meta.get("met") == str(first):
                return False  # somebody else was faster
            new = {"met": str(first)}
            seen = moved is not None and moved >= first
            if seen:
                new |= {"spool": secrets.token_hex(16), "moved": str(max(first - 1, self._moved_of(meta)))}
            connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", new.items())
            return seen

        return self._in_transaction(meet, begin="BEGIN IMMEDIATE")

    def waiting(self) -> int:
        """How many records wait."""
        return self._journal.waiting(self.moved())

    def moved(self) -> int:
        """The highest id that is moved, as far as is known."""
        return self._moved_of(self._read_meta())

    def fields(self) -> str:
        """What the records consist of, as their owner wrote it; empty in a file that nobody has claimed yet."""
        return self._read_meta().get("fields", "")

    def batch(self, limit: int, *, after: int = -1) -> Batch:
        """The `limit` oldest records behind the id `after`, or fewer; none in a file that nobody has claimed yet."""
        meta = self._read_meta()
        last = self._moved_of(meta)
        rows, more = self._journal.after(max(last, after), limit)
        first = meta.get("first_id", "0")
        return Batch(
            spool=meta.get("spool", ""),
            fields=meta.get("fields", ""),
            rows=rows,
            more=more,
            last=last,
            first=int(first),
            unmet=meta.get("met") != first,
            rest_of=meta.get("rest_of", ""),
        )

    def forget(self, last: int, *, stored_from: int | None = None) -> None:
        """Note that all up to the id `last` is moved. Those from `stored_from` on are not refused any more.

        On a disk that is full, only this object notes it: whoever comes later asks the database.
        """
        self._moved = max(self._moved, last)
        with self._lock:
            connection = self._connection or self._open()
            try:
                # first, so that nothing that is stored is shown as refused, whatever ends the process in between
                if stored_from is not None:
                    connection.execute("DELETE FROM set_aside WHERE id BETWEEN ? AND ?", (stored_from, last))
                connection.execute(_FORGET, (str(last),))
            except sqlite3.OperationalError as error:
                if not has_no_space(error):
                    raise

    # ---- what was refused ----------------------------------------------------------------------------------------

    def set_aside(
        self, number: int, record: bytes, error: str, *, spool: str, fields: str, next_at: float | None
    ) -> None:
        """Keep the record as one that the raw table refused. It goes on waiting until it is forgotten.

        `next_at` is when to try it again, seconds since 1970; None: never, unless somebody asks for it.
        """
        values = (number, record, error, spool, fields, next_at)
        self._in_transaction(
            lambda connection: connection.execute(
                "INSERT OR REPLACE INTO set_aside VALUES (?, ?, ?, ?, ?, 0, ?)", values
            )
        )

    def refused(self, most: int, *, due_at: float | None = None) -> list[Refused]:
        """The latest that were set aside, `most` at most, oldest first; with `due_at` only those to be tried by then."""

        def read(connection: sqlite3.Connection) -> list[Refused]:
            query = (
                "SELECT id, record, error, spool, fields, tries FROM set_aside WHERE id <= ? "
                "AND (? IS NULL OR next_at <= ?) ORDER BY id DESC LIMIT ?"
            )
            values = (self._moved_of(self._meta(connection)), due_at, due_at, most)
            return [Refused(*row) for row in connection.execute(query, values)]

        return self._in_transaction(read)[::-1]

    def tried(self, number: int, error: str, *, next_at: float | None) -> None:
        """Note that what was set aside was refused once more."""
        self._in_transaction(
            lambda connection: connection.execute(
                "UPDATE set_aside SET error = ?, tries = tries + 1, next_at = ? WHERE id = ?", (error, next_at, number)
            )
        )

    def take_back(self, *numbers: int) -> None:
        """Keep those aside no longer: they are stored, or not wanted."""
        self._in_transaction(
            lambda connection: connection.executemany("DELETE FROM set_aside WHERE id = ?", [(n,) for n in numbers])
        )

    def count_refused(self) -> int:
        """How many were set aside."""

        def count(connection: sqlite3.Connection) -> int:
            query = "SELECT count(*) FROM set_aside WHERE id <= ?"
            return int(connection.execute(query, (self._moved_of(self._meta(connection)),)).fetchone()[0])

        return self._in_transaction(count)

    # ---- how it does ---------------------------------------------------------------------------------------------

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

    def rest(self, last: int) -> None:
        """Leave nothing on the disk if all up to the id `last` is moved, and no more came. Only for the file's owner."""
        self._journal.rest(last)

    @property
    def abandoned(self) -> bool:
        """Whether nobody appends any more, so that the end of the journal is its end, damaged lines and all."""
        return self._journal.complete

    @abandoned.setter
    def abandoned(self, abandoned: bool) -> None:
        self._journal.complete = abandoned

    def seen_moved(self) -> int:
        """The highest id that is moved, as far as is known without a look at the file."""
        return self._moved

    def tidy(self) -> None:
        """Delete a journal of which all is moved. Only while nobody owns the file."""
        if not self.waiting():
            self._journal.clear()
            if self.trouble() is not None:
                self.note(None)  # it is over

    def is_held(self) -> bool:
        """Whether a living process appends to it, whatever became of its lock."""
        return isinstance(self._journal, FileJournal) and self._journal.is_held()

    def inherits(self) -> bool:
        """Whether records of an owner before wait in it. Only for the file's owner."""
        return self._inherited > 0 and any(first < self._first for first, _ in self._journal.headers())

    def go_elsewhere(self) -> None:
        """Append no more: who tries to gets `PulledAway`."""
        if isinstance(self._journal, FileJournal):
            self._journal.go_elsewhere()
        self.close()

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
            flags = (os.O_CREAT if self._create else 0) | os.O_RDWR | NO_FOLLOW
            with suppress(*() if self._create else (FileNotFoundError,)):  # SQLite says that it is gone
                os.close(os.open(self.path, flags, 0o600))
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
        if version:
            return
        # of a file that is gone: the headers say whose records these are, and the database how much of them is moved
        meta = _recovered(self._journal.headers())
        if not meta:
            self._journal.leave()
        connection.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.executemany(
            "INSERT INTO meta VALUES (?, ?)", (meta | {"home": self._home()} if meta else {}).items()
        )
        connection.execute("COMMIT")

    def _read_meta(self) -> dict[str, str]:
        with self._lock:
            return self._meta(self._connection or self._open())

    @staticmethod
    def _meta(connection: sqlite3.Connection) -> dict[str, str]:
        return dict(json.loads(connection.execute(_META).fetchone()[0]))

    def _moved_of(self, meta: Mapping[str, str]) -> int:
        self._moved = max(int(meta.get("moved", 0)), self._moved)
        return self._moved

    def _close(self) -> None:
        if self._connection is not None and self.path is not None:
            self._connection.close()
            self._connection = None

    def _home(self) -> str:
        """Where the file is: a copy, or one that came with the image of a container, is somewhere else."""
        return "" if self.path is None else f"{platform.node()}:{self.path.stat().st_ino}"


def _header(meta: Mapping[str, str]) -> dict[str, str]:
    """What of the file a journal repeats, in case that the file is lost."""
    return {name: meta.get(name, "") for name in ("spool", "fields", "database", "address")}


def _recovered(headers: Sequence[tuple[int, dict[str, str]]]) -> dict[str, str]:
    """What a lost file said, by the headers of its journal; empty: these do not say it."""
    meta: dict[str, str] = {}
    for first, header in headers:
        if header.get("spool") and header.get("fields"):
            meta = header | {"first_id": str(first >> RANGE_BITS << RANGE_BITS)}
    return meta


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


forks.at(forks.Step.FILES, before=_before_fork, in_parent=_after_fork, in_child=_after_fork)


def damaged(error: Exception) -> bool:
    """Whether `error` says that a file is no SQLite database, a broken one, or one with other tables."""
    return isinstance(error, sqlite3.DatabaseError) and any(
        text in str(error) for text in ("malformed", "not a database", "no such table", "no such column")
    )


def has_no_space(error: sqlite3.Error) -> bool:
    """Whether `error` says that a file cannot be written for now, though it can be read."""
    return any(text in str(error) for text in ("disk is full", "disk I/O", "readonly"))
