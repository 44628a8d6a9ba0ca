"""The JSON API described in OpenAPI 3.1, for clients that are generated and for tests that try every parameter. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .confidence import FAILURES, GONE, NEW, TIMES, VISITORS
from .dimensions import Dimension
from .issue_states import LONGEST_RELEASE, STATES
from .issues.text import LONGEST
from .kept import EVENT, LONGEST_TEXT, RELEASE
from .parameters import TABLE, Parameter
from .spans import UNITS

Json = dict[str, Any]
VERSION = "2.0"
"""Of the API: the first number changes when an answer loses something."""

INSTANT: Json = {"type": "string", "format": "date-time"}
COUNT: Json = {"type": "integer", "minimum": 0}
TEXT: Json = {"type": "string"}


def description(dimensions: Mapping[str, Dimension], waits: Sequence[str] = (), *, url: str, most_points: int) -> Json:
    """The whole API of an app with these dimensions and `waits`, at `url`, as an OpenAPI document."""
    measures = MEASURES | dict.fromkeys(waits, WAITED)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Flask-Statistics",
            "version": VERSION,
            "description": "The numbers of the dashboard, behind the same guard.",
        },
        "servers": [{"url": url}],
        "paths": {
            "/summary": _get(
                "summary", "The measures over all requests", _parameters("summary", dimensions), _answer(measures)
            ),
            "/series": _get(
                "series",
                f"The measures of each bucket, zeros included: at most {most_points:,} of them",
                _parameters("series", dimensions),
                _answer({"unit": _one_of(UNITS), "points": _list({"start": INSTANT} | measures)}),
            ),
            "/breakdown/{dimension}": _get(
                "breakdown",
                "The measures of each value of a dimension",
                [
                    {"name": "dimension", "in": "path", "required": True, "schema": _one_of(dimensions)},
                    *_parameters("breakdown", dimensions),
                ],
                _answer(
                    {
                        "dimension": TEXT,
                        "total": COUNT,
                        "searched": _or_null(COUNT),
                        "rows": _list({"value": VALUE} | measures),
                    }
                ),
            ),
            "/requests": _get(
                "requests",
                "Stored requests, newest first",
                _parameters("requests", dimensions),
                _answer(
                    {
                        "rows": {"type": "array", "items": {"type": "object", "required": ["id", "date"]}},
                        "before": _or_null(TEXT),
                        "after": _or_null(TEXT),
                    }
                ),
            ),
            "/changes": _get(
                "changes",
                "What changed for which route, against another time or between two values of a dimension",
                _parameters("changes", dimensions),
                _answer(
                    {
                        "compared": TEXT,
                        "before": _or_null(LOT),
                        "after": _or_null(LOT),
                        "tests": COUNT,
                        "unchanged": COUNT,
                        "rows": _list(FINDING),
                    }
                ),
            ),
            "/issues": _get(
                "issues",
                "Exceptions that are one, most hits first, and what was decided about them",
                _parameters("issues", dimensions),
                _answer({"total": COUNT, "rows": _list(ISSUE)}),
            )
            | _change("post", "decide", "Let an issue have another state", DECIDED, status="200", body=DECISION),
            "/marks": _get(
                "marks", "What was marked, the oldest first", [], _object({"marks": _list(MARK)}), always=True
            )
            | _change("post", "mark", "Mark what happened", MARK, status="201", body=NEW_MARK),
            "/marks/{key}": _change(
                "delete",
                "deleteMark",
                "Delete a mark",
                {"id": TEXT},
                status="200",
                parameters=[{"name": "key", "in": "path", "required": True, "schema": TEXT}],
            ),
            "/panels": _get(
                "panels",
                "The dashboard's panels, in the order of its pages",
                [],
                _object(
                    {
                        "panels": _list(
                            {
                                "name": TEXT,
                                "title": TEXT,
                                "page": TEXT,
                                "url": TEXT,
                                "cost": {"type": "array", "items": TEXT},
                                "csv": _or_null(TEXT),
                            }
                        )
                    }
                ),
                always=True,
            ),
            "/health": _get(
                "health", "How recording, rollups and the database do", [], {"type": "object"}, always=True
            ),
            "/openapi.json": _get("openapi", "This description", [], {"type": "object"}, always=True),
        },
        "components": {"schemas": {"Error": _object({"error": TEXT})}},
    }


# ---- parameters ------------------------------------------------------------------------------------------------------


def _parameters(question: str, dimensions: Mapping[str, Dimension]) -> list[Json]:
    """Those that a question takes, and the filters."""
    taken = [_query(known.name, known.meaning, _schema(known)) for known in TABLE if question in known.questions]
    return [*taken, *_filters(dimensions)]


def _schema(known: Parameter) -> Json:
    if known.choices:
        return _one_of(known.choices)
    if known.is_number:
        return {"type": "number", "minimum": 0, "maximum": known.most}
    if known.most is not None:
        return {"type": "integer", "minimum": known.least, "maximum": known.most}
    return TEXT if known.longest is None else {"type": "string", "maxLength": known.longest}


def _filters(dimensions: Mapping[str, Dimension]) -> list[Json]:
    found = []
    for name, dimension in dimensions.items():
        for parameter, meaning in ((name, "is one of these"), (f"{name}!", "is none of these")):
            texts = {"type": "array", "items": TEXT}
            found.append(_query(parameter, f"Only requests whose {dimension.label} {meaning}; empty: none.", texts))
    return found


def _query(name: str, meaning: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "description": meaning, "schema": schema}


# ---- schemas ---------------------------------------------------------------------------------------------------------


def _one_of(values: Iterable[str]) -> Json:
    return {"type": "string", "enum": list(values)}


def _or_null(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(properties: Json) -> Json:
    return {"type": "array", "items": _object(properties)}


SECONDS = _or_null({"type": "number", "minimum": 0})
VALUE: Json = {"anyOf": [TEXT, {"type": "integer"}, {"type": "null"}]}
MEASURES: Json = {
    "hits": COUNT,
    "visitors": _or_null(COUNT),
    "client_errors": _or_null(COUNT),
    "server_errors": _or_null(COUNT),
    "size": _or_null({"type": "integer"}),
    "response_time": _object(dict.fromkeys(("avg", "p50", "p95", "p99", "max"), SECONDS)),
    "last_requested": _or_null(INSTANT),
}
LOT = _object({"start": INSTANT, "end": INSTANT, "value": _or_null(TEXT), "hits": COUNT})
_NUMBER: Json = {"type": "number", "minimum": 0}
FINDING: Json = {
    "value": VALUE,
    "what": _one_of((TIMES, FAILURES, VISITORS, NEW, GONE)),
    "before": _NUMBER,
    "after": _NUMBER,
    **dict.fromkeys(("ratio", "low", "high"), _or_null(_NUMBER)),
    "chance": _NUMBER | {"description": "How many of lists like this would show it though nothing had changed."},
    "sure": {"type": "boolean"},
    "worse": {"type": "boolean"},
    **dict.fromkeys(("hits_before", "hits_after"), COUNT),
}
STATE = _one_of(STATES)
ISSUE: Json = {
    **dict.fromkeys(("issue", "type", "message", "place"), TEXT),
    "state": STATE,
    "again": {"type": "boolean", "description": "Whether it was resolved and came back."},
    "resolved_in": _or_null(TEXT),
    "hits": COUNT,
    "visitors": _or_null(COUNT),
    "releases": {"type": "array", "items": TEXT},
    "first_requested": _or_null(INSTANT),
    "last_requested": _or_null(INSTANT),
}
DECIDED: Json = {"issue": TEXT, "state": STATE, "release": _or_null(TEXT)}
DECISION: Json = {
    "type": "object",
    "properties": {
        "issue": {"type": "string", "minLength": 1, "maxLength": LONGEST},
        "state": STATE,
        "release": {"type": "string", "maxLength": LONGEST_RELEASE, "description": "In which it is resolved."},
    },
    "required": ["issue", "state"],
}
MARK: Json = {
    "id": TEXT,
    "kind": _one_of((RELEASE, EVENT)) | {"description": "Releases are marked by themselves, when they are first seen."},
    "text": TEXT,
    "at": INSTANT,
}
NEW_MARK: Json = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "minLength": 1, "maxLength": LONGEST_TEXT},
        "at": TEXT
        | {"description": "`2026-11-26`, `2026-11-26T12:10` in the configured time zone, or with an offset; or now."},
    },
    "required": ["text"],
}
WAITED = _object(
    dict.fromkeys(("avg", "p50", "p95", "p99", "max"), SECONDS) | {"total": {"type": "number", "minimum": 0}}
)
"""What requests waited for: seconds, or counts."""


def _answer(properties: Json) -> Json:
    """What every answer says, and these."""
    head: Json = {
        "start": INSTANT,
        "end": INSTANT,
        "timezone": TEXT,
        "source": _one_of(("raw", "rollup")),
        "as_of": INSTANT,
        "complete_from": _or_null(INSTANT)
        | {"description": "Requests from before are not in the answer yet, or no more; null: all of the span is."},
        "undecided": COUNT
        | {
            "description": "Requests that the filters may or may not let through, as their values are folded into (other)."
        },
    }
    return _object(head | properties)


def _get(name: str, summary: str, parameters: list[Json], schema: Json, *, always: bool = False) -> Json:
    """A path that is asked with GET; `always`: nothing in the URL can make it fail."""
    responses = {"200": _response("The answer", schema)}
    if not always:
        error = {"$ref": "#/components/schemas/Error"}
        responses["400"] = _response("A parameter that cannot be read; `error` names it", error)
        responses["503"] = _response("The database did not answer, or not in time", error)
    operation = {"operationId": name, "summary": summary, "parameters": parameters, "responses": responses}
    return {"get": operation}


def _change(
    method: str,
    name: str,
    summary: str,
    properties: Json,
    *,
    status: str,
    parameters: Sequence[Json] = (),
    body: Json | None = None,
) -> Json:
    """A path that changes something."""
    error = {"$ref": "#/components/schemas/Error"}
    responses = {
        status: _response("It is done", _object(properties)),
        "400": _response("What cannot be read; `error` names it", error),
        "403": _response(
            "Nothing may be changed, as everybody may see the dashboard, or another site's page asked", error
        ),
        "404": _response("There is none", error),
        "409": _response("There are as many as there may be", error),
        "503": _response("The database did not do it", error),
    }
    operation: Json = {"operationId": name, "summary": summary, "parameters": list(parameters), "responses": responses}
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return {method: operation}


def _response(meaning: str, schema: Json) -> Json:
    return {"description": meaning, "content": {"application/json": {"schema": schema}}}
