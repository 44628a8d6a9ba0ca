"""What is published: the wheel has the package and nothing else, the source archive what is in the repository."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tracked(*paths: str) -> set[str]:
    """The files of the repository that are under `paths`."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone, so nothing says which files belong to it")
    found = subprocess.run(["git", "ls-files", *paths], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(found.stdout.splitlines())


def test_wheel_is_the_package(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    subprocess.run([*command, "--quiet", "--wheel-dir", tmp_path, ROOT], check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (about,) = {name.partition("/")[0] for name in names if ".dist-info/" in name}
        metadata = archive.read(f"{about}/METADATA").decode()
    licences = {f"{about}/licenses/{name}" for name in ("LICENSE", "flask_statistics/static/htmx.LICENSE")}
    assert (
        names - tracked("flask_statistics")
        == {f"{about}/{name}" for name in ("METADATA", "RECORD", "WHEEL")} | licences
    )
    assert tracked("flask_statistics") - names == set()
    needed = re.findall(r"^Requires-Dist: ([\w-]+)(?!.*extra ==)", metadata, re.MULTILINE)
    assert needed == [
        *("Flask", "Flask-SQLAlchemy", "SQLAlchemy", "user-agents", "ua-parser", "crawler-user-agents"),
        *("msgspec", "APScheduler", "pyroaring", "numpy", "tzdata"),
    ]


def test_source_archive_is_the_repository(tmp_path: Path) -> None:
    build = f"from flit_core.buildapi import build_sdist; build_sdist({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", build], check=True, cwd=ROOT)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert names == tracked() | {"PKG-INFO"}
