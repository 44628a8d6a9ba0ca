"""The spool writer: a request appends its record to a local file, and one thread a process moves them to the raw table.

Nothing runs before the first request of a process: then it takes a spool file and starts the thread, so that a fork, a
reloader and `--preload` are nothing special. In tests, and with an in-memory database, there is neither a file nor a
thread: the rows are moved at the end of each request.
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import math
import os
import signal
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cache, partial
from pathlib import Path

import sqlalchemy as sa

from ... import databases, forks, user_agents
from ...databases.causes import Cause
from ...databases.errors import cause_of, fix
from ...models import RawTable
from ...record import Backlog, Counters, NotStored, Record, Writer
from ..transaction import Locked
from .disk import fix_folder
from .file import SpoolFile, SpoolUnusable, has_no_space
from .folder import PREFIX, SpoolFolder
from .journal import PulledAway
from .listing import read_backlog
from .moving import FIELDS, Mover, Overtaken, encode, one_line, try_again

SWEEP_S = 5.0
"""How often a process looks for what dead ones left."""
SETTLE_S = 1.0
"""How long the dashboard waits for what was just requested."""
STOP_S = 10.0
"""How long the end of a process waits for a last move; what is not moved by then, the next one moves."""
LOCK_WAIT_MS = 2_000
"""How long a move waits for another writer of a SQLite database; requests do not."""
LOCKED_S = 10.0
"""A SQLite database that is locked for so long is worth a line in the log."""
INLINE_LOCK_WAIT_MS = 1_000
TRIED_A_TIME = 50
"""Of what was set aside, as many are tried again at once."""
BACK_OFF_S = (0.5, 10.0)
"""The shortest and the longest pause between attempts while the database is away."""
OPEN_AGAIN_S = 1.0
"""After this time a request tries again to open a spool that could not be opened."""
ADDRESS_KEYS = frozenset({"host", "hostaddr", "port", "dbname", "service", "unix_socket", "read_default_file"})
"""What in a URL's query says which server or database it means: two servers on one host have the same name otherwise."""
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
    ) -> None:
        """`engine` is that of the raw table, `table_engine` that of `table`; they differ where the raw table is on ClickHouse.

        `begun` is told when a process begins to record.
        """
        self._raw = raw
        self._table = table
        self._engine = engine
        self._table_engine = table_engine
        self._path = folder
        self._most_rows = most_rows
        self._counters = counters
        self._logger = logger
        self._testing = testing
        self._late = late
        self._begun = begun
        self._begin_lock = threading.Lock()
        self._not_before = 0.0
        self._help = HELP
        self._reset()
        with _register:
            _writers.add(self)
        forks.expect()

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
        self._spool: SpoolFile | None = None
        self._drain: _Drain | None = None
        self._inline = False
        self._inline_lock = threading.Lock()
        self._rows = 0
        """Records that wait, as far as this process knows."""
        self._fresh = False
        """Whether the files were pulled away, so that none must be taken in which records wait."""

    # ---- in the request ------------------------------------------------------------------------------------------

    def write(self, record: Record, *, host_in_transaction: bool) -> int:
        """Append `record` to the spool; 0, as it is stored later. Raises `NotStored` if the spool is full or out of order."""
        spool = self._spool or self._begin()
        if self._rows >= self._most_rows:
            raise NotStored(
                1,
                "The database has been away for too long: when it is back, all that waits is stored. "
                "STATISTICS_SPOOL_MAX_ROWS can be raised.",
                f"the spool is full, {self._rows:,} records wait",
            )
        try:
            try:
                spool.append(encode(record))
            except PulledAway as reason:
                self.renew(spool, reason).append(encode(record))
        except (sqlite3.Error, OSError) as error:
            raise self._broken(error) from error
        self._rows += 1
        if self._inline:
            return self._move_inline(0 if host_in_transaction else INLINE_LOCK_WAIT_MS)
        drain = self._drain
        if drain is not None:  # else the process ends, and the next one moves it
            drain.appended()
        return 0

    def flush(self) -> int:
        """In tests, move what waited for the end of a context; how many rows."""
        return self._move_inline(0) if self._inline and self._rows else 0

    def settle(self) -> int:
        """Have all moved that is in any spool of the app, unless that takes longer than `SETTLE_S`; 0."""
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
            return Backlog(self._spool.waiting(), None, self._spool.count_refused())
        return read_backlog(self.folder())

    def in_memory(self) -> Backlog:
        """Nothing."""
        return Backlog(0, None)

    def close(self) -> None:
        """Move what can be moved within `STOP_S`, end the thread and close the files."""
        with self._begin_lock:
            drain, self._drain = self._drain, None
            if drain is not None:
                drain.wake()
                drain.stop(STOP_S)
            if self._spool is not None:
                self._spool.end()  # before another process can have the file
            if drain is not None:
                drain.leave()
            self._spool = None

    # ---- the beginning -------------------------------------------------------------------------------------------

    def renew(self, spool: SpoolFile, reason: PulledAway) -> SpoolFile:
        """Go on in another file than `spool`, whose files somebody deleted, moved or replaced; with what can be saved.

        Raises `NotStored`.
        """
        with self._begin_lock:
            if self._spool is spool:
                drain, self._drain, self._spool, self._fresh = self._drain, None, None, True
                self._not_before = 0.0
                if drain is not None:
                    saved, lost = drain.retire(spool)
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

    def leave(self, spool: SpoolFile) -> None:
        """Go on in another file than `spool`, in which records of an earlier process wait for another database."""
        with self._begin_lock:
            if self._spool is not spool or self._drain is None:
                return
            drain, self._drain, self._spool, self._fresh = self._drain, None, None, True
            drain.go_elsewhere()
            spool.go_elsewhere()
        with suppress(NotStored):  # the next request tries it again, and says so
            self._begin()

    def _begin(self) -> SpoolFile:
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
                spool = SpoolFile(None)
                spool.claim(FIELDS)
            else:
                folder = self.folder()
                try:
                    spool = folder.claim(FIELDS, fresh=self._fresh)
                    self._rows = spool.waiting()
                except (sqlite3.Error, OSError) as error:
                    folder.release()
                    self._not_before = time.monotonic() + OPEN_AGAIN_S
                    raise self._broken(error) from error
                drain = _Drain(self, mover, spool, folder)
                forks.expect()
                try:
                    drain.start()
                except RuntimeError as error:  # the system allows no more threads
                    self._not_before = time.monotonic() + OPEN_AGAIN_S
                    spool.close()
                    folder.release()
                    raise NotStored(1, "May the app's user start more threads?", str(error)) from error
                self._drain = drain
                self._begun()  # before it is registered what comes first at the end
                _stop_at_exit()
            self._spool = spool
            return spool

    def _make_mover(self, engine: sa.Engine) -> Mover:
        if not databases.of(engine).has_transactions:
            from .keyed import KeyedMover

            return KeyedMover(self._raw, self._table, self._table_engine(), self._late, raw_engine=engine)
        return Mover(self._raw, self._table, engine, self._late)

    def folder(self) -> SpoolFolder:
        """The folder of the spool files, as this app sees it."""
        return spool_folder(self._path, self._engine().url, self._raw.table, self._logger)

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
                self._rows = spool.waiting()
        return stored


def spool_folder(path: Path, url: sa.URL, table: sa.Table, logger: logging.Logger) -> SpoolFolder:
    """The spool files in `path`; those of this raw table, as it is addressed now, have a name of their own."""
    name = f"{PREFIX}{name_of(url, table)}"
    address = url.set(username=None, password=None, query={}).render_as_string()
    return SpoolFolder(path, name, logger, f"{address}, table {table.fullname}")


def name_of(url: sa.URL, table: sa.Table) -> str:
    """What tells the files of one app from those of others: a hash of the address of its database, and of its table."""
    asked = sorted((key, value) for key, value in url.query.items() if key in ADDRESS_KEYS)
    place = (url.get_backend_name(), url.host, url.port, url.database, table.fullname, asked)
    return hashlib.sha256(repr(place).encode()).hexdigest()[:10]


# ---- the thread ------------------------------------------------------------------------------------------------------


class _Drain:
    """The thread of one process that moves what is in its spool, and in those of dead processes."""

    def __init__(self, writer: SpoolWriter, mover: Mover, spool: SpoolFile, folder: SpoolFolder) -> None:
        self._writer = writer
        self._mover = mover
        assert spool.path is not None  # noqa: S101 - only tests have none, and no thread
        self._appended_to = spool
        self._own = SpoolFile(spool.path)  # on a connection of its own, so that appends need not wait for it
        self._folder = folder
        self._others: dict[Path, SpoolFile] = {}
        self._unusable: set[Path] = set()
        self._unknown: set[Path] = set()
        """Files that were not looked at yet whether they are whole."""
        self._foreign: set[Path] = set()
        """Files that the log has named as of other databases."""
        self._wake = threading.Event()
        self._appended_at: float | None = None
        """When the first record came that no round has looked for; None: there is none."""
        self._fresh = 0
        self._full = False
        self._stopping = False
        self._round_over = threading.Condition()
        self._asked = 0
        self._answered = 0
        self._sweep_at = 0.0
        self._rest_at = 0.0
        self._tried_at = -math.inf
        self._in_round = False
        self._failed_since: float | None = None
        self._said = False
        """Whether the log has it."""
        self._back_off = 0.0
        self._refusals_said_at = -math.inf
        self._noted = True
        """Whether what is to be noted in the own file could be written there."""
        self._database = ""
        """As which the database is known; empty: it was not asked yet, or was away since."""
        self._described = False
        """Whether the headers of new files say what is known since."""
        self._retired = False
        """Whether the own file was pulled away."""
        self._kept: int | None = None
        """Descriptor of a lock, until the thread has ended: of a file with records that it may be storing."""
        self._thread = threading.Thread(target=self._run, name="flask-statistics-spool", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    # ---- asked by requests ---------------------------------------------------------------------------------------

    def appended(self) -> None:
        """Say that there is one record more."""
        self._fresh += 1
        if self._appended_at is None:
            self._appended_at = time.monotonic()
            self._wake.set()
        elif self._fresh >= self._mover.rows_a_time and not self._full:
            self._full = True
            self._wake.set()

    def settle(self) -> None:
        """Wait for a round that begins from now on, or for `SETTLE_S`."""
        with self._round_over:
            self._asked += 1
            ticket = self._asked
            self._wake.set()
            self._round_over.wait_for(lambda: self._answered >= ticket, SETTLE_S)

    def stop(self, seconds: float) -> None:
        """Have a last round and end the thread, within so many seconds. A signal handler may call it: it takes no lock."""
        self._stopping = True
        if threading.current_thread() is not self._thread:
            self._thread.join(seconds)

    def wake(self) -> None:
        """Let the thread see at once that it shall stop."""
        self._stopping = True
        self._wake.set()

    def busy(self) -> bool:
        """Whether there is something to move, as far as is known."""
        return self._in_round or self._appended_at is not None

    def retire(self, spool: SpoolFile) -> tuple[int, int]:
        """End the thread, as the file was pulled away, and save what it has; how many records are saved, and how many lost."""
        self._retired = True
        self.wake()
        spool.note_moved(self._own.seen_moved())
        saved, lost = 0, spool.gone()
        try:
            path, self._kept = self._folder.spare()
            saved = spool.salvage(path)
        except OSError as error:
            self._writer._logger.error("Flask-Statistics: what waited in the spool cannot be saved: %s", error)
            lost += max(0, self._writer._rows - lost)
        try:
            spool.look_at_itself()
        except PulledAway:  # what was set aside is gone as well, and can still be counted
            with suppress(sqlite3.Error):
                lost += self._own.count_refused()
        if not self._thread.is_alive():
            self._let_go()
        self._folder.release()
        return saved, lost

    def go_elsewhere(self) -> None:
        """End the thread, which calls this itself, and leave the file to whom it belongs."""
        self._retired = True
        self.wake()
        self._folder.release()

    def _let_go(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            os.close(kept)

    def leave(self) -> None:
        """Let go of the file: it is the parent's, or the thread has ended. One that has not keeps it."""
        if self._thread is threading.current_thread() or not self._thread.is_alive():
            self._folder.release()

    # ---- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with _importing:
            user_agents.parse("-")  # imports libraries, and a fork in the middle of an import leaves halves of modules
        try:
            while not self._stopping:
                self._guarded(self._turn)
            if not self._retired and (self.busy() or self._failed_since is not None):
                self._guarded(self._round)
            if not self._retired:
                self._guarded(self._keep_house)
        finally:
            for file in (self._own, *self._others.values()):
                file.close()
            self._let_go()

    def _guarded(self, action: Callable[[], None]) -> None:
        """Do it, whatever comes: without the thread, records would only wait."""
        try:
            action()
        except Exception:
            self._writer._logger.exception(
                "Flask-Statistics: a fault in the spool's thread, which goes on; please report it."
            )
            self._wake.clear()
            self._wake.wait(BACK_OFF_S[0])

    def _turn(self) -> None:
        due = self._due()
        self._wake.wait(min(max(0.0, due - time.monotonic()), self._mover.flush_s if self.busy() else SWEEP_S))
        self._wake.clear()
        if self._stopping or time.monotonic() >= self._due():
            self._round()

    def _due(self) -> float:
        """When the next round shall begin."""
        asked = self._asked > self._answered
        if self._failed_since is not None:
            return self._tried_at + (min(1.0, self._back_off) if asked else self._back_off)
        if asked or self._full:
            return 0.0
        if self._appended_at is not None:
            return min(self._appended_at + self._mover.flush_s, self._sweep_at)
        return self._sweep_at

    def _round(self) -> None:
        asked, self._in_round = self._asked, True
        self._appended_at, self._fresh, self._full = None, 0, False
        self._tried_at = time.monotonic()
        failure: Callable[[], None] = self._succeed
        try:
            self._look()
            self._introduce()
            self._move_all(everybody=asked > self._answered)
        except Locked as reason:
            # usual where several write one SQLite database, unless it lasts
            failure = partial(self._fail, str(reason), Cause.LOCKED.value, said_after=LOCKED_S)
        except sa.exc.SQLAlchemyError as error:
            passing = cause_of(error) in (Cause.LOCKED, Cause.CONFLICT, Cause.STOPPED)
            failure = partial(self._fail, one_line(error), fix(error), said_after=LOCKED_S if passing else 0.0)
        except (sqlite3.Error, OSError, SpoolUnusable) as error:
            failure = partial(self._fail, one_line(error), fix_folder(error, self._writer._path))
        except Exception as error:
            self._writer._logger.exception("Flask-Statistics: moving records to the raw table failed.")
            failure = partial(self._fail, one_line(error), "This is a fault of Flask-Statistics; please report it.")
        if not self._retired:
            failure()
            self._keep_house()
        self._in_round = False
        with self._round_over:
            self._answered = asked
            self._round_over.notify_all()

    def _look(self) -> None:
        """See that the own files are where they were, also while nothing is appended."""
        spool = self._writer._spool
        if spool is not None and not self._stopping:
            try:
                spool.look()
            except PulledAway as reason:
                with suppress(NotStored):  # the next request tries it again, and says so
                    self._writer.renew(spool, reason)

    def _introduce(self) -> None:
        """Ask the database who it is: at the beginning, and when it was away, as another one may have come back."""
        if self._database or self._retired:
            return
        try:
            self._database = self._mover.identity(wait_ms=LOCK_WAIT_MS)
        except Overtaken:  # another process gave it its number at the same time
            self._database = self._mover.identity(wait_ms=LOCK_WAIT_MS)
        before = self._own.hints()["database"]
        if before not in ("", self._database) and self._appended_to.inherits():
            self._folder.know(self._database)
            self._writer.leave(self._appended_to)
            return
        if before not in ("", self._database):
            self._writer._logger.warning(
                "Flask-Statistics: the database is another one than before; requests of this process that wait go into it."
            )
        try:
            self._own.belong_to({"database": self._database})
        except sqlite3.OperationalError as error:
            if not has_no_space(error):
                raise
        self._described = False
        self._folder.know(self._database)

    def _move_all(self, *, everybody: bool) -> None:
        """Move what is in the own spool, now and then in those of dead processes, and in all if `everybody`."""
        if self._retired:
            return
        self._empty(self._own)
        if not self._described and self._writer._spool is not None:
            self._writer._spool.describe()
            self._described = True
        if everybody:
            for path in filter(Path.exists, self._folder.others()):
                with self._other(path) as other:
                    if self._folder.is_ours(other, self._database):
                        self._empty(other)
        if time.monotonic() >= self._sweep_at:
            self._sweep_at = time.monotonic() + SWEEP_S
            self._try_again(self._own)
            for path in self._folder.others():
                with self._other(path), self._folder.abandoned(path) as abandoned:
                    if abandoned:
                        self._sweep(path)

    def _sweep(self, path: Path) -> None:
        """Empty the file of a dead process, if it is for this database."""
        if path in self._unknown:
            self._unknown.discard(path)
            self._others[path] = self._folder.repaired(path)
        other = self._others[path]
        if not self._folder.is_ours(other, self._database):
            self._say_foreign(other)
            return
        other.abandoned = True
        try:
            self._empty(other)
            self._try_again(other)
            other.tidy()
            over = not self._folder.is_numbered(path) and not other.waiting() and not other.count_refused()
        finally:
            other.abandoned = False
        if over:
            self._others.pop(path).close()
            self._folder.remove(path)

    def _try_again(self, spool: SpoolFile) -> None:
        """Try what was set aside and is due."""
        for one in spool.refused(TRIED_A_TIME, due_at=time.time()):
            if try_again(self._mover, spool, one, wait_ms=LOCK_WAIT_MS):
                self._writer._counters.store(1)

    @contextmanager
    def _other(self, path: Path) -> Iterator[SpoolFile]:
        """The file of another process. One that cannot be used is told once, and does not hold up the own."""
        if path not in self._others:
            self._others[path] = SpoolFile(path)
            self._unknown.add(path)
        try:
            yield self._others[path]
        except (sqlite3.Error, OSError, SpoolUnusable) as error:
            self._others.pop(path).close()
            if path not in self._unusable:
                self._unusable.add(path)
                self._writer._logger.error(
                    "Flask-Statistics: a spool file of another process cannot be read: %s", error
                )
        else:
            self._unusable.discard(path)

    def _empty(self, spool: SpoolFile) -> None:
        while True:
            started = time.monotonic()
            moved = self._mover.move(spool, wait_ms=LOCK_WAIT_MS)
            if moved.stored:
                self._writer._counters.store(moved.stored)
            if moved.taken > moved.stored:
                self._say_refused(spool)
            if moved.lost:
                self._say_damaged(spool, moved.lost)
            if not moved.more:
                return
            # after an outage there is much to move, and requests need the interpreter too
            self._keep_house()
            if not self._stopping:
                time.sleep(min(time.monotonic() - started, 0.1))

    def _keep_house(self) -> None:
        try:
            due = self._stopping or time.monotonic() >= self._rest_at
            if not due and self._failed_since is None and 2 * self._writer._rows < self._writer._most_rows:
                return
            rows = self._own.waiting() + self._own.count_refused()
            if self._failed_since is not None:  # the bound is for all of the app
                for path in filter(Path.exists, self._folder.others()):
                    with self._other(path) as other:
                        rows += other.waiting()
            self._writer._rows = rows
            spool = self._writer._spool
            if spool is not None and due:
                spool.rest(self._own.moved())
                self._rest_at = time.monotonic() + SWEEP_S
        except (sqlite3.Error, OSError, SpoolUnusable) as error:
            self._say_unwritable(error)

    # ---- faults --------------------------------------------------------------------------------------------------

    def _fail(self, reason: str, help_: str, *, said_after: float = 0.0) -> None:
        reason, now = "".join(filter(str.isprintable, reason))[:500], time.monotonic()
        shortest, longest = BACK_OFF_S
        self._back_off = min(max(self._back_off * 2, shortest), longest)
        self._failed_since = self._failed_since or now
        self._database = ""
        if not self._said and now - self._failed_since >= said_after:
            self._said = True
            self._writer._logger.error(
                "Flask-Statistics: records wait in the spool, because the database does not take them: %s. %s "
                "It is tried again until it does, and nothing is lost while fewer than %s wait (STATISTICS_SPOOL_MAX_ROWS).",
                reason,
                help_,
                f"{self._writer._most_rows:,}",
            )
        self._note(f"{reason} {help_}")

    def _succeed(self) -> None:
        if self._failed_since is None:
            return
        seconds = time.monotonic() - self._failed_since
        self._failed_since, self._back_off = None, 0.0
        self._note(None)
        if self._said:
            self._said = False
            self._writer._logger.warning(
                "Flask-Statistics: the database takes records again, after %.0f s; those that waited are stored.",
                seconds,
            )

    def _note(self, trouble: str | None) -> None:
        try:
            self._own.note(trouble)
        except sqlite3.Error as error:
            self._say_unwritable(error)
        else:
            self._noted = True

    def _say_unwritable(self, error: Exception) -> None:
        if self._noted:  # once, until it can be written again
            self._noted = False
            self._writer._logger.error(
                "Flask-Statistics: the spool's own notes cannot be written: %s. %s",
                error,
                fix_folder(error, self._writer._path),
            )

    def _say_refused(self, spool: SpoolFile) -> None:
        refused, now = spool.refused(1), time.monotonic()
        if refused and now - self._refusals_said_at > 60:
            self._refusals_said_at = now
            self._writer._logger.error(
                "Flask-Statistics: the raw table refused a request, which is set aside in the spool and tried again later: %s. "
                "'flask statistics spool' shows all of them.",
                refused[0].error,
            )

    def _say_damaged(self, spool: SpoolFile, lost: int) -> None:
        reason = f"the journal of {spool.path} is damaged"
        self._writer._counters.lose(lost, "SpoolDamaged", reason)
        self._writer._logger.error(
            "Flask-Statistics: %s requests are lost, as %s: is its disk whole?", f"{lost:,}", reason
        )

    def _say_foreign(self, spool: SpoolFile) -> None:
        waiting = spool.waiting()
        if waiting and spool.path is not None and spool.path not in self._foreign:
            self._foreign.add(spool.path)
            self._writer._logger.error(
                "Flask-Statistics: %s requests in %s wait for another database (%s). 'flask statistics spool' says what can "
                "be done.",
                f"{waiting:,}",
                spool.path,
                spool.hints()["address"] or "nobody knows which",
            )


# ---- the end of a process, and a fork --------------------------------------------------------------------------------

_writers: weakref.WeakSet[SpoolWriter] = weakref.WeakSet()
_register = threading.Lock()
_importing = threading.Lock()


def _stop_all() -> None:
    with _register:
        writers = list(_writers)
    for writer in writers:
        writer.close()


@cache
def _stop_at_exit() -> None:
    atexit.register(_stop_all)


def stop_at_sigterm() -> None:
    """Let SIGTERM have a last move before it ends the process, if nobody handles it: else that is the end at once.

    A server's own handler ends the process in an orderly way, as gunicorn's does, and is left alone.
    """
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _on_sigterm)


def _on_sigterm(number: int, _frame: object) -> None:
    for writer in list(_writers):
        drain = writer._drain
        if drain is not None and drain.busy():
            drain.stop(STOP_S)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _before_fork() -> None:
    _importing.acquire()
    _register.acquire()


def _after_fork() -> None:
    for lock in (_register, _importing):
        if lock.locked():  # some servers tell the child alone
            lock.release()


def _after_fork_in_child() -> None:
    _after_fork()
    for writer in list(_writers):
        writer.forked()


forks.at(forks.Step.WRITERS, before=_before_fork, in_parent=_after_fork, in_child=_after_fork_in_child)
