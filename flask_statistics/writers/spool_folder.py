"""The folder of an app's spool files: one for each process that runs at the same time, and what dead ones left.

A process takes the first file that no other holds and goes on where its last owner stopped, so there are never more
files than there were processes at once. A lock of the operating system says who lives: it ends with its process.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from .spool_file import SpoolFile, SpoolUnusable, damaged

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


_passing: set[int] = set()
"""Descriptors of locks that are held for a moment: a child must not keep them."""


def _let_go() -> None:
    while _passing:
        os.close(_passing.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


class SpoolFolder:
    """The spool files named `name` in `folder`, which is made when it is needed."""

    def __init__(self, folder: Path, name: str, logger: logging.Logger) -> None:
        self._folder = folder
        self._name = name
        self._logger = logger
        self._held: int | None = None
        """Descriptor of the lock of the file that this process owns."""
        self._own: Path | None = None

    def claim(self, fields: str) -> SpoolFile:
        """A file that is this process's own from now on, for records made of `fields`.

        Raises `OSError` and `sqlite3.Error` if the folder or the disk does not let it.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number in count(1):
            path = self._folder / f"{self._name}-{number}.sqlite"
            lock = try_lock(path.with_suffix(".lock"))
            if lock is None:
                continue
            try:
                spool = self._open(path, fields)
            except BaseException:
                os.close(lock)
                raise
            if spool is not None:
                self._held, self._own = lock, path
                return spool
            os.close(lock)
        raise AssertionError("there is always a next number")

    def _open(self, path: Path, fields: str) -> SpoolFile | None:
        spool = SpoolFile(path, create=True)
        try:
            if spool.claim(fields):
                return spool
        except SpoolUnusable as reason:
            self._logger.error("Flask-Statistics: %s; it is left as it is.", reason)
        except sqlite3.DatabaseError as error:
            if not damaged(error):
                spool.close()
                raise
            self._put_away(path, error)
        spool.close()
        return None

    def _put_away(self, path: Path, error: sqlite3.DatabaseError) -> None:
        away = path.with_suffix(f".damaged-{path.stat().st_mtime_ns}")
        path.rename(away)
        for suffix in ("-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        self._logger.error("Flask-Statistics: a spool file is damaged (%s); it is %s now.", error, away)

    def release(self) -> None:
        """Leave the own file to whoever wants it."""
        if self._held is not None:
            os.close(self._held)
        self._held = self._own = None

    def others(self) -> list[Path]:
        """The files of other processes, alive or dead."""
        return [path for path in self.files() if path != self._own]

    def files(self) -> list[Path]:
        """All files of this app."""
        return sorted(self._folder.glob(f"{self._name}-*.sqlite"))

    @contextmanager
    def abandoned(self, path: Path) -> Iterator[bool]:
        """Whether nobody owns `path`; if so, nobody else can take it meanwhile."""
        lock = try_lock(path.with_suffix(".lock"))
        if lock is not None:
            _passing.add(lock)
        try:
            yield lock is not None
        finally:
            if lock is not None:
                _passing.discard(lock)
                os.close(lock)


def try_lock(path: Path) -> int | None:
    """Descriptor of the lock `path`, a file of its own, as SQLite has locks in its files; None: a living process has it."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        _lock(descriptor)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return None
        raise  # a file system without locks
    return descriptor
