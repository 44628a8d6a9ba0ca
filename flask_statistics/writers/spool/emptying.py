"""What a round does: moves what is in the spool of this process, and now and then what dead processes left in theirs.

It works on files and on the database, and belongs to the one thread that empties them.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ...record import Counters
from . import times
from .between import Calls, Level
from .file import SpoolFile
from .folder import SpoolFolder
from .journal import PulledAway
from .moving import Mover, Overtaken, try_again
from .notes import SpoolUnusable, has_no_space
from .outage import Outage
from .own import OwnSpool

TRIED_A_TIME = 50
"""Of what was set aside, as many are tried again at once."""


class Emptier:
    """Empties the own file, and those of dead processes."""

    def __init__(
        self,
        mover: Mover,
        *,
        appended_to: OwnSpool,
        own: SpoolFile,
        folder: SpoolFolder,
        level: Level,
        calls: Calls,
        outage: Outage,
        counters: Counters,
        logger: logging.Logger,
        pulled_away: Callable[[PulledAway], None],
        for_another: Callable[[], None],
    ) -> None:
        """As `Drain` has them."""
        self._mover = mover
        self._appended_to = appended_to
        self._own = own
        self._folder = folder
        self._level = level
        self._calls = calls
        self._outage = outage
        self._counters = counters
        self._logger = logger
        self._pulled_away = pulled_away
        self._for_another = for_another
        self._others: dict[Path, SpoolFile] = {}
        self._unusable: set[Path] = set()
        """Files that the log has named as ones that cannot be used."""
        self._unknown: set[Path] = set()
        """Files that were not looked at yet whether they are whole."""
        self._foreign: set[Path] = set()
        """Files that the log has named as of other databases."""
        self._refusals_said_at = -math.inf
        self._database = ""
        """As which the database is known; empty: it was not asked yet, or was away since."""
        self._described = False
        """Whether the headers of new files say what is known since."""
        self._counted_at = -math.inf
        self.sweep_at = 0.0
        """When the next look for what dead processes left is due."""

    def empty(self, *, everybody: bool) -> None:
        """Move what is in the own file, now and then in those of dead processes, and in all if `everybody`.

        Raises `Locked`, the database's error, and those of the disk, with all still in the files that is not stored.
        """
        self._look()
        self._meet()
        if self._calls.retired:
            return
        self._move(self._own)
        if not self._described and not self._calls.retired:
            self._appended_to.describe()
            self._described = True
        if everybody:
            for path in filter(Path.exists, self._folder.others()):
                with self._other(path) as other:
                    if self._folder.is_ours(other, self._database):
                        self._move(other)
        if time.monotonic() >= self.sweep_at:
            self.sweep_at = time.monotonic() + times.SWEEP_S
            self._try_again(self._own)
            for path in self._folder.others():
                with self._other(path), self._folder.abandoned(path) as abandoned:
                    if abandoned:
                        self._sweep(path)

    def meet_again(self) -> None:
        """Ask the database at the next round who it is: it was away, and another one may have come back."""
        self._database = ""

    def keep_house(self) -> None:
        """Count what waits, if that is due or the spool fills up, and leave nothing on the disk that is moved."""
        try:
            due = self._calls.stopping or time.monotonic() >= self._counted_at + times.SWEEP_S
            if not due and not self._outage.lasts and not self._level.is_half_full():
                return
            rows = self._own.waiting() + self._own.aside.count()
            if self._outage.lasts:  # the bound is for all of the app
                for path in filter(Path.exists, self._folder.others()):
                    with self._other(path) as other:
                        rows += other.waiting()
            self._level.rows = rows
            if due and not self._calls.retired:
                self._appended_to.delete_if_moved(self._own.moved())
                self._counted_at = time.monotonic()
        except (sqlite3.Error, OSError, SpoolUnusable) as error:
            self._outage.say_unwritable(error)

    def close(self) -> None:
        """Close all files, but for the one that requests append to."""
        for file in (self._own, *self._others.values()):
            file.close()

    # ---- the own file --------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """See that the own files are where they were, also while nothing is appended."""
        if not self._calls.stopping:
            try:
                self._appended_to.look()
            except PulledAway as reason:
                self._pulled_away(reason)

    def _meet(self) -> None:
        """Ask the database who it is: at the beginning, and when it was away, as another one may have come back."""
        if self._database or self._calls.retired:
            return
        try:
            self._database = self._mover.identity(wait_ms=times.LOCK_WAIT_MS)
        except Overtaken:  # another process gave it its number at the same time
            self._database = self._mover.identity(wait_ms=times.LOCK_WAIT_MS)
        before = self._own.hints()["database"]
        if before not in ("", self._database):
            if self._appended_to.inherits():
                self._folder.know(self._database)
                self._calls.retire()
                self._for_another()
                return
            self._logger.warning(
                "Flask-Statistics: the database is another one than before; requests of this process that wait go into it."
            )
        try:
            self._own.belong_to({"database": self._database})
        except sqlite3.OperationalError as error:
            if not has_no_space(error):
                raise
        self._described = False
        self._folder.know(self._database)

    # ---- those of others -----------------------------------------------------------------------------------------

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
            self._move(other)
            self._try_again(other)
            other.tidy()
            over = not self._folder.is_numbered(path) and not other.waiting() and not other.aside.count()
        finally:
            other.abandoned = False
        if over:
            self._others.pop(path).close()
            self._folder.remove(path)

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
                self._logger.error("Flask-Statistics: a spool file of another process cannot be read: %s", error)
        else:
            self._unusable.discard(path)

    # ---- any of them ---------------------------------------------------------------------------------------------

    def _move(self, spool: SpoolFile) -> None:
        while True:
            started = time.monotonic()
            moved = self._mover.move(spool, wait_ms=times.LOCK_WAIT_MS)
            if moved.stored:
                self._counters.store(moved.stored)
            if moved.taken > moved.stored:
                self._say_refused(spool)
            if moved.lost:
                self._say_damaged(spool, moved.lost)
            if not moved.more:
                return
            # after an outage there is much to move, and requests need the interpreter too
            self.keep_house()
            if not self._calls.stopping:
                time.sleep(min(time.monotonic() - started, 0.1))

    def _try_again(self, spool: SpoolFile) -> None:
        """Try what was set aside and is due."""
        for one in spool.aside.latest(TRIED_A_TIME, due_at=time.time()):
            if try_again(self._mover, spool, one, wait_ms=times.LOCK_WAIT_MS):
                self._counters.store(1)

    # ---- what the log says of them -------------------------------------------------------------------------------

    def _say_refused(self, spool: SpoolFile) -> None:
        refused, now = spool.aside.latest(1), time.monotonic()
        if refused and now - self._refusals_said_at > times.REFUSED_SAID_S:
            self._refusals_said_at = now
            self._logger.error(
                "Flask-Statistics: the raw table refused a request, which is set aside in the spool and tried again later: %s. "
                "'flask statistics spool' shows all of them.",
                refused[0].error,
            )

    def _say_damaged(self, spool: SpoolFile, lost: int) -> None:
        reason = f"the journal of {spool.path} is damaged"
        self._counters.lose(lost, "SpoolDamaged", reason)
        self._logger.error("Flask-Statistics: %s requests are lost, as %s: is its disk whole?", f"{lost:,}", reason)

    def _say_foreign(self, spool: SpoolFile) -> None:
        waiting = spool.waiting()
        if waiting and spool.path is not None and spool.path not in self._foreign:
            self._foreign.add(spool.path)
            self._logger.error(
                "Flask-Statistics: %s requests in %s wait for another database (%s). 'flask statistics spool' says what can "
                "be done.",
                f"{waiting:,}",
                spool.path,
                spool.hints()["address"] or "nobody knows which",
            )
