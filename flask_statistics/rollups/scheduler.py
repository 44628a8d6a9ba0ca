"""Runs the job inside the app, in a thread of each process that serves requests; the lease lets one of them work.

Nothing starts at import or when the app is made: the first request of a process starts it, so it survives gunicorn's
fork, with and without `--preload`, and the reloader's parent never has one.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import sqlalchemy as sa

from .job import SETTLING, Job, Report, RollupError

BACKFILL_SECONDS = 20.0
"""How long one run works on history before it lets go of the lease."""
SHARE = 0.05
"""Of one core, at most, for keeping the last two days: a run that takes long is followed by a pause."""


class Scheduler:
    """Runs a job every `interval`, from the first request of this process on."""

    def __init__(self, make_job: Callable[[], Job], interval: timedelta, logger: logging.Logger) -> None:
        self._make_job = make_job
        self._interval = interval
        self._logger = logger
        self._lock = threading.Lock()
        self._pid: int | None = None
        self._scheduler: Any = None
        self._job: Job | None = None
        self._not_before = 0.0
        self._failing = False

    def ensure_running(self) -> None:
        """Start it, if it does not run in this process yet."""
        if self._pid == os.getpid():
            return
        with self._lock:
            if self._pid != os.getpid():
                self._start()
                self._pid = os.getpid()

    def stop(self) -> None:
        """Stop it; a run under way is left to end, so that it stays whole."""
        if self._scheduler is not None and self._pid == os.getpid():
            self._scheduler.shutdown(wait=True)
            self._scheduler = None

    def _start(self) -> None:
        from apscheduler.schedulers.background import BackgroundScheduler  # only where rollups are on

        # after a fork the threads of the parent are gone, and its scheduler with them
        self._scheduler = BackgroundScheduler(timezone=timezone.utc, daemon=True)
        self._scheduler.add_job(
            self._tick,
            "interval",
            seconds=self._interval.total_seconds(),
            next_run_time=datetime.now(timezone.utc),
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
        )
        self._scheduler.start()
        atexit.register(self.stop)

    def _tick(self) -> None:
        if time.monotonic() < self._not_before:
            return
        try:
            self._job = self._job or self._make_job()
            now = datetime.now(timezone.utc).replace(tzinfo=None)
            report = self._job.run(now - SETTLING, seconds=BACKFILL_SECONDS)
        except RollupError as error:
            self._complain("%s", error)
        except sa.exc.SQLAlchemyError as error:
            self._complain(
                "The rollups could not be brought up to date: %s. It is tried again every %s; "
                "if tables are missing, run 'flask statistics init'.",
                str(getattr(error, "orig", None) or error).partition("\n")[0],
                self._interval,
            )
        else:
            self._pause(report)
            if self._failing:
                self._failing = False
                self._logger.warning("Flask-Statistics: the rollups are brought up to date again.")

    def _pause(self, report: Report | None) -> None:
        if report is not None:
            self._not_before = time.monotonic() + report.seconds * (1 / SHARE - 1) - self._interval.total_seconds()

    def _complain(self, message: str, *arguments: object) -> None:
        """Log a fault once for as long as it lasts."""
        if not self._failing:
            self._failing = True
            self._logger.error("Flask-Statistics: " + message, *arguments)
