"""Every view in a real browser under axe-core: light and dark, on three widths. No violation is allowed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, Page, expect

from .conftest import PATIENCE_MS, Site

pytestmark = pytest.mark.browser

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")
RULES = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
COLOR_RULES = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}
"""What can differ between the themes."""
VIEWS = {
    "overview": "?span=28d",
    "filtered": "?device!=bot&browser=firefox&browser=chrome&status_code!=5xx&metric=time",
    "path": "?path=/&metric=errors",
    "errors": "errors?span=28d",
    "requests": "requests",
    "request": "requests/1",
    "live": "live",
    "health": "health",
    "list": "list/path",
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
    page.locator("#fs-dates summary").click()
    expect(page.locator("#fs-dates input[name=start]")).to_be_visible()
    assert violations(page, RULES) == []
    page.keyboard.press("Escape")
    expect(page.locator("#fs-dates input[name=start]")).to_be_hidden()
    page.get_by_role("button", name="Keyboard shortcuts").click()
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    assert violations(page, RULES) == []


def violations(page: Page, rules: dict[str, Any]) -> list[Any]:
    """What axe finds with these rules: rule and elements."""
    found = page.evaluate("rules => axe.run({runOnly: rules, resultTypes: ['violations']})", rules)
    return [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found["violations"]]
