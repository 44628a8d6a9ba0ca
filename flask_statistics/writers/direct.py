"""The direct writer: each row is committed before its request ends, as long as the database takes it in a moment.

Writes the raw table, on a connection of our own and never through the host's session. A thread does it, and all requests
that end at one moment together; they wait for it, but not longer than `patience` lets them: whatever a driver, a server or a
network does then, it does to that thread. Rows wait in memory for a database in trouble, and are stored when it is over.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import sqlalchemy as sa

from .. import databases, forks
from ..databases.causes import Cause
from ..databases.errors import blames_row, cause_of, fix, is_known
from ..models import RawTable
from ..patience import SHORT_S, patience
from ..record import Backlog, NotStored, Record, Writer
from .rows import insert, row_of
from .transaction import Locked, commit

LOCK_WAIT_MS = 1_000
"""How long an insert waits for another writer of a SQLite database."""
MOST_WAITING = 10_000
"""Rows that may wait in memory for a database in trouble; the next ones are lost."""
ROWS_A_TIME = 500
NOTICED_S = 0.1
"""A failure that took longer is not tried again at once, so that few requests wait for it."""
SHARE = 0.1
"""Of the time, at most, in which requests wait for a database in trouble."""
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0
"""Between two tries while rows wait and nobody makes a request."""
HUNG_S = 1.0
"""A try that takes longer is not waited for by those who come later."""
SETTLED_S = 0.5
"""How long a page of the dashboard waits for the rows of the requests before it."""
ENDING_S = 3.0
"""How long the end of a process waits for the last rows."""


class DirectWriter(Writer):
    """Inserts each record at once."""

    def __init__(
        self,
        raw: RawTable,
        engine: Callable[[], sa.Engine],
        logger: logging.Logger,
        *,
        begun: Callable[[], None] = lambda: None,
    ) -> None:
        """`begun` is told when a process begins to record."""
        self._begun = begun
        self._raw = raw
        self._engine = engine
        self._logger = logger
        self._renew()

    def _renew(self) -> None:
        """Begin with nothing, also in the child of a fork: what waits is the parent's, who stores it."""
        self._pid = os.getpid()
        self._waiting: deque[dict[str, Any]] = deque()
        self._ends: list[threading.Event] = []
        """Whoever waits for the end of the next try."""
        self._lock = threading.Lock()
        """Around the two above, and what is not told yet."""
        self._stored = 0
        """Rows stored that nobody was told of yet."""
        self._lost: NotStored | None = None
        """Rows lost that nobody was told of yet."""
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._patient = False
        """Whether the next try may wait for a lock of SQLite's."""
        self._began: float | None = None
        """When the try under way began."""
        self._impatient_until = 0.0
        """Until then nobody waits for a lock: the last one waited in vain."""
        self._down_until = 0.0
        """Until then nobody knocks at the database: the last try took long, and was in vain."""
        self._reason: Exception | None = None
        """Why rows wait; None: they do not, or not for long."""
        self._help = ""
        """What the operator can do about it."""
        self._trying = threading.Lock()
        """Around a try."""
        self._stop = threading.Event()

    # ---- for the recorder ----------------------------------------------------------------------------------------

    def write(self, record: Record, *, host_in_transaction: bool) -> int:
        """Store `record`, after what had to wait; how many rows are stored that were not.

        While a transaction of the host's own is in the way it waits for the end of the host's context: to wait for the
        lock would be to wait for ourselves. If another process holds the lock for too long, which SQLite's unfair
        locking lets happen when many write, it waits for the next request, as it does while the database is in trouble.
        Raises `NotStored` if the database refuses it, or if too many wait.
        """
        if self._pid != os.getpid():
            self._renew()
        row = row_of(record, self._raw)
        if databases.of(self._engine()).shared_connection(self._engine()) is not None:
            return self._at_once([row])
        with self._lock:
            full = len(self._waiting) >= MOST_WAITING
            if not full:
                self._waiting.append(row)
        if full:
            self._lose(1, self._reason or TimeoutError(f"{MOST_WAITING:,} rows wait already"), self._help)
        self._prod(patient=not host_in_transaction, wait=patience.await_ if not host_in_transaction else _briefly)
        return self._told()

    def flush(self) -> int:
        """At the end of a context: store the rows that had to wait, if nothing is in the way any more."""
        return self._flush(_briefly)  # contexts end in the middle of requests too, and the next one comes soon

    def settle(self) -> int:
        """The same, before somebody looks at the rows, who can wait a little longer."""
        return self._flush(lambda done: done(SETTLED_S))

    def backlog(self) -> Backlog:
        """What waits in this process."""
        waiting = len(self._waiting)
        return Backlog(waiting=waiting, trouble=self._trouble() if waiting else None)

    def in_memory(self) -> Backlog:
        """All of it."""
        return self.backlog()

    def close(self) -> None:
        """Store what waits, if the database takes it soon, and end the thread. What is left then is lost, and logged."""
        if self._pid != os.getpid() or self._thread is None:
            return
        thread, self._thread = self._thread, None
        self._patient = True
        self._stop.set()
        self._wake.set()
        thread.join(ENDING_S)
        left = len(self._waiting)
        if left:
            self._logger.error(
                "Flask-Statistics lost %d requests at the end of this process, as the database did not take them: %s",
                left,
                self._trouble(),
            )

    def _trouble(self) -> str | None:
        return None if self._reason is None else f"{_told_by(self._reason)} {self._help}"

    def _flush(self, wait: Callable[[Callable[[float], bool]], bool]) -> int:
        if self._pid != os.getpid():
            self._renew()
        if self._waiting or self._began is not None:
            if databases.of(self._engine()).shared_connection(self._engine()) is not None:
                return self._at_once([])
            self._prod(patient=False, wait=wait)
        return self._told()

    def _told(self) -> int:
        """How many rows were stored since this was asked. Raises `NotStored` for those that were lost."""
        if not self._stored and self._lost is None:
            return 0
        with self._lock:
            stored, lost = self._stored, self._lost
            self._stored, self._lost = 0, None
        if lost is not None:
            lost.stored = stored
            raise lost
        return stored

    # ---- the thread ----------------------------------------------------------------------------------------------

    def _prod(self, *, patient: bool, wait: Callable[[Callable[[float], bool]], bool]) -> None:
        """Have the thread try to store what waits, and wait for the end of it as `wait` does."""
        now, began = time.monotonic(), self._began
        if now < self._down_until or (began is not None and now - began > HUNG_S):
            return
        self._patient = self._patient or (patient and now >= self._impatient_until)
        end = threading.Event()
        with self._lock:
            self._ends.append(end)
        if not self._ensure_running():
            self._try()
            return
        self._wake.set()
        wait(end.wait)

    def _ensure_running(self) -> bool:
        """Start the thread if there is none; whether there is one: a process that ends can start none any more."""
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    forks.expect()
                    self._stop = threading.Event()
                    thread = threading.Thread(
                        target=self._work, args=(self._stop,), name="flask-statistics-writer", daemon=True
                    )
                    try:
                        thread.start()
                    except RuntimeError:
                        return False
                    self._thread = thread
                    self._begun()  # before it is registered what comes first at the end
                    atexit.register(self.close)
        return True

    def _work(self, stop: threading.Event) -> None:
        pause = SHORTEST_PAUSE_S
        while not stop.is_set():
            self._wake.wait(pause if self._waiting else None)
            self._wake.clear()
            self._try()
            pause = min(2 * pause, LONGEST_PAUSE_S) if self._waiting else SHORTEST_PAUSE_S

    def _try(self) -> None:
        """Store what waits, as far as the database takes it, and wake those who wait for it."""
        with self._trying:
            with self._lock:
                ends, self._ends = self._ends, []
                patient, self._patient = self._patient, False
            self._began = time.monotonic()
            try:
                while self._waiting and self._store(LOCK_WAIT_MS if patient else 0):
                    pass
            except Exception as error:  # a fault of ours must not end the thread
                self._lose(len(self._take()), error, "This is a fault of Flask-Statistics; please report it.")
            finally:
                self._began = None
                for end in ends:
                    end.set()

    def _store(self, wait_ms: int) -> bool:
        """Store some of what waits; whether it makes sense to go on."""
        with self._lock:
            rows = list(
                islice(self._waiting, ROWS_A_TIME)
            )  # they stay there, and count as waiting, until they are stored
        try:
            self._commit(rows, wait_ms)
        except Locked as reason:
            if wait_ms:
                self._impatient_until = _pause_after(self._began or 0.0)
            self._keep(reason)
            return False
        except sa.exc.SQLAlchemyError as error:
            if len(rows) > 1 and blames_row(error):
                return all(
                    self._store_one(row, wait_ms) for row in rows
                )  # one that is refused must not cost the others
            if _may_pass(error):
                if time.monotonic() - (self._began or 0.0) > NOTICED_S:
                    self._down_until = _pause_after(self._began or 0.0)
                self._keep(error)
                return False
            self._drop(len(rows))
            self._lose(len(rows), error, self._fix(error))
            return True
        self._drop(len(rows))
        self._count(len(rows))
        return True

    def _store_one(self, row: dict[str, Any], wait_ms: int) -> bool:
        """Store a row, or lose it if the table refuses it; False: it takes none for now."""
        try:
            self._commit([row], wait_ms)
        except (Locked, sa.exc.SQLAlchemyError) as error:
            if isinstance(error, Locked) or _may_pass(error):
                self._keep(error)
                return False
            self._drop(1)
            self._lose(1, error, self._fix(error))
        else:
            self._drop(1)
            self._count(1)
        return True

    def _commit(self, rows: Sequence[dict[str, Any]], wait_ms: int) -> None:
        commit(self._engine(), lambda connection: insert(connection, self._raw.table, rows), wait_ms=wait_ms)

    # ---- what becomes of rows ------------------------------------------------------------------------------------

    def _take(self) -> list[dict[str, Any]]:
        with self._lock:
            rows = list(self._waiting)
            self._waiting.clear()
        return rows

    def _drop(self, rows: int) -> None:
        """Forget the oldest rows: they are in the table, or lost."""
        with self._lock:
            for _ in range(rows):
                self._waiting.popleft()

    def _count(self, rows: int) -> None:
        with self._lock:
            self._stored += rows
        self._reason = None

    def _keep(self, reason: Exception) -> None:
        """Note why rows wait."""
        self._reason = reason
        self._help = self._fix(reason)

    def _fix(self, error: Exception) -> str:
        known = error.__cause__ if isinstance(error, Locked) and error.__cause__ is not None else error
        return Cause.LOCKED.value if isinstance(known, Locked) else fix(known)

    def _lose(self, rows: int, error: Exception, help_: str) -> None:
        """Note that so many rows are lost, and why."""
        with self._lock:
            lost = NotStored(rows + (self._lost.lost if self._lost else 0), help_)
            lost.explained = is_known(error)
            lost.__cause__ = error
            self._lost = lost

    # ---- in-memory SQLite ----------------------------------------------------------------------------------------

    def _at_once(self, rows: list[dict[str, Any]]) -> int:
        """Store `rows` after those that wait, on the one connection that there is, which a thread could not use for us."""
        with self._lock:
            self._waiting.extend(rows)
        self._patient = False
        self._try()
        return self._told()


def _briefly(done: Callable[[float], bool]) -> bool:
    """Wait as long as every request may."""
    return done(SHORT_S)


FINAL = frozenset({Cause.ROW, Cause.NO_TABLE, Cause.NO_COLUMN, Cause.OTHER_TYPE, Cause.UNKNOWN})
"""What does not pass by itself: to let rows wait for it would be to forget them."""


def _may_pass(error: Exception) -> bool:
    return cause_of(error) not in FINAL


def _told_by(reason: Exception) -> str:
    cause = getattr(reason, "orig", None) or reason
    return f"{type(cause).__name__}: {str(cause).partition(chr(10))[0]}"


def _pause_after(started: float) -> float:
    """When a wait that began at `started` and was in vain may be repeated."""
    now = time.monotonic()
    return now + min((now - started) * (1 / SHARE - 1), LONGEST_PAUSE_S)
