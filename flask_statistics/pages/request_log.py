"""The request log: requests, newest or slowest first."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from ..dimensions import ADDRESS
from ..formatting import clipped, day, duration, size, status_text
from ..models import KNOWN_COLUMNS, LONG
from ..queries.answers import RequestLog
from ..queries.interface import UnknownRequest
from ..waits import WAITS
from .nothing import Nothing, nothing
from .page import Page, covered, how_long
from .panel import Cells, Panel, View
from .series import rows as series_rows
from .series import series
from .tables import Head

LOG_ROWS = 50
FILE_ROWS = 1000
"""Requests read at once for a file, so that memory does not grow with the length of the log."""


@dataclass(frozen=True, slots=True)
class RequestRow:
    """One request of a log."""

    url: str
    """Its own page."""
    date: str
    time: str
    iso: str
    status: int | None
    status_class: str
    """2 to 5, the first digit; empty without a status."""
    status_title: str
    method: str
    path: str
    path_url: str
    """The overview of its path; empty where the model has none."""
    exception: str | None
    duration: str
    browser: str
    texts: Mapping[str, str]
    """Of all other columns that are shown, what they say."""
    client: str
    client_url: str
    """All requests of the client; empty: clients are not told apart."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table, beside the time of day, which is the first."""

    name: str
    text: str
    css: str = ""
    usual: bool = True
    """Whether it is shown where nobody chose columns."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A column that can be chosen."""

    name: str
    text: str
    on: bool


@dataclass(frozen=True, slots=True)
class Tools:
    """What narrows and sorts the whole log."""

    base: str
    hidden: tuple[tuple[str, str], ...]
    """What the form that narrows repeats."""
    slower: str
    text: str
    can_be_slow: bool
    """Whether the model has times."""
    has_text: bool
    """Whether it has paths or query strings."""
    clear_url: str | None
    """None: nothing is narrowed."""
    choices: tuple[Choice, ...]
    columns_hidden: tuple[tuple[str, str], ...]
    """What the form that chooses columns repeats."""
    usual_url: str | None
    """Shows the usual columns; None: they are shown."""
    by_time: Head
    by_duration: Head
    slowest: bool


@dataclass(frozen=True, slots=True)
class RequestTable:
    """Requests, newest or slowest first."""

    heading: str
    zone: str
    rows: tuple[RequestRow, ...]
    columns: tuple[Column, ...]
    empty: str
    kept: str | None
    """How long requests are kept."""
    newer_url: str | None = None
    older_url: str | None = None
    all_url: str | None = None
    """The whole log, where this is the beginning of it."""
    csv_url: str = ""
    tools: Tools | None = None
    """None: it is the beginning of the log."""


COLUMNS = (
    Column("status_code", "Status"),
    Column("method", "Method", "opt"),
    Column("path", "Path", "path"),
    Column("query_string", "Query", "path", usual=False),
    Column("route", "Route", "path", usual=False),
    Column("mimetype", "MIME type", "mid"),
    Column("size", "Size", "n mid"),
    Column("response_time", "Duration", "n"),
    Column("db_time", "Database", "n", usual=False),
    Column("http_time", "Other servers", "n", usual=False),
    Column("browser", "Browser", "opt"),
    Column("remote_address", "Client", "opt"),
    Column("user", "User", usual=False),
    Column("country", "Country", usual=False),
    Column("language", "Language", usual=False),
    Column("referrer", "Referrer", usual=False),
    Column("host", "Host", usual=False),
    Column("release", "Release", usual=False),
)
"""Those that can be shown, in their order."""
ALWAYS = ("response_time",)
"""Those that nobody can hide."""
TEXTS = tuple(
    column.name
    for column in COLUMNS
    if column.name not in ("status_code", "path", "response_time", "browser", "remote_address")
)
"""Those whose cells are text and nothing else."""
LONGEST_CELL = 80


# ---- the log ---------------------------------------------------------------------------------------------------------


def requests(page: Page) -> RequestTable | None:
    """The page of the log that the state asks for; an unknown place in it falls back to the newest."""
    state = page.state
    log = _ask_page(page)
    if log is None:
        return None
    return replace(
        _table(page, log, heading=heading_of(page)),
        columns=_chosen(page),
        tools=_tools(page),
        newer_url=None if log.newer is None else state.table_url(after=log.newer),
        older_url=None if log.older is None else state.table_url(before=log.older),
    )


def recent(page: Page, *, limit: int, heading: str = "Latest requests") -> RequestTable | None:
    """The newest requests, with a link to the whole log."""
    state = page.state
    log = page.ask(page.queries.requests, state.span, state.filters, limit=limit)
    if log is None:
        return None
    return replace(_table(page, log, heading=heading), all_url=page.other("requests") if log.older else None)


def _ask_page(page: Page) -> RequestLog | None:
    return page.ask(_requests, page)


def _requests(page: Page) -> RequestLog:
    state, table, ask = page.state, page.state.table, page.queries.requests
    try:
        after = None if table.before else table.after
        place = {"before": table.before, "after": after}
        return ask(state.span, state.filters, limit=LOG_ROWS, **place, only=table.only, slowest=table.slowest)
    except UnknownRequest:
        return ask(state.span, state.filters, limit=LOG_ROWS, only=table.only, slowest=table.slowest)


def _instead(page: Page) -> Nothing | None:
    log, table = _ask_page(page), page.state.table
    narrowed = table.before or table.after or table.only  # then the form that narrowed it must stay
    return nothing(page) if log is not None and not log.rows and not narrowed else None


def rows(page: Page) -> Iterator[Cells]:
    """Every request of the log with every stored column but the traceback, in its order, as many at a time as memory bears."""
    names: list[str] | None = None
    log = _piece(page)
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
        yield ["id", *(name for name in page.site.columns if name in KNOWN_COLUMNS and name not in LONG)]


def _older(page: Page, log: RequestLog) -> RequestLog | None:
    """The requests before those of `log`, behind the last one that was not deleted meanwhile; None: all of them were."""
    for row in reversed(log.rows):
        with suppress(UnknownRequest):
            return _piece(page, before=str(row["id"]))
    return None


def _piece(page: Page, *, before: str | None = None) -> RequestLog:
    state, table = page.state, page.state.table
    return page.queries.requests(
        state.span, state.filters, limit=FILE_ROWS, before=before, only=table.only, slowest=table.slowest
    )


VIEW = View(
    name="requests",
    title="Requests",
    template="requests",
    instead=_instead,
    file=lambda _: "requests",
    json="api_requests",
)
PANELS = (
    Panel(
        name="series",
        page="requests",
        title="Chart",
        compose=lambda page: series(page, metric="hits", label=covered(page), compare=False),
        template="_series",
        rows=series_rows,
        cost=("series",),
    ),
    Panel(
        name="requests",
        page="requests",
        title="Requests",
        compose=requests,
        template="_requests",
        rows=rows,
        cost=("requests",),
    ),
)


def _table(page: Page, log: RequestLog, *, heading: str) -> RequestTable:
    return RequestTable(
        heading=heading,
        zone=page.state.span.zone.key,
        rows=tuple(row_of(page, row) for row in log.rows),
        columns=tuple(column for column in _offered(page) if column.usual),
        empty=_empty(page),
        kept=_kept(page),
        csv_url=page.csv("requests"),
    )


def heading_of(page: Page) -> str:
    """What the log has, in words."""
    only, slowest = page.state.table.only, page.state.table.slowest
    said = [f"slower than {duration(only.slower)}"] if only.slower is not None else []
    said += [f"with “{clipped(only.text, 60)}” in path or query"] if only.text else []
    return " ".join(["Requests", *said]) + (", slowest first" if slowest else "")


def _empty(page: Page) -> str:
    if page.state.table.only:
        return f"No {heading_of(page).partition(', slowest')[0].lower()}{' under these filters' if page.state.filters else ''}."
    return "No requests match these filters." if page.state.filters else "No requests in this span."


# ---- its columns and tools -------------------------------------------------------------------------------------------


def _offered(page: Page) -> list[Column]:
    """The columns that the model has, and something fills."""
    site = page.site
    without = {"remote_address"} if ADDRESS not in site.dimensions else set()
    has = {*site.columns, *(["browser"] if "browser" in site.dimensions else [])} - without
    return [column for column in COLUMNS if column.name in has and (column.name not in WAITS or page.has(column.name))]


def _chosen(page: Page) -> tuple[Column, ...]:
    wanted = page.state.table.column
    return tuple(
        column
        for column in _offered(page)
        if (column.name in wanted or column.name in ALWAYS if wanted else column.usual)
    )


def _tools(page: Page) -> Tools:
    state, table = page.state, page.state.table
    shown, has = _chosen(page), page.site.columns
    cleared = replace(table.first_page(), slower="", text="")
    return Tools(
        base=state.base,
        hidden=tuple(state.hidden("slower", "text")),
        slower=table.slower,
        text=table.text,
        can_be_slow="response_time" in has,
        has_text="path" in has or "query_string" in has,
        clear_url=state.url(table=cleared) if table.only else None,
        choices=tuple(
            Choice(column.name, column.text, column in shown) for column in _offered(page) if column.name not in ALWAYS
        ),
        columns_hidden=tuple(state.hidden("column")),
        usual_url=state.table_url(column=()) if table.column else None,
        by_time=Head("Time", state.table_url(first="newest"), None if table.slowest else "descending"),
        by_duration=Head("Duration", state.table_url(first="slowest"), "descending" if table.slowest else None),
        slowest=table.slowest,
    )


def _kept(page: Page) -> str | None:
    """What becomes of old requests; None: they are kept."""
    retention, rows = page.site.retention, page.site.most_rows
    says = [] if retention is None else [f"Raw requests are kept for {how_long(retention)}."]
    says += [] if rows is None else [f"The newest {rows:,} raw requests are kept."]
    return " ".join(says) or None


def row_of(page: Page, row: Mapping[str, Any]) -> RequestRow:
    at = page.local(row["date"])
    path, status = row.get("path"), row.get("status_code")
    return RequestRow(
        url=url_of(page, row),
        date="" if at.date() == page.local_now.date() else day(at, year=at.year != page.local_now.year),
        time=f"{at:%H:%M:%S}",
        iso=at.isoformat(timespec="milliseconds"),
        status=status,
        status_class=_class(status),
        status_title=status_text(status),
        method=clipped(row.get("method"), 16),
        path=_path(page, path),
        path_url=page.other_filtered("path", path or "") if "path" in page.site.dimensions else "",
        exception=clipped(row["exception"]) if row.get("exception") else None,
        texts={name: _text(name, row[name]) for name in TEXTS if name in row},
        duration=duration(row.get("response_time")),
        browser=_browser(page, row),
        client=clipped(str(row.get("remote_address") or ""), 48),
        client_url=client_url(page, row.get("remote_address")),
    )


def _text(name: str, value: Any) -> str:
    if name == "size":
        return size(value)
    if name in WAITS:
        return duration(value)
    return clipped(None if value is None else str(value), LONGEST_CELL)


def client_url(page: Page, stored: Any) -> str:
    """The page of the client with that stored address; empty: clients are not told apart, or it is nobody."""
    dimension = page.site.dimensions.get(ADDRESS)
    value = None if dimension is None else dimension.value_of(stored)
    if dimension is None or value is None:
        return ""
    filters = page.state.filters.only(ADDRESS, dimension.text_of(value))
    return page.state.at(page.site.url("clients"), filters=filters)


def _path(page: Page, path: str | None) -> str:
    dimension = page.site.dimensions.get("path")
    return clipped(path or (dimension.none if dimension else None))


def url_of(page: Page, row: Mapping[str, Any]) -> str:
    """The page of one request, from which the way back leads to this very list."""
    return page.state.table_url_at(page.site.url("one_request", key=str(row["id"])))


def _browser(page: Page, row: Mapping[str, Any]) -> str:
    dimension = page.site.dimensions.get("browser")
    if dimension is None or dimension.column not in row:
        return ""
    return clipped(dimension.label_of(dimension.value_of(row[dimension.column])), 40)


def _class(status: int | None) -> str:
    return str(status)[0] if status is not None and 200 <= status < 600 else ""


def web_url(referrer: str | None) -> str | None:
    """`referrer` if it can be a link: anything but http and https could run a script."""
    return referrer if referrer and re.match(r"https?://[^\s/]", referrer, re.IGNORECASE) else None
