"""Partitions of the raw table by its date, on PostgreSQL: found in its catalogue, and dropped as a whole.

Reads PostgreSQL's catalogue, drops tables. A raw table that is not partitioned by ranges of its date has none, and so
have partitions on other servers, of which only what names them here could be dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from ..models import RawTable
from ..spans import naive_utc

LOCK_WAIT = "2s"
"""How long a drop waits for those who read the table: whoever wants to record meanwhile waits behind it."""
_LOCK_NOT_AVAILABLE = "55P03"

_BY_DATE = sa.text("""
    SELECT child.relname, namespace.nspname,
           CAST(substring(pg_get_expr(child.relpartbound, child.oid) FROM 'FROM [(]''(.*?)''[)]') AS timestamptz),
           CAST(substring(pg_get_expr(child.relpartbound, child.oid) FROM 'TO [(]''(.*?)''[)]') AS timestamptz)
    FROM pg_partitioned_table AS parent
    JOIN pg_attribute AS attribute
      ON attribute.attrelid = parent.partrelid AND attribute.attnum = parent.partattrs[0]
    JOIN pg_inherits ON inhparent = parent.partrelid
    JOIN pg_class AS child ON child.oid = inhrelid
    JOIN pg_namespace AS namespace ON namespace.oid = child.relnamespace
    WHERE parent.partrelid = to_regclass(:parent) AND parent.partstrat = 'r' AND parent.partnatts = 1
      AND attribute.attname = :date
      AND NOT EXISTS (SELECT FROM pg_partition_tree(child.oid) AS leaf JOIN pg_class ON pg_class.oid = leaf.relid
                      WHERE pg_class.relkind = 'f')
    ORDER BY 4
""")


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition of the raw table."""

    table: sa.Table
    start: datetime | None
    """Naive UTC; None: it has no first instant."""
    end: datetime
    """Naive UTC, excluded."""


class InUse(RuntimeError):
    """Somebody reads the raw table for too long for a partition to be dropped."""


def partitions(connection: sa.Connection, raw: RawTable) -> list[Partition]:
    """The partitions of the raw table that end, in the order of their dates; none if it is not partitioned by date."""
    if connection.dialect.name != "postgresql":
        return []
    connection.execute(sa.select(sa.func.set_config("TimeZone", "UTC", True)))
    # the name as SQL writes it: quoted, with its schema
    parent = connection.dialect.identifier_preparer.format_table(raw.table)
    rows = connection.execute(_BY_DATE, {"parent": parent, "date": raw.columns["date"].name})
    return [
        Partition(
            table=sa.Table(name, sa.MetaData(), schema=schema),
            start=None if start is None else naive_utc(start),
            end=naive_utc(end),
        )
        for name, schema, start, end in rows
        if end is not None
    ]


def before(parts: list[Partition], limit: datetime) -> datetime:
    """`limit`, or the start of the partition that it falls into: its rows wait until all of them are too old."""
    whole = next((part for part in parts if part.end > limit), None)
    return limit if whole is None or whole.start is None else min(limit, whole.start)


def drop(connection: sa.Connection, partition: Partition) -> None:
    """Drop `partition` and its rows. Raises `InUse`."""
    connection.execute(sa.select(sa.func.set_config("lock_timeout", LOCK_WAIT, True)))
    try:
        connection.execute(sa.schema.DropTable(partition.table))
    except sa.exc.OperationalError as error:
        if getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
            raise InUse(partition.table.name) from error
        raise
