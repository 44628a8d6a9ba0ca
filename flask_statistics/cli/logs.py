"""`import-log`: requests out of access logs."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from datetime import date, datetime
from functools import lru_cache, partial
from pathlib import Path

import click
from flask import current_app

from .. import trail
from ..access_log import files as log_files
from ..access_log.formats import EXAMPLES, Format, FormatError, named, recognised
from ..access_log.importing import ImportRefused, LogImport, Rules, recorded_from
from ..access_log.lines import NEVER
from ..addresses import import_anonymizer, local_day
from ..exclusion import excluder
from ..masking import masked_header
from ..spans import from_wall, to_local
from ..state import State, state_of
from .rollups import job_errors
from .shared import INTERRUPTED, commands, count_of, database_errors, refuse_clickhouse, utc_now


@commands.command("import-log")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--format", "format_", help="Name of the format, or a format string as nginx or Apache have it.")
@click.option("--again", is_flag=True, help="Store also what was imported, or recorded by the app itself, before.")
@click.option("--until", type=click.DateTime(), help="Store only what was before this, in STATISTICS_TIMEZONE.")
@click.option("--strip-prefix", default="", metavar="PATH", help="What the server's paths have in front of the app's.")
def import_log(
    files: tuple[str, ...], format_: str | None, again: bool, until: datetime | None, strip_prefix: str
) -> None:
    """Store the requests of access logs: of servers, proxies and load balancers, plain or compressed.

    FILE may be many, globs, and - for standard input. The format is recognised; docs/import.md has all. Stop it at any time: the
    same command goes on, and no request is stored twice, in whatever file it comes again. The exit code is 1 if a file was
    refused, or if more than one line in a hundred is not understood.
    """
    state = state_of(current_app)
    refuse_clickhouse(state)
    zone = state.settings.timezone
    try:
        find_format = None if format_ is None else partial(named, format_, zone)
        if find_format is not None:
            find_format()
    except FormatError as refusal:
        raise click.UsageError(str(refusal)) from None
    paths = log_files.in_order_of_time(log_files.found(files), zone)
    complete = True
    gc.freeze()  # what is loaded stays, and lines make no cycles: looking for these takes a tenth of the time
    gc.disable()
    with database_errors():
        log = LogImport(state.engine(), state.raw, state.imports, _rules(state, again, until, strip_prefix))
        for path in paths:
            complete &= _import_file(state, log, path, find_format, alone=len(paths) == 1)
    gc.enable()
    if not complete:
        sys.exit(1)


def _import_file(
    state: State, log: LogImport, path: Path | None, find_format: Callable[[], Format] | None, *, alone: bool
) -> bool:
    """Import one file (None: standard input), and say how that went; whether all was done."""
    name, zone, started = path.name if path else "standard input", state.settings.timezone, time.perf_counter()
    trouble: str | None = None

    def chosen(sample: list[str]) -> Format | None:
        return find_format() if find_format is not None else recognised(sample, zone)

    try:
        with log_files.opened(path) as file:
            size_bytes = path.stat().st_size if path else 0
            with click.progressbar(length=size_bytes, label=f"Importing {name}", file=sys.stderr) as bar:
                for position in log.run(file, name, chosen, grows=path is not None):
                    bar.update(position - bar.pos)
    except ImportRefused as refusal:
        trouble = str(refusal)
    except ValueError as damage:
        trouble = f"{name}: {damage}. All lines before are stored."
    except OSError as error:
        trouble = f"{name} cannot be read: {error.strerror or error}."
    except KeyboardInterrupt:
        _say_what_was_seen(log, state, time.perf_counter() - started, name if not alone else None)
        click.echo("Stopped. The same command goes on from here.", err=True)
        sys.exit(INTERRUPTED)
    seen = log.seen
    if trouble is None and seen.known and not seen.requests and not (seen.own or seen.frozen or seen.late):
        trouble = (
            f"{name} was imported before: all of its {count_of(seen.known, 'request')} are stored. "
            "Use --again to store them a second time."
        )
    elif trouble is None or seen.lines:
        _say_what_was_seen(log, state, time.perf_counter() - started, name if not alone else None)
    if seen.requests:
        trail.note(state.app, "changed", f"imported {count_of(seen.requests, 'request')} of {name}")
    if trouble is not None:
        click.echo(f"Error: {trouble}", err=True)
    return trouble is None and not seen.frozen and seen.malformed <= seen.lines / 100


def _rules(state: State, again: bool, until: datetime | None, strip_prefix: str) -> Rules:
    """What of a log the settings and the options let be stored."""
    settings = state.settings
    stored = import_anonymizer(state.anonymize, local_day(utc_now(), settings.timezone))
    prefix = settings.url_prefix
    own, excluded = excluder((f"{prefix}/*", prefix)), excluder(settings.exclude)
    frozen = None
    if state.rollups is not None:
        with job_errors():
            frozen = state.rollups.job().frozen()

    def own_from(day: date) -> datetime:
        with state.engine().connect() as connection:
            return recorded_from(connection, state.raw, day)

    @lru_cache(maxsize=4096)
    def day_of(hour: datetime) -> date:
        return local_day(hour, settings.timezone)

    def stored_address(address: str | None, stamp: datetime) -> str | None:
        return stored(address, day_of(stamp.replace(minute=stamp.minute // 15 * 15, second=0)))

    return Rules(
        excluded=lambda path: own(path, None) or excluded(path, None),
        stored_address=stored_address if settings.anonymize_ip else lambda address, _: address,
        stored_path=state.masking.path,
        stored_query=state.masking.query,
        stored_referrer=state.masking.referrer,
        stored_agent=masked_header,
        own_from=own_from,
        until=NEVER if until is None else from_wall(until, settings.timezone),
        frozen=frozen,
        strip_prefix=strip_prefix.rstrip("/"),
        again=again,
        asks_for_addresses=settings.anonymize_ip == "hash",
    )


def _say_what_was_seen(log: LogImport, state: State, seconds: float, name: str | None) -> None:
    seen, settings, zone = log.seen, state.settings, state.settings.timezone
    if seen.first:
        state.note_late(seen.first)
    click.echo(f"{count_of(seen.requests, 'request')} imported{f' of {name}' if name else ''} in {seconds:.1f} s.")
    if seen.known:
        click.echo(f"{count_of(seen.known, 'request')} left out: imported before. --again stores them a second time.")
    if seen.own:
        click.echo(
            f"{count_of(seen.own, 'request')} left out: of days on which the app recorded its requests itself. "
            "--again stores them too, and each is counted twice then."
        )
    if seen.late:
        click.echo(f"{count_of(seen.late, 'request')} left out: not before --until.")
    if seen.excluded:
        click.echo(f"{count_of(seen.excluded, 'request')} left out: the dashboard's own, and STATISTICS_EXCLUDE.")
    if seen.nameless:
        named_so = f", such as {seen.named!r}" if seen.named else ""
        click.echo(f"{count_of(seen.nameless, 'request')} of clients that are no address{named_so}.")
    if seen.waiting:
        click.echo("The last line has no end yet: it waits for the next import.")
    if seen.frozen and seen.oldest_frozen is not None:
        age = (utc_now() - seen.oldest_frozen).days + 1
        click.echo(
            f"{count_of(seen.frozen, 'request')} left out: the raw rows of their days were deleted, so the rollups of these days "
            "take in nothing more, and the rows would be deleted uncounted. Logs of such days must come in before that: with "
            f"STATISTICS_RAW_RETENTION = None, or one of more than timedelta(days={age}).",
            err=True,
        )
    if seen.malformed:
        click.echo(
            f"{count_of(seen.malformed, 'malformed line')} left out, not in the format {seen.format_name!r}:", err=True
        )
        for example in seen.examples:
            click.echo(f"  {example}", err=True)
        if seen.malformed > len(seen.examples):
            click.echo("  ...", err=True)
        click.echo("Such a line is expected (another format: --format, see --help):", err=True)
        click.echo(f"  {EXAMPLES.get(seen.format_name, seen.format_name)}", err=True)
    if seen.first and seen.last:
        first, last = (to_local(moment, zone) for moment in (seen.first, seen.last))
        click.echo(f"See them at {settings.url_prefix}/?start={first:%Y-%m-%d}&end={last:%Y-%m-%d}")
        if state.rollups is not None and not settings.scheduler:
            click.echo("Run 'flask statistics rollup' to have them counted.")
