"""Records as lines: what is read is what was written, and what is none is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime, timezone
from decimal import Decimal
from http import HTTPStatus
from math import inf, isnan, nan
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_statistics.record import Record
from flask_statistics.writers.spool.lines import FIELDS, UNREADABLE, decode, encode

RECORD = Record(
    date=datetime(2026, 11, 22, 14, 37, 12, 345678),
    method="GET",
    path="/",
    user_agent="curl/8",
    status_code=200,
    size=5,
    response_time=0.25,
)
LINE = (
    b'["2026-11-22T14:37:12.345678","GET","/",null,null,null,"curl/8",null,200,5,null,null,null,0.25'
    b",null,null,null,null,null,null,null,null,null,null,null,null,null,null]"
)


def test_line_is_the_values_in_the_order_of_the_fields() -> None:
    assert encode(RECORD) == LINE
    assert decode([LINE, LINE], FIELDS) == [RECORD, RECORD]


@given(
    st.builds(
        Record,
        date=st.datetimes(),
        method=st.text(),
        path=st.text(),
        route=st.none() | st.text(),
        query_string=st.none() | st.text(),
        remote_address=st.none() | st.text(),
        user_agent=st.text(),
        referrer=st.none() | st.text(),
        status_code=st.integers(),
        size=st.none() | st.integers(),
        response_time=st.floats(allow_nan=False, allow_infinity=False),
        own=st.none()
        | st.dictionaries(st.text(), st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text()),
    )
)
def test_line_gives_back_what_was_written(record: Record) -> None:
    line = encode(record)
    assert b"\n" not in line
    assert not line.endswith(b"\x18")
    assert decode([line], FIELDS) == [record]


@pytest.mark.parametrize(
    "value",
    [
        True,
        7,
        0.5,
        "a",
        None,
        datetime(2026, 11, 22, 1, 2, 3, 4),
        datetime(2026, 11, 22, tzinfo=timezone.utc),
        date(2026, 11, 22),
        Decimal("1.50"),
        UUID(int=1),
        inf,
        -inf,
    ],
)
def test_line_gives_back_values_of_the_hosts_own_columns(value: Any) -> None:
    (found,) = decode([encode(replace(RECORD, own={"x": value}))], FIELDS)
    assert found.own == {"x": value}
    assert type(found.own["x"]) is type(value)


def test_line_gives_back_what_is_no_number() -> None:
    (found,) = decode([encode(replace(RECORD, own={"x": nan}))], FIELDS)
    assert found.own is not None
    assert isnan(found.own["x"])


class Moment(datetime):
    """As a test's clock gives it."""


class Text(str):
    __slots__ = ()


class Seconds(float):
    """As NumPy's."""


def test_line_has_values_of_subclasses_as_those_of_their_bases() -> None:
    own = {"x": Text("a")}
    record = replace(
        RECORD,
        date=Moment(2026, 11, 22, 14, 37, 12, 345678),
        path=Text("/"),
        status_code=HTTPStatus.OK,
        response_time=Seconds(0.25),
        own=own,
    )
    (found,) = decode([encode(record)], FIELDS)
    assert found == replace(RECORD, own={"x": "a"})
    assert {type(found.date), type(found.path), type(found.status_code)} == {datetime, str, int}


def test_line_cannot_have_what_is_no_value() -> None:
    with pytest.raises(TypeError, match="a record cannot have"):
        encode(replace(RECORD, own={"x": object()}))


def test_line_has_what_is_unicode_of_a_text() -> None:
    line = encode(replace(RECORD, path="/\ud800", exception="\udfff\N{GREEK SMALL LETTER ALPHA}", own={"x": "\ud800"}))
    (found,) = decode([line], FIELDS)
    assert (found.path, found.exception, found.own) == ("/?", "?\N{GREEK SMALL LETTER ALPHA}", {"x": "?"})


def test_line_of_before_is_read_by_its_own_fields() -> None:
    fields = json.dumps(["date", "path", "method", "mood"])
    (found,) = decode([b'["2026-11-22T14:37:12","\\u002f","GET","good"]'], fields)
    assert found == Record(date=datetime(2026, 11, 22, 14, 37, 12), method="GET", path="/")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"1,2",
        b"\xff",
        b"null",
        LINE[:-1],
        LINE[1:],
        LINE + LINE,
        LINE.replace(b",null]", b"]"),
        LINE.replace(b",null]", b",null,null]"),
        LINE.replace(b"678", b"678Z"),
        LINE.replace(b"678", b"678+01:00"),
        LINE.replace(b'"2026-11-22T14:37:12.345678"', b"7"),
        LINE.replace(b"200", b'"200"'),
        LINE.replace(b"200", b"true"),
        LINE.replace(b"200", b"200.5"),
        LINE.replace(b"0.25", b"NaN"),
        LINE.replace(b"0.25", b"null"),
        LINE.replace(b'"GET"', b"null"),
        LINE.replace(b'"/"', b'"\\ud800"'),
        LINE.replace(b"null]", b'{"x":{}}]'),
        LINE.replace(b"null]", b'{"x":{"decimal":"y"}}]'),
        LINE.replace(b"null]", b'{"x":{"mood":"good"}}]'),
        LINE.replace(b"null]", b'{"x":' + b"[" * 5_000 + b"]" * 5_000 + b"}]"),
    ],
)
def test_line_that_is_no_record_is_refused(line: bytes) -> None:
    with pytest.raises(UNREADABLE):
        decode([LINE, line], FIELDS)


def test_line_without_what_every_record_has_is_refused() -> None:
    with pytest.raises(UNREADABLE):
        decode([b'["2026-11-22T14:37:12"]'], '["date"]')
