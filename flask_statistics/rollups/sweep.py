"""Deletes what nothing names any more: values that no segment has, and visitors none of whose raw rows are left.

Of a visitor the segments keep the number; without the row in `statistics_visitor` nobody can tell whose it was, not by
trying all addresses either. All of it goes in small pieces: reads between which the database is free, and short transactions.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

import sqlalchemy as sa
from pyroaring import BitMap

from .. import databases
from . import store, writing
from .dictionary import CHUNK, FORGOTTEN, VISITOR_KEY, VISITOR_KEY_BEFORE, VISITOR_KEY_SINCE, new_key
from .holder import Holder
from .meta import ALWAYS, drop_coverage, read_meta, write_meta
from .tables import DAY, MONTH, TOTAL

MARKED = 100
"""Segments whose values are read at a time."""
LOOKED_AT = 5_000
"""Values or visitors looked at at a time."""
KEY_LASTS = timedelta(days=31)
"""The key of the visitors' hashes is a new one after so long, once no raw row is left from before the present one."""
DISCARDING = "discarding"
"""In `statistics_meta` while all tables are being emptied."""


def sweep(holder: Holder, now: datetime) -> None:
    """Delete what nothing names any more, and renew the visitors' key when it is time. For the lease's holder alone."""
    sweep_values(holder)
    _sweep_visitors(holder, now)


def sweep_values(holder: Holder) -> int:
    """Delete the values that no segment names; how many."""
    table, named = holder.tables.value, _named_values(holder)
    return _delete(holder, table, table.c.id, table.c.id, named)


def discard(holder: Holder) -> None:
    """Empty all rollup tables but for the lease, in pieces, so that the next run makes them anew.

    If it is killed, the next run ends it first: see `DISCARDING`.
    """
    tables = holder.tables
    with holder.transaction() as connection:
        drop_coverage(connection, tables)
        write_meta(connection, tables, {DISCARDING: "yes"})
    writing.delete_rows(holder)
    _delete(holder, tables.value, tables.value.c.id, tables.value.c.id, BitMap())
    _delete(holder, tables.visitor, tables.visitor.c.hash, tables.visitor.c.id, BitMap())
    with holder.transaction() as connection:  # the rest is small
        for table in tables.all():
            if table is not tables.lease:
                connection.execute(sa.delete(table))


def _sweep_visitors(holder: Holder, now: datetime) -> None:
    with holder.reading() as (_, raw):
        oldest = holder.source.oldest(raw) or ALWAYS
    segment, table = holder.tables.segment.c, holder.tables.visitor
    living = BitMap()
    for some in store.chunks(_ids(holder, segment.end > oldest, segment.unit != MONTH)):  # whose days are there as well
        sets = holder.tables.sets.c
        with holder.engine.connect() as connection:
            query = sa.select(sets.visitors).where(sets.segment_id.in_(some), sets.dimension_id == TOTAL)
            living |= store.visitors_of(connection.scalars(query))
    _delete(holder, table, table.c.hash, table.c.id, living)
    with holder.engine.connect() as connection:
        meta = read_meta(connection, holder.tables)
    since = meta.get(VISITOR_KEY_SINCE)
    if since is None or (datetime.fromisoformat(since) <= min(oldest, now - KEY_LASTS)):
        with holder.transaction() as connection, databases.of(connection).overwriting(connection):
            # who has raw rows was seen since the present key, so nobody's row is of the one before it any more
            renewed = {} if since is None else {VISITOR_KEY_BEFORE: meta[VISITOR_KEY], VISITOR_KEY: new_key()}
            write_meta(connection, holder.tables, renewed | {VISITOR_KEY_SINCE: now.isoformat()})


def _ids(holder: Holder, *where: sa.ColumnElement[bool]) -> list[int]:
    with holder.engine.connect() as connection:
        return list(connection.scalars(sa.select(holder.tables.segment.c.id).where(*where)))


def _named_values(holder: Holder) -> BitMap:
    """The numbers of all values that segments name: by their measures or, where these are not stored, in their contents."""
    rollup, segment = holder.tables.rollup.c, holder.tables.segment.c
    named, ids = BitMap(), _ids(holder)
    for first in range(0, len(ids), MARKED):
        some = ids[first : first + MARKED]
        with holder.engine.connect() as connection:
            query = sa.select(rollup.value_id).where(rollup.segment_id.in_(some), rollup.dimension_id != TOTAL)
            named.update(connection.scalars(query.distinct()))
    for number in _ids(holder, segment.unit.not_in((DAY, MONTH)), segment.detailed):
        with holder.engine.connect() as connection:
            (contents,) = store.read_contents(connection, holder.tables, [number], None).values()
        named |= store.values_in(contents)
    return named


def _delete(holder: Holder, table: sa.Table, key: sa.Column[int], number: sa.Column[int], named: BitMap) -> int:
    """Delete the rows of `table` whose `number` is not `named`, in the order of their `key`; how many."""
    last, deleted = None, 0
    while True:
        with holder.engine.connect() as connection:
            behind: list[sa.ColumnElement[bool]] = [] if last is None else [key > last]
            rows = connection.execute(sa.select(key, number).where(*behind).order_by(key).limit(LOOKED_AT)).all()
        dead = [at for at, value in rows if value not in named]
        for first in range(0, len(dead), CHUNK):
            with holder.transaction() as connection, databases.of(connection).overwriting(connection):
                connection.execute(sa.delete(table).where(key.in_(dead[first : first + CHUNK])))
                # what other processes remember of numbers is not true any more
                write_meta(connection, holder.tables, {FORGOTTEN: secrets.token_hex(8)})
        deleted += len(dead)
        if len(rows) < LOOKED_AT:
            return deleted
        last = rows[-1][0]
