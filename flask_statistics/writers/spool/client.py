"""What the spool has of one client: requests that wait for their way into the raw table, and those that it refused.

Reads the spool's files, and deletes from what was set aside alone: what waits belongs to the process that appends to it, and
is erased in the raw table once it is moved.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from .file import SpoolFile
from .folder import SpoolFolder, reading
from .lines import UNREADABLE, decode
from .notes import SpoolUnusable

MOST_READ = 10_000
"""Records that are read at once."""

Theirs = Callable[[str | None], bool]
"""Whether a stored address is the client's."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the spool has of one client."""

    waiting: list[dict[str, Any]]
    """Requests that wait, by names of columns."""
    refused: list[dict[str, Any]]
    """Requests that were set aside, the same, each with the `error`."""
    unreadable: list[str]
    """Names of files of which some or all cannot be read: nobody knows what they have of whom."""


def look(folder: SpoolFolder, theirs: Theirs) -> Found:
    """All that the spool has of the client."""
    found, unread = Found([], [], [path.name for path in folder.strays()]), 0
    for path in folder.files():
        with reading(path) as file:
            try:
                for record, fields in _waiting(file):
                    unread += not _collect(found.waiting, record, fields, theirs)
                for one in file.aside.latest(file.aside.count()):
                    unread += not _collect(found.refused, one.record, one.fields, theirs, error=one.error)
            except FileNotFoundError:  # it was moved meanwhile, all of it
                continue
            except (OSError, sqlite3.DatabaseError, SpoolUnusable):
                unread += 1
        if unread:
            found.unreadable.append(path.name)
            unread = 0
    return found


def forget_refused(folder: SpoolFolder, theirs: Theirs) -> int:
    """Delete the client's requests that were set aside, where that can be read; how many."""
    forgotten = 0
    for path in folder.files():
        with reading(path) as file, suppress(OSError, sqlite3.DatabaseError, SpoolUnusable):
            found: list[dict[str, Any]] = []
            numbers: list[int] = []
            for one in file.aside.latest(file.aside.count()):
                _collect(found, one.record, one.fields, theirs)
                if len(found) > len(numbers):
                    numbers.append(one.number)
            if numbers:
                file.aside.take_out(*numbers)
                forgotten += len(numbers)
    return forgotten


def _waiting(file: SpoolFile) -> Iterator[tuple[bytes, str]]:
    """The records that wait in a file, and what they consist of."""
    last, more = -1, True
    while more:
        batch = file.batch(MOST_READ, after=last)
        yield from ((record, batch.fields) for _, record in batch.rows)
        more = batch.more and bool(batch.rows)
        last = batch.rows[-1][0] if batch.rows else last


def _collect(found: list[dict[str, Any]], record: bytes, fields: str, theirs: Theirs, **more: Any) -> bool:
    """Add the record's request to `found` if it is theirs; False: it cannot be read."""
    try:
        found.extend(
            {**request.values(), **more} for request in decode([record], fields) if theirs(request.remote_address)
        )
    except UNREADABLE:
        return False
    return True
