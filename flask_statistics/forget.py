"""Erases one visitor: the raw rows, what the rollups made of them, and then counts again whether anything is left.

Reads and writes the raw table, and through the job the rollups. The host's backups and logs are not ours to reach.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from . import databases
from .addresses import local_day, normal, stored_forms, writings
from .columns import is_of_addresses
from .held import folder_of, is_one_of
from .models import RawTable
from .pace import Pace
from .record import NotStored
from .scanning import scanned
from .spans import FIRST_YEAR
from .state import State
from .writers.spool import client as spool_client

DELETED_A_TIME = 1_000
"""Raw rows deleted in one transaction."""
MOVED_WITHIN_S = 10.0
"""How long what waits in the spool may take to be moved into the raw table, where it is forgotten."""
NAMED_A_TIME = 400
"""Of them, keys in one statement."""


class AtWork(Exception):
    """Another process works on the rollups, so nothing was forgotten."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was forgotten."""

    raw_rows: int
    requests: int
    """Requests taken out of rollups; those that are not rolled up yet are raw rows alone."""
    periods: int
    """Hours and days whose rollups were corrected."""
    left: int
    """Found by counting again afterwards: rows and rolled-up requests; 0, or something is wrong."""
    differing: int
    """Hours whose rollups and raw rows are not the same in number, of all that have raw rows."""
    set_aside: int = 0
    """Requests that the raw table had refused and that were deleted from the spool."""
    unreadable: tuple[str, ...] = ()
    """Names of files of the spool that cannot be read, or not all: what they have of the visitor is not forgotten."""


class NoAddress(ValueError):
    """The text is no address, and nothing is stored under it."""


def forms_of(state: State, text: str, now: datetime) -> list[str]:
    """How the client that `text` names is stored, under the settings in force at `now` (naive UTC), and in older spellings.

    Raises `NoSecret`, and `NoAddress` for a text that is no address, unless just that is stored, as names of hosts from logs are.
    Reads the raw table.
    """
    raw, address, today = state.raw, normal(text), local_day(now, state.settings.timezone)
    # rollups may know an older spelling of which no raw row is left
    forms = [text] if address is None else [*stored_forms(address, state.anonymize, today), *writings(address)]
    fitting = (raw.fit("remote_address", form) for form in forms)
    forms = list(dict.fromkeys(str(form) for form in fitting if form is not None))
    if address is not None:
        return list(dict.fromkeys([*forms, *_older_spellings(state, address)]))
    if not text or not count(state, forms):
        raise NoAddress(text)
    return forms


def _older_spellings(state: State, address: str) -> list[str]:
    """What is stored of `address` in another form than the normal one: with a port, mapped, in capitals."""
    column, engine = state.raw.columns["remote_address"], state.engine()
    if not isinstance(column.type, sa.String) or is_of_addresses(
        column.type, engine.dialect
    ):  # a type of addresses has one form itself
        return []
    lower = sa.func.lower(column)
    perhaps = sa.or_(*(lower.contains(writing) for writing in writings(address)))
    pieces = scanned(engine, state.raw, sa.select(column).where(perhaps).distinct())
    return sorted({spelling for piece in pieces for (spelling,) in piece if normal(spelling) == address})


def count(state: State, forms: Collection[str]) -> int:
    """How many raw rows have one of these addresses."""
    query = sa.select(sa.func.count()).select_from(state.raw.table).where(_is_theirs(state.raw, forms))
    return sum(rows for piece in scanned(state.engine(), state.raw, query) for (rows,) in piece)


def forget(
    state: State, forms: Collection[str], now: datetime, *, progress: Callable[[datetime], None] = lambda period: None
) -> Forgotten:
    """Erase the visitors stored as one of `forms`, and count again.

    `progress` is told each period of the rollups that was corrected. Raises `AtWork`. Stopped halfway, the same call goes on.
    """
    waiting, aside, unreadable = _forget_in_spool(state, forms)
    engine, requests, periods, left, differing = state.engine(), 0, 0, 0, 0
    delete_some = _deleting(state, forms)
    if state.rollups is None:
        raw_rows, pace = 0, Pace()
        while deleted := _delete_in_transaction(engine, delete_some):
            raw_rows += deleted
            if deleted == DELETED_A_TIME:
                pace.pause(deleted)
    else:
        job = state.rollups.job()
        forgotten = job.forget(forms, now, delete_raw=delete_some, progress=progress)
        if forgotten is None:
            raise AtWork
        raw_rows, requests, periods, left = forgotten.raw_rows, forgotten.requests, forgotten.periods, forgotten.left
        differing = len(job.differences(datetime(FIRST_YEAR, 1, 1), now))
    left += count(state, forms)
    return Forgotten(raw_rows, requests, periods, left + waiting, differing, aside, unreadable)


def _forget_in_spool(state: State, forms: Collection[str]) -> tuple[int, int, tuple[str, ...]]:
    """Have moved what waits of theirs, and delete what was set aside.

    How many still wait, how many were deleted, and the names of files that cannot be read.
    """
    folder = folder_of(state)
    if folder is None:
        return 0, 0, ()
    theirs, deadline = is_one_of(forms), time.monotonic() + MOVED_WITHIN_S
    found = spool_client.look(folder, theirs)
    while found.waiting and time.monotonic() < deadline:
        if state.writer is not None:
            with suppress(NotStored):  # then it waits on, and is counted below
                state.writer.settle()
        time.sleep(0.1)
        found = spool_client.look(folder, theirs)
    return len(found.waiting), spool_client.forget_refused(folder, theirs), tuple(found.unreadable)


def _delete_in_transaction(engine: sa.Engine, delete_some: Callable[[sa.Connection], int]) -> int:
    with engine.begin() as connection:
        return delete_some(connection)


def _deleting(state: State, forms: Collection[str]) -> Callable[[sa.Connection], int]:
    """What deletes some of their rows, in a small piece, so that requests can be recorded meanwhile; how many: 0 at the end.

    The rows are looked for here, and not while the database is locked for what deletes them.
    """
    raw, theirs = state.raw, _is_theirs(state.raw, forms)
    keys: list[Any] = []
    if not databases.of(state.engine()).deletes_at_once:
        keys = [key for piece in scanned(state.engine(), raw, sa.select(raw.key).where(theirs)) for (key,) in piece]
    pieces = iter([keys[first : first + DELETED_A_TIME] for first in range(0, len(keys), DELETED_A_TIME)])

    def delete_some(connection: sa.Connection) -> int:
        deleted = databases.of(connection).delete_at_once(connection, raw.table, theirs)
        if deleted is not None:
            if not deleted:  # at the end, also of a second try
                databases.of(connection).overwrite_deleted(connection, raw.table)
            return deleted
        piece = next(pieces, [])
        with databases.of(connection).overwriting(connection):
            for first in range(0, len(piece), NAMED_A_TIME):
                connection.execute(sa.delete(raw.table).where(raw.key.in_(piece[first : first + NAMED_A_TIME])))
        return len(piece)

    return delete_some


def _is_theirs(raw: RawTable, forms: Collection[str]) -> sa.ColumnElement[bool]:
    return raw.columns["remote_address"].in_([raw.fit("remote_address", form) for form in forms])
