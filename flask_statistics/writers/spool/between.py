"""What the spool's writer and its thread know of each other: all that passes between them passes through here.

Both are made anew with each spool file that a process takes, so a thread that still ends says nothing about the next file.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from . import times


@dataclass(slots=True)
class Level:
    """How full the spool is, as far as this process knows.

    Requests add to it, the thread replaces it by what it counted, and requests compare it with the bound. There is no lock: of
    two requests at one moment one may not be counted, and one that came while the thread was counting is missing
    until it counts again. It is a bound, and nobody's account.
    """

    rows: int
    """Records that wait, with those that were set aside."""
    most: int
    """How many may."""

    def is_full(self) -> bool:
        """Whether no more is taken."""
        return self.rows >= self.most

    def is_half_full(self) -> bool:
        """Whether it is time to count more often."""
        return 2 * self.rows >= self.most


class Calls:
    """What the thread is told, and what it answers.

    Requests call `appended`, pages `settle`, and whoever ends the thread `stop` or `retire`, a signal handler among them. The
    thread calls all the rest.

    Only `settle` waits for something, and so takes a lock. All else is one attribute at a time, which Python sets in one
    step, and two threads that set the same one set it to the same. The thread takes down what it was told (`begin`) before
    it looks into files, and a record is in its file before the thread is told of it: so each is in what it reads, or starts
    another round. Of two records at one moment one may not be counted as fresh: then a full batch begins a record later.
    """

    def __init__(self, enough: int) -> None:
        """`enough` records are not kept waiting for others."""
        self._enough = enough
        self._wake = threading.Event()
        self._appended_at: float | None = None
        self._fresh = 0
        self._full = False
        self._asked = 0
        self._answered = 0
        self._round_over = threading.Condition()
        self._in_round = False
        self.stopping = False
        """Whether the thread shall end, after a last round."""
        self.retired = False
        """Whether the file is not its process's any more, so that the thread shall end without one."""

    # ---- told to the thread --------------------------------------------------------------------------------------

    def appended(self) -> None:
        """There is one record more."""
        self._fresh += 1
        if self._appended_at is None:
            self._appended_at = time.monotonic()
            self._wake.set()
        elif self._fresh >= self._enough and not self._full:
            self._full = True
            self._wake.set()

    def settle(self) -> None:
        """Wait for the end of a round that begins from now on, or for `SETTLE_S`."""
        with self._round_over:
            self._asked += 1
            ticket = self._asked
            self._wake.set()
            self._round_over.wait_for(lambda: self._answered >= ticket, times.SETTLE_S)

    def stop(self) -> None:
        """End after a last round, at the next look. It takes no lock, as a signal handler must not."""
        self.stopping = True

    def wake(self) -> None:
        """Look at once, also at what to stop for."""
        self._wake.set()

    def retire(self) -> None:
        """End without another round."""
        self.retired = self.stopping = True
        self._wake.set()

    def busy(self) -> bool:
        """Whether there is something to move, as far as is known."""
        return self._in_round or self._appended_at is not None

    # ---- asked by the thread -------------------------------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        """Wait for a call, or for so long."""
        self._wake.wait(seconds)
        self._wake.clear()

    def is_asked(self) -> bool:
        """Whether somebody waits for a round."""
        return self._asked > self._answered

    def due(self, flush_s: float) -> float | None:
        """When a round shall begin for the sake of what was told, records waiting `flush_s` for others; None: for nothing."""
        if self.is_asked() or self._full:
            return 0.0
        appended_at = self._appended_at
        return None if appended_at is None else appended_at + flush_s

    def begin(self) -> int:
        """Begin a round, for all that was told up to now; what to `answer` at its end."""
        asked, self._in_round = self._asked, True
        self._appended_at, self._fresh, self._full = None, 0, False
        return asked

    def answer(self, asked: int) -> None:
        """Let those go on who waited for the round."""
        self._in_round = False
        with self._round_over:
            self._answered = asked
            self._round_over.notify_all()
