"""The dashboard's numbers for Python: for a daily mail, a command or a test. And what pages' sisters, API and exports, ask by.

Takes what a URL takes, by the same names, and refuses what it cannot read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from werkzeug.datastructures import MultiDict

from . import parameters, week
from .filters import Filters, read_filters
from .kept import Mark
from .kept import read as read_kept
from .parameters import AT
from .queries.answers import Breakdown, Measures, Only, Point, RequestLog
from .queries.interface import Queries
from .spans import UNITS, Span, read_span
from .state import State

Answer = TypeVar("Answer")
MOST_POINTS = 10_000
"""Longest series that is answered: a year of hours fits."""


class BadParameter(ValueError):
    """A parameter that cannot be read; the message names it."""


def read(
    state: State, args: MultiDict[str, str], earliest: Callable[[], datetime | None], now: datetime
) -> tuple[Span, Filters]:
    """The span and the filters that parameters ask for at `now` (naive UTC). Raises `SpanError` or `BadParameter`."""
    settings = state.settings
    span = read_span(args, now=now, zone=settings.timezone, default=settings.default_date_span, earliest=earliest)
    filters, errors = read_filters(args.items(multi=True), state.dimensions)
    if errors:
        raise BadParameter(str(errors[0]))
    try:
        week.check(span, filters.at)
    except ValueError as error:
        raise BadParameter(f"{AT} must be {error}") from None
    return span, filters


def unit_of(unit: str | None, span: Span) -> str:
    """The buckets of a series over `span`; None: those that suit it. Raises `BadParameter`."""
    _check_text("unit", unit or "")
    unit = unit or span.default_unit()
    if unit not in UNITS:
        raise BadParameter(f"unit is {unit[:100]!r}, but must be one of {', '.join(UNITS)}")
    if span.count(unit) > MOST_POINTS:
        raise BadParameter(
            f"unit is {unit!r}, but the span has more than {MOST_POINTS:,} of them; ask for a longer unit"
        )
    return unit


def dimension_of(name: str, state: State) -> str:
    """A dimension's name. Raises `BadParameter` if there is none of it."""
    _check_text("dimension", name)
    if name not in state.dimensions:
        raise BadParameter(f"dimension is {name[:100]!r}, but must be one of {', '.join(state.dimensions)}")
    return name


def sort_of(sort: str) -> str:
    """What a breakdown is sorted by. Raises `BadParameter`."""
    _check_text("sort", sort)
    if sort.removeprefix("-") not in parameters.SORTS:
        raise BadParameter(
            f"sort is {sort[:100]!r}, but must be one of {', '.join(parameters.SORTS)}, with - for the largest first"
        )
    return sort


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise BadParameter(f"{name} is {value!r:.100}, but must be a text")


def _check_whole(name: str, value: object, *, least: int = 0) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise BadParameter(f"{name} is {value!r:.100}, but must be a whole number from {least} on")


@dataclass(frozen=True, slots=True)
class Query:
    """Asks one app's statistics. Each question takes `span`, or `start` and `end`, and filters by the names of dimensions.

    ``query.summary(span="7d", browser="firefox")``; a list stands for any of its values, and a name with `!` (in a mapping,
    as Python has no such names) for none of them: ``query.summary({"browser!": ["Safari", "Firefox"]}, status_code="5xx")``.
    `start` and `end` are dates, or instants to the minute: without a zone in the one of the dashboard.
    Raises `ValueError` (`SpanError` or `BadParameter`) for what cannot be read, SQLAlchemy's errors where the database does
    not answer, and `TooManyValues` where there is too much to hold in memory. No context of the app's is needed.
    """

    state: State

    def summary(self, filters: Mapping[str, Any] | None = None, **parameters: Any) -> Measures:
        """The measures over all requests that were asked for."""
        return self._ask(filters, parameters, lambda queries, span, wanted: queries.summary(span, wanted))

    def series(
        self, filters: Mapping[str, Any] | None = None, *, unit: str | None = None, **parameters: Any
    ) -> tuple[Point, ...]:
        """The measures of each hour, day, week or month (`unit`; None: what suits the span), oldest first.

        What is not recorded or not rolled up yet has no point.
        """

        def ask(queries: Queries, span: Span, wanted: Filters) -> tuple[Point, ...]:
            since = queries.complete_from(span, wanted)
            points = queries.series(span, unit_of(unit, span), wanted)
            return tuple(point for point in points if since is None or point.end > since)

        return self._ask(filters, parameters, ask)

    def breakdown(
        self,
        dimension: str,
        filters: Mapping[str, Any] | None = None,
        *,
        sort: str = "-hits",
        limit: int = 50,
        offset: int = 0,
        search: str = "",
        **parameters: Any,
    ) -> Breakdown:
        """The measures of each value of `dimension`: `limit` of them from `offset` in the order of `sort`.

        `sort` is the name of a measure, or `value`, with `-` before it for the largest first; `search` a text that the
        values must contain.
        """
        name, order = dimension_of(dimension, self.state), sort_of(sort)
        _check_whole("limit", limit, least=1)
        _check_whole("offset", offset)
        _check_text("search", search)
        return self._ask(
            filters,
            parameters,
            lambda queries, span, wanted: queries.breakdown(
                name, span, wanted, sort=order, limit=limit, offset=offset, search=search
            ),
        )

    def requests(
        self,
        filters: Mapping[str, Any] | None = None,
        *,
        limit: int = 50,
        before: str | None = None,
        after: str | None = None,
        slower: float | None = None,
        text: str = "",
        slowest: bool = False,
        **parameters: Any,
    ) -> RequestLog:
        """`limit` requests, newest first: the newest, or those older than the key `before`, or newer than `after`.

        `slower`: only those that took more than so many seconds; `text`: only those with it in their path or query string.
        `slowest`: slowest first, and `before` and `after` mean the faster and the slower ones.
        Raises `UnknownRequest` if that key is of no stored request.
        """
        _check_whole("limit", limit, least=1)
        if before is not None and after is not None:
            raise BadParameter("before and after are both given, but only one of them can be")
        _check_text("text", text)
        if slower is not None and not (isinstance(slower, (int, float)) and slower >= 0):
            raise BadParameter(f"slower is {slower!r:.100}, but must be a number of seconds, 0 or more")
        return self._ask(
            filters,
            parameters,
            lambda queries, span, wanted: queries.requests(
                span, wanted, limit=limit, before=before, after=after, only=Only(slower, text), slowest=slowest
            ),
        )

    def marks(self) -> tuple[Mark, ...]:
        """What was marked, and since when each release is seen (naive UTC, to the minute), the oldest first."""
        with self.state.app.app_context(), self.state.reading_ours() as connection:
            return read_kept(connection, self.state.kept).marks

    def complete_from(
        self, filters: Mapping[str, Any] | None = None, *, dimensions: Sequence[str] = (), **parameters: Any
    ) -> datetime | None:
        """From when on the answers are complete, naive UTC; None: all of the span. `dimensions` are broken down by."""
        names = [dimension_of(name, self.state) for name in dimensions]
        return self._ask(filters, parameters, lambda queries, span, wanted: queries.complete_from(span, wanted, names))

    def _ask(
        self,
        filters: Mapping[str, Any] | None,
        given: Mapping[str, Any],
        ask: Callable[[Queries, Span, Filters], Answer],
    ) -> Answer:
        twice = [name for name in filters or {} if name in given]
        if twice:
            raise BadParameter(f"{twice[0]} is given twice, as a filter and by name")
        asked = {**(filters or {}), **given}
        unknown = parameters.unknown(asked, self.state.dimensions, (*parameters.SPAN, parameters.CONTAINS))
        if unknown:
            raise BadParameter(unknown[0])
        args = MultiDict(_pairs(asked, self.state.settings.timezone))
        now = datetime.now(timezone.utc).replace(tzinfo=None)
        # a context, as a dimension's function or the host's engines may want one
        with self.state.app.app_context():
            if self.state.recorder is not None:
                self.state.recorder.settle()  # what was just requested shall be counted
            return self._answer(args, now, ask)

    def _answer(
        self, args: MultiDict[str, str], now: datetime, ask: Callable[[Queries, Span, Filters], Answer]
    ) -> Answer:
        with self.state.queries() as queries:
            span, wanted = read(self.state, args, queries.earliest, now)
            return ask(queries, span, wanted)


def _pairs(given: Mapping[str, Any], zone: ZoneInfo) -> Iterator[tuple[str, str]]:
    """The parameters as a URL has them. Raises `BadParameter` for what a URL cannot have."""
    for name, value in given.items():
        several = isinstance(value, (list, tuple, set, frozenset))
        if several and name in (*parameters.SPAN, parameters.CONTAINS):
            raise BadParameter(f"{name} is {value!r:.100}, but must be a single value")
        for each in value if several else [value]:
            if each is not None and not isinstance(each, (str, int, date)):
                raise BadParameter(f"{name} is {each!r:.100}, but must be a text, a number or a date")
            if isinstance(each, datetime) and name in parameters.SPAN:
                local = each if each.tzinfo is None else each.astimezone(zone)
                yield name, f"{local:%Y-%m-%dT%H:%M}"
            else:
                yield name, "" if each is None else str(each)
