"""Deletes raw rows that are too old or too many where there are no rollups: by command, and in a thread of processes that serve.

One process of a host at a time does it, in small pieces, between which the host's writes get their turn. Where there are
rollups, their job does it, once the rows are rolled up.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from . import bounds, databases, forks, processes
from .bounds import Bounds
from .connections import WORKING
from .databases import expressions
from .databases.base import InUse, Partition
from .pace import Pace
from .rollups import partitions
from .spans import EARLIEST, LATEST, naive_utc
from .state import State

SHARE = 0.02
"""Of the time, at most, that looking for too many rows takes."""
LONGEST_PAUSE_S = 3_600.0
"""A machine that was halted meanwhile must not pause for fifty times as long."""


class Stopped(Exception):
    """The process ends."""


def bounds_of(state: State) -> Bounds:
    """What the settings say of the raw table."""
    return Bounds(state.settings.raw_retention, state.settings.raw_max_rows)


def prune(
    state: State, now: datetime, *, before: datetime | None = None, go_on: Callable[[], None] = lambda: None
) -> tuple[int, datetime]:
    """Delete what is too old or too much; how many rows, and what time it was taken to be (naive UTC).

    `before` is what the last run took it to be. `go_on` is called before each piece, and may raise. Raises what the database
    does.
    """
    engine, raw, kept = state.raw_engine_for(WORKING), state.raw, bounds_of(state)
    connect, date = partial(_connection, engine), raw.columns["date"]
    limits, at, deleted = [], now, 0
    if kept.rows is not None:
        too_many = bounds.newest_of(connect, raw, kept.rows)
        limits += [] if too_many is None else [too_many]
    with connect() as connection:
        possible = (date >= raw.instant(EARLIEST), date < raw.instant(LATEST))
        newest = connection.scalar(sa.select(expressions.highest(date)).where(*possible))
        if newest is not None and kept.age is not None:
            at = bounds.believed(now, naive_utc(newest), before, kept.age)
            limits.append(at - kept.age)
        found = databases.of(connection).partitions(connection, raw) if limits else []
    if not limits:
        return 0, at
    limit = partitions.before(found, max(limits))
    for partition in found:
        if partition.end <= limit:
            go_on()
            deleted += _drop(engine, state, partition)
    pace = Pace()
    while True:
        go_on()
        with forks.unforked(engine), engine.begin() as connection:
            some = bounds.delete_some(connection, raw, limit)
        deleted += some
        if some != bounds.DELETED_A_TIME:
            return deleted, at
        pace.pause(some)


def _drop(engine: sa.Engine, state: State, partition: Partition) -> int:
    """Drop a partition all of whose rows are too old; how many. One that somebody reads for long is left to the next run."""
    date = state.raw.columns["date"]
    within = [date < state.raw.instant(partition.end)]
    if partition.start is not None:
        within.append(date >= state.raw.instant(partition.start))
    try:
        with engine.begin() as connection:
            rows = connection.scalar(sa.select(sa.func.count()).select_from(state.raw.table).where(*within)) or 0
            databases.of(connection).drop_partition(connection, partition)
    except InUse:
        return 0
    return rows


@contextmanager
def _connection(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.connect() as connection:
        yield connection


class Pruner:
    """Prunes every `interval`, from the first request of this process on, unless another process of the host does."""

    def __init__(
        self, make: Callable[[], State], interval: timedelta, lock: Callable[[], Path], logger: logging.Logger
    ) -> None:
        self._state = make
        self._interval = interval
        self._lock = lock
        self._logger = logger
        self._starting = threading.Lock()
        self._pid: int | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._before: datetime | None = None
        self._failing = False

    def ensure_running(self) -> None:
        """Start it, if it does not run in this process yet."""
        if self._pid == os.getpid():
            return
        with self._starting:
            if self._pid != os.getpid():
                self._pid, self._stop = os.getpid(), threading.Event()
                forks.expect()
                self._thread = threading.Thread(
                    target=self._run, args=(self._stop,), name="flask-statistics-pruner", daemon=True
                )
                self._thread.start()
                atexit.register(self.stop)

    def stop(self) -> None:
        """Stop it, after the piece under way."""
        if self._thread is not None and self._pid == os.getpid():
            self._stop.set()
            self._thread.join(WORKING.lock_s)
            self._thread = self._pid = None

    def _run(self, stop: threading.Event) -> None:
        pause = 0.0
        while not stop.wait(pause):
            began = time.monotonic()
            self._turn(stop)
            pause = self.pause_after(time.monotonic() - began)

    def pause_after(self, took: float) -> float:
        """Seconds to the next turn, after one that took so many."""
        return max(self._interval.total_seconds(), min(took / SHARE, LONGEST_PAUSE_S))

    def _turn(self, stop: threading.Event) -> None:
        def go_on() -> None:
            if stop.is_set():
                raise Stopped

        try:
            with processes.locked(self._lock()) as mine:
                if mine:
                    now = datetime.now(timezone.utc).replace(tzinfo=None)
                    _, self._before = prune(self._state(), now, before=self._before, go_on=go_on)
        except Stopped:
            return
        except (sa.exc.SQLAlchemyError, OSError) as error:
            if not self._failing:  # once for as long as it lasts
                self._failing = True
                self._logger.error(
                    "Flask-Statistics: raw rows that are too old or too many could not be deleted: %s. It is tried again.",
                    str(getattr(error, "orig", None) or error).partition("\n")[0],
                )
        else:
            self._failing = False
