"""Clients of real requests: by address and network, how much at once, with which user agent; on every database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from flask_statistics import addresses, dimensions
from flask_statistics.filters import Filters, read_filters
from flask_statistics.spans import Span
from flask_statistics.state import state_of

from ..conftest import App, whole_model

MakeApp = Callable[..., App]
CLIENTS = {"203.0.113.7": 3, "203.0.113.99": 2, "2001:db8:1:2::3": 1}


@pytest.fixture(params=[False, True], ids=["raw", "rollups"])
def app(request: pytest.FixtureRequest, make_app: MakeApp, database_url: str) -> App:
    """Six requests of three clients in two networks, rolled up or not."""
    options = {"STATISTICS_ROLLUPS": True, "STATISTICS_SCHEDULER": False} if request.param else {}
    app = make_app(database_url, before=lambda flask: flask.add_url_rule("/", "home", lambda: "home"), **options)
    for address, times in CLIENTS.items():
        for number in range(times):
            agent = {"User-Agent": f"agent-{number}/1"}
            app.client.get("/" if number else "/missing", headers=agent, environ_overrides={"REMOTE_ADDR": address})
    if request.param:
        result = app.flask.test_cli_runner().invoke(args=["statistics", "rollup"])
        assert result.exit_code == 0, result.output
        app.client.get("/", environ_overrides={"REMOTE_ADDR": "192.0.2.1"})  # only the tail knows this one
    else:
        app.client.get("/", environ_overrides={"REMOTE_ADDR": "192.0.2.1"})
    return app


def counts(answer: Any) -> dict[str, int]:
    return {row["value"]: row["hits"] for row in answer["rows"]}


def test_clients_are_counted_by_address_and_network(app: App) -> None:
    answer = app.json("breakdown/address")
    assert counts(answer) == CLIENTS | {"192.0.2.1": 1}
    assert [row["value"] for row in answer["rows"]][:2] == ["203.0.113.7", "203.0.113.99"]
    networks = app.json("breakdown/network")
    assert counts(networks) == {"203.0.113.0/24": 5, "192.0.2.0/24": 1, "2001:db8:1::/48": 1}
    assert {row["value"]: row["visitors"] for row in networks["rows"]}["203.0.113.0/24"] == 2


@pytest.mark.parametrize(
    ("query", "hits"),
    [
        ("address=203.0.113.7", 3),
        ("address=203.0.113.7&address=192.0.2.1", 4),
        ("address!=203.0.113.7", 4),
        ("address=203.0.113.8", 0),
        ("address=", 0),
        ("network=203.0.113.0/24", 5),
        ("network=203.0.113.200", 5),
        ("network!=203.0.113.0/24", 2),
        ("network=2001:db8:1:ffff::/48", 1),
        ("network=203.0.113.0/24&status_code=404", 2),
        ("address=%27%20OR%201=1--", 0),
    ],
)
def test_clients_filter(app: App, query: str, hits: int) -> None:
    assert app.json(f"summary?{query}")["hits"] == hits
    assert sum(counts(app.json(f"breakdown/address?{query}")).values()) == hits
    assert len(app.json(f"requests?{query}")["rows"]) == hits


def test_a_client_is_told_with_its_peak_and_its_latest_user_agent(app: App) -> None:
    state = state_of(app.flask)
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    span = Span(now - timedelta(days=2), now + timedelta(days=2), state.settings.timezone)
    with state.queries() as queries:
        told = queries.clients([*CLIENTS, "192.0.2.9"], span, Filters())
        missed = queries.clients(["203.0.113.7"], span, read_filters([("status_code", "404")], state.dimensions)[0])
    assert {address: client.user_agent for address, client in told.items()} == {
        "203.0.113.7": "agent-2/1",
        "203.0.113.99": "agent-1/1",
        "2001:db8:1:2::3": "agent-0/1",
    }
    assert told["203.0.113.7"].peak in (2, 3)  # the minute may have ended meanwhile
    assert (missed["203.0.113.7"].peak, missed["203.0.113.7"].user_agent) == (1, "agent-0/1")


def test_sorted_and_searched_clients(app: App) -> None:
    assert counts(app.json("breakdown/address?search=113.9")) == {"203.0.113.99": 2}
    assert [row["value"] for row in app.json("breakdown/address?sort=value")["rows"]] == sorted([*CLIENTS, "192.0.2.1"])
    by_errors = app.json("breakdown/address?sort=-error_share&limit=1")["rows"]
    assert by_errors[0]["value"] == "2001:db8:1:2::3"


@pytest.mark.parametrize("how", ["hash", "truncate"])
def test_nobody_is_told_where_addresses_are_not_stored(make_app: MakeApp, how: str) -> None:
    app = make_app(STATISTICS_ANONYMIZE_IP=how)
    assert {"address", "network"}.isdisjoint(app.statistics_state().dimensions)
    assert app.client.get("/statistics/clients").status_code == 404
    assert "Clients" not in app.client.get("/statistics/").text


def test_addresses_as_other_writers_store_them(make_app: MakeApp, database_url: str) -> None:
    app = make_app(database_url, model=whole_model)
    now = datetime.now(timezone.utc).replace(tzinfo=None, microsecond=0) - timedelta(hours=1)
    stored = ["2001:DB8::1", "2001:db8::1", "host.example", "", None, "Ünï", " 192.0.2.1"]
    app.insert(*({"date": now, "path": "/", "remote_address": address} for address in stored))
    answer = app.json("breakdown/address")
    assert {(row["value"], row["hits"]) for row in answer["rows"]} == {
        *((address, 1) for address in stored if address),
        (None, 2),
    }
    for row in answer["rows"]:  # what is shown is what a click selects
        found = app.client.get("/statistics/api/summary", query_string={"address": row["value"] or ""}).get_json()
        assert found["hits"] == row["hits"], row["value"]


def test_a_page_of_one_network_reads_each_address_once(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(before=lambda flask: flask.add_url_rule("/", "home", lambda: "home"))
    for number in range(50):
        app.client.get("/", environ_overrides={"REMOTE_ADDR": f"203.0.{number}.7"})
    read: list[str | None] = []

    def network_of(text: str | None) -> str | None:
        read.append(text)
        return addresses.network_of(text)

    monkeypatch.setattr(dimensions, "network_of", network_of)
    assert "203.0.3.0/24" in app.client.get("/statistics/?network=203.0.3.0/24").text
    assert read.count("203.0.4.7") == 1
