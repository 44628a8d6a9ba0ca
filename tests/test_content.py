"""Kinds of content, by the media types that apps and other writers store."""

from __future__ import annotations

import pytest

from flask_statistics.content import LABELS, content_of


@pytest.mark.parametrize(
    ("mimetype", "kind"),
    [
        ("text/html", "page"),
        ("TEXT/HTML; charset=utf-8", "page"),
        ("application/json", "api"),
        ("application/problem+json", "api"),
        ("application/atom+xml", "api"),
        ("text/event-stream", "api"),
        ("image/svg+xml", "asset"),
        ("text/javascript", "asset"),
        ("text/css", "asset"),
        ("font/woff2", "asset"),
        ("application/wasm", "asset"),
        ("application/pdf", "other"),
        ("text/plain", "other"),
        ("nonsense", "other"),
        ("/", "other"),
    ],
)
def test_content_of(mimetype: str, kind: str) -> None:
    assert content_of(mimetype) == kind
    assert kind in LABELS
