"""The formats of logs: lines in, entries out. Pure.

Most servers write lines that are those of Apache's "common" format with something in front, between or behind: one reader takes
them all. The others have a reader each; and whoever has a format of his own hands its format string in. A format is recognised by
a file's first lines, or named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import unquote, unquote_plus
from zoneinfo import ZoneInfo

from ..addresses import logged_client, normal
from .lines import (
    NO_REQUEST,
    REMEMBERED,
    UTC,
    Entry,
    Request,
    instant,
    instant_of_clf,
    of_target,
    split_request,
    text_of,
)

SAMPLE: Final = 200
"""Lines at a file's beginning by which its format is recognised."""

_ANSI: Final = re.compile(r"\x1b\[[\d;]*m")


class Format(Protocol):
    """Reads the lines of one file, in their order: some formats say in the first ones what the others hold."""

    name: str

    def __call__(self, line: str) -> Entry | None:
        """The request of a line; None for one that is no request, as a comment. Raises `ValueError` with what is wrong."""


class FormatError(ValueError):
    """No format is called so, or a format string lacks what every request needs; the message says what to do."""


# ---- lines like Apache's -----------------------------------------------------------------------------------------

_QUOTED: Final = r'"([^"\\]*(?:\\.[^"\\]*)*)"'
_DATE: Final = (
    r"\[(\d{1,2}/\w{3}/\d{4}[: ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?: [+-]\d{4})?"
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?: ?(?:[+-]\d\d:?\d\d|Z))?)\]"
)
_LINE: Final = re.compile(
    rf'(.*?){_DATE} (?:(?:"[^"]*"|[^"\s]+) ){{0,3}}?{_QUOTED} (\d{{3}}) (\d{{1,18}}|-)(?![\d.])(.*)', re.ASCII
)
_UNESCAPED: Final = re.compile(rf'(.*?){_DATE} "(.*)" (\d{{3}}) (\d{{1,18}}|-)(?![\d.])(.*)', re.ASCII)
_REST: Final = re.compile(rf'((?: [^"\s]+)*) {_QUOTED} {_QUOTED}((?: .*)?)')
_REST_UNESCAPED: Final = re.compile(r'((?: [^"\s]+)*) "(.*?)" "(.*)"([^"]*)')
_REST_CUT: Final = re.compile(rf'((?: [^"\s]+)*) {_QUOTED} "((?:[^"\\]|\\.)*)\\?')
_NUMBERS: Final = re.compile(r" (\d{3}) (\d{1,18}|-) ", re.ASCII)
_LINE_ENDS: Final = {"\n", "\r\n", ""}
_NOTHING: Final = {"-", ""}
_PREFIX: Final = re.compile(
    r"(?:<\d+>\d? ?)?(?:"
    r"(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT[\d:.,]+(?:Z|[+-]\d\d:?\d\d)?)"  # syslog, journald, docker -t
    r"(?:(?: [^\s:]+)?(?: [^\s:]+\[[^\]]*\]:| [A-Za-z][\w./-]*:))? +"  # host and program; Heroku's app[web.1]:
    r"|\S+ +\| )"  # docker compose
    r"(?:\[[^\]]*\] )*"
)
_PREFIX_DATE: Final = re.compile(
    r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?: ?(?:Z|[+-]\d\d:?\d\d))?)", re.ASCII
)
_TIME: Final = re.compile(
    r'(?:^|[\s"])(?:(?:rt|request_time|req_time|response_time|duration)[=:]"?(\d+(?:\.\d+)?)(ms|s)?"?(?=[\s,]|$)'
    r'|(\d+)ms$|"?(\d+\.(?:\d{3}|\d{6}))"?(?=\s|$))'
)


class _Rest(NamedTuple):
    """What stands behind status and size."""

    referrer: str | None
    user_agent: str
    response_time: float | None


class Common:
    """Apache's and nginx's "common" and "combined" lines, whatever stands in front, between and behind."""

    name = "common"

    def __init__(self, zone: ZoneInfo = UTC) -> None:
        self._zone = zone

    def __call__(self, line: str) -> Entry | None:
        pieces = line.split('"')
        if (
            len(pieces) == 7
            and pieces[6] in _LINE_ENDS
            and pieces[4] == " "
            and "\\" not in line
            and "\x1b" not in line
        ):
            # what nearly all lines are: it takes a third of the time of the expressions
            front, request, numbers, referrer, _, user_agent, _ = pieces
            answered = _answered(numbers)
            if answered is not None and front[-29:-28] == "[" and front.endswith("] "):
                return tuple.__new__(  # in half the time of the class's own
                    Entry,
                    (
                        instant_of_clf(front[-28:-2], self._zone),
                        _client(front[:-29]),
                        *split_request(request),
                        *answered,
                        None if referrer in _NOTHING else referrer,
                        "" if user_agent == "-" else user_agent,
                        None,
                    ),
                )
        return self._of_any_form(line)

    def _of_any_form(self, line: str) -> Entry | None:
        line = line.strip("\r\n\0")
        if "\x1b" in line:
            line = _ANSI.sub("", line)  # Werkzeug's colours
        match = _LINE.fullmatch(line) or _UNESCAPED.fullmatch(line)
        if match is None:
            if not line.strip():
                raise ValueError("empty line")
            raise ValueError("not in the common or combined log format")
        front, date, request, status, size, rest = match.groups()
        found = _rest(rest)
        method, path, query_string = split_request(request)
        return Entry(
            instant_of_clf(date, self._zone),
            _client(front),
            method,
            path,
            query_string,
            int(status),
            0 if size == "-" else int(size),
            *found,
        )


@lru_cache(maxsize=REMEMBERED)
def _answered(numbers: str) -> tuple[int, int] | None:
    """Status and size, as they stand alone between request and referrer; None: something else does."""
    match = _NUMBERS.fullmatch(numbers)
    return None if match is None else (int(match[1]), 0 if match[2] == "-" else int(match[2]))


@lru_cache(maxsize=REMEMBERED)
def _rest(rest: str) -> _Rest:
    """Referrer, user agent and duration, where they are known.

    Raises `ValueError` if the line ends within the referrer or before it.
    """
    if '"' not in rest:
        return _Rest(None, "", _seconds_of(rest))
    if match := _REST.fullmatch(rest) or _REST_UNESCAPED.fullmatch(rest):
        between, referrer, user_agent, behind = match.groups()
        return _Rest(text_of(referrer) or None, text_of(user_agent), _seconds_of(between, behind))
    if match := _REST_CUT.fullmatch(rest):  # the server stopped within the user agent
        return _Rest(text_of(match[2]) or None, text_of(match[3]), _seconds_of(match[1]))
    return _Rest(None, "", None)


def _seconds_of(*fields: str) -> float | None:
    """The duration among unnamed fields: with a name, a unit, or as many digits as nginx or gunicorn write."""
    for field in reversed(fields):
        if match := _TIME.search(field):
            if match[1] is not None:
                return float(match[1]) / (1000 if match[2] == "ms" else 1)
            return float(match[3]) / 1000 if match[3] is not None else float(match[4])
    return None


@lru_cache(maxsize=REMEMBERED)
def _client(front: str) -> str | None:
    """Whom the words before the date name, without what a log's collector put in front of them; None: nobody.

    The first address is the client's: a virtual host stands before it, what proxies forwarded for, behind it.
    """
    prefix = _PREFIX.match(front)
    words = front[prefix.end() if prefix else 0 :].strip("\ufeff\0").split(" ")
    addresses = [place for place, word in enumerate(words) if _address(word)]
    if addresses:
        first = addresses[0]
        is_host = words[first].endswith((":80", ":443")) and len(addresses) > 1 and not words[first].endswith(",")
        return _address(words[addresses[1] if is_host else first])
    # a host name, right before identity and user
    name = next((word for word, behind in pairwise(words) if behind == "-"), words[0])
    return None if name == "-" else logged_client(name)


def _address(word: str) -> str | None:
    first = word.strip(",\"'").partition(",")[0]
    return normal(first) if first[:1] in "0123456789abcdefABCDEF:[" else None


# ---- formats with names for their fields -------------------------------------------------------------------------

_NAMES: Final[Mapping[str, str]] = {
    name: field
    for field, names in {
        "client": "remote_addr remote_address client_ip client_addr clientip remote_ip remote_host clienthost client host c-ip ip"
        " h source_ip ip_address remoteip request_client_ip request_remote_ip request_remoteip clientaddr"
        " httprequest_remoteip fwd",
        "forwarded": "http_x_forwarded_for x_forwarded_for forwarded_for x-forwarded-for x_forwarded_for_ip",
        "date": "time_local time_iso8601 msec time timestamp @timestamp ts date_time datetime t starttime startutc startlocal"
        " edgestarttimestamp asctime receivetimestamp",
        "day": "date",
        "clock": "time-of-day",
        "request": "request r request_line requestline",
        "method": "request_method method m verb cs-method requestmethod clientrequestmethod request_method http_method"
        " httprequest_requestmethod",
        "target": "request_uri uri path url requestpath request_path request_uri clientrequesturi request_url cs-uri raw_path"
        " httprequest_requesturl u",
        "stem": "cs-uri-stem document_uri",
        "query": "query_string args cs-uri-query q querystring",
        "status": "status s status_code sc-status downstreamstatus response_status edgeresponsestatus code http_status"
        " httprequest_status response_code statuscode",
        "size": "body_bytes_sent bytes_sent size b bytes sc-bytes downstreamcontentsize response_length edgeresponsebytes"
        " response_size content_length resp_bytes httprequest_responsesize sent_bytes",
        "referrer": "http_referer http_referrer referer referrer f cs(referer) request_referer request_headers_referer"
        " clientrequestreferer request_referer httprequest_referer",
        "agent": "http_user_agent user_agent useragent agent a cs(user-agent) request_user-agent request_headers_user-agent"
        " clientrequestuseragent ua httprequest_useragent user-agent",
        "seconds": "request_time duration_seconds request_time_seconds elapsed response_time latency_s request_duration",
        "ms": "duration_ms time-taken-ms latency_ms response_time_ms request_time_ms time_ms elapsed_ms duration_in_ms service",
        "microseconds": "duration_us request_time_us response_time_us",
        "nanoseconds": "duration_ns",
        "duration": "duration latency took time-taken response_ms httprequest_latency",
    }.items()
    for name in names.split()
}
"""What loggers call their fields, in lower case with `_` for what is inside of what, and what it is here."""
_A_SECOND: Final = {"": 1, "s": 1, "ms": 1_000, "us": 1_000_000, "µs": 1_000_000, "ns": 1_000_000_000, "m": 1 / 60}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m)?")


def _duration(text: str, unit: str = "") -> float | None:
    """Seconds of a number with or without a unit of its own; None: it is none."""
    match = _DURATION.fullmatch(text.strip())
    return None if match is None else float(match[1]) / _A_SECOND[match[2] or unit]


def _entry(fields: Mapping[str, str], zone: ZoneInfo) -> Entry:
    """An entry of fields by their names here. Raises `ValueError` if there is no date or no request."""
    date = fields.get("date") or " ".join(filter(None, (fields.get("day"), fields.get("clock"))))
    if not date:
        raise ValueError("the line has no date")
    forwarded = _first_of_list(fields.get("forwarded"))
    status, size = fields.get("status", ""), fields.get("size", "")
    return Entry(
        instant(date.strip("[]"), zone),
        (forwarded and logged_client(forwarded)) or logged_client(_first_of_list(fields.get("client"))),
        *_request(fields),
        int(status) if status.isdecimal() and len(status) == 3 else None,
        int(size) if size.isdecimal() and len(size) < 19 else 0,
        text_of(fields.get("referrer")) or None,
        text_of(fields.get("agent")),
        _seconds(fields),
    )


def _first_of_list(text: str | None) -> str | None:
    first = (text or "").partition(",")[0].strip()
    return None if first in ("", "-") else first


def _request(fields: Mapping[str, str]) -> Request:
    if "request" in fields:
        return split_request(fields["request"])
    target = fields.get("target")
    if target is None:
        if "stem" not in fields:
            raise ValueError("the line has no request")
        query = fields.get("query", "-").lstrip("?")
        target = fields["stem"] + ("" if query in ("", "-") else f"?{query}")
    elif "?" not in target and fields.get("query", "-") not in ("", "-"):
        target += "?" + fields["query"].lstrip("?")
    method = fields.get("method", "")
    return NO_REQUEST if method in ("", "-") else of_target(method, target)


def _seconds(fields: Mapping[str, str]) -> float | None:
    for name, unit in (
        ("seconds", "s"),
        ("ms", "ms"),
        ("microseconds", "us"),
        ("nanoseconds", "ns"),
        ("duration", "s"),
    ):
        if name in fields:
            return _duration(fields[name], unit)
    return None


class Json:
    """JSON objects, one a line: of nginx, Caddy, Traefik, Cloudflare, gunicorn-style loggers."""

    name = "json"

    def __init__(self, zone: ZoneInfo = UTC, names: Mapping[str, str] = _NAMES) -> None:
        self._zone = zone
        self._names = names

    def __call__(self, line: str) -> Entry | None:
        start = line.find("{")
        if start < 0:
            raise ValueError("no JSON object")
        try:
            values = json.loads(line[start:])
        except (ValueError, RecursionError):
            raise ValueError("no JSON object") from None
        if not isinstance(values, dict):
            raise ValueError("no JSON object")
        if isinstance(values.get("log"), str) and "stream" in values:  # docker's own files
            return Common(self._zone)(values["log"])
        fields: dict[str, str] = {}
        for path, value in _flat(values):
            field = self._names.get(path)
            if field is not None and value not in ("", "-"):
                fields.setdefault(field, value)
        if values.get("Duration") is not None and "downstreamstatus" in map(str.lower, values):
            fields["nanoseconds"] = str(values["Duration"])  # Traefik's
        elif "level" not in values and re.fullmatch(r"\d{4,}", fields.get("duration", "")):
            del fields["duration"]  # a whole number of who knows what
        return _entry(fields, self._zone)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names and texts of a nested object; what is at the top comes before what is inside."""
    inner = []
    for name, value in values.items():
        path = f"{prefix}{name}".lower()
        if isinstance(value, dict):
            inner.append((f"{path}_", value))
        elif isinstance(value, list):
            if value and isinstance(value[0], (str, int, float)):
                yield path, str(value[0])
        elif value is not None:
            yield path, str(value)
    for path, nested in inner:
        yield from _flat(nested, path)


class W3C:
    """W3C's extended format, of IIS and CloudFront, whose first lines name the fields. Its dates are UTC."""

    name = "w3c"

    def __init__(self, _zone: ZoneInfo = UTC) -> None:
        self._fields: list[str | None] = []
        self._is_cloudfront = False

    def __call__(self, line: str) -> Entry | None:
        line = line.strip("\r\n\ufeff\0")
        if line.startswith("#"):
            if line.startswith("#Fields:"):
                names = line[8:].split()
                self._is_cloudfront = "x-edge-location" in names
                self._fields = [_W3C_NAMES.get(name.lower(), _NAMES.get(name.lower())) for name in names]
            return None
        if not self._fields:
            raise ValueError("no line '#Fields: ...' says what the fields are")
        values = line.split("\t") if "\t" in line else line.split()
        if len(values) != len(self._fields):
            raise ValueError(f"{len(values)} fields, and not the {len(self._fields)} that '#Fields:' names")
        fields = {field: value for field, value in zip(self._fields, values, strict=True) if field and value != "-"}
        for field in ("agent", "referrer"):
            if field in fields:
                fields[field] = unquote(unquote(fields[field])) if self._is_cloudfront else unquote_plus(fields[field])
        if "ms" in fields and self._is_cloudfront:
            fields["seconds"] = fields.pop("ms")
        return _entry(fields, UTC)


_W3C_NAMES: Final = {
    "date": "day",
    "time": "clock",
    "c-ip": "client",
    "x-forwarded-for": "forwarded",
    "cs-uri-stem": "stem",
    "cs-uri-query": "query",
    "cs-method": "method",
    "sc-status": "status",
    "sc-bytes": "size",
    "cs(user-agent)": "agent",
    "cs(referer)": "referrer",
    "time-taken": "ms",
    "cs-host": "",
    "s-ip": "",
}


class Pattern:
    """A format of which one expression with names for the fields is all."""

    def __init__(self, name: str, expression: str, zone: ZoneInfo = UTC) -> None:
        self.name = name
        self._expression = re.compile(expression, re.ASCII)
        self._zone = zone

    def __call__(self, line: str) -> Entry | None:
        line = line.strip("\r\n\ufeff\0")
        match = self._expression.fullmatch(line) or self._expression.fullmatch(_PREFIX.sub("", line, count=1))
        if match is None:
            raise ValueError(f"not in the format {self.name!r}")
        return _entry({name: value for name, value in match.groupdict().items() if value is not None}, self._zone)


_QUOTED_REQUEST: Final = r'"(?P<request>[^"\\]*(?:\\.[^"\\]*)*)"'
_PATTERNS: Final[Mapping[str, str]] = {
    "alb": r"(?:\w+ )?(?P<date>\d{4}-\d\d-\d\dT[\d:.]+Z) \S+ (?P<client>\S+):\d+ \S+ -?[\d.]+ (?P<seconds>-?[\d.]+)"
    rf' -?[\d.]+ (?P<status>\d{{3}}|-) \S+ \d+ (?P<size>\d+) {_QUOTED_REQUEST} "(?P<agent>[^"\\]*(?:\\.[^"\\]*)*)".*',
    "s3": r"\S+ \S+ \[(?P<date>[^\]]+)\] (?P<client>\S+) \S+ \S+ \S+ \S+ "
    rf'(?:{_QUOTED_REQUEST}|-) (?P<status>\d{{3}}|-) \S+ (?P<size>\d+|-) \S+ (?P<ms>\d+|-) \S+ "(?P<referrer>[^"]*)"'
    r' "(?P<agent>[^"]*)".*',
    "haproxy": r".*?(?P<client>[\da-fA-F.:]+):\d+ \[(?P<date>[^\]]+)\] \S+ \S+ [\d+/-]*?/(?P<ms>\+?\d+)"
    rf" (?P<status>-?\d{{1,3}}) \+?(?P<size>\d+) \S+ \S+ \S{{4}} [\d/+]+ [\d/]+ (?:\{{[^}}]*\}} )*{_QUOTED_REQUEST}.*",
    "uwsgi": r".*?\[pid: \d+\|app: -?\d*\|req: [-\d/]+\] (?P<client>\S*) \([^)]*\) \{[^}]*\} \[(?P<date>[^\]]+)\]"
    r" (?P<request>\S+ .*?) => generated (?P<size>\d+) bytes in (?P<ms>\d+) msecs \(HTTP/[\d.]+ (?P<status>\d{3})\).*",
    "uvicorn": r".*?(?P<date>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?).*?"
    rf"(?P<client>[\da-fA-F.:\[\]]+) - {_QUOTED_REQUEST} (?P<status>\d{{3}})(?: .*)?",
}
_UVICORN_WITHOUT_DATE: Final = re.compile(r'INFO: +\S+ - "[^"]*" \d{3}.*')


class Heroku:
    """Lines of Heroku's router: `name=value`."""

    name = "heroku"

    def __init__(self, zone: ZoneInfo = UTC) -> None:
        self._zone = zone

    def __call__(self, line: str) -> Entry | None:
        date, found, rest = line.strip("\r\n\ufeff").partition(" heroku[router]: ")
        if not found:
            raise ValueError("not in the format 'heroku'")
        fields = {"date": date.rpartition(" ")[2]}
        for name, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|(\S*))', rest):
            field = {"fwd": "client", "path": "target", "service": "duration"}.get(name, _NAMES.get(name))
            if field and name != "host":
                fields[field] = quoted or plain
        return _entry(fields, self._zone)


# ---- format strings ----------------------------------------------------------------------------------------------

_NGINX: Final = re.compile(r"\$\{?(\w+)\}?")
_APACHE: Final = re.compile(r"%[<>]?(?:[!\d,]+)?(?:\{([^}]*)\}|\(([^)]*)\))?([a-zA-Z%^]?)")
_APACHE_NAMES: Final = {
    **dict.fromkeys(("h", "a"), "client"),
    "t": "date",
    "r": "request",
    "s": "status",
    **dict.fromkeys(("b", "B", "O"), "size"),
    "m": "method",
    "U": "stem",
    "q": "query",
    "D": "microseconds",
    "T": "seconds",
    "L": "seconds",
    "M": "ms",
    "f": "referrer",
}
_HEADERS: Final = {"referer": "referrer", "user-agent": "agent", "x-forwarded-for": "forwarded", "x-real-ip": "client"}
_CLF_DATE: Final = r"\d{1,2}/\w{3}/\d{4}:\d\d:\d\d:\d\d(?:[.,]\d+)?(?: [+-]\d{4})?"


def of_string(text: str, zone: ZoneInfo = UTC) -> Format:
    """A format given as nginx's `log_format` or Apache's `LogFormat` (and gunicorn's `access_log_format`) write it.

    :raises FormatError: it has no date or no request.
    """
    text = _unwrapped(text.strip()).replace("\\t", "\t").replace('\\"', '"')
    if text.startswith("{") and "$" in text:
        return _of_json(text, zone)
    pieces = list(_pieces_of_nginx(text) if "$" in text else _pieces_of_apache(text))
    _check(text, {name for name, _ in pieces if name})
    return Pattern(text, _expression(pieces), zone)


def _check(text: str, names: set[str]) -> None:
    if "date" not in names or not names & {"request", "target", "stem"}:
        raise FormatError(
            f"The format {text!r} names no {'request' if 'date' in names else 'date'}: it needs the time of a request "
            "($time_local, $time_iso8601 or $msec; %t) and its line or target ($request or $request_uri; %r or %U)."
        )


def _unwrapped(text: str) -> str:
    """The format of a whole line of a server's settings: `log_format main '...' '...';`, `LogFormat "..." combined`."""
    if match := re.fullmatch(r"log_format\s+\w+\s+(?:escape=\w+\s+)?(.*?);?", text, re.DOTALL):
        return "".join(first or second for first, second in re.findall(r"'([^']*)'|\"([^\"]*)\"", match[1])) or match[1]
    if match := re.fullmatch(r'(?:LogFormat|CustomLog\s+\S+)\s+"((?:[^"\\]|\\.)*)".*', text, re.DOTALL):
        return match[1]
    return text


def _of_json(text: str, zone: ZoneInfo) -> Format:
    try:
        template = json.loads(re.sub(r":\s*(\$\w+)", r':"\1"', text))
    except ValueError as error:
        raise FormatError(f"The format {text!r} is no JSON object: {error}") from None
    names = {path: _NAMES.get(value.strip("$ ").lower(), "") for path, value in _flat(template)}
    _check(text, set(names.values()))
    return Json(zone, {path: field for path, field in names.items() if field})


def _pieces_of_nginx(text: str) -> Iterator[tuple[str | None, str]]:
    """Fields (name here, or "" if nobody needs it) and the texts between, for which the name is None."""
    place = 0
    for match in _NGINX.finditer(text):
        yield None, text[place : match.start()]
        yield _NAMES.get(match[1].lower(), "") if match[1] != "host" else "", match[1]
        place = match.end()
    yield None, text[place:]


def _pieces_of_apache(text: str) -> Iterator[tuple[str | None, str]]:
    place = 0
    for match in _APACHE.finditer(text):
        yield None, text[place : match.start()]
        place = match.end()
        argument, gunicorn, letter = match.groups()
        if gunicorn is not None:
            place -= len(letter) if letter != "s" else 0
            yield _APACHE_NAMES.get("" if gunicorn == "a" else gunicorn, "agent" if gunicorn == "a" else ""), gunicorn
        elif letter == "i":
            yield _HEADERS.get((argument or "").lower(), ""), letter
        elif letter == "T" and argument:
            yield {"ms": "ms", "us": "microseconds", "s": "seconds"}.get(argument, ""), letter
        elif letter == "t" and argument:
            yield "date", "plain"
        else:
            yield _APACHE_NAMES.get(letter, ""), letter
    yield None, text[place:]


def _expression(pieces: Sequence[tuple[str | None, str]]) -> str:
    """One expression for the whole line; of a field that comes twice, the first counts."""
    parts, seen = [], set[str]()
    for number, (name, text) in enumerate(pieces):
        if name is None:
            parts.append(re.sub(r"(?:\\ )+", " +", re.escape(text)))
            continue
        before = pieces[number - 1][1][-1:] if number else ""
        after = pieces[number + 1][1][:1] if number + 1 < len(pieces) else ""
        value = _value(name, text, before, after)
        fresh = bool(name) and name not in seen
        seen.add(name)
        parts.append(f"(?P<{name}>{value})" if fresh else f"(?:{value})")
    return "".join(parts)


def _value(name: str, text: str, before: str, after: str) -> str:
    if before == after == '"':
        return r'[^"\\]*(?:\\.[^"\\]*)*'
    if name == "date" and text != "plain":
        return rf"\[?(?:{_CLF_DATE})\]?|[\dT:.,+Z-]+(?: ?[+-]\d\d:?\d\d)?" if before != "[" else r"[^\]]+"
    if not after:
        return ".*"
    if name == "forwarded":
        return r"[^\s,]*(?:, ?[^\s,]+)*"
    return f"[^{re.escape(after)}]*" if after != " " or name not in ("", "request") else ".*?"


# ---- which ---------------------------------------------------------------------------------------------------------

EXAMPLES: Final[Mapping[str, str]] = {
    "common": '203.0.113.9 - - [01/Nov/2026:10:00:00 +0000] "GET /a HTTP/1.1" 200 512 "https://from.example/" "Mozilla/5.0"',
    "json": '{"time": "2026-11-01T10:00:00Z", "remote_addr": "203.0.113.9", "request": "GET /a HTTP/1.1", "status": 200}',
    "w3c": "#Fields: date time c-ip cs-method cs-uri-stem sc-status",
    "alb": 'https 2026-11-01T10:00:00.1Z app/x 203.0.113.9:2817 10.0.0.1:80 0.0 0.04 0.0 200 200 225 100 "GET ..." "..."',
    "s3": 'owner bucket [01/Nov/2026:10:00:00 +0000] 203.0.113.9 - ID REST.GET.OBJECT a "GET /a HTTP/1.1" 200 - 100 ...',
    "haproxy": '203.0.113.9:55008 [01/Nov/2026:10:00:00.584] ft bk/s1 0/0/0/42/42 200 100 - - ---- 1/1/0/0/0 0/0 "GET ..."',
    "uwsgi": "[pid: 1|app: 0|req: 1/1] 203.0.113.9 () {38 vars in 696 bytes} [Sun Nov  1 10:00:00 2026] GET /a => ...",
    "uvicorn": '2026-11-01 10:00:00 INFO:     203.0.113.9:55130 - "GET /a HTTP/1.1" 200 OK',
    "heroku": '2026-11-01T10:00:00+00:00 heroku[router]: at=info method=GET path="/a" fwd="203.0.113.9" service=18ms ...',
}
"""Each format by its name, with a line of it."""


def _known(zone: ZoneInfo) -> dict[str, Callable[[], Format]]:
    known: dict[str, Callable[[], Format]] = {
        "common": lambda: Common(zone),
        "json": lambda: Json(zone),
        "w3c": lambda: W3C(zone),
        "heroku": lambda: Heroku(zone),
    }
    known.update({name: partial(Pattern, name, expression, zone) for name, expression in _PATTERNS.items()})
    return known


ALIASES: Final = {
    **dict.fromkeys(("combined", "nginx", "apache", "gunicorn", "werkzeug", "waitress", "hypercorn"), "common"),
    **dict.fromkeys(("caddy", "traefik", "cloudflare"), "json"),
    **dict.fromkeys(("iis", "cloudfront"), "w3c"),
    "elb": "alb",
}


def named(text: str, zone: ZoneInfo = UTC) -> Format:
    """The format called `text`, or written by it. `zone` is that of dates without one. Raises `FormatError`."""
    known, name = _known(zone), text.strip().lower()
    name = ALIASES.get(name, name)
    if name in known:
        return known[name]()
    if "$" in text or "%" in text:
        return of_string(text, zone)
    raise FormatError(
        f"The format is {text!r}, but must be one of {', '.join([*known, *ALIASES])}, or a format string as nginx "
        "('$remote_addr - - [$time_local] \"$request\" ...') or Apache ('%h %l %u %t \"%r\" ...') have it."
    )


def recognised(lines: Iterable[str], zone: ZoneInfo = UTC) -> Format | None:
    """The format in which most of a file's first lines are, as new; None: none of them is in any."""
    sample = list(lines)
    best: tuple[int, str] | None = None
    known = _known(zone)
    for name, make in known.items():
        reader, hits = make(), 0
        for line in sample:
            try:
                hits += reader(line) is not None
            except ValueError:  # noqa: PERF203
                continue
        if hits and (best is None or hits > best[0]):
            best = hits, name
            if hits > len(sample) * 0.9:
                break
    return known[best[1]]() if best else None


def explain(lines: Sequence[str]) -> str:
    """What to do about lines that are in no known format: what the first one looks like, and what is known."""
    first = next((line.strip() for line in lines if line.strip()), "")
    if any(_UVICORN_WITHOUT_DATE.search(line) for line in lines):
        return (
            "Its lines have no time, so nobody can tell when these requests were: uvicorn writes none unless told to "
            "(--log-config with %(asctime)s in the format of uvicorn.access)."
        )
    kinds = "\n".join(f"  {name:<8} {example[:110]}" for name, example in EXAMPLES.items())
    return (
        f"Its first line is: {first[:200]!r}\nKnown are:\n{kinds}\n"
        "Say which one it is with --format NAME, or how the lines are made, as nginx's log_format or Apache's LogFormat say it: "
        "--format '$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent'."
    )


_COMMON: Final = Common()


def parse_line(line: str) -> Entry:
    """The request that a line like Apache's or nginx's tells.

    What clients send that is no HTTP (a TLS greeting on the plain port, nothing at all) was answered too, with a 400
    or 408: it is an entry, without method and path, so that totals are those of the log.

    :raises ValueError: the line is in neither format, or its date does not exist; the message says which.
    """
    entry = _COMMON(line)
    assert entry is not None  # noqa: S101  (that format has no comments)
    return entry
