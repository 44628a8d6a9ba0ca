"""The end of a process, and a fork of it: what the writers of all spools of a process do then."""

from __future__ import annotations

import atexit
import os
import signal
import threading
import weakref
from functools import cache
from typing import Protocol

from ... import forks


class Ending(Protocol):
    """A writer that has something at stake when its process ends or forks."""

    def close(self) -> None:
        """Move what can be moved in a short time, and end."""

    def hurry(self) -> None:
        """Move what waits, in a signal handler: without a lock."""

    def forked(self) -> None:
        """Begin anew in a new process: threads, locks and files are the parent's."""


_writers: weakref.WeakSet[Ending] = weakref.WeakSet()
_register = threading.Lock()
importing = threading.Lock()
"""Held while a thread imports, so that no fork leaves halves of modules."""


def note(writer: Ending) -> None:
    """Have `writer` take part from now on."""
    with _register:
        _writers.add(writer)
    forks.expect()


@cache
def stop_at_exit() -> None:
    """Close all writers at the end of the process."""
    atexit.register(_stop_all)


def _stop_all() -> None:
    with _register:
        writers = list(_writers)
    for writer in writers:
        writer.close()


def stop_at_sigterm() -> None:
    """Let SIGTERM have a last move before it ends the process, if nobody handles it: else that is the end at once.

    A server's own handler ends the process in an orderly way, as gunicorn's does, and is left alone.
    """
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _on_sigterm)


def _on_sigterm(number: int, _frame: object) -> None:
    for writer in list(_writers):
        writer.hurry()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _before_fork() -> None:
    importing.acquire()
    _register.acquire()


def _after_fork() -> None:
    for lock in (_register, importing):
        if lock.locked():  # some servers tell the child alone
            lock.release()


def _after_fork_in_child() -> None:
    _after_fork()
    for writer in list(_writers):
        writer.forked()


forks.at(forks.Step.WRITERS, before=_before_fork, in_parent=_after_fork, in_child=_after_fork_in_child)
