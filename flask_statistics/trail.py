"""The trail: who opened a single request, exported, changed or forgot something, as a signal and a line of the log.

The signal is `statistics_accessed`, the logger `flask_statistics.trail`; a host keeps what it must, where it wants. Nothing else
of readers is kept, and nothing is stored here.
"""

from __future__ import annotations

import getpass
import logging
from dataclasses import dataclass

from blinker import Namespace
from flask import Flask, has_request_context, request
from flask.logging import default_handler, has_level_handler

from . import guards
from .addresses import normal

LOGGER = "flask_statistics.trail"
COMMAND_LINE = "command line"

statistics_accessed = Namespace().signal("statistics-accessed")
"""Sent by the app with `access`, an `Access`."""


@dataclass(frozen=True, slots=True)
class Access:
    """One thing that somebody did."""

    action: str
    """opened, exported, changed or forgot."""
    what: str
    """What it was done to, such as `request 17`. No address of a visitor is in it."""
    guard: str
    """Name of the guard that let them in; `command line` for a command."""
    user: str | None
    """User, or the token's label; of a command, the user of the system. None: not known."""
    address: str | None
    """Theirs; None: not known."""


def start() -> None:
    """Let the lines be seen unless the host says otherwise: at its default level, Python drops them."""
    logger = logging.getLogger(LOGGER)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    if not has_level_handler(logger):
        logger.addHandler(default_handler)


def note(app: Flask, action: str, what: str) -> None:
    """Tell the signal and the log that whoever makes the present request, or command, did `action` to `what`."""
    if has_request_context():
        reader = guards.reader()
        access = Access(action, what, reader.guard, reader.name, normal(request.remote_addr))
    else:
        access = Access(action, what, COMMAND_LINE, _system_user(), None)
    logging.getLogger(LOGGER).info(
        "%s %s by %s from %s (%s)",
        access.action,
        _printable(access.what),
        "an unknown user" if access.user is None else _printable(access.user),
        access.address or "here",
        access.guard,
    )
    statistics_accessed.send(app, access=access)


def _system_user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user without a name
        return None


def _printable(text: str) -> str:
    return "".join(filter(str.isprintable, text))[:500]
