"""What would help, and why: of what was measured, one line each with the setting to paste. Pure.

Health, `flask statistics status` and a page that took long say it; nothing is advised that was not seen to be wanting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .formatting import duration, size

SLOW_PAGE_S = 1.0
"""A page that takes longer says what would help."""
SLOW_RECORDING_S = 0.005
"""What recording may take of a request before a spool is worth its files."""
LEAST_TIMED = 20
"""Requests: of fewer nothing is concluded."""
MANY_ROWS = 1_000_000
"""Raw rows from which on pages over longer spans are slow without rollups."""
ROWS_TO_INDEX = 10_000
"""Raw rows from which on an index on the date is noticed."""
LARGE_IN_A_YEAR = 10 << 30
"""Bytes that should have been wanted."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What advice is made of. What is None was not measured."""

    rollups: bool
    page_s: float | None = None
    """Seconds that the slowest of the latest pages took."""
    rows: int | None = None
    """About how many raw rows there are."""
    indexed: bool | None = None
    """Whether there is an index on the date."""
    locks_out: bool = False
    """Whether nobody can write while somebody reads: SQLite in any journal mode but WAL."""
    spools: bool = True
    recording_s: float | None = None
    """Seconds that recording takes of nineteen requests of twenty, at most."""
    recordings: int = 0
    """Of so many requests."""
    bytes_a_day: float | None = None
    in_a_year: float | None = None
    """Bytes of all tables then."""
    full_in_days: float | None = None
    """When the disk is full; None: not within a year."""
    bounded: bool = True
    """Whether a setting says how much of the raw table is kept."""
    guarded: bool = True


def advice(measured: Measured) -> tuple[str, ...]:
    """What would help, the most helpful first; empty: nothing that is known of."""
    return tuple(text for rule in RULES for text in [rule(measured)] if text is not None)


def _guard(measured: Measured) -> str | None:
    if measured.guarded:
        return None
    return (
        "Everybody who can reach this app can see this page, as nobody guards it: Statistics(app, db, Request, login_required), "
        "or another guard of flask_statistics.guards, asks who it is."
    )


def _index(measured: Measured) -> str | None:
    if measured.indexed is not False or not ((measured.rows or 0) > ROWS_TO_INDEX or _slow(measured)):
        return None
    return f"Each question reads {_rows(measured)} as there is no index on the date: 'flask statistics init' makes one."


def _rollups(measured: Measured) -> str | None:
    if measured.rollups or not ((measured.rows or 0) > MANY_ROWS or _slow(measured)):
        return None
    because = (
        f"A page took {duration(measured.page_s)}, as it is reckoned from {_rows(measured)}"
        if _slow(measured)
        else f"Pages are reckoned from {_rows(measured)}"
    )
    return f"{because}: with STATISTICS_ROLLUPS = True, and 'flask statistics init', they are answered from sums."


def _wal(measured: Measured) -> str | None:
    if not measured.locks_out or measured.rollups or not ((measured.rows or 0) > MANY_ROWS or _slow(measured)):
        return None
    return (
        "SQLite lets nobody write while somebody reads, so that pages are read in pieces, which takes longer: "
        "PRAGMA journal_mode = WAL, executed once, lets both go on."
    )


def _spool(measured: Measured) -> str | None:
    if measured.spools or measured.recordings < LEAST_TIMED or (measured.recording_s or 0) <= SLOW_RECORDING_S:
        return None
    return (
        f'Recording takes up to {duration(measured.recording_s)} of a request: STATISTICS_WRITER = "spool", and '
        "'flask statistics init', takes it off the request."
    )


def _retention(measured: Measured) -> str | None:
    if measured.bounded or (measured.full_in_days is None and (measured.in_a_year or 0) < LARGE_IN_A_YEAR):
        return None
    until = "" if measured.full_in_days is None else f", and the disk is full in {measured.full_in_days:.0f} days"
    return (
        f"The raw table grows by {size(measured.bytes_a_day)} a day{until}: STATISTICS_RAW_RETENTION = timedelta(days=90), or "
        "STATISTICS_RAW_MAX_ROWS, bounds it."
    )


def _slow(measured: Measured) -> bool:
    return measured.page_s is not None and measured.page_s > SLOW_PAGE_S


def _rows(measured: Measured) -> str:
    return "all raw rows of the span" if measured.rows is None else f"about {measured.rows:,} raw rows"


RULES: tuple[Callable[[Measured], str | None], ...] = (_guard, _index, _rollups, _wal, _spool, _retention)
