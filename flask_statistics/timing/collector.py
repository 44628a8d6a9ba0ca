"""What one request has waited for so far: each statement and each call, by kind and place, and how long each time took.

The listeners put in what they see; the recorder takes it out when the request ends.
"""

from __future__ import annotations

from contextvars import ContextVar
from types import CodeType

from .fingerprint import Fingerprint
from .story import MOST_LINES

MOST_KINDS = 500
"""Kinds of statements, and of calls, that are told apart in one request; the others count as one."""
MOST_TIMES = 10_000
"""Times of one kind that are kept each for itself; what comes after counts, and is in the sums."""
LONGEST_LINE = 1_000
"""Characters of a line of the log."""
LONGEST_HELD = 2_000
"""Characters of one until secrets are taken out of it: what is cut in the midst of one is not known again."""


class Source:
    """A kind of statement, sent from one place, and how that is known again without a look at all frames."""

    __slots__ = ("code", "depth", "fingerprint", "instruction", "place")

    def __init__(
        self, fingerprint: Fingerprint, place: str | None, depth: int, code: CodeType | None, instruction: int
    ):
        self.fingerprint = fingerprint
        self.place = place
        """`shop/views.py:41`; None: no frame is the app's."""
        self.depth = depth
        """How many frames above the listener the one is that was found."""
        self.code = code
        """What runs in it; None: no frame was found."""
        self.instruction = instruction
        """Which part of the code."""


OTHERS = Source(Fingerprint("", "(others)"), None, 0, None, 0)
"""What is beyond `MOST_KINDS`."""


class Times(list[int]):
    """How long something took each time, in microseconds: the first `MOST_TIMES`, and the sums of what came after.

    It is a list, as one is made for each kind of statement of each request.
    """

    times_beyond = 0
    total_beyond = 0
    longest_beyond = 0

    def add(self, microseconds: int) -> None:
        """Count one time."""
        if len(self) < MOST_TIMES:
            self.append(microseconds)
        else:
            self.times_beyond += 1
            self.total_beyond += microseconds
            self.longest_beyond = max(self.longest_beyond, microseconds)

    @property
    def times(self) -> int:
        """How many."""
        return len(self) + self.times_beyond

    @property
    def total_us(self) -> int:
        """All of them together."""
        return sum(self) + self.total_beyond

    @property
    def longest_us(self) -> int:
        """The longest."""
        return max(max(self, default=0), self.longest_beyond)


class Collector:
    """What one request has waited for."""

    __slots__ = ("calls", "counts_calls", "lines", "more_lines", "owner", "statements")

    def __init__(self, owner: object, *, counts_calls: bool = False, keeps_lines: bool = False) -> None:
        self.owner: object | None = owner
        """Whose request it is; None: it is over, and what a thread of it still does is not counted."""
        self.counts_calls = counts_calls
        """Whether calls to other servers are counted."""
        self.statements: dict[Source, Times] = {}
        self.calls: dict[tuple[str, str], Times] = {}
        """By method and host."""
        self.lines: list[tuple[str, str, str]] | None = [] if keeps_lines else None
        """Level, logger and text, with its secrets, of what was logged, the first `MOST_LINES`; None: they are not kept."""
        self.more_lines = 0
        """How many came after these."""

    def log(self, level: str, logger: str, text: str) -> None:
        """Keep a line of the log, where lines are kept."""
        if self.lines is not None and len(self.lines) < MOST_LINES:
            self.lines.append((level, logger, text[:LONGEST_HELD]))
        else:
            self.more_lines += 1

    def sent(self, source: Source) -> Times:
        """Where times of statements of a source are counted."""
        if source not in self.statements and len(self.statements) >= MOST_KINDS:
            source = OTHERS
        return self.statements.setdefault(source, Times())

    def called(self, method: str, host: str) -> Times:
        """Where times of calls by `method` to `host` are counted."""
        key = (method, host)
        if key not in self.calls and len(self.calls) >= MOST_KINDS:
            key = ("", OTHERS.fingerprint.text)
        return self.calls.setdefault(key, Times())


CURRENT: ContextVar[Collector | None] = ContextVar("flask_statistics_collector", default=None)
"""Of the request that this context is in; None: of none. A thread that a view starts has a context of its own."""
