"""Runs the job inside the app, in a thread of each process that serves requests; the lease lets one of them work.

Each looks every interval whether a run is due. It is one for all of them, so more processes and hosts are no more work.
Nothing starts at import or when the app is made: the first request of a process starts it, so it survives gunicorn's
fork, with and without `--preload`, and the reloader's parent never has one.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import sqlalchemy as sa

from .. import forks
from .job import SETTLING, Job
from .meta import RollupError

BACKFILL_SECONDS = 20.0
"""How long one run works on history before it lets go of the lease."""


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
        self._failing = False
        self._stopping = False
        self._differing: set[datetime] = set()

    def ensure_running(self) -> None:
        """Start it, if it does not run in this process yet."""
        if self._pid == os.getpid():
            return
        with self._lock:
            if self._pid != os.getpid():
                self._start()
                self._pid = os.getpid()

    def stop(self) -> None:
        """Stop it, after what a run under way is building; history that is left is for another process."""
        if self._scheduler is not None and self._pid == os.getpid():
            self._stopping = True
            self._scheduler.shutdown(wait=True)
            self._scheduler = None

    def _start(self) -> None:
        from apscheduler.executors.debug import DebugExecutor  # only where rollups are on
        from apscheduler.schedulers.background import BackgroundScheduler

        # after a fork the threads of the parent are gone, and its scheduler with them. The job runs in the scheduler's
        # own thread: Python ends a pool before it calls `stop`, and a tick in between would be refused with a traceback
        self._scheduler = BackgroundScheduler(
            timezone=timezone.utc, daemon=True, executors={"default": DebugExecutor()}
        )
        self._stopping = False
        self._scheduler.add_job(
            self._tick,
            "interval",
            seconds=self._interval.total_seconds(),
            next_run_time=datetime.now(timezone.utc),
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
        )
        forks.expect()
        self._scheduler.start()
        atexit.register(self.stop)

    def _tick(self) -> None:
        try:
            self._job = self._job or self._make_job()
            with forks.unforked(self._job.engine):
                now = datetime.now(timezone.utc).replace(tzinfo=None) - SETTLING
                if not self._job.is_due(now, interval=self._interval):
                    return
                report = self._job.run(now, seconds=BACKFILL_SECONDS, progress=self._go_on)
                if report is not None:
                    self._say_what_differs(report.kept)
                    scrubbed = self._job.scrub(now) if report.complete else None
                    self._say_what_differs({} if scrubbed is None else scrubbed.differences)
        except _Stopped:
            return
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
            if self._failing:
                self._failing = False
                self._logger.warning("Flask-Statistics: the rollups are brought up to date again.")

    def _go_on(self, _day: datetime) -> None:
        forks.let_fork()
        if self._stopping:
            raise _Stopped

    def _say_what_differs(self, differences: Mapping[datetime, str]) -> None:
        """Log each period once that is not as its raw rows are, or not as it was stored."""
        for start, why in differences.items():
            if start not in self._differing:
                self._logger.error(
                    "Flask-Statistics: the rollups of %s UTC differ: %s. 'flask statistics verify --repair' builds them "
                    "again where there are raw rows.",
                    *(start, why),
                )
        self._differing.update(differences)

    def _complain(self, message: str, *arguments: object) -> None:
        """Log a fault once for as long as it lasts."""
        if not self._failing:
            self._failing = True
            self._logger.error("Flask-Statistics: " + message, *arguments)


class _Stopped(Exception):
    """The process ends; what a run had built is committed."""
