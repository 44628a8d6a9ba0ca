"""Recording into ClickHouse: each request is stored once, whatever crashes when, and whoever else is at it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from hypothesis import settings

from benchmarks.serving import wait_until
from flask_statistics.models import RawTable, map_model
from flask_statistics.record import Record
from flask_statistics.writers.spool import keyed
from flask_statistics.writers.spool.keyed import KeyedMover, key_of
from flask_statistics.writers.spool.lines import FIELDS, encode
from flask_statistics.writers.spool.own import OwnSpool
from flask_statistics.writers.transaction import Locked

from ...conftest import App, clickhouse_database
from ...databases.test_clickhouse import REASON, bound_model
from ...rollup_bench import Killed
from ...shapes import sql_of
from ...test_forget import command
from .test_states import RAW as PLAIN
from .test_states import TABLE, SpoolMachine

pytest.importorskip("chdb", reason=REASON)
pytest.importorskip("clickhouse_connect", reason=REASON)

MakeApp = Callable[..., App]
NOW = datetime(2026, 11, 22, 14, 37)
ROLLUPS = {"STATISTICS_ROLLUPS": True, "STATISTICS_SCHEDULER": False}
RAW = map_model(bound_model(SQLAlchemy()))
NO_POISON = "ALTER TABLE request ADD CONSTRAINT c CHECK ifNull(method, '') != 'POISON'"


# ---- in an app -------------------------------------------------------------------------------------------------------


@pytest.fixture
def make(make_app: MakeApp, new_database: Any, tmp_path: Path) -> Iterator[MakeApp]:
    """Makes apps that record into a ClickHouse; one on the same database has the name `other`."""
    with new_database("clickhouse") as url:

        def make(**options: Any) -> App:
            return make_app(
                f"sqlite:///{tmp_path / 'app.sqlite'}",
                model=bound_model,
                SQLALCHEMY_BINDS={"log": url},
                STATISTICS_WRITER="spool",
                STATISTICS_SPOOL_PATH=str(tmp_path / "spool"),
                **options,
            )

        yield make


def stored(app: App) -> list[Any]:
    """Key and path of what is stored, oldest first."""
    table = app.Request.__table__
    with app.flask.app_context(), app.db.engines["log"].connect() as connection:
        return list(connection.execute(sa.select(table.c.index, table.c.date, table.c.path).order_by(table.c.date)))


def until_shown(app: App, hits: int) -> None:
    """Wait for the dashboard, which itself waits a second for what was just requested: the first rows may take longer."""
    wait_until(lambda: app.json("summary")["hits"] == hits, f"{hits} requests are not shown", 20)


def test_requests_are_stored_once(make: MakeApp) -> None:
    app = make()
    for path in ("/one", "/two", "/ü it's \\ %s :x"):
        app.client.get(path)
    until_shown(app, 3)
    rows = stored(app)
    assert [row.path for row in rows] == ["/one", "/two", "/ü it's \\ %s :x"]
    assert sorted(row.index for row in rows) == [row.index for row in rows]
    health = app.json("health")
    assert (health["recorded"], health["waiting"], health["storage"]["rows"]) == (3, 0, 3)
    assert app.json("summary")["hits"] == 3


def test_requests_of_two_processes_are_moved_by_one(make: MakeApp) -> None:
    app, other = make(), make()
    app.client.get("/of-the-first")
    until_shown(other, 1)
    other.client.get("/of-the-second")
    until_shown(app, 2)
    assert len({row.index >> 19 & 4095 for row in stored(app)}) == 2


def test_requests_in_tests_are_stored_at_once(make: MakeApp) -> None:
    app = make(TESTING=True)
    app.client.get("/one")
    assert [row.path for row in stored(app)] == ["/one"]


def test_requests_are_shown_each_for_itself(make: MakeApp) -> None:
    app = make(TESTING=True)
    for number in range(5):
        app.client.get(f"/{number}")
    page = app.json("requests?limit=2")
    assert [row["path"] for row in page["rows"]] == ["/4", "/3"]
    assert [row["path"] for row in app.json(f"requests?limit=2&before={page['before']}")["rows"]] == ["/2", "/1"]
    assert "/4" in app.client.get(f"/statistics/requests/{page['rows'][0]['id']}").text


def test_requests_are_rolled_up(make: MakeApp) -> None:
    app = make(TESTING=True, **ROLLUPS)
    app.client.get("/one")
    assert command(app, "rollup").exit_code == 0
    app.client.get("/two")
    answer = app.json("summary")
    assert (answer["source"], answer["hits"]) == ("rollup", 2)
    # both are too new for that run, which stays some seconds behind; the next one finds them
    assert "Nothing is rolled up yet" in command(app, "verify").output
    rollups = app.statistics_state().rollups
    assert rollups is not None
    rollups.job().run(datetime.now(timezone.utc).replace(tzinfo=None) + timedelta(minutes=1))
    verified = command(app, "verify")
    assert verified.exit_code == 0, verified.output


def test_requests_wait_while_the_table_is_away(make: MakeApp, caplog: pytest.LogCaptureFixture) -> None:
    app = make(TESTING=True)
    rename(app.statistics_state().engine(), "request", "hidden")
    with caplog.at_level(logging.ERROR):
        app.client.get("/one")
    assert "The table 'request' is missing" in caplog.text
    rename(app.statistics_state().engine(), "hidden", "request")
    app.client.get("/two")
    assert [row.path for row in stored(app)] == ["/one", "/two"]


def rename(engine: sa.Engine, old: str, new: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(f"RENAME TABLE {old} TO {new}")


# ---- the mover -------------------------------------------------------------------------------------------------------


class Bench:
    """A spool file, and movers of it as several processes have them."""

    def __init__(self, url: str, folder: Path) -> None:
        self.raw = RAW
        self.raw_engine = sa.create_engine(url)
        self.engine = sa.create_engine(f"sqlite:///{folder / 'app.sqlite'}")
        TABLE.create(self.engine)
        with self.raw_engine.begin() as connection:
            connection.exec_driver_sql(sql_of("ClickHouse"))
        self.spool = OwnSpool(folder / "spool.sqlite")
        assert self.spool.claim(FIELDS)

    def mover(self) -> KeyedMover:
        return KeyedMover(self.raw, TABLE, self.engine, raw_engine=self.raw_engine)

    def append(self, *paths: str, date: datetime = NOW, method: str = "GET") -> None:
        for path in paths:
            self.spool.append(encode(record(path, date, method)))

    def move(self) -> tuple[int, int]:
        return moved(self.mover(), self.spool)

    def paths(self) -> list[str]:
        with self.raw_engine.connect() as connection:
            return sorted(connection.scalars(sa.select(RAW.table.c.path)))

    def close(self) -> None:
        self.spool.close()
        self.engine.dispose()
        self.raw_engine.dispose()


def record(path: str, date: datetime, method: str) -> Record:
    return Record(
        date=date,
        method=method,
        path=path,
        route=None,
        query_string=None,
        remote_address=None,
        user_agent="",
        referrer=None,
    )


def moved(mover: KeyedMover, spool: OwnSpool) -> tuple[int, int]:
    """How many were taken from the spool, and how many of them stored."""
    found = mover.move(spool, wait_ms=0)
    return found.taken, found.stored


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with clickhouse_database() as url:
        bench = Bench(url, tmp_path)
        yield bench
        bench.close()


@contextmanager
def failing(engine: sa.Engine, event: str, error: Callable[[], BaseException], *, word: str = "") -> Iterator[None]:
    """Raise an error at an event of the engine, of statements that contain `word`."""

    def fail(*arguments: Any) -> None:
        if not word or word in arguments[2]:
            raise error()

    sa.event.listen(engine, event, fail)
    try:
        yield
    finally:
        sa.event.remove(engine, event, fail)


def test_move_stores_each_once(bench: Bench) -> None:
    bench.append("/a", "/b")
    assert bench.move() == (2, 2)
    bench.append("/c")
    assert (bench.move(), bench.move()) == ((1, 1), (0, 0))
    assert bench.paths() == ["/a", "/b", "/c"]


def test_move_after_a_crash_between_rows_and_mark(bench: Bench) -> None:
    bench.append("/a", "/b")
    with failing(bench.engine, "before_cursor_execute", Killed, word="UPDATE"), pytest.raises(Killed):
        bench.move()
    assert bench.paths() == ["/a", "/b"]
    bench.append("/c")
    assert bench.move() == (3, 3)
    assert bench.paths() == ["/a", "/b", "/c"]


def test_move_after_an_insert_of_unknown_outcome(bench: Bench) -> None:
    """The rows are stored, and the answer is lost."""
    bench.append("/a", "/b")
    mover = bench.mover()
    lost = sa.exc.OperationalError("INSERT", None, ConnectionError("lost"))
    with (
        failing(bench.raw_engine, "after_cursor_execute", lambda: lost, word="INSERT"),
        pytest.raises(sa.exc.OperationalError, match="lost"),
    ):
        mover.move(bench.spool, wait_ms=0)
    assert moved(mover, bench.spool) == (2, 2)
    assert bench.paths() == ["/a", "/b"]


def test_move_completes_what_is_stored_in_part(bench: Bench) -> None:
    """Rows of two months are two pieces, of which a crash may leave one."""
    bench.append("/october", date=datetime(2026, 10, 31, 23, 59, 59, 999999))
    bench.append("/november", date=datetime(2026, 11, 1))
    mover = bench.mover()
    batch = bench.spool.batch(10)
    mover.known(batch.spool, 0)
    assert mover.takes_any(batch.spool, batch.rows[:1], batch.fields, 0)
    assert bench.paths() == ["/october"]
    assert moved(mover, bench.spool) == (2, 2)
    assert bench.paths() == ["/november", "/october"]


def test_move_goes_on_where_another_one_stopped(bench: Bench) -> None:
    mover, other = bench.mover(), bench.mover()
    for path in ("/a", "/b", "/c", "/d"):
        bench.append(path)
        with failing(bench.engine, "before_cursor_execute", Killed, word="UPDATE"), pytest.raises(Killed):
            other.move(bench.spool, wait_ms=0)
        while mover.move(bench.spool, wait_ms=0)[0]:
            pass
        mover, other = other, mover
    assert bench.paths() == ["/a", "/b", "/c", "/d"]


def test_move_is_one_at_a_time(bench: Bench) -> None:
    bench.append("/a")
    other, refused = bench.mover(), []

    def meanwhile(*arguments: Any) -> None:
        with pytest.raises(Locked, match="another process moves the same records"):
            other.move(bench.spool, wait_ms=20)
        refused.append(True)

    sa.event.listen(bench.raw_engine, "before_cursor_execute", meanwhile)
    bench.mover().move(bench.spool, wait_ms=0)
    sa.event.remove(bench.raw_engine, "before_cursor_execute", meanwhile)
    assert refused
    assert moved(other, bench.spool) == (0, 0)


def test_move_is_not_kept_from_others_by_a_child(bench: Bench) -> None:
    """After a fork the child has the parent's lock, and must not keep it when the parent is gone."""
    mover = bench.mover()
    with mover._alone(bench.spool, 0):
        keyed._after_fork_in_child()
        bench.append("/a")
        assert bench.move() == (1, 1)


def test_move_sets_aside_what_is_refused(bench: Bench) -> None:
    with bench.raw_engine.begin() as connection:
        connection.exec_driver_sql(NO_POISON)
    bench.append("/a", "/b")
    bench.append("/poison", method="POISON")
    bench.append("/c")
    assert bench.move() == (4, 3)
    assert bench.paths() == ["/a", "/b", "/c"]
    (refused,) = bench.spool.aside.latest(10)
    assert "Constraint `c` for table" in refused.error


def test_move_sets_aside_one_that_comes_alone(bench: Bench) -> None:
    with bench.raw_engine.begin() as connection:
        connection.exec_driver_sql(NO_POISON)
    bench.append("/poison", method="POISON")
    assert (bench.move(), bench.spool.aside.count()) == ((1, 0), 1)


def test_move_waits_for_a_server_that_has_too_much_to_do(bench: Bench) -> None:
    bench.append("/a")
    busy = sa.exc.DatabaseError("INSERT", None, Exception("Code: 252. DB::Exception: Too many parts"))
    with (
        failing(bench.raw_engine, "before_cursor_execute", lambda: busy, word="INSERT"),
        pytest.raises(sa.exc.DatabaseError, match="Too many parts"),
    ):
        bench.move()
    assert bench.spool.aside.count() == 0
    assert bench.move() == (1, 1)


def test_move_numbers_spools(bench: Bench, tmp_path: Path) -> None:
    bench.append("/a")
    bench.move()
    another = OwnSpool(tmp_path / "another.sqlite")
    another.claim(FIELDS)
    another.append(encode(record("/b", NOW, "GET")))
    bench.mover().move(another, wait_ms=0)
    another.close()
    with bench.engine.connect() as connection:
        assert sorted(connection.scalars(sa.select(TABLE.c.number))) == [1, 2]


# ---- keys ------------------------------------------------------------------------------------------------------------


def owners(spool: int) -> set[int]:
    """The keys of 70 requests of each of 70 owners of a spool, all of one second."""
    return {key_of(NOW, spool, (owner << 32) + number) for owner in range(1, 71) for number in range(70)}


def test_keys_rise_with_time_and_tell_spools_and_records_apart() -> None:
    assert key_of(NOW, 3, 5) == 217_521_420 << 31 | 3 << 19 | 5
    rising = [
        key_of(NOW, 4095, 2**19 - 1),
        key_of(NOW + timedelta(seconds=1), 0, 0),
        key_of(datetime(2156, 1, 1), 0, 0),
    ]
    assert rising == sorted(rising)
    assert len(owners(1) | owners(2)) == 9_800


def test_requests_of_one_key_are_told_apart_by_their_dates(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed, "key_of", lambda date, spool, number: 7)
    for number, path in enumerate(("/a", "/b")):
        bench.append(path, date=NOW + timedelta(microseconds=5 + number))
        assert bench.move() == (1, 1)
    assert bench.paths() == ["/a", "/b"]


@pytest.mark.parametrize(("precision", "raw"), [("DateTime64(3, 'UTC')", RAW), ("DateTime('UTC')", PLAIN)])
def test_requests_are_stored_once_with_less_of_their_dates(bench: Bench, precision: str, raw: RawTable) -> None:
    bench.raw = raw
    with bench.raw_engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE request")
        sql = sql_of("ClickHouse").replace("DateTime64(6, 'UTC')", precision)
        connection.exec_driver_sql(sql.partition("SETTINGS")[0])
    bench.append("/a", date=NOW + timedelta(microseconds=999_999))
    with failing(bench.engine, "before_cursor_execute", Killed, word="UPDATE"), pytest.raises(Killed):
        bench.move()
    assert bench.move() == (1, 1)
    assert bench.paths() == ["/a"]


@pytest.mark.parametrize("date", [datetime(1970, 1, 1), datetime(2019, 12, 31), datetime(9999, 12, 31)])
def test_keys_of_wrong_clocks_are_keys(date: datetime) -> None:
    assert 0 <= key_of(date, 5000, 1 << 40) < 2**63


# ---- as a state machine ----------------------------------------------------------------------------------------------


class ClickHouseMachine(SpoolMachine):
    """The same as for databases with transactions, on ClickHouse."""

    def new_raw_engine(self) -> sa.Engine:
        self.database: AbstractContextManager[str] = clickhouse_database()
        engine = sa.create_engine(self.database.__enter__())
        with engine.begin() as connection:
            connection.exec_driver_sql(sql_of("ClickHouse"))
            connection.exec_driver_sql(NO_POISON)
        return engine

    def new_mover(self) -> KeyedMover:
        return KeyedMover(PLAIN, TABLE, self.engine, raw_engine=self.raw_engine)

    def rename(self, old: str, new: str) -> None:
        rename(self.raw_engine, old, new)

    def teardown(self) -> None:
        super().teardown()
        self.raw_engine.dispose()
        self.database.__exit__(*sys.exc_info())


ClickHouseMachine.TestCase.settings = settings(max_examples=10, stateful_step_count=15, deadline=None)
test_clickhouse_states = ClickHouseMachine.TestCase
