"""What belongs to one app, kept in `app.extensions["statistics"]`: nothing of it lives on the `Statistics` object."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa
from flask import Flask, current_app, has_app_context
from flask_sqlalchemy import SQLAlchemy

from . import connections, databases
from .addresses import Anonymize, whole
from .complaints import Complaints
from .config import Settings
from .databases import budgets
from .dimensions import Dimension
from .filters import ALL, Filters
from .guards import Guard
from .issue_states import IssueStates
from .issues.frames import AppFiles
from .kept import Kept, SavedView, read
from .kept import Tables as KeptTables
from .masking import Masking
from .models import RawTable
from .old_database import left_behind
from .places import Places
from .processes import Processes
from .queries.apart import QueriesApart
from .queries.in_pieces import QueriesInPieces
from .queries.interface import Queries
from .queries.raw import RawQueries
from .record import Writer
from .recorder import Recorder
from .statements.table import Tables
from .waits import offered

if TYPE_CHECKING:
    from .releases_seen import ReleaseSeen
    from .rollups.rollups import Rollups
    from .statements.keeping import Keeper

NAME = "statistics"
"""Name of the blueprint, of the command group and of the entry in `app.extensions`."""


LATEST_PAGES = 100
"""Pages of which it is known how long they took."""


@dataclass(frozen=True, slots=True)
class Connections:
    """What one page reads over."""

    raw: sa.Connection
    """To the raw table."""
    ours: sa.Connection
    """To the rollups; the same, where they are beside the raw table, or off."""
    in_pieces: budgets.Budget | None = None
    """The time of whoever must read the raw table in pieces, so that others can write; None: all is read of one moment."""


class Stoppable(Protocol):
    """What works in a thread."""

    def stop(self) -> None:
        """End it, after what is under way."""


@dataclass(slots=True)
class State:
    """Everything about one app, kept in `app.extensions["statistics"]`."""

    app: Flask
    settings: Settings
    db: SQLAlchemy
    model: type[Any]
    raw: RawTable
    dimensions: dict[str, Dimension]
    guard: Guard
    """Who may see the dashboard."""
    bind_key: str | None
    """The bind of our own tables; None is the default database."""
    metadata: sa.MetaData
    """The metadata that they are in."""
    imports: sa.Table
    """Which logs were imported."""
    kept: KeptTables
    """Marks and saved views."""
    views: tuple[SavedView, ...] = ()
    """Saved views of the settings."""
    spool: sa.Table | None = None
    """How far spool files are moved; None: `STATISTICS_WRITER` is not "spool"."""
    usual: Filters = ALL
    """What the dashboard's pages are filtered by as long as nothing else is chosen."""
    masking: Masking = field(default_factory=Masking)
    """What is stored of paths, queries and referrers."""
    anonymize: Anonymize = whole
    """What is stored of an address."""
    rollups: Rollups | None = None
    """None: `STATISTICS_ROLLUPS` is False."""
    recorder: Recorder | None = None
    """None: `STATISTICS_ENABLED` is False."""
    writer: Writer | None = None
    """The recorder's; None as well."""
    statements: Tables | None = None
    """The tables of statements; None: `STATISTICS_QUERIES` is False."""
    issues: IssueStates | None = None
    """What was decided about issues; None: the model does not keep them."""
    keeper: Keeper | None = None
    """What adds to them; None: statements are not measured in this process."""
    pruner: Stoppable | None = None
    """What deletes raw rows where there are no rollups; None: nothing does."""
    release_seen: ReleaseSeen | None = None
    """What notes since when this process's release runs; None: it has none."""
    processes: Processes | None = None
    """Those that record; None as well."""
    files: AppFiles = field(init=False)
    """Tells the app's own files."""
    complaints: Complaints = field(init=False)
    """Of questions that the database did not answer."""
    page_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=LATEST_PAGES))
    """What each of the latest pages of this process took to be computed."""
    said: set[str] = field(default_factory=set)
    """What was logged of it that is to be said once."""
    _engines: dict[str | None, sa.Engine] = field(default_factory=dict)
    _all_engines: Mapping[str | None, sa.Engine] | None = None
    places: Places = field(default_factory=Places)
    """For those who read the dashboard."""
    _own: connections.Engines = field(init=False)

    def __post_init__(self) -> None:
        self.complaints = Complaints(self.app.logger)
        self.files = AppFiles(self.app.root_path)
        self._own = connections.Engines(self._engine_of)

    @property
    def waits(self) -> tuple[str, ...]:
        """The columns of what requests waited for that can be asked for."""
        return offered(self.settings, self.raw)

    @property
    def spool_path(self) -> Path:
        """The folder of the spool; a relative one is in the instance folder."""
        return Path(self.app.instance_path) / (self.settings.spool_path or "spool")

    def note_late(self, oldest: datetime) -> None:
        """Have rollups, if there are any, count again from `oldest` on (naive UTC): rows of so long ago came in."""
        if self.rollups is not None:
            self.rollups.note_late(oldest)

    def left_behind(self) -> str | None:
        """A sentence that names an older SQLite file with the history, where the one that is used is empty; else None."""
        configured = self.app.config.get("SQLALCHEMY_DATABASE_URI")
        if self.raw.bind_key is not None:
            configured = (self.app.config.get("SQLALCHEMY_BINDS") or {}).get(self.raw.bind_key)
        url = configured if isinstance(configured, (str, sa.URL)) else None
        return left_behind(url, root=self.app.root_path, instance=self.app.instance_path, table=self.raw.table.name)

    def engine(self) -> sa.Engine:
        """The engine of the model's bind, the host's own."""
        return self._engine_of(self.raw.bind_key)

    def our_engine(self) -> sa.Engine:
        """The engine of our own tables' bind, the host's own."""
        return self._engine_of(self.bind_key)

    def raw_engine_for(self, purpose: connections.Purpose) -> sa.Engine:
        """An engine of ours to the database of the raw table."""
        return self._own.get(self.raw.bind_key, purpose)

    def our_engine_for(self, purpose: connections.Purpose) -> sa.Engine:
        """An engine of ours to the database of our own tables; the same as that of the raw table, where these are beside it."""
        return self._own.get(self.bind_key, purpose)

    def settle(self) -> None:
        """Before the dashboard answers: let the tables have what was just requested, if that takes no long time."""
        if self.recorder is not None:
            self.recorder.settle()
        if self.keeper is not None:
            self.keeper.settle()

    @contextmanager
    def reading_ours(self) -> Iterator[sa.Connection]:
        """A connection to tables of our own that are no rollups, for one question."""
        with self._reading(self.bind_key, budgets.Budget(self.settings.query_timeout)) as connection:
            yield connection

    def read_kept(self, queries: Queries | None = None) -> Kept:
        """Marks and saved views; none where they cannot be read, which the log says: no page must fail of it.

        They are read where the page's `queries` read, if that is the same database: in SQLite a second connection would wait
        for a writer that waits for the first.
        """
        try:
            if queries is not None and (self.rollups is not None or self.bind_key == self.raw.bind_key):
                return queries.beside(self._read_kept)
            with self.reading_ours() as connection:
                return read(connection, self.kept)
        except sa.exc.SQLAlchemyError as error:
            if queries is not None:
                queries.recover()
            self.complaints.tell("marks and saved views could not be read", error)
            return Kept()

    def _read_kept(self, connection: sa.Connection) -> Kept:
        return read(connection, self.kept)

    def close(self) -> None:
        """Close the connections of ours that are not in use, and say what was recorded up to now."""
        if self.keeper is not None:
            self.keeper.stop()
        if self.pruner is not None:
            self.pruner.stop()
        if self.release_seen is not None:
            self.release_seen.stop()
        if self.processes is not None:
            self.processes.end()
        self._own.close()

    def host_engines(self) -> Mapping[str | None, sa.Engine]:
        """All engines of the app, the host's own, by bind; one that is made later is in it as well."""
        if self._all_engines is None:
            if has_app_context() and current_app._get_current_object() is self.app:  # type: ignore[attr-defined]
                self._all_engines = self.db.engines
            else:
                try:
                    with self.app.app_context():
                        self._all_engines = self.db.engines
                except Exception:
                    if self._all_engines is None:
                        raise
                    # a tear-down function of the host's failed, as it does at the end of its own contexts, and says so there
        return self._all_engines

    def _engine_of(self, bind_key: str | None) -> sa.Engine:
        if bind_key not in self._engines:
            self._engines[bind_key] = self.host_engines()[bind_key]
        return self._engines[bind_key]

    @contextmanager
    def queries(self) -> Iterator[Queries]:
        """What answers the questions of one page, on connections that are given back afterwards.

        Together they may take `STATISTICS_QUERY_TIMEOUT`. Raises `Busy` if too many pages are computed.
        """
        with self.reading() as (connections, _), self._asking(connections) as queries:
            yield queries

    def queries_apart(self) -> Queries:
        """What answers each question on connections of its own, given back at once: for what is sent at a client's pace."""
        newest: list[Any] = []
        return QueriesApart(lambda: self._queries_of_a_file(newest))

    @contextmanager
    def _queries_of_a_file(self, newest: list[Any]) -> Iterator[Queries]:
        """What answers one question; `newest` has the newest key that there was at the first one, if keys have an order."""
        # it has a place among the files
        with self._open() as (connections, _):
            if not newest and self.raw.key.type.python_type is int:
                newest.append(connections.raw.scalar(sa.select(sa.func.max(self.raw.key))))
            with self._asking(connections, newest[0] if newest else None) as queries:
                yield queries

    @contextmanager
    def _asking(self, connections: Connections, newest: Any = None) -> Iterator[Queries]:
        raw = RawQueries(connections.raw, self.raw, self.dimensions, self.waits)
        raw.conditions.newest = newest
        if connections.in_pieces is None:
            yield self._over(raw, connections)
            return
        queries = QueriesInPieces(raw, connections.raw, self.raw, connections.in_pieces)
        try:
            yield queries
        finally:
            queries.close()

    def queries_on(self, connections: Connections) -> Queries:
        """What answers questions over `connections`."""
        return self._over(RawQueries(connections.raw, self.raw, self.dimensions, self.waits), connections)

    def _over(self, raw: RawQueries, connections: Connections) -> Queries:
        return raw if self.rollups is None else self.rollups.queries(connections.ours, connections.raw, raw)

    @contextmanager
    def reading(self) -> Iterator[tuple[Connections, budgets.Budget]]:
        """Connections that one page reads over, each of one moment, and the time that all of their statements may take.

        Raises `Busy` if too many pages are computed.
        """
        with self.places.page(), self._open() as opened:
            yield opened

    @contextmanager
    def beside(self) -> Iterator[Connections]:
        """Connections for a moment, to look at how the tables are made; it needs no place."""
        with self._open() as (connections, _):
            yield connections

    @contextmanager
    def _open(self) -> Iterator[tuple[Connections, budgets.Budget]]:
        budget = budgets.Budget(self.settings.query_timeout)
        with ExitStack() as opened:
            raw = opened.enter_context(self._reading(self.raw.bind_key, budget))
            apart = self.rollups is not None and self.bind_key != self.raw.bind_key
            ours = opened.enter_context(self._reading(self.bind_key, budget)) if apart else raw
            # until something is rolled up, pages read raw rows as if there were no rollups
            pieces = (
                self.raw.table.schema is None
                and databases.of(raw).readers_keep_writers_waiting(raw)
                and not self._can_answer_from_rollups(ours)
            )
            if pieces:
                raw.execution_options(isolation_level="AUTOCOMMIT")
            else:
                for connection in {raw, ours}:
                    databases.of(connection).snapshot(connection)
            yield Connections(raw, ours, budget if pieces else None), budget

    def _can_answer_from_rollups(self, connection: sa.Connection) -> bool:
        if self.rollups is None:
            return False
        found = self.rollups.can_answer(connection)
        connection.rollback()
        return found

    @contextmanager
    def _reading(self, bind_key: str | None, budget: budgets.Budget) -> Iterator[sa.Connection]:
        engine = self._own.get(bind_key, connections.READING)
        with engine.connect() as connection, budgets.time_budget(connection, budget):
            yield connection

    def roll_back_host(self) -> None:
        """Let the host's session of this context begin anew, after a function of the host's failed in the midst of it."""
        if self.host_in_transaction():
            self.db.session.rollback()

    def host_in_transaction(self) -> bool:
        """Whether the host's session of this context has a transaction open. Does not create a session."""
        registry = self.db.session.registry
        return bool(registry.has() and registry().in_transaction())


def state_of(app: Flask) -> State:
    """The state of `app`. Raises `RuntimeError` if `init_app` was never called for it."""
    try:
        state: State = app.extensions[NAME]
    except KeyError:
        raise RuntimeError(
            "This app is not registered with a Statistics object. Did you forget to call statistics.init_app(app, db, Request)?"
        ) from None
    return state
