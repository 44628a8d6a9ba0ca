"""User agents: what they say of browser, platform, device and bot, and the names under which that is shown."""

from .bots import KINDS, Kind
from .devices import Device
from .names import browser_family, browser_label, platform_name
from .parsing import CACHE_SIZE, MAX_LENGTH, UNKNOWN, UserAgent, columns_of, parse

__all__ = [
    "CACHE_SIZE",
    "KINDS",
    "MAX_LENGTH",
    "UNKNOWN",
    "Device",
    "Kind",
    "UserAgent",
    "browser_family",
    "browser_label",
    "columns_of",
    "parse",
    "platform_name",
]
