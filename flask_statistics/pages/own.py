"""Panels and pages of the host's own: functions that yield a heading and rows, for a table on a page and for its file.

Whatever such a function does costs its own panel, and never the page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from inspect import isasyncgenfunction, iscoroutinefunction, isroutine
from itertools import chain, islice
from typing import Any

from ..config import SettingError
from ..filters import Filters
from ..formatting import clipped, duration, number
from ..queries.answers import Breakdown, Measures, Point, RequestLog
from ..queries.interface import Queries
from ..spans import Span, naive_utc
from .frame import TABS
from .page import Page
from .panel import Cells, Panel, View, Width

SHOWN = 50
"""Rows on a page; the file has all of them."""
MOST_COLUMNS = 50
"""On a page."""
TEMPLATE = "flask_statistics/panels/_rows.html"
WIDTHS: tuple[Width, ...] = ("full", "half", "third")


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """What a panel of your own is asked for. Its questions are those of `statistics.query`, about this span and these filters."""

    span: Span
    """From `start` (included) to `end` (excluded), naive UTC."""
    filters: Filters
    """Which requests count; empty: all."""
    now: datetime
    """Naive UTC, the same for all of the page."""
    queries: Queries
    """For other spans and filters."""

    def summary(self) -> Measures:
        """The measures over all requests."""
        return self.queries.summary(self.span, self.filters)

    def series(self, unit: str | None = None) -> list[Point]:
        """The measures of each bucket, oldest first; None: of the length that suits the span."""
        return self.queries.series(self.span, unit or self.span.default_unit(), self.filters)

    def breakdown(self, dimension: str, *, sort: str = "-hits", limit: int = 50) -> Breakdown:
        """The measures of each value of `dimension`, `limit` of them in the order of `sort`."""
        return self.queries.breakdown(dimension, self.span, self.filters, sort=sort, limit=limit)

    def requests(self, *, limit: int = 50) -> RequestLog:
        """The newest requests."""
        return self.queries.requests(self.span, self.filters, limit=limit)


Function = Callable[[PanelQuery], Iterable[Cells]]


class PanelError(Exception):
    """The function of a panel of the host's own failed; the message names the panel, the cause says how."""


@dataclass(frozen=True, slots=True)
class Table:
    """What a panel of the host's own shows; its template gets it as `panel`."""

    name: str
    title: str
    is_narrow: bool
    csv_url: str
    heading: tuple[str, ...] = ()
    values: tuple[tuple[Any, ...], ...] = ()
    """The cells as they were yielded."""
    rows: tuple[tuple[str, ...], ...] | None = None
    """The same as text, equally long; None: could not be computed."""
    numeric: tuple[bool, ...] = ()
    """For each column whether all of its cells are numbers."""
    cut: bool = False
    """Whether there are more rows than these."""


class Own:
    """The panels and pages that were declared on one `Statistics` object."""

    def __init__(self) -> None:
        self.panels: list[Panel] = []
        self.views: list[View] = []

    def has_panel(self, name: str, function: Function) -> bool:
        """Whether that panel was declared before, by a function of the same name, as by a factory of apps."""
        return any(panel.name == name and panel.made_by == _identity(function) for panel in self.panels)

    def has_page(self, name: str, title: str | None) -> bool:
        """Whether that page was declared before, with the same title."""
        return any(view.name == name and view.title == clipped(title or _title_of(name)) for view in self.views)

    def add_panel(
        self,
        name: str,
        function: Function,
        *,
        title: str | None,
        page: str,
        width: Width,
        template: str | None,
        taken: Collection[str],
    ) -> None:
        """Add a panel. Raises `SettingError` for what cannot be one; `taken` are names of other panels, and of dimensions."""
        before = next(
            (panel for panel in self.panels if panel.name == name and panel.made_by == _identity(function)), None
        )
        _check_name("panel", name, (*taken, *(panel.name for panel in self.panels if panel is not before)))
        pages = (*(view for view, _ in TABS if view not in ("live", "health")), *(view.name for view in self.views))
        for what, value, allowed in (("page", page, pages), ("width", width, WIDTHS)):
            if value not in allowed:
                raise SettingError(
                    f"{what} of the panel {name!r} is {value!r}, but must be one of {', '.join(allowed)}."
                )
        for what, text in (("title", title), ("template", template)):
            if text is not None and not isinstance(text, str):
                raise SettingError(f"{what} of the panel {name!r} is {text!r}, but must be a text.")
        called = function if isroutine(function) else getattr(function, "__call__", None)  # noqa: B004 - to look at it
        if not callable(function) or isasyncgenfunction(called) or iscoroutinefunction(called):
            raise SettingError(f"The panel {name!r} is {function!r}, but must be a function that yields rows.")
        title = clipped(title or _title_of(name))
        panel = Panel(
            name=name,
            page=page,
            title=title,
            compose=partial(_compose, function, Table(name, title, width != "full", "")),
            template=template or TEMPLATE,
            rows=partial(_file, function, name),
            width=width,
            made_by=_identity(function),
        )
        if before is None:
            self.panels.append(panel)
        else:
            self.panels[self.panels.index(before)] = panel

    def add_page(self, name: str, *, title: str | None) -> None:
        """Add a page, which has a tab. Raises `SettingError` for a name that cannot be one."""
        if self.has_page(name, title):
            return
        _check_name("page", name, (*(view for view, _ in TABS), *(view.name for view in self.views)))
        self.views.append(
            View(
                name=name,
                title=clipped(title or _title_of(name)),
                instead=lambda _: None,
                file=partial(self._file_of, name),
            )
        )

    def _file_of(self, view: str, _page: Page) -> str | None:
        return next((panel.name for panel in self.panels if panel.page == view), None)

    def check_dimensions(self, names: Collection[str]) -> None:
        """Raise `SettingError` if a panel is called like one of these dimensions, which have panels."""
        for panel in self.panels:
            _check_name("panel", panel.name, names)


def _check_name(what: str, name: object, taken: Collection[str]) -> None:
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
        raise SettingError(f"The {what}'s name is {name!r}, but must be lower-case letters, digits, _ and -.")
    if name in taken:
        raise SettingError(f"There is a {what} {name!r} already; give yours another name.")


def _identity(function: Any) -> str:
    """What a function is called: one that is made anew by each call of an app's factory is the same."""
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', repr(function))}"


def _title_of(name: str) -> str:
    return name.replace("_", " ").replace("-", " ").capitalize()


# ---- what a function yields ------------------------------------------------------------------------------------------


def _rows(function: Function, page: Page) -> Iterator[tuple[Any, ...]]:
    """What `function` yields, each a tuple."""
    found = function(PanelQuery(page.state.span, page.state.filters, page.now, page.queries))
    try:
        for row in found:
            if isinstance(row, (str, bytes, Mapping)):
                raise TypeError(f"it yields {row!r:.100}, but must yield rows: tuples or lists of cells")
            yield tuple(row)
    finally:
        close = getattr(found, "close", None)
        if close is not None:  # a generator that is left early, while there is still a context
            close()


def _file(function: Function, name: str, page: Page) -> Iterator[Cells]:
    try:
        for row in _rows(function, page):
            yield [_sendable(page, value) for value in row]
    except Exception as error:
        raise PanelError(f"The panel {name!r} failed.") from error


def _sendable(page: Page, value: Any) -> Any:
    """`value` as a file can have it. Raises whatever it raises if there is no text of it."""
    if value is None or isinstance(value, (float, Decimal, timedelta)):
        return value
    if isinstance(value, int):
        return value if len(str(value)) else None  # Python makes no text of thousands of digits
    if isinstance(value, datetime):
        return page.local(naive_utc(value)).astimezone(timezone.utc)
    return str(value).encode("utf-8", "replace").decode("utf-8")


def _compose(function: Function, table: Table, page: Page) -> Table:
    table = replace(table, csv_url=page.csv(table.name))
    return page.asker.attempt(table.name, partial(_filled, function, table, page)) or table


def _filled(function: Function, table: Table, page: Page) -> Table:
    rows = _rows(function, page)
    heading = next(rows, ())
    values = tuple(islice(rows, SHOWN))
    cut = next(rows, None) is not None
    rows.close()  # type: ignore[attr-defined]
    width = min(max(map(len, chain([heading], values))), MOST_COLUMNS)
    columns = [[row[column] for row in values if column < len(row)] for column in range(width)]
    return replace(
        table,
        heading=_texts(page, heading, width),
        values=values,
        rows=tuple(_texts(page, row, width) for row in values),
        numeric=tuple(bool(cells) and all(map(_is_number, cells)) for cells in columns),
        cut=cut,
    )


def _texts(page: Page, row: tuple[Any, ...], width: int) -> tuple[str, ...]:
    return tuple(_text(page, value) for value in row[:width]) + ("",) * (width - len(row))


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float, Decimal, timedelta)) and not isinstance(value, bool))


def _text(page: Page, value: Any) -> str:
    """A cell as a reader sees it: safe to look at, and of bounded length."""
    if value is None:
        return "–"
    if isinstance(value, datetime):
        return f"{page.local(naive_utc(value)):%Y-%m-%d %H:%M}"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return duration(value.total_seconds())
    if isinstance(value, int) and not isinstance(value, bool):
        return number(value)
    if isinstance(value, (float, Decimal)):
        return f"{value:,.2f}".removesuffix(".00")
    return clipped(str(value))
