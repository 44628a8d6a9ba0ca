"""By which way a request came: its channel, of the page that led to it, and the campaign that its link names. Pure.

Both are made of what is stored beside them: the referrer, the host that was asked for and the query string.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import parse_qsl, urlsplit

LONGEST_CAMPAIGN = 100
"""Characters of a campaign; the column takes as many."""
LABELS = {
    "direct": "Direct",
    "internal": "Own site",
    "search": "Search",
    "social": "Social",
    "ai": "AI assistants",
    "mail": "Mail",
    "links": "Links",
}
"""What a reader sees for each channel; no referrer was sent where it is direct."""
_MEDIA = {
    **dict.fromkeys(("email", "e-mail", "mail", "newsletter"), "mail"),
    **dict.fromkeys(("social", "social-media", "social_media", "paid-social", "paid_social"), "social"),
    **dict.fromkeys(("cpc", "ppc", "paidsearch", "paid-search", "paid_search", "organic"), "search"),
}
"""What `utm_medium` says of the channel: mail programs and apps send no referrer."""
_KNOWN = {
    "search": """
        bing.com duckduckgo.com ecosia.org startpage.com qwant.com search.brave.com kagi.com seznam.cz naver.com daum.net
        sogou.com so.com metager.org metager.de mojeek.com swisscows.com search.aol.com ask.com dogpile.com
        presearch.com marginalia-search.com searx.be android-app:com.google.android.googlequicksearchbox
    """,
    "social": """
        facebook.com fb.com instagram.com threads.net threads.com twitter.com x.com t.co linkedin.com lnkd.in reddit.com
        redd.it youtube.com youtu.be tiktok.com pinterest.com bsky.app mastodon.social fosstodon.org hachyderm.io
        news.ycombinator.com lobste.rs vk.com ok.ru weibo.com xing.com tumblr.com quora.com snapchat.com discord.com
        t.me telegram.org whatsapp.com wa.me medium.com dev.to producthunt.com stackoverflow.com
        android-app:com.linkedin.android android-app:com.reddit.frontpage android-app:com.twitter.android
        android-app:org.telegram.messenger android-app:com.slack
    """,
    "ai": """
        chatgpt.com openai.com perplexity.ai claude.ai gemini.google.com bard.google.com copilot.microsoft.com
        chat.mistral.ai deepseek.com grok.com meta.ai poe.com phind.com you.com kimi.com doubao.com qwen.ai
        notebooklm.google.com android-app:com.openai.chatgpt
    """,
    "mail": """
        mail.google.com outlook.com outlook.live.com outlook.office.com outlook.office365.com mail.yahoo.com mail.proton.me
        mail.aol.com mail.ru gmx.net gmx.at gmx.de web.de fastmail.com mail.zoho.com mail.yandex.ru icloud.com
        mail.superhuman.com android-app:com.google.android.gm
    """,
}
_SITES = {site: channel for channel, sites in _KNOWN.items() for site in sites.split()}
"""Well-known sites, with all below them: of several that fit, the longest name counts."""
_SEARCH = re.compile(r"(?:.+\.)?(?:google|yahoo|yandex|baidu)\.(?:com|org|net|[a-z]{2}|co\.[a-z]{2}|com\.[a-z]{2})")
"""Search engines with a domain in each country."""


def channel_of(referrer: str | None, host: str | None, query: str | None) -> str:
    """The channel of a request for a page of `host`, in lower case and without port; one of `LABELS`.

    Its referrer and its query string are as they were sent, or stored. A campaign's link says more than the page it is on.
    """
    medium = _tags(query).get("utm_medium", "").lower() if query else ""
    if medium in _MEDIA:
        return _MEDIA[medium]
    site = _site_of(referrer) if referrer else None
    if site is None:
        return "direct"
    if host is not None and site == host.removeprefix("www."):
        return "internal"
    return _channel_of_site(site)


def campaign_of(query: str | None) -> str | None:
    """The campaign that the link of a request named: `utm_campaign`, else `utm_source`; None: it named none."""
    tags = _tags(query) if query else {}
    found = tags.get("utm_campaign") or tags.get("utm_source")
    return found[:LONGEST_CAMPAIGN] if found else None


def _tags(query: str) -> dict[str, str]:
    """The `utm_` parameters of a query string, of several alike the last; none of a query string that has too many to be read."""
    if "utm_" not in query.lower():
        return {}
    try:
        pairs = parse_qsl(query, max_num_fields=100)
    except ValueError:
        return {}
    return {name.lower(): value.strip() for name, value in pairs if name.lower().startswith("utm_")}


@lru_cache(maxsize=1_024)
def _site_of(referrer: str) -> str | None:
    """The host that a referrer names, without port and `www.`, or the app: `android-app:com.slack`. None: it names none."""
    try:
        parts = urlsplit(referrer[:2_048].strip())
        host = parts.hostname
    except ValueError:  # [::broken
        return None
    if not host:
        return None
    return (
        f"android-app:{host}" if parts.scheme == "android-app" else host.removesuffix(".").removeprefix("www.") or None
    )


@lru_cache(maxsize=1_024)
def _channel_of_site(site: str) -> str:
    labels = site.split(".")
    for first in range(len(labels)):
        known = _SITES.get(".".join(labels[first:]))
        if known is not None:
            return known
    return "search" if _SEARCH.fullmatch(site) else "links"
