"""Verifies a little of the past with each run of the job, so that all of it is verified again and again.

Reads what `verification` reads; keeps how far it got and what it found in `statistics_meta`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa

from . import keeping, store, structure, verification
from .holder import Holder
from .meta import NEVER, coverage, read_meta, write_meta
from .structure import Difference
from .verification import Unit

SCRUBBED = "scrubbed"
"""In `statistics_meta`: how far scrubbing got, and what it found."""
SHARE = 0.02
"""Of the time between two runs, that may be spent on it."""
REQUESTS_A_SECOND = 40_000
"""How many are verified in a second, about: a day is not begun before there is time for it."""
MOST_SAVED_S = 60.0
"""The most time that is saved up for what is large."""
MOST_KEPT = 20
"""Differences that are remembered."""


@dataclass(slots=True)
class Scrubbed:
    """How far scrubbing got, and what it found."""

    until: datetime | None = None
    """Up to when this round has verified, naive UTC; None: a round begins."""
    rounds: int = 0
    """How often all was verified."""
    completed_at: datetime | None = None
    """When the last round ended, naive UTC; None: the first is not over."""
    at: datetime | None = None
    """When it was last at work, naive UTC."""
    saved_s: float = 0.0
    """Seconds that may be spent."""
    differences: dict[datetime, str] = field(default_factory=dict)
    """What differs: start of a period (naive UTC), and what."""


def read(meta: Mapping[str, str]) -> Scrubbed:
    """What `statistics_meta` knows of it."""
    if SCRUBBED not in meta:
        return Scrubbed()
    stored = json.loads(meta[SCRUBBED])

    def moment(name: str) -> datetime | None:
        return None if stored[name] is None else datetime.fromisoformat(stored[name])

    differences = {datetime.fromisoformat(start): says for start, says in stored["differences"].items()}
    return Scrubbed(
        moment("until"), stored["rounds"], moment("completed_at"), moment("at"), stored["saved_s"], differences
    )


def scrub(holder: Holder, now: datetime) -> Scrubbed:
    """Verify the next day or month, if there is time saved up for it."""
    with holder.engine.connect() as connection:
        found = read(read_meta(connection, holder.tables))
    passed = timedelta(0) if found.at is None else max(now - found.at, timedelta(0))
    found.at, found.saved_s = now, min(found.saved_s + passed.total_seconds() * SHARE, MOST_SAVED_S)
    unit = _next_unit(holder, found.until or NEVER)
    if unit is None:
        if found.until is not None:
            found.until, found.rounds, found.completed_at = None, found.rounds + 1, now
        elif found.rounds == 0:
            return found
    elif found.saved_s >= min(unit.hits / REQUESTS_A_SECOND, MOST_SAVED_S):
        began = time.perf_counter()
        differences = structure.structure(holder) if found.until is None else []
        _take(found, unit.start, unit.end, [*verification.check(holder, unit)[1]])
        if differences:
            found.differences |= {one.start: one.says for one in differences}
        found.until = unit.end
        # not more than can be saved up: a machine that was halted meanwhile would not verify for weeks
        found.saved_s = max(found.saved_s - (time.perf_counter() - began), -MOST_SAVED_S)
    with holder.transaction() as connection:
        write_meta(connection, holder.tables, {SCRUBBED: _text(found)})
    return found


def remember(holder: Holder, differences: list[Difference]) -> None:
    """Keep what a whole verification found instead of what scrubbing did."""
    with holder.transaction() as connection:
        found = read(read_meta(connection, holder.tables))
        found.differences = {one.start: one.says for one in differences[:MOST_KEPT]}
        write_meta(connection, holder.tables, {SCRUBBED: _text(found)})


def _take(found: Scrubbed, start: datetime, end: datetime, differences: list[Difference]) -> None:
    """Remember what a period differs in, instead of what it did before."""
    others = {at: says for at, says in found.differences.items() if not start <= at < end}
    mine = {one.start: one.says for one in differences}
    found.differences = dict(sorted((others | mine).items())[:MOST_KEPT])


def _next_unit(holder: Holder, since: datetime) -> Unit | None:
    """The first day or month that begins at `since` or later; None: there is none."""
    segment = holder.tables.segment.c
    with holder.reading() as (connection, raw):
        covered = coverage(connection, holder.tables)
        if covered.start is None or covered.end is None:
            return None
        begin = max(since, covered.start)
        query = sa.select(sa.func.min(segment.start)).where(segment.detailed, segment.start >= since)
        starts = [connection.scalar(query), next(keeping.days(holder, connection, raw, begin, covered.end), None)]
        first = min((start for start in starts if start is not None), default=None)
        if first is None:
            return None
        within = (segment.detailed, segment.unit == "month", segment.start <= first, segment.end > first)
        months = store.headers(connection, holder.tables, *within)
    start = months[0].start if months else holder.day_of(first)
    until = months[0].end if months else start + timedelta(days=1)
    some = [unit for unit in verification.units(holder, since=start, until=until) if unit.end > since]
    return some[0] if some else None


def _text(found: Scrubbed) -> str:
    def text(moment: datetime | None) -> str | None:
        return None if moment is None else moment.isoformat()

    return json.dumps(
        {
            "until": text(found.until),
            "rounds": found.rounds,
            "completed_at": text(found.completed_at),
            "at": text(found.at),
            "saved_s": round(found.saved_s, 3),
            "differences": {start.isoformat(): says for start, says in found.differences.items()},
        }
    )
