"""What is in the folder of the spool: how much waits in which file, for whom and why, and what was set aside.

Reads all files, whichever process or database they belong to. What an operator asks for is done here as well: to try again
what was set aside, to adopt what waits for another database, and to drop what nobody wants.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...record import Backlog
from .aside import Refused
from .file import SpoolFile
from .folder import SpoolFolder, reading
from .journal import FileJournal
from .lines import UNREADABLE, decode
from .moving import Mover, try_again
from .notes import SpoolUnusable


@dataclass(frozen=True, slots=True)
class Listed:
    """One file of the folder."""

    path: Path
    ours: bool
    """Whether it is for the app's database."""
    alive: bool
    """Whether a living process appends to it."""
    address: str
    """Of the database and table that it is for, as they were called then; empty: nobody knows."""
    waiting: int
    refused: int
    trouble: str | None
    """Why they wait; None: nothing is wrong, or nothing waits."""


def list_files(folder: SpoolFolder) -> list[Listed]:
    """One entry a spool file, in the order of their names."""
    database = folder.hints()["database"]
    return [_listed(folder, path, database) for path in folder.files()]


def _listed(folder: SpoolFolder, path: Path, database: str) -> Listed:
    try:
        with reading(path) as file:
            hints, waiting, ours = file.hints(), file.waiting(), folder.is_ours(file, database)
            alive, trouble = True, None
            if waiting:
                alive, trouble = _is_alive(folder, path)
                trouble = file.trouble() or trouble
            return Listed(path, ours, alive, hints["address"], waiting, file.aside.count(), trouble)
    except (sqlite3.Error, OSError, SpoolUnusable) as error:
        journal, waiting = FileJournal(path), 0
        header = next((header for _, header in reversed(journal.headers()) if header), {})
        theirs = header.get("database", "")
        ours = theirs == database if theirs and database else path.name.startswith(folder.name)
        with suppress(OSError):  # then nobody knows how many they are
            waiting = journal.waiting(0)
        return Listed(path, ours, False, header.get("address", ""), waiting, 0, f"{path.name}: {error}")


def _is_alive(folder: SpoolFolder, path: Path) -> tuple[bool, str | None]:
    """Whether a living process has the file; and why nobody will be able to take it, if that is so."""
    try:
        with folder.abandoned(path) as abandoned:
            return not abandoned, None
    except OSError as error:
        return False, f"{path.name}: {error}"


def read_backlog(folder: SpoolFolder) -> Backlog:
    """What waits for the app's database, in the files of all processes; and what is nobody's, as problems."""
    files = list_files(folder)
    ours = [file for file in files if file.ours]
    return Backlog(
        waiting=sum(file.waiting for file in ours),
        trouble=next((file.trouble for file in ours if file.trouble is not None), None),
        refused=sum(file.refused for file in ours),
        problems=(*_foreign(files), *(_stray(path) for path in folder.strays())),
    )


def _foreign(files: list[Listed]) -> list[str]:
    """A sentence for each file that no process is going to empty."""
    return [
        f"{file.waiting:,} requests in {file.path.name} wait for another database ({file.address or 'nobody knows which'}): "
        f"'flask statistics spool adopt {file.path.name}' stores them in this one, and 'drop' deletes them."
        for file in files
        if not file.ours and not file.alive and file.waiting
    ]


def _stray(path: Path) -> str:
    return (
        f"The spool put {path.name} away, as it was damaged or nobody's: look at it, then delete it by "
        f"'flask statistics spool drop {path.name}'."
    )


def read_refused(folder: SpoolFolder, most: int = 20) -> list[tuple[str, str]]:
    """Of the latest requests that were refused, at most `most`: what was asked for and why it was refused."""
    found: list[tuple[str, str]] = []
    for listed in list_files(folder):
        if listed.refused:
            with reading(listed.path) as file:
                found += [(shown(one), one.error) for one in file.aside.latest(most)]
    return found[-most:]


def shown(one: Refused) -> str:
    """What was asked for, in one line."""
    try:
        (request,) = decode([one.record], one.fields)
        path = "".join(filter(str.isprintable, request.path))[:200]
        return f"{request.date:%Y-%m-%d %H:%M:%S} UTC {request.method[:20]} {path}"
    except UNREADABLE:
        return "unreadable record"


# ---- what an operator asks for ---------------------------------------------------------------------------------------

WAIT_MS = 2_000
"""How long for another writer of a SQLite database."""


class Alive(Exception):
    """A living process has the file."""


def retry(folder: SpoolFolder, mover: Mover) -> tuple[int, int]:
    """Try all that was set aside for the app's database; how many are stored, and how many refused once more.

    Raises `Locked` and the database's error, if that is not about a row.
    """
    stored = tried = 0
    for listed in list_files(folder):
        if listed.ours and listed.refused:
            with reading(listed.path) as file:
                for one in file.aside.latest(listed.refused):
                    tried += 1
                    stored += try_again(mover, file, one, wait_ms=WAIT_MS)
    return stored, tried - stored


def adopt(folder: SpoolFolder, mover: Mover, path: Path) -> tuple[int, int]:
    """Take what waits in a file for the app's database's own, and move it; how many waited, and how many are stored.

    Raises `Alive`, `SpoolUnusable`, `Locked` and the errors of the disk and the database.
    """
    with folder.abandoned(path) as abandoned:
        if not abandoned:
            raise Alive
        file = folder.repaired(path)
        try:
            file.belong_to(folder.hints() | {"database": mover.identity(wait_ms=WAIT_MS)})
            waiting, stored = file.waiting(), _empty(file, mover)
            over = not folder.is_numbered(path) and not file.waiting() and not file.aside.count()
        finally:
            file.close()
        if over:
            folder.remove(path)
    return waiting, stored


def _empty(file: SpoolFile, mover: Mover) -> int:
    stored, more = 0, True
    file.abandoned = True
    while more:
        moved = mover.move(file, wait_ms=WAIT_MS)
        stored, more = stored + moved.stored, moved.more
    file.tidy()
    return stored


def drop(folder: SpoolFolder, path: Path) -> None:
    """Delete a file with all that waits in it and was set aside, or one that was put away. Raises `Alive` and `OSError`."""
    if path in folder.strays():
        path.unlink()
        return
    with folder.abandoned(path) as abandoned:
        if not abandoned:
            raise Alive
        folder.remove(path)


def drop_refused(folder: SpoolFolder) -> int:
    """Delete all that was set aside for the app's database; how many."""
    dropped = 0
    for listed in list_files(folder):
        if listed.ours and listed.refused:
            with reading(listed.path) as file:
                refused = file.aside.latest(listed.refused)
                file.aside.take_out(*(one.number for one in refused))
                dropped += len(refused)
    return dropped
