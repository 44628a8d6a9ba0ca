"""`mark`: marks what happened, such as a move to another database."""

from __future__ import annotations

from datetime import datetime

import click
from flask import current_app

from .. import kept, trail
from ..connections import WORKING
from ..releases_seen import to_minute
from ..spans import SpanError, read_instant, to_local
from ..state import State, state_of
from .shared import commands, count_of, database_errors, utc_now


@commands.command("mark")
@click.argument("text", required=False)
@click.option("--at", help="When it was: 2026-11-26 or 2026-11-26T12:10, in the dashboard's time zone. Now, if absent.")
@click.option("--delete", is_flag=True, help="Delete the marks with that text; with --at, the one of that time alone.")
def mark(text: str | None, at: str | None, delete: bool) -> None:
    """Mark what happened, TEXT, in every chart; without TEXT, list all marks.

    Releases are marked by themselves, each since it was first seen. A mark is kept to the minute.
    """
    state = state_of(current_app)
    if text is None:
        if at is not None or delete:
            raise click.UsageError("--at and --delete need the TEXT of a mark.")
        _list(state)
        return
    try:
        found = kept.checked("TEXT", text, kept.LONGEST_TEXT)
        moment = None if at is None else read_instant("--at", at, state.settings.timezone)
    except (ValueError, SpanError) as error:
        raise click.UsageError(f"{error}.") from None
    if delete:
        _delete(state, found, moment)
    else:
        _add(state, kept.Mark(found, moment or to_minute(utc_now())))


def _list(state: State) -> None:
    with database_errors("'flask statistics init' creates missing tables."), state.reading_ours() as connection:
        marks = kept.read(connection, state.kept).marks
    for each in marks:
        click.echo(f"{_local(state, each.at)}  {'release ' if each.kind == kept.RELEASE else ''}{each.text}")
    if not marks:
        click.echo("Nothing is marked.")


def _add(state: State, found: kept.Mark) -> None:
    with database_errors("'flask statistics init' creates missing tables."):
        try:
            with state.our_engine_for(WORKING).begin() as connection:
                kept.add_mark(connection, state.kept, found)
        except kept.Full as refusal:
            raise click.ClickException(str(refusal)) from None
    trail.note(state.app, "changed", f"marked {found.text}")
    click.echo(f"Marked {found.text!r} at {_local(state, found.at)}.")


def _delete(state: State, text: str, at: datetime | None) -> None:
    with (
        database_errors("'flask statistics init' creates missing tables."),
        state.our_engine_for(WORKING).begin() as connection,
    ):
        marks = [
            each for each in kept.read(connection, state.kept).marks if each.text == text and at in (None, each.at)
        ]
        for each in marks:
            kept.delete_mark(connection, state.kept, each.id)
    if not marks:
        raise click.ClickException(f"There is no mark {text!r}{'' if at is None else f' at {_local(state, at)}'}.")
    trail.note(state.app, "changed", f"deleted the mark {text}")
    click.echo(f"{count_of(len(marks), 'mark')} deleted.")


def _local(state: State, moment: datetime) -> str:
    return f"{to_local(moment, state.settings.timezone):%Y-%m-%d %H:%M %Z}"
