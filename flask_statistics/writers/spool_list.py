"""What is in the folder of the spool: how much waits in which file, for whom and why, and what was set aside.

Reads all files, whichever process or database they belong to, and changes nothing.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from ..record import Backlog
from .journal import FileJournal
from .moving import UNREADABLE, decode
from .spool_file import Refused, SpoolUnusable
from .spool_folder import SpoolFolder, reading


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
            alive = ours or not waiting or _is_alive(folder, path)
            trouble = file.trouble() if waiting else None
            return Listed(path, ours, alive, hints["address"], waiting, file.count_refused(), trouble)
    except (sqlite3.Error, OSError, SpoolUnusable) as error:
        journal = FileJournal(path)
        header = next((header for _, header in reversed(journal.headers()) if header), {})
        theirs = header.get("database", "")
        ours = theirs == database if theirs and database else path.name.startswith(folder.name)
        return Listed(path, ours, False, header.get("address", ""), journal.waiting(0), 0, f"{path.name}: {error}")


def _is_alive(folder: SpoolFolder, path: Path) -> bool:
    with folder.abandoned(path) as abandoned:
        return not abandoned


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
                found += [(shown(one), one.error) for one in file.refused(most)]
    return found[-most:]


def shown(one: Refused) -> str:
    """What was asked for, in one line."""
    try:
        (request,) = decode([one.record], one.fields)
        path = "".join(filter(str.isprintable, request["path"]))[:200]
        return f"{request['date']:%Y-%m-%d %H:%M:%S} UTC {request['method'][:20]} {path}"
    except UNREADABLE:
        return "unreadable record"
