"""What the job did, and what it left as it was. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(slots=True)
class Report:
    """What a run did."""

    seconds: float = 0.0
    """What it took to bring the last two days up to date, history not counted."""

    built: int = 0
    """Pieces, hours and days built from raw rows."""
    merged: int = 0
    """Hours, days and months merged."""
    raw_deleted: int = 0
    """Raw rows deleted because of their age."""
    kept: dict[datetime, str] = field(default_factory=dict)
    """Periods that differ from their raw rows and are kept as they are, as too few of these are left: start and why."""
    complete: bool = True
    """Whether all of history is rolled up; False: the next run goes on."""
    remaining_from: datetime | None = None
    """What is not rolled up yet begins here, naive UTC; None if complete."""
