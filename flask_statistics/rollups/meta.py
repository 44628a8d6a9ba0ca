"""What holds for all rollups: how far they reach, their time zone, what runs left for later ones.

Reads and writes `statistics_meta`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from .tables import Tables

RECOUNTED = timedelta(days=2)
"""How far back runs count raw rows again; a month is measured when it is older than this."""
NEVER, ALWAYS = datetime(1, 1, 1), datetime(9999, 12, 31)
LATE, PRUNED = "late_from", "pruned_until"
"""Since when hours are to be counted again, and before which raw rows are deleted."""


CHANGING = "changing_rows"
"""There while values of raw rows are changed whose days are not built again yet, as no count of rows tells."""


class RollupError(RuntimeError):
    """The rollups cannot be kept as asked; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which part of time is rolled up, naive UTC; None: nothing is."""

    start: datetime | None
    end: datetime | None
    """Excluded; rows from here on are not in any segment."""


def read_meta(connection: sa.Connection, tables: Tables) -> Mapping[str, str]:
    """What holds for all rollups."""
    return {name: text for name, text in connection.execute(sa.select(tables.meta.c.name, tables.meta.c.text))}  # noqa: C416


def write_meta(connection: sa.Connection, tables: Tables, values: Mapping[str, str]) -> None:
    """Store `values`, instead of those of the same names."""
    meta = tables.meta
    known = set(connection.scalars(sa.select(meta.c.name).where(meta.c.name.in_(list(values)))))
    for name, text in values.items():
        if name in known:  # updated in place, which leaves nothing behind to be vacuumed
            connection.execute(sa.update(meta).where(meta.c.name == name).values(text=text))
        else:
            connection.execute(sa.insert(meta).values(name=name, text=text))


def drop_meta(connection: sa.Connection, tables: Tables, names: Iterable[str]) -> None:
    """Remove what is stored under `names`."""
    connection.execute(sa.delete(tables.meta).where(tables.meta.c.name.in_(list(names))))


def coverage_in(meta: Mapping[str, str]) -> Coverage:
    """Which part of time is rolled up, as `meta` says."""
    start, end = meta.get("covered_from"), meta.get("covered_until")
    return Coverage(
        start=None if start is None else datetime.fromisoformat(start),
        end=None if end is None else datetime.fromisoformat(end),
    )


def coverage(connection: sa.Connection, tables: Tables) -> Coverage:
    """Which part of time is rolled up."""
    return coverage_in(read_meta(connection, tables))


def looked_until(meta: Mapping[str, str]) -> datetime | None:
    """Up to when the last run looked for requests, or until when they are rolled up; naive UTC. None: there was no run."""
    covered, last = coverage_in(meta).end, meta.get("last_run")
    return max((covered, datetime.fromisoformat(last))) if covered is not None and last is not None else covered


def drop_coverage(connection: sa.Connection, tables: Tables) -> None:
    """Let nothing be rolled up: all that is asked is answered from the raw table."""
    drop_meta(connection, tables, ("covered_from", "covered_until"))
    for table in (tables.segment, tables.hour):
        connection.execute(sa.delete(table))


def check_zone(meta: Mapping[str, str], zone: str) -> None:
    """Raise `RollupError` if the rollups were made for another time zone than `zone`."""
    made_for = meta.get("timezone", zone)
    if made_for != zone:
        raise RollupError(
            f"STATISTICS_TIMEZONE is {zone!r}, but the rollups were made for {made_for!r}: their days and hours are others. "
            "Run 'flask statistics rebuild --all' to make them anew, or set STATISTICS_TIMEZONE back."
        )


def note_late(connection: sa.Connection, tables: Tables, oldest: datetime) -> None:
    """Let the next run count all hours again from `oldest` on (naive UTC): rows came in that are older than it would look."""
    meta = read_meta(connection, tables)
    covered, noted = coverage_in(meta).end, meta.get(LATE)
    if (
        covered is not None
        and oldest < covered - RECOUNTED
        and (noted is None or oldest < datetime.fromisoformat(noted))
    ):
        write_meta(connection, tables, {LATE: oldest.isoformat()})
