"""Adds what a process has counted to the tables of statements, and deletes what is too old there.

Many processes add to the same rows. Whoever adds first changes the statement's own row, and so holds its lock until all is
committed: what is read after that is all that there is. SQLite has one lock for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby, islice
from typing import Any

import sqlalchemy as sa

from .table import Tables, add_packed, packed
from .tally import Statement, Sum, Sums

AT_ONCE = 200
"""Statements of one transaction."""
HOUR = timedelta(hours=1)


def pieces(sums: Sums) -> Iterator[Sums]:
    """`sums` in parts that one transaction each stores: an hour, and not too many statements, in an order that all keep."""
    ordered = sorted(sums.items(), key=lambda item: (item[0][0], item[0][1].id))
    for _, hour in groupby(ordered, key=lambda item: item[0][0]):
        while piece := dict(islice(hour, AT_ONCE)):
            yield piece


def add(connection: sa.Connection, tables: Tables, piece: Sums, now: datetime) -> None:
    """Add one of `pieces`, within a transaction. Raises what the database does, also where another one was quicker."""
    (start,) = {start for start, _ in piece}
    found = {statement.id: (statement, each) for (_, statement), each in piece.items()}
    _know(connection, tables.statement, [statement for statement, _ in found.values()], now)
    query = tables.query
    rows = connection.execute(sa.select(query).where(query.c.start == start, query.c.statement.in_(found)))
    changed = [_values(row.statement, _sum_with(found[row.statement][1], row)) for row in rows]
    if changed:
        same = sa.and_(query.c.start == start, query.c.statement == sa.bindparam("key"))
        connection.execute(sa.update(query).where(same), changed)
    stored = {values["key"] for values in changed}
    new = [
        _values(key, each) | {"start": start, "statement": key} for key, (_, each) in found.items() if key not in stored
    ]
    if new:
        connection.execute(
            sa.insert(query), [{name: values[name] for name in values if name != "key"} for values in new]
        )


def _know(connection: sa.Connection, table: sa.Table, statements: Sequence[Statement], now: datetime) -> None:
    """See to it that all `statements` are in their table, and hold their locks."""
    same = table.c.id == sa.bindparam("key")
    keys = [{"key": statement.id} for statement in statements]
    connection.execute(sa.update(table).where(same).values(seen_at=now), keys)
    # with a lock as well: some may have come since, and another process adds to them
    found = sa.select(table.c.id).where(table.c.id.in_([one["key"] for one in keys])).order_by(table.c.id)
    there = set(connection.scalars(found.with_for_update()))
    new = [
        {"id": one.id, "digest": one.digest, "text": one.text, "place": one.place, "route": one.route, "seen_at": now}
        for one in statements
        if one.id not in there
    ]
    if new:
        connection.execute(sa.insert(table), new)


def _sum_with(added: Sum, row: sa.Row[Any]) -> Sum:
    """What was added, and what is stored."""
    together = Sum(row.calls, row.requests, row.repeated, row.total_us, row.longest_us)
    add_packed(together.bins, row.times)
    together.add(added)
    return together


def _values(key: str, found: Sum) -> dict[str, Any]:
    return {
        "key": key,
        "calls": found.calls,
        "requests": found.requests,
        "repeated": found.repeated,
        "total_us": found.total_us,
        "longest_us": found.longest_us,
        "times": packed(found.bins),
    }


def too_old(connection: sa.Connection, tables: Tables, now: datetime, kept: timedelta) -> datetime | None:
    """Before when it is older than `kept`; None: nothing is there. It is never later than the newest hour, as clocks go wrong."""
    newest = connection.scalar(sa.select(sa.func.max(tables.query.c.start)))
    return None if newest is None else min(now, newest + HOUR) - kept


def hours_before(connection: sa.Connection, tables: Tables, before: datetime) -> list[datetime]:
    """The hours that begin before an instant, the oldest first."""
    start = tables.query.c.start
    return list(connection.scalars(sa.select(start).where(start < before).distinct().order_by(start)))


def delete_hour(connection: sa.Connection, tables: Tables, start: datetime) -> int:
    """Delete the rows of an hour; how many there were."""
    return connection.execute(sa.delete(tables.query).where(tables.query.c.start == start)).rowcount


def delete_unseen(connection: sa.Connection, tables: Tables, before: datetime) -> None:
    """Delete statements that were not sent since `before`; no row names them then."""
    connection.execute(sa.delete(tables.statement).where(tables.statement.c.seen_at < before))
