"""Hosts and languages as headers have them: what is stored of them, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_statistics.headers import LONGEST_HOST, LONGEST_LANGUAGE, host_of, language_of


@pytest.mark.parametrize(
    ("sent", "host"),
    [
        ("example.org", "example.org"),
        ("WWW.Example.ORG:8080", "www.example.org"),
        ("example.org.", "example.org"),
        ("example.org:", "example.org"),
        ("localhost", "localhost"),
        ("192.0.2.1:80", "192.0.2.1"),
        ("[2001:DB8::1]:443", "[2001:db8::1]"),
        ("my_service-1", "my_service-1"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a" * 63 + ".org", "a" * 63 + ".org"),
        ("a" * 64 + ".org", None),
        (".".join(["a" * 63] * 4), ".".join(["a" * 63] * 4)),
        (".".join(["a" * 63] * 4) + ".b", None),
        ("", None),
        (".", None),
        ("a..b", None),
        ("-a.org", None),
        ("a-.org", None),
        ("a b", None),
        ("a/b", None),
        ("user@example.org", None),
        ("bücher.example", None),
        ("<script>", None),
        ("2001:db8::1", None),
        ("[example.org]", None),
        ("[fe80::1%eth0]", None),
        ("[::1", None),
        ("a" * 20_000, None),
    ],
)
def test_host_of(sent: str, host: str | None) -> None:
    assert host_of(sent) == host


@pytest.mark.parametrize(
    ("sent", "language"),
    [
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.8", "de-AT"),
        ("de-at", "de-AT"),
        ("DE", "de"),
        ("zh-hant-tw", "zh-Hant-TW"),
        ("sr-LATN-rs", "sr-Latn-RS"),
        ("de-DE-1996", "de-DE-1996"),
        ("en-x-ab-abcd", "en-x-ab-abcd"),
        ("es-419", "es-419"),
        ("en;q=0.5, fr", "fr"),
        ("en;q=0.5,fr;q=0.9", "fr"),
        ("en;q=0.5 ; level=1,fr;q=0.4", "en"),
        ("en,fr", "en"),
        ("en;q=0,fr;q=0.1", "fr"),
        ("en; q=0.7", "en"),
        ("en;Q=1.000", "en"),
        ("*", None),
        ("*,de;q=0.5", None),
        ("de,*;q=0.5", "de"),
        ("de;q=0", None),
        ("de;q=2,fr;q=0.1", "fr"),
        ("de;q=nan,fr;q=0.1", "fr"),
        ("de;level=1,fr;q=0.1", "fr"),
        ("de_AT", None),
        ("d", None),
        ("12", None),
        ("ä", None),
        ("<b>,fr", "fr"),
        ("abcdefgh-" * 5 + "a", None),
        ("", None),
        (",,;;", None),
        ("x" * 20_000, None),
        ("fr" + "," * 20_000, "fr"),
    ],
)
def test_language_of(sent: str, language: str | None) -> None:
    assert language_of(sent) == language


@given(st.text(max_size=600))
def test_whatever_is_sent_fits_its_column(sent: str) -> None:
    assert len(host_of(sent) or "") <= LONGEST_HOST
    assert len(language_of(sent) or "") <= LONGEST_LANGUAGE


@given(st.text())
def test_what_is_stored_is_read_as_itself(sent: str) -> None:
    for read in (host_of, language_of):
        stored = read(sent)
        assert stored is None or read(stored) == stored
