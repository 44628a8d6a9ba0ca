"""What readers keep: marks, which say what happened when, and saved views. Their tables, and how they are read and changed.

Both are few, so that one statement reads all of them for a page. Of marks there are two kinds: those that somebody made, and
releases, each since it was first seen. That is stored, and not asked for: to find the first request of a release takes all of the
raw table, or all of the rollups, and does not change any more. `releases_seen` stores it, at most once a process.
An instant is to the minute, as URLs have it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from .config import LONGEST_NAME, MOST_VIEWS
from .models import moment, own_table, text

MARK = "statistics_mark"
VIEW = "statistics_view"
RELEASE, EVENT = "release", "event"
"""The kinds of marks: the app's releases, and what somebody marked."""
MOST_MARKS = 100
"""Of each kind. Of releases the latest are kept."""
LONGEST_TEXT = 64
"""Characters of a mark, as many as a release has."""
LONGEST_URL = 2_000
"""Characters of what a saved view shows."""
ID = 32
"""Characters of the hashes by which they are told apart."""


class Full(Exception):
    """There are as many as there may be."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened."""

    text: str
    at: datetime
    """Naive UTC, to the minute."""
    kind: str = EVENT

    @property
    def id(self) -> str:
        """The same for the same one: of a release its name alone, as it is first seen once."""
        return _hash(self.kind, self.text, "" if self.kind == RELEASE else self.at.isoformat())


@dataclass(frozen=True, slots=True)
class SavedView:
    """A view with a name."""

    name: str
    url: str
    """Of the page, from the dashboard's own URL on: `errors?span=28d`."""

    @property
    def id(self) -> str:
        """The same for the same name."""
        return _hash(self.name)


@dataclass(frozen=True, slots=True)
class Kept:
    """All that is kept."""

    marks: tuple[Mark, ...] = ()
    """The oldest first."""
    views: tuple[SavedView, ...] = ()
    """In the order in which they were saved first."""


@dataclass(frozen=True, slots=True)
class Tables:
    """Both tables of one metadata."""

    mark: sa.Table
    view: sa.Table


def define(metadata: sa.MetaData, schema: str | None) -> Tables:
    """Both tables in `metadata`, so that `db.create_all()` and Flask-Migrate make them."""
    return Tables(
        mark=own_table(
            metadata,
            schema,
            MARK,
            sa.Column("id", sa.String(ID), primary_key=True),  # hash of kind, text and, but for releases, the instant
            sa.Column("kind", text(16), nullable=False),  # release, or event
            sa.Column("text", text(LONGEST_TEXT), nullable=False),
            sa.Column("at", moment(), nullable=False),  # naive UTC, to the minute
        ),
        view=own_table(
            metadata,
            schema,
            VIEW,
            sa.Column("id", sa.String(ID), primary_key=True),  # hash of the name
            sa.Column("name", text(LONGEST_NAME), nullable=False),
            sa.Column("url", text(LONGEST_URL), nullable=False),  # of the page, from the dashboard's own URL on
            sa.Column("at", moment(), nullable=False),  # naive UTC, when it was saved first
        ),
    )


def read(connection: sa.Connection, tables: Tables) -> Kept:
    """All marks and saved views, in one statement. Raises what the database does, also where a table is missing."""
    mark, view = tables.mark.c, tables.view.c
    both = sa.union_all(
        sa.select(mark.kind, mark.text, mark.at, sa.literal("", text(LONGEST_URL)).label("url")),
        sa.select(sa.literal(VIEW, text(16)), view.name, view.at, view.url),
    )
    rows = sorted(connection.execute(both), key=lambda row: (row.at, row.text))
    return Kept(
        tuple(Mark(row.text, row.at, row.kind) for row in rows if row.kind != VIEW),
        tuple(SavedView(row.text, row.url) for row in rows if row.kind == VIEW),
    )


def checked(name: str, text: object, longest: int) -> str:
    """A text that somebody entered, without blanks around it.

    Raises `ValueError` for one that is empty, too long or not to be seen.
    """
    found = text.strip() if isinstance(text, str) else ""
    if not found or len(found) > longest or not found.isprintable():
        raise ValueError(f"{name} is {text!r:.100}, but must be a text of 1 to {longest} characters that can be seen")
    return found


# ---- marks -----------------------------------------------------------------------------------------------------------


def add_mark(connection: sa.Connection, tables: Tables, mark: Mark) -> None:
    """Keep a mark that somebody made; nothing where it is kept already. Raises `Full`, and what the database does."""
    table = tables.mark
    of_its_kind = list(connection.scalars(sa.select(table.c.id).where(table.c.kind == mark.kind)))
    if mark.id in of_its_kind:
        return
    if len(of_its_kind) >= MOST_MARKS:
        raise Full(f"{MOST_MARKS} marks are kept already: delete one first, by 'flask statistics mark TEXT --delete'.")
    _insert_mark(connection, table, mark)


def note_releases(connection: sa.Connection, tables: Tables, seen: Iterable[Mark]) -> int:
    """Keep since when releases are seen, the latest `MOST_MARKS` of them: how many changed. One that is known moves only back."""
    table, changed = tables.mark, 0
    rows = connection.execute(sa.select(table.c.id, table.c.at).where(table.c.kind == RELEASE))
    known = {row.id: row.at for row in rows}
    for mark in seen:
        before = known.get(mark.id)
        if before is None:
            _insert_mark(connection, table, mark)
        elif mark.at < before:
            connection.execute(sa.update(table).where(table.c.id == mark.id).values(at=mark.at))
        else:
            continue
        known[mark.id], changed = mark.at, changed + 1
    oldest = sorted(known, key=lambda each: known[each], reverse=True)[MOST_MARKS:]
    if oldest:
        connection.execute(sa.delete(table).where(table.c.id.in_(oldest)))
    return changed


def delete_mark(connection: sa.Connection, tables: Tables, key: str) -> bool:
    """Delete the mark with the id `key`; whether there was one."""
    return connection.execute(sa.delete(tables.mark).where(tables.mark.c.id == key)).rowcount > 0


def _insert_mark(connection: sa.Connection, table: sa.Table, mark: Mark) -> None:
    values = {"id": mark.id, "kind": mark.kind, "text": mark.text, "at": mark.at}
    connection.execute(sa.insert(table).values(values))


# ---- saved views -----------------------------------------------------------------------------------------------------


def save_view(connection: sa.Connection, tables: Tables, view: SavedView, now: datetime) -> None:
    """Keep a view, in the stead of one of its name. Raises `Full`, and what the database does."""
    table = tables.view
    known = list(connection.scalars(sa.select(table.c.id)))
    if view.id in known:
        connection.execute(sa.update(table).where(table.c.id == view.id).values(url=view.url))
        return
    if len(known) >= MOST_VIEWS:
        raise Full(f"{MOST_VIEWS} views are saved already: delete one first.")
    values = {"id": view.id, "name": view.name, "url": view.url, "at": now}
    connection.execute(sa.insert(table).values(values))


def delete_view(connection: sa.Connection, tables: Tables, key: str) -> bool:
    """Delete the saved view with the id `key`; whether there was one."""
    return connection.execute(sa.delete(tables.view).where(tables.view.c.id == key)).rowcount > 0


def _hash(*texts: str) -> str:
    joined = "\0".join(texts).encode("utf-8", "surrogatepass")
    return hashlib.sha256(joined).hexdigest()[:ID]
