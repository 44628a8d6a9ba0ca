"""Filters: from a query string and back."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_statistics.dimensions import available
from flask_statistics.filters import MOST_VALUES, Condition, Filters, read_filters
from flask_statistics.models import KNOWN_COLUMNS

DIMENSIONS = available(dict.fromkeys(KNOWN_COLUMNS))

texts = {
    "status_code": st.integers(100, 999).map(str) | st.sampled_from(["4xx", "5xx", ""]),
    "device": st.sampled_from(["bot", "Mobile", ""]),
    "bot": st.sampled_from(["search", "ai", ""]),
    "content": st.sampled_from(["page", "API", ""]),
    "network": st.sampled_from(["192.0.2.0/24", "192.0.2.7", "2001:db8::/48", ""]),
}
any_text = st.text(max_size=20)
pairs = st.sampled_from(sorted(DIMENSIONS)).flatmap(
    lambda name: st.tuples(st.sampled_from([name, f"{name}!"]), texts.get(name, any_text))
)


@given(st.lists(pairs, max_size=12), st.text(max_size=20).map(str.strip))
def test_filters_come_back_from_their_query_string(pairs: list[tuple[str, str]], contains: str) -> None:
    filters, errors = read_filters([*pairs, ("q", contains)], DIMENSIONS)
    assert errors == []
    query = parse_qsl(urlencode(filters.query()), keep_blank_values=True)
    assert read_filters(query, DIMENSIONS) == (filters, [])
    assert bool(filters) == bool(pairs or contains)


@given(st.lists(pairs, min_size=1, max_size=8))
def test_filters_minus_every_value_are_none(pairs: list[tuple[str, str]]) -> None:
    filters, _ = read_filters(pairs, DIMENSIONS)
    for parameter, text in pairs:
        filters = filters.minus(parameter.removesuffix("!"), text, negated=parameter.endswith("!"))
    assert filters == Filters()


def test_read_filters_combines() -> None:
    query = [
        ("browser", "firefox"),
        ("path!", "/a"),
        ("browser", "safari"),
        ("browser", "firefox"),
        ("span", "7d"),
        ("x", ""),
    ]
    filters, errors = read_filters(query, DIMENSIONS)
    assert errors == []
    assert filters == Filters(
        (Condition("browser", ("firefox", "safari")), Condition("path", ("/a",), negated=True)),
    )
    assert filters.texts("browser") == ("firefox", "safari")
    assert filters.texts("path") == ()


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (
            ("status_code", "teapot"),
            "status_code is 'teapot', but must be a status code such as 404, or a class of them such as 5xx",
        ),
        (
            ("status_code!", "0xx"),
            "status_code! is '0xx', but must be a status code such as 404, or a class of them such as 5xx",
        ),
        (("device", "fridge"), "device is 'fridge', but must be one of bot, mobile, tablet, desktop, other"),
    ],
)
def test_read_filters_names_what_it_cannot_read(pair: tuple[str, str], message: str) -> None:
    filters, errors = read_filters([("browser", "firefox"), pair], DIMENSIONS)
    assert [str(error) for error in errors] == [message]
    assert filters == Filters((Condition("browser", ("firefox",)),))


def test_read_filters_is_bounded() -> None:
    filters, errors = read_filters([("path", f"/{number}") for number in range(MOST_VALUES + 5)], DIMENSIONS)
    assert len(filters.texts("path")) == MOST_VALUES
    assert [str(error) for error in errors] == [
        f"path is '/{number}', but must be given at most {MOST_VALUES} times"
        for number in range(MOST_VALUES, MOST_VALUES + 5)
    ]


def test_filters_change() -> None:
    filters = Filters().and_("browser", "firefox").and_("browser", "safari").and_("path", "/a", negated=True)
    assert filters.query() == [("browser", "firefox"), ("browser", "safari"), ("path!", "/a")]
    assert filters.only("browser", "edge").query() == [("path!", "/a"), ("browser", "edge")]
    assert filters.without("path").query() == [("browser", "firefox"), ("browser", "safari")]
    assert filters.minus("browser", "firefox").query() == [("browser", "safari"), ("path!", "/a")]


def test_condition_values() -> None:
    status = Condition("status_code", ("404", "5xx", ""))
    assert status.values(DIMENSIONS["status_code"]) == {404, None, *range(500, 600)}
    assert Condition("browser", ("Firefox",)).values(DIMENSIONS["browser"]) == {"firefox"}
