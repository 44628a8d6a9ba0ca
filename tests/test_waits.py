"""What requests waited for: which of the columns can be asked for."""

from __future__ import annotations

from typing import Any

import pytest

from flask_statistics import parameters
from flask_statistics.config import read_settings
from flask_statistics.models import MEASURED
from flask_statistics.waits import WAITS, offered

from .rollup_bench import RAW


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, ()),
        ({"STATISTICS_QUERIES": True}, ("db_time", "db_queries")),
        ({"STATISTICS_OUTGOING": True}, ("http_time", "http_calls")),
        ({"STATISTICS_ENABLED": False}, ()),
        ({"STATISTICS_ENABLED": False, "STATISTICS_QUERIES": True}, ("db_time", "db_queries")),
    ],
)
def test_waits_are_offered_where_something_fills_them(config: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert offered(read_settings(config), RAW) == expected


def test_waits_are_the_measured_columns_by_which_lists_are_sorted() -> None:
    assert ("response_time", *WAITS) == MEASURED
    assert {name for name, _ in parameters.WAITED_SORTS.values()} == set(WAITS)
