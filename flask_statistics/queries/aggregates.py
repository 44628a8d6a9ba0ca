"""What is measured of raw rows: the aggregates of SQL for what a question wants, and what is read from their answers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from math import isfinite
from typing import Any

import sqlalchemy as sa

from ..columns import plain_value
from ..databases import expressions
from ..latency import Spread
from ..models import RawTable
from ..spans import naive_utc
from ..waits import WAITS
from . import interface
from .answers import Measures, Tally
from .conditions import Conditions
from .interface import PERCENTILES, SUMS, VISITORS


class Aggregates:
    """Aggregates over the raw table, over one connection."""

    def __init__(
        self, connection: sa.Connection, raw: RawTable, conditions: Conditions, waits: Sequence[str] = ()
    ) -> None:
        """`waits`: those of what requests waited for that can be asked for."""
        self._connection = connection
        self._raw = raw
        self._conditions = conditions
        self._waits = waits

    def aggregates(self, want: frozenset[str], source: Any = None) -> list[sa.ColumnElement[Any]]:
        """The sums that `tally` reads, over the raw table or over `source`, which has its columns."""
        columns = {
            name: source.c[name] if source is not None else column for name, column in self.measured(want).items()
        }
        sums: list[sa.ColumnElement[Any]] = [sa.func.count().label("hits"), sa.func.max(columns["date"]).label("last")]
        if "status_code" in columns:
            for label, low in (("client_errors", 400), ("server_errors", 500)):
                error = sa.case((columns["status_code"].between(low, low + 99), 1), else_=0)
                sums.append(sa.func.coalesce(sa.func.sum(error), 0).label(label))
        if "size" in columns:
            sums.append(sa.func.coalesce(sa.func.sum(columns["size"]), 0).label("size"))
        for name in ("response_time", *WAITS):
            if name in columns:
                values = columns[name]
                sums += [
                    sa.func.sum(values).label(f"{name}_total"),
                    sa.func.count(values).label(f"{name}_known"),
                    sa.func.max(values).label(f"{name}_highest"),
                ]
        if "remote_address" in columns:
            sums.append(sa.func.count(columns["remote_address"].distinct()).label("visitors"))
        return sums

    def measured(self, want: frozenset[str]) -> dict[str, sa.ColumnElement[Any]]:
        """The columns that the sums in `want` read: of `date` alone, its index is enough."""
        names = ["date"]
        if SUMS in want:
            names += ["status_code", "size"]
        if SUMS in want or PERCENTILES in want:  # no percentile is above the longest time
            names.append("response_time")
        names += self._waited(want)
        if VISITORS in want:
            names.append("remote_address")
        return {name: self._conditions.column(name) for name in names if self._raw.has(name)}

    def tally(self, row: sa.Row[Any]) -> Tally:
        found = row._mapping
        return Tally(
            hits=found["hits"],
            visitors=found.get("visitors"),
            client_errors=whole_of(found.get("client_errors")),
            server_errors=whole_of(found.get("server_errors")),
            size=whole_of(found.get("size")),
            last=instant_of(found["last"]),
            time=_spread(found, "response_time"),
            waits={name: _spread(found, name) for name in self._waits if f"{name}_known" in found},
        )

    def binned(self, want: frozenset[str]) -> list[str]:
        """The columns of whose values percentiles are wanted."""
        timed = PERCENTILES in want and self._raw.has("response_time")
        return [*(["response_time"] if timed else []), *self._waited(want)]

    def _waited(self, want: frozenset[str]) -> list[str]:
        return [name for name in self._waits if name in want]

    def bins(
        self, name: str, where: Sequence[sa.ColumnElement[bool]], *groups: sa.ColumnElement[Any]
    ) -> dict[tuple[Any, ...], dict[int, int]]:
        """Histograms of what the column called `name` holds, by the values of `groups`."""
        values = self._conditions.column(name)
        bin_of = expressions.count_bin if name in WAITS and WAITS[name].counts else expressions.latency_bin
        labels = [group.label(f"group_{number}") for number, group in enumerate(groups)]
        source = sa.select(bin_of(values).label("bin"), *labels).where(*where, values.is_not(None)).subquery()
        keys = [source.c[label.name] for label in labels]
        query = sa.select(*keys, source.c.bin, sa.func.count()).group_by(*keys, source.c.bin)
        histograms: dict[tuple[Any, ...], dict[int, int]] = {}
        for *of, number, count in self._connection.execute(query):
            histogram = histograms.setdefault(tuple(of), {})
            histogram[number] = histogram.get(number, 0) + count
        return histograms

    def bucket(self, edges: Sequence[datetime]) -> sa.ColumnElement[int]:
        """The number of the bucket that `date` falls in, by halving: eight comparisons for 256 buckets."""
        date = self._conditions.column("date")

        def halve(low: int, high: int) -> Any:
            if low == high:
                return sa.literal_column(str(low), sa.Integer())
            middle = (low + high + 1) // 2
            return sa.case((date < self._raw.instant(edges[middle]), halve(low, middle - 1)), else_=halve(middle, high))

        answer: sa.ColumnElement[int] = halve(0, len(edges) - 2)
        return answer

    def empty(self, want: frozenset[str]) -> Measures:
        """The measures of no requests: zeros where there is a column, None where there is none."""
        return self.none(want).measures()

    def none(self, want: frozenset[str]) -> Tally:
        """What these are made of."""
        return Tally(
            visitors=0 if VISITORS in want and self._raw.has("remote_address") else None,
            client_errors=0 if SUMS in want and self._raw.has("status_code") else None,
            server_errors=0 if SUMS in want and self._raw.has("status_code") else None,
            size=0 if SUMS in want and self._raw.has("size") else None,
            waits={name: Spread() for name in self._waited(want)},
        )

    def groups(self, query: sa.Select[Any]) -> tuple[list[Any], bool]:
        """The rows of a query that has one for each different value and its `hits`; whether these are all of them.

        Of very many, which a stranger can bring about, those with the most hits: a page must show what is common all the same.
        """
        rows = list(self._connection.execute(query.order_by(sa.desc("hits")).limit(interface.MOST_GROUPS + 1)))
        return rows[: interface.MOST_GROUPS], len(rows) <= interface.MOST_GROUPS

    def hits(self, where: Sequence[sa.ColumnElement[bool]]) -> int:
        """How many rows there are."""
        return self._connection.scalar(sa.select(sa.func.count()).select_from(self._raw.table).where(*where)) or 0

    def different(self, column: str, where: Sequence[sa.ColumnElement[bool]]) -> int:
        """How many different raw values, but for NULL, a column has."""
        count = sa.func.count(self._conditions.column(column).distinct())
        return self._connection.scalar(sa.select(count).where(*where)) or 0


def grouped(by: Sequence[sa.ColumnElement[Any]], *aggregates: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """The `aggregates` for each combination of `by`, which stands before them.

    It is grouped by names: MariaDB with ONLY_FULL_GROUP_BY does not see that two expressions are the same.
    """
    labelled = [expression.label(f"_by_{number}") for number, expression in enumerate(by)]
    return sa.select(*labelled, *aggregates).group_by(*(label.name for label in labelled))


def number_of(value: Any) -> int | float | None:
    """A stored number; None if it is none that can be shown: a column of SQLite can hold texts, and some floats are infinite."""
    plain = plain_value(value)
    return plain if isinstance(plain, (int, float)) and isfinite(plain) else None


def _spread(found: sa.RowMapping, name: str) -> Spread:
    """What the sums of a row say of the column called `name`."""
    return Spread(
        total=number_of(found.get(f"{name}_total")) or 0,
        known=found.get(f"{name}_known") or 0,
        highest=number_of(found.get(f"{name}_highest")),
    )


def whole_of(value: Any) -> int | None:
    number = number_of(value)
    return None if number is None else int(number)


def instant_of(value: datetime | None) -> datetime | None:
    return None if value is None else naive_utc(value)
