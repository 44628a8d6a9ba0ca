"""What a user-agent string says about its sender: browser, platform, kind of device.

Reads nothing but the string and the rules of two libraries, `user-agents` and `crawler-user-agents`. Both load
megabytes of expressions, so they are imported at the first parse, never when an app starts. Also gives the names under
which stored values are grouped and shown; those of the original package, which named things differently, included.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final, Literal

Device = Literal["bot", "mobile", "tablet", "desktop", "other"]

CACHE_SIZE: Final = 4096
"""Parsed user agents kept a process: a busy site sees some hundred a day."""

MAX_LENGTH: Final = 512
"""Characters looked at. The longest real ones (apps on phones) have about 400. What the libraries' expressions cost
grows faster than the length: a hostile string takes up to 7 ms with 512 characters, 13 ms with 1,024."""


@dataclass(frozen=True, slots=True)
class UserAgent:
    """What is known about the sender of a request."""

    browser: str | None
    """Family and version in lower case ("firefox 72.0"), the family alone without a version; `None` if unknown."""
    platform: str | None
    """Name of the operating system ("Windows", "Mac OS X", "iOS"); `None` if unknown."""
    device: Device
    """Kind of device; "other" if unknown, and for televisions, consoles and apps that do not say."""


UNKNOWN: Final = UserAgent(browser=None, platform=None, device="other")


def parse(user_agent: str | None) -> UserAgent:
    """What the header `User-Agent` tells; `UNKNOWN` for `None` and the empty string. Cached, see `CACHE_SIZE`.

    A "bot" is what either library says is one. That includes the usual command-line clients and HTTP libraries (curl,
    Wget, python-requests, okhttp, Go-http-client). An iPad whose Safari asks for desktop pages, the default since
    iPadOS 13, sends the words of a Mac and is a "desktop".
    """
    if not user_agent:
        return UNKNOWN
    return _parse(user_agent[:MAX_LENGTH])


@lru_cache(maxsize=CACHE_SIZE)
def _parse(user_agent: str) -> UserAgent:
    import user_agents

    agent = user_agents.parse(user_agent)
    family, version = agent.browser.family, agent.browser.version_string
    return UserAgent(
        browser=None if family == "Other" else f"{family} {version}".strip().lower(),
        platform=None if agent.os.family == "Other" else agent.os.family,
        device="bot" if agent.is_bot or _crawler_test()(user_agent) else _device(agent),
    )


def _device(agent: Any) -> Device:
    """The device of somebody who is no bot; `agent` is what `user_agents.parse` returns."""
    if agent.is_tablet and not _is_android_phone(agent):
        return "tablet"
    if agent.device.family == "Generic Tablet":
        return "tablet"  # Firefox on Android says "Tablet;", which user-agents 2.2 takes for a phone
    if agent.is_mobile or agent.is_tablet:
        return "mobile"
    return "desktop" if agent.is_pc else "other"


def _is_android_phone(agent: Any) -> bool:
    """True for phones that user-agents 2.2 calls tablets, because they do not say "Mobile Safari".

    Those are browsers that put their name in between ("Mobile DuckDuckGo/5 Safari"), Opera Mini, and apps that send
    the name of the Java machine (Dalvik), which phones and tablets share, and phones are far more common.
    """
    if agent.os.family != "Android":
        return False
    return agent.is_mobile or "Mobile" in agent.ua_string or agent.ua_string.startswith("Dalvik/")


# --- Crawlers ---

_GRAM: Final = 3  # no longer than the shortest text in `_PLAIN_PATTERN`
_PLAIN_PATTERN: Final = re.compile(r"(?:[^\\.^$*+?()\[\]{}|]|\\[^A-Za-z0-9]){3,}")


@cache
def _crawler_test() -> Callable[[str], bool]:
    """`crawleruseragents.is_crawler`, only faster: the same patterns, and case matters in both.

    97 % of its patterns are plain text, and a browser has to fail all of them. The plain ones are looked up by their
    first three characters, the others are one expression: 45 us instead of 180 us for a browser.
    """
    from crawleruseragents import CRAWLER_USER_AGENTS_DATA

    texts: dict[str, list[str]] = {}
    expressions: list[str] = []
    for crawler in CRAWLER_USER_AGENTS_DATA:
        pattern: str = crawler["pattern"]
        if _PLAIN_PATTERN.fullmatch(pattern):
            text = re.sub(r"\\(.)", r"\1", pattern)
            texts.setdefault(text[:_GRAM], []).append(text)
        else:
            expressions.append(f"(?:{pattern})")
    expression = re.compile("|".join(expressions))

    def is_crawler(user_agent: str) -> bool:
        grams = {user_agent[i : i + _GRAM] for i in range(len(user_agent))}
        if any(text in user_agent for gram in grams & texts.keys() for text in texts[gram]):
            return True
        return bool(expressions) and expression.search(user_agent) is not None

    return is_crawler


# --- Names of stored values ---

_VERSION: Final = re.compile(r" (?:\d\S*|None)$")

_WORDS: Final = {
    word.lower(): word
    for word in (
        *("AOL", "HTC", "IE", "iOS", "iCab", "iTunes", "LG", "LINE", "MSIE", "OSS", "QQ", "UC", "VLC", "webOS"),
        *("BlackBerry", "CFNetwork", "DuckDuckGo", "HeadlessChrome", "HeyTap", "IceCat", "KakaoTalk", "MiuiBrowser"),
        *("MullvadBrowser", "NetFront", "NetNewsWire", "PaleMoon", "PhantomJS", "SeaMonkey", "TikTok", "UI/WKWebView"),
        *("VivoBrowser", "WeChat", "WebKit", "WebView", "WhatsApp", "YaBrowser", "qutebrowser"),
        *("aiohttp", "axios", "curl", "ELinks", "Apache-HttpClient", "GuzzleHttp", "HTTPie", "libwww-perl", "okhttp"),
        *("PostmanRuntime", "PycURL", "WinHTTP", "WindowsPowerShell", "WordPress"),
        *("AhrefsBot", "AdsBot-Google", "bingbot", "BingPreview", "CCBot", "ClaudeBot", "coccocbot", "DotBot"),
        *("DuckDuckBot", "FacebookBot", "Googlebot-Image", "Googlebot-Mobile", "Googlebot-News", "Googlebot-Video"),
        *("GoogleOther", "GPTBot", "ia_archiver", "LinkedInBot", "Mail.RU_Bot", "Mediapartners-Google", "MJ12bot"),
        *("msnbot", "OAI-SearchBot", "PerplexityBot", "PetalBot", "PingdomBot", "SemrushBot", "SeznamBot"),
        *("TelegramBot", "UptimeRobot", "YandexBot", "YandexImages", "YisouSpider"),
    )
}

_PLATFORMS: Final = {
    "Mac OS X": "macOS",
    # the names the original package stored, which came from Werkzeug before 2.1
    "macos": "macOS",
    "windows": "Windows",
    "iphone": "iOS",
    "ipad": "iOS",
    "linux": "Linux",
    "android": "Android",
    "chromeos": "Chrome OS",
    "blackberry": "BlackBerry OS",
    "symbian": "Symbian OS",
    "solaris": "Solaris",
    "freebsd": "FreeBSD",
    "netbsd": "NetBSD",
    "openbsd": "OpenBSD",
}


def browser_family(stored: str | None) -> str | None:
    """The stored browser without its version, in lower case: "Mobile Safari 17.1" is "mobile safari".

    `None` for `None`, the empty string and "None None", which is how the original package stored an unknown one.
    """
    if not stored or stored == "None None":
        return None
    return _VERSION.sub("", stored).lower()


def browser_label(family: str) -> str:
    """The family as people write it: "Mobile Safari", "IE", "curl". Words not known here get a capital."""
    return " ".join(_WORDS.get(word, word[:1].upper() + word[1:]) for word in family.split(" "))


def platform_name(stored: str | None) -> str | None:
    """The stored platform under the one name used for it, whichever version stored it; `None` if unknown."""
    return _PLATFORMS.get(stored, stored) if stored else None
