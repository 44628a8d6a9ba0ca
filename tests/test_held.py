"""What is held of one client is shown and forgotten wherever it is: raw rows, rollups, and the spool with what it set aside."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flask_statistics.addresses import DailyHash, ImportHash, secret_table
from flask_statistics.trail import Access, statistics_accessed
from flask_statistics.writers.spool import client as spool_client

from .conftest import App
from .writers.spool.test_writer import picky

MakeApp = Callable[..., App]
THEM, OTHER = "192.0.2.1", "192.0.2.11"


def run(app: App, *arguments: str) -> Any:
    return app.flask.test_cli_runner().invoke(args=["statistics", *arguments])


def ask(app: App, path: str, address: str) -> None:
    app.client.get(path, environ_overrides={"REMOTE_ADDR": address})


def shown(app: App, address: str = THEM) -> dict[str, Any]:
    found = run(app, "show", address, "--json")
    assert found.exit_code == 0, found.output
    answer: dict[str, Any] = json.loads(found.output)
    return answer


@pytest.fixture
def spooled(make_app: MakeApp, tmp_path: Path) -> Callable[..., App]:
    def make(url: str | None = None, **options: Any) -> App:
        return make_app(url, STATISTICS_WRITER="spool", STATISTICS_SPOOL_PATH=str(tmp_path / "spool"), **options)

    return make


def test_show_says_all_that_is_held(make_app: MakeApp, database_url: str) -> None:
    app = make_app(database_url, STATISTICS_ROLLUPS=True, STATISTICS_SCHEDULER=False)
    for number in range(3):
        ask(app, f"/{number}", THEM)
        ask(app, "/other", OTHER)
    app.insert(*({"date": datetime(2026, 10, 1, hour), "path": "/old", "remote_address": THEM} for hour in (1, 2)))
    assert run(app, "rollup").exit_code == 0
    found = shown(app, f"[::ffff:{THEM}]:443")
    assert [row["path"] for row in found["raw_rows"]] == ["/old", "/old", "/0", "/1", "/2"]
    assert {row["remote_address"] for row in found["raw_rows"]} == {THEM}
    assert "user_agent" in found["raw_rows"][-1]
    assert sum(period["requests"] for period in found["rollups"]) >= 2
    assert (found["address"], found["waiting"], found["set_aside"]) == (THEM, [], [])
    text = run(app, "show", THEM).output
    assert text.startswith(f"5 raw rows of {THEM} in request.")
    assert "/old" in text
    assert "/other" not in text
    assert run(app, "forget", THEM, "--yes").exit_code == 0
    assert {name: shown(app)[name] for name in ("raw_rows", "rollups")} == {"raw_rows": [], "rollups": []}


def test_show_of_rollups_whose_raw_rows_are_gone(make_app: MakeApp) -> None:
    app = make_app(STATISTICS_ROLLUPS=True, STATISTICS_SCHEDULER=False)
    app.insert(*({"date": datetime(2026, 3, day), "path": "/old", "remote_address": THEM} for day in (1, 2)))
    assert run(app, "rollup").exit_code == 0
    with app.statistics_state().engine().begin() as connection:
        connection.execute(sa.delete(app.Request.__table__))
    found = shown(app)
    assert (found["raw_rows"], sum(period["requests"] for period in found["rollups"])) == ([], 2)


@pytest.mark.parametrize("command", ["show", "forget"])
@pytest.mark.parametrize("text", ["nonsense", "", "192.0.2", "%"])
def test_show_and_forget_refuse_what_is_no_address(make_app: MakeApp, command: str, text: str) -> None:
    found = run(make_app(), command, text)
    assert found.exit_code == 1
    assert "is no address" in found.output


@pytest.mark.parametrize("setting", [None, "hash", "truncate"])
def test_forget_reaches_what_waits_in_the_spool(
    spooled: Callable[..., App], monkeypatch: pytest.MonkeyPatch, setting: str | None
) -> None:
    app = spooled(STATISTICS_ANONYMIZE_IP=setting)
    ask(app, "/first", "198.51.100.7")
    locked = sqlite3.connect(app.statistics_state().engine().url.database or "", isolation_level=None)
    locked.execute("BEGIN IMMEDIATE")
    for address in (THEM, "198.51.100.7", THEM):
        ask(app, "/waits", address)
    monkeypatch.setattr(spool_client, "MOST_READ", 1)  # all that waits is looked at, not its beginning
    found = shown(app)
    assert len(found["waiting"]) == 2
    locked.execute("ROLLBACK")
    locked.close()
    done = run(app, "forget", THEM, "--yes")
    assert done.exit_code == 0, done.output
    found = shown(app)
    assert (found["raw_rows"], found["waiting"]) == ([], [])
    assert "/waits" in {row.path for row in app.rows()}  # of somebody else
    app.close()


def test_show_and_forget_reach_what_was_set_aside(spooled: Callable[..., App], database_url: str) -> None:
    app = spooled(database_url, model=picky)
    for path, address in (("/bad1", THEM), ("/bad2", OTHER), ("/good", THEM)):
        ask(app, path, address)
    app.json("health")  # moves
    found = shown(app)
    assert [row["path"] for row in found["set_aside"]] == ["/bad1"]
    assert found["set_aside"][0]["error"]
    done = run(app, "forget", THEM, "--yes")
    assert done.exit_code == 0, done.output
    assert "1 request deleted that the table had refused and the spool kept." in done.output
    assert shown(app)["set_aside"] == []
    assert [row["path"] for row in shown(app, OTHER)["set_aside"]] == ["/bad2"]
    app.close()


def test_show_and_forget_name_files_that_cannot_be_read(spooled: Callable[..., App], tmp_path: Path) -> None:
    app = spooled()
    ask(app, "/seen", THEM)
    app.json("health")  # moves
    damaged = tmp_path / "spool" / "requests-0000000000000000-1.sqlite"
    damaged.write_bytes(b"no database at all, but as long as a page has to be" * 100)
    stray = damaged.with_suffix(".damaged-1")
    stray.write_bytes(b"")
    names = [stray.name, damaged.name]
    assert shown(app)["unreadable"] == names
    for command in (("show",), ("forget", "--yes")):
        done = run(app, *command, THEM)
        assert [name in done.output for name in names] == [True, True], done.output
    assert done.exit_code == 1
    assert "nothing is left elsewhere" in done.output
    assert shown(app)["raw_rows"] == []
    app.close()


def test_trail_tells_of_commands_that_change(spooled: Callable[..., App], tmp_path: Path) -> None:
    app = spooled(model=picky, STATISTICS_ROLLUPS=True, STATISTICS_SCHEDULER=False)
    for path in ("/bad", "/good"):
        ask(app, path, THEM)
    assert until(lambda: app.json("health")["refused"] == 1)
    app.insert({"date": datetime(2026, 3, 1), "path": "/old"})
    assert run(app, "rollup").exit_code == 0
    app.insert({"date": datetime(2026, 3, 1), "path": "/old"})
    stray = tmp_path / "spool" / "requests-0000000000000000-1.damaged-1"
    stray.write_bytes(b"")
    told: list[Access] = []
    with statistics_accessed.connected_to(lambda _, access: told.append(access), app.flask):
        for command in (
            "verify --repair",
            "spool retry",
            "spool drop --set-aside --yes",
            f"spool drop --yes {stray.name}",
            "init",
            "status",
        ):
            run(app, *command.split())
    assert [access.what for access in told] == [
        "repaired rollups",
        "stored 0 requests that the table had refused",
        "dropped 1 request that the table had refused",
        f"dropped {stray.name} of the spool",
    ]
    assert {(access.action, access.guard) for access in told} == {("changed", "command line")}
    app.close()


# ---- hashes ----------------------------------------------------------------------------------------------------------


def lines(day: str, first: int, last: int) -> str:
    return "".join(
        f'203.0.113.9 - - [{day}:10:00:{second:02} +0000] "GET /p{second} HTTP/1.1" 200 5 "-" "curl"\n'
        for second in range(first, last)
    )


@pytest.mark.parametrize("url", [None, "postgresql", "mariadb"])
def test_imported_in_ten_goes_is_one_visitor(
    make_app: MakeApp, new_database: Any, tmp_path: Path, url: str | None
) -> None:
    with new_database(url or "sqlite") as address:
        app, log = make_app(address, STATISTICS_ANONYMIZE_IP="hash"), tmp_path / "access.log"
        today = f"{datetime.now(timezone.utc):%d/%b/%Y}"
        for number in range(10):
            log.write_text(lines("20/Nov/2026", 0, number + 1) + "".join(lines(today, 0, 0)))
            assert run(app, "import-log", str(log)).exit_code == 0
        assert app.json("summary?span=all")["visitors"] == 1
        log.write_text(lines(today, 0, 5))
        assert run(app, "import-log", str(log)).exit_code == 0
        ask(app, "/recorded", "203.0.113.9")
        assert app.json("summary?span=all")["visitors"] == 2  # one of each day
        assert run(app, "forget", "203.0.113.9", "--yes").exit_code == 0
        assert len(app.rows()) == 10  # those of the day that is over are nobody's any more
        app.close()


DAYS = [date(2026, 11, day) for day in range(20, 25)]


def secrets_of_five_days(engine: sa.Engine) -> tuple[list[str], str]:
    """The secrets of days that are over, and of imports on them, and that of the last day."""
    table = secret_table(sa.MetaData(), None)
    table.create(engine)
    seen: list[str] = []
    for day in DAYS:
        daily = DailyHash(table, lambda: engine)
        hashed = until(lambda daily=daily, day=day: daily("192.0.2.1", day))  # type: ignore[misc]
        assert hashed
        ImportHash(daily, day)("192.0.2.1", date(2026, 11, 1))
        until(lambda: count(engine, table) == 2)
        with engine.connect() as connection:
            seen += connection.scalars(sa.select(table.c.secret).order_by(table.c.day, table.c.name))
    return [secret for secret in seen if secret not in seen[-2:]], seen[-1]


def count(engine: sa.Engine, table: sa.Table) -> int:
    with engine.connect() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def until(found: Callable[[], Any]) -> Any:
    """What `found` gives once it is true; what fails meanwhile is tried again, and raised at the end."""
    deadline = time.monotonic() + 30
    while True:
        try:
            value = found()
        except Exception:
            if time.monotonic() > deadline:
                raise
            value = None
        if value or time.monotonic() > deadline:
            return value
        time.sleep(0.05)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "mariadb"])
def test_secrets_of_past_days_are_in_no_file(new_database: Any, kind: str) -> None:
    with new_database(kind) as url:
        engine = sa.create_engine(url)
        past, current = secrets_of_five_days(engine)
        assert len(past) == 8
        folder, write_out = where(engine, kind)

        def in_files(secret: str) -> bool:
            return any(secret.encode() in path.read_bytes() for path in files(folder))

        write_out()
        assert until(lambda: in_files(current)), "they are kept elsewhere: the test sees nothing"
        assert [secret for secret in past if in_files(secret)] == []
        engine.dispose()


def where(engine: sa.Engine, kind: str) -> tuple[Path, Callable[[], None]]:
    """The folder of the database's files, and what has all written there that is in memory."""
    if kind == "sqlite":
        return Path(engine.url.database or "").parent, lambda: None
    question = {"postgresql": "SHOW data_directory", "mariadb": "SELECT @@datadir"}[kind]
    written = {"postgresql": "CHECKPOINT", "mariadb": "SET GLOBAL innodb_max_dirty_pages_pct = 0"}[kind]
    admin = engine.execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        folder = Path(str(connection.scalar(sa.text(question))))

    def write_out() -> None:
        with admin.connect() as connection:
            connection.execute(sa.text(written))

    return folder, write_out


def files(folder: Path) -> list[Path]:
    """All but the logs of writes, of which the documentation says that they hold what was written."""
    logs = ("pg_wal", "ib_logfile", "log")
    return [
        path for path in folder.rglob("*") if path.is_file() and not any(name.startswith(logs) for name in path.parts)
    ]
