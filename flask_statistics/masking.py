"""What of a path, a query, a referrer, a header, an exception and a traceback may be stored: all but secrets, which become `***`.

Text in, text out; nothing is read or written. A secret is known by the name that stands before it (a parameter, an argument of
a route, a segment of a path), or by its looks (a JWT, the keys of well-known services). docs/privacy.md has the tables.
"""

from __future__ import annotations

import fnmatch
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from operator import length_hint
from typing import Any, Protocol
from urllib.parse import quote, unquote, unquote_plus

import sqlalchemy as sa

MASK = "***"
LONGEST_NAME = 64
"""Characters of a name that is remembered; longer ones are looked at anew each time, and only their end."""
LONGEST_REMEMBERED = 512
"""Characters of a header whose masked form is remembered."""
MOST_ENCODED = 5
"""How often a text may be percent-encoded and is still read."""
LONGEST_TRACEBACK = 20_000
"""Characters kept of a traceback, from its end, where the error is."""

# ---- names -----------------------------------------------------------------------------------------------------------


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_STRONG = _words("""
    password passwd passphrase passcode passkey pwd pswd psw secret secrets token tokens jwt jws jwe sess sessid sessionid
    jsessionid phpsessid aspsessionid sesskey sessionhash cfid cftoken tgt saml samlresponse samlrequest samlart relaystate csrf
    xsrf csrfmiddlewaretoken hmac nonce cnonce iban ssn cvv cvc credential credentials creds cred otp totp hotp mfa tfa signature
    apikey appkey authkey accesskey secretkey privatekey rlkey resourcekey authorization oobcode recaptcha hcaptcha captcha
    turnstile preauth actioncode pgtiou pgtid tkn stok privkey passwort kennwort motdepasse mdp senha contrasena wachtwoord haslo
    heslo pares pareq cres creq mtan phototan pushtan recordlocator bookingreference bankaccount taxid nationalid socialsecurity
    rapt redirectresult sessionresult mnemonic seedphrase recoveryphrase backupphrase idtokenhint
""")
"""Words that make a name secret, whatever stands beside them."""
_STRONG_LAST = _words(
    "pass pw pin psk auth authentication cookie sig verifier bearer assertion invite invitation magic proof zak crumb canary tan "
    "passport pnr dpop ott cpf nric cvn"
)
"""The same at the end of a name: `user_pass`, and not `pass_count`."""
_ALONE = _words("""
    sid connect_sid sso key session magic_link magiclink login_link signed_request sysparm_ck sap_contextid
""")
"""Whole names."""
_AS_WRITTEN = _words("MD edit2")
"""Whole names of products that mean nothing in any other spelling: of 3-D Secure, and of Google Forms."""
_STRONG_PART = re.compile(
    r"passw|passphrase|passcode|secret(?!ar)|token(?!i[sz]|omi)|credential|sess(?:ion)?_?ids?$|jwt|api_?key|signature|nonce|"
    r"(?:access|auth|private|client|account|consumer|user|app)key$|(?:csrf|xsrf)|(?:auth|api|user|login|url)_?sig$|sapsso$|"
    r"(?:pw|pwd|psk|otp)$|(?:pwd|pass)_?hash$|(?:challenge|security|secret)_?answer$"
)
"""The same for names that are written in one word."""
_STRONG_WHOLE = re.compile(
    r"saml.*|aspsession.*|(?:auth|sms|door|gate|alarm|entry|pickup|reset|access|login|invite|verify|verification|confirm|confirmation|activation|otp|mfa|"
    r"security|recovery|backup)code|(?:master|signing|encryption|activation|license|session|reset|confirm|shared|service|deploy)keys?"
)
"""The same for whole names, however they are written."""
_HARMLESS = _words("""
    type kind id ids count limit name label field hint length size format expires expiry expire expiration ttl age url uri
    endpoint enabled required version method alg algorithm strength policy page usage used mode issuer scope status symbol
    level address contract standard decimals network rules min max position price provider flow callback user username headers
""")
"""Last words of a name that say something of the secret, and are not it: `token_type`, `password_length`."""
_SWITCHES = _words("show hide has is use with require enable need needs allow")
"""With these before it, a secret's name asks for yes or no: `show_password`."""
_KEPT_ALWAYS = _words("""
    page p per_page page_size pagesize limit offset size count start end from to since until date year month day sort order
    order_by orderby sort_by dir direction by q query search s term lang language locale hl country region city currency
    category cat tag tags type format view tab step ref referrer source medium campaign content theme color width height w h
    id product item sku variant quantity qty min max min_price max_price utm_source utm_medium utm_campaign utm_term
    utm_content utm_id gclid gbraid wbraid dclid fbclid msclkid ttclid twclid li_fat_id yclid mc_cid mc_eid igshid ga gl
    srsltid epik
""")
"""Pages, searches and campaigns: their values are kept, also where they look random."""
_PAGED = _words("max min num page next previous continuation cursor sync")
_COUNTED = _PAGED | _words("total count prompt completion input output used")
"""Tokens and keys are no secrets beside these: `max_tokens`, `page_token`; of one `input_token` nobody says how many it is."""
_KEY_COMPANIONS = _words("""
    sort order object page foreign primary public cache idempotency partition row group column translation i18n message shard
    routing issue project map data meta query field index filter lookup natural composite item dict hash answer major minor
    musical
""")
"""`key` is no secret beside these: `sort_key`, `primary_key`."""
_CODE_COMPANIONS = _words("""
    auth authorization oauth otp verification verify reset invite invitation access confirmation confirm pass security login
    activation activate backup recovery device user factor mfa fa sms one time magic totp redeem gift oob exchange authentication
    pairing unlock challenge session pin email js app grant scratch authenticator door gate alarm lock safe entry pickup
""")
"""`code` is a secret beside these: not in `country_code`."""
_HASH_COMPANIONS = _words("hmac login auth reset user password verify security secure check activation")
_WEAK = _words("""
    access verify verification state session_state code hash card card_number cc_number account_number routing_number magic sign
    ticket checksum pincode cardnumber verify_sign sk tk
""")
"""Names of secrets, and of much else: unless their value is an ordinary one, it is masked."""
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[a-z]+")

PLAIN, WEAK, SECRET = 0, 1, 2


def kind_of(name: str) -> int:
    """What a parameter's name, as it was sent, says of its value: `SECRET`, `WEAK` (look at the value too) or `PLAIN`."""
    if len(name) > LONGEST_NAME:
        return _kind_of(_decoded(name)[-LONGEST_NAME:])
    return _remembered_kind(name)


@lru_cache(maxsize=4_096)
def _remembered_kind(name: str) -> int:
    kind = _kind_of(_decoded(name))
    if kind == PLAIN and len(_plain) < MOST_PLAIN:
        _plain.add(name)
    return kind


MOST_PLAIN = 4_096
_plain: set[str] = set()
"""Names that were found to be plain."""
_SHORT = re.compile(r"[\w.+*,~ -]{0,15}")
"""A value in which nothing can be: the shortest key of a service is longer."""


def _kind_of(name: str) -> int:
    if name in _AS_WRITTEN:
        return SECRET
    words = [word.lower() for word in _WORDS.findall(name.rstrip("0123456789"))]
    flat = "".join(words)  # SAMLart and authcode have no words that could be told apart
    whole, last, others = "_".join(words), words[-1] if words else "", set(words[:-1])
    if not words or whole in _KEPT_ALWAYS:
        return PLAIN
    if whole in _ALONE or flat in _STRONG or _SESSION_ID.search(whole):
        return SECRET
    if others and (
        last in _HARMLESS or others & {"token": _PAGED, "tokens": _COUNTED, "keys": _COUNTED}.get(last, set())
    ):
        return PLAIN
    if others and (words[0] in _SWITCHES or last == "reset"):
        return min(WEAK, _kind_of("_".join(words[1:] if words[0] in _SWITCHES else words[:-1])))
    if last in _STRONG_LAST or not _STRONG.isdisjoint((*words, flat)) or _STRONG_PART.search(whole):
        return SECRET
    if len(words) < 4 and _STRONG_WHOLE.fullmatch(flat):
        return SECRET
    if whole in _WEAK or last == "session" or last.endswith("ticket"):
        return WEAK
    if last in ("key", "keys"):
        return PLAIN if not others or others & _KEY_COMPANIONS else SECRET
    if last in ("code", "codes"):
        return SECRET if others & _CODE_COMPANIONS else PLAIN
    return SECRET if last == "hash" and others & _HASH_COMPANIONS else PLAIN


_SESSION_ID = re.compile(r"sess(?:ion)?_?ids?$")
_ORDINARY = re.compile(
    r"true|false|yes|no|on|off|open|opened|closed|all|any|none|active|inactive|enabled|disabled|public|private|read|write|draft|"
    r"published|pending|done|new|old|failed|success|error|full|visa|mastercard|amex|[A-Z]{2,3}|\d{1,3}"
)
"""What `state=open`, `code=404`, `state=CA` and `access=public` have."""


def _is_ordinary(value: str) -> bool:
    return _ORDINARY.fullmatch(value) is not None


# ---- looks -----------------------------------------------------------------------------------------------------------

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


def _decoded(text: str) -> str:
    """`text` with its percent-encoding undone, as often as it was done."""
    for _ in range(MOST_ENCODED):
        if "%" not in text and "+" not in text:
            return text
        decoded = unquote_plus(text)
        if decoded == text:
            return text
        text = decoded
    return text


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
        return kind == SECRET and _flat(place["name"]) not in _ALONE
    return kind != PLAIN


def _is_no_secret(place: re.Match[str], value: str) -> bool:
    value = value.strip("b\\\"'")
    return value.startswith(MASK) or (kind_of(place["name"]) == WEAK and _is_ordinary(value))


def _flat(name: str) -> str:
    return "_".join(word.lower() for word in _WORDS.findall(name))


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
            if name in _plain and self._kept is None and _SHORT.fullmatch(value):
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
            if sign and not self._kept.fullmatch(_decoded(name)):
                return f"{name}={MASK}"
            # what was named is kept, and still without the secrets of others in it
            return f"{name}={_value(value)}" if sign else _value(piece)
        kind = kind_of(name) if sign else PLAIN
        if kind == PLAIN:
            return f"{name}={_value(value)}" if sign else _value(piece)
        if kind == WEAK and _is_ordinary(value):
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
            if _USER_INFO.search(_decoded(page)):
                page = _USER_INFO.sub(r"\1", _decoded(page))
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
    text = _decoded(value)
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
    context = _speaks_of_secrets(rule)
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


def _speaks_of_secrets(rule: str) -> bool:
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


# ---- exceptions and tracebacks ---------------------------------------------------------------------------------------

_DETAIL = re.compile(
    r"((?:DETAIL|CONTEXT):\s+).*?(?=\n\s*(?:HINT|QUERY|LINE|\[SQL|\(Background|The above|During|Traceback|\| )|"
    r"\\n(?:HINT|QUERY|\[SQL)|\n\n|\\n?['\"]\)|['\"]\)|\Z)",
    re.DOTALL,
)
"""PostgreSQL's `DETAIL: Key (email)=(...) already exists.` and `Failing row contains (...)`."""
_PARAMETERS = re.compile(r"\[parameters: .*?(?:\](?=\s*(?:\\n|\n)?\s*\(Background)|\](?=\s*$)|\Z)", re.DOTALL)
_QUOTED = re.compile(
    r"(?:(Duplicate entry )(\\*['\"]).*?\2(?= for key)|"
    r"([Ii]ncorrect [\w ]+value: |[Ii]nvalid input [^:\n]*: |value: )(\\*['\"]).*?\4)",
    re.DOTALL,
)
"""What databases quote of a row: `Duplicate entry '...' for key`, `invalid input syntax for type integer: "..."`."""


def sent_secrets(pairs: Iterable[tuple[str, str]], arguments: Mapping[str, Any], rule: str) -> list[str]:
    """The values of a request's `pairs` and of its route's `arguments` whose names are those of secrets."""
    context = _speaks_of_secrets(rule)
    found = [str(value) for name, value in arguments.items() if is_secret_argument(name, context=context)]
    for name, value in pairs:
        kind = kind_of(name)
        if kind == SECRET or (kind == WEAK and not _is_ordinary(value)):
            found.append(value)
    return found


def exception(error: BaseException, sent: Iterable[str] = ()) -> str:
    """`repr` of an exception without secrets, without those that were `sent`, and without what was bound to SQL."""
    return _masked_error(_repr(error), error, sent)


def formatted(error: BaseException, sent: Iterable[str] = ()) -> str:
    """Its traceback, the same; of a long one the end, where the error is."""
    try:
        with _without_parameters(error):
            text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except Exception:  # formatting calls the error's own code
        text = "".join(traceback.format_tb(error.__traceback__))
    return _masked_error(text, error, sent)[-LONGEST_TRACEBACK:]


def _masked_error(text: str, error: BaseException, sent: Iterable[str]) -> str:
    for secret in sorted({one for one in sent if len(one) >= SHORTEST_BOUND}, key=len, reverse=True):
        text = text.replace(secret, MASK).replace(repr(secret)[1:-1], MASK)
    for each in _chain(error):
        if _is_of_a_database(each):
            text = _without_message(text, each)
    text = _QUOTED.sub(_masked_quote, text)
    text = _PARAMETERS.sub(f"[parameters: {MASK}]", text)
    text = _DETAIL.sub(rf"\1{MASK}", text)
    return masked_text(text)


def _masked_quote(found: re.Match[str]) -> str:
    around = found[2] or found[4]
    return f"{found[1] or found[3]}{around}{MASK}{around}"


def _without_message(text: str, error: BaseException) -> str:
    """`text` without the lines of a database's message behind its first, and without the values that it was given."""
    for value in _bound(error):
        text = text.replace(value, MASK)
    lines = _str(error).splitlines()[1:]
    for line in lines:
        if len(line.strip()) > 3 and not line.startswith(("[SQL: ", "(Background on this error", "HINT:")):
            kept = line[: line.find(":") + 1] + f" {MASK}" if line.startswith(("DETAIL:", "CONTEXT:")) else MASK
            text = text.replace(line, kept).replace(repr(line)[1:-1], kept)
    return text


SHORTEST_BOUND = 4
"""Characters of a bound value that is looked for in a text: shorter ones are part of anything."""


def _bound(error: BaseException) -> list[str]:
    """Texts that were bound to the statement that failed, longest first."""
    found: set[str] = set()
    waiting: list[Any] = [getattr(error, "params", None)]
    while waiting and len(found) < 1_000:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, (list, tuple)):
            waiting.extend(value)
        elif isinstance(value, str) and len(value) >= SHORTEST_BOUND:
            found |= {value, repr(value)[1:-1]}
    return sorted(found, key=len, reverse=True)


def _is_of_a_database(error: BaseException) -> bool:
    """Whether it is SQLAlchemy's of a statement, or a driver's own: PEP 249 says how these are called."""
    return isinstance(error, sa.exc.StatementError) or any(
        base.__name__ == "DatabaseError" for base in type(error).__mro__
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, what caused it, what it was raised in the handling of, and what it groups; each once."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, each.__context__, getattr(each, "orig", None), *getattr(each, "exceptions", ())]


@contextmanager
def _without_parameters(error: BaseException) -> Iterator[None]:
    """Have SQLAlchemy leave the parameters out of its messages: they may have what ends them in themselves."""
    shown = [each for each in _chain(error) if isinstance(each, sa.exc.StatementError) and not each.hide_parameters]
    for each in shown:
        each.hide_parameters = True
    try:
        yield
    finally:
        for each in shown:
            each.hide_parameters = False


def _str(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # somebody's __str__ is broken
        return ""


def _repr(error: BaseException) -> str:
    try:
        return repr(error)
    except Exception:  # somebody's __repr__ is broken; the type is still worth knowing
        return f"{type(error).__name__}(...)"
