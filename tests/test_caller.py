"""Which files are the app's."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import pytest

import flask_statistics
from flask_statistics import caller
from flask_statistics.caller import LONGEST, Files


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose app is in the package `shop`, with a virtual environment in it."""
    for name in ("shop/web/__init__.py", "shop/__init__.py", "common.py", "lib/python3/site-packages/x.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("shop/views.py", "shop/views.py"),
        ("shop/web/views.py", "shop/web/views.py"),
        ("common.py", "common.py"),
        ("lib/python3/site-packages/x.py", None),
        ("../elsewhere.py", None),
    ],
)
def test_name_of_a_file_is_its_path_below_the_project(project: Path, name: str, shown: str | None) -> None:
    path = (project / name).resolve() if ".." in name else project / name
    for root in (project / "shop" / "web", project / "shop", project):
        assert Files(str(root)).name_of(str(path)) == shown


def test_name_of_a_file_of_an_app_that_is_installed(tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "shop"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    files = Files(str(package))
    assert files.name_of(str(package / "views.py")) == "shop/views.py"
    assert files.name_of(str(package.parent / "other" / "x.py")) is None


def test_name_of_what_is_never_the_apps() -> None:
    files = Files("/")
    for path in (sysconfig.__file__, pytest.__file__, flask_statistics.__file__, "<string>", "<template>"):
        assert files.name_of(path) is None
    assert files.name_of("/app.py") == "app.py"


def test_find_is_none_without_a_frame_of_the_app(tmp_path: Path) -> None:
    files = Files(str(tmp_path))
    here = sys._getframe()
    assert files.find(here, 0, here.f_code)[0] is None
    assert files.find(here, 0, here.f_code)[2] is here.f_code
    assert (
        files.find(here, 0, project.__wrapped__.__code__ if hasattr(project, "__wrapped__") else line.__code__)[2]
        is None
    )


def line() -> None:
    """A function that is not running."""


def test_find_cuts_a_long_place(tmp_path: Path) -> None:
    name = "a" * 100 + "/" + "b" * 150 + ".py"
    scope = {"sys": sys, "files": Files(str(tmp_path)), "end": line.__code__}
    exec(compile("found = files.find(sys._getframe(), 0, end)", str(tmp_path / name), "exec"), scope)
    place = scope["found"][0]  # type: ignore[index]
    assert len(place) == LONGEST
    assert place.endswith(".py:1")


def test_find_knows_files_after_it_forgot_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller, "MOST_KNOWN", 3)
    scope = {"sys": sys, "files": Files(str(tmp_path)), "end": line.__code__}
    for number in range(10):
        exec(compile("found = files.find(sys._getframe(), 0, end)", str(tmp_path / f"{number}.py"), "exec"), scope)
        assert scope["found"][0] == f"{number}.py:1"  # type: ignore[index]
