"""Makes segments of raw rows, or of smaller segments, in the stead of what is stored.

Reads the raw table, writes the rollup tables.
What is read and built, is read and built before there is a transaction. In the transaction that lets it answer, it is proved
that nothing is replaced by less: what is made of segments has as many requests as the hours were built from, and what is
made of raw rows has no fewer, unless it is known that the host deleted some. Else `RowsGone` is raised, and all stays as it is.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple

import sqlalchemy as sa

from .. import spans
from ..pace import Yielding
from ..spans import Span, next_edge
from . import store, unfit, writing
from .dictionary import Dictionary
from .holder import Holder
from .measuring import Measured, measured, total
from .meta import NEVER, PRUNED, coverage, read_meta, write_meta
from .segment import Segment, between, flaws, join
from .store import Draft, Header
from .tables import BOTS, DAY, HOUR, MONTH, PEOPLE, PIECE
from .unfit import Unfit
from .writing import Change

MONTH_FACTOR = 10
"""How many times as many values of a dimension are kept of a month as of a day."""


class RowsGone(Exception):
    """The period has fewer raw rows than its rollups were built from, so these are kept as they are."""

    def __init__(self, start: datetime, stored: int, found: int) -> None:
        super().__init__(f"{stored:,} requests are rolled up, and only {found:,} raw rows are left of them")
        self.start = start
        """Where the period begins, naive UTC."""


class Unsound(Exception):
    """Segments cannot be merged, as they are not what the hours were built from."""


# ---- from raw rows ---------------------------------------------------------------------------------------------------


def build_piece(holder: Holder, start: datetime, end: datetime, *, fewer: bool = True) -> int:
    """Build a part of an hour, or all of it, from its raw rows, in the stead of what is stored of it; how many they are.

    What was not covered before is covered up to `end` from now on. `fewer`: whether the host may have deleted rows.
    """
    hour = hour_of(holder, start)
    unit = HOUR if (start, end) == (hour, next_edge(hour, "hour", holder.source.zone)) else PIECE
    with holder.learning():
        dictionary, segments, counts, left_out = _read(holder, start, end)
        drafts = [_draft(unit, start, end, audience, segment) for audience, segment in segments.items()]
        change = Change(drafts, replaced=_stored(holder, start, end, (PIECE, HOUR)))
        before = sum(header.hits for header in change.replaced)
        found = sum(counts.values())
        with holder.engine.connect() as connection:
            pruned = hour < pruned_until(connection, holder)
        if found < before and (pruned or not fewer):
            raise RowsGone(start, before, found)

        def remember(connection: sa.Connection) -> None:
            _note_piece(holder, hour, end, connection)
            unfit.write(connection, holder.tables, left_out, start, end)

        change.remember = remember
        writing.commit(holder, dictionary, change)
    return found


def build_day(
    holder: Holder,
    day: datetime,
    end: datetime,
    *,
    open_until: datetime | None = None,
    fewer: bool,
    backfill: bool = False,
    covers: datetime | None = None,
) -> int:
    """Build a day from its raw rows up to `end`, in the stead of all that is stored of it; how many they are.

    With `open_until`, it becomes hours up to then, to which more may come. A month that it is part of is measured again
    later. `fewer`: whether the host may have deleted some of the rows, not all. What is rolled up begins with it from then on
    if it is `backfill`, and ends with what it `covers`. Raises `RowsGone`.
    """
    zone = holder.source.zone
    with holder.learning():
        dictionary, segments, counts, left_out = _read(holder, day, end)
        if open_until is None:
            drafts = [_draft(DAY, day, next_edge(day, "day", zone), *one) for one in segments.items()]
        else:
            drafts = []
            for hour in Span(day, end, zone).edges("hour")[:-1]:
                full = next_edge(hour, "hour", zone)
                until = min(full, open_until)
                drafts += [
                    _draft(HOUR if until == full else PIECE, hour, until, audience, between(segment, hour, until))
                    for audience, segment in segments.items()
                    if until > hour
                ]
        check = partial(_not_less, holder, day, end, counts, fewer)
        change = Change(drafts, replaced=_stored(holder, day, end), check=check)

        def remember(connection: sa.Connection) -> None:
            note_rows(connection, holder, day, end, counts)
            unfit.write(connection, holder.tables, left_out, day, end)
            if backfill:
                write_meta(connection, holder.tables, {"covered_from": day.isoformat()})
            if covers is not None:
                write_meta(connection, holder.tables, {"covered_until": covers.isoformat()})

        change.remember = remember
        writing.commit(holder, dictionary, change)
    return sum(counts.values())


def build_month(holder: Holder, month: datetime, progress: Callable[[datetime], None], *, fewer: bool) -> None:
    """Build the days of a month whose days are joined; the month answers until the last of them is built. Raises `RowsGone`."""
    end = next_edge(month, "month", holder.source.zone)
    counts, left_out = dict[datetime, int](), Unfit()
    change = Change(replaced=_stored(holder, month, end))
    with holder.learning():
        for day in Span(month, end, holder.source.zone).edges("day")[:-1]:
            following = next_edge(day, "day", holder.source.zone)
            dictionary, segments, found, odd = _read(holder, day, following)
            counts |= found
            left_out.rows |= odd.rows
            left_out.names |= odd.names
            drafts = [_draft(DAY, day, following, audience, segment) for audience, segment in segments.items()]
            change.staged += writing.stage(holder, dictionary, drafts)
            progress(day)
        change.check = partial(_not_less, holder, month, end, counts, fewer)

        def remember(connection: sa.Connection) -> None:
            note_rows(connection, holder, month, end, counts)
            unfit.write(connection, holder.tables, left_out, month, end)

        change.remember = remember
        writing.commit(holder, dictionary, change)


class Built(NamedTuple):
    """What was made of the raw rows of a period."""

    dictionary: Dictionary
    """Stores the numbers that are new in the segments."""
    segments: dict[int, Segment]
    """By audience."""
    counts: dict[datetime, int]
    """Raw rows of each hour."""
    left_out: Unfit


def _read(holder: Holder, start: datetime, end: datetime) -> Built:
    """The segments of a period's raw rows."""
    with holder.reading_long() as (connection, raw, beat):
        dictionary, left_out, yielding = holder.dictionary(connection), Unfit(), Yielding()

        def between() -> None:
            beat()
            yielding.pause()

        segments, counts = holder.source.segments(raw, start, end, ids=dictionary.ids, beat=between, unfit=left_out)
        return Built(dictionary, dictionary.settle(segments), counts, left_out)


def _draft(unit: str, start: datetime, end: datetime, audience: int, segment: Segment) -> Draft:
    measures = Measured() if not segment.hits else total(segment) if unit == PIECE else measured(segment)
    return Draft(unit, start, end, audience, segment, measures)


def _stored(holder: Holder, start: datetime, end: datetime, units: Sequence[str] = ()) -> list[Header]:
    """The segments that have some of a period, longer ones among them."""
    segment = holder.tables.segment.c
    where = [segment.start < end, segment.end > start, *([segment.unit.in_(units)] if units else [])]
    with holder.engine.connect() as connection:
        return store.headers(connection, holder.tables, *where)


def hour_of(holder: Holder, moment: datetime) -> datetime:
    """When the local hour of `moment` began; both naive UTC."""
    return spans.hour_of(moment, holder.source.zone)


# ---- from segments ---------------------------------------------------------------------------------------------------


def merge(holder: Holder, headers: Sequence[Header], unit: str, start: datetime, *, joined: bool) -> None:
    """Merge segments into one of `unit`, each audience for itself.

    `joined`: whether it gets their contents, which are taken away from them; if not, it has the measures alone. Raises
    `Unsound` if they are not all that there is of it.
    """
    end = next_edge(start, unit, holder.source.zone)
    most = holder.source.most_values * (MONTH_FACTOR if unit == MONTH else 1)
    check = partial(_all_there, holder, headers, start, end)
    with holder.engine.connect() as connection:
        check(connection)
        dictionary = holder.dictionary(connection)
        drafts = []
        for audience in (PEOPLE, BOTS):
            mine = [header for header in headers if header.audience == audience]
            whole, measures = _read_merged(connection, holder, mine, most, joined=joined)
            drafts.append(Draft(unit, start, end, audience, whole, measures))
    replaced = [header for header in _stored(holder, start, end, (unit,)) if header.start == start]
    # of an hour's pieces nobody asks any more; hours and days are there to be asked by hand
    gone, emptied = (headers, []) if unit == HOUR else ([], headers if joined else [])
    writing.commit(holder, dictionary, Change(drafts, replaced=[*replaced, *gone], joined=emptied, check=check))


def merge_pieces(holder: Holder, headers: Sequence[Header]) -> None:
    """Merge pieces of an hour that follow one another into one. Raises `Unsound`."""
    start, end = min(header.start for header in headers), max(header.end for header in headers)
    with holder.engine.connect() as connection:
        dictionary = holder.dictionary(connection)
        drafts = []
        for audience in (PEOPLE, BOTS):
            mine = [header for header in headers if header.audience == audience]
            if mine:
                drafts.append(_draft(PIECE, start, end, audience, _joined(connection, holder, mine, 1)))
    writing.commit(holder, dictionary, Change(drafts, replaced=headers))


def _read_merged(
    connection: sa.Connection, holder: Holder, headers: Sequence[Header], most_values: int, *, joined: bool
) -> tuple[Segment | None, Measured]:
    """Segments `joined` into one, or None, and their measures."""
    if joined:
        whole = _joined(connection, holder, headers, most_values // holder.source.most_values)
        return whole, measured(whole)
    measures = Measured()
    for header in headers:
        measures.add(measured(_joined(connection, holder, [header], most_values // holder.source.most_values)))
        measures.fold(2 * most_values)  # a bound for memory; the last one is that of what is stored
    measures.fold(most_values)
    return None, measures


def _joined(connection: sa.Connection, holder: Holder, headers: Sequence[Header], factor: int) -> Segment:
    """The contents of `headers` joined into one. Raises `Unsound`."""
    try:
        segments = store.read_segments(connection, holder.tables, headers, list(holder.source.dimensions))
        for header, one in zip(headers, segments, strict=True):
            if wrong := flaws(one):
                raise Unsound(f"{header.unit} {header.start}: {', '.join(wrong)}")
    except (ValueError, LookupError, struct.error, zlib.error) as error:  # what decoders say of what was damaged
        raise Unsound(f"{error}") from error
    return join(segments, most_values=holder.source.most_values * factor) if segments else store.empty(0)


# ---- proofs ----------------------------------------------------------------------------------------------------------


def rows_noted(connection: sa.Connection, holder: Holder, start: datetime, end: datetime) -> dict[datetime, int]:
    """How many raw rows each hour of a period was built from."""
    hour = holder.tables.hour.c
    query = sa.select(hour.start, hour.raw_rows).where(hour.start >= start, hour.start < end)
    return {moment: rows for moment, rows in connection.execute(query)}  # noqa: C416 - rows are no tuples to mypy


def note_rows(
    connection: sa.Connection, holder: Holder, start: datetime, end: datetime, counts: Mapping[datetime, int]
) -> None:
    """Remember how many raw rows each hour of the period was built from."""
    hour = holder.tables.hour
    connection.execute(sa.delete(hour).where(hour.c.start >= start, hour.c.start < end))
    if counts:
        connection.execute(
            sa.insert(hour), [{"start": moment, "raw_rows": rows} for moment, rows in sorted(counts.items())]
        )


def _note_piece(holder: Holder, hour: datetime, end: datetime, connection: sa.Connection) -> None:
    """Remember how many raw rows the pieces of an hour were built from, together, and that they are covered."""
    segment = holder.tables.segment.c
    within = (segment.unit.in_((PIECE, HOUR)), segment.start >= hour)
    query = sa.select(sa.func.sum(segment.hits)).where(
        *within, segment.end <= next_edge(hour, "hour", holder.source.zone)
    )
    rows = int(connection.scalar(query) or 0)
    table = holder.tables.hour
    if not rows:
        connection.execute(sa.delete(table).where(table.c.start == hour))
    elif not connection.execute(sa.update(table).where(table.c.start == hour).values(raw_rows=rows)).rowcount:
        connection.execute(sa.insert(table).values(start=hour, raw_rows=rows))
    covered = coverage(connection, holder.tables).end
    if covered is not None and covered < end:  # at once, as what is not covered is read from the raw table
        write_meta(connection, holder.tables, {"covered_until": end.isoformat()})


def _not_less(
    holder: Holder,
    start: datetime,
    end: datetime,
    counts: Mapping[datetime, int],
    fewer: bool,
    connection: sa.Connection,
) -> None:
    """Raise `RowsGone` if an hour of the period was built from more than `counts`; with `fewer`, if nothing is left of it."""
    noted = rows_noted(connection, holder, start, end)
    found = sum(counts.values())
    less = [hour for hour, rows in noted.items() if counts.get(hour, 0) < rows]
    if less and (not fewer or not found or min(less) < pruned_until(connection, holder)):
        raise RowsGone(start, sum(noted.values()), found)


def pruned_until(connection: sa.Connection, holder: Holder) -> datetime:
    """Of the hours before this, raw rows are deleted by retention, or are being deleted; `NEVER` if none are."""
    pruned = read_meta(connection, holder.tables).get(PRUNED)
    return NEVER if pruned is None else datetime.fromisoformat(pruned)


def all_there(holder: Holder, headers: Sequence[Header], start: datetime, end: datetime) -> None:
    """Raise `Unsound` if `headers` are not all that there is of a period, or their contents cannot be."""
    with holder.engine.connect() as connection:
        _all_there(holder, headers, start, end, connection)
        for header in headers:
            _joined(connection, holder, [header], 1)


def _all_there(
    holder: Holder, headers: Sequence[Header], start: datetime, end: datetime, connection: sa.Connection
) -> None:
    """Raise `Unsound` if `headers` have not as many requests as the hours of the period were built from, or others answer too."""
    segment = holder.tables.segment.c
    within = (segment.detailed, segment.start < end, segment.end > start)
    answering = {header.id for header in store.headers(connection, holder.tables, *within)}
    noted, found = sum(rows_noted(connection, holder, start, end).values()), sum(header.hits for header in headers)
    if answering != {header.id for header in headers} or found != noted:
        raise Unsound(f"{start}: {found:,} requests in {len(headers)} segments, of {noted:,} in {len(answering)}")
