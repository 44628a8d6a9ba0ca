"""Raw rows that hold what cannot be: each is rolled up without it, and counted in `statistics_unfit`.

Recorded requests are sound, but others may write into the raw table: text where SQLite should have a number, bytes that are
no text, dates of another form. One such row must not stop the job, nor be missed: its hit counts, in its hour.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa

from .tables import Tables

LONGEST_NAMES = 200
"""Characters of the names of columns that are kept of an hour."""


@dataclass(slots=True)
class Unfit:
    """What was left out while a period was built."""

    rows: Counter[datetime] = field(default_factory=Counter)
    """How many rows lack something, by the start of their hour, naive UTC."""
    names: set[str] = field(default_factory=set)
    """Columns, and dimensions whose function failed."""
    places: dict[int, set[str]] = field(default_factory=dict)
    """What is left out of the rows of the batch at hand, by their places in it."""

    def add(self, name: str, places: Iterable[int]) -> None:
        """Note that the value of `name` is left out of these rows of the batch at hand."""
        for place in places:
            self.places.setdefault(place, set()).add(name)

    def finish(self, hour_of: list[tuple[datetime, int]]) -> None:
        """Count the rows of the batch at hand; `hour_of`: the first place of each of its hours, rising."""
        for place, names in self.places.items():
            self.rows[max(start for start, first in hour_of if first <= place)] += 1
            self.names |= names
        self.places = {}


@dataclass(frozen=True, slots=True)
class Summary:
    """All rows that something was left out of."""

    rows: int
    names: tuple[str, ...]
    """Columns and dimensions, sorted."""
    latest: datetime
    """The latest hour that has one, naive UTC."""


def write(connection: sa.Connection, tables: Tables, unfit: Unfit, start: datetime, end: datetime) -> None:
    """Remember what was left out of the period from `start` to `end` (naive UTC), instead of what was before."""
    table = tables.unfit
    connection.execute(sa.delete(table).where(table.c.start >= start, table.c.start < end))
    names = ",".join(sorted(unfit.names))[:LONGEST_NAMES]
    if unfit.rows:
        # a piece of an hour has a row of its own
        hours = [(max(hour, start), count) for hour, count in sorted(unfit.rows.items())]
        rows = [{"start": hour, "raw_rows": count, "names": names} for hour, count in hours]
        connection.execute(sa.insert(table), rows)


def summary(connection: sa.Connection, tables: Tables) -> Summary | None:
    """What was left out of everything that is rolled up; None: nothing was."""
    table = tables.unfit.c
    rows, latest = connection.execute(sa.select(sa.func.sum(table.raw_rows), sa.func.max(table.start))).one()
    if latest is None:
        return None
    names = {name for text in connection.scalars(sa.select(table.names).distinct()) for name in text.split(",")}
    return Summary(int(rows), tuple(sorted(names)), latest)
