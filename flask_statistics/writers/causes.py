"""Why a database or a folder did not take what it was given: whose fault it is, and what helps.

By the codes of each database, not by the classes of its driver: these call a dead shard, a lock and a full disk what they
call a missing table.
"""

from __future__ import annotations

import enum
import errno
import re
import shutil
from pathlib import Path
from typing import Any

import sqlalchemy as sa

ROW_REFUSED = "The table refused the row: do its columns, constraints and triggers allow what is recorded?"


class Cause(enum.Enum):
    """Why; its value is what the operator can do about it."""

    AWAY = "Is the database running and reachable?"
    DENIED = "The database refuses the app's user: check its password, and its rights on the tables."
    NO_TABLE = "A table is missing: run 'flask statistics init' once, or make a migration."
    NO_COLUMN = "The table lacks a column that the model has: make a migration, or run 'flask statistics init --alter'."
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

SQLSTATES = {
    "08": Cause.AWAY,  # also a server behind a foreign table
    "21": Cause.ROW,
    "22": Cause.ROW,
    "23": Cause.ROW,
    "25006": Cause.READ_ONLY,
    "25": Cause.STOPPED,
    "28": Cause.DENIED,
    "3D": Cause.AWAY,
    "3F": Cause.NO_TABLE,
    "40": Cause.CONFLICT,
    "42501": Cause.DENIED,
    "42P01": Cause.NO_TABLE,
    "42703": Cause.NO_COLUMN,
    "42": Cause.NO_COLUMN,
    "44": Cause.ROW,
    "53100": Cause.DISK_FULL,
    "53": Cause.EXHAUSTED,
    "54": Cause.ROW,  # an index row that is too large
    "55": Cause.LOCKED,
    "57014": Cause.STOPPED,
    "57": Cause.AWAY,
    "58": Cause.BROKEN,
    "F0": Cause.BROKEN,
    "HV": Cause.AWAY,  # a foreign server
    "XX": Cause.BROKEN,
}
"""PostgreSQL, by as many signs of the code as are needed. P0001, what a trigger raises, can be anybody's."""

MYSQL = {
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

SQLITE = {
    **dict.fromkeys((5, 6, 17), Cause.LOCKED),
    3: Cause.DENIED,
    7: Cause.EXHAUSTED,
    8: Cause.READ_ONLY,
    9: Cause.STOPPED,
    10: Cause.BROKEN,
    11: Cause.BROKEN,
    13: Cause.DISK_FULL,
    14: Cause.AWAY,
    15: Cause.LOCKED,
    18: Cause.ROW,
    19: Cause.ROW,
    20: Cause.ROW,
    22: Cause.BROKEN,
    23: Cause.DENIED,
    26: Cause.BROKEN,
}
"""Primary result codes; 1 stands for anything."""
SQLITE_TEXTS = {
    "locked": Cause.LOCKED,
    "schema has changed": Cause.LOCKED,
    "full": Cause.DISK_FULL,
    "readonly": Cause.READ_ONLY,
    "unable to open": Cause.AWAY,
    "disk I/O error": Cause.BROKEN,
    "malformed": Cause.BROKEN,
    "not a database": Cause.BROKEN,
    "interrupted": Cause.STOPPED,
    "no such table": Cause.NO_TABLE,
    "no column named": Cause.NO_COLUMN,
    "no such column": Cause.NO_COLUMN,
}
"""Where there is no code: before Python 3.11, and for 1."""

CLICKHOUSE = {
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
    # the number first: MySQL's drivers may have an SQLSTATE too, which says less
    found = _by_sqlite(original) or _by_number(original) or _by_state(original)
    if found is not None:
        return found
    if error.connection_invalidated or isinstance(error, sa.exc.InterfaceError) or error.statement is None:
        return Cause.AWAY
    return Cause.ROW if isinstance(error, (sa.exc.DataError, sa.exc.IntegrityError)) else Cause.UNKNOWN


def blames_row(error: BaseException) -> bool | None:
    """Whether it is for a row's own sake that the database failed with `error`; None: its codes do not tell."""
    cause = cause_of(error)
    return None if cause is Cause.UNKNOWN else cause is Cause.ROW


def _by_state(original: Any) -> Cause | None:
    state = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)
    if not isinstance(state, str) or len(state) != 5:
        return None
    return next((SQLSTATES[state[:length]] for length in (5, 2) if state[:length] in SQLSTATES), None)


def _by_sqlite(original: Any) -> Cause | None:
    if not type(original).__module__.startswith(("sqlite3", "pysqlite3", "sqlcipher3")):
        return None
    code = getattr(original, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in SQLITE:
        return SQLITE[code & 0xFF]
    return next((cause for text, cause in SQLITE_TEXTS.items() if text in str(original)), None)


def _by_number(original: Any) -> Cause | None:
    clickhouse = re.search(r"\bCode: (\d+)\b", str(original))
    if clickhouse is not None:
        return CLICKHOUSE.get(int(clickhouse[1]))
    number = getattr(original, "errno", None) or next(iter(getattr(original, "args", ())), None)
    if not isinstance(number, int):
        return None
    if number == 1030 and re.search(r"\b28\b|No space", str(original)):
        return Cause.DISK_FULL
    return Cause.AWAY if 2000 <= number < 3000 or 12701 <= number < 12800 else MYSQL.get(number)


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


def fix_folder(error: Exception, folder: Path) -> str:
    """What the operator can do about `error`, which the spool's folder or a file in it gave."""
    number = getattr(error, "errno", None)
    other = "Or name another folder by STATISTICS_SPOOL_PATH."
    if number in (errno.ENOSPC, errno.EDQUOT) or "database or disk is full" in str(error):
        return f"The disk of {folder} is full{_free(folder)}: make room on it. {other}"
    if number in (errno.EACCES, errno.EPERM):
        return f"The app's user may not write to {folder}: give it the folder (chown). {other}"
    if number == errno.EROFS or "readonly database" in str(error):
        return f"{folder} is read-only: mount it to be written, or give the app's user the right to. {other}"
    if number in (errno.ENOTDIR, errno.EEXIST):
        return f"A file is in the way of the folder {folder}: move it. {other}"
    if number in (errno.EMFILE, errno.ENFILE):
        return "The process has too many files open: raise its limit (ulimit -n)."
    if number in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
        return f"The file system of {folder} has no locks, as a network drive may: name a local disk by STATISTICS_SPOOL_PATH."
    return f"Is the disk of {folder} there and whole? {other}"


def _free(folder: Path) -> str:
    """How much is free where the folder is, or shall be."""
    path = next((path for path in (folder, *folder.absolute().parents) if path.exists()), folder)
    try:
        return f" ({shutil.disk_usage(path).free // 1024:,} kB free)"
    except OSError:  # the disk is gone, and not only full
        return ""
