"""What may be stored of texts, queries, paths and referrers. Pure."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from operator import length_hint
from typing import Protocol
from urllib.parse import quote, unquote

from .names import ALONE, PLAIN, SECRET, SHORT, WEAK, WORDS, as_decoded, is_ordinary, kind_of, plain_kinds

MASK = "***"
LONGEST_REMEMBERED = 512
"""Characters of a header whose masked form is remembered."""


_KEYS = re.compile(
    r"eyJ[\w-]{6,}\.[\w-]{4,}(?:\.[\w-]*)*|"  # a JSON Web Token: '{"' in base64
    r"\b(?:sk|pk|rk|whsec)_(?:live|test)?_?[A-Za-z0-9]{16,}|\bgh[pousr]_\w{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{20,}|"
    r"\bxox[abeprs]-[\w-]{10,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[\w-]{35}|\bya29\.[\w-]{20,}|\bSG\.[\w-]{16,}\.[\w-]{16,}|"
    r"\bnpm_[A-Za-z0-9]{36}|\bpypi-\w{16,}|\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}|\bdop_v1_[a-f0-9]{64}|\bhf_[A-Za-z0-9]{30,}|"
    r"\bsk-(?:[a-z]{2,4}-)?\w{20,}|(?:\bbot|\b)\d{8,10}:AA[\w-]{30,}|\bhv[sb]\.[\w-]{20,}|\bcpsess\d{6,}|"
    r"(?<=/services/)T[A-Z0-9]{8,}/B[A-Z0-9]{8,}/\w{20,}"
)
"""Keys of services that say what they are by how they begin."""
_USER_INFO = re.compile(r"((?:\b[a-z][a-z0-9+.-]*:|^\s*)[/\\]+)[^/\\?#\s'\"]*@", re.IGNORECASE)
_NAMED = re.compile(
    r"(?<![\w.%\[\]-])(?P<before>\(?)(?P<quote>\\{0,4}[\"']|)(?P<name>[\w.\[\]%-]{1,64})(?P=quote)"
    r"(?:\s*(?P<sign>[=:])\s*|(?<=[\"'])\s*(?P<comma>,)\s*(?=b?[\"']))"
)
"""What stands before a value: `name=`, `name: `, `"name": ` and `("name", `."""
_STRING = r"b?\"(?:[^\"\\]|\\.)*\"|b?'(?:[^'\\]|\\.)*'|\\{1,4}[\"'].*?\\{1,4}[\"']"
_IN_TEXT = re.compile(rf"{_STRING}|(?<==)(?:[^&;#\s\"']|[\"'](?![\s,)\]}};]|\Z))+|[^&;#\s,}}\])\"']+")
"""A value in a text."""
_IN_URL = re.compile(rf"(?<==)[^&;#]+|{_STRING}|[^&;#,}}\s]+")
"""The same in a URL, where it may have spaces and quotes once it is decoded."""
_IN_PATH = re.compile(r"[^&;#/]+")
_PRIVATE_KEY = re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?=-----END|\Z)", re.DOTALL)
_URL = re.compile(r"(?<=://)[^\s'\"<>?#]+")
"""Host and path of a URL in a text."""
_HEADER_LIKE = re.compile(
    r"\b(authorization|proxy-authorization|cookie|set-cookie|x-api-key)(\s*:\s*)([^\r\n'\"]+)", re.IGNORECASE
)
_BEARER = re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,}", re.IGNORECASE)
_TO_LOOK_AT = re.compile(r"[%@=:;#{]|eyJ|_|-")


def _looks_random(text: str, *, directly: bool) -> bool:
    """Whether a piece of a path that follows a telling one (`directly`: at once) is something made, and no words or a date."""
    if text.isdigit():  # an id, or a one-time password
        return directly and 6 <= len(text) <= 8
    for part in re.split(r"[-_.:~]", text):
        if part.isdigit():
            continue
        named = re.fullmatch(r"[a-z]{3,}\d{1,4}", part)  # oauth2, bootcamp2026
        mixed = not named and any(map(str.isdigit, part)) and any(map(str.isalpha, part))
        cased = part != part.lower() and part != part.upper() and _WORDS_IN_ONE.fullmatch(part) is None
        if len(part) >= 6 and (mixed or (cased and len(part) >= 8)):
            return True
        if len(part) >= 20 and re.fullmatch(r"[a-f0-9]+|[A-Za-z0-9]+", part) and "-" not in text:
            return True
    return False


def masked_text(text: str) -> str:
    """`text` that is no URL, such as a header or an error's message, without what looks like a secret in it."""
    text = _KEYS.sub(MASK, text)
    if "@" in text:
        text = _USER_INFO.sub(r"\1", text)
    if "://" in text:
        text = _URL.sub(lambda found: _masked_segments(found[0]), text)
    if "=" in text or ":" in text or "('" in text:
        text = _HEADER_LIKE.sub(rf"\1\2{MASK}", text)
        text = _masked_pairs(text, _IN_TEXT)
        text = _PRIVATE_KEY.sub(rf"\1{MASK}", text)
    return _BEARER.sub(rf"\1 {MASK}", text)


def _masked_pairs(text: str, values: re.Pattern[str]) -> str:
    """`text` with the values behind names of secrets masked; `values` says where a value ends."""
    kept, end = [], 0
    place = _NAMED.search(text)
    while place is not None:
        value = values.match(text, place.end()) if _is_named_secret(place) else None
        if value is None or _is_no_secret(place, value[0]):
            place = _NAMED.search(text, place.end())  # a value may have names in itself
            continue
        around = re.match(r"b?(\\*[\"'])", value[0])
        kept += [text[end : place.end()], around[0] if around else "", MASK, around[1] if around else ""]
        end = value.end()
        place = _NAMED.search(text, end)
    return "".join([*kept, text[end:]]) if kept else text


def _is_named_secret(place: re.Match[str]) -> bool:
    kind = kind_of(place["name"])
    if place["comma"]:  # only of a pair in brackets the second is the first's value
        return kind == SECRET and bool(place["before"] and place["quote"])
    if place["sign"] == ":" and not place["quote"]:  # sort=key:asc
        return kind == SECRET and _flat(place["name"]) not in ALONE
    return kind != PLAIN


def _is_no_secret(place: re.Match[str], value: str) -> bool:
    value = value.strip("b\\\"'")
    return value.startswith(MASK) or (kind_of(place["name"]) == WEAK and is_ordinary(value))


def _flat(name: str) -> str:
    return "_".join(word.lower() for word in WORDS.findall(name))


def masked_header(text: str) -> str:
    """A header such as User-Agent; most have nothing to look at, and come again and again."""
    return _remembered_header(text) if len(text) <= LONGEST_REMEMBERED else masked_text(text)


_remembered_header = lru_cache(maxsize=1_024)(masked_text)


# ---- queries ---------------------------------------------------------------------------------------------------------


class _Rule(Protocol):
    rule: str


class Masking:
    """What may be stored, by the settings and routes of one app."""

    def __init__(
        self,
        *,
        keep: tuple[str, ...] | None = None,
        strip_referrer: bool = False,
        rules: Callable[[], Iterable[_Rule]] = tuple,
    ) -> None:
        """`keep`: names, with `*`, of the only parameters whose values are stored; None: all but secret ones.

        `rules` gives the app's URL rules; those with secrets are looked for again when their number changes.
        """
        self._kept = None if keep is None else re.compile("|".join(map(fnmatch.translate, keep)) or r"(?!)")
        self._strip_referrer = strip_referrer
        self._rules = Rules(rules)
        self._remembered = lru_cache(maxsize=1_024)(self._referrer)

    def query(self, query: str) -> str:
        """A query string with the values of secret parameters masked, also of those inside other values."""
        if not query:
            return query
        pieces, changed = query.split("&"), False
        for number, piece in enumerate(pieces):
            name, _, value = piece.partition("=")
            if name in plain_kinds and self._kept is None and SHORT.fullmatch(value):
                continue  # most are such: this is all that is done for them
            masked = self._piece(piece)
            if masked != piece:
                pieces[number], changed = masked, True
        return "&".join(pieces) if changed else query

    def _piece(self, piece: str) -> str:
        if ";" in piece:
            return self._divided(piece)
        name, sign, value = piece.partition("=")
        if self._kept is not None:
            if sign and not self._kept.fullmatch(as_decoded(name)):
                return f"{name}={MASK}"
            # what was named is kept, and still without the secrets of others in it
            return f"{name}={_value(value)}" if sign else _value(piece)
        kind = kind_of(name) if sign else PLAIN
        if kind == PLAIN:
            return f"{name}={_value(value)}" if sign else _value(piece)
        if kind == WEAK and is_ordinary(value):
            return piece
        return f"{name}={MASK}"

    def _divided(self, piece: str) -> str:
        """A piece with `;`, which some frameworks take for `&`; what follows a secret without a name belongs to it."""
        masked: list[str] = []
        for part in piece.split(";"):
            if "=" in part or not masked or not masked[-1].endswith(f"={MASK}"):
                masked.append(self._piece(part))
        return ";".join(masked)

    # ---- paths and referrers -----------------------------------------------------------------------------------------

    def path(self, path: str, rule: str | None = None) -> str:
        """A path, decoded or not, with the arguments of its route that sound secret masked. `rule` None: no route matched."""
        return _masked_segments(self._rules.masked(path, rule))

    def referrer(self, url: str | None) -> str | None:
        """A Referer header without user info and secrets, or with `STRIP_REFERRER_QUERY` its origin and path."""
        if not url:
            return url
        return self._remembered(url) if len(url) <= LONGEST_REMEMBERED else self._referrer(url)

    def _referrer(self, url: str) -> str:
        rest, sharp, fragment = url.partition("#")
        page, mark, query = rest.partition("?")
        if "@" in page or "%" in page or "\\" in page:
            page = _USER_INFO.sub(r"\1", page)
            if _USER_INFO.search(as_decoded(page)):
                page = _USER_INFO.sub(r"\1", as_decoded(page))
        page = self._page(page)
        if self._strip_referrer:
            return page
        if sharp:
            fragment = self._fragment(fragment)
        return f"{page}{mark}{self.query(query) if query else query}{sharp}{fragment}"

    def _page(self, page: str) -> str:
        slashes = page.find("//")
        start = page.find("/", slashes + 2) if slashes >= 0 else 0
        return page if start < 0 else page[:start] + self.path(page[start:])

    def _fragment(self, fragment: str) -> str:
        path, mark, query = fragment.partition("?")
        if mark:  # as single-page apps have it: #/reset?token=
            return f"{self.path(path)}?{self.query(query)}"
        return self.query(fragment) if "=" in fragment else self.path(fragment)


def _value(value: str) -> str:
    """A value of a parameter that is no secret by its name: without what is secret in it."""
    if not _TO_LOOK_AT.search(value) and len(value) < 20:
        return value
    text = as_decoded(value)
    masked = _KEYS.sub(MASK, text)
    if "@" in text:
        masked = _USER_INFO.sub(r"\1", masked)
    if "=" in text or ":" in text:
        masked = _masked_pairs(masked, _IN_URL)
    if "/" in text and ("://" in text or text.startswith("/")):
        masked = _masked_segments(masked)
    if masked == text:
        return value
    return masked if text == value else quote(masked, safe="/:?=*,@;#{}\"'")


# ---- paths -----------------------------------------------------------------------------------------------------------

_TELLING = re.compile(
    r".*(?:webhook|token(?!i[sz])).*|"
    r"(?:.*[-_.])?(?:reset|resets|recover|recovery|confirm|confirmation|activate|activation|verify|verification|invite|invites|"
    r"invitation|invitations|magic|magiclink|unsubscribe|optout|token|tokens|otp|sso|webhook|webhooks|hook|hooks|password|"
    r"passwords|forgot|secret|secrets|login|signin|session|sessions|apikey|impersonate|unlock|onetime|validate|join|"
    r"reset_password|cpsess\d+|share|shares|shared|preferences|keys?|authkey|receipts?)(?:[-_.].*)?",
    re.IGNORECASE,
)
"""Segments of paths behind which secrets stand, as well-known products have them."""
MOST_AFTER = 4
"""Segments behind a telling one in which a secret may be."""
_TOLD_AND_SAID = re.compile(
    r"((?:private|secret|token|key|reset|confirm|invite|share|magic)[-_.])([A-Za-z0-9]{12,})", re.IGNORECASE
)
"""A telling word and its secret in one segment: `private-0123456789abcdef` of calendars."""
_FEEDS = (".ics", ".vcf")
"""What calendars fetch without logging in: who knows the URL may."""
_ASSET = re.compile(r"[\w-]+[.-][0-9a-f]{6,}\.(?:css|m?js|map|png|svg|webp|jpe?g|gif|woff2?|ttf|ico)", re.IGNORECASE)
"""Files that a bundler named by their content."""
_WORDS_IN_ONE = re.compile(r"[A-Za-z]?[a-z]{2,}(?:[A-Z][a-z]+)*")
"""`useEffect` has capitals, and is made of words all the same."""


def _masked_segments(path: str) -> str:
    """A path without what looks like a secret: known keys, and random texts behind segments that speak of such."""
    if ";" not in path and "=" not in path and not path.endswith(_FEEDS):
        for segment in path.split("/"):
            # a number tells nothing, and is a new one all the time
            if len(segment) >= LONGEST_WORD or (not segment.isdecimal() and _is_telling(segment)):
                break
        else:
            return path  # most are such: this is all that is done for them
    if ";" in path or "=" in path:
        path = _masked_pairs(path, _IN_PATH)
    segments = _KEYS.sub(MASK, path).split("/")
    told, feed = 0, path.endswith(_FEEDS)
    for number, segment in enumerate(segments):
        if segment and segment != MASK and (told or feed) and not _ASSET.fullmatch(segment):
            if _looks_random(unquote(segment), directly=told == MOST_AFTER):
                segments[number] = MASK
        elif (found := _TOLD_AND_SAID.fullmatch(segment)) and _looks_random(found[2], directly=False):
            segments[number] = found[1] + MASK
        told = MOST_AFTER if len(segment) < 2 * LONGEST_WORD and _is_telling(segment) else max(told - 1, 0)
    return "/".join(segments)


LONGEST_WORD = 20
"""Characters: a segment as long as this may be a key by itself, the shortest of which are longer."""


@lru_cache(maxsize=4_096)
def _is_telling(segment: str) -> bool:
    return _TELLING.fullmatch(segment) is not None


_ARGUMENT = re.compile(r"<(?:(?P<converter>[a-zA-Z_]\w*)(?:\(.*?\))?:)?(?P<name>[a-zA-Z_]\w*)>")


class Rules:
    """The routes that have secret arguments."""

    def __init__(self, rules: Callable[[], Iterable[_Rule]]) -> None:
        self._ask = rules
        self._known = -2
        self._patterns: tuple[tuple[str, re.Pattern[str]], ...] = ()
        """Of each: literal text that such a path has, and what finds the secrets in it."""

    def masked(self, path: str, rule: str | None) -> str:
        """`path` with the secret arguments of its rule masked; without a rule, those of any rule that it resembles."""
        if rule is not None:
            known = _pattern(rule)
            return path if known is None else _without(known[1], path)
        for literal, pattern in self._all():
            if literal in path or "%" in path or "//" in path:
                masked = _without(pattern, path)
                if masked != path:
                    return masked
        return path

    def _all(self) -> tuple[tuple[str, re.Pattern[str]], ...]:
        rules = self._ask()
        count = length_hint(rules, -1)
        if count != self._known:
            self._known = count
            self._patterns = tuple(filter(None, (_pattern(rule.rule) for rule in rules)))
        return self._patterns


@lru_cache(maxsize=4_096)
def _pattern(rule: str) -> tuple[str, re.Pattern[str]] | None:
    """What finds the secret arguments of `rule` in a path; None: it has none."""
    expression, literals, end, any_secret = "", [], 0, False
    context = speaks_of_secrets(rule)
    for argument in _ARGUMENT.finditer(rule):
        literals.append(rule[end : argument.start()])
        secret = is_secret_argument(argument["name"], context=context)
        some = ".+?" if argument["converter"] == "path" else "[^/]+"
        expression += _literal(literals[-1]) + (f"({some})" if secret else some)
        end, any_secret = argument.end(), any_secret or secret
    if not any_secret:
        return None
    literals.append(rule[end:].rstrip("/"))
    expression += _literal(literals[-1]) + "/*"
    longest = max(literals, key=len)
    # below a mount point there is something in front; a rule without a word of its own would be found everywhere
    front = ".*?" if longest.strip("/") else ""
    return longest.strip("/"), re.compile(f"{front}{expression}", re.DOTALL)


def speaks_of_secrets(rule: str) -> bool:
    return _TELLING.search("-".join(re.split(r"[/<>:]", _ARGUMENT.sub("", rule)))) is not None


def _literal(text: str) -> str:
    return "/+".join(map(re.escape, text.split("/")))  # slashes may be doubled, which is answered by a redirect


def is_secret_argument(name: str, *, context: bool) -> bool:
    """Whether an argument of a route is a secret; `context`: the rest of the rule speaks of one, as `/reset/<code>` does."""
    kind = kind_of(name)
    return (
        kind == SECRET
        or (kind == WEAK and context)
        or (context and name in ("uuid", "uid_token", "slug_token", "link"))
    )


def _without(pattern: re.Pattern[str], path: str) -> str:
    found = pattern.fullmatch(path)
    if found is None and "%" in path:
        path_decoded = unquote(path)
        found, path = (
            (pattern.fullmatch(path_decoded), path_decoded) if pattern.fullmatch(path_decoded) else (None, path)
        )
    if found is None:
        return path
    for number in range(pattern.groups, 0, -1):
        start, end = found.span(number)
        path = f"{path[:start]}{MASK}{path[end:]}"
    return path
