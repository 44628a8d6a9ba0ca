"""An outage: the time in which the database, or the disk of the spool, does not take records. Said once in the log, and noted.

The note is in the spool's own file, for whoever asks from another process.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from . import times
from .disk import fix_folder
from .file import SpoolFile


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a round failed."""

    reason: str
    """In one line."""
    fix: str
    """What the operator can do about it."""
    said_after: float = 0.0
    """Seconds that it has to last to be worth a line in the log."""


class Outage:
    """What one thread knows of the present outage, if there is one. For this thread alone."""

    def __init__(self, own: SpoolFile, *, folder: Path, most_rows: int, logger: logging.Logger) -> None:
        self._own = own
        self._folder = folder
        self._most_rows = most_rows
        self._logger = logger
        self._since: float | None = None
        self._said = False
        self._back_off = 0.0
        self._tried_at = -math.inf
        self._can_note = True
        """Whether what is to be noted in the own file could be written there."""

    @property
    def lasts(self) -> bool:
        """Whether the last round failed."""
        return self._since is not None

    def tried(self) -> None:
        """Another round begins."""
        self._tried_at = time.monotonic()

    def due(self, *, asked: bool) -> float:
        """When to try again: within a second, if somebody waits for it."""
        return self._tried_at + (min(1.0, self._back_off) if asked else self._back_off)

    def begin(self, failure: Failure) -> None:
        """Begin, or go on: a round failed."""
        reason, now = "".join(filter(str.isprintable, failure.reason))[:500], time.monotonic()
        shortest, longest = times.BACK_OFF_S
        self._back_off = min(max(self._back_off * 2, shortest), longest)
        self._since = self._since or now
        if not self._said and now - self._since >= failure.said_after:
            self._said = True
            self._logger.error(
                "Flask-Statistics: records wait in the spool, because the database does not take them: %s. %s "
                "It is tried again until it does, and nothing is lost while fewer than %s wait (STATISTICS_SPOOL_MAX_ROWS).",
                reason,
                failure.fix,
                f"{self._most_rows:,}",
            )
        self._note(f"{reason} {failure.fix}")

    def end(self) -> None:
        """A round succeeded: whatever it was is over."""
        if self._since is None:
            return
        seconds = time.monotonic() - self._since
        self._since, self._back_off = None, 0.0
        self._note(None)
        if self._said:
            self._said = False
            self._logger.warning(
                "Flask-Statistics: the database takes records again, after %.0f s; those that waited are stored.",
                seconds,
            )

    def _note(self, trouble: str | None) -> None:
        try:
            self._own.note(trouble)
        except sqlite3.Error as error:
            self.say_unwritable(error)
        else:
            self._can_note = True

    def say_unwritable(self, error: Exception) -> None:
        """Say that the spool's own file cannot be written: once, until it can be again."""
        if self._can_note:
            self._can_note = False
            self._logger.error(
                "Flask-Statistics: the spool's own notes cannot be written: %s. %s",
                error,
                fix_folder(error, self._folder),
            )
