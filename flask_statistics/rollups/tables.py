"""The rollup tables, in the metadata of the user's model or of `STATISTICS_BIND_KEY`: `db.create_all()` and migrations see them.

`statistics_segment` has a row for each hour, day and month and audience, and for pieces of the present hour;
`statistics_rollup` the measures of each value in it, which can be queried by hand, `statistics_sets` what of them cannot be
added up, and `statistics_waits` what its requests waited for, as far as that is known; `statistics_index` answers
filters. Values and visitors are numbered in `statistics_value` and `statistics_visitor`. `statistics_hour` remembers how
many raw rows each hour was built from, `statistics_unfit` how many of them hold what cannot be, `statistics_meta` what holds
for all of it, `statistics_lease` who runs the job.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from ..models import moment, own_table

PIECE, HOUR, DAY, MONTH = "piece", "hour", "day", "month"
"""Units of segments. A piece is a part of an hour that is not over: what came in between two runs."""
PEOPLE, BOTS = 0, 1
"""Audiences. Where the model cannot tell, all are people."""
TOTAL = 0
"""Number of the dimension whose one value is all requests."""
WAIT = ":"
"""What the names of columns of what requests waited for begin with, where they stand beside those of dimensions."""

_INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_MOMENT = moment()
_BLOB = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
_VALUE = sa.Text().with_variant(mysql.LONGTEXT(charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")


@dataclass(frozen=True, slots=True)
class Tables:
    """The rollup tables of one metadata."""

    segment: sa.Table
    rollup: sa.Table
    sets: sa.Table
    waits: sa.Table
    index: sa.Table
    dimension: sa.Table
    value: sa.Table
    visitor: sa.Table
    hour: sa.Table
    unfit: sa.Table
    meta: sa.Table
    lease: sa.Table

    def all(self) -> list[sa.Table]:
        """Every table, to be created."""
        return [getattr(self, name) for name in self.__slots__]

    @property
    def of_segments(self) -> tuple[sa.Table, ...]:
        """Those whose rows are of segments, by `segment_id`."""
        return self.rollup, self.sets, self.waits, self.index


def define(metadata: sa.MetaData, schema: str | None = None) -> Tables:
    """The rollup tables in `metadata` and in `schema`; the ones that are there, if they were defined before."""
    return Tables(
        segment=own_table(
            metadata,
            schema,
            "statistics_segment",
            sa.Column("id", _INTEGER, primary_key=True, autoincrement=False),
            sa.Column("unit", sa.String(8), nullable=False),  # piece, hour, day or month
            sa.Column("start", _MOMENT, nullable=False),  # naive UTC
            sa.Column("end", _MOMENT, nullable=False),  # naive UTC, excluded
            sa.Column("audience", sa.SmallInteger, nullable=False),  # 0 people, 1 bots
            sa.Column("hits", _INTEGER, nullable=False),
            # whether its rows in statistics_index answer; if not, those of a larger segment do, or of a month's days
            sa.Column("detailed", sa.Boolean, nullable=False),
            sa.UniqueConstraint("unit", "start", "audience"),
        ),
        rollup=own_table(
            metadata,
            schema,
            "statistics_rollup",
            sa.Column("segment_id", _INTEGER, primary_key=True, autoincrement=False),
            sa.Column("dimension_id", sa.SmallInteger, primary_key=True, autoincrement=False),  # 0: all requests
            sa.Column("value_id", _INTEGER, primary_key=True, autoincrement=False),  # 0: none, 1: (other)
            sa.Column("hits", _INTEGER, nullable=False),
            sa.Column("client_errors", _INTEGER, nullable=False),
            sa.Column("server_errors", _INTEGER, nullable=False),
            sa.Column("size", _INTEGER, nullable=False),  # bytes
            sa.Column("time_us", _INTEGER, nullable=False),  # microseconds
            sa.Column("timed", _INTEGER, nullable=False),  # requests that have a response time
            sa.Column("longest_us", _INTEGER, nullable=False),  # microseconds
            sa.Column("last", _MOMENT),  # date of the latest request, naive UTC
            sa.Column("visitors", _INTEGER, nullable=False),  # distinct; cannot be added over segments
            sqlite_with_rowid=False,
        ),
        sets=own_table(
            metadata,
            schema,
            "statistics_sets",
            sa.Column("segment_id", _INTEGER, primary_key=True, autoincrement=False),
            sa.Column("dimension_id", sa.SmallInteger, primary_key=True, autoincrement=False),
            sa.Column("value_id", _INTEGER, primary_key=True, autoincrement=False),
            sa.Column("visitors", _BLOB, nullable=False),  # visitor ids
            sa.Column("latency", _BLOB, nullable=False),  # requests by latency bin
            sqlite_with_rowid=False,
        ),
        waits=own_table(
            metadata,
            schema,
            "statistics_waits",
            sa.Column("segment_id", _INTEGER, primary_key=True, autoincrement=False),
            sa.Column("dimension_id", sa.SmallInteger, primary_key=True, autoincrement=False),
            sa.Column("value_id", _INTEGER, primary_key=True, autoincrement=False),
            sa.Column("wait", sa.String(16), primary_key=True),  # the column of the raw table, such as `db_time`
            sa.Column("total", _INTEGER, nullable=False),  # microseconds, or counts
            sa.Column("known", _INTEGER, nullable=False),  # requests that have a value; without any there is no row
            sa.Column("highest", _INTEGER, nullable=False),
            sa.Column("bins", _BLOB, nullable=False),  # requests by bin
            sqlite_with_rowid=False,
        ),
        index=own_table(
            metadata,
            schema,
            "statistics_index",
            sa.Column("segment_id", _INTEGER, primary_key=True, autoincrement=False),
            sa.Column("part", sa.String(40), primary_key=True),  # what of the segment, such as `browser` or `:visitors`
            sa.Column("content", _BLOB, nullable=False),
        ),
        dimension=own_table(
            metadata,
            schema,
            "statistics_dimension",
            sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
            sa.Column("name", sa.String(64), nullable=False, unique=True),
            sa.Column(
                "made_by", sa.String(64), nullable=False
            ),  # fingerprint of column and function; empty: of none now
            sa.Column("since", _MOMENT),  # segments from before do not know it, naive UTC; NULL: all do
        ),
        value=own_table(
            metadata,
            schema,
            "statistics_value",
            sa.Column("id", _INTEGER, primary_key=True, autoincrement=False),
            sa.Column("dimension_id", sa.SmallInteger, nullable=False),
            sa.Column(
                "hash", sa.BigInteger, nullable=False
            ),  # of the text, which is too long for an index; several may share it
            sa.Column("text", _VALUE, nullable=False),
            sa.Index("ix_statistics_value_hash", "dimension_id", "hash"),
        ),
        visitor=own_table(
            metadata,
            schema,
            "statistics_visitor",
            sa.Column("hash", sa.BigInteger, primary_key=True, autoincrement=False),  # keyed; no address is stored
            sa.Column("id", _INTEGER, nullable=False),
            sa.Column("network", sa.String(43)),  # of the address; NULL for what is none
            sqlite_with_rowid=False,
        ),
        hour=own_table(
            metadata,
            schema,
            "statistics_hour",
            sa.Column("start", _MOMENT, primary_key=True),  # naive UTC
            sa.Column("raw_rows", _INTEGER, nullable=False),
        ),
        unfit=own_table(
            metadata,
            schema,
            "statistics_unfit",
            sa.Column("start", _MOMENT, primary_key=True),  # of an hour or a piece of one, naive UTC
            sa.Column("raw_rows", _INTEGER, nullable=False),  # rows of which something was left out
            sa.Column("names", sa.String(200), nullable=False),  # columns and dimensions that were, with commas
        ),
        meta=own_table(
            metadata,
            schema,
            "statistics_meta",
            sa.Column("name", sa.String(40), primary_key=True),
            sa.Column("text", sa.Text, nullable=False),
        ),
        lease=own_table(
            metadata,
            schema,
            "statistics_lease",
            sa.Column("name", sa.String(40), primary_key=True),
            sa.Column("holder", sa.String(80), nullable=False),
            sa.Column("expires_at", _MOMENT, nullable=False),  # naive UTC
        ),
    )
