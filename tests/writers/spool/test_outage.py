"""An outage: when it is tried again, what the log says of it, and what others can read."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from flask_statistics.writers.spool import outage, times
from flask_statistics.writers.spool.lines import FIELDS
from flask_statistics.writers.spool.outage import Failure, Outage
from flask_statistics.writers.spool.own import OwnSpool

GONE = Failure("OperationalError: \x1bgone", "Start it.")


class Clock:
    """Seconds that a test sets."""

    now = 1_000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    monkeypatch.setattr(Clock, "now", Clock.now)
    monkeypatch.setattr(outage, "time", SimpleNamespace(monotonic=lambda: Clock.now))
    return Clock


@pytest.fixture
def own(tmp_path: Path) -> Iterator[OwnSpool]:
    spool = OwnSpool(tmp_path / "spool.sqlite")
    spool.claim(FIELDS)
    yield spool
    spool.close()


def of(own: OwnSpool) -> Outage:
    assert own.path is not None
    return Outage(own, folder=own.path.parent, most_rows=12_345, logger=logging.getLogger("shop"))


def test_an_outage_is_said_once_when_it_begins_and_once_when_it_ends(
    own: OwnSpool, clock: type[Clock], caplog: pytest.LogCaptureFixture
) -> None:
    present = of(own)
    present.begin(GONE)
    clock.now += 40
    present.begin(GONE)
    assert present.lasts
    assert own.trouble() == "OperationalError: gone Start it."
    clock.now += 2
    present.end()
    present.end()
    assert not present.lasts
    assert own.trouble() is None
    first, last = caplog.messages
    assert "OperationalError: gone. Start it." in first
    assert "fewer than 12,345 wait" in first
    assert "again, after 42 s" in last


def test_an_outage_that_is_over_soon_is_not_said(
    own: OwnSpool, clock: type[Clock], caplog: pytest.LogCaptureFixture
) -> None:
    present = of(own)
    short = Failure("locked", "Wait.", said_after=10)
    present.begin(short)
    clock.now += 9.9
    present.begin(short)
    present.end()
    assert not caplog.messages
    present.begin(short)
    clock.now += 10
    present.begin(short)
    assert len(caplog.messages) == 1


def test_it_is_tried_again_later_and_later(own: OwnSpool, clock: type[Clock]) -> None:
    present = of(own)
    shortest, longest = times.BACK_OFF_S
    pauses = []
    for _ in range(20):
        present.tried()
        present.begin(GONE)
        pauses.append(present.due(asked=False) - clock.now)
        assert present.due(asked=True) == clock.now + min(1.0, pauses[-1])
        clock.now += 5
    assert pauses[:3] == [shortest, 2 * shortest, 4 * shortest]
    assert pauses[-1] == longest
    present.end()
    present.tried()
    assert present.due(asked=False) == clock.now
