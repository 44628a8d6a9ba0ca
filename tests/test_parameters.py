"""Names of query parameters: each unknown one is named, with the nearest that there is."""

from __future__ import annotations

import pytest
from werkzeug.datastructures import MultiDict

from flask_statistics.parameters import NAMES, mistakes, unknown

DIMENSIONS = ("path", "browser", "status_code", "tenant")


def test_unknown_knows_every_parameter_and_filter() -> None:
    assert unknown([*NAMES, *DIMENSIONS, *(f"{name}!" for name in DIMENSIONS)], DIMENSIONS) == []


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("staus_code", "status_code"),
        ("Browser", "browser"),
        ("browser!!", "browser"),
        ("tennant", "tenant"),
        ("spam", "span"),
        ("serach", "search"),
        ("", None),
        ("utm_source", None),
        ("q!", "q"),
        ("x" * 500, None),
    ],
)
def test_unknown_names_the_nearest(given: str, meant: str | None) -> None:
    (sentence,) = unknown(["span", given, given], DIMENSIONS)
    assert sentence.startswith(f"{given[:100]!r} is no parameter; ")
    if meant is not None:
        assert sentence.endswith(f"; did you mean {meant}?")
    else:
        assert "there are path, browser, " in sentence


def test_mistakes_are_names_that_say_two_things() -> None:
    pairs = [("span", "7d"), ("span", "28d"), ("q", "a"), ("q", "a"), ("browser", "a"), ("browser", "b"), ("foo", "1")]
    assert [sentence.partition(" is ")[0] for sentence in mistakes(MultiDict(pairs), DIMENSIONS)] == ["'foo'", "span"]
