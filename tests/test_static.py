"""The files the dashboard sends: small, complete, and asking nothing of other hosts."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import flask_statistics

from .conftest import App, a_fortnight

STATIC = Path(flask_statistics.__file__).parent / "static"
CSS = STATIC / "statistics.css"
VIEWS_CSS = STATIC / "views.css"
SCRIPT = STATIC / "statistics.js"


def test_first_view_is_at_most_32_kb_gzipped(make_app: Callable[..., App]) -> None:
    app = make_app(STATISTICS_ENABLED=False)
    app.insert(*a_fortnight(datetime.now(timezone.utc).replace(tzinfo=None)))
    page = app.client.get("/statistics/").data
    sizes = {name: len(gzip.compress(data, mtime=0)) for name, data in {"page": page, **files()}.items()}
    assert sum(sizes.values()) <= 32_000, sizes


def test_first_view_waits_for_no_other_styles(make_app: Callable[..., App]) -> None:
    app = make_app(STATISTICS_ENABLED=False)
    app.insert(*a_fortnight(datetime.now(timezone.utc).replace(tzinfo=None)))
    links = {
        path: re.findall(r'<link rel="stylesheet"[^>]*>', app.client.get(path).text)
        for path in ("/statistics/", "/statistics/errors")
    }
    first, last = links["/statistics/"]
    assert "statistics.css" in first
    assert "views.css" in last
    assert 'media="print"' in last
    assert [("views.css" in link, "media" in link) for link in links["/statistics/errors"]] == [
        (False, False),
        (True, False),
        (True, True),
    ]


def files() -> dict[str, bytes]:
    """What a page asks for beside itself."""
    return {
        name: (STATIC / name).read_bytes() for name in ("statistics.css", "statistics.js", "htmx.min.js", "icon.svg")
    }


def test_script_loads_and_evaluates_nothing() -> None:
    assert re.findall(r"https?:|//[a-z]|\beval\b|new Function|innerHTML|import\(", SCRIPT.read_text("utf-8")) == []


def test_css_loads_nothing() -> None:
    assert re.findall(r"url\(|@import|https?:|//", CSS.read_text("utf-8") + VIEWS_CSS.read_text("utf-8")) == []


def test_css_tokens_are_defined_and_used() -> None:
    css = CSS.read_text("utf-8") + VIEWS_CSS.read_text("utf-8")
    assert set(re.findall(r"(--[\w-]+):", css)) == set(re.findall(r"var\((--[\w-]+)", css))


def test_htmx_is_the_release_it_claims_to_be() -> None:
    digest = hashlib.sha256((STATIC / "htmx.min.js").read_bytes()).hexdigest()
    assert digest == "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130"


def test_htmx_licence_is_beside_it() -> None:
    assert "Zero-Clause BSD" in (STATIC / "htmx.LICENSE").read_text("utf-8")
