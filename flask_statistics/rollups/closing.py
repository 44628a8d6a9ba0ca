"""Merges what is over: pieces into hours, hours into days, days into months. Reads and writes the rollup tables.

What is over is decided by how far raw rows reach that are rolled up. What cannot be merged, because it is not what the hours
were built from, is built from its raw rows; where these are gone, it is kept, and the report says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from ..spans import Span, next_edge
from . import store
from .building import RowsGone, Unsound, all_there, build_day, build_piece, hour_of, merge, merge_pieces, rows_noted
from .holder import Holder
from .meta import RECOUNTED, coverage
from .report import Report
from .store import Header
from .tables import BOTS, DAY, HOUR, MONTH, PEOPLE, PIECE

MOST_JOINED = 1_000_000
"""Requests of one audience and month whose days are joined: some 100 bytes of memory each while they are measured."""
JOINED_AFTER = timedelta(days=62)
"""How long ago a month has ended when its days are joined: until then, spans of some of its days are answered faster by days."""
MOST_PIECES, MERGED_PIECES = 24, 8
"""An hour with more pieces than the first has so many neighbours merged into one: those with the fewest requests."""


def close(holder: Holder, now: datetime, report: Report) -> None:
    """Merge the hours of days that are over, and the days of months that are over for good."""
    segment = holder.tables.segment.c
    with holder.engine.connect() as connection:
        covered = coverage(connection, holder.tables)
        pieces = store.headers(connection, holder.tables, segment.unit == PIECE)
    if covered.start is None or covered.end is None:
        return
    _close_hours(holder, pieces, covered.end, report)
    with holder.engine.connect() as connection:
        hours = store.headers(connection, holder.tables, segment.unit.in_((PIECE, HOUR)), segment.detailed)
    # of today more is to come, though its rows reach into the future by a clock that was wrong
    days = {holder.day_of(header.start) for header in hours} - {holder.day_of(now)}
    for day in sorted(days):
        if next_edge(day, "day", holder.source.zone) <= covered.end:
            headers = [header for header in hours if holder.day_of(header.start) == day]
            _or_again(holder, lambda: merge(holder, headers, DAY, day, joined=True), day, covered.end, report)  # noqa: B023
    _close_months(holder, min(now, covered.end), covered.start, covered.end, report)


def over_before(holder: Holder, at: datetime) -> datetime:
    """Until when months are measured, where what is rolled up reaches to `at`; naive UTC."""
    return holder.day_of(at - RECOUNTED)


def _close_hours(holder: Holder, pieces: Sequence[Header], until: datetime, report: Report) -> None:
    of_hours: dict[datetime, list[Header]] = {}
    for header in pieces:
        of_hours.setdefault(hour_of(holder, header.start), []).append(header)
    for hour, headers in sorted(of_hours.items()):
        end = next_edge(hour, "hour", holder.source.zone)
        if end <= until:
            try:
                merge(holder, headers, HOUR, hour, joined=True)
            except Unsound:
                _again(holder, hour, end, lambda: build_piece(holder, hour, end), until, report)  # noqa: B023
            report.merged += 1
            continue
        while (some := _to_merge(headers)) is not None:
            try:
                merge_pieces(holder, some)
            except Unsound:  # the whole hour is built again from its raw rows
                _again(holder, hour, until, lambda: build_piece(holder, hour, until), until, report)  # noqa: B023
                break
            headers = [header for header in headers if header not in some]


def _to_merge(headers: Sequence[Header]) -> list[Header] | None:
    """Of too many pieces of an hour, those to be merged into one: as many requests are merged again and again as need be."""
    hits: dict[tuple[datetime, datetime], int] = {}
    for header in headers:
        hits[header.start, header.end] = hits.get((header.start, header.end), 0) + header.hits
    periods = sorted(hits)
    if len(periods) <= MOST_PIECES:
        return None
    first = min(
        range(len(periods) - MERGED_PIECES + 1),
        key=lambda place: sum(hits[period] for period in periods[place : place + MERGED_PIECES]),
    )
    chosen = set(periods[first : first + MERGED_PIECES])
    return [header for header in headers if (header.start, header.end) in chosen]


def _close_months(holder: Holder, at: datetime, covered_from: datetime, until: datetime, report: Report) -> None:
    segment, zone = holder.tables.segment.c, holder.source.zone
    with holder.engine.connect() as connection:
        days = store.headers(connection, holder.tables, segment.unit == DAY, segment.detailed)
        measured = {header.start for header in store.headers(connection, holder.tables, segment.unit == MONTH)}
    for month in sorted({holder.month_of(header.start) for header in days}):
        end = next_edge(month, "month", zone)
        if end > over_before(holder, at) or covered_from > month:
            continue
        headers = [header for header in days if holder.month_of(header.start) == month]
        hits = [sum(header.hits for header in headers if header.audience == audience) for audience in (PEOPLE, BOTS)]
        joined = end <= holder.day_of(at - JOINED_AFTER) and max(hits) <= MOST_JOINED
        if not joined and month in measured:
            continue
        try:
            merge(holder, headers, MONTH, month, joined=joined)
            report.merged += 1
        except Unsound as unsound:
            report.kept[month] = f"not merged: {unsound}"
            for day in Span(month, end, zone).edges("day")[:-1]:
                mine = [header for header in headers if header.start == day]
                _mend(holder, mine, day, until, report)


def _mend(holder: Holder, headers: Sequence[Header], day: datetime, until: datetime, report: Report) -> None:
    """Build a day again whose segments are not what its hours were built from."""
    end = next_edge(day, "day", holder.source.zone)
    try:
        all_there(holder, headers, day, end)
    except Unsound:
        _again(holder, day, end, lambda: build_day(holder, day, end, fewer=False), until, report)


def _or_again(holder: Holder, work: Callable[[], None], day: datetime, until: datetime, report: Report) -> None:
    end = next_edge(day, "day", holder.source.zone)
    try:
        work()
        report.merged += 1
    except Unsound:
        fewer = day >= holder.day_of(until - RECOUNTED)
        _again(holder, day, end, lambda: build_day(holder, day, end, fewer=fewer), until, report)


def _again(
    holder: Holder, start: datetime, end: datetime, build: Callable[[], object], until: datetime, report: Report
) -> None:
    """Build a period from its raw rows, if there are enough of them; else it is kept as it is, and reported."""
    with holder.reading() as (connection, raw):
        noted = sum(rows_noted(connection, holder, start, end).values())
        found = holder.source.count(raw, start, end)
    recent = start >= holder.day_of(until - RECOUNTED) and found
    try:
        if found < noted and not recent:
            raise RowsGone(start, noted, found)
        build()
        report.built += 1
    except RowsGone as gone:
        report.kept[start] = str(gone)
