"""Hostile input, in short: the strategies of `fuzzing`, and what they and the long run of `benchmarks/fuzz.py` found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from flask_statistics.guards import everybody

from ..conftest import DATABASES, App
from ..fuzzing import (
    MARKUP,
    METHODS,
    PATIENT,
    Sent,
    add_views,
    addresses,
    check_case,
    check_markup,
    methods,
    operations,
    queries,
    quiet_logs,
    record,
    sent,
    view,
)

few = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)


@pytest.fixture(scope="module", params=DATABASES)
def recording(request: pytest.FixtureRequest, new_database: Any) -> Iterator[App]:
    """An app that answers everything."""
    with new_database(request.param) as url:
        app = App(url, before=add_views, before_f=everybody, STATISTICS_REAL_IP_HEADER="X-Real-IP")
        yield app
        app.close()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app whose table holds hostile requests of today, that another one recorded."""
    url = f"sqlite:///{tmp_path_factory.mktemp('fuzz') / 'app.sqlite'}"
    recorder = App(url, before=add_views, before_f=everybody)
    for text in MARKUP:
        raw = text.encode("utf-8", "surrogatepass")
        for method in METHODS[:3]:
            headers = (("User-Agent", raw), ("Referer", b"http://" + raw))
            for query in (raw, b"utm_campaign=" + raw):
                record(recorder, Sent(method, raw, query, headers, raw, b"text/html"))
    recorder.close()
    app = App(url, before_f=everybody, STATISTICS_QUERY_TIMEOUT=PATIENT)
    yield app
    app.close()


@given(request=sent)
@few
def test_recording_takes_any_request(recording: App, request: Sent) -> None:
    with quiet_logs():
        record(recording, request)


@given(address=addresses, query=queries, method=methods)
@few
def test_dashboard_answers_any_url(hostile: App, address: str, query: str, method: str) -> None:
    with quiet_logs():
        view(hostile, address, query, method)


SHOWING = ("", "errors", "requests", "live", "list/path", "list/referrer", "list/campaign")
OF_LOG = "requests?first=slowest&column=path&column=query_string&column=referrer&column=host&column=language"
OTHERS = ("clients", "changes?split=browser", "changes?show=same", "unused", "panel/finding", "list/channel", OF_LOG)


@pytest.mark.parametrize("page", [*SHOWING, *OTHERS])
def test_recorded_markup_is_text(hostile: App, page: str) -> None:
    found = hostile.client.get(f"/statistics/{page}{'&' if '?' in page else '?'}span=all&rows=200").text
    assert ("alert(1)" in found) >= (page in SHOWING)
    check_markup(found)


def test_every_hostile_request_can_be_looked_at(hostile: App) -> None:
    for row in hostile.rows():
        check_markup(hostile.client.get(f"/statistics/requests/{row.index}").text)


@pytest.mark.parametrize(
    "page", ["<script>alert(1)</script>", "<img src=x onerror=y>", '<a href="javascript:x">', '<a href="//x">']
)
def test_the_check_of_markup_finds_it(page: str) -> None:
    with pytest.raises((AssertionError, KeyError)):
        check_markup(page)


# ---- what was found --------------------------------------------------------------------------------------------------


def test_static_file_with_a_nul_in_its_name(hostile: App) -> None:
    for name in ("%00", "statistics.css%00", "%00/../statistics.css"):
        assert hostile.client.get(f"/statistics/static/{name}").status_code == 404


# ---- the API by its description --------------------------------------------------------------------------------------


OPERATIONS = (
    "summary",
    "series",
    "breakdown/{dimension}",
    "changes",
    "requests",
    "issues",
    "marks",
    "panels",
    "health",
)


@pytest.mark.parametrize("path", OPERATIONS)
def test_api_is_as_described(hostile: App, path: str) -> None:
    try_out(hostile, path, "GET")


@pytest.mark.parametrize(("path", "method"), [("issues", "POST"), ("marks", "POST"), ("marks/{key}", "DELETE")])
def test_changes_by_the_api_are_as_described(make_app: Callable[..., App], path: str, method: str) -> None:
    try_out(make_app(before_f=lambda: True), path, method)


def try_out(app: App, path: str, method: str) -> None:
    @given(case=operations(app)[f"/{path}", method].as_strategy())
    @settings(few, max_examples=40)
    def try_it(case: schemathesis.Case[Any]) -> None:
        check_case(case)

    try_it()


def test_api_describes_every_route(hostile: App) -> None:
    described = hostile.json("openapi.json")
    rules = {
        rule.rule.removeprefix("/statistics/api").replace("<", "{").replace(">", "}")
        for rule in hostile.flask.url_map.iter_rules()
        if rule.endpoint.startswith("statistics.api_")
    }
    assert set(described["paths"]) == rules == {f"/{path}" for path in (*OPERATIONS, "marks/{key}", "openapi.json")}
    assert described["servers"] == [{"url": "/statistics/api"}]
