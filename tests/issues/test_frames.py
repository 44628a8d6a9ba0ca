"""Frames: where an exception was raised, by what was raised and by what is stored of it."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flask_statistics.issues.frames import AppFiles, raised_in, told_in

FILES = AppFiles(str(Path(__file__).parent))


def library() -> None:
    json.loads("{")


def caused() -> None:
    try:
        library()
    except ValueError as error:
        raise RuntimeError("no") from error


def while_handled() -> None:
    try:
        library()
    except ValueError:
        re.compile("(")


def deep(left: int = 600) -> None:
    if left:
        deep(left - 1)
    else:
        library()


def in_an_expression() -> Any:
    return sorted(["{", "["], key=lambda text: json.loads(text)["a"])


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (library, "library"),
        (caused, "caused"),
        (while_handled, "while_handled"),
        (deep, "library"),
        (in_an_expression, "<lambda>"),
    ],
)
def test_place_is_the_apps_innermost_frame(function: Callable[[], None], name: str) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011
        function()
    stored = "".join(traceback.format_exception(raised.value))
    told = [(frame.file, frame.function) for frame in told_in(stored)]
    place = FILES.place_of(raised_in(raised.value.__traceback__))
    assert place == FILES.place_of(told) == f"tests/issues/test_frames.py in {name}"


def test_exceptions_in_a_group_are_not_it() -> None:
    stored = (
        "Traceback (most recent call last):\n"
        '  File "/srv/shop/shop/cause.py", line 1, in cause\nKeyError: 1\n\n'
        "During handling of the above exception, another exception occurred:\n\n"
        "  + Exception Group Traceback (most recent call last):\n"
        '  |   File "/srv/shop/shop/group.py", line 2, in group\n'
        "  |     raise ExceptionGroup('g', found)\n"
        "  | ExceptionGroup: g (1 sub-exception)\n"
        "  +-+---------------- 1 ----------------\n"
        "    | Traceback (most recent call last):\n"
        '    |   File "/srv/shop/shop/inner.py", line 3, in inner\n'
        "    | ValueError: 1\n"
        "    +------------------------------------\n"
    )
    (frame,) = told_in(stored)
    assert (frame.file, frame.line, frame.function) == ("/srv/shop/shop/group.py", "2", "group")
    assert frame.code[0] == "raise ExceptionGroup('g', found)"


@pytest.mark.parametrize(
    ("file", "own", "name"),
    [
        (__file__, "tests/issues/test_frames.py", "tests/issues/test_frames.py"),
        (json.__file__, None, "json/__init__.py"),
        (pytest.__file__, None, "pytest/__init__.py"),
        ("/srv/v7/venv/lib/python3.12/site-packages/flask/app.py", None, "flask/app.py"),
        ("/usr/lib/python3/dist-packages/flask/app.py", None, "flask/app.py"),
        (r"C:\shop\venv\Lib\site-packages\flask\app.py", None, "flask/app.py"),
        ("<frozen importlib._bootstrap>", None, "<frozen importlib._bootstrap>"),
        ("<string>", None, "<string>"),
        ("/srv/v7/issues/views/cart.py", "issues/views/cart.py", "issues/views/cart.py"),
        ("/srv/v8/shop/cart.py", "shop/cart.py", "shop/cart.py"),
        ("cart.py", "cart.py", "cart.py"),
    ],
)
def test_files_of_the_app_wherever_it_ran(file: str, own: str | None, name: str) -> None:
    assert (FILES.own(file), FILES.name(file)) == (own, name)


def test_without_a_frame_of_the_app_it_is_the_librarys() -> None:
    assert FILES.place_of([("/x/site-packages/a/b.py", "f"), ("/x/site-packages/c/d.py", "g")]) == "c/d.py in g"
    assert FILES.place_of([]) is None


@pytest.mark.parametrize("text", ["", "Traceback:\n  <b>", "  | | |", '  File "', "\0", '  File "a", line 1'])
def test_other_texts_are_read_as_far_as_they_are_tracebacks(text: str) -> None:
    assert [frame.file for frame in told_in(text)] == ["a"] * text.endswith("line 1")
