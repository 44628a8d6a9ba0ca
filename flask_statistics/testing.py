"""For the tests of an app that uses Flask-Statistics: what would be recorded, in memory; quiet; and failures that are heard.

In a `conftest.py`, ``pytest_plugins = ["flask_statistics.testing"]`` gives the fixture `statistics`, which needs a fixture
`app`, as pytest-flask has it. Where a fixture does not fit, the context managers do the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask

from .models import RawTable
from .record import Record, Writer
from .recorder import Recorder
from .state import state_of
from .writers.rows import row_of


class RecordedRequest(SimpleNamespace):
    """One request as it would have been stored: an attribute for each column of the model that we fill."""

    def __repr__(self) -> str:
        shown = (vars(self).get(name) for name in ("method", "path", "status_code"))
        return f"<{' '.join(str(value) for value in shown if value is not None)}>"


class _Nothing(Writer):
    """A writer that keeps nothing."""

    def write(self, record: Record, *, host_in_transaction: bool) -> int:
        return 0


class InMemory(_Nothing):
    """A writer that keeps rows in `requests`, in the order in which the requests ended."""

    def __init__(self, raw: RawTable) -> None:
        self.requests: list[RecordedRequest] = []
        self._raw = raw

    def write(self, record: Record, *, host_in_transaction: bool) -> int:
        """Keep it."""
        row = row_of(record, self._raw)
        self.requests.append(RecordedRequest(**{name: row[key] for name, key, _ in self._raw.fits if key in row}))
        return 1


@contextmanager
def recording(app: Flask) -> Iterator[InMemory]:
    """Requests of `app` go into `requests` of what this gives, and not into the database. A failure to record raises."""
    memory = InMemory(state_of(app).raw)
    with _recorder(app).replaced(writer=memory, loud=True):
        yield memory


@contextmanager
def loud(app: Flask) -> Iterator[None]:
    """Requests are recorded as ever, but a failure to record one raises, out of the client's call that made it."""
    with _recorder(app).replaced(loud=True):
        yield


@contextmanager
def quiet(app: Flask) -> Iterator[None]:
    """Requests are not recorded. For a whole app, ``STATISTICS_ENABLED = False`` does the same."""
    with _recorder(app).replaced(writer=_Nothing()):
        yield


@pytest.fixture
def statistics(app: Any) -> Iterator[InMemory]:
    """What the app's requests would have been stored as: ``statistics.requests[-1].path == "/"``."""
    with recording(app) as memory:
        yield memory


def _recorder(app: Flask) -> Recorder:
    recorder = state_of(app).recorder
    if recorder is None:
        raise RuntimeError("STATISTICS_ENABLED is False, so this app records nothing. Leave it True in these tests.")
    return recorder
