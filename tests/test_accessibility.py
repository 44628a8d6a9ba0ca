"""Every view in a real browser under axe-core: light and dark, on three widths. No violation is allowed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, Page

from .conftest import Site

pytestmark = pytest.mark.browser

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
VIEWS = {
    "overview": "?span=28d",
    "filtered": "?device!=bot&browser=firefox&browser=chrome&status_code!=5xx&metric=time",
    "path": "?path=/&metric=errors",
    "errors": "errors?span=28d",
    "requests": "requests",
    "request": "requests/1",
    "live": "live",
    "list": "list/path",
    "nothing": "?path=/nowhere&start=x",
    "unknown request": "requests/none",
}


@pytest.fixture(scope="module", params=["light", "dark"])
def theme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=[1440, 1024, 390])
def page(request: pytest.FixtureRequest, theme: str, chromium: Browser, site: Site) -> Iterator[Page]:
    site.control.reset()
    size = {"width": request.param, "height": 900}
    context = chromium.new_context(viewport=size, color_scheme=theme, bypass_csp=True)  # type: ignore[arg-type]
    context.add_init_script(path=AXE)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("view", VIEWS)
def test_accessibility_of_view(page: Page, site: Site, view: str) -> None:
    page.goto(site.url(VIEWS[view]))
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


def test_accessibility_of_open_menus_and_dialog(page: Page, site: Site) -> None:
    page.goto(site.url())
    page.locator("#fs-table summary").click()
    page.locator("#fs-dates summary").click()
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Keyboard shortcuts").click()
    assert violations(page) == []


def violations(page: Page) -> list[Any]:
    """What axe finds: rule and elements."""
    found = page.evaluate("rules => axe.run({runOnly: rules, resultTypes: ['violations']})", RULES)
    return [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found["violations"]]
