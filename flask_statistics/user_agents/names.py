"""Names under which stored browsers and platforms are grouped and shown; those of the original package included. Pure."""

import re
from typing import Final

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
