"""Who works on the rollups: the holder of the lease, its transactions, and what it learnt in them.

Reads and writes nothing but the lease by itself; whoever works through it reads the raw table and writes the rollup tables.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

import sqlalchemy as sa

from .. import databases
from ..spans import midnight, to_local
from . import lease
from .dictionary import FORGOTTEN, VISITOR_KEY, Dictionary, Known, keys_in
from .meta import NEVER, RollupError, read_meta
from .source import Source
from .tables import Tables

LEASE = timedelta(seconds=60)
"""How long, at most, a runner that died keeps the others waiting; a living one renews it as it works."""
SHORTEST_LEASE = timedelta(seconds=3)
"""A living runner may count raw rows for so long before it renews."""

_Done = TypeVar("_Done")


@dataclass(slots=True)
class Holder:
    """Works over one raw table and its rollups.

    `now` is given to each call; nothing here reads the clock but for the time it may take.
    """

    engine: sa.Engine
    tables: Tables
    source: Source
    lease_length: timedelta = LEASE
    holder: str = field(default_factory=lease.new_holder)
    raw_engine: sa.Engine | None = None
    """That of the raw table; None: it is in the rollups' database."""
    _began: tuple[datetime, float] = (NEVER, 0.0)
    """When the present run began, naive UTC and by the monotonic clock."""
    _holds: bool = False
    """Whether it has the lease, as far as it knows."""
    _renewed: float = 0.0
    """When the lease was renewed last, by the monotonic clock."""
    _known: Known = field(default_factory=Known)
    """Numbers of values and visitors that transactions learnt, or found, and committed."""
    _known_by: bytes = b""
    """The key of the visitors' hashes that `_known` goes with: another one, and all numbers are other ones."""

    def as_holder(self, now: datetime, work: Callable[[], _Done]) -> _Done | None:
        """What `work` says that it has done as the holder of the lease; None: another runner has it.

        Raises `RollupError` if another one took it over meanwhile.
        """
        self._began = now, time.monotonic()
        self._renewed = self._began[1]
        if not lease.acquire(self.engine, self.tables, holder=self.holder, now=now, length=self.lease_length):
            return None
        self._holds = True
        try:
            return work()
        except lease.LeaseLost as lost:
            raise RollupError(
                f"Another process took the rollups over, because this one had not got on for "
                f"{self.lease_length.total_seconds():g} s. What it had done stays, and the other one does the rest."
            ) from lost
        finally:
            self._holds = False
            lease.release(self.engine, self.tables, holder=self.holder)

    def renew(self, connection: sa.Connection) -> None:
        """Keep the lease from this moment on, not from when the run began. Raises `LeaseLost`."""
        began, started = self._began
        self._renewed = time.monotonic()
        now = began + timedelta(seconds=self._renewed - started)
        lease.renew(connection, self.tables, holder=self.holder, now=now, length=self.lease_length)

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """A transaction of the lease's holder: it writes nothing once somebody else took over."""
        try:
            with self.engine.begin() as connection:
                # a runner that stands still with the lease's row in its hands would keep the next one waiting
                databases.of(connection).end_when_idle(connection, self.lease_length)
                self.renew(connection)
                yield connection
        except BaseException:
            self._known_by = b""  # what it learnt is rolled back
            raise

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Around work whose new numbers are stored at its end: if it fails, they are numbers of nothing."""
        try:
            yield
        except BaseException:
            self._known_by = b""
            raise

    def keep(self, connection: sa.Connection) -> None:
        """Renew the lease, if it is held, over `connection`, which is in no transaction, if it is time to."""
        if self._holds and time.monotonic() - self._renewed > self.lease_length.total_seconds() / 3:
            with connection.begin():
                self.renew(connection)

    @contextmanager
    def reading(self) -> Iterator[tuple[sa.Connection, sa.Connection]]:
        """Connections to the rollups and to the raw table, which are one where these are in one database."""
        with self.engine.connect() as connection, self.raw_beside(connection) as raw:
            yield connection, raw

    @contextmanager
    def raw_beside(self, connection: sa.Connection) -> Iterator[sa.Connection]:
        """`connection`, or one to the raw table's own database, which commits before `connection` does."""
        if self.raw_engine is None or self.raw_engine is self.engine:
            yield connection
            return
        with self.raw_engine.begin() as raw:
            yield raw

    @contextmanager
    def reading_long(self) -> Iterator[tuple[sa.Connection, sa.Connection, Callable[[], None]]]:
        """As `reading`, with what is called between two statements: it ends the transactions, so that nobody waits for them."""
        apart = self.raw_engine is not None and self.raw_engine is not self.engine
        with (
            self.engine.connect() as connection,
            self.raw_engine.connect() if apart and self.raw_engine else nullcontext(connection) as raw,
        ):

            def beat() -> None:
                raw.rollback()
                connection.rollback()
                self.keep(connection)

            yield connection, raw, beat

    def dictionary(self, connection: sa.Connection) -> Dictionary:
        """Numbers for values and visitors, new ones where they have none yet, which its `write` stores."""
        meta = read_meta(connection, self.tables)
        # visitors and values that were forgotten meanwhile get new numbers
        known_by = (meta[VISITOR_KEY] + meta.get(FORGOTTEN, "")).encode()
        if known_by != self._known_by:
            self._known, self._known_by = Known(), known_by
        return Dictionary(connection, self.tables, self.source.dimensions, **keys_in(meta), known=self._known)

    def look_up_anew(self) -> None:
        """Look all numbers up again: those in the tables are others."""
        self._known_by = b""

    def many(self) -> set[str]:
        """The dimensions with many values."""
        return {name for name, dimension in self.source.dimensions.items() if dimension.many}

    def day_of(self, moment: datetime) -> datetime:
        """When the local day of `moment` began; both naive UTC."""
        return midnight(to_local(moment, self.source.zone).date(), self.source.zone)

    def month_of(self, moment: datetime) -> datetime:
        """When the local month of `moment` began; both naive UTC."""
        return midnight(to_local(moment, self.source.zone).date().replace(day=1), self.source.zone)
