"""The query parameters: one table of them with their limits, and what is wrong with those of a URL: unknown, or given twice.

A misspelt filter that were ignored would show everybody's numbers under the name of a few. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches

from werkzeug.datastructures import MultiDict

from .spans import FIRST_YEAR, LAST_YEAR, PRESETS, UNITS

WAITED_SORTS = {
    f"{name}_{part}": (name, part)
    for name in ("db_time", "db_queries", "http_time", "http_calls")
    for part in ("avg", "p95", "total")
}
"""What of what requests waited for a breakdown can be sorted by: the column, and what is made of its values."""
SORTS = (
    *("value", "hits", "visitors", "client_errors", "server_errors", "error_share", "server_error_share", "size"),
    *("avg", "p50", "p95", "p99", "max", "last_requested", *WAITED_SORTS),
)
"""What a breakdown can be sorted by; `-` before it: largest first."""
VISITORS_CHANGE, P95_CHANGE = CHANGES = ("visitors_change", "p95_change")
"""By which changes against the time before the tables of pages can be sorted as well."""
FAILURES_CHANGE = "failures_change"
"""The same for those of failures."""
ORDERS = ("total", "calls", "p50", "p95", "longest", "repeated", "statement")
"""What the table of statements can be sorted by; `-` before it: largest first."""
ROWS = (10, 50, 200)
"""How many rows the table of paths shows; the list of a dimension pages through all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter that is no filter."""

    name: str
    meaning: str
    """As the API's description has it."""
    questions: tuple[str, ...] = ()
    """Those of the API that take it; empty: only pages do."""
    choices: tuple[str, ...] = ()
    """What it can be, the default first; empty: any text, or any number."""
    least: int = 0
    most: int | None = None
    """Of a whole number; None: it is none."""
    default: int = 0
    longest: int | None = None
    """Characters of it that count; None: all do."""
    is_number: bool = False
    """Whether it is a number that can have a fraction, up to `most`."""
    many: bool = False
    """Whether it can be given several times."""


METRICS = ("hits", "visitors", "time", "errors", "db_time", "db_queries", "http_time", "http_calls")
"""What the chart can draw, the default first."""
LOG_COLUMNS = (
    *(
        "status_code",
        "method",
        "path",
        "query_string",
        "route",
        "mimetype",
        "size",
        "response_time",
        "db_time",
        "http_time",
    ),
    *("browser", "remote_address", "user", "country", "language", "referrer", "host", "release"),
)
"""What the request log can show beside the time of day, in this order."""
KINDS = ("all", "slower", "faster", "failing", "traffic", "presence", "same")
"""Which changes are listed, the default first."""
_DAY = "`2026-11-22`, or `2026-11-22T14:00`, in the configured time zone"
_ALL = ("summary", "series", "breakdown", "requests", "changes", "issues")
_LISTS = ("breakdown", "requests", "issues")
TABLE = (
    Parameter(
        name="span",
        meaning=f"{', '.join(PRESETS)}, or a number of days or hours such as `30d`.",
        questions=_ALL,
    ),
    Parameter(name="start", meaning=f"{_DAY}; wins over `span`.", questions=_ALL),
    Parameter(name="end", meaning=f"{_DAY}; a day is included.", questions=_ALL),
    Parameter(name="q", meaning="Only paths that contain this text.", questions=_ALL, longest=200),
    Parameter(
        name="at",
        meaning="Only these hours of the week, each as `tue`, `15` or `tue15`.",
        questions=_ALL,
        many=True,
    ),
    Parameter(
        name="unit",
        meaning="The length of a bucket; what suits the span if absent.",
        questions=("series",),
        choices=UNITS,
    ),
    Parameter(name="metric", meaning="What the chart draws.", choices=METRICS),
    Parameter(
        name="vs",
        meaning="What the span is compared with; `off` is `prev` where changes are asked for.",
        questions=("changes",),
        choices=("prev", "year", "off"),
    ),
    Parameter(
        name="against",
        meaning="The day, such as `2026-11-01`, with which the time begins that the span is compared with; wins over `vs`.",
        questions=("changes",),
        longest=10,
    ),
    Parameter(
        name="split",
        meaning="A dimension of which two values are compared, those that it is filtered by, in the time of the span.",
        questions=("changes",),
        longest=100,
    ),
    Parameter(name="show", meaning="Which changes are listed; `same`: what did not change.", choices=KINDS),
    Parameter(
        name="any",
        meaning="A dimension of which pages count all values, also those that `STATISTICS_DEFAULT_FILTERS` leaves out.",
        many=True,
    ),
    Parameter(
        name="changed", meaning="1: tables come with how each row changed, and not before it.", choices=("", "1")
    ),
    Parameter(name="standing", meaning="Issues of which state are listed.", choices=("open", "resolved", "ignored")),
    Parameter(name="paused", meaning="1: the live view stands still."),
    Parameter(
        name="by",
        meaning="What the table of paths, or of clients, lists.",
        choices=("path", "route", "address", "network"),
    ),
    Parameter(
        name="sort",
        meaning="`-` before it: largest first. `-hits` if absent.",
        questions=("breakdown",),
        choices=("-hits", *SORTS, *(f"-{name}" for name in SORTS if name != "hits")),
    ),
    Parameter(
        name="order",
        meaning="What statements are sorted by, `-` before it: largest first.",
        choices=("-total", *ORDERS, *(f"-{name}" for name in ORDERS if name != "total")),
    ),
    Parameter(name="search", meaning="Only values that contain this text.", questions=("breakdown",), longest=200),
    Parameter(
        name="rows",
        meaning="How many rows the table of paths, or of statements, shows.",
        most=ROWS[-1],
        default=ROWS[0],
    ),
    Parameter(name="limit", meaning="How many rows, 50 if absent.", questions=_LISTS, least=1, most=1_000, default=50),
    Parameter(name="offset", meaning="Rows to skip.", questions=("breakdown",), most=10**9),
    Parameter(name="before", meaning="Only requests older than the one with this id.", questions=("requests",)),
    Parameter(name="after", meaning="Only requests newer than the one with this id.", questions=("requests",)),
    Parameter(
        name="slower",
        meaning="Only requests that took more than so many seconds, such as `0.5`.",
        questions=("requests",),
        is_number=True,
        most=86_400,
    ),
    Parameter(
        name="text",
        meaning="Only requests with this text in their path or query string, of ASCII in any case.",
        questions=("requests",),
        longest=200,
    ),
    Parameter(
        name="first",
        meaning="Which requests come first; `slowest` makes `before` and `after` mean the faster and the slower ones.",
        questions=("requests",),
        choices=("newest", "slowest"),
    ),
    Parameter(
        name="column",
        meaning="A column of the request log; several show several.",
        choices=LOG_COLUMNS,
        many=True,
    ),
    Parameter(name="token", meaning="What the guard of that name reads."),
)
"""All parameters that are no filter. Pages and API know the same ones, as one links to the other."""
NAMED = {parameter.name: parameter for parameter in TABLE}
NAMES = tuple(NAMED)
SPAN = ("span", "start", "end")
FORM_FIELDS = ("start_time", "end_time", "dim", "op", "value")
"""Fields of forms that no URL has: what they say becomes one of the parameters, or a filter."""
CONTAINS = "q"
"""The text that a path must contain."""
AT = "at"
"""The hours of the week."""
TOKEN = "token"  # noqa: S105 - its name, not its value # nosec B105
LONGEST_SEARCH = NAMED["search"].longest
"""Characters of a search that count."""
LONGEST_NAME = 100
"""Characters of an unknown name that are repeated."""


def mistakes(args: MultiDict[str, str], dimensions: Collection[str]) -> list[str]:
    """A sentence without its full stop for each name in a query string that is no parameter, or says two things at once."""
    twice = [name for name in NAMES if not NAMED[name].many and len(set(args.getlist(name))) > 1]
    return [
        *unknown(args, dimensions),
        *(f"{name} is given with different values, but only one can count" for name in twice),
    ]


def seconds_of(name: str, text: str) -> float | None:
    """The number that a parameter says; None: it says none. Raises `ValueError` with what it must be."""
    if not text:
        return None
    most = NAMED[name].most or 0
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= most:  # what is no number at all is not either
        raise ValueError(f"a number from 0 to {most:,}")
    return found


def cut(name: str, text: str) -> str:
    """The characters of a parameter that count."""
    return text[: NAMED[name].longest]


def day_of(name: str, text: str) -> str:
    """A day as it is written; empty: none is given. Raises `ValueError` for what is no day."""
    if not text:
        return ""
    with suppress(ValueError):
        day = datetime.strptime(text, "%Y-%m-%d").date()
        if FIRST_YEAR <= day.year <= LAST_YEAR:
            return day.isoformat()
    raise ValueError(f"{name} is {text[:100]!r}, but must be a date such as 2026-11-22")


def unknown(given: Iterable[str], dimensions: Collection[str], names: Collection[str] = NAMES) -> list[str]:
    """A sentence without its full stop for each name that is no parameter, with the nearest one; empty: all are known.

    `dimensions` are the names of the filters, each of which may be negated by a `!` at its end, `names` those of the others.
    """
    known = {*names, *dimensions, *(f"{name}!" for name in dimensions)}
    return [_sentence(name, [*dimensions, *names]) for name in dict.fromkeys(given) if name not in known]


def _sentence(name: str, known: list[str]) -> str:
    near = get_close_matches(name.removesuffix("!").lower()[:LONGEST_NAME], known, n=1)
    ending = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return f"{name[:LONGEST_NAME]!r} is no parameter; {ending}"
