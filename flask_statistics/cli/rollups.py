"""`rollup`, `rebuild`, `verify`, `prune`: keeps rollups, and what they are made of."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click
from flask import current_app

from .. import databases, derived, pruning, trail
from ..connections import WORKING
from ..spans import FIRST_YEAR, midnight, to_local
from ..state import State, state_of
from ..statements.keeping import prune as prune_statements
from .shared import commands, count_of, database_errors, utc_now

if TYPE_CHECKING:
    from ..rollups.job import Job
    from ..rollups.report import Report
    from ..rollups.rollups import Rollups
    from ..rollups.structure import Difference
    from ..rollups.verification import Found


MOST_NAMED = 20
"""Differences, and periods that are kept, that are listed."""
_DAY = click.DateTime(["%Y-%m-%d"])


def _rollups(state: State) -> Rollups:
    if state.rollups is None:
        raise click.ClickException("Rollups are off. Set STATISTICS_ROLLUPS = True to keep them.")
    return state.rollups


@contextmanager
def job_errors() -> Iterator[None]:
    from ..rollups.meta import RollupError  # where rollups are off, NumPy stays out

    with database_errors("'flask statistics init' creates missing tables."):
        try:
            yield
        except RollupError as refusal:
            raise click.ClickException(str(refusal)) from None


@contextmanager
def days(label: str) -> Iterator[Callable[[datetime], None]]:
    """Shows each day that is done; how many there will be is not known before."""
    with click.progressbar(length=0, label=label, file=sys.stderr, show_eta=False, show_percent=False) as bar:

        def done(day: datetime) -> None:
            bar.label = f"{label} {day:%Y-%m-%d}"
            bar.update(1)

        yield done


def say_what_was_done(report: Report | None) -> None:
    if report is None:
        raise click.ClickException("Another process is at work on the rollups; nothing was done.")
    click.echo(f"{count_of(report.built, 'period')} built, {report.merged:,} merged.")
    for start, why in list(report.kept.items())[:MOST_NAMED]:
        click.echo(f"Kept as it is: {start:%Y-%m-%d %H:%M} UTC, {why}.", err=True)
    if report.raw_deleted:
        click.echo(
            f"{count_of(report.raw_deleted, 'raw row')} deleted, beyond STATISTICS_RAW_RETENTION or STATISTICS_RAW_MAX_ROWS."
        )


@commands.command("rollup")
@click.option("--seconds", type=click.FloatRange(0), help="Work on history for so long at most; default: to its end.")
def rollup(seconds: float | None) -> None:
    """Bring the rollups up to date; what cron runs where the scheduler is off.

    Stop it at any time: what is done stays, and the next run goes on.
    """
    from ..rollups.job import SETTLING  # as above

    state = state_of(current_app)
    gc.freeze()  # what is loaded stays: to look at it again and again takes a tenth of a long run's time
    with job_errors(), days("Rolling up") as progress:
        job, now = _rollups(state).job(), utc_now() - SETTLING
        report = job.run(now, seconds=seconds, progress=progress)
        if report is not None and report.complete:
            job.scrub(now)
    say_what_was_done(report)


@commands.command("rebuild")
@click.option("--from", "start", type=_DAY, help="First day; default: the oldest that has raw rows.")
@click.option("--to", "end", type=_DAY, help="Last day; default: today.")
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Read user agents again, and throw all rollups away first; needed after a change of TIMEZONE.",
)
@click.option("--yes", is_flag=True, help="Do not ask before rollups without raw rows are thrown away.")
def rebuild(start: datetime | None, end: datetime | None, everything: bool, yes: bool) -> None:
    """Build days again from their raw rows, and the months that they are part of.

    --all also reads the user agents of all raw rows again, by the rules for bots and devices of this version.
    """
    state, now = state_of(current_app), utc_now()
    if everything and (start or end):
        raise click.UsageError("--all takes no --from and no --to.")
    if everything:
        _correct_derived(state)
        if state.rollups is None:
            return
    rollups, zone = _rollups(state), state.settings.timezone
    with job_errors(), days("Building") as progress:
        job = rollups.job()
        if everything:
            if not yes and job.has_frozen():
                click.confirm(
                    "Some raw rows are gone, and the rollups of their days would be lost for good. Go on?", abort=True
                )
            report = job.remake(now, progress=progress)
        else:
            first = midnight(start.date(), zone) if start else datetime(FIRST_YEAR, 1, 1)
            last = midnight(end.date() + timedelta(days=1), zone) if end else now
            report = job.rebuild(first, last, now, progress=progress)
    say_what_was_done(report)
    trail.note(state.app, "changed", "rebuilt rollups")


def _correct_derived(state: State) -> None:
    if not databases.of(state.engine()).has_transactions:
        click.echo("Rows in ClickHouse stay as they are; only rollups are built again.")
        return
    with (
        database_errors(),
        click.progressbar(
            length=0, label="Reading user agents", file=sys.stderr, show_eta=False, show_percent=False
        ) as bar,
    ):
        changed = derived.correct(state.engine(), state.raw, progress=bar.update)
    click.echo(f"{count_of(changed.rows, 'raw row')} got another browser, platform, device or kind of bot.")
    trail.note(state.app, "changed", f"read user agents again: {count_of(changed.rows, 'raw row')} corrected")


@commands.command("verify")
@click.option("--repair", is_flag=True, help="Build again what differs.")
def verify(repair: bool) -> None:
    """Compare all that the rollups answer with the raw rows, and with itself. The exit code is 1 if something differs.

    Of days whose raw rows are gone, it is compared with itself alone.
    """
    state = state_of(current_app)
    job = _rollups(state).job()
    with job_errors():
        found = _verified(job)
        if not found.units and not found.differences:
            raise click.ClickException(
                "Nothing is rolled up yet, so there is nothing to verify: run 'flask statistics rollup', or wait for the "
                "scheduler."
            )
        if found.differences and repair:
            _say_what_differs(found.differences, state)
            with days("Repairing") as progress:
                if job.repair(found.differences, utc_now(), progress=progress) is None:
                    raise click.ClickException("Another process is at work on the rollups; nothing was repaired.")
            trail.note(state.app, "changed", "repaired rollups")
            click.echo("Repaired, and verified again:")
            found = _verified(job)
    _say_what_differs(found.differences, state)
    if found.differences:
        raise click.ClickException(
            f"{count_of(len(found.differences), 'difference')}. "
            + (
                "What is left cannot be repaired: its raw rows are gone."
                if repair
                else "'flask statistics verify --repair' builds again what differs."
            )
        )
    click.echo("All hours that have raw rows are rolled up as they are.")
    click.echo(
        f"{count_of(found.requests, 'request')} of {count_of(found.units, 'period')} verified"
        + (f"; of {found.frozen:,} of these the raw rows are gone." if found.frozen else ".")
    )


def _verified(job: Job) -> Found:
    with click.progressbar(length=job.verifiable(), label="Verifying", file=sys.stderr) as bar:
        return job.verify(progress=lambda unit: bar.update(unit.hits))


def _say_what_differs(differences: Sequence[Difference], state: State) -> None:
    for one in differences[:MOST_NAMED]:
        click.echo(f"{to_local(one.start, state.settings.timezone):%Y-%m-%d %H:%M}: {one.says}.")
    if len(differences) > MOST_NAMED:
        click.echo(f"... and {len(differences) - MOST_NAMED:,} more.")


@commands.command("prune")
def prune() -> None:
    """Delete what is older than RAW_RETENTION and HOURLY_RETENTION, and the oldest raw rows beyond RAW_MAX_ROWS.

    Where there are rollups, raw rows only once they are rolled up. What statements took goes with raw rows, or after 90 days.
    Stop it at any time: what is deleted stays so.
    """
    state = state_of(current_app)
    if state.statements is None and state.rollups is None and not pruning.bounds_of(state):
        raise click.ClickException(
            "Nothing bounds the raw table: set STATISTICS_RAW_RETENTION = timedelta(days=90), say, or STATISTICS_RAW_MAX_ROWS."
        )
    with database_errors("'flask statistics init' creates missing tables."):
        if state.statements is not None:
            engine, kept = state.our_engine_for(WORKING), state.settings.raw_retention
            rows = prune_statements(engine, state.statements, utc_now(), kept)
            click.echo(f"{count_of(rows, 'row')} of statements deleted.")
        if state.rollups is None and pruning.bounds_of(state):
            deleted, _ = pruning.prune(state, utc_now())
            click.echo(f"{count_of(deleted, 'raw row')} deleted.")
    if state.rollups is not None:
        with job_errors():
            say_what_was_done(state.rollups.job().prune(utc_now()))
    trail.note(state.app, "changed", "deleted what retention lets go")
