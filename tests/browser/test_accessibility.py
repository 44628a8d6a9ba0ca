"""Every view in a real browser under axe-core: light and dark, on three widths. No violation is allowed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from ..conftest import PATIENCE_MS, Site

pytestmark = pytest.mark.browser

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")
RULES = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
COLOR_RULES = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}
"""What can differ between the themes."""
VIEWS = {
    "overview": "?span=28d",
    "filtered": "?device!=bot&browser=firefox&browser=chrome&status_code!=5xx&metric=time",
    "path": "?path=/&metric=errors",
    "changes": "changes?span=28d&split=browser",
    "unchanged": "changes?show=same&split=browser",
    "errors": "errors?span=28d",
    "issue": "issue?span=28d&issue=KeyError:+%E2%80%9C%E2%80%A6%E2%80%9D+%C2%B7+shop/cart.py+in+cart",
    "requests": "requests",
    "request": "requests/1",
    "live": "live",
    "health": "health",
    "list": "list/path",
    "clients": "clients",
    "unused": "unused",
    "side by side": "?browser=firefox&browser=chrome&split=browser",
    "split": "?split=status_code&at=tue&at=15",
    "week": "week?span=28d&metric=errors",
    "nothing": "?path=/nowhere&start=x",
    "unknown request": "requests/none",
}


WIDTHS = (1440, 1024, 390)


@pytest.fixture(scope="module")
def page(chromium: Browser, site: Site) -> Iterator[Page]:
    """A page that axe is in; the policy would keep it out."""
    site.control.reset()
    context = chromium.new_context(bypass_csp=True)
    context.set_default_timeout(PATIENCE_MS)
    context.add_init_script(path=AXE)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("view", VIEWS)
def test_accessibility_of_view(page: Page, site: Site, view: str) -> None:
    page.goto(site.url(VIEWS[view]))
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
        page.emulate_media(color_scheme="light")
        assert violations(page, RULES) == [], f"light, {width} px"
        page.emulate_media(color_scheme="dark")
        assert violations(page, COLOR_RULES) == [], f"dark, {width} px"


def test_accessibility_of_open_menus_and_dialog(page: Page, site: Site) -> None:
    page.goto(site.url())
    page.locator("#fs-table summary").click()
    page.locator("#fs-save summary").click()
    page.locator("#fs-range summary").click()
    expect(page.locator("#fs-range input[name=start]")).to_be_visible()
    assert violations(page, RULES) == []
    page.keyboard.press("Escape")
    expect(page.locator("#fs-range input[name=start]")).to_be_hidden()
    page.locator("#fs-add summary").click()
    page.locator("#fs-add").get_by_label("Field").select_option("Browser")
    expect(page.locator("#fs-add").locator("[name=op]")).to_be_visible()
    assert violations(page, RULES) == []
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Keyboard shortcuts").click()
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    assert violations(page, RULES) == []


def violations(page: Page, rules: dict[str, Any]) -> list[Any]:
    """What axe finds with these rules: rule and elements."""
    found = page.evaluate("rules => axe.run({runOnly: rules, resultTypes: ['violations']})", rules)
    return [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found["violations"]]


STATES = (
    """
.seg a, .seg [aria-current], .seg.sm a, .seg.sm [aria-current], #fs-theme button, .tabs a, .tabs [aria-current],
.btn, .step .btn, .decide .btn, .decide .pri,
summary.btn, .pop .pri, .pop.list a, .kpi, .kpi[aria-current], .chip .op, .chip .x, .clear,
thead a, tbody tr, tbody th a, .flag text,
#fs-table tbody a, .panel tbody a, .panel [aria-current], .more a, .foot a, .log tbody tr, .st, input, button
""".replace("\n", " ")
    .strip()
    .split(", ")
)
"""What changes its looks under the pointer, by the keyboard or when it is chosen."""


@pytest.mark.parametrize("view", ["filtered", "errors", "issue", "requests"])
def test_accessibility_under_the_pointer_pressed_with_the_focus(page: Page, site: Site, view: str) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(site.url(VIEWS[view]))
    page.evaluate("document.querySelectorAll('details').forEach((menu) => menu.open = true)")
    for selector in STATES:
        control = page.locator(f"#fs-main {selector}").first
        if control.count() and control.is_visible():
            control.focus()
            control.hover(force=True)
            assert contrasts(control) == [], selector
            page.mouse.down()
            assert contrasts(control) == [], f"{selector}, pressed"
            page.mouse.move(0, 0)  # what is let go elsewhere is not clicked
            page.mouse.up()


def test_accessibility_of_what_was_just_clicked(page: Page, site: Site) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(site.url())
    chosen = (
        "#fs-range a >> text=28 days",
        "nav[aria-label=Interval] a >> text=Week",
        "nav[aria-label='Group by'] a >> text=Path",
    )
    for control in (
        *chosen,
        ".kpi >> nth=1",
        "nav[aria-label=Who] a >> text=People",
        "thead a >> text=p95",
        ".panel a",
    ):
        if not page.locator(control).first.is_visible():
            page.locator("#fs-range summary").click()
        page.locator(control).first.click()
        expect(page.locator("#fs-main")).not_to_have_attribute("aria-busy", "true")
        assert contrasts(page.locator("#fs-main")) == [], control


def test_accessibility_while_the_next_page_is_awaited(page: Page, site: Site) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="light")
    page.goto(site.url())
    tile = page.locator(".kpi").first
    place, colour = tile.bounding_box(), "element => getComputedStyle(element).color"
    before = tile.locator(".kv").evaluate(colour)
    with site.control.held("metric=time"):
        page.locator(".kpi >> nth=3").click()
        expect(page.locator(".kpi.asked")).to_have_count(1)
        expect(tile.locator(".kv")).not_to_have_css("color", before)
        assert contrasts(page.locator("#fs-main")) == []
        assert tile.bounding_box() == place
        page.emulate_media(color_scheme="light")
    expect(page.locator("#fs-main")).not_to_have_attribute("aria-busy", "true")
    expect(tile.locator(".kv")).to_have_css("color", before)


AT_REST = """
() => document.getAnimations().every((one) => one.transitionProperty !== "color" || !one.effect.target.checkVisibility())
"""
"""No colour is on its way to another one; what a closed menu or table hides stays on its way for as long."""


def contrasts(element: Locator) -> list[Any]:
    """What axe finds with the rules of colours in that element, in either theme."""
    found = []
    for theme in ("light", "dark"):
        element.page.emulate_media(color_scheme=theme)
        element.page.wait_for_function(AT_REST)
        options = {"runOnly": COLOR_RULES, "resultTypes": ["violations"]}
        result = element.evaluate("(element, options) => axe.run(element, options)", options)
        found += [(theme, node["html"][:200]) for rule in result["violations"] for node in rule["nodes"]]
    return found
