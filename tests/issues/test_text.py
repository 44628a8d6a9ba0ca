"""Issues: what of an exception is the same next time, whatever was sent."""

from __future__ import annotations

from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_statistics.issues.text import LONGEST, Issue, issue_from, issue_of

PLACE = "shop/cart.py in quantity"


def issue(exception: str) -> str:
    return str(issue_of(exception, None))


@pytest.mark.parametrize(
    ("exception", "text"),
    [
        ("KeyError('cart')", "KeyError: “…”"),
        ("KeyError()", "KeyError"),
        (
            "ValueError(\"invalid literal for int() with base 10: 'x'\")",
            "ValueError: invalid literal for int() with base …: “…”",
        ),
        (
            "AttributeError(\"'User' object has no attribute 'name'\")",
            "AttributeError: “…” object has no attribute “…”",
        ),
        ("FileNotFoundError(2, 'No such file or directory')", "FileNotFoundError: …, No such file or directory"),
        ("Timeout('no answer within 10 s')", "Timeout: no answer within … s"),
        ("Missing('/srv/a b.txt and C:\\\\x\\\\y are gone')", "Missing: … b.txt and … are gone"),
        ("Refused('https://a.example/x?y refused ada@a.example')", "Refused: … refused …"),
        ("Refused('user *** at 2026-11-22T10:00:00, [1, 2, 3]')", "Refused: user … at …, […]"),
        ("Gone('<Order object at 0x7f3a> and deadbeefcafe')", "Gone: <Order object at …> and …"),
        (
            "Failed('(sqlite3.OperationalError) no such table: a7')",
            "Failed: (sqlite3.OperationalError) no such table: …",
        ),
        ("IntegrityError('UNIQUE failed\\n[SQL: INSERT INTO a VALUES (?)]')", "IntegrityError: UNIQUE failed"),
        ("Closed(\"can't say it's open\")", "Closed: can't say it's open"),
        ("Cut('it said: \"that and", "Cut: it said: “…”"),
        ("shop.Closed: at night", "shop.Closed: at night"),
        ("<Closed: at night>", "Closed: at night"),
        ("Dotted('a · b')", "Dotted: a - b"),
        ("", "Exception"),
    ],
)
def test_issue_is_what_does_not_change(exception: str, text: str) -> None:
    assert issue(exception) == text


CHANGING = st.one_of(
    st.integers().map(str),
    st.floats().filter(lambda number: number == number and abs(number) < 1e300).map(str),
    st.uuids().map(str),
    st.ip_addresses().map(str),
    st.datetimes().map(lambda at: at.isoformat()),
    st.binary(min_size=4, max_size=20).map(lambda some: f"0x{some.hex()}"),
    st.text(max_size=60).map(repr),
    st.from_regex(r"/[a-z]+(/[a-z.]+)*", fullmatch=True),
    st.from_regex(r"https://[a-z]{1,20}\.example/[a-z?=&]*", fullmatch=True),
    st.from_regex(r"[a-z]+@[a-z]+\.example", fullmatch=True),
)


@given(CHANGING, CHANGING)
def test_what_changes_does_not_split(one: str, other: str) -> None:
    first, second = (issue(repr(ValueError(f"there is no {part} in it"))) for part in (one, other))
    assert first.replace("“…”", "…") == second.replace("“…”", "…") == "ValueError: there is no … in it"


@given(st.text(max_size=40), st.text(max_size=40))
def test_keys_do_not_split(one: str, other: str) -> None:
    assert issue(repr(KeyError(one))) == issue(repr(KeyError(other))) == "KeyError: “…”"


@given(st.from_regex("[A-Za-z_]{1,20}", fullmatch=True), st.from_regex("[A-Za-z_]{1,20}", fullmatch=True))
def test_other_places_and_types_are_other_issues(one: str, other: str) -> None:
    assert (issue_of(f"{one}()", PLACE) == issue_of(f"{other}()", PLACE)) == (one == other)
    places = f"shop/{one}.py in f", f"shop/{other}.py in f"
    assert (issue_of("E()", places[0]) == issue_of("E()", places[1])) == (one == other)


@given(st.text(max_size=5_000), st.one_of(st.none(), st.text(max_size=500)))
def test_issue_of_anything_is_short_and_can_be_read_back(exception: str, place: str | None) -> None:
    found = issue_of(exception, place)
    assert len(str(found)) <= LONGEST
    assert str(found).isprintable()
    assert issue_from(str(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        "'a ",
        '"\\',
        "1.a",
        "a@",
        "/",
        "a",
        "`",
        "://",
        "…, ",
        "g-",
        "“",
        "(a.",
        "[(",
        "1,",
        "a/",
        "' \\",
        "'', ",
        "\n",
        "A.",
    ],
)
def test_issue_of_what_repeats_takes_no_time(text: str) -> None:
    began = process_time()
    for stored in (f"E({text * 3_000})", f"E({text * 3_000!r})", f"{text * 3_000}"):
        issue(stored)
    assert process_time() - began < 0.2


def test_parts_of_an_issue() -> None:
    found = issue_of("ValueError('it is 7')", PLACE)
    assert found == Issue("ValueError", "it is …", PLACE)
    assert str(found) == f"ValueError: it is … · {PLACE}"
