"""The documentation's queries do what it says; the tests and settings that it names exist."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flask_statistics import Dimension
from flask_statistics.config import PREFIX, SETTINGS
from flask_statistics.models import KNOWN_COLUMNS
from flask_statistics.parameters import SORTS, TABLE

from ..conftest import DATABASES
from ..rollup_bench import Rolled

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "rollups.md"


@pytest.fixture(params=DATABASES)
def rolled(request: pytest.FixtureRequest, new_database: Any) -> Iterator[Rolled]:
    with new_database(request.param) as url:
        rolled = Rolled(url)
        rolled.insert(
            [
                {"date": datetime(2026, 10, 3, 10), "path": "/", "browser": "firefox 1", "response_time": 0.25},
                {"date": datetime(2026, 10, 4, 10), "path": "/", "browser": "chrome 1", "response_time": 0.75},
                {"date": datetime(2026, 11, 2, 10), "path": "/a", "status_code": 500, "response_time": 0.5},
                {"date": datetime(2026, 11, 2, 11), "path": "/a", "response_time": 1.5, "device": "bot"},
                {"date": datetime(2026, 11, 2, 12), "path": "/b"},
                {"date": datetime(2026, 11, 21, 10), "path": "/c"},  # of a day that is not over
            ]
        )
        rolled.job.run(datetime(2026, 11, 22))
        yield rolled
        rolled.close()


def test_queries_by_hand(rolled: Rolled) -> None:
    days, paths, browsers = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    with rolled.engine.connect() as connection:

        def rows(query: str) -> list[list[Any]]:
            return [[str(row[0])[:10], *row[1:]] for row in connection.execute(sa.text(query))]

        assert [[day, hits, errors, float(ms)] for day, hits, errors, ms in rows(days)] == [
            ["2026-10-03", 1, 0, 250.0],
            ["2026-10-04", 1, 0, 750.0],
            ["2026-11-02", 3, 1, 1000.0],
        ]
        assert [row[:2] for row in rows(paths)] == [["/a", 1], ["/b", 1]]
        assert [[month, name, float(percent)] for month, name, percent in rows(browsers)] == [
            ["2026-10-01", "chrome", 50.0],
            ["2026-10-01", "firefox", 50.0],
        ]


TEST = r"`tests/([\w/]+\.py)::(\w+)`"
NO_PROMISE = "<!-- no promise -->"
"""Ends a paragraph, an item or a row of a table that promises nothing which a test could hold."""


@pytest.mark.parametrize("page", sorted(page.name for page in DOCS.glob("*.md")))
def test_tests_that_are_named_exist(page: str) -> None:
    for file, test in re.findall(TEST, (DOCS / page).read_text()):
        assert f"\ndef {test}(" in (Path(__file__).parents[1] / file).read_text(), test


@pytest.mark.parametrize(("page", "least"), [("security.md", 35), ("privacy.md", 40)])
def test_promises_name_their_tests(page: str, least: int) -> None:
    blocks = list(statements((DOCS / page).read_text()))
    proven = [block for block in blocks if re.search(rf"{TEST}|`\.ci/run`", block)]
    assert len(proven) >= least
    unproven = [block for block in blocks if block not in proven and NO_PROMISE not in block]
    assert unproven == [], f"name the test that holds it, or end it with {NO_PROMISE}"


def statements(text: str) -> Iterator[str]:
    """The paragraphs, items and rows of a page, without headings, code, quotes and tables of names."""
    text = re.sub(
        r"<!-- ((?:held out )?(?:parameters|paths)) -->.*?<!-- /\1 -->|(?:<!-- example: \w+ -->\n)?```.*?```",
        "",
        text,
        flags=re.DOTALL,
    )
    for block in filter(None, map(str.strip, re.split(r"\n\s*\n", text))):
        if block.startswith("|"):
            yield from block.splitlines()[2:]
        elif block.startswith("- "):
            yield from re.split(r"\n(?=- )", block)
        elif not block.startswith(("#", ">")):
            yield block


@pytest.mark.parametrize("page", ["security.md", "privacy.md"])
def test_settings_that_are_named_exist(page: str) -> None:
    named = set(re.findall(rf"`{PREFIX}(\w+)", (DOCS / page).read_text()))
    assert named
    assert named <= {setting.key for setting in SETTINGS}


def test_what_is_stored_is_named() -> None:
    text = (DOCS / "privacy.md").read_text()
    for name in ("remote_address", "query_string", "statistics_secret", "statistics_visitor", "statistics_import"):
        assert f"`{name}`" in text


def section(page: str, name: str) -> str:
    """What stands between two comments of that name."""
    return (DOCS / page).read_text("utf-8").partition(f"<!-- {name} -->")[2].partition(f"<!-- /{name} -->")[0]


def test_map_has_each_file_of_the_package() -> None:
    mapped = []
    for part in section("internals.md", "map").split("\n### `")[1:]:
        folder = part.partition("/`\n")[0]
        mapped += [f"{folder}/{name}" for name in re.findall(r"^- `(.+?)`: \S", part, re.MULTILINE)]
    package = DOCS.parent / "flask_statistics"
    files = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    there = {path.relative_to(DOCS.parent).as_posix() for path in files}
    assert there - set(mapped) == set(), "give each of these a line in docs/internals.md, under its folder"
    assert set(mapped) - there == set(), "take these out of docs/internals.md"
    assert len(mapped) == len(set(mapped))


def test_large_files_have_a_reason() -> None:
    package = DOCS.parent / "flask_statistics"
    large = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if len(path.read_text("utf-8").splitlines()) > 500
    }
    reasons = re.findall(r"^\| `(.+?)` \| \w", section("internals.md", "large"), re.MULTILINE)
    assert large - set(reasons) == set(), "divide these, or say in docs/internals.md why they are one"


def test_files_that_internals_names_exist() -> None:
    text = (DOCS / "internals.md").read_text("utf-8").partition("<!-- map -->")[0]
    named = re.findall(r"`((?:\w+/)*\w+\.py)`", text)
    known = [DOCS.parent / "flask_statistics" / name for name in named if not name.startswith("tests/")]
    assert [path.name for path in known if not path.exists()] == []


def test_glossary_is_short() -> None:
    words = re.findall(r"^\| (?!word )([\w ]+) \|", section("internals.md", "glossary"), re.MULTILINE)
    assert 15 <= len(words) <= 25
    assert len(words) == len(set(words))


def test_tables_to_drop_are_all_tables_of_ours(make_app: Any, tmp_path: Path) -> None:
    spool = {"STATISTICS_WRITER": "spool", "STATISTICS_SPOOL_PATH": tmp_path / "spool"}
    app = make_app(STATISTICS_ROLLUPS=True, STATISTICS_ANONYMIZE_IP="hash", STATISTICS_QUERIES=True, **spool)
    named = re.findall(r"`(\w+)`", section("getting-started.md", "tables"))
    assert sorted(named) == sorted(name for name in app.db.metadata.tables if name.startswith("statistics_"))


def table(page: str, header: str) -> list[str]:
    """The first cells of the rows of the page's table that has this header."""
    rows = (DOCS / page).read_text("utf-8").partition(f"\n| {header} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [row.split(" | ")[0].removeprefix("| ") for row in rows]


def names(cells: list[str]) -> list[str]:
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


def test_columns_are_those_of_the_model() -> None:
    assert sorted(names(table("recording.md", "column | what it holds"))) == sorted(KNOWN_COLUMNS)


def test_arguments_of_a_dimension_are_all_named() -> None:
    assert sorted(names(table("extending.md", "argument | means"))) == sorted(inspect.signature(Dimension).parameters)


def test_urls_of_the_api_are_those_that_it_describes(make_app: Any) -> None:
    described = make_app().json("openapi.json")["paths"]
    cells = table("api.md", "URL under `/statistics/api/` | answers")
    urls = [re.sub(r"\?.*|<\w+>", "", cell.strip("`")) for cell in cells]
    assert sorted(urls) == sorted(re.sub(r"\{\w+\}", "", path).removeprefix("/") for path in described)


def test_sort_names_are_those_of_the_code() -> None:
    text = (DOCS / "api.md").read_text("utf-8")
    (line,) = re.findall(r"^\| `sort=-p95` \| (.*?);", text, re.MULTILINE)
    assert tuple(re.findall(r"`(\w+)`", line)) == SORTS


def test_parameters_of_the_api_are_all_named() -> None:
    text = (DOCS / "api.md").read_text("utf-8")
    assert [known.name for known in TABLE if known.questions and not re.search(rf"[`?&]{known.name}=", text)] == []


@pytest.mark.parametrize("page", sorted(page.name for page in DOCS.glob("*.md")))
def test_lists_and_tables_begin_a_paragraph(page: str) -> None:
    text = re.sub(r"^```.*?^```$", "", (DOCS / page).read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for paragraph in re.split(r"\n\s*\n", text):
        first, *others = [line for line in paragraph.strip().splitlines() if not line.startswith("<!--")] or [""]
        begins = r"- |\d+\. |\|"
        assert re.match(begins, first.strip()) or not any(re.match(begins, line) for line in others), paragraph
