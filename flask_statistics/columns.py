"""What a column of a host's model can hold: the plain type behind its type, and what makes a host's value one of it. Pure."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine.default import DefaultDialect
from werkzeug.local import LocalProxy

from .config import SettingError


def plain(kind: sa.types.TypeEngine[Any], dialect: sa.Dialect | None = None) -> sa.types.TypeEngine[Any]:
    """The type of the database that is behind `kind`, which may be a `TypeDecorator` of somebody's own.

    `dialect`: of this database, as a type may have variants; None: of any other.
    """
    while isinstance(kind, sa.TypeDecorator):
        kind = kind.impl_instance if dialect is None else kind.type_engine(dialect)
    return kind if dialect is None else kind.dialect_impl(dialect)


def takes_aware(kind: sa.types.TypeEngine[Any]) -> bool | None:
    """Whether a type of instants wants them with a time zone; None: it gives no instant back, whatever it gets."""
    zoned = bool(getattr(plain(kind), "timezone", False))
    return next((aware for aware in (zoned, not zoned) if _keeps_instant(kind, aware=aware)), None)


_INSTANT = datetime(2026, 1, 2, 3, 4, 5)


def _keeps_instant(kind: sa.types.TypeEngine[Any], *, aware: bool) -> bool:
    try:
        found = _stored(kind, _INSTANT.replace(tzinfo=timezone.utc) if aware else _INSTANT)
    except Exception:  # a type of somebody's own refuses as it likes
        return False
    if not isinstance(found, datetime):
        return False
    return (found if found.tzinfo is None else found.astimezone(timezone.utc).replace(tzinfo=None)) == _INSTANT


def takes_uuid(kind: sa.types.TypeEngine[Any]) -> bool:
    """Whether a type takes UUIDs as they are, and gives them back so."""
    sample = UUID(int=1)
    try:
        return isinstance(kind, (sa.TypeDecorator, sa.Uuid)) and _stored(kind, sample) == sample
    except Exception:  # a type of somebody's own refuses as it likes
        return False


def _stored(kind: sa.types.TypeEngine[Any], value: Any) -> Any:
    """What a type gives back of a value; raises what it raises."""
    dialect = DefaultDialect()
    for process in (kind.bind_processor(dialect), kind.result_processor(dialect, None)):
        value = value if process is None else process(value)
    return value


_OTHER_THINGS = (
    sa.Integer,
    sa.Numeric,
    sa.Float,  # a Numeric until SQLAlchemy 2.1
    sa.Boolean,
    sa.Date,
    sa.DateTime,
    sa.Time,
    sa.Interval,
    sa.JSON,
    sa.ARRAY,
    sa.LargeBinary,
    sa.Uuid,
    sa.Enum,
)
"""What holds no text that a client may send: texts are all else, as databases have types of their own for them."""
_NO_TEXTS = {
    "CIDR",
    "SET",
    "ENUM",
    "ARRAY",
    "JSON",
    "JSONB",
    "BYTEA",
    "BLOB",
    "BIT",
    "YEAR",
    "MACADDR",
    "MACADDR8",
    "HSTORE",
}
_ADDRESSES = {"INET"}
_MOST_STATUS = 999
"""No status is larger."""
NEVER_NULL = {"date", "method", "path", "status_code", "response_time", "user_agent", "device"}
"""What every recorded request has."""


def check(
    of: str, columns: Mapping[str, sa.Column[Any]], texts: Iterable[str], dialect: sa.Dialect | None = None
) -> None:
    """Raise `SettingError` for columns in which not all that is recorded can be stored; `texts` are those of texts.

    `of` says whose they are; `dialect` is the database's, where it is known.
    """
    for names, holds, fix in (
        (("date",), _holds_instants, "db.DateTime"),
        (("status_code",), _holds_status, "db.Integer"),
        (("size", "db_queries", "http_calls"), _holds_numbers, "db.BigInteger, or another type of numbers"),
        (("response_time", "db_time", "http_time"), _holds_numbers, "db.Float, or another type of numbers"),
        (("remote_address",), _holds_addresses, "db.String(64), or INET on PostgreSQL"),
        (texts, _holds_texts, "db.String(255): clients send what they like, and what a type does not list is lost"),
    ):
        for name in names:
            kind = columns[name].type if name in columns else None
            if kind is not None and not holds(plain(kind, dialect)):
                raise SettingError(f"The column {name!r} of {of} is {kind!r}, but must be {fix}.")
    if takes_aware(columns["date"].type) is None:
        raise SettingError(
            f"The column 'date' of {of} is {columns['date'].type!r}, which does not give back the instant that it got, but "
            "must be db.DateTime, or a type that makes datetimes of it."
        )


def _holds_instants(kind: sa.types.TypeEngine[Any]) -> bool:
    return isinstance(kind, sa.DateTime)


def _holds_numbers(kind: sa.types.TypeEngine[Any]) -> bool:
    return isinstance(kind, (sa.Integer, sa.Numeric, sa.Float))


def _holds_status(kind: sa.types.TypeEngine[Any]) -> bool:
    return isinstance(kind, sa.Integer) and most(kind) >= _MOST_STATUS


def _holds_texts(kind: sa.types.TypeEngine[Any]) -> bool:
    name = type(kind).__visit_name__.upper()
    return not isinstance(kind, _OTHER_THINGS) and name not in _NO_TEXTS and name not in _ADDRESSES


def _holds_addresses(kind: sa.types.TypeEngine[Any]) -> bool:
    return _holds_texts(kind) or is_of_addresses(kind)


def is_of_addresses(kind: sa.types.TypeEngine[Any], dialect: sa.Dialect | None = None) -> bool:
    """Whether a type takes addresses of networks alone, as PostgreSQL's do."""
    return type(plain(kind, dialect)).__visit_name__.upper() in _ADDRESSES


def most(kind: sa.Integer) -> int:
    """The largest number that a column of this type holds."""
    name = type(kind).__visit_name__.upper()
    bits = 7 if name == "TINYINT" else 15 if isinstance(kind, sa.SmallInteger) else 23 if name == "MEDIUMINT" else 31
    return int(2 ** (63 if isinstance(kind, sa.BigInteger) else bits) - 1)


def default_of(column: sa.Column[Any]) -> Any:
    """What a column that must not be NULL gets instead; None if it may be, or has no plain default."""
    default = column.default
    return default.arg if not column.nullable and isinstance(default, sa.ColumnDefault) and default.is_scalar else None


def check_fillable(
    model: str, table: sa.Table, filled: Mapping[str, sa.Column[Any]], dialect: sa.Dialect | None = None
) -> None:
    """Raise `SettingError` if the table would refuse rows that have what is recorded, and nothing else.

    `filled` are the columns that get values; `dialect` is the database's, where it is known.
    """
    _check_key(model, table, set(filled.values()), dialect)
    ours = {column: name for name, column in filled.items()}
    for column in table.columns:
        if column.nullable or column.primary_key or ours.get(column) in NEVER_NULL:
            continue
        if column not in ours and column.default is None and column.server_default is None:
            raise SettingError(
                f"The column {column.name!r} of the model {model} must not be NULL and has no default, so every request would be "
                "lost: give it a default (server_default=db.FetchedValue() if a trigger fills it), or make it nullable."
            )
        if column in ours and default_of(column) is None:
            raise SettingError(
                f"The column {column.name!r} of the model {model} must not be NULL, but many requests have none, and would be "
                "lost: make it nullable, or give it a plain default, such as default=''."
            )
    for column in filter(_is_unique_alone, set(ours) - set(table.primary_key)):
        raise SettingError(
            f"The column {column.name!r} of the model {model} is unique, so all requests but the first with a value would be "
            "lost: leave out unique=True."
        )


def _is_unique_alone(column: sa.Column[Any]) -> bool:
    table = column.table
    together = [list(one.columns) for one in table.constraints if isinstance(one, sa.UniqueConstraint)]
    together += [list(index.columns) for index in table.indexes if index.unique]
    return bool(column.unique) or [column] in together


def _check_key(model: str, table: sa.Table, filled: set[sa.Column[Any]], dialect: sa.Dialect | None) -> None:
    keys = list(table.primary_key)
    for column in keys:
        if column in filled or column.default is not None or column.server_default is not None:
            continue
        kind = plain(column.type, dialect)
        if column is not table.autoincrement_column or not isinstance(kind, sa.Integer):
            if len(keys) > 1:
                raise SettingError(
                    f"The model {model} has the key ({', '.join(key.name for key in keys)}), and nothing numbers "
                    f"{column.name!r}: has a base class a key of its own? Declare the columns without RequestMixin, use a plain "
                    "base class, or give that column a default."
                )
            raise SettingError(
                f"The key {column.name!r} of the model {model} is {column.type!r}, and nothing gives it values: make it a plain "
                "db.Integer, or give it a default, such as default=uuid.uuid4 for db.Uuid."
            )
        is_sqlite = dialect is not None and dialect.name == "sqlite"
        if is_sqlite and (len(keys) > 1 or kind.compile(dialect=dialect) != "INTEGER"):
            raise SettingError(
                f"SQLite numbers rows only in a column of the type INTEGER that is the whole key, and {column.name!r} of the "
                f"model {model} is not: make it db.Integer, or db.BigInteger().with_variant(db.Integer, 'sqlite')."
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
    limit = most(kind)
    if number != (value if not isinstance(value, str) else number) or not -limit - 1 <= number <= limit:
        raise ValueError(f"{value!r} is no whole number of {limit.bit_length() + 1} bits")
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
    (sa.Float, _number),  # a Numeric until SQLAlchemy 2.1
    (sa.DateTime, _instant),
    (sa.Date, _day),
    (sa.Uuid, _uuid),
)
"""The first that fits is taken: an Enum is a String."""
