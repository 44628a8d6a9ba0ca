"""Names of values that are secret, and those that look like it and are not. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote_plus

LONGEST_NAME = 64
"""Characters of a name that is remembered; longer ones are looked at anew each time, and only their end."""
MOST_ENCODED = 5
"""How often a text may be percent-encoded and is still read."""


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
ALONE = _words("""
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
WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[a-z]+")

PLAIN, WEAK, SECRET = 0, 1, 2


def kind_of(name: str) -> int:
    """What a parameter's name, as it was sent, says of its value: `SECRET`, `WEAK` (look at the value too) or `PLAIN`."""
    if len(name) > LONGEST_NAME:
        return _kind_of(as_decoded(name)[-LONGEST_NAME:])
    return _remembered_kind(name)


@lru_cache(maxsize=4_096)
def _remembered_kind(name: str) -> int:
    kind = _kind_of(as_decoded(name))
    if kind == PLAIN and len(plain_kinds) < MOST_PLAIN:
        plain_kinds.add(name)
    return kind


MOST_PLAIN = 4_096
plain_kinds: set[str] = set()
"""Names that were found to be plain."""
SHORT = re.compile(r"[\w.+*,~ -]{0,15}")
"""A value in which nothing can be: the shortest key of a service is longer."""


def _kind_of(name: str) -> int:
    if name in _AS_WRITTEN:
        return SECRET
    words = [word.lower() for word in WORDS.findall(name.rstrip("0123456789"))]
    flat = "".join(words)  # SAMLart and authcode have no words that could be told apart
    whole, last, others = "_".join(words), words[-1] if words else "", set(words[:-1])
    if not words or whole in _KEPT_ALWAYS:
        return PLAIN
    if whole in ALONE or flat in _STRONG or _SESSION_ID.search(whole):
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


def is_ordinary(value: str) -> bool:
    return _ORDINARY.fullmatch(value) is not None


def as_decoded(text: str) -> str:
    """`text` with its percent-encoding undone, as often as it was done."""
    for _ in range(MOST_ENCODED):
        if "%" not in text and "+" not in text:
            return text
        decoded = unquote_plus(text)
        if decoded == text:
            return text
        text = decoded
    return text
