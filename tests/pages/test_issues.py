"""Issues on the errors view, and the page of one: what is listed, what is decided, and that both modes say the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from html import unescape
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
from flask import Flask

from flask_statistics.guards import everybody
from flask_statistics.pages.issues import MOST_BARS, spark
from flask_statistics.queries.answers import Block

from ..conftest import App, original_model
from .test_overview import rows as table

NOW = datetime.now(timezone.utc).replace(tzinfo=None, microsecond=0)
KEY, VALUE = "KeyError: “…” · shop/cart.py in cart", "ValueError: it is … · shop/search.py in results"
TRACEBACK = (
    "Traceback (most recent call last):\n"
    '  File "/srv/lib/python3.12/site-packages/flask/app.py", line 9, in dispatch\n    return view()\n'
    '  File "/srv/lib/python3.12/site-packages/flask/views.py", line 8, in view\n    return f()\n'
    '  File "/srv/shop/shop/cart.py", line 7, in cart\n    session["<b>cart"]\n    ~~~~~~~^^^^^^^^^^^\n'
    "KeyError: '<b>cart'\n"
)


def row(hours_ago: float, issue: str | None, release: str | None = None, **values: Any) -> dict[str, Any]:
    exception = {KEY: "KeyError('<b>cart')", VALUE: "ValueError('it is 7')", None: None}.get(issue, "Other()")
    traceback = (
        TRACEBACK.replace("cart.py", "search.py").replace("in cart", "in results") if issue == VALUE else TRACEBACK
    )
    status = 200 if issue is None else 500
    date = NOW - timedelta(hours=hours_ago)
    return {"date": date, "path": "/cart", "route": "/cart", "method": "GET", "status_code": status} | {
        "exception": exception,
        "issue": issue,
        "release": release,
        "traceback": traceback if issue else None,
        **values,
    }


ROWS = (
    row(24 * 30, None, "v40"),
    row(24 * 20, VALUE, "v40"),
    row(30, VALUE, "v41", remote_address="192.0.2.1"),
    row(20, VALUE, "v42", remote_address="192.0.2.1", device="bot"),
    row(20, KEY, "v42", remote_address="192.0.2.1"),
    row(10, KEY, "v42", remote_address="192.0.2.2"),
    row(9, KEY, "v42", remote_address="192.0.2.2", path="/checkout"),
    row(1, None, "v42"),
)


@pytest.fixture(params=[False, True], ids=["raw", "rollups"])
def app(request: pytest.FixtureRequest, make_app: Callable[..., App]) -> App:
    app = make_app(STATISTICS_ENABLED=False, STATISTICS_ROLLUPS=request.param, STATISTICS_SCHEDULER=False)
    add(app, *ROWS)
    return app


def add(app: App, *rows: dict[str, Any]) -> None:
    """Store requests, and let rollups have them where there are some."""
    app.insert(*rows)
    if app.statistics_state().rollups is not None:
        assert app.flask.test_cli_runner().invoke(args=["statistics", "rollup"]).exit_code == 0


def listed(app: App, query: str = "") -> list[list[str]]:
    """The issues of the errors view, without the small charts, their changes, first and last request."""
    response = app.client.get(f"/statistics/errors?{query}")
    assert response.status_code == 200
    return [[line[0], line[2], *line[4:6]] for line in table(response.text, "fs-issues")]


def page(app: App, issue: str, query: str = "", status: int = 200) -> str:
    response = app.client.get(f"/statistics/issue?{urlencode({'issue': issue})}&{query}")
    assert response.status_code == status
    return response.text


def decide(app: App, issue: str, state: str, **values: str) -> Any:
    return app.client.post("/statistics/issue", data={"issue": issue, "state": state, **values})


def test_errors_lists_issues_with_what_is_known_of_them(app: App) -> None:
    assert listed(app) == [
        ["KeyError new in v42“…”shop/cart.py in cart", "3", "2", "v42"],
        ["ValueErrorit is …shop/search.py in results", "2", "1", "v40 – v42"],
    ]
    text = app.client.get("/statistics/errors").text
    assert "Issues <small>5 failed requests</small>" in text
    first, last = (f"{NOW - timedelta(hours=ago):%Y-%m-%dT%H:%M:%S}+00:00" for ago in (24 * 20, 20))
    assert re.findall(r'<time datetime="([^"]*)"', text.partition("shop/search.py")[2])[:2] == [first, last]


def test_issues_of_filters_know_their_first_request_all_the_same(app: App) -> None:
    found = [["ValueErrorit is …shop/search.py in results", "1", "1", "v40 – v42"]]
    assert listed(app, "device=bot") == found
    assert listed(app, "path=/nowhere") == []


def test_issues_lead_to_pages_that_keep_the_filters(app: App) -> None:
    text = app.client.get("/statistics/errors?device!=bot&span=28d").text
    (url,) = re.findall(r'<a href="(/statistics/issue[^"]*)"><strong>ValueError', text)
    assert parse_qs(urlsplit(unescape(url)).query) == {"span": ["28d"], "device!": ["bot"], "issue": [VALUE]}
    shown = app.client.get(unescape(url)).text
    assert '<strong class="kv" title="2">2</strong>' in shown


def test_file_has_all_issues(app: App) -> None:
    decide(app, VALUE, "ignored")
    lines = app.client.get("/statistics/export/issues.csv").text.splitlines()
    assert lines[0] == "Type,Message,Place,State,Hits,Visitors,Releases,First seen,Last seen"
    assert [line.split(",")[:6] for line in lines[1:]] == [
        ["KeyError", "“…”", "shop/cart.py in cart", "open", "3", "2"],
        ["ValueError", "it is …", "shop/search.py in results", "ignored", "2", "1"],
    ]


def test_decided_issues_are_listed_apart(app: App) -> None:
    assert decide(app, KEY, "resolved", release="v43").status_code == 303
    decide(app, VALUE, "ignored")
    assert listed(app) == []
    assert listed(app, "standing=resolved")[0][0] == "KeyError resolved in v43“…”shop/cart.py in cart"
    assert listed(app, "standing=ignored")[0][0] == "ValueError ignoredit is …shop/search.py in results"
    text = app.client.get("/statistics/errors").text
    assert [f">{name}</a>" in text for name in ("Open 0", "Resolved 1", "Ignored 1")] == [True] * 3
    assert "No open issues in this span." in text
    decide(app, VALUE, "open")
    assert [line[0] for line in listed(app)] == ["ValueErrorit is …shop/search.py in results"]


def test_resolved_issue_comes_back_with_another_release(app: App) -> None:
    decide(app, KEY, "resolved")
    later = datetime.now(timezone.utc).replace(tzinfo=None) + timedelta(minutes=5)  # the decision was made now
    app.insert(row(0, KEY, "v42", date=later))
    assert len(listed(app, "standing=resolved&end=2100-01-01&start=2026-01-01")) == 1
    app.insert(row(0, KEY, "v43", date=later))
    assert listed(app, "span=7d")[0][0] == "KeyError again“…”shop/cart.py in cart"
    assert "again</span>" in page(app, KEY)


def test_page_of_an_issue(app: App) -> None:
    text = page(app, KEY)
    assert '<h2 class="bad" id="fs-issue-h">KeyError</h2>' in text
    values = re.findall(r'<strong class="kv"[^>]*>([^<]*)<', text)
    assert values[:2] == ["3", "2"]
    assert "of 6, 50%" in text
    assert [line[:2] for line in table(text, "fs-p-route")] == [["/cart", "3"]]
    assert [line[:2] for line in table(text, "fs-p-release")] == [["v42", "3"]]
    assert "Only these requests are counted." in text
    assert 'class="chip"' not in text


def test_page_shows_one_request_after_the_other(app: App) -> None:
    text, seen = page(app, KEY), []
    while True:
        seen.append((re.search(r">(\d of \d)<", text) or [""] * 2)[1])
        older = re.search(r'id="fs-older" href="([^"]*)"', text)
        if older is None:
            break
        text = app.client.get(unescape(older[1])).text
    assert seen == ["3 of 3", "2 of 3", "1 of 3"]
    newer = re.search(r'id="fs-newer" href="([^"]*)"', text)
    assert newer is not None
    assert ">2 of 3<" in app.client.get(unescape(newer[1])).text
    assert ">3 of 3<" in page(app, KEY, "before=nonsense")


def test_page_shows_the_apps_own_frames(app: App) -> None:
    section = page(app, KEY).partition('id="fs-failure"')[2].partition("</section>")[0]
    shown = unescape(section.partition("<pre")[2].partition(">")[2].partition("</pre>")[0])
    assert shown.splitlines() == [
        "  … 2 frames of flask",
        ["<b>shop/cart.py:7 in cart", '    session["<b>cart"]</b>'][0],
        '    session["<b>cart"]</b>',
        "<mark>KeyError: '<b>cart'</mark>",
    ]
    assert "<b>cart" not in section
    assert "2 frames of libraries are left out." in section
    assert "~~~~~~~^^^^^^^^^^^" in section  # of all of it, which can be unfolded


def test_buttons_fit_the_state(app: App) -> None:
    def buttons() -> list[str]:
        return re.findall(r'name="state" value="[a-z]+"[^>]*>([^<]+)</button>', page(app, KEY))

    assert buttons() == ["Ignore", "Resolved"]  # v42, which has it, is the newest release
    app.insert(row(0, None, "v43"))
    assert buttons() == ["Ignore", "Resolved in v43"]
    decide(app, KEY, "resolved", release="v43")
    assert buttons() == ["Open again"]
    assert "resolved in v43</span>" in page(app, KEY)


def test_decision_leads_back_within_the_dashboard(app: App) -> None:
    back = "/statistics/issue?issue=a&span=28d"
    assert decide(app, KEY, "ignored", back=back).headers["Location"] == back
    for other in (
        "",
        "https://other.example/",
        "//other.example",
        "/statistics/\\..\\a",
        "/elsewhere",
        "/statistics/\n",
    ):
        assert decide(app, KEY, "ignored", back=other).headers["Location"] == "/statistics/errors"


def test_decision_needs_an_issue_and_a_state(app: App) -> None:
    for data in (
        {},
        {"issue": KEY},
        {"issue": KEY, "state": "gone"},
        {"issue": "", "state": "open"},
        {"issue": "x" * 513},
    ):
        assert (
            app.client.post(
                "/statistics/issue", data={"state": "open", **data} if "x" * 513 in data.values() else data
            ).status_code
            == 400
        )
    assert (
        app.client.post(
            "/statistics/issue", data={"issue": KEY, "state": "ignored"}, headers={"Origin": "https://x.example"}
        ).status_code
        == 403
    )
    assert listed(app, "standing=resolved") == listed(app, "standing=ignored") == []


def test_page_of_no_issue(app: App) -> None:
    assert app.client.get("/statistics/issue?span=28d").headers["Location"] == "/statistics/errors?span=28d"
    assert "There is no such issue" in page(app, "never", status=404)
    assert "There is no such issue" in page(app, KEY, f"issue={VALUE}", status=404)


def test_page_of_an_issue_that_the_span_does_not_have(app: App) -> None:
    text = page(app, KEY, "start=2020-01-01&end=2020-01-02")
    assert "None is stored of this span." in text
    assert f"{NOW - timedelta(hours=9):%H:%M}" in text  # its last request


def test_requests_from_before_there_were_issues_are_told(app: App) -> None:
    add(app, row(2, None, exception="KeyError('a')", status_code=500, traceback=TRACEBACK))
    text = app.client.get("/statistics/errors").text
    assert ">1 failed request</a> has no issue yet: <code>flask statistics fill issue</code>" in text
    runner = app.flask.test_cli_runner()
    assert "1 raw row got another issue." in runner.invoke(args=["statistics", "fill", "issue"]).output
    assert "has no issue yet" not in app.client.get("/statistics/errors").text
    assert listed(app)[0][1:] == ["4", "2", "v42"]


def test_without_the_table_all_are_open(app: App) -> None:
    with app.flask.app_context():
        app.db.session.execute(app.db.text("DROP TABLE statistics_issue"))
        app.db.session.commit()
    assert len(listed(app)) == 2
    assert decide(app, KEY, "ignored").status_code == 503


def test_hostile_issues_are_shown_as_they_are(app: App) -> None:
    texts = ("<script>alert(1)</script>", "E: \u202e · ../../../x in f", "(other)", "a&issue=b", "%00", "x" * 512)
    add(app, *(row(1, text) for text in texts))
    shown = app.client.get("/statistics/errors?path=/cart&span=24h").text
    assert "<script>alert" not in shown
    urls = re.findall(r'<a href="(/statistics/issue[^"]*)"><strong>', shown)
    assert len(urls) == 6 + 2
    for url in map(unescape, urls):
        text = app.client.get(url).text
        assert "<script>alert" not in text
        assert re.search(r'<strong class="kv" title="[12]">', text)
        assert decide(app, parse_qs(urlsplit(url).query)["issue"][0], "ignored").status_code == 303
    assert app.client.get("/statistics/errors?standing=ignored").text.count("ignored</span>") == 8


def test_exception_is_recorded_as_an_issue(make_app: Callable[..., App]) -> None:
    def fail(number: int) -> str:
        raise LookupError(f"there is no order {number}")

    def routes(app: Flask) -> None:
        app.add_url_rule("/order/<int:number>", "order", fail)

    app = make_app(before=routes)
    for number in (1, 22):
        app.client.get(f"/order/{number}")
    app.client.get("/nowhere")
    place = "tests/pages/test_issues.py in fail"
    assert [row.issue for row in app.rows()] == [f"LookupError: there is no order … · {place}"] * 2 + [None]
    filled = app.flask.test_cli_runner().invoke(args=["statistics", "fill", "issue"]).output
    assert "0 raw rows got another issue." in filled


def test_receiver_decides_what_an_issue_is_made_of(make_app: Callable[..., App]) -> None:
    from flask_statistics import request_recording

    app = make_app(before=lambda app: app.add_url_rule("/broken", "broken", lambda: str(1 // 0)))

    def change(_sender: Flask, *, record: Any, **_: Any) -> None:
        record.exception = "Hidden()"

    def group(_sender: Flask, *, record: Any, **_: Any) -> None:
        record.issue = "mine"

    for receiver in (change, group):
        with request_recording.connected_to(receiver, app.flask):
            app.client.get("/broken")
    hidden, mine = app.rows()
    assert hidden.issue == "Hidden · tests/pages/test_issues.py in <lambda>"
    assert mine.issue == "mine"


def test_small_chart() -> None:
    blocks = [Block(hits, 0, 0, 0.0) for hits in (0, 1, 0, 4)]
    assert spark(blocks).path == "M1 20v-5h.7v5zM3 20v-20h.7v20z"
    many = spark([Block(1, 0, 0, 0.0)] * 168)
    assert many.bars == 42 <= MOST_BARS
    assert spark([Block(0, 0, 0, 0.0)] * 5).path == ""


def test_api_of_issues(app: App) -> None:
    key, value = app.json("issues")["rows"]
    first, last = (f"{NOW - timedelta(hours=ago):%Y-%m-%dT%H:%M:%S}+00:00" for ago in (20, 9))
    assert key == {
        "issue": KEY,
        "type": "KeyError",
        "message": "“…”",
        "place": "shop/cart.py in cart",
        "state": "open",
        "again": False,
        "resolved_in": None,
        "hits": 3,
        "visitors": 2,
        "releases": ["v42"],
        "first_requested": first,
        "last_requested": last,
    }
    assert (value["issue"], value["releases"], value["hits"]) == (VALUE, ["v40", "v41", "v42"], 2)
    wanted = {"issue": KEY, "state": "resolved", "release": "v43"}
    for given in ({"json": wanted}, {"data": wanted}):
        assert app.client.post("/statistics/api/issues", **given).json == wanted
    found = app.json("issues?limit=1")
    assert (found["total"], [row["resolved_in"] for row in found["rows"]]) == (2, ["v43"])
    assert app.json("issues?issue!=" + quote(KEY))["rows"] == [value]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"issue": KEY, "state": "gone"}, "state is 'gone', but must be one of open, resolved, ignored"),
        ({"issue": KEY}, "state is None, but must be one of open, resolved, ignored"),
        ({"state": "open"}, "issue is None, but must be the text of an issue, of 512 characters at most"),
        (
            {"issue": "\0", "state": "open"},
            "issue is '\\x00', but must be the text of an issue, of 512 characters at most",
        ),
        (
            {"issue": KEY, "state": "resolved", "release": 43},
            "release is 43, but must be a text of 64 characters at most",
        ),
        ({"issue": KEY, "state": "open", "why": ""}, "'why' is no parameter; did you mean issue?"),
    ],
)
def test_api_refuses_other_decisions(make_app: Callable[..., App], given: Any, message: str) -> None:
    answer = make_app().client.post("/statistics/api/issues", json=given)
    assert answer.status_code == 400
    assert answer.json["error"].startswith(message.partition(";")[0])  # type: ignore[index]


def test_nobody_decides_where_everybody_sees(make_app: Callable[..., App]) -> None:
    app = make_app(before_f=everybody, STATISTICS_ENABLED=False)
    app.insert(*ROWS)
    assert app.client.post("/statistics/api/issues", json={"issue": KEY, "state": "ignored"}).status_code == 403
    assert decide(app, KEY, "ignored").status_code == 403
    assert 'name="state"' not in page(app, KEY)
    assert len(listed(app)) == 2


def test_model_without_issues_has_exceptions_by_path(make_app: Callable[..., App]) -> None:
    app = make_app(model=original_model)
    assert 'id="fs-exceptions"' in app.client.get("/statistics/panel/exceptions").text
    assert app.client.get("/statistics/issue?issue=a").status_code == 404
    assert app.client.post("/statistics/issue", data={"issue": "a", "state": "open"}).status_code == 400
    answers = app.client.get("/statistics/api/issues"), app.client.post("/statistics/api/issues", json={})
    errors = [(answer.status_code, answer.get_json()["error"]) for answer in answers]
    assert all(status == 400 and error.startswith("issues need the column 'issue'") for status, error in errors)
    assert "statistics_issue" not in app.Request.metadata.tables
