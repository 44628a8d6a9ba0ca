"""The columns of the raw table that are made of user agents, made again by the rules of today. Reads and writes the raw table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import sqlalchemy as sa

from . import user_agents
from .models import RawTable

COLUMNS: Final = ("browser", "platform", "device", "bot")
BATCH = 5_000
"""Rows that are looked at, and corrected, at once."""


def correct(engine: sa.Engine, raw: RawTable, *, progress: Callable[[int], None]) -> int:
    """Give all raw rows what their user agents mean today; how many had something else.

    Along the primary key, in batches of which each is committed: stopped, it may begin again. `progress` gets the rows of each.
    Rows without a user agent stay as they are.
    """
    known = [name for name in COLUMNS if raw.has(name)]
    if not known or not raw.has("user_agent"):
        return 0
    keys = [*raw.table.primary_key.columns]
    columns = [*keys, raw.columns["user_agent"], *(raw.columns[name] for name in known)]
    change = (
        sa.update(raw.table)
        .where(*(key == sa.bindparam(f"key_{place}") for place, key in enumerate(keys)))
        .values({raw.columns[name]: sa.bindparam(f"new_{name}") for name in known})
    )
    changed, last = 0, None
    while True:
        page = sa.select(*columns).order_by(*keys).limit(BATCH)
        with engine.begin() as connection:
            rows = connection.execute(page if last is None else page.where(_after(keys, last))).all()
            changes = [found for row in rows if (found := _change(row, raw, known, len(keys))) is not None]
            if changes:
                connection.execute(change, changes)
        changed += len(changes)
        progress(len(rows))
        if len(rows) < BATCH:
            return changed
        last = rows[-1][: len(keys)]


def _change(row: Sequence[Any], raw: RawTable, known: Sequence[str], keys: int) -> dict[str, Any] | None:
    """The parameters that correct a row; None: it is right."""
    user_agent, stored = row[keys], row[keys + 1 :]
    if user_agent is None:
        return None
    columns = user_agents.columns_of(user_agent)
    meant = [raw.fit(name, columns[name]) for name in known]
    if meant == [*stored]:
        return None
    return {f"key_{place}": row[place] for place in range(keys)} | {
        f"new_{name}": value for name, value in zip(known, meant, strict=True)
    }


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
