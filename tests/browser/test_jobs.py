"""What one comes to the dashboard for, with the clicks that it takes: none more than five."""

from __future__ import annotations

import re
from collections.abc import Iterator
from threading import Thread
from unittest import mock

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from werkzeug.serving import make_server

from flask_statistics import demo
from flask_statistics.state import state_of

from ..conftest import PATIENCE_MS

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a dashboard with the demo's data."""
    with mock.patch.object(demo, "REQUESTS", 8_000):
        app = demo.create_app(tmp_path_factory.mktemp("jobs") / "demo.sqlite")
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.port}/statistics/"
    server.shutdown()
    thread.join()
    server.server_close()
    state_of(app).engine().dispose()


class Somebody:
    """Somebody in front of the Overview, whose clicks are counted."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.clicks = 0

    def click(self, what: Locator) -> None:
        self.clicks += 1
        what.click()
        expect(self.page.locator("#fs-main")).not_to_have_attribute("aria-busy", "true")

    def link(self, name: str, within: str = "#fs-main") -> Locator:
        return self.page.locator(within).get_by_role("link", name=name, exact=True).first

    def choose_span(self, name: str) -> None:
        self.click(self.page.locator("#fs-range summary"))
        self.click(self.link(name, "#fs-range"))

    def number(self, measure: str) -> float:
        """What a tile says, in full."""
        text = self.page.locator(f"[data-measure={measure}] .kv").get_attribute("title") or ""
        return float(text.replace(",", ""))


@pytest.fixture
def somebody(chromium: Browser, shop: str) -> Iterator[Somebody]:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(shop)
    yield Somebody(page)
    context.close()


def test_job_a_page_was_slow_yesterday_afternoon(somebody: Somebody) -> None:
    """How often, how slow, to whom, and since when."""
    somebody.choose_span("Yesterday")
    somebody.click(somebody.link("/", "#fs-paths"))
    expect(somebody.page.locator("#fs-requests tbody tr").first).to_be_visible()
    somebody.click(somebody.page.locator("[data-measure=p95]"))
    expect(somebody.page.locator("#fs-series-h")).to_contain_text("Response time")
    assert somebody.number("hits") > 3
    expect(somebody.page.locator("#fs-requests td >> text=/^10\\./").first).to_be_visible()  # by whom
    somebody.click(somebody.page.locator(".hit a:not(.flag)").nth(15))
    expect(somebody.page.locator(".range")).to_contain_text("15:00")
    assert somebody.clicks == 5


def test_job_did_the_deploy_slow_or_break_anything(somebody: Somebody) -> None:
    somebody.click(somebody.page.locator("#fs-vs summary"))
    somebody.click(somebody.page.locator("#fs-vs a", has_text=re.compile("Before / after v")).first)
    expect(somebody.page.locator("h2").first).to_contain_text(re.compile("against|before|since", re.IGNORECASE))
    expect(somebody.page.locator("#fs-changes")).to_contain_text(re.compile("as before|Too few|Nothing changed|slower"))
    assert somebody.clicks == 2


def test_job_which_pages_bring_search_visitors_and_how_that_changes(somebody: Somebody) -> None:
    somebody.click(somebody.link("Search", "#fs-p-channel"))
    expect(somebody.page.locator(".chip")).to_contain_text("Channel is Search")
    expect(somebody.page.locator("#fs-paths [data-later]")).to_have_count(0)
    changes = somebody.page.locator("#fs-paths td.d").all_text_contents()
    assert any(re.fullmatch(r"[+−±]\d+%", text) for text in changes)
    assert somebody.clicks == 1


def test_job_who_hammers_my_server_and_how_to_keep_them_out(somebody: Somebody) -> None:
    somebody.click(somebody.link("Clients", ".tabs"))
    somebody.click(somebody.page.locator("#fs-clients tbody th a").first)
    expect(somebody.page.locator("#fs-deny")).to_contain_text("deny 10.")
    assert somebody.clicks == 2


def test_job_which_links_lead_nowhere_and_from_where(somebody: Somebody) -> None:
    somebody.click(somebody.link("Errors", ".tabs"))
    expect(somebody.page.locator("#fs-missing tbody tr").first).to_be_visible()
    expect(somebody.page.locator("#fs-links tbody tr").first).to_be_visible()
    assert somebody.clicks == 1


def test_job_people_each_week_this_year_and_from_where(somebody: Somebody) -> None:
    somebody.choose_span("This year")
    somebody.click(somebody.page.locator("[data-measure=visitors]"))
    expect(somebody.page.locator("#fs-series-h")).to_contain_text("Visitors per week")
    expect(somebody.page.locator(".scope")).to_contain_text("People only.")
    expect(somebody.page.locator("#fs-p-country")).to_contain_text("Germany")
    assert somebody.clicks == 3


def test_job_a_chart_and_a_table_for_the_boss(somebody: Somebody) -> None:
    for name, ending in (("SVG of the chart", ".svg"), ("CSV of Paths", ".csv")):
        with somebody.page.expect_download() as download:
            somebody.clicks += 1
            somebody.page.get_by_role("link", name=name).click()
        assert download.value.suggested_filename.endswith(ending)
    assert somebody.clicks == 2


def test_job_which_endpoints_nobody_uses(somebody: Somebody) -> None:
    somebody.click(somebody.link("Routes that nobody asked for", "#fs-paths"))
    expect(somebody.page.locator("#fs-unused tbody tr", has_text="/moody")).to_contain_text("never")
    assert somebody.clicks == 1


def test_job_two_browsers_side_by_side(somebody: Somebody) -> None:
    somebody.click(somebody.link("Chrome", "#fs-p-browser"))
    somebody.click(somebody.link("Firefox", "#fs-p-browser"))
    somebody.click(somebody.link("Compare", ".chip"))
    expect(somebody.page.locator("#fs-both .kpi").nth(3)).to_contain_text(re.compile(r"Chrome.*Firefox.*", re.DOTALL))
    expect(somebody.page.locator("#fs-pairs tbody tr").first).to_be_visible()
    assert somebody.clicks == 3


def test_job_the_busiest_hours_of_the_week(somebody: Somebody) -> None:
    expect(somebody.page.locator("#fs-p-week")).to_contain_text(re.compile("Most (Mon|Tue|Wed|Thu|Fri|Sat|Sun) "))
    somebody.click(somebody.page.locator("#fs-p-week a:has(> .h5)").first)
    expect(somebody.page.locator(".chip")).to_contain_text("Time is")
    assert somebody.clicks == 1
