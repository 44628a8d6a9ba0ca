"""`fill`: columns of stored rows that can be computed again."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import click
from flask import current_app

from .. import databases, derived, releases_seen, trail
from ..connections import WORKING
from ..spans import FIRST_YEAR, midnight, next_edge, to_local
from ..state import State, state_of
from .rollups import days, job_errors, say_what_was_done
from .shared import commands, count_of, database_errors, utc_now

if TYPE_CHECKING:
    from ..rollups.rollups import Rollups

MARKS = "marks"


@commands.command("fill")
@click.argument("columns", nargs=-1, required=True, type=click.Choice((*derived.COLUMNS, MARKS)))
def fill(columns: Sequence[str]) -> None:
    """Fill columns of stored rows: what a user agent says by the rules of today, the country of an address, the channel and
    campaign of a referrer and a query string, and the issue of an exception.

    A country that is stored stays. Days of the rollups whose rows changed are built again. Stop it at any time: what is done
    stays, and the same command goes on; it then builds all days again.

    `marks` is no column: it finds since when each release was seen, in what is stored, and marks it.
    """
    state = state_of(current_app)
    if MARKS in columns:
        _fill_marks(state)
        columns = [name for name in columns if name != MARKS]
        if not columns:
            return
    _check(state, columns)
    label = f"Filling {', '.join(columns)}"
    with database_errors("'flask statistics init' creates missing tables."):
        was_stopped = state.rollups is not None and state.rollups.begin_changing()
    with (
        database_errors("'flask statistics init' creates missing tables."),
        click.progressbar(length=0, label=label, file=sys.stderr, show_eta=False, show_percent=False) as bar,
    ):
        found = derived.correct(
            state.engine(), state.raw, progress=bar.update, names=columns, root_path=state.app.root_path
        )
    click.echo(f"{count_of(found.rows, 'raw row')} got another {' or '.join(columns)}.")
    trail.note(state.app, "changed", f"filled {', '.join(columns)}: {count_of(found.rows, 'raw row')}")
    if state.rollups is not None:
        if was_stopped:  # it knew which days had changed
            _rebuild(state.rollups, datetime(FIRST_YEAR, 1, 1), utc_now(), state.settings.timezone)
        elif found.first is not None and found.last is not None:
            _rebuild(state.rollups, found.first, found.last, state.settings.timezone)
        state.rollups.end_changing()


def _fill_marks(state: State) -> None:
    """Mark the releases of stored requests, by the questions that pages ask."""
    dimension = state.dimensions.get(releases_seen.DIMENSION)
    if dimension is None:
        raise click.ClickException(
            "Nothing is known of releases: set STATISTICS_RELEASE, and let the model have the column 'release'."
        )
    with database_errors("'flask statistics init' creates missing tables."):
        seen, changed = releases_seen.mark_stored(
            state.queries_apart(),
            dimension,
            state.our_engine_for(WORKING),
            state.kept,
            now=utc_now(),
            zone=state.settings.timezone,
        )
    trail.note(state.app, "changed", f"marked {count_of(changed, 'release')}")
    click.echo(f"{count_of(seen, 'release')} found, {changed:,} of them marked anew.")


def _check(state: State, columns: Sequence[str]) -> None:
    if not databases.of(state.engine()).has_transactions:
        raise click.ClickException("Rows in ClickHouse stay as they are.")
    for name in columns:
        for needed in (name, derived.SOURCES[name]):
            if not state.raw.has(needed):
                raise click.ClickException(f"The model has no column {needed!r}, so {name!r} cannot be filled.")
    if "country" in columns and state.raw.locate is None:
        raise click.ClickException(
            "Addresses are stored as hashes, which have no country."
            if state.settings.anonymize_ip == "hash"
            else "No file says which address is where: set STATISTICS_COUNTRY to the path of an .mmdb file."
        )


def _rebuild(rollups: Rollups, first: datetime, last: datetime, zone: ZoneInfo) -> None:
    """Build the days from `first` to `last` again, but for those of which raw rows are gone."""
    job = rollups.job()
    start, end = (midnight(to_local(moment, zone).date(), zone) for moment in (first, last))
    end, buildable = next_edge(end, "day", zone), job.buildable_from()
    if start < buildable:
        start = buildable
        click.echo(
            f"Rollups from before {to_local(start, zone):%Y-%m-%d} stay as they are: raw rows of theirs are gone."
        )
    if start < end:
        with job_errors(), days("Building") as progress:
            report = job.rebuild(start, end, utc_now(), progress=progress)
        say_what_was_done(report)
