"""What a database's error says, by its code and not by the class of its driver's: these call a dead shard, a lock and a full
disk what they call a missing table.
"""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa

from . import known
from .causes import Cause

_MISSING_TABLE = re.compile(
    r"no such table: (\S+)|relation \"([^\"]+)\" does not exist|Table '([^']+)' doesn't exist|"
    r"Unknown table expression identifier '([^']+)'"
)
_MISSING_COLUMN = re.compile(
    r"no column named (\S+)|no such column: (\S+)|column \"([^\"]+)\" of relation|Unknown column '([^']+)'"
)


def cause_of(error: BaseException) -> Cause:
    """Why the database failed with `error`, by its codes."""
    if isinstance(error, sa.exc.TimeoutError):
        return Cause.POOL
    if not isinstance(error, sa.exc.DBAPIError):
        # a value that the driver, or a type of the user's, does not take
        return Cause.ROW if isinstance(error, sa.exc.StatementError) else Cause.UNKNOWN
    original: Any = error.orig
    found = next(filter(None, (database.cause(original) for database in known())), None)
    if found is not None:
        return found
    if error.connection_invalidated or isinstance(error, sa.exc.InterfaceError) or error.statement is None:
        return Cause.AWAY
    return Cause.ROW if isinstance(error, (sa.exc.DataError, sa.exc.IntegrityError)) else Cause.UNKNOWN


def blames_row(error: BaseException) -> bool | None:
    """Whether it is for a row's own sake that the database failed with `error`; None: its codes do not tell."""
    cause = cause_of(error)
    return None if cause is Cause.UNKNOWN else cause is Cause.ROW


def is_known(error: BaseException) -> bool:
    """Whether `fix` says all that there is to know, so that nobody needs a traceback."""
    return cause_of(error) not in (Cause.ROW, Cause.UNKNOWN)


def fix(error: BaseException) -> str:
    """What the operator can do about `error`, in a sentence or two; with the table or column that is missing."""
    cause, text = cause_of(error), str(getattr(error, "orig", error))
    table = _MISSING_TABLE.search(text)
    if cause is Cause.NO_TABLE and table is not None:
        name = next(filter(None, table.groups())).rpartition(".")[2]
        return f"The table {name!r} is missing: run 'flask statistics init' once, or make a migration."
    column = _MISSING_COLUMN.search(text)
    if cause is Cause.NO_COLUMN and column is not None:
        name = next(filter(None, column.groups())).rpartition(".")[2]
        return (
            f"The table lacks the column {name!r} that the model has: make a migration, or run "
            "'flask statistics init --alter'."
        )
    return cause.value
