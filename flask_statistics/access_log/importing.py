"""Access logs into the raw table, in batches that are committed together with what is known of their lines.

Reads logs, writes the raw table and `statistics_import`, which remembers every request that was imported by eight bytes. So
a request is stored once, in whatever file its line comes again: one that was stopped, has grown, was rotated, compressed,
renamed or copied, or overlaps another. What a line means is `formats`' business; what is shown meanwhile, the command line's.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from io import BufferedReader
from itertools import chain
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from .. import user_agents
from ..models import RawTable, moment, own_table
from ..writers.rows import insert_columns
from .formats import SAMPLE, Format, explain, recognised
from .lines import NEVER, REMEMBERED, Entry
from .reading import Unreadable, is_compressed, read_lines

NAME = "statistics_import"
BATCH = 10_000
"""Lines that are stored at once."""
BATCH_CHARACTERS = 16 << 20
"""Characters of lines that are held at once: a file that is no log can have very long ones."""
MOST_EXAMPLES = 5
"""Malformed lines of which the text is kept to be shown."""
BUCKET = timedelta(minutes=10)
"""Of so long a time the lines known are held together."""
MOST_BUCKETS = 12
"""Held between two batches: lines come nearly in order."""
_MASK = (1 << 64) - 1
_ODD = 0x9E3779B97F4A7C15


class ImportRefused(Exception):
    """The file is not imported; the message says why and what to do."""


@dataclass(slots=True)
class Seen:
    """What one run saw and stored: for the person who started it."""

    requests: int = 0
    """Rows stored."""
    known: int = 0
    """Requests that were imported before."""
    excluded: int = 0
    """Requests left out by `STATISTICS_EXCLUDE`."""
    own: int = 0
    """Requests of times in which the extension itself recorded."""
    late: int = 0
    """Requests not before `until`."""
    frozen: int = 0
    """Requests of times whose raw rows are gone: they would be deleted uncounted."""
    oldest_frozen: datetime | None = None
    nameless: int = 0
    """Requests stored whose client is no address, but a host name, or nobody."""
    named: str | None = None
    """The first such host name."""
    malformed: int = 0
    lines: int = 0
    examples: list[str] = field(default_factory=list)
    """The first malformed lines, with number and reason."""
    waiting: bool = False
    """Whether the last line has no end yet."""
    format_name: str = ""
    first: datetime | None = None
    """Date of the earliest request stored, naive UTC."""
    last: datetime | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """What of a log is stored."""

    excluded: Callable[[str], bool]
    """Whether requests of a path are left out."""
    stored_address: Callable[[str | None, datetime], str | None]
    """What the settings let be stored of a client's address, at an instant."""
    stored_path: Callable[[str], str]
    """What may be stored of a path, without its secrets; so are the next ones."""
    stored_query: Callable[[str], str]
    stored_referrer: Callable[[str | None], str | None]
    stored_agent: Callable[[str], str]
    own_from: Callable[[date], datetime]
    """From when on the extension itself recorded on a day of UTC; `NEVER`: it did not."""
    until: datetime = NEVER
    """Naive UTC; what is not before it is left out."""
    frozen: tuple[datetime, datetime] | None = None
    """The time whose raw rows are gone: start, and end excluded."""
    strip_prefix: str = ""
    """What the server's paths have in front of the app's."""
    again: bool = False
    """Store also what was imported before."""


def import_table(metadata: sa.MetaData, schema: str | None) -> sa.Table:
    """`statistics_import` in the raw table's metadata, so that `db.create_all()` and Flask-Migrate make it."""
    return own_table(
        metadata,
        schema,
        NAME,
        sa.Column("start", moment(), primary_key=True),  # naive UTC, of a time of `BUCKET`
        sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),  # one for each batch that had lines of it
        sa.Column("lines", sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb"), nullable=False),
    )


class _Bucket:
    """The lines known of one time."""

    __slots__ = ("before", "counts", "end", "fresh", "own_from", "part", "start")

    def __init__(self, start: datetime, own_from: datetime) -> None:
        self.start = start
        self.end = start + BUCKET
        self.own_from = own_from
        self.before: set[int] = set()
        """Stored by earlier runs."""
        self.counts: dict[int, int] = {}
        """How often this run saw a line: two that are the same are two requests."""
        self.fresh: list[int] = []
        """To be stored with this batch."""
        self.part = 0
        """The next one's number."""

    def is_new(self, entry: Entry) -> bool:
        """Whether no earlier run stored it; it is noted as stored by this one."""
        line = _identity(entry)
        times = self.counts.get(line, 0)
        self.counts[line] = times + 1
        line = (line + times * _ODD) & _MASK
        if line in self.before:
            return False
        self.fresh.append(line)
        return True


def _identity(entry: Entry) -> int:
    """What a request is known by: all that its line says but the address, of which nothing may stay when it is forgotten."""
    stamp, _, method, path, query, status, size, referrer, user_agent, seconds = entry
    text = (
        f"{stamp.minute}:{stamp.second}\n{method} {path}?{query}\n{status} {size} {seconds}\n{referrer}\n{user_agent}"
    )
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


class LogImport:
    """The import of files into one raw table."""

    def __init__(self, engine: sa.Engine, raw: RawTable, table: sa.Table, rules: Rules) -> None:
        self.seen = Seen()
        self._engine = engine
        self._raw = raw
        self._table = table
        self._rules = rules
        self._buckets: dict[datetime, _Bucket] = {}
        self._own: dict[date, datetime] = {}
        self._path = lru_cache(REMEMBERED)(rules.stored_path)
        self._query = lru_cache(REMEMBERED)(rules.stored_query)
        self._referrer = lru_cache(REMEMBERED)(rules.stored_referrer)
        self._agent = lru_cache(REMEMBERED)(rules.stored_agent)
        self._excluded = lru_cache(REMEMBERED)(rules.excluded)

    def run(
        self,
        file: BufferedReader,
        name: str,
        find_format: Callable[[list[str]], Format | None] = recognised,
        *,
        grows: bool = True,
    ) -> Iterator[int]:
        """Import what `file` has and is not stored yet; gives the byte of the file that is reached, after each commit.

        `grows`: a server may be writing it, so a last line without an end waits.

        Raises `ImportRefused` if its lines are in no known format, and if another process imports the same lines;
        `ValueError` if compressed data are damaged, with all lines before them stored.
        """
        self.seen = Seen()
        try:
            grows = grows and not is_compressed(file)
            with closing(read_lines(file)) as lines:
                yield from self._run(
                    lines, name, find_format, grows=grows, tell=file.tell if file.seekable() else lambda: 0
                )
        except Unreadable as reason:
            raise ImportRefused(f"{name} is not read: {reason}.") from None

    def _run(
        self,
        lines: Iterator[str],
        name: str,
        find_format: Callable[[list[str]], Format | None],
        *,
        grows: bool,
        tell: Callable[[], int],
    ) -> Iterator[int]:
        sample, finished, damage = _take(lines, min(SAMPLE, BATCH))
        if not sample:
            if damage is not None:
                raise damage
            raise ImportRefused(f"{name} is empty.")
        reader = find_format(sample)
        if reader is None:
            if grows and finished and len(sample) == 1 and not sample[0].endswith("\n"):
                raise ImportRefused(f"{name} has no whole line yet.")
            raise ImportRefused(f"{name} is in no known format. {explain(sample)}")
        self.seen.format_name = reader.name
        lines = chain(sample, lines if damage is None else ())
        while True:
            batch, finished, broken = _take(lines, BATCH)
            if finished and grows and batch and not batch[-1].endswith("\n"):
                batch.pop()  # the server is still writing it
                self.seen.waiting = True
            self._store(self._entries(reader, batch))
            yield tell()
            if finished or broken is not None:
                break
        if (damage or broken) is not None:
            raise damage or broken  # type: ignore[misc]

    def _entries(self, reader: Format, batch: list[str]) -> list[Entry]:
        """The requests of a batch of lines; counts what is none in `seen`."""
        entries, seen = [], self.seen
        for line in batch:
            seen.lines += 1
            try:
                entry = reader(line)
            except ValueError as reason:
                if line.strip():
                    seen.malformed += 1
                    if len(seen.examples) < MOST_EXAMPLES:
                        seen.examples.append(f"line {seen.lines:,}: {reason}: {line.rstrip()[:120]!r}")
                continue
            if entry is not None:
                entries.append(entry)
        return entries

    def _store(self, entries: list[Entry]) -> None:
        rows, new = [], Seen()
        self._load(entries)
        buckets = self._buckets
        bucket = _Bucket(NEVER - BUCKET, NEVER)
        rules, prefix = self._rules, self._rules.strip_prefix
        frozen_from, frozen_until = rules.frozen or (NEVER, NEVER)
        for entry in entries:
            stamp = entry.date
            if not bucket.start <= stamp < bucket.end:
                bucket = buckets[_start_of(stamp)]
            path = entry.path
            if prefix and path is not None and (path == prefix or path.startswith(f"{prefix}/")):
                path = path[len(prefix) :] or "/"
            if path is not None and self._excluded(path):
                new.excluded += 1
            elif stamp >= rules.until:
                new.late += 1
            elif stamp >= bucket.own_from and not rules.again:
                new.own += 1
            elif not bucket.is_new(entry) and not rules.again:
                new.known += 1
            elif frozen_from <= stamp < frozen_until:
                bucket.fresh.pop()
                new.frozen += 1
                new.oldest_frozen = min(new.oldest_frozen or stamp, stamp)
            else:
                rows.append(self._row(entry, path, new))
        self._commit(rows)
        self._count(rows, new)

    def _row(self, entry: Entry, path: str | None, new: Seen) -> tuple[Any, ...]:
        stamp, address, method, _, query, status, size, referrer, user_agent, seconds = entry
        if address is None or not (address[0].isdigit() or ":" in address):
            new.nameless += 1
            new.named = new.named or address
        agent = user_agents.parse(user_agent)
        return (
            stamp,
            self._rules.stored_address(address, stamp),
            method,
            None if path is None else self._path(path),
            None if query is None else self._query(query),
            status,
            size,
            self._referrer(referrer),
            self._agent(user_agent),
            seconds,
            agent.browser,
            agent.platform,
            agent.device,
            agent.bot,
        )

    def _load(self, entries: list[Entry]) -> None:
        """Have the buckets of `entries`."""
        starts, start, end = set(), NEVER, NEVER
        for entry in entries:
            if not start <= entry.date < end:
                start = _start_of(entry.date)
                end = start + BUCKET
                starts.add(start)
        missing = sorted(starts - self._buckets.keys())
        if missing:
            with self._engine.connect() as connection:
                self._read(connection, missing)

    def _read(self, connection: sa.Connection, missing: list[datetime]) -> None:
        for start in missing:
            self._buckets[start] = _Bucket(start, self._own_from(start.date()))
        columns = self._table.c
        for place in range(0, len(missing), 500):
            known = sa.select(columns.start, columns.part, columns.lines).where(
                columns.start.in_(missing[place : place + 500])
            )
            for start, part, lines in connection.execute(known):
                bucket = self._buckets[start]
                bucket.before.update(struct.unpack(f"<{len(lines) // 8}Q", lines))
                bucket.part = max(bucket.part, part + 1)

    def _own_from(self, day: date) -> datetime:
        if day not in self._own:
            self._own[day] = NEVER if self._rules.again else self._rules.own_from(day)
        return self._own[day]

    def _commit(self, rows: list[tuple[Any, ...]]) -> None:
        """Store rows and what their lines are known by in one transaction: whenever it is stopped, both are there or neither."""
        changed = [bucket for bucket in self._buckets.values() if bucket.fresh]
        if changed:
            with self._engine.begin() as connection:
                try:
                    connection.execute(
                        sa.insert(self._table),
                        [
                            {
                                "start": bucket.start,
                                "part": bucket.part,
                                "lines": struct.pack(f"<{len(bucket.fresh)}Q", *bucket.fresh),
                            }
                            for bucket in changed
                        ],
                    )
                except sa.exc.IntegrityError:
                    raise ImportRefused("Another process is importing the same lines; this one stopped.") from None
                insert_columns(connection, self._raw, COLUMNS, rows)
        elif rows:  # all known, and asked for again
            with self._engine.begin() as connection:
                insert_columns(connection, self._raw, COLUMNS, rows)
        for bucket in changed:
            bucket.fresh = []
            bucket.part += 1
        for start in sorted(self._buckets)[:-MOST_BUCKETS]:
            del self._buckets[start]

    def _count(self, rows: list[tuple[Any, ...]], new: Seen) -> None:
        seen = self.seen
        seen.requests += len(rows)
        for name in ("known", "excluded", "own", "late", "frozen", "nameless"):
            setattr(seen, name, getattr(seen, name) + getattr(new, name))
        seen.named = seen.named or new.named
        for old in filter(None, (new.oldest_frozen,)):
            seen.oldest_frozen = min(seen.oldest_frozen or old, old)
        if rows:
            first, last = min(row[0] for row in rows), max(row[0] for row in rows)
            seen.first, seen.last = min(seen.first or first, first), max(seen.last or last, last)


COLUMNS = (
    "date",
    "remote_address",
    "method",
    "path",
    "query_string",
    "status_code",
    "size",
    "referrer",
    "user_agent",
    "response_time",
    "browser",
    "platform",
    "device",
    "bot",
)
"""What an import knows, by attribute name, in the order of `LogImport._row`."""


def _start_of(stamp: datetime) -> datetime:
    return stamp.replace(minute=stamp.minute // 10 * 10, second=0)


def _take(lines: Iterator[str], most: int) -> tuple[list[str], bool, ValueError | None]:
    """The next batch, whether it is the last one, and what ended it before its time."""
    batch: list[str] = []
    characters = 0
    try:
        while len(batch) < most and characters < BATCH_CHARACTERS:
            line = next(lines, None)
            if line is None:
                return batch, True, None
            batch.append(line)
            characters += len(line)
    except ValueError as damage:
        return batch, False, damage
    return batch, False, None


def recorded_from(connection: sa.Connection, raw: RawTable, day: date) -> datetime:
    """From when on the extension itself recorded on a day of UTC, to the second; `NEVER`: it did not, or nobody can tell.

    A day after one on which it recorded is its own from the beginning. What it records has a media type, and imports have none.
    """
    mark = next((raw.columns[name] for name in ("mimetype", "route") if raw.has(name)), None)
    if mark is None:
        return NEVER
    start = datetime(day.year, day.month, day.day)
    found = _first(connection, raw, mark, start)
    if found is None:
        return NEVER
    return (
        start if _first(connection, raw, mark, start - timedelta(days=1)) is not None else found.replace(microsecond=0)
    )


def _first(connection: sa.Connection, raw: RawTable, mark: sa.Column[Any], start: datetime) -> datetime | None:
    column = raw.columns["date"]
    first = (
        sa.select(column)
        .where(column >= raw.instant(start), column < raw.instant(start + timedelta(days=1)), mark.is_not(None))
        .order_by(column)
        .limit(1)
    )
    found = connection.scalar(first)
    return None if found is None else found.replace(tzinfo=None)
