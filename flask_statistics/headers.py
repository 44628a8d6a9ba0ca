"""What headers say of a request: the host that was asked for, and the language that its reader likes most. Pure.

Both are what a client likes to say: of what is none, None.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

LONGEST_HOST = 255
"""Characters of a host's name (RFC 1035); the column takes as many."""
LONGEST_LANGUAGE = 35
"""Characters that a language tag needs (RFC 5646, section 4.4.1); the column takes as many."""
_MOST_READ = 500
"""Characters of a header that are looked at, and kept in memory: a client may send thousands."""
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*", re.ASCII)
_PORT = re.compile(r":\d{0,5}$", re.ASCII)
_TAG = re.compile(r"[a-z]{2,8}(?:-[a-z0-9]{1,8})*", re.ASCII | re.IGNORECASE)
"""A language range without `*` (RFC 4647, section 2.1)."""
_WEIGHT = re.compile(r"q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.ASCII | re.IGNORECASE)


def host_of(sent: str) -> str | None:
    """The name in a Host header: in lower case, without its port and without a point at its end; None if it is no host's."""
    return _host(sent) if len(sent) <= _MOST_READ else None


@lru_cache(maxsize=256)
def _host(sent: str) -> str | None:
    host = _PORT.sub("", sent).lower()
    if host.startswith("[") and host.endswith("]"):
        return host if _is_ipv6(host[1:-1]) else None
    host = host.removesuffix(".")
    return host if len(host) <= LONGEST_HOST and _NAME.fullmatch(host) else None


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.IPv6Address(text).scope_id is None
    except ValueError:
        return False


def language_of(sent: str) -> str | None:
    """The tag with the most weight in an Accept-Language header, of several the first, in canonical case, as `de-AT`.

    None for `*`, and where there is no tag that is not refused by a weight of 0.
    """
    return _language(sent[:_MOST_READ])


@lru_cache(maxsize=1_024)
def _language(sent: str) -> str | None:
    most, found = 0.0, None
    for item in sent.split(","):
        tag, *parameters = (part.strip(" \t") for part in item.split(";"))
        weight = _weight(parameters)
        if weight > most and (tag == "*" or (len(tag) <= LONGEST_LANGUAGE and _TAG.fullmatch(tag))):
            most, found = weight, tag
    return None if found is None or found == "*" else _canonical(found)


def _weight(parameters: list[str]) -> float:
    """As RFC 9110 has it in section 12.4.2: 1 where nothing is said; 0, which refuses, for what is no weight."""
    if not parameters:
        return 1.0
    known = _WEIGHT.fullmatch(parameters[0])
    return float(known[1]) if known else 0.0


_TRACE = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?", re.ASCII | re.DOTALL
)


def trace_of(sent: str) -> str | None:
    """The id of the trace in a traceparent header (W3C Trace Context, section 3.2); None if there is none in it."""
    found = _TRACE.fullmatch(sent[:_MOST_READ])
    return None if found is None else found[1]


def _canonical(tag: str) -> str:
    """As RFC 5646 has it in section 2.1.1, such as `zh-Hant-TW`: what follows a subtag of one character stays small."""
    first, *others = tag.lower().split("-")
    cased, after_one = [first], len(first) == 1
    for part in others:
        cased.append(
            part if after_one else part.upper() if len(part) == 2 else part.title() if len(part) == 4 else part
        )
        after_one = after_one or len(part) == 1
    return "-".join(cased)
