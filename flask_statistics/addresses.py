"""What is stored of a client's address: all of it, its network, or a hash under a secret that lives for a day.

Reads and writes `statistics_secret`, which all processes share, and of which each new day leaves nothing: hashes of different
days cannot be linked then, not even by who has the database.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import secrets
import time
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from functools import lru_cache
from threading import Lock
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from . import databases
from .models import own_table
from .patience import SHORT_S, TookTooLong, aside

NAME = "statistics_secret"
LOCK_WAIT_MS = 1_000
RETRY_SECONDS = 10.0
"""After a failure the database is left alone for so long: requests must not queue up before it."""

Anonymize = Callable[[str | None, date], str | None]
"""An address, and the local day on which it called, to what is stored of it. Raises `NoSecret`."""

LONGEST = 300
"""Characters of what may be an address or a host's name: clients can send any number."""
_AROUND = " \t\r\n\f\v\"'\N{ZERO WIDTH NO-BREAK SPACE}\N{ZERO WIDTH SPACE}\N{NO-BREAK SPACE}"
"""What may stand around an address and means nothing: also the byte order mark of a file."""
_WITH_PORT = re.compile(r"\[([^\]]*)\](?::[\w.-]*)?|([\d.]+):|(.*):(?:\d{1,5}|_[\w.-]+)", re.ASCII)
"""RFC 7239 has ports that are names, and brackets around IPv6; Azure writes both without quotes."""
_NAME = re.compile(r"([a-z0-9_](?:[a-z0-9_.-]{0,252}[a-z0-9])?)\.?(?::\d{1,5})?")
_NOBODY = frozenset({"unknown", "unix"})
"""What proxies and servers write where they know of no address."""
_WITH_IPV4 = ((ipaddress.ip_network("2002::/16"), 16 + 24), (ipaddress.ip_network("64:ff9b::/96"), 96 + 24))
"""Networks whose addresses have an IPv4 address in them (6to4 of RFC 3056, NAT64 of RFC 6052), and the bits up to its 24th."""


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
    """The address that `text` writes; None if it is none, or empty.

    Taken are: a port behind it, brackets, a zone, capitals, zeros written out, spaces, quotes and a byte order mark around it,
    and IPv4 mapped into IPv6 (`::ffff:192.0.2.7`), which is IPv4. 6to4 and NAT64 stay the IPv6 addresses that they are: the
    IPv4 address in them is a router's, behind which there are many, or what a translator was told.
    """
    if not text or len(text) > LONGEST:
        return None
    text = text.strip(_AROUND)
    address = _read(text)
    if address is None:
        bare = _WITH_PORT.fullmatch(text)  # only now: the end of an IPv6 address looks like a port
        address = _read(next(filter(None, bare.groups()), "").strip(_AROUND)) if bare else None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _read(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def normal(text: str | None) -> str | None:
    """The one way to write the address that `text` is, however it was written; None, which is nobody, if it is none.

    All that is stored, counted, looked for or erased by address goes through here.
    """
    return _normal(text) if text and len(text) <= LONGEST else None


@lru_cache(maxsize=4_096)
def _normal(text: str) -> str | None:
    address = parsed(text)
    return None if address is None else str(address)


def logged_client(text: str | None) -> str | None:
    """Whom an access log names: an address in its normal form, or a host name in lower case; None for nobody.

    Servers that look names up write these in the place of addresses.
    """
    address = normal(text)
    if address is not None or not text or len(text) > LONGEST:
        return address
    name = _NAME.fullmatch(text.strip(_AROUND).lower())
    return None if name is None or name[1] in _NOBODY else name[1]


def whole(address: str | None, _day: date) -> str | None:
    """The address as it is."""
    return address


def truncated(address: str | None, _day: date) -> str | None:
    """The network: the first 24 bits of IPv4, 48 of IPv6; None for what is no address.

    Of an IPv4 address that stands within IPv6, no more than 24 bits are kept either.
    """
    network = _network(address)
    return None if network is None else str(network.network_address)


def network_of(text: str | None) -> str | None:
    """The same with its length, as firewalls name it: `192.0.2.0/24`; None for what is no address."""
    network = _network(text)
    return None if network is None else str(network)


def _network(text: str | None) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    known = parsed(text)
    return None if known is None else ipaddress.ip_network((known, _kept_bits(known)), strict=False)


def _kept_bits(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> int:
    if address.version == 4:
        return 24
    return next((bits for network, bits in _WITH_IPV4 if address in network), 48)


def hashed(address: str | None, secret: bytes) -> str | None:
    """16 hexadecimal digits, the same for one client under one secret; None for nobody."""
    known = logged_client(address)  # one visitor, however the address is written
    if known is None:
        return None
    return hashlib.blake2b(known.encode("utf-8", "replace"), key=secret, digest_size=8).hexdigest()


def _holds(of: date, day: date) -> bool:
    """Whether a secret of one day serves on `day`: also that of the next, as clocks differ and yesterday's is gone.

    One of a later day comes from a clock that was wrong, and would stay for as long.
    """
    return day <= of <= day + timedelta(days=1)


def _of(rows: Iterable[dict[str, Any]], day: date) -> dict[str, Any] | None:
    """Of the rows, that of the secret which serves on `day`: those of imports have names of their own."""
    daily = [row for row in rows if not row["name"].startswith("i") and _holds(row["day"], day)]
    return min(daily, key=lambda row: row["day"], default=None)


class DailyHash:
    """`hashed` under the secret of the day, which is asked of the database once a day and process."""

    def __init__(self, table: sa.Table, engine: Callable[[], sa.Engine]) -> None:
        self._table = table
        self._engine = engine
        self._lock = Lock()
        self._known: tuple[date, bytes] | None = None
        self._retry_at = 0.0
        self._passing: dict[date, bytes] = {}
        """Of imports, where the database is in memory."""

    def __call__(self, address: str | None, day: date) -> str | None:
        return hashed(address, self._secret(day)) if address else None

    def _secret(self, day: date) -> bytes:
        known = self._known
        if known is None or not _holds(known[0], day):
            # whoever has it may be waiting for the database
            if not self._lock.acquire(timeout=SHORT_S):
                known = self._known
                if known is not None and _holds(known[0], day):
                    return known[1]
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
            if databases.of(engine).shared_connection(engine) is not None:
                # an in-memory database is this process's alone, and so is the secret
                self._known = day, secrets.token_bytes(32)
                return self._known
            try:
                return aside(lambda: self._learn(engine, day))
            except sa.exc.IntegrityError:  # another process stored the first one at the same moment
                return aside(lambda: self._learn(engine, day))
        except (sa.exc.SQLAlchemyError, TookTooLong) as error:
            if self._known is not None and _holds(self._known[0], day):
                return (
                    self._known
                )  # only those of the past were not deleted yet, which the next day's first request does
            self._retry_at = time.monotonic() + RETRY_SECONDS
            raise NoSecret("the database did not give it") from error

    def _learn(self, engine: sa.Engine, day: date) -> tuple[date, bytes]:
        """Ask the database, and remember what it says, also where nobody waits for it any more; then let the past go."""
        with engine.connect() as connection, databases.of(connection).lock_wait(connection, LOCK_WAIT_MS):
            self._known, stale = self._current(connection, day)
            if stale:
                self._clean(connection, day)
        return self._known

    def _current(self, connection: sa.Connection, day: date) -> tuple[tuple[date, bytes], bool]:
        """The secret of `day`, or of a later day that has begun elsewhere, made if need be; and whether others are there."""
        with connection.begin():
            rows = self._rows(connection)
        if _of(rows, day) is None:
            with connection.begin(), databases.of(connection).alone_with(connection, self._table):
                rows = self._rows(connection)
                if _of(rows, day) is None:  # nobody was faster
                    # never updated: what stood there before would stay in the log that undoes it
                    rows.append({"name": f"{day:%Y-%m-%d}", "day": day, "secret": secrets.token_hex(32)})
                    connection.execute(sa.insert(self._table), rows[-1:])
        found = _of(rows, day)
        assert found is not None  # noqa: S101 - made above
        return (found["day"], bytes.fromhex(found["secret"])), any(not _holds(row["day"], day) for row in rows)

    def _rows(self, connection: sa.Connection) -> list[dict[str, Any]]:
        return [dict(row) for row in connection.execute(sa.select(self._table)).mappings()]

    def _clean(self, connection: sa.Connection, day: date) -> None:
        """Delete the secrets of other days, and what the database's files have of them."""
        with (
            databases.of(connection).overwriting(connection),
            connection.begin(),
            databases.of(connection).alone_with(connection, self._table),
        ):
            kept = [row for row in self._rows(connection) if _holds(row["day"], day)]
            databases.of(connection).empty(connection, self._table)
            connection.execute(sa.insert(self._table), kept)

    def imported(self, of: date, today: date) -> bytes:
        """The secret of requests of a day that is over, for all imports of `today`. Raises `NoSecret`."""
        self._secret(today)  # those of the days before are gone then
        engine = self._engine()
        if databases.of(engine).shared_connection(engine) is not None:
            return self._passing.setdefault(of, secrets.token_bytes(32))
        columns, name = self._table.c, f"i{of:%Y-%m-%d}"
        new = {"name": name, "day": today, "secret": secrets.token_hex(32)}
        with (
            engine.connect() as connection,
            databases.of(connection).lock_wait(connection, LOCK_WAIT_MS),
            connection.begin(),
            databases.of(connection).alone_with(connection, self._table),
        ):
            found = connection.scalar(sa.select(columns.secret).where(columns.name == name))
            if found is None:
                connection.execute(sa.insert(self._table).values(new))
        return bytes.fromhex(found or str(new["secret"]))


class ImportHash:
    """`hashed` for imports: under today's own secret for requests of today, and else under one that lives until tomorrow.

    So it is the same whether a log is imported in one go or in ten, on one day; afterwards nobody can link it.
    """

    def __init__(self, daily: DailyHash, today: date) -> None:
        self._daily = daily
        self._today = today
        self._secrets: dict[date, bytes] = {}

    def __call__(self, address: str | None, day: date) -> str | None:
        if day >= self._today:
            return self._daily(address, self._today)
        if day not in self._secrets:
            self._secrets[day] = self._daily.imported(day, self._today)
        return hashed(address, self._secrets[day])


def stored_forms(address: str, anonymize: Anonymize, today: date) -> list[str]:
    """How `address`, in its normal form, is stored: as it is, and as the settings in force store it today."""
    stored = anonymize(address, today)
    return list(dict.fromkeys([address, stored] if stored else [address]))


def writings(address: str) -> list[str]:
    """Texts of which one is part of every spelling of `address`, in lower case: what older versions stored as it came."""
    known = ipaddress.ip_address(address)
    if known.version == 4:
        hexadecimal = ipaddress.ip_address(f"::ffff:{known}").exploded.rpartition("ffff:")[2]
        short = ":".join(part.lstrip("0") or "0" for part in hexadecimal.split(":"))
        return [str(known), f"::ffff:{known}", f"::ffff:{short}", f"ffff:{hexadecimal}", f"ffff:{short}"]
    groups = [part.lstrip("0") or "0" for part in known.exploded.split(":")]
    return list(dict.fromkeys([str(known), known.exploded, ":".join(groups)]))


def local_day(moment: datetime, zone: ZoneInfo) -> date:
    """The day of a naive UTC instant in `zone`."""
    return moment.replace(tzinfo=ZoneInfo("UTC")).astimezone(zone).date()


def anonymizer(setting: str | None, table: sa.Table | None, engine: Callable[[], Any]) -> Anonymize:
    """What `STATISTICS_ANONYMIZE_IP` asks for; `table` is there where it is `hash`."""
    if setting == "truncate":
        return truncated
    return whole if table is None else DailyHash(table, engine)


def import_anonymizer(anonymize: Anonymize, today: date) -> Anonymize:
    """The same for requests of an access log that is imported `today`."""
    return ImportHash(anonymize, today) if isinstance(anonymize, DailyHash) else anonymize
