"""Exports: every table of the dashboard as CSV, with all of its rows, a piece at a time.

Numbers are plain (seconds, bytes, counts) and instants are in the configured zone. Recorded text that a spreadsheet
would run as a formula is neutralised.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar

from .models import KNOWN_COLUMNS
from .pages import breakdowns, errors
from .pages.page import Page
from .pages.series import metric_of
from .pages.summary import comparable_span, value_of
from .queries.answers import RequestLog
from .queries.interface import UnknownRequest

EVERY_ROW = 2**31 - 1
LOG_ROWS = 1000
"""Requests read at once, so that memory does not grow with the length of the log."""
PIECE = 64 * 1024
"""Characters sent at once."""

T = TypeVar("T")
Cells = Iterable[Any]
Table = Callable[[Page], Iterator[Cells]]
"""The heading, then the rows."""


def is_table(name: str, dimensions: Collection[str]) -> bool:
    """Whether there is a table called `name`: a dimension's, or one of the views'."""
    return name in TABLES or name in dimensions


def lines(page: Page, name: str) -> Iterator[str]:
    """The table `name` as pieces of CSV. Raises what its question raises."""
    table = TABLES.get(name) or (lambda page: _breakdown(page, name))
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    for row in table(page):
        writer.writerow([_cell(page, value) for value in row])
        if buffer.tell() >= PIECE:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def neutralised(text: str) -> str:
    """`text` with an apostrophe before what a spreadsheet would take for a formula (OWASP, "CSV injection").

    Spaces and control characters in front do not hide one from every program, nor do full-width forms.
    """
    first = text.lstrip(" \t\r\n\0\ufeff")[:1]
    return f"'{text}" if first in FORMULA_STARTS or text[:1] in CONTROLS else text


FORMULA_STARTS = frozenset("=+-@＝＋－＠")
CONTROLS = frozenset("\t\r\n\0")


def _cell(page: Page, value: Any) -> Any:
    if isinstance(value, str):
        return neutralised(value)
    if isinstance(value, datetime):
        return (page.local(value) if value.tzinfo is None else value).isoformat(timespec="milliseconds")
    if isinstance(value, float):
        return round(value, 6)  # microseconds
    return value if isinstance(value, int) or value is None else neutralised(str(value))


# ---- tables ----------------------------------------------------------------------------------------------------------


def _breakdown(page: Page, name: str) -> Iterator[Cells]:
    state, dimension = page.state, page.site.dimensions[name]
    columns = breakdowns.offered_columns(page)
    yield [dimension.label, *(EXPORT_LABELS.get(column.sort, column.label) for column in columns)]
    found = page.queries.breakdown(
        name,
        state.span,
        state.filters,
        sort=state.table.sort,
        search=state.table.search,
        limit=EVERY_ROW,
    )
    for row in found.rows:
        yield [dimension.label_of(row.value), *(column.value(row) for column in columns)]


EXPORT_LABELS = {"p50": "Median (s)", "p95": "p95 (s)", "server_error_share": "5xx"}


def _series(page: Page) -> Iterator[Cells]:
    state, metric = page.state, metric_of(page, page.state.metric)
    before = comparable_span(page)
    previous = ["Previous"] if before is not None else []
    yield ["Start", "End", *(label for _, label in metric.measures), *previous]
    points = page.queries.series(state.span, state.unit, state.filters, want=metric.want)
    first = metric.measures[0][0]
    earlier: list[Any] = []
    if before is not None:
        earlier = page.queries.series(before, state.unit, state.filters, want=metric.want)
    for number, point in enumerate(points):
        values = [value_of(name, point.measures) for name, _ in metric.measures]
        if before is not None:
            values.append(value_of(first, earlier[number].measures) if number < len(earlier) else None)
        yield [point.start, point.end, *values]


def _exceptions(page: Page) -> Iterator[Cells]:
    yield ["Exception", "Message", "Path", "Count", "First seen", "Last seen"]
    for group in page.queries.exceptions(page.state.span, page.state.filters, limit=EVERY_ROW):
        yield [
            *errors.split_exception(page, group.exception),
            group.path,
            group.hits,
            group.first_requested,
            group.last_requested,
        ]


def _failing(page: Page) -> Iterator[Cells]:
    yield ["Path", "5xx", "Hits", "Last request"]
    for row in _answered(page, errors.ask_failing(page, EVERY_ROW)):
        yield [row.value, row.measures.server_errors, row.measures.hits, row.measures.last_requested]


def _missing(page: Page) -> Iterator[Cells]:
    yield ["Path", "Hits", "Top referrer", "Last seen"]
    links = _answered(page, errors.ask_links(page, EVERY_ROW)) if errors.has_links(page) else []
    tops = errors.top_referrers(links)
    for row in _answered(page, errors.ask_missing(page, EVERY_ROW)):
        yield [row.value, row.measures.hits, tops.get(str(row.value)), row.measures.last_requested]


def _links(page: Page) -> Iterator[Cells]:
    yield ["Referrer", "Internal", "Path", "Hits", "Last seen"]
    for link in _answered(page, errors.ask_links(page, EVERY_ROW)):
        internal = "yes" if errors.is_internal(page, link.referrer) else "no"
        yield [link.referrer, internal, link.path, link.hits, link.last_requested]


def _answered(page: Page, answer: list[T] | None) -> list[T]:
    """The answer to a question of a page. Raises what it failed with: a file with half of the rows looks whole."""
    if answer is None:
        raise page.asker.errors[-1] if page.asker.errors else LookupError("no answer")
    return answer


def _requests(page: Page) -> Iterator[Cells]:
    names: list[str] | None = None
    log = page.queries.requests(page.state.span, page.state.filters, limit=LOG_ROWS)
    while True:
        for row in log.rows:
            if names is None:
                names = list(row)
                yield names
            yield [row[name] for name in names]
        older = None if log.older is None else _older(page, log)
        if older is None:
            break
        log = older
    if names is None:
        yield ["id", *(name for name in page.site.columns if name in KNOWN_COLUMNS and name != "traceback")]


def _older(page: Page, log: RequestLog) -> RequestLog | None:
    """The requests before those of `log`, behind the last one that was not deleted meanwhile; None: all of them were."""
    for row in reversed(log.rows):
        with suppress(UnknownRequest):
            return page.queries.requests(page.state.span, page.state.filters, limit=LOG_ROWS, before=str(row["id"]))
    return None


TABLES: dict[str, Table] = {
    "series": _series,
    "exceptions": _exceptions,
    "failing": _failing,
    "missing": _missing,
    "links": _links,
    "requests": _requests,
}
