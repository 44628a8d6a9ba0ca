"""The table that says how far each spool is moved: `statistics_spool`."""

from __future__ import annotations

import sqlalchemy as sa

from ...models import own_table

NAME = "statistics_spool"
DATABASE = "database"
"""What the row of `statistics_spool` is called that has the random number of the database."""


def spool_table(metadata: sa.MetaData, schema: str | None) -> sa.Table:
    """`statistics_spool`: of each spool file, how far it is moved."""
    return own_table(
        metadata,
        schema,
        NAME,
        # random name of the file, or of a record that was set aside and is stored after all, or `DATABASE`
        sa.Column("spool", sa.String(32), primary_key=True),
        sa.Column("moved", sa.BigInteger, nullable=False),  # highest id that is in the raw table, or was refused by it
        # of the spool, for keys that the raw table's database does not make; NULL: it makes them
        sa.Column("number", sa.Integer, unique=True),
    )
