"""Stores what was counted of statements every few seconds, in a thread of each process that serves, and deletes what is too old.

No request waits for it, and none fails at it: what a database does not take waits in memory, and is lost with the process.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone

import sqlalchemy as sa

from .. import databases, forks
from ..timing.collector import Source, Times
from ..writers.transaction import Locked, commit
from . import storing
from .table import Tables
from .tally import Sums, Tally

ADDED_UP_EVERY_S = 1.0
"""What waits longer makes the garbage collector slow."""
STORED_EVERY_S = 5.0
PRUNED_EVERY_S = 3600.0
WAIT_MS = 1_000
"""For a SQLite database that another one writes; a request does not wait at all."""
TRIES = 3
"""Where another process adds the same statement at the same time."""
STOPPED_WITHIN_S = 5.0
KEPT = timedelta(days=90)
"""How long, where no setting says how long raw rows are."""


class Keeper:
    """Keeps what the statements of one app took."""

    def __init__(
        self, tables: Tables, engine: Callable[[], sa.Engine], *, kept: timedelta | None, logger: logging.Logger
    ) -> None:
        self.tables = tables
        self.trouble: str | None = None
        """Why it cannot be stored right now; None: it can."""
        self._engine = engine
        self._kept = kept
        self._logger = logger
        self._renew()
        self._pid: int | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def _renew(self) -> None:
        self._tally = Tally()
        self._storing = threading.Lock()
        self._stop = threading.Event()

    @property
    def waits(self) -> bool:
        """Whether there is something that is not stored yet."""
        return bool(self._tally)

    @property
    def lost(self) -> int:
        """Requests, or sums of statements, of this process that are stored nowhere."""
        return self._tally.lost

    @property
    def problems(self) -> tuple[str, ...]:
        """What somebody should look after, as sentences."""
        found = []
        if self.trouble is not None:
            found.append(f"What statements took is not stored right now, and waits in memory: {self.trouble}.")
        if self.lost:
            found.append(
                f"What statements took is lost of {self.lost:,} requests of this process: too much waited to be stored."
            )
        return tuple(found)

    # ---- asked by requests ---------------------------------------------------------------------------------------

    def keep(self, route: str | None, statements: Mapping[Source, Times]) -> None:
        """Count what a request sent."""
        self._tally.keep(route, statements)

    def ensure_running(self) -> None:
        """Start the thread, if it does not run in this process yet."""
        if self._pid == os.getpid():
            return
        with self._starting:
            if self._pid != os.getpid():
                if self._pid is not None:
                    self._renew()  # what is there is for the parent to store, whose thread may have held the lock
                self._pid = os.getpid()
                forks.expect()
                self._thread = threading.Thread(target=self._run, name="flask-statistics-statements", daemon=True)
                self._thread.start()
                atexit.register(self.stop)

    def settle(self) -> None:
        """Before somebody looks: store what there is, if nobody is in the way."""
        if self._tally and self._storing.acquire(blocking=False):
            try:
                self._store(wait_ms=0)
            finally:
                self._storing.release()

    def stop(self) -> None:
        """Store what there is and end the thread."""
        if self._thread is not None and self._pid == os.getpid():
            self._stop.set()
            self._thread.join(STOPPED_WITHIN_S)
            self._thread = self._pid = None
            atexit.unregister(self.stop)
            self._stop = threading.Event()

    # ---- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        stop, prune_at, store_at = self._stop, time.monotonic(), time.monotonic() + STORED_EVERY_S
        last = False
        while not last:
            last = stop.wait(min(ADDED_UP_EVERY_S, STORED_EVERY_S))
            try:
                self._tally.add_up()
                if not last and time.monotonic() < store_at:
                    continue
                store_at = time.monotonic() + STORED_EVERY_S
                # in memory, a transaction of ours would be the host's as well: it is for requests, in their own threads
                if databases.of(self._engine()).shared_connection(self._engine()) is not None:
                    continue
                with self._storing:
                    self._store(wait_ms=WAIT_MS)
                if not last and time.monotonic() >= prune_at:
                    prune_at = time.monotonic() + PRUNED_EVERY_S
                    prune(self._engine(), self.tables, _utc_now(), self._kept)
            except (sa.exc.SQLAlchemyError, OSError) as error:
                self._complain(error)
            except Exception:
                self._logger.exception(
                    "Flask-Statistics: a fault in the thread that keeps statements; please report it."
                )

    def _store(self, *, wait_ms: int) -> None:
        """Store what there is; what is not taken waits on."""
        left = self._tally.take()
        try:
            for piece in storing.pieces(dict(left)):
                self._commit(piece, wait_ms)
                for key in piece:
                    del left[key]
        except Locked:
            if self.trouble is None and wait_ms:
                self.trouble = "the database is locked"
        except sa.exc.SQLAlchemyError as error:
            self._complain(error)
        else:
            self.trouble = None
        finally:
            if left:
                self._tally.put_back(left)

    def _commit(self, piece: Sums, wait_ms: int, tries: int = TRIES) -> None:
        engine, now = self._engine(), _utc_now()
        try:
            commit(engine, lambda connection: storing.add(connection, self.tables, piece, now), wait_ms=wait_ms)
        except sa.exc.DBAPIError as error:
            if tries == 1 or not databases.of(engine).is_conflict(error):
                raise
            self._commit(piece, wait_ms, tries - 1)

    def _complain(self, error: Exception) -> None:
        """Log what is wrong, once for as long as it lasts."""
        said, self.trouble = self.trouble, str(getattr(error, "orig", None) or error).partition("\n")[0]
        if said is None:
            self._logger.error(
                "Flask-Statistics: what statements took could not be stored: %s. It is tried again; 'flask statistics init' "
                "creates missing tables.",
                self.trouble,
            )


def prune(engine: sa.Engine, tables: Tables, now: datetime, kept: timedelta | None) -> int:
    """Delete what is older than `kept`, or `KEPT`, an hour at a time; how many rows. Raises what the database does."""
    with engine.connect() as connection:
        before = storing.too_old(connection, tables, now, kept or KEPT)
        hours = [] if before is None else storing.hours_before(connection, tables, before)
    deleted = 0
    for start in hours:
        with forks.unforked(engine), engine.begin() as connection:
            deleted += storing.delete_hour(connection, tables, start)
    if before is not None and hours:
        with forks.unforked(engine), engine.begin() as connection:
            storing.delete_unseen(connection, tables, before)
    return deleted


def _utc_now() -> datetime:
    return datetime.now(timezone.utc).replace(tzinfo=None)
