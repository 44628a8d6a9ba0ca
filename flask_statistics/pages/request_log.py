"""The request log: requests newest first, and one of them with every column that is stored."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from ..dimensions import ADDRESS
from ..formatting import clipped, day, duration, number, size, status_text, visible
from ..models import KNOWN_COLUMNS, LONG
from ..queries.answers import RequestLog
from ..queries.interface import UnknownRequest
from ..spans import Span, midnight
from .frame import chips
from .nothing import Nothing, nothing
from .page import Page, covered, how_long
from .panel import Cells, Panel, View
from .series import rows as series_rows
from .series import series

LOG_ROWS = 50
FILE_ROWS = 1000
"""Requests read at once for a file, so that memory does not grow with the length of the log."""
LONGEST_TEXT = 20_000
"""Characters of one stored value that a page shows."""


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


@dataclass(frozen=True, slots=True)
class Fact:
    """One stored column of a request."""

    label: str
    text: str
    url: str | None = None
    """Where the value leads: the requests that share it."""
    outside_url: str | None = None
    """The referring page itself."""
    monospace: bool = False


@dataclass(frozen=True, slots=True)
class OneRequest:
    """One request with every column that is stored."""

    heading: str
    status: int | None
    status_class: str
    facts: tuple[Fact, ...]
    exception: str | None
    traceback: str | None
    back_url: str
    """The list that it was chosen from, at the same page of it."""
    back_text: str
    """What that list has."""
    later_url: str | None
    earlier_url: str | None
    """Its neighbours in that list; None: there is none."""


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
        rows=tuple(_row(page, row) for row in log.rows),
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


def _row(page: Page, row: Mapping[str, Any]) -> RequestRow:
    at = page.local(row["date"])
    path, status = row.get("path"), row.get("status_code")
    return RequestRow(
        url=_url_of(page, row),
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


def _url_of(page: Page, row: Mapping[str, Any]) -> str:
    """The page of one request, from which the way back leads to this very list."""
    return page.state.table_url_at(page.site.url("one_request", key=str(row["id"])))


def _browser(page: Page, row: Mapping[str, Any]) -> str:
    dimension = page.site.dimensions.get("browser")
    if dimension is None or dimension.column not in row:
        return ""
    return clipped(dimension.label_of(dimension.value_of(row[dimension.column])), 40)


def _class(status: int | None) -> str:
    return str(status)[0] if status is not None and 200 <= status < 600 else ""


# ---- one request -----------------------------------------------------------------------------------------------------

LABELS = {
    "index": "Number",
    "date": "Time",
    "status_code": "Status",
    "response_time": "Response time",
    "remote_address": "Client address",
    "user_agent": "User agent",
    "mimetype": "MIME type",
    "query_string": "Query string",
}
MONOSPACE = frozenset({"path", "route", "query_string", "user_agent", "remote_address", "referrer"})


def one_request(page: Page, row: Mapping[str, Any]) -> OneRequest:
    """Every stored column of a request; those that a dimension reads lead to the requests that share the value.

    A request that the page's span does not have leads to those of its own day.
    """
    page = _containing(page, row["date"])
    method, path = row.get("method"), row.get("path")
    named = " ".join(clipped(part, 120) for part in (method, path) if part)
    key, chosen = str(row["id"]), chips(page)
    return OneRequest(
        heading=named or f"Request {row['id']}",
        status=row.get("status_code"),
        status_class=_class(row.get("status_code")),
        facts=tuple(
            _fact(page, name, value) for name, value in row.items() if name not in ("exception", "traceback", "id")
        ),
        exception=_long(row["exception"]) if row.get("exception") else None,
        traceback=_lines(row["traceback"]) if row.get("traceback") else None,
        back_url=back_url(page),
        back_text=" · ".join(("Requests", covered(page), *(chip.text for chip in chosen))),
        later_url=_neighbour(page, after=key),
        earlier_url=_neighbour(page, before=key),
    )


def back_url(page: Page) -> str:
    """The list of requests that the page of one was reached from."""
    return page.state.table_url_at(page.site.url("requests"))


def _containing(page: Page, moment: datetime | None) -> Page:
    """The page, with the day of `moment` as its span where its own does not have it."""
    state = page.state
    if moment is None or state.span.start <= moment < state.span.end:
        return page
    today, zone = page.local(moment).date(), state.span.zone
    its_day = Span(midnight(today, zone), midnight(today + timedelta(days=1), zone), zone)
    return replace(page, state=replace(state, span=its_day))


def _neighbour(page: Page, **beside: str) -> str | None:
    """The request next to another one in the list that both are of."""
    log = page.ask(_beside, page, **beside)
    return _url_of(page, log.rows[-1]) if log is not None and log.rows else None


def _beside(page: Page, **beside: str) -> RequestLog | None:
    try:
        return page.queries.requests(page.state.span, page.state.filters, limit=1, **beside)
    except UnknownRequest:  # it has no date
        return None


def _fact(page: Page, name: str, value: Any) -> Fact:
    label = LABELS.get(name) or name.replace("_", " ").capitalize()
    dimension = page.site.dimensions.get(name)
    url = client_url(page, value) or None if name == "remote_address" else None
    if dimension is not None and value is not None and dimension.column == name:
        url = page.other_filtered(name, dimension.text_of(dimension.value_of(value)))
    return Fact(
        label=label,
        text=_fact_text(page, name, value),
        url=url,
        outside_url=web_url(value) if name == "referrer" else None,
        monospace=name in MONOSPACE,
    )


def _fact_text(page: Page, name: str, value: Any) -> str:
    if isinstance(value, datetime):
        at = page.local(value) if value.tzinfo is None else value.astimezone(page.local_now.tzinfo)
        return f"{day(at, year=True)} {at:%H:%M:%S}.{at.microsecond // 1000:03} {page.state.span.zone.key}"
    if name == "response_time":
        return duration(value)
    if name == "size":
        return size(value) if value is None or value < 1000 else f"{size(value)} ({number(value)} bytes)"
    if name == "status_code":
        return status_text(value)
    return "(empty)" if value == "" else _long(None if value is None else str(value))


def _long(text: str | None) -> str:
    return clipped(text, LONGEST_TEXT)


def _lines(text: str) -> str:
    """A traceback line by line: its line breaks are its layout, everything else unseen is escaped."""
    return "\n".join(visible(line) for line in text[-LONGEST_TEXT:].replace("\r\n", "\n").split("\n"))


def web_url(referrer: str | None) -> str | None:
    """`referrer` if it can be a link: anything but http and https could run a script."""
    return referrer if referrer and re.match(r"https?://[^\s/]", referrer, re.IGNORECASE) else None
