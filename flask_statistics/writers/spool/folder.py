"""The folder of an app's spool files: one for each process that runs at the same time, and what dead ones left.

A process takes the first file that no other holds and goes on where its last owner stopped, so there are never more
files than there were processes at once. A lock of the operating system says who lives: it ends with its process.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import sqlalchemy as sa

from ... import forks
from ...local_files import make_folder, name_of, try_lock
from .file import SpoolFile
from .journal import FileJournal
from .notes import SpoolUnusable, damaged
from .own import OwnSpool

PREFIX = "requests-"
"""How the names of all spool files begin."""

_passing: set[int] = set()
"""Descriptors of locks that are held for a moment: a child must not keep them."""


def _let_go() -> None:
    while _passing:
        os.close(_passing.pop())


forks.at(forks.Step.FOLDERS, in_child=_let_go)


class SpoolFolder:
    """The spool files in `folder`, which is made when it is needed; those of this app's address are named `name`."""

    def __init__(self, folder: Path, name: str, logger: logging.Logger, address: str = "") -> None:
        self.path = folder
        self.name = name
        self._logger = logger
        self._address = address
        """Of the database and table, for people to read."""
        self._held: int | None = None
        """Descriptor of the lock of the file that this process owns."""
        self._own: Path | None = None

    # ---- the own file --------------------------------------------------------------------------------------------

    def claim(self, fields: str, *, fresh: bool = False) -> OwnSpool:
        """A file that is this process's own from now on, for records made of `fields`; `fresh`: one in which none wait.

        Raises `OSError` and `sqlite3.Error` if the folder or the disk does not let it.
        """
        make_folder(self.path)
        for number in count(1):
            path = self.path / f"{self.name}-{number}.sqlite"
            there = os.path.lexists(path) or os.path.lexists(path.with_suffix(".lock"))
            try:
                spool = self._claim(path, fields, fresh=fresh)
            except (OSError, sqlite3.Error) as error:
                if not there or not _is_about_one_file(error):
                    raise
                self._logger.error(
                    "Flask-Statistics: the spool file %s cannot be used: %s. Requests are recorded in another one; what waits "
                    "in it is stored when it can be read again.",
                    path,
                    error,
                )
                continue
            if spool is not None:
                return spool
        raise AssertionError("there is always a next number")

    def _claim(self, path: Path, fields: str, *, fresh: bool) -> OwnSpool | None:
        """The file at `path`, if nobody has it and it can be gone on with."""
        lock = try_lock(path.with_suffix(".lock"))
        if lock is None:
            return None
        try:
            spool = self._open(path, fields, fresh=fresh)
            if spool is not None:
                spool.watch(path.with_suffix(".lock"))
                self._held, self._own = lock, path
                return spool
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)
        return None

    def _open(self, path: Path, fields: str, *, fresh: bool) -> OwnSpool | None:
        spool = self.repaired(path)
        try:
            if not spool.is_held() and spool.claim(fields, self.hints(), fresh=fresh):
                return spool
        except SpoolUnusable as reason:
            self._logger.error("Flask-Statistics: %s; it is left as it is.", reason)
        except BaseException:
            spool.close()
            raise
        spool.close()
        return None

    def spare(self) -> tuple[Path, int]:
        """A new file that no process will claim, and the lock that keeps all others from emptying it. Raises `OSError`."""
        make_folder(self.path)
        path = self.path / f"{self.name}-{secrets.token_hex(4)}x.sqlite"
        lock = try_lock(path.with_suffix(".lock"))
        assert lock is not None  # noqa: S101 - nobody else knows the name
        return path, lock

    def release(self) -> None:
        """Leave the own file to whoever wants it."""
        if self._held is not None:
            os.close(self._held)
        self._held = self._own = None

    # ---- whose they are ------------------------------------------------------------------------------------------

    def hints(self) -> dict[str, str]:
        """For whom records of this app are: the address, and as which the database there was known last; empty: never."""
        try:
            database = self._known.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            database = ""
        return {"database": database, "address": self._address}

    @property
    def _known(self) -> Path:
        return self.path / f"{self.name}.database"

    def know(self, database: str) -> None:
        """Note as which the database at the app's address is known, for processes that start while it is away."""
        if self.hints()["database"] != database:
            new = self._known.with_suffix(f".database-{os.getpid()}")
            with suppress(OSError):  # it is only a hint, and the disk may be full
                new.write_text(database, "utf-8")
                new.replace(self._known)

    def is_ours(self, spool: SpoolFile, database: str) -> bool:
        """Whether what waits in the file is for the app's `database`; of one that never met its own, the address decides."""
        theirs = spool.hints()["database"]
        if theirs and database:
            return theirs == database
        assert spool.path is not None  # noqa: S101 - it is of a folder
        return spool.path.name.startswith(f"{self.name}-")

    # ---- all of them ---------------------------------------------------------------------------------------------

    def others(self) -> list[Path]:
        """The files of other processes, alive or dead."""
        return [path for path in self.files() if path != self._own]

    def files(self) -> list[Path]:
        """All spool files of the folder, also those of other databases, and those of which only the journal is left."""
        try:
            names = os.listdir(self.path)  # noqa: PTH208 - a Path for each file of a large folder takes long
        except (FileNotFoundError, NotADirectoryError):
            return []
        found = {name for name in names if name.startswith(PREFIX) and name.endswith(".sqlite")}
        journals = [name.rpartition(".sqlite.") for name in names if name.endswith(".journal")]
        found |= {f"{base}.sqlite" for base, dot, _ in journals if dot and base.startswith(PREFIX)}
        return [self.path / name for name in sorted(found)]

    def strays(self) -> list[Path]:
        """What was put away, and waits for somebody to look at it."""
        return sorted(path for kind in ("*.damaged-*", "*.stray") for path in self.path.glob(f"{PREFIX}{kind}"))

    def repaired(self, path: Path) -> OwnSpool:
        """The file at `path`; one that is missing or damaged is made again from its journal. Only for who holds its lock."""
        spool = OwnSpool(path)
        journal = any(path.parent.glob(f"{path.name}.*.journal"))
        missing = not path.exists()
        try:
            spool.aside.count()
        except SpoolUnusable:
            return spool
        except sqlite3.DatabaseError as error:
            spool.close()
            if not damaged(error):
                raise
            self._put_away(path, error)
            spool = OwnSpool(path)
            spool.aside.count()
        else:
            if missing and journal:
                self._logger.warning("Flask-Statistics: %s was missing; it was made again from its journal.", path)
        return spool

    def _put_away(self, path: Path, error: sqlite3.DatabaseError) -> None:
        away = path.with_suffix(f".damaged-{path.stat().st_mtime_ns}")
        path.rename(away)
        for suffix in ("-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        self._logger.error(
            "Flask-Statistics: a spool file is damaged (%s); it is %s now, and a new one was made from its journal, so that "
            "what waited in that is stored. What the table had refused before is lost with it.",
            error,
            away,
        )

    @contextmanager
    def abandoned(self, path: Path) -> Iterator[bool]:
        """Whether nobody owns `path`; if so, nobody else can take it meanwhile."""
        lock = try_lock(path.with_suffix(".lock"))
        if lock is not None:
            _passing.add(lock)
        try:
            yield lock is not None and not FileJournal(path).is_held()
        finally:
            if lock is not None:
                _passing.discard(lock)
                os.close(lock)

    def remove(self, path: Path) -> None:
        """Delete a spool file with its journal. Only within `abandoned`."""
        FileJournal(path).clear()
        for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm"), path.with_suffix(".lock")):
            name.unlink(missing_ok=True)

    def is_numbered(self, path: Path) -> bool:
        """Whether a process of this app's address may claim it again; others are deleted once they are empty."""
        return path.stem.removeprefix(f"{self.name}-").isdigit()


def folder_for(path: Path, url: sa.URL, table: sa.Table, logger: logging.Logger) -> SpoolFolder:
    """The spool files in `path`; those of this raw table, as it is addressed now, have a name of their own."""
    name = f"{PREFIX}{name_of(url, table)}"
    address = url.set(username=None, password=None, query={}).render_as_string()
    return SpoolFolder(path, name, logger, f"{address}, table {table.fullname}")


def _is_about_one_file(error: Exception) -> bool:
    """Whether another file may do where one failed with `error`: it is somebody else's, a link, a folder, or no spool."""
    if isinstance(error, OSError):
        return error.errno in (errno.EACCES, errno.EPERM, errno.ELOOP, errno.EMLINK, errno.EISDIR, errno.ENXIO)
    return "unable to open" in str(error) or "readonly" in str(error) or damaged(error)


@contextmanager
def reading(path: Path) -> Iterator[SpoolFile]:
    """The file at `path`, closed at the end."""
    file = SpoolFile(path)
    try:
        yield file
    finally:
        file.close()


def try_folder(path: Path) -> OSError | None:
    """Why the spool could not be written in `path`; None: it could, and the folder is there now."""
    probe = path / f"{PREFIX}try-{os.getpid()}"
    try:
        make_folder(path)
        lock = try_lock(probe)
        if lock is not None:
            try:
                os.write(lock, bytes(4096))
            finally:
                os.close(lock)
                probe.unlink(missing_ok=True)
    except OSError as error:
        return error
    return None
