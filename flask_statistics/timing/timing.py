"""What the requests of one app wait for: collects it while a request lasts, and puts sums and story into its record."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from .. import masking
from ..caller import Files
from ..record import Record
from ..sending import CountedBody
from . import log_lines, outgoing, story
from .collector import CURRENT, LONGEST_HELD, LONGEST_LINE, Collector, Source, Times
from .statements import Listener
from .story import Call, Line, Statement, Story

Keep = Callable[[str | None, Mapping[Source, Times]], None]


class Timing:
    """What the requests of one app wait for. Nothing of it is there where nothing is to be measured."""

    def __init__(
        self,
        root_path: str,
        *,
        calls: bool,
        lines: bool = False,
        logger: logging.Logger,
        engines: Callable[[], Mapping[str | None, sa.Engine]] | None = None,
        keep: Keep = lambda route, statements: None,
    ) -> None:
        """`engines` gives all engines of the app, and those that come later; None: statements are not measured.

        `calls`: those to other servers are. `lines`: those of the log are kept. `keep` is told what each request that is
        recorded sent, and its route.
        """
        self._files = Files(root_path)
        self._ask_engines = engines
        self._engines: Mapping[str | None, sa.Engine] | None = None
        self._calls = calls
        self._lines = lines
        self._logger = logger
        self._keep = keep
        self._failed = False
        """Whether it was logged that there are no engines."""
        self._listeners: dict[int, Listener] = {}
        self._lock = threading.Lock()

    # ---- while a request lasts -----------------------------------------------------------------------------------

    def begin(self) -> Collector:
        """What collects for a request that begins."""
        if self._ask_engines is not None:
            self._listen(self._ask_engines)
        if self._calls:
            outgoing.watch()
        if self._lines:
            log_lines.watch()
        return Collector(self, counts_calls=self._calls, keeps_lines=self._lines)

    def _listen(self, ask: Callable[[], Mapping[str | None, sa.Engine]]) -> None:
        """Listen to engines that are new."""
        if self._engines is None:
            try:
                self._engines = ask()
            except Exception:  # of the host's making, and nothing that a request must fail at
                if not self._failed:
                    self._failed = True
                    self._logger.exception(
                        "Flask-Statistics cannot ask for the app's engines, so statements are not measured."
                    )
                return
        engines, listeners = [*self._engines.values()], self._listeners
        # not how many there are: a host may put another one in the place of one
        if all((found := listeners.get(id(each))) is not None and found.is_alone() for each in engines):
            return
        with self._lock:
            for engine in engines:
                if id(engine) not in self._listeners:
                    self._listeners[id(engine)] = Listener(engine, owner=self, files=self._files, end=_END)
            for listener in self._listeners.values():
                if not listener.is_alone():
                    listener.attach()

    def answer(self, collector: Collector, serve: Callable[..., Any], *arguments: Any) -> Any:
        """What `serve` returns; what it waits for is in `collector`."""
        token = CURRENT.set(collector)
        try:
            return serve(*arguments)
        finally:
            CURRENT.reset(token)

    def body(self, body: Iterable[bytes], collector: Collector) -> Iterable[bytes]:
        """`body`, which may wait for something while it is sent."""
        # another one is a file, which the server must know again
        return CollectedBody(body, self, collector) if isinstance(body, CountedBody) else body

    # ---- its record ----------------------------------------------------------------------------------------------

    def note(self, record: Record, collector: Collector, secrets: Callable[[], list[str]]) -> Story:
        """Put into `record` what its request waited for; the story of it. Nothing more is counted then.

        `secrets` are texts that came as secrets with the request: a line of the log may quote them.
        """
        collector.owner = None
        # a thread with this context may be in the midst of a statement, and count it later
        statements, calls = dict(collector.statements), dict(collector.calls)
        if self._engines is not None:
            record.db_time, record.db_queries = _sums(statements.values())
        if self._calls:
            record.http_time, record.http_calls = _sums(calls.values())
        found = _story(statements, calls) if statements or calls else NOTHING
        if collector.lines:
            sent = secrets()
            lines = [
                Line(level, name, masking.line(text, sent, is_cut=len(text) == LONGEST_HELD)[:LONGEST_LINE])
                for level, name, text in collector.lines
            ]
            found = replace(found, lines=tuple(lines), more_lines=collector.more_lines)
        return found

    def keep(self, record: Record, collector: Collector) -> None:
        """Count the statements of a request that is recorded."""
        if collector.statements:
            self._keep(record.route, dict(collector.statements))  # added up in another thread


NOTHING = Story()
_END = Timing.answer.__code__


class CollectedBody:
    """A body that is sent piece by piece, and what it waits for meanwhile counted."""

    def __init__(self, body: CountedBody, timing: Timing, collector: Collector) -> None:
        self._body = body
        self._timing = timing
        self._collector = collector

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk: bytes = self._timing.answer(self._collector, next, self._body)
        return chunk

    def close(self) -> None:
        """Close the body."""
        self._timing.answer(self._collector, self._body.close)


def _sums(found: Iterable[Times]) -> tuple[float, int]:
    """Seconds and how many."""
    total_us = times = 0
    for each in found:
        total_us += sum(each) + each.total_beyond
        times += len(each) + each.times_beyond
    return total_us / 1_000_000, times


def _is_worth_telling(found: Collection[Times]) -> bool:
    """Whether any of them may be; most requests send a few quick statements, and need no story for that."""
    seconds, times = _sums(found)
    return seconds * 1_000_000 >= story.LEAST_US or times >= story.MANY


def _story(statements: Mapping[Source, Times], calls: Mapping[tuple[str, str], Times]) -> Story:
    """What is worth telling: what took long, or came many times."""
    if not _is_worth_telling(statements.values()) and not _is_worth_telling(calls.values()):
        return Story(more_statements=len(statements), more_calls=len(calls))
    merged: dict[tuple[str, str | None], list[Times]] = {}
    texts: dict[str, str] = {}
    for source, times in statements.items():
        fingerprint = source.fingerprint
        texts[fingerprint.digest] = fingerprint.text
        merged.setdefault((fingerprint.digest, source.place), []).append(times)
    sent = []
    for (digest, place), every in merged.items():
        sums = sum(each.times for each in every), sum(each.total_us for each in every)
        sent.append(Statement(digest, texts[digest], place, *sums, max(each.longest_us for each in every)))
    called = [Call(*key, each.times, each.total_us, each.longest_us) for key, each in calls.items()]
    told, more = story.worth_telling(sent)
    told_calls, more_calls = story.worth_telling(called)
    return Story(told, told_calls, more, more_calls)
