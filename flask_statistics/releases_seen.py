"""Since when each release of the app is seen: noted by each process for its own, and found again in what is stored.

A process notes it in the background, once, when it gets its first request, so that no request and no page pays for it; whoever
was first counts. What was recorded before there were marks is found by `flask statistics fill marks`, with the same questions in
both modes: profiles say on which day a release began, and series of that day in which minute.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from . import databases, forks
from .dimensions import OTHER_VALUE, Dimension
from .filters import Filters
from .kept import LONGEST_TEXT, MOST_MARKS, RELEASE, Mark, Tables, note_releases
from .queries.interface import HITS, Queries
from .spans import Span, preset
from .writers.transaction import Locked, commit

DIMENSION = "release"
WAIT_MS = 1_000
"""For a SQLite database that another one writes."""
TRIES = 10
AGAIN_AFTER_S = 30.0
MOST_COMMON = 1_000
"""Of so many releases, those with the most requests, it is found out when they were first seen."""


def to_minute(moment: datetime) -> datetime:
    """The minute that an instant is in."""
    return moment.replace(second=0, microsecond=0)


def stored(queries: Queries, dimension: Dimension, *, now: datetime, zone: ZoneInfo) -> Iterator[Mark]:
    """Each release that stored requests have, with the minute of its first one; the latest `MOST_MARKS` of them, latest first.

    Raises what the queries do.
    """
    span = preset("all", now=now, zone=zone, earliest=queries.earliest)
    days = span.edges("day")
    found = queries.profiles(DIMENSION, span, "day", Filters(), limit=MOST_COMMON)
    began = {
        row.value: next((place for place, block in enumerate(row.blocks) if block.hits), None)
        for row in found.rows
        if isinstance(row.value, str) and row.value != OTHER_VALUE
    }
    latest = sorted(((day, value) for value, day in began.items() if day is not None), reverse=True)
    for day, value in latest[:MOST_MARKS]:
        first: Span | None = Span(days[day], days[day + 1], zone)
        for unit in ("hour", "minute"):
            first = first and _first(queries, first, unit, Filters().only(DIMENSION, dimension.text_of(value)))
        if first is not None:
            yield Mark(value[:LONGEST_TEXT], to_minute(first.start), RELEASE)


def mark_stored(
    queries: Queries, dimension: Dimension, engine: sa.Engine, tables: Tables, *, now: datetime, zone: ZoneInfo
) -> tuple[int, int]:
    """Mark the releases of `stored` requests: how many there are, and of how many the mark is new, or another one.

    Raises what the queries and the database do.
    """
    seen = list(stored(queries, dimension, now=now, zone=zone))
    with engine.begin() as connection:
        return len(seen), note_releases(connection, tables, seen)


def _first(queries: Queries, span: Span, unit: str, filters: Filters) -> Span | None:
    """The first bucket of `span` that has a request; None: they were deleted meanwhile."""
    points = queries.series(span, unit, filters, want=HITS)
    return next((Span(point.start, point.end, span.zone) for point in points if point.measures.hits), None)


class ReleaseSeen:
    """Notes since when this process's release is seen."""

    def __init__(self, tables: Tables, engine: Callable[[], sa.Engine], release: str, logger: logging.Logger) -> None:
        self._tables = tables
        self._engine = engine
        self._release = release
        self._logger = logger
        self._starting = threading.Lock()
        self._pid: int | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def ensure_noted(self) -> None:
        """Start the thread that notes it, if this process did not yet."""
        if self._pid == os.getpid():
            return
        with self._starting:
            if self._pid != os.getpid():
                self._pid, self._stop = os.getpid(), threading.Event()
                forks.expect()
                arguments = (self._stop, Mark(self._release, to_minute(_utc_now()), RELEASE))
                self._thread = threading.Thread(
                    target=self._run, args=arguments, name="flask-statistics-release", daemon=True
                )
                self._thread.start()
                atexit.register(self.stop)

    def stop(self) -> None:
        """End the thread, if it still tries."""
        if self._thread is not None and self._pid == os.getpid():
            self._stop.set()
            self._thread.join(WAIT_MS / 1000)
            self._thread = None
            atexit.unregister(self.stop)

    def _run(self, stop: threading.Event, mark: Mark) -> None:
        """Note it; where that cannot be done right now, some times more."""
        error = self._tried(mark)
        for _ in range(TRIES):
            if error is None or stop.wait(AGAIN_AFTER_S):
                return
            error = self._tried(mark)
        self._logger.error(
            "Flask-Statistics: since when the release %r runs could not be stored: %s. 'flask statistics init' creates missing "
            "tables, 'flask statistics fill marks' finds it in what is stored.",
            mark.text,
            str(getattr(error, "orig", None) or error).partition("\n")[0],
        )

    def _tried(self, mark: Mark) -> Exception | None:
        """Why it could not be stored; None: it is."""
        try:
            engine = self._engine()
            # in memory, a transaction of ours would be the host's as well
            if databases.of(engine).shared_connection(engine) is None:
                self.note(engine, mark)
        except (Locked, sa.exc.SQLAlchemyError, OSError) as error:
            return error
        return None

    def note(self, engine: sa.Engine, mark: Mark) -> None:
        """Store it, unless it is known. Raises `Locked`, and what the database does."""
        try:
            commit(engine, lambda connection: _note(connection, self._tables, mark), wait_ms=WAIT_MS)
        except sa.exc.DBAPIError as error:  # another process of this release was quicker
            if not databases.of(engine).is_conflict(error):
                raise


def _note(connection: sa.Connection, tables: Tables, mark: Mark) -> None:
    note_releases(connection, tables, [mark])


def _utc_now() -> datetime:
    return datetime.now(timezone.utc).replace(tzinfo=None)
