"""README is short, and says what is true: its app runs, its files exist. The tables of settings and databases are the code's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flask_statistics.config import PREFIX, SETTINGS, Setting

from ..conftest import DATABASES, RAW_SHAPES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def test_readme_is_short() -> None:
    assert len(README.split()) <= 700


def row(setting: Setting) -> str:
    default = repr(setting.default).removeprefix("datetime.")
    return f"| `{PREFIX}{setting.key}` | `{default}` | {setting.meaning} |"


def test_settings_are_those_of_the_code() -> None:
    table = re.search(
        r"<!-- settings -->\n(.*)<!-- /settings -->", (ROOT / "docs" / "settings.md").read_text("utf-8"), re.DOTALL
    )
    assert table is not None
    expected = ["| key | default | meaning |", "|---|---|---|", *map(row, SETTINGS)]
    assert table[1].splitlines() == expected, "put these lines into docs/settings.md:\n" + "\n".join(expected)


def test_databases_are_those_of_the_tests() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    table = re.search(r"<!-- databases -->\n(.*)<!-- /databases -->", text, re.DOTALL)
    assert table is not None
    header, _, *rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in table[1].splitlines()]
    assert header == ["", *RAW_SHAPES]
    for question, *databases in rows:
        module = re.search(r"`([\w/]*test_\w+)", question)
        assert module is not None
        shapes = RAW_SHAPES if databases.count("yes") == len(RAW_SHAPES) else DATABASES
        assert databases == ["yes" if name in shapes else "" for name in RAW_SHAPES]
        text = (ROOT / "tests" / f"{module[1]}.py").read_text("utf-8")
        assert ("RAW_SHAPES" if shapes is RAW_SHAPES else "database_url") in text


def run_flask(folder: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLASK_")}
    environment["PYTHONPATH"] = str(ROOT)
    found = subprocess.run(
        [sys.executable, "-m", "flask", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_readme_example_works_as_printed(tmp_path: Path) -> None:
    example = re.search(r"save it as `app.py`:\n\n```python\n(.*?)```", README, re.DOTALL)
    assert example is not None
    (tmp_path / "app.py").write_text(example[1])
    assert "flask statistics init\nflask run\n" in README
    assert (
        run_flask(tmp_path, "statistics", "init")
        == "Created the table request.\nCreated the table statistics_import.\nCreated the table statistics_issue.\n"
        "Created the table statistics_mark.\nCreated the table statistics_view.\n"
    )
    code = (
        "from app import app; client = app.test_client(); assert client.get('/').text == 'Hello!'; "
        "assert client.get('/statistics/').status_code == 200; "
        "print(client.get('/statistics/api/breakdown/path').get_json()['rows'][0]['value'])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout == "/\n"


def test_every_command_is_in_the_table() -> None:
    from flask_statistics.cli import commands

    table = (ROOT / "docs" / "command-line.md").read_text("utf-8")
    assert [name for name in commands.commands if f"\n| `flask statistics {name}" not in table] == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_links_lead_somewhere(name: str) -> None:
    for file, anchor in re.findall(r"\]\(((?!http)[^)#]*)(?:#([^)]*))?\)", (ROOT / name).read_text("utf-8")):
        page = ROOT / (file or name)
        assert page.exists(), file
        if anchor:
            headings = re.findall(r"^#+ (.*)", page.read_text("utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w-]", "", text.lower().replace(" ", "-")) for text in headings]


def test_ci_runs_the_command_of_readme() -> None:
    assert 'pip install -e ".[dev]" && pytest\n' in README
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert ' -e ".[dev]" && pytest' in script
    assert 'mkdocs" build --strict' in script
    assert 'python .ci/assets "$work/site"' in script


def test_workflow_runs_what_everybody_runs() -> None:
    assert "      - run: .ci/run\n" in (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")


def test_other_hosts_are_found_in_a_site(tmp_path: Path) -> None:
    (tmp_path / "good.html").write_text(
        '<link rel="canonical" href="https://a.example/"><img src="a.png"><a href="https://b.example">'
    )
    check = [sys.executable, str(ROOT / ".ci" / "assets"), str(tmp_path)]
    assert subprocess.run(check, capture_output=True, check=False).returncode == 0
    (tmp_path / "bad.html").write_text(
        '<link rel="preconnect" href="https://a.example"><script src="//b.example/x.js"></script>'
    )
    (tmp_path / "bad.css").write_text("@import url(https://c.example/x.css);")
    found = subprocess.run(check, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert sorted(found.stdout.splitlines()) == [
        "bad.css: https://c.example/x.css",
        "bad.html: //b.example/x.js",
        "bad.html: https://a.example",
    ]
