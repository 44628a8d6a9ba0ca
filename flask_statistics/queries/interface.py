"""The questions that a view may ask. Whoever answers them, the numbers are the same."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from functools import partial
from operator import attrgetter
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa

from .. import parameters
from ..dimensions import Value
from ..filters import Filters
from ..spans import Span
from ..waits import WAITS
from .answers import (
    Block,
    Breakdown,
    Client,
    ExceptionGroup,
    Freshness,
    Group,
    Link,
    Measures,
    Only,
    Point,
    Profiles,
    RequestLog,
    Row,
)

T = TypeVar("T")
SUMS = "sums"
"""Errors, size, average and longest response time, and when the last request was."""
VISITORS = "visitors"
PERCENTILES = "percentiles"
WAITED = frozenset(WAITS)
"""What requests waited for, each by the name of its column; what nothing fills is not there."""
USUAL = frozenset({SUMS, VISITORS, PERCENTILES})
EVERYTHING = USUAL | WAITED
"""What `want` can ask for beyond hits. Answers may hold more than was asked for."""
CHEAP = frozenset({SUMS})
HITS: frozenset[str] = frozenset()
EVERY_REQUEST = Only()

_TIMES = ("avg", "p50", "p95", "p99", "max")


def _waited(name: str, part: str, row: Row) -> Any:
    waited = getattr(row.measures, name)
    return None if waited is None else getattr(waited, part)


SORTS: dict[str, Callable[[Row], Any]] = (
    {
        name: attrgetter(f"measures.response_time.{name}" if name in _TIMES else f"measures.{name}")
        for name in parameters.SORTS
        if name != "value" and name not in parameters.WAITED_SORTS
    }
    | {
        "error_share": lambda row: (
            ((row.measures.client_errors or 0) + (row.measures.server_errors or 0)) / row.measures.hits
        ),
        "server_error_share": lambda row: (row.measures.server_errors or 0) / row.measures.hits,
    }
    | {sort: partial(_waited, *of) for sort, of in parameters.WAITED_SORTS.items()}
)
"""What a breakdown can be sorted by, besides `value`."""
BINNED_BY = dict.fromkeys(("p50", "p95", "p99"), "response_time") | {
    sort: name for sort, (name, part) in parameters.WAITED_SORTS.items() if part == "p95"
}
"""For what is a percentile, the column whose histogram of all values it takes to sort by it."""
NEEDED = (
    dict.fromkeys(("hits", "value"), HITS)
    | {"visitors": frozenset({VISITORS})}
    | dict.fromkeys(("p50", "p95", "p99"), frozenset({PERCENTILES, SUMS}))  # no percentile exceeds the longest time
    | {sort: frozenset({name}) for sort, (name, _) in parameters.WAITED_SORTS.items()}
)
"""What must be measured of every value to sort by it, whatever is wanted, where it is not among the sums."""
MOST_GROUPS = 100_000
"""Different values, or combinations of them, that one question may hold in memory: some 100 MB."""


class Queries(Protocol):
    """Answers questions about the recorded requests of one app. One object serves one page, on one connection."""

    @property
    def source(self) -> str:
        """`raw` or `rollup`."""

    @property
    def freshness(self) -> Freshness | None:
        """How new the answers are; None: of the moment."""

    def recover(self) -> None:
        """Make the next question possible after one that failed: PostgreSQL answers none in a failed transaction."""

    def earliest(self) -> datetime | None:
        """When the first request began, naive UTC; None if none is recorded."""

    def complete_from(self, span: Span, filters: Filters, dimensions: Sequence[str] = ()) -> datetime | None:
        """From when on answers about `span` are complete, naive UTC; None: all of it is.

        `dimensions` are those that are broken down by. What came before is not rolled up yet, or not by one of these or of
        the filters' dimensions.
        """

    def undecided(self, span: Span, filters: Filters) -> int:
        """How many requests at most may or may not pass `filters`, as their values are folded together with others."""

    def summary(self, span: Span, filters: Filters, *, want: frozenset[str] = EVERYTHING) -> Measures:
        """The measures over all requests of `span` that `filters` let through."""

    def series(self, span: Span, unit: str, filters: Filters, *, want: frozenset[str] = EVERYTHING) -> list[Point]:
        """The measures of each bucket of `unit`, oldest first, buckets without requests included."""

    def week(self, span: Span, filters: Filters, *, want: frozenset[str] = USUAL) -> tuple[Measures, ...]:
        """The measures of each hour of the week, 168 of them from Monday's first; visitors are those of each hour added up."""

    def breakdown(
        self,
        dimension: str,
        span: Span,
        filters: Filters,
        *,
        sort: str = "-hits",
        limit: int = 50,
        offset: int = 0,
        search: str = "",
        want: frozenset[str] = EVERYTHING,
    ) -> Breakdown:
        """The measures of each value of `dimension`, one row a value, `limit` rows from `offset` in the order of `sort`.

        Equal rows stand in the order of their values, rows without the sorted measure last. `search` keeps values whose
        label contains it, in any case.
        """

    def breakdowns(
        self, dimensions: Sequence[str], span: Span, filters: Filters, *, limit: int
    ) -> dict[str, Breakdown]:
        """For each of `dimensions` the `limit` values with the most hits; nothing but hits is measured.

        A dimension that is itself filtered still lists its other values: its own filter is left out.
        """

    def profiles(self, dimension: str, span: Span, unit: str, filters: Filters, *, limit: int) -> Profiles:
        """How the requests of each value of `dimension` are distributed, over times and over blocks of `unit`.

        Of the `limit` values with the most hits, these first.
        """

    def blocks(
        self, dimension: str, values: Collection[Value], span: Span, unit: str, filters: Filters
    ) -> dict[Value, tuple[Block, ...]]:
        """What each of `values` of `dimension` has of each block of `unit`, oldest first."""

    def clients(self, addresses: Collection[Value], span: Span, filters: Filters) -> dict[Value, Client]:
        """What else is told of the clients with these addresses, by address; those without requests are left out."""

    def groups(self, dimensions: Sequence[str], span: Span, filters: Filters, *, limit: int) -> list[Group]:
        """Requests by the values that they have of `dimensions`, with the first and the last of each, most hits first."""

    def exceptions(self, span: Span, filters: Filters, *, limit: int) -> list[ExceptionGroup]:
        """Exceptions by text and path, most hits first."""

    def links(self, span: Span, filters: Filters, *, limit: int) -> list[Link]:
        """Path and referring page of requests that had a referrer, most hits first."""

    def requests(
        self,
        span: Span,
        filters: Filters,
        *,
        limit: int,
        before: str | None = None,
        after: str | None = None,
        only: Only = EVERY_REQUEST,
        slowest: bool = False,
    ) -> RequestLog:
        """Requests, newest first: the newest, those older than key `before`, or those newer than key `after`.

        `slowest`: slowest first; `before` are the faster ones then, and those whose time is not known come last.
        Raises `UnknownRequest` if that key is none of a stored request.
        """

    def beside(self, read: Callable[[sa.Connection], T]) -> T:
        """What `read` reads of our own tables, on the connection that these are read on."""

    def request(self, key: str) -> dict[str, Any] | None:
        """One request with every column of the model, `id` among them; None if there is none with that key."""


class TooManyValues(Exception):
    """A question that would have to hold more values in memory than one page may; the message says what to do."""


class UnknownRequest(LookupError):
    """No stored request has the key that was asked for."""


def joined(one: Group, other: Group) -> Group:
    """Two groups of the same values as one."""
    return Group(
        one.values,
        one.hits + other.hits,
        min(one.first_requested, other.first_requested),
        max(one.last_requested, other.last_requested),
    )


def ranked(groups: Iterable[Group], limit: int) -> list[Group]:
    """The `limit` groups with the most hits, equal ones in the order of their values."""
    ordered = sorted(groups, key=lambda group: (-group.hits, *map(_by_value, group.values)))
    return ordered[:limit]


def cut(rows: list[Row], *, sort: str, limit: int, offset: int) -> tuple[Row, ...]:
    """`limit` of `rows` from `offset`, in the order of `sort`: ties by value, rows without the measure last."""
    name, descending = sort.removeprefix("-"), sort.startswith("-")
    rows = sorted(rows, key=lambda row: _by_value(row.value), reverse=name == "value" and descending)
    if name != "value":
        measure = SORTS[name]
        known = [row for row in rows if measure(row) is not None]
        known.sort(key=measure, reverse=descending)  # a stable sort, so ties stay in the order of their values
        rows = known + [row for row in rows if measure(row) is None]
    return tuple(rows[offset : offset + limit])


def _by_value(value: Value) -> tuple[bool, bool, Value]:
    return (value is None, isinstance(value, str), value if value is not None else 0)
