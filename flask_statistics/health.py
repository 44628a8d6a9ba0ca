"""How Flask-Statistics itself does: what it recorded and lost, what it costs, how its tables grow, what is set.

One function collects it from all processes that record on this host, the raw table and the rollups, for the page, the API
and the command line alike. A question that fails costs its own part alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from . import databases, guards, schema
from .advice import SLOW_PAGE_S, Measured, advice
from .config import PREFIX, SETTINGS
from .databases import expressions
from .filters import Filters
from .guards import BasicAuth, Guard, TokenGuard
from .processes import Done
from .queries.answers import is_late
from .queries.interface import HITS, Queries
from .spans import EARLIEST, LATEST, Span, naive_utc
from .state import Connections, State

if TYPE_CHECKING:
    from .rollups.rollups import Status

GROWTH_DAYS = 7
"""Growth is what the last days brought, so that weekdays weigh alike."""
LEAST_GROWTH = timedelta(days=1)
"""What came in a shorter time says nothing of a year."""
LOST_LATELY = timedelta(days=1)
"""What was lost is no problem any more when nothing was lost for so long."""
YEAR = 365
NEARLY_FULL = timedelta(days=30)
"""A disk that is full sooner is a problem today."""
MASKED = "***"


@dataclass(frozen=True, slots=True)
class Recording:
    """What all processes of the app on this host have done, those that ended as well."""

    started_at: datetime
    """The first of them; naive UTC."""
    processes: int
    """How many of them record now."""
    unknown_because: str | None
    """Why this is of the process that answers alone; None: it is of all."""
    recorded: int
    """Requests stored."""
    waiting: int
    """Requests that wait for their way into the raw table."""
    refused: int
    """Requests that the raw table refused and that are kept aside."""
    trouble: str | None
    """Why they wait; None: nothing is wrong."""
    spool_problems: tuple[str, ...]
    """What else is in the spool's folder that somebody should look after, as sentences."""
    lost: int
    """Requests that are stored nowhere."""
    lost_because: dict[str, int]
    """Of them, by the type of the error."""
    last_error: str | None
    last_error_at: datetime | None
    """Naive UTC."""
    overhead_requests: int
    """The latest requests, of which the overhead was measured."""
    overhead_p50: float | None
    """Seconds that recording one of them took, in the middle; None: none was recorded, or by processes that ended."""
    overhead_p95: float | None
    """Seconds."""


@dataclass(frozen=True, slots=True)
class TableSize:
    """What one table takes."""

    name: str
    size: int | None
    """Bytes with indexes; None: the database does not tell, or not in a short time."""


@dataclass(frozen=True, slots=True)
class Storage:
    """What is stored, and how it grows."""

    oldest: datetime | None
    """Date of the oldest raw row, naive UTC; None: there is none."""
    newest: datetime | None
    """Naive UTC."""
    impossible: int
    """Raw rows without a date, or with one that cannot be, which no span counts."""
    rows: int | None
    """About how many raw rows there are, by their keys; None: the keys are no numbers."""
    tables: tuple[TableSize, ...]
    """The raw table, then ours."""
    database: int | None
    """Bytes of the whole SQLite file; None for other databases."""
    rows_a_day: float | None
    """Requests a day, of the last seven; None: there were none, or they could not be counted."""
    bytes_a_day: float | None
    """What these take in the raw table."""
    in_30_days: float | None
    """Bytes of all tables then, at the present growth."""
    in_a_year: float | None
    free: int | None
    """Bytes free on the disk of the database; None: that cannot be told."""
    full_in_days: float | None
    """After how many days the disk is full, at the present growth; None: not within a year, or that cannot be told."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting in force."""

    key: str
    value: str
    """As it is written in Python; what may be secret is masked."""
    default: bool
    """Whether nobody set it."""


@dataclass(frozen=True, slots=True)
class Used:
    """A token of the guard `token`."""

    label: str
    used_at: datetime | None
    """When it let somebody in the last time; naive UTC. None: it was not used yet."""


@dataclass(frozen=True, slots=True)
class Health:
    """Everything about one app's statistics. What is None is off, or could not be told."""

    at: datetime
    """Naive UTC."""
    database: str
    """ok, or the error that the database answered with."""
    guarded: bool
    """Whether somebody is asked who may see the dashboard."""
    guard: str
    """Name of the guard."""
    tokens: tuple[Used, ...]
    """Those of the guard `token`."""
    wrong_passwords: int | None
    """Refused by `basic_auth` in all processes that record; None: it is not used."""
    recording: Recording | None
    storage: Storage | None
    rollups: Status | None
    rollup_lag: timedelta | None
    """How far the rollups are behind; None: they are off, or have never run."""
    rollups_error: str | None
    """Why nothing is known of the rollups."""
    lacks: tuple[schema.Lack, ...]
    """Tables without columns that their models have."""
    settings: tuple[Setting, ...]
    problems: tuple[str, ...]
    """What somebody should do something about, as sentences; empty: all is well."""
    advice: tuple[str, ...]
    """What would help, by what was measured: a line each, with the setting; empty: nothing is known to."""

    @property
    def status(self) -> str:
        """`ok`, or `degraded` if there are problems."""
        return "degraded" if self.problems else "ok"


def collect(state: State, now: datetime) -> Health:
    """How the statistics of an app do at `now` (naive UTC). Reads the raw table and the rollups' own."""
    done = None if state.processes is None else state.processes.all()
    recording = None if done is None else _recording(state, done)
    database, storage, rollups, rollups_error = "ok", None, None, None
    lacks: tuple[schema.Lack, ...] = ()
    missing: list[str] = []
    indexed, locks_out = None, False
    try:
        with state.reading() as (connections, _):
            lacks = tuple(schema.lacking(state, connections.raw, connections.ours))
            storage, locks_out = _storage(state, connections, now), connections.in_pieces is not None
            missing = schema.missing(state, connections.ours)
            indexed = _is_indexed(state, connections.raw)
            if state.rollups is not None:
                try:
                    rollups = state.rollups.status(connections.ours, connections.raw)
                except sa.exc.SQLAlchemyError as error:
                    rollups_error = _first_line(error)
    except sa.exc.SQLAlchemyError as error:
        database = _first_line(error)
    lag = None if rollups is None else _lag(rollups, now)
    late = state.rollups is not None and lag is not None and is_late(lag, state.rollups.interval)
    return Health(
        at=now,
        database=database,
        guarded=not guards.is_open(state.guard),
        guard=guards.name_of(state.guard),
        tokens=tuple(_tokens(state.guard, {} if done is None else done.tokens)),
        wrong_passwords=_wrong_passwords(state.guard, done),
        recording=recording,
        storage=storage,
        rollups=rollups,
        rollup_lag=lag,
        rollups_error=rollups_error,
        lacks=lacks,
        settings=tuple(_settings(state)),
        problems=(
            *map(_lack, lacks),
            *(f"The table {name} is missing. Make a migration, or run 'flask statistics init'." for name in missing),
            *_problems(database, recording, rollups_error, now=now, late=late),
            *(() if rollups is None else _rollup_problems(rollups)),
            *(() if storage is None else _storage_problems(storage)),
            *(() if state.keeper is None else state.keeper.problems),
        ),
        advice=advice(_measured(state, recording, storage, indexed=indexed, locks_out=locks_out)),
    )


def _is_indexed(state: State, connection: sa.Connection) -> bool | None:
    if not databases.of(connection).has_date_index:
        return None  # its tables are sorted
    return schema.has_date_index(state.raw, sa.inspect(connection))


def _measured(
    state: State, recording: Recording | None, storage: Storage | None, *, indexed: bool | None, locks_out: bool
) -> Measured:
    settings = state.settings
    return Measured(
        rollups=settings.rollups,
        page_s=max(state.page_seconds, default=None),
        rows=None if storage is None else storage.rows,
        indexed=indexed,
        locks_out=locks_out,
        spools=settings.writer == "spool",
        recording_s=None if recording is None else recording.overhead_p95,
        recordings=0 if recording is None else recording.overhead_requests,
        bytes_a_day=None if storage is None else storage.bytes_a_day,
        in_a_year=None if storage is None else storage.in_a_year,
        full_in_days=None if storage is None else storage.full_in_days,
        bounded=settings.raw_retention is not None or settings.raw_max_rows is not None,
        guarded=not guards.is_open(state.guard),
    )


def advice_for_page(state: State, seconds: float) -> tuple[str, ...]:
    """What would help a page that took so many seconds; empty: it was quick, or nothing is known to."""
    state.page_seconds.append(seconds)
    if seconds <= SLOW_PAGE_S:
        return ()
    indexed, locks_out = None, False
    with (
        suppress(sa.exc.SQLAlchemyError),
        state.beside() as connections,
    ):  # a page that was answered is not spoilt by advice
        locks_out = connections.in_pieces is not None
        indexed = _is_indexed(state, connections.raw)
    return advice(Measured(rollups=state.settings.rollups, page_s=seconds, indexed=indexed, locks_out=locks_out))


def _lag(rollups: Status, now: datetime) -> timedelta | None:
    """How far the rollups are behind; a run that looked further than now did so by a clock that was wrong."""
    if rollups.looked_until is None or rollups.covered_until is None:
        return None
    known = rollups.looked_until if rollups.looked_until <= now else min(rollups.covered_until, now)
    return now - known


def _storage_problems(storage: Storage) -> list[str]:
    problems = []
    if storage.impossible:
        problems.append(
            f"{storage.impossible:,} raw rows have no date, or one that cannot be: before {EARLIEST.year}, or after "
            f"{LATEST.year - 1}. No span counts them."
        )
    if storage.full_in_days is not None and storage.full_in_days < NEARLY_FULL.days:
        problems.append(
            f"The disk of the database is full in about {storage.full_in_days:.0f} days, at the present growth: make room, or "
            "bound the raw table by STATISTICS_RAW_RETENTION or STATISTICS_RAW_MAX_ROWS."
        )
    return problems


def _rollup_problems(rollups: Status) -> list[str]:
    problems = []
    if rollups.scrubbed.differences:
        start, why = min(rollups.scrubbed.differences.items())
        problems.append(
            f"{len(rollups.scrubbed.differences):,} periods of the rollups are not what they must be, the first of them from "
            f"{start:%Y-%m-%d %H:%M} UTC: {why}. Run 'flask statistics verify --repair'."
        )
    if rollups.kept:
        start, why = min(rollups.kept.items())
        problems.append(
            f"{len(rollups.kept):,} periods of the rollups differ from their raw rows and are kept as they are, the first of "
            f"them from {start:%Y-%m-%d %H:%M} UTC: {why}."
        )
    if rollups.unfit is not None:
        odd = rollups.unfit
        problems.append(
            f"{odd.rows:,} recorded requests, the latest of {odd.latest:%Y-%m-%d}, have a value that cannot be read or made use "
            f"of ({', '.join(odd.names)}): they are counted without it."
        )
    return problems


def _wrong_passwords(guard: Guard, done: Done | None) -> int | None:
    counted = [part.failures.total for part in guards.parts(guard) if isinstance(part, BasicAuth)]
    if not counted:
        return None
    return sum(counted) if done is None else done.wrong_passwords


def _tokens(guard: Guard, used: Mapping[str, datetime]) -> Iterator[Used]:
    for part in guards.parts(guard):
        if isinstance(part, TokenGuard):
            for token in part.tokens:
                yield Used(token.label, used.get(token.label, token.used_at))


def _lack(lack: schema.Lack) -> str:
    return f"{lack} Make a migration, or run 'flask statistics init --alter'."


def _problems(
    database: str, recording: Recording | None, rollups_error: str | None, *, now: datetime, late: bool
) -> list[str]:
    problems = []
    if database != "ok":
        problems.append(f"The database did not answer: {database}")
    if rollups_error is not None:
        problems.append(f"The rollups cannot be read; run 'flask statistics init'. {rollups_error}")
    if late:
        problems.append("The rollups are behind: does the scheduler, or cron, still run?")
    if recording is not None:
        if recording.lost and recording.last_error_at is not None and now - recording.last_error_at < LOST_LATELY:
            problems.append(
                f"{recording.lost:,} requests were lost since {recording.started_at:%Y-%m-%d %H:%M} UTC: {recording.last_error}"
            )
        if recording.refused:
            problems.append(
                f"{recording.refused:,} requests were refused by the raw table and are kept aside: 'flask statistics spool' "
                "shows why, and 'flask statistics spool retry' tries them again."
            )
        if recording.trouble:
            problems.append(f"{recording.waiting:,} requests wait to be stored: {recording.trouble}")
        problems += recording.spool_problems
    return problems


def _recording(state: State, done: Done) -> Recording:
    assert state.recorder is not None  # noqa: S101 - else there are no processes that record
    assert state.processes is not None  # noqa: S101 - as above
    times, backlog = sorted(done.times), state.recorder.backlog()
    of_all = backlog if state.spool is not None else None
    return Recording(
        started_at=done.started_at,
        processes=done.processes,
        unknown_because=state.processes.unwritable,
        recorded=done.recorded,
        waiting=of_all.waiting if of_all else max(backlog.waiting, done.waiting),
        refused=backlog.refused,
        trouble=backlog.trouble or done.trouble,
        spool_problems=backlog.problems,
        lost=done.lost,
        lost_because=dict(done.lost_because),
        last_error=done.last_error,
        last_error_at=done.last_error_at,
        overhead_requests=len(times),
        overhead_p50=times[len(times) // 2] if times else None,
        overhead_p95=times[len(times) * 95 // 100] if times else None,
    )


# ---- storage ---------------------------------------------------------------------------------------------------------


def _storage(state: State, connections: Connections, now: datetime) -> Storage:
    raw, connection = state.raw, connections.raw
    # asked for together, SQLite would read the whole index
    ends, date = (expressions.lowest, expressions.highest), raw.columns["date"]
    possible = (date >= raw.instant(EARLIEST), date < raw.instant(LATEST))
    oldest, newest = (connection.scalar(sa.select(end(date)).where(*possible)) for end in ends)
    others = [date.is_(None), date < raw.instant(EARLIEST), date >= raw.instant(LATEST)]
    impossible = sum(
        connection.scalar(sa.select(sa.func.count()).select_from(raw.table).where(some)) or 0 for some in others
    )
    rows = databases.of(connection).row_count(connection, raw.table)
    if rows is None:
        rows = _key_range(connection, raw.key)
    tables = schema.our_tables(state)
    sizes = _sizes(state, connections, tables)
    database = databases.of(connection).database_size(connection)
    a_day = _rows_a_day(state.queries_on(connections), now, None if oldest is None else naive_utc(oldest))
    # without a size of its own, the raw table is taken to be all of the file: it nearly is, where a file is large
    whole = sizes.get(raw.table.fullname, database)
    bytes_a_day = a_day * whole / rows if a_day is not None and whole is not None and rows else None
    total = sum(sizes.values()) if sizes else database
    most, free = _most_bytes(state, whole, rows, bytes_a_day), _free(connection)
    return Storage(
        oldest=None if oldest is None else naive_utc(oldest),
        newest=None if newest is None else naive_utc(newest),
        impossible=impossible,
        rows=rows,
        tables=tuple(TableSize(table.fullname, sizes.get(table.fullname)) for table in tables),
        database=database,
        rows_a_day=a_day,
        bytes_a_day=bytes_a_day,
        in_30_days=_forecast(total, whole, bytes_a_day, 30, most),
        in_a_year=_forecast(total, whole, bytes_a_day, YEAR, most),
        free=free,
        full_in_days=_full_in_days(free, whole, bytes_a_day, most),
    )


def _sizes(state: State, connections: Connections, tables: list[sa.Table]) -> dict[str, int]:
    """The bytes of each of `tables` that its database tells, by full name."""
    beside = [table for table in tables if table.metadata is state.raw.table.metadata]
    apart = [table for table in tables if table not in beside and connections.ours is not connections.raw]
    return databases.of(connections.raw).table_sizes(connections.raw, beside) | databases.of(
        connections.ours
    ).table_sizes(connections.ours, apart)


def _key_range(connection: sa.Connection, key: sa.Column[Any]) -> int | None:
    """About how many rows there are: from the smallest key to the largest, as to count millions takes seconds."""
    if key.type.python_type is not int:
        return None
    ends = [connection.scalar(sa.select(end(key))) for end in (sa.func.min, sa.func.max)]
    return 0 if ends[0] is None or ends[1] is None else ends[1] - ends[0] + 1


def _rows_a_day(queries: Queries, now: datetime, oldest: datetime | None) -> float | None:
    if oldest is None or now - oldest < LEAST_GROWTH:
        return None
    length = min(timedelta(days=GROWTH_DAYS), now - oldest)
    measures = queries.summary(Span(now - length, now, ZoneInfo("UTC")), Filters(), want=HITS)
    return measures.hits / (length / timedelta(days=1))


def _most_bytes(state: State, raw: int | None, rows: int | None, a_day: float | None) -> float | None:
    """Bytes that the settings let the raw table have; None: any number."""
    bounds, settings = [], state.settings
    if settings.raw_retention is not None and a_day is not None:
        bounds.append(a_day * (settings.raw_retention / timedelta(days=1)))
    if settings.raw_max_rows is not None and raw is not None and rows:
        bounds.append(raw / rows * settings.raw_max_rows)
    return min(bounds, default=None)


def _forecast(total: int | None, raw: int | None, a_day: float | None, days: int, most: float | None) -> float | None:
    """Bytes of all tables in so many days; raw rows that are deleted by then make room for the new ones."""
    if total is None or raw is None or a_day is None:
        return None
    grown = raw + a_day * days
    kept = grown if most is None else min(grown, max(raw, most))
    return total - raw + kept


def _free(connection: sa.Connection) -> int | None:
    try:
        folder = databases.of(connection).data_folder(connection)
        return None if folder is None else shutil.disk_usage(folder).free
    except OSError:  # it is of another machine, or of another user
        return None


def _full_in_days(free: int | None, raw: int | None, a_day: float | None, most: float | None) -> float | None:
    if free is None or raw is None or not a_day or (most is not None and most - raw <= free):
        return None
    days = free / a_day
    return days if days <= YEAR else None


# ---- settings --------------------------------------------------------------------------------------------------------


def _settings(state: State) -> list[Setting]:
    found = []
    for setting, field in zip(SETTINGS, fields(state.settings), strict=True):
        value = getattr(state.settings, field.name)
        shown = "a function" if callable(value) else repr(getattr(value, "key", value)).removeprefix("datetime.")
        found.append(Setting(PREFIX + setting.key, shown, PREFIX + setting.key not in state.app.config))
    url = state.engine().url
    address = url.set(query={}, password=MASKED if url.password else None)
    return [*found, Setting("SQLALCHEMY_DATABASE_URI", address.render_as_string(hide_password=True), False)]


# ---- as JSON ---------------------------------------------------------------------------------------------------------


def as_json(health: Health, utc: Callable[[datetime], str]) -> dict[str, Any]:
    """`health` for the API, instants by `utc`. Keys of single numbers stand on top, where a monitor finds them."""
    recording, storage = health.recording, health.storage
    return {
        "status": health.status,
        "problems": list(health.problems),
        "advice": list(health.advice),
        "database": health.database,
        "guarded": health.guarded,
        "guard": health.guard,
        "tokens": [
            {"label": each.label, "used_at": utc(each.used_at) if each.used_at else None} for each in health.tokens
        ],
        "wrong_passwords": health.wrong_passwords,
        "recording": recording is not None,
        "processes": recording.processes if recording else 0,
        "unknown_because": recording.unknown_because if recording else None,
        "recorded": recording.recorded if recording else 0,
        "waiting": recording.waiting if recording else 0,
        "refused": recording.refused if recording else 0,
        "trouble": recording.trouble if recording else None,
        "lost": recording.lost if recording else 0,
        "lost_because": recording.lost_because if recording else {},
        "last_error": recording.last_error if recording else None,
        "last_error_at": utc(recording.last_error_at) if recording and recording.last_error_at else None,
        "started_at": utc(recording.started_at) if recording else None,
        "overhead": None
        if recording is None
        else {
            "requests": recording.overhead_requests,
            "p50": recording.overhead_p50,
            "p95": recording.overhead_p95,
        },
        "storage": None if storage is None else _plain(asdict(storage), utc),
        "rollups": _rollups_json(health, utc),
        "settings": {setting.key: setting.value for setting in health.settings},
    }


def _rollups_json(health: Health, utc: Callable[[datetime], str]) -> dict[str, Any] | None:
    """How the rollups stand; None: they are off."""
    if health.rollups_error is not None:
        return {"error": health.rollups_error}
    found = health.rollups
    if found is None:
        return None
    return {
        "covered_from": utc(found.covered_from) if found.covered_from else None,
        "covered_until": utc(found.covered_until) if found.covered_until else None,
        "verified": {
            "until": utc(found.scrubbed.until) if found.scrubbed.until else None,
            "rounds": found.scrubbed.rounds,
            "completed_at": utc(found.scrubbed.completed_at) if found.scrubbed.completed_at else None,
            "differences": {utc(start): says for start, says in found.scrubbed.differences.items()},
        },
        "kept": {utc(start): why for start, why in sorted(found.kept.items())},
        "lag_seconds": None if health.rollup_lag is None else health.rollup_lag.total_seconds(),
        "preparing": found.preparing,
        "last_run_seconds": found.last_run_seconds,
        "segments": found.segments,
        "values": found.values,
        "visitors": found.visitors,
        "folded": found.folded,
        "incomplete": {name: None if since is None else utc(since) for name, since in found.incomplete.items()},
        "unfit": None
        if found.unfit is None
        else {"requests": found.unfit.rows, "names": list(found.unfit.names), "latest": utc(found.unfit.latest)},
    }


def _plain(value: Any, utc: Callable[[datetime], str]) -> Any:
    if isinstance(value, datetime):
        return utc(value)
    if isinstance(value, dict):
        return {name: _plain(item, utc) for name, item in value.items()}
    if isinstance(value, Collection) and not isinstance(value, str):
        return [_plain(item, utc) for item in value]
    return value


def _first_line(error: sa.exc.SQLAlchemyError) -> str:
    cause = getattr(error, "orig", None) or error
    return f"{type(error).__name__}: {str(cause).partition(chr(10))[0]}"
