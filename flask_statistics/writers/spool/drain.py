"""The thread of one process that moves records from its spool into the raw table: when it works, and when it ends."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import sqlalchemy as sa

from ... import user_agents
from ...databases.causes import Cause
from ...databases.errors import cause_of, fix
from ...record import Counters
from ..transaction import Locked
from . import times
from .between import Calls, Level
from .disk import fix_folder
from .emptying import Emptier
from .ending import importing
from .file import SpoolFile
from .folder import SpoolFolder
from .journal import PulledAway
from .moving import Mover, one_line
from .notes import SpoolUnusable
from .outage import Failure, Outage
from .own import OwnSpool


class Drain:
    """A thread that empties the spool of this process, and those of dead ones. It knows nothing of the writer."""

    def __init__(
        self,
        mover: Mover,
        *,
        appended_to: OwnSpool,
        own: SpoolFile,
        folder: SpoolFolder,
        level: Level,
        counters: Counters,
        logger: logging.Logger,
        pulled_away: Callable[[PulledAway], None],
        for_another: Callable[[], None],
    ) -> None:
        """`own` is the same file as `appended_to`, on a connection of its own, so that appends need not wait for it.

        The thread calls `pulled_away` when somebody deleted or moved its files, and `for_another` when what waits in them
        is for another database than the one that is there.
        """
        self._own = own
        self._appended_to = appended_to
        self._folder = folder
        self._level = level
        self._logger = logger
        self._flush_s = mover.flush_s
        self._calls = Calls(mover.rows_a_time)
        self._outage = Outage(own, folder=folder.path, most_rows=level.most, logger=logger)
        self._emptier = Emptier(
            mover,
            appended_to=appended_to,
            own=own,
            folder=folder,
            level=level,
            calls=self._calls,
            outage=self._outage,
            counters=counters,
            logger=logger,
            pulled_away=pulled_away,
            for_another=for_another,
        )
        self._kept: int | None = None
        """Descriptor of a lock, until the thread has ended: of a file with records that it may be storing."""
        self._thread = threading.Thread(target=self._run, name="flask-statistics-spool", daemon=True)
        self.appended = self._calls.appended  # called by each request, and for nothing but to be passed on

    # ---- asked by the writer -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread. Raises `RuntimeError` if the system allows no more of them."""
        self._thread.start()

    def settle(self) -> None:
        """Wait for a round that begins from now on, or for `times.SETTLE_S`."""
        self._calls.settle()

    def busy(self) -> bool:
        """Whether there is something to move, as far as is known."""
        return self._calls.busy()

    def stop(self) -> None:
        """Have a last round at once and end the thread; one that takes longer than `times.STOP_S` is left alone."""
        self._calls.stop()
        self._calls.wake()
        self._join()

    def hurry(self) -> None:
        """The same for a signal handler: it takes no lock, so the thread sees it when it looks next."""
        self._calls.stop()
        self._join()

    def _join(self) -> None:
        if threading.current_thread() is not self._thread:
            self._thread.join(times.STOP_S)

    def leave(self) -> None:
        """Let go of the file: it is the parent's, or the thread has ended. One that has not keeps it."""
        if self._thread is threading.current_thread() or not self._thread.is_alive():
            self._folder.release()

    def go_elsewhere(self) -> None:
        """Leave the file to whom it belongs; the thread, which calls this itself, ends."""
        self._calls.retire()
        self._folder.release()

    def retire(self) -> tuple[int, int]:
        """End the thread, as the file was pulled away, and save what it has; how many records are saved, and how many lost."""
        self._calls.retire()
        spool = self._appended_to
        spool.seal()  # what somebody appends from here on would be in nothing that is saved
        spool.note_moved(self._own.seen_moved())
        saved, lost = 0, spool.gone()
        try:
            path, self._kept = self._folder.spare()
            saved = spool.salvage(path)
        except OSError as error:
            self._logger.error("Flask-Statistics: what waited in the spool cannot be saved: %s", error)
            lost += max(0, self._level.rows - lost)
        try:
            spool.look_at_itself()
        except PulledAway:  # what was set aside is gone as well, and can still be counted
            with suppress(sqlite3.Error):
                lost += self._own.aside.count()
        if not self._thread.is_alive():
            self._let_go()
        spool.go_elsewhere()  # before others can have the file: whoever appends to it still is told, and nothing of it is deleted
        self._folder.release()
        return saved, lost

    def _let_go(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            os.close(kept)

    # ---- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with importing:
            user_agents.parse("-")  # imports libraries, and a fork in the middle of an import leaves halves of modules
        calls = self._calls
        try:
            while not calls.stopping:
                self._guarded(self._turn)
            if not calls.retired and (calls.busy() or self._outage.lasts):
                self._guarded(self.round)
            if not calls.retired:
                self._guarded(self._emptier.keep_house)
        finally:
            self._emptier.close()
            self._let_go()

    def _guarded(self, action: Callable[[], None]) -> None:
        """Do it, whatever comes: without the thread, records would only wait."""
        try:
            action()
        except Exception:
            self._logger.exception("Flask-Statistics: a fault in the spool's thread, which goes on; please report it.")
            self._calls.wait(0.0)  # what it was called for is what it failed at
            self._calls.wait(times.BACK_OFF_S[0])

    def _turn(self) -> None:
        most = self._flush_s if self._calls.busy() else times.SWEEP_S
        self._calls.wait(min(max(0.0, self._due() - time.monotonic()), most))
        if self._calls.stopping or time.monotonic() >= self._due():
            self.round()

    def _due(self) -> float:
        """When the next round shall begin."""
        if self._outage.lasts:
            return self._outage.due(asked=self._calls.is_asked())
        told = self._calls.due(self._flush_s)
        return self._emptier.sweep_at if told is None else min(told, self._emptier.sweep_at)

    def round(self) -> None:
        """Move what there is, and say what is wrong if that fails. Only the thread calls it, or whoever is in its place."""
        asked = self._calls.begin()
        self._outage.tried()
        failure = self._try(everybody=self._calls.is_asked())
        if not self._calls.retired:
            if failure is None:
                self._outage.end()
            else:
                self._emptier.meet_again()
                self._outage.begin(failure)
            self._emptier.keep_house()
        self._calls.answer(asked)

    def _try(self, *, everybody: bool) -> Failure | None:
        """Move what there is; None: that went well."""
        try:
            self._emptier.empty(everybody=everybody)
        except Locked as reason:
            # usual where several write one SQLite database, unless it lasts
            return Failure(str(reason), Cause.LOCKED.value, said_after=times.LOCKED_S)
        except sa.exc.SQLAlchemyError as error:
            passing = cause_of(error) in (Cause.LOCKED, Cause.CONFLICT, Cause.STOPPED)
            return Failure(one_line(error), fix(error), said_after=times.LOCKED_S if passing else 0.0)
        except (sqlite3.Error, OSError, SpoolUnusable) as error:
            return Failure(one_line(error), fix_folder(error, self._folder.path))
        except Exception as error:
            self._logger.exception("Flask-Statistics: moving records to the raw table failed.")
            return Failure(one_line(error), "This is a fault of Flask-Statistics; please report it.")
        return None
