"""When in the week: what is measured of each weekday and hour, as a picture and as a table, whose cells filter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from math import ceil

from ..formatting import compact, decimal, duration
from ..queries.answers import Measures
from ..queries.interface import CHEAP, HITS, PERCENTILES, VISITORS
from ..spans import Span
from ..week import HOURS, WEEKDAYS, label_of, occurrences, text_of
from .nothing import without_hits
from .page import Link, Page
from .panel import Cells, Panel, View
from .summary import is_offered

LONGEST = timedelta(weeks=13)
"""Of a longer span its last weeks are shown."""
LEVELS = 5
"""Shades of what is more than nothing."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What can be shown of an hour of the week."""

    title: str
    needs: str
    """The measure, as tiles call it, without which it is not offered."""
    want: frozenset[str]
    value: Callable[[Measures], float | None]
    text: Callable[[float], str]
    of: str
    """What stands behind a value."""
    is_sum: bool = True
    """Whether it is divided by how often the hour was there."""


def _count(value: float) -> str:
    """A number of an average hour."""
    return compact(round(value)) if value >= 10 or value == round(value) else decimal(value)


MEASURED = {
    "hits": Measured("Hits", "hits", HITS, lambda found: found.hits, _count, "hits an hour"),
    "visitors": Measured(
        "Visitors", "visitors", frozenset({VISITORS}), lambda found: found.visitors, _count, "visitors an hour"
    ),
    "time": Measured(
        "p95",
        "p95",
        frozenset({PERCENTILES}),
        lambda found: found.response_time.p95,
        duration,
        "(p95)",
        is_sum=False,
    ),
    "errors": Measured(
        "Server errors",
        "server_errors",
        CHEAP,
        lambda found: found.server_errors,
        _count,
        "server errors an hour",
    ),
}
"""By the metric of the chart."""


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour of the week."""

    place: int
    """Its number."""
    text: str
    """Empty: it has not been yet, or nothing is known of it."""
    title: str
    url: str
    current: bool
    """Whether it is among the filters."""
    level: int
    """0: nothing, to `LEVELS`."""


@dataclass(frozen=True, slots=True)
class Week:
    """All hours of the week."""

    heading: str
    words: str
    """The busiest and the quietest hour; empty: there is nothing."""
    hours: tuple[Hour, ...] | None
    """From Monday's first; None: could not be computed."""
    days: tuple[Link, ...]
    parts: tuple[Link, ...]
    """Three hours of every day, each."""
    times: tuple[str, ...]
    """The 24 hours of a day."""
    most: str
    """What the darkest stands for."""
    metrics: tuple[Link, ...]
    later: str
    """The URL of the panel that has it; empty: it is here."""
    table_url: str
    csv_url: str


def metric_of(page: Page) -> str:
    """What is shown: the chart's metric, where an hour of the week has it."""
    metric = page.state.metric
    return metric if metric in MEASURED and is_offered(page, MEASURED[metric].needs) else "hits"


def picture(page: Page) -> Week:
    """The week as a panel of the overview, which comes after its page."""
    later = page.state.table_url_at(page.site.url("panel", name="week")) if page.is_whole else ""
    return _week(page, None if later else page.ask(_ask, page), later)


def table(page: Page) -> Week:
    """The week as a table."""
    return _week(page, page.ask(_ask, page), "")


def _span(page: Page) -> Span:
    """What of the span is shown."""
    span = page.state.span
    end = min(span.end, max(page.now, span.start))
    return Span(max(span.start, end - LONGEST), end, span.zone)


def _ask(page: Page) -> list[float | None]:
    """The value of each hour of the week; None: it has not been, or is not known. What is chosen changes nothing."""
    measured, span = MEASURED[metric_of(page)], _span(page)
    found = page.queries.week(span, replace(page.state.filters, at=()), want=measured.want)
    values = []
    for measures, times in zip(found, occurrences(span, page.now), strict=True):
        value = measured.value(measures) if times else None
        values.append(value / times if value is not None and measured.is_sum else value)
    return values


def _week(page: Page, values: list[float | None] | None, later: str) -> Week:
    name = metric_of(page)
    measured, state = MEASURED[name], page.state
    most = max((value for value in values or () if value is not None), default=0)
    cut = " Of the last 13 weeks." if _span(page).start > state.span.start else ""
    return Week(
        heading="Weekday and hour",
        words="" if values is None else f"{_words(values)}{cut}",
        hours=None
        if values is None
        else tuple(_hour(page, number, value, most) for number, value in enumerate(values)),
        days=tuple(_link(page, day, day.lower()) for day in WEEKDAYS),
        parts=tuple(_link(page, f"{hour:02}", *(str(hour + one) for one in range(3))) for hour in range(0, 24, 3)),
        times=tuple(f"{hour:02}" for hour in range(24)),
        most=f"{measured.text(most)} {measured.of}" if most else "",
        metrics=tuple(
            Link(one.title, state.url(metric=metric), metric == name)
            for metric, one in MEASURED.items()
            if is_offered(page, one.needs)
        ),
        later=later,
        table_url=page.other("week"),
        csv_url=page.csv("week"),
    )


def _words(values: list[float | None]) -> str:
    known = [(value, -number) for number, value in enumerate(values) if value is not None]
    if not any(value for value, _ in known):
        return "Nothing in this span."
    (_, most), (_, least) = max(known), min(known, key=lambda one: (one[0], -one[1]))
    return f"Most {label_of(text_of(-most))}, least {label_of(text_of(-least))}."


def _hour(page: Page, number: int, value: float | None, most: float) -> Hour:
    measured, text = MEASURED[metric_of(page)], text_of(number)
    label, shown = label_of(text), "" if value is None else measured.text(value)
    return Hour(
        place=number,
        text=shown,
        title=f"{label}: {shown} {measured.of}" if shown else f"{label}: nothing is known",
        url=_url(page, text),
        current=text in page.state.filters.at,
        level=ceil(round(LEVELS * value / most, 6)) if value and most else 0,
    )


def _link(page: Page, label: str, *texts: str) -> Link:
    return Link(label, _url(page, *texts), page.state.filters.at == texts)


def _url(page: Page, *texts: str) -> str:
    """The requests of these hours; all of them where these are chosen."""
    filters = page.state.filters
    chosen = replace(filters, at=() if filters.at == texts else texts)
    return page.state.at(page.site.url("index"), filters=chosen)


def rows(page: Page) -> Iterator[Cells]:
    """Each hour of the week, with its value as a plain number."""
    measured = MEASURED[metric_of(page)]
    yield ["Weekday", "Hour", f"{measured.title}{' an hour' if measured.is_sum else ' (s)'}"]
    values = _ask(page)
    for number in range(HOURS):
        yield [WEEKDAYS[number // 24], number % 24, values[number]]


PANEL = Panel(
    name="week",
    page="index",
    title="Weekday and hour",
    compose=picture,
    template="_week",
    rows=rows,
    width="third",
    cost=("week",),
)
VIEW = View(
    name="week",
    title="Weekday and hour",
    instead=lambda page: without_hits(page, HITS),
    file=lambda _: "week",
)
PANELS = (
    Panel(
        name="hours",
        page="week",
        title="Weekday and hour",
        compose=table,
        template="_hours",
        cost=("week",),
    ),
)
