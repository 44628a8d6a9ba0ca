"""What was set aside: records that the raw table refused, with the reason. They are kept until they are stored, or dropped."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from .notes import Notes, meta_of


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that was set aside."""

    number: int
    """Its id."""
    record: bytes
    error: str
    """Why it was refused last, in one line."""
    spool: str
    """Random name of the spool that it was in."""
    fields: str
    """What it consists of."""
    tries: int
    """How often it was tried again."""


class Aside:
    """What was set aside of one spool, in the SQLite file beside its journal."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    def put(self, number: int, record: bytes, error: str, *, spool: str, fields: str, next_at: float | None) -> None:
        """Keep the record as one that the raw table refused. It goes on waiting until it is forgotten.

        `next_at` is when to try it again, seconds since 1970; None: never, unless somebody asks for it.
        """
        values = (number, record, error, spool, fields, next_at)
        self._notes.in_transaction(
            lambda connection: connection.execute(
                "INSERT OR REPLACE INTO set_aside VALUES (?, ?, ?, ?, ?, 0, ?)", values
            )
        )

    def latest(self, most: int, *, due_at: float | None = None) -> list[Refused]:
        """The latest, `most` at most, oldest first; with `due_at` only those to be tried by then."""

        def read(connection: sqlite3.Connection) -> list[Refused]:
            query = (
                "SELECT id, record, error, spool, fields, tries FROM set_aside WHERE id <= ? "
                "AND (? IS NULL OR next_at <= ?) ORDER BY id DESC LIMIT ?"
            )
            values = (self._notes.moved_of(meta_of(connection)), due_at, due_at, most)
            return [Refused(*row) for row in connection.execute(query, values)]

        return self._notes.in_transaction(read)[::-1]

    def count(self) -> int:
        """How many there are."""

        def count(connection: sqlite3.Connection) -> int:
            query = "SELECT count(*) FROM set_aside WHERE id <= ?"
            return int(connection.execute(query, (self._notes.moved_of(meta_of(connection)),)).fetchone()[0])

        return self._notes.in_transaction(count)

    def refuse_again(self, number: int, error: str, *, next_at: float | None) -> None:
        """Note that one was tried again, and refused once more."""
        self._notes.in_transaction(
            lambda connection: connection.execute(
                "UPDATE set_aside SET error = ?, tries = tries + 1, next_at = ? WHERE id = ?", (error, next_at, number)
            )
        )

    def take_out(self, *numbers: int) -> None:
        """Keep those no longer: they are stored, or not wanted."""
        self._notes.in_transaction(
            lambda connection: connection.executemany("DELETE FROM set_aside WHERE id = ?", [(n,) for n in numbers])
        )
