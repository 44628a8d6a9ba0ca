"""Lines of Apache's and nginx's access logs as fields of the raw table.

Reads log files, plain or compressed by gzip, and writes nothing. Known are the "combined" and the "common" format; a
virtual host in front and further fields at the end are ignored. What happens to a malformed line, and to a file that
was imported before, is the caller's business: `parse_line` says why a line is none, `digests` name a file.
"""

import gzip
import hashlib
import re
import zlib
from collections.abc import Collection, Generator, Iterator
from datetime import datetime, timedelta
from functools import lru_cache, partial
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from .addresses import logged_client

MAX_LINE: Final = 1 << 20
"""Characters of a line read at once. Servers refuse far shorter requests; a file without line ends stays readable."""

_CHUNK_BYTES: Final = 1 << 20
_GZIP_MAGIC: Final = b"\x1f\x8b"

_QUOTED: Final = r'"([^"\\]*(?:\\.[^"\\]*)*)"'
_LINE: Final = re.compile(
    r"(?:[^\s,]+ (?=[0-9A-Fa-f]*[.:][0-9A-Fa-f.:]* ))?"  # virtual host, if an address follows
    r"([^\s,]+),? "  # address; or the first one of X-Forwarded-For
    r".*?\[([^\]:]{11}:\d\d:\d\d):(\d\d) ([+-]\d{4})\] "  # after identity and user, who may have spaces
    rf"{_QUOTED} (\d{{3}}) (\d{{1,18}}|-)"
    rf'(?: {_QUOTED} {_QUOTED}(?: .*)?| [^"].*)?'  # a quote that opens and never closes is a line cut off
)
_METHOD: Final = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
_PROTOCOL: Final = re.compile(r"HTTP/\d(?:\.\d)?", re.ASCII)
_ORIGIN: Final = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
_ESCAPE: Final = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_ESCAPED: Final = {b"b": b"\b", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_SECONDS: Final = {f"{second:02}": timedelta(seconds=second) for second in range(61)}  # 60: a leap second


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
    status_code: int
    size: int
    """Bytes of the answer's body; 0 for "-", by which Apache means none."""
    referrer: str | None
    """`None` if not sent."""
    user_agent: str
    """Empty if not sent, and in the common format, which leaves it out."""


def parse_line(line: str) -> Entry:
    """The request that a line of an access log tells.

    What clients send that is no HTTP (a TLS greeting on the plain port, nothing at all) was answered too, with a 400
    or 408: it is an entry, without method and path, so that totals are those of the log.

    :raises ValueError: the line is in neither format, or its date does not exist; the message says which.
    """
    line = line.rstrip("\r\n")
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError("not in the common or combined log format" if line.strip() else "empty line")
    address, minute, second, offset, request, status_code, size, referrer, user_agent = match.groups()
    try:
        date = _minute(minute, offset) + _SECONDS[second]
    except (ValueError, KeyError, OverflowError):
        raise ValueError(f"there is no date '{minute}:{second} {offset}'") from None
    method, path, query_string = _split_request(_unescape(request) if "\\" in request else request)
    return Entry(
        date,
        logged_client(address),
        method,
        path,
        query_string,
        int(status_code),
        0 if size == "-" else int(size),
        _text(referrer) or None,
        _text(user_agent),
    )


@lru_cache(maxsize=64)
def _minute(minute: str, offset: str) -> datetime:
    """The start of a minute in naive UTC. Lines come nearly in order, so few minutes need to be kept."""
    day, month, year, hour, minutes = minute[:2], minute[3:6], minute[7:11], minute[12:14], minute[15:]
    east = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:]))
    # strptime with %b would ask the locale for the names of months
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    local = datetime(int(year), months.index(month) + 1, int(day), int(hour), int(minutes))
    return local + east if offset[0] == "-" else local - east


def _split_request(request: str) -> tuple[str | None, str | None, str | None]:
    """Method, path and query string of a request line; three times `None` if it is none."""
    parts = request.split(" ")
    if len(parts) == 3 and parts[1].startswith("/") and parts[2].startswith("HTTP/") and parts[0].isalpha():
        method, target = parts[0], parts[1]
    else:
        # no expression for the whole: clients send spaces by the thousand, and it would look at each as often
        method, _, rest = request.rstrip(" ").partition(" ")
        target, _, protocol = rest.lstrip(" ").rpartition(" ")
        if not target or not _PROTOCOL.fullmatch(protocol):
            target, protocol = rest.lstrip(" "), ""
        # only HTTP/0.9 names no protocol, and it knows only GET
        if not (protocol or method == "GET") or not _METHOD.fullmatch(method):
            return None, None, None
        if not target or target[0].isspace() or "\n" in target:
            return None, None, None
        target = target.rstrip(" ")
    method = method.upper()
    if method == "CONNECT" or target == "*":
        return method, target, None
    path, _, query_string = target.partition("#")[0].partition("?")
    if not path.startswith("/"):
        path = _ORIGIN.sub("", path, count=1)
    if "%" in path:
        path = unquote_to_bytes(path).decode("utf-8", errors="replace")
    return method, "/" + path.lstrip("/"), query_string or None


def _text(field: str | None) -> str:
    """A quoted field; empty if it is missing or "-"."""
    if field is None or field == "-":
        return ""
    return _unescape(field) if "\\" in field else field


def _unescape(field: str) -> str:
    r"""Undo what Apache (\", \\, \n, \xhh) and nginx (\xhh) do to quotes, control characters and all beyond ASCII."""
    return _ESCAPE.sub(_escaped, field.encode()).decode("utf-8", errors="replace")


def _escaped(match: re.Match[bytes]) -> bytes:
    if match[1] is not None:
        return bytes.fromhex(match[1].decode())
    return _ESCAPED.get(match[2], match[2])


def open_log(path: str | Path) -> Iterator[str]:
    """The lines of a log file, as `read_lines` gives them."""
    with Path(path).open("rb") as file:
        yield from read_lines(file)


def read_lines(file: BufferedReader) -> Generator[str]:
    """The lines of a log file opened as bytes, read bit by bit; `file.tell()` shows how far that is, for progress.

    gzip is known by its first bytes, not by the file's name. Bytes that are not UTF-8 become U+FFFD.

    :raises ValueError: the compressed data are damaged or end early. All lines before were given.
    """
    compressed = file.peek(len(_GZIP_MAGIC)).startswith(_GZIP_MAGIC)
    source = gzip.GzipFile(fileobj=file) if compressed else file
    # only "\n" ends a line: clients can send other line ends, and not every server escapes them
    text = TextIOWrapper(source, encoding="utf-8", errors="replace", newline="\n")
    try:
        yield from iter(partial(text.readline, MAX_LINE), "")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"the compressed data are damaged or end early: {error}") from error
    finally:
        text.detach()  # the file belongs to the caller


def digests(path: str | Path, lengths: Collection[int]) -> dict[int, str]:
    """SHA-256 of the file's first bytes, as many as each of `lengths` says, as 64 hexadecimal digits.

    The same file has the same, whatever its name; one that has grown since still has that of its old length.
    """
    sha256, done, found = hashlib.sha256(), 0, {}
    with Path(path).open("rb") as file:
        for length in sorted(lengths):
            while done < length and (chunk := file.read(min(_CHUNK_BYTES, length - done))):
                sha256.update(chunk)
                done += len(chunk)
            found[length] = sha256.hexdigest()
    return found
