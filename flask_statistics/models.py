"""The raw table: the columns we know, a mixin that declares them well, and how a user's own model maps to them.

Reads a model's mapper; writes nothing. A model may lack any column: what needs it is then not offered.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from ipaddress import ip_address
from typing import Any, Protocol
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Mapped, Mapper, mapped_column

from .columns import check, default_of, is_of_addresses, most, plain, takes_aware, takes_uuid
from .config import SettingError

OURS = "flask_statistics"
"""Key in `Table.info` that marks the tables that belong to this package."""
LONGEST_TEXT = 20_000
"""Characters kept of a text whose column names no length: a client may send as many as the server takes."""


def text(length: int) -> sa.types.TypeEngine[str]:
    """The type of text of at most `length` characters."""
    # MySQL compares text without regard to case by default, so /A and /a would count as one path
    return sa.String(length).with_variant(
        mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb"
    )


def moment() -> sa.types.TypeEngine[datetime]:
    """The type of an instant, naive UTC: MySQL keeps whole seconds unless told otherwise."""
    return sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def _long_text() -> sa.types.TypeEngine[str]:
    return sa.Text().with_variant(mysql.MEDIUMTEXT(charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")


def _integer() -> sa.types.TypeEngine[int]:
    # SQLite numbers rows by itself only in a column of exactly the type INTEGER
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


class RequestMixin:
    """The raw table's columns with the types, lengths and the index on `date` that make it fast.

    ``class Request(RequestMixin, db.Model): pass`` is a whole model; columns of your own can stand beside these.
    """

    index: Mapped[int] = mapped_column(_integer(), primary_key=True, sort_order=-1)
    """Number of the row."""
    date: Mapped[datetime | None] = mapped_column(moment(), index=True)
    """When the request began, naive UTC."""
    response_time: Mapped[float | None] = mapped_column(sa.Double())
    """Seconds from its arrival until its response was ready; the sending of a streamed body is included."""
    method: Mapped[str | None] = mapped_column(text(32))
    """HTTP method."""
    path: Mapped[str | None] = mapped_column(text(2048))
    """Path inside the app, decoded, without the query string."""
    route: Mapped[str | None] = mapped_column(text(512))
    """URL rule that matched, such as `/user/<int:id>`; NULL if none did."""
    query_string: Mapped[str | None] = mapped_column(text(2048))
    """Query string with secrets masked; NULL if there was none."""
    status_code: Mapped[int | None] = mapped_column(sa.Integer())
    """HTTP status; 500 for an exception that nobody handled."""
    size: Mapped[int | None] = mapped_column(_integer())
    """Bytes of the body; NULL if unknown."""
    mimetype: Mapped[str | None] = mapped_column(text(255))
    """Media type of the response, without parameters."""
    exception: Mapped[str | None] = mapped_column(text(2048))
    """`repr` of the exception behind a 5xx; NULL if there was none."""
    issue: Mapped[str | None] = mapped_column(text(512))
    """Its type, its message without what changes, and where in the app's code it was raised; NULL if there was none."""
    remote_address: Mapped[str | None] = mapped_column(text(64))
    """Client's address: one address is one visitor."""
    user_agent: Mapped[str | None] = mapped_column(text(1024))
    """User-Agent header; empty if the client sent none."""
    browser: Mapped[str | None] = mapped_column(text(128))
    """Family and version, such as `firefox 72.0`; NULL if unknown."""
    platform: Mapped[str | None] = mapped_column(text(64))
    """Operating system's name; NULL if unknown."""
    device: Mapped[str | None] = mapped_column(text(16))
    """bot, mobile, tablet, desktop or other."""
    bot: Mapped[str | None] = mapped_column(text(16))
    """Kind of bot: search, ai, monitor, library, scanner, feed, preview or other; NULL for people."""
    referrer: Mapped[str | None] = mapped_column(text(2048))
    """Referer header; NULL if the client sent none."""
    channel: Mapped[str | None] = mapped_column(text(16))
    """By which way it came: direct, internal (from a page of the same host), search, social, ai, mail or links."""
    campaign: Mapped[str | None] = mapped_column(text(100))
    """What its link said in `utm_campaign`, or in `utm_source`; NULL if it said nothing."""
    country: Mapped[str | None] = mapped_column(text(2))
    """Country of the client, the two letters of ISO 3166, as STATISTICS_COUNTRY finds it; NULL if unknown."""
    host: Mapped[str | None] = mapped_column(text(255))
    """Host that was asked for, in lower case, without port; NULL if the client named none, or what is no host's name."""
    language: Mapped[str | None] = mapped_column(text(35))
    """Language that the client likes most, such as `de-AT`; NULL if it named none."""
    release: Mapped[str | None] = mapped_column(text(64))
    """Release of the app that answered, as STATISTICS_RELEASE has it; NULL without."""
    user: Mapped[str | None] = mapped_column(text(255))
    """Who asked, as STATISTICS_USER says; NULL for nobody."""
    db_time: Mapped[float | None] = mapped_column(sa.Double())
    """Seconds in which the app waited for its databases; NULL if nobody measured."""
    db_queries: Mapped[int | None] = mapped_column(sa.Integer())
    """Statements that the app sent to its databases; NULL if nobody counted."""
    http_time: Mapped[float | None] = mapped_column(sa.Double())
    """Seconds in which the app waited for other servers; NULL if nobody measured."""
    http_calls: Mapped[int | None] = mapped_column(sa.Integer())
    """Requests that the app sent to other servers; NULL if nobody counted."""
    story: Mapped[str | None] = mapped_column(_long_text(), deferred=True)
    """What took its time, and what was logged meanwhile, as JSON; NULL if nobody looked."""

    traceback: Mapped[str | None] = mapped_column(_long_text(), deferred=True)
    """Traceback of that exception; NULL if there was none."""


KNOWN_COLUMNS = tuple(name for name in RequestMixin.__annotations__ if name != "index")
MEASURED = ("response_time", "db_time", "db_queries", "http_time", "http_calls")
"""Those whose averages and percentiles can be asked for."""
LONG = ("traceback", "story")
"""Those that are read of a single request alone."""
TEXTS = tuple(
    name for name in KNOWN_COLUMNS if name not in ("date", "status_code", "size", "remote_address", *MEASURED)
)
"""Those that hold whatever text a client sends, or a server's words."""


@dataclass(frozen=True, slots=True)
class RawTable:
    """How a user's model maps to the columns we know."""

    table: sa.Table
    columns: Mapping[str, sa.Column[Any]]
    """Attribute name to column, for every plain column of the model, known to us or not, in the model's order."""
    key: sa.Column[Any]
    """The column that identifies a row: the primary key (of several, the first that is not `date`)."""
    bind_key: str | None
    """Flask-SQLAlchemy's bind of the model; None is the default database."""
    fits: tuple[tuple[str, str, Fit | None], ...]
    """For each column we fill: attribute name, key in an insert, and what makes a value fit the column (None: it does)."""
    own: Mapping[str, None]
    """Of those, the attribute names of the host's own, which a dimension fills."""
    aware: bool
    """Whether the `date` column takes instants with a time zone."""
    locate: Callable[[str | None], str | None] | None = None
    """What tells the country of a stored address when rows are made; None: records have it, or nobody knows."""

    def has(self, name: str) -> bool:
        """Whether the model has the attribute `name`."""
        return name in self.columns

    def identity(self, text: str) -> Any:
        """A row's key from its text in a URL. Raises `ValueError` if it cannot be one."""
        kind = self.key.type
        if takes_uuid(kind):
            return UUID(text)
        if not isinstance(plain(kind), (sa.Integer, sa.Numeric)):
            return text
        value = int(text)
        if not -(2**63) <= value < 2**63:
            raise ValueError(text)
        return value

    def instant(self, moment: datetime) -> datetime:
        """A naive UTC instant as the `date` column takes it."""
        return moment.replace(tzinfo=timezone.utc) if self.aware else moment

    def fit(self, name: str, value: Any) -> Any:
        """`value` as we stored it in the attribute `name`: what the column cut, a filter must find by the whole as well."""
        return next((fit(value) for known, _, fit in self.fits if known == name and fit), value)

    def row(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """`values` by attribute name as parameters of an insert: unknown names left out, values made to fit."""
        return {
            key: values[name] if fit is None else fit(values[name]) for name, key, fit in self.fits if name in values
        }

    def fitted(self, values: Mapping[str, Sequence[Any]], *, fitting: Collection[str] = ()) -> dict[str, Sequence[Any]]:
        """The values of many rows, column by column, by attribute name as by key in an insert: in two fifths of the time.

        Of the attributes `fitting`, all values are known to fit their columns.
        """
        return {
            key: column if fit is None or name in fitting or fit.has_nothing_to_do(column) else [*map(fit, column)]
            for name, key, fit, column in (
                (name, key, fit, values[name]) for name, key, fit in self.fits if name in values
            )
        }


def own_table(
    metadata: sa.MetaData, schema: str | None, name: str, *columns: sa.schema.SchemaItem, **options: Any
) -> sa.Table:
    """A table of this package in the raw table's metadata, so that `db.create_all()` and Flask-Migrate make it.

    Raises `SettingError` if the app has another one of that name.
    """
    key = f"{schema}.{name}" if schema else name
    if key not in metadata.tables:
        options |= {"mysql_engine": "InnoDB", "mariadb_engine": "InnoDB"}  # whose transactions all of it relies on
        return sa.Table(name, metadata, *columns, schema=schema, info={OURS: True}, **options)
    if OURS not in metadata.tables[key].info:
        raise SettingError(
            f"The app has a table {key!r} of its own, but Flask-Statistics needs that name: rename yours."
        )
    return metadata.tables[key]


def map_model(model: type[Any], own: Iterable[str] = ()) -> RawTable:
    """The raw table behind `model`; `own` are columns of the host's own that are filled as well.

    Raises `SettingError` if `model` is no mapped class or has no `date`.
    """
    mapper = sa.inspect(model, raiseerr=False)
    if not isinstance(mapper, Mapper):
        raise SettingError(
            f"The model is {model!r}, but must be a Flask-SQLAlchemy model class, for example "
            "class Request(RequestMixin, db.Model)."
        )
    table = mapper.local_table
    if mapper.inherits is not None and not mapper.concrete:
        raise SettingError(
            f"The model {model.__name__} inherits from the model {mapper.inherits.class_.__name__}, so it has no table that is "
            "its alone. Let it inherit from db.Model; columns that several models have are kept in a class without a table, a "
            "mixin or one with __abstract__ = True."
        )
    if not isinstance(table, sa.Table):
        raise SettingError(f"The model {model.__name__} is mapped to {table!r}, but must have a table of its own.")
    columns = {
        attribute.key: attribute.columns[0]
        for attribute in mapper.column_attrs
        if isinstance(attribute.columns[0], sa.Column)
    }
    if "date" not in columns:
        raise SettingError(
            f"The model {model.__name__} has no column 'date', which every number on the dashboard needs. "
            "Add date = db.Column(db.DateTime, index=True), or inherit from RequestMixin."
        )
    key = next((column for column in table.primary_key if column is not columns["date"]), None)
    if key is None:
        raise SettingError(
            f"The model {model.__name__} has no primary key besides 'date': requests need one to be told apart."
        )
    kind = plain(key.type)
    if isinstance(kind, (sa.Float, sa.Date, sa.DateTime, sa.Time, sa.LargeBinary, sa.Boolean, sa.JSON, sa.Enum)):
        raise SettingError(
            f"The key {key.name!r} of the model {model.__name__} is {key.type!r}, but must be of whole numbers, texts or UUIDs: "
            "it stands in links."
        )
    check(f"the model {model.__name__}", columns, TEXTS)
    return RawTable(
        table=table,
        columns=columns,
        key=key,
        bind_key=table.metadata.info.get("bind_key"),
        fits=tuple(
            (name, column.key, fit(column)) for name, column in columns.items() if name in {*KNOWN_COLUMNS, *own}
        ),
        own=dict.fromkeys(own),
        aware=bool(takes_aware(columns["date"].type)),
    )


def in_database(raw: RawTable, dialect: sa.Dialect) -> RawTable:
    """The same in this database: `remote_address` may have a type of addresses there that it has not elsewhere."""
    if not raw.has("remote_address") or not is_of_addresses(raw.columns["remote_address"].type, dialect):
        return raw
    fits = ((name, key, _FitAddress() if name == "remote_address" else fit) for name, key, fit in raw.fits)
    return replace(raw, fits=tuple(fits))


def check_types(raw: RawTable, dialect: sa.Dialect) -> None:
    """Raise `SettingError` if the database has no fitting type for a column of the model: MySQL's text needs a length."""
    check(f"the table {raw.table.name!r}", raw.columns, TEXTS, dialect)
    refused = [column.name for column in raw.table.columns if not _has_type(column, dialect)]
    if refused:
        raise SettingError(
            f"The table {raw.table.name!r} has columns without a length, which MySQL and MariaDB need: {', '.join(refused)}. "
            "Give each one, such as db.String(255), or inherit from RequestMixin, which has fitting ones for every database."
        )


def _has_type(column: sa.Column[Any], dialect: sa.Dialect) -> bool:
    try:
        column.type.compile(dialect=dialect)
    except sa.exc.CompileError:
        return False
    return True


class Fit(Protocol):
    """Makes values fit a column."""

    def __call__(self, value: Any) -> Any:
        """What fits best; None stays None."""

    def has_nothing_to_do(self, values: Sequence[Any]) -> bool:
        """Whether all of `values` are known to fit as they are: for all of them at once, that is quick to tell."""


def fit(column: sa.Column[Any]) -> Fit | None:
    """What makes a value fit `column`: text cut at its length, numbers within its range; None: all fit.

    A long path or a 5 GB download must not cost the row.
    """
    inner: Fit | None = None
    kind = plain(column.type)
    if isinstance(kind, sa.String):
        inner = _FitText(kind.length or LONGEST_TEXT)
    elif isinstance(kind, sa.Integer):
        inner = _FitNumber(most(kind))
    elif isinstance(kind, sa.Numeric) and not isinstance(kind, sa.Float) and kind.precision is not None:
        digits = kind.scale or 0
        inner = _FitNumber(10 ** (kind.precision - digits) - (10**-digits if digits else 1))
    elif isinstance(kind, sa.DateTime) and takes_aware(column.type):
        inner = _FitAware()
    elif is_of_addresses(column.type):
        inner = _FitAddress()
    default = default_of(column)
    return inner if default is None else _FitFilled(inner, default)


@dataclass(frozen=True, slots=True)
class _FitFilled:
    """For a column that must not be NULL."""

    inner: Fit | None
    default: Any

    def __call__(self, value: Any) -> Any:
        if value is None:
            return self.default
        return value if self.inner is None else self.inner(value)

    def has_nothing_to_do(self, values: Sequence[Any]) -> bool:
        return None not in values and (self.inner is None or self.inner.has_nothing_to_do(values))


@dataclass(frozen=True, slots=True)
class _FitText:
    length: int

    def __call__(self, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if not value.isascii():  # no driver takes half a surrogate pair
            value = value.encode("utf-8", "replace").decode("utf-8")
        if "\0" in value:  # PostgreSQL takes no NUL in text
            value = value.replace("\0", "\N{SYMBOL FOR NULL}")
        return value[: self.length]

    def has_nothing_to_do(self, values: Sequence[Any]) -> bool:
        texts = [value for value in {*values} if isinstance(value, str)]
        together = "".join(texts)
        return together.isascii() and "\0" not in together and max(map(len, texts), default=0) <= self.length


@dataclass(frozen=True, slots=True)
class _FitNumber:
    limit: float

    def __call__(self, value: Any) -> Any:
        return min(value, self.limit) if isinstance(value, (int, float)) else value

    def has_nothing_to_do(self, values: Sequence[Any]) -> bool:
        return bool(max(filter(None, values), default=0) <= self.limit)


class _FitAddress:
    """For a type that takes addresses alone: what else names a client, as a log's host name does, is nobody."""

    def __call__(self, value: Any) -> Any:
        try:
            return None if value is None else str(ip_address(value))
        except ValueError:
            return None

    def has_nothing_to_do(self, values: Sequence[Any]) -> bool:
        return not any(values)


class _FitAware:
    def __call__(self, value: datetime) -> datetime:
        return value.replace(tzinfo=timezone.utc)

    def has_nothing_to_do(self, values: Sequence[Any]) -> bool:
        return not values
