"""The group of all commands, and what several of them need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib import import_module

import click
import sqlalchemy as sa
from flask.cli import AppGroup

from .. import databases
from ..databases import errors
from ..databases.causes import BY_COMMAND
from ..state import State

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells expect it: 128 + SIGINT."""

FILES = ("demo_data", "fill", "logs", "marks", "rollups", "spool", "status", "tables", "token", "visitors")
"""Those of this folder that have commands."""


class Commands(AppGroup):
    """Commands whose files are imported when one of them is asked for: an app that serves requests needs none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands."""
        _import_all()
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        _import_all()
        return super().get_command(ctx, cmd_name)


def _import_all() -> None:
    for file in FILES:
        import_module(f".{file}", __package__)


commands = Commands("statistics", help="Request statistics: tables, imports, rollups.")
"""To be added to an app's command line."""


@contextmanager
def database_errors(fix: str | None = None) -> Iterator[None]:
    """Turn an error of the database into one line with the fix, by its cause if none is given, and exit code 1."""
    try:
        yield
    except sa.exc.SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error).partition("\n")[0]
        helps = fix if fix and errors.cause_of(error) in BY_COMMAND else errors.fix(error)
        raise click.ClickException(f"The database refused: {cause}\n{helps}") from error


def count_of(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def utc_now() -> datetime:
    return datetime.now(timezone.utc).replace(tzinfo=None)


def refuse_clickhouse(state: State) -> None:
    """End where many rows cannot be stored together with how far they got."""
    if not databases.of(state.engine()).has_transactions:
        raise click.ClickException(
            "The model is bound to ClickHouse, into which only requests are recorded: it has no transactions, so what is "
            "stopped could not go on without storing rows twice. Its own client can load rows; give each an index."
        )
