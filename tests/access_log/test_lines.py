"""Lines of access logs, as Apache and nginx write them."""

import gzip
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from flask_statistics.access_log.formats import parse_line
from flask_statistics.access_log.lines import Entry
from flask_statistics.access_log.reading import open_log, read_lines

SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "access-sample.log"
START = "192.0.2.7 - - [17/May/2015:10:05:03 +0000]"
COMMON = f'{START} "GET /a?b=1 HTTP/1.1" 200 512'
ENTRY = Entry(
    date=datetime(2015, 5, 17, 10, 5, 3),
    remote_address="192.0.2.7",
    method="GET",
    path="/a",
    query_string="b=1",
    status_code=200,
    size=512,
    referrer="http://x.example/?q=1",
    user_agent="curl/8.4.0",
)
COMBINED = f'{COMMON} "http://x.example/?q=1" "curl/8.4.0"'


def entry(request: str) -> Entry:
    return parse_line(f'{START} "{request}" 400 0 "-" "-"\n')


@pytest.mark.parametrize(
    "line",
    [
        COMBINED,
        COMBINED + "\r\n",
        COMBINED + ' "10.0.0.1"',
        "shop.example:443 " + COMBINED,
        "shop.example " + COMBINED,
        COMBINED.replace("192.0.2.7", "192.0.2.7, 10.1.2.3", 1),
        COMBINED.replace("- - [", "- john [smith] [", 1),
    ],
)
def test_parse_line_combined(line: str) -> None:
    assert parse_line(line) == ENTRY


@pytest.mark.parametrize("line", [COMMON, COMMON + " 4", COMMON + ' "-" "-"'])
def test_parse_line_common(line: str) -> None:
    assert parse_line(line) == ENTRY._replace(referrer=None, user_agent="")


def test_parse_line_ipv6_and_vhost() -> None:
    address = "2001:db8::7"
    assert parse_line(COMBINED.replace("192.0.2.7", address)).remote_address == address
    assert parse_line("shop.example:80 " + COMBINED.replace("192.0.2.7", address)).remote_address == address


def test_parse_line_dashes() -> None:
    found = parse_line('- - - [17/May/2015:10:05:03 +0000] "-" 408 - "-" "-"')
    assert found == Entry(datetime(2015, 5, 17, 10, 5, 3), None, None, None, None, 408, 0, None, "")


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("17/May/2015:10:05:03 +0200", datetime(2015, 5, 17, 8, 5, 3)),
        ("31/Dec/2015:20:05:03 -0730", datetime(2016, 1, 1, 3, 35, 3)),
        ("30/Jun/2015:23:59:60 +0000", datetime(2015, 7, 1)),
    ],
)
def test_parse_line_date(text: str, date: datetime) -> None:
    assert parse_line(COMBINED.replace("17/May/2015:10:05:03 +0000", text)).date == date


@pytest.mark.parametrize(
    ("request_line", "method", "path", "query"),
    [
        ("GET / HTTP/1.1", "GET", "/", None),
        ("GET /? HTTP/2.0", "GET", "/", None),
        ("get /a HTTP/1.1", "GET", "/a", None),
        ("GET /caf%C3%A9/%ff%20b?q=%20 HTTP/1.1", "GET", "/café/\ufffd b", "q=%20"),
        (r"GET /caf\xc3\xa9?q=\x22 HTTP/1.1", "GET", "/café", 'q="'),
        (r"GET /\"a\\b\" HTTP/1.1", "GET", '/"a\\b"', None),
        ("GET /a b HTTP/1.1", "GET", "/a b", None),
        ("GET //a//b HTTP/1.1", "GET", "/a//b", None),
        ("GET /a#b?c HTTP/1.1", "GET", "/a", None),
        ("GET http://x.example/a?b HTTP/1.1", "GET", "/a", "b"),
        ("GET HTTPS://x.example?b HTTP/1.1", "GET", "/", "b"),
        ("GET a.html HTTP/1.0", "GET", "/a.html", None),
        ("GET /old", "GET", "/old", None),
        ("OPTIONS * HTTP/1.1", "OPTIONS", "*", None),
        ("CONNECT x.example:443 HTTP/1.1", "CONNECT", "x.example:443", None),
        ("M-SEARCH /a HTTP/1.1", "M-SEARCH", "/a", None),
        ("", None, None, None),
        ("-", None, None, None),
        ("GET", None, None, None),
        ("t3 12.1.2", None, None, None),
        (r"\x16\x03\x01\x02\x00 \x01 HTTP/1.1", None, None, None),
        (r"\x16\x03\x01\x00\xee\x01\n\"", None, None, None),
    ],
)
def test_parse_line_request(request_line: str, method: str | None, path: str | None, query: str | None) -> None:
    found = entry(request_line)
    assert (found.method, found.path, found.query_string, found.status_code) == (method, path, query, 400)


def test_parse_line_path_is_what_werkzeug_says() -> None:
    for target in ("/caf%C3%A9/%ff%E2%82", "//a//b%2Fc", "/%25%3f+%00;x", "/%zz%"):
        environ = EnvironBuilder().get_environ() | {"PATH_INFO": unquote_to_bytes(target).decode("latin1")}
        assert entry(f"GET {target} HTTP/1.1").path == Request(environ).path


def test_parse_line_unescapes_referrer_and_user_agent() -> None:
    found = parse_line(COMMON + r' "http://x.example/\xd0\xb6" "My \"app\"\t\\1"')
    assert (found.referrer, found.user_agent) == ("http://x.example/ж", 'My "app"\t\\1')


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("\n", "empty line"),
        ("hello", "not in the common or combined log format"),
        (COMMON[:-3], "not in the common or combined log format"),
        (COMBINED.replace(" 200 ", " - "), "not in the common or combined log format"),
        (COMBINED.replace("17/May", "31/Jun"), "there is no date '31/Jun/2015:10:05:03 +0000'"),
        (COMBINED.replace("17/May", "17/Mai"), "there is no date '17/Mai/2015:10:05:03 +0000'"),
        (COMBINED.replace(":05:03", ":05:61"), "there is no date '17/May/2015:10:05:61 +0000'"),
        (COMBINED.replace("17/May/2015:10:05:03 +", "01/Jan/0001:00:05:03 +1"), None),
    ],
)
def test_parse_line_malformed(line: str, reason: str | None) -> None:
    with pytest.raises(ValueError, match=r".+") as error:
        parse_line(line)
    assert reason in (None, str(error.value))


def test_parse_line_of_spaces_takes_no_time() -> None:
    request = "GET /" + " " * 200_000 + "x"
    started = time.thread_time()
    entry = parse_line(f'192.0.2.7 - - [17/May/2026:10:00:00 +0000] "{request}" 400 0 "-" "-"')
    assert time.thread_time() - started < 5  # one look at each pair of spaces would take minutes
    assert (entry.method, entry.path) == ("GET", request[4:])


def test_open_log_knows_gzip_by_its_bytes(tmp_path: Path) -> None:
    content = b"caf\xc3\xa9\nb\xff\rc\r\n\nlast"
    plain, compressed = tmp_path / "a.log.gz", tmp_path / "a.log"
    plain.write_bytes(content)
    compressed.write_bytes(gzip.compress(content[:9]) + gzip.compress(content[9:]))
    assert list(open_log(plain)) == ["café\n", "b\ufffd\rc\r\n", "\n", "last"]
    assert list(open_log(compressed)) == list(open_log(str(plain)))


def test_open_log_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert list(open_log(tmp_path / "empty")) == []


def test_open_log_damaged_gzip_gives_the_lines_before(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"".join(b"line %d\n" % number for number in range(100_000)))[:-20_000])
    lines = open_log(path)
    assert next(lines) == "line 0\n"
    with pytest.raises(ValueError, match=r"^the compressed data are damaged or end early: "):
        list(lines)


def test_open_log_splits_overlong_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"x" * (3 << 20))
    assert [len(line) for line in open_log(path)] == [1 << 20] * 3


def test_read_lines_leaves_the_file_open(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"a\nb\n")
    with path.open("rb") as file:
        assert list(read_lines(file)) == ["a\n", "b\n"]
        assert file.tell() == 4


@pytest.mark.skipif(not SAMPLE.exists(), reason="the sample of a real access log is not in ../shared/data")
def test_parse_line_real_log() -> None:
    entries = [parse_line(line) for line in open_log(SAMPLE)]
    assert Counter(entry.status_code for entry in entries) == {
        200: 4450,
        304: 305,
        301: 113,
        404: 108,
        206: 21,
        500: 2,
        403: 1,
    }
    assert Counter(entry.method for entry in entries) == {"GET": 4980, "HEAD": 20}
    assert sum(entry.size for entry in entries) == 1_312_869_333
    assert len({entry.remote_address for entry in entries}) == 965
    assert (entries[0].date, entries[-1].date) == (datetime(2015, 5, 17, 10, 5, 3), datetime(2015, 5, 19, 3, 5, 14))
