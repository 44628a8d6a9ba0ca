"""The errors view: when requests failed, with which exceptions, on which paths, and which links lead nowhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..changes import MOST_COMPARED
from ..dimensions import Value, referrer_host
from ..filters import Filters
from ..formatting import clipped, number, share
from ..issues.text import unquoted
from ..probes import is_probe
from ..queries import answers
from ..queries.answers import Measures, Row
from ..queries.interface import CHEAP, HITS
from . import issues
from .against import UNKNOWN, Moved, before_of, by_difference, counted, is_compared
from .issues import When, change_head, has_issues, when
from .nothing import without_hits
from .page import Link, Page, covered, of_longest
from .panel import EVERY_ROW, Cells, Panel, View
from .request_log import web_url
from .series import rows as series_rows
from .series import series
from .summary import ERROR_TILES, Summary, offered, summary
from .tables import Head

SHOWN = 10
"""Rows of a table."""
LOOKED_AT = 1000
"""Links among which the top referrer of a path is looked for."""


@dataclass(frozen=True, slots=True)
class ExceptionRow:
    """One exception at one path."""

    type: str
    type_url: str
    message: str
    path: str | None
    path_url: str
    """Its requests."""
    hits: str
    first: When
    last: When


@dataclass(frozen=True, slots=True)
class FailingRow:
    """A path that answers with server errors."""

    path: str
    url: str
    """Its requests that failed."""
    errors: str
    moved: Moved
    share: str
    last: When | None


@dataclass(frozen=True, slots=True)
class MissingRow:
    """A path that was not found."""

    path: str
    url: str
    hits: str
    referrer: str
    """Where most of those requests came from; empty without one."""
    referrer_url: str | None
    last: When | None


@dataclass(frozen=True, slots=True)
class LinkRow:
    """A page that links to a path that was not found."""

    referrer: str
    referrer_url: str | None
    internal: bool
    """Whether the page is one of this app's own."""
    path: str
    url: str
    hits: str
    last: When


@dataclass(frozen=True, slots=True)
class ErrorTable:
    """Rows of one of the view's tables; those that are None could not be computed."""

    rows: tuple[ExceptionRow | FailingRow | MissingRow | LinkRow, ...] | None
    fills: tuple[float, ...]
    """Length of each row's bar in percent of the longest."""
    csv_url: str
    all_url: str | None = None
    change_head: Head | None = None
    """The head of how rows changed; None: nothing is compared with."""
    cut: bool = False
    """Whether there are more rows than these."""
    apart: Link | None = None
    """What was left out of them."""


def has_failing(page: Page) -> bool:
    """Whether the model tells which path failed."""
    return "path" in page.site.dimensions and "status_code" in page.site.dimensions


def has_links(page: Page) -> bool:
    """Whether the model tells which page led to a path that was not found."""
    return has_failing(page) and page.has("referrer")


def _summary(page: Page) -> Summary | None:
    return summary(page, names=ERROR_TILES, want=CHEAP, urls=_tile_urls(page))


def _tile_urls(page: Page) -> dict[str, str]:
    filters, base = page.state.filters, page.site.url("requests")
    classes = {"server_errors": "5xx", "client_errors": "4xx"}
    urls = {
        name: page.state.at(base, filters=filters.only("status_code", classes[name]))
        for name in offered(page, tuple(classes))
    }
    return urls | {"hits": page.state.at(base)}


# ---- exceptions ------------------------------------------------------------------------------------------------------


def exceptions(page: Page) -> ErrorTable:
    """Exceptions by type, message and path, most frequent first."""
    state = page.state
    groups = page.ask(page.queries.exceptions, state.span, state.filters, limit=SHOWN + 1)
    return ErrorTable(
        rows=None if groups is None else tuple(_exception_row(page, group) for group in groups[:SHOWN]),
        fills=of_longest(group.hits for group in (groups or ())[:SHOWN]),
        csv_url=page.csv("exceptions"),
        cut=len(groups or ()) > SHOWN,
    )


def exception_rows(page: Page) -> Iterator[Cells]:
    """All of them."""
    yield ["Exception", "Message", "Path", "Count", "First seen", "Last seen"]
    for group in page.queries.exceptions(page.state.span, page.state.filters, limit=EVERY_ROW):
        type_and_message = split_exception(page, group.exception)
        yield [*type_and_message, group.path, group.hits, group.first_requested, group.last_requested]


def _exception_row(page: Page, group: answers.ExceptionGroup) -> ExceptionRow:
    kind, message = split_exception(page, group.exception)
    message = unquoted(message)
    filters, base = page.state.filters, page.site.url("requests")
    if "exception" in page.site.dimensions:
        filters = filters.only("exception", kind)
    at_path = filters if group.path is None or "path" not in page.site.dimensions else filters.only("path", group.path)
    return ExceptionRow(
        type=clipped(kind, 120),
        type_url=page.state.at(base, filters=filters),
        message=clipped(message),
        path=None if group.path is None else clipped(group.path),
        path_url=page.state.at(base, filters=at_path),
        hits=number(group.hits),
        first=when(page, group.first_requested),
        last=when(page, group.last_requested),
    )


def split_exception(page: Page, stored: str) -> tuple[str, str]:
    """Type and message of a stored `repr` of an exception."""
    dimension = page.site.dimensions.get("exception")
    kind = str(dimension.value_of(stored)) if dimension else stored
    return kind, stored.removeprefix(kind).strip().removeprefix("(").removesuffix(")")


# ---- paths -----------------------------------------------------------------------------------------------------------


def failing(page: Page) -> ErrorTable:
    """Paths by their server errors."""
    is_sorted = is_compared(page) and page.state.table.is_by_failures_change
    found = page.ask(_failing, page, MOST_COMPARED if is_sorted else SHOWN)
    before = before_of(page, "path", [row.value for row in found or ()])
    if found is not None and is_sorted:
        found = by_difference(
            page, found, lambda row: (failures_of((before or {}).get(row.value)), failures_of(row.measures))
        )
        found = found[:SHOWN]
    return ErrorTable(
        rows=None if found is None else tuple(_failing_row(page, row, before) for row in found),
        fills=of_longest(row.measures.server_errors or 0 for row in found or ()),
        change_head=change_head(page),
        csv_url=page.csv("failing"),
        all_url=page.state.listed_at(page.site.url("list", dimension="path"), sort="-server_errors"),
    )


def _failing(page: Page, limit: int) -> list[Row]:
    """The paths that had server errors, most of them first."""
    state = page.state
    found = page.queries.breakdown("path", state.span, state.filters, sort="-server_errors", limit=limit, want=CHEAP)
    return [row for row in found.rows if row.measures.server_errors]


def failing_rows(page: Page) -> Iterator[Cells]:
    """All of them."""
    yield ["Path", "5xx", "Hits", "Last request"]
    for row in _failing(page, EVERY_ROW):
        yield [row.value, row.measures.server_errors, row.measures.hits, row.measures.last_requested]


def _failing_row(page: Page, row: Row, before: Mapping[Value, Measures] | None) -> FailingRow:
    measures, text = row.measures, page.site.dimensions["path"].text_of(row.value)
    filters = page.state.filters.only("path", text).only("status_code", "5xx")
    return FailingRow(
        path=page.label("path", row.value),
        url=page.state.at(page.site.url("requests"), filters=filters),
        errors=number(measures.server_errors),
        moved=failures_against(row, before),
        share=share(measures.server_errors, measures.hits) or "",
        last=None if measures.last_requested is None else when(page, measures.last_requested),
    )


def failures_against(row: Row, before: Mapping[Value, Measures] | None) -> Moved:
    """How the failures of a row changed."""
    if before is None:
        return UNKNOWN
    return counted(row.measures.server_errors, failures_of(before.get(row.value)))


def failures_of(measures: Measures | None) -> int:
    """Of a value that may have had no requests."""
    return 0 if measures is None else measures.server_errors or 0


def missing(page: Page) -> ErrorTable:
    """Paths that were not found, with the page that most of those requests came from; those of scanners are apart."""
    found = page.ask(_missing, page, LOOKED_AT, HITS)
    tops = top_referrers(page.ask(_links, page, LOOKED_AT) if found and found.rows and has_links(page) else None)
    rows = [row for row in found.rows if not _is_scanned(row, tops)] if found else []
    shown = rows[:SHOWN]
    return ErrorTable(
        rows=None if found is None else tuple(_missing_row(page, row, tops) for row in shown),
        fills=of_longest(row.measures.hits for row in shown),
        csv_url=page.csv("missing"),
        all_url=page.state.at(page.site.url("list", dimension="path"), filters=_not_found(page)),
        apart=None if found is None else _apart(page, found, sum(row.measures.hits for row in rows)),
    )


def _missing(page: Page, limit: int, want: frozenset[str]) -> answers.Breakdown:
    """The paths that were not found, most hits first."""
    return page.queries.breakdown("path", page.state.span, _not_found(page), limit=limit, want=want)


def _not_found(page: Page) -> Filters:
    """Requests for what was not found, by people unless the filters say by whom."""
    filters = page.state.filters.only("status_code", "404")
    is_said = "device" not in page.site.dimensions or filters.on("device")
    return filters if is_said else filters.and_("device", "bot", negated=True)


def _is_scanned(row: Row, tops: Mapping[str, str]) -> bool:
    """Whether nobody but a scanner asks for a path: one that it tries everywhere, and that no page led to."""
    return is_probe(str(row.value)) and str(row.value) not in tops


def _apart(page: Page, found: answers.Breakdown, listed: int) -> Link | None:
    """The requests of scanners: bots, and those for paths that no page led to; None: none, or bots are asked for."""
    filters = page.state.filters
    if filters.texts("device"):
        everything = found.hits
        filters = _not_found(page)
    else:
        filters = filters.without("device").only("status_code", "404")
        measures = page.ask(page.queries.summary, page.state.span, filters, want=HITS)
        everything = found.hits if measures is None else measures.hits
    others = found.hits - sum(row.measures.hits for row in found.rows)  # beyond those that were looked at
    apart = everything - listed - others
    url = page.state.at(page.site.url("list", dimension="path"), filters=filters)
    return Link(f"{number(apart)} by scanners", url) if apart > 0 else None


def missing_rows(page: Page) -> Iterator[Cells]:
    """All of them."""
    yield ["Path", "Hits", "Top referrer", "Last seen"]
    tops = top_referrers(_links(page, EVERY_ROW) if has_links(page) else None)
    for row in _missing(page, EVERY_ROW, CHEAP).rows:
        if not _is_scanned(row, tops):
            yield [row.value, row.measures.hits, tops.get(str(row.value)), row.measures.last_requested]


def top_referrers(found: list[answers.Link] | None) -> dict[str, str]:
    """For each path the referrer with the most hits."""
    tops: dict[str, str] = {}
    for link in found or ():
        tops.setdefault(link.path, link.referrer)
    return tops


def _missing_row(page: Page, row: Row, tops: dict[str, str]) -> MissingRow:
    text = page.site.dimensions["path"].text_of(row.value)
    referrer = tops.get(text, "")
    filters = _not_found(page).only("path", text)
    last = row.measures.last_requested
    return MissingRow(
        path=page.label("path", row.value),
        url=page.state.at(page.site.url("requests"), filters=filters),
        hits=number(row.measures.hits),
        referrer=short_referrer(referrer),
        referrer_url=web_url(referrer),
        last=None if last is None else when(page, last),
    )


# ---- links -----------------------------------------------------------------------------------------------------------


def links(page: Page) -> ErrorTable:
    """Pages that link to paths that were not found: the app's own ones can be mended at once."""
    found = page.ask(_links, page, LOOKED_AT)
    return ErrorTable(
        rows=None if found is None else tuple(_link_row(page, link) for link in found[:SHOWN]),
        fills=of_longest(link.hits for link in (found or ())[:SHOWN]),
        csv_url=page.csv("links"),
        cut=len(found or ()) > SHOWN,
    )


def _links(page: Page, limit: int) -> list[answers.Link]:
    """The links to paths that were not found, most hits first."""
    return page.queries.links(page.state.span, _not_found(page), limit=limit)


def link_rows(page: Page) -> Iterator[Cells]:
    """All of them."""
    yield ["Referrer", "Internal", "Path", "Hits", "Last seen"]
    for link in _links(page, EVERY_ROW):
        yield [
            link.referrer,
            "yes" if is_internal(page, link.referrer) else "no",
            link.path,
            link.hits,
            link.last_requested,
        ]


def is_internal(page: Page, referrer: str) -> bool:
    """Whether a referrer is a page of this app."""
    return bool(page.site.host) and referrer_host(referrer) == page.site.host


def short_referrer(referrer: str) -> str:
    """A referrer without its scheme and query string; what is no URL stays as it is."""
    try:
        parts = urlsplit(referrer)
    except ValueError:
        return clipped(referrer, 120)
    return clipped(f"{parts.netloc}{parts.path}" if parts.netloc else referrer, 120)


def _link_row(page: Page, link: answers.Link) -> LinkRow:
    filters = _not_found(page).only("path", link.path)
    return LinkRow(
        referrer=short_referrer(link.referrer),
        referrer_url=web_url(link.referrer),
        internal=is_internal(page, link.referrer),
        path=clipped(link.path),
        url=page.state.at(page.site.url("requests"), filters=filters),
        hits=number(link.hits),
        last=when(page, link.last_requested),
    )


# ---- the view --------------------------------------------------------------------------------------------------------

VIEW = View(
    name="errors",
    title="Errors",
    template="errors",
    instead=lambda page: without_hits(page, CHEAP),
    file=lambda page: "issues" if has_issues(page) else "exceptions",
    json="api_summary",
)
PANELS = (
    Panel(name="summary", page="errors", title="Totals", compose=_summary, template="_summary", cost=("summary",)),
    Panel(
        name="series",
        page="errors",
        title="Chart",
        compose=lambda page: series(page, metric="errors", label=covered(page)),
        template="_series",
        rows=series_rows,
        cost=("series",),
    ),
    issues.PANEL,
    Panel(
        name="exceptions",
        page="errors",
        title="Exceptions",
        compose=exceptions,
        template="_exceptions",
        rows=exception_rows,
        offered=lambda page: page.has("exception") and not has_issues(page),
        cost=("exceptions",),
    ),
    Panel(
        name="failing",
        page="errors",
        title="Failing paths",
        compose=failing,
        template="_failing",
        rows=failing_rows,
        offered=has_failing,
        width="half",
        cost=("breakdown",),
    ),
    Panel(
        name="missing",
        page="errors",
        title="Not found",
        compose=missing,
        template="_missing",
        rows=missing_rows,
        offered=has_failing,
        width="half",
        cost=("breakdown", "links", "summary"),
    ),
    Panel(
        name="links",
        page="errors",
        title="Broken links",
        compose=links,
        template="_links",
        rows=link_rows,
        offered=has_links,
        cost=("links",),
    ),
)
