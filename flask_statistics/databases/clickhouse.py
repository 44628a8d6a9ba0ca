"""ClickHouse, as a server and as a library. It has no transactions, and wants many rows at a time."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ..models import RawTable
from ..spans import naive_utc
from .base import Database, Partition
from .causes import Cause

if TYPE_CHECKING:
    from .budgets import Budget

_PARTITION_KEY = sa.text(
    "SELECT partition_key FROM system.tables WHERE database = COALESCE(:schema, currentDatabase()) AND name = :name"
)
REFUSALS = (6, 27, 38, 41, 53, 69, 70, 72, 117, 131, 321, 349, 469)
"""What cannot be parsed, converted or held by its column, and what violates a constraint."""
OVERLOADED = (159, 202, 209, 210, 241, 242, 243, 252, 319)
"""It took too long, has too many queries, lost a connection twice over, has no memory, only reads, has no space on its disk,
has too many parts, and does not know what became of an insert."""
CAUSES = {
    16: Cause.NO_COLUMN,
    47: Cause.NO_COLUMN,
    60: Cause.NO_TABLE,
    81: Cause.AWAY,
    **dict.fromkeys((164, 242), Cause.READ_ONLY),
    **dict.fromkeys((202, 241, 252), Cause.EXHAUSTED),
    **dict.fromkeys((192, 193, 194, 497, 516), Cause.DENIED),
    **dict.fromkeys((159, 394), Cause.STOPPED),
    **dict.fromkeys((209, 210, 279, 319), Cause.AWAY),
    243: Cause.DISK_FULL,
}


class ClickHouse(Database):
    """No transactions, no unique keys, no numbers of its own for rows; quick at what looks at all rows."""

    title = "ClickHouse"
    has_transactions = False
    deletes_at_once = True
    has_date_index = False
    has_escape = False

    def snapshot(self, connection: sa.Connection) -> None:
        """It has none."""

    @contextmanager
    def limited(self, connection: sa.Connection, budget: Budget) -> Iterator[None]:
        """Limit each statement, and leave the connection as its URL has set it up afterwards; a user may not be let do that."""
        client: Any = connection.connection.dbapi_connection.client  # type: ignore[union-attr]
        if client.server_settings["max_execution_time"].readonly:
            yield
            return
        before = client.get_client_setting("max_execution_time")
        client.set_client_setting("max_execution_time", budget.limit.total_seconds())
        try:
            yield
        finally:
            client.set_client_setting("max_execution_time", before or 0)

    def _sizes(self, connection: sa.Connection, tables: Collection[sa.Table]) -> dict[str, int]:
        size = sa.text(
            "SELECT total_bytes FROM system.tables WHERE database = COALESCE(:schema, currentDatabase()) AND name = :name"
        )
        return {
            table.fullname: connection.scalar(size, {"schema": table.schema, "name": table.name}) for table in tables
        }

    def row_count(self, connection: sa.Connection, table: sa.Table) -> int | None:
        return connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0

    def delete_at_once(self, connection: sa.Connection, table: sa.Table, where: sa.ColumnElement[bool]) -> int | None:
        """Each such statement marks rows in all files in which there are some, so that one is better than many."""
        rows = connection.scalar(sa.select(sa.func.count()).select_from(table).where(where)) or 0
        if rows:
            connection.execute(sa.delete(table).where(where))
        return rows

    def overwrite_deleted(self, connection: sa.Connection, table: sa.Table) -> None:
        """Write the files anew in which rows are marked as deleted, without these, and wait for the end of it."""
        name = connection.dialect.identifier_preparer.format_table(table)
        connection.exec_driver_sql(f"ALTER TABLE {name} APPLY DELETED MASK SETTINGS mutations_sync = 2")

    def partitions(self, connection: sa.Connection, raw: RawTable) -> list[Partition]:
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

    def is_timeout(self, original: Any) -> bool:
        return "Code: 159." in str(original)

    def is_overloaded(self, error: sa.exc.SQLAlchemyError) -> bool:
        return _code(error) in OVERLOADED

    def refuses_values(self, error: sa.exc.SQLAlchemyError) -> bool:
        """Also for a CONSTRAINT of the table."""
        return _code(error) in REFUSALS

    def cause(self, original: Any) -> Cause | None:
        code = re.search(r"\bCode: (\d+)\b", str(original))
        return None if code is None else CAUSES.get(int(code[1]))

    def quarter_of(self, date: sa.ColumnElement[Any]) -> sa.ColumnElement[int] | None:
        """It takes longer to understand a long list of ranges than to look at all their dates."""
        return sa.func.intDiv(sa.func.toUnixTimestamp(date), 15 * 60)

    def extreme(self, function: str, column: str) -> str:
        """Its own `min` of nothing is 1970."""
        return f"if(count() = 0, NULL, {function}({column}))"

    def one_of(self, column: str, values: str) -> str:
        return f"{column} IN (SELECT arrayJoin(JSONExtract({values}, 'Array(String)')))"

    def latency_bin(self, column: str, edges: tuple[float, ...]) -> str:
        # it takes a fifth of a second to understand the CASEs; the column is never NULL where bins are counted
        time, lower, bins = f"toFloat64(assumeNotNull({column}))", list(edges), list(range(1, len(edges) + 1))
        return f"if({time} < {edges[0]!r}, 0, transform(roundDown({time}, {lower}), {lower}, {bins}, 0))"


def _code(error: sa.exc.SQLAlchemyError) -> int | None:
    code = re.match(r"Code: (\d+)\.", str(getattr(error, "orig", None)))
    return None if code is None else int(code[1])


DATABASES = {"clickhousedb": ClickHouse()}
