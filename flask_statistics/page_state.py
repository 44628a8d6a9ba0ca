"""The state of a page, all of it in its URL: what to show, and the links that change one thing of it. Pure.

A page falls back with a notice where its URL cannot be read; the API and exports refuse.
Defaults are left out of links and the order of parameters is fixed, so that one state has one URL.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from werkzeug.datastructures import MultiDict

from . import parameters, week
from .dimensions import Dimension
from .filters import ALL, Filters, read_filters
from .parameters import AT, CHANGES, FAILURES_CHANGE, NAMED, ROWS
from .queries.answers import Only
from .spans import PRESETS, UNITS, Span, SpanError, midnight, name_of, preset, read_span, to_local

MOST_BUCKETS = 400
"""A chart draws no more; finer units of a span are not offered."""
CHART_UNITS = ("hour", "day", "week", "month")
LONGEST_SPAN = timedelta(days=33 * 365)
"""A longer span is cut: it has more months than a chart draws."""
OF_CHANGES = (*CHANGES, FAILURES_CHANGE)
SORTS = (*NAMED["sort"].choices, *OF_CHANGES, *(f"-{name}" for name in OF_CHANGES))
"""What the tables of pages can be sorted by."""
GROUPINGS = NAMED["by"].choices
"""What the table of paths can list."""


@dataclass(frozen=True, slots=True)
class TableState:
    """How a page's table is sorted, searched and paged. It belongs to one view and is not taken to another."""

    by: str = GROUPINGS[0]
    """The dimension that the table of paths lists."""
    sort: str = "-hits"
    """Measure, or `value`; `-` before it: largest first."""
    order: str = NAMED["order"].choices[0]
    """What statements are sorted by; `-` before it: largest first."""
    search: str = ""
    """Text that a listed value must contain."""
    show: str = NAMED["show"].choices[0]
    """Which changes are listed."""
    standing: str = NAMED["standing"].choices[0]
    """Issues of which state are listed."""
    against: str = ""
    """The day with which the time begins that a span is compared with; empty: what `vs` says."""
    split: str = ""
    """The dimension of which two values are compared; empty: two times are."""
    rows: int = ROWS[0]
    """How many rows the table of paths shows."""
    offset: int = 0
    """Rows skipped in a list."""
    before: str | None = None
    """Key of the request that a page of the log ends before."""
    after: str | None = None
    """Key of the request that a page of the log begins after."""
    slower: str = ""
    """Seconds that requests of the log took more than; empty: it has all."""
    text: str = ""
    """What path or query string of requests of the log contain."""
    first: str = NAMED["first"].choices[0]
    """Which requests come first in the log."""
    column: tuple[str, ...] = ()
    """Columns of the log; empty: the usual ones."""
    changed: str = NAMED["changed"].choices[0]
    """1: how each row changed comes with the table; empty: it comes later."""

    @property
    def only(self) -> Only:
        """What the log is narrowed to."""
        return Only(float(self.slower) if self.slower else None, self.text)

    @property
    def is_by_change(self) -> bool:
        """Whether rows are sorted by how they changed."""
        return self.sort.removeprefix("-") in CHANGES

    @property
    def sort_by_measure(self) -> str:
        """What a question can be sorted by: by hits where rows are sorted by how they changed."""
        return "-hits" if self.sort.removeprefix("-") in OF_CHANGES else self.sort

    @property
    def is_by_failures_change(self) -> bool:
        """Whether failures are sorted by how they changed."""
        return self.sort.removeprefix("-") == FAILURES_CHANGE

    @property
    def slowest(self) -> bool:
        """Whether the slowest requests come first in the log."""
        return self.first == "slowest"

    def query(self) -> list[tuple[str, str]]:
        """The query string's pairs, without those that say the default."""
        said = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return [
            (name, str(each))
            for name, value in said
            for each in (value if isinstance(value, tuple) else (value,))
            if value != getattr(_USUAL, name)
        ]

    def first_page(self) -> TableState:
        """The same table from its first row, with what comes later to come later."""
        return replace(self, offset=0, before=None, after=None, changed="")


_USUAL = TableState()


@dataclass(frozen=True, slots=True)
class PageState:
    """What a page shows."""

    base: str
    """The page's path, without a query string."""
    span: Span
    filters: Filters
    default_span: str
    """Name of the span that needs no parameter."""
    unit: str
    """Bucket of the chart."""
    unit_chosen: bool = False
    """Whether the URL names the unit."""
    metric: str = "hits"
    vs: str = "prev"
    table: TableState = TableState()
    paused: bool = False
    """Whether the live view stands still."""
    usual: Filters = ALL
    """The filters that need no parameter: those of dimensions of which the URL says nothing."""
    notices: tuple[str, ...] = ()
    """What could not be read in the URL, as sentences."""

    def url(self, **changes: Any) -> str:
        """The URL of this state with some fields changed; a table then begins with its first row again.

        Another span chooses its own unit.
        """
        if "span" in changes:
            changes = {"unit_chosen": False, **changes}
        return replace(self, **{"table": self.table.first_page(), **changes})._url()

    def table_url(self, **changes: Any) -> str:
        """The URL of this state with some fields of its table changed."""
        return self.url(table=replace(self.table.first_page(), **changes))

    def at(self, base: str, **changes: Any) -> str:
        """The URL of another page that shows the same requests."""
        return replace(self, base=base, table=TableState(), paused=False, **changes)._url()

    def table_url_at(self, base: str) -> str:
        """The URL of another view of this very table."""
        return replace(self, base=base)._url()

    def listed_at(self, base: str, **table: Any) -> str:
        """The URL of another page whose table is sorted and searched in this way."""
        return replace(self, base=base, table=TableState(**table))._url()

    def permalink(self) -> str:
        """The URL of this state by its dates: a shared `7d` would mean the reader's last seven days."""
        return replace(self, span=replace(self.span, name=None))._url()

    def _url(self) -> str:
        query = urlencode(self.query(), safe="/:(),!")
        return f"{self.base}?{query}" if query else self.base

    def hidden(self, *left_out: str) -> list[tuple[str, str]]:
        """The pairs that a form must repeat so that only its own fields, `left_out`, change."""
        return [pair for pair in replace(self, table=self.table.first_page()).query() if pair[0] not in left_out]

    def query(self) -> list[tuple[str, str]]:
        """The query string's pairs, without those that say the default."""
        pairs = self.span_query()
        if self.unit_chosen:
            pairs.append(("unit", self.unit))
        if self.metric != "hits":
            pairs.append(("metric", self.metric))
        if self.vs != "prev":
            pairs.append(("vs", self.vs))
        if self.paused:
            pairs.append(("paused", "1"))
        return [*pairs, *self._filter_query(), *self.table.query()]

    def _filter_query(self) -> list[tuple[str, str]]:
        """The pairs that say the filters; `any` for a dimension that is usually filtered, and is not."""
        unsaid = {name for name in self.usual.dimensions() if self.filters.on(name) == self.usual.on(name)}
        lifted = [("any", name) for name in self.usual.dimensions() if not self.filters.on(name)]
        said = tuple(each for each in self.filters.conditions if each.dimension not in unsaid)
        return [*replace(self.filters, conditions=said).query(), *lifted]

    @property
    def chosen(self) -> Filters:
        """The filters that somebody chose: not those that are usual."""
        kept = tuple(each for each in self.filters.conditions if each not in self.usual.conditions)
        return replace(self.filters, conditions=kept)

    def in_full(self) -> PageState:
        """The same state for whoever knows no usual filters, such as the API: its URL says all of them."""
        return replace(self, usual=ALL)

    def span_query(self) -> list[tuple[str, str]]:
        """The pairs that say the span: its name, or its dates."""
        if self.span.name is not None:
            return [] if self.span.name == self.default_span else [("span", self.span.name)]
        return self.dates_query()

    def dates_query(self) -> list[tuple[str, str]]:
        """The pairs that say the span by its dates, also where it has a name: what a shared link needs."""
        start, end = self.span.local_start, self.span.local_end
        if self.span.whole_days is not None:
            return [("start", f"{start:%Y-%m-%d}"), ("end", f"{end - timedelta(days=1):%Y-%m-%d}")]
        return [("start", f"{start:%Y-%m-%dT%H:%M}"), ("end", f"{end:%Y-%m-%dT%H:%M}")]

    def compared(self) -> Span | None:
        """The span that this one is to be compared with; None: with none, or it is all there is."""
        if self.vs == "off" or self.span.name == "all":
            return None
        if self.vs == "year":
            return self.span.year_before()
        # where days of the week are chosen, the same days
        return self.span.weeks_before() if week.names_days(self.filters.at) else self.span.moved(-1)

    def units(self) -> tuple[str, ...]:
        """The units that the chart offers for this span."""
        fitting = tuple(unit for unit in CHART_UNITS if 2 <= self.span.count(unit) <= MOST_BUCKETS)
        return fitting or (self.unit,)


def read_state(
    args: MultiDict[str, str],
    *,
    base: str,
    now: datetime,
    zone: ZoneInfo,
    default: timedelta,
    dimensions: dict[str, Dimension],
    usual: Filters = ALL,
    earliest: Callable[[], datetime | None],
) -> PageState:
    """The state that a URL's query string `args` asks for at `now` (naive UTC), with a notice for what it gets wrong.

    `usual` are the filters of dimensions that it says nothing of.
    """
    notices: list[str] = []
    span = _clamped(_read_span(args, now, zone, default, earliest, notices), now, notices)
    filters, errors = read_filters(args.items(multi=True), dimensions)
    notices += [f"{error}; it was left out." for error in errors]
    try:
        week.check(span, filters.at)
    except ValueError as error:
        notices.append(f"{AT} must be {error}. It was left out.")
        filters = replace(filters, at=())
    notices += parameters.mistakes(args, dimensions)
    filters = _with_usual(filters, usual, _lifted(args, dimensions, notices))
    unit = args.get("unit") or None
    if unit is not None and unit not in UNITS:
        notices.append(f"unit is {unit!r}, but must be one of {', '.join(CHART_UNITS)}; it was left out.")
        unit = None
    elif unit is not None and span.count(unit) > MOST_BUCKETS:
        notices.append(f"There are too many {unit}s in this span to draw; a longer unit is shown.")
        unit = None
    return PageState(
        base=base,
        span=span,
        filters=filters,
        default_span=name_of(default),
        unit=unit or span.default_unit(),
        unit_chosen=unit is not None,
        metric=_one_of("metric", args, notices),
        vs=_one_of("vs", args, notices),
        table=_read_table(args, dimensions, notices),
        paused=args.get("paused") == "1",
        usual=usual,
        notices=tuple(notices),
    )


def _lifted(args: MultiDict[str, str], dimensions: dict[str, Dimension], notices: list[str]) -> list[str]:
    """The dimensions of which all values are asked for."""
    given = args.getlist("any")
    notices += [
        f"any is {name[:100]!r}, but must be one of {', '.join(dimensions)}; it was left out."
        for name in given
        if name not in dimensions
    ]
    return given


def _with_usual(filters: Filters, usual: Filters, lifted: Collection[str]) -> Filters:
    """`filters`, and the usual ones of dimensions that neither they nor `lifted` say anything of."""
    added = (each for each in usual.conditions if not filters.on(each.dimension) and each.dimension not in lifted)
    return replace(filters, conditions=(*added, *filters.conditions))


def _read_span(
    args: MultiDict[str, str],
    now: datetime,
    zone: ZoneInfo,
    default: timedelta,
    earliest: Callable[[], datetime | None],
    notices: list[str],
) -> Span:
    try:
        return read_span(args, now=now, zone=zone, default=default, earliest=earliest)
    except SpanError as error:
        notices.append(f"{error}; the default span is shown.")
        return preset(name_of(default), now=now, zone=zone, earliest=earliest)


def _clamped(span: Span, now: datetime, notices: list[str]) -> Span:
    """`span` without a future longer than today, and no longer than a chart can draw."""
    tomorrow = midnight(to_local(now, span.zone).date() + timedelta(days=1), span.zone)
    if span.end > tomorrow > span.start:
        span = replace(span, end=tomorrow)
    if span.end - span.start > LONGEST_SPAN:
        span = replace(span, start=span.end - LONGEST_SPAN, name=None)
        notices.append("The span is longer than 33 years; its last 33 years are shown.")
    return span


def _read_table(args: MultiDict[str, str], dimensions: dict[str, Dimension], notices: list[str]) -> TableState:
    groupings = tuple(name for name in GROUPINGS if name in dimensions) or GROUPINGS
    rows = _number("rows", args, notices)
    return TableState(
        by=_one_of("by", args, notices, groupings),
        sort=_one_of("sort", args, notices, SORTS),
        order=_one_of("order", args, notices),
        search=parameters.cut("search", args.get("search", "").strip()),
        show=_one_of("show", args, notices),
        standing=_one_of("standing", args, notices),
        against=_day("against", args, notices),
        split=_one_of("split", args, notices, ("", *dimensions)),
        rows=next(allowed for allowed in ROWS if allowed >= rows),
        offset=_number("offset", args, notices),
        before=args.get("before") or None,
        after=args.get("after") or None,
        slower=_seconds("slower", args, notices),
        text=parameters.cut("text", args.get("text", "").strip()),
        first=_one_of("first", args, notices),
        column=_columns(args, notices),
        changed=_one_of("changed", args, notices),
    )


def _columns(args: MultiDict[str, str], notices: list[str]) -> tuple[str, ...]:
    """Those of the log that are asked for, each once, in their order."""
    known, given = NAMED["column"].choices, dict.fromkeys(args.getlist("column"))
    notices += [
        f"column is {name[:100]!r}, but must be one of {', '.join(known)}; it was left out."
        for name in given
        if name not in known
    ]
    return tuple(name for name in known if name in given)


def _seconds(name: str, args: MultiDict[str, str], notices: list[str]) -> str:
    text = args.get(name, "").strip()
    try:
        found = parameters.seconds_of(name, text)
    except ValueError as error:
        notices.append(f"{name} is {text[:100]!r}, but must be {error}; it was left out.")
        return ""
    return "" if found is None else f"{found:.9g}"


def _day(name: str, args: MultiDict[str, str], notices: list[str]) -> str:
    """A date; what is none falls back with a notice."""
    try:
        return parameters.day_of(name, args.get(name, ""))
    except ValueError as error:
        notices.append(f"{error}; it was left out.")
        return ""


def _number(name: str, args: MultiDict[str, str], notices: list[str]) -> int:
    """A whole number up to the most that it can be; what is larger is cut to it, what is none falls back, both with a notice."""
    default, most = NAMED[name].default, NAMED[name].most or 0
    text = args.get(name) or str(default)
    if not (text.isascii() and text.isdigit()):
        notices.append(f"{name} is {text[:100]!r}, but must be a whole number; it was left out.")
        return default
    if int(text[:20]) > most:
        notices.append(f"{name} is {text[:20]}, but {most:,} is the most.")
        return most
    return int(text[:20])


def _one_of(name: str, args: MultiDict[str, str], notices: list[str], choices: tuple[str, ...] = ()) -> str:
    allowed = choices or NAMED[name].choices
    given = args.get(name) or allowed[0]
    if given in allowed:
        return given
    notices.append(f"{name} is {given[:100]!r}, but must be one of {', '.join(allowed)}; it was left out.")
    return allowed[0]


def preset_names(default: timedelta) -> tuple[str, ...]:
    """The spans to choose from: the presets, and the default one if it is none of them."""
    name = name_of(default)
    return PRESETS if name in PRESETS else (name, *PRESETS)
