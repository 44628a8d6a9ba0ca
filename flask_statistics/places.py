"""How many pages a process computes at once, and how many files it sends: the rest of its threads are the host's.

Somebody for whom there is no place waits for a moment, if few others wait, and is then told when to come again.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PAGES_AT_ONCE = 2
MOST_WAITING = 2
"""Pages that wait for a place: each takes a thread from the host for as long."""
WAIT_S = 2.0
FILES_AT_ONCE = 2
LONGEST_FILE_S = 600.0
"""After so long the sending of a file ends, or its place is somebody else's."""
COME_AGAIN_S = 3


class Busy(Exception):
    """There is no place; the message says what to do."""

    def __init__(self, what: str, *, come_again_s: int) -> None:
        super().__init__(f"{what} Try again in {come_again_s} seconds.")
        self.come_again_s = come_again_s


class Places:
    """Places for pages and for files of one app in this process."""

    def __init__(self) -> None:
        self._renew()

    def _renew(self) -> None:
        self._pid = os.getpid()
        self._free = threading.Semaphore(PAGES_AT_ONCE)
        self._lock = threading.Lock()
        self._waiting = 0
        self._files: dict[object, float] = {}
        """When the sending of each began, by the monotonic clock."""

    @contextmanager
    def page(self) -> Iterator[None]:
        """A place to compute a page in. Raises `Busy`."""
        if self._pid != os.getpid():
            self._renew()
        free = self._free
        if not free.acquire(blocking=False):
            self._wait(free)
        try:
            yield
        finally:
            free.release()

    def _wait(self, free: threading.Semaphore) -> None:
        with self._lock:
            full = self._waiting >= MOST_WAITING
            self._waiting += not full
        came = False
        if not full:
            came = free.acquire(timeout=WAIT_S)
            with self._lock:
                self._waiting -= 1
        if not came:
            raise Busy("Other pages of the statistics are being computed.", come_again_s=COME_AGAIN_S)

    @contextmanager
    def file(self) -> Iterator[Sending]:
        """A place to send a file in. Raises `Busy`."""
        if self._pid != os.getpid():
            self._renew()
        now = time.monotonic()
        with self._lock:
            # who takes no more of a file lets nobody know
            self._files = {key: began for key, began in self._files.items() if now - began < LONGEST_FILE_S}
            if len(self._files) >= FILES_AT_ONCE:
                raise Busy("Other files of the statistics are being sent.", come_again_s=10 * COME_AGAIN_S)
            sending = Sending(self)
            self._files[sending] = now
        try:
            yield sending
        finally:
            with self._lock:
                self._files.pop(sending, None)

    def holds(self, sending: Sending) -> bool:
        """Whether it still has its place."""
        began = self._files.get(sending)
        return began is not None and time.monotonic() - began < LONGEST_FILE_S


class Sending:
    """A file that is being sent."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def check(self) -> None:
        """Raise `Busy` if it took too long: a file that breaks off is seen to be broken."""
        if not self._places.holds(self):
            raise Busy("Sending this file took too long.", come_again_s=COME_AGAIN_S)
