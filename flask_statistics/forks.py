"""What a fork of the process means for us: one hook, in which all that have something at stake take part in a fixed order.

Importing a module only says what it does then (`at`); the hook itself comes with what is first at stake (`expect`).
"""

from __future__ import annotations

import enum
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass

import sqlalchemy as sa

from . import databases

LONGEST_WAIT_S = 5.0
"""How long a fork waits for transactions of our threads on SQLite."""


class Step(enum.IntEnum):
    """Who takes part. Before a fork in this order, after it from the last to the first, in parent and child."""

    TRANSACTIONS = enum.auto()  # first, as a thread may need any of the locks that follow to end its transaction
    PATIENCE = enum.auto()
    PROCESSES = enum.auto()
    WRITERS = enum.auto()  # in the child they close their files, whose locks must be free by then
    MOVERS = enum.auto()
    FOLDERS = enum.auto()
    FILES = enum.auto()


@dataclass(frozen=True)
class _Part:
    before: Callable[[], None] | None
    in_parent: Callable[[], None] | None
    in_child: Callable[[], None] | None


_parts: dict[Step, _Part] = {}
_registered = False
_registering = threading.Lock()


def at(
    step: Step,
    *,
    before: Callable[[], None] | None = None,
    in_parent: Callable[[], None] | None = None,
    in_child: Callable[[], None] | None = None,
) -> None:
    """Say what is done before and after each fork from now on."""
    _parts[step] = _Part(before, in_parent, in_child)


def expect() -> None:
    """Take part in forks from now on: to be called before something is at stake, and before a thread is `unforked`.

    A fork that is under way when the thread comes to it, as it waits for something else, would not wait for it any more.
    """
    global _registered
    if _registered:
        return
    with _registering:
        if not _registered and hasattr(os, "register_at_fork"):
            os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
        _registered = True


def _before() -> None:
    _run([part.before for _, part in sorted(_parts.items())])


def _in_parent() -> None:
    _run([part.in_parent for _, part in sorted(_parts.items(), reverse=True)])


def _in_child() -> None:
    _run([part.in_child for _, part in sorted(_parts.items(), reverse=True)])


def _run(some: list[Callable[[], None] | None]) -> None:
    """Run all of them, also if one fails."""
    with ExitStack() as stack:
        for one in reversed(some):
            if one is not None:
                stack.callback(one)


# ---- transactions ----------------------------------------------------------------------------------------------------


class _Transactions:
    """Lets a fork wait until no thread is inside."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self._changed = threading.Condition()
        self._inside: set[int] = set()
        self._waiting = False

    def is_awaited(self) -> bool:
        return self._waiting

    def __enter__(self) -> None:
        expect()
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting)
            self._inside.add(threading.get_ident())

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._inside.discard(threading.get_ident())
            self._changed.notify_all()

    def step_aside(self) -> None:
        if threading.get_ident() in self._inside:
            self.__exit__()
            self.__enter__()

    def wait(self) -> None:
        with self._changed:
            self._waiting = True
            # not for ever: what is inside may itself wait for whoever forks
            self._changed.wait_for(lambda: not self._inside - {threading.get_ident()}, LONGEST_WAIT_S)

    def over(self) -> None:
        with self._changed:
            self._waiting = False
            self._changed.notify_all()


_transactions = _Transactions()
at(Step.TRANSACTIONS, before=_transactions.wait, in_parent=_transactions.over, in_child=_transactions.renew)


def unforked(engine: sa.Engine) -> AbstractContextManager[None]:
    """Around a transaction of a thread of ours: the process is not forked within it, where that would do harm.

    SQLite counts the locks of a process in its memory, so a child that is forked while a thread holds one finds the
    database locked for as long as it lives, for the host as for us.
    """
    return _transactions if databases.of(engine).fork_waits_for_transactions else nullcontext()


def let_fork() -> None:
    """Let a fork that waits for this thread go on, between two transactions within `unforked`."""
    _transactions.step_aside()


def is_awaited() -> bool:
    """Whether a fork waits, or is under way, right now."""
    return _transactions.is_awaited()
