"""Codes of countries, and their names."""

from __future__ import annotations

import pytest

from flask_statistics.countries import NAMES, code_of, label_of


def test_names() -> None:
    assert len(NAMES) == 250
    assert all(len(code) == 2 and code.isalpha() and code.isupper() and name for code, name in NAMES.items())
    assert (NAMES["AD"], NAMES["GB"], NAMES["TR"], NAMES["ZW"]) == ("Andorra", "United Kingdom", "Türkiye", "Zimbabwe")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("DE", "DE"),
        ("de", "DE"),
        ("XK", "XK"),
        ("XX", None),
        ("T1", None),
        ("", None),
        ("ß", None),
        (None, None),
        (49, None),
    ],
)
def test_code_of(text: object, code: str | None) -> None:
    assert code_of(text) == code


def test_label_of() -> None:
    assert (label_of("DE"), label_of("ZZ")) == ("DE Germany", "ZZ")
