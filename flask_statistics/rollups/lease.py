"""One runner at a time, over threads, processes and hosts: a lease row in the database that expires."""

from __future__ import annotations

import os
import socket
import uuid
from datetime import datetime, timedelta

import sqlalchemy as sa

from .. import databases
from .tables import Tables

NAME = "rollup"


class LeaseLost(RuntimeError):
    """Somebody else took the lease over, because it was not renewed in time."""


def new_holder() -> str:
    """A name for this runner that no other has, and that says where it runs."""
    return f"{socket.gethostname()[:30]}:{os.getpid()}:{uuid.uuid4().hex[:12]}"


def acquire(engine: sa.Engine, tables: Tables, *, holder: str, now: datetime, length: timedelta) -> bool:
    """Whether `holder` has the lease until `now + length` (naive UTC): it was free, expired, or its own already.

    One that ends later than any could that was taken now was taken by a clock that was wrong, and is void.
    """
    lease = tables.lease
    mine = {"holder": holder, "expires_at": now + length}
    free = sa.or_(lease.c.holder == holder, lease.c.expires_at <= now, lease.c.expires_at > now + 2 * length)
    with engine.connect() as connection:
        # read first: an update would wait for the holder's transaction, and all other processes with it
        stored = connection.execute(sa.select(lease.c.holder, free.label("free")).where(lease.c.name == NAME)).first()
    if stored is not None and not stored.free:
        return False
    try:
        with engine.begin() as connection:
            if stored is None:
                connection.execute(sa.insert(lease).values(name=NAME, **mine))
                return True
            return connection.execute(sa.update(lease).where(lease.c.name == NAME, free).values(mine)).rowcount == 1
    except sa.exc.DBAPIError as error:
        if databases.of(engine).is_conflict(error):  # another runner came first
            return False
        raise


def renew(connection: sa.Connection, tables: Tables, *, holder: str, now: datetime, length: timedelta) -> None:
    """Keep the lease, in the transaction of the work that it protects. Raises `LeaseLost`."""
    lease = tables.lease
    mine = sa.and_(lease.c.name == NAME, lease.c.holder == holder)
    if not connection.execute(sa.update(lease).where(mine).values(expires_at=now + length)).rowcount:
        raise LeaseLost(holder)


def release(engine: sa.Engine, tables: Tables, *, holder: str) -> None:
    """Give the lease back, if `holder` still has it."""
    lease = tables.lease
    with engine.begin() as connection:
        connection.execute(sa.delete(lease).where(lease.c.name == NAME, lease.c.holder == holder))


def holder_of(connection: sa.Connection, tables: Tables) -> tuple[str, datetime] | None:
    """Who has the lease and until when (naive UTC); None if nobody ever took it."""
    row = connection.execute(sa.select(tables.lease.c.holder, tables.lease.c.expires_at)).first()
    return None if row is None else (row.holder, row.expires_at)
