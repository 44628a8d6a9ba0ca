"""`Statistics`: wires an app to its database, its model and the dashboard. All that belongs to one app is in its `State`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime, timezone
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from flask import Flask, current_app
from flask.signals import request_started
from flask_sqlalchemy import SQLAlchemy

from . import cli, databases, guards, kept, processes, saved_views, trail, views
from .access_log.table import import_table
from .addresses import anonymizer, secret_table
from .columns import check_fillable, is_of_addresses, taker
from .config import BESIDE, PEOPLE, SettingError, Settings, read_settings, unknown_keys
from .connections import RECORDING, WORKING
from .details import Details, check_columns, details_of, not_filled
from .dimensions import Dimension, available
from .filters import Filters, read_filters
from .guards import Guard, closed
from .issue_states import IssueStates, issue_table
from .local_files import name_of
from .masking import Masking
from .models import KNOWN_COLUMNS, RawTable, check_types, in_database, map_model
from .pages.own import Function, Own
from .pages.panel import Width
from .pages.panels import NAMES, Panels, check_dimensions
from .parameters import unknown
from .processes import Processes
from .pruning import Pruner, bounds_of
from .query import Query
from .record import Backlog, Counters, Writer
from .recorder import Recorder
from .releases import release_of
from .signals import requests_lost, requests_stored, rollups_updated, tell
from .state import NAME, State, state_of
from .statements.table import define
from .writers.spool.table import spool_table

if TYPE_CHECKING:
    from .timing.timing import Timing

PanelFunction = TypeVar("PanelFunction", bound=Function)


class Statistics:
    """Records every request of an app into a model of its own and shows the numbers at `/statistics/`.

    ``Statistics(app, db, Request)``, or ``Statistics()`` and `init_app` later; one object serves several apps.
    Methods can be overridden in a subclass.
    """

    def __init__(
        self,
        app: Flask | None = None,
        db: SQLAlchemy | None = None,
        model: type[Any] | None = None,
        before_f: Guard | None = None,
        *,
        disable_f: Callable[[], Any] | None = None,
        dimensions: Iterable[Dimension] = (),
        writer: Writer | None = None,
    ) -> None:
        if app is not None and db is not None and model is not None:
            self.init_app(app, db, model, before_f, disable_f=disable_f, dimensions=dimensions, writer=writer)
        elif app is not None or db is not None or model is not None:
            raise TypeError(
                "Statistics takes app, db and model together, Statistics(app, db, Request), "
                "or none of them, with statistics.init_app(app, db, Request) later."
            )

    def init_app(
        self,
        app: Flask,
        db: SQLAlchemy,
        model: type[Any],
        before_f: Guard | None = None,
        *,
        disable_f: Callable[[], Any] | None = None,
        dimensions: Iterable[Dimension] = (),
        writer: Writer | None = None,
    ) -> None:
        """Start recording the requests of `app` into `model` and mount the dashboard.

        `before_f` decides who sees the dashboard: None or True allows, False answers 403, a response is sent as it is,
        an exception denies; without it the dashboard answers on this machine alone, and `guards.everybody` opens it.
        `disable_f` is asked once a request, while it lasts, and a true answer keeps that request out. `dimensions` are added
        to the built-in ones; where one has a `record`, that is asked beside `disable_f` for what to store in its column.
        `writer` takes the records in place of the one that `STATISTICS_WRITER` names.

        Raises `SettingError` for a wrong setting or argument, before anything has been changed.
        """
        settings = read_settings(app.config)
        if not isinstance(db, SQLAlchemy):
            raise SettingError(f"db is {db!r}, but must be the app's flask_sqlalchemy.SQLAlchemy object.")
        for name, function in (("before_f", before_f), ("disable_f", disable_f)):
            if function is not None and not callable(function):
                raise SettingError(f"{name} is {function!r}, but must be a function without arguments, or None.")
        if writer is not None and not isinstance(writer, Writer):
            raise SettingError(
                f"writer is {writer!r}, but must be an object of a class that inherits flask_statistics.Writer."
            )
        asked = disable_f or self.disable_f
        disabled = None if getattr(asked, "__func__", None) is Statistics.disable_f else app.ensure_sync(asked)
        dimensions = tuple(dimensions)
        raw = map_model(model, [dimension.column for dimension in dimensions if dimension.record is not None])
        dialect = _dialect(app, db, raw)
        clickhouse = dialect is not None and not databases.named(dialect.name).has_transactions
        raw = raw if dialect is None else in_database(raw, dialect)
        if settings.anonymize_ip == "hash" and raw.has("remote_address"):
            kind = raw.columns["remote_address"].type
            if is_of_addresses(kind, dialect):
                raise SettingError(
                    f"STATISTICS_ANONYMIZE_IP is 'hash', but the column 'remote_address' is {kind!r}, which takes no hashes: "
                    "make it db.String(64), or set STATISTICS_ANONYMIZE_IP to 'truncate' or None."
                )
        if settings.enabled and not clickhouse:
            check_fillable(model.__name__, raw.table, {name: raw.columns[name] for name, *_ in raw.fits}, dialect)
        if clickhouse and settings.enabled and settings.writer != "spool" and writer is None:
            raise SettingError(
                f"STATISTICS_WRITER is {settings.writer!r}, but the model is bound to ClickHouse, which wants many rows at a "
                'time: set STATISTICS_WRITER = "spool", or STATISTICS_ENABLED = False to read only.'
            )
        bind_key = _bind_of_ours(app, db, raw, settings, clickhouse=clickhouse)
        metadata = raw.table.metadata if bind_key == raw.bind_key else db.metadatas[bind_key]
        check_columns(settings, raw)
        details, raw = details_of(app, settings, raw)
        known = available(raw.columns, dimensions, without=not_filled(settings))
        check_dimensions(known)
        self._own.check_dimensions(known)
        usual = _usual_filters(settings, known)
        saved = tuple(_saved_views(settings, known, usual))
        fillers = {
            dimension.column: _filler(app, dimension, raw) for dimension in dimensions if dimension.record is not None
        }
        _check_names(app, settings)
        for key, resembling in unknown_keys(app.config):
            hint = f" Did you mean {resembling}?" if resembling else ""
            app.logger.warning("Flask-Statistics knows no setting %s.%s", key, hint)
        # what is written in one transaction with raw rows is beside them, where there are transactions
        place = (metadata, None) if clickhouse else (raw.table.metadata, raw.table.schema)
        imports = import_table(*place)
        keeps_secret = settings.anonymize_ip == "hash"
        secret = secret_table(*place) if keeps_secret else None
        spool = spool_table(*place) if settings.writer == "spool" else None
        ours = (metadata, raw.table.schema if metadata is raw.table.metadata else None)
        tables = kept.define(*ours)
        state = State(
            app, settings, db, model, raw, known, before_f or closed, bind_key, metadata, imports, tables, saved, spool
        )
        state.usual = usual
        if settings.queries:
            state.statements = define(*ours)
        if raw.has("issue"):
            writing = partial(state.our_engine_for, RECORDING)
            beside = settings.rollups or bind_key == raw.bind_key
            reading = None if beside else state.reading_ours
            state.issues = IssueStates(issue_table(*ours), reading=reading, writing=writing)
        state.masking = Masking(
            keep=settings.keep_parameters, strip_referrer=settings.strip_referrer_query, rules=app.url_map.iter_rules
        )
        state.anonymize = anonymizer(
            settings.anonymize_ip,
            secret,
            partial(state.our_engine_for if clickhouse else state.raw_engine_for, RECORDING),
        )
        self._apps[app] = known.keys()
        self.register(state)
        if settings.rollups:
            self._roll_up(state)
        elif settings.scheduler and settings.enabled and bounds_of(state):
            state.pruner = Pruner(
                lambda: state,
                settings.rollup_interval,
                lambda: processes.lock_in(*_place_of(state), "prune"),
                app.logger,
            )
            _start_with_requests(app, state.pruner.ensure_running)
        if settings.enabled:
            counters = Counters(
                when_stored=lambda rows: tell(requests_stored, app, rows=rows),
                when_lost=lambda rows, because, error: tell(requests_lost, app, rows=rows, reason=because, error=error),
            )
            if writer is not None:
                _start_with_requests(app, partial(_begin, state))
            state.writer = writer or self.make_writer(state, counters)
            state.processes = Processes(
                counters,
                lambda: Backlog(0, None) if state.recorder is None else state.recorder.in_memory(),
                partial(_place_of, state),
                partial(_readers_of, state),
            )
            state.recorder = self.make_recorder(
                state, state.writer, counters, disabled=disabled, own=fillers, details=details
            )
            state.recorder.attach()
            if settings.release is not None:
                self._note_release(state, release_of(settings.release, Path(app.root_path)))

    def register(self, state: State) -> None:
        """Mount the dashboard, add the commands and let the app know its `state`. A step of `init_app`, to be overridden."""
        app, settings = state.app, state.settings
        options = {} if settings.subdomain is None else {"subdomain": settings.subdomain}
        host = (settings.host or views.ANY_HOST) if app.url_map.host_matching else None
        app.register_blueprint(
            views.blueprint(Panels(state.dimensions, self._own, statements=settings.queries), host),
            url_prefix=settings.url_prefix,
            **options,
        )
        views.guard_misses(app)
        views.exempt(app)
        app.cli.add_command(cli.commands)
        trail.start()
        old = state.left_behind()
        if old is not None:
            app.logger.warning("Flask-Statistics: %s", old)
        app.extensions[NAME] = state

    def make_writer(self, state: State, counters: Counters) -> Writer:
        """The writer that `STATISTICS_WRITER` names. A step of `init_app`, to be overridden, for a writer around this one.

        Nothing of it runs before the first request.
        """
        return _make_writer(state, counters)

    def make_recorder(
        self,
        state: State,
        writer: Writer,
        counters: Counters,
        *,
        disabled: Callable[[], Any] | None,
        own: Mapping[str, Callable[[], Any]],
        details: Details,
    ) -> Recorder:
        """What makes a record of each request. A step of `init_app`, to be overridden."""
        return Recorder(
            state.app,
            state.settings,
            writer=writer,
            disabled=disabled,
            host_in_transaction=state.host_in_transaction,
            blueprint=NAME,
            keeps_traceback=state.raw.has("traceback"),
            masked=state.masking,
            anonymize=state.anonymize,
            counters=counters,
            own=own,
            details=details,
            timing=_timing_of(state),
        )

    def _note_release(self, state: State, release: str) -> None:
        from .releases_seen import ReleaseSeen

        engine = partial(state.our_engine_for, RECORDING)
        state.release_seen = ReleaseSeen(state.kept, engine, release, state.app.logger)
        _start_with_requests(state.app, state.release_seen.ensure_noted)

    def _roll_up(self, state: State) -> None:
        from .rollups.rollups import make_rollups  # brings NumPy and APScheduler, which other apps need not load

        app = state.app
        state.rollups = make_rollups(
            state.raw,
            state.dimensions,
            state.settings,
            metadata=state.metadata,
            engine=partial(state.our_engine_for, WORKING),
            raw_engine=partial(state.raw_engine_for, WORKING),
            logger=app.logger,
            updated=lambda until: tell(rollups_updated, app, until=until),
        )
        if state.rollups.scheduler is not None:
            _start_with_requests(app, state.rollups.scheduler.ensure_running)

    def panel(
        self,
        name: str,
        *,
        title: str | None = None,
        page: str = "index",
        width: Width = "full",
        template: str | None = None,
    ) -> Callable[[PanelFunction], PanelFunction]:
        """Declare a panel of your own: ``@statistics.panel("revenue")`` above a function that yields a heading, then rows.

        It is asked with a `PanelQuery` for the table on `page` (`index`, `errors`, `requests`, or one of `page()`) and for its
        file. `width` is `full`, `half` or `third`; `template` one of yours, which gets what was yielded as `panel`. Before or
        after `init_app`, and for all apps that this object serves; a factory may declare the same one for each app. Raises
        `SettingError` for a name that is taken or none, and `RuntimeError` for a new one once an app has handled a request.
        """

        if callable(name):
            raise SettingError(
                f'Write @statistics.panel("name") above {getattr(name, "__name__", name)}: a panel has a name.'
            )

        def declare(function: PanelFunction) -> PanelFunction:
            if not self._own.has_panel(name, function):
                self._check_time(f"panel {name!r}")
            taken = {*NAMES, *(dimension for known in self._apps.values() for dimension in known)}
            self._own.add_panel(name, function, title=title, page=page, width=width, template=template, taken=taken)
            return function

        return declare

    def page(self, name: str, *, title: str | None = None) -> None:
        """Declare a page of your own, with a tab, for panels of yours. Raises what `panel` raises."""
        if not self._own.has_page(name, title):
            self._check_time(f"page {name!r}")
        self._own.add_page(name, title=title)

    @cached_property
    def _own(self) -> Own:
        """Panels and pages of the host's own."""
        return Own()

    @cached_property
    def _apps(self) -> WeakKeyDictionary[Flask, Collection[str]]:
        """The apps that this object serves, with the names of their dimensions."""
        return WeakKeyDictionary()

    def _check_time(self, what: str) -> None:
        for app in self._apps:
            if app._got_first_request:  # as for Flask's own routes: other workers would not have it
                raise RuntimeError(
                    f"The {what} comes too late: the app {app.name!r} has handled its first request. "
                    "Declare it where the app is made."
                )

    @staticmethod
    def query(app: Flask | None = None) -> Query:
        """The numbers of `app`, or of the app of the present context, for Python: ``statistics.query(app).summary(span="7d")``.

        Raises `RuntimeError` for an app that is not registered.
        """
        return Query(state_of(app if app is not None else current_app))

    def disable_f(self) -> bool:
        """Whether the present request shall not be recorded. Override it, or hand one to `init_app`."""
        return False


def _check_names(app: Flask, settings: Settings) -> None:
    """Raise if something of the app's is where ours must be."""
    taken = app.extensions.get(NAME)
    if isinstance(taken, State):
        raise RuntimeError("This app is registered with a Statistics object already; call init_app once for each app.")
    for what, exists in (
        ("an extension", taken is not None),
        ("a blueprint", NAME in app.blueprints),
        ("a command", NAME in app.cli.commands),
    ):
        if exists:
            raise RuntimeError(
                f"The app has {what} named {NAME!r} of its own already. Flask needs names to be unique: rename that one."
            )
    prefix = settings.url_prefix
    for rule in app.url_map.iter_rules():
        if rule.rule in (prefix, f"{prefix}/") and "GET" in (rule.methods or {"GET"}):
            raise SettingError(
                f"STATISTICS_URL_PREFIX is {prefix!r}, but the app has a page at {rule.rule!r} of its own ({rule.endpoint}): "
                "set it to another path."
            )
    for key, value, switch in (
        ("HOST", settings.host, app.url_map.host_matching),
        ("SUBDOMAIN", settings.subdomain, app.subdomain_matching),
    ):
        if value is not None and not switch:
            raise SettingError(
                f"STATISTICS_{key} is {value!r}, but the app does not look at it: make it with "
                f"Flask(..., {key.lower()}_matching=True), or leave it out."
            )


def _saved_views(settings: Settings, dimensions: dict[str, Dimension], usual: Filters) -> Iterator[kept.SavedView]:
    """Those that the settings name. Raises `SettingError` for one that cannot be."""
    for name, url in settings.views:
        try:
            found = saved_views.canonical(
                url,
                dimensions=dimensions,
                now=datetime.now(timezone.utc).replace(tzinfo=None),
                zone=settings.timezone,
                default=settings.default_date_span,
                usual=usual,
            )
        except saved_views.ViewError as error:
            raise SettingError(f"STATISTICS_VIEWS has {name!r}: {url!r}, but that must be {error}.") from None
        yield kept.SavedView(name.strip(), found)


def _filler(app: Flask, dimension: Dimension, raw: RawTable) -> Callable[[], Any]:
    """What gives the value to store in the dimension's column. Raises `SettingError` if there can be none."""
    name, column, record = dimension.name, dimension.column, dimension.record
    if not callable(record):
        raise SettingError(f"record of the dimension {name!r} is {record!r}, but must be a function without arguments.")
    if column in KNOWN_COLUMNS or raw.columns[column] in (raw.key, raw.columns["date"]):
        raise SettingError(
            f"The dimension {name!r} would fill the column {column!r}, which Flask-Statistics fills itself: leave out record, "
            "or name a column of your own."
        )
    ask, take = app.ensure_sync(record), taker(raw.columns[column], f"The dimension {name!r}")
    return lambda: take(ask())


def _dialect(app: Flask, db: SQLAlchemy, raw: RawTable) -> sa.Dialect | None:
    """That of the raw table's database; None: it is not known yet. Raises `SettingError` if it has no type for a column."""
    if app.extensions.get("sqlalchemy") is not db:  # its engines are not known yet
        url = str((app.config.get("SQLALCHEMY_BINDS") or {}).get(raw.bind_key, ""))
        if not databases.named_by_url(url).has_transactions:
            raise SettingError(
                "The model is bound to ClickHouse: call db.init_app(app) before statistics.init_app(app, db, Request), as "
                "our own tables are in another database."
            )
        return None
    with app.app_context():
        dialect: sa.Dialect = db.engines[raw.bind_key].dialect
    check_types(raw, dialect)
    return dialect


def _usual_filters(settings: Settings, known: dict[str, Dimension]) -> Filters:
    """What `STATISTICS_DEFAULT_FILTERS` says; people cannot be told from bots where the model has no column for it.

    Raises `SettingError` for what is no filter.
    """
    text = settings.default_filters
    pairs = parse_qsl(text, keep_blank_values=True)
    filters, errors = read_filters(pairs, known)
    wrong = [*map(str, errors), *unknown((name for name, _ in pairs), known, ())]
    if wrong and text != PEOPLE:
        raise SettingError(f"STATISTICS_DEFAULT_FILTERS is {text!r}, but {wrong[0]}.")
    return filters


def _bind_of_ours(app: Flask, db: SQLAlchemy, raw: RawTable, settings: Settings, *, clickhouse: bool) -> str | None:
    """The bind of the rollups, and of all tables of ours if the raw table's database has no transactions.

    Raises `SettingError` for one that the app does not have.
    """
    if settings.bind_key == BESIDE and not clickhouse:
        return raw.bind_key
    if app.extensions.get("sqlalchemy") is not db:
        raise SettingError(
            f"STATISTICS_BIND_KEY is {settings.bind_key!r}, but the binds of the app are not known yet: call "
            "db.init_app(app) before statistics.init_app(app, db, Request)."
        )
    with app.app_context():
        engines = db.engines
    bind_key = None if settings.bind_key == BESIDE else settings.bind_key
    if bind_key not in engines:
        known = ", ".join(repr(key) for key in engines)
        raise SettingError(
            f"STATISTICS_BIND_KEY is {bind_key!r}, but must be one of {known}: add it to SQLALCHEMY_BINDS, or "
            "SQLALCHEMY_DATABASE_URI for None."
        )
    if not databases.of(engines[bind_key]).has_transactions:
        raise SettingError(
            f"STATISTICS_BIND_KEY is {bind_key!r}, which is on ClickHouse, but our tables need a database with transactions: "
            "set it to the bind of one, or to None if the main database is one."
        )
    return bind_key


def _make_writer(state: State, counters: Counters) -> Writer:
    """The writer that `STATISTICS_WRITER` names, alone of both imported. Nothing of it runs before the first request."""
    app, raw_engine, our_engine = (
        state.app,
        partial(state.raw_engine_for, RECORDING),
        partial(state.our_engine_for, RECORDING),
    )
    if state.spool is None:
        from .writers.direct import DirectWriter

        return DirectWriter(state.raw, raw_engine, app.logger, begun=partial(_begin, state))
    from .writers.spool.ending import stop_at_sigterm
    from .writers.spool.writer import SpoolWriter

    stop_at_sigterm()
    return SpoolWriter(
        raw=state.raw,
        table=state.spool,
        engine=raw_engine,
        table_engine=our_engine if state.spool.metadata is not state.raw.table.metadata else raw_engine,
        folder=state.spool_path,
        most_rows=state.settings.spool_max_rows,
        counters=counters,
        logger=app.logger,
        testing=lambda: app.testing,
        late=state.note_late,
        begun=partial(_begin, state),
    )


def _timing_of(state: State) -> Timing | None:
    """What measures what requests wait for; None: nothing shall be measured."""
    settings, app = state.settings, state.app
    if state.statements is None and not (settings.outgoing or settings.log_lines):
        return None
    from .timing.timing import Timing

    measured: dict[str, Any] = {"lines": settings.log_lines}
    if state.statements is not None:
        from .statements.keeping import Keeper

        engine = partial(state.our_engine_for, RECORDING)
        state.keeper = Keeper(state.statements, engine, kept=settings.raw_retention, logger=app.logger)
        _start_with_requests(app, state.keeper.ensure_running)
        measured |= {"engines": state.host_engines, "keep": state.keeper.keep}
    return Timing(app.root_path, calls=settings.outgoing, logger=app.logger, **measured)


def _begin(state: State) -> None:
    if state.processes is not None and not state.app.testing:
        state.processes.begin()


def _place_of(state: State) -> tuple[Path, str]:
    """Where, and under which name, the processes of this app say what they did."""
    folder = processes.folder_of(None if state.spool is None else state.spool_path)
    return folder, f"processes-{name_of(state.engine().url, state.raw.table)}"


def _readers_of(state: State) -> tuple[int, dict[str, datetime]]:
    """How many passwords were wrong, and when tokens were used, in this process."""
    parts = list(guards.parts(state.guard))
    wrong = sum(part.failures.total for part in parts if isinstance(part, guards.BasicAuth))
    tokens = [token for part in parts if isinstance(part, guards.TokenGuard) for token in part.tokens]
    return wrong, {token.label: token.used_at for token in tokens if token.used_at is not None}


def _start_with_requests(app: Flask, begin: Callable[[], None]) -> None:
    """Let each request see to it that something runs: before the first one there may be a fork."""

    def start(_sender: Flask, **_: Any) -> None:
        if not app.testing:  # tests run the job themselves, when they want it
            begin()

    request_started.connect(start, app, weak=False)
