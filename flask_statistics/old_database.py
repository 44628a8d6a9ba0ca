"""Finds a SQLite database that an upgrade of Flask-SQLAlchemy left behind.

Version 2 took `sqlite:///app.db` to be beside the app, version 3 takes it to be in the instance folder: after the upgrade
there is a new, empty file, and the history seems to be gone.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa


def left_behind(url: str | sa.URL | None, *, root: str, instance: str, table: str) -> str | None:
    """A sentence that names the older file with rows of `table`, while the one that is used has none; else None.

    `url` is as configured, `root` the app's folder and `instance` its instance folder. Reads both files; neither is changed.
    """
    try:
        made = sa.make_url(url or "")
    except sa.exc.ArgumentError:
        return None
    name = made.database
    if made.get_backend_name() != "sqlite" or not name or name == ":memory:" or name.startswith("file:"):
        return None
    old, new = Path(root) / name, Path(instance) / name
    if old == new or not old.is_file() or _has_rows(new, table) or not _has_rows(old, table):
        return None
    return (
        f"The database {new} has no requests, but {old} does: Flask-SQLAlchemy 3 looks for it in the instance folder. Move "
        f"the old file there, or set SQLALCHEMY_DATABASE_URI to sqlite:///{old}."
    )


def _has_rows(path: Path, table: str) -> bool:
    """Whether that file is a SQLite database whose `table` has a row."""
    if not path.is_file() or not path.stat().st_size:
        return False
    quoted = table.replace('"', '""')
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=1)) as connection:
            return connection.execute(f'SELECT 1 FROM "{quoted}" LIMIT 1').fetchone() is not None  # noqa: S608 # nosec B608
    except sqlite3.Error:  # no database, or no such table in it
        return False
