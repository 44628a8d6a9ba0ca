"""The documentation's queries do what it says; the tests and settings that it names exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flask_statistics.config import PREFIX, SETTINGS

from .conftest import DATABASES
from .rollup_bench import Rolled

DOCS = Path(__file__).parents[1] / "docs"
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


TEST = r"`tests/(\w+\.py)::(\w+)`"
NO_PROMISE = "<!-- no promise -->"
"""Ends a paragraph, an item or a row of a table that promises nothing which a test could hold."""


@pytest.mark.parametrize("page", sorted(page.name for page in DOCS.glob("*.md")))
def test_tests_that_are_named_exist(page: str) -> None:
    for file, test in re.findall(TEST, (DOCS / page).read_text()):
        assert f"\ndef {test}(" in (Path(__file__).parent / file).read_text(), test


@pytest.mark.parametrize(("page", "least"), [("security.md", 35), ("privacy.md", 40)])
def test_promises_name_their_tests(page: str, least: int) -> None:
    blocks = list(statements((DOCS / page).read_text()))
    proven = [block for block in blocks if re.search(rf"{TEST}|`\.ci/run`", block)]
    assert len(proven) >= least
    unproven = [block for block in blocks if block not in proven and NO_PROMISE not in block]
    assert unproven == [], f"name the test that holds it, or end it with {NO_PROMISE}"


def statements(text: str) -> Iterator[str]:
    """The paragraphs, items and rows of a page, without headings, code, quotes and tables of names."""
    text = re.sub(r"<!-- ((?:held out )?(?:parameters|paths)) -->.*?<!-- /\1 -->|```.*?```", "", text, flags=re.DOTALL)
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
