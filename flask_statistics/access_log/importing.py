"""Access logs into the raw table, in batches that are committed together with what is known of their lines.

Reads logs, writes the raw table and `statistics_import`, which remembers every request that was imported by eight bytes. So
a request is stored once, in whatever file its line comes again: one that was stopped, has grown, was rotated, compressed,
renamed or copied, or overlaps another. What a line means is `formats`' business; what is shown meanwhile, the command line's.
"""

from __future__ import annotations

import gc
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from io import BufferedReader
from itertools import chain
from typing import Any, NamedTuple

import sqlalchemy as sa

from .. import user_agents
from ..models import RawTable
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
    asks_for_addresses: bool = False
    """Whether `stored_address` may ask the database."""


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

    def is_new(self, line: int) -> bool:
        """Whether no earlier run stored the request known by `line`; it is noted as stored by this one."""
        times = self.counts.get(line, 0)
        self.counts[line] = times + 1
        line = (line + times * _ODD) & _MASK
        if line in self.before:
            return False
        self.fresh.append(line)
        return True


def _hash(*texts: str | None) -> int:
    return int.from_bytes(blake2b(repr(texts).encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


class _Known(NamedTuple):
    """What texts of a log mean, which come again and again."""

    hash: int
    values: tuple[str | None, ...]
    """As they are stored."""
    excluded: bool = False
    """Whether requests of this path are left out."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """What is stored in one transaction, and what is counted once it is."""

    rows: list[tuple[Any, ...]]
    parts: list[dict[str, Any]]
    """Of `statistics_import`."""
    seen: Seen
    position: int
    """The byte of the file that it reaches."""


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
        self._stored: Future[_Batch] | None = None
        """The batch that is being stored, while the next one is read."""
        self._latest: datetime | None = None
        """Before this run, nothing later was imported; None: not known yet."""
        self._left: set[datetime] = set()
        """The starts of buckets that this run stored and holds no more."""
        fits = {name: fit for name, _, fit in raw.fits}
        self._fits = [fits.get(name) or _as_it_is for name in (*ASKED, "referrer", *SENDER)]
        self._asked = lru_cache(REMEMBERED)(self._asked_for)
        self._referrer = lru_cache(REMEMBERED)(self._referred_by)
        self._sender = lru_cache(REMEMBERED)(self._sent_by)
        self._address = lru_cache(REMEMBERED)(fits.get("remote_address") or _as_it_is)

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
        finished, broken = False, None
        with _fewer_collections(), ThreadPoolExecutor(1, "import-log") as executor:
            try:
                while not finished and broken is None:
                    batch, finished, broken = _take(lines, BATCH)
                    if finished and grows and batch and not batch[-1].endswith("\n"):
                        batch.pop()  # the server is still writing it
                        self.seen.waiting = True
                    following = self._batch(self._entries(reader, batch), tell())
                    if self._stored is not None:
                        yield self._wait().position
                    self._stored = executor.submit(self._commit, following)
                if self._stored is not None:
                    yield self._wait().position
            finally:
                if self._stored is not None:  # it is stopped: what was stored all the same is counted
                    with suppress(Exception):
                        self._wait()
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

    def _asked_for(self, method: str | None, path: str | None, query: str | None) -> _Known:
        rules, prefix, inside = self._rules, self._rules.strip_prefix, path
        if path is not None and prefix and (path == prefix or path.startswith(f"{prefix}/")):
            inside = path[len(prefix) :] or "/"
        values = (
            method,
            None if inside is None else rules.stored_path(inside),
            None if query is None else rules.stored_query(query),
        )
        fitting = tuple(fit(value) for fit, value in zip(self._fits, values, strict=False))
        return _Known(_hash(method, path, query), fitting, inside is not None and rules.excluded(inside))

    def _referred_by(self, referrer: str | None) -> _Known:
        stored = None if referrer is None else self._rules.stored_referrer(referrer)
        return _Known(_hash(referrer) * 0xD6E8FEB86659FD93, (self._fits[len(ASKED)](stored),))

    def _sent_by(self, user_agent: str) -> _Known:
        agent = user_agents.parse(user_agent)
        values = (self._rules.stored_agent(user_agent), agent.browser, agent.platform, agent.device, agent.bot)
        fitting = tuple(fit(value) for fit, value in zip(self._fits[len(ASKED) + 1 :], values, strict=True))
        return _Known(_hash(user_agent) * 0xCA5A826395121157, fitting)

    def _wait(self) -> _Batch:
        """Have the batch stored that is being stored, and count it. Raises what kept it from that."""
        assert self._stored is not None  # noqa: S101
        stored, self._stored = self._stored, None
        batch = stored.result()
        self._count(batch)
        return batch

    def _settle(self) -> None:
        """Before the database is asked: have nothing on its way to it, as it may have one connection, or one lock."""
        if self._stored is not None:
            wait([self._stored])

    def _batch(self, entries: list[Entry], position: int) -> _Batch:
        """The rows of `entries`, and what they are known by."""
        rows: list[tuple[Any, ...]] = []
        new = Seen()
        self._load(entries)
        if self._rules.asks_for_addresses:
            self._settle()
        buckets, rules = self._buckets, self._rules
        bucket = _Bucket(NEVER - BUCKET, NEVER)
        start, end = bucket.start, bucket.end
        again, until, asked_for, referred_by, sent_by = (
            rules.again,
            rules.until,
            self._asked,
            self._referrer,
            self._sender,
        )
        stored_address, fitting_address = rules.stored_address, self._address
        frozen_from, frozen_until = rules.frozen or (NEVER, NEVER)
        for stamp, address, method, path, query, status, size, referrer, user_agent, seconds in entries:
            if not start <= stamp < end:
                bucket = buckets[_start_of(stamp)]
                start, end = bucket.start, bucket.end
            asked = asked_for(method, path, query)
            if asked.excluded:
                new.excluded += 1
                continue
            if stamp >= until:
                new.late += 1
                continue
            if stamp >= bucket.own_from and not again:
                new.own += 1
                continue
            referred, sent = referred_by(referrer), sent_by(user_agent)
            # What a request is known by: all that its line says but the address, of which nothing may stay when it is forgotten.
            # Texts have hashes; numbers are multiplied by large odd ones, so that no two sums that can come are the same.
            line = (
                asked.hash
                + referred.hash
                + sent.hash
                + (stamp.minute * 60 + stamp.second) * 0xA0761D6478BD642F
                + (status or 0) * 0xE7037ED1A0B428DB
                + size * 0x8EBC6AF09C88C6E3
                + (0 if seconds is None else int(seconds * 1_000_000 + 1) * 0x589965CC75374CC3)
            ) & _MASK
            if not bucket.is_new(line) and not again:
                new.known += 1
            elif frozen_from <= stamp < frozen_until:
                bucket.fresh.pop()
                new.frozen += 1
                new.oldest_frozen = min(new.oldest_frozen or stamp, stamp)
            else:
                if address is None or not (address[0].isdigit() or ":" in address):
                    new.nameless += 1
                    new.named = new.named or address
                stored = fitting_address(stored_address(address, stamp))
                rows.append((stamp, stored, *asked.values, status, size, *referred.values, *sent.values, seconds))
        return _Batch(rows, self._parts(), new, position)

    def _parts(self) -> list[dict[str, Any]]:
        """What the fresh lines of the buckets are remembered by, which are not fresh any more; only some buckets are kept."""
        parts = []
        for bucket in self._buckets.values():
            if bucket.fresh:
                packed = struct.pack(f"<{len(bucket.fresh)}Q", *bucket.fresh)
                parts.append({"start": bucket.start, "part": bucket.part, "lines": packed})
                bucket.fresh = []
                bucket.part += 1
        for start in sorted(self._buckets)[:-MOST_BUCKETS]:
            del self._buckets[start]
            self._left.add(start)
        return parts

    def _load(self, entries: list[Entry]) -> None:
        """Have the buckets of `entries`."""
        starts, start, end = set(), NEVER, NEVER
        for entry in entries:
            if not start <= entry[0] < end:
                start = _start_of(entry[0])
                end = start + BUCKET
                starts.add(start)
        missing = sorted(starts - self._buckets.keys())
        for start in missing:
            self._buckets[start] = _Bucket(start, self._own_from(start.date()))
        if self._latest is None and missing:
            with self._engine.connect() as connection:
                self._latest = connection.scalar(sa.select(sa.func.max(self._table.c.start))) or datetime.min  # noqa: DTZ901
        latest = self._latest or NEVER
        unknown = [start for start in missing if start <= latest or start in self._left]
        if unknown:
            self._settle()
            with self._engine.connect() as connection:
                self._read(connection, unknown)

    def _read(self, connection: sa.Connection, unknown: list[datetime]) -> None:
        columns = self._table.c
        for place in range(0, len(unknown), 500):
            known = sa.select(columns.start, columns.part, columns.lines).where(
                columns.start.in_(unknown[place : place + 500])
            )
            for start, part, lines in connection.execute(known):
                bucket = self._buckets[start]
                bucket.before.update(struct.unpack(f"<{len(lines) // 8}Q", lines))
                bucket.part = max(bucket.part, part + 1)

    def _own_from(self, day: date) -> datetime:
        if day not in self._own:
            self._settle()
            self._own[day] = NEVER if self._rules.again else self._rules.own_from(day)
        return self._own[day]

    def _commit(self, batch: _Batch) -> _Batch:
        """Store rows and what their lines are known by in one transaction: whenever it is stopped, both are there or neither."""
        if not batch.rows and not batch.parts:
            return batch
        with self._engine.begin() as connection:
            if batch.parts:
                try:
                    connection.execute(sa.insert(self._table), batch.parts)
                except sa.exc.IntegrityError:
                    raise ImportRefused("Another process is importing the same lines; this one stopped.") from None
            insert_columns(connection, self._raw, COLUMNS, batch.rows, fitting=FITTING)
        return batch

    def _count(self, batch: _Batch) -> None:
        seen, new, rows = self.seen, batch.seen, batch.rows
        seen.requests += len(rows)
        for name in ("known", "excluded", "own", "late", "frozen", "nameless"):
            setattr(seen, name, getattr(seen, name) + getattr(new, name))
        seen.named = seen.named or new.named
        for old in filter(None, (new.oldest_frozen,)):
            seen.oldest_frozen = min(seen.oldest_frozen or old, old)
        if rows:
            first, last = min(row[0] for row in rows), max(row[0] for row in rows)
            seen.first, seen.last = min(seen.first or first, first), max(seen.last or last, last)


ASKED = ("method", "path", "query_string")
SENDER = ("user_agent", "browser", "platform", "device", "bot")
COLUMNS = ("date", "remote_address", *ASKED, "status_code", "size", "referrer", *SENDER, "response_time")
"""What an import knows, by attribute name, in the order of its rows."""
FITTING = {"remote_address", *ASKED, "referrer", *SENDER}
"""Of these, what has been made to fit its column: texts that come again and again."""


def _as_it_is(value: Any) -> Any:
    return value


@contextmanager
def _fewer_collections() -> Iterator[None]:
    """Let Python look for cycles of garbage seldom: tuples by the ten thousand are none, and it looks at all of them."""
    thresholds = gc.get_threshold()
    gc.set_threshold(100_000, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


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
