"""The JSON API: the questions of the dashboard, and how the numbers can be checked from outside.

Reads the query string strictly: what a page would fall back from answers 400 here, naming the parameter. Shares the
dashboard's blueprint, and so its guard.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime, timezone
from math import isfinite
from typing import Any

import sqlalchemy as sa
from flask import Response, current_app, request, url_for

from . import changes, guards, health, kept, openapi, parameters, rendering, trail
from .confidence import Finding
from .connections import RECORDING
from .databases import budgets
from .databases.errors import fix
from .dimensions import DimensionError
from .filters import Filters
from .issue_states import LONGEST_RELEASE, RESOLVED, Decision, fitting, groups_ever, names, standing, with_issue
from .issues.text import LONGEST as LONGEST_ISSUE
from .issues.text import issue_from
from .pages.panels import Panels
from .queries.answers import Group, Measures, Only, ResponseTime, Row
from .queries.interface import SUMS, VISITORS, Queries, TooManyValues, UnknownRequest
from .query import MOST_POINTS, BadParameter, dimension_of, read, sort_of, unit_of
from .releases_seen import to_minute
from .spans import Span, SpanError, read_instant, to_local
from .state import NAME, State, state_of
from .waits import WAITS
from .writers.transaction import Locked, commit

LONGEST_BODY = 4_096
"""Bytes of what is sent to be kept."""
WAIT_MS = 1_000
"""For a SQLite database that another one writes."""

EVERYBODY = "Everybody may see this dashboard, so nobody may change anything by it: use commands and settings"


def register(add_url_rule: Callable[..., None], panels: Panels) -> None:
    """Add the API's routes to the dashboard's, whose `panels` it lists."""
    for rule, endpoint, answer in (
        ("/api/summary", "api_summary", _summary),
        ("/api/series", "api_series", _series),
        ("/api/breakdown/<dimension>", "api_breakdown", _breakdown),
        ("/api/requests", "api_requests", _requests),
        ("/api/changes", "api_changes", _changes),
        ("/api/issues", "api_issues", _issues),
    ):
        add_url_rule(rule, endpoint, _refusing_mistakes(_answering(answer)))
    add_url_rule("/api/panels", "api_panels", _refusing_mistakes(lambda: _panels(panels)))
    for rule, endpoint, change, method in (
        ("/api/marks", "api_mark", _mark, "POST"),
        ("/api/issues", "api_decide", _decide, "POST"),
        ("/api/marks/<key>", "api_delete_mark", _delete_mark, "DELETE"),
    ):
        add_url_rule(rule, endpoint, _refusing_mistakes(_changing(change)), methods=[method])
    add_url_rule("/api/marks", "api_marks", _refusing_mistakes(_marks))
    add_url_rule("/api/health", "api_health", _refusing_mistakes(_health))
    add_url_rule("/api/openapi.json", "api_openapi", _refusing_mistakes(_openapi))


def _refusing_mistakes(view: Callable[..., Response]) -> Callable[..., Response]:
    """`view`, which is not asked if the URL has a parameter that nobody knows, or that says two things at once."""

    def answer(**values: str) -> Response:
        mistakes = parameters.mistakes(request.args, state_of(current_app).dimensions)
        return refused(400, mistakes[0]) if mistakes else view(**values)

    return answer


def _answering(answer: Callable[..., dict[str, Any]]) -> Callable[..., Response]:
    """A view that reads span and filters, asks, and puts what every answer says before what `answer` found."""

    def view(**values: str) -> Response:
        state = state_of(current_app)
        now = datetime.now(timezone.utc).replace(tzinfo=None)
        try:
            with state.queries() as queries:
                span, filters = read(state, request.args, queries.earliest, now)
                found = answer(queries, span, filters, **values)
                return rendering.data(
                    {
                        "start": _local(span.start, span),
                        "end": _local(span.end, span),
                        "timezone": span.zone.key,
                        "source": queries.source,
                        "as_of": _local(now, span),
                    }
                    | _limits(queries, span, filters, **values, stored=answer is _requests)
                    | found
                )
        except (BadParameter, SpanError) as error:
            return refused(400, str(error))
        except sa.exc.SQLAlchemyError as error:
            if budgets.is_timeout(error):
                return refused(503, too_slow(state))
            state.complaints.tell("a question to the database failed", error)
            return refused(503, f"The database could not answer. {fix(error)} The app's log says more.")
        except TooManyValues as error:
            return refused(503, str(error))
        except DimensionError as error:
            current_app.logger.exception("Flask-Statistics: a question could not be answered.")
            return refused(500, f"{error} See the app's log.")

    return view


def _changing(change: Callable[..., Response]) -> Callable[..., Response]:
    """`change`, which is not asked where nobody may change anything, and whose failures are answered."""

    def answer(**values: str) -> Response:
        state = state_of(current_app)
        if not guards.may_change(state.guard):
            return refused(403, EVERYBODY)
        try:
            return change(**values)
        except (BadParameter, SpanError) as error:
            return refused(400, str(error))
        except kept.Full as error:
            return refused(409, str(error))
        except Locked:
            return refused(503, "The database is locked. Ask again.")
        except sa.exc.SQLAlchemyError as error:
            state.complaints.tell("what somebody decided could not be kept", error)
            return refused(503, f"The database could not do it. {fix(error)} The app's log says more.")

    return answer


def _limits(
    queries: Queries, span: Span, filters: Filters, *, dimension: str | None = None, stored: bool
) -> dict[str, Any]:
    """What the answer lacks; `stored`: without filters it lists stored requests, whatever is rolled up."""
    if stored and not filters:
        return {"complete_from": None, "undecided": 0}
    complete_from = queries.complete_from(span, filters, () if dimension is None else (dimension,))
    return {
        "complete_from": None if complete_from is None else _local(complete_from, span),
        "undecided": queries.undecided(span, filters) if filters else 0,
    }


def too_slow(state: State) -> str:
    """What somebody is told whose question took all the time that it may take."""
    seconds = state.settings.query_timeout.total_seconds()
    way_out = "" if state.rollups else ", or see STATISTICS_ROLLUPS"
    return f"This took longer than STATISTICS_QUERY_TIMEOUT ({seconds:g} s). Ask for a shorter span or fewer filters{way_out}."


def _summary(queries: Queries, span: Span, filters: Filters) -> dict[str, Any]:
    return measures_json(queries.summary(span, filters), span)


def _series(queries: Queries, span: Span, filters: Filters) -> dict[str, Any]:
    unit = unit_of(request.args.get("unit"), span)
    since = queries.complete_from(span, filters)
    points = [
        {"start": _local(point.start, span), **measures_json(point.measures, span)}
        for point in queries.series(span, unit, filters)
        if since is None or point.end > since  # of what is not known there is no zero
    ]
    return {"unit": unit, "points": points}


def _breakdown(queries: Queries, span: Span, filters: Filters, *, dimension: str) -> dict[str, Any]:
    found = queries.breakdown(
        dimension_of(dimension, state_of(current_app)),
        span,
        filters,
        sort=sort_of(request.args.get("sort") or "-hits"),
        limit=_number("limit"),
        offset=_number("offset"),
        search=parameters.cut("search", request.args.get("search", "")),
    )
    rows = [{"value": row.value, **measures_json(row.measures, span)} for row in found.rows]
    return {"dimension": dimension, "total": found.total, "searched": found.among, "rows": rows}


def _changes(queries: Queries, span: Span, filters: Filters) -> dict[str, Any]:
    state, now = state_of(current_app), datetime.now(timezone.utc).replace(tzinfo=None)
    by = changes.dimension_of(state.dimensions)
    if by is None:
        raise BadParameter("changes are of routes or of paths, which the model has no column for")
    lots = _lots(queries, span, filters, now)
    if lots is None:
        return {"compared": by, "before": None, "after": None, "tests": 0, "unchanged": 0, "rows": []}
    found = changes.changes(queries, by, lots)
    return {
        "compared": by,
        "before": _lot_json(lots.before, found.hits[0]),
        "after": _lot_json(lots.after, found.hits[1]),
        "tests": found.comparison.tests,
        "unchanged": len(found.comparison.unchanged),
        "rows": [_finding_json(one, found) for one in found.comparison.findings],
    }


def _lots(queries: Queries, span: Span, filters: Filters, now: datetime) -> changes.Lots | None:
    """What `split`, or `against` and `vs`, ask to be compared; None: not all of the time before is recorded."""
    split, vs = request.args.get("split"), request.args.get("vs") or "prev"
    if vs not in parameters.NAMED["vs"].choices:
        raise BadParameter(f"vs is {vs[:100]!r}, but must be one of {', '.join(parameters.NAMED['vs'].choices)}")
    try:
        day = parameters.day_of("against", request.args.get("against", ""))
    except ValueError as error:
        raise BadParameter(str(error)) from None
    if split:
        name = dimension_of(split, state_of(current_app))
        values = filters.texts(name)
        if len(values) != 2:
            raise BadParameter(f"split is {name!r}, so two values of it must be given, as in {name}=a&{name}=b")
        return changes.in_values(span, filters, dimension=name, values=(values[0], values[1]), now=now)
    against = date.fromisoformat(day) if day else None
    return changes.in_time(span, filters, now=now, vs=vs, against=against, known=queries.earliest())


def _lot_json(lot: changes.Lot, hits: int) -> dict[str, Any]:
    return {
        "start": _local(lot.span.start, lot.span),
        "end": _local(lot.span.end, lot.span),
        "value": lot.value,
        "hits": hits,
    }


def _finding_json(one: Finding, found: changes.Changes) -> dict[str, Any]:
    was, now = found.before.get(one.value), found.after.get(one.value)
    return {
        "value": one.value,
        "what": one.what,
        "before": one.before,
        "after": one.after,
        "ratio": one.ratio if isfinite(one.ratio) else None,
        "low": one.low if isfinite(one.low) else None,
        "high": one.high if isfinite(one.high) else None,
        "chance": one.chance,
        "sure": one.is_sure,
        "worse": one.is_worse,
        "hits_before": 0 if was is None else was.hits,
        "hits_after": 0 if now is None else now.hits,
    }


def _issues(queries: Queries, span: Span, filters: Filters) -> dict[str, Any]:
    state, now = state_of(current_app), datetime.now(timezone.utc).replace(tzinfo=None)
    if state.issues is None:
        raise BadParameter("issues need the column 'issue', which the model does not have")
    want = frozenset({SUMS, VISITORS})
    found = queries.breakdown("issue", span, with_issue(filters), limit=_number("limit"), want=want)
    groups = groups_ever(queries, state.dimensions, span, with_issue(Filters()), now)
    decisions = state.issues.decisions(queries)
    return {
        "total": found.total,
        "rows": [
            _issue_json(row, groups.get(row.value, []), decisions.get(str(row.value)), span) for row in found.rows
        ],
    }


def _issue_json(row: Row, groups: Sequence[Group], decision: Decision | None, span: Span) -> dict[str, Any]:
    issue, stands, measures = issue_from(str(row.value)), standing(decision, groups), row.measures
    last = measures.last_requested
    return {
        "issue": row.value,
        "type": issue.type,
        "message": issue.message,
        "place": issue.place,
        "state": stands.state,
        "again": stands.is_again,
        "resolved_in": stands.release,
        "hits": measures.hits,
        "visitors": measures.visitors,
        "releases": list(names(groups)),
        "first_requested": _local(groups[0].first_requested, span) if groups else None,
        "last_requested": None if last is None else _local(last, span),
    }


def _decide() -> Response:
    """Let the issue have the state that a form, or an object of JSON, says."""
    return rendering.data(decide(_body(("issue", "state", "release"))))


def decide(given: Mapping[str, Any]) -> dict[str, Any]:
    """Let an issue have another state; what it is now. Raises `BadParameter`, and what `IssueStates.decide` does."""
    state, issue, release = state_of(current_app), given.get("issue"), given.get("release") or None
    if state.issues is None:
        raise BadParameter("issues need the column 'issue', which the model does not have")
    if not isinstance(issue, str) or not 0 < len(issue) <= LONGEST_ISSUE or fitting(issue) != issue:
        raise BadParameter(
            f"issue is {issue!r:.100}, but must be the text of an issue, of {LONGEST_ISSUE} characters at most"
        )
    if release is not None and (not isinstance(release, str) or fitting(release, LONGEST_RELEASE) != release):
        raise BadParameter(f"release is {release!r:.100}, but must be a text of {LONGEST_RELEASE} characters at most")
    chosen = given.get("state")
    try:
        state.issues.decide(issue, chosen, release=release, now=datetime.now(timezone.utc).replace(tzinfo=None))  # type: ignore[arg-type]
    except ValueError as error:
        raise BadParameter(str(error)) from None
    trail.note(state.app, "changed", f"issue {issue}: {chosen}")
    return {"issue": issue, "state": chosen, "release": release if chosen == RESOLVED else None}


def _requests(queries: Queries, span: Span, filters: Filters) -> dict[str, Any]:
    before, after = request.args.get("before") or None, request.args.get("after") or None
    if before and after:
        raise BadParameter("before and after are both given, but only one of them can be")
    try:
        log = queries.requests(
            span, filters, limit=_number("limit"), before=before, after=after, only=_only(), slowest=_slowest()
        )
    except UnknownRequest as error:
        name = "before" if before else "after"
        raise BadParameter(f"{name} is {str(error)[:100]!r}, but must be the id of a stored request") from None
    trail.note(state_of(current_app).app, "exported", "requests as JSON")
    return {"rows": [_row(row) for row in log.rows], "before": log.older, "after": log.newer}


def _panels(panels: Panels) -> Response:
    """The dashboard's panels in the order of their pages, with the questions that each asks and the URL of its file."""
    return rendering.data(
        {
            "panels": [
                {
                    "name": panel.name,
                    "title": panel.title,
                    "page": panel.page,
                    "url": url_for(f"{NAME}.panel_of", of=panel.page, name=panel.name),
                    "cost": list(panel.cost),
                    "csv": None if panel.rows is None else url_for(f"{NAME}.export", name=panel.name),
                }
                for panel in panels
            ]
        }
    )


def _marks() -> Response:
    """All marks, the oldest first."""
    state = state_of(current_app)
    return rendering.data({"marks": [_mark_json(each, state) for each in state.read_kept().marks]})


def _mark() -> Response:
    """Keep the mark that a form, or an object of JSON, says."""
    state, given = state_of(current_app), _body(("text", "at"))
    try:
        text = kept.checked("text", given.get("text"), kept.LONGEST_TEXT)
    except ValueError as error:
        raise BadParameter(str(error)) from None
    at = given.get("at") or ""
    if not isinstance(at, str):
        raise BadParameter(f"at is {at!r:.100}, but must be a text such as 2026-11-26T12:10")
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    mark = kept.Mark(text, read_instant("at", at, state.settings.timezone) if at else to_minute(now))
    commit(
        state.our_engine_for(RECORDING), lambda connection: kept.add_mark(connection, state.kept, mark), wait_ms=WAIT_MS
    )
    trail.note(state.app, "changed", f"marked {mark.text}")
    return rendering.data(_mark_json(mark, state), 201)


def _delete_mark(key: str) -> Response:
    state, found = state_of(current_app), []
    commit(
        state.our_engine_for(RECORDING),
        lambda connection: found.append(kept.delete_mark(connection, state.kept, key)),
        wait_ms=WAIT_MS,
    )
    if not found[-1]:
        return refused(404, f"There is no mark with the id {key[:100]!r}")
    trail.note(state.app, "changed", f"deleted the mark {key}")
    return rendering.data({"id": key})


def _body(names: tuple[str, ...]) -> Mapping[str, Any]:
    """What was sent: an object of JSON, or a form. Raises `BadParameter` for anything else, and for names that nobody knows."""
    if request.content_length is None or request.content_length > LONGEST_BODY:
        raise BadParameter(f"What is sent must say its length, of {LONGEST_BODY:,} bytes at most")
    given = request.get_json(silent=True) if request.is_json else request.form
    if not isinstance(given, Mapping):
        raise BadParameter('What is sent must be an object of JSON, such as {"text": "Moved to PostgreSQL"}, or a form')
    unknown = parameters.unknown(given, (), names)
    if unknown:
        raise BadParameter(unknown[0])
    return given


def _mark_json(mark: kept.Mark, state: State) -> dict[str, Any]:
    at = to_local(mark.at, state.settings.timezone).isoformat()
    return {"id": mark.id, "kind": mark.kind, "text": mark.text, "at": at}


def _openapi() -> Response:
    """All of this, described for programs."""
    state = state_of(current_app)
    url = url_for(f"{NAME}.api_summary").removesuffix("/summary")
    return rendering.data(openapi.description(state.dimensions, state.waits, url=url, most_points=MOST_POINTS))


def _health() -> Response:
    """How recording, storage and rollups do."""
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    return rendering.data(health.as_json(health.collect(state_of(current_app), now), _utc))


def measures_json(measures: Measures, span: Span) -> dict[str, Any]:
    """The measures as the API writes them; `last_requested` in the span's zone. What is not there of the waits is left out."""
    times: ResponseTime = measures.response_time
    waits = {name: waited for name in WAITS if (waited := getattr(measures, name)) is not None}
    return {
        "hits": measures.hits,
        "visitors": measures.visitors,
        "client_errors": measures.client_errors,
        "server_errors": measures.server_errors,
        "size": measures.size,
        "response_time": {
            "avg": times.avg,
            "p50": times.p50,
            "p95": times.p95,
            "p99": times.p99,
            "max": times.max,
        },
        "last_requested": None if measures.last_requested is None else _local(measures.last_requested, span),
        **{name: asdict(waited) for name, waited in waits.items()},
    }


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return _utc(value)
    return value if isinstance(value, (str, int, float, bool, date, type(None))) else str(value)


def _only() -> Only:
    text = request.args.get("slower", "")
    try:
        slower = parameters.seconds_of("slower", text)
    except ValueError as error:
        raise BadParameter(f"slower is {text[:100]!r}, but must be {error}") from None
    return Only(slower, parameters.cut("text", request.args.get("text", "").strip()))


def _slowest() -> bool:
    allowed, first = parameters.NAMED["first"].choices, request.args.get("first", "newest")
    if first not in allowed:
        raise BadParameter(f"first is {first[:100]!r}, but must be one of {', '.join(allowed)}")
    return first == "slowest"


def _number(name: str) -> int:
    known, text = parameters.NAMED[name], request.args.get(name)
    if not text:
        return known.default
    if not (text.isascii() and text.isdigit() and known.least <= int(text[:12]) <= (known.most or 0)):
        raise BadParameter(f"{name} is {text[:100]!r}, but must be a whole number from {known.least} to {known.most:,}")
    return int(text[:12])


def _local(moment: datetime, span: Span) -> str:
    return to_local(moment, span.zone).isoformat()


def _utc(moment: datetime) -> str:
    return moment.replace(tzinfo=timezone.utc).isoformat()


def refused(status: int, message: str) -> Response:
    """An error as the API answers it."""
    return rendering.data({"error": message}, status)
