"""The names of the query parameters, and what is wrong with those of a URL: unknown, or given twice. Pure.

A misspelt filter that were ignored would show everybody's numbers under the name of a few.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches

from werkzeug.datastructures import MultiDict

SPAN = ("span", "start", "end")
PAGE = ("unit", "metric", "vs", "paused")
"""What a page shows of the span."""
TABLE = ("by", "sort", "search", "rows", "limit", "offset", "before", "after")
CONTAINS = "q"
"""The text that a path must contain."""
TOKEN = "token"  # noqa: S105 - its name, not its value # nosec B105
"""What the guard of that name reads."""
NAMES = (*SPAN, *PAGE, *TABLE, CONTAINS, TOKEN)
"""All parameters that are no filter. Pages and API know the same ones, as one links to the other."""
LONGEST_NAME = 100
"""Characters of an unknown name that are repeated."""


def mistakes(args: MultiDict[str, str], dimensions: Collection[str]) -> list[str]:
    """A sentence without its full stop for each name in a query string that is no parameter, or says two things at once."""
    twice = [name for name in NAMES if len(set(args.getlist(name))) > 1]
    return [
        *unknown(args, dimensions),
        *(f"{name} is given with different values, but only one can count" for name in twice),
    ]


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
