"""All that is held of one client, and where: the answer to somebody who asks for it (Article 15 of the GDPR).

Reads the raw table, the rollups and the spool; writes nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from .addresses import normal
from .models import RawTable
from .scanning import scanned
from .state import State
from .writers.spool import client as spool_client
from .writers.spool.folder import SpoolFolder, folder_for


@dataclass(frozen=True, slots=True)
class Period:
    """An hour, day or month of the rollups in which the client is known as a visitor."""

    unit: str
    start: datetime
    """Naive UTC."""
    requests: int
    """How many of its requests are theirs; single ones cannot be read out of it with all they were."""


@dataclass(frozen=True, slots=True)
class Held:
    """What is held of one client."""

    raw_rows: list[dict[str, Any]]
    """Every stored column of each request in the raw table, oldest first."""
    rollups: list[Period]
    """What the rollups know; empty: nothing, or they are off."""
    waiting: list[dict[str, Any]]
    """Requests that wait in the spool."""
    set_aside: list[dict[str, Any]]
    """Requests that the raw table refused and that are kept in the spool, each with its `error`."""
    unreadable: list[str]
    """Names of files of the spool that cannot be read, or not all: what they have of the client is not known."""


def held(state: State, forms: Collection[str], now: datetime) -> Held:
    """What is held of the client that is stored as `forms`."""
    raw, folder = state.raw, folder_of(state)
    rows = [dict(row._mapping) for piece in scanned(state.engine(), raw, _theirs(raw, forms)) for row in piece]
    rows.sort(key=lambda row: (row["date"] is not None, row["date"]))
    found = [] if state.rollups is None else state.rollups.job().held(forms)
    spool = spool_client.Found([], [], []) if folder is None else spool_client.look(folder, is_one_of(forms))
    return Held(
        raw_rows=rows,
        rollups=[Period(unit, start, requests) for unit, start, requests in found],
        waiting=spool.waiting,
        set_aside=spool.refused,
        unreadable=spool.unreadable,
    )


def _theirs(raw: RawTable, forms: Collection[str]) -> sa.Select[Any]:
    columns = [column.label(name) for name, column in raw.columns.items()]
    theirs = raw.columns["remote_address"].in_([raw.fit("remote_address", form) for form in forms])
    return sa.select(*columns).where(theirs).order_by(raw.key)


def folder_of(state: State) -> SpoolFolder | None:
    """The folder of the app's spool; None: `STATISTICS_WRITER` is not "spool", or nothing was ever written there."""
    if state.spool is None or not state.spool_path.is_dir():
        return None
    return folder_for(state.spool_path, state.engine().url, state.raw.table, state.app.logger)


def is_one_of(forms: Collection[str]) -> spool_client.Theirs:
    """Whether a stored address is one of `forms`, or another spelling of one."""
    known = {normal(form) or form for form in forms}
    return lambda stored: stored is not None and (stored in forms or normal(stored) in known)
