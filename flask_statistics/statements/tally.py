"""Statements added up in memory, until they are stored: by hour, text, place and route. Asks no database.

Requests hand in what they sent, which costs them next to nothing; whoever stores adds it up.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from hashlib import sha256

from ..latency import bin_of
from ..timing.collector import OTHERS, Source, Times
from ..timing.story import MANY
from .table import EPOCH

MOST_REQUESTS = 20_000
"""Requests that wait to be added up; the statements of those beyond are lost."""
MOST_STATEMENTS = 2_000
"""Statements of one process and day (UTC) that are told apart; others count as one, so that an app which makes ever new
statements does not fill the tables."""
MOST_SUMS = 20_000
"""Sums that wait for a database; those beyond are lost."""
HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class Statement:
    """One text, sent for one route from one place."""

    digest: str
    text: str
    place: str | None
    route: str | None

    @property
    def id(self) -> str:
        """The hash by which it is known."""
        parts = "\0".join(repr(part) for part in (self.digest, self.place, self.route))
        return sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(slots=True)
class Sum:
    """What one statement took in one hour."""

    calls: int = 0
    requests: int = 0
    repeated: int = 0
    """Of these requests, those that sent it `MANY` times or more."""
    total_us: int = 0
    longest_us: int = 0
    bins: dict[int, int] = field(default_factory=dict)
    """Calls by latency bin."""

    def add(self, other: Sum) -> None:
        """Add another sum to this one."""
        self.calls += other.calls
        self.requests += other.requests
        self.repeated += other.repeated
        self.total_us += other.total_us
        self.longest_us = max(self.longest_us, other.longest_us)
        for number, count in other.bins.items():
            self.bins[number] = self.bins.get(number, 0) + count


Sums = dict[tuple[datetime, Statement], Sum]
"""By the start of the hour, naive UTC."""
_Sent = tuple[float, str | None, Mapping[Source, Times]]


class Tally:
    """What the statements of one process took and nobody has stored yet."""

    def __init__(self) -> None:
        self.lost = 0
        """Requests, and sums of statements, that are stored nowhere."""
        self._waiting: deque[_Sent] = deque()
        self._sums: Sums = {}
        self._day: date | None = None
        self._known: set[Statement] = set()
        """Statements of this day."""
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._waiting or self._sums)

    def keep(self, route: str | None, statements: Mapping[Source, Times]) -> None:
        """Take over what a request sent."""
        if len(self._waiting) < MOST_REQUESTS:
            self._waiting.append((time.time(), route, statements))
        else:
            self.lost += 1

    def add_up(self) -> None:
        """Add up what requests handed in, so that less is kept of it."""
        with self._lock:
            self._add_up()

    def take(self) -> Sums:
        """All that is there; it is nobody else's then."""
        with self._lock:
            self._add_up()
            taken, self._sums = self._sums, {}
            return taken

    def put_back(self, sums: Sums) -> None:
        """Have what could not be stored wait again."""
        with self._lock:
            for key, found in sums.items():
                self._add(key, found)

    def _add_up(self) -> None:
        for _ in range(len(self._waiting)):
            at, route, statements = self._waiting.popleft()
            start = EPOCH + timedelta(seconds=at // HOUR_S * HOUR_S)
            for statement, found in _sums_of(route, statements).items():
                self._add((start, self._told_apart(start, statement)), found)

    def _told_apart(self, start: datetime, statement: Statement) -> Statement:
        """The statement, or what stands for all of them that are too many."""
        if start.date() != self._day:
            self._day, self._known = start.date(), set()
        if statement in self._known:
            return statement
        if len(self._known) >= MOST_STATEMENTS:
            return Statement(OTHERS.fingerprint.digest, OTHERS.fingerprint.text, None, None)
        self._known.add(statement)
        return statement

    def _add(self, key: tuple[datetime, Statement], found: Sum) -> None:
        known = self._sums.get(key)
        if known is not None:
            known.add(found)
        elif len(self._sums) < MOST_SUMS:
            self._sums[key] = found
        else:
            self.lost += 1


def _sums_of(route: str | None, statements: Mapping[Source, Times]) -> dict[Statement, Sum]:
    """What each statement of one request took."""
    found: dict[Statement, Sum] = {}
    for source, times in statements.items():
        statement = Statement(source.fingerprint.digest, source.fingerprint.text, source.place, route)
        added = found.setdefault(statement, Sum(requests=1))
        added.add(Sum(times.times, 0, 0, times.total_us, times.longest_us))
        for microseconds in times:
            number = bin_of(microseconds / 1_000_000)
            added.bins[number] = added.bins.get(number, 0) + 1
        if times.times_beyond:  # too many to be kept one by one: as long as they were on average
            number = bin_of(times.total_beyond / times.times_beyond / 1_000_000)
            added.bins[number] = added.bins.get(number, 0) + times.times_beyond
    for statement, added in found.items():
        # what stands for many kinds is no query in a loop
        added.repeated = int(added.calls >= MANY and statement.digest != OTHERS.fingerprint.digest)
    return found
