"""Numbers for values and visitors: reads and, for the job alone, writes `statistics_value` and `statistics_visitor`.

Values are numbered because paths are longer than what databases index; visitors because dense numbers make small
bitmaps, and so that no address is stored: a visitor is known by a keyed hash alone.

Strangers choose the texts. So a hash only finds the rows among which a value is, and the text itself tells which: two
texts with one hash are two values. Whoever is not numbered yet gets a passing number, and a lasting one when a segment
that is stored names it. Of a visitor there is no text to compare: 64 bits of a hash whose key nobody outside knows, so
that two visitors can be made to share it by chance alone, once in some billions of visitors.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

import numpy as np
import sqlalchemy as sa

from ..addresses import network_of
from ..dimensions import ADDRESS, OTHER_VALUE, Dimension, DimensionError, Value
from .meta import read_meta, write_meta
from .numbering import PASSING, UNREADABLE, VISITOR, passing_of, renumbered
from .segment import NONE, OTHER, Segment
from .sums import NOBODY
from .tables import TOTAL, WAIT, Tables

_logger = logging.getLogger(__name__)

CHUNK = 500
"""Hashes looked up by one statement: below what any database takes as parameters."""
MOST_CACHED = 100_000
"""Numbers of one kind kept in memory; beyond it the cache starts anew."""
MOST_HASHES = 1_000_000
"""Visitors kept in memory by their hashes; beyond it these start anew."""
VISITOR_KEY, VISITOR_KEY_BEFORE, VISITOR_KEY_SINCE = "visitor_key", "visitor_key_before", "visitor_key_since"
"""In `statistics_meta`: the key of the visitors' hashes, the one before it, and since when it is the present one."""
FORGOTTEN = "forgotten"
"""In `statistics_meta`: changes when numbers are deleted that processes may remember."""
_FIRST = 2  # 0 is NONE, 1 is OTHER


def new_key() -> str:
    """A key for the visitors' hashes, as it is stored."""
    return secrets.token_hex(16)


def keys_in(meta: Mapping[str, str]) -> dict[str, Any]:
    """The keys of the visitors' hashes, as `Dictionary` takes them."""
    before = meta.get(VISITOR_KEY_BEFORE)
    return {"key": bytes.fromhex(meta[VISITOR_KEY]), "key_before": None if before is None else bytes.fromhex(before)}


class Numbered:
    """Numbers by hash in twelve bytes each, a tenth of what a dict takes; looked up many at once."""

    def __init__(self) -> None:
        self._hashes = np.empty(0, dtype=np.int64)  # rising
        self._numbers = np.empty(0, dtype=np.uint32)

    def find(self, hashes: Iterable[int]) -> dict[int, int]:
        """The numbers of those of `hashes` that are known."""
        wanted = np.fromiter(hashes, dtype=np.int64)
        places = np.searchsorted(self._hashes, wanted)
        places[places == len(self._hashes)] = 0
        known = self._hashes[places] == wanted if len(self._hashes) else np.zeros(len(wanted), dtype=bool)
        return dict(zip(wanted[known].tolist(), self._numbers[places[known]].tolist(), strict=True))

    def add(self, numbers: Mapping[int, int]) -> None:
        """Take in what is not known yet."""
        if len(self._hashes) + len(numbers) > MOST_HASHES:
            self._hashes, self._numbers = self._hashes[:0], self._numbers[:0]
        hashes = np.array(sorted(numbers), dtype=np.int64)
        places = np.searchsorted(self._hashes, hashes)
        self._hashes = np.insert(self._hashes, places, hashes)
        added = np.fromiter((numbers[value] for value in hashes.tolist()), dtype=np.uint32, count=len(hashes))
        self._numbers = np.insert(self._numbers, places, added)


@dataclass(slots=True)
class Known:
    """What was looked up in earlier transactions, which were committed."""

    values: dict[str, dict[Any, int]] = field(default_factory=dict)
    """For each dimension, by raw value; for `VISITOR`, by address."""
    visitors: Numbered = field(default_factory=Numbered)
    """By the hash of the address: a month has more visitors than memory for their addresses."""
    unsettled: dict[str, set[Any]] = field(default_factory=dict)
    """What of `values` has a passing number, for each dimension."""
    failed: set[str] = field(default_factory=set)
    """Dimensions of which it was logged that their function fails."""


class Dictionary:
    """Looks numbers up over one connection; what has none gets a passing number, which is this object's alone.

    `settle` gives lasting ones, and `write` stores these, so that whoever reads long needs no transaction before there is
    something to write.
    """

    def __init__(
        self,
        connection: sa.Connection,
        tables: Tables,
        dimensions: Mapping[str, Dimension],
        *,
        key: bytes,
        key_before: bytes | None = None,
        known: Known | None = None,
    ) -> None:
        """`known`: this one adds to it. Visitors whose hash is still by `key_before` get one by `key` when they are seen."""
        self._connection = connection
        self._tables = tables
        self._dimensions = dimensions
        self._key, self._key_before = key, key_before
        self._numbers = {name: number for name, number, _ in connection.execute(_known_dimensions(tables))}
        self._known = Known() if known is None else known
        self._passing: dict[int, Value] = {}
        self._passing_texts: dict[str, dict[str, int]] = {}
        self._passing_visitors: dict[int, int] = {}
        self._passing_networks: dict[int, str | None] = {}  # by the passing number of a visitor
        self._hashed_before: dict[int, tuple[int, int]] = {}  # by a new hash: the one that is stored, and its number
        self._next: dict[str, int] = {}
        self._next_passing: dict[str, int] = {}
        self._failed: dict[str, str] = {}  # the type of its error
        self._drop_unsettled()  # what another one did not settle means nothing here
        self._learnt: list[tuple[sa.Table, dict[str, Any]]] = []

    def number_of(self, dimension: str) -> int | None:
        """The dimension's number in the tables; None if nothing was rolled up by it."""
        return self._numbers.get(dimension)

    def ids(self, name: str, raws: set[Any]) -> Mapping[Any, int]:
        """The number of each of `raws`: raw values of a dimension, or addresses for `VISITOR`."""
        known = self._known.values.setdefault(name, {})
        if len(known) > MOST_CACHED:
            known.clear()
        if name == VISITOR:
            known[None] = known[UNREADABLE] = NOBODY
        else:
            known[UNREADABLE] = OTHER
        missing = [raw for raw in raws if raw not in known]
        if missing:
            found = self._visitors(missing) if name == VISITOR else self._values_of(name, missing)
            known.update(found)
            unsettled = {raw for raw, number in found.items() if number >= PASSING}
            self._known.unsettled.setdefault(name, set()).update(unsettled)
        return known

    def _values_of(self, name: str, raws: Iterable[Any]) -> dict[Any, int]:
        """The number of each raw value of a dimension; `OTHER` for those that its function fails on."""
        found = {raw: self._value_of(name, raw) for raw in raws}
        numbers: dict[Any, int] = {UNREADABLE: OTHER}
        numbers |= self.values(name, {value for value in found.values() if value is not UNREADABLE})
        return {raw: numbers[value] for raw, value in found.items()}

    def _value_of(self, name: str, raw: Any) -> Any:
        try:
            return self._dimensions[name].value_of(raw)
        except DimensionError as error:  # one request of anybody's stops nothing
            self._failed[name] = type(error.__cause__).__name__
            return UNREADABLE

    def values(self, name: str, values: set[Value]) -> dict[Value, int]:
        """The number of each of `values` of a dimension; unknown ones get a passing number."""
        texts = {value: _stored(str(value)) for value in values if value is not None and value != OTHER_VALUE}
        passing = self._passing_texts.setdefault(name, {})
        found = self._look_up_texts(name, {text for text in texts.values() if text not in passing})
        new = {text: value for value, text in texts.items() if text not in passing and text not in found}
        given = dict(zip(new, self._passing_numbers("value", len(new)), strict=True))
        passing.update(given)
        self._passing.update({number: new[text] for text, number in given.items()})
        found |= passing
        return {value: found[text] for value, text in texts.items()} | {None: NONE, OTHER_VALUE: OTHER}

    def texts(self, name: str, numbers: Iterable[int]) -> dict[int, Value]:
        """The value behind each of `numbers` of a dimension."""
        answer: dict[int, Value] = {NONE: None, OTHER: OTHER_VALUE, **self._passing}
        wanted = [number for number in numbers if number not in answer]
        table, dimension = self._tables.value, self._dimensions[name]
        for chunk in _chunks(wanted):
            for number, text in self._connection.execute(
                sa.select(table.c.id, table.c.text).where(table.c.id.in_(chunk))
            ):
                answer[number] = _value(dimension, _unstored(text))
        # of a row that somebody deleted: the hits are there all the same
        return {number: f"(unknown {number})" for number in wanted} | answer

    def containing(self, name: str, needle: str) -> dict[int, Value]:
        """The numbered values of a dimension whose text contains `needle`, in any case."""
        table, needle = self._tables.value, needle.casefold()
        rows = self._connection.execute(
            sa.select(table.c.id, table.c.text).where(table.c.dimension_id == self._numbers.get(name, -1))
        )
        texts = ((number, _unstored(text)) for number, text in rows)
        found: dict[int, Value] = {number: text for number, text in texts if needle in text.casefold()}
        passing = {n: v for n, v in self._passing.items() if isinstance(v, str) and needle in v.casefold()}
        return found | passing

    def numbered_visitors(self, addresses: Iterable[str]) -> dict[int, int]:
        """Of `addresses`, those that are numbered: the hash that stands for each, with its number."""
        keys = [key for key in (self._key, self._key_before) if key is not None]
        return self._look_up_visitors([visitor_hash(address, key) for address in addresses for key in keys])

    def clients(self, addresses: Iterable[str]) -> dict[str, int]:
        """Of `addresses`, those that are numbered, also in passing, with their numbers."""
        hashes = {address: visitor_hash(address, self._key) for address in addresses}
        found = self._look_up_visitors(hashes.values()) | self._passing_visitors
        if self._key_before is not None:
            before = {visitor_hash(address, self._key_before): value for address, value in hashes.items()}
            found |= {before[value]: number for value, number in self._look_up_visitors(before).items()}
        return {address: found[value] for address, value in hashes.items() if value in found}

    def networks(self, visitors: Iterable[int]) -> dict[int, str]:
        """The network of each of `visitors`, by number; those that have none are left out."""
        table, wanted = self._tables.visitor.c, set(visitors)
        found = {number: network for number, network in self._passing_networks.items() if network is not None}
        query = sa.select(table.id, table.network).where(table.network.is_not(None))
        if len(wanted) <= CHUNK:
            query = query.where(table.id.in_(wanted))
        return found | {number: network for number, network in self._connection.execute(query) if number in wanted}

    def numbers_of_clients(self, name: str, values: Collection[Value]) -> frozenset[int]:
        """The visitors of whom one of `values` of a dimension that tells clients is true."""
        texts = [value for value in values if isinstance(value, str)]
        if name == ADDRESS:
            nobody = {NOBODY, *self.clients([""]).values()} if None in values else set()
            return frozenset(nobody.union(self.clients(texts).values()))
        table = self._tables.visitor.c
        found = {number for number, network in self._passing_networks.items() if network in values}
        some = [table.network.in_(texts), *([table.network.is_(None)] if None in values else [])]
        found.update(self._connection.scalars(sa.select(table.id).where(sa.or_(*some))))
        return frozenset(found | ({NOBODY} if None in values else set()))

    def forget_visitors(self, hashes: Iterable[int]) -> None:
        """Let nobody tell any more whom these hashes stood for; no one else gets their numbers, which only rise."""
        table = self._tables.visitor
        for chunk in _chunks(hashes):
            self._connection.execute(sa.delete(table).where(table.c.hash.in_(chunk)))
        self._known.values.pop(VISITOR, None)
        self._known.visitors = Numbered()

    # ---- lasting numbers -----------------------------------------------------------------------------------------

    def settle(self, segments: Mapping[int, Segment]) -> dict[int, Segment]:
        """`segments`, by audience, with lasting numbers instead of passing ones. Whatever is stored has to come through here.

        Only values that they name get one, as what was folded into `OTHER` is not kept.
        """
        self._complain()
        passing = [passing_of(segment) for segment in segments.values()]
        lasting: dict[str, dict[int, int]] = {}
        for name in self._passing_texts:
            wanted = set().union(*(found.get(name, ()) for found in passing))
            named = {text: number for text, number in self._passing_texts[name].items() if number in wanted}
            numbers, dimension = self._lasting_numbers("value", len(named)), self._numbers[name]
            self._learnt += [
                (self._tables.value, {"id": number, "dimension_id": dimension, "hash": hash_of(text), "text": text})
                for number, text in zip(numbers, named, strict=True)
            ]
            lasting[name] = dict(zip(named.values(), numbers, strict=True))
        wanted = set().union(*(found.get(VISITOR, ()) for found in passing))
        new = sorted(value for value, number in self._passing_visitors.items() if number in wanted)
        given = dict(zip(new, self._lasting_numbers("visitor", len(new)), strict=True))
        for value, number in given.items():
            network = self._passing_networks.get(self._passing_visitors[value])
            self._learnt.append((self._tables.visitor, {"hash": value, "id": number, "network": network}))
        lasting[VISITOR] = {self._passing_visitors[value]: number for value, number in given.items()}
        self._known.visitors.add(given)
        self._keep(lasting)
        return {audience: renumbered(segment, lasting) for audience, segment in segments.items()}

    def _keep(self, lasting: Mapping[str, Mapping[int, int]]) -> None:
        """Remember lasting numbers instead of passing ones, and forget passing numbers that nothing named."""
        for name, raws in self._known.unsettled.items():
            known, numbers = self._known.values[name], lasting.get(name, {})
            known.update({raw: numbers[known[raw]] for raw in raws if known.get(raw) in numbers})
        self._drop_unsettled()
        self._passing, self._passing_texts, self._passing_visitors, self._passing_networks = {}, {}, {}, {}

    def _complain(self) -> None:
        """Log each dimension whose function failed on a value, once."""
        for name, error in self._failed.items():
            if name not in self._known.failed:
                self._known.failed.add(name)
                _logger.error(
                    "Flask-Statistics: the function of the dimension %r failed (%s) on a recorded value; such requests are "
                    "counted in %s.",
                    *(name, error, OTHER_VALUE),
                )

    def _drop_unsettled(self) -> None:
        for name, raws in self._known.unsettled.items():
            known = self._known.values.get(name, {})
            for raw in raws:
                if known.get(raw, 0) >= PASSING:
                    del known[raw]
        self._known.unsettled.clear()

    @property
    def learnt(self) -> int:
        """How many new numbers and hashes are not stored yet."""
        return len(self._learnt) + len(self._hashed_before)

    def write(self, connection: sa.Connection, most: int | None = None) -> None:
        """Store the new numbers, at most so many of them, in the transaction of `connection`."""
        table = self._tables.visitor
        for now, (value, number) in self._hashed_before.items():
            connection.execute(sa.update(table).where(table.c.hash == value, table.c.id == number).values(hash=now))
        self._hashed_before = {}
        some = self._learnt[:most]
        for table in (self._tables.value, self._tables.visitor):
            if rows := [row for of, row in some if of is table]:
                connection.execute(sa.insert(table), rows)
        if some:
            write_meta(connection, self._tables, {f"next_{kind}": str(number) for kind, number in self._next.items()})
        del self._learnt[: len(some)]

    def register(self, until: datetime | None) -> None:
        """Number the dimensions that have no number yet, and note which are others than before.

        What is rolled up `until` then (naive UTC; None: nothing is) knows nothing of these: see `recorded`.
        """
        table = self._tables.dimension
        made_by = {name: of for name, _, of in self._connection.execute(_known_dimensions(self._tables))}
        for name, dimension in self._dimensions.items():
            if name not in self._numbers:
                number = self._numbers[name] = max(self._numbers.values(), default=0) + 1
                values = {"id": number, "name": name, "made_by": dimension.fingerprint, "since": until}
                self._connection.execute(sa.insert(table).values(values))
                of_value = ["segment_id", "dimension_id", "value_id"]
                for measured in (self._tables.rollup, self._tables.sets, self._tables.waits):
                    measures = [column for column in measured.c if column.name not in of_value]
                    names = [*of_value, *(column.name for column in measures)]
                    key = (measured.c.segment_id, sa.literal(number), sa.literal(NONE))
                    none = sa.select(*key, *measures).where(measured.c.dimension_id == TOTAL)
                    self._connection.execute(sa.insert(measured).from_select(names, none))
            elif made_by[name] != dimension.fingerprint:
                changed: dict[str, Any] = {"made_by": dimension.fingerprint}
                changed |= {} if dimension.is_made_by(made_by[name]) else {"since": until}
                self._connection.execute(sa.update(table).where(table.c.name == name).values(changed))
        gone = [name for name, of in made_by.items() if of and name not in self._dimensions and name[0] != WAIT]
        if gone:  # what is built without them has a hole
            self._connection.execute(sa.update(table).where(table.c.name.in_(gone)).values(made_by=""))

    # ---- looking up ----------------------------------------------------------------------------------------------

    def _look_up_texts(self, name: str, texts: Collection[str]) -> dict[str, int]:
        """The lasting numbers of those of `texts`, as they are stored, that have one."""
        table, found = self._tables.value.c, dict[str, int]()
        for chunk in _chunks({hash_of(text) for text in texts}):
            query = sa.select(table.text, table.id).where(
                table.dimension_id == self._numbers.get(name, -1), table.hash.in_(chunk)
            )
            for text, number in self._connection.execute(query):
                if text in texts:
                    found[text] = min(number, found.get(text, number))
        return found

    def _visitors(self, addresses: Sequence[Any]) -> dict[Any, int]:
        hashes = {address: visitor_hash(address, self._key) for address in addresses}
        found = self._known.visitors.find(hashes.values())
        looked_up = self._look_up_visitors({value for value in hashes.values() if value not in found})
        self._known.visitors.add(looked_up)
        found |= looked_up | self._passing_visitors
        if self._key_before is not None:
            before = {visitor_hash(a, self._key_before): now for a, now in hashes.items() if now not in found}
            for value, number in self._look_up_visitors(before).items():
                self._hashed_before[before[value]] = (value, number)
            found |= {now: number for now, (_, number) in self._hashed_before.items()}
        new = sorted({number for number in hashes.values() if number not in found})
        given = dict(zip(new, self._passing_numbers("visitor", len(new)), strict=True))
        self._passing_visitors.update(given)
        self._passing_networks.update(
            {given[value]: network_of(str(address)) for address, value in hashes.items() if value in given}
        )
        found |= given
        return {address: found[value] for address, value in hashes.items()}

    def _look_up_visitors(self, hashes: Iterable[int]) -> dict[int, int]:
        table, found = self._tables.visitor.c, dict[int, int]()
        for chunk in _chunks(hashes):
            query = sa.select(table.hash, table.id).where(table.hash.in_(chunk))
            found.update({value: number for value, number in self._connection.execute(query)})  # noqa: C416
        return found

    def _passing_numbers(self, kind: str, count: int) -> range:
        """`count` numbers that nothing stored has: down from the top of 32 bits."""
        end = self._next_passing.get(kind, 2**32)
        self._next_passing[kind] = end - count
        return range(end - count, end)

    def _lasting_numbers(self, kind: str, count: int) -> range:
        """The next `count` numbers: after the last ones given."""
        if not count:
            return range(0)
        # remembered rather than read from the tables, where an index for it alone would be as large as that of visitors
        if kind not in self._next:
            self._next[kind] = int(read_meta(self._connection, self._tables).get(f"next_{kind}", _FIRST))
        start = self._next[kind]
        self._next[kind] = start + count
        return range(start, start + count)


def _known_dimensions(tables: Tables) -> sa.Select[Any]:
    """Name, number and fingerprint of each."""
    return sa.select(tables.dimension.c.name, tables.dimension.c.id, tables.dimension.c.made_by)


_ESCAPE = "\x1a"
_UNSTORABLE = re.compile(f"[\x00{_ESCAPE}\ud800-\udfff]")
_ESCAPED = re.compile(f"{_ESCAPE}([0-9a-f]{{4}})")


def _stored(text: str) -> str:
    """`text` as every database takes it: PostgreSQL has no NUL, and none has half a pair of UTF-16. No two become one."""
    return _UNSTORABLE.sub(lambda found: f"{_ESCAPE}{ord(found[0]):04x}", text)


def _unstored(text: str) -> str:
    """The text that was stored so."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if _ESCAPE in text else text


def _value(dimension: Dimension, text: str) -> Value:
    """The value that is stored as `text`: a whole number where it is one."""
    if dimension.whole:
        return int(text) if re.fullmatch(r"0|-?[1-9]\d*", text, re.ASCII) else text
    try:
        (parsed,) = dimension.parse(text)
    except ValueError:
        return text
    return parsed if isinstance(parsed, int) and str(parsed) == text else text


def hash_of(text: str) -> int:
    """What a text is looked up by, as it is stored; many may have the same."""
    return _short(text.encode(), b"")


def visitor_hash(address: Any, key: bytes) -> int:
    """What stands for an address, whatever a raw table has as such."""
    content = b"\0" + address if isinstance(address, bytes) else str(address).encode("utf-8", "surrogatepass")
    return _short(content, key)


def _short(content: bytes, key: bytes) -> int:
    digest = hashlib.blake2b(content, digest_size=8, key=key).digest()
    return int.from_bytes(digest, "big", signed=True)


def _chunks(items: Iterable[int]) -> Iterable[list[int]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk
