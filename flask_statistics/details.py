"""What is noted of a request only where the model has a column for it: the host, the language, the release."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from flask import Flask, Request

from .config import SettingError, Settings
from .headers import host_of, language_of
from .models import RawTable
from .releases import release_of

Detail = Callable[[Request], str | None]
"""What is stored of a request in one column. It raises nothing."""
CONFIGURED = ("release",)
"""Columns that are filled where the setting of the same name says how."""


def not_filled(settings: Settings) -> list[str]:
    """Columns that nothing fills: no dimension is made of them. Where nothing is recorded, another process may fill all."""
    return [name for name in CONFIGURED if settings.enabled and getattr(settings, name) is None]


def check_columns(settings: Settings, raw: RawTable) -> None:
    """Raise `SettingError` for a setting whose column the model lacks."""
    for name in CONFIGURED:
        if getattr(settings, name) is not None and not raw.has(name):
            raise SettingError(
                f"STATISTICS_{name.upper()} is {getattr(settings, name)!r}, but the model has no column {name!r} to store it in: "
                "let it inherit from RequestMixin, or declare the column as that does."
            )


def details(app: Flask, settings: Settings, raw: RawTable) -> Mapping[str, Detail]:
    """What is asked of each request, by attribute name. Raises `SettingError` for a setting that leads to nothing."""
    found: dict[str, Detail] = {}
    if raw.has("host"):
        found["host"] = lambda request: host_of(request.environ.get("HTTP_HOST", ""))
    if raw.has("language"):
        found["language"] = lambda request: language_of(request.environ.get("HTTP_ACCEPT_LANGUAGE", ""))
    if settings.release is not None:
        release = release_of(settings.release, Path(app.root_path))
        found["release"] = lambda _: release
    return found
