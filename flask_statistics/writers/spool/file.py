"""One spool: a journal of records that wait for their way into the raw table, and a SQLite file with notes beside it.

It knows records as bytes and ids only: what is in a record, and where it goes, is left to others. Anybody may read a spool
and move what waits in it; what its owner alone may do, the process that appends to it, is in `own`.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ... import forks
from .aside import Aside
from .journal import RANGE_BITS, FileJournal, MemoryJournal, Rows
from .notes import Notes, meta_of, put


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


class SpoolFile:
    """One spool; None as its path: in memory, for this process alone."""

    def __init__(self, path: Path | None, *, create: bool = False) -> None:
        """`create`: make the file beside the journal if it is missing. Only for who holds its lock."""
        self.path = path
        self._journal: FileJournal | MemoryJournal = MemoryJournal() if path is None else FileJournal(path)
        self._notes = Notes(path, create=create, recover=self._recover)
        self.aside = Aside(self._notes)
        """What the raw table refused."""
        with _register:
            _files.add(self)
        forks.expect()

    # ---- whose it is ---------------------------------------------------------------------------------------------

    def belong_to(self, hints: Mapping[str, str]) -> None:
        """Note for whom the records are; what says so is known."""
        self._notes.write(hints)

    def hints(self) -> dict[str, str]:
        """For whom the records are, see `OwnSpool.claim`; with the name of the spool."""
        meta = self._notes.read()
        return {name: meta.get(name, "") for name in ("database", "address", "spool")}

    def meet(self, first: int, moved: int | None) -> bool:
        """Compare the range that begins with `first`, and of which nothing was moved yet, with what the database has.

        If the database has seen the range, the machine was put back to an older state, and what came in that range before
        was of another life: then the records from `first` on get a new spool, all before are moved, and the answer is True.
        """

        def meet(connection: sqlite3.Connection) -> bool:
            meta = meta_of(connection)
            if meta.get("first_id") != str(first) or meta.get("met") == str(first):
                return False  # somebody else was faster
            new = {"met": str(first)}
            seen = moved is not None and moved >= first
            if seen:
                new |= {"spool": secrets.token_hex(16), "moved": str(max(first - 1, self._notes.moved_of(meta)))}
            put(connection, new)
            return seen

        return self._notes.in_transaction(meet, begin="BEGIN IMMEDIATE")

    def is_held(self) -> bool:
        """Whether a living process appends to it, whatever became of its lock."""
        return isinstance(self._journal, FileJournal) and self._journal.is_held()

    @property
    def abandoned(self) -> bool:
        """Whether nobody appends any more, so that the end of the journal is its end, damaged lines and all."""
        return self._journal.complete

    @abandoned.setter
    def abandoned(self, abandoned: bool) -> None:
        self._journal.complete = abandoned

    # ---- what waits ----------------------------------------------------------------------------------------------

    def waiting(self) -> int:
        """How many records wait."""
        return self._journal.waiting(self.moved())

    def batch(self, limit: int, *, after: int = -1) -> Batch:
        """The `limit` oldest records behind the id `after`, or fewer; none in a file that nobody has claimed yet."""
        meta = self._notes.read()
        last = self._notes.moved_of(meta)
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

    # ---- what is moved -------------------------------------------------------------------------------------------

    def moved(self) -> int:
        """The highest id that is moved, as far as is known."""
        return self._notes.moved_of(self._notes.read())

    def seen_moved(self) -> int:
        """The same without a look at the file."""
        return self._notes.seen

    def mark_moved(self, last: int, *, stored_from: int | None = None) -> None:
        """Note that all up to the id `last` is moved. Those from `stored_from` on are not refused any more.

        On a disk that is full, only this object notes it: whoever comes later asks the database.
        """
        self._notes.mark_moved(last, stored_from=stored_from)

    def tidy(self) -> None:
        """Delete a journal of which all is moved. Only while nobody owns the file."""
        if not self.waiting():
            self._journal.clear()
            if self.trouble() is not None:
                self.note(None)  # it is over

    # ---- how it does ---------------------------------------------------------------------------------------------

    def note(self, trouble: str | None) -> None:
        """Remember, for whoever asks from another process, why records wait; None: nothing is wrong any more."""
        self._notes.write({} if trouble is None else {"trouble": trouble}, without="trouble")

    def trouble(self) -> str | None:
        """Why records wait; None: nothing is wrong."""
        return self._notes.read().get("trouble")

    # ---- what is open --------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close what is open; the next use opens it again."""
        self._notes.close()
        self._journal.close()

    def hold(self) -> None:
        """Let nobody use it until `release`, while the process forks."""
        self._journal.lock.acquire()
        self._notes.hold()

    def release(self) -> None:
        """End a `hold`."""
        self._notes.release()
        self._journal.lock.release()

    def _recover(self) -> dict[str, str]:
        """What a file that is gone had noted: the journal's headers say whose it is, and the database how far it is moved."""
        meta = _noted_in(self._journal.headers())
        if not meta:
            self._journal.put_away()
        return meta


def _noted_in(headers: Sequence[tuple[int, dict[str, str]]]) -> dict[str, str]:
    """What a lost file said, by the headers of its journal; empty: these do not say it."""
    meta: dict[str, str] = {}
    for first, header in headers:
        if header.get("spool") and header.get("fields"):
            meta = header | {"first_id": str(first >> RANGE_BITS << RANGE_BITS)}
    return meta


# ---- fork: SQLite's connections must not be carried into a child -----------------------------------------------------

_files: weakref.WeakSet[SpoolFile] = weakref.WeakSet()
_register = threading.Lock()
_held: list[SpoolFile] = []


def _before_fork() -> None:
    _register.acquire()
    _held.extend(_files)
    for file in _held:
        file.hold()


def _after_fork() -> None:
    while _held:
        _held.pop().release()
    if _register.locked():  # some servers tell the child alone
        _register.release()


forks.at(forks.Step.FILES, before=_before_fork, in_parent=_after_fork, in_child=_after_fork)
