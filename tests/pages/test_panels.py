"""The registry of panels: each is where its page, its partial and its file are, and asks what it says that it asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

import pytest

from flask_statistics import Dimension, SettingError
from flask_statistics.pages.own import Own
from flask_statistics.pages.panels import BUILT_IN, NAMES, VIEWS, Panels
from flask_statistics.queries.interface import Queries
from flask_statistics.state import State

from ..conftest import App, a_fortnight

BESIDE = {"earliest", "complete_from", "undecided", "recover", "request", "beside"}
"""Asked of a few rows, or of none."""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    app = App(f"sqlite:///{tmp_path_factory.mktemp('panels') / 'app.sqlite'}", STATISTICS_ENABLED=False)
    app.insert(*a_fortnight(datetime.now(timezone.utc).replace(tzinfo=None)))
    yield app
    app.close()


def panels_of(app: App) -> Panels:
    return Panels(app.statistics_state().dimensions, Own())


class Noting:
    """Notes what is asked of `queries`."""

    def __init__(self, queries: Queries, asked: list[str]) -> None:
        self._queries, self._asked = queries, asked

    def __getattr__(self, name: str) -> Any:
        answer = getattr(self._queries, name)
        if callable(answer):
            self._asked.append(name)
        return answer


@pytest.fixture
def asked(app: App, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What pages ask, but for what costs next to nothing."""
    noted: list[str] = []
    original = State.queries

    @contextmanager
    def queries(state: State) -> Iterator[Any]:
        with original(state) as found:
            yield Noting(found, noted)

    monkeypatch.setattr(State, "queries", queries)
    return noted


@pytest.mark.parametrize("name", sorted({*NAMES, "browser", "path"} - {"statements", "route_statements"}))
def test_panel_costs_what_it_says(app: App, asked: list[str], name: str) -> None:
    two = "?browser=firefox&browser=chrome&split=browser" if name in ("both", "pairs") else ""
    assert app.client.get(f"/statistics/panel/{name}{two}").status_code == 200
    panel = panels_of(app).get(name)
    assert panel is not None
    assert {*asked} - BESIDE == {*panel.cost}


@pytest.mark.parametrize(
    ("view", "questions"),
    [
        ("", "breakdown breakdowns series series summary summary"),  # with the period before
        (
            "errors",
            "blocks" + 6 * " breakdown" + " groups links series series summary summary summary",
        ),
        ("requests", "requests series"),
    ],
)
def test_page_asks_no_question_twice(app: App, asked: list[str], view: str, questions: str) -> None:
    app.client.get(f"/statistics/{view}?browser=firefox&span=24h")
    assert sorted(name for name in asked if name not in BESIDE) == questions.split()
    assert [name for name in BESIDE - {"beside"} if asked.count(name) > 1] == []  # which is another table each time


def test_panels_are_on_pages_that_there_are() -> None:
    assert {panel.page for panel in BUILT_IN} == VIEWS.keys()
    assert len({(panel.page, panel.name) for panel in BUILT_IN}) == len(BUILT_IN)


def test_panels_of_dimensions_follow_those_of_the_overview(app: App) -> None:
    names = [panel.name for panel in panels_of(app).on("index")]
    assert names == [
        "summary",
        "both",
        "series",
        "paths",
        "recent",
        "pairs",
        "week",
        *app.statistics_state().dimensions,
    ]


def test_files_are_those_of_panels_that_have_rows(app: App) -> None:
    for panel in panels_of(app):
        response = app.client.get(f"/statistics/export/{panel.name}.csv")
        assert (response.status_code == 200) == (panel.rows is not None), panel.name


@pytest.mark.parametrize("name", sorted(NAMES))
def test_dimension_cannot_be_called_like_a_panel(make_app: Any, name: str) -> None:
    with pytest.raises(
        SettingError, match=rf"^The dimension's name is '{name}', which a panel has: both, changes, clients, deny, "
    ):
        make_app(dimensions=[Dimension(name, column="path")])
