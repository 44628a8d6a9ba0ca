"""What surrounds a page, and how the summary compares: freshness, spans, chips, audiences."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
from werkzeug.datastructures import MultiDict

from flask_statistics.dimensions import available
from flask_statistics.filters import Filters
from flask_statistics.formatting import clock, day
from flask_statistics.page_state import read_state
from flask_statistics.pages.frame import Frame, frame, updates
from flask_statistics.pages.page import Asker, Page, Site
from flask_statistics.pages.summary import Summary, summary
from flask_statistics.queries.answers import Freshness, Measures, ResponseTime
from flask_statistics.queries.interface import Queries
from flask_statistics.spans import Span

from ..conftest import ORIGINAL_COLUMNS

NOW = datetime(2026, 11, 22, 14, 37)
MEASURES = Measures(107, 50, 3, 0, 9, ResponseTime(p50=0.1, p95=0.4), NOW)


class Stub:
    """Answers the summary of any span, and keeps for which it was asked."""

    freshness: Freshness | None = None

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.first = datetime(2025, 1, 1)

    def earliest(self) -> datetime:
        return self.first

    def complete_from(self, _span: Span, _filters: Filters) -> datetime | None:
        return self.freshness.preparing_before if self.freshness else None

    def recover(self) -> None: ...

    def summary(self, span: Span, filters: Filters, **_: Any) -> Measures:
        if span.end > NOW:  # the page's own
            return MEASURES
        self.spans.append(span)
        return Measures(100, 50, 6, 0, 9, ResponseTime(p50=0.1, p95=0.5), NOW)


def page_of(*pairs: tuple[str, str], stub: Stub | None = None, zone: str = "UTC") -> Page:
    asker = Asker(cast(Queries, stub or Stub()), lambda _what, _error: None)
    dimensions = available(dict.fromkeys(ORIGINAL_COLUMNS))
    state = read_state(
        MultiDict(pairs),
        base="/statistics/",
        now=NOW,
        zone=ZoneInfo(zone),
        default=timedelta(days=7),
        dimensions=dimensions,
        earliest=asker.queries.earliest,
    )
    site = Site(dimensions, ORIGINAL_COLUMNS, lambda endpoint, **values: f"/statistics/{endpoint}")
    return Page(state, site, asker, NOW)


def framed(*pairs: tuple[str, str]) -> Frame:
    return frame(page_of(*pairs), "index", title="Overview", default=timedelta(days=7), json_url="")


def summary_of(stub: Stub, *pairs: tuple[str, str]) -> Summary:
    found = summary(page_of(*pairs, stub=stub))
    assert found is not None
    return found


def test_updates_of_the_moment() -> None:
    found = updates(page_of(zone="Asia/Kolkata"), None)
    assert (found.clock, found.zone, found.every, found.late) == ("20:07", "Asia/Kolkata", None, None)


@pytest.mark.parametrize(
    ("behind", "interval", "every", "late"),
    [
        (timedelta(minutes=2), timedelta(minutes=1), "updated every minute", None),
        (timedelta(hours=2), timedelta(minutes=1), "updated every minute", "Numbers are 2 h behind."),
        (timedelta(minutes=9), timedelta(minutes=5), "updated every 5 min", None),
        (timedelta(days=2, hours=1), timedelta(hours=1), "updated every hour", "Numbers are 2 d 1 h behind."),
    ],
)
def test_updates_by_a_job(behind: timedelta, interval: timedelta, every: str, late: str | None) -> None:
    found = updates(page_of(), Freshness(NOW - behind, interval))
    assert (found.every, found.late) == (every, late)


def test_summary_compares_equal_elapsed_time() -> None:
    stub = Stub()
    tiles = summary_of(stub).tiles
    assert [(span.start, span.end) for span in stub.spans] == [
        (datetime(2026, 11, 9), datetime(2026, 11, 15, 14, 37)),
    ]
    changes = {tile.measure: tile.change and (tile.change.text, tile.change.tone) for tile in tiles}
    assert changes == {
        "hits": ("+7%", "flat"),
        "visitors": ("±0%", "flat"),
        "p50": ("±0%", "flat"),
        "p95": ("−20%", "good"),
        "server_errors": ("±0%", "flat"),
        "client_errors": ("−50%", "good"),
    }


@pytest.mark.parametrize(
    ("first", "compared"),
    [
        (datetime(2026, 11, 9, 23, 59), True),  # the earlier week began on that day
        (datetime(2026, 11, 10), False),
        (datetime(2026, 11, 20), False),
    ],
)
def test_summary_compares_with_nothing_before_the_first_request(first: datetime, compared: bool) -> None:
    stub = Stub()
    stub.first = first
    found = summary_of(stub)
    assert [tile.change is not None for tile in found.tiles] == [compared] * 6
    why = f"Nothing to compare with: nothing was recorded before {clock(first, now=NOW)}."
    assert (found.incomparable, found.since) == ((None, "") if compared else (why, day(first)))
    assert len(stub.spans) == compared


def test_summary_of_hours_compares_with_the_hour_of_the_first_request() -> None:
    stub = Stub()
    for first, compared in ((datetime(2026, 11, 20, 15, 59), True), (datetime(2026, 11, 20, 16), False)):
        stub.first = first
        found = summary_of(stub, ("span", "24h"))
        assert (found.incomparable is None) == compared, first


def test_summary_compares_with_nothing_that_is_still_prepared() -> None:
    stub = Stub()
    stub.freshness = Freshness(NOW, timedelta(minutes=1), preparing_before=datetime(2026, 11, 12))
    found = summary_of(stub)
    assert {tile.change for tile in found.tiles} == {None}
    assert found.incomparable == "Nothing to compare with: requests before 12 Nov 00:00 are still being counted."


def test_summary_of_what_is_deleted_says_so() -> None:
    stub = Stub()
    stub.first = datetime(2026, 11, 16, 15)
    page = page_of(stub=stub)
    found = summary(replace(page, site=replace(page.site, retention=timedelta(days=6))))
    assert found is not None
    assert found.incomparable == "Nothing to compare with: requests before 16 Nov 15:00 were deleted."


@pytest.mark.parametrize(
    ("pair", "start"),
    [(("vs", "year"), datetime(2025, 11, 17)), (("vs", "off"), None), (("span", "all"), None)],
)
def test_summary_compares_with(pair: tuple[str, str], start: datetime | None) -> None:
    stub = Stub()
    summary_of(stub, pair)
    assert [span.start for span in stub.spans] == ([] if start is None else [start])


def test_toolbar_steps_by_the_span_and_not_into_the_future() -> None:
    toolbar = framed().toolbar
    assert (toolbar.label, toolbar.earlier_url, toolbar.later_url) == (
        "16 – 22 Nov 2026",
        "/statistics/?start=2026-11-09&end=2026-11-15",
        None,
    )
    past = framed(("start", "2026-11-09"), ("end", "2026-11-15")).toolbar
    assert past.later_url == "/statistics/?start=2026-11-16&end=2026-11-22"
    everything = framed(("span", "all")).toolbar
    assert (everything.earlier_url, everything.later_url, everything.comparisons) == (None, None, ())


@pytest.mark.parametrize(
    ("pairs", "versus", "full"),
    [
        ((), "9 – 15 Nov", "9 – 15 Nov"),
        ((("span", "today"),), "21 Nov", "21 Nov"),
        ((("start", "2026-11-07"), ("end", "2026-11-13")), "31 Oct – 6 Nov", "31 Oct – 6 Nov"),
        ((("span", "28d"),), "previous", "28 Sep – 25 Oct"),
        ((("vs", "year"),), "last year", "17 – 23 Nov 2025"),
        ((("vs", "off"),), "", ""),
        ((("span", "all"),), "", ""),
    ],
)
def test_toolbar_says_what_is_compared_with(pairs: tuple[tuple[str, str], ...], versus: str, full: str) -> None:
    toolbar = framed(*pairs).toolbar
    assert (toolbar.comparison, toolbar.compared) == (versus, full)


@pytest.mark.parametrize(
    ("pairs", "label"),
    [
        ((("start", "2026-11-20T12:10"), ("end", "2026-11-22T17:42")), "20 Nov 12:10 – 22 Nov 17:42"),
        ((("start", "2025-11-30T12:10"), ("end", "2026-11-22T17:42")), "30 Nov 2025 – 22 Nov 2026"),
    ],
)
def test_toolbar_label_fits_its_button(pairs: tuple[tuple[str, str], ...], label: str) -> None:
    toolbar = framed(*pairs).toolbar
    assert toolbar.label == label
    assert "17:42" in toolbar.covers
    assert (toolbar.first_time, toolbar.last_day, toolbar.last_time) == ("12:10", "2026-11-22", "17:42")


def test_toolbar_marks_the_calendar_span_that_is_shown() -> None:
    toolbar = framed(("start", "2026-11-21"), ("end", "2026-11-21")).toolbar
    assert [link.text for link in toolbar.calendar if link.current] == ["Yesterday"]
    assert [link.text for link in framed().toolbar.calendar if link.current] == []


def test_toolbar_offers_a_text_in_the_path_first() -> None:
    fields = framed().toolbar.fields
    assert fields[:2] == (("q", "Path contains"), ("path", "Path"))
    assert ("status_code", "Status") in fields


def test_clear_all_stands_beside_more_than_one_filter() -> None:
    assert framed(("browser", "firefox"), ("device!", "bot")).clear_url is None
    for pairs in ((("browser", "firefox"), ("q", "x")), (("browser", "firefox"), ("browser", "edge"))):
        assert framed(*pairs, ("device!", "bot")).clear_url == "/statistics/?device!=bot"


def test_name_of_the_app_is_cut_in_the_head_alone() -> None:
    page = page_of()
    site = replace(page.site, title="A shop whose name is rather long")
    found = frame(replace(page, site=site), "index", title="Overview", default=timedelta(days=7), json_url="")
    assert (found.short_name, found.title) == ("A shop whose name is r…", "Overview · A shop whose name is rather long")


def test_toolbar_audiences_set_the_filter_on_the_device() -> None:
    links = framed(("browser", "firefox"), ("device!", "bot")).toolbar.audiences
    assert [(link.text, link.url, link.current) for link in links] == [
        ("People", "/statistics/?browser=firefox&device!=bot", True),
        ("Bots", "/statistics/?browser=firefox&device=bot", False),
        ("All", "/statistics/?browser=firefox", False),
    ]


def test_toolbar_kinds_set_the_filter_on_the_content() -> None:
    found = framed(("device!", "bot"), ("content", "page"))
    assert [(link.text, link.url, link.current) for link in found.toolbar.kinds] == [
        ("Pages", "/statistics/?device!=bot&content=page", True),
        ("API", "/statistics/?device!=bot&content=api", False),
        ("Assets", "/statistics/?device!=bot&content=asset", False),
        ("All", "/statistics/?device!=bot", False),
    ]
    assert found.chips == ()
    assert found.scope == "People and pages only."


@pytest.mark.parametrize(
    ("pairs", "chips", "scope"),
    [
        ([("content", "api")], 0, "API only."),
        ([("device", "bot"), ("content", "asset")], 0, "Bots and assets only."),
        ([("content", "other")], 1, "Only these requests are counted."),
        ([("content!", "page")], 1, "Only these requests are counted."),
        ([("content", "page"), ("content", "api")], 1, "Only these requests are counted."),
        ([("content", "page"), ("content!", "api")], 2, "Only these requests are counted."),
        ([("content", "page"), ("browser", "edge")], 1, "Pages only."),
    ],
)
def test_a_switch_is_no_chip(pairs: list[tuple[str, str]], chips: int, scope: str) -> None:
    found = framed(*pairs)
    assert (len(found.chips), found.scope) == (chips, scope)


def test_chips_flip_and_go() -> None:
    one, two = framed(("browser", "firefox"), ("browser", ""), ("q", "x\n")).chips
    assert (one.label, one.operator, one.flip_url) == ("Browser", "is", "/statistics/?browser!=firefox&browser!=&q=x")
    assert [(value.text, value.remove_url) for value in one.values] == [
        ("Firefox", "/statistics/?browser=&q=x"),
        ("(unknown)", "/statistics/?browser=firefox&q=x"),
    ]
    assert (two.operator, two.flip_url, two.values[0].remove_url) == (
        "contains",
        None,
        "/statistics/?browser=firefox&browser=",
    )


def test_chip_of_a_class_of_values() -> None:
    assert [value.text for chip in framed(("status_code!", "5xx")).chips for value in chip.values] == ["5xx"]
