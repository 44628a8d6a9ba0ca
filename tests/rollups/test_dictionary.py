"""Numbers of visitors in memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_statistics.rollups import dictionary
from flask_statistics.rollups.dictionary import Numbered

HASHES = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-5, 5))


@given(st.lists(st.dictionaries(HASHES, st.integers(1, 2**32 - 1), max_size=8), max_size=6), st.lists(HASHES))
def test_numbered_finds_what_was_added(added: list[dict[int, int]], asked: list[int]) -> None:
    numbered, expected = Numbered(), dict[int, int]()
    for numbers in added:
        new = {value: number for value, number in numbers.items() if value not in expected}
        numbered.add(new)
        expected |= new
        assert numbered.find([*asked, *expected]) == expected
    assert numbered.find(asked) == {value: expected[value] for value in asked if value in expected}


def test_numbered_begins_anew_when_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dictionary, "MOST_HASHES", 3)
    numbered = Numbered()
    numbered.add({7: 1, -7: 2})
    numbered.add({9: 3})
    assert numbered.find([7, -7, 9]) == {7: 1, -7: 2, 9: 3}
    numbered.add({8: 4})
    assert numbered.find([7, -7, 9, 8]) == {8: 4}
