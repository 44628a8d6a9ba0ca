"""The table of the lines of logs that were imported: `statistics_import`."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from ..models import moment, own_table

NAME = "statistics_import"


def import_table(metadata: sa.MetaData, schema: str | None) -> sa.Table:
    """`statistics_import` in the raw table's metadata, so that `db.create_all()` and Flask-Migrate make it."""
    return own_table(
        metadata,
        schema,
        NAME,
        sa.Column("start", moment(), primary_key=True),  # naive UTC, of a time of `BUCKET`
        sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),  # one for each batch that had lines of it
        sa.Column("lines", sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb"), nullable=False),
    )
