"""`status`: the health page as lines of text."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import click
from flask import current_app

from .. import health
from ..formatting import size
from ..spans import to_local
from ..state import state_of
from ..writers.spool.writer import SpoolWriter
from .shared import commands, count_of, database_errors, utc_now
from .spool import say_what_waits
from .tables import say_lacks

if TYPE_CHECKING:
    from ..rollups.rollups import Status


@commands.command("status")
def status() -> None:
    """Say what is stored, how it grows, how the rollups stand, and what is set: the Health view without the dashboard.

    The exit code is 1 if something needs somebody.
    """
    state, zone = state_of(current_app), state_of(current_app).settings.timezone

    def local(moment: datetime | None) -> str:
        return "-" if moment is None else f"{to_local(moment, zone):%Y-%m-%d %H:%M}"

    # first of all: the database may be away
    unwritable = say_what_waits(state.writer) if isinstance(state.writer, SpoolWriter) else None
    with database_errors("'flask statistics init' creates missing tables."):
        found = health.collect(state, utc_now())
    if found.storage is None or found.rollups_error is not None:
        raise click.ClickException("\n".join(found.problems))
    for label, text in [
        *_recording_lines(found.recording, local, zone.key),
        *_storage_lines(found.storage, local, zone.key),
        *_rollup_lines(found.rollups, local, zone.key),
        *((setting.key, setting.value) for setting in found.settings if not setting.default),
    ]:
        click.echo(f"{label:<18}{text}" if len(label) < 18 else f"{label} = {text}")
    for line in found.advice:
        click.echo(f"{'Advice':<18}{line}")
    for problem in found.problems:
        click.echo(problem, err=True)
    if found.lacks:
        say_lacks(state, list(found.lacks))
    if found.problems or unwritable:
        sys.exit(1)


Local = Callable[[datetime | None], str]


def _recording_lines(recording: health.Recording | None, local: Local, zone: str) -> Iterator[tuple[str, str]]:
    if recording is None:
        yield "Recording", "off (STATISTICS_ENABLED)"
        return
    if recording.unknown_because is not None:
        yield "Recording", f"by processes of which nothing is known: {recording.unknown_because}"
        return
    if not (recording.processes or recording.recorded or recording.lost):
        yield "Recording", "by no process on this host"
        return
    yield (
        "Recording",
        f"by {_processes(recording.processes)}; {recording.recorded:,} recorded, {recording.lost:,} lost since "
        f"{local(recording.started_at)} {zone}",
    )
    for kind, count in recording.lost_because.items():
        yield "", f"lost {count:,}: {kind}"


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count:,} processes"


def _storage_lines(storage: health.Storage, local: Local, zone: str) -> Iterator[tuple[str, str]]:
    yield "Raw rows", f"from {local(storage.oldest)} to {local(storage.newest)} {zone}"
    if storage.rows is not None:
        yield "", f"about {storage.rows:,}"
    sizes = [f"{table.name} {size(table.size)}" for table in storage.tables if table.size is not None]
    if sizes:
        yield "Tables", ", ".join(sizes)
    if storage.database is not None:
        yield "Whole file", size(storage.database)
    if storage.rows_a_day is not None:
        grown = "" if storage.bytes_a_day is None else f", {size(storage.bytes_a_day)}"
        yield "Growth a day", f"{storage.rows_a_day:,.0f} requests{grown}"
    if storage.in_30_days is not None:
        free = "" if storage.free is None else f"; {size(storage.free)} are free"
        yield "Forecast", f"{size(storage.in_30_days)} in 30 days, {size(storage.in_a_year)} in a year{free}"


def _rollup_lines(found: Status | None, local: Local, zone: str) -> Iterator[tuple[str, str]]:
    if found is None:
        yield "Rollups", "off (STATISTICS_ROLLUPS)"
        return
    if found.covered_from is None:
        yield "Rollups", "none yet: run 'flask statistics rollup', or wait for the scheduler"
        return
    yield "Rolled up", f"from {local(found.covered_from)} to {local(found.covered_until)} {zone}"
    if found.preparing:
        yield "Still to roll up", f"from {local(found.oldest_raw)}"
    yield "Last run", f"{found.last_run_seconds:.2f} s"
    scrubbed = found.scrubbed
    if scrubbed.until is not None or scrubbed.rounds:
        whole = f", all at {local(scrubbed.completed_at)}" if scrubbed.rounds else ""
        yield "Verified again", f"up to {local(scrubbed.until)}{whole}, {len(scrubbed.differences):,} differ"
    yield "Segments", ", ".join(f"{number:,} {unit}" for unit, number in sorted(found.segments.items()))
    yield "Numbered", f"{found.values:,} values, {found.visitors:,} visitors"
    for dimension, hits in sorted(found.folded.items()):
        yield "Folded", f"{dimension}: {count_of(hits, 'request')} in (other), beyond STATISTICS_MAX_VALUES"
    for much in found.much_folded:
        name = f"{local(much.start):.{7 if much.unit == 'month' else 10}}"
        yield "", f"{much.share:.0%} of the requests of {name} have their {much.dimension} in (other)"
    for dimension, since in sorted(found.incomplete.items()):
        when = "not at all yet" if since is None else f"from {local(since)} on"
        yield (
            "Not complete",
            f"{dimension}: recorded {when}; 'flask statistics rollup' builds what raw rows are left of",
        )
    if found.unfit is not None:
        names = ", ".join(found.unfit.names)
        yield "Left out", f"what cannot be read or made use of ({names}) in {count_of(found.unfit.rows, 'request')}"
    if found.holder is not None:
        yield "At work", f"{found.holder[0]}, until {local(found.holder[1])}"
