"""The columns of the raw table that are made of others, made again: by the rules, and the countries, of today.

Reads and writes the raw table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from . import user_agents
from .channels import campaign_of, channel_of
from .issues.frames import AppFiles, told_in
from .issues.text import issue_of
from .models import RawTable
from .spans import naive_utc

AGENTS: Final = ("browser", "platform", "device", "bot")
"""Columns that are made of user agents."""
SOURCES: Final = dict.fromkeys(AGENTS, "user_agent") | {
    "country": "remote_address",
    "channel": "referrer",
    "campaign": "query_string",
    "issue": "exception",
}
"""All of them, with the column that each cannot be made without."""
COLUMNS: Final = tuple(SOURCES)
_READ: Final = (*dict.fromkeys(SOURCES.values()), "host", "traceback")
_BESIDE: Final = {"channel": ("host", "query_string"), "issue": ("traceback",)}
"""What is looked at beside, where it is there."""
BATCH = 5_000
"""Rows that are looked at, and corrected, at once; of those with tracebacks, which are long, a tenth."""


@dataclass(slots=True)
class Corrected:
    """The rows that had something else."""

    rows: int = 0
    first: datetime | None = None
    last: datetime | None = None
    """Naive UTC, both included."""

    def add(self, dates: Sequence[datetime]) -> None:
        """Count rows of these dates."""
        self.rows += len(dates)
        known = [naive_utc(date) for date in dates if isinstance(date, datetime)]
        self.first = min([*known, *filter(None, [self.first])], default=None)
        self.last = max([*known, *filter(None, [self.last])], default=None)


def correct(
    engine: sa.Engine,
    raw: RawTable,
    *,
    progress: Callable[[int], None],
    names: Sequence[str] = AGENTS,
    root_path: str = "",
) -> Corrected:
    """Give all raw rows what those of the columns `names` mean today that the model has; which rows had something else.

    Along the primary key, in batches of which each is committed: stopped, it may begin again. `progress` gets the rows of each.
    Rows without a user agent keep what is made of it. A country is found for rows that have none: one that is there was found
    when the request came. An issue is made of what is stored of its exception, by the files of the app below `root_path`.
    """
    known = [name for name in names if raw.has(name) and raw.has(SOURCES[name])]
    found = Corrected()
    if not known:
        return found
    keys = [*raw.table.primary_key.columns]
    needed = {SOURCES[name] for name in known}.union(*(_BESIDE.get(name, ()) for name in known))
    read = [name for name in _READ if raw.has(name) and name in needed]
    files, size = AppFiles(root_path), BATCH // 10 if "traceback" in read else BATCH
    columns = [*keys, raw.columns["date"], *(raw.columns[name] for name in (*read, *known))]
    change = (
        sa.update(raw.table)
        .where(*(key == sa.bindparam(f"key_{place}") for place, key in enumerate(keys)))
        .values({raw.columns[name]: sa.bindparam(f"new_{name}") for name in known})
    )
    last = None
    while True:
        page = sa.select(*columns).order_by(*keys).limit(size)
        dates, changes = [], []
        with engine.begin() as connection:
            rows = connection.execute(page if last is None else page.where(_after(keys, last))).all()
            for row in rows:
                date, *values = row[len(keys) :]
                stored = dict(zip((*read, *known), values, strict=True))
                meant = {name: raw.fit(name, value) for name, value in _meant(stored, raw, known, files).items()}
                if any(meant[name] != stored[name] for name in known):
                    dates.append(date)
                    changes.append(
                        {f"key_{place}": row[place] for place in range(len(keys))}
                        | {f"new_{name}": value for name, value in meant.items()}
                    )
            if changes:
                connection.execute(change, changes)
        found.add(dates)
        progress(len(rows))
        if len(rows) < size:
            return found
        last = rows[-1][: len(keys)]


def _meant(stored: dict[str, Any], raw: RawTable, known: Sequence[str], files: AppFiles) -> dict[str, Any]:
    """What the columns `known` of a row mean."""
    meant = {name: stored[name] for name in known}
    of_agents = [name for name in known if name in AGENTS]
    if of_agents and stored["user_agent"] is not None:
        columns = user_agents.columns_of(stored["user_agent"])
        meant |= {name: columns[name] for name in of_agents}
    if "country" in meant and not meant["country"] and raw.locate is not None:
        address = stored["remote_address"]
        meant["country"] = raw.locate(None if address is None else str(address)) or meant["country"]
    if "channel" in meant:
        meant["channel"] = channel_of(stored["referrer"], stored.get("host"), stored.get("query_string"))
    if "campaign" in meant:
        meant["campaign"] = campaign_of(stored["query_string"])
    if "issue" in meant:
        meant["issue"] = _issue(stored["exception"], stored.get("traceback"), files)
    return meant


def _issue(exception: str | None, traceback: str | None, files: AppFiles) -> str | None:
    if not exception:
        return None
    frames = told_in(traceback or "")
    return str(issue_of(exception, files.place_of((frame.file, frame.function) for frame in frames)))


def _after(keys: Sequence[sa.Column[Any]], last: Sequence[Any]) -> sa.ColumnElement[bool]:
    """What comes after `last` in the order of `keys`."""
    return sa.or_(
        *(
            sa.and_(
                *(key == value for key, value in zip(keys[:place], last[:place], strict=True)),
                keys[place] > last[place],
            )
            for place in range(len(keys))
        )
    )
