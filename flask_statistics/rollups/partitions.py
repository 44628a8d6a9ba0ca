"""Which rows of a partitioned raw table can go together."""

from __future__ import annotations

from datetime import datetime

from ..databases.base import Partition


def before(parts: list[Partition], limit: datetime) -> datetime:
    """`limit`, or the start of the partition that it falls into: its rows wait until all of them are too old."""
    return min([limit, *(part.start for part in parts if part.end > limit and part.start is not None)])
