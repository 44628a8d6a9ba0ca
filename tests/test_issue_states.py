"""What became of issues: what somebody decided, and when that ends."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_statistics.issue_states import Decision, IssueStates, Standing, by_issue, names, standing
from flask_statistics.queries.answers import Group

from .conftest import App

DAY = timedelta(days=1)
NOON = datetime(2026, 11, 22, 12)
ISSUE = "KeyError: “…” · shop/cart.py in cart"


def seen(release: str | None, first: datetime, last: datetime) -> Group:
    return Group((ISSUE, release), 1, first, last)


BEFORE = seen("v41", NOON - 2 * DAY, NOON - DAY)


@pytest.mark.parametrize(
    ("release", "groups", "expected"),
    [
        (None, [BEFORE], Standing("resolved")),
        (None, [seen("v41", NOON - DAY, NOON + DAY)], Standing("resolved")),  # the old release goes on failing
        (None, [BEFORE, seen("v42", NOON + DAY, NOON + DAY)], Standing("open", is_again=True)),
        ("v42", [BEFORE, seen("v42", NOON + DAY, NOON + DAY)], Standing("open", is_again=True, release="v42")),
        ("v42", [BEFORE, seen("v42", NOON - DAY, NOON + DAY)], Standing("open", is_again=True, release="v42")),
        ("v42", [BEFORE, seen("v43", NOON + DAY, NOON + DAY)], Standing("open", is_again=True, release="v42")),
        ("v42", [seen("v41", NOON - DAY, NOON + DAY)], Standing("resolved", release="v42")),
        (None, [seen(None, NOON - DAY, NOON - DAY)], Standing("resolved")),
        (None, [seen(None, NOON - DAY, NOON)], Standing("resolved")),
        (None, [seen(None, NOON - DAY, NOON + DAY)], Standing("open", is_again=True)),
    ],
)
def test_resolved_comes_back_in_another_release(release: str | None, groups: list[Group], expected: Standing) -> None:
    assert standing(Decision("resolved", release, NOON), groups) == expected


def test_ignored_stays_and_others_are_open() -> None:
    later = [seen("v43", NOON + DAY, NOON + DAY)]
    assert standing(Decision("ignored", None, NOON), later) == Standing("ignored")
    assert standing(None, later) == Standing("open")
    assert standing(None, []) == Standing("open")


def test_releases_of_issues_by_their_first_request() -> None:
    other = Group(("other", "v1"), 1, NOON, NOON)
    found = by_issue([seen("v42", NOON, NOON), other, BEFORE, seen(None, NOON - 9 * DAY, NOON)])
    assert list(names(found[ISSUE])) == ["v41", "v42"]
    assert list(found) == [ISSUE, "other"]


def states_of(app: App) -> IssueStates:
    states = app.statistics_state().issues
    assert states is not None
    return states


def decisions(app: App) -> dict[str, Decision]:
    with app.statistics_state().queries() as queries:
        return states_of(app).decisions(queries)


def test_decisions_are_kept(make_app: Callable[..., App], database_url: str) -> None:
    app = make_app(database_url)
    states = states_of(app)
    assert decisions(app) == {}
    for text in (
        ISSUE,
        ISSUE.lower(),
        f"{ISSUE} ",
        "x" * 512,
        "\N{GRINNING FACE}",
    ):  # each another one in every database
        states.decide(text, "resolved", release="v42", now=NOON)
        states.decide(text, "resolved", release="v43", now=NOON)
    assert len(decisions(app)) == 5
    assert decisions(app)[ISSUE] == Decision("resolved", "v43", NOON)
    states.decide(ISSUE, "ignored", release="v43", now=NOON + DAY)
    assert decisions(app)[ISSUE] == Decision("ignored", None, NOON + DAY)
    states.decide(ISSUE, "open", release=None, now=NOON)
    assert ISSUE not in decisions(app)
    with pytest.raises(ValueError, match=r"^state is 'gone', but must be one of open, resolved, ignored$"):
        states.decide(ISSUE, "gone", release=None, now=NOON)


STEPS = st.lists(
    st.one_of(
        st.sampled_from(["open", "resolved", "ignored"]),
        st.sampled_from(["v1", "v2", "v3"]).map(lambda release: f"fails in {release}"),
    ),
    max_size=12,
)


@given(STEPS)
def test_states_follow_one_another(steps: list[str]) -> None:
    """What is told of requests and decisions at the end is what a model knows that went along with them."""
    decision, groups = None, dict[str, Group]()
    state, known = "open", set[str]()
    for hour, step in enumerate(steps):
        now = NOON + timedelta(hours=hour)
        if step.startswith("fails"):
            release = step[-2:]
            before = groups.get(release)
            groups[release] = seen(release, before.first_requested if before else now, now)
            if state == "resolved" and release not in known:
                state = "again"
        else:
            decision, state, known = Decision(step, None, now), step, set(groups)
    found = standing(decision, groups.values())
    assert ("again" if found.is_again else found.state) == state
    assert found.is_again <= (found.state == "open")
