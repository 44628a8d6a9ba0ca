"""Marks on pages: flags and where they lead, the time since the latest one, and what a comparison says of itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from html import unescape
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_statistics.changes import in_time
from flask_statistics.filters import Filters
from flask_statistics.kept import RELEASE, Mark
from flask_statistics.pages.marks import around
from flask_statistics.spans import Span, from_wall, to_local

from ..conftest import App, a_fortnight, mark, original_model

MakeApp = Callable[..., App]
NOW = datetime.now(timezone.utc).replace(second=0, microsecond=0, tzinfo=None)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia")


def app_of(make: MakeApp, *marks: Mark, **options: Any) -> App:
    app = make(STATISTICS_ENABLED=False, **options)
    app.insert(*a_fortnight(NOW))
    mark(app, *marks)
    return app


def get(app: App, path: str = "") -> str:
    response = app.client.get(f"/statistics/{path}")
    assert response.status_code == 200
    return response.text


def flags_of(page: str) -> list[tuple[str, str | None, str]]:
    """Name, address and title of each flag."""
    pattern = r'<a class="flag"(?: href="([^"]*)" tabindex="-1")?>.*?<text [^>]*>(.*?)</text><title>(.*?)</title></a>'
    return [(unescape(name), unescape(url) or None, unescape(title)) for url, name, title in re.findall(pattern, page)]


RELEASES = (Mark("v41", NOW - 9 * DAY, RELEASE), Mark("v42", NOW - 30 * HOUR, RELEASE))


@pytest.mark.parametrize("path", ["", "errors", "requests", "?path=/", "?metric=time"])
def test_every_chart_has_flags(make_app: MakeApp, path: str) -> None:
    app = app_of(make_app, *RELEASES)
    found = flags_of(get(app, f"{path}{'&' if '?' in path else '?'}span=28d"))
    assert [name for name, *_ in found] == ["v41", "v42"]
    at = to_local(RELEASES[1].at, ZoneInfo("UTC"))
    _, url, title = found[1]
    assert title == f"v42, since {at.day} {at:%b} {at:%H:%M}. Compare before and after"
    assert url is not None
    assert url.startswith("/statistics/changes?start=")
    assert url.endswith(f"&against={at - DAY:%Y-%m-%d}")


def test_flag_of_an_issue_compares_all_requests(make_app: MakeApp) -> None:
    app = app_of(make_app, *RELEASES)
    app.insert({"date": NOW - HOUR, "path": "/", "status_code": 500, "exception": "KeyError()", "issue": "a"})
    _, (_, url, _) = flags_of(get(app, "issue?issue=a&span=28d&browser=firefox"))
    assert url is not None
    assert "browser=firefox" in url
    assert "issue=" not in url


@pytest.mark.parametrize("split", ["browser=firefox&browser=chrome&split=browser", "split=status_code"])
def test_split_charts_have_flags(make_app: MakeApp, split: str) -> None:
    app = app_of(make_app, *RELEASES)
    assert [name for name, *_ in flags_of(get(app, f"?span=28d&{split}"))] == ["v41", "v42"]


def test_live_has_flags(make_app: MakeApp) -> None:
    app = app_of(make_app, Mark("now", NOW - timedelta(minutes=5)), Mark("before", NOW - HOUR))
    assert [name for name, *_ in flags_of(get(app, "live"))] == ["now"]


def test_picture_and_table_have_them(make_app: MakeApp) -> None:
    app = app_of(make_app, *RELEASES)
    picture = app.client.get("/statistics/chart.svg?span=28d").text
    assert re.findall(r'<g class="flag">.*?<text [^>]*>(.*?)</text></g>', picture) == ["v41", "v42"]
    rows = re.findall(r'<tr data-start=.*?<th scope="row">(.*?)</th>', get(app, "?span=28d"))
    assert [re.sub("<.*?>", "", row).partition(" · ")[2] for row in rows if " · " in row] == ["v41", "v42"]


def test_what_was_marked_is_text(make_app: MakeApp) -> None:
    hostile = ("<script>alert(1)</script>", "\u202egpj\u2066", "'\"&amp;")
    app = app_of(make_app, *(Mark(text, NOW - (2 * place + 1) * DAY) for place, text in enumerate(hostile)))
    page = get(app, "?span=28d") + app.client.get("/statistics/chart.svg?span=28d").text
    assert "<script>alert" not in page
    assert "\u202e" not in page
    assert "&#39;&#34;&amp;amp;" in page
    titles = [title.partition(", since")[0] for _, _, title in flags_of(page)]
    assert titles == ["'\"&amp;", r"\u202egpj\u2066", "<script>alert(1)</scrip…"]


def test_a_model_without_routes_and_paths_compares_nothing(make_app: MakeApp) -> None:
    def bare(db: Any) -> type[Any]:
        columns = {"index": db.Column(db.Integer, primary_key=True), "date": db.Column(db.DateTime, index=True)}
        return type("Request", (db.Model,), columns)

    app = make_app(model=bare, STATISTICS_ENABLED=False)
    app.insert({"date": NOW - HOUR}, {"date": NOW - 3 * DAY})
    mark(app, Mark("here", NOW - DAY))
    ((name, url, title),) = flags_of(get(app))
    assert (name, url, title.endswith(NOW.strftime("%H:%M"))) == ("here", None, True)
    assert "Before / after" not in get(app)


# ---- menus -----------------------------------------------------------------------------------------------------------


def test_menus_lead_to_the_time_since_and_around_the_latest_release(make_app: MakeApp) -> None:
    app = app_of(make_app, *RELEASES, Mark("later", NOW - HOUR), Mark("to come", NOW + DAY))
    page = get(app)
    (since,) = re.findall(r'<a href="([^"]*)">Since (?:.*?)</a>', page)
    start, end = RELEASES[1].at, (NOW + DAY).replace(hour=0, minute=0)
    assert unescape(since) == f"/statistics/?start={start:%Y-%m-%dT%H:%M}&end={end:%Y-%m-%dT%H:%M}"
    assert 'aria-current="true">Since v42</a>' in get(app, unescape(since).removeprefix("/statistics/"))
    (around_it,) = re.findall(r'<a href="([^"]*)">Before / after v42</a>', page)
    changes = get(app, unescape(around_it).removeprefix("/statistics/"))
    assert 'aria-current="true">Before / after v42</a>' in changes
    before = RELEASES[1].at - DAY
    assert f'vs<span class="alt"> {before.day} {before:%b} on</span>' in changes
    assert changes.count('<a href="/statistics/changes" aria-current') == 0
    (previous,) = re.findall(r'<a href="([^"]*)"[^>]*>Previous period</a>', changes)
    assert "against" not in previous


def test_without_releases_the_latest_mark_is_offered(make_app: MakeApp) -> None:
    app = app_of(make_app, Mark("one", NOW - DAY), Mark("two", NOW - HOUR))
    assert "Since two</a>" in get(app)
    assert "Since" not in get(app_of(make_app))
    assert "Before / after" not in get(app, "?span=all")


# ---- before and after ------------------------------------------------------------------------------------------------


def heading_and_scope(page: str) -> tuple[str, str]:
    (heading,) = re.findall(r'<h2 id="fs-changes-h">([^<]*)', page)
    said = re.findall(r"(?:As (?:long|many)|[^<>]* has run for|Only )[^<]*compared\.|As long [^<]*", page)
    return unescape(heading).strip(), unescape(said[0]) if said else ""


@pytest.mark.parametrize("rollups", [False, True], ids=["raw", "rollups"])
@pytest.mark.parametrize(
    ("ago", "kind", "expected"),
    [
        (5.2 * HOUR, RELEASE, ("v42 against v41", "v42 has run for 5 h only; compared with the same hours of v41. ")),
        (
            5.2 * HOUR,
            "event",
            ("Before and after v42", "Only 5 h after v42; compared with the same hours of the day before. "),
        ),
        (
            3 * DAY + HOUR,
            RELEASE,
            (
                "v42 against v41",
                "As many days before as after. Not the same days of the week, so visitors are not compared.",
            ),
        ),
        (7 * DAY + HOUR, RELEASE, ("Before and after v42", "As long before as after, the same hours of the week.")),
    ],
)
def test_comparison_around_a_mark_says_what_it_is(
    make_app: MakeApp, rollups: bool, ago: timedelta, kind: str, expected: tuple[str, str]
) -> None:
    app = app_of(
        make_app,
        Mark("v41", NOW - 8 * DAY, RELEASE),
        Mark("v42", NOW - ago, kind),
        STATISTICS_ROLLUPS=rollups,
        STATISTICS_SCHEDULER=False,
    )
    if rollups:
        assert app.flask.test_cli_runner().invoke(args=["statistics", "rollup"]).exit_code == 0
    urls = {name: url for name, url, _ in flags_of(get(app, "?span=28d"))}
    url = urls.get("v42") or urls["v41, v42"]
    assert url is not None
    heading, scope = heading_and_scope(get(app, url.removeprefix("/statistics/")))
    assert heading == expected[0]
    assert scope.startswith(expected[1])


@given(
    zone=st.sampled_from(ZONES),
    at=st.datetimes(datetime(2011, 12, 1), datetime(2012, 12, 1)),
    elapsed=st.timedeltas(timedelta(minutes=2), 60 * DAY),
    recorded=st.one_of(st.none(), st.timedeltas(-DAY, 60 * DAY)),
    following=st.one_of(st.none(), st.timedeltas(timedelta(minutes=1), 60 * DAY)),
)
def test_before_ends_where_after_begins(
    zone: str, at: datetime, elapsed: timedelta, recorded: timedelta | None, following: timedelta | None
) -> None:
    at = at.replace(second=0, microsecond=0)
    like = Span(at, at + DAY, ZoneInfo(zone))
    now, known = at + elapsed, None if recorded is None else at - recorded
    until = None if following is None else at + following
    span, against = around(at, until=until, now=now, known=known, like=like)
    assert span.start == at
    assert at < span.end <= max(now, at + timedelta(minutes=1))
    assert until is None or span.end <= max(until, at + timedelta(minutes=1)) + 2 * HOUR  # a clock set back within
    if against is None:
        return
    lots = in_time(span, Filters(), now=now, against=against, known=known)
    assert lots is not None
    assert lots.before.span.start < lots.before.span.end <= at or is_changed(at, like.zone)
    if span.end - span.start > DAY + HOUR:
        wall = to_local(at, like.zone).replace(tzinfo=None)
        assert lots.before.span.end == from_wall(wall, like.zone)
        assert lots.after.span == Span(at, span.end, like.zone)


def is_changed(at: datetime, zone: ZoneInfo) -> bool:
    """Whether a clock is set back about then."""
    return to_local(at - 3 * HOUR, zone).utcoffset() != to_local(at + 3 * HOUR, zone).utcoffset()


def test_original_model_has_flags(make_app: MakeApp) -> None:
    app = make_app(model=original_model, STATISTICS_ENABLED=False)
    app.insert(*({"date": NOW - number * HOUR, "path": "/"} for number in range(100)))
    mark(app, Mark("here", NOW - DAY))
    ((name, url, _),) = flags_of(get(app))
    assert (name, url is not None) == ("here", True)
