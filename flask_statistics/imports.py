"""Access logs into the raw table, in batches that are committed together with how far they got.

Reads the log, writes the raw table and `statistics_import`, which remembers every file by its content. So an import that
was stopped goes on where it was, a finished one is not done twice, and of a file that has grown only the new lines are
read. What a line means is `access_log`'s business; what is shown meanwhile, the command line's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from . import user_agents
from .access_log import MAX_LINE, Entry, digests, parse_line, read_lines
from .models import RawTable, moment, own_table, text
from .writers.rows import insert

NAME = "statistics_import"
BATCH = 5_000
"""Lines, or rows, that are stored at once."""
BATCH_CHARACTERS = 16 << 20
"""Characters of lines that are held at once: a file that is no log can have very long ones."""
MOST_EXAMPLES = 5
"""Malformed lines of which the text is kept to be shown."""

_Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


class ImportRefused(Exception):
    """The file is not imported; the message says why and what to do."""


@dataclass(slots=True)
class Import:
    """How far the import of one file got: a row of `statistics_import`."""

    digest: str
    """SHA-256 of the file's first `size_bytes` bytes."""
    size_bytes: int
    """What the file had when its import was begun."""
    file_name: str
    started_at: datetime
    """Naive UTC."""
    finished_at: datetime | None = None
    """Naive UTC; None: it was stopped, or is running."""
    lines: int = 0
    """Lines done; the next run begins behind them."""
    requests: int = 0
    """Rows stored."""
    excluded: int = 0
    """Requests left out by `STATISTICS_EXCLUDE`."""
    malformed: int = 0
    """Lines that are in no known format."""


@dataclass(slots=True)
class Seen:
    """What one run saw: for the person who started it."""

    requests: int = 0
    excluded: int = 0
    malformed: int = 0
    examples: list[str] = field(default_factory=list)
    """The first malformed lines, with number and reason."""
    first: datetime | None = None
    """Date of the earliest request stored, naive UTC."""
    last: datetime | None = None


def import_table(metadata: sa.MetaData, schema: str | None) -> sa.Table:
    """`statistics_import` in the raw table's metadata, so that `db.create_all()` and Flask-Migrate make it."""
    return own_table(
        metadata,
        schema,
        NAME,
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("size_bytes", _Number, nullable=False),
        sa.Column("file_name", text(255), nullable=False),
        sa.Column("started_at", moment(), nullable=False),
        sa.Column("finished_at", moment()),
        sa.Column("lines", _Number, nullable=False),
        sa.Column("requests", _Number, nullable=False),
        sa.Column("excluded", _Number, nullable=False),
        sa.Column("malformed", _Number, nullable=False),
    )


def insert_rows(connection: sa.Connection, raw: RawTable, rows: Iterable[Mapping[str, Any]]) -> Iterator[int]:
    """Insert `rows` (values by attribute name) in batches; gives the size of each one after it is sent."""
    rows = iter(rows)
    while batch := raw.rows(list(islice(rows, BATCH))):
        insert(connection, raw.table, batch)
        yield len(batch)


class LogImport:
    """The import of one file into one raw table."""

    def __init__(
        self,
        engine: sa.Engine,
        raw: RawTable,
        table: sa.Table,
        path: Path,
        *,
        excluded: Callable[[str], bool],
        anonymized: Callable[[Entry], Entry],
    ) -> None:
        self.seen = Seen()
        self.size_bytes = path.stat().st_size
        self._engine = engine
        self._raw = raw
        self._table = table
        self._path = path
        self._excluded = excluded
        self._anonymized = anonymized
        """What of an entry may be stored."""
        self._stored: Import | None = None
        """What the table says now; None: nothing of this file."""

    def prepare(self, *, again: bool, now: datetime) -> Import:
        """Where the import begins, found by the file's content.

        Raises `ImportRefused` for a file that was imported before, unless `again`, and for an empty one.
        """
        if not self.size_bytes:
            raise ImportRefused(f"{self._path.name} is empty.")
        with self._engine.connect() as connection:
            known = [Import(**row._mapping) for row in connection.execute(self._perhaps_the_same())]
        found = digests(self._path, {self.size_bytes, *(other.size_bytes for other in known)})
        self._stored = next((other for other in known if other.digest == found[other.size_bytes]), None)
        fresh = Import(found[self.size_bytes], self.size_bytes, self._path.name[-255:], now)
        if self._stored is None:
            return fresh
        stored = self._stored
        if stored.finished_at is None or stored.digest != fresh.digest:
            return replace(
                stored, digest=fresh.digest, size_bytes=fresh.size_bytes, file_name=fresh.file_name, finished_at=None
            )
        if not again:
            raise ImportRefused(
                f"{self._path.name} was imported before: {stored.requests:,} requests, on {stored.finished_at:%Y-%m-%d} "
                f"at {stored.finished_at:%H:%M} UTC. Use --again to store them a second time."
            )
        return fresh

    def _perhaps_the_same(self) -> sa.Select[Any]:
        """The imports of what this file may be, or may have been before it grew; longest first."""
        columns = self._table.c
        return sa.select(self._table).where(columns.size_bytes <= self.size_bytes).order_by(columns.size_bytes.desc())

    def run(self, job: Import, *, utc_now: Callable[[], datetime]) -> Iterator[int]:
        """Import what `job` has not done yet; gives the byte of the file that is reached, after each commit.

        Raises `ImportRefused` if nothing in the first batch is a line of a log, and if another process imports the same
        file; `ValueError` if compressed data are damaged, with all lines before them stored.
        """
        with self._path.open("rb") as file, closing(read_lines(file)) as lines:
            for _ in islice(lines, job.lines):
                pass
            while job.finished_at is None:
                batch, finished, damage = _take(lines)
                rows = self._rows(job, batch)
                if finished:
                    job.finished_at = utc_now()
                self._commit(job, rows)
                yield min(file.tell(), self.size_bytes)
                if damage is not None:
                    raise damage

    def _rows(self, job: Import, batch: list[str]) -> list[dict[str, Any]]:
        """The rows of a batch of lines; counts them in `job` and `seen`."""
        rows, seen, begun, unfinished = [], self.seen, job.lines > 0, False
        for line in batch:
            job.lines += 1
            try:
                entry = parse_line(line)
            except ValueError as reason:
                job.malformed += 1
                seen.malformed += 1
                unfinished = not line.endswith("\n") and len(line) < MAX_LINE
                if len(seen.examples) < MOST_EXAMPLES:
                    seen.examples.append(f"line {job.lines:,}: {reason}: {line.rstrip()[:120]!r}")
                continue
            if entry.path is not None and self._excluded(entry.path):
                job.excluded += 1
                seen.excluded += 1
                continue
            seen.first = entry.date if seen.first is None else min(seen.first, entry.date)
            seen.last = entry.date if seen.last is None else max(seen.last, entry.date)
            rows.append(_values(self._anonymized(entry)))
        if batch and not begun and job.malformed == len(batch):
            raise ImportRefused(f"{self._path.name} is no access log in the common or combined format.")
        if unfinished:
            job.lines -= 1  # the server is still writing that line: it is whole when the file has grown
        job.requests += len(rows)
        seen.requests += len(rows)
        return self._raw.rows(rows)

    def _commit(self, job: Import, rows: list[dict[str, Any]]) -> None:
        """Store rows and progress in one transaction: whenever it is stopped, both are there or neither is."""
        with self._engine.begin() as connection:
            if rows:
                insert(connection, self._raw.table, rows)
            if not self._save(connection, asdict(job)):
                raise ImportRefused(f"Another process is importing {self._path.name}; this one stopped.")
        self._stored = replace(job)

    def _save(self, connection: sa.Connection, values: dict[str, Any]) -> bool:
        stored, columns = self._stored, self._table.c
        if stored is None:
            try:
                connection.execute(sa.insert(self._table).values(values))
            except sa.exc.IntegrityError:
                return False
            return True
        unchanged = sa.and_(columns.digest == stored.digest, columns.lines == stored.lines)
        return connection.execute(sa.update(self._table).where(unchanged).values(values)).rowcount == 1


def _take(lines: Iterator[str]) -> tuple[list[str], bool, ValueError | None]:
    """The next batch, whether it is the last one, and what ended it before its time."""
    batch: list[str] = []
    characters = 0
    try:
        while len(batch) < BATCH and characters < BATCH_CHARACTERS:
            line = next(lines, None)
            if line is None:
                return batch, True, None
            batch.append(line)
            characters += len(line)
    except ValueError as damage:
        return batch, False, damage
    return batch, False, None


def _values(entry: Entry) -> dict[str, Any]:
    values = entry._asdict()
    values |= user_agents.columns_of(entry.user_agent)
    return values
