"""The answers: frozen dataclasses that views read, and the tally in which they are added up. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ..dimensions import Value
from ..latency import Spread, percentiles
from ..waits import WAITS, Wait


@dataclass(frozen=True, slots=True)
class ResponseTime:
    """Response times in seconds; None: no request of them had one, or it was not asked for."""

    avg: float | None = None
    p50: float | None = None
    """Percentiles are within 2 % of the true one."""
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True)
class Waited:
    """What requests waited for: seconds, or counts. None: no request of them was measured."""

    avg: float | None = None
    p50: float | None = None
    """Percentiles are within 2 % of the true one; those of counts up to 25 are exact."""
    p95: float | None = None
    p99: float | None = None
    max: float | None = None
    total: float = 0
    """Of all of them together; 0 if no request was measured."""


@dataclass(frozen=True, slots=True)
class Measures:
    """What is measured over some requests. None: the model lacks the column, nothing fills it, or it was not asked for."""

    hits: int
    """Requests."""
    visitors: int | None
    """Distinct client addresses; requests without one are nobody's."""
    client_errors: int | None
    """Responses with a status of 400 to 499."""
    server_errors: int | None
    """Responses with a status of 500 to 599."""
    size: int | None
    """Bytes sent in bodies."""
    response_time: ResponseTime
    last_requested: datetime | None
    """When the latest of them began, naive UTC; None if there are none."""
    db_time: Waited | None = None
    """Seconds in which the app waited for its databases."""
    db_queries: Waited | None = None
    """Statements that it sent them."""
    http_time: Waited | None = None
    """Seconds in which it waited for other servers."""
    http_calls: Waited | None = None
    """Requests that it sent them."""


@dataclass(frozen=True, slots=True)
class Point:
    """One bucket of a series."""

    start: datetime
    """Included, naive UTC."""
    end: datetime
    """Excluded, naive UTC."""
    measures: Measures


@dataclass(frozen=True, slots=True)
class Row:
    """One value of a breakdown."""

    value: Value
    measures: Measures


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Requests by the values of one dimension."""

    dimension: str
    total: int
    """How many values there are, listed or not."""
    rows: tuple[Row, ...]
    hits: int = 0
    """Requests in all values together, listed or not."""
    complete_from: datetime | None = None
    """Requests from before (naive UTC) are not in it, as they are not rolled up by the dimension yet; None: all are."""
    among: int | None = None
    """Only so many values, the commonest, were searched, as there are more than can be looked through; None: all were."""


@dataclass(frozen=True, slots=True)
class Block:
    """What one value has of a block of time."""

    hits: int
    failed: int
    """Responses with a status of 500 to 599; 0 without a column for it."""
    timed: int
    """Requests that have a response time."""
    seconds: float
    """Of all of these together."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How the requests of one value are distributed: what it takes to compare them with others."""

    value: Value
    hits: int
    visitors: int | None
    """None: the model lacks the column, as for `failed`."""
    failed: int | None
    """Responses with a status of 500 to 599."""
    bins: Mapping[int, int]
    """Requests by bin of their response time."""
    blocks: tuple[Block, ...]
    """One for each block of the span, oldest first."""


@dataclass(frozen=True, slots=True)
class Profiles:
    """Requests by the values of one dimension, as distributions."""

    total: int
    """How many values there are, listed or not."""
    hits: int
    """Requests of all of them together."""
    rows: tuple[Profile, ...]


@dataclass(frozen=True, slots=True)
class Client:
    """What else is told of one client."""

    peak: int
    """The most requests that it made in one minute."""
    user_agent: str | None
    """Of its latest request; None: it sent none, or none is stored."""


@dataclass(frozen=True, slots=True)
class Group:
    """Requests that have the same values of some dimensions."""

    values: tuple[Value, ...]
    """One of each dimension, in their order."""
    hits: int
    first_requested: datetime
    """Naive UTC."""
    last_requested: datetime
    """Naive UTC."""


@dataclass(frozen=True, slots=True)
class ExceptionGroup:
    """Requests that failed with the same exception at the same path."""

    exception: str
    """As stored: the exception's `repr`."""
    path: str | None
    """None: the model has no path."""
    hits: int
    first_requested: datetime
    """Naive UTC."""
    last_requested: datetime
    """Naive UTC."""


@dataclass(frozen=True, slots=True)
class Link:
    """Requests for one path that came from one referring page."""

    path: str
    referrer: str
    """As stored: the whole Referer header."""
    hits: int
    last_requested: datetime
    """Naive UTC."""


LATE_AFTER = 3
"""So many updates of the rollups may be missed before they are called late."""
LEAST_LATE = timedelta(minutes=1)
"""The rollups stay some seconds behind on purpose, however often they are brought up to date."""


def is_late(behind: timedelta, interval: timedelta) -> bool:
    """Whether rollups that are updated each `interval` should be nearer to the present."""
    return behind > max(LATE_AFTER * interval, LEAST_LATE)


@dataclass(frozen=True, slots=True)
class Freshness:
    """How new answers are that are not of the moment."""

    as_of: datetime
    """Requests up to then are in them, naive UTC."""
    interval: timedelta
    """How often they are brought up to date."""
    preparing_before: datetime | None = None
    """Requests before this instant (naive UTC) are still being rolled up and not in them yet; None: all are in."""


@dataclass(frozen=True, slots=True)
class Only:
    """What the request log is narrowed to beyond its filters."""

    slower: float | None = None
    """Requests that took more than so many seconds; None: all."""
    text: str = ""
    """What their path or query string contains, of ASCII in any case."""

    def __bool__(self) -> bool:
        return self != Only()


@dataclass(frozen=True, slots=True)
class RequestLog:
    """Some requests, newest or slowest first."""

    rows: tuple[Mapping[str, Any], ...]
    """Model attribute to stored value; `id` is the row's key."""
    newer: str | None
    """The key to ask for what is newer, or slower (`after`); None: nothing is."""
    older: str | None
    """The key to ask for what is older, or faster (`before`); None: nothing is."""


PARTS = (0.50, 0.95, 0.99)
"""The percentiles of answers."""


@dataclass(slots=True)
class Tally:
    """Measures being added up; `None` columns stay None, as the model lacks them."""

    hits: int = 0
    visitors: int | None = None
    client_errors: int | None = None
    server_errors: int | None = None
    size: int | None = None
    last: datetime | None = None
    time: Spread = field(default_factory=Spread)
    """Seconds of response time."""
    waits: dict[str, Spread] = field(default_factory=dict)
    """For each of what requests waited for that was asked for, seconds or counts."""

    def add(self, other: Tally) -> None:
        """Take in `other`, whose requests are all different ones; visitors are not added, as they may be the same."""
        self.hits += other.hits
        self.client_errors = _plus(self.client_errors, other.client_errors)
        self.server_errors = _plus(self.server_errors, other.server_errors)
        self.size = _plus(self.size, other.size)
        self.last = _later(self.last, other.last)
        self.time.add(other.time)
        for name, wait in other.waits.items():
            self.waits.setdefault(name, Spread()).add(wait)

    def add_hour(self, other: Tally) -> None:
        """The same of an hour, whose visitors count once in it, and again in others. When the latest came is not told."""
        self.add(other)
        self.visitors, self.last = _plus(self.visitors, other.visitors), None

    def spread(self, name: str) -> Spread:
        """Of the column called `name`: the response time, or what requests waited for."""
        return self.waits.setdefault(name, Spread()) if name in WAITS else self.time

    def measures(self) -> Measures:
        """The measures so far."""
        time = self.time
        p50, p95, p99 = percentiles(time.bins, PARTS, longest=time.highest)
        return Measures(
            hits=self.hits,
            visitors=self.visitors,
            client_errors=self.client_errors,
            server_errors=self.server_errors,
            size=self.size,
            response_time=ResponseTime(
                avg=time.total / time.known if time.known else None,
                p50=p50,
                p95=p95,
                p99=p99,
                max=time.highest,
            ),
            last_requested=self.last,
            **{name: _waited(WAITS[name], spread) for name, spread in self.waits.items()},
        )

    def profile(self, value: Value, blocks: Sequence[Tally]) -> Profile:
        """The distributions so far of one value, and those of its `blocks`."""
        return Profile(
            value,
            self.hits,
            self.visitors,
            self.server_errors,
            self.time.bins,
            tuple(one.block() for one in blocks),
        )

    def block(self) -> Block:
        """The sums so far of a block of time."""
        return Block(self.hits, self.server_errors or 0, self.time.known, self.time.total)


def _waited(wait: Wait, spread: Spread) -> Waited:
    p50, p95, p99 = percentiles(spread.bins, PARTS, longest=spread.highest, middle_of=wait.middle)
    return Waited(
        avg=spread.total / spread.known if spread.known else None,
        p50=p50,
        p95=p95,
        p99=p99,
        max=spread.highest,
        total=spread.total,
    )


def _plus(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other


def _later(one: Any, other: Any) -> Any:
    return other if one is None else one if other is None else max(one, other)
