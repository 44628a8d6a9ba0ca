"""The settings: read once, checked with messages that say the key, the value and the fix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask import Flask

from flask_statistics import SettingError
from flask_statistics.config import SETTINGS, read_settings, unknown_keys

from .conftest import App


def test_settings_defaults() -> None:
    found = asdict(read_settings({"OTHER": 1}))
    expected = {
        "enabled": True,
        "default_date_span": timedelta(days=7),
        "url_prefix": "/statistics",
        "timezone": ZoneInfo("UTC"),
        "exclude": (),
        "real_ip_header": None,
        "respect_gpc": False,
    }
    assert {key: found[key] for key in expected} == expected
    assert list(found) == [setting.key.lower() for setting in SETTINGS]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("ENABLED", 1, "is 1, but must be True or False."),
        ("ENABLED", "yes", "is 'yes', but must be True or False."),
        (
            "DEFAULT_DATE_SPAN",
            31,
            "is 31, but must be a datetime.timedelta of at least one hour, for example timedelta(days=31).",
        ),
        (
            "DEFAULT_DATE_SPAN",
            True,
            "is True, but must be a datetime.timedelta of at least one hour, for example timedelta(days=7).",
        ),
        (
            "DEFAULT_DATE_SPAN",
            timedelta(0),
            "is datetime.timedelta(0), but must be a datetime.timedelta of at least one hour, "
            "for example timedelta(days=7).",
        ),
        (
            "URL_PREFIX",
            "/stats/",
            "is '/stats/', but must be a path that starts with \"/\" and does not end with one, "
            'for example "/statistics".',
        ),
        (
            "URL_PREFIX",
            "/",
            'is \'/\', but must be a path that starts with "/" and does not end with one, for example "/statistics".',
        ),
        (
            "TIMEZONE",
            "Berlin",
            "is 'Berlin', but must be the IANA name of a time zone, for example \"Europe/Berlin\".",
        ),
        ("ANONYMIZE_IP", "mask", 'is \'mask\', but must be None, "truncate" or "hash".'),
        ("ANONYMIZE_IP", True, 'is True, but must be None, "truncate" or "hash".'),
        (
            "QUERY_TIMEOUT",
            10,
            "is 10, but must be a datetime.timedelta of at most one hour, for example timedelta(seconds=10).",
        ),
        ("TIMEZONE", None, 'is None, but must be the IANA name of a time zone, for example "Europe/Berlin".'),
        ("TIMEZONE", "", "is '', but must be the IANA name of a time zone, for example \"Europe/Berlin\"."),
        (
            "TIMEZONE",
            "../UTC",
            "is '../UTC', but must be the IANA name of a time zone, for example \"Europe/Berlin\".",
        ),
        (
            "EXCLUDE",
            "/static/*",
            "is '/static/*', but must be a list of path globs or endpoints, "
            'for example ["/static/*", "admin.index"].',
        ),
        (
            "EXCLUDE",
            ["/a", ""],
            "is ['/a', ''], but must be a list of non-empty texts, for example [\"/static/*\", \"admin.index\"].",
        ),
        (
            "REAL_IP_HEADER",
            True,
            'is True, but must be None or the name of a header that your proxy sets, for example "X-Real-IP".',
        ),
        (
            "REAL_IP_HEADER",
            "X Real",
            "is 'X Real', but must be None or the name of a header that your proxy sets, for example \"X-Real-IP\".",
        ),
        ("RESPECT_GPC", None, "is None, but must be True or False."),
    ],
)
def test_settings_refuse(key: str, value: Any, message: str) -> None:
    with pytest.raises(SettingError) as error:
        read_settings({f"STATISTICS_{key}": value})
    assert str(error.value) == f"STATISTICS_{key} {message}"


def test_settings_are_refused_before_anything_happened(make_app: Callable[..., App]) -> None:
    seen: list[Flask] = []
    with pytest.raises(SettingError, match=r"^STATISTICS_ENABLED is 3"):
        make_app(before=seen.append, STATISTICS_ENABLED=3)
    (app,) = seen
    assert "statistics" not in app.extensions
    assert "statistics" not in app.blueprints
    assert app.wsgi_app.__func__ is Flask.wsgi_app  # type: ignore[attr-defined]


def test_settings_take_every_kind_of_list() -> None:
    for patterns in (["/a"], ("/a",), {"/a"}, frozenset({"/a"})):
        assert read_settings({"STATISTICS_EXCLUDE": patterns}).exclude == ("/a",)


def test_unknown_keys() -> None:
    config = {"STATISTICS_TIMEZON": "UTC", "STATISTICS_TIMEZONE": "UTC", "STATISTICS_XYZ": 1, "DEBUG": True}
    assert unknown_keys(config) == [("STATISTICS_TIMEZON", "STATISTICS_TIMEZONE"), ("STATISTICS_XYZ", None)]


def test_settings_have_one_line_of_meaning_each() -> None:
    assert all(setting.meaning and "\n" not in setting.meaning for setting in SETTINGS)
