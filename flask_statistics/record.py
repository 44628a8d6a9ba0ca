"""What is recorded of a request, and what those who take it further promise: `Record`, `Writer` and what writers tell."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import datetime, timezone
from math import isfinite
from typing import Any, get_type_hints

MOST_TIMED = 1_000
"""Requests of which the recording's own time is kept."""


@dataclass(slots=True)
class Record:
    """One request, by attribute names of the raw table; user agents are parsed later, by the writer.

    Its fields and their types say all that is noted of a request: the journal's lines and the rows are made by them. A
    field with a default may be missing in lines of before.
    """

    date: datetime
    method: str
    path: str
    route: str | None = None
    query_string: str | None = None
    remote_address: str | None = None
    user_agent: str = ""
    referrer: str | None = None
    status_code: int = 500
    size: int | None = None
    mimetype: str | None = None
    exception: str | None = None
    traceback: str | None = None
    response_time: float = 0.0
    country: str | None = None
    host: str | None = None
    language: str | None = None
    release: str | None = None
    user: str | None = None
    db_time: float | None = None
    db_queries: int | None = None
    http_time: float | None = None
    http_calls: int | None = None
    story: str | None = None
    channel: str | None = None
    campaign: str | None = None
    issue: str | None = None
    own: dict[str, Any] | None = None
    """Values of the columns that dimensions of the host's fill, by attribute name; None: there are no such dimensions."""
    dropped: bool = False
    """Whether somebody said that it shall not be stored."""

    def drop(self) -> None:
        """Do not store it."""
        self.dropped = True

    def misfits(self) -> list[str]:
        """The names of the attributes that have a value which cannot be theirs, for whoever let others change it; empty: none."""
        found = [name for name, kind in _KINDS.items() if not isinstance(getattr(self, name), kind)]
        if "date" not in found and self.date.tzinfo is not None:
            found.append("date")
        if "response_time" not in found and not isfinite(self.response_time):
            found.append("response_time")
        return found

    def values(self) -> dict[str, Any]:
        """What is stored of it, by attribute names of the raw table."""
        values = {name: getattr(self, name) for name in FIELDS}
        return values if self.own is None else values | self.own


FIELDS = tuple(one.name for one in fields(Record) if one.name not in ("own", "dropped"))
"""What every record consists of."""
TYPES: dict[str, Any] = {name: kind for name, kind in get_type_hints(Record).items() if name != "dropped"}
"""The type of each of them, and of `own`."""
_KINDS = TYPES | {"own": dict | None}


class Writer(ABC):
    """Takes records to the raw table. One of an app's own has `write`, and what else it needs."""

    @abstractmethod
    def write(self, record: Record, *, host_in_transaction: bool) -> int:
        """Store `record`, or keep it; how many rows are in the raw table now that were not. Raises `NotStored`.

        `host_in_transaction`: the host's session in this thread may hold a lock.
        """

    def flush(self) -> int:
        """At the end of each context: store what waited for it; how many rows. Raises `NotStored`."""
        return 0

    def settle(self) -> int:
        """Before somebody looks at the raw table: store what waits, within a short time; how many rows."""
        return 0

    def backlog(self) -> Backlog:
        """What waits now, and why."""
        return Backlog(0, None)

    def in_memory(self) -> Backlog:
        """What of it would be lost with this process; asked each second, and so cheap."""
        return Backlog(0, None)

    def close(self) -> None:  # noqa: B027 - there need not be anything to close
        """Stop what runs and close what is open, with all stored that can be."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is not in the raw table yet."""

    waiting: int
    """Records that wait for their way into the raw table."""
    trouble: str | None
    """Why they wait, in one line; None: nothing is wrong."""
    refused: int = 0
    """Records that the raw table refused and that are kept in the spool."""
    problems: tuple[str, ...] = ()
    """What else somebody should look after, as sentences."""


class NotStored(Exception):
    """Records that could not be stored and are lost; the cause is the database's error."""

    def __init__(self, lost: int, fix: str, reason: str = "", *, stored: int = 0) -> None:
        super().__init__(reason or f"{lost} lost")
        self.lost = lost
        self.fix = fix
        """What the operator can do about it."""
        self.stored = stored
        """Rows stored all the same."""
        self.explained = False
        """Whether `fix` says all that there is to know, so that nobody needs a traceback."""


@dataclass(slots=True)
class Counters:
    """What this process has recorded since it started."""

    recorded: int = 0
    """Rows stored in the raw table."""
    lost: int = 0
    """Requests that are in no table and in no spool."""
    last_error: str | None = None
    last_error_at: datetime | None = None
    """Naive UTC."""
    lost_because: Counter[str] = field(default_factory=Counter)
    """Requests lost by the type of the error."""
    started_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc).replace(tzinfo=None))
    """Naive UTC."""
    overhead: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_TIMED))
    """Seconds that recording took of the latest requests."""
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    when_stored: Callable[[int], None] = field(default=lambda rows: None, repr=False)
    """Told how many rows were stored."""
    when_lost: Callable[[int, str, str], None] = field(default=lambda rows, because, error: None, repr=False)
    """Told how many requests were lost, the type of the error and what it says."""

    def renew(self) -> None:
        """Begin with nothing: in the child of a fork, what was counted is the parent's."""
        self.recorded = self.lost = 0
        self.last_error = self.last_error_at = None
        self.lost_because = Counter()
        self.started_at = datetime.now(timezone.utc).replace(tzinfo=None)
        self.overhead.clear()
        self.lock = threading.Lock()

    def store(self, rows: int) -> None:
        """Count rows that are in the raw table now."""
        with self.lock:
            self.recorded += rows
        self.when_stored(rows)

    def lose(self, rows: int, because: str, error: str) -> int:
        """Count requests that are stored nowhere, by the type of the error; how many there are by now."""
        with self.lock:
            self.lost += rows
            self.lost_because[because] += rows
            self.last_error = f"{because}: {error}"[:500]
            self.last_error_at = datetime.now(timezone.utc).replace(tzinfo=None)
            total = self.lost
        self.when_lost(rows, because, error)
        return total


def backlog_of(question: Callable[[], Backlog]) -> Backlog:
    """What a writer says of its backlog, also where one of an app's own fails at it."""
    try:
        found = question()
    except Exception as error:
        return Backlog(
            0, f"{question.__name__}() of the app's writer failed: {type(error).__name__}: {first_line(error)}"
        )
    if not isinstance(found, Backlog):
        return Backlog(0, f"{question.__name__}() of the app's writer returned {found!r:.100}, and no Backlog.")
    return found


def count_of(stored: object) -> int:
    """`stored`, if it can be a number of rows. Raises `TypeError` for what a writer of an app's own returns instead of it."""
    if not isinstance(stored, int) or stored < 0:
        raise TypeError(
            f"the writer returned {stored!r:.100}, and not how many rows are in the table now that were not"
        )
    return stored


def first_line(error: BaseException) -> str:
    """What an error says, in one line that can be printed."""
    return "".join(filter(str.isprintable, str(error).partition("\n")[0]))
