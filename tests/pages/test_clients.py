"""The clients view: who asks, how to reach all of their requests, and the rules that keep them out."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from html import unescape
from io import StringIO

import pytest

from ..conftest import App
from .test_errors import table

FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:72.0) Gecko/20100101 Firefox/72.0"


@pytest.fixture
def app(make_app: Callable[..., App]) -> App:
    app = make_app(before=lambda flask: flask.add_url_rule("/", "home", lambda: "home"))
    for address, path, agent in (
        ("203.0.113.7", "/", FIREFOX),
        ("203.0.113.7", "/missing", FIREFOX),
        ("203.0.113.9", "/", "<script>alert(1)</script>"),
        ("2001:db8::1", "/", ""),
    ):
        app.client.get(path, headers={"User-Agent": agent}, environ_overrides={"REMOTE_ADDR": address})
    return app


def test_clients_with_network_agent_peak_and_errors(app: App) -> None:
    rows = table(app, "clients", "fs-clients")
    assert rows[0][0] == "203.0.113.7203.0.113.0/24 · Firefox on Windows"
    assert (rows[0][1], rows[0][3]) == ("2", "50%")
    assert rows[0][2] in ("1", "2")
    assert [row[0] for row in rows[1:]] == [
        "2001:db8::12001:db8::/48",
        "203.0.113.9203.0.113.0/24 · <script>alert(1)</script>",
    ]
    assert "<script>alert" not in app.client.get("/statistics/clients").text


def test_networks_with_their_clients(app: App) -> None:
    rows = table(app, "clients?by=network", "fs-clients")
    assert rows == [["203.0.113.0/24", "3", "2", "33%"], ["2001:db8::/48", "1", "1", "0"]]


def test_panel_comes_after_its_page(app: App) -> None:
    page = app.client.get("/statistics/?span=24h").text
    (url,) = re.findall(r'data-later="([^"]+address[^"]*)"', page)
    panel = app.client.get(unescape(url))
    assert panel.status_code == 200
    assert re.findall(r'href="([^"]*address=[^"]*)"', panel.text)[0] == "/statistics/?span=24h&amp;address=203.0.113.7"
    assert 'href="/statistics/clients?span=24h"' in page  # for whoever runs no scripts


def test_click_on_a_client_leads_to_all_of_its_requests(app: App) -> None:
    page = app.client.get("/statistics/clients").text
    url = unescape(re.findall(r'href="([^"]*address=203.0.113.7)"', page)[0])
    shown = app.client.get(url).text
    assert len(re.findall(r'<td class="path">', shown)) == 2
    assert "Require not ip 203.0.113.7" in shown


def test_log_and_request_lead_to_their_client(app: App) -> None:
    to_client = 'href="/statistics/clients?address=203.0.113.7"'
    assert to_client in app.client.get("/statistics/requests").text
    assert to_client in app.client.get("/statistics/requests/1").text


def test_rules_keep_out_what_is_chosen_and_nothing_else(app: App) -> None:
    page = app.client.get(
        "/statistics/panel/deny?address=203.0.113.7&address=host.example%0Adeny+all&network=2001:db8::/48"
    )
    blocks = [unescape(block) for block in re.findall(r"<pre[^>]*>(.*?)</pre>", page.text, re.DOTALL)]
    assert blocks == [
        "deny 203.0.113.7;\ndeny 2001:db8::/48;",
        "<RequireAll>\n  Require all granted\n  Require not ip 203.0.113.7\n  Require not ip 2001:db8::/48\n</RequireAll>",
        "iptables -I INPUT -s 203.0.113.7 -j DROP\nip6tables -I INPUT -s 2001:db8::/48 -j DROP",
    ]
    assert 'id="fs-deny"' not in app.client.get("/statistics/clients?address=host.example").text


@pytest.mark.parametrize(
    ("query", "denied"),
    [
        ("address=fe80::1%25%3B%20touch%20evil%20%23", ["fe80::1"]),
        ("address=fe80::1%25%0Aevil", ["fe80::1"]),
        ("address=203.0.113.0/24", []),  # of no client
        ("address=::ffff:203.0.113.7", ["203.0.113.7"]),
        ("network=203.0.113.7", ["203.0.113.0/24"]),
        ("network=203.0.113.7/8", ["203.0.113.0/24"]),
        ("network=2001:db8::%25%0Aevil", ["2001:db8::/48"]),
        ("network!=203.0.113.0/24&address=", []),
    ],
)
def test_rules_have_what_the_page_counts_and_nothing_that_a_link_made_up(
    app: App, query: str, denied: list[str]
) -> None:
    page = app.client.get(f"/statistics/panel/deny?{query}").text
    rule = unescape(re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)[0])
    assert rule == "\n".join(f"deny {one};" for one in denied)


def test_file_has_all_clients(app: App) -> None:
    rows = list(csv.reader(StringIO(app.client.get("/statistics/export/address.csv").text.lstrip("\ufeff"))))
    assert rows[0] == ["Address", "Hits", "Most in a minute", "User agent", "4xx", "5xx", "Last seen"]
    assert [row[0] for row in rows[1:]] == ["203.0.113.7", "2001:db8::1", "203.0.113.9"]
    assert rows[1][3] == FIREFOX
    networks = list(csv.reader(StringIO(app.client.get("/statistics/export/network.csv").text.lstrip("\ufeff"))))
    assert [row[:3] for row in networks] == [
        ["Network", "Hits", "Clients"],
        ["203.0.113.0/24", "3", "2"],
        ["2001:db8::/48", "1", "1"],
    ]


def test_search_and_order(app: App) -> None:
    assert [row[0][:11] for row in table(app, "clients?search=113.9", "fs-clients")] == ["203.0.113.9"]
    first = table(app, "clients?sort=-error_share", "fs-clients")[0][0]
    assert first.startswith("203.0.113.7")
    assert "No client matches this search." in app.client.get("/statistics/clients?search=zzz").text
    assert table(app, "clients?sort=-visitors_change", "fs-clients") == table(app, "clients", "fs-clients")
    names = ("?sort=p95_change", "")
    assert len({app.client.get(f"/statistics/export/address.csv{name}").text for name in names}) == 1
