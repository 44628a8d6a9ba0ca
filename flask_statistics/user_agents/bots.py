"""Whether a user agent is a program's, and what kind of program. Reads `rules.tsv` and the list of `crawler-user-agents`.

What people use says what it runs on: a phone, a system, a browser. Programs name themselves, often with an address where to read
about them, or with nothing but a name. So a few general words find nine of ten that no list has; lists and our own rules do the
rest. Lists come from a community and are taken with care: they are not asked about what stands for a phone's model and build.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Final, Literal, NamedTuple, get_args

from .literals import AnyOf, Sieve, Text, alternatives

Kind = Literal["search", "ai", "monitor", "library", "scanner", "feed", "preview", "other"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

_TAGS: Final[Mapping[str, Kind]] = {
    "ai-crawler": "ai",
    "search-engine": "search",
    "monitoring": "monitor",
    "scanner": "scanner",
    "feed-reader": "feed",
    "social-preview": "preview",
    "http-library": "library",
    "browser-automation": "library",
}
"""The first of these tags of crawler-user-agents is the kind; those of other trades (`seo`, `archiver`) are "other"."""

_MODEL: Final = re.compile(r"\((?:Linux|Android)[^()]*(?:\([^()]*\)[^()]*)*\)|\bBuild/[\w.-]+")
"""What names a phone: makers choose such names, and some of them are those of bots."""
_NAMES_A_BOT: Final = re.compile(r"compatible|https?:|bot[/-]|-Google/|\w@\w", re.IGNORECASE)
_AT_HAND: Final = re.compile(
    r"iPhone|iPad|iPod|\biOS\b|Android|Mobile/|watchOS|tvOS|Apple ?TV|CFNetwork/|\bDarwin/|Dalvik/|Electron/|SymbianOS|MIDP"
)
"""What phones, tablets and apps say. They may be called like the company whose bots are others, and name the library they use."""
_SAYS_BOT: Final = re.compile(
    r"compatible;|like Gecko; ?[A-Za-z]|bot(?![a-z])|crawl|spider|scrap(?:er|y)|headless|Cypress/|preview\b|fetcher"
    r"|https?:/|\+https?\b|[\w.+-]@[\w-]+\.[a-z]{2}",
    re.IGNORECASE,
)
"""What nobody has in a phone's name but who is a bot and says so."""
_ADDRESS: Final = re.compile(r"https?:/|\+https?\b|\bwww\.[\w-]+\.|[\w.+-]@[\w-]+\.[a-z]{2}|\[at\]", re.IGNORECASE)
_INSERTED: Final = re.compile(r"like Gecko; ?[A-Za-z]")
"""Browsers say nothing more in those brackets."""
_NOTHING: Final = re.compile(r"[\W\d]*(?:Mozilla/\d\.\d)?[\W\d]*", re.IGNORECASE)
_WORDS: Final[tuple[tuple[str, Kind], ...]] = (
    (r"uptime|monitor|health|prob(?:e|ing)\b|check|pinger|\bping\b|watchdog|heartbeat", "monitor"),
    (r"\bscan|scanner|vuln|exploit|audit|pentest", "scanner"),
    (r"preview|unfurl|thumbnail|screenshot", "preview"),
    (
        r"python|\bperl|\bruby|\bphp\b|\bjava/|\bcurl|wget|http[-_ ]?client|httplib|headless|\bsdk\b.*\brest\b",
        "library",
    ),
    (r"\bai[- ]?(?:agent|bot|crawler|search)", "ai"),
    (
        r"bot(?![a-z])|bots\b|b0t\b|crawl|spider|scrap(?:er|y|ing)|slurp|archiver|index(?:er|ing)\b|fetch|validat|harvest"
        r"|extractor|analy[sz]er|grabber|\bseo|site ?map|link ?check|robot|sniffer|collector|wordpress|\bagent/|webcopier"
        r"|downloader\b|resolver|\bresearch",
        "other",
    ),
)
_DEVICE: Final = AnyOf(
    r"MSIE|Konqueror|Opera|Gecko/\d|Android|iPhone|iPad|iPod|\biOS|CFNetwork|Darwin|Dalvik|Windows|Mac[ _]?OS|OS ?X"
    r"|Macintosh|Linux"
    r"|X11|BSD\b|SunOS|CrOS|Nokia|Symbian|Series\d0|MIDP|BlackBerry|Profile/|UCWEB|MAUI|MRE/|SAMSUNG|SonyEricsson|Tizen"
    r"|Web0S|HbbTV"
    r"|Roku|tvOS|watchOS|Apple|J2ME|UP\.Browser|Obigo|Teleca|NetFront|\bWAP|Smart-?TV|PlayStation|Nintendo|OS/2|Haiku"
    r"|BeOS|RISC OS"
    r"|Win(?:32|64|95|98|NT)|\bwin(?:dows)?\d*\b|Xbox|KaiOS|LGE?-|\bLG\b|MOT-|HTC|ZTE|HUAWEI|ALCATEL|Motorola|PSP|ViziOS|KreaTV"
    r"|HybridCast|NETTV|CE-HTML|CrKey|Fiber|qtver=|hw/iP|_HD\b|MacBook|\b64bit|Charon|BREW|CCleaner"
)
"""What people's devices and systems are called: who names none of them is no person at a screen."""


def kind_of(user_agent: str, looked_up: Text) -> Kind | None:
    """The kind of program that sends `user_agent`, of which `looked_up` is made; None: a person, or nobody can tell."""
    rules = _rules()
    text = _MODEL.sub(lambda match: match[0] if _NAMES_A_BOT.search(match[0]) else " ", user_agent)
    candidates = list(rules.sieve.candidates(looked_up))
    for expression, kind in candidates:
        if kind is None:
            text = expression.sub(" ", text)
    if _AT_HAND.search(user_agent) and not _SAYS_BOT.search(text):
        return None
    for expression, kind in candidates:
        if kind is not None and expression.search(text):
            return kind
    if _ADDRESS.search(text) or _INSERTED.search(text):
        return "other"
    says_who = (
        _DEVICE.matches(user_agent, looked_up)
        or rules.apps.matches(user_agent, looked_up)
        or _NOTHING.fullmatch(user_agent)
    )
    return None if says_who else "other"


class _Rules(NamedTuple):
    """Our own rules and the community's list, ready to be asked."""

    sieve: Sieve[tuple[re.Pattern[str], Kind | None]]
    """In the order in which they count. None: what matches says nothing of a program, and is taken out before."""
    apps: AnyOf
    """What people use although it names no device."""


@cache
def _rules() -> _Rules:
    from crawleruseragents import CRAWLER_USER_AGENTS_DATA  # a megabyte, so only once somebody asks

    own = own_rules()
    expressions: list[tuple[str, int, Kind | None]] = []
    # an alternative each, so that few need to be tried
    expressions += [
        (part, re.IGNORECASE, None) for kind, whole in own if kind == "person" for part in alternatives(whole)
    ]
    for known in KINDS:
        expressions += [
            (part, re.IGNORECASE, known) for kind, whole in own if kind == known for part in alternatives(whole)
        ]
    expressions += [(crawler["pattern"], 0, _kind_of_tags(crawler)) for crawler in CRAWLER_USER_AGENTS_DATA]
    expressions += [(part, re.IGNORECASE, kind) for whole, kind in _WORDS for part in alternatives(whole)]
    return _Rules(
        Sieve((text, (re.compile(text, flags), kind)) for text, flags, kind in expressions),
        AnyOf("|".join(text for kind, text in own if kind == "app")),
    )


def own_rules() -> list[tuple[str, str]]:
    """Kind and expression of each line of `rules.tsv`."""
    text = resources.files(__package__).joinpath("rules.tsv").read_text("utf-8")
    lines = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    return [(kind, expression) for kind, expression, _source in lines]


def _kind_of_tags(crawler: Mapping[str, Any]) -> Kind:
    tags = crawler.get("tags") or ()
    return next((kind for tag, kind in _TAGS.items() if tag in tags), "other")
