"""What all processes of an app on this host have recorded and lost: each writes a small file, and whoever asks reads all.

A thread writes the file, at most once in a second and only if something changed, so that no request does. A lock says who
lives, as it ends with its process; what a dead one had counted is added to one kept total, once, and its file deleted.
Reads and writes the folder that it is given, and nothing else.
"""

from __future__ import annotations

import atexit
import json
import os
import secrets
import tempfile
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from . import forks
from .local_files import identity_of, make_folder, try_lock
from .record import Backlog, Counters

EVERY_S = 1.0
"""At most as often is a file written."""
MOST_TIMES = 100
"""Of so many requests a file has the time that recording took, from the shortest to the longest of those that are known."""
ENDED = "ended"
"""In the name of the file that has the total of those that ended."""
LOCKED_S = 1.0
"""How long the total is waited for; it is held for a moment."""
MOST_REMEMBERED = 200
"""Names of processes that are added to the total already, should one that lives find out that it was taken for dead."""
LEFT = "ProcessEnded"
"""Why requests are lost that waited in the memory of a process when it ended."""


@dataclass(slots=True)
class Done:
    """What some processes have done."""

    started_at: datetime
    """The first of them, naive UTC."""
    processes: int = 1
    """How many of them live."""
    recorded: int = 0
    """Requests stored."""
    lost: int = 0
    """Requests that are stored nowhere."""
    lost_because: Counter[str] = field(default_factory=Counter)
    """Of them, by the type of the error."""
    last_error: str | None = None
    last_error_at: datetime | None = None
    """Naive UTC."""
    waiting: int = 0
    """Requests that wait in memory for a database in trouble."""
    trouble: str | None = None
    """Why they wait."""
    times: list[float] = field(default_factory=list)
    """Seconds that recording took, of the latest requests."""
    wrong_passwords: int = 0
    tokens: dict[str, datetime] = field(default_factory=dict)
    """When each was used last, by its label; naive UTC."""

    def add(self, other: Done) -> None:
        """Take what `other` has done for one's own as well."""
        self.started_at = min(self.started_at, other.started_at)
        self.processes += other.processes
        self.recorded += other.recorded
        self.lost += other.lost
        self.lost_because.update(other.lost_because)
        if self.last_error_at is None or (other.last_error_at or self.last_error_at) > self.last_error_at:
            self.last_error, self.last_error_at = other.last_error, other.last_error_at
        self.waiting += other.waiting
        self.trouble = self.trouble or other.trouble
        self.times += other.times
        self.wrong_passwords += other.wrong_passwords
        for label, at in other.tokens.items():
            self.tokens[label] = max(at, self.tokens.get(label, at))

    def without(self, before: Done) -> Done:
        """What of it was done after `before`, which is an earlier state of the same."""
        rest = Done.read(self.written())
        rest.recorded -= before.recorded
        rest.lost -= before.lost
        rest.lost_because -= before.lost_because
        rest.wrong_passwords -= before.wrong_passwords
        return rest

    def end(self, at: datetime) -> None:
        """The processes end: what waits in memory is lost."""
        self.processes, self.times = 0, []
        if self.waiting:
            self.lost += self.waiting
            self.lost_because[LEFT] += self.waiting
            self.last_error = (
                f"{LEFT}: {self.waiting:,} requests waited in the memory of a process that ended. {self.trouble or ''}"
            )
            self.last_error_at = at
        self.waiting, self.trouble = 0, None

    def written(self) -> dict[str, Any]:
        """As JSON can have it."""
        return {one.name: _plain(getattr(self, one.name)) for one in fields(self)}

    @classmethod
    def read(cls, written: dict[str, Any]) -> Done:
        """What `written` gave. Raises `ValueError`, `TypeError`, `KeyError` or `AttributeError` for anything else."""
        error_at = written["last_error_at"]
        return cls(
            started_at=datetime.fromisoformat(written["started_at"]),
            **{name: int(written[name]) for name in ("processes", "recorded", "lost", "waiting", "wrong_passwords")},
            lost_because=Counter({str(kind): int(lost) for kind, lost in written["lost_because"].items()}),
            last_error=written["last_error"],
            last_error_at=None if error_at is None else datetime.fromisoformat(error_at),
            trouble=written["trouble"],
            times=[float(seconds) for seconds in written["times"]],
            tokens={str(label): datetime.fromisoformat(at) for label, at in written["tokens"].items()},
        )


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value


class Processes:
    """The processes of one app, of which this is one."""

    def __init__(
        self,
        counters: Counters,
        in_memory: Callable[[], Backlog],
        place: Callable[[], tuple[Path, str]],
        readers: Callable[[], tuple[int, dict[str, datetime]]],
    ) -> None:
        """`in_memory` says what would be lost with this process, `place` the folder and by which name it knows the app, `readers`
        how many passwords were wrong and when tokens were used."""
        self._counters = counters
        self._in_memory = in_memory
        self._place = place
        self._readers = readers
        self.unwritable: str | None = None
        """Why nothing is known of the other processes; None: all of them can be read."""
        self._forget()
        _all.add(self)
        forks.expect()

    def _forget(self) -> None:
        self._starting = threading.Lock()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._lock: int | None = None
        self._name = ""
        self._written: Done | None = None
        """What the own file says."""
        self._before: Done | None = None
        """What the total has of this process, as its files were pulled away and it was taken for dead."""

    # ---- this process --------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Write a file of one's own from now on; what that takes is done by a thread."""
        if self._thread is not None:
            return
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(
                    target=self._run, args=(self._stop,), name="flask-statistics-processes", daemon=True
                )
                try:
                    thread.start()
                except RuntimeError:  # the process ends, or may have no more threads
                    return
                self._thread = thread
                atexit.register(self.end)

    def end(self) -> None:
        """Write for the last time, and let go of the file: the next one who looks adds it to the total."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        atexit.unregister(self.end)
        self._stop.set()
        thread.join(EVERY_S)
        self._note()
        with self._writing:
            lock, self._lock = self._lock, None
            if lock is not None:
                os.close(lock)
        self._stop = threading.Event()

    def forked(self) -> None:
        """Begin anew in the child of a fork: thread, lock and counts are the parent's."""
        lock = self._lock
        self._forget()
        self._counters.renew()
        if lock is not None:
            os.close(lock)

    def _run(self, stop: threading.Event) -> None:
        self._note()
        with suppress(OSError):
            for path in self._dead(*self._place()):  # also where nobody ever asks, their files become no more
                self._add_to_total(path)
        while not stop.wait(EVERY_S):
            self._note()

    def own(self) -> Done:
        """What this process has done."""
        waits, (wrong, tokens), counters = self._in_memory(), self._readers(), self._counters
        with counters.lock:
            return Done(
                started_at=counters.started_at,
                recorded=counters.recorded,
                lost=counters.lost,
                lost_because=Counter(counters.lost_because),
                last_error=counters.last_error,
                last_error_at=counters.last_error_at,
                waiting=waits.waiting if waits.trouble else 0,  # others are on their way
                trouble=waits.trouble,
                times=sorted(counters.overhead),
                wrong_passwords=wrong,
                tokens=tokens,
            )

    def _note(self) -> None:
        """Write the own file, if it says something else by now. What fails is not worth a request, and is said on Health."""
        try:
            with self._writing:
                self._write()
            self.unwritable = None
        except OSError as error:
            self.unwritable = str(error)

    def _write(self) -> None:
        folder, name = self._place()
        if self._lock is not None and not self._is_there(folder):
            self._leave(folder, name)
        now = self.own()
        now.times = now.times[:: -(-len(now.times) // MOST_TIMES)] if now.times else []
        told = now if self._before is None else now.without(self._before)
        if self._lock is None:
            make_folder(folder)
            self._name = f"{name}-{os.getpid()}-{secrets.token_hex(4)}"
            self._lock = try_lock(folder / f"{self._name}.lock")
        if told != self._written:
            _replace(folder / f"{self._name}.json", told.written())
            self._written = told

    def _leave(self, folder: Path, name: str) -> None:
        """Give up the own files, which somebody pulled away; what of them is in the total already is not told again."""
        assert self._lock is not None  # noqa: S101 - as below
        os.close(self._lock)
        self._lock = None
        make_folder(folder)
        total = folder / f"{name}-{ENDED}.json"
        with locked(total.with_suffix(".lock"), seconds=LOCKED_S):
            if self._written is not None and self._name in _read_total(total)[1]:
                self._before = self._sum(self._before, self._written)
            self._written = None
            for kind in ("json", "lock"):
                (folder / f"{self._name}.{kind}").unlink(missing_ok=True)

    def _is_there(self, folder: Path) -> bool:
        """Whether the own files are where they were."""
        assert self._lock is not None  # noqa: S101 - it is asked of one that is held
        held = os.fstat(self._lock)
        there = identity_of(folder / f"{self._name}.lock") == (held.st_dev, held.st_ino)
        return there and (self._written is None or (folder / f"{self._name}.json").exists())

    @staticmethod
    def _sum(one: Done | None, other: Done) -> Done:
        if one is not None:
            other.add(one)
        return other

    # ---- all of them ---------------------------------------------------------------------------------------------

    def all(self) -> Done:
        """What all processes have done that live, and those that ended."""
        found = self.own()
        found.processes = int(self._thread is not None)
        if self._before is not None:
            found = found.without(self._before)
        try:
            folder, name = self._place()
            if folder.is_dir():
                make_folder(folder)  # or what is in it may be anybody's
                for other in self._others(folder, name):
                    found.add(other)
        except OSError as error:
            self.unwritable = str(error)
        return found

    def _others(self, folder: Path, name: str) -> list[Done]:
        """What the other processes have done, and those that ended."""
        left = [path for path in self._dead(folder, name) if not self._add_to_total(path)]
        while True:
            total, added = _read_total(folder / f"{name}-{ENDED}.json")
            found = [] if total is None else [total]
            for path in sorted(folder.glob(f"{name}-*-*.json")):
                other = None if path.stem in (self._name, *added) else _read(path)
                if other is not None:
                    if path in left:  # the disk is full, say
                        other.end(_changed_at(path))
                    found.append(other)
            if _read_total(folder / f"{name}-{ENDED}.json")[1] == added:
                return found
            # one of them has been added meanwhile

    def _dead(self, folder: Path, name: str) -> list[Path]:
        """The files of processes that ended."""
        found = []
        for path in sorted(folder.glob(f"{name}-*-*.json")):
            if path.stem != self._name:
                with suppress(OSError), locked(path.with_suffix(".lock")) as ended:
                    if ended:
                        found.append(path)
        return found

    def _add_to_total(self, path: Path) -> bool:
        """Add what a process had done that ended to the total, and delete its files; whether that could be done."""
        name, _, _ = path.stem.rpartition("-")[0].rpartition("-")
        total_path = path.with_name(f"{name}-{ENDED}.json")
        try:
            with locked(total_path.with_suffix(".lock"), seconds=LOCKED_S) as mine:
                if not mine:
                    return False
                total, added = _read_total(total_path)
                one = _read(path)
                if one is not None and path.stem not in added:
                    one.end(_changed_at(path))
                    if total is not None:
                        one.add(total)
                    _replace(total_path, one.written() | {"added": [*added[-MOST_REMEMBERED:], path.stem]})
                path.unlink(missing_ok=True)
                path.with_suffix(".lock").unlink(missing_ok=True)
        except OSError:
            return False
        return True

    def files(self) -> list[Path]:
        """The files of all processes, and of the total."""
        folder, name = self._place()
        return sorted(folder.glob(f"{name}-*"))


def lock_in(folder: Path, name: str, what: str) -> Path:
    """The lock that lets one process of an app at a time do something. Makes the folder; raises `OSError`."""
    make_folder(folder)
    return folder / f"{name}-{what}.lock"


def folder_of(spool: Path | None) -> Path:
    """Where the files are: beside the spool's, or in the folder of temporary files, in one of this user's own."""
    user = os.getuid() if hasattr(os, "getuid") else "all"
    return spool or Path(tempfile.gettempdir()) / f"flask-statistics-{user}"


@contextmanager
def locked(path: Path, *, seconds: float = 0.0) -> Iterator[bool]:
    """Whether the lock could be had, within so many seconds; then it is held in this block. Raises `OSError`."""
    deadline = time.monotonic() + seconds
    while (lock := try_lock(path)) is None and time.monotonic() < deadline:
        time.sleep(0.005)
    with ExitStack() as held:
        if lock is not None:
            _passing.add(lock)
            held.callback(os.close, lock)
            held.callback(_passing.discard, lock)
        yield lock is not None


def _read(path: Path) -> Done | None:
    """What a file says; None: it is gone, or nothing that we wrote."""
    try:
        return Done.read(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _read_total(path: Path) -> tuple[Done | None, list[str]]:
    """The total of those that ended, and the names of the latest of them."""
    try:
        written = json.loads(path.read_text("utf-8"))
        return Done.read(written), [str(name) for name in written.get("added", ())]
    except FileNotFoundError:
        return None, []
    except (ValueError, TypeError, KeyError, AttributeError):
        return None, []


def _replace(path: Path, content: dict[str, Any]) -> None:
    """Write a file so that nobody reads half of it. Raises `OSError`."""
    new = path.with_suffix(f".{secrets.token_hex(4)}")
    try:
        new.write_text(json.dumps(content), "utf-8")
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _changed_at(path: Path) -> datetime:
    """When a file was written, naive UTC."""
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, timezone.utc).replace(tzinfo=None)
    except OSError:
        return datetime.now(timezone.utc).replace(tzinfo=None)


# ---- a fork ----------------------------------------------------------------------------------------------------------

_all: weakref.WeakSet[Processes] = weakref.WeakSet()
_passing: set[int] = set()
"""Descriptors of locks that are held for a moment: a child must not keep them."""


def _forked() -> None:
    while _passing:
        os.close(_passing.pop())
    for processes in list(_all):
        processes.forked()


forks.at(forks.Step.PROCESSES, in_child=_forked)
