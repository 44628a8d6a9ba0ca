"""The spool writer: a request appends its record to a local file, and one thread a process moves them to the raw table.

Nothing runs before the first request of a process: then it takes a spool file and starts the thread, so that a fork, a
reloader and `--preload` are nothing special. In tests, and with an in-memory database, there is neither a file nor a
thread: the rows are moved at the end of each request.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from ... import databases, forks
from ...databases.errors import fix
from ...models import RawTable
from ...record import Backlog, Counters, NotStored, Record, Writer
from ..transaction import Locked
from . import ending, times
from .between import Level
from .disk import fix_folder
from .drain import Drain
from .file import SpoolFile
from .folder import SpoolFolder, folder_for
from .journal import PulledAway
from .lines import FIELDS, encode
from .listing import read_backlog
from .moving import Mover
from .own import OwnSpool

HELP = "Requests are served and not recorded until the spool can be written."


class SpoolWriter(Writer):
    """Takes records at the speed of the local disk, and loses none while the database is away."""

    def __init__(
        self,
        *,
        raw: RawTable,
        table: sa.Table,
        engine: Callable[[], sa.Engine],
        table_engine: Callable[[], sa.Engine],
        folder: Path,
        most_rows: int,
        counters: Counters,
        logger: logging.Logger,
        testing: Callable[[], bool],
        late: Callable[[datetime], None],
        begun: Callable[[], None] = lambda: None,
        drain: Callable[..., Drain] = Drain,
    ) -> None:
        """`engine` is that of the raw table, `table_engine` that of `table`; they differ where the raw table is on ClickHouse.

        `begun` is told when a process begins to record. `drain` is what empties the spool.
        """
        self._raw = raw
        self._table = table
        self._engine = engine
        self._table_engine = table_engine
        self._path = folder
        self._most_rows = most_rows
        self._make_drain = drain
        self._counters = counters
        self._logger = logger
        self._testing = testing
        self._late = late
        self._begun = begun
        self._begin_lock = threading.Lock()
        self._not_before = 0.0
        self._help = HELP
        self._reset()
        ending.note(self)

    def forked(self) -> None:
        """Begin anew in a new process: threads, locks and files are the parent's."""
        if self._drain is not None:
            self._drain.leave()
            assert self._spool is not None  # noqa: S101 - a thread has one
            self._spool.close()
            # the thread left its connection in the pool, and parent and child must not talk on the same one
            for engine in {self._engine(), self._table_engine()}:
                engine.dispose(close=False)
        self._counters.lock = threading.Lock()
        self._begin_lock = threading.Lock()
        self._reset()

    def _reset(self) -> None:
        self._spool: OwnSpool | None = None
        self._drain: Drain | None = None
        self._inline = False
        self._inline_lock = threading.Lock()
        self._level = Level(0, self._most_rows)
        self._fresh = False
        """Whether the files were pulled away, so that none must be taken in which records wait."""

    # ---- in the request ------------------------------------------------------------------------------------------

    def write(self, record: Record, *, host_in_transaction: bool) -> int:
        """Append `record` to the spool; 0, as it is stored later. Raises `NotStored` if the spool is full or out of order."""
        spool = self._spool or self._begin()
        level = self._level
        if level.is_full():
            raise NotStored(
                1,
                "The database has been away for too long: when it is back, all that waits is stored. "
                "STATISTICS_SPOOL_MAX_ROWS can be raised.",
                f"the spool is full, {level.rows:,} records wait",
            )
        try:
            try:
                spool.append(encode(record))
            except PulledAway as reason:
                self._renew(spool, reason).append(encode(record))
        except (sqlite3.Error, OSError) as error:
            raise self._broken(error) from error
        self._level.rows += 1
        if self._inline:
            return self._move_inline(0 if host_in_transaction else times.INLINE_LOCK_WAIT_MS)
        drain = self._drain
        if drain is not None:  # else the process ends, and the next one moves it
            drain.appended()
        return 0

    def flush(self) -> int:
        """In tests, move what waited for the end of a context; how many rows."""
        return self._move_inline(0) if self._inline and self._level.rows else 0

    def settle(self) -> int:
        """Have all moved that is in any spool of the app, unless that takes longer than `times.SETTLE_S`; 0."""
        try:
            self._begin()
        except NotStored as reason:
            raise NotStored(0, reason.fix, str(reason)) from reason.__cause__
        if self._inline:
            return self._move_inline(0)
        drain = self._drain
        if drain is not None:
            drain.settle()
        return 0

    def backlog(self) -> Backlog:
        """What waits in all spool files of the app, also in those of other processes."""
        if self._inline and self._spool is not None:
            return Backlog(self._spool.waiting(), None, self._spool.aside.count())
        return read_backlog(self.folder())

    def in_memory(self) -> Backlog:
        """Nothing."""
        return Backlog(0, None)

    def close(self) -> None:
        """Move what can be moved within `times.STOP_S`, end the thread and close the files."""
        with self._begin_lock:
            drain, self._drain = self._drain, None
            if drain is not None:
                drain.stop()
            if self._spool is not None:
                self._spool.end()  # before another process can have the file
            if drain is not None:
                drain.leave()
            self._spool = None

    def hurry(self) -> None:
        """Move what waits, in a signal handler: without a lock."""
        drain = self._drain
        if drain is not None and drain.busy():
            drain.hurry()

    # ---- the beginning -------------------------------------------------------------------------------------------

    def _renew(self, spool: OwnSpool, reason: PulledAway) -> OwnSpool:
        """Go on in another file than `spool`, whose files somebody deleted, moved or replaced; with what can be saved.

        Raises `NotStored`.
        """
        with self._begin_lock:
            if self._spool is spool:
                drain, self._drain, self._spool, self._fresh = self._drain, None, None, True
                self._not_before = 0.0
                if drain is not None:
                    saved, lost = drain.retire()
                    if lost:
                        self._counters.lose(lost, type(reason).__name__, str(reason))
                    self._logger.error(
                        "Flask-Statistics: somebody deleted, moved or replaced files of the spool (%s). Requests are recorded "
                        "in new ones; of those that waited, %s are saved and %s are lost. Does something tidy up the folder "
                        "%s? If it was moved away, put its files back, and what they have is stored.",
                        reason.filename or reason,
                        f"{saved:,}",
                        f"{lost:,}",
                        self._path,
                    )
                spool.close()
        return self._begin()

    def _leave(self, spool: OwnSpool) -> None:
        """Go on in another file than `spool`, in which records of an earlier process wait for another database."""
        with self._begin_lock:
            if self._spool is not spool or self._drain is None:
                return
            drain, self._drain, self._spool, self._fresh = self._drain, None, None, True
            drain.go_elsewhere()
            spool.go_elsewhere()
        with suppress(NotStored):  # the next request tries it again, and says so
            self._begin()

    def _pulled_away(self, spool: OwnSpool, reason: PulledAway) -> None:
        with suppress(NotStored):  # the next request tries it again, and says so
            self._renew(spool, reason)

    def _begin(self) -> OwnSpool:
        """Take a spool file and start the thread, once in each process."""
        with self._begin_lock:
            if self._spool is not None:
                return self._spool
            if time.monotonic() < self._not_before:
                raise NotStored(1, self._help, "the spool cannot be opened")
            engine = self._engine()
            mover = self._make_mover(engine)
            shared = any(databases.of(one).shared_connection(one) for one in (engine, self._table_engine()))
            if self._testing() or shared:
                self._inline, self._mover = True, mover
                spool = OwnSpool(None)
                spool.claim(FIELDS)
            else:
                folder = self.folder()
                try:
                    spool = folder.claim(FIELDS, fresh=self._fresh)
                    self._level = Level(spool.waiting(), self._most_rows)
                except (sqlite3.Error, OSError) as error:
                    folder.release()
                    self._not_before = time.monotonic() + times.OPEN_AGAIN_S
                    raise self._broken(error) from error
                drain = self._new_drain(mover, spool, folder)
                forks.expect()
                try:
                    drain.start()
                except RuntimeError as error:  # the system allows no more threads
                    self._not_before = time.monotonic() + times.OPEN_AGAIN_S
                    spool.close()
                    folder.release()
                    raise NotStored(1, "May the app's user start more threads?", str(error)) from error
                self._drain = drain
                self._begun()  # before it is registered what comes first at the end
                ending.stop_at_exit()
            self._spool = spool
            return spool

    def _new_drain(self, mover: Mover, spool: OwnSpool, folder: SpoolFolder) -> Drain:
        return self._make_drain(
            mover,
            appended_to=spool,
            own=SpoolFile(spool.path),
            folder=folder,
            level=self._level,
            counters=self._counters,
            logger=self._logger,
            pulled_away=partial(self._pulled_away, spool),
            for_another=partial(self._leave, spool),
        )

    def _make_mover(self, engine: sa.Engine) -> Mover:
        if not databases.of(engine).has_transactions:
            from .keyed import KeyedMover

            return KeyedMover(self._raw, self._table, self._table_engine(), self._late, raw_engine=engine)
        return Mover(self._raw, self._table, engine, self._late)

    def folder(self) -> SpoolFolder:
        """The folder of the spool files, as this app sees it."""
        return folder_for(self._path, self._engine().url, self._raw.table, self._logger)

    def mover(self) -> Mover:
        """What moves records into the raw table."""
        return self._make_mover(self._engine())

    def _broken(self, error: Exception) -> NotStored:
        self._help = f"{HELP} {fix_folder(error, self._path)}"
        return NotStored(1, self._help)

    def _move_inline(self, wait_ms: int) -> int:
        spool, stored = self._spool, 0
        if spool is None:
            return 0
        with self._inline_lock:
            try:
                while True:
                    moved = self._mover.move(spool, wait_ms=wait_ms)
                    stored += moved.stored
                    if not moved.more:
                        break
            except Locked:
                pass  # the host's transaction is open: at the end of its context is the next try
            except sa.exc.SQLAlchemyError as error:
                help_ = fix(error)
                raise NotStored(0, f"It waits in the spool. {help_}", stored=stored) from error
            finally:
                self._level.rows = spool.waiting()
        return stored
