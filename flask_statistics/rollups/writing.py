"""Stores segments in the stead of others, in transactions that are short however large these are. Writes the rollup tables.

What is small is written in one transaction. Of what is large, the rows come first, in pieces, under ids that nothing names
yet; then one small transaction names them and takes the names of what they replace; then the rows of these are deleted, in
pieces too. `statistics_meta` knows which ids are named by nothing, so that the next run deletes what a killed one left.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import sqlalchemy as sa

from .. import databases
from . import store
from .dictionary import Dictionary
from .holder import Holder
from .meta import drop_meta, read_meta, write_meta
from .store import Draft, Header
from .tables import TOTAL, Tables

AT_ONCE = 20_000
"""Requests, and new numbers, that one transaction may be about."""
BYTES_AT_ONCE = 1_000_000
"""What a transaction writes of what is larger; a single content may be more."""
NUMBERS_AT_ONCE = 5_000
"""New numbers that such a transaction stores."""
ROW_BYTES = 100
"""What a row takes besides its blobs, about."""
UNNAMED, STRIPPED = "unnamed", "stripped"
"""In `statistics_meta`: ids whose rows are not named, and those of segments whose contents a larger one has."""

Step = tuple[int, Callable[[sa.Connection], Any]]
"""How many bytes a statement is about, and what runs it."""


@dataclass(slots=True)
class Change:
    """What is stored in the stead of what: all of it or nothing."""

    drafts: list[Draft] = field(default_factory=list)
    staged: list[Header] = field(default_factory=list)
    """Segments whose rows are stored already, by `stage`."""
    replaced: Sequence[Header] = ()
    """Segments that go."""
    joined: Sequence[Header] = ()
    """Segments whose contents go, as a larger one has them."""
    check: Callable[[sa.Connection], None] = lambda connection: None
    """Raises what shall stop it; runs first in the transaction that changes what answers."""
    remember: Callable[[sa.Connection], None] = lambda connection: None
    """Remembers what it was made of; runs last in that transaction."""

    @property
    def hits(self) -> int:
        """How many requests it is about."""
        return sum(one.hits for some in (self.drafts, self.replaced, self.joined) for one in some)


def commit(holder: Holder, dictionary: Dictionary, change: Change) -> None:
    """Make a change. Raises what `change.check` raises, and `LeaseLost`; then nothing answers in another way than before."""
    change.drafts = [draft for draft in change.drafts if draft.hits]
    if change.hits + dictionary.learnt <= AT_ONCE and not change.staged:
        with holder.transaction() as connection:
            change.check(connection)
            dictionary.write(connection)
            numbers = store.new_ids(connection, holder.tables, len(change.drafts)) if change.drafts else ()
            rows: dict[str, list[dict[str, Any]]] = {}
            for number, draft in zip(numbers, change.drafts, strict=True):
                for name, some in store.rows_of(number, draft, number_of=dictionary.number_of, many=holder.many()):
                    rows.setdefault(name, []).extend(some)
                change.staged.append(draft.header(number))
            for name, some in rows.items():
                connection.execute(sa.insert(getattr(holder.tables, name)), some)
            _rename(connection, holder.tables, change)
            _purge(connection, holder, dictionary, change)
        return
    with holder.transaction() as connection:
        change.check(connection)
    staged = [*change.staged, *stage(holder, dictionary, change.drafts)]
    change.staged = staged
    with holder.transaction() as connection:
        change.check(connection)
        _rename(connection, holder.tables, change)
        note_ids(connection, holder.tables, UNNAMED, add=_ids(change.replaced), remove=_ids(staged))
        note_ids(connection, holder.tables, STRIPPED, add=_ids(change.joined), remove=[])
    sweep(holder)


def stage(holder: Holder, dictionary: Dictionary, drafts: Sequence[Draft]) -> list[Header]:
    """Store the rows of segments under ids that nothing names yet; what will name them, but for empty ones."""
    drafts = [draft for draft in drafts if draft.hits]
    if not drafts:
        return []
    with holder.transaction() as connection:
        numbers = store.new_ids(connection, holder.tables, len(drafts))
        note_ids(connection, holder.tables, UNNAMED, add=list(numbers), remove=[])
    while dictionary.learnt:
        with _piece(holder) as connection:
            dictionary.write(connection, NUMBERS_AT_ONCE)
    headers = []
    for number, draft in zip(numbers, drafts, strict=True):
        _in_pieces(holder, _inserts(holder, dictionary, number, draft))
        headers.append(draft.header(number))
    return headers


def sweep(holder: Holder) -> None:
    """Delete the rows of segments that nothing names, and what larger segments have of those that are part of them."""
    tables = holder.tables
    with holder.engine.connect() as connection:
        left = read_meta(connection, tables)
        dimension = tables.dimension.c
        known = connection.execute(sa.select(dimension.id, dimension.name))
        many = [number for number, name in known if name in holder.many()]
    for name, delete in ((UNNAMED, _all_of), (STRIPPED, partial(_needless_of, many=many))):
        for number in json.loads(left.get(name, "[]")):
            with holder.engine.connect() as connection:
                steps = list(delete(connection, tables, number))
            _in_pieces(holder, steps)
            with holder.transaction() as connection:
                note_ids(connection, tables, name, add=[], remove=[number])


def delete_rows(holder: Holder) -> None:
    """Delete the rows of all segments, which nothing may name any more, in pieces."""
    tables = holder.tables
    numbers: set[int] = set()
    for table in tables.of_segments:
        with holder.engine.connect() as connection:
            numbers.update(connection.scalars(sa.select(table.c.segment_id).distinct()))
    _in_pieces(holder, _all_of_each(holder, sorted(numbers)))


def _all_of_each(holder: Holder, numbers: Iterable[int]) -> Iterator[Step]:
    for number in numbers:
        with holder.engine.connect() as connection:
            steps = list(_all_of(connection, holder.tables, number))
        yield from steps


# ---- in one transaction ----------------------------------------------------------------------------------------------


def _rename(connection: sa.Connection, tables: Tables, change: Change) -> None:
    """Let what is staged answer, instead of what it replaces."""
    segment = tables.segment
    for ids in store.chunks(_ids(change.replaced)):
        connection.execute(sa.delete(segment).where(segment.c.id.in_(ids)))
    for header in change.staged:
        store.insert_header(connection, tables, header)
    for ids in store.chunks(_ids(change.joined)):
        connection.execute(sa.update(segment).where(segment.c.id.in_(ids)).values(detailed=False))
    change.remember(connection)


def _purge(connection: sa.Connection, holder: Holder, dictionary: Dictionary, change: Change) -> None:
    """Delete at once what a small change made needless."""
    for ids in store.chunks(_ids(change.replaced)):
        for table in holder.tables.of_segments:
            connection.execute(sa.delete(table).where(table.c.segment_id.in_(ids)))
    many = [number for name in holder.many() if (number := dictionary.number_of(name)) is not None]
    if change.joined:
        store.strip(connection, holder.tables, _ids(change.joined), many=many)


def note_ids(
    connection: sa.Connection, tables: Tables, name: str, *, add: Sequence[int], remove: Sequence[int]
) -> None:
    """Change which ids are noted under `name`."""
    before = set(json.loads(read_meta(connection, tables).get(name, "[]")))
    after = before.union(add).difference(remove)
    if after and after != before:
        write_meta(connection, tables, {name: json.dumps(sorted(after))})
    elif before and not after:
        drop_meta(connection, tables, [name])


def _ids(headers: Iterable[Header]) -> list[int]:
    return [header.id for header in headers]


# ---- in pieces -------------------------------------------------------------------------------------------------------


def _inserts(holder: Holder, dictionary: Dictionary, number: int, draft: Draft) -> Iterator[Step]:
    """What stores the rows of a draft."""
    for name, rows in store.rows_of(number, draft, number_of=dictionary.number_of, many=holder.many()):
        size = sum(ROW_BYTES + sum(len(blob) for blob in row.values() if isinstance(blob, bytes)) for row in rows)
        yield size, partial(_insert, sa.insert(getattr(holder.tables, name)), rows)


def _insert(insert: sa.Insert, rows: list[dict[str, Any]], connection: sa.Connection) -> None:
    connection.execute(insert, rows)


def _all_of(connection: sa.Connection, tables: Tables, number: int) -> Iterator[Step]:
    """What deletes all rows of a segment that nothing names."""
    for table in (tables.rollup, tables.sets, tables.waits):
        of_it = table.c.segment_id == number
        for dimension in connection.scalars(sa.select(table.c.dimension_id).where(of_it).distinct()):
            yield BYTES_AT_ONCE // 4, partial(_delete, sa.delete(table).where(of_it, table.c.dimension_id == dimension))
    yield from _contents_of(connection, tables, number)


def _needless_of(connection: sa.Connection, tables: Tables, number: int, *, many: Sequence[int]) -> Iterator[Step]:
    """What takes from a segment what a larger one has: its contents, sets, and the measures of the dimensions `many`."""
    rollup = tables.rollup
    for dimension in many:
        where = (rollup.c.segment_id == number, rollup.c.dimension_id == dimension)
        yield BYTES_AT_ONCE // 4, partial(_delete, sa.delete(rollup).where(*where))
    for table in (tables.sets, tables.waits):
        others = (table.c.segment_id == number, table.c.dimension_id != TOTAL)
        yield BYTES_AT_ONCE // 4, partial(_delete, sa.delete(table).where(*others))
    yield from _contents_of(connection, tables, number)


def _contents_of(connection: sa.Connection, tables: Tables, number: int) -> Iterator[Step]:
    index = tables.index
    lengths = sa.select(index.c.part, sa.func.length(index.c.content)).where(index.c.segment_id == number)
    for part, size in connection.execute(lengths):
        yield size, partial(_delete, sa.delete(index).where(index.c.segment_id == number, index.c.part == part))


def _delete(delete: sa.Delete, connection: sa.Connection) -> None:
    connection.execute(delete)


def _in_pieces(holder: Holder, steps: Iterable[Step]) -> None:
    """Run `steps` in their order, in transactions that are short; each step is made ready before one begins."""
    batch: list[Callable[[sa.Connection], Any]] = []
    bytes_of_batch = 0
    for size, step in steps:
        if batch and bytes_of_batch + size > BYTES_AT_ONCE:
            _run(holder, batch)
            batch, bytes_of_batch = [], 0
        batch.append(step)
        bytes_of_batch += size
    if batch:
        _run(holder, batch)


def _run(holder: Holder, batch: Sequence[Callable[[sa.Connection], Any]]) -> None:
    with _piece(holder) as connection:
        for step in batch:
            step(connection)


@contextmanager
def _piece(holder: Holder) -> Iterator[sa.Connection]:
    """A transaction that is one of several: those who wait for SQLite's one lock get it before the next."""
    began = time.perf_counter()
    with holder.transaction() as connection:
        yield connection
    databases.of(holder.engine).let_others_write(holder.engine, after=time.perf_counter() - began)
