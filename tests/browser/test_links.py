"""Every link of every view in a real browser: what a click shows is, to the letter, what a reload of its URL shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from ..conftest import PATIENCE_MS, Site

pytestmark = pytest.mark.browser

VIEWS = {
    "overview": "?by=route",
    "sorted": "?sort=-p95&search=page&rows=50",
    "filtered": "?device!=bot&browser=firefox&browser=chrome&status_code!=5xx&metric=time",
    "path": "?path=/&metric=errors",
    "changes": "changes?split=browser",
    "errors": "errors?span=28d",
    "issue": "issue?span=28d&issue=KeyError:+%E2%80%9C%E2%80%A6%E2%80%9D+%C2%B7+shop/cart.py+in+cart",
    "requests": "requests?span=28d",
    "request": "requests/1",
    "live": "live?paused=1",
    "health": "health",
    "list": "list/path?span=28d",
    "side by side": "?browser=firefox&browser=chrome&split=browser",
    "week": "week?span=28d&at=tue",
    "status codes": "list/status_code",
    "nothing": "?path=/nowhere&start=x&whatever=1",
}

CLICKED = "#fs-root a[href]:not(:is(.finding, #fs-p-address, #fs-p-week) *)"
"""All links but those of parts that come after the rest of their page, of which nobody knows whether they are there yet."""
LINKS = """
(seen) => {
  const shape = (link) => {
    const parts = [];
    for (let at = link; at && at.id !== "fs-root"; at = at.parentElement) {
      parts.push(at.id ? "#" + at.id : at.tagName + "." + at.classList);
      if (at.id) break;
    }
    return parts.join(" < ") + (link.hasAttribute("aria-current") ? " current" : "");
  };
  return [...document.querySelectorAll("CLICKED")].flatMap((link, number) => {
    const outside = link.origin !== location.origin || link.hasAttribute("download") || link.hash
      || link.getAttribute("hx-boost") === "false";
    if (outside || seen.includes(shape(link))) return [];
    seen.push(shape(link));
    return [[number, shape(link)]];
  });
}
""".replace("CLICKED", CLICKED)
"""Numbers and places of the links in places not `seen` yet: all rows of a table come from one line of a template."""

NORMAL = """
(root) => {
  root.querySelectorAll(".hit title").forEach((title) => title.remove());  // the script replaces them by its own
  root.querySelectorAll("[data-copy] + button, #fs-under button").forEach((button) => button.remove());
  const later = ":is(.finding, #fs-p-address, #fs-p-week) > *, [data-later]";
  root.querySelectorAll(later).forEach((part) => part.remove());
  root.querySelectorAll("td.d").forEach((cell) => cell.replaceWith("changed"));
  root.querySelectorAll("details[open]").forEach((menu) => menu.removeAttribute("open"));
  root.querySelectorAll("*").forEach((element) => {
    element.classList.remove("htmx-request");
    for (const name of element.getAttributeNames().sort()) {  // a morph may leave them in another order
      const value = element.getAttribute(name);
      element.removeAttribute(name);
      if (value !== "" && !/^(data-htmx|style)/.test(name)) element.setAttribute(name, value);
    }
  });
  const main = root.querySelector("#fs-main");
  main.querySelectorAll("time, .fresh").forEach((moment) => moment.replaceWith("then"));
  main.querySelectorAll(".notice").forEach((notice) => /^(A page|SQLite lets)/.test(notice.textContent) && notice.remove());
  return main.innerHTML.replace(/\\s+/g, " ").replaceAll("> <", "><").trim();
}
"""
"""What a page shows, but for the time of day, for advice on a slow machine, and for what the script adds."""


@pytest.fixture(scope="module")
def page(chromium: Browser, site: Site) -> Iterator[Page]:
    site.control.reset()
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def seen() -> list[str]:
    """Places of links that an earlier view had, with the same template."""
    return []


@pytest.mark.parametrize("view", VIEWS)
def test_links_swap_in_what_a_reload_shows(page: Page, site: Site, seen: list[str], view: str) -> None:
    page.goto(site.url(VIEWS[view]))
    wrong = []
    for number, place in page.evaluate(LINKS, seen):
        seen.append(place)
        page.goto(site.url(VIEWS[view]))
        difference = clicked(page, site, number)
        if difference:
            wrong.append(difference)
    assert wrong == []


def clicked(page: Page, site: Site, number: int) -> Any:
    """What is wrong after a click on that link of the page; None: nothing is."""
    link = page.locator(CLICKED).nth(number)
    url, label = link.evaluate(
        "link => [new URL(link.getAttribute('href'), location.href).href, link.outerHTML.slice(0, 200)]"
    )
    page.evaluate("window.mark = 1")
    site.control.asked.clear()
    link.evaluate("link => link.dispatchEvent(new MouseEvent('click', {bubbles: true, cancelable: true}))")
    page.wait_for_function("url => location.href === url", arg=url)
    expect(page.locator("#fs-main")).not_to_have_attribute("aria-busy", "true")
    later = ("/statistics/panel/", "changed=1")  # parts that come later
    asked = [url for url in site.control.asked if not any(part in url for part in later)]
    if not page.evaluate("window.mark === 1"):
        return label, "was loaded, and not swapped"
    if len(asked) > 1:
        return label, asked
    shown = page.evaluate(f"({NORMAL})(document)")
    reloaded = page.evaluate(
        f"async () => ({NORMAL})(new DOMParser().parseFromString(await (await fetch(location.href)).text(), 'text/html'))"
    )
    if shown == reloaded:
        return None
    at = next((n for n, (one, other) in enumerate(zip(shown, reloaded, strict=False)) if one != other), 0)
    return label, shown[max(0, at - 100) : at + 100], reloaded[max(0, at - 100) : at + 100]
