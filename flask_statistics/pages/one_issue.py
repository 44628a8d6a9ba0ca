"""One issue: how often and whom it hit, since when, in which releases, one of its requests with the traceback, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import groupby
from typing import Any

from ..dimensions import exception_type
from ..filters import Filters
from ..formatting import clipped, duration, number, share
from ..issue_states import IGNORED, OPEN, RESOLVED, names, standing
from ..issues.frames import Frame, told_in
from ..issues.text import issue_from, split, unquoted
from ..queries.answers import Group, RequestLog
from ..queries.interface import HITS, SUMS, VISITORS, UnknownRequest
from ..spans import Span, naive_utc
from . import breakdowns, tables
from .issues import Tag, groups_of, tag_of, when
from .one_request import lines_of
from .page import Page, covered, plural
from .panel import Panel, View
from .request_log import RequestRow, row_of
from .series import rows as series_rows
from .series import series
from .summary import Summary, Tile

BY = ("route", "path", "release", "browser", "country")
"""What its requests are broken down by, as far as the model has it; paths only where there are no routes."""
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Choice:
    """A state that the issue can be given."""

    state: str
    text: str
    release: str
    """In which it is resolved; empty: in none that has a name yet."""
    is_main: bool


@dataclass(frozen=True, slots=True)
class Head:
    """What the page is about."""

    text: str
    """The whole issue, as a filter has it."""
    type: str
    message: str
    place: str
    tag: Tag | None
    choices: tuple[Choice, ...]
    """Empty: states are not kept."""
    url: str
    """Where they are sent to."""
    here: str
    back_url: str
    back_text: str


@dataclass(frozen=True, slots=True)
class Piece:
    """Frames of a traceback that follow one another."""

    text: str
    is_own: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """One request of the issue."""

    row: RequestRow | None
    """None: none is stored any more, or it could not be computed."""
    failed: bool
    took: str
    url: str
    heading: str
    position: str
    """`13 of 13`; empty: not known."""
    earlier_url: str | None
    later_url: str | None
    pieces: tuple[Piece, ...]
    """Empty: no traceback is stored."""
    left_out: str
    said: str
    """What the exception said."""
    traceback: str


def text_of(page: Page) -> str | None:
    """The one issue that the filters let through; None: there is no such one."""
    texts = page.state.filters.texts("issue")
    return texts[0] if len(texts) == 1 and texts[0] else None


def _groups(page: Page) -> Sequence[Group]:
    text = text_of(page) or ""
    found = page.ask(groups_of, page, Filters().and_("issue", text))
    return () if found is None else found.get(text, ())


def head(page: Page) -> Head | None:
    """What the page is about; None: no request ever had this issue."""
    text, groups = text_of(page), _groups(page)
    page.asker.give_up_without_answer()
    if text is None or not groups:
        return None
    issue, site, state = issue_from(text), page.site, page.state
    decisions = page.ask(site.issues.decisions, page.queries) if site.issues is not None else None
    stands = standing((decisions or {}).get(text), groups)
    return Head(
        text=text,
        type=clipped(issue.type, 100),
        message=clipped(issue.message),
        place=clipped(issue.place),
        tag=tag_of(page, groups, stands),
        choices=() if decisions is None or not site.may_change else tuple(_choices(page, stands.state, groups)),
        url=site.url("issue"),
        here=state.table_url_at(state.base),
        back_url=state.at(site.url("errors"), filters=state.filters.without("issue")),
        back_text=f"Issues, {covered(page)}",
    )


def _choices(page: Page, present: str, groups: Sequence[Group]) -> list[Choice]:
    if present != OPEN:
        return [Choice(OPEN, "Open again", "", True)]
    newest = _newest_release(page)
    fresh = newest is not None and newest not in names(groups)
    text = f"Resolved in {clipped(newest, 40)}" if fresh else "Resolved"
    return [Choice(IGNORED, "Ignore", "", False), Choice(RESOLVED, text, (newest or "") if fresh else "", True)]


def _newest_release(page: Page) -> str | None:
    """The release of the latest request of the span, whatever is filtered; None: it has none."""
    if "release" not in page.site.dimensions:
        return None
    found = page.ask(
        page.queries.breakdown,
        "release",
        page.state.span,
        Filters(),
        sort="-last_requested",
        limit=1,
        want=frozenset({SUMS}),
    )
    return None if found is None or not found.rows or found.rows[0].value is None else str(found.rows[0].value)


# ---- tiles and chart -------------------------------------------------------------------------------------------------


def _summary(page: Page) -> Summary | None:
    state, groups = page.state, _groups(page)
    want = frozenset({SUMS, VISITORS})
    measures = page.ask(page.queries.summary, state.span, state.filters, want=want)
    others = state.filters.without("issue")
    everything = page.ask(page.queries.summary, state.span, others, want=HITS)
    if measures is None:
        return None
    log = state.at(page.site.url("requests"))
    part = None if everything is None else share(measures.hits, everything.hits)
    of_all = f"of {number(everything.hits)}, {part}" if everything is not None and part else ""
    tiles = [_tile("hits", "Hits", number(measures.hits), of_all, "Requests that failed with it", log)]
    if measures.visitors is not None:
        tiles.append(_tile("visitors", "Visitors hit", number(measures.visitors), "", "Different addresses", log))
    if groups:
        first, last = groups[0].first_requested, max(group.last_requested for group in groups)
        release = next(names(groups[:1]), "")
        hint = f"in {clipped(release, 24)}" if release else ""
        took = duration(round((last - first).total_seconds()))
        tiles.append(_tile("first", "First", when(page, first).text, hint, "Of all requests that are kept", log))
        later = f"{took} later" if last > first else ""
        tiles.append(_tile("last", "Last", when(page, last).text, later, "Of all requests that are kept", log))
    return Summary(covered(page), tuple(tiles))


def _tile(measure: str, label: str, text: str, hint: str, meaning: str, url: str) -> Tile:
    return Tile(measure, label, text, text, None, "", meaning, hint or None, url, False)


# ---- one of its requests ---------------------------------------------------------------------------------------------


def _log(page: Page, before: str | None, after: str | None) -> RequestLog:
    try:
        return page.queries.requests(page.state.span, page.state.filters, limit=1, before=before, after=after)
    except UnknownRequest:  # the one that it is next to is gone
        return page.queries.requests(page.state.span, page.state.filters, limit=1)


def failure(page: Page) -> Failure:
    """The latest request of the issue, or the one that the page's state says."""
    table = page.state.table
    log = page.ask(_log, page, table.before, None if table.before else table.after)
    stored = page.ask(page.queries.request, str(log.rows[-1]["id"])) if log is not None and log.rows else None
    if log is None or stored is None:
        return Failure(None, log is None, "", "", "Latest request", "", None, None, (), "", "", "")
    key, traceback = str(stored["id"]), str(stored.get("traceback") or "")
    pieces, left_out = pieces_of(page, told_in(traceback))
    return Failure(
        row=row_of(page, stored),
        failed=False,
        took="" if stored.get("response_time") is None else duration(stored["response_time"]),
        url=page.other("one_request", key=key),
        heading="Request" if log.newer else "Latest request",
        position=_position(page, stored, is_latest=log.newer is None),
        earlier_url=page.state.table_url(before=key, after=None) if log.older else None,
        later_url=page.state.table_url(after=key, before=None) if log.newer else None,
        pieces=pieces,
        left_out=left_out,
        said=_said(stored),
        traceback=lines_of(traceback) if traceback else "",
    )


def _position(page: Page, stored: Mapping[str, Any], *, is_latest: bool) -> str:
    """Which of the span's requests of the issue it is, the oldest being the first."""
    state = page.state
    found = page.ask(page.queries.summary, state.span, state.filters, want=frozenset({SUMS, VISITORS}))
    if found is None:
        return ""
    place = found.hits
    if not is_latest:
        until = Span(state.span.start, naive_utc(stored["date"]) + MICROSECOND, state.span.zone)
        before = page.ask(page.queries.summary, until, state.filters, want=HITS)
        if before is None:
            return ""
        place = before.hits
    return f"{number(place)} of {number(found.hits)}"


def _said(stored: Mapping[str, Any]) -> str:
    exception = str(stored.get("exception") or "")
    kind, message = split(exception)
    message = message if kind.endswith("KeyError") else unquoted(message)
    return clipped(f"{kind}: {message}" if message else exception_type(exception), 2_000) if exception else ""


def pieces_of(page: Page, frames: Sequence[Frame]) -> tuple[tuple[Piece, ...], str]:
    """The frames of the app itself, between them how many of others', and what is said of these."""
    files = page.site.files
    pieces, others = [], 0
    for is_own, some in groupby(frames, key=lambda frame: files.own(frame.file) is not None):
        group = list(some)
        if is_own:
            text = "\n".join(_frame_text(files.own(frame.file) or frame.file, frame) for frame in group)
        else:
            others += len(group)
            packages = dict.fromkeys(_package(files.name(frame.file)) for frame in group)
            text = f"  … {plural(len(group), 'frame')} of {clipped(', '.join(packages), 60)}"
        pieces.append(Piece(text, is_own))
    if not others:
        return tuple(pieces), ""
    verb = "is" if others == 1 else "are"
    return tuple(pieces), f"Bold: this app. {plural(others, 'frame')} of libraries {verb} left out."


def _frame_text(name: str, frame: Frame) -> str:
    lines = [f"{clipped(name)}:{frame.line} in {clipped(frame.function)}", *(f"    {clipped(c)}" for c in frame.code)]
    return "\n".join(lines)


def _package(name: str) -> str:
    return name.partition("/")[0].removesuffix(".py")


# ---- the view --------------------------------------------------------------------------------------------------------


def _names(page: Page) -> tuple[str, ...]:
    known = page.site.dimensions
    return tuple(name for name in BY if name in known and not (name == "path" and "route" in known))


def _panel(name: str) -> Panel:
    return Panel(
        name=name,
        page="issue",
        title=name.capitalize(),
        compose=lambda page: breakdowns.top_values(page, name, _names(page)),
        template="_breakdown",
        offered=lambda page: name in _names(page),
        rows=partial(tables.rows, name=name),
        width="third",
        cost=("breakdowns",),
    )


VIEW = View(
    name="issue",
    title="Issue",
    template="issue",
    instead=lambda page: None,
    file=lambda page: None,
    json="api_summary",
)
PANELS = (
    Panel(name="summary", page="issue", title="Totals", compose=_summary, template="_summary", cost=("summary",)),
    Panel(
        name="series",
        page="issue",
        title="Chart",
        compose=lambda page: series(page, metric="hits", label=covered(page), compare=False, failures="How often"),
        template="_series",
        rows=series_rows,
        cost=("series",),
    ),
    Panel(
        name="failure",
        page="issue",
        title="Latest request",
        compose=failure,
        template="_failure",
        cost=("requests", "summary"),
    ),
)
OF_DIMENSIONS = tuple(_panel(name) for name in BY)
