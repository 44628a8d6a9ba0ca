"""Engines of our own to the host's databases: a few connections each, with limits for each statement of theirs.

What we do never waits for a connection that the host holds, nor the host for one of ours. They connect as the host's engine
does: by its URL, arguments, `creator` and listeners, so a key of SQLCipher, a `search_path` or a token works for them as well.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, QueuePool

from . import databases

RECYCLED_S = 1_800
"""A connection that is older is made anew: firewalls forget those that are silent, and then the server does not know."""
PASSED_OVER_S = 2.0
"""How long a connection of ours is waited for: longer than that, another thread of ours is in trouble with it."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """What connections are for, and what bounds their statements."""

    name: str
    connections: int
    """At most, in a process; one of them stays open."""
    lock_s: int
    """How long a statement waits for another one's lock."""
    statement_s: int | None
    """How long a statement may take; None: who reads has a budget for that."""
    silence_s: int
    """How long the server may be silent before the connection counts as broken, where the driver can tell."""


RECORDING = Purpose("recording", connections=2, lock_s=1, statement_s=5, silence_s=10)
READING = Purpose("reading", connections=5, lock_s=2, statement_s=None, silence_s=60)
WORKING = Purpose("working", connections=4, lock_s=5, statement_s=600, silence_s=900)
"""The rollup job's, and what deletes."""

_purpose: ContextVar[Purpose | None] = ContextVar("flask_statistics_purpose", default=None)
"""What the connection is for that this thread makes right now; None: it is the host's."""


class Engines:
    """Our engines of one app, made from the host's when they are asked for, and made anew in the child of a fork."""

    def __init__(self, host: Callable[[str | None], sa.Engine]) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._made: dict[tuple[str | None, str], tuple[sa.Engine, sa.Engine]] = {}

    def get(self, bind_key: str | None, purpose: Purpose) -> sa.Engine:
        """The engine for `purpose` to the database of a bind; the host's own, where its connections cannot be told apart."""
        if self._pid != os.getpid():
            self._forget_parents()
        host = self._host(bind_key)
        made = self._made.get((bind_key, purpose.name))
        if made is None or made[0] is not host:
            with self._lock:
                made = self._made[bind_key, purpose.name] = (host, own_engine(host, purpose))
        return made[1]

    def close(self) -> None:
        """Close what is open and not in use."""
        for host, engine in list(self._made.values()):
            if engine is not host:
                engine.dispose()

    def _forget_parents(self) -> None:
        """Leave connections alone that are open in the parent of a fork, which goes on with them."""
        self._lock = threading.Lock()
        made, self._made, self._pid = self._made, {}, os.getpid()
        for host, engine in made.values():
            if engine is not host:
                engine.dispose(close=False)


def own_engine(host: sa.Engine, purpose: Purpose) -> sa.Engine:
    """An engine for `purpose` to the database of `host`, with all listeners that `host` has by now.

    In-memory SQLite is one connection, and ClickHouse has no pool worth one: there it is `host` itself, or to read with what
    `Database.reading_engine` makes of it.
    """
    database = databases.of(host)
    if not database.has_transactions or database.shared_connection(host) is not None:
        return database.reading_engine(host) if purpose is READING else host
    if not sa.event.contains(host, "do_connect", _connect):
        sa.event.listen(host, "do_connect", _connect)

    def create(rec: ConnectionPoolEntry) -> DBAPIConnection:
        token = _purpose.set(purpose)
        try:
            return host.pool._invoke_creator(rec)
        finally:
            _purpose.reset(token)

    options: dict[str, Any] = {
        "recycle": host.pool._recycle if host.pool._recycle > 0 else RECYCLED_S,
        "pre_ping": host.pool._pre_ping,
        "reset_on_return": host.pool._reset_on_return,
        "dialect": host.dialect,
        "_dispatch": host.pool.dispatch,
    }
    pool: sa.Pool
    if isinstance(host.pool, NullPool):  # it has a reason, as a pool outside of the process
        pool = NullPool(create, **options)
    else:
        more = purpose.connections - 1
        pool = QueuePool(create, pool_size=1, max_overflow=more, timeout=PASSED_OVER_S, **options)
    engine = sa.Engine(
        pool,
        host.dialect,
        host.url,
        execution_options=host.get_execution_options(),
        hide_parameters=host.hide_parameters,
        echo=host.echo,
    )
    engine.dispatch._update(host.dispatch, only_propagate=False)
    engine._has_events = host._has_events
    database.limit_engine(engine, lock_s=purpose.lock_s, statement_s=purpose.statement_s)
    return engine


# ---- connecting ------------------------------------------------------------------------------------------------------


def _connect(dialect: sa.Dialect, _record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
    """Connect for ourselves with bounds for the network, as far as the host has set none; None: the host connects.

    Comes after the host's own listeners, which may have put a fresh password in.
    """
    purpose = _purpose.get()
    if purpose is None:
        return None
    connect_s = min(purpose.silence_s, 5)
    limits = databases.named(dialect.name).network_limits(dialect.driver, connect_s, purpose.silence_s)
    return dialect.connect(*arguments, **{**limits, **options})
