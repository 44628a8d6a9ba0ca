"""Formats of access logs: each line that docs/import.md shows, and what servers and their users really write."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import pytest

from flask_statistics.access_log.formats import FormatError, named, of_string, recognised
from flask_statistics.access_log.lines import Entry

DOCS = Path(__file__).parents[2] / "docs" / "import.md"
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0"
CORE = f'[01/Nov/2026:10:00:00 +0000] "GET /a?x=1 HTTP/1.1" 200 100 "-" "{AGENT}"'
CLIENT = "203.0.113.9"


def read(*lines: str) -> Entry:
    """What the last of `lines` tells, in the format that is recognised."""
    reader = recognised(lines)
    assert reader is not None
    return [reader(line) for line in lines][-1]  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("front", "client"),
    [
        (f"{CLIENT} - - ", CLIENT),
        (f"web-1  | {CLIENT} - - ", CLIENT),
        (f"2026-11-01T10:00:00.000000+00:00 app[web.1]: {CLIENT} - - ", CLIENT),
        (f"Nov  1 10:00:00 web1 gunicorn[812]: {CLIENT} - - ", CLIENT),
        (f"Nov  1 10:00:00 10.0.0.5 nginx: {CLIENT} - - ", CLIENT),
        (f"<134>Nov  1 10:00:00 lb1 haproxy[6801]: {CLIENT} - - ", CLIENT),
        (f"2026-11-01T10:00:00Z {CLIENT} - - ", CLIENT),
        (f"[2026-11-01 10:00:00 +0000] [25320] [INFO] {CLIENT}:60056 - - ", CLIENT),
        (f"www.example.org:80 {CLIENT} - - ", CLIENT),
        (f"www.example.org {CLIENT}, 10.1.2.3 - - ", CLIENT),
        (f'"{CLIENT}, 10.1.2.3" 10.0.0.9 - - ', CLIENT),
        (f"{CLIENT} 10.1.2.3 - - ", CLIENT),
        ("www.example.org:80 dialin-9.isp.example - - ", "dialin-9.isp.example"),
        ("dialin-9.isp.example - jo [x] ", "dialin-9.isp.example"),
        (" - - ", None),
        ("- - - ", None),
        ("unix: - - ", None),
        (f"\ufeff{CLIENT} - - ", CLIENT),
        (f"\0\0\0{CLIENT} - - ", CLIENT),
        ("[2001:DB8::1]:443 - - ", "2001:db8::1"),
        (f"::ffff:{CLIENT} - Jo Doe ", CLIENT),
    ],
)
def test_client_is_right_before_identity_and_user(front: str, client: str | None) -> None:
    found = read(front + CORE)
    assert (found.remote_address, found.path, found.user_agent) == (client, "/a", AGENT)


@pytest.mark.parametrize(
    ("line", "seconds", "agent"),
    [
        (CORE, None, AGENT),
        (CORE + " 0.250 0.249", 0.25, AGENT),
        (CORE + ' rt=1.500 uct="0.001"', 1.5, AGENT),
        (CORE + ' "-" request_time=0.5', 0.5, AGENT),
        (CORE + " 0.042123", 0.042123, AGENT),
        (CORE + ' 5 "router@docker" "http://10.0.0.2:80" 2ms', 0.002, AGENT),
        (CORE + " 4711", None, AGENT),  # microseconds, or bytes: --format says
        (CORE.replace(' 100 "-"', ' 100 0.042 "-"'), 0.042, AGENT),
        (CORE.replace(' 100 "-"', ' 100 0.042 1 "-"'), 0.042, AGENT),
        (CORE[:-20], None, AGENT[:-19]),
        (CORE.replace(AGENT, 'evil "quoted" agent'), None, 'evil "quoted" agent'),
        (CORE.replace(AGENT, r"back\slash\bin"), None, r"back\slash\bin"),
        (CORE.replace(AGENT, r"\x22quoted\x22 \\ once"), None, '"quoted" \\ once'),
        (CORE.replace('] "GET', '] "www.example.org" "GET'), None, AGENT),
        (CORE.replace('] "GET', '] www.example.org "GET'), None, AGENT),
        (CORE.replace("01/Nov/2026:10:00:00 +0000", "2026-11-01T11:00:00+01:00"), None, AGENT),
        (CORE.replace("01/Nov/2026:10:00:00 +0000", "1/Nov/2026:10:00:00.123 +0000"), None, AGENT),
        (CORE.replace("01/Nov/2026:10:00:00 +0000", "01/Nov/2026 10:00:00"), None, AGENT),
    ],
)
def test_what_stands_between_and_behind(line: str, seconds: float | None, agent: str) -> None:
    found = read(f"{CLIENT} - - {line}")
    assert (found.date, found.path, found.size) == (datetime(2026, 11, 1, 10), "/a", 100)
    assert (found.response_time, found.user_agent, found.remote_address) == (seconds, agent, CLIENT)


def test_request_of_gunicorn_keeps_its_backslashes() -> None:
    line = CORE.replace("/a?x=1", r"/back\slash\bin\new")
    assert read(f"{CLIENT} - - {line}").path == r"/back\slash\bin\new"


def test_colours_of_werkzeug_are_left_out() -> None:
    found = read('127.0.0.1 - - [01/Nov/2026 10:00:00] "\x1b[33mGET /missing HTTP/1.1\x1b[0m" 404 -')
    assert (found.path, found.status_code, found.size) == ("/missing", 404, 0)


def documented() -> list[tuple[str, list[str]]]:
    """Name and lines of each format that the docs show."""
    blocks = re.findall(r"\*\*`(\w+)`\*\*.*?\n```\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    return [(name, block.splitlines()) for name, block in blocks]


@pytest.mark.parametrize(("name", "lines"), documented(), ids=[name for name, _ in documented()])
def test_documented_lines_are_recognised(name: str, lines: list[str]) -> None:
    reader = recognised(lines)
    assert reader is not None
    assert reader.name == name
    asked = named(name)
    for line in lines:
        found = reader(line)
        assert asked(line) == found
        if line.startswith("#"):
            continue
        assert found is not None
        assert (found.date, found.remote_address, found.method) == (datetime(2026, 11, 1, 10), CLIENT, "GET")
        assert (found.path, found.status_code) == ("/a", 200)
        assert found.query_string in (None, "x=1")


@pytest.mark.parametrize(
    ("text", "line", "seconds"),
    [
        (
            '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" '
            '"$http_user_agent" $request_time',
            f"{CLIENT} - jo {CORE} 0.042",
            0.042,
        ),
        (
            '$host $remote_addr [$time_iso8601] $status "$request" $body_bytes_sent "$http_user_agent"',
            f'www.example.org {CLIENT} [2026-11-01T10:00:00+00:00] 200 "GET /a?x=1 HTTP/1.1" 100 "{AGENT}"',
            None,
        ),
        (
            "$msec\\t$remote_addr\\t$request_method\\t$request_uri\\t$status\\t$body_bytes_sent\\t$http_user_agent",
            f"1793527200.123\t{CLIENT}\tGET\t/a?x=1\t200\t100\t{AGENT}",
            None,
        ),
        (
            '$http_x_forwarded_for - [$time_local] "$request" $status $body_bytes_sent "$http_user_agent"',
            f'{CLIENT}, 10.0.0.1 - [01/Nov/2026:10:00:00 +0000] "GET /a?x=1 HTTP/1.1" 200 100 "{AGENT}"',
            None,
        ),
        ('%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i" %D', f"{CLIENT} - jo doe {CORE} 42000", 0.042),
        ('%h %l %u %t "%r" %>s %O "%{Referer}i" "%{User-Agent}i" %T', f"{CLIENT} - - {CORE} 2", 2.0),
        (
            "log_format main '$remote_addr - $remote_user [$time_local] \"$request\" '\n"
            '    \'$status $body_bytes_sent "$http_referer" "$http_user_agent"\';',
            f"{CLIENT} - - {CORE}",
            None,
        ),
        (
            r'LogFormat "%h %l %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-Agent}i\"" combined',
            f"{CLIENT} - - {CORE}",
            None,
        ),
        ('%a %t "%m %U%q %H" %s %B "%{User-Agent}i" %{ms}T', "", 0.042),
        ('%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s" %(L)s', f"{CLIENT} - - {CORE} 0.042", 0.042),
        (
            '{"when": "$time_iso8601", "who": "$remote_addr", "line": "$request", "code": $status, '
            '"bytes": $body_bytes_sent, "ua": "$http_user_agent", "took": $request_time}',
            f'{{"when": "2026-11-01T10:00:00Z", "who": "{CLIENT}", "line": "GET /a?x=1 HTTP/1.1", "code": 200, '
            f'"bytes": 100, "ua": "{AGENT}", "took": 0.042}}',
            0.042,
        ),
    ],
)
def test_format_strings(text: str, line: str, seconds: float | None) -> None:
    line = line or f'{CLIENT} [01/Nov/2026:10:00:00 +0000] "GET /a?x=1 HTTP/1.1" 200 100 "{AGENT}" 42'
    expected = (datetime(2026, 11, 1, 10), CLIENT, "GET", "/a", "x=1", 200, 100, None, AGENT, seconds)
    assert tuple(of_string(text)(line + "\n") or ()) == expected


@pytest.mark.parametrize("text", ["$remote_addr $status", "%h %s", "xml", '{"a": "$status"}', ""])
def test_format_strings_that_say_too_little(text: str) -> None:
    with pytest.raises(FormatError, match=r"date|must be one of"):
        named(text)(CORE)


@pytest.mark.parametrize("lines", [[], [""], ["hello\n", "world"], ["{}"], ["{" * 9_999], ["#Fields: x\n", "1\n"]])
def test_what_is_no_log_is_not_recognised(lines: list[str]) -> None:
    assert recognised(lines) is None
