"""Forms: what their fields mean as parameters, and the URL that they lead to."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from werkzeug.datastructures import MultiDict

from flask_statistics import Dimension, SettingError
from flask_statistics.dimensions import available
from flask_statistics.forms import as_parameters, is_sent
from flask_statistics.models import KNOWN_COLUMNS

from .conftest import App

DIMENSIONS = available(dict.fromkeys(KNOWN_COLUMNS))


@pytest.mark.parametrize(
    ("fields", "parameters"),
    [
        ("start=2026-11-22 start_time=12:10 end=2026-11-28 end_time=", "start=2026-11-22T12:10 end=2026-11-28"),
        ("start=2026-11-22 start_time= end=2026-11-28 end_time=17:42", "start=2026-11-22 end=2026-11-28T17:42"),
        ("start= start_time=12:10", "start="),
        ("span=28d dim=q op=is value=cart", "span=28d q=cart"),
        ("q=shop dim=q op=is value=cart", "q=cart"),
        ("dim=browser op=is value=Firefox", "browser=firefox"),
        ("browser=edge dim=browser op=is value=firefox", "browser=edge browser=firefox"),
        ("dim=browser op=is not value=Firefox", "browser!=firefox"),
        ("dim=status_code op=is value=5xx", "status_code=5xx"),
        ("dim=status_code op=is value=many", "status_code=many"),
        ("browser=edge dim=path op=is value=", "browser=edge"),
        ("dim=nothing op=is value=x", ""),
    ],
)
def test_form_fields_become_parameters(fields: str, parameters: str) -> None:
    read = [tuple(pair.rsplit("=", 1)) for pair in fields.replace("is not", "is_not").split()]
    args = MultiDict((name, text.replace("_", " ") if name == "op" else text) for name, text in read)
    found = as_parameters(args, DIMENSIONS)
    assert " ".join(f"{name}={text}" for name, text in found.items(multi=True)) == parameters


def test_only_fields_of_forms_are_forms() -> None:
    assert is_sent(MultiDict({"dim": ""}))
    assert not is_sent(MultiDict({"start": "2026-11-22", "browser": "firefox"}))


@pytest.mark.parametrize(
    ("query", "location"),
    [
        ("?start=2026-11-22&start_time=&end=2026-11-28&end_time=", "?start=2026-11-22&end=2026-11-28"),
        (
            "errors?status_code=500&start=2026-11-22&start_time=12:10&end=2026-11-28&end_time=17:00",
            "errors?start=2026-11-22T12:10&end=2026-11-28T17:00&status_code=500",
        ),
        ("?span=28d&sort=-p95&dim=q&op=is&value=cart", "?span=28d&q=cart&sort=-p95"),
        ("requests?dim=status_code&op=is&value=none", "requests?status_code=none"),
    ],
)
def test_form_leads_to_the_url_of_what_it_asks_for(make_app: Callable[..., App], query: str, location: str) -> None:
    response = make_app().client.get(f"/statistics/{query}")
    assert (response.status_code, response.location) == (302, f"/statistics/{location}")


def test_form_with_what_cannot_be_read_leads_to_a_page_that_says_so(make_app: Callable[..., App]) -> None:
    page = make_app().client.get("/statistics/?dim=status_code&op=is&value=none", follow_redirects=True).text
    assert "status_code is &#39;none&#39;, but must be a status code" in page


def test_fields_of_forms_are_no_parameters_of_the_api(make_app: Callable[..., App]) -> None:
    assert make_app().client.get("/statistics/api/summary?dim=path&value=/").status_code == 400


def test_no_dimension_is_called_like_a_field() -> None:
    with pytest.raises(SettingError, match="The dimension's name is 'value'"):
        Dimension("value")
