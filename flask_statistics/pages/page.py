"""One page being made: what it shows, of which app, at which instant, and whom to ask. Knows nothing of Flask."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ParamSpec, TypeVar

import sqlalchemy as sa

from ..databases import budgets
from ..databases.causes import Cause
from ..databases.errors import cause_of
from ..dimensions import Dimension, Value
from ..formatting import clipped, span_label
from ..issue_states import IssueStates
from ..issues.frames import AppFiles
from ..kept import Kept, SavedView
from ..page_state import PageState
from ..queries.interface import Queries, TooManyValues
from ..queries.statements import StatementQueries
from ..spans import Span, to_local
from ..waits import WAITS

COMPARED_WITH = {"prev": "previous", "year": "last year"}
LONGEST_DATES = 14
"""Characters of the dates that stand behind `vs`."""

T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Link:
    """A link that changes what is shown."""

    text: str
    url: str
    current: bool = False
    key: str | None = None
    """Keyboard shortcut."""


@dataclass(frozen=True, slots=True)
class Route:
    """A URL rule of the app."""

    rule: str
    methods: tuple[str, ...]
    """Those that were declared: HEAD and OPTIONS come by themselves."""
    endpoint: str


@dataclass(frozen=True, slots=True)
class Site:
    """What pages must know of the app that they are part of."""

    dimensions: Mapping[str, Dimension]
    columns: Collection[str]
    """Attributes of the model: what none of them holds is not offered."""
    url: Callable[..., str]
    """Endpoint of the dashboard and its values to a URL path."""
    title: str = ""
    """What pages call the app."""
    host: str = ""
    """The app's own host, as the browser names it: referrers from it are internal."""
    theme: str = "auto"
    own_tabs: Sequence[tuple[str, str]] = ()
    """Name and title of the host's own pages."""
    statements: StatementQueries | None = None
    """What tells of the app's statements; None: they are not measured."""
    issues: IssueStates | None = None
    """What was decided about issues; None: the model does not keep them."""
    files: AppFiles = field(default_factory=lambda: AppFiles("/"))
    """Tells the app's own files."""
    may_change: bool = False
    """Whether the reader may change what all others see."""
    can_log_out: bool = False
    """Whether the reader has a cookie that can be ended."""
    retention: timedelta | None = None
    """How old raw requests may get; None: as old as they are."""
    most_rows: int | None = None
    """How many raw requests are kept; None: all."""
    waits: Collection[str] = ()
    """Columns of what requests waited for that something fills."""
    kept: Callable[[], Kept] = Kept
    """Marks and saved views."""
    views: Sequence[SavedView] = ()
    """Those of the settings."""
    left_behind: Callable[[], str | None] = lambda: None
    """Names an older database that has the requests which this one lacks."""
    routes: Callable[[], Sequence[Route]] = tuple
    """Those of the app that are recorded, by their rules, each once."""
    query_timeout: timedelta = timedelta(seconds=10)
    """How long the questions of one page may take."""


class Asker:
    """Asks the questions of one page. A question that fails costs what needs its answer, and not the page."""

    def __init__(
        self,
        queries: Queries,
        log_failure: Callable[[str, Exception], None],
        recover_host: Callable[[], None] = lambda: None,
    ) -> None:
        self.queries = queries
        self.answered = 0
        self.errors: list[Exception] = []
        """What questions failed with."""
        self.out_of_time = False
        """Whether the questions took all the time that they may take; those after that are not answered."""
        self.host_s = 0.0
        """Seconds that functions of the host's own took."""
        self.locked_out = False
        """Whether a function of the host's own waited for a lock in vain, as those after it would."""
        self._log_failure = log_failure
        self._recover_host = recover_host
        """Make the next statement on the host's own session possible."""

    def ask(self, question: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T | None:
        """The answer to one of the `queries`, or None where it failed.

        Raises what says that the database is gone, or that what is asked is locked: each question more would wait as long.
        """
        try:
            answer = question(*arguments, **options)
        except Exception as error:
            if _is_hopeless(error):
                raise
            if not any(error is known for known in self.errors):
                self._note(f"{_name_of(question, *arguments)} could not be computed", error)
            return None
        self.answered += 1
        return answer

    def attempt(self, what: str, function: Callable[[], T]) -> T | None:
        """What a function of the host's own returns; None where it failed, or where another one waited for a lock in vain."""
        if self.locked_out:
            return None
        began = time.perf_counter()
        try:
            return function()
        except Exception as error:
            self.locked_out = _is_hopeless(error)
            self._log_failure(f"{what} could not be computed", error)
            self.queries.recover()
            self._recover_host()
            return None
        finally:
            self.host_s += time.perf_counter() - began

    def _note(self, what: str, error: Exception) -> None:
        """Log a failure, unless time is up, which the first one says, and make the next question possible."""
        self.errors.append(error)
        if not (self.out_of_time and budgets.is_timeout(error)):
            self._log_failure(what, error)
        self.out_of_time = self.out_of_time or budgets.is_timeout(error)
        self.queries.recover()

    def give_up_without_answer(self) -> None:
        """Raise the latest failure if nothing at all was answered: then there is nothing to show."""
        if not self.answered and self.errors and isinstance(self.errors[-1], (sa.exc.SQLAlchemyError, TooManyValues)):
            raise self.errors[-1]


def _is_hopeless(error: Exception) -> bool:
    """Whether the database is gone, or what is asked is locked."""
    return isinstance(error, sa.exc.DBAPIError) and (error.connection_invalidated or cause_of(error) is Cause.LOCKED)


def _name_of(question: Callable[..., object], *arguments: object) -> str:
    """What the log calls a question: the dimensions that it breaks down by, or its own name."""
    about = arguments[0] if arguments else None
    if isinstance(about, tuple):
        return ", ".join(about)
    return about if isinstance(about, str) else question.__name__.strip("_")


@dataclass(frozen=True, slots=True)
class Page:
    """One page being made."""

    state: PageState
    site: Site
    asker: Asker = field(repr=False)
    now: datetime
    """Naive UTC, the same for all of the page."""
    is_whole: bool = True
    """Whether all of its panels are composed, and not one alone."""

    @property
    def queries(self) -> Queries:
        """What answers questions, or raises what they fail with."""
        return self.asker.queries

    def ask(self, question: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T | None:
        """The answer to a question, or None where it failed: what cannot be computed costs no page."""
        return self.asker.ask(question, *arguments, **options)

    @property
    def local_now(self) -> datetime:
        """`now` in the configured zone, aware."""
        return self.local(self.now)

    def local(self, moment: datetime) -> datetime:
        """A naive UTC instant in the configured zone, aware."""
        return to_local(moment, self.state.span.zone)

    def other(self, endpoint: str, **values: str) -> str:
        """The URL of another page that shows the same requests."""
        return self.state.at(self.site.url(endpoint, **values))

    def in_full(self, endpoint: str, **values: str) -> str:
        """The same for the API, which knows no usual filters."""
        return self.state.in_full().at(self.site.url(endpoint, **values))

    def csv(self, name: str) -> str:
        """The URL of the export of a table as this page shows it."""
        return self.state.table_url_at(self.site.url("export", name=name))

    def has(self, column: str) -> bool:
        """Whether the model has `column`; one of what requests waited for, only if something fills it."""
        return column in (self.site.waits if column in WAITS else self.site.columns)

    def label(self, dimension: str, value: Value) -> str:
        """What a reader sees for a dimension's value, safe to look at and of bounded length."""
        return clipped(self.site.dimensions[dimension].label_of(value))

    def other_filtered(self, dimension: str, text: str) -> str:
        """The overview of the requests that have one value of `dimension`, the other filters kept."""
        return self.state.at(self.site.url("index"), filters=self.state.filters.only(dimension, text))

    def toggled(self, dimension: str, value: Value) -> str:
        """The URL with one value of `dimension` more among the filters, or less where it is there already.

        What the filters say of more values than this gives way to it: `4xx` to `404`, chosen or left out.
        """
        known, filters = self.site.dimensions[dimension], self.state.filters
        text = known.text_of(value)
        if text in filters.texts(dimension):
            return self.state.url(filters=filters.minus(dimension, text))
        for condition in filters.on(dimension):
            for other in condition.texts:
                if value in known.values_of(other):
                    filters = filters.minus(dimension, other, negated=condition.negated)
        return self.state.url(filters=filters.and_(dimension, text))


def covered(page: Page) -> str:
    """What the span covers."""
    span = page.state.span
    return span_label(span.local_start, span.local_end, now=page.local_now)


def of_longest(lengths: Iterable[float]) -> tuple[float, ...]:
    """Each of `lengths` in percent of the longest: the bars of a list."""
    known = tuple(lengths)
    most = max(known, default=0)
    return tuple(round(100 * length / most, 1) if most else 0.0 for length in known)


def versus(page: Page) -> str:
    """What the span is compared with, in 14 characters at most: its dates, or what it is called; empty: with nothing."""
    before = page.state.compared()
    if before is None:
        return ""
    dates = _dates(page, before)
    return dates if len(dates) <= LONGEST_DATES else COMPARED_WITH[page.state.vs]


def compared_dates(page: Page) -> str:
    """The dates of what the span is compared with, in full; empty: with nothing."""
    before = page.state.compared()
    return "" if before is None else _dates(page, before)


def _dates(page: Page, span: Span) -> str:
    label = span_label(span.local_start, span.local_end, now=page.local_now)
    return label.removesuffix(f" {page.local_now.year}")


def how_long(kept: timedelta) -> str:
    """`30 days`, `36 hours`."""
    hours = round(kept / timedelta(hours=1))
    return plural(hours // 24, "day") if hours % 24 == 0 else plural(hours, "hour")


def plural(count: int, noun: str, many: str = "") -> str:
    """`1 path`, `2 paths`; `many` for nouns that get more than an s."""
    return f"{count:,} {noun if count == 1 else many or f'{noun}s'}"
