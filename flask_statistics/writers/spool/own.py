"""A spool of one's own: what the process may do with it that appends to it, and holds its lock."""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path

from ...local_files import identity_of
from .file import SpoolFile
from .journal import RANGE_BITS, FileJournal, PulledAway
from .notes import meta_of, put
from .text import as_header

EPOCH_S = 1_577_836_800
"""Ranges of ids are numbered by seconds from here, the beginning of 2020: also a machine that was put back to an older state
begins a range that the database has not seen."""


class OwnSpool(SpoolFile):
    """A spool that this process appends to, once it has claimed it."""

    def __init__(self, path: Path | None, *, create: bool = True) -> None:
        super().__init__(path, create=create)
        self.append = self._journal.append  # called by each request, and for nothing but to be passed on
        self._inherited = 0
        """How many records waited when it was claimed."""
        self._first = 0
        """The first id of its owner."""
        self._claimed: dict[str, str] = {}
        """What the headers of its journal say."""

    def claim(
        self, fields: str, hints: Mapping[str, str] | None = None, *, fresh: bool = False, now: float | None = None
    ) -> bool:
        """Begin to append records made of `fields`; False: others wait in it that only a drain can take out.

        `hints` say for whom: `database` is the database's random id, empty if it is not known yet, `address` is for people.
        `fresh`: as another spool, in which none wait. `now` is in seconds since 1970. Raises `OSError`, `sqlite3.Error` and
        `SpoolUnusable`.
        """
        for_whom = dict(hints or {})

        def claim(connection: sqlite3.Connection) -> bool:
            meta, home = meta_of(connection), self._notes.home()
            waits = self._inherited = self._journal.waiting(self._notes.moved_of(meta))
            another = for_whom.get("database") and meta.get("database") not in ("", None, for_whom["database"])
            if waits and (fresh or another or (meta.get("home"), meta.get("fields")) != (home, fields)):
                return False
            if not waits:
                self._journal.clear()
            if meta.get("home") != home or fresh or meta.get("rest_of"):
                meta["spool"] = secrets.token_hex(16)  # a copy of a file must not pass for the file
            used = max(int(meta.get("first_id", 0)), self._notes.moved_of(meta)) >> RANGE_BITS
            first = max(used + 1, int(time.time() if now is None else now) - EPOCH_S) << RANGE_BITS
            meta |= for_whom | {"home": home, "fields": fields, "first_id": str(first), "rest_of": ""}
            if not waits:
                meta.pop("trouble", None)  # what was wrong then
                connection.execute("DELETE FROM meta WHERE name = 'trouble'")
            put(connection, meta)
            self._claimed, self._first = _header(meta), first
            self._journal.begin(first, self._claimed)
            return True

        # what a power cut takes away must not be the claim, see RANGE_BITS
        return self._notes.in_transaction(claim, begin="BEGIN IMMEDIATE", durable=True)

    def watch(self, *paths: Path) -> None:
        """Have an append raise `PulledAway` from now on if one of `paths`, or the file itself, is not what it was."""
        if self.path is not None and isinstance(self._journal, FileJournal):
            self._journal.watched = tuple((path, identity_of(path)) for path in (self.path, *paths))

    def look(self) -> None:
        """Raise `PulledAway` if the files are not where they were."""
        if isinstance(self._journal, FileJournal):
            self._journal.look()

    def look_at_itself(self) -> None:
        """Raise `PulledAway` if the file beside the journal is not where it was."""
        if isinstance(self._journal, FileJournal):
            for path, identity in self._journal.watched[:1]:
                if identity_of(path) != identity:
                    raise PulledAway(str(path))

    def salvage(self, path: Path) -> int:
        """Write what can be saved of records whose files were deleted into a journal of the new file `path`; how many.

        0 as well if the files were moved away, as they may come back, and nothing must be stored twice. `gone` says what is
        lost all the same. Raises `OSError`.
        """
        if not isinstance(self._journal, FileJournal):
            return 0
        saved = self._journal.salvage(self._notes.seen)
        rows = self._journal.count(saved, self._notes.seen)
        if rows:
            moved = {"moved": str(max(self._notes.seen, saved.first - 1))}
            header = self._claimed | {"spool": secrets.token_hex(16), "rest_of": self._claimed["spool"]} | moved
            descriptor = os.open(f"{path}.{saved.first}.journal", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with open(descriptor, "wb") as file:  # noqa: PTH123 - the mode is for its user alone
                file.write(as_header(header) + saved.text)
        return rows

    def gone(self) -> int:
        """How many records waited in files that are not there any more, and cannot be saved."""
        if not isinstance(self._journal, FileJournal):
            return 0
        # of what an owner before left, all is gone or nothing
        inherited = self._inherited if self._notes.seen < self._first and not self._journal.headers() else 0
        return self._journal.salvage(self._notes.seen).gone + inherited

    def note_moved(self, last: int) -> None:
        """Take what is up to the id `last` for moved, without a look at the file: it may be gone."""
        self._notes.see(last)

    def describe(self) -> None:
        """Have new files of the journal say what the file says now."""
        self._claimed = _header(self._notes.read())
        self._journal.describe(self._claimed)

    def delete_if_moved(self, last: int) -> None:
        """Leave nothing on the disk if all up to the id `last` is moved, and no more came."""
        self._journal.delete_if_moved(last)

    def inherits(self) -> bool:
        """Whether records of an owner before wait in it."""
        return self._inherited > 0 and any(first < self._first for first, _ in self._journal.headers())

    def seal(self) -> None:
        """Append no more: who tries to gets `PulledAway`. What is there can still be saved."""
        if isinstance(self._journal, FileJournal):
            self._journal.seal()

    def go_elsewhere(self) -> None:
        """The same, and close it."""
        if isinstance(self._journal, FileJournal):
            self._journal.go_elsewhere()
        self.close()

    def end(self) -> None:
        """Append no more: who tries to gets an `OSError`."""
        self._journal.end()
        self.close()


def _header(meta: Mapping[str, str]) -> dict[str, str]:
    """What of the file a journal repeats, in case that the file is lost."""
    return {name: meta.get(name, "") for name in ("spool", "fields", "database", "address")}
