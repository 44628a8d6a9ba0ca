"""The settings: `Settings` declares each with its default, its meaning and what reads it, and is made once of `app.config`.

Reads `app.config`; every wrong type or value raises `SettingError` with the key, the value and the fix, before anything
else of the extension has happened. What a setting does is left to the module that uses it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

PREFIX = "STATISTICS_"
MOST_VIEWS = 20
"""Saved views in `VIEWS`, and as many that readers save."""
LONGEST_NAME = 40
"""Characters of a saved view's name."""
BESIDE = ""
"""The `BIND_KEY` that nobody set: our tables are beside the raw table, if it is in a database that can keep them."""
PEOPLE = "device!=bot"
"""The filter that leaves bots out."""


class SettingError(ValueError):
    """A `STATISTICS_*` setting, or an argument of `Statistics`, has a value that cannot work."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table of settings."""

    key: str
    """Without the prefix `STATISTICS_`."""
    default: Any
    meaning: str
    """One line, as docs/settings.md prints it."""
    read: Callable[[Any], Any]
    """Returns the value as `Settings` keeps it; raises `ValueError` that completes "must be ..."."""


def _release(value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not value.strip() or len(value) > 64):
        raise ValueError('None, a text of 1 to 64 characters, "git" or "package:NAME"')
    return value


def _country(value: Any) -> str | Path | None:
    """The name of a header, or the path of a file."""
    if isinstance(value, Path) or (isinstance(value, str) and value.lower().endswith(".mmdb")):
        return Path(value)
    if value is not None and (not isinstance(value, str) or not value.replace("-", "").isalnum()):
        raise ValueError(
            'None, the name of a header that your proxy sets, such as "CF-IPCountry", or the path of an .mmdb file'
        )
    return value


def _user(value: Any) -> str | Callable[[], Any] | None:
    if value not in (None, "flask-login") and not callable(value):
        raise ValueError('None, "flask-login" or a function without arguments, for example lambda: g.get("user_id")')
    return value  # type: ignore[no-any-return]


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("True or False")
    return value


def _date_span(value: Any) -> timedelta:
    if not isinstance(value, timedelta) or value < timedelta(hours=1):
        days = value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 7
        raise ValueError(f"a datetime.timedelta of at least one hour, for example timedelta(days={days})")
    return value


def _filters(value: Any) -> str:
    if not isinstance(value, str) or (value and "=" not in value):
        raise ValueError('a query string such as "device!=bot&content=page", or "" for all requests')
    return value


def _url_prefix(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("/") or value.endswith("/") or "<" in value:
        raise ValueError('a path that starts with "/" and does not end with one, for example "/statistics"')
    return value


def _host(value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not value or "<" in value or "/" in value):
        raise ValueError('None or the name of a host, for example "admin.example.org"')
    return value


def _title(value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise ValueError('None or the name of the app, for example "shop.example"')
    return value


def _timezone(value: Any) -> ZoneInfo:
    try:
        return ZoneInfo(value)
    except (TypeError, ValueError, OSError, KeyError) as error:  # KeyError: no such zone
        raise ValueError('the IANA name of a time zone, for example "Europe/Berlin"') from error


def _views(value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping) or len(value) > MOST_VIEWS:
        raise ValueError(
            f'a mapping of up to {MOST_VIEWS} names to URLs, for example {{"Checkout": "?path=/checkout&span=28d"}}'
        )
    for name, url in value.items():
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name.strip()) <= LONGEST_NAME:
            raise ValueError(f"a mapping with names of 1 to {LONGEST_NAME} characters, which {name!r:.100} is not")
        if not isinstance(url, str):
            raise ValueError(f"a mapping of names to texts, and that of {name!r} is {url!r:.100}")
    return tuple(value.items())


def _patterns(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, (list, tuple, set, frozenset)):
        raise ValueError('a list of path globs or endpoints, for example ["/static/*", "admin.index"]')
    if not all(isinstance(pattern, str) and pattern for pattern in value):
        raise ValueError('a list of non-empty texts, for example ["/static/*", "admin.index"]')
    return tuple(value)


def _parameters(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, (list, tuple, set, frozenset)):
        raise ValueError('None or a list of names of parameters, for example ["page", "utm_*"]')
    if not all(isinstance(name, str) and name for name in value):
        raise ValueError('None or a list of non-empty texts, for example ["page", "utm_*"]')
    return tuple(value)


def _header(value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not value.replace("-", "").isalnum()):
        raise ValueError('None or the name of a header that your proxy sets, for example "X-Real-IP"')
    return value


def _anonymize(value: Any) -> str | None:
    if value not in (None, "truncate", "hash"):
        raise ValueError('None, "truncate" or "hash"')
    return value  # type: ignore[no-any-return]


def _function(value: Any) -> Callable[[], str | None] | None:
    if value is not None and not callable(value):
        raise ValueError("None or a function without arguments, for example lambda: g.csp_nonce")
    return value  # type: ignore[no-any-return]


def _interval(value: Any) -> timedelta:
    if not isinstance(value, timedelta) or not timedelta(seconds=1) <= value <= timedelta(days=1):
        raise ValueError("a datetime.timedelta from one second to one day, for example timedelta(seconds=60)")
    return value


def _timeout(value: Any) -> timedelta:
    if not isinstance(value, timedelta) or not timedelta(milliseconds=1) <= value <= timedelta(hours=1):
        raise ValueError("a datetime.timedelta of at most one hour, for example timedelta(seconds=10)")
    return value


def _retention(value: Any) -> timedelta | None:
    if value is not None and (not isinstance(value, timedelta) or value < timedelta(days=1)):
        raise ValueError("None or a datetime.timedelta of at least one day, for example timedelta(days=90)")
    return value


def _raw_retention(value: Any) -> timedelta | None:
    if value is not None and (not isinstance(value, timedelta) or value < timedelta(hours=1)):
        raise ValueError("None or a datetime.timedelta of at least one hour, for example timedelta(days=90)")
    return value


def _raw_rows(value: Any) -> int | None:
    if value is not None and (
        not isinstance(value, int) or isinstance(value, bool) or not 1_000 <= value <= 1_000_000_000_000
    ):
        raise ValueError("None or a whole number from 1,000 to 1,000,000,000,000, for example 5000000")
    return value


def _max_values(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 10 <= value <= 1_000_000:
        raise ValueError("a whole number from 10 to 1,000,000, for example 5000")
    return value


def _writer(value: Any) -> str:
    if value not in ("direct", "spool"):
        raise ValueError('"direct" or "spool"')
    return str(value)


def _bind_key(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError('None, for the main database, or the name of a bind in SQLALCHEMY_BINDS, for example "log"')
    return value


def _folder(value: Any) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, (str, Path)) or not str(value) or Path(value).is_file():
        raise ValueError('None or the path of a folder, for example "/var/lib/my-app/spool"')
    return Path(value)


def _spool_rows(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1_000_000_000:
        raise ValueError("a whole number from 1 to 1,000,000,000, for example 1000000")
    return value


def _setting(default: Any, meaning: str, read: Callable[[Any], Any]) -> dict[str, Any]:
    return {"default": default, "meaning": meaning, "read": read}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one app, checked. A field is a key without its prefix, in lower case."""

    enabled: bool = field(metadata=_setting(True, "`False` records nothing; the dashboard stays readable", _boolean))
    title: str | None = field(
        metadata=_setting(None, "what the dashboard's pages call the app; `None`: the app's name", _title)
    )
    default_date_span: timedelta = field(
        metadata=_setting(timedelta(days=7), "the span shown when none is chosen", _date_span)
    )
    default_filters: str = field(
        metadata=_setting(
            PEOPLE,
            'which requests the dashboard\'s pages count as long as nothing else is chosen; `""`: all. The API counts all',
            _filters,
        )
    )
    views: tuple[tuple[str, str], ...] = field(
        metadata=_setting(
            {}, 'tabs of yours: names and URLs, such as `{"Checkout": "?path=/checkout&span=28d"}`', _views
        )
    )
    url_prefix: str = field(metadata=_setting("/statistics", "where the dashboard is mounted", _url_prefix))
    host: str | None = field(
        metadata=_setting(
            None, "with `host_matching`, the only host that the dashboard is on; `None`: every host", _host
        )
    )
    subdomain: str | None = field(
        metadata=_setting(
            None, "with `subdomain_matching`, the subdomain that it is on; `None`: the main domain", _host
        )
    )
    timezone: ZoneInfo = field(
        metadata=_setting("UTC", "IANA name: days, hours and labels are in it; stored dates stay naive UTC", _timezone)
    )
    exclude: tuple[str, ...] = field(
        metadata=_setting((), "path globs (`/static/*`) or endpoints (`admin.*`) that are not recorded", _patterns)
    )
    real_ip_header: str | None = field(
        metadata=_setting(
            None,
            "header to take the client's address from; `None`: `request.remote_addr` (use ProxyFix behind a proxy)",
            _header,
        )
    )
    csp_nonce: Callable[[], str | None] | None = field(
        metadata=_setting(
            None,
            "function that returns the nonce of your own Content-Security-Policy; the dashboard's tags then carry it",
            _function,
        )
    )
    query_timeout: timedelta = field(
        metadata=_setting(
            timedelta(seconds=10),
            "how long the questions of one page may take; what takes longer is stopped, and the page says so",
            _timeout,
        )
    )
    writer: str = field(
        metadata=_setting(
            "direct", '`"direct"` commits each request; `"spool"` takes it off the request, see below', _writer
        )
    )
    spool_path: Path | None = field(
        metadata=_setting(
            None, "folder of the spool, on a local disk; `None`: `spool` in the app's instance folder", _folder
        )
    )
    spool_max_rows: int = field(
        metadata=_setting(1_000_000, "requests that may wait in the spool; the next ones are refused", _spool_rows)
    )
    rollups: bool = field(
        metadata=_setting(False, "keep rollups, and answer from them: for large raw tables", _boolean)
    )
    bind_key: str | None = field(
        metadata=_setting(
            BESIDE,
            "bind that has the rollups; `None`: the main database. Unset: the raw table's, or the main one if that "
            "is on ClickHouse",
            _bind_key,
        )
    )
    scheduler: bool = field(
        metadata=_setting(
            True, "run the rollup job inside the app; `False`: cron runs `flask statistics rollup`", _boolean
        )
    )
    rollup_interval: timedelta = field(
        metadata=_setting(timedelta(seconds=60), "how often the scheduler brings the rollups up to date", _interval)
    )
    raw_retention: timedelta | None = field(
        metadata=_setting(
            None,
            "delete raw rows older than this, with rollups once they are rolled up; `None`: keep them",
            _raw_retention,
        )
    )
    raw_max_rows: int | None = field(
        metadata=_setting(
            None, "delete the oldest raw rows where there are more than this; `None`: keep them", _raw_rows
        )
    )
    hourly_retention: timedelta | None = field(
        metadata=_setting(timedelta(days=60), "how long the rows of single hours are kept", _retention)
    )
    max_values: int = field(
        metadata=_setting(
            5_000, "distinct values kept a dimension and day; the rest is shown as `(other)`", _max_values
        )
    )
    anonymize_ip: str | None = field(
        metadata=_setting(
            None,
            'what is stored of addresses: `"truncate"` their /24 or /48 network, `"hash"` a hash whose key changes daily',
            _anonymize,
        )
    )
    keep_parameters: tuple[str, ...] | None = field(
        metadata=_setting(
            None,
            "the only parameters of queries whose values are stored, others become `***`; `None`: all but secrets are",
            _parameters,
        )
    )
    strip_referrer_query: bool = field(
        metadata=_setting(False, "store the origin and path of referrers, and no query", _boolean)
    )
    respect_gpc: bool = field(
        metadata=_setting(False, "do not record requests that carry `Sec-GPC: 1` or `DNT: 1`", _boolean)
    )
    country: str | Path | None = field(
        metadata=_setting(
            None,
            "where the country of a request is from, stored in `country`: a header of your proxy's, or the path of an "
            "`.mmdb` file",
            _country,
        )
    )
    user: str | Callable[[], Any] | None = field(
        metadata=_setting(
            None, 'who asked, stored in `user`: `"flask-login"`, or a function that returns an id or a name', _user
        )
    )
    user_hashed: bool = field(
        metadata=_setting(False, "store a hash of the user under a key made of `SECRET_KEY`, and no name", _boolean)
    )
    release: str | None = field(
        metadata=_setting(
            None,
            'release of the app, stored in `release`: a text, `"git"` for the commit, or `"package:NAME"` for its version',
            _release,
        )
    )
    queries: bool = field(
        metadata=_setting(
            False,
            "how long a request waited for your databases, and for how many statements, stored in `db_time` and "
            "`db_queries`",
            _boolean,
        )
    )
    outgoing: bool = field(
        metadata=_setting(
            False,
            "how long a request waited for other servers, and for how many calls, stored in `http_time` and `http_calls`",
            _boolean,
        )
    )
    log_lines: bool = field(
        metadata=_setting(
            False,
            "what your app logs as WARNING and above while a request lasts, up to 50 lines, stored in `story`",
            _boolean,
        )
    )


SETTINGS: tuple[Setting, ...] = tuple(Setting(one.name.upper(), **one.metadata) for one in fields(Settings))
"""All of them, in their order."""


def read_settings(config: Mapping[str, Any]) -> Settings:
    """The settings in `config`, defaults where a key is absent. Raises `SettingError` at the first wrong value."""
    values = {}
    for setting in SETTINGS:
        value = config.get(PREFIX + setting.key, setting.default)
        try:
            values[setting.key.lower()] = setting.read(value)
        except ValueError as error:
            raise SettingError(f"{PREFIX}{setting.key} is {value!r}, but must be {error}.") from None
    return Settings(**values)


def unknown_keys(config: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """`STATISTICS_*` keys that no setting has, each with the known key it resembles (None: none does).

    They are reported and not refused, because an app may keep keys of its own under that prefix.
    """
    known = [setting.key for setting in SETTINGS]
    names = [key.removeprefix(PREFIX) for key in config if key.startswith(PREFIX)]
    # compared without the prefix, which alone would make any two resemble each other
    resembling = {name: difflib.get_close_matches(name, known, 1) for name in names if name not in known}
    return [(PREFIX + name, PREFIX + found[0] if found else None) for name, found in resembling.items()]
