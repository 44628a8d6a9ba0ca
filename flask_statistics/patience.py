"""How long requests of this process wait for a database: one of them a second at most in ten, all others some milliseconds.

What a request would wait for is done by a thread, so that it is bounded whatever a driver, a network or a disk does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from . import forks

SHORT_S = 0.03
"""How long every request may wait."""
LONG_S = 0.9
"""How long one request may wait, once in `EVERY_S`."""
EVERY_S = 10.0

T = TypeVar("T")


class TookTooLong(Exception):
    """What was asked for is not there yet; it goes on without who asked."""


class Patience:
    """Tells who may wait for long."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Forget who waited: in the child of a fork nobody has."""
        self._lock = threading.Lock()
        self._next = 0.0

    def await_(self, done: Callable[[float], bool]) -> bool:
        """Whether `done`, which waits as many seconds as it is told, came true in the time that is left to this request."""
        if done(SHORT_S):
            return True
        return self._may_wait() and done(LONG_S - SHORT_S)

    def _may_wait(self) -> bool:
        with self._lock:
            now = time.monotonic()
            if now < self._next:
                return False
            self._next = now + EVERY_S
            return True


patience = Patience()
"""That of all apps in this process, as its threads and visitors are the same for all of them."""
forks.at(forks.Step.PATIENCE, in_child=patience.renew)


def aside(function: Callable[[], T]) -> T:
    """What `function` returns or raises, done by another thread. Raises `TookTooLong`; it goes on then all the same."""
    forks.expect()
    done = threading.Event()
    found: list[Any] = [None, None]

    def work() -> None:
        try:
            found[0] = function()
        except BaseException as error:
            found[1] = error
        done.set()

    threading.Thread(target=work, name="flask-statistics-aside", daemon=True).start()
    if not patience.await_(lambda seconds: done.wait(seconds)):
        raise TookTooLong
    if found[1] is not None:
        raise found[1]
    answer: T = found[0]
    return answer
