"""How long background work pauses between two pieces, so that what the host does at the same time gets its turn.

What others do shows in how long pieces take: they wait for locks, for the disk, for the processor and for the interpreter, as
the host does.
"""

from __future__ import annotations

import time

LONGEST_PAUSE_S = 2.0
MOST_TIMES = 8.0
"""A pause is at most so many times as long as the piece before it."""


class Pace:
    """For what writes: it pauses as long as a piece took, and longer if that was longer than it need be."""

    def __init__(self) -> None:
        self._fastest: float | None = None
        self._began = time.perf_counter()

    def pause(self, rows: int) -> None:
        """Pause after a piece of so many rows, which began when the last pause ended."""
        time.sleep(self.seconds(time.perf_counter() - self._began, rows))
        self._began = time.perf_counter()

    def seconds(self, took: float, rows: int) -> float:
        """How long to pause after a piece of so many rows that took so long."""
        each = took / max(rows, 1)
        self._fastest = each if self._fastest is None else min(each, self._fastest)
        times = each / self._fastest if self._fastest else 1.0
        return min(took * min(times, MOST_TIMES), LONGEST_PAUSE_S)


class Yielding:
    """For what reads and reckons: it pauses only if it had to wait for longer than it worked, and then for as long."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """A piece begins now."""
        self._began, self._worked = time.perf_counter(), time.thread_time()

    def pause(self) -> None:
        """Pause after a piece; the next one begins."""
        seconds = self.seconds(time.perf_counter() - self._began, time.thread_time() - self._worked)
        if seconds:
            time.sleep(seconds)
        self.begin()

    @staticmethod
    def seconds(took: float, worked: float) -> float:
        """How long to pause after a piece that took so long, and for which this thread worked for so much of it."""
        waited = took - worked
        return min(waited, LONGEST_PAUSE_S) if waited > worked else 0.0
