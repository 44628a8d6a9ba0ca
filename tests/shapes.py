"""Raw tables of other shapes, made by the very SQL that docs/scaling.md shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import sqlalchemy as sa

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
SHAPES = {"partitioned": "A raw table in partitions", "sharded": "A raw table on several servers"}
"""The end of a database's name, and where the page says how its raw table is made."""

shard_hosts: list[str] = []
"""Where the servers that have raw rows listen, while they run."""


def sql_of(heading: str) -> str:
    """The first block of SQL under a heading of docs/scaling.md."""
    section = PAGE.read_text("utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    found = re.search(r"```sql\n(.*?)```", section, re.DOTALL)
    assert found is not None, heading
    return found[1]


def create_all(engine: sa.Engine, metadata: sa.MetaData, raw: sa.Table | None) -> None:
    """Create all tables, the raw table in the shape that the database's name says, or as it is made in ClickHouse."""
    if engine.dialect.name == "clickhousedb":
        assert raw is not None, "only a raw table can be there"
        if not sa.inspect(engine).has_table(raw.name):
            with engine.begin() as connection:
                connection.exec_driver_sql(sql_of("ClickHouse"))
        return
    heading = SHAPES.get((engine.url.database or "").rpartition("_")[2])
    if raw is None or heading is None or sa.inspect(engine).has_table(raw.name):
        metadata.create_all(engine)
        return
    metadata.create_all(engine)
    sql = sql_of(heading).replace("dbname 'app'", f"dbname '{engine.url.database}'").replace("'secret'", "''")
    sql = sql.replace("user 'app'", "user 'postgres'")
    for number, shard in enumerate(shards_of(engine.url)):
        make_plain(shard, metadata, raw)
        sql = sql.replace(f"host '10.0.0.1{number}'", f"host '{shard.query['host']}'")
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP EXTENSION IF EXISTS postgres_fdw CASCADE")
        driver: Any = connection.connection
        driver.execute(sql)  # several statements, and signs of per cent


def shards_of(url: sa.URL) -> list[sa.URL]:
    """The database of the same name on each server that has raw rows of its own; none in other shapes."""
    hosts = shard_hosts if (url.database or "").endswith("_sharded") else []
    return [url.set(query={"host": host}) for host in hosts]


def make_plain(url: sa.URL, metadata: sa.MetaData, raw: sa.Table) -> None:
    """An empty plain raw table in another database."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    metadata.drop_all(engine, tables=[raw])
    metadata.create_all(engine, tables=[raw])
