"""The column `story`: written, read, and whatever else may be in it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_statistics.timing.story import (
    LONGEST,
    LONGEST_TEXT,
    MOST,
    Call,
    Line,
    Statement,
    Story,
    dump,
    load,
    worth_telling,
)

STATEMENT = Statement("0a" * 16, "SELECT ? FROM ware", "shop/views.py:41", 12, 3400, 900)
CALL = Call("GET", "api.example:8443", 2, 40_000, 30_000)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["statements", "calls", "more_calls", "x"]), inner),
)


def test_dump_is_read_as_it_was() -> None:
    story = Story((STATEMENT,), (CALL,), more_statements=3, more_calls=1)
    text = dump(story)
    assert text is not None
    assert load(text) == story
    assert list(json.loads(text)) == ["statements", "more_statements", "calls", "more_calls"]


def test_dump_of_nothing_is_none() -> None:
    assert dump(Story(more_statements=5)) is None


def test_dump_cuts_a_long_text() -> None:
    long = Statement("0a" * 16, "x" * 2_000, None, 1, 2_000, 2_000)
    (read,) = load(dump(Story((long,)))).statements
    assert len(read.text) == LONGEST_TEXT
    assert read.place is None


def test_dump_of_the_most_stays_some_kilobytes() -> None:
    long = Statement("0a" * 16, "x" * 2_000, "p" * 200, 2**40, 2**50, 2**50)
    text = dump(Story((long,) * MOST, (Call("OPTIONS", "h" * 255, 2**40, 2**50, 2**50),) * MOST))
    assert text is not None
    assert len(text) < 25_000


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", "[", "[]", "7", '"x"', "null", "{}", '{"statements":7,"calls":{"a":1},"more_calls":-1}', 5, b"{}"),
        '{"statements":[["a","b","c",1,2]],"calls":[["GET",null,1,2,3],["GET","h",true,2,3],["GET","h",-1,2,3]]}',
        "[" * 100_000,
    ],
)
def test_load_of_what_is_no_story_is_empty(text: object) -> None:
    assert load(text) == Story()


def test_load_keeps_what_can_be_read() -> None:
    assert load('{"logs":[1],"statements":[[],["0a","SELECT ?",null,1,2000,2000]]}') == Story(
        (Statement("0a", "SELECT ?", None, 1, 2000, 2000),)
    )


@given(JSON.map(json.dumps) | st.text())
def test_load_takes_whatever_is_stored(text: str) -> None:
    assert isinstance(load(text), Story)


def test_worth_telling_is_what_took_long_or_came_often() -> None:
    calls = [Call("GET", "a", 1, 999, 999), Call("GET", "b", 10, 20, 2), Call("GET", "c", 1, 1_000, 1_000)]
    told, more = worth_telling(calls)
    assert [call.host for call in told] == ["c", "b"]
    assert more == 1
    assert told[1].is_many


def test_worth_telling_counts_what_is_beyond_the_most() -> None:
    told, more = worth_telling([Call("GET", str(number), 1, 5_000 + number, 1) for number in range(30)])
    assert (len(told), more) == (MOST, 10)
    assert told[0].host == "29"


def test_dump_leaves_out_what_does_not_fit_into_the_column() -> None:
    statements = tuple(Statement(str(number), "ü" * 500, None, 1, 5_000, 5_000) for number in range(MOST))
    text = dump(Story(statements, lines=tuple(Line("WARNING", "shop", "x" * 900) for _ in range(50))))
    assert text is not None
    assert len(text) <= LONGEST
    found = load(text)
    assert (found.lines, found.more_lines) == ((), 50)
    assert 0 < len(found.statements) < MOST
    assert len(found.statements) + found.more_statements == MOST
