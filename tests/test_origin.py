"""What another site's page may send: nothing that changes anything."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from werkzeug.datastructures import Headers
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_statistics.guards import everybody
from flask_statistics.origin import is_from_another_site

from .conftest import App

HOST = "shop.example:8443"


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({}, False),
        ({"Sec-Fetch-Site": "same-origin"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": "same-site"}, True),
        ({"Sec-Fetch-Site": "whatever comes"}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": f"https://{HOST}"}, True),
        ({"Origin": f"https://{HOST}"}, False),
        ({"Origin": f"https://{HOST}".upper()}, False),
        ({"Origin": "https://shop.example"}, True),
        ({"Origin": "https://shop.example:8443.evil.example"}, True),
        ({"Origin": f"https://evil.example/{HOST}"}, True),
        ({"Origin": f"https://evil.example/://{HOST}"}, True),
        ({"Origin": f"https://{HOST}@evil.example"}, True),
        ({"Origin": HOST}, True),
        ({"Origin": "null"}, True),
        ({"Origin": "http://["}, True),
        ({"Origin": "", "Sec-Fetch-Site": ""}, False),
    ],
)
def test_other_sites(headers: dict[str, str], refused: bool) -> None:
    assert is_from_another_site("POST", Headers(headers), HOST) == refused
    assert is_from_another_site("DELETE", Headers(headers), HOST) == refused
    assert not is_from_another_site("GET", Headers(headers), HOST)


@pytest.mark.parametrize("path", ["theme", "log-out"])
def test_pages_of_other_sites_change_nothing(make_app: Callable[..., App], path: str) -> None:
    app = make_app()
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        refused = app.client.post(f"/statistics/{path}", data={"theme": "dark"}, headers=headers)
        assert refused.status_code == 403
        assert "Set-Cookie" not in refused.headers
        assert "It came from a page of another site, which may change nothing here." in refused.text
        assert app.client.get("/statistics/", headers=headers).status_code == 200
    own = app.client.post(f"/statistics/{path}", data={"theme": "dark"}, headers={"Origin": "http://localhost"})
    assert own.status_code == {"theme": 303, "log-out": 200}[path]


def test_the_guard_is_asked_before_the_site(make_app: Callable[..., App]) -> None:
    app = make_app(before_f=lambda: False)
    refused = app.client.post("/statistics/theme", headers={"Sec-Fetch-Site": "cross-site"})
    assert (refused.status_code, "another site" in refused.text) == (403, False)


def test_the_host_behind_a_proxy_is_the_one_that_was_asked_for(make_app: Callable[..., App]) -> None:
    app = make_app(before_f=everybody)
    app.flask.wsgi_app = ProxyFix(app.flask.wsgi_app, x_host=1, x_proto=1)  # type: ignore[method-assign]
    headers = {"X-Forwarded-Host": "shop.example", "X-Forwarded-Proto": "https", "Origin": "https://shop.example"}
    assert app.client.post("/statistics/theme", headers=headers).status_code == 303
    assert app.client.post("/statistics/theme", headers={**headers, "Origin": "http://localhost"}).status_code == 403
