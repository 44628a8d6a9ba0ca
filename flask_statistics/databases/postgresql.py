"""PostgreSQL, and what speaks its language."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ..models import RawTable
from ..spans import naive_utc
from .base import Database, InUse, Partition, truncate
from .causes import Cause

if TYPE_CHECKING:
    from .budgets import Budget

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

CAUSES = {
    "08": Cause.AWAY,  # also a server behind a foreign table
    "21": Cause.ROW,
    "22": Cause.ROW,
    "23": Cause.ROW,
    "25006": Cause.READ_ONLY,
    "25": Cause.STOPPED,
    "28": Cause.DENIED,
    "3D": Cause.AWAY,
    "3F": Cause.NO_TABLE,
    "40": Cause.CONFLICT,
    "42501": Cause.DENIED,
    "42P01": Cause.NO_TABLE,
    "42703": Cause.NO_COLUMN,
    "42": Cause.OTHER_TYPE,
    "44": Cause.ROW,
    "53100": Cause.DISK_FULL,
    "53": Cause.EXHAUSTED,
    "54": Cause.ROW,  # an index row that is too large
    "55": Cause.LOCKED,
    "57014": Cause.STOPPED,
    "57": Cause.AWAY,
    "58": Cause.BROKEN,
    "F0": Cause.BROKEN,
    "HV": Cause.AWAY,  # a foreign server
    "XX": Cause.BROKEN,
}
"""PostgreSQL, by as many signs of the code as are needed. P0001, what a trigger raises, can be anybody's."""


class Speaking(Database):
    """What all that speak its language have in common, as CockroachDB does."""

    title = "a database that speaks as PostgreSQL does"

    def is_timeout(self, original: Any) -> bool:
        return bool(_state(original) == "57014")

    def cause(self, original: Any) -> Cause | None:
        state = _state(original)
        if not isinstance(state, str) or len(state) != 5:
            return None
        return next((CAUSES[state[:length]] for length in (5, 2) if state[:length] in CAUSES), None)

    def one_of(self, column: str, values: str) -> str:
        return f"{column} IN (SELECT json_array_elements_text(CAST({values} AS json)))"

    def network_limits(self, driver: str, connect_s: int, silence_s: int) -> Mapping[str, Any]:
        if driver not in ("psycopg", "psycopg2"):
            return {}
        return {
            "connect_timeout": connect_s,
            "tcp_user_timeout": silence_s * 1000,
            "keepalives_idle": silence_s,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        }


class PostgreSQL(Speaking):
    """Settings that end with their transaction, catalogues that tell sizes and partitions, locks of whole tables."""

    title = "PostgreSQL"
    index_options: Mapping[str, Any] = {"isolation_level": "AUTOCOMMIT"}
    """It makes an index while requests go on being recorded: elsewhere that costs seconds, here it would block inserts."""

    def limit_engine(self, engine: sa.Engine, *, lock_s: int, statement_s: int | None) -> None:
        """Limit what is in a transaction, by settings that end with it: a pooler's connections are others' the next moment."""
        settings = [f"SET LOCAL lock_timeout = {lock_s * 1000:d}"]
        if statement_s is not None:
            settings.append(f"SET LOCAL statement_timeout = {statement_s * 1000:d}")
        text = "; ".join(settings)

        sa.event.listen(engine, "begin", lambda connection: _set(connection, text))

    def end_when_idle(self, connection: sa.Connection, limit: timedelta) -> None:
        milliseconds = round(limit.total_seconds() * 1000)
        connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = {milliseconds}")

    @contextmanager
    def limited(self, connection: sa.Connection, budget: Budget) -> Iterator[None]:
        """Limit each statement of each transaction; the setting ends with the transaction, as it is made in it."""

        limit = f"SET LOCAL statement_timeout = {budget.milliseconds:d}"
        sa.event.listen(connection, "begin", lambda connection: _set(connection, limit))
        yield

    def _sizes(self, connection: sa.Connection, tables: Collection[sa.Table]) -> dict[str, int]:
        size = sa.text("SELECT pg_total_relation_size(to_regclass(:name))")
        quoted = connection.dialect.identifier_preparer.format_table
        return {table.fullname: connection.scalar(size, {"name": quoted(table)}) for table in tables}

    def _told_folder(self, connection: sa.Connection) -> str | None:
        # it shows the setting to some roles alone, and to others nothing
        found = connection.scalar(sa.text("SELECT setting FROM pg_settings WHERE name = 'data_directory'"))
        return None if found is None else str(found)

    @contextmanager
    def alone_with(self, connection: sa.Connection, table: sa.Table) -> Iterator[None]:
        name = connection.dialect.identifier_preparer.format_table(table)
        connection.exec_driver_sql(f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE")
        yield

    def empty(self, connection: sa.Connection, table: sa.Table) -> None:
        truncate(connection, table)

    def can_hold(self, value: Any) -> bool:
        """As everywhere, but its text has no NUL."""
        return super().can_hold(value) and not (isinstance(value, str) and "\0" in value)

    def partitions(self, connection: sa.Connection, raw: RawTable) -> list[Partition]:
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

    def drop_partition(self, connection: sa.Connection, partition: Partition) -> None:
        connection.execute(sa.select(sa.func.set_config("lock_timeout", LOCK_WAIT, True)))
        try:
            connection.execute(partition.drop)
        except sa.exc.OperationalError as error:
            if getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
                raise InUse(partition.name) from error
            raise


def _set(connection: sa.Connection, statement: str) -> None:
    """Execute `statement`, a setting, where a transaction begins and SQLAlchemy does not let us. Raises what it would raise."""
    driver, errors = connection.connection, connection.dialect.loaded_dbapi.Error
    try:
        with closing(driver.cursor()) as cursor:
            cursor.execute(statement)
    except errors as error:
        gone = connection.dialect.is_disconnect(error, driver, None)
        if gone:
            connection.invalidate(error)
        raise sa.exc.DBAPIError.instance(
            statement, None, error, errors, connection_invalidated=gone, dialect=connection.dialect
        ) from error


def _state(original: Any) -> Any:
    return getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)


DATABASES = {"postgresql": PostgreSQL(), "cockroachdb": Speaking()}
