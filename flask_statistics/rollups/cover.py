"""Which stored segments answer for a span: those whose measures are summed as they are, and detailed ones for the rest of it.

Together they tile the span: each instant of it that is rolled up is in one of them for each audience, and in one only.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from ..spans import midnight, next_edge, to_local
from .store import Header
from .tables import DAY, HOUR, MONTH, PIECE

ANY, SETS, MONTHS = range(3)
"""Which stored measures answer: those of any segment; those that have the sets of values, which are taken from days when
their month is merged; those of months, which alone have them of dimensions with many values."""


Period = tuple[datetime, datetime]
"""Start and end, naive UTC, the end excluded."""


@dataclass(frozen=True, slots=True)
class Slice:
    """What of a detailed segment answers."""

    header: Header
    ranges: list[Period]
    whole: bool
    """Whether that is all of it."""


def cover(
    start: datetime,
    end: datetime,
    found: Sequence[Header],
    *,
    until: datetime,
    zone: ZoneInfo,
    stored: bool = True,
    edges: Sequence[datetime] = (),
    granularity: int = ANY,
) -> tuple[list[Header], list[Slice]]:
    """The segments of `found` that answer from `start` to `end`: those whose measures are stored, and slices of detailed ones.

    `until`: how far is rolled up. Unless `stored`, there are only detailed ones. With `edges`, no stored segment crosses
    one of them. `granularity`: `ANY`, `SETS` or `MONTHS`.
    """
    chosen: list[Period] = []
    whole: list[Header] = []
    if stored and start < end:
        chosen = _whole_periods(start, end, found, edges, zone, granularity)
        within = set(chosen)
        whole = [header for header in found if (header.start, min(header.end, until)) in within]
    slices = []
    for header in found:
        if header.detailed:
            ranges = minus(max(start, header.start), min(end, header.end), chosen)
            if ranges:
                all_of_it = ranges in ([(header.start, header.end)], [(header.start, until)])
                slices.append(Slice(header, ranges, all_of_it))
    return whole, slices


def _whole_periods(
    start: datetime, end: datetime, found: Sequence[Header], edges: Sequence[datetime], zone: ZoneInfo, granularity: int
) -> list[Period]:
    """The merged months, closed days and, today, hours that lie within and have what is needed, none within another."""
    cuts = sorted(edges)

    def is_whole(since: datetime, until: datetime) -> bool:
        return bisect_right(cuts, since) == bisect_left(cuts, until)

    merged = sorted(
        {
            (h.start, h.end)
            for h in found
            if h.unit == MONTH and start <= h.start and h.end <= end and is_whole(h.start, h.end)
        }
    )
    if granularity == MONTHS:
        return merged
    merged_days = {h.start for h in found if h.unit == DAY and not h.detailed} if granularity == SETS else set()
    hourly = [h for h in found if h.unit in (PIECE, HOUR)]
    in_hours = {midnight(to_local(h.start, zone).date(), zone) for h in hourly}
    stored = {h.start for h in hourly if h.unit == HOUR}
    chosen: list[Period] = list(merged)
    gaps = minus(start, end, merged)
    for since, until in gaps:
        at = since
        while at < until:
            following = next_edge(at, "day", zone)
            begins = midnight(to_local(at, zone).date(), zone)
            if begins == at and following <= until and begins not in in_hours and begins not in merged_days:
                if is_whole(at, following):
                    chosen.append((at, following))
            elif begins in in_hours:
                hour = next_edge(at, "hour", zone)
                if at in stored and hour <= until and is_whole(at, hour):  # of pieces of hours the contents answer
                    chosen.append((at, hour))
                following = hour
            at = following
    return sorted(chosen)


def minus(start: datetime, end: datetime, taken: Sequence[Period]) -> list[Period]:
    """What of the period is in none of the periods `taken`, which rise."""
    rest = []
    for since, until in taken:
        if until <= start or since >= end:
            continue
        if since > start:
            rest.append((start, since))
        start = max(start, until)
    if start < end:
        rest.append((start, end))
    return rest
