"""Saved views: what can be one, how it is kept, and its tab."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from html import unescape
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_statistics import SettingError
from flask_statistics.config import MOST_VIEWS
from flask_statistics.dimensions import available
from flask_statistics.guards import everybody
from flask_statistics.kept import SavedView
from flask_statistics.models import KNOWN_COLUMNS
from flask_statistics.saved_views import ViewError, canonical

from .conftest import App, a_fortnight

MakeApp = Callable[..., App]
NO_PAGE = "a page of the dashboard with its parameters, such as errors?span=28d, and"
UNREAD = "a page of the dashboard with its parameters, and"
DIMENSIONS = available(dict.fromkeys(KNOWN_COLUMNS))
NOW = datetime(2026, 11, 28, 17, 42)


def read(url: str, *, of_clients: bool = True) -> str:
    return canonical(
        url,
        dimensions=DIMENSIONS,
        now=NOW,
        zone=ZoneInfo("Europe/Berlin"),
        default=timedelta(days=7),
        of_clients=of_clients,
    )


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("?path=/checkout&span=28d", "?span=28d&path=/checkout"),
        ("errors?span=28d&offset=50&before=7", "errors?span=28d"),
        ("?span=7d&browser!=firefox", "?browser!=firefox"),
        ("?span=all&metric=time", "?span=all&metric=time"),
        ("?start=2026-11-01&end=2026-11-02T12:00", "?start=2026-11-01T00:00&end=2026-11-02T12:00"),
        ("list/browser", "list/browser"),
        ("week", "week"),
        ("page/revenue?span=28d", "page/revenue?span=28d"),
        ("requests?slower=1&column=path", "requests?slower=1&column=path"),
        ("?q=<script>&token=secret", "?q=%3Cscript%3E"),
        ("clients?address=192.0.2.7", "clients?address=192.0.2.7"),
    ],
)
def test_views_are_kept_as_pages_write_them(url: str, kept: str) -> None:
    assert read(url) == kept
    assert read(kept) == kept


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "a page with parameters of its own: without any it is a tab already"),
        ("errors?span=7d", "a page with parameters of its own: without any it is a tab already"),
        ("nowhere?span=7d", f"{NO_PAGE} 'nowhere' is none"),
        ("list/nothing", f"{NO_PAGE} 'list/nothing' is none"),
        ("requests/5", f"{NO_PAGE} 'requests/5' is none"),
        ("https://evil.example/", f"{NO_PAGE} 'https://evil.example/' is none"),
        ("/errors", f"{NO_PAGE} '/errors' is none"),
        ("?span=soon", f"{UNREAD} span is 'soon', but must be one of"),
        ("?staus_code=500", f"{UNREAD} 'staus_code' is no parameter; did you mean status_code?"),
        (f"?path={'/x' * 1500}", "of 2,000 characters at most"),
    ],
)  # fmt: skip
def test_views_that_cannot_be(url: str, message: str) -> None:
    with pytest.raises(ViewError) as refusal:
        read(url)
    assert str(refusal.value).startswith(message)


@pytest.mark.parametrize("name", ["address", "network"])
def test_views_of_clients_are_not_kept(name: str) -> None:
    with pytest.raises(ViewError, match=f"^one that names no visitor, and it is filtered by {name}"):
        read(f"?{name}=192.0.2.0", of_clients=False)


@given(
    st.sampled_from(["", "errors", "requests", "x", "list/path", "//evil.example/"]),
    st.text(max_size=60) | st.sampled_from(["a=b", "path=%00", "q=%ff", "browser=\u202e", "start=2026-11-01&end="]),
)
def test_whatever_is_kept_is_read_again_as_it_is(path: str, query: str) -> None:
    try:
        found = read(f"{path}?{query}")
    except ViewError:
        return
    assert found.isascii()
    assert found.partition("?")[0] == path
    assert read(found) == found


# ---- on pages --------------------------------------------------------------------------------------------------------


def app_of(make: MakeApp, url: str | None = None, **options: object) -> App:
    app = make(url, STATISTICS_ENABLED=False, before_f=options.pop("before_f", lambda: True), **options)
    app.insert(*a_fortnight(datetime.now().astimezone(ZoneInfo("UTC")).replace(tzinfo=None)))
    return app


def save(app: App, name: str, back: str, status: int = 303, **headers: str) -> str:
    response = app.client.post("/statistics/views", data={"name": name, "back": f"/statistics/{back}"}, headers=headers)
    assert response.status_code == status, response.text
    return response.location if status == 303 else response.text


def tabs(app: App, path: str = "") -> list[tuple[str, str, bool]]:
    """Saved views among the tabs: name, URL, and whether it is current."""
    page = app.client.get(f"/statistics/{path}").text
    nav = page.partition('<nav class="tabs"')[2].partition("</nav>")[0]
    found = re.findall(r'<a(?: class="own")? href="([^"]*)"( aria-current="page")?>([^<]*)</a>', nav)
    own = next(place for place, (url, *_) in enumerate(found) if url.startswith("/statistics/health"))
    return [(unescape(name), unescape(url), bool(current)) for url, current, name in found[own + 1 :]]


def kept(app: App) -> tuple[SavedView, ...]:
    return app.statistics_state().read_kept().views


def test_a_view_is_saved_becomes_a_tab_and_is_deleted(make_app: MakeApp, database_url: str) -> None:
    app = app_of(make_app, database_url)
    assert tabs(app) == []
    location = save(app, " Failures ", "errors?span=28d&status_code=500&offset=50")
    assert location == "/statistics/errors?span=28d&status_code=500"
    assert kept(app) == (SavedView("Failures", "errors?span=28d&status_code=500"),)
    page = app.client.get(location).text
    assert tabs(app, location.removeprefix("/statistics/")) == [("Failures", location, True)]
    assert tabs(app, "errors?span=28d") == [("Failures", location, False)]
    assert page.count('aria-current="page"') == 1
    (key,) = re.findall(r'<button class="btn sm" name="delete" value="(\w+)">Delete view</button>', page)
    gone = app.client.post("/statistics/views", data={"delete": key, "back": location})
    assert (gone.status_code, gone.location, kept(app)) == (303, location, ())
    assert 'name="name"' in app.client.get(location).text


def test_a_view_of_the_same_name_takes_its_place(make_app: MakeApp, database_url: str) -> None:
    app = app_of(make_app, database_url)
    for name, back in (("ä", "errors?span=28d"), ("A", "?span=28d"), ("Ä", "live?paused=1"), ("ä", "errors?span=91d")):
        save(app, name, back)
    assert {view.name: view.url for view in kept(app)} == {
        "ä": "errors?span=91d",
        "A": "?span=28d",
        "Ä": "live?paused=1",
    }


@pytest.mark.parametrize(
    ("name", "back", "said"),
    [
        ("", "?span=28d", "The name is '', but must be a text of 1 to 40 characters that can be seen."),
        ("x" * 41, "?span=28d", "but must be a text of 1 to 40 characters"),
        ("a\u202eb", "?span=28d", "but must be a text of 1 to 40 characters"),
        ("x", "", "What is saved must be a page with parameters of its own"),
        ("x", "requests/1", "What is saved must be a page of the dashboard"),
        ("x", "?path=/&whatever=1", "What is saved must be a page of the dashboard"),
        ("x", "?address=192.0.2.7", "What is saved must be one that names no visitor, and it is filtered by address"),
    ],
)
def test_what_cannot_be_saved_is_said(make_app: MakeApp, name: str, back: str, said: str) -> None:
    app = app_of(make_app)
    page = unescape(save(app, name, back, 400))
    assert "This view cannot be saved" in page
    assert said in page
    assert kept(app) == ()


def test_hostile_names_are_text(make_app: MakeApp) -> None:
    app = app_of(make_app)
    save(app, "<script>alert(1)</script>", "?span=28d&q=<img src=x onerror=alert(1)>")
    page = app.client.get("/statistics/").text
    assert "<script>alert" not in page
    assert "<img" not in page
    assert tabs(app)[0][0] == "<script>alert(1)</script>"


def test_as_many_views_as_there_may_be(make_app: MakeApp) -> None:
    app = app_of(make_app)
    for number in range(MOST_VIEWS):
        save(app, f"{number}", f"?path=/{number}")
    assert "20 views are saved already: delete one first." in save(app, "more", "?span=28d", 400)
    save(app, "7", "?span=91d")
    assert len(tabs(app)) == MOST_VIEWS


def test_nobody_saves_where_everybody_sees_or_from_elsewhere(make_app: MakeApp) -> None:
    app = app_of(make_app, before_f=everybody)
    assert "Everybody may see this dashboard" in save(app, "spam", "?span=28d", 403)
    assert "Save view" not in app.client.get("/statistics/?span=28d").text
    app = app_of(make_app)
    assert "another site" in save(app, "spam", "?span=28d", 403, Origin="https://evil.example")
    assert app.client.get("/statistics/views").status_code in (404, 405)
    assert kept(app) == ()


def test_a_form_that_comes_from_nowhere_saves_nothing(make_app: MakeApp) -> None:
    app = app_of(make_app)
    for back in ("https://evil.example/", "//evil.example", "/statistics/\\evil", ""):
        response = app.client.post("/statistics/views", data={"name": "x", "back": back})
        assert response.status_code == 400
    deleted = app.client.post("/statistics/views", data={"delete": "x' OR 1", "back": "//evil.example"})
    assert (deleted.status_code, deleted.location) == (303, "/statistics/")


def test_views_of_the_settings(make_app: MakeApp) -> None:
    views = {"Checkout": "?path=/checkout&span=28d", "Errors of Firefox": "errors?browser=Firefox"}
    app = app_of(make_app, STATISTICS_VIEWS=views, STATISTICS_URL_PREFIX="/statistics")
    save(app, "mine", "?span=91d")
    assert tabs(app, "?span=28d&path=/checkout") == [
        ("Checkout", "/statistics/?span=28d&path=/checkout", True),
        ("Errors of Firefox", "/statistics/errors?browser=Firefox", False),
        ("mine", "/statistics/?span=91d", False),
    ]
    assert "Delete view" not in app.client.get("/statistics/?span=28d&path=/checkout").text


@pytest.mark.parametrize(
    ("views", "message"),
    [
        (["x"], "STATISTICS_VIEWS is ['x'], but must be a mapping of up to 20 names to URLs, for example"),
        ({"": "?span=28d"}, "STATISTICS_VIEWS is {'': '?span=28d'}, but must be a mapping with names of 1 to 40 characters"),
        ({"x": 5}, "STATISTICS_VIEWS is {'x': 5}, but must be a mapping of names to texts, and that of 'x' is 5"),
        ({"x": "?pth=/"}, "STATISTICS_VIEWS has 'x': '?pth=/', but that must be a page of the dashboard with its parameters"),
        ({"x": "/statistics/errors"}, "STATISTICS_VIEWS has 'x': '/statistics/errors', but that must be a page of the dashboard"),
    ],
)  # fmt: skip
def test_wrong_views_of_the_settings_are_refused(make_app: MakeApp, views: object, message: str) -> None:
    with pytest.raises(SettingError) as refusal:
        make_app(STATISTICS_VIEWS=views)
    assert str(refusal.value).startswith(message)


def test_a_missing_table_is_said_by_health(make_app: MakeApp) -> None:
    app = app_of(make_app)
    state = app.statistics_state()
    with state.our_engine().begin() as connection:
        state.kept.view.drop(connection)
    assert "The table statistics_view is missing. Make a migration, or run 'flask statistics init'." in unescape(
        app.client.get("/statistics/health").text
    )
    assert "flask statistics init" in unescape(save(app, "x", "?span=28d", 503))
