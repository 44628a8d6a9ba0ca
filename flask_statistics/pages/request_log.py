"""The request log: requests newest first."""

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
from .nothing import Nothing, nothing
from .page import Page, covered, how_long
from .panel import Cells, Panel, View
from .series import rows as series_rows
from .series import series

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
    mimetype: str
    size: str
    duration: str
    browser: str
    client: str
    client_url: str
    """All requests of the client; empty: clients are not told apart."""


@dataclass(frozen=True, slots=True)
class RequestTable:
    """Requests, newest first."""

    heading: str
    zone: str
    rows: tuple[RequestRow, ...]
    has: frozenset[str]
    """Columns of the model."""
    tells_clients: bool
    empty: str
    kept: str | None
    """How long requests are kept."""
    newer_url: str | None = None
    older_url: str | None = None
    all_url: str | None = None
    """The whole log, where this is the beginning of it."""
    csv_url: str = ""


# ---- the log ---------------------------------------------------------------------------------------------------------


def requests(page: Page) -> RequestTable | None:
    """The page of the log that the state asks for; an unknown place in it falls back to the newest."""
    state = page.state
    log = _ask_page(page)
    if log is None:
        return None
    return replace(
        _table(page, log, heading="Requests"),
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
        return ask(state.span, state.filters, limit=LOG_ROWS, before=table.before, after=after)
    except UnknownRequest:
        return ask(state.span, state.filters, limit=LOG_ROWS)


def _instead(page: Page) -> Nothing | None:
    log, table = _ask_page(page), page.state.table
    return nothing(page) if log is not None and not log.rows and not (table.before or table.after) else None


def rows(page: Page) -> Iterator[Cells]:
    """Every request of the span with every stored column but the traceback, newest first, as many at a time as memory bears."""
    names: list[str] | None = None
    log = page.queries.requests(page.state.span, page.state.filters, limit=FILE_ROWS)
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
            return page.queries.requests(page.state.span, page.state.filters, limit=FILE_ROWS, before=str(row["id"]))
    return None


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
        has=frozenset(page.site.columns),
        tells_clients=ADDRESS in page.site.dimensions,
        empty="No requests match these filters." if page.state.filters else "No requests in this span.",
        kept=_kept(page),
        csv_url=page.csv("requests"),
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
        mimetype=clipped(row.get("mimetype"), 60),
        size=size(row.get("size")),
        duration=duration(row.get("response_time")),
        browser=_browser(page, row),
        client=clipped(str(row.get("remote_address") or ""), 48),
        client_url=client_url(page, row.get("remote_address")),
    )


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
