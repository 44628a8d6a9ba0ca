"""Which rows of a partitioned raw table can go together."""

from __future__ import annotations

from datetime import datetime

from ..databases.base import Partition


def before(found: list[Partition], limit: datetime) -> datetime:
    """`limit`, or the start of the partition that it falls into: its rows wait until all of them are too old."""
    return min(
        [limit, *(partition.start for partition in found if partition.end > limit and partition.start is not None)]
    )
