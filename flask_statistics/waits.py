"""What a request waited for: the columns that hold it, and which of them are there to be asked for. Pure.

They are measured as the response time is, but where nothing fills a column nobody is shown, or pays for, what it would hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .config import Settings
from .latency import COUNT_EDGES, EDGES, middle, middle_of_counts
from .models import RawTable


@dataclass(frozen=True, slots=True)
class Wait:
    """One column of what requests waited for."""

    name: str
    """Attribute of the model, and what answers call it."""
    setting: str
    """What must be True for it to be filled: a field of `Settings`."""
    counts: bool
    """Whether it holds counts, and not seconds."""

    @property
    def edges(self) -> tuple[float, ...]:
        """Lower edges of its bins from 1 on."""
        return COUNT_EDGES if self.counts else EDGES

    def middle(self, number: int) -> float:
        """What stands for all values in bin `number`."""
        return (middle_of_counts if self.counts else middle)(number)


WAITS: Mapping[str, Wait] = {
    wait.name: wait
    for wait in (
        Wait("db_time", "queries", counts=False),
        Wait("db_queries", "queries", counts=True),
        Wait("http_time", "outgoing", counts=False),
        Wait("http_calls", "outgoing", counts=True),
    )
}
"""All that are known."""


def offered(settings: Settings, raw: RawTable) -> tuple[str, ...]:
    """Those that the model has and that the settings have filled, by this process or, where it does not record, by another."""
    return tuple(wait.name for wait in WAITS.values() if raw.has(wait.name) and getattr(settings, wait.setting))
