"""`flask statistics ...`: what is done from a shell. Creates tables, imports logs, makes demo data.

Prints what it did, on standard error what went wrong; the exit code is 0 only if all was done.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import click
import sqlalchemy as sa
from flask import current_app
from flask.cli import AppGroup

from . import dialects, traffic
from .imports import OURS, Import, ImportRefused, LogImport, insert_rows
from .models import RawTable
from .recorder import excluder
from .spans import to_local
from .state import State, state_of

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells expect it: 128 + SIGINT."""

commands = AppGroup("statistics", help="Request statistics: tables, imports, demo data.")


def group() -> click.Group:
    """The commands, to be added to an app's command line."""
    return commands


@contextmanager
def _database_errors(fix: str) -> Iterator[None]:
    """Turn an error of the database into one line with the fix, and exit code 1."""
    try:
        yield
    except sa.exc.SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error).partition("\n")[0]
        raise click.ClickException(f"The database refused: {cause}\n{fix}") from error


# ---- init --------------------------------------------------------------------------------------------------------


@commands.command("init")
def init() -> None:
    """Create the tables and the index on the date that are missing.

    Nothing that exists is altered. Run it once, and again after an upgrade.
    """
    state = state_of(current_app)
    with _database_errors("Is it running, and may the app's user create tables?"):
        done = [*_create_tables(state), *_create_index(state)]
    for line in done or ["Nothing to do: tables and index are there."]:
        click.echo(line)


def _create_tables(state: State) -> Iterator[str]:
    raw, engine = state.raw.table, state.engine()
    ours = [table for table in raw.metadata.tables.values() if table.info.get(OURS)]
    for table in [raw, *ours]:
        if not sa.inspect(engine).has_table(table.name, schema=table.schema):
            table.create(engine)
            yield f"Created the table {table.fullname}."


def _create_index(state: State) -> Iterator[str]:
    raw, engine = state.raw, state.engine()
    if not _has_date_index(raw, sa.inspect(engine)):
        dialects.create_index(engine, raw.table, raw.columns["date"])
        yield f"Created an index on {raw.table.fullname}.{raw.columns['date'].name}."


def _has_date_index(raw: RawTable, inspector: sa.Inspector) -> bool:
    date, name, schema = raw.columns["date"].name, raw.table.name, raw.table.schema
    keys: list[list[Any]] = [[*inspector.get_pk_constraint(name, schema=schema)["constrained_columns"]]]
    keys += [[*index["column_names"]] for index in inspector.get_indexes(name, schema=schema)]
    keys += [[*constraint["column_names"]] for constraint in inspector.get_unique_constraints(name, schema=schema)]
    return any(key[:1] == [date] for key in keys)


# ---- import-log --------------------------------------------------------------------------------------------------


@commands.command("import-log")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path))
@click.option("--again", is_flag=True, help="Import a file that was imported before, a second time.")
def import_log(file: Path, again: bool) -> None:
    """Store the requests of an access log of Apache or nginx.

    FILE is in the combined or the common format, plain or compressed by gzip. Stop it at any time: the same command
    goes on where it was. Of a file that has grown since only the new lines are read.
    """
    state = state_of(current_app)
    prefix = state.settings.url_prefix
    own, excluded = excluder((f"{prefix}/*", prefix)), excluder(state.settings.exclude)
    started = time.perf_counter()
    with _database_errors("What was stored before stays; 'flask statistics init' creates missing tables."):
        log = LogImport(
            state.engine(),
            state.raw,
            state.imports,
            file,
            excluded=lambda path: own(path, None) or excluded(path, None),
        )
        try:
            job = log.prepare(again=again, now=_utc_now())
            if job.lines:
                click.echo(f"Going on after line {job.lines:,}.")
            _show_progress(log, job)
        except ImportRefused as refusal:
            raise click.ClickException(str(refusal)) from None
        except KeyboardInterrupt:
            _say_what_was_seen(log, state, time.perf_counter() - started)
            click.echo("Stopped. The same command goes on from here.", err=True)
            sys.exit(INTERRUPTED)
        except ValueError as damage:
            _say_what_was_seen(log, state, time.perf_counter() - started)
            raise click.ClickException(f"{file.name}: {damage}. All lines before are stored.") from None
    _say_what_was_seen(log, state, time.perf_counter() - started)


def _show_progress(log: LogImport, job: Import) -> None:
    with click.progressbar(length=log.size_bytes, label=f"Importing {job.file_name}", file=sys.stderr) as bar:
        for position in log.run(job, utc_now=_utc_now):
            bar.update(position - bar.pos)


def _say_what_was_seen(log: LogImport, state: State, seconds: float) -> None:
    seen, settings = log.seen, state.settings
    click.echo(f"{_count(seen.requests, 'request')} imported in {seconds:.1f} s.")
    if seen.excluded:
        click.echo(f"{_count(seen.excluded, 'request')} left out: the dashboard's own, and STATISTICS_EXCLUDE.")
    if seen.malformed:
        click.echo(f"{_count(seen.malformed, 'malformed line')} left out:", err=True)
        for example in seen.examples:
            click.echo(f"  {example}", err=True)
        if seen.malformed > len(seen.examples):
            click.echo("  ...", err=True)
    if seen.first and seen.last:
        first, last = (to_local(moment, settings.timezone) for moment in (seen.first, seen.last))
        click.echo(f"See them at {settings.url_prefix}/?start={first:%Y-%m-%d}&end={last:%Y-%m-%d}")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


# ---- demo-data ---------------------------------------------------------------------------------------------------


@commands.command("demo-data")
@click.option("--requests", type=click.IntRange(1), default=30_000, show_default=True, help="How many.")
@click.option("--days", type=click.IntRange(1, 10_000), default=28, show_default=True, help="Over how many days.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same requests.")
@click.option("--yes", is_flag=True, help="Do not ask when requests are stored already.")
def demo_data(requests: int, days: int, seed: int, yes: bool) -> None:
    """Store made-up requests of the days before now, to look at the dashboard with."""
    state, now = state_of(current_app), _utc_now()
    rows = traffic.generate(start=now - timedelta(days=days), end=now, requests=requests, seed=seed)
    with _database_errors("'flask statistics init' creates missing tables."):
        if not yes and _has_rows(state):
            click.confirm(
                "Requests are stored already, and made-up ones cannot be told apart later. Go on?", abort=True
            )
        with (
            state.engine().begin() as connection,
            click.progressbar(length=requests, label="Making requests", file=sys.stderr) as bar,
        ):
            for count in insert_rows(connection, state.raw, rows):
                bar.update(count)
    click.echo(f"{_count(requests, 'request')} stored. See them at {state.settings.url_prefix}/?span={days}d")


def _has_rows(state: State) -> bool:
    with state.engine().connect() as connection:
        return connection.execute(sa.select(state.raw.key).limit(1)).first() is not None


def _utc_now() -> datetime:
    return datetime.now(timezone.utc).replace(tzinfo=None)
