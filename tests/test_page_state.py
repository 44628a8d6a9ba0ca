"""The state of a page in its URL: read, written back in one order, defaults left out, strange values clamped."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, urlencode
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import MultiDict

from flask_statistics.dimensions import Dimension, available
from flask_statistics.filters import ALL, Filters
from flask_statistics.models import KNOWN_COLUMNS
from flask_statistics.page_state import PageState, TableState, read_state
from flask_statistics.parameters import NAMES

NOW = datetime(2026, 11, 22, 14, 37)
DIMENSIONS = available(dict.fromkeys(KNOWN_COLUMNS))
PARAMETERS = [*DIMENSIONS, *NAMES]


PEOPLE = Filters().and_("device", "bot", negated=True)


def read(
    query: str, *, zone: str = "UTC", dimensions: dict[str, Dimension] | None = None, usual: Filters = ALL
) -> PageState:
    return read_state(
        MultiDict(parse_qsl(query, keep_blank_values=True)),
        base="/statistics/",
        now=NOW,
        zone=ZoneInfo(zone),
        default=timedelta(days=7),
        dimensions=DIMENSIONS if dimensions is None else dimensions,
        usual=usual,
        earliest=lambda: datetime(2026, 1, 5, 8),
    )


@pytest.mark.parametrize(
    ("query", "written"),
    [
        ("", "/statistics/"),
        ("span=7d&metric=hits&vs=prev&sort=-hits&rows=10&by=path&offset=0", "/statistics/"),
        ("metric=time&span=28d", "/statistics/?span=28d&metric=time"),
        ("sort=value&browser=b&span=28d&browser!=c&browser=a", "/statistics/?span=28d&browser=b&browser=a&browser!=c&sort=value"),
        ("start=2026-11-01&end=2026-11-02", "/statistics/?start=2026-11-01&end=2026-11-02"),
        ("start=2026-11-01T10:00&end=2026-11-01T12:30", "/statistics/?start=2026-11-01T10:00&end=2026-11-01T12:30"),
        ("path=/a b&q=%26", "/statistics/?path=/a+b&q=%26"),
        ("browser=", "/statistics/?browser="),
        ("unit=hour&span=24h", "/statistics/?span=24h&unit=hour"),
        ("before=7&offset=50&rows=50&search=x&paused=1", "/statistics/?paused=1&search=x&rows=50&offset=50&before=7"),
    ],
)  # fmt: skip
def test_state_is_written_in_one_way(query: str, written: str) -> None:
    state = read(query)
    assert state.notices == ()
    assert state.table_url_at(state.base) == written
    assert read(written.partition("?")[2]) == state


def test_state_links_begin_at_the_first_row_again() -> None:
    state = read("offset=50&sort=value&before=9")
    assert state.url(filters=Filters().and_("browser", "x")) == "/statistics/?browser=x&sort=value"
    assert state.table_url(sort="-p95") == "/statistics/?sort=-p95"
    assert state.table_url(offset=100) == "/statistics/?sort=value&offset=100"


def test_state_leaves_its_table_behind_on_another_page() -> None:
    assert read("sort=value&span=28d&paused=1").at("/statistics/errors") == "/statistics/errors?span=28d"


def test_state_of_another_span_chooses_its_own_unit() -> None:
    state = read("unit=hour&span=7d")
    assert state.url(span=replace(state.span, name="91d")) == "/statistics/?span=91d"


def test_state_permalink_has_dates() -> None:
    assert read("span=28d").permalink() == "/statistics/?start=2026-10-26&end=2026-11-22"
    assert read("", zone="Asia/Kolkata").permalink() == "/statistics/?start=2026-11-16&end=2026-11-22"


def test_state_hidden_fields_are_what_a_form_does_not_set() -> None:
    assert read("q=x&span=28d&offset=50&sort=value").hidden("q") == [("span", "28d"), ("sort", "value")]


@pytest.mark.parametrize(
    ("query", "filters", "written"),
    [
        ("", "device!=bot", ""),
        ("device!=bot", "device!=bot", ""),
        ("browser=edge", "device!=bot&browser=edge", "browser=edge"),
        ("any=device&browser=edge", "browser=edge", "browser=edge&any=device"),
        ("device=bot", "device=bot", "device=bot"),
        ("device=", "device=", "device="),
        ("device!=bot&device=tablet", "device!=bot&device=tablet", "device!=bot&device=tablet"),
        ("any=device&device!=bot", "device!=bot", ""),
        ("any=browser", "device!=bot", ""),
    ],
)
def test_state_says_no_usual_filters(query: str, filters: str, written: str) -> None:
    state = read(query, usual=PEOPLE)
    assert urlencode(state.filters.query(), safe="!") == filters
    assert state.table_url_at("/").partition("?")[2] == written
    assert state.in_full().at("/").partition("?")[2] == filters
    assert state.notices == ()


@pytest.mark.parametrize(
    ("query", "start"),
    [
        ("start=2026-11-21&end=2026-11-22", "2026-11-19"),
        ("start=2026-11-21&end=2026-11-22&at=15", "2026-11-19"),
        ("start=2026-11-21&end=2026-11-22&at=sat", "2026-11-14"),
        ("start=2026-11-12&end=2026-11-22&at=15&at=sun3", "2026-10-29"),
        ("span=7d&at=sat", "2026-11-09"),
    ],
)
def test_state_compares_days_of_the_week_with_the_same_days(query: str, start: str) -> None:
    before = read(query).compared()
    assert before is not None
    assert f"{before.local_start:%Y-%m-%d}" == start


def test_state_lifts_a_dimension_that_there_is() -> None:
    (notice,) = read("any=moon", usual=PEOPLE).notices
    assert notice.startswith("any is 'moon', but must be one of ")


@pytest.mark.parametrize(
    ("query", "notice"),
    [
        ("rows=500", "rows is 500, but 200 is the most."),
        ("rows=many", "rows is 'many', but must be a whole number; it was left out."),
        ("by=moon", "by is 'moon', but must be one of path, route, address, network; it was left out."),
        (
            "metric=joy",
            "metric is 'joy', but must be one of hits, visitors, time, errors, db_time, db_queries, http_time, http_calls; "
            "it was left out.",
        ),
        ("unit=hour&span=all", "There are too many hours in this span to draw; a longer unit is shown."),
        ("start=1990-01-01&end=2026-01-01", "The span is longer than 33 years; its last 33 years are shown."),
        ("start=soon", "start is 'soon', but must be a date such as 2026-11-22, or 2026-11-22T14:00; the default span is shown."),
        ("device=toaster", "device is 'toaster', but must be one of bot, mobile, tablet, desktop, other; it was left out."),
    ],
)  # fmt: skip
def test_state_notices(query: str, notice: str) -> None:
    assert read(query).notices == (notice,)


def test_state_rows_are_rounded_up_to_a_choice() -> None:
    assert [read(f"rows={rows}").table.rows for rows in (0, 1, 10, 11, 50, 51, 9999)] == [10, 10, 10, 50, 50, 200, 200]


def test_state_ends_with_today() -> None:
    assert read("start=2026-11-20&end=2199-01-01").permalink() == "/statistics/?start=2026-11-20&end=2026-11-22"


def test_state_by_is_a_dimension_that_there_is() -> None:
    only_routes = {"route": DIMENSIONS["route"]}
    assert read("", dimensions=only_routes).table.by == "route"
    assert read("", dimensions={}).table == TableState()


@given(st.dictionaries(st.sampled_from(PARAMETERS), st.text(max_size=12)), st.sampled_from((ALL, PEOPLE)))
def test_state_of_any_query_is_read_and_written_back(query: dict[str, str], usual: Filters) -> None:
    state = read_state(
        MultiDict(query),
        base="/",
        now=NOW,
        zone=ZoneInfo("Europe/Berlin"),
        default=timedelta(days=7),
        dimensions=DIMENSIONS,
        usual=usual,
        earliest=lambda: None,
    )
    again = read(state.table_url_at("/").partition("?")[2], zone="Europe/Berlin", usual=usual)
    assert sorted(again.filters.query()) == sorted(state.filters.query())
    assert again.table == state.table
    assert again.notices == ()
