"""What is noted of a request only where the model has a column for it: country, host, language, release, user, channel, issue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from flask import Flask, Request

from .channels import campaign_of, channel_of
from .config import SettingError, Settings
from .countries import code_of
from .country_file import CountryFile, Locate
from .dimensions import ADDRESS, NETWORK
from .headers import host_of, language_of, trace_of
from .issues.frames import AppFiles, raised_in
from .issues.text import issue_of
from .models import RawTable
from .record import Record
from .releases import release_of
from .timing.story import Story, dump
from .users import AskUser, asked_user
from .waits import WAITS

Detail = Callable[[Request], str | None]
"""What is stored of a request in one column. It raises nothing."""
CONFIGURED = ("country", "release", "user")
"""Columns that are filled where the setting of the same name says how."""


@dataclass(frozen=True, slots=True)
class Details:
    """What is noted beside: by functions of the request, and of the client's whole address."""

    of_request: Mapping[str, Detail]
    """What each column gets, by attribute name."""
    locate: Locate | None = None
    """What tells the country of an address that will be hashed."""
    user: AskUser | None = None
    """What tells the user."""
    keeps_story: bool = False
    keeps_channel: bool = False
    keeps_campaign: bool = False
    files: AppFiles | None = None
    """What tells the app's own files; None: no issue is kept."""

    def note(self, record: Record, request: Request) -> None:
        """While the request lasts."""
        for name, detail in self.of_request.items():
            setattr(record, name, detail(request))
        if self.keeps_channel:
            host = host_of(request.environ.get("HTTP_HOST", ""))
            record.channel = channel_of(record.referrer, host, record.query_string)
        if self.keeps_campaign:
            record.campaign = campaign_of(record.query_string)  # as it is stored, without secrets

    def note_story(self, record: Record, story: Story | None, request: Request | None) -> None:
        """When the request is over: what took its time (None: nobody looked), and the trace that it is part of."""
        sent = None if request is None else request.environ.get("HTTP_TRACEPARENT")
        if self.keeps_story and request is not None and (story is not None or sent):
            found = story or Story()
            record.story = dump(replace(found, trace=trace_of(sent)) if sent else found)

    def note_issue(self, record: Record, error: BaseException) -> None:
        """Which issue the exception of `record` is, of the text that is stored."""
        if self.files is not None and record.exception is not None:
            place = self.files.place_of(raised_in(error.__traceback__))
            record.issue = str(issue_of(record.exception, place))

    def note_country(self, record: Record) -> None:
        """While `record` has the client's whole address."""
        if self.locate is not None:
            record.country = self.locate(record.remote_address)


def not_filled(settings: Settings) -> list[str]:
    """Columns that nothing fills: no dimension is made of them. Where nothing is recorded, another process may fill all."""
    unknown = [] if settings.anonymize_ip is None else [ADDRESS, NETWORK]
    return unknown + [name for name in CONFIGURED if settings.enabled and getattr(settings, name) is None]


def check_columns(settings: Settings, raw: RawTable) -> None:
    """Raise `SettingError` for a setting whose column the model lacks."""
    for name in CONFIGURED:
        if getattr(settings, name) is not None and not raw.has(name):
            raise SettingError(
                f"STATISTICS_{name.upper()} is set, but the model has no column {name!r} to store it in: "
                "let it inherit from RequestMixin, or declare the column as that does."
            )
    for wait in WAITS.values():
        if getattr(settings, wait.setting) and not raw.has(wait.name):
            raise SettingError(
                f"STATISTICS_{wait.setting.upper()} is True, but the model has no column {wait.name!r} to store it in: "
                "let it inherit from RequestMixin, or declare the column as that does."
            )
    if settings.log_lines and not raw.has("story"):
        raise SettingError(
            "STATISTICS_LOG_LINES is True, but the model has no column 'story' to store them in: "
            "let it inherit from RequestMixin, or declare the column as that does."
        )


def details_of(app: Flask, settings: Settings, raw: RawTable) -> tuple[Details, RawTable]:
    """What is noted of each request, and the raw table that knows what is left for when rows are made.

    Raises `SettingError` for a setting that leads to nothing.
    """
    locate = CountryFile(settings.country, app.logger).country_of if isinstance(settings.country, Path) else None
    if not settings.enabled:
        noted = Details({})
    else:
        user = None if settings.user is None else asked_user(app, settings.user, hashed=settings.user_hashed)
        noted = Details(
            _of_request(app, settings, raw),
            user=user,
            keeps_story=raw.has("story"),
            keeps_channel=raw.has("channel"),
            keeps_campaign=raw.has("campaign"),
            files=AppFiles(app.root_path) if raw.has("issue") else None,
        )
    if settings.anonymize_ip == "hash":  # of a hash nobody finds the country afterwards
        return replace(noted, locate=locate), raw
    return noted, replace(raw, locate=locate)


def _of_request(app: Flask, settings: Settings, raw: RawTable) -> dict[str, Detail]:
    found: dict[str, Detail] = {}
    if isinstance(settings.country, str):
        header = f"HTTP_{settings.country.upper().replace('-', '_')}"
        found["country"] = lambda request: code_of(request.environ.get(header))
    if raw.has("host"):
        found["host"] = lambda request: host_of(request.environ.get("HTTP_HOST", ""))
    if raw.has("language"):
        found["language"] = lambda request: language_of(request.environ.get("HTTP_ACCEPT_LANGUAGE", ""))
    if settings.release is not None:
        release = release_of(settings.release, Path(app.root_path))
        found["release"] = lambda _: release
    return found
