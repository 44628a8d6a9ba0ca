"""The series: one chart of one or two measures over the span, and the same as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from .. import charts
from ..formatting import compact, decimal, duration, number
from ..page_state import PageState
from ..queries.answers import Point
from ..queries.interface import CHEAP, HITS, PERCENTILES, VISITORS
from ..spans import Span, from_wall
from ..waits import WAITS
from .beginning import Beginning, beginning
from .marks import Drawn, drawn
from .page import Link, Page, versus
from .panel import Cells
from .sides import OTHERS, Side, sides_of, split_links
from .summary import comparable_span, incomparable, is_offered, value_of


@dataclass(frozen=True, slots=True)
class Metric:
    """What a chart can draw."""

    title: str
    measures: tuple[tuple[str, str], ...]
    """Measure and label of each line; the first one is compared with the period before."""
    want: frozenset[str]
    format_value: Callable[[float], str] = number
    format_axis: Callable[[float], str] = compact
    is_count: bool = False
    """Whether it counts, so that few a bucket are bars: a line between 0 and 1 would invent what lies between."""
    adds_up: bool = False
    """Whether the sum of its buckets is a number of the whole span."""


METRICS = {
    "hits": Metric("Hits", (("hits", "Hits"),), HITS, is_count=True, adds_up=True),
    "visitors": Metric("Visitors", (("visitors", "Visitors"),), frozenset({VISITORS}), is_count=True),
    "time": Metric("Response time", (("p50", "Median"), ("p95", "p95")), frozenset({PERCENTILES}), duration, duration),
    "errors": Metric("Errors", (("server_errors", "5xx"), ("client_errors", "4xx")), CHEAP),
    "db_time": Metric(
        "Database time", (("db_time_p50", "Median"), ("db_time_p95", "p95")), frozenset({"db_time"}), duration, duration
    ),
    "db_queries": Metric(
        "Statements", (("db_queries_avg", "Average"), ("db_queries_p95", "p95")), frozenset({"db_queries"}), decimal
    ),
    "http_time": Metric(
        "Other servers",
        (("http_time_p50", "Median"), ("http_time_p95", "p95")),
        frozenset({"http_time"}),
        duration,
        duration,
    ),
    "http_calls": Metric(
        "Outgoing calls",
        (("http_calls_avg", "Average"), ("http_calls_p95", "p95")),
        frozenset({"http_calls"}),
        decimal,
    ),
}
OF_TIME = ("time", *WAITS)
"""Metrics of what took a request's time, which are chosen from beside the chart of one of them."""
FAILURES = ("server_errors", "client_errors")
"""Measures that are always bars, each in the colour of its status codes."""
FEW = 5
"""Of less than this a bucket, bars are drawn."""
UNIT_LABELS = {"minute": "Minute", "hour": "Hour", "day": "Day", "week": "Week", "month": "Month"}


@dataclass(frozen=True, slots=True)
class Series:
    """The chart and its table."""

    title: str
    by: str
    """What it is split by; empty: nothing."""
    splits: tuple[Link, ...]
    """What it can be split by, or how it is whole again."""
    unit: str
    unit_label: str
    label: str
    """What the span covers."""
    figures: str
    """Its sum and its highest bucket; empty: it has none."""
    previous_label: str | None
    """None: nothing is compared."""
    units: tuple[Link, ...]
    metrics: tuple[Link, ...]
    """What else can be drawn in its stead; empty: nothing."""
    chart: charts.Chart
    """Drawn geometry."""
    hit_urls: tuple[str, ...]
    """For each hit area of the chart, the page of its time."""
    marks: Drawn
    end: str
    """Where the last bucket shown ends, as a URL says it."""
    base: str
    """The page that a part of the chart leads to."""
    csv_url: str
    svg_url: str
    total: int
    """Hits of all buckets together."""
    hatched: float = 0.0
    """Percent of the width, from the left, of which nothing is known."""
    hatched_because: str = ""


def metric_of(page: Page, name: str) -> Metric:
    """The metric called `name`; hits if the model lacks a column for it."""
    metric = METRICS[name]
    return metric if all(is_offered(page, measure) for measure, _ in metric.measures) else METRICS["hits"]


def series(page: Page, *, metric: str, label: str, compare: bool = True, failures: str = "") -> Series | None:
    """The chart of `metric` over the page's span; None if the question failed.

    `failures`: its title, where all that is counted are failures.
    """
    state, chosen = page.state, metric_of(page, metric)
    points = _ask(page, state.span, chosen)
    if points is None:
        return None
    known = beginning(page)
    unknown = _unknown(points, known)
    split = _split(page, chosen, unknown)
    before = comparable_span(page) if compare and not split else None
    earlier = None if before is None else _ask(page, before, chosen)
    buckets = [(page.local(point.start), page.local(point.end)) for point in points]
    lines = split or [
        charts.Line(FAILURES[0] if failures else name, text, _values(points, name, unknown))
        for name, text in chosen.measures
    ]
    against = "" if earlier is None else versus(page)
    chart = charts.line_chart(
        buckets,
        lines,
        previous=None if earlier is None else _aligned(earlier, chosen.measures[0][0], len(points)),
        previous_label=against,
        bars=not split and (bool(failures) or _is_bars(chosen, lines)),
        unit=state.unit,  # type: ignore[arg-type]
        now=page.local_now,
        format_value=chosen.format_value,
        format_axis=chosen.format_axis,
    )
    shown = [row for row in chart.rows if not row.future]
    itself = replace(page, state=replace(state, metric=metric, vs=state.vs if compare else "off"))
    return Series(
        title=failures
        or (
            f"{chosen.title}, {chosen.measures[0][1]}"
            if split and len(chosen.measures) > 1 and lines[0].key == chosen.measures[0][0]
            else chosen.title
        ),
        by=page.site.dimensions[state.table.split].label.lower() if split else "",
        unit=state.unit,
        unit_label=UNIT_LABELS[state.unit],
        label=label,
        figures="" if split else _figures(chosen, lines[0].values, shown, state.unit),
        previous_label=against or None,
        units=tuple(_unit_link(state, unit) for unit in state.units()),
        metrics=_metric_links(page, metric) if metric in OF_TIME else (),
        chart=chart,
        hit_urls=tuple(bucket_url(page, hit) for hit in chart.hits),
        marks=drawn(page, buckets),
        end=f"{(shown or chart.rows)[-1].end:%Y-%m-%dT%H:%M}",
        base=state.base,
        splits=split_links(page),
        csv_url=itself.csv("series"),
        svg_url=itself.state.table_url_at(page.site.url("chart")),
        total=sum(point.measures.hits for point in points),
        hatched=round(100 * unknown / len(points), 2),
        hatched_because=_because(page, known, compare) if known is not None and unknown else "",
    )


def _ask(page: Page, span: Span, metric: Metric) -> list[Point] | None:
    state = page.state
    return page.ask(page.queries.series, span, state.unit, state.filters, want=metric.want)


def _split(page: Page, metric: Metric, unknown: int) -> list[charts.Line]:
    """A line for each of what stands side by side, of the first measure; empty: nothing does, or a question failed."""
    name, lines = _measure_of_sides(page, metric), []
    for side in _sides(page, metric):
        points = page.ask(page.queries.series, page.state.span, page.state.unit, side.filters, want=metric.want)
        if points is None:
            return []
        lines.append(charts.Line(name, side.label, _values(points, name, unknown)))
    return lines


def _measure_of_sides(page: Page, metric: Metric) -> str:
    """What is drawn of each of what stands side by side. A status code is a failure or is none: all of its requests are."""
    name = metric.measures[0][0]
    return "hits" if name in FAILURES and page.state.table.split == "status_code" else name


def _sides(page: Page, metric: Metric) -> tuple[Side, ...]:
    """What stands side by side: of failures nothing that is none."""
    is_of_failures = metric.measures[0][0] in FAILURES
    return tuple(side for side in sides_of(page) if not is_of_failures or side.label != OTHERS)


def _is_bars(metric: Metric, lines: list[charts.Line]) -> bool:
    """Whether a line would say more than the values do: of failures, and where few are counted in a bucket."""
    if metric.measures[0][0] in FAILURES:
        return True
    known = [value for value in lines[0].values if value]
    return metric.is_count and sum(known) < FEW * len(known)


def _figures(metric: Metric, values: charts.Values, shown: list[charts.Row], unit: str) -> str:
    """`1,018 in all, most 28 on Tue 24 Nov, 15:00–16:00`."""
    found = [(value, -place) for place, value in enumerate(values[: len(shown)]) if value]
    if not metric.is_count or not found:
        return ""
    most, place = max(found)
    parts = [f"{number(sum(value for value, _ in found))} in all"] if metric.adds_up else []
    when = f"{'in' if unit in ('week', 'month') else 'on'} {shown[-place].label}"
    return ", ".join([*parts, f"most {number(most)} {when}"])


def _unknown(points: list[Point], known: Beginning | None) -> int:
    """How many buckets are over before what is known begins."""
    return 0 if known is None else sum(point.end <= known.at for point in points)


def _values(points: list[Point], measure: str, unknown: int) -> list[float | None]:
    """One value a bucket; None for the first ones, which are `unknown`."""
    return [None] * unknown + [value_of(measure, point.measures) for point in points[unknown:]]


def _because(page: Page, known: Beginning, compare: bool) -> str:
    compares = compare and incomparable(page) is not None
    return f"Hatched: {known.why}{', so there is nothing to compare with either' if compares else ''}."


def _aligned(points: list[Point], measure: str, count: int) -> list[float | None]:
    """One value a bucket, also where the earlier span has fewer of them: months and days differ in length."""
    values = [value_of(measure, point.measures) for point in points][:count]
    return values + [None] * (count - len(values))


def _unit_link(state: PageState, unit: str) -> Link:
    return Link(UNIT_LABELS[unit], state.url(unit=unit, unit_chosen=True), unit == state.unit)


def _metric_links(page: Page, chosen: str) -> tuple[Link, ...]:
    offered = [name for name in OF_TIME if name == "time" or page.has(name)]
    links = (Link(METRICS[name].title, page.state.url(metric=name), name == chosen) for name in offered)
    return tuple(links) if len(offered) > 1 else ()


def bucket_url(page: Page, hit: charts.HitArea) -> str:
    """The page of the time that a hit area covers."""
    zone = page.state.span.zone
    start, end = (from_wall(edge.replace(tzinfo=None), zone) for edge in (hit.start, hit.end))
    return page.state.url(span=Span(start, end, zone))


# ---- the file --------------------------------------------------------------------------------------------------------


def rows(page: Page) -> Iterator[Cells]:
    """The series of the page's metric, a bucket a row, beside the period before."""
    state, metric = page.state, metric_of(page, page.state.metric)
    sides = _sides(page, metric)
    if sides:
        yield from _split_rows(page, metric, sides)
        return
    before = comparable_span(page)
    previous = ["Previous"] if before is not None else []
    yield ["Start", "End", *(label for _, label in metric.measures), *previous]
    points = page.queries.series(state.span, state.unit, state.filters, want=metric.want)
    first = metric.measures[0][0]
    earlier, unknown = [], _unknown(points, beginning(page))
    if before is not None:
        earlier = page.queries.series(before, state.unit, state.filters, want=metric.want)
    for place, point in enumerate(points):
        values = [None if place < unknown else value_of(name, point.measures) for name, _ in metric.measures]
        if before is not None:
            values.append(value_of(first, earlier[place].measures) if place < len(earlier) else None)
        yield [point.start, point.end, *values]


def _split_rows(page: Page, metric: Metric, sides: Sequence[Side]) -> Iterator[Cells]:
    """The series of the metric's first measure, a bucket a row, with a column for each of what stands side by side."""
    name, state = _measure_of_sides(page, metric), page.state
    yield ["Start", "End", *(side.label for side in sides)]
    found = [page.queries.series(state.span, state.unit, side.filters, want=metric.want) for side in sides]
    unknown = _unknown(found[0], beginning(page))
    for place, points in enumerate(zip(*found, strict=True)):
        values = [None if place < unknown else value_of(name, point.measures) for point in points]
        yield [points[0].start, points[0].end, *values]
