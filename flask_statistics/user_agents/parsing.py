"""What a user-agent string says about its sender: browser, platform, kind of device, kind of bot.

Reads nothing but the string. Browsers and systems are found by the expressions of `ua-parser`, on which `user-agents` stands, and
named as `user-agents` names them; the rest is what `bots` and `devices` know. The expressions are megabytes, so they are loaded
at the first parse, never when an app starts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple

from .bots import Kind, kind_of
from .devices import Device, device_of
from .literals import Sieve, Text, text_of

CACHE_SIZE: Final = 4096
"""Parsed user agents kept a process: a busy site sees some hundred a day."""

_REPEATED: Final = re.compile(r"([^A-Za-z0-9])\1{8,}")
"""A run of one sign, as no real client sends it: some expressions need time that grows with its square."""

MAX_LENGTH: Final = 512
"""Characters looked at. The longest real ones (apps on phones) have about 400."""


@dataclass(frozen=True, slots=True)
class UserAgent:
    """What is known about the sender of a request. The names are those of the raw table's columns."""

    browser: str | None
    """Family and version in lower case ("firefox 72.0"), the family alone without a version; `None` if unknown."""
    platform: str | None
    """Name of the operating system ("Windows", "Mac OS X", "iOS"); `None` if unknown."""
    device: Device
    """Kind of device; "other" if unknown, and for televisions, consoles and apps that do not say."""
    bot: Kind | None = None
    """Kind of bot, where `device` is "bot"; `None` for people."""


UNKNOWN: Final = UserAgent(browser=None, platform=None, device="other")


def parse(user_agent: str | None) -> UserAgent:
    """What the header `User-Agent` tells; `UNKNOWN` for `None` and the empty string. Cached, see `CACHE_SIZE`.

    A "bot" is any program that is no browser or app of a person's: crawlers, health checks, command-line clients and HTTP
    libraries. An iPad whose Safari asks for desktop pages, the default since iPadOS 13, sends the words of a Mac and is a
    "desktop".
    """
    if not user_agent:
        return UNKNOWN
    return _parse(user_agent[:MAX_LENGTH])


def columns_of(user_agent: str | None) -> dict[str, str | None]:
    """The columns of the raw table that are made of a user agent, by name."""
    agent = parse(user_agent)
    return {"browser": agent.browser, "platform": agent.platform, "device": agent.device, "bot": agent.bot}


@lru_cache(maxsize=CACHE_SIZE)
def _parse(user_agent: str) -> UserAgent:
    user_agent = _REPEATED.sub(r"\1" * 8, user_agent)
    looked_up, expressions = text_of(user_agent), _expressions()
    browser = _first(expressions.browsers, user_agent, looked_up)
    platform = _first(expressions.platforms, user_agent, looked_up)
    kind = kind_of(user_agent, looked_up)
    return UserAgent(
        browser=None if browser is None or browser.family == "Other" else _browser(browser),
        platform=None if platform is None or platform.family == "Other" else platform.family,
        device="bot" if kind is not None else device_of(user_agent, looked_up),
        bot=kind,
    )


def _browser(found: Any) -> str:
    from user_agents.parsers import parse_browser

    browser = parse_browser(found.family, found.major, found.minor, found.patch)
    return f"{browser.family} {browser.version_string}".strip().lower()


class _Expressions(NamedTuple):
    browsers: Sieve[Any]
    """Of `ua_parser.matchers.UserAgentMatcher`: what each makes of a string, None if nothing."""
    platforms: Sieve[Any]


@cache
def _expressions() -> _Expressions:
    from ua_parser.loaders import load_lazy_builtins

    browsers, platforms, _ = load_lazy_builtins()
    return _Expressions(_sieve(browsers), _sieve(platforms))


def _sieve(matchers: Iterable[Any]) -> Sieve[Any]:
    return Sieve((matcher.regex, matcher) for matcher in matchers)


def _first(sieve: Sieve[Any], user_agent: str, looked_up: Text) -> Any:
    return next((found for matcher in sieve.candidates(looked_up) if (found := matcher(user_agent)) is not None), None)
