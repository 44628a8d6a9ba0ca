"""The group of all commands, and what several of them need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone

import click
import sqlalchemy as sa
from flask.cli import AppGroup

from .. import databases
from ..databases import errors
from ..databases.causes import BY_COMMAND
from ..state import State

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells expect it: 128 + SIGINT."""

commands = AppGroup("statistics", help="Request statistics: tables, imports, rollups.")


def group() -> click.Group:
    """The commands, to be added to an app's command line."""
    return commands


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
