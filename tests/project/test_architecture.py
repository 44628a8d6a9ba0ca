"""Data flows one way: a module imports only from those before it. Each module has its tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import flask_statistics

PACKAGE = Path(flask_statistics.__file__).parent
TESTS = Path(__file__).parents[1]
ORDER = (
    "config",
    "migrations",
    "spans",
    "week",
    "parameters",
    "user_agents",
    "columns",
    "models",
    "latency",
    "waits",
    "databases",
    "forks",
    "local_files",
    "connections",
    "patience",
    "pace",
    "places",
    "addresses",
    "channels",
    "content",
    "probes",
    "countries",
    "country_file",
    "headers",
    "dimensions",
    "masking",
    "record",
    "signals",
    "exclusion",
    "sending",
    "caller",
    "timing",
    "issues",
    "releases",
    "users",
    "details",
    "recorder",
    "bounds",
    "writers",
    "statements",
    "kept",
    "complaints",
    "processes",
    "derived",
    "filters",
    "queries",
    "releases_seen",
    "issue_states",
    "confidence",
    "changes",
    "rollups",
    "access_log",
    "traffic_waits",
    "traffic",
    "rendering",
    "guards",
    "origin",
    "old_database",
    "state",
    "pruning",
    "schema",
    "trail",
    "testing",
    "made_up",
    "scanning",
    "held",
    "forget",
    "formatting",
    "advice",
    "health",
    "charts",
    "page_state",
    "saved_views",
    "forms",
    "pages",
    "query",
    "export",
    "openapi",
    "api",
    "views",
    "cli",
    "extension",
    "demo",
)
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts != ("__init__.py",))
ONLY_FLASK = {
    "users",
    "details",
    "recorder",
    "rendering",
    "guards",
    "signals",
    "state",
    "trail",
    "testing",
    "api",
    "views",
    "cli",
    "extension",
    "demo",
    "export",
}
"""Modules that may know Flask; all others are pure, or know only the database."""


def imported(path: Path) -> set[str]:
    """The modules of this package that the file imports, by their name at the top."""
    parts = path.relative_to(PACKAGE).parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            above = parts[: len(parts) - node.level]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {".".join([*above, name]).split(".")[0] for name in names if name}
    return found - {parts[0].removesuffix(".py")}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_import_only_what_is_before_them(path: Path) -> None:
    name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert imported(path) <= set(ORDER[: ORDER.index(name)])


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_that_are_pure_do_not_know_flask(path: Path) -> None:
    name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    tree = ast.walk(ast.parse(path.read_text("utf-8")))
    flask = any(isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "flask" for node in tree)
    assert not flask or name in ONLY_FLASK or name == "rollups"


def test_modules_import_by_relative_names() -> None:
    for path in MODULES:
        assert "from flask_statistics" not in path.read_text("utf-8"), path.name


def test_each_module_has_its_tests() -> None:
    table = (TESTS / "README.md").read_text("utf-8")
    elsewhere = dict(re.findall(r"^\| `([\w/]+\.py)` \|(.*)\|$", table, re.MULTILINE))
    modules = {path.relative_to(PACKAGE).as_posix() for path in MODULES if path.name != "__init__.py"}
    without = {name for name in modules if not (TESTS / name).with_name(f"test_{Path(name).name}").exists()}
    assert without <= elsewhere.keys() <= modules
    for module, row in elsewhere.items():
        files = re.findall(r"`([\w/]+\.py)`", row)
        assert files, module
        assert not [name for name in files if not (TESTS / name).is_file()], module


def test_helpers_that_the_page_on_tests_names_exist() -> None:
    page = (TESTS / "README.md").read_text("utf-8").split("## Where modules")[0]
    texts = [path.read_text("utf-8") for path in TESTS.glob("*.py")]
    for name in re.findall(r"`(\w+)(?:\([^`]*\))?`", page.split("## What to use for what")[1]):
        assert any(re.search(rf"\b{name}\b", text) for text in texts), name
