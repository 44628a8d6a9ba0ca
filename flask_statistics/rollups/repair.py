"""Repairs what verification found: builds these periods again, from raw rows, or from their own contents where these are gone.

Reads and writes the rollup tables, as the holder of the lease.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import sqlalchemy as sa

from ..spans import next_edge
from . import keeping, store, structure, verification, writing
from .building import RowsGone, build_day, build_month, note_rows
from .holder import Holder
from .measuring import measured, total
from .meta import coverage, read_meta, write_meta
from .segment import Segment, between, flaws, hours_of
from .store import Draft, Header
from .structure import Difference
from .tables import DAY, HOUR, MONTH, PIECE
from .verification import DAMAGE, Unit
from .writing import Change


def repair(holder: Holder, differences: Sequence[Difference], *, progress: Callable[[datetime], None]) -> None:
    """Repair what can be of `differences`; what is left, verification finds again."""
    numbers = _mend_numbers(holder)
    _mend_names(holder)
    covered_units = verification.units(holder)
    starts = sorted({difference.start for difference in differences})
    for unit in covered_units:
        if numbers or any(unit.start <= start < unit.end for start in starts):
            _mend(holder, unit)
            progress(unit.start)
    segment = holder.tables.segment.c
    with holder.engine.connect() as connection:
        dictionary = holder.dictionary(connection)
        months = store.headers(connection, holder.tables, segment.unit == MONTH, ~segment.detailed)
    wrong = [month for month in months if any(month.start <= start < month.end for start in starts)]
    if wrong:  # they are measured anew when the days are merged
        writing.commit(holder, dictionary, Change(replaced=wrong))


def _mend(holder: Holder, unit: Unit) -> None:
    frozen, differences = verification.check(holder, unit)
    if not differences:
        return
    if not frozen:
        try:
            if any(header.unit == MONTH for header in unit.headers):
                build_month(holder, unit.start, lambda day: None, fewer=True)
            else:
                over = unit.end == next_edge(unit.start, "day", holder.source.zone)
                build_day(holder, unit.start, unit.end, open_until=None if over else unit.end, fewer=True)
            return
        except RowsGone:
            pass  # as if it had been known before
    _measure_again(holder, unit)


def _measure_again(holder: Holder, unit: Unit) -> None:
    """Store what was measured of a unit anew, from its contents, where these are whole."""
    names, counts = list(holder.source.dimensions), dict[datetime, int]()
    with holder.engine.connect() as connection:
        dictionary = holder.dictionary(connection)
    for header in unit.headers:
        with holder.engine.connect() as connection:
            try:
                (segment,) = store.read_segments(connection, holder.tables, [header], names)
                if flaws(segment) or not segment.hits:
                    return  # of this nothing can be known any more
            except DAMAGE:
                return
            merged = _merged_into(connection, holder, header, segment)
        for start, rows in hours_of(segment):
            counts[start] = counts.get(start, 0) + rows
        measures = total(segment) if header.unit == PIECE else measured(segment)
        drafts = [Draft(header.unit, header.start, header.end, header.audience, segment, measures)]
        for one in merged:
            of_it = measured(between(segment, one.start, one.end))
            drafts.append(Draft(one.unit, one.start, one.end, one.audience, None, of_it, merged=True))
        writing.commit(holder, dictionary, Change(drafts, replaced=[header, *(one for one in merged if one.id)]))
    with holder.transaction() as connection:
        note_rows(connection, holder, unit.start, unit.end, counts)


def _merged_into(connection: sa.Connection, holder: Holder, header: Header, segment: Segment) -> list[Header]:
    """The days and hours that were merged into a segment, also those whose rows are gone."""
    columns, zone = holder.tables.segment.c, holder.source.zone
    found = store.headers(
        connection,
        holder.tables,
        ~columns.detailed,
        columns.unit.in_((HOUR, DAY)),
        columns.unit != header.unit,
        columns.audience == header.audience,
        columns.start >= header.start,
        columns.end <= header.end,
    )
    known = {(one.unit, one.start) for one in found}
    of_hours = [start for start, _ in hours_of(segment)]
    wanted = {(DAY, holder.day_of(start)) for start in of_hours} if header.unit == MONTH else set()
    if header.unit == DAY and found:
        wanted = {(HOUR, start) for start in of_hours}
    return found + [
        Header(0, unit, start, next_edge(start, unit, zone), header.audience, 0, False)
        for unit, start in sorted(wanted - known)
    ]


def _mend_names(holder: Holder) -> None:
    """Delete rows of segments that nothing names, segments that cannot be, and say rightly what is rolled up."""
    tables, segment = holder.tables, holder.tables.segment
    with holder.engine.connect() as connection:
        named = store.headers(connection, tables)
        covered = coverage(connection, tables)
        ids = {header.id for header in named}
        unnamed = {
            number
            for table in tables.of_segments
            for number in connection.scalars(sa.select(table.c.segment_id).distinct())
            if number not in ids
        }
    if covered.start is None or covered.end is None:
        return
    with holder.reading() as (connection, raw):
        frozen = keeping.frozen_before(holder, connection, raw)
    # what is frozen may be all that there is of it, whatever its name says
    impossible = [header for header in structure.impossible(holder, named) if header.start >= frozen]
    real = [header for header in named if header.id not in {one.id for one in impossible}]
    detailed = [header for header in real if header.detailed]
    start = min([covered.start, *(holder.day_of(header.start) for header in detailed)])
    end = max([covered.end, *(header.end for header in detailed if header.start >= covered.end)])
    with holder.transaction() as connection:
        if impossible:
            connection.execute(sa.delete(segment).where(segment.c.id.in_([header.id for header in impossible])))
        writing.note_ids(connection, tables, writing.UNNAMED, add=[*unnamed, *(h.id for h in impossible)], remove=[])
        if (start, end) != (covered.start, covered.end):
            write_meta(connection, tables, {"covered_from": start.isoformat(), "covered_until": end.isoformat()})
    writing.sweep(holder)


def _mend_numbers(holder: Holder) -> bool:
    """Delete values that are not what they were, whose periods are built again, and let the next numbers be new ones.

    Whether there were some. What names one of which all raw rows are gone cannot be known any more, and is left.
    """
    value, visitor = holder.tables.value, holder.tables.visitor
    with holder.reading() as (connection, raw):
        first = connection.scalar(sa.select(sa.func.min(holder.tables.hour.c.start)))
        # what is frozen may name them, and nothing else is known of it
        frozen = first is not None and first < keeping.frozen_before(holder, connection, raw)
    with holder.transaction() as connection:
        meta = read_meta(connection, holder.tables)
        for kind, table in (("value", value), ("visitor", visitor)):
            highest = connection.scalar(sa.select(sa.func.max(table.c.id))) or 0
            if highest >= int(meta.get(f"next_{kind}", 2)):
                write_meta(connection, holder.tables, {f"next_{kind}": str(highest + 1)})
        wrong = [] if frozen else structure.wrong_values(holder, connection)
        for some in store.chunks(wrong):
            connection.execute(sa.delete(value).where(value.c.id.in_(some)))
    holder.look_up_anew()
    return bool(wrong)
