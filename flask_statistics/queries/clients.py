"""What else is told of single clients of the raw table: how many requests at once, and with which user agent."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from ..databases import expressions
from ..dimensions import Dimension, Value
from ..filters import Filters
from ..models import RawTable
from ..spans import Span
from .aggregates import grouped
from .answers import Client
from .conditions import Conditions, member


class RawClients:
    """Asks the raw table about clients, over one connection."""

    def __init__(self, connection: sa.Connection, raw: RawTable, conditions: Conditions, dimension: Dimension) -> None:
        self._connection = connection
        self._raw = raw
        self._conditions = conditions
        self._value_of = dimension.value_of

    def about(self, addresses: Collection[Value], span: Span, filters: Filters) -> dict[Value, Client]:
        """What else is told of those of `addresses` that have requests, by address. Two statements."""
        known = [address for address in addresses if address is not None]
        if not known:
            return {}
        address, date = self._conditions.column("remote_address"), self._conditions.column("date")
        where = [*self._conditions.where(span, filters), member(address, known)]
        minutes = grouped([address, expressions.minute(date)], sa.func.count().label("hits")).where(*where).subquery()
        of_whom = minutes.c[0]
        peaks = self._connection.execute(sa.select(of_whom, sa.func.max(minutes.c.hits)).group_by(of_whom))
        agents = self._agents(address, date, where)
        told = ((self._value_of(raw), peak) for raw, peak in peaks)
        return {address: Client(peak, agents.get(address)) for address, peak in told}

    def _agents(
        self, address: sa.ColumnElement[Any], date: sa.ColumnElement[Any], where: list[sa.ColumnElement[bool]]
    ) -> dict[Value, str]:
        """The user agent of each client's latest request; a client that sent none is left out."""
        if not self._raw.has("user_agent"):
            return {}
        newest = {raw: at for raw, at in self._connection.execute(grouped([address], sa.func.max(date)).where(*where))}  # noqa: C416
        # two questions, as no raw rows are ever joined; others may have been sent at the same instants
        query = sa.select(address, date, self._conditions.column("user_agent")).where(
            *where, date.in_(set(newest.values()))
        )
        rows = self._connection.execute(query.order_by(self._raw.key))
        latest = {self._value_of(raw): agent for raw, at, agent in rows if at == newest[raw]}
        return {address: str(agent) for address, agent in latest.items() if agent}
