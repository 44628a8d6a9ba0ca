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
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path

import sqlalchemy as sa

from .. import dialects, user_agents
from ..models import RawTable
from ..recorder import Backlog, Counters, NotStored, Record
from .causes import fix
from .clickhouse import ClickHouseMover
from .moving import FIELDS, UNREADABLE, Mover, decode, encode
from .spool_file import SpoolFile, SpoolUnusable
from .spool_folder import SpoolFolder
from .transaction import Locked

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
BACK_OFF_S = (0.5, 10.0)
"""The shortest and the longest pause between attempts while the database is away."""
OPEN_AGAIN_S = 1.0
"""After this time a request tries again to open a spool that could not be opened."""
HELP = (
    "Requests are served and not recorded until the spool can be written: is there space on the disk, and may the app's "
    "user write to {folder}? STATISTICS_SPOOL_PATH can name another folder."
)


class SpoolWriter:
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
    ) -> None:
        """`engine` is that of the raw table, `table_engine` that of `table`; they differ where the raw table is on ClickHouse."""
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
        self._begin_lock = threading.Lock()
        self._not_before = 0.0
        self._reset()
        with _register:
            _writers.add(self)

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
            spool.append(encode(record))
        except (sqlite3.Error, OSError) as error:
            raise self._broken() from error
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
        return read_backlog(self._folder(self._engine()))

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

    def _begin(self) -> SpoolFile:
        """Take a spool file and start the thread, once in each process."""
        with self._begin_lock:
            if self._spool is not None:
                return self._spool
            if time.monotonic() < self._not_before:
                raise NotStored(1, HELP.format(folder=self._path), "the spool cannot be opened")
            engine = self._engine()
            mover = self._make_mover(engine)
            shared = any(dialects.shared_connection(one) for one in (engine, self._table_engine()))
            if self._testing() or shared:
                self._inline, self._mover = True, mover
                spool = SpoolFile(None)
                spool.claim(FIELDS)
            else:
                folder = self._folder(engine)
                try:
                    spool = folder.claim(FIELDS)
                    self._rows = spool.waiting()
                except (sqlite3.Error, OSError) as error:
                    folder.release()
                    self._not_before = time.monotonic() + OPEN_AGAIN_S
                    raise self._broken() from error
                drain = _Drain(self, mover, spool, folder)
                dialects.expect_forks()
                try:
                    drain.start()
                except RuntimeError as error:  # the system allows no more threads
                    self._not_before = time.monotonic() + OPEN_AGAIN_S
                    spool.close()
                    folder.release()
                    raise NotStored(1, "May the app's user start more threads?", str(error)) from error
                self._drain = drain
                _stop_at_exit()
            self._spool = spool
            return spool

    def _make_mover(self, engine: sa.Engine) -> Mover:
        if engine.dialect.name in dialects.CLICKHOUSE:
            return ClickHouseMover(self._raw, self._table, self._table_engine(), self._late, raw_engine=engine)
        return Mover(self._raw, self._table, engine, self._late)

    def _folder(self, engine: sa.Engine) -> SpoolFolder:
        return spool_folder(self._path, engine.url, self._raw.table, self._logger)

    def _broken(self) -> NotStored:
        return NotStored(1, HELP.format(folder=self._path))

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
    """The spool files in `path` of one raw table: another database's requests must not get into it."""
    place = (url.get_backend_name(), url.host, url.port, url.database, table.fullname)
    name = f"requests-{hashlib.sha256(repr(place).encode()).hexdigest()[:10]}"
    return SpoolFolder(path, name, logger)


@contextmanager
def _reading(path: Path) -> Iterator[SpoolFile]:
    file = SpoolFile(path)
    try:
        yield file
    finally:
        file.close()


def read_backlog(folder: SpoolFolder) -> Backlog:
    """What waits in the files of `folder`, whichever process they belong to."""
    files = [_backlog_of(path) for path in folder.files()]
    return Backlog(
        waiting=sum(file.waiting for file in files),
        trouble=next((file.trouble for file in files if file.trouble is not None), None),
        refused=sum(file.refused for file in files),
    )


def _backlog_of(path: Path) -> Backlog:
    try:
        with _reading(path) as file:
            return Backlog(file.waiting(), file.trouble(), file.count_refused())
    except (sqlite3.Error, OSError, SpoolUnusable) as error:
        return Backlog(0, f"{path.name}: {error}")


def read_refused(folder: SpoolFolder, most: int = 20) -> list[tuple[str, str]]:
    """Of the latest requests that were refused, at most `most`: what was asked for and why it was refused."""
    found: list[tuple[str, str]] = []
    for path in folder.files():
        with _reading(path) as file:
            fields = file.fields()
            found += [(_shown(record, fields), error) for record, error in file.refused(most)]
    return found[-most:]


def _shown(record: bytes, fields: str) -> str:
    try:
        (request,) = decode([record], fields)
        path = "".join(filter(str.isprintable, request["path"]))[:200]
        return f"{request['date']:%Y-%m-%d %H:%M:%S} UTC {request['method'][:20]} {path}"
    except UNREADABLE:
        return "unreadable record"


# ---- the thread ------------------------------------------------------------------------------------------------------


class _Drain:
    """The thread of one process that moves what is in its spool, and in those of dead processes."""

    def __init__(self, writer: SpoolWriter, mover: Mover, spool: SpoolFile, folder: SpoolFolder) -> None:
        self._writer = writer
        self._mover = mover
        assert spool.path is not None  # noqa: S101 - only tests have none, and no thread
        self._own = SpoolFile(spool.path)  # on a connection of its own, so that appends need not wait for it
        self._folder = folder
        self._others: dict[Path, SpoolFile] = {}
        self._unusable: set[Path] = set()
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
            if self.busy() or self._failed_since is not None:
                self._guarded(self._round)
            self._guarded(self._keep_house)
        finally:
            for file in (self._own, *self._others.values()):
                file.close()

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
        try:
            self._move_all(everybody=asked > self._answered)
        except Locked as reason:
            # usual where several write one SQLite database, unless it lasts
            self._fail(str(reason), "Another process keeps a transaction open.", said_after=LOCKED_S)
        except sa.exc.SQLAlchemyError as error:
            cause = str(getattr(error, "orig", None) or error).partition("\n")[0]
            self._fail(f"{type(error).__name__}: {cause}", fix(error))
        except (sqlite3.Error, OSError, SpoolUnusable) as error:
            self._fail(f"{type(error).__name__}: {error}", HELP.format(folder=self._writer._path))
        except Exception as error:
            self._fail(f"{type(error).__name__}: {error}", "This is a fault of Flask-Statistics; please report it.")
            self._writer._logger.exception("Flask-Statistics: moving records to the raw table failed.")
        else:
            self._succeed()
        self._keep_house()
        self._in_round = False
        with self._round_over:
            self._answered = asked
            self._round_over.notify_all()

    def _move_all(self, *, everybody: bool) -> None:
        """Move what is in the own spool, now and then in those of dead processes, and in all if `everybody`."""
        self._empty(self._own)
        if everybody:
            for path in self._folder.others():
                with self._other(path) as other:
                    self._empty(other)
        if time.monotonic() >= self._sweep_at:
            self._sweep_at = time.monotonic() + SWEEP_S
            for path in self._folder.others():
                with self._other(path) as other, self._folder.abandoned(path) as abandoned:
                    if abandoned:
                        self._empty(other)
                        other.tidy()

    @contextmanager
    def _other(self, path: Path) -> Iterator[SpoolFile]:
        """The file of another process. One that cannot be used is told once, and does not hold up the own."""
        if path not in self._others:
            self._others[path] = SpoolFile(path)
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
                for path in self._folder.others():
                    with self._other(path) as other:
                        rows += other.waiting()
            self._writer._rows = rows
            spool = self._writer._spool
            if spool is not None and due:
                spool.rest()
                self._rest_at = time.monotonic() + SWEEP_S
        except (sqlite3.Error, OSError, SpoolUnusable) as error:
            self._writer._logger.error("Flask-Statistics: the spool cannot be tidied up: %s", error)

    # ---- faults --------------------------------------------------------------------------------------------------

    def _fail(self, reason: str, help_: str, *, said_after: float = 0.0) -> None:
        reason, now = "".join(filter(str.isprintable, reason))[:500], time.monotonic()
        shortest, longest = BACK_OFF_S
        self._back_off = min(max(self._back_off * 2, shortest), longest)
        self._failed_since = self._failed_since or now
        if not self._said and now - self._failed_since >= said_after:
            self._said = True
            self._writer._logger.error(
                "Flask-Statistics: records wait in the spool, because the database does not take them: %s. %s "
                "It is tried again until it does, and nothing is lost while fewer than %s wait (STATISTICS_SPOOL_MAX_ROWS).",
                reason,
                help_,
                f"{self._writer._most_rows:,}",
            )
        self._note(reason)

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
            self._writer._logger.error("Flask-Statistics: the spool cannot be written: %s", error)

    def _say_refused(self, spool: SpoolFile) -> None:
        refused, now = spool.refused(1), time.monotonic()
        if refused and now - self._refusals_said_at > 60:
            self._refusals_said_at = now
            self._writer._logger.error(
                "Flask-Statistics: the raw table refused a request, which is set aside in the spool: %s. "
                "'flask statistics status' shows all of them.",
                refused[0][1],
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


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
