"""The registry of dimensions: values, texts and labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from flask_statistics import Dimension, SettingError
from flask_statistics.dimensions import BUILT_IN, available, exception_type, referrer_host
from flask_statistics.models import KNOWN_COLUMNS

from .conftest import ORIGINAL_COLUMNS, App

WHOLE = available(dict.fromkeys(KNOWN_COLUMNS))


def test_available_in_order() -> None:
    names = "path route referrer channel campaign browser platform device bot status_code method mimetype content exception issue"
    names += " country host language release user"
    assert list(WHOLE) == [*names.split(), "address", "network"]
    assert list(available(dict.fromkeys(ORIGINAL_COLUMNS))) == [
        *(name for name in names.split() if name in ORIGINAL_COLUMNS or name in ("device", "bot", "content")),
        *("address", "network"),
    ]
    assert available({"date": None}) == {}


def test_available_reads_the_device_column_first() -> None:
    assert WHOLE["device"].column == "device"
    assert available({"user_agent": None})["device"].column == "user_agent"


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("path", "/a", "/a"),
        ("path", "", None),
        ("path", None, None),
        ("browser", "firefox 72.0", "firefox"),
        ("browser", "None None", None),
        ("platform", "windows", "Windows"),
        ("status_code", 404, 404),
        ("referrer", "https://www.X.example:80/?q", "x.example"),
        ("referrer", "nonsense", None),
        ("exception", "KeyError('cart')", "KeyError"),
        ("content", "text/html", "page"),
        ("content", None, None),
    ],
)
def test_value_of(name: str, raw: Any, value: Any) -> None:
    assert WHOLE[name].value_of(raw) == value


@pytest.mark.parametrize("dimension", BUILT_IN, ids=lambda dimension: f"{dimension.name}-{dimension.column}")
@pytest.mark.parametrize("value", [None, "x", 404])
def test_text_of_is_the_inverse_of_values_of(dimension: Dimension, value: Any) -> None:
    if dimension.name == "status_code" and value == "x":
        value = 500
    elif dimension.name == "content" and value is not None:
        value = "api"
    elif dimension.name == "device" and value is not None:
        value = "bot"
    elif dimension.name == "bot" and value is not None:
        value = "ai"
    elif dimension.name == "country" and value == "x":
        value = "DE"
    elif dimension.name == "network" and value is not None:
        value = "192.0.2.0/24"
    elif dimension.name != "status_code" and value == 404:
        value = "404"
    assert dimension.values_of(dimension.text_of(value)) == (value,)


@pytest.mark.parametrize(
    ("name", "value", "label"),
    [
        ("status_code", 404, "404 Not Found"),
        ("status_code", 799, "799"),
        ("status_code", None, "(none)"),
        ("referrer", None, "(direct)"),
        ("browser", "mobile safari", "Mobile Safari"),
        ("browser", None, "(unknown)"),
        ("device", "bot", "Bot"),
        ("bot", "ai", "AI"),
        ("bot", None, "(people)"),
        ("route", None, "(no route matched)"),
    ],
)
def test_label_of(name: str, value: Any, label: str) -> None:
    assert WHOLE[name].label_of(value) == label


@pytest.mark.parametrize(
    ("referrer", "host"),
    [
        ("https://www.example.com/a?b", "example.com"),
        ("HTTP://News.Example:8080", "news.example"),
        ("//x.example/", "x.example"),
        ("http://[2001:db8::1]/", "2001:db8::1"),
        ("http://[::broken", None),
        ("/relative", None),
        ("http://www./", None),
        ("android-app://com.example/", "com.example"),
    ],
)
def test_referrer_host(referrer: str, host: str | None) -> None:
    assert referrer_host(referrer) == host


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        ("KeyError('cart')", "KeyError"),
        ("ValueError()", "ValueError"),
        ("<HTTPException 503: x>", "HTTPException"),
        ("Timeout: slow", "Timeout"),
        ("('x',)", "('x',)"),
        ("KeyErr", "KeyErr"),
    ],
)
def test_exception_type(stored: str, kind: str) -> None:
    assert exception_type(stored) == kind


@pytest.mark.parametrize("name", ["span", "q", "Tenant", "tenant-id", "", "1st"])
def test_dimension_refuses_a_name(name: str) -> None:
    with pytest.raises(SettingError, match=r"must be lower-case letters, digits and _, and none of "):
        Dimension(name)


def test_dimension_defaults() -> None:
    tenant = Dimension("tenant", column="tenant_id")
    assert (tenant.label, tenant.plural, tenant.derived, tenant.many) == ("Tenant", "Tenants", False, False)


@pytest.mark.parametrize(("kind", "values"), [(sa.Integer(), (7,)), (sa.String(9), ("7",))])
def test_dimension_reads_the_type_of_its_column(kind: Any, values: tuple[Any, ...]) -> None:
    found = available({"tenant": sa.Column(kind)}, [Dimension("tenant")])
    assert found["tenant"].values_of("7") == values


@pytest.mark.parametrize(
    "parse",
    [
        lambda text: {}[text],
        lambda text: None,
        lambda text: "texts",
        lambda text: ([],),
        lambda text: (1 / 0,),
    ],
)
def test_parse_of_ones_own_that_fails_is_a_bad_parameter(
    make_app: Callable[..., App], parse: Callable[[str], Any], caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(dimensions=[Dimension("word", column="path", parse=parse)])
    assert app.json("summary?word=a", 400) == {"error": "word is 'a', but must be a value that this dimension can read"}
    assert app.client.get("/statistics/?word=a").status_code == 200
    assert "the dimension 'word'" in caplog.text


def test_derived_values_are_texts_unless_they_are_parsed() -> None:
    plain = Dimension("kb", column="size", value=lambda size: size // 1000)
    parsed = Dimension("kb", column="size", value=lambda size: size // 1000, parse=lambda text: (int(text),))
    assert (plain.value_of(9_500), plain.values_of("9")) == ("9", ("9",))
    assert (parsed.value_of(9_500), parsed.values_of("9")) == (9, (9,))


@pytest.mark.parametrize(
    ("name", "plural"),
    [("address", "Addresses"), ("country", "Countries"), ("day", "Days"), ("box", "Boxes"), ("tenant", "Tenants")],
)
def test_dimension_plural_follows_english(name: str, plural: str) -> None:
    assert Dimension(name).plural == plural
