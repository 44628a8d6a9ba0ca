"""What is special about each database: one file for one database, which overrides what `base.Database` does everywhere else.

To add a database is to add a file, a line in `FILES`, and a row of the contract suite.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

import sqlalchemy as sa

from .base import Database

FILES = {
    "sqlite": "sqlite",
    # before PostgreSQL, as MySQL's drivers may have an SQLSTATE beside their number, which says more
    "mysql": "mysql",
    "mariadb": "mysql",
    "postgresql": "postgresql",
    "cockroachdb": "postgresql",
    "clickhousedb": "clickhouse",
}
"""The file of each dialect of SQLAlchemy's; it is imported when an engine, or its URL, names the dialect."""

WHEN_NAMED = ("clickhousedb",)
"""Dialects whose files are imported only where an engine or a URL names them."""
_imported: list[Database] = []
"""Those of them that are."""


def of(bound: sa.Engine | sa.Connection) -> Database:
    """What is special about the database of an engine or a connection."""
    return named(bound.dialect.name)


@cache
def named(dialect: str) -> Database:
    """What is special about a database, by the name of its dialect; of one that nobody knows, nothing is."""
    file = FILES.get(dialect)
    found = Database() if file is None else import_module(f".{file}", __name__).DATABASES[dialect]
    if dialect in WHEN_NAMED:
        _imported.append(found)
    return found


def named_by_url(url: str) -> Database:
    """What is special about the database of a URL of SQLAlchemy's; its driver need not be there."""
    return named(url.partition(":")[0].partition("+")[0])


def known() -> tuple[Database, ...]:
    """The databases whose errors this process can meet, one for each file, in the order in which they are asked."""
    others = {file: named(dialect) for dialect, file in reversed(FILES.items()) if dialect not in WHEN_NAMED}
    sqlite, *rest = reversed(others.values())  # whose errors have a class of their own
    return (sqlite, *_imported, *rest)


__all__ = ["Database", "known", "named", "named_by_url", "of"]
