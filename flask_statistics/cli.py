"""`flask statistics ...`: what is done from a shell. Creates tables, imports logs, makes demo data, keeps rollups.

Prints what it did, on standard error what went wrong; the exit code is 0 only if all was done.
"""

from __future__ import annotations

import gc
import json
import secrets
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import date, datetime, timedelta, timezone
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import sqlalchemy as sa
from flask import current_app
from flask.cli import AppGroup, with_appcontext

from . import databases, derived, health, held, pruning, schema, traffic, trail
from . import forget as forget_visitor
from .access_log import files as log_files
from .access_log.formats import EXAMPLES, Format, FormatError, named, recognised
from .access_log.importing import ImportRefused, LogImport, Rules, recorded_from
from .access_log.lines import NEVER
from .addresses import NoSecret, import_anonymizer, local_day
from .config import SettingError
from .databases import errors
from .databases.causes import BY_COMMAND, Cause
from .exclusion import excluder
from .formatting import size
from .guards import token_hash
from .masking import masked_header
from .models import check_types
from .spans import FIRST_YEAR, from_wall, midnight, to_local
from .state import State, state_of
from .writers import spool_list
from .writers.disk import fix_folder
from .writers.moving import Overtaken
from .writers.rows import insert_rows
from .writers.spool import SpoolWriter
from .writers.spool_file import SpoolUnusable
from .writers.spool_folder import SpoolFolder, try_folder
from .writers.spool_list import read_backlog, read_refused
from .writers.transaction import Locked

if TYPE_CHECKING:
    from .rollups.job import Job
    from .rollups.report import Report
    from .rollups.rollups import Rollups, Status
    from .rollups.structure import Difference
    from .rollups.verification import Found

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells expect it: 128 + SIGINT."""

commands = AppGroup("statistics", help="Request statistics: tables, imports, rollups.")


def group() -> click.Group:
    """The commands, to be added to an app's command line."""
    return commands


@contextmanager
def _database_errors(fix: str | None = None) -> Iterator[None]:
    """Turn an error of the database into one line with the fix, by its cause if none is given, and exit code 1."""
    try:
        yield
    except sa.exc.SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error).partition("\n")[0]
        helps = fix if fix and errors.cause_of(error) in BY_COMMAND else errors.fix(error)
        raise click.ClickException(f"The database refused: {cause}\n{helps}") from error


# ---- init --------------------------------------------------------------------------------------------------------


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
    with _database_errors("Is it running, and may the app's user create tables?"):
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
        _say_lacks(state, lacks)
        sys.exit(1)
    if not done:
        click.echo("Nothing to do: tables and index are there.")


def _add_columns(state: State, lacks: list[schema.Lack]) -> list[str]:
    for lack in lacks:
        with schema.engine_of(state, lack.table).begin() as connection:
            for statement in lack.additions(connection.dialect):
                connection.execute(sa.text(statement.replace(":", "\\:")))
    return [f"Added the column {lack.table.fullname}.{column.name}." for lack in lacks for column in lack.columns]


def _say_lacks(state: State, lacks: list[schema.Lack]) -> None:
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


# ---- import-log --------------------------------------------------------------------------------------------------


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
    _refuse_clickhouse(state)
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
    with _database_errors():
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
            f"{name} was imported before: all of its {_count(seen.known, 'request')} are stored. "
            "Use --again to store them a second time."
        )
    elif trouble is None or seen.lines:
        _say_what_was_seen(log, state, time.perf_counter() - started, name if not alone else None)
    if seen.requests:
        trail.note(state.app, "changed", f"imported {_count(seen.requests, 'request')} of {name}")
    if trouble is not None:
        click.echo(f"Error: {trouble}", err=True)
    return trouble is None and not seen.frozen and seen.malformed <= seen.lines / 100


def _refuse_clickhouse(state: State) -> None:
    """End where many rows cannot be stored together with how far they got."""
    if not databases.of(state.engine()).has_transactions:
        raise click.ClickException(
            "The model is bound to ClickHouse, into which only requests are recorded: it has no transactions, so what is "
            "stopped could not go on without storing rows twice. Its own client can load rows; give each an index."
        )


def _rules(state: State, again: bool, until: datetime | None, strip_prefix: str) -> Rules:
    """What of a log the settings and the options let be stored."""
    settings = state.settings
    stored = import_anonymizer(state.anonymize, local_day(_utc_now(), settings.timezone))
    prefix = settings.url_prefix
    own, excluded = excluder((f"{prefix}/*", prefix)), excluder(settings.exclude)
    frozen = None
    if state.rollups is not None:
        with _job_errors():
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
    click.echo(f"{_count(seen.requests, 'request')} imported{f' of {name}' if name else ''} in {seconds:.1f} s.")
    if seen.known:
        click.echo(f"{_count(seen.known, 'request')} left out: imported before. --again stores them a second time.")
    if seen.own:
        click.echo(
            f"{_count(seen.own, 'request')} left out: of days on which the app recorded its requests itself. "
            "--again stores them too, and each is counted twice then."
        )
    if seen.late:
        click.echo(f"{_count(seen.late, 'request')} left out: not before --until.")
    if seen.excluded:
        click.echo(f"{_count(seen.excluded, 'request')} left out: the dashboard's own, and STATISTICS_EXCLUDE.")
    if seen.nameless:
        named_so = f", such as {seen.named!r}" if seen.named else ""
        click.echo(f"{_count(seen.nameless, 'request')} of clients that are no address{named_so}.")
    if seen.waiting:
        click.echo("The last line has no end yet: it waits for the next import.")
    if seen.frozen and seen.oldest_frozen is not None:
        age = (_utc_now() - seen.oldest_frozen).days + 1
        click.echo(
            f"{_count(seen.frozen, 'request')} left out: the raw rows of their days were deleted, so the rollups of these days "
            "take in nothing more, and the rows would be deleted uncounted. Logs of such days must come in before that: with "
            f"STATISTICS_RAW_RETENTION = None, or one of more than timedelta(days={age}).",
            err=True,
        )
    if seen.malformed:
        click.echo(
            f"{_count(seen.malformed, 'malformed line')} left out, not in the format {seen.format_name!r}:", err=True
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
    _refuse_clickhouse(state)
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
    trail.note(state.app, "changed", f"made up {_count(requests, 'request')}")
    click.echo(f"{_count(requests, 'request')} stored. See them at {state.settings.url_prefix}/?span={days}d")


def _has_rows(state: State) -> bool:
    with state.engine().connect() as connection:
        return connection.execute(sa.select(state.raw.key).limit(1)).first() is not None


def _utc_now() -> datetime:
    return datetime.now(timezone.utc).replace(tzinfo=None)


# ---- rollups -----------------------------------------------------------------------------------------------------

MOST_NAMED = 20
"""Differences, and periods that are kept, that are listed."""
_DAY = click.DateTime(["%Y-%m-%d"])


def _rollups(state: State) -> Rollups:
    if state.rollups is None:
        raise click.ClickException("Rollups are off. Set STATISTICS_ROLLUPS = True to keep them.")
    return state.rollups


@contextmanager
def _job_errors() -> Iterator[None]:
    from .rollups.meta import RollupError  # where rollups are off, NumPy stays out

    with _database_errors("'flask statistics init' creates missing tables."):
        try:
            yield
        except RollupError as refusal:
            raise click.ClickException(str(refusal)) from None


@contextmanager
def _days(label: str) -> Iterator[Callable[[datetime], None]]:
    """Shows each day that is done; how many there will be is not known before."""
    with click.progressbar(length=0, label=label, file=sys.stderr, show_eta=False, show_percent=False) as bar:

        def done(day: datetime) -> None:
            bar.label = f"{label} {day:%Y-%m-%d}"
            bar.update(1)

        yield done


def _say_what_was_done(report: Report | None) -> None:
    if report is None:
        raise click.ClickException("Another process is at work on the rollups; nothing was done.")
    click.echo(f"{_count(report.built, 'period')} built, {report.merged:,} merged.")
    for start, why in list(report.kept.items())[:MOST_NAMED]:
        click.echo(f"Kept as it is: {start:%Y-%m-%d %H:%M} UTC, {why}.", err=True)
    if report.raw_deleted:
        click.echo(
            f"{_count(report.raw_deleted, 'raw row')} deleted, beyond STATISTICS_RAW_RETENTION or STATISTICS_RAW_MAX_ROWS."
        )


@commands.command("rollup")
@click.option("--seconds", type=click.FloatRange(0), help="Work on history for so long at most; default: to its end.")
def rollup(seconds: float | None) -> None:
    """Bring the rollups up to date; what cron runs where the scheduler is off.

    Stop it at any time: what is done stays, and the next run goes on.
    """
    from .rollups.job import SETTLING  # as above

    state = state_of(current_app)
    gc.freeze()  # what is loaded stays: to look at it again and again takes a tenth of a long run's time
    with _job_errors(), _days("Rolling up") as progress:
        job, now = _rollups(state).job(), _utc_now() - SETTLING
        report = job.run(now, seconds=seconds, progress=progress)
        if report is not None and report.complete:
            job.scrub(now)
    _say_what_was_done(report)


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
    state, now = state_of(current_app), _utc_now()
    if everything and (start or end):
        raise click.UsageError("--all takes no --from and no --to.")
    if everything:
        _correct_derived(state)
        if state.rollups is None:
            return
    rollups, zone = _rollups(state), state.settings.timezone
    with _job_errors(), _days("Building") as progress:
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
    _say_what_was_done(report)
    trail.note(state.app, "changed", "rebuilt rollups")


def _correct_derived(state: State) -> None:
    if not databases.of(state.engine()).has_transactions:
        click.echo("Rows in ClickHouse stay as they are; only rollups are built again.")
        return
    with (
        _database_errors(),
        click.progressbar(
            length=0, label="Reading user agents", file=sys.stderr, show_eta=False, show_percent=False
        ) as bar,
    ):
        changed = derived.correct(state.engine(), state.raw, progress=bar.update)
    click.echo(f"{_count(changed, 'raw row')} got another browser, platform, device or kind of bot.")
    trail.note(state.app, "changed", f"read user agents again: {_count(changed, 'raw row')} corrected")


@commands.command("verify")
@click.option("--repair", is_flag=True, help="Build again what differs.")
def verify(repair: bool) -> None:
    """Compare all that the rollups answer with the raw rows, and with itself. The exit code is 1 if something differs.

    Of days whose raw rows are gone, it is compared with itself alone.
    """
    state = state_of(current_app)
    job = _rollups(state).job()
    with _job_errors():
        found = _verified(job)
        if not found.units and not found.differences:
            raise click.ClickException(
                "Nothing is rolled up yet, so there is nothing to verify: run 'flask statistics rollup', or wait for the "
                "scheduler."
            )
        if found.differences and repair:
            _say_what_differs(found.differences, state)
            with _days("Repairing") as progress:
                if job.repair(found.differences, _utc_now(), progress=progress) is None:
                    raise click.ClickException("Another process is at work on the rollups; nothing was repaired.")
            trail.note(state.app, "changed", "repaired rollups")
            click.echo("Repaired, and verified again:")
            found = _verified(job)
    _say_what_differs(found.differences, state)
    if found.differences:
        raise click.ClickException(
            f"{_count(len(found.differences), 'difference')}. "
            + (
                "What is left cannot be repaired: its raw rows are gone."
                if repair
                else "'flask statistics verify --repair' builds again what differs."
            )
        )
    click.echo("All hours that have raw rows are rolled up as they are.")
    click.echo(
        f"{_count(found.requests, 'request')} of {_count(found.units, 'period')} verified"
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

    Where there are rollups, raw rows only once they are rolled up. Stop it at any time: what is deleted stays so.
    """
    state = state_of(current_app)
    if state.rollups is None:
        if not pruning.bounds_of(state):
            raise click.ClickException(
                "Nothing bounds the raw table: set STATISTICS_RAW_RETENTION = timedelta(days=90), say, or "
                "STATISTICS_RAW_MAX_ROWS."
            )
        with _database_errors("'flask statistics init' creates missing tables."):
            deleted, _ = pruning.prune(state, _utc_now())
        click.echo(f"{_count(deleted, 'raw row')} deleted.")
    else:
        with _job_errors():
            _say_what_was_done(state.rollups.job().prune(_utc_now()))
    trail.note(state.app, "changed", "deleted what retention lets go")


# ---- token -------------------------------------------------------------------------------------------------------


@commands.command("token")
def token() -> None:
    """Make a secret for the guard `token`, and its hash, which is what the app keeps."""
    secret = secrets.token_urlsafe()
    click.echo(f"Secret, for its owner; it is not kept:  {secret}")
    click.echo(f'Hash, for the app:  token({{"owner": "{token_hash(secret)}"}})')


# ---- forget ------------------------------------------------------------------------------------------------------


def _forms_of(state: State, address: str, now: datetime) -> list[str]:
    """How a client is stored; ends the command for a text that is no address."""
    if not state.raw.has("remote_address"):
        raise click.ClickException("The model has no column 'remote_address', so no visitor can be told from another.")
    try:
        with _job_errors():
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
    state, now = state_of(current_app), _utc_now()
    forms = _forms_of(state, address, now)
    with _job_errors():
        found = held.held(state, forms, now)
    trail.note(state.app, "opened", f"all of a client with {_count(len(found.raw_rows), 'raw row')}")
    if as_json:
        click.echo(json.dumps({"address": forms[0], **asdict(found)}, indent=2, default=str))
        return
    click.echo(f"{_count(len(found.raw_rows), 'raw row')} of {forms[0]} in {state.raw.table.fullname}.")
    for row in found.raw_rows:
        click.echo(f"  {row['date']:%Y-%m-%d %H:%M:%S} UTC {row.get('method') or ''} {row.get('path') or ''}"[:200])
    click.echo(f"{_count(sum(period.requests for period in found.rollups), 'request')} in rollups.")
    for period in found.rollups:
        click.echo(f"  {period.unit} from {period.start:%Y-%m-%d %H:%M} UTC: {_count(period.requests, 'request')}")
    click.echo(f"{_count(len(found.waiting), 'request')} waiting in the spool, {len(found.set_aside):,} set aside.")
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
    state, now = state_of(current_app), _utc_now()
    forms = _forms_of(state, address, now)
    with _job_errors():
        rows = forget_visitor.count(state, forms)
    click.echo(f"{_count(rows, 'raw row')} of {forms[0]}.")
    if state.settings.anonymize_ip == "truncate":
        click.echo("Networks are stored, so this erases everybody in the same one.")
    if state.settings.anonymize_ip == "hash":
        click.echo("Hashes are stored: those of earlier days cannot be told whose they are, by nobody.")
    if not yes:
        click.confirm("Erase them, and what the rollups made of them?", abort=True)
    with _job_errors(), _days("Erasing") as progress:
        try:
            done = forget_visitor.forget(state, forms, now, progress=progress)
        except forget_visitor.AtWork:
            raise click.ClickException("Another process is at work on the rollups; nothing was erased.") from None
    trail.note(state.app, "forgot", f"a client with {_count(done.raw_rows, 'raw row')}")
    click.echo(f"{_count(done.raw_rows, 'raw row')} deleted.")
    if done.set_aside:
        click.echo(f"{_count(done.set_aside, 'request')} deleted that the table had refused and the spool kept.")
    if state.rollups is not None:
        click.echo(f"{_count(done.requests, 'request')} taken out of the rollups of {_count(done.periods, 'period')}.")
    if done.differing:
        click.echo(
            f"{_count(done.differing, 'hour')} of the rollups and the raw rows differ; 'flask statistics verify' names them.",
            err=True,
        )
    if done.left:
        raise click.ClickException(f"Counted again: {_count(done.left, 'request')} are left. Run it once more.")
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


# ---- spool -------------------------------------------------------------------------------------------------------


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
    with _database_errors("'flask statistics init' creates missing tables."):
        try:
            yield
        except spool_list.Alive:
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
        files, strays, refused = spool_list.list_files(folder), folder.strays(), read_refused(folder)
    for file in files:
        waits, whose = _count(file.waiting, "request"), "this database" if file.ours else "another database"
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
        stored, refused = spool_list.retry(writer.folder(), writer.mover())
    _note_change(f"stored {_count(stored, 'request')} that the table had refused")
    if refused:
        for request, error in read_refused(writer.folder()):
            click.echo(f"Set aside: {request}: {error}")
        click.echo(f"{_count(stored, 'request')} stored, {refused:,} are refused still.")
        sys.exit(1)
    click.echo(f"{_count(stored, 'request')} stored.")


@spool.command("adopt")
@click.argument("names", nargs=-1, required=True, metavar="FILE...")
def spool_adopt(names: tuple[str, ...]) -> None:
    """Store in this database what waits in FILE for another one, or for nobody knows which."""
    writer = _spool_writer()
    folder = writer.folder()
    for path in _named(folder, names, folder.files()):
        with _spool_errors(folder):
            waiting, stored = spool_list.adopt(folder, writer.mover(), path)
        _note_change(f"adopted {_count(waiting, 'request')} of the spool")
        click.echo(f"{path.name}: {_count(waiting, 'request')} adopted, {stored:,} stored.")


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
        number = sum(file.refused for file in spool_list.list_files(folder) if file.ours)
        if not yes:
            click.confirm(f"Delete {_count(number, 'request')} that were set aside?", abort=True)
        with _spool_errors(folder):
            number = spool_list.drop_refused(folder)
        _note_change(f"dropped {_count(number, 'request')} that the table had refused")
        click.echo(f"{_count(number, 'request')} dropped.")
        return
    listed = {file.path: file.waiting + file.refused for file in spool_list.list_files(folder)}
    for path in _named(folder, names, [*listed, *folder.strays()]):
        what = _count(listed[path], "request") if path in listed else "what is in it, readable or not,"
        if not yes:
            click.confirm(f"{path.name}: delete {what} for good?", abort=True)
        with _spool_errors(folder):
            spool_list.drop(folder, path)
        _note_change(f"dropped {path.name} of the spool")
        click.echo(f"{path.name}: {_count(listed.get(path, 0), 'request')} dropped.")


def _named(folder: SpoolFolder, names: Iterable[str], known: Iterable[Path]) -> list[Path]:
    """The paths of files of the folder, all of which are there."""
    paths = [folder.path / Path(name).name for name in names]
    for path in paths:
        if path not in known:
            raise click.ClickException(f"{path.name} is not in {folder.path}: 'flask statistics spool' lists what is.")
    return paths


def _say_what_waits(writer: SpoolWriter) -> str | None:
    """Say what is in the spool; what is wrong with its folder, if anything is."""
    folder = writer.folder()
    error = try_folder(folder.path)
    if error is not None:
        problem = f"The spool cannot be written: {error}. {fix_folder(error, folder.path)}"
        click.echo(f"Spool             {problem}")
        return problem
    found = read_backlog(folder)
    click.echo(f"Spool             {_count(found.waiting, 'request')} waiting, {found.refused:,} refused")
    if found.trouble is not None:
        click.echo(f"They wait because {found.trouble}")
    for request, reason in read_refused(folder):
        click.echo(f"Refused           {request}: {reason}")
    return None


# ---- status ------------------------------------------------------------------------------------------------------


@commands.command("status")
def status() -> None:
    """Say what is stored, how it grows, how the rollups stand, and what is set: the Health view without the dashboard.

    The exit code is 1 if something needs somebody.
    """
    state, zone = state_of(current_app), state_of(current_app).settings.timezone

    def local(moment: datetime | None) -> str:
        return "-" if moment is None else f"{to_local(moment, zone):%Y-%m-%d %H:%M}"

    # first of all: the database may be away
    unwritable = _say_what_waits(state.writer) if isinstance(state.writer, SpoolWriter) else None
    with _database_errors("'flask statistics init' creates missing tables."):
        found = health.collect(state, _utc_now())
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
        _say_lacks(state, list(found.lacks))
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
        yield "Folded", f"{dimension}: {_count(hits, 'request')} in (other), beyond STATISTICS_MAX_VALUES"
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
        yield "Left out", f"what cannot be read or made use of ({names}) in {_count(found.unfit.rows, 'request')}"
    if found.holder is not None:
        yield "At work", f"{found.holder[0]}, until {local(found.holder[1])}"
