"""The state of a page, all of it in its URL: what to show, and the links that change one thing of it. Pure.

A page falls back with a notice where its URL cannot be read (`read`); the API refuses (`notices` of it answer 400).
Defaults are left out of links and the order of parameters is fixed, so that one state has one URL.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from werkzeug.datastructures import MultiDict

from .dimensions import Dimension
from .filters import Filters, read_filters
from .spans import PRESETS, UNITS, Span, SpanError, name_of, preset, read_span

METRICS = ("hits", "visitors", "time", "errors")
COMPARISONS = ("prev", "year", "off")
MOST_BUCKETS = 400
"""A chart draws no more; finer units of a span are not offered."""
CHART_UNITS = ("hour", "day", "week", "month")


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
    notices: tuple[str, ...] = ()
    """What could not be read in the URL, as sentences."""

    def url(self, **changes: object) -> str:
        """The URL of this state with some fields changed (`span_name`, `span`, `filters`, `unit`, `metric`, `vs`, `base`)."""
        state = replace(self, **changes)  # type: ignore[arg-type]
        query = urlencode(state.query(), safe="/:(),")
        return f"{state.base}?{query}" if query else state.base

    def query(self) -> list[tuple[str, str]]:
        """The query string's pairs, without those that say the default."""
        pairs = self.span_query()
        if self.unit_chosen:
            pairs.append(("unit", self.unit))
        if self.metric != "hits":
            pairs.append(("metric", self.metric))
        if self.vs != "prev":
            pairs.append(("vs", self.vs))
        return [*pairs, *self.filters.query()]

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
    earliest: Callable[[], datetime | None],
) -> PageState:
    """The state that a URL's query string `args` asks for at `now` (naive UTC), with a notice for what it gets wrong."""
    notices: list[str] = []
    span = _read_span(args, now, zone, default, earliest, notices)
    filters, errors = read_filters(args.items(multi=True), dimensions)
    notices += [f"{error}; it was left out." for error in errors]
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
        metric=_one_of("metric", args, METRICS, notices),
        vs=_one_of("vs", args, COMPARISONS, notices),
        notices=tuple(notices),
    )


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


def _one_of(name: str, args: MultiDict[str, str], allowed: tuple[str, ...], notices: list[str]) -> str:
    given = args.get(name) or allowed[0]
    if given in allowed:
        return given
    notices.append(f"{name} is {given[:100]!r}, but must be one of {', '.join(allowed)}; it was left out.")
    return allowed[0]


def preset_names(default: timedelta) -> tuple[str, ...]:
    """The spans to choose from: the presets, and the default one if it is none of them."""
    name = name_of(default)
    return PRESETS if name in PRESETS else (name, *PRESETS)
