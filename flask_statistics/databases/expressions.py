"""Expressions of SQL that one database or another writes in its own way."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from ..latency import COUNT_EDGES, EDGES
from . import named


class _Exact(FunctionElement[Any]):
    name = "exact"
    inherit_cache = True

    def __init__(self, column: sa.ColumnElement[Any]) -> None:
        super().__init__(column)
        self.type = column.type


def exact(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """`column` as Python sees it, to be grouped by, compared and added up.

    MySQL takes text for equal whatever its case, its accents and the spaces at its end, and shows fewer digits of a number
    of single precision than it reckons with.
    """
    text = isinstance(column.type, sa.String)
    return _Exact(column) if text or isinstance(column.type, sa.Float) else column


class _Extreme(FunctionElement[Any]):
    inherit_cache = True

    def __init__(self, column: sa.ColumnElement[Any]) -> None:
        super().__init__(column)
        self.type = column.type


class lowest(_Extreme):  # noqa: N801 - a function of SQL
    """The lowest value of a column; NULL if there is none, where ClickHouse's own `min` is 1970."""

    name = "min"
    inherit_cache = True


class highest(_Extreme):  # noqa: N801 - as above
    """The highest value of a column; NULL if there is none, as above."""

    name = "max"
    inherit_cache = True


class _OneOf(FunctionElement[bool]):
    name = "one_of"
    type = sa.Boolean()
    inherit_cache = True


def one_of(column: sa.ColumnElement[str], values: Collection[str]) -> sa.ColumnElement[bool]:
    """`column IN (values)` with the values as one parameter, however many there are.

    A filter on a derived dimension can select thousands of raw values, more than any database takes as parameters.
    """
    return _OneOf(column, sa.literal(json.dumps(sorted(values)), sa.Text()))


class latency_bin(FunctionElement[int]):  # noqa: N801 - as above
    """The latency bin of a time in seconds, as `latency.bin_of` numbers it."""

    type = sa.Integer()
    inherit_cache = True


class count_bin(FunctionElement[int]):  # noqa: N801 - as above
    """The bin of a count, as `latency.bin_of_count` numbers it."""

    type = sa.Integer()
    inherit_cache = True


class minute(FunctionElement[Any]):  # noqa: N801 - as above
    """What tells the minute of one instant from that of another."""

    type = sa.String()
    inherit_cache = True


@compiles(minute)
def _write_minute(element: minute, compiler: Any, **kw: Any) -> str:
    (column,) = element.clauses
    return named(compiler.dialect.name).minute(compiler.process(column, **kw))


@compiles(_Exact)
def _write_exact(element: _Exact, compiler: Any, **kw: Any) -> str:
    (column,) = element.clauses
    return named(compiler.dialect.name).exact(compiler.process(column, **kw), element.type, compiler.dialect)


@compiles(lowest)
@compiles(highest)
def _write_extreme(element: _Extreme, compiler: Any, **kw: Any) -> str:
    (column,) = element.clauses
    return named(compiler.dialect.name).extreme(element.name, compiler.process(column, **kw))


@compiles(_OneOf)
def _write_one_of(element: _OneOf, compiler: Any, **kw: Any) -> str:
    column, values = (compiler.process(clause, **kw) for clause in element.clauses)
    return named(compiler.dialect.name).one_of(column, values)


@compiles(latency_bin)
def _write_latency_bin(element: latency_bin, compiler: Any, **kw: Any) -> str:
    (column,) = element.clauses
    return named(compiler.dialect.name).latency_bin(compiler.process(column, **kw), EDGES)


@compiles(count_bin)
def _write_count_bin(element: count_bin, compiler: Any, **kw: Any) -> str:
    (column,) = element.clauses
    return named(compiler.dialect.name).latency_bin(compiler.process(column, **kw), COUNT_EDGES)
