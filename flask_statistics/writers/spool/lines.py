"""A record as a line of a journal: its values as a JSON array, in the order of its fields, with types that are checked when read.

The fields and their types are those of `Record`; a spool file notes their names, so that lines of before are read by those of
then. What JSON has no word for, in the host's own columns, is an object with the name of its type.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from math import isfinite
from operator import attrgetter
from types import GenericAlias
from typing import Annotated, Any
from uuid import UUID

import msgspec

from ...record import FIELDS as STORED
from ...record import TYPES, Record

_NAMES = (*STORED, "own")
FIELDS = json.dumps(_NAMES)
"""What a record consists of, as a spool file notes it."""
UNREADABLE = (ValueError, TypeError, KeyError, RecursionError)
"""What `decode`, and making a row of what it gives, raise for what is no record."""
_OWN: dict[type, tuple[str, Callable[[Any], str]]] = {
    datetime: ("datetime", datetime.isoformat),
    date: ("date", date.isoformat),
    Decimal: ("decimal", str),
    UUID: ("uuid", str),
    float: ("float", str),  # one that is no number
}
"""Types of values of the host's own columns that JSON has not: their names, and the values' texts."""
_OF_TEXT: dict[str, Callable[[str], Any]] = {
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "decimal": Decimal,
    "uuid": UUID,
    "float": float,
}


def _plain(value: Any) -> Any:
    """A value of a subclass, as a host may put into a record, and tests' clocks do, as one of its base."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, datetime):
        return datetime.isoformat(value)
    raise TypeError(f"a record cannot have {value!r}")


_values = attrgetter(*_NAMES)
_to_json = msgspec.json.Encoder(enc_hook=_plain).encode


def encode(record: Record) -> bytes:
    """`record` as a spool keeps it. A text that is no Unicode, as half a surrogate pair, has `?` for what is none."""
    values = _values(record)
    if record.own is not None:
        values = (*values[:-1], {name: _own_text(value) for name, value in record.own.items()})
    try:
        return _to_json(values)
    except UnicodeEncodeError:
        return _to_json(_as_unicode(values))


def _as_unicode(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {name: _as_unicode(one) for name, one in value.items()}
    return tuple(map(_as_unicode, value)) if isinstance(value, tuple) else value


def _own_text(value: Any) -> Any:
    kind = type(value)
    if kind not in _OWN or (kind is float and isfinite(value)):
        return value
    name, text = _OWN[kind]
    return {name: text(value)}


def _own_value(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    ((name, text),) = value.items()
    try:
        return _OF_TEXT[name](str(text))
    except ArithmeticError as error:  # what Decimal raises
        raise ValueError(f"{text!r} is no {name}") from error


def decode(lines: Sequence[bytes], fields: str) -> list[Record]:
    """The records of lines that `encode` made of such `fields`. Raises `ValueError` or `TypeError` if one of them is none."""
    names, read = _reader(fields)
    if names == _NAMES:
        records = [Record(*read(line)) for line in lines]
    else:
        records = [
            Record(**{name: value for name, value in zip(names, read(line), strict=True) if name in TYPES})
            for line in lines
        ]
    for record in records:
        if record.own is not None:
            record.own = {name: _own_value(value) for name, value in record.own.items()}
    return records


@lru_cache(maxsize=64)
def _reader(fields: str) -> tuple[tuple[str, ...], Callable[[bytes], tuple[Any, ...]]]:
    """The names of `fields`, and what reads a line of them: a value of the right type for each, and no more and no less."""
    names = msgspec.json.decode(fields, type=tuple[str, ...])
    kinds = tuple(_kind(name) for name in names)
    return names, msgspec.json.Decoder(GenericAlias(tuple, kinds)).decode


def _kind(name: str) -> Any:
    kind = TYPES.get(name, Any)
    return Annotated[datetime, msgspec.Meta(tz=False)] if kind is datetime else kind
