"""`show` and `forget`: what is stored of one client."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

import click
from flask import current_app

from .. import forget as forget_visitor
from .. import held, trail
from ..addresses import NoSecret
from ..state import State, state_of
from .rollups import days, job_errors
from .shared import commands, count_of, utc_now


def _forms_of(state: State, address: str, now: datetime) -> list[str]:
    """How a client is stored; ends the command for a text that is no address."""
    if not state.raw.has("remote_address"):
        raise click.ClickException("The model has no column 'remote_address', so no visitor can be told from another.")
    try:
        with job_errors():
            return forget_visitor.forms_of(state, address, now)
    except forget_visitor.NoAddress:
        raise click.ClickException(
            f"{address!r} is no address, and nothing is stored under it; nothing was done."
        ) from None
    except NoSecret as error:
        raise click.ClickException(f"Today's secret cannot be read: {error.__cause__ or error}") from None


@commands.command("show")
@click.argument("address")
@click.option("--json", "as_json", is_flag=True, help="All of it, with every stored column.")
def show(address: str, as_json: bool) -> None:
    """Say all that is held of one client, and where: for somebody who asks what you know of them."""
    state, now = state_of(current_app), utc_now()
    forms = _forms_of(state, address, now)
    with job_errors():
        found = held.held(state, forms, now)
    trail.note(state.app, "opened", f"all of a client with {count_of(len(found.raw_rows), 'raw row')}")
    if as_json:
        click.echo(json.dumps({"address": forms[0], **asdict(found)}, indent=2, default=str))
        return
    click.echo(f"{count_of(len(found.raw_rows), 'raw row')} of {forms[0]} in {state.raw.table.fullname}.")
    for row in found.raw_rows:
        click.echo(f"  {row['date']:%Y-%m-%d %H:%M:%S} UTC {row.get('method') or ''} {row.get('path') or ''}"[:200])
    click.echo(f"{count_of(sum(period.requests for period in found.rollups), 'request')} in rollups.")
    for period in found.rollups:
        click.echo(f"  {period.unit} from {period.start:%Y-%m-%d %H:%M} UTC: {count_of(period.requests, 'request')}")
    click.echo(f"{count_of(len(found.waiting), 'request')} waiting in the spool, {len(found.set_aside):,} set aside.")
    _say_unreadable(found.unreadable)
    if state.settings.anonymize_ip == "hash":
        click.echo("Hashes are stored: those of earlier days cannot be told whose they are, by nobody.")


@commands.command("forget")
@click.argument("address")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget(address: str, yes: bool) -> None:
    """Erase one visitor: all raw rows of ADDRESS, and its part in the rollups, also of days whose raw rows are gone.

    Then everything is counted again; the exit code is 1 if something is left. Stop it at any time: the same command goes on.
    """
    state, now = state_of(current_app), utc_now()
    forms = _forms_of(state, address, now)
    with job_errors():
        rows = forget_visitor.count(state, forms)
    click.echo(f"{count_of(rows, 'raw row')} of {forms[0]}.")
    if state.settings.anonymize_ip == "truncate":
        click.echo("Networks are stored, so this erases everybody in the same one.")
    if state.settings.anonymize_ip == "hash":
        click.echo("Hashes are stored: those of earlier days cannot be told whose they are, by nobody.")
    if not yes:
        click.confirm("Erase them, and what the rollups made of them?", abort=True)
    with job_errors(), days("Erasing") as progress:
        try:
            done = forget_visitor.forget(state, forms, now, progress=progress)
        except forget_visitor.AtWork:
            raise click.ClickException("Another process is at work on the rollups; nothing was forgotten.") from None
    trail.note(state.app, "forgot", f"a client with {count_of(done.raw_rows, 'raw row')}")
    click.echo(f"{count_of(done.raw_rows, 'raw row')} deleted.")
    if done.set_aside:
        click.echo(f"{count_of(done.set_aside, 'request')} deleted that the table had refused and the spool kept.")
    if state.rollups is not None:
        click.echo(
            f"{count_of(done.requests, 'request')} taken out of the rollups of {count_of(done.periods, 'period')}."
        )
    if done.differing:
        click.echo(
            f"{count_of(done.differing, 'hour')} of the rollups and the raw rows differ; 'flask statistics verify' names them.",
            err=True,
        )
    if done.left:
        raise click.ClickException(f"Counted again: {count_of(done.left, 'request')} are left. Run it once more.")
    _say_unreadable(done.unreadable)
    if done.unreadable:
        raise click.ClickException("Counted again: nothing is left elsewhere.")
    click.echo("Counted again: nothing is left.")


def _say_unreadable(names: Sequence[str]) -> None:
    for name in names:
        click.echo(
            f"{name} of the spool cannot be read, or not all of it, so what it has of this client is not known: look at it, "
            f"then delete it by 'flask statistics spool drop {name}'.",
            err=True,
        )
