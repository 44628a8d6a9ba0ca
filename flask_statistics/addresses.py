"""What is stored of a client's address: all of it, its network, or a hash under a secret that lives for a day.

Reads and writes `statistics_secret`, one row that all processes share and that each new day overwrites: hashes of different
days cannot be linked then, not even by who has the database.
"""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from threading import Lock
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from . import dialects
from .models import own_table
from .patience import SHORT_S, TookTooLong, aside

NAME = "statistics_secret"
ROW = "address"
LOCK_WAIT_MS = 1_000
RETRY_SECONDS = 10.0
"""After a failure the database is left alone for so long: requests must not queue up before it."""

Anonymize = Callable[[str | None, date], str | None]
"""An address, and the local day on which it called, to what is stored of it. Raises `NoSecret`."""


class NoSecret(Exception):
    """The day's secret cannot be had from the database; the cause says why."""


def secret_table(metadata: sa.MetaData, schema: str | None) -> sa.Table:
    """`statistics_secret` in the raw table's metadata, so that `db.create_all()` and Flask-Migrate make it."""
    return own_table(
        metadata,
        schema,
        NAME,
        sa.Column("name", sa.String(16), primary_key=True),
        sa.Column("day", sa.Date, nullable=False),  # local
        sa.Column("secret", sa.String(64), nullable=False),  # hexadecimal
    )


def parsed(text: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that `text` is, IPv4 where it is one in the guise of IPv6; None if it is none."""
    try:
        address = ipaddress.ip_address((text or "").partition("%")[0].strip())
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def whole(address: str | None, _day: date) -> str | None:
    """The address as it is."""
    return address


def truncated(address: str | None, _day: date) -> str | None:
    """The network: the first 24 bits of IPv4, 48 of IPv6; None for what is no address."""
    known = parsed(address)
    if known is None:
        return None
    network = ipaddress.ip_network((known, 24 if known.version == 4 else 48), strict=False)
    return str(network.network_address)


def hashed(address: str | None, secret: bytes) -> str | None:
    """16 hexadecimal digits, the same for one address under one secret; None for no address."""
    if not address:
        return None
    known = str(parsed(address) or address)  # one visitor, however the address is written
    return hashlib.blake2b(known.encode("utf-8", "replace"), key=secret, digest_size=8).hexdigest()


def _holds(of: date, day: date) -> bool:
    """Whether a secret of one day serves on `day`: also that of the next, as clocks differ and yesterday's is gone.

    One of a later day comes from a clock that was wrong, and would stay for as long.
    """
    return day <= of <= day + timedelta(days=1)


class DailyHash:
    """`hashed` under the secret of the day, which is asked of the database once a day and process."""

    def __init__(self, table: sa.Table, engine: Callable[[], sa.Engine]) -> None:
        self._table = table
        self._engine = engine
        self._lock = Lock()
        self._known: tuple[date, bytes] | None = None
        self._retry_at = 0.0

    def __call__(self, address: str | None, day: date) -> str | None:
        return hashed(address, self._secret(day)) if address else None

    def _secret(self, day: date) -> bytes:
        known = self._known
        if known is None or not _holds(known[0], day):
            # whoever has it may be waiting for the database
            if not self._lock.acquire(timeout=SHORT_S):
                raise NoSecret("another request asks for it")
            try:
                known = self._known
                if known is None or not _holds(known[0], day):
                    known = self._ask(day)
            finally:
                self._lock.release()
        return known[1]

    def _ask(self, day: date) -> tuple[date, bytes]:
        if time.monotonic() < self._retry_at:
            raise NoSecret("the database did not answer a moment ago")
        try:
            engine = self._engine()
            if dialects.shared_connection(engine) is not None:
                # an in-memory database is this process's alone, and so is the secret
                self._known = day, secrets.token_bytes(32)
                return self._known
            return aside(lambda: self._learn(engine, day))
        except (sa.exc.SQLAlchemyError, TookTooLong) as error:
            self._retry_at = time.monotonic() + RETRY_SECONDS
            raise NoSecret("the database did not give it") from error

    def _learn(self, engine: sa.Engine, day: date) -> tuple[date, bytes]:
        """Ask the database, and remember what it says, also where nobody waits for it any more."""
        try:
            self._known = self._shared(engine, day)
        except sa.exc.IntegrityError:  # another process stored the first one at the same moment
            self._known = self._shared(engine, day)
        return self._known

    def _shared(self, engine: sa.Engine, day: date) -> tuple[date, bytes]:
        """The secret of `day`, or of a later day that has begun elsewhere; a new one overwrites the one before."""
        columns = self._table.c
        stored = sa.select(columns.day, columns.secret).where(columns.name == ROW)
        new = {"day": day, "secret": secrets.token_hex(32)}
        with (
            engine.connect() as connection,
            dialects.lock_wait(connection, LOCK_WAIT_MS),
            dialects.overwriting(connection),
            connection.begin(),
        ):
            row = connection.execute(stored).first()
            if row is None:
                connection.execute(sa.insert(self._table).values(name=ROW, **new))
            elif not _holds(row.day, day):
                outdated = sa.and_(columns.name == ROW, columns.day == row.day)
                connection.execute(sa.update(self._table).where(outdated).values(new))
            else:
                return row.day, bytes.fromhex(row.secret)
            # somebody else's update may have been the first: what is stored now is what all will use
            row = connection.execute(stored).one()
            return row.day, bytes.fromhex(row.secret)


class PassingHash:
    """`hashed` under secrets that nobody keeps: for imports, whose days are over."""

    def __init__(self) -> None:
        self._secrets: dict[date, bytes] = {}

    def __call__(self, address: str | None, day: date) -> str | None:
        return hashed(address, self._secrets.setdefault(day, secrets.token_bytes(32)))


def stored_forms(text: str, anonymize: Anonymize, today: date) -> list[str]:
    """How `text` may be stored: as it is, as addresses are written, and as the settings in force store it today."""
    known = parsed(text)
    forms = [text, *([str(known), f"::ffff:{known}"] if known else [])]
    stored = anonymize(text, today)
    return list(dict.fromkeys([*forms, stored] if stored else forms))


def local_day(moment: datetime, zone: ZoneInfo) -> date:
    """The day of a naive UTC instant in `zone`."""
    return moment.replace(tzinfo=ZoneInfo("UTC")).astimezone(zone).date()


def anonymizer(setting: str | None, table: sa.Table | None, engine: Callable[[], Any]) -> Anonymize:
    """What `STATISTICS_ANONYMIZE_IP` asks for; `table` is there where it is `hash`."""
    if setting == "truncate":
        return truncated
    return whole if table is None else DailyHash(table, engine)


def import_anonymizer(setting: str | None) -> Anonymize:
    """The same for requests of days that are over."""
    if setting == "hash":
        return PassingHash()
    return truncated if setting == "truncate" else whole
