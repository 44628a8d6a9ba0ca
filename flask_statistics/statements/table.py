"""The tables of statements: `statistics_statement` has each once, `statistics_query` what it took, hour by hour.

A statement is one text without literals, sent for one route from one place of the code; it is known by the hash of these
three, of 128 bits, so that no two are one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from ..models import moment, own_table

STATEMENT = "statistics_statement"
QUERY = "statistics_query"
HASH = 32
"""Characters of a hash."""
EPOCH = datetime(1970, 1, 1)
"""Hours are counted from it."""

_TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")
_INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


@dataclass(frozen=True, slots=True)
class Tables:
    """Both tables of one metadata."""

    statement: sa.Table
    query: sa.Table


def define(metadata: sa.MetaData, schema: str | None) -> Tables:
    """Both tables in `metadata`, so that `db.create_all()` and Flask-Migrate make them."""
    return Tables(
        statement=own_table(
            metadata,
            schema,
            STATEMENT,
            sa.Column("id", sa.String(HASH), primary_key=True),  # hash of digest, place and route
            sa.Column("digest", sa.String(HASH), nullable=False),  # of the text, all of it
            sa.Column("text", _TEXT, nullable=False),  # without literals, the beginning
            sa.Column("place", _TEXT),  # shop/views.py:41; NULL: from nowhere in the app's files
            sa.Column("route", _TEXT),  # NULL: no route answered
            sa.Column("seen_at", moment(), nullable=False),  # naive UTC, when it was sent last
        ),
        query=own_table(
            metadata,
            schema,
            QUERY,
            sa.Column("start", moment(), primary_key=True),  # of the hour, naive UTC
            sa.Column("statement", sa.String(HASH), primary_key=True),
            sa.Column("calls", _INTEGER, nullable=False),
            sa.Column("requests", _INTEGER, nullable=False),  # that sent it
            sa.Column("repeated", _INTEGER, nullable=False),  # of these, those that sent it so often that it is a loop
            sa.Column("total_us", _INTEGER, nullable=False),  # of all calls
            sa.Column("longest_us", _INTEGER, nullable=False),
            sa.Column("times", _TEXT, nullable=False),  # calls by latency bin, as `packed` writes them
        ),
    )


def packed(bins: Mapping[int, int]) -> str:
    """A histogram as text: `241:5 242:17`, the bins of `latency` with their counts."""
    return " ".join(f"{number}:{count}" for number, count in sorted(bins.items()))


def add_packed(bins: dict[int, int], text: str) -> None:
    """Add the histogram in `text` to `bins`."""
    for pair in text.split():
        number, _, count = pair.partition(":")
        key = int(number)
        bins[key] = bins.get(key, 0) + int(count)
