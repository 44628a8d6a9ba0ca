"""Times each statement on an app's engines, by SQLAlchemy's events, and puts it into the collector of the request.

On the engines of the host alone: ours share the events, but not the pool. Counted is the time until the driver has executed a
statement, failed ones as well; rows that are fetched later are not in it. `executemany` is one statement.

The events of a dialect (`do_execute`) and not those of a connection (`before_cursor_execute`): these make SQLAlchemy prepare
more for each statement, which takes longer than all that is done here, and tell nobody of a statement that is interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable
from hashlib import sha256
from time import perf_counter_ns
from types import CodeType
from typing import Any, Literal

import sqlalchemy as sa

from ..caller import Files
from .collector import CURRENT, MOST_KINDS, MOST_TIMES, Source, Times
from .fingerprint import fingerprint, not_understood, rules_of

MOST_KNOWN = 2_000
"""Texts, and texts from places, after which those that were sent longest ago are forgotten."""
LONGEST_KNOWN = 2_000
"""Characters of a text that is kept in memory to know it again; of a longer one its hash is."""
NEAREST = 3
"""Frames above a listener that are SQLAlchemy's in any case."""

Handled = Literal[True] | None


class Sources:
    """Where statements came from lately, by their text. Two generations, as for them no order has to be kept, and so no lock."""

    def __init__(self) -> None:
        self.recent: dict[Hashable, Source] = {}
        self._before: dict[Hashable, Source] = {}

    def get(self, key: Hashable) -> Source | None:
        """The one kept as `key`: a text, from where it was sent last, or a text and a place; None: it is not known."""
        return self.recent.get(key) or self._before.get(key)

    def keep(self, key: Hashable, source: Source) -> None:
        """Know it from now on."""
        if len(self.recent) >= MOST_KNOWN:
            self._before, self.recent = self.recent, {}
        self.recent[key] = source


class Listener:
    """Times what requests of `owner` send over one engine."""

    def __init__(self, engine: sa.Engine, *, owner: object, files: Files, end: CodeType) -> None:
        """`end` is what runs in the last frame that can be the app's."""
        self._engine = engine
        self._owner = owner
        self._files = files
        self._end = end
        self._rules = rules_of(engine.dialect.name)
        self._sources = Sources()
        without = self._timing(
            lambda cursor, statement, _, context: engine.dialect.do_execute_no_params(cursor, statement, context)
        )
        self._listeners: dict[str, Callable[..., Handled]] = {
            "do_execute": self._timing(engine.dialect.do_execute),
            "do_executemany": self._timing(engine.dialect.do_executemany),
            "do_execute_no_params": lambda cursor, statement, context: without(cursor, statement, (), context),
        }
        self._events: tuple[Any, ...] = ()
        self._listening = -1
        """How many listeners there were when it began, this one among them; -1: it has not begun."""

    def attach(self) -> None:
        """Begin; or be the last again, so that others are asked, too: whoever says that it is executed ends the asking."""
        dialect = self._engine.dialect
        for name, listener in self._listeners.items():
            if sa.event.contains(dialect, name, listener):
                sa.event.remove(dialect, name, listener)
            sa.event.listen(dialect, name, listener)
        self._events = dialect.dispatch.do_execute, dialect.dispatch.do_executemany
        self._listening = self._count()

    def is_alone(self) -> bool:
        """Whether nobody else began to listen after this one."""
        return self._count() == self._listening

    def _count(self) -> int:
        return sum(map(len, self._events))

    def _timing(self, execute: Callable[..., Any]) -> Callable[..., Handled]:
        """What executes statements by `execute`, as SQLAlchemy would, and takes the time."""
        engine, owner, sources, frame_at = self._engine, self._owner, self._sources, sys._getframe

        # called for each statement of the host, so it looks little up, and calls nothing in most cases
        def timed(cursor: Any, statement: Any, parameters: Any, context: Any) -> Handled:
            collector = CURRENT.get()
            if collector is None or collector.owner is not owner or context is None:
                return None
            connected = context.root_connection.engine
            if (connected is not engine and connected.pool is not engine.pool) or not isinstance(statement, str):
                return None
            began = perf_counter_ns()
            try:
                execute(cursor, statement, parameters, context)
            except BaseException:
                took = (perf_counter_ns() - began) // 1000
                collector.sent(self._source(statement, failed=True)).add(took)
                raise
            took = (perf_counter_ns() - began) // 1000
            source = sources.recent.get(statement)
            if source is not None:
                try:
                    frame = frame_at(source.depth)
                except ValueError:  # there are not so many frames
                    source = None
                else:
                    if frame.f_lasti != source.instruction or frame.f_code is not source.code:
                        source = None
            if source is None:
                source = self._source(statement)
            statements = collector.statements
            times = statements.get(source)
            if times is None and len(statements) < MOST_KINDS:
                statements[source] = Times((took,))
            elif times is None or len(times) >= MOST_TIMES:
                collector.sent(source).add(took)
            else:
                times.append(took)
            return True

        return timed

    def _source(self, statement: str, *, failed: bool = False) -> Source:
        """The source of a statement whose listener calls this. Of one that failed, the text is not believed to be SQL."""
        place, depth, code, instruction = self._files.find(sys._getframe(NEAREST + 1), NEAREST, self._end)
        text = _key_of(statement)
        known = self._sources.get(text)
        if known is not None:
            found = known.fingerprint
        else:
            found = not_understood(statement) if failed else fingerprint(statement, self._rules)
        key = (found.text if failed and known is None else text, id(code), instruction)
        source = self._sources.get(key)
        if source is None:
            source = Source(found, place, depth, code, instruction)
            self._sources.keep(key, source)
        if known is not None or not failed:
            self._sources.keep(text, source)
        return source


def _key_of(statement: str) -> str | bytes:
    """By what a text is known again: without a comment at its end, which some tools write anew for each request."""
    if statement.endswith("*/"):
        statement = statement.rpartition("/*")[0]
    return statement if len(statement) <= LONGEST_KNOWN else sha256(statement.encode("utf-8", "surrogatepass")).digest()
