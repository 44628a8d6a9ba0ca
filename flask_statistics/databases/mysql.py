"""MariaDB and MySQL."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from .base import Database, truncate
from .causes import Cause

if TYPE_CHECKING:
    from .budgets import Budget

CONFLICTS = (1020, 1205, 1213)
"""The row changed since the snapshot, a lock was waited for too long, and two transactions waited for one another."""
CAUSES = {
    **dict.fromkeys((1037, 1038, 1040, 1041, 1203, 1226), Cause.EXHAUSTED),
    **dict.fromkeys((1044, 1045, 1142, 1143, 1227, 1698, 1820), Cause.DENIED),
    **dict.fromkeys((1051, 1146, 1932), Cause.NO_TABLE),
    1054: Cause.NO_COLUMN,
    **dict.fromkeys((1020, 1213, 1614), Cause.CONFLICT),
    **dict.fromkeys((1099, 1100, 1205, 1223, 1637, 3572), Cause.LOCKED),
    **dict.fromkeys((3, 1021, 1114), Cause.DISK_FULL),
    **dict.fromkeys((1036, 1290, 1792, 1836, 1874, 3100), Cause.READ_ONLY),
    **dict.fromkeys((1028, 1317, 1907, 1969, 3024), Cause.STOPPED),
    **dict.fromkeys((1016, 1030, 1033, 1034, 1035, 1194, 1195, 1296, 1877), Cause.BROKEN),
    # 1047: a node of Galera that has lost the others; 1429 and 1430: a server behind Spider or FEDERATED
    **dict.fromkeys((0, 1042, 1043, 1047, 1049, 1053, 1077, 1129, 1130, 1152, 1158, 1159, 1160, 1161), Cause.AWAY),
    **dict.fromkeys((1184, 1429, 1430, 1431, 1432, 1477, 1815, 1927, 4031), Cause.AWAY),
    **dict.fromkeys((1048, 1062, 1136, 1169, 1216, 1263, 1264, 1265, 1292, 1364, 1366, 1406, 1451, 1452), Cause.ROW),
    **dict.fromkeys((1526, 1690, 1748, 3140, 3819, 4025), Cause.ROW),
}
"""MariaDB and MySQL, beside the client's own from 2000 to 2999 and Spider's from 12701 to 12799, which mean that a server is
away. 1644, what a trigger signals, can be anybody's."""


class MySQL(Database):
    """Settings of sessions, locks by name, text that is equal whatever its case unless told otherwise."""

    title = "MySQL"

    def network_limits(self, driver: str, connect_s: int, silence_s: int) -> Mapping[str, Any]:
        if driver in ("pymysql", "mysqldb"):
            # a statement that is stopped by its own limit answers before that
            return {"connect_timeout": connect_s, "read_timeout": silence_s, "write_timeout": silence_s}
        return {"connection_timeout": connect_s} if driver == "mysqlconnector" else {}

    def limit_engine(self, engine: sa.Engine, *, lock_s: int, statement_s: int | None) -> None:
        """Limit all statements of each of our sessions."""

        def connected(connection: Any, _record: Any) -> None:
            with closing(connection.cursor()) as cursor:
                cursor.execute(
                    f"SET SESSION lock_wait_timeout = {lock_s:d}, SESSION innodb_lock_wait_timeout = {lock_s:d}"
                )
                cursor.execute("SELECT VERSION()")
                if statement_s is not None and "MariaDB" in cursor.fetchone()[0]:
                    cursor.execute(f"SET SESSION max_statement_time = {statement_s:d}")

        sa.event.listen(engine, "connect", connected)

    def end_when_idle(self, connection: sa.Connection, limit: timedelta) -> None:
        """MySQL has a time-out for all who are connected to it, which is not ours to change; MariaDB one for each session."""
        if _is_mariadb(connection.dialect):
            seconds = max(1, round(limit.total_seconds()))
            connection.exec_driver_sql(f"SET SESSION idle_transaction_timeout = {seconds}")

    @contextmanager
    def limited(self, connection: sa.Connection, budget: Budget) -> Iterator[None]:
        """Limit each statement, and set the connection's own limit again afterwards."""
        mariadb = _is_mariadb(connection.dialect)
        variable = "max_statement_time" if mariadb else "max_execution_time"
        limit = budget.limit.total_seconds() if mariadb else budget.milliseconds
        with closing(connection.connection.cursor()) as cursor:
            cursor.execute(f"SELECT @@SESSION.{variable}")
            (before,) = cursor.fetchone()  # type: ignore[misc]
            cursor.execute(f"SET SESSION {variable} = {limit}")
        try:
            yield
        finally:
            if not connection.invalidated:
                with closing(connection.connection.cursor()) as cursor:
                    cursor.execute(f"SET SESSION {variable} = {before}")

    def _sizes(self, connection: sa.Connection, tables: Collection[sa.Table]) -> dict[str, int]:
        size = sa.text(
            "SELECT data_length + index_length FROM information_schema.tables "
            "WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :name"
        )
        return {
            table.fullname: connection.scalar(size, {"schema": table.schema, "name": table.name}) for table in tables
        }

    def _told_folder(self, connection: sa.Connection) -> str | None:
        found = connection.scalar(sa.text("SELECT @@datadir"))
        return None if found is None else str(found)

    @contextmanager
    def alone_with(self, connection: sa.Connection, table: sa.Table) -> Iterator[None]:
        got = connection.scalar(sa.select(sa.func.get_lock(table.fullname, 1)))
        try:
            if not got:
                raise sa.exc.OperationalError("GET_LOCK", None, Exception("another process has it"))
            yield
        finally:
            connection.scalar(sa.select(sa.func.release_lock(table.fullname)))

    def empty(self, connection: sa.Connection, table: sa.Table) -> None:
        """As everywhere; it commits first."""
        truncate(connection, table)

    def is_timeout(self, original: Any) -> bool:
        return bool(getattr(original, "args", ())[:1] in ((1969,), (3024,)))

    def is_conflict(self, error: sa.exc.DBAPIError) -> bool:
        """It says so where others say that a key is taken."""
        return super().is_conflict(error) or getattr(error.orig, "args", (None,))[0] in CONFLICTS

    def cause(self, original: Any) -> Cause | None:
        number = getattr(original, "errno", None) or next(iter(getattr(original, "args", ())), None)
        if not isinstance(number, int):
            return None
        if number == 1030 and re.search(r"\b28\b|No space", str(original)):
            return Cause.DISK_FULL
        return Cause.AWAY if 2000 <= number < 3000 or 12701 <= number < 12800 else CAUSES.get(number)

    def exact(self, column: str, kind: sa.types.TypeEngine[Any], dialect: Any) -> str:
        if isinstance(kind, sa.Float):
            return column if isinstance(kind, sa.Double) else f"CAST({column} AS DOUBLE)"
        # utf8mb4_bin, which both know, takes spaces at the end for nothing
        collation = "utf8mb4_nopad_bin" if _is_mariadb(dialect) else "utf8mb4_0900_bin"
        return f"CONVERT({column} USING utf8mb4) COLLATE {collation}"

    def one_of(self, column: str, values: str) -> str:
        return (
            f"{column} IN (SELECT v FROM JSON_TABLE({values}, '$[*]' "  # noqa: S608 - both are compiled by SQLAlchemy # nosec B608
            "COLUMNS (v TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$')) AS listed)"
        )


def _is_mariadb(dialect: Any) -> bool:
    return bool(getattr(dialect, "is_mariadb", False))


DATABASES = dict.fromkeys(("mysql", "mariadb"), MySQL())
