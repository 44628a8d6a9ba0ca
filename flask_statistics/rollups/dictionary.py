"""Numbers for values and visitors: reads and, for the job alone, writes `statistics_value` and `statistics_visitor`.

Values are numbered because paths are longer than what databases index; visitors because dense numbers make small
bitmaps, and so that no address is stored: a visitor is known by a keyed hash alone.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import sqlalchemy as sa

from ..dimensions import Dimension, Value
from .meta import read_meta, write_meta
from .segment import NOBODY, NONE, OTHER, VISITOR
from .tables import TOTAL, Tables

OTHER_VALUE = "(other)"
"""What a breakdown shows for values that were folded together."""
CHUNK = 500
"""Hashes looked up by one statement: below what any database takes as parameters."""
MOST_CACHED = 100_000
"""Numbers of one kind kept in memory; beyond it the cache starts anew."""
MOST_HASHES = 1_000_000
"""Visitors kept in memory by their hashes; beyond it these start anew."""
_FIRST = 2  # 0 is NONE, 1 is OTHER


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


class Dictionary:
    """Looks numbers up over one connection; with `learn`, gives new ones, otherwise passing ones for this object only.

    New ones are stored by `write`, so that whoever reads long needs no transaction before there is something to write.
    """

    def __init__(
        self,
        connection: sa.Connection,
        tables: Tables,
        dimensions: Mapping[str, Dimension],
        *,
        key: bytes,
        learn: bool,
        known: Known | None = None,
    ) -> None:
        """`known`: this one adds to it."""
        self._connection = connection
        self._tables = tables
        self._dimensions = dimensions
        self._key = key
        self._learn = learn
        self._numbers = {name: number for number, name in connection.execute(sa.select(*tables.dimension.c))}
        self._known = Known() if known is None else known
        self._passing: dict[int, Value] = {}
        self._passing_numbers: dict[str, dict[int, int]] = {}
        self._next: dict[str, int] = {}
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
            known[None] = NOBODY
        missing = [raw for raw in raws if raw not in known]
        if missing:
            if name == VISITOR:
                known.update(self._visitors(missing))
            else:
                dimension = self._dimensions[name]
                values = {raw: dimension.value_of(raw) for raw in missing}
                numbers = self.values(name, set(values.values()))
                known.update({raw: numbers[value] for raw, value in values.items()})
        return known

    def values(self, name: str, values: set[Value]) -> dict[Value, int]:
        """The number of each of `values` of a dimension; unknown ones get a new or a passing number."""
        texts = {value: _text(value) for value in values if value is not None and value != OTHER_VALUE}
        hashes = {value: _hash(text.encode("utf-8", "replace"), b"") for value, text in texts.items()}
        table, dimension = self._tables.value, self._numbers.get(name, -1)
        passing = self._passing_numbers.setdefault(name, {})
        found = self._look_up(table, hashes.values(), table.c.dimension_id == dimension) | passing
        new = [value for value in hashes if hashes[value] not in found]
        numbers = self._new_numbers("value", len(new))
        for value, number in zip(new, numbers, strict=True):
            found[hashes[value]] = number
        passing.update({hashes[value]: found[hashes[value]] for value in new})
        if not self._learn:
            self._passing.update(zip(numbers, new, strict=True))
        else:
            self._learnt += [
                (table, {"id": number, "dimension_id": dimension, "hash": hashes[value], "text": texts[value]})
                for value, number in zip(new, numbers, strict=True)
            ]
        return {value: found[number] for value, number in hashes.items()} | {None: NONE, OTHER_VALUE: OTHER}

    def texts(self, name: str, numbers: Iterable[int]) -> dict[int, Value]:
        """The value behind each of `numbers` of a dimension."""
        wanted = [number for number in numbers if number not in (NONE, OTHER) and number not in self._passing]
        table, parse = self._tables.value, self._dimensions[name].parse
        answer: dict[int, Value] = {NONE: None, OTHER: OTHER_VALUE, **self._passing}
        for chunk in _chunks(wanted):
            for number, text in self._connection.execute(
                sa.select(table.c.id, table.c.text).where(table.c.id.in_(chunk))
            ):
                answer[number] = self._value(name, text, parse)
        return answer

    def containing(self, name: str, needle: str) -> dict[int, Value]:
        """The numbered values of a dimension whose text contains `needle`, in any case."""
        table, needle = self._tables.value, needle.casefold()
        rows = self._connection.execute(
            sa.select(table.c.id, table.c.text).where(table.c.dimension_id == self._numbers.get(name, -1))
        )
        found: dict[int, Value] = {number: text for number, text in rows if needle in text.casefold()}
        passing = {n: v for n, v in self._passing.items() if isinstance(v, str) and needle in v.casefold()}
        return found | passing

    def numbered_visitors(self, addresses: Iterable[str]) -> dict[int, int]:
        """Of `addresses`, those that are numbered: the hash that stands for each, with its number."""
        hashes = [_hash(address.encode("utf-8", "replace"), self._key) for address in addresses]
        return self._look_up(self._tables.visitor, hashes)

    def forget_visitors(self, hashes: Iterable[int]) -> None:
        """Let nobody tell any more whom these hashes stood for; their numbers stay taken, so that no one else gets them."""
        table = self._tables.visitor
        for value in hashes:
            unlinked = sa.update(table).where(table.c.hash == value).values(hash=secrets.randbits(64) - 2**63)
            self._connection.execute(unlinked)
        self._known.values.pop(VISITOR, None)
        self._known.visitors = Numbered()

    @property
    def learnt(self) -> int:
        """How many new numbers are not stored yet."""
        return len(self._learnt)

    def write(self, connection: sa.Connection, most: int | None = None) -> None:
        """Store the new numbers, at most so many of them, in the transaction of `connection`."""
        some = self._learnt[:most]
        for table in (self._tables.value, self._tables.visitor):
            if rows := [row for of, row in some if of is table]:
                connection.execute(sa.insert(table), rows)
        if some:
            write_meta(connection, self._tables, {f"next_{kind}": str(number) for kind, number in self._next.items()})
        del self._learnt[: len(some)]

    def register(self) -> None:
        """Number the dimensions that have no number yet: no request that is rolled up already had a value in them."""
        for name in self._dimensions:
            if name not in self._numbers:
                number = self._numbers[name] = max(self._numbers.values(), default=0) + 1
                self._connection.execute(sa.insert(self._tables.dimension), {"id": number, "name": name})
                for table in (self._tables.rollup, self._tables.sets):
                    measures = [column for column in table.c if not column.primary_key]
                    names = ["segment_id", "dimension_id", "value_id", *(column.name for column in measures)]
                    key = (table.c.segment_id, sa.literal(number), sa.literal(NONE))
                    none = sa.select(*key, *measures).where(table.c.dimension_id == TOTAL)
                    self._connection.execute(sa.insert(table).from_select(names, none))

    def _value(self, name: str, text: str, parse: Any) -> Value:
        column_value: Value = text
        try:
            (parsed,) = parse(text)
        except ValueError:
            return column_value
        return parsed if isinstance(parsed, int) else column_value

    def _visitors(self, addresses: Sequence[str]) -> dict[str, int]:
        hashes = {address: _hash(address.encode("utf-8", "replace"), self._key) for address in addresses}
        table = self._tables.visitor
        passing = self._passing_numbers.setdefault(VISITOR, {})
        found = self._known.visitors.find(hashes.values())
        looked_up = self._look_up(table, [value for value in hashes.values() if value not in found]) | passing
        found |= looked_up
        new = sorted({number for number in hashes.values() if number not in found})
        numbers = self._new_numbers("visitor", len(new))
        found.update(zip(new, numbers, strict=True))
        passing.update(zip(new, numbers, strict=True))
        if self._learn:
            self._known.visitors.add(looked_up | dict(zip(new, numbers, strict=True)))
            self._learnt += [(table, {"hash": value, "id": number}) for value, number in zip(new, numbers, strict=True)]
        return {address: found[value] for address, value in hashes.items()}

    def _look_up(self, table: sa.Table, hashes: Iterable[int], *where: sa.ColumnElement[bool]) -> dict[int, int]:
        found: dict[int, int] = {}
        for chunk in _chunks(hashes):
            query = sa.select(table.c.hash, table.c.id).where(*where, table.c.hash.in_(chunk))
            found.update({value: number for value, number in self._connection.execute(query)})  # noqa: C416
        return found

    def _new_numbers(self, kind: str, count: int) -> range:
        """The next `count` numbers: after the last ones given, or, for passing ones, down from the top of 32 bits."""
        if not self._learn:
            end = self._next.get(kind, 2**32)
            self._next[kind] = end - count
            return range(end - count, end)
        if not count:
            return range(0)
        # remembered rather than read from the tables, where an index for it alone would be as large as that of visitors
        if kind not in self._next:
            self._next[kind] = int(read_meta(self._connection, self._tables).get(f"next_{kind}", _FIRST))
        start = self._next[kind]
        self._next[kind] = start + count
        return range(start, start + count)


def _text(value: Value) -> str:
    return str(value)


def hash_of(text: str) -> int:
    """What a stored value is looked up by."""
    return _hash(text.encode("utf-8", "replace"), b"")


def _hash(content: bytes, key: bytes) -> int:
    digest = hashlib.blake2b(content, digest_size=8, key=key).digest()
    return int.from_bytes(digest, "big", signed=True)


def _chunks(items: Iterable[int]) -> Iterable[list[int]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk
