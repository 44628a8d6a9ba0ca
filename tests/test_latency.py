"""Percentiles from a histogram: within 2 % of the true ones."""

from __future__ import annotations

import itertools
from collections import Counter
from math import ceil

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from flask_statistics.databases.expressions import count_bin, latency_bin
from flask_statistics.latency import (
    BINS,
    EDGES,
    LONGEST,
    RATIO,
    SHORTEST,
    bin_of,
    bin_of_count,
    middle,
    middle_of_counts,
    percentile,
)

times = st.lists(st.floats(SHORTEST, LONGEST), min_size=1, max_size=200)


@given(times=times, part=st.sampled_from([0.5, 0.95, 0.99, 0.01, 1.0]))
def test_percentile_is_within_two_percent(times: list[float], part: float) -> None:
    true = sorted(times)[max(1, ceil(round(part * len(times), 6))) - 1]
    assert percentile(Counter(map(bin_of, times)), part) == pytest.approx(true, rel=0.02)


@given(times)
def test_percentile_never_exceeds_the_longest(times: list[float]) -> None:
    found = percentile(Counter(map(bin_of, times)), 0.99, longest=max(times))
    assert found is not None
    assert found <= max(times)


def test_percentile_of_nothing() -> None:
    assert percentile({}, 0.5) is None
    assert percentile({3: 0}, 0.5) is None


def test_percentile_by_nearest_rank() -> None:
    histogram = Counter({bin_of(0.001): 19, bin_of(1.0): 1})
    assert percentile(histogram, 0.95) == pytest.approx(0.001, rel=0.02)
    assert percentile(histogram, 0.96) == pytest.approx(1.0, rel=0.02)


def test_bins_tile_the_times() -> None:
    assert len(EDGES) + 1 == BINS
    assert EDGES[0] == SHORTEST
    assert EDGES[-2] < LONGEST <= EDGES[-1]
    assert all(other / one == pytest.approx(RATIO) for one, other in itertools.pairwise(EDGES))
    assert [bin_of(0.0), bin_of(SHORTEST), bin_of(1e9)] == [0, 1, BINS - 1]
    assert [middle(0), middle(BINS - 1)] == [SHORTEST / 2, EDGES[-1]]


@given(seconds=st.floats(0, 2 * LONGEST) | st.sampled_from(EDGES))
def test_latency_bin_in_sql_is_that_of_python(seconds: float) -> None:
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    with engine.connect() as connection:
        assert connection.scalar(sa.select(latency_bin(sa.literal(seconds)))) == bin_of(seconds)
    engine.dispose()


def test_counts_up_to_25_have_bins_of_their_own() -> None:
    assert [middle_of_counts(bin_of_count(count)) for count in range(26)] == list(range(26))


@given(st.integers(0, 3_000_000))
def test_counts_are_within_two_percent(count: int) -> None:
    assert middle_of_counts(bin_of_count(count)) == pytest.approx(count, rel=0.02)


@given(count=st.integers(0, 2**31 - 1))
def test_count_bin_in_sql_is_that_of_python(count: int) -> None:
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    with engine.connect() as connection:
        assert connection.scalar(sa.select(count_bin(sa.literal(count)))) == bin_of_count(count)
    engine.dispose()
