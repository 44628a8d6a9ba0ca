"""The story of a request: what took its time, as the column `story` keeps it. Pure.

The column has one JSON object, without spaces:

    {"statements": [[digest, text, place, times, total_us, longest_us], ...], "more_statements": 3,
     "calls": [[method, host, times, total_us, longest_us], ...], "more_calls": 1,
     "lines": [[level, logger, text], ...], "more_lines": 1, "trace": "0af7651916cd43dd8448eb211c80319c"}

`text` is a statement without its literals, of `LONGEST_TEXT` characters at most; `place` is `shop/views.py:41`, or null;
`lines` are those of the log. What is empty, or 0, is left out, and keys that are not known here are left to others. Those of
most time come first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

MOST = 20
"""Kinds of statements, and of calls, that a story tells of."""
LONGEST = 20_000
"""Characters of a story: the column takes as many."""
LONGEST_TEXT = 500
"""Characters of a statement in a story."""
LEAST_US = 1_000
"""Microseconds of all its times from which on a statement or a call is told of."""
MOST_LINES = 50
"""Lines of the log that a story keeps."""
MANY = 10
"""Times in one request from which on the same statement, or call, is told of whatever it took: a query in a loop (N+1)."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What one kind of statement took, sent from one place."""

    digest: str
    """Of its text without literals."""
    text: str
    """Without literals; of a long one the beginning."""
    place: str | None
    """File and line of the app that sent it, such as `shop/views.py:41`; None: it came from nowhere in the app's files."""
    times: int
    total_us: int
    """Microseconds of all times."""
    longest_us: int

    @property
    def is_many(self) -> bool:
        """Whether it looks like a query in a loop; what stands for many kinds is none."""
        return self.times >= MANY and self.digest != ""


@dataclass(frozen=True, slots=True)
class Call:
    """What the calls of one method to one other server took."""

    method: str
    host: str
    """With its port, if that is not the usual one; no path and no query."""
    times: int
    total_us: int
    longest_us: int

    @property
    def is_many(self) -> bool:
        """Whether it looks like a call in a loop."""
        return self.times >= MANY


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the log that was written meanwhile."""

    level: str
    """Such as WARNING."""
    logger: str
    text: str
    """Without secrets."""


@dataclass(frozen=True, slots=True)
class Story:
    """What took the time of one request, most time first, and what happened beside."""

    statements: tuple[Statement, ...] = ()
    calls: tuple[Call, ...] = ()
    more_statements: int = 0
    """Kinds of statements that it does not tell of, as they took no time worth it or were too many."""
    more_calls: int = 0
    lines: tuple[Line, ...] = ()
    """In their order."""
    more_lines: int = 0
    trace: str | None = None
    """The id of the trace that it is part of (W3C Trace Context); None: nobody named one."""

    def __bool__(self) -> bool:
        return bool(self.statements or self.calls or self.lines or self.trace)


T = TypeVar("T", bound=Statement | Call)


def worth_telling(found: Iterable[T]) -> tuple[tuple[T, ...], int]:
    """Those that took long or came many times, most time first, and how many others there are."""
    every = [*found]
    worth = [one for one in every if one.total_us >= LEAST_US or one.times >= MANY]
    worth.sort(key=lambda one: one.total_us, reverse=True)
    return tuple(worth[:MOST]), len(every) - len(worth[:MOST])


def dump(story: Story) -> str | None:
    """The JSON of `story`, of what fits into the column: its last lines, and then its least statements, are left out first.

    None: it tells of nothing.
    """
    if not story:
        return None
    text = _written(story)
    while len(text) > LONGEST and (story.lines or story.statements):
        story = _shorter(story)
        text = _written(story)
    return text


def _shorter(story: Story) -> Story:
    """Without the last tenth of its lines, or its last statement."""
    if story.lines:
        kept = story.lines[: len(story.lines) * 9 // 10]
        return replace(story, lines=kept, more_lines=story.more_lines + len(story.lines) - len(kept))
    return replace(story, statements=story.statements[:-1], more_statements=story.more_statements + 1)


def _written(story: Story) -> str:
    found: dict[str, Any] = {}
    if story.statements:
        found["statements"] = [
            [one.digest, one.text[:LONGEST_TEXT], one.place, one.times, one.total_us, one.longest_us]
            for one in story.statements
        ]
    if story.more_statements:
        found["more_statements"] = story.more_statements
    if story.calls:
        found["calls"] = [[one.method, one.host, one.times, one.total_us, one.longest_us] for one in story.calls]
    if story.more_calls:
        found["more_calls"] = story.more_calls
    if story.lines:
        found["lines"] = [[line.level, line.logger, line.text] for line in story.lines]
    if story.more_lines:
        found["more_lines"] = story.more_lines
    if story.trace:
        found["trace"] = story.trace
    return _encode(found)


_encode = json.JSONEncoder(separators=(",", ":")).encode


def load(text: object) -> Story:
    """The story in a stored text. What is none of ours in it, or all of it, is passed over: anybody may write that column."""
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return Story()
    if not isinstance(found, dict):
        return Story()
    return Story(
        statements=tuple(Statement(*row) for row in _rows(found.get("statements"), (str, str, _PLACE, int, int, int))),
        calls=tuple(Call(*row) for row in _rows(found.get("calls"), (str, str, int, int, int))),
        more_statements=_count(found.get("more_statements")),
        more_calls=_count(found.get("more_calls")),
        lines=tuple(Line(*row) for row in _rows(found.get("lines"), (str, str, str), MOST_LINES)),
        more_lines=_count(found.get("more_lines")),
        trace=trace if isinstance(trace := found.get("trace"), str) else None,
    )


_PLACE = (str, type(None))


def _rows(found: object, kinds: tuple[Any, ...], most: int = MOST) -> list[list[Any]]:
    """Those of `found` that are rows of these kinds."""
    rows = found if isinstance(found, list) else []
    return [row for row in rows[:most] if isinstance(row, list) and _fits(row, kinds)]


def _fits(row: list[Any], kinds: tuple[Any, ...]) -> bool:
    return len(row) == len(kinds) and all(
        isinstance(value, kind) and (kind is not int or _is_count(value))
        for value, kind in zip(row, kinds, strict=True)
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _count(found: object) -> int:
    return int(found) if _is_count(found) and isinstance(found, int) else 0
