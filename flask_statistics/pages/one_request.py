"""One request, its whole story: how slow it was and why, what happened meanwhile, who asked, and how to ask again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from ..dimensions import ADDRESS
from ..filters import Filters
from ..formatting import LONGEST_S, clipped, day, duration, number, share, size, status_text, visible
from ..headers import host_of, language_of
from ..models import KNOWN_COLUMNS, MEASURED
from ..page_state import TableState
from ..queries.answers import RequestLog
from ..queries.interface import PERCENTILES, UnknownRequest
from ..spans import Span, midnight
from ..timing.story import Call, Statement, Story, load
from .chips import chips
from .page import Page, covered, plural
from .request_log import RequestRow, client_url, heading_of, row_of, url_of, web_url

LONGEST_TEXT = 20_000
"""Characters of one stored value that are shown."""
AROUND = 5
"""Requests of the same client that are shown before it, and after it."""
LEAST_TO_RANK = 20
"""Requests from which on it is said how slow one is among them."""
WHO = (
    "remote_address",
    "user",
    "country",
    "language",
    "browser",
    "platform",
    "device",
    "bot",
    "referrer",
    "host",
    "release",
)
"""Columns that say who asked, and whom."""
TOLD_ELSEWHERE = ("id", "date", "exception", "traceback", "story", *MEASURED)
LABELS = {
    "index": "Number",
    "status_code": "Status",
    "remote_address": "Client",
    "user_agent": "User agent",
    "mimetype": "MIME type",
    "query_string": "Query string",
}
MONOSPACE = frozenset({"path", "route", "query_string", "user_agent", "remote_address", "referrer"})


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
class Pace:
    """How slow it was among the requests for the same."""

    text: str
    label: str
    url: str
    rest: str


@dataclass(frozen=True, slots=True)
class Part:
    """A part of its time."""

    name: str
    text: str
    x: float
    width: float
    """Both in percent of the bar."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A statement, or a call, that it waited for."""

    text: str
    url: str | None
    """All of this statement; None: it is a call, or statements are not kept."""
    place: str | None
    """In the app's code."""
    times: str
    total: str
    each: str
    fill: float
    """Length of its bar in percent: its time against the most time of a row."""
    is_many: bool


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the log."""

    level: str
    tone: str
    text: str


@dataclass(frozen=True, slots=True)
class OneRequest:
    """One request with all that is stored of it."""

    heading: str
    status: int | None
    status_class: str
    when: str
    iso: str
    took: str
    """Empty: unknown."""
    pace: Pace | None
    """None: there is nothing to compare it with."""
    parts: tuple[Part, ...]
    """Empty: nobody measured."""
    can_be_measured: bool
    """Whether the model has the columns, which nobody filled."""
    waits: tuple[Wait, ...]
    left_out: str
    """What of its waits is not listed; empty: nothing."""
    exception: str | None
    traceback: str | None
    lines: tuple[Line, ...]
    more_lines: int
    around: tuple[RequestRow, ...]
    """The same client's requests around it, newest first, with this one."""
    url: str
    """Its own, by which it is known among those around it."""
    client_url: str
    who: tuple[Fact, ...]
    facts: tuple[Fact, ...]
    curl: str
    test: str
    back_url: str
    """The list that it was chosen from, at the same page of it."""
    back_text: str
    slowest: bool
    """Whether the list is sorted by time."""
    """What that list has."""
    later_url: str | None
    earlier_url: str | None
    """Its neighbours in that list; None: there is none."""


def one_request(page: Page, row: Mapping[str, Any]) -> OneRequest:
    """A stored request. One that the page's span does not have leads to those of its own day."""
    page = _containing(page, row["date"])
    method, path = row.get("method"), row.get("path")
    named = " ".join(clipped(part, 120) for part in (method, path) if part)
    key, chosen, story = str(row["id"]), chips(page), load(row.get("story"))
    status, at = row.get("status_code"), None if row["date"] is None else page.local(row["date"])
    shown = [name for name in row if name not in TOLD_ELSEWHERE]
    own = [dimension.column for dimension in page.site.dimensions.values() if dimension.column not in KNOWN_COLUMNS]
    who = [name for name in dict.fromkeys((*WHO, *own)) if name in shown]  # of these, what nobody knows says nothing
    parts = _parts(row)
    return OneRequest(
        heading=named or f"Request {row['id']}",
        status=status,
        status_class=str(status)[0] if status is not None and 200 <= status < 600 else "",
        when=""
        if at is None
        else f"{day(at, year=True)} {at:%H:%M:%S}.{at.microsecond // 1000:03} {page.state.span.zone.key}",
        iso="" if at is None else at.isoformat(timespec="milliseconds"),
        took="" if row.get("response_time") is None else duration(row["response_time"]),
        pace=_pace(page, row),
        parts=parts,
        can_be_measured=not parts and "db_time" in page.site.columns,
        waits=_waits(page, story),
        left_out=_left_out(story),
        exception=_long(row["exception"]) if row.get("exception") else None,
        traceback=lines_of(row["traceback"]) if row.get("traceback") else None,
        lines=tuple(
            Line(line.level, _tone(line.level), clipped(f"{line.logger}: {line.text}", 1_100)) for line in story.lines
        ),
        more_lines=story.more_lines,
        around=_around(page, row),
        url=url_of(page, row),
        client_url=client_url(page, row.get("remote_address")),
        who=(*(_fact(page, name, row[name]) for name in who if row[name] is not None), *_trace(story)),
        facts=tuple(_fact(page, name, row[name]) for name in shown if name not in who),
        curl=_curl(page, row),
        test=_test(row),
        back_url=back_url(page),
        back_text=" · ".join((heading_of(page), covered(page), *(chip.text for chip in chosen))),
        slowest=page.state.table.slowest,
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


# ---- where the time went ---------------------------------------------------------------------------------------------


def _pace(page: Page, row: Mapping[str, Any]) -> Pace | None:
    """How slow it was among the requests of the span with the same route, or path."""
    took = row.get("response_time")
    name = next((name for name in ("route", "path") if name in page.site.dimensions and row.get(name)), None)
    if took is None or name is None:
        return None
    text = page.site.dimensions[name].text_of(page.site.dimensions[name].value_of(row[name]))
    alike = Filters().and_(name, text)
    measures = page.ask(page.queries.summary, page.state.span, alike, want=frozenset({PERCENTILES}))
    times = None if measures is None else measures.response_time
    if measures is None or times is None or times.p50 is None or measures.hits < LEAST_TO_RANK:
        return None
    ranks = (
        (times.p99, "slower than 99 of 100"),
        (times.p95, "slower than 95 of 100"),
        (times.p50, "slower than half of the"),
    )
    rank = next((said for limit, said in ranks if limit is not None and took > limit), "faster than half of the")
    return Pace(
        f"{rank} requests to",
        clipped(text, 80),
        page.other_filtered(name, text),
        f", half of which take {duration(times.p50)}",
    )


def _parts(row: Mapping[str, Any]) -> tuple[Part, ...]:
    """Its time, divided; empty where nobody measured."""
    took, waited = row.get("response_time"), (row.get("db_time"), row.get("http_time"))
    if took is None or waited == (None, None):
        return ()
    database, others = (min(max(seconds or 0.0, 0.0), LONGEST_S) for seconds in waited)
    took = min(took, LONGEST_S)
    whole = max(took, database + others) or 1.0  # what is waited for at the same time adds up to more than it took
    found, x = [], 0.0
    for name, seconds, beside in (
        ("Database", database, _count(row.get("db_queries"), "statement")),
        ("Other servers", others, _count(row.get("http_calls"), "call")),
        ("Own code", max(took - database - others, 0.0), ""),
    ):
        if name != "Own code" and waited[name != "Database"] is None:
            continue
        percent = share(round(seconds * 1_000_000), round(whole * 1_000_000)) or "0%"
        width = round(100 * seconds / whole, 2)
        found.append(Part(name, f"{duration(seconds)}{beside}, {percent}", round(x, 2), width))
        x += width
    return tuple(found)


def _count(count: int | None, noun: str) -> str:
    return "" if count is None else f" in {plural(int(count), noun)}"


def _waits(page: Page, story: Story) -> tuple[Wait, ...]:
    """Statements and calls, most time first."""
    both: list[Statement | Call] = sorted((*story.statements, *story.calls), key=lambda one: -one.total_us)
    most = max((one.total_us for one in both), default=0) or 1
    return tuple(
        Wait(
            text=clipped(one.text, 300) if isinstance(one, Statement) else clipped(f"{one.method} {one.host}", 120),
            url=_url_of_statement(page, one) if isinstance(one, Statement) else None,
            place=clipped(one.place, 120) if isinstance(one, Statement) and one.place else None,
            times=number(one.times),
            total=duration(one.total_us / 1_000_000),
            each=duration(one.total_us / 1_000_000 / one.times) if one.times else "",
            fill=round(100 * one.total_us / most, 1),
            is_many=one.is_many,
        )
        for one in both
    )


def _url_of_statement(page: Page, statement: Statement) -> str | None:
    """The list of statements from the same place, or with the same beginning."""
    if page.site.statements is None:
        return None
    search = (statement.place or statement.text[:60]).encode("utf-8", "replace").decode()  # no URL has half a character
    return page.state.listed_at(page.site.url("database"), search=search)


def _left_out(story: Story) -> str:
    some = [
        plural(count, noun)
        for count, noun in ((story.more_statements, "other statement"), (story.more_calls, "other call"))
        if count
    ]
    return f"{' and '.join(some)} left out: they took less than 1 ms, or are beyond the first 20." if some else ""


def _tone(level: str) -> str:
    return "warn" if level == "WARNING" else "bad"


# ---- around it -------------------------------------------------------------------------------------------------------


def _around(page: Page, row: Mapping[str, Any]) -> tuple[RequestRow, ...]:
    """The same client's requests around it, newest first; empty where clients are not told apart, or it is alone."""
    dimension, key = page.site.dimensions.get(ADDRESS), str(row["id"])
    value = None if dimension is None else dimension.value_of(row.get("remote_address"))
    if dimension is None or value is None:
        return ()
    state = page.state
    alike = Filters().and_(ADDRESS, dimension.text_of(value))
    page = replace(page, state=replace(state, filters=alike, table=TableState()))
    later, earlier = (page.ask(_beside, page, AROUND, **beside) for beside in ({"after": key}, {"before": key}))
    rows = [*(later.rows if later else ()), row, *(earlier.rows if earlier else ())]
    page = replace(page, state=state)  # each leads back to the list that this one was chosen from
    return tuple(row_of(page, one) for one in rows) if len(rows) > 1 else ()


def _neighbour(page: Page, **beside: str) -> str | None:
    """The request next to another one in the list that both are of."""
    log = page.ask(_beside, page, 1, **beside)
    return url_of(page, log.rows[-1]) if log is not None and log.rows else None


def _beside(page: Page, limit: int, *, before: str | None = None, after: str | None = None) -> RequestLog | None:
    state, table = page.state, page.state.table
    try:
        return page.queries.requests(
            state.span,
            state.filters,
            limit=limit,
            before=before,
            after=after,
            only=table.only,
            slowest=table.slowest,
        )
    except UnknownRequest:  # it has no date
        return None


# ---- ask again -------------------------------------------------------------------------------------------------------


def _target(row: Mapping[str, Any]) -> str:
    """Path and query as they are asked for."""
    path = quote(f"/{str(row.get('path') or '').removeprefix('/')}", safe="/:@!$&'()*+,;=~-._")
    query = quote(str(row.get("query_string") or ""), safe="/?:@!$&'()*+,;=~-._%")
    return f"{path}?{query}" if query else path


def _curl(page: Page, row: Mapping[str, Any]) -> str:
    """A command that sends it again, without cookies, keys and body, which are not stored.

    Other writers may have stored what is no method, host or language: that is left out.
    """
    host = host_of(str(row.get("host") or "")) or page.site.host or "localhost"
    scheme = "http" if re.match(r"(localhost|127\.|\[::1\])", host) else "https"
    method, language = str(row.get("method") or "GET").upper(), language_of(str(row.get("language") or ""))
    options = [] if method == "GET" or not re.fullmatch("[A-Z-]{1,32}", method) else ["--request", method]
    line = " ".join(
        ["curl", *(["--head"] if method == "HEAD" else options), shlex.quote(f"{scheme}://{host}{_target(row)}")]
    )
    return f"{line} \\\n  --header 'Accept-Language: {language}'" if language else line


def _test(row: Mapping[str, Any]) -> str:
    """A test for pytest with a fixture `client`; of a server error it asks that it is gone."""
    method, status = str(row.get("method") or "GET").lower(), row.get("status_code")
    name = re.sub(r"[^a-z0-9]+", "_", str(row.get("route") or row.get("path") or "").lower()).strip("_") or "home"
    target = re.sub("^//", "/%2F", _target(row))  # what follows two slashes is a host's name for a client
    known = method in ("get", "head", "post", "put", "patch", "delete", "options")
    call = f"client.{method}({target!r})" if known else f"client.open({target!r}, method={method.upper()!r})"
    expected = f"== {status}" if isinstance(status, int) and status < 500 else "< 500"
    return f"def test_{name[:60]}(client):\n    response = {call}\n    assert response.status_code {expected}"


# ---- facts -----------------------------------------------------------------------------------------------------------


def _trace(story: Story) -> tuple[Fact, ...]:
    return (Fact("Trace", clipped(story.trace, 64), monospace=True),) if story.trace else ()


def _fact(page: Page, name: str, value: Any) -> Fact:
    label = LABELS.get(name) or name.replace("_", " ").capitalize()
    dimension = page.site.dimensions.get(name)
    url = client_url(page, value) or None if name == "remote_address" else None
    if dimension is not None and value is not None and dimension.column == name:
        url = page.other_filtered(name, dimension.text_of(dimension.value_of(value)))
    if name == "issue" and value and page.has("issue"):
        url = page.state.at(page.site.url("issue"), filters=page.state.filters.only("issue", str(value)))
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
    if name == "size":
        return size(value) if value is None or value < 1000 else f"{size(value)} ({number(value)} bytes)"
    if name == "status_code":
        return status_text(value)
    return "(empty)" if value == "" else _long(None if value is None else str(value))


def _long(text: str | None) -> str:
    return clipped(text, LONGEST_TEXT)


def lines_of(text: str) -> str:
    """A traceback line by line: its line breaks are its layout, everything else unseen is escaped."""
    return "\n".join(visible(line) for line in text[-LONGEST_TEXT:].replace("\r\n", "\n").split("\n"))
