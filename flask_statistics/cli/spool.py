"""`spool`: what waits in files, and what can be done with it."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from flask import current_app
from flask.cli import with_appcontext

from .. import trail
from ..databases.causes import Cause
from ..state import state_of
from ..writers.spool import listing
from ..writers.spool.disk import fix_folder
from ..writers.spool.folder import SpoolFolder, try_folder
from ..writers.spool.listing import read_backlog, read_refused
from ..writers.spool.notes import SpoolUnusable
from ..writers.spool.writer import SpoolWriter
from ..writers.transaction import Locked
from .shared import commands, count_of, database_errors


def _spool_writer() -> SpoolWriter:
    writer = state_of(current_app).writer
    if not isinstance(writer, SpoolWriter):
        raise click.ClickException(
            'There is no spool: STATISTICS_WRITER is not "spool", or STATISTICS_ENABLED is False.'
        )
    return writer


@contextmanager
def _spool_errors(folder: SpoolFolder) -> Iterator[None]:
    """Turn what can go wrong with the spool's files into one line with the fix, and exit code 1."""
    with database_errors("'flask statistics init' creates missing tables."):
        try:
            yield
        except listing.Alive:
            raise click.ClickException("A living process has it: stop the app first.") from None
        except Locked as error:
            raise click.ClickException(f"{error}. {Cause.LOCKED.value}") from None
        except (OSError, sqlite3.Error, SpoolUnusable) as error:
            raise click.ClickException(f"{error}\n{fix_folder(error, folder.path)}") from None


@commands.group("spool", invoke_without_command=True)
@click.pass_context
@with_appcontext
def spool(context: click.Context) -> None:
    """List what waits in the spool's folder, for whom and why, and what was set aside.

    The exit code is 1 if somebody should look after it.
    """
    if context.invoked_subcommand is not None:
        return
    folder = _spool_writer().folder()
    with _spool_errors(folder):
        files, strays, refused = listing.list_files(folder), folder.strays(), read_refused(folder)
    for file in files:
        waits, whose = count_of(file.waiting, "request"), "this database" if file.ours else "another database"
        address = f" ({file.address})" if file.address else ""
        click.echo(f"{file.path.name}: {waits} waiting, {file.refused:,} set aside, for {whose}{address}")
        if file.trouble is not None:
            click.echo(f"  They wait because {file.trouble}")
    for request, error in refused:
        click.echo(f"Set aside: {request}: {error}")
    for stray in strays:
        click.echo(f"{stray.name}: put away, as it was damaged or nobody's")
    if not files and not strays:
        click.echo(f"Nothing is in {folder.path}.")
    if refused:
        click.echo(
            "'flask statistics spool retry' tries what was set aside now; 'drop --set-aside' deletes it.", err=True
        )
    if any(not file.ours and file.waiting for file in files):
        click.echo("'flask statistics spool adopt FILE' stores in this database what waits for another one.", err=True)
    backlog = read_backlog(folder)
    if refused or backlog.problems or backlog.trouble:
        sys.exit(1)


def _note_change(what: str) -> None:
    trail.note(state_of(current_app).app, "changed", what)


@spool.command("retry")
def spool_retry() -> None:
    """Try now to store what the raw table refused. The exit code is 1 if it refuses some again."""
    writer = _spool_writer()
    with _spool_errors(writer.folder()):
        stored, refused = listing.retry(writer.folder(), writer.mover())
    _note_change(f"stored {count_of(stored, 'request')} that the table had refused")
    if refused:
        for request, error in read_refused(writer.folder()):
            click.echo(f"Set aside: {request}: {error}")
        click.echo(f"{count_of(stored, 'request')} stored, {refused:,} are refused still.")
        sys.exit(1)
    click.echo(f"{count_of(stored, 'request')} stored.")


@spool.command("adopt")
@click.argument("names", nargs=-1, required=True, metavar="FILE...")
def spool_adopt(names: tuple[str, ...]) -> None:
    """Store in this database what waits in FILE for another one, or for nobody knows which."""
    writer = _spool_writer()
    folder = writer.folder()
    for path in _named(folder, names, folder.files()):
        with _spool_errors(folder):
            waiting, stored = listing.adopt(folder, writer.mover(), path)
        _note_change(f"adopted {count_of(waiting, 'request')} of the spool")
        click.echo(f"{path.name}: {count_of(waiting, 'request')} adopted, {stored:,} stored.")


@spool.command("drop")
@click.argument("names", nargs=-1, metavar="[FILE]...")
@click.option("--set-aside", is_flag=True, help="Delete what the raw table refused, of all files of this database.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def spool_drop(names: tuple[str, ...], set_aside: bool, yes: bool) -> None:
    """Delete FILE with all requests that wait in it, for good."""
    folder = _spool_writer().folder()
    if bool(names) == set_aside:
        raise click.UsageError("Name files, or give --set-aside.")
    if set_aside:
        number = sum(file.refused for file in listing.list_files(folder) if file.ours)
        if not yes:
            click.confirm(f"Delete {count_of(number, 'request')} that were set aside?", abort=True)
        with _spool_errors(folder):
            number = listing.drop_refused(folder)
        _note_change(f"dropped {count_of(number, 'request')} that the table had refused")
        click.echo(f"{count_of(number, 'request')} dropped.")
        return
    listed = {file.path: file.waiting + file.refused for file in listing.list_files(folder)}
    for path in _named(folder, names, [*listed, *folder.strays()]):
        what = count_of(listed[path], "request") if path in listed else "what is in it, readable or not,"
        if not yes:
            click.confirm(f"{path.name}: delete {what} for good?", abort=True)
        with _spool_errors(folder):
            listing.drop(folder, path)
        _note_change(f"dropped {path.name} of the spool")
        click.echo(f"{path.name}: {count_of(listed.get(path, 0), 'request')} dropped.")


def _named(folder: SpoolFolder, names: Iterable[str], known: Iterable[Path]) -> list[Path]:
    """The paths of files of the folder, all of which are there."""
    paths = [folder.path / Path(name).name for name in names]
    for path in paths:
        if path not in known:
            raise click.ClickException(f"{path.name} is not in {folder.path}: 'flask statistics spool' lists what is.")
    return paths


def say_what_waits(writer: SpoolWriter) -> str | None:
    """Say what is in the spool; what is wrong with its folder, if anything is."""
    folder = writer.folder()
    error = try_folder(folder.path)
    if error is not None:
        problem = f"The spool cannot be written: {error}. {fix_folder(error, folder.path)}"
        click.echo(f"Spool             {problem}")
        return problem
    found = read_backlog(folder)
    click.echo(f"Spool             {count_of(found.waiting, 'request')} waiting, {found.refused:,} refused")
    if found.trouble is not None:
        click.echo(f"They wait because {found.trouble}")
    for request, reason in read_refused(folder):
        click.echo(f"Refused           {request}: {reason}")
    return None
