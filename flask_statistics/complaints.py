"""What the log says of questions that the database did not answer: each cause once a minute, in one line where it is known.

A page asks some thirty questions, and of a table that is missing each would tell its own traceback. Writes the log alone.
"""

from __future__ import annotations

import logging
import threading
import time

import sqlalchemy as sa

from .databases.errors import fix, is_known

QUIET_S = 60.0
"""So long a cause that was told is not told again."""
MOST = 100
"""Causes remembered."""


class Complaints:
    """One app's."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._quiet_until: dict[str, float] = {}
        self._lock = threading.Lock()

    def tell(self, what: str, error: Exception) -> None:
        """Log that `what` was not done, and what helps. The traceback is for debugging, unless nobody knows what helps."""
        explained = isinstance(error, sa.exc.SQLAlchemyError) and is_known(error)
        help_ = fix(error) if explained else ""
        message = f"Flask-Statistics: {what}: {first_line(error).rstrip('.')}. {help_}".rstrip()
        if not self._is_new(help_ or f"{type(error).__name__} {first_line(error)}"):
            self._logger.debug("%s", message, exc_info=error)
        elif explained:
            self._logger.error("%s", message)
            self._logger.debug("Flask-Statistics: its traceback", exc_info=error)
        else:
            self._logger.error("%s", message, exc_info=error)

    def _is_new(self, cause: str) -> bool:
        now = time.monotonic()
        with self._lock:
            if now < self._quiet_until.get(cause, 0.0):
                return False
            if len(self._quiet_until) >= MOST:
                self._quiet_until.clear()
            self._quiet_until[cause] = now + QUIET_S
            return True


def first_line(error: BaseException) -> str:
    """Of its message, without what does not print: a database repeats the values of strangers."""
    original = getattr(error, "orig", None) or error
    return "".join(filter(str.isprintable, f"{type(error).__name__}: {original}".partition("\n")[0]))[:300]
