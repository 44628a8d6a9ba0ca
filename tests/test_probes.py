"""Paths that scanners try."""

from __future__ import annotations

from time import process_time

import pytest

from flask_statistics.probes import is_probe
from flask_statistics.traffic import _SCANNED_PATHS


@pytest.mark.parametrize(
    "path", [*_SCANNED_PATHS, "/blog/wp-admin/setup", "/a/b.PHP", "/x.php/y", "/index.html~", "/.env.old"]
)
def test_scanners_try(path: str) -> None:
    assert is_probe(path)


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/",
            "",
            "/media/1000.webp",
            "/blog/winter",
            "/product/9999",
            "/a/b/c.html",
            "/feed.xml",
            "/robots.txt",
            "/favicon.ico",
        ),
        *(
            "/apple-touch-icon.png",
            "/.well-known/acme-challenge/x",
            "/sitemap.xml.html",
            "/php",
            "/logs",
            "/users/console-games",
        ),
        *("/docs/v1.2/setup", "/ünï", "/download.pdf", "/app.js", "/app.js.map", "/data.json", "/shop/tea/debug"),
    ],
)
def test_people_may_mean(path: str) -> None:
    assert not is_probe(path)


@pytest.mark.parametrize("text", ["/.", "/", ".", "a/", "wp-", "~", "/.well-known", ".php."])
def test_long_paths_take_no_time(text: str) -> None:
    began = process_time()
    is_probe(text * 5_000)
    assert process_time() - began < 0.1
