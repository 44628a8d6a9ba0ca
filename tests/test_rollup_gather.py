"""Looking values up: the same with NumPy and without."""

from __future__ import annotations

from array import array
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from flask_statistics.rollups import gather

COLUMNS = st.one_of(
    st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=50).map(lambda values: array("H", values)),
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50).map(lambda values: array("I", values)),
)


@pytest.fixture(params=["numpy", "plain"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(gather, "FEW", 1)
    if request.param == "plain":
        monkeypatch.setattr(gather, "_numpy", lambda: None)
    else:
        pytest.importorskip("numpy", reason="NumPy, which is optional, is not installed")
    return str(request.param)


@pytest.mark.usefixtures("way")
def test_gather_values() -> None:
    @given(COLUMNS, st.data())
    @settings(deadline=None, max_examples=60)
    def values(column: array[int], data: st.DataObject) -> None:
        members = BitMap(data.draw(st.sets(st.integers(0, len(column) - 1), min_size=1)))
        expected = [column[ordinal] for ordinal in members]
        assert gather.distinct(column, members) == BitMap(expected)
        assert dict(gather.counts(column, members)) == Counter(expected)

    values()


@pytest.mark.usefixtures("way")
def test_gather_small_values_are_marked() -> None:
    column = array("I", [5, 5, 1, 0, 7, 2**20])
    assert gather.distinct(column, BitMap([0, 1, 3, 5])) == BitMap([0, 5, 2**20])
