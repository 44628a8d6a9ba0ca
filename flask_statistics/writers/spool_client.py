"""What the spool has of one client: requests that wait for their way into the raw table, and those that it refused.

Reads the spool's files, and deletes from what was set aside alone: what waits belongs to the process that appends to it, and
is erased in the raw table once it is moved.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

from .moving import UNREADABLE, decode
from .spool_file import SpoolFile, SpoolUnusable
from .spool_folder import SpoolFolder, reading

MOST_READ = 10_000
"""Records that are read at once."""

Theirs = Callable[[str | None], bool]
"""Whether a stored address is the client's."""


def waiting(folder: SpoolFolder, theirs: Theirs) -> list[dict[str, Any]]:
    """The client's requests that wait, by names of columns. Raises `OSError` and `sqlite3.Error`."""
    found = []
    for file in _files(folder):
        last, batch = -1, file.batch(MOST_READ)
        for number, record in batch.rows:
            last = max(last, number)
            found += _theirs(record, batch.fields, theirs)
    return found


def refused(folder: SpoolFolder, theirs: Theirs) -> list[dict[str, Any]]:
    """The client's requests that were set aside, by names of columns, with the `error`."""
    return [
        {**request, "error": one.error}
        for file in _files(folder)
        for one in file.refused(file.count_refused())
        for request in _theirs(one.record, one.fields, theirs)
    ]


def forget_refused(folder: SpoolFolder, theirs: Theirs) -> int:
    """Delete the client's requests that were set aside; how many."""
    forgotten = 0
    for file in _files(folder):
        numbers = [one.number for one in file.refused(file.count_refused()) if _theirs(one.record, one.fields, theirs)]
        if numbers:
            file.take_back(*numbers)
            forgotten += len(numbers)
    return forgotten


def _files(folder: SpoolFolder) -> Iterator[SpoolFile]:
    for path in folder.files():
        with reading(path) as file:
            try:
                file.count_refused()
            except (sqlite3.DatabaseError, SpoolUnusable, FileNotFoundError):  # `status` names those
                continue
            yield file


def _theirs(record: bytes, fields: str, theirs: Theirs) -> list[dict[str, Any]]:
    try:
        return [request for request in decode([record], fields) if theirs(request.get("remote_address"))]
    except UNREADABLE:
        return []
