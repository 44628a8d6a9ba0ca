"""`init`: creates tables, columns and indexes, and says what is missing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress

import click
import sqlalchemy as sa
from flask import current_app

from .. import databases, schema, trail
from ..config import SettingError
from ..models import check_types
from ..state import State, state_of
from ..writers.spool.disk import fix_folder
from ..writers.spool.folder import try_folder
from ..writers.spool.moving import Overtaken
from ..writers.spool.writer import SpoolWriter
from .shared import commands, database_errors


@commands.command("init")
@click.option("--alter", is_flag=True, help="Add the columns that tables lack, too.")
def init(alter: bool) -> None:
    """Create the tables and the index on the date that are missing.

    Nothing that exists is altered without --alter: the statements that add missing columns are printed, with exit code 1.
    Run it once, and again after an upgrade.
    """
    state = state_of(current_app)
    try:
        check_types(state.raw, state.engine().dialect)
    except SettingError as refusal:
        raise click.ClickException(str(refusal)) from None
    with database_errors("Is it running, and may the app's user create tables?"):
        done = [*_create_tables(state), *_create_index(state)]
        lacks = schema.lacking(state, state.engine(), state.our_engine())
        if alter:
            done += _add_columns(state, lacks)
        if isinstance(state.writer, SpoolWriter):
            _try_spool(state.writer)
    if done:
        trail.note(state.app, "changed", "made tables, or added columns to them")
    for line in done:
        click.echo(line)
    old = state.left_behind()
    if old is not None:
        click.echo(old, err=True)
    if lacks and not alter:
        say_lacks(state, lacks)
        sys.exit(1)
    if not done:
        click.echo("Nothing to do: tables and index are there.")


def _add_columns(state: State, lacks: list[schema.Lack]) -> list[str]:
    for lack in lacks:
        with schema.engine_of(state, lack.table).begin() as connection:
            for statement in lack.additions(connection.dialect):
                connection.execute(sa.text(statement.replace(":", "\\:")))
    return [f"Added the column {lack.table.fullname}.{column.name}." for lack in lacks for column in lack.columns]


def say_lacks(state: State, lacks: list[schema.Lack]) -> None:
    """Say what is missing, and the statements that add it."""
    for lack in lacks:
        click.echo(f"{lack} Make a migration, or run 'flask statistics init --alter', which executes:", err=True)
        for statement in lack.additions(schema.engine_of(state, lack.table).dialect):
            click.echo(f"{statement};")


def _try_spool(writer: SpoolWriter) -> None:
    """See that the spool can be written, and let it know the database, for a start while that is away."""
    folder = writer.folder()
    error = try_folder(folder.path)
    if error is not None:
        raise click.ClickException(f"The spool cannot be written: {error}\n{fix_folder(error, folder.path)}")
    with suppress(Overtaken):  # another process does the same
        folder.know(writer.mover().identity(wait_ms=1_000))


def _create_tables(state: State) -> Iterator[str]:
    for table in schema.our_tables(state):
        engine = schema.engine_of(state, table)
        if sa.inspect(engine).has_table(table.name, schema=table.schema):
            continue
        if not databases.of(engine).has_transactions:
            raise click.ClickException(
                f"The table {table.fullname!r} is missing in ClickHouse, where how it is kept is yours to choose: "
                "docs/scaling.md has the SQL."
            )
        table.create(engine)
        yield f"Created the table {table.fullname}."


def _create_index(state: State) -> Iterator[str]:
    raw, engine = state.raw, state.engine()
    if not databases.of(engine).has_date_index:
        return  # its tables are sorted, and have no such indexes
    if not schema.has_date_index(raw, sa.inspect(engine)):
        databases.of(engine).create_index(engine, raw.table, raw.columns["date"])
        yield f"Created an index on {raw.table.fullname}.{raw.columns['date'].name}."
