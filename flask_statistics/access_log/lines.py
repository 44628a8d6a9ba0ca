"""A request as a log tells it, and how the pieces that logs have in common are read: dates, request lines, escapes. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes
from zoneinfo import ZoneInfo

UTC: Final = ZoneInfo("UTC")
NEVER: Final = datetime(9999, 12, 31)
"""After all that a log can tell."""

_METHOD: Final = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
_PROTOCOL: Final = re.compile(r"(?:HTTP/)?\d(?:\.\d)?", re.ASCII)
_ORIGIN: Final = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
_ESCAPE: Final = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_ESCAPED: Final = {b"b": b"\b", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_FOREIGN_ESCAPE: Final = re.compile(r'\\(?!x[0-9A-Fa-f]{2}|[bnrtv"\\])')
_SECONDS: Final = {f"{second:02}": timedelta(seconds=second) for second in range(61)}  # 60: a leap second
_MINUTES: Final = {f":{minute // 60:02}:{minute % 60:02}": timedelta(minutes=minute) for minute in range(24 * 60)}
_MONTHS: Final = {
    # strptime with %b would ask the locale for the names of months
    name: number + 1
    for number, name in enumerate(["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"])
}
_CLF: Final = re.compile(
    r"(\d{1,2})[/ -](\w{3})[/ -](\d{4})[: ](\d\d):(\d\d):(\d\d)(?:[.,]\d+)?(?: ?([+-]\d\d:?\d\d|Z|UTC|GMT))?", re.ASCII
)
_ISO: Final = re.compile(
    r"(\d{4})[-/](\d\d)[-/](\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,]\d+)?(?: ?([+-]\d\d:?\d\d|Z|UTC|GMT))?", re.ASCII
)
_C_TIME: Final = re.compile(r"(?:\w{3} )?(\w{3}) +(\d{1,2}) (\d\d):(\d\d):(\d\d) (\d{4})", re.ASCII)
_NUMBER: Final = re.compile(r"\d{9,19}(?:\.\d+)?", re.ASCII)


class Entry(NamedTuple):
    """A request as the log tells it. The names are those of the raw table's columns."""

    date: datetime
    """When the request was received (Apache) or answered (nginx), in naive UTC, to the second."""
    remote_address: str | None
    """The client's address in its normal form, or its host name if the server looked it up; `None` for what is neither."""
    method: str | None
    """In upper case; `None` if the client sent something that is no HTTP request."""
    path: str | None
    """Without the query, decoded as Werkzeug decodes `request.path`; `None` if `method` is.

    The targets that are no path stand as they are: "*" of `OPTIONS`, "example.com:443" of `CONNECT`.
    """
    query_string: str | None
    """What stands behind "?", not decoded; `None` if that is nothing."""
    status_code: int | None
    """`None` where the client was gone before there was one."""
    size: int
    """Bytes of the answer's body; 0 for "-", by which Apache means none."""
    referrer: str | None
    """`None` if not sent."""
    user_agent: str
    """Empty if not sent, and in formats that leave it out."""
    response_time: float | None = None
    """Seconds; `None` where the log does not say."""


REMEMBERED: Final = 1 << 16
"""Texts of which it is remembered what they mean: lines of one log repeat addresses, requests and user agents."""


@lru_cache(maxsize=4096)
def instant_of_clf(text: str, zone: ZoneInfo = UTC) -> datetime:
    """`instant` of "01/Nov/2026:10:00:00 +0000", which nearly all are, in a fourth of the time."""
    minute, second = _MINUTES.get(text[11:17]), _SECONDS.get(text[18:20])
    if minute is not None and second is not None and len(text) == 26 and text[17] == ":":
        try:
            return _day_of_clf(text[:11] + text[20:]) + minute + second
        except (ValueError, OverflowError):
            pass  # said of the whole date
    return instant(text, zone)


@lru_cache(maxsize=256)
def _day_of_clf(text: str) -> datetime:
    """The beginning of "01/Nov/2026 +0000"."""
    return instant(f"{text[:11]}:00:00:00{text[11:]}")


@lru_cache(maxsize=4096)
def instant(text: str, zone: ZoneInfo = UTC) -> datetime:
    """A date as any server writes it, to the second, in naive UTC; where it names no zone, it is of `zone`.

    :raises ValueError: it is none, or does not exist.
    """
    if match := _CLF.fullmatch(text):
        day, month, year, *time, offset = match.groups()
    elif match := _ISO.fullmatch(text):
        year, month, day, *time, offset = match.groups()
    elif match := _C_TIME.fullmatch(text):
        month, day, *time, year = match.groups()
        offset = None
    elif _NUMBER.fullmatch(text):
        return _of_number(text)
    else:
        raise ValueError(f"there is no date {text!r}")
    try:
        hour, minute, second = time
        start = datetime(int(year), _MONTHS.get(month) or int(month), int(day), int(hour), int(minute))
        return _to_utc(start, offset, zone) + _SECONDS[second]
    except (ValueError, KeyError, OverflowError):
        raise ValueError(f"there is no date {text!r}") from None


def _to_utc(local: datetime, offset: str | None, zone: ZoneInfo) -> datetime:
    if offset is None:
        return local.replace(tzinfo=zone).astimezone(timezone.utc).replace(tzinfo=None)
    if not offset[-1].isdigit():
        return local
    east = timedelta(hours=int(offset[1:3]), minutes=int(offset[-2:]))
    return local + east if offset[0] == "-" else local - east


def _of_number(text: str) -> datetime:
    """Seconds since 1970, or thousandths, millionths or milliardths of them, which are told apart by their number."""
    seconds = float(text)
    while seconds > 100_000_000_000:
        seconds /= 1000
    try:
        return datetime.fromtimestamp(int(seconds), timezone.utc).replace(tzinfo=None)
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"there is no date {text!r}") from None


class Request(NamedTuple):
    """The parts of a request line; all `None` if it is none."""

    method: str | None
    path: str | None
    query_string: str | None


NO_REQUEST: Final = Request(None, None, None)


@lru_cache(maxsize=REMEMBERED)
def split_request(request: str) -> Request:
    """Method, path and query string of a request line, as it is logged."""
    request = unescape(request)
    parts = request.split(" ")
    if len(parts) == 3 and parts[1].startswith("/") and parts[2].startswith("HTTP/") and parts[0].isalpha():
        return of_target(parts[0], parts[1])
    # no expression for the whole: clients send spaces by the thousand, and it would look at each as often
    method, _, rest = request.rstrip(" ").partition(" ")
    target, _, protocol = rest.lstrip(" ").rpartition(" ")
    if not target or not _PROTOCOL.fullmatch(protocol):
        target, protocol = rest.lstrip(" "), ""
    # only HTTP/0.9 names no protocol, and it knows only GET
    if not (protocol or method == "GET"):
        return NO_REQUEST
    return of_target(method, target)


def of_target(method: str, target: str) -> Request:
    """The parts of a request of which the log has method and target apart."""
    if not _METHOD.fullmatch(method) or not target or target[0].isspace() or "\n" in target:
        return NO_REQUEST
    target, method = target.rstrip(" "), method.upper()
    if method == "CONNECT" or target == "*":
        return Request(method, target, None)
    path, _, query_string = target.partition("#")[0].partition("?")
    if not path.startswith("/"):
        path = _ORIGIN.sub("", path, count=1)
    if "%" in path:
        path = unquote_to_bytes(path).decode("utf-8", errors="replace")
    return Request(method, "/" + path.lstrip("/"), query_string or None)


def text_of(field: str | None) -> str:
    """A field as the client sent it; empty if it is missing or "-"."""
    return "" if field is None or field == "-" else unescape(field)


def unescape(field: str) -> str:
    r"""Undo what Apache (\", \\, \n, \xhh) and nginx (\xhh) do to quotes, control characters and all beyond ASCII.

    gunicorn escapes quotes and nothing else: a field with a backslash that neither of the others would have written is its.
    """
    if "\\" not in field:
        return field
    if _FOREIGN_ESCAPE.search(field.replace("\\\\", "")):
        return field.replace('\\"', '"')
    return _ESCAPE.sub(_escaped, field.encode()).decode("utf-8", errors="replace")


def _escaped(match: re.Match[bytes]) -> bytes:
    if match[1] is not None:
        return bytes.fromhex(match[1].decode())
    return _ESCAPED.get(match[2], match[2])
