"""The view of changes: which routes are slower, fail more, lost visitors, are new or gone, and how sure that is."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from html import unescape
from io import StringIO
from random import Random
from typing import Any

import pytest

from flask_statistics.confidence import FAILURES, GONE, NEW, TIMES, Finding
from flask_statistics.pages.evidence import chance_text, change_text, distributions, interval

from ..conftest import App
from .test_errors import table

NOW = datetime.now(timezone.utc).replace(tzinfo=None)
TODAY = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
START, END = TODAY - timedelta(days=7), TODAY
SPAN = f"start={START:%Y-%m-%d}&end={END - timedelta(days=1):%Y-%m-%d}"


def week(start: datetime, release: str, **changes: float) -> list[dict[str, Any]]:
    """Made-up requests of four routes, of which `changes` say what is different on `/search`."""
    random, rows = Random(release), []
    for minute in range(0, 7 * 24 * 60, 15):
        for number, route in enumerate(("/", "/search", "/cart", "/about")):
            searched = route == "/search"
            seconds = 0.1 * random.lognormvariate(0, 0.5) * (changes.get("slower", 1) if searched else 1)
            failed = random.random() < (changes.get("failing", 0.01) if searched else 0.01)
            rows.append(
                {
                    "date": start + timedelta(minutes=minute, seconds=number),
                    "route": route,
                    "path": route,
                    "status_code": 500 if failed else 200,
                    "response_time": seconds,
                    "remote_address": f"192.0.2.{random.randrange(200)}",
                    "release": release,
                }
            )
    return rows


def app_of(make: Callable[..., App], url: str | None = None, *, rolled: bool = False, **changes: float) -> App:
    app = make(url, STATISTICS_ROLLUPS=rolled, STATISTICS_SCHEDULER=False, STATISTICS_ENABLED=False)
    before = [
        {**row, "route": "/old" if row["route"] == "/about" else row["route"]}
        for row in week(START - timedelta(days=7), "v41")
    ]
    app.insert(*before, *week(START, "v42", **changes))
    if rolled:
        assert app.flask.test_cli_runner().invoke(args=["statistics", "rollup"]).exit_code == 0
    return app


@pytest.fixture
def app(make_app: Callable[..., App]) -> App:
    return app_of(make_app, slower=1.8, failing=0.1)


def text(page: str) -> str:
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


@pytest.mark.parametrize("rolled", [False, True], ids=["raw", "rollups"])
def test_changes_are_found_in_both_modes(make_app: Callable[..., App], database_url: str, *, rolled: bool) -> None:
    app = app_of(make_app, database_url, rolled=rolled, slower=1.8, failing=0.1)
    found = app.json(f"changes?{SPAN}")
    assert found["source"] == ("rollup" if rolled else "raw")
    assert [(row["value"], row["what"], row["worse"], row["sure"]) for row in found["rows"]] == [
        ("/search", "p95", True, True),
        ("/search", "fails", True, True),
        ("/about", "new", False, True),
        ("/old", "gone", True, True),
    ]
    assert (found["unchanged"], found["compared"]) == (2, "route")
    assert found["rows"][0]["ratio"] == pytest.approx(1.8, rel=0.25)
    assert found["before"]["hits"] == found["after"]["hits"] == 4 * 7 * 24 * 4


def test_page_lists_them_with_how_sure_they_are(app: App) -> None:
    rows = table(app, f"changes?{SPAN}", "fs-changes")
    assert [row[0] for row in rows] == [
        "/search672 → 672 requests",
        "/search672 → 672 requests",
        "/about0 → 672 requests",
        "/old672 → 0 requests",
    ]
    assert rows[0][4].startswith("+")
    assert rows[0][6] == "Sureless than 1 in 100,000 by chance"
    page = text(app.client.get(f"/statistics/changes?{SPAN}").text)
    assert "1 slower, 1 fails more, 1 new, 1 gone, 2 as before" in page
    assert "The same hours of the week on both sides." in page
    assert "2 routes changed by no more than chance" in page
    assert "had nothing changed, one list like this in 100,000 would show such a difference" in page


def test_kinds_and_what_did_not_change(app: App) -> None:
    def names(kind: str) -> list[list[str]]:
        rows = table(app, f"changes?{SPAN}&show={kind}", "fs-changes")
        return [[re.split(r"\d", row[0])[0], row[1]] for row in rows]

    assert names("failing") == [["/search", "fails"]]
    assert names("presence") == [["/about", "new"], ["/old", "gone"]]
    assert [row[0] for row in table(app, f"changes?{SPAN}&show=same", "fs-changes")] == ["/", "/cart"]
    assert "No changes of this kind." in app.client.get(f"/statistics/changes?{SPAN}&show=faster").text


def test_a_quiet_pair_shows_nothing(make_app: Callable[..., App]) -> None:
    app = make_app(STATISTICS_ENABLED=False)
    app.insert(*week(START - timedelta(days=7), "a"), *week(START, "b"))
    page = text(app.client.get(f"/statistics/changes?{SPAN}").text)
    assert "Nothing changed beyond chance. 4 routes, 5,376 requests were compared." in page


def test_two_releases_are_compared_by_a_form(app: App) -> None:
    both = f"start={START - timedelta(days=7):%Y-%m-%d}&end={END - timedelta(days=1):%Y-%m-%d}"
    page = app.client.get(f"/statistics/changes?{both}&split=release").text
    assert "v42 against v41" in text(page)
    assert len(re.findall(r'<select name="release">', page)) == 2
    assert re.findall(r'<option value="(\w+)" selected>', page) == ["v41", "v42"]
    turned = text(app.client.get(f"/statistics/changes?{both}&split=release&release=v42&release=v41").text)
    assert "v41 against v42" in turned
    assert "1 faster" in turned
    found = app.json(f"changes?{both}&split=release&release=v41&release=v42")
    assert (found["before"]["value"], found["after"]["value"]) == ("v41", "v42")
    assert {row["what"] for row in found["rows"]} == {"p95", "fails", "new", "gone"}
    error = app.json(f"changes?{both}&split=release&release=v41", 400)["error"]
    assert error == "split is 'release', so two values of it must be given, as in release=a&release=b"


def test_any_earlier_time_can_be_compared_with(app: App) -> None:
    day = START - timedelta(days=3)
    short = f"start={START:%Y-%m-%d}&end={START:%Y-%m-%d}"
    page = text(app.client.get(f"/statistics/changes?{short}&against={day:%Y-%m-%d}").text)
    assert "Not the same hours of the week" in page
    weeks = START - timedelta(days=7)
    assert app.json(f"changes?{short}")["before"]["start"].startswith(f"{weeks:%Y-%m-%d}")
    assert app.json(f"changes?{short}&against=soon", 400)["error"].startswith("against is 'soon', but must be a date")


def test_nothing_to_compare_with_is_said(app: App) -> None:
    page = text(app.client.get(f"/statistics/changes?{SPAN}&vs=year").text)
    assert "There is nothing to compare with: not all of the time before is recorded." in page
    found = app.json(f"changes?{SPAN}&vs=year")
    assert (found["before"], found["after"], found["rows"]) == (None, None, [])
    none = text(app.client.get(f"/statistics/changes?{SPAN}&split=method").text)
    assert "There are no two values of method in this span." in none


def test_file_has_the_rows_of_the_page(app: App) -> None:
    lines = list(csv.reader(StringIO(app.client.get(f"/statistics/export/changes.csv?{SPAN}").text)))
    assert lines[0][:4] == ["Route", "Requests before", "Requests after", "What"]
    assert [(line[0], line[3]) for line in lines[1:]] == [
        ("/search", "p95"),
        ("/search", "fails"),
        ("/about", "new"),
        ("/old", "gone"),
    ]


def test_line_on_the_overview_says_the_biggest_change(app: App) -> None:
    page = app.client.get(f"/statistics/?{SPAN}").text
    (url,) = [unescape(url) for url in re.findall(r'data-later="([^"]+)"', page) if "paths" in url]
    line = text(app.client.get(url).text)
    assert re.search(
        r"▲ 1 route fails more often than before: /search 1\.\d% → (9\.\d|1\d)% ?\. What changed ›", line
    ), line
    assert "What changed ›" in text(page)  # for whoever runs no scripts


def test_line_names_three_and_counts_the_rest(make_app: Callable[..., App]) -> None:
    app = make_app(STATISTICS_ENABLED=False)
    slower = [{**row, "response_time": 3 * row["response_time"]} for row in week(START, "b")]
    app.insert(*week(START - timedelta(days=7), "a"), *slower)
    line = text(app.client.get(f"/statistics/panel/paths?{SPAN}").text)
    assert re.search(r"▲ 4 routes are slower than before: /\w* 2\d\d ms → 7\d\d ms, ", line), line
    assert " ms (p95) and 1 more." in line


def test_line_says_that_nothing_changed_or_that_nothing_is_known(make_app: Callable[..., App]) -> None:
    app = make_app(STATISTICS_ENABLED=False)
    app.insert(*week(START - timedelta(days=7), "a"), *week(START, "b"))
    line = text(app.client.get(f"/statistics/panel/paths?{SPAN}").text)
    assert "No route got slower, fails more or lost visitors beyond chance." in line
    unknown = text(app.client.get(f"/statistics/panel/paths?{SPAN}&vs=year").text)
    assert "There is nothing to compare with yet." in unknown
    for parameters in ("vs=off", "span=all", "route=/cart"):
        assert (
            'class="finding"'
            not in app.client.get(f"/statistics/?{SPAN if 'span' not in parameters else ''}&{parameters}").text
        )


def finding(what: str = TIMES, ratio: float = 1.5, low: float = 1.2, high: float = 1.9, **more: Any) -> Finding:
    return Finding("/", what, more.get("before", 1), more.get("after", 1.5), ratio, low, high, 1e-3, 1)


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (finding(), "+50%"),
        (finding(ratio=0.56), "−44%"),
        (finding(ratio=2.56), "×2.6"),
        (finding(ratio=12.3), "×12"),
        (finding(FAILURES, before=0.0), "from none"),
        (finding(FAILURES, after=0.0), "to none"),
        (finding(NEW), ""),
        (finding(GONE), ""),
    ],
)
def test_changes_in_words(one: Finding, said: str) -> None:
    assert change_text(one) == said


@pytest.mark.parametrize(
    ("chance", "said"),
    [
        (0.049, "1 in 20 by chance"),
        (1 / 1234, "1 in 1,200 by chance"),
        (1e-9, "less than 1 in 100,000 by chance"),
        (0.0, "less than 1 in 100,000 by chance"),
    ],
)
def test_bets(chance: float, said: str) -> None:
    assert chance_text(chance) == said


def test_intervals_have_twice_and_half_equally_far_from_the_middle() -> None:
    twice, half = interval(finding(ratio=2, low=1, high=4)), interval(finding(ratio=0.5, low=0.25, high=1))
    assert (twice.low, twice.at, twice.high) == (72, 108, 144)
    assert (half.low, half.at, half.high) == (0, 36, 72)
    assert (twice.arrow, interval(finding(ratio=9, low=5, high=20)).at) == ("", None)
    assert interval(finding(ratio=3, low=2, high=20)).arrow == "right"
    assert interval(finding(ratio=0.3, low=0.01, high=0.9)).arrow == "left"


def test_distributions_are_on_one_scale() -> None:
    was, now = distributions({100: 50, 110: 50}, {140: 10})
    assert was.count("L") == 31
    assert now.endswith("L96 23 L0 23z")
    assert was.startswith("M2 ")
    assert distributions({5: 1}, {5: 1})[0]
