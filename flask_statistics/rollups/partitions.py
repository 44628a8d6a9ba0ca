"""Partitions of the raw table by its date, on PostgreSQL and ClickHouse: found in their catalogues, and dropped as a whole.

Reads the catalogue, drops tables and parts of them. A raw table that is not partitioned by its date has none, and so
have partitions on other servers than PostgreSQL's own, of which only what names them here could be dropped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

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


_PARTITION_KEY = sa.text(
    "SELECT partition_key FROM system.tables WHERE database = COALESCE(:schema, currentDatabase()) AND name = :name"
)


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition of the raw table."""

    name: str
    drop: sa.Executable
    """What drops it with its rows."""
    start: datetime | None
    """Naive UTC; None: it has no first instant."""
    end: datetime
    """Naive UTC, excluded. Of ClickHouse's, which do not tell what may come into them, both are those of their rows."""


class InUse(RuntimeError):
    """Somebody reads the raw table for too long for a partition to be dropped."""


def partitions(connection: sa.Connection, raw: RawTable) -> list[Partition]:
    """The partitions of the raw table that end, in the order of their dates; none if it is not partitioned by date."""
    found = {"postgresql": _of_postgresql, "clickhousedb": _of_clickhouse}.get(connection.dialect.name)
    return [] if found is None else found(connection, raw)


def _of_postgresql(connection: sa.Connection, raw: RawTable) -> list[Partition]:
    connection.execute(sa.select(sa.func.set_config("TimeZone", "UTC", True)))
    # the name as SQL writes it: quoted, with its schema
    parent = connection.dialect.identifier_preparer.format_table(raw.table)
    rows = connection.execute(_BY_DATE, {"parent": parent, "date": raw.columns["date"].name})
    return [
        Partition(
            name=name,
            drop=sa.schema.DropTable(sa.Table(name, sa.MetaData(), schema=schema)),
            start=None if start is None else naive_utc(start),
            end=naive_utc(end),
        )
        for name, schema, start, end in rows
        if end is not None
    ]


def _of_clickhouse(connection: sa.Connection, raw: RawTable) -> list[Partition]:
    date, table = raw.columns["date"], raw.table
    place = {"schema": table.schema, "name": table.name}
    key = str(connection.scalar(_PARTITION_KEY, place) or "")
    if not re.search(rf"\b{re.escape(date.name)}\b", key):
        return []
    id_: sa.ColumnElement[str] = sa.literal_column("_partition_id")
    # ClickHouse knows all three without a look at the rows
    query = sa.select(id_, sa.func.min(date), sa.func.max(date).label("newest")).select_from(table).group_by(id_)
    quoted = connection.dialect.identifier_preparer.format_table(table)
    return [
        Partition(
            name=name,
            drop=sa.text(f"ALTER TABLE {quoted} DROP PARTITION ID :partition").bindparams(partition=name),
            start=naive_utc(oldest),
            end=naive_utc(newest) + timedelta(microseconds=1),
        )
        for name, oldest, newest in connection.execute(query.order_by("newest"))
    ]


def before(parts: list[Partition], limit: datetime) -> datetime:
    """`limit`, or the start of the partition that it falls into: its rows wait until all of them are too old."""
    return min([limit, *(part.start for part in parts if part.end > limit and part.start is not None)])


def drop(connection: sa.Connection, partition: Partition) -> None:
    """Drop `partition` and its rows. Raises `InUse`."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.set_config("lock_timeout", LOCK_WAIT, True)))
    try:
        connection.execute(partition.drop)
    except sa.exc.OperationalError as error:
        if getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
            raise InUse(partition.name) from error
        raise
