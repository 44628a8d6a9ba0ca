"""The countries of addresses, out of a file of MaxMind's format (`.mmdb`): read whole, and read again where it is replaced.

The file is in memory: one that is mapped, and then written over in place, would end the process.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from .addresses import parsed
from .config import SettingError
from .countries import code_of

LOOKED_AT_SECONDS = 10.0
"""So often, and not for each address, it is asked whether the file is another one."""
MOST_TRIED = 1_000
"""Networks of a file of which one must have a country, or it is a file of something else."""
MOST_KNOWN = 10_000
"""Addresses whose countries are remembered: a look takes 24 us, and visitors come again."""

Locate = Callable[[str | None], str | None]
"""An address, or the first one of its network, to the code of its country; None if none is known. It raises nothing."""
_Identity = tuple[int, int, int]


class CountryFile:
    """The file at one path."""

    def __init__(self, path: Path, logger: logging.Logger, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises `SettingError` if it cannot be read, or has no countries."""
        self._path = path
        self._logger = logger
        self._clock = clock
        try:
            self._identity = self._identify()
            self._look = self._opened()
        except SettingError:
            raise
        except Exception as error:
            raise SettingError(
                f"STATISTICS_COUNTRY is {str(path)!r}, but that file cannot be read ({error}): give the path of a file of "
                "countries in MaxMind's format."
            ) from None
        self._looked_at = clock()
        self._failed = False

    def country_of(self, address: str | None) -> str | None:
        """The code of the country of `address`; None if the file knows none."""
        if address is None:
            return None
        if self._clock() - self._looked_at > LOOKED_AT_SECONDS:
            self._renew()
        try:
            return self._look(address)
        except Exception:  # whatever a damaged file leads to
            self._fail("is damaged, so countries are NULL")
            return None

    def _renew(self) -> None:
        """Read the file again if it is another one than before; what is no file of countries is left out."""
        self._looked_at = self._clock()
        try:
            identity = self._identify()
            if identity != self._identity:
                self._identity = identity
                self._look = self._opened()
                self._failed = False
        except Exception:
            self._fail("cannot be read again, so what it had before is used")

    def _fail(self, what: str) -> None:
        if not self._failed:
            self._failed = True
            self._logger.exception(
                "Flask-Statistics: the file of countries %s %s. This is logged once.", self._path, what
            )

    def _identify(self) -> _Identity:
        known = self._path.stat()
        return known.st_mtime_ns, known.st_ino, known.st_size

    def _opened(self) -> Callable[[str], str | None]:
        try:
            import maxminddb
        except ImportError:
            raise SettingError(
                f"STATISTICS_COUNTRY is {str(self._path)!r}, which needs maxminddb: "
                'pip install "flask-statistics[country]".'
            ) from None
        reader = maxminddb.open_database(self._path, maxminddb.MODE_MEMORY)
        if not any(_country(found) for _, found in islice(reader, MOST_TRIED)):
            raise SettingError(f"STATISTICS_COUNTRY is {str(self._path)!r}, but that file has no countries.")
        versions = (4, reader.metadata().ip_version)

        @lru_cache(maxsize=MOST_KNOWN)
        def look(address: str) -> str | None:
            known = parsed(address)  # a hash and a host's name are no addresses
            return None if known is None or known.version not in versions else _country(reader.get(known))

        return look


def _country(found: Any) -> str | None:
    """The code in what a file says of a network: MaxMind and DB-IP have an object, others a text."""
    if not isinstance(found, dict):
        return None
    country = found.get("country_code") or found.get("country")
    return code_of(country.get("iso_code") if isinstance(country, dict) else country)
