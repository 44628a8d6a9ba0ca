"""Each question of a page is asked once, whoever asks it, and fails once."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest

from flask_statistics.filters import Filters
from flask_statistics.queries.interface import CHEAP, Queries
from flask_statistics.queries.remembering import Remembering
from flask_statistics.spans import Span

SPAN = Span(datetime(2026, 11, 1), datetime(2026, 11, 2), ZoneInfo("UTC"))


class Noting:
    """Answers by counting; links fail."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def answer(*arguments: Any, **options: Any) -> int:
            self.asked.append(name)
            if name == "links":
                raise LookupError(name)
            return len(self.asked)

        return answer


def test_question_is_asked_once() -> None:
    noting = Noting()
    queries = Remembering(cast(Queries, noting))
    first = queries.summary(SPAN, Filters(), want=CHEAP)
    assert queries.summary(replace(SPAN), Filters(), want=CHEAP) == first
    assert queries.complete_from(SPAN, Filters(), ["path"]) == queries.complete_from(SPAN, Filters(), ["path"])
    assert queries.earliest() == queries.earliest()
    assert noting.asked == ["summary", "complete_from", "earliest"]


def test_other_question_is_asked() -> None:
    noting = Noting()
    queries = Remembering(cast(Queries, noting))
    asked = (
        queries.summary(SPAN, Filters()),
        queries.summary(SPAN, Filters(), want=CHEAP),
        queries.summary(SPAN, Filters(contains="a")),
        queries.breakdown("path", SPAN, Filters(), limit=1),
        queries.breakdown("path", SPAN, Filters(), limit=2),
        queries.breakdowns(("path",), SPAN, Filters(), limit=2),
    )
    assert asked == (1, 2, 3, 4, 5, 6)


def test_failure_is_remembered() -> None:
    noting = Noting()
    queries = Remembering(cast(Queries, noting))
    failures = []
    for _ in range(2):
        with pytest.raises(LookupError) as caught:
            queries.links(SPAN, Filters(), limit=1)
        failures.append(caught.value)
    assert failures[0] is failures[1]
    assert noting.asked == ["links"]
