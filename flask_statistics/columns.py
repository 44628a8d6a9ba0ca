"""What a column of a host's model can hold: the plain type behind its type, and what makes a host's value one of it. Pure."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from werkzeug.local import LocalProxy

from .config import SettingError


def plain(kind: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
    """The type of the database that is behind `kind`, which may be a `TypeDecorator` of somebody's own."""
    while isinstance(kind, sa.TypeDecorator):
        kind = kind.impl_instance
    return kind


_NO_INSTANT = (sa.Date, sa.String, sa.Boolean)
_NO_NUMBER = (sa.Date, sa.DateTime, sa.String, sa.Boolean)


def check(model: str, table: sa.Table, columns: Mapping[str, sa.Column[Any]], texts: Iterable[str]) -> None:
    """Raise `SettingError` for columns in which nothing that is recorded can be stored; `texts` are those of texts."""
    for names, wrong, fix in (
        (("date",), _NO_INSTANT, "db.DateTime"),
        (("status_code", "size"), _NO_NUMBER, "db.Integer"),
        (("response_time",), _NO_NUMBER, "db.Float"),
        (texts, (sa.Enum,), "db.String(255): clients send what they like"),
    ):
        for name in names:
            kind = plain(columns[name].type) if name in columns else None
            if isinstance(kind, wrong):
                raise SettingError(f"The column {name!r} of the model {model} is {kind!r}, but must be {fix}.")


def check_key(model: str, table: sa.Table) -> None:
    """Raise `SettingError` for a key of several columns of which one gets no value: no request could be stored."""
    keys = list(table.primary_key)
    unnumbered = [
        column
        for column in keys
        if isinstance(plain(column.type), sa.Integer)
        and column.default is None
        and column.server_default is None
        and column is not table.autoincrement_column
    ]
    if len(keys) > 1 and unnumbered:
        raise SettingError(
            f"The model {model} has the key ({', '.join(column.name for column in keys)}), and nothing numbers "
            f"{unnumbered[0].name!r}: a base class has a key of its own already. Declare the columns without RequestMixin, use "
            "a plain base class, or give that column autoincrement=True."
        )


def plain_value(value: Any) -> Any:
    """What a database's driver, or a type of somebody's own, gave, as a text, a number, a boolean, a date or None."""
    if value is None or isinstance(value, (str, int, float, date)):
        return value
    return float(value) if isinstance(value, Decimal) else str(value)


def taker(column: sa.Column[Any], what: str) -> Callable[[Any], Any]:
    """What makes a value that a host's function returns one that `column` takes; None stays None.

    It raises `ValueError` or `TypeError` for what cannot be one. Raises `SettingError`, which names `what` asks for it, for
    a column whose values are no text, number, date, time of day with a date, UUID or boolean.
    """
    kind = plain(column.type)
    if column.default is None and column.server_default is None and not column.nullable:
        raise SettingError(
            f"{what} fills the column {column.name!r}, which must not be NULL: but there is no value where its function "
            "fails, and in imported logs. Make it nullable, or give it a default."
        )
    for known, take in _TAKERS:
        if isinstance(kind, known):
            return lambda value: _taken(value, kind, take)
    raise SettingError(
        f"{what} fills the column {column.name!r} of the type {kind!r}, but can fill only columns of texts, numbers, "
        "booleans, dates (with or without a time) and UUIDs."
    )


def _taken(value: Any, kind: Any, take: Callable[[Any, Any], Any]) -> Any:
    """What `take` makes of a value, and never somebody's subclass or proxy of it: it is read when the request is over."""
    if type(value) is LocalProxy:  # `current_user` is one, and claims to be of the class that it stands for
        value = value._get_current_object()
    return None if value is None else take(value, kind)


def _enum(value: Any, kind: Any) -> str:
    name = value.name if isinstance(value, enum.Enum) else str(value)
    if name not in kind.enums:
        raise ValueError(f"{name!r} is none of {', '.join(kind.enums)}")
    return name


def _text(value: Any, _kind: Any) -> str:
    return str.__str__(value) if issubclass(type(value), str) else str(value)


def _boolean(value: Any, _kind: Any) -> bool:
    if value not in (0, 1):  # as SQLAlchemy has it
        raise TypeError(f"{value!r} is neither True nor False")
    return bool(value)


def _integer(value: Any, kind: Any) -> int:
    number = int(value)
    bits = 15 if isinstance(kind, sa.SmallInteger) else 63 if isinstance(kind, sa.BigInteger) else 31
    if number != (value if not isinstance(value, str) else number) or not -(2**bits) <= number < 2**bits:
        raise ValueError(f"{value!r} is no whole number of {bits + 1} bits")
    return number


def _number(value: Any, kind: Any) -> float | Decimal:
    return Decimal(str(value)) if kind.asdecimal else float(value)


def _instant(value: Any, kind: Any) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError(f"{value!r} is no datetime")
    aware = value if value.tzinfo is not None else value.replace(tzinfo=timezone.utc)
    moment = datetime.fromisoformat(aware.isoformat())
    return moment if kind.timezone else moment.astimezone(timezone.utc).replace(tzinfo=None)


def _day(value: Any, _kind: Any) -> date:
    if not isinstance(value, date):
        raise TypeError(f"{value!r} is no date")
    return date(value.year, value.month, value.day)


def _uuid(value: Any, kind: Any) -> Any:
    found = UUID(str(value))
    return found if kind.as_uuid else str(found)


_TAKERS: tuple[tuple[type[sa.types.TypeEngine[Any]], Callable[[Any, Any], Any]], ...] = (
    (sa.Enum, _enum),
    (sa.String, _text),
    (sa.Boolean, _boolean),
    (sa.Integer, _integer),
    (sa.Numeric, _number),
    (sa.DateTime, _instant),
    (sa.Date, _day),
    (sa.Uuid, _uuid),
)
"""The first that fits is taken: an Enum is a String."""
