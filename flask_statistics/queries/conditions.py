"""What of the raw table a question is about: conditions of SQL for a span and its filters.

What a filter's value means among raw values that it is not, as `firefox` among its versions, is looked up once for all questions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from .. import databases, week
from ..databases import expressions
from ..dimensions import OTHER_VALUE, Dimension, Value, from_apart
from ..filters import Condition, Filters
from ..models import RawTable
from ..spans import Span
from . import interface
from .answers import Only

FEW = 100
"""So many values are ordinary parameters of a statement; more go in as one."""


class Conditions:
    """Conditions on the raw table, for the questions over one connection."""

    def __init__(self, connection: sa.Connection, raw: RawTable, dimensions: Mapping[str, Dimension]) -> None:
        self._connection = connection
        self._raw = raw
        self._dimensions = dimensions
        self._seen: dict[tuple[Any, ...], list[Any]] = {}
        self._meant: dict[tuple[Any, ...], list[Any]] = {}
        """By dimension, span and values: the raw values that mean these."""
        self.newest: Any = None
        """Rows with a higher key are left out; None: none are."""

    def column(self, name: str) -> sa.ColumnElement[Any]:
        """A known column, as it is stored to the letter."""
        return expressions.exact(self._raw.columns[name])

    def within(self, start: datetime, end: datetime) -> list[sa.ColumnElement[bool]]:
        """Those of a period (naive UTC)."""
        # the sum, as SQLite would take the index on the key for the better one
        newest = [] if self.newest is None else [self._raw.key + 0 <= self.newest]
        return [*self._during(start, end), *newest]

    def _during(self, start: datetime, end: datetime) -> tuple[sa.ColumnElement[bool], ...]:
        date = self.column("date")
        return date >= self._raw.instant(start), date < self._raw.instant(end)

    def where(self, span: Span, filters: Filters) -> list[sa.ColumnElement[bool]]:
        """Those of a span and its filters."""
        return [*self.within(span.start, span.end), *self.of_filters(span, filters)]

    def only(self, only: Only) -> list[sa.ColumnElement[bool]]:
        """Those of what the request log is narrowed to. What the model has no column for is true of none."""
        clauses: list[sa.ColumnElement[bool]] = []
        if only.slower is not None:
            has = self._raw.has("response_time")
            clauses.append(self.column("response_time") > only.slower if has else sa.false())
        if only.text:
            columns = [self.column(name) for name in ("path", "query_string") if self._raw.has(name)]
            kind = databases.of(self._connection)
            found = [_containing(column, only.text, escape=kind.has_escape) for column in columns]
            can_be = kind.can_hold(only.text) and "\0" not in only.text  # with which SQLite takes a pattern for over
            clauses.append(sa.or_(sa.false(), *(found if can_be else ())))
        return clauses

    def of_filters(self, span: Span, filters: Filters) -> list[sa.ColumnElement[bool]]:
        """Those of filters alone; what their values mean is looked up in `span`."""
        clauses = [self._condition(condition, span) for condition in filters.conditions]
        if filters.at:
            clauses.append(sa.or_(sa.false(), *(sa.and_(*self._during(*one)) for one in week.ranges(span, filters.at))))
        if filters.contains and "path" in self._dimensions:
            needle = filters.contains.casefold()
            found = self._raw_values(self._dimensions["path"], span, containing=filters.contains)
            paths = [path for path in found if path and needle in path.casefold()]
            clauses.append(member(self.column("path"), paths))
        return clauses

    def _condition(self, condition: Condition, span: Span) -> sa.ColumnElement[bool]:
        dimension = self._dimensions[condition.dimension]
        column = self.column(dimension.column)
        values = condition.values(dimension)
        is_one = member(column, self._raws(dimension, values, span))
        if not condition.negated:
            return sa.or_(is_one, column.is_(None)) if None in values else is_one
        if None in values:
            return sa.and_(column.is_not(None), sa.not_(is_one))
        return sa.or_(column.is_(None), sa.not_(is_one))

    def _raws(self, dimension: Dimension, values: Iterable[Value], span: Span) -> list[Any]:
        """The raw values, but for NULL, that mean one of `values`."""
        wanted = frozenset(values)
        if dimension.derived:
            key = (dimension.name, span, wanted)
            if key not in self._meant:  # each question of a page asks, and a hundred thousand values take a second
                texts = [value for value in wanted if isinstance(value, str)]
                raws = self._raw_values(dimension, span, containing=texts[0] if len(texts) == len(wanted) == 1 else "")
                self._meant[key] = [raw for raw in raws if raw is not None and dimension.value_of(raw) in wanted]
            return self._meant[key]
        stored = stored_values(wanted)
        cut = [self._raw.fit(dimension.column, raw) for raw in stored]
        raws = [raw for raw in dict.fromkeys([*stored, *cut]) if databases.of(self._connection).can_hold(raw)]
        return [*raws, ""] if None in wanted and is_text(self.column(dimension.column)) else raws

    def _raw_values(self, dimension: Dimension, span: Span, *, containing: str = "") -> list[Any]:
        """All raw values of `dimension` that occur in `span`, looked up once.

        Of more than fit into memory, those that contain a text, of ASCII in any case. Raises `TooManyValues` if these are
        too many as well.
        """
        column = self.column(dimension.column)
        key: tuple[Any, ...] = (dimension.column, span)
        if key not in self._seen:
            query = (
                sa.select(column).where(*self.within(span.start, span.end)).distinct().limit(interface.MOST_GROUPS + 1)
            )
            self._seen[key] = [row[0] for row in self._connection.execute(query)]
        if len(self._seen[key]) <= interface.MOST_GROUPS:
            return self._seen[key]
        # only of a path or a referrer is it known that its raw value contains what is asked for
        looks = databases.of(self._connection).has_escape
        if containing and looks and dimension.column in ("path", "referrer"):
            narrowed = (dimension.column, span, containing)
            if narrowed not in self._seen:
                within = (*self.within(span.start, span.end), column.icontains(containing, autoescape=True))
                query = sa.select(column).where(*within).distinct().limit(interface.MOST_GROUPS + 1)
                self._seen[narrowed] = [row[0] for row in self._connection.execute(query)]
            key = narrowed
        if len(self._seen[key]) > interface.MOST_GROUPS:
            raise interface.TooManyValues(
                f"More than {interface.MOST_GROUPS:,} different values would have to be looked through. Choose a shorter "
                "span or a longer text; with STATISTICS_ROLLUPS, rare ones are counted together."
            )
        return self._seen[key]


def _containing(column: sa.ColumnElement[Any], text: str, *, escape: bool) -> sa.ColumnElement[bool]:
    """Whether a text column contains `text`, of ASCII in any case; `escape`: whether the database knows that word."""
    if escape:
        return column.icontains(text, autoescape=True)
    return column.ilike("%" + re.sub(r"([\\%_])", r"\\\1", text) + "%")


def stored_values(values: Iterable[Value]) -> list[Any]:
    """How a column that is no function's holds `values`, but for None, and for the folded rest, of which there is none here."""
    return [from_apart(value) for value in values if value is not None and value != OTHER_VALUE]


def member(column: sa.ColumnElement[Any], values: Sequence[Any]) -> sa.ColumnElement[bool]:
    """Whether the column has one of `values`, however many they are."""
    if not values:
        return sa.false()
    if len(values) > FEW and is_text(column):
        return expressions.one_of(column, values)
    return column.in_(values)


def is_text(column: sa.ColumnElement[Any]) -> bool:
    """Whether an empty value of the column means none."""
    return isinstance(column.type, sa.String) and not isinstance(column.type, sa.Enum)
