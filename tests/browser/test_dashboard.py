"""The dashboard in a real browser: swaps without a page load, races, failures, the chart, keys, no JavaScript."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect

from benchmarks.serving import wait_until

from ..conftest import PATIENCE_MS, Site

pytestmark = pytest.mark.browser

VIEWS = (
    "",
    "?metric=time&vs=year",
    "?path=/",
    "changes?span=24h",
    "errors",
    "issue?issue=ValueError:+none+left&span=28d",
    "requests",
    "live",
    "health",
    "list/path",
    "clients",
    "unused",
    "?path=/nowhere",
    "?span=x",
)


class Window:
    """A browser window on the dashboard, that keeps what it asked for and what went wrong in it."""

    def __init__(self, page: Page, site: Site) -> None:
        self.page, self.site = page, site
        self.asked: list[str] = []
        """URLs, in order; those of one script are known after `flush`."""
        page.on("request", lambda request: self.asked.append(request.url))
        self.problems: list[str] = []
        page.on("console", lambda message: self.problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.problems.append(str(error)))

    def open(self, path: str = "") -> None:
        """Load a page, and mark it: what is swapped keeps the mark, what is loaded anew does not."""
        self.page.goto(self.site.url(path))
        self.page.evaluate("window.mark = 1")

    def is_same_load(self) -> bool:
        return bool(self.page.evaluate("window.mark === 1"))

    def settle(self) -> None:
        """Wait until no answer is awaited: from here on, what is read once does not change by itself."""
        expect(self.page.locator("#fs-main")).not_to_have_attribute("aria-busy", "true")

    def flush(self) -> None:
        """Wait until all that the page has asked for, or complained of, is known: a question of our own comes after it."""
        url = self.site.url("static/statistics.css?flush")
        self.page.evaluate("url => fetch(url).then(answer => answer.text())", url)
        self.asked.remove(url)  # not always the last one: what costs more is asked for by the page a moment later

    @contextmanager
    def held(self, part: str) -> Iterator[None]:
        """No URL with this part is answered in the block; the page has dealt with those answers when it is left."""
        with self.site.control.held(part):
            yield
        self.settle()

    def span(self, name: str) -> None:
        self.page.locator("#fs-range").evaluate("menu => menu.open = true")
        self.page.locator("#fs-range").get_by_role("link", name=name).click()

    def expect_span(self, name: str) -> None:
        expect(self.page.locator("#fs-range [aria-current]")).to_contain_text(name)

    def expect_url(self, query: str) -> None:
        expect(self.page).to_have_url(re.compile(re.escape(query) + "$"))

    def expect_asked(self, part: str) -> None:
        """Wait until a URL with this part has reached the server."""
        wait_until(lambda: any(part in url for url in self.site.control.asked), f"nobody asks for {part}")


@pytest.fixture
def window(chromium: Browser, site: Site) -> Iterator[Window]:
    site.control.reset()
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    window = Window(context.new_page(), site)
    yield window
    context.close()


# ---- swaps -----------------------------------------------------------------------------------------------------------


def test_browser_span_click_swaps_and_pushes(window: Window) -> None:
    window.open()
    window.span("28 days")
    window.expect_span("28 days")
    window.expect_url("/statistics/?span=28d")
    assert window.is_same_load()
    expect(window.page.locator("#fs-status")).to_contain_text("Updated: ")
    window.page.go_back()
    window.expect_span("7 days")
    window.page.go_forward()
    window.expect_span("28 days")
    assert window.is_same_load()
    assert window.problems == []


def test_browser_filter_click_adds_a_chip(window: Window) -> None:
    window.open()
    window.page.locator("#fs-p-browser a", has_text="Firefox").first.click()
    expect(window.page.locator(".chip")).to_have_text(re.compile(r"Browser is\s+Firefox"))
    window.expect_url("?browser=firefox")
    window.page.locator(".chip .op").click()
    window.expect_url("?browser!=firefox")
    window.page.locator(".chip .x").click()
    expect(window.page.locator(".chip")).to_have_count(0)
    window.expect_url("/statistics/")
    expect(window.page.locator("#fs-main")).to_be_focused()
    assert window.is_same_load()


def test_browser_sorting_keeps_the_page(window: Window) -> None:
    window.open()
    window.site.control.asked.clear()
    window.page.locator("#fs-paths").get_by_role("link", name="p95").click()
    expect(window.page.locator("#fs-paths [aria-sort]")).to_have_text(re.compile("p95"))
    window.expect_url("/statistics/?sort=-p95")
    window.settle()
    # the clients and the icon come when the page is there
    asked = [url for url in window.site.control.asked if "/panel/" not in url and "/static/" not in url]
    assert asked == ["/statistics/?sort=-p95"]
    window.page.locator("#fs-paths input[type=search]").fill("page/1")
    window.page.keyboard.press("Enter")
    window.expect_url("/statistics/?sort=-p95&search=page%2F1")
    expect(window.page.locator("#fs-paths tbody tr").first).to_contain_text("/page/1")
    assert window.is_same_load()
    window.page.reload()
    expect(window.page.locator("#fs-paths [aria-sort]")).to_have_text(re.compile("p95"))
    assert window.problems == []


def test_browser_clients_come_after_their_page(window: Window) -> None:
    window.open("?span=28d")
    clients = window.page.locator("#fs-p-address tbody a")
    expect(clients).to_have_count(6)
    clients.first.click()
    expect(window.page.locator(".chips")).to_contain_text("Address is")
    assert window.is_same_load()
    window.settle()
    assert window.problems == []


def test_browser_log_pages_both_ways(window: Window) -> None:
    window.open("requests?span=28d")
    row = window.page.locator("#fs-requests tbody tr").first
    first = row.inner_text()
    window.page.get_by_role("link", name="Older ›").click()
    expect(row).not_to_have_text(first, use_inner_text=True)
    window.settle()
    top = window.page.locator("#fs-requests").evaluate("table => table.getBoundingClientRect().top")
    assert -1 <= top < 50  # the next page begins where one begins to read
    expect(window.page.get_by_role("link", name="Older ›")).to_be_focused()
    window.page.get_by_role("link", name="‹ Newer").click()
    expect(window.page.get_by_role("link", name="‹ Newer")).to_have_count(0)
    expect(row).to_have_text(first, use_inner_text=True)
    assert window.is_same_load()


def test_browser_empty_form_field_leaves_the_url(window: Window) -> None:
    window.open("?search=page")
    window.page.locator("#fs-paths input[type=search]").fill("")
    window.page.locator("#fs-paths input[type=search]").press("Enter")
    window.expect_url("/statistics/")
    assert window.is_same_load()


def test_browser_form_adds_a_filter(window: Window) -> None:
    window.open()
    menu = window.page.locator("#fs-add")
    menu.locator("summary").click()
    expect(menu.locator("[name=op]")).to_be_hidden()  # a path contains a text, or it does not
    menu.get_by_label("Field").select_option("Browser")
    menu.locator("[name=op]").select_option("is not")
    menu.get_by_label("Value").fill("Firefox")
    menu.get_by_role("button", name="Add filter").click()
    expect(window.page.locator(".chip")).to_have_text(re.compile(r"Browser is not\s+Firefox"))
    window.expect_url("/statistics/?browser!=firefox")
    expect(menu).not_to_have_attribute("open", "")
    assert window.is_same_load()


def test_browser_range_menu_has_calendar_and_times(window: Window) -> None:
    window.open("?browser=firefox")
    window.span("Yesterday")
    window.expect_span("Yesterday")
    expect(window.page).to_have_url(re.compile(r"\?start=([\d-]+)&end=\1&browser=firefox$"))
    menu = window.page.locator("#fs-range")
    menu.locator("summary").click()
    menu.get_by_label("From, time").fill("12:10")
    menu.get_by_role("button", name="Apply").click()
    expect(window.page).to_have_url(re.compile(r"\?start=([\d-]+)T12:10&end=[\d-]+T00:00&browser=firefox$"))
    expect(window.page.locator(".range")).to_contain_text("12:10")
    assert window.is_same_load()


@pytest.mark.parametrize("width", [1024, 1440])
def test_browser_toolbar_is_one_row_and_nothing_moves(window: Window, width: int) -> None:
    window.page.set_viewport_size({"width": width, "height": 900})
    tops = set()
    for query in (
        "",
        "?span=28d",
        "?span=91d",
        "?span=12mo",
        "?browser=firefox",
        "?browser=firefox&q=page",
        "?device!=bot&browser=firefox&status_code=200&vs=off",
    ):
        window.open(query)
        controls = window.page.locator(".bar > *, .bar > .step > *").evaluate_all(
            "all => all.map(one => [Math.round(one.getBoundingClientRect().top), one.getBoundingClientRect().height])"
        )
        assert all(height <= 32 for _, height in controls), query
        assert {top for top, _ in controls} <= {controls[0][0], controls[0][0] + 1}, query
        tops.add(window.page.locator(".kpi").first.bounding_box()["y"])  # type: ignore[index]
    assert len(tops) == 1, tops


# ---- races -----------------------------------------------------------------------------------------------------------


def test_browser_slow_then_fast_click_ends_on_the_last(window: Window) -> None:
    window.open()
    with window.held("span=91d"):
        window.span("91 days")
        window.span("28 days")
        window.expect_span("28 days")
    window.expect_span("28 days")
    window.expect_url("?span=28d")
    assert window.problems == []


def test_browser_slow_sort_then_click_ends_on_the_click(window: Window) -> None:
    window.open()
    with window.held("sort=-p95"):
        window.page.locator("#fs-paths").get_by_role("link", name="p95").click()
        window.span("28 days")
        window.expect_span("28 days")
    window.expect_url("?span=28d")
    expect(window.page.locator("#fs-paths [aria-sort]")).to_have_text(re.compile("Hits"))


def test_browser_slow_back_then_click_ends_on_the_click(window: Window) -> None:
    window.open("?span=91d")
    window.span("28 days")
    window.expect_span("28 days")
    with window.held("span=91d"):
        window.page.evaluate("history.back()")
        window.expect_asked("span=91d")
        window.span("24 hours")
        window.expect_span("24 hours")
    window.expect_span("24 hours")
    window.expect_url("?span=24h")


def test_browser_slow_click_then_back_ends_on_the_page_before(window: Window) -> None:
    window.open("?span=91d")
    window.span("28 days")
    window.expect_span("28 days")
    with window.held("span=24h"):
        window.span("24 hours")
        window.page.evaluate("history.back()")
        window.expect_span("91 days")
    window.expect_span("91 days")
    window.expect_url("?span=91d")


def test_browser_slow_answer_is_spoken_of_and_the_click_is_marked(window: Window) -> None:
    window.open()
    with window.held("device"):
        window.page.locator("nav[aria-label=Who]").get_by_role("link", name="People").click()
        expect(window.page.locator("nav[aria-label=Who] .asked")).to_have_text("People")
        expect(window.page.locator("#fs-slow")).to_have_text(
            "Still counting. Rollups make this instant: STATISTICS_ROLLUPS = True"
        )
    expect(window.page.locator("#fs-slow")).to_be_hidden()
    expect(window.page.locator(".asked")).to_have_count(0)


# ---- failures --------------------------------------------------------------------------------------------------------


def test_browser_server_error_keeps_the_numbers(window: Window) -> None:
    window.open()
    before = window.page.locator(".kpis").inner_text()
    window.site.control.status = 500
    window.span("28 days")
    banner = window.page.locator("#fs-error")
    expect(banner).to_contain_text("The server answered 500. The numbers shown are unchanged.")
    window.expect_url("/statistics/")
    window.settle()
    assert window.page.locator(".kpis").inner_text() == before
    window.site.control.status = 200
    banner.get_by_role("button", name="Retry").click()
    window.expect_span("28 days")
    window.expect_url("?span=28d")
    expect(banner).to_be_hidden()


def test_browser_offline_keeps_the_numbers(window: Window) -> None:
    window.open()
    window.page.context.set_offline(True)
    window.span("28 days")
    banner = window.page.locator("#fs-error")
    expect(banner).to_contain_text("Could not reach the server. The numbers shown are unchanged.")
    window.page.context.set_offline(False)
    banner.get_by_role("button", name="Retry").click()
    window.expect_span("28 days")


def test_browser_login_redirect_becomes_a_page_load(window: Window) -> None:
    window.open()
    window.site.control.login = True
    window.span("28 days")
    expect(window.page.get_by_role("heading", name="Log in")).to_be_visible()
    window.expect_url("/login")


# ---- chart -----------------------------------------------------------------------------------------------------------


def test_browser_drag_zooms_and_back_zooms_out(window: Window) -> None:
    window.open("?span=28d")
    box = window.page.locator("#fs-drawn").bounding_box()
    assert box is not None
    middle = box["y"] + 100
    window.page.mouse.move(box["x"] + box["width"] * 10.5 / 28, middle)
    window.page.mouse.down()
    window.page.mouse.move(box["x"] + box["width"] * 14.5 / 28, middle, steps=4)
    window.page.mouse.up()
    expect(window.page.locator("#fs-table tbody tr")).to_have_count(5 * 24)
    expect(window.page).to_have_url(re.compile(r"\?start=[\d-]+T00%3A00&end=[\d-]+T00%3A00$"))
    assert window.is_same_load()
    window.page.go_back()
    window.expect_span("28 days")
    assert window.problems == []


def test_browser_bucket_click_zooms(window: Window) -> None:
    window.open("?span=28d")
    box = window.page.locator("#fs-drawn").bounding_box()
    assert box is not None
    window.page.mouse.click(box["x"] + box["width"] * 20.5 / 28, box["y"] + 100)
    expect(window.page.locator("#fs-table tbody tr")).to_have_count(24)
    assert window.is_same_load()


def test_browser_flag_compares_before_and_after(window: Window) -> None:
    window.open("?span=7d")
    flag = window.page.locator(".flag text", has_text="v42")
    url = flag.locator("..").get_attribute("href")
    window.site.control.asked.clear()
    flag.hover()
    expect(window.page.locator("#fs-tip")).to_be_hidden()
    flag.click()
    expect(window.page.get_by_role("heading", name="v42 against v41")).to_be_visible()
    expect(window.page).to_have_url(f"{window.site.origin}{url}")
    window.settle()
    assert window.is_same_load()
    assert [url for url in window.site.control.asked if "/panel/" not in url] == [url]
    window.page.go_back()
    expect(window.page.locator(".flag text")).to_have_text(["<b>Moved</b>", "v42"])
    assert window.problems == []


def test_browser_flags_are_read_with_the_table(window: Window) -> None:
    window.open("?span=28d")
    window.page.locator("#fs-table summary").click()
    links = window.page.locator("#fs-table tbody a")
    expect(links).to_have_text(["v41", "<b>Moved</b>", "v42"])
    links.last.click()
    expect(window.page.get_by_role("heading", name="v42 against v41")).to_be_visible()
    assert window.is_same_load()


def test_browser_lines_are_named_beside_their_ends_or_in_a_legend(window: Window) -> None:
    window.open("?metric=time&span=28d")
    names, legend = window.page.locator(".rl text"), window.page.locator(".legend")
    expect(names.filter(has_text="p95")).to_be_visible()
    expect(legend).to_be_hidden()
    window.page.set_viewport_size({"width": 390, "height": 900})
    expect(legend).to_be_visible()
    expect(names.first).to_be_hidden()


def test_browser_link_of_the_chart_can_be_copied(window: Window) -> None:
    window.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    window.open()
    window.span("28 days")
    window.expect_span("28 days")
    window.page.get_by_role("button", name="Copy link").click()
    expect(window.page.get_by_role("button", name="Copied")).to_be_visible()
    link = window.page.evaluate("navigator.clipboard.readText()")
    assert re.fullmatch(re.escape(window.site.url("?start=")) + r"[\d-]+&end=[\d-]+", link)


def test_browser_chart_reads_with_arrow_keys(window: Window) -> None:
    window.open("?span=28d")
    window.page.locator("#fs-plot").focus()
    window.page.keyboard.press("End")
    last = window.page.locator("#fs-table tbody tr").last.locator("th").text_content() or ""
    status = window.page.locator("#fs-status")
    expect(status).to_contain_text(f"{last}, Hits ")
    expect(window.page.locator("#fs-tip")).to_be_visible()
    window.page.keyboard.press("ArrowLeft")
    expect(status).not_to_contain_text(last)
    window.page.keyboard.press("Escape")
    expect(window.page.locator("#fs-tip")).to_be_hidden()
    window.page.keyboard.press("End")
    window.page.keyboard.press("ArrowLeft")
    window.page.keyboard.press("Enter")
    expect(window.page.locator("#fs-table tbody tr")).to_have_count(24)


def test_browser_chart_leaves_other_keys_to_the_page(window: Window) -> None:
    window.open()
    window.page.locator("#fs-plot").focus()
    window.page.keyboard.press("m")
    window.expect_span("28 days")
    window.page.locator("#fs-plot").focus()
    window.page.keyboard.press("ArrowLeft")  # reads the chart, and does not move the span
    expect(window.page.locator("#fs-tip")).to_be_visible()
    window.expect_span("28 days")


def test_browser_tap_shows_before_it_zooms(chromium: Browser, site: Site) -> None:
    site.control.reset()
    context = chromium.new_context(viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(site.url("?span=28d"))
    page.locator("#fs-plot").scroll_into_view_if_needed()
    box = page.locator("#fs-drawn").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] * 20.5 / 28, box["y"] + 100
    page.touchscreen.tap(x, y)
    expect(page.locator("#fs-tip")).to_be_visible()
    expect(page).to_have_url(site.url("?span=28d"))
    page.touchscreen.tap(x, y)
    expect(page.locator("#fs-table tbody tr")).to_have_count(24)
    context.close()


# ---- keys, menus, theme ----------------------------------------------------------------------------------------------


def test_browser_keys(window: Window) -> None:
    window.open()
    for key, name in (("m", "28 days"), ("q", "91 days"), ("d", "Today"), ("w", "7 days")):
        window.page.keyboard.press(key)
        window.expect_span(name)
        window.settle()
    window.page.keyboard.press("c")
    window.expect_url("?vs=off")
    window.settle()
    window.page.keyboard.press("ArrowLeft")
    expect(window.page).to_have_url(re.compile(r"start="))
    window.settle()
    window.page.keyboard.press("/")
    expect(window.page.locator("#fs-add").get_by_label("Value")).to_be_focused()
    window.page.keyboard.type("page")
    window.page.keyboard.press("Enter")
    expect(window.page.locator(".chip")).to_have_count(1)
    window.settle()
    window.page.evaluate("document.activeElement.blur()")
    window.page.keyboard.press("x")
    expect(window.page.locator(".chip")).to_have_count(0)
    assert window.is_same_load()


def test_browser_letters_can_be_switched_off(window: Window) -> None:
    window.open()
    window.page.keyboard.press("?")
    dialog = window.page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(dialog).to_be_visible()
    dialog.get_by_role("button", name="Shortcuts are on").click()
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()
    window.asked.clear()
    window.page.keyboard.press("m")
    window.flush()
    assert [url for url in window.asked if "/panel/" not in url] == []  # the clients come later
    window.page.keyboard.press("ArrowLeft")
    expect(window.page).to_have_url(re.compile(r"\?start=[\d-]+&end=[\d-]+$"))
    window.page.get_by_role("button", name="Keyboard shortcuts").click()
    expect(dialog.get_by_role("button", name="Shortcuts are off")).to_be_visible()


def test_browser_asks_for_what_comes_later_one_after_the_other(window: Window) -> None:
    asked = window.site.control.asked
    with window.site.control.held("panel/paths"):
        window.open()
        window.expect_asked("panel/paths")
        window.flush()
        assert not any("panel/address" in url for url in asked)
    expect(window.page.locator("#fs-p-address tbody tr").first).to_be_visible()
    expect(window.page.locator("[data-later]")).to_have_count(0)
    assert window.problems == []


@pytest.mark.parametrize(("name", "value"), [("status", 503), ("login", True)])
def test_browser_keeps_a_table_whose_changes_do_not_come(window: Window, name: str, value: object) -> None:
    with window.site.control.held("panel/paths"):
        window.open()
        window.expect_asked("panel/paths")
        setattr(window.site.control, name, value)
    expect(window.page.locator("#fs-paths [data-later]")).to_have_text("Could not be computed")
    expect(window.page.locator("#fs-paths tbody tr").first).to_be_visible()
    expect(window.page.locator("#fs-p-address [data-later]")).to_have_text("Could not be computed")
    assert len([url for url in window.site.control.asked if "panel/paths" in url]) == 1


def test_browser_menu_closes(window: Window) -> None:
    window.open()
    menu = window.page.locator("#fs-vs")
    menu.locator("summary").click()
    window.page.keyboard.press("Escape")
    expect(menu).not_to_have_attribute("open", "")
    expect(menu.locator("summary")).to_be_focused()
    menu.locator("summary").click()
    menu.get_by_role("link", name="Off").click()
    window.expect_url("?vs=off")
    expect(menu).not_to_have_attribute("open", "")


def test_browser_focus_returns_to_the_menu_that_was_chosen_from(window: Window) -> None:
    window.open()
    window.page.locator("#fs-vs summary").click()
    window.page.get_by_role("link", name="Same period last year").focus()
    window.page.keyboard.press("Enter")
    window.expect_url("?vs=year")
    expect(window.page.locator("#fs-vs summary")).to_be_focused()
    window.page.locator("#fs-range summary").click()
    window.page.get_by_role("button", name="Apply").click()
    expect(window.page).to_have_url(re.compile(r"end="))
    expect(window.page.locator("#fs-range summary")).to_be_focused()
    expect(window.page.locator("details.menu[open]")).to_have_count(0)


def test_browser_view_is_saved_and_deleted(window: Window) -> None:
    window.open("errors?span=28d")
    page = window.page
    page.locator("#fs-save summary").click()
    page.get_by_label("Name of this view").fill("Failures")
    page.get_by_role("button", name="Save", exact=True).click()
    tab = page.locator(".tabs a", has_text="Failures")
    expect(tab).to_have_attribute("aria-current", "page")
    expect(page.locator(".tabs [aria-current]")).to_have_count(1)
    page.evaluate("window.mark = 1")
    page.locator(".tabs a", has_text="Overview").click()
    expect(tab).not_to_have_attribute("aria-current", "page")
    tab.click()
    window.expect_url("/statistics/errors?span=28d")
    assert window.is_same_load()
    page.get_by_role("button", name="Delete view").click()
    expect(tab).to_have_count(0)
    window.expect_url("/statistics/errors?span=28d")
    assert window.problems == []


def test_browser_theme_is_remembered(window: Window) -> None:
    window.open()
    window.page.locator("#fs-theme").get_by_role("button", name="Dark").click()
    html = window.page.locator("html")
    expect(html).to_have_attribute("data-theme", "dark")
    assert window.is_same_load()
    window.page.reload()
    expect(html).to_have_attribute("data-theme", "dark")
    expect(window.page.locator("body")).to_have_css("background-color", "rgb(14, 17, 22)")


# ---- live ------------------------------------------------------------------------------------------------------------


def test_browser_live_polls_and_stops_when_left(window: Window) -> None:
    window.page.clock.install(time=0)
    window.page.clock.pause_at(1000)  # a slow machine's seconds must not count
    window.open("live")
    expect(window.page.locator("#fs-poll")).to_be_attached()
    window.asked.clear()
    with window.page.expect_request_finished():
        window.page.clock.run_for(5100)
    window.flush()
    assert window.asked == [window.site.url("live")]
    window.page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    window.asked.clear()
    window.page.clock.run_for(11000)
    window.flush()
    assert window.asked == []
    window.page.evaluate("delete document.hidden")
    window.page.clock.resume()
    window.page.get_by_role("link", name="Errors").click()
    window.expect_url("/statistics/errors")
    window.settle()
    window.asked.clear()
    window.page.clock.run_for(20000)
    window.flush()
    assert window.asked == []
    assert window.problems == []


def test_browser_live_says_that_nobody_answers(window: Window) -> None:
    window.page.clock.install(time=0)
    window.page.clock.pause_at(1000)
    window.open("live")
    note, then = window.page.locator("#fs-live"), window.page.locator(".fresh time").inner_text()
    expect(note).to_have_text("Updates every 5 s")
    window.page.context.set_offline(True)
    for _ in range(2):
        with window.page.expect_event("requestfailed"):
            window.page.clock.run_for(5100)
    expect(note).to_have_text(f"No answer since {then}. The numbers are from then. Ask again")
    expect(window.page.locator("#fs-status")).to_contain_text("No answer since")
    expect(window.page.locator("#fs-error")).to_be_hidden()
    window.page.context.set_offline(False)
    note.get_by_role("link", name="Ask again").click()
    expect(note).to_have_text("Updates every 5 s")
    assert window.is_same_load()


def test_browser_live_goes_on_without_javascript(chromium: Browser, site: Site) -> None:
    site.control.reset()
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(site.url("live"))
    site.control.asked.clear()
    wait_until(lambda: any("live" in url for url in site.control.asked), "it stands still")
    other = context.new_page()  # the first one may be on its way again
    other.goto(site.url("live?paused=1"))
    assert other.locator("noscript meta").count() == 0
    context.close()


def test_browser_live_can_be_paused(window: Window) -> None:
    window.open("live")
    window.page.keyboard.press("p")
    expect(window.page.locator("#fs-poll")).to_have_count(0)
    window.expect_url("/statistics/live?paused=1")
    window.page.keyboard.press("p")
    expect(window.page.locator("#fs-poll")).to_be_attached()


# ---- without JavaScript, and strictness ------------------------------------------------------------------------------


def test_browser_works_without_javascript(chromium: Browser, site: Site) -> None:
    site.control.reset()
    context = chromium.new_context(java_script_enabled=False)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(site.url())
    page.locator("#fs-range summary").click()
    page.locator("#fs-range").get_by_role("link", name="28 days").click()
    expect(page).to_have_url(site.url("?span=28d"))
    page.locator("#fs-range summary").click()
    page.locator("#fs-range input[name=start]").fill("2020-01-01")
    page.locator("#fs-range input[name=end]").fill("2020-01-31")
    page.locator("#fs-range button").click()
    expect(page).to_have_url(site.url("?start=2020-01-01&end=2020-01-31"))
    expect(page.locator("#fs-nothing h2")).to_have_text("No requests between 1 Jan 2020 and 31 Jan 2020")
    page.get_by_role("link", name="Show all time").click()
    page.locator("#fs-paths").get_by_role("link", name="p95").click()
    expect(page).to_have_url(re.compile("sort=-p95"))
    page.locator("#fs-paths input[type=search]").fill("missing")
    page.locator("#fs-paths input[type=search]").press("Enter")
    expect(page.locator("#fs-paths tbody tr")).to_have_count(1)
    page.locator("#fs-p-status_code").get_by_role("link", name="404 Not Found").click()
    expect(page.locator(".chip")).to_have_count(1)
    page.locator("#fs-add summary").click()
    page.locator("#fs-add").get_by_label("Value").fill("miss")
    page.locator("#fs-add").get_by_label("Value").press("Enter")
    expect(page).to_have_url(re.compile("status_code=404&q=miss"))
    page.get_by_role("link", name="Remove filter Path contains miss").click()
    page.locator("#fs-theme").get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.locator(".chip")).to_have_count(1)
    context.close()


@pytest.mark.parametrize("path", VIEWS)
def test_browser_view_breaks_no_policy(window: Window, path: str) -> None:
    window.open(path)
    window.flush()
    assert window.problems == []
    assert [url for url in window.asked if not url.startswith((window.site.origin, "data:"))] == []


def test_browser_hostile_values_do_not_run(window: Window) -> None:
    markup = "/<img src=x onerror=alert(1)>\"'\u202e🙂" + "a" * 2000
    window.site.app.insert(
        {
            "date": window.site.app.rows()[0].date,
            "path": markup,
            "referrer": "javascript:alert(1)",
            "status_code": 404,
            "exception": "<script>alert(1)</script>",
        }
    )
    hostile = "path=" + quote(markup)
    for path in (
        "?span=28d&rows=50&status_code=404",
        f"?span=28d&{hostile}",
        "errors?span=28d",
        "requests?span=28d&status_code=404",
    ):
        window.open(path)
        expect(window.page.locator("body")).to_contain_text("<img src=x onerror=alert(1)>")
        assert window.page.locator("[href^='javascript:']").count() == 0
        for width in (390, 1280):
            window.page.set_viewport_size({"width": width, "height": 900})
            outside = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert window.page.evaluate(outside) <= 0, path
    assert window.problems == []
