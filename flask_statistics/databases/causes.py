"""Why a database did not take what it was given: whose fault it is, and what helps."""

from __future__ import annotations

import enum

ROW_REFUSED = "The table refused the row: do its columns, constraints and triggers allow what is recorded?"


class Cause(enum.Enum):
    """Why; its value is what the operator can do about it."""

    AWAY = "Is the database running and reachable?"
    DENIED = "The database refuses the app's user: check its password, and its rights on the tables."
    NO_TABLE = "A table is missing: run 'flask statistics init' once, or make a migration."
    NO_COLUMN = "The table lacks a column that the model has: make a migration, or run 'flask statistics init --alter'."
    OTHER_TYPE = "A column of the table has another type than in the model, or a function is missing: make a migration."
    LOCKED = "Another transaction holds a lock, as a migration or a forgotten session does: it is over when that ends."
    CONFLICT = "Another transaction was in the way; it is tried again."
    DISK_FULL = (
        "The disk of the database is full: make room on it. 'flask statistics status' shows what is large, and "
        "'flask statistics prune' deletes by the retention settings."
    )
    READ_ONLY = "The database takes no writes: is it a standby, or are its file and folder read-only?"
    EXHAUSTED = "The database has no connections or no memory left: raise its limits, or lower pool_size in the app."
    POOL = "Does the app give its connections back? Or raise pool_size in SQLALCHEMY_ENGINE_OPTIONS."
    STOPPED = "The database stopped the statement, as it took too long or somebody ended it; it is tried again."
    BROKEN = "The database reports damage, or a disk that fails: its own log says more."
    ROW = ROW_REFUSED
    UNKNOWN = "The database's own log may say more."


BY_COMMAND = (Cause.AWAY, Cause.NO_TABLE, Cause.UNKNOWN)
"""What each command has words of its own for."""
