"""`flask statistics mark`, and `fill marks`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from ..conftest import App

MakeApp = Callable[..., App]


def run(app: App, *arguments: str) -> Result:
    return app.flask.test_cli_runner().invoke(args=["statistics", "mark", *arguments])


@pytest.fixture
def app(make_app: MakeApp) -> App:
    return make_app(STATISTICS_TIMEZONE="Europe/Berlin")


def test_mark_at_a_time(app: App) -> None:
    assert run(app).output == "Nothing is marked.\n"
    done = run(app, "Moved to PostgreSQL", "--at", "2026-11-26T12:10")
    assert (done.exit_code, done.stdout) == (0, "Marked 'Moved to PostgreSQL' at 2026-11-26 12:10 CET.\n")
    run(app, "Christmas", "--at", "2025-12-24")
    assert run(app).stdout == "2025-12-24 00:00 CET  Christmas\n2026-11-26 12:10 CET  Moved to PostgreSQL\n"


def test_mark_now(app: App) -> None:
    assert run(app, "deployed").exit_code == 0
    (mark,) = app.statistics_state().read_kept().marks
    assert (mark.text, mark.at.second) == ("deployed", 0)


def test_mark_deletes(app: App) -> None:
    for day in ("2026-11-26", "2026-11-27", "2026-11-28"):
        run(app, "deployed", "--at", day)
    run(app, "else", "--at", "2026-11-26")
    assert run(app, "deployed", "--delete", "--at", "2026-11-26").stdout == "1 mark deleted.\n"
    assert run(app, "deployed", "--delete").stdout == "2 marks deleted.\n"
    assert run(app).stdout == "2026-11-26 00:00 CET  else\n"
    gone = run(app, "deployed", "--delete")
    assert (gone.exit_code, gone.stderr) == (1, "Error: There is no mark 'deployed'.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x", "--at", "soon"], "--at is 'soon', but must be a date such as 2026-11-22, or 2026-11-22T14:00."),
        (["a\nb"], "TEXT is 'a\\nb', but must be a text of 1 to 64 characters that can be seen."),
        (["--at", "2026-11-26"], "--at and --delete need the TEXT of a mark."),
    ],
)
def test_mark_refuses(app: App, arguments: list[str], message: str) -> None:
    refused = run(app, *arguments)
    assert (refused.exit_code, refused.stderr.splitlines()[-1]) == (2, f"Error: {message}")


def test_mark_without_its_table(app: App) -> None:
    state: Any = app.statistics_state()
    with state.our_engine().begin() as connection:
        state.kept.mark.drop(connection)
    for arguments in ([], ["x"], ["x", "--delete"]):
        refused = run(app, *arguments)
        assert refused.exit_code == 1
        assert "'flask statistics init' creates missing tables." in refused.stderr
