"""What became of issues: the table `statistics_issue` has those that somebody resolved or ignored; all others are open.

An issue that was resolved comes back, as *again*, with the first request that has it in a release in which it was not seen
before; where requests have no release, with the first request after that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from .dimensions import Value
from .filters import Filters
from .issues.text import LONGEST
from .kept import Full
from .models import moment, own_table
from .queries.answers import Group
from .queries.interface import Queries
from .spans import Span
from .writers.transaction import commit

NAME = "statistics_issue"
OPEN, RESOLVED, IGNORED = "open", "resolved", "ignored"
STATES = (OPEN, RESOLVED, IGNORED)
LONGEST_RELEASE = 64
MOST_DECISIONS = 5_000
MOST_GROUPS = 20_000
"""Releases of issues that are looked at, of all that is kept."""
WAIT_MS = 1_000
"""For a SQLite database that another one writes."""

Connect = Callable[[], AbstractContextManager[sa.Connection]]
_TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")


def issue_table(metadata: sa.MetaData, schema: str | None) -> sa.Table:
    """`statistics_issue` in `metadata`, so that `db.create_all()` and Flask-Migrate make it."""
    return own_table(
        metadata,
        schema,
        NAME,
        sa.Column("id", sa.String(64), primary_key=True),  # hash of the text, of 256 bits, so that no two are one
        sa.Column("issue", _TEXT, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),  # resolved or ignored
        sa.Column("release", _TEXT),  # in which it is resolved; NULL: in whichever comes next
        sa.Column("changed_at", moment(), nullable=False),  # naive UTC
    )


@dataclass(frozen=True, slots=True)
class Decision:
    """What somebody decided about an issue."""

    state: str
    release: str | None
    """In which it is resolved; None: in whichever comes next."""
    changed_at: datetime
    """Naive UTC."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How an issue stands."""

    state: str
    """One of `STATES`."""
    is_again: bool = False
    """Whether it is open because it came back."""
    release: str | None = None
    """In which it is resolved, or was."""


class IssueStates:
    """Reads and changes what was decided about the issues of one app."""

    def __init__(self, table: sa.Table, *, reading: Connect | None, writing: Callable[[], sa.Engine]) -> None:
        """`reading` connects to the table where it is not beside what pages read; None: it is."""
        self._table = table
        self._reading = reading
        self._writing = writing

    def decisions(self, queries: Queries) -> dict[str, Decision]:
        """All decisions, by issue, read where `queries` reads.

        In SQLite a second connection would wait for a writer that waits for the first.
        """
        if self._reading is None:
            return queries.beside(self._read)
        with self._reading() as connection:
            return self._read(connection)

    def _read(self, connection: sa.Connection) -> dict[str, Decision]:
        table = self._table.c
        rows = connection.execute(sa.select(table.issue, table.state, table.release, table.changed_at)).all()
        return {row.issue: Decision(row.state, row.release, row.changed_at) for row in rows}

    def decide(self, issue: str, state: str, *, release: str | None, now: datetime) -> None:
        """Let an issue have another state, in a short transaction of our own.

        Raises `ValueError` for what is no state, `Full`, `Locked` and what the database does.
        """
        if state not in STATES:
            raise ValueError(f"state is {state!r:.100}, but must be one of {', '.join(STATES)}")
        values = {"issue": issue, "state": state, "release": release or None, "changed_at": now}
        if state != RESOLVED:
            values["release"] = None
        work = partial(_decide, self._table, hashlib.sha256(issue.encode("utf-8", "surrogatepass")).hexdigest(), values)
        try:
            commit(self._writing(), work, wait_ms=WAIT_MS)
        except sa.exc.IntegrityError:  # somebody else was quicker, whose row is there now
            commit(self._writing(), work, wait_ms=WAIT_MS)


def _decide(table: sa.Table, key: str, values: Mapping[str, Any], connection: sa.Connection) -> None:
    same = table.c.id == key
    if values["state"] == OPEN:
        connection.execute(sa.delete(table).where(same))
    elif connection.scalar(sa.select(sa.func.count()).where(same)):
        connection.execute(sa.update(table).where(same).values(values))
    elif (connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0) >= MOST_DECISIONS:
        raise Full(f"{MOST_DECISIONS:,} issues are resolved or ignored already: open some of them again first.")
    else:
        connection.execute(sa.insert(table).values(id=key, **values))


def fitting(text: str, longest: int = LONGEST) -> str:
    """A text that somebody sent as the columns take it: without half characters and NUL, and not too long."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{SYMBOL FOR NULL}")[:longest]


def standing(decision: Decision | None, releases: Iterable[Group]) -> Standing:
    """How an issue stands, of which `releases` has its requests of each release, whose name comes last."""
    if decision is None or decision.state == OPEN:
        return Standing(OPEN)
    if decision.state == IGNORED:
        return Standing(IGNORED)
    again = any(_came_back(decision, group) for group in releases)
    return Standing(OPEN if again else RESOLVED, again, decision.release)


def _came_back(decision: Decision, group: Group) -> bool:
    release: Value = group.values[-1]
    if group.last_requested <= decision.changed_at:
        return False
    return release is None or release == decision.release or group.first_requested > decision.changed_at


def with_issue(filters: Filters) -> Filters:
    """Those of the requests that have an issue."""
    return filters if filters.texts("issue") else filters.and_("issue", "", negated=True)


def groups_ever(
    queries: Queries, dimensions: Collection[str], span: Span, filters: Filters, now: datetime
) -> Mapping[Value, list[Group]]:
    """For each issue its requests of each release, of all that is kept up to the end of `span`, or `now`; oldest first."""
    first = queries.earliest()
    if first is None:
        return {}
    ever = Span(min(first, span.start), max(span.end, now), span.zone)
    if "release" in dimensions:
        return by_issue(queries.groups(("issue", "release"), ever, filters, limit=MOST_GROUPS))
    found = queries.groups(("issue",), ever, filters, limit=MOST_GROUPS)
    return by_issue(replace(group, values=(*group.values, None)) for group in found)


def by_issue(groups: Iterable[Group]) -> Mapping[Value, list[Group]]:
    """The groups of each issue, whose name comes first, oldest first."""
    found: dict[Value, list[Group]] = {}
    for group in sorted(groups, key=lambda group: group.first_requested):
        found.setdefault(group.values[0], []).append(group)
    return found


def names(groups: Iterable[Group]) -> Iterator[str]:
    """The releases of one issue, those that had it first."""
    seen = (str(group.values[-1]) for group in groups if group.values[-1] is not None)
    yield from dict.fromkeys(seen)
