"""What waits finds its database, whatever became of addresses, folders, machines and files: stored once, or counted and named."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from benchmarks.serving import wait_until
from flask_statistics.writers.spool import journal, moving, times
from flask_statistics.writers.spool.moving import Mover

from ...conftest import App
from .test_writer import Away, messages, paths, picky, run, script, stored_in, writer_of

MakeApp = Callable[..., App]
HIDE = (
    "import sqlite3; base = sqlite3.connect('{}/app.sqlite'); "
    "base.execute('ALTER TABLE request RENAME TO hidden'); base.commit()"
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is tried again at once, and the dashboard waits for it."""
    monkeypatch.setattr(times, "SETTLE_S", 60.0)
    monkeypatch.setattr(times, "SWEEP_S", 0.05)
    monkeypatch.setattr(times, "BACK_OFF_S", (0.05, 0.1))
    monkeypatch.setattr(Mover, "flush_s", 0.05)
    monkeypatch.setattr(journal, "LOOK_S", 0.0)


@pytest.fixture
def make(make_app: MakeApp, tmp_path: Path) -> MakeApp:
    """Makes apps on `app.sqlite`, or another file, with one folder for their spools."""

    def make(name: str = "app.sqlite", **options: Any) -> App:
        options.setdefault("STATISTICS_SPOOL_PATH", str(tmp_path / "spool"))
        return make_app(f"sqlite:///{tmp_path / name}", STATISTICS_WRITER="spool", **options)

    return make


def killed_with_rows_that_wait(folder: Path, count: int = 5) -> None:
    """A process that was killed while its table was away; then the table is there again."""
    code = (
        f"{HIDE.format(folder)}\nfor number in range({count}): app.client.get(f'/{{number}}')\nos.kill(os.getpid(), 9)"
    )
    before = "app.client.get('/before')\nwhile not app.json('summary')['hits']: time.sleep(0.01)"
    script(folder, f"{before}\n{code}", expected=-9)
    engine = sa.create_engine(f"sqlite:///{folder}/app.sqlite", poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE hidden RENAME TO request"))


def expected(count: int = 5, *more: str) -> list[str]:
    return sorted(["/before", *(f"/{number}" for number in range(count)), *more])


def until_there(path: Path, rows: list[str]) -> None:
    wait_until(lambda: stored_in(path) == rows, f"{rows} are not stored, but {stored_in(path)}", 20)


def journals(folder: Path) -> list[Path]:
    return sorted((folder / "spool").glob("*.journal"))


# ---- addresses and places --------------------------------------------------------------------------------------------


def test_spool_follows_a_database_that_was_renamed(make: MakeApp, tmp_path: Path) -> None:
    killed_with_rows_that_wait(tmp_path)
    (tmp_path / "app.sqlite").rename(tmp_path / "renamed.sqlite")
    app = make("renamed.sqlite")
    app.client.get("/last")
    until_there(tmp_path / "renamed.sqlite", expected(5, "/last"))
    wait_until(lambda: app.json("health")["problems"] == [], "something is left")


def test_spool_follows_a_database_whose_address_changed_while_it_was_away(
    make_app: MakeApp, tmp_path: Path, new_database: Callable[[str], AbstractContextManager[str]]
) -> None:
    with new_database("postgresql") as url:
        options = {"STATISTICS_WRITER": "spool", "STATISTICS_SPOOL_PATH": str(tmp_path / "spool")}
        first = make_app(url, **options)
        first.client.get("/before")
        first.json("summary")
        with Away(first):
            first.client.get("/waits")
            writer_of(first).close()
        renamed = sa.make_url(url).set(port=5432)  # which is what a URL without one means
        second = make_app(renamed.render_as_string(hide_password=False), **options)
        second.client.get("/after")
        wait_until(lambda: sorted(paths(second)) == ["/after", "/before", "/waits"], "it is not stored")
        second.close()


def test_spool_that_was_copied_is_stored_once(make: MakeApp, tmp_path: Path) -> None:
    killed_with_rows_that_wait(tmp_path)
    shutil.copytree(tmp_path / "spool", tmp_path / "copy")
    for name, request in (("spool", "/first"), ("copy", "/second")):
        app = make(STATISTICS_SPOOL_PATH=str(tmp_path / name))
        app.client.get(request)
        wait_until(lambda app=app: app.json("health")["waiting"] == 0, "it waits")  # type: ignore[misc]
        writer_of(app).close()
    until_there(tmp_path / "app.sqlite", expected(5, "/first", "/second"))


def test_spool_of_a_machine_that_was_put_back_loses_nothing(make: MakeApp, tmp_path: Path) -> None:
    folder, old = tmp_path / "spool", tmp_path / "old"

    def life(*requests: str) -> None:
        app = make()
        for request in requests:
            app.client.get(request)
        app.json("summary")
        writer_of(app).close()

    life("/1")
    shutil.copytree(folder, old)
    for number in range(2, 5):
        life(f"/{number}")
    for path in folder.iterdir():  # into the same files, as a snapshot of a disk does
        if (old / path.name).exists():
            path.write_bytes((old / path.name).read_bytes())
        else:
            path.unlink()
    life("/5", "/6", "/7")
    until_there(tmp_path / "app.sqlite", [f"/{number}" for number in range(1, 8)])


def test_spool_goes_on_with_a_database_restored_from_a_backup(make: MakeApp, tmp_path: Path) -> None:
    app = make()
    app.client.get("/1")
    app.json("summary")
    backup = (tmp_path / "app.sqlite").read_bytes()
    app.client.get("/2")
    app.json("summary")
    writer_of(app).close()
    with app.flask.app_context():
        app.db.engine.dispose()
    (tmp_path / "app.sqlite").write_bytes(backup)
    app.client.get("/3")
    until_there(tmp_path / "app.sqlite", ["/1", "/3"])


def test_spool_of_another_database_is_named_and_can_be_adopted_or_dropped(
    make: MakeApp, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    killed_with_rows_that_wait(tmp_path)
    (file,) = (tmp_path / "spool").glob("*.sqlite")
    (tmp_path / "app.sqlite").rename(tmp_path / "gone")
    app = make("another.sqlite")
    app.client.get("/last")
    wait_until(lambda: any("wait for another database" in text for text in messages(caplog)), "it is not said")
    until_there(tmp_path / "another.sqlite", ["/last"])
    problems = app.json("health")["problems"]
    assert [problem.partition(" (")[0] for problem in problems] == [
        f"5 requests in {file.name} wait for another database"
    ]
    assert run(app, "status").exit_code == 1
    listed = run(app, "spool")
    assert listed.exit_code == 1
    assert f"{file.name}: 5 requests waiting, 0 set aside, for another database (sqlite:///" in listed.output
    refused = run(app, "spool", "drop", file.name)
    assert (refused.exit_code, stored_in(tmp_path / "another.sqlite")) == (1, ["/last"])
    adopted = run(app, "spool", "adopt", file.name)
    assert (adopted.exit_code, adopted.output) == (0, f"{file.name}: 5 requests adopted, 5 stored.\n")
    assert stored_in(tmp_path / "another.sqlite") == sorted(["/last", *(f"/{number}" for number in range(5))])
    assert app.json("health")["problems"] == []


def test_spool_waits_where_another_database_came_to_the_address(
    make: MakeApp, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    killed_with_rows_that_wait(tmp_path)
    (file,) = (tmp_path / "spool").glob("*.sqlite")
    other = make("other.sqlite", STATISTICS_SPOOL_PATH=str(tmp_path / "others"))
    other.client.get("/theirs")
    other.json("summary")
    writer_of(other).close()
    with other.flask.app_context():
        other.db.engine.dispose()
    (tmp_path / "other.sqlite").replace(tmp_path / "app.sqlite")
    app = make()
    app.client.get("/first")  # before anybody could ask which database it is
    wait_until(lambda: any("wait for another database" in text for text in messages(caplog)), "it is not said")
    app.client.get("/new")
    until_there(tmp_path / "app.sqlite", ["/new", "/theirs"])
    (problem,) = app.json("health")["problems"]
    assert problem.startswith(f"6 requests in {file.name} wait for another database (")
    assert app.json("health")["lost"] == 0


def test_spool_of_another_database_can_be_dropped(make: MakeApp, tmp_path: Path) -> None:
    killed_with_rows_that_wait(tmp_path)
    (file,) = (tmp_path / "spool").glob("*.sqlite")
    (tmp_path / "app.sqlite").rename(tmp_path / "gone")
    app = make("another.sqlite")
    app.client.get("/last")
    until_there(tmp_path / "another.sqlite", ["/last"])
    dropped = run(app, "spool", "drop", file.name, "--yes")
    assert (dropped.exit_code, dropped.output) == (0, f"{file.name}: 5 requests dropped.\n")
    assert app.json("health")["problems"] == []
    own = next(path for path in (tmp_path / "spool").glob("*.sqlite"))
    alive = run(app, "spool", "drop", own.name, "--yes")
    assert alive.exit_code == 1
    assert "A living process has it" in alive.output


# ---- damage ----------------------------------------------------------------------------------------------------------


def in_the_way(spool: Path, kind: str) -> None:
    """Have a file of a spool be no file that its process can use, as one of another user is."""
    file, lock = next(spool.glob("*.sqlite")), next(spool.glob("requests-*.lock"))
    path = {"file": file, "lock": lock, "journal": next(spool.glob("*.journal"))}[kind.partition(" ")[0]]
    if kind.endswith("link"):
        path.symlink_to(path.rename(spool.parent / "elsewhere"))
    elif kind.endswith("folder"):
        path.unlink()
        path.mkdir()
    else:
        path.unlink()
        with sqlite3.connect(path) as connection:
            connection.executescript("PRAGMA user_version = 2; CREATE TABLE another (id)")
        connection.close()
    for beside in ("-wal", "-shm") if path == file else ():
        Path(f"{file}{beside}").unlink(missing_ok=True)


@pytest.mark.parametrize(
    "kind",
    [
        "file is a link",
        "file is a folder",
        "lock is a link",
        "lock is a folder",
        "journal is a link",
        "file is another",
    ],
)
def test_spool_goes_on_beside_a_file_that_cannot_be_used(make: MakeApp, tmp_path: Path, kind: str) -> None:
    killed_with_rows_that_wait(tmp_path)
    in_the_way(tmp_path / "spool", kind)
    app = make()
    app.client.get("/new")
    until_there(tmp_path / "app.sqlite", expected(5, "/new") if kind == "file is another" else ["/before", "/new"])
    listed = run(app, "spool")
    assert listed.exit_code == 1, "nobody is told of the file"
    health = app.json("health")
    assert health["lost"] == 0
    assert health["waiting"] == (5 if kind in ("file is a link", "file is a folder") else 0)
    if "lock" in kind:  # asked for the numbers, a process stores what is in the files of all others
        app.json("summary")
        until_there(tmp_path / "app.sqlite", expected(5, "/new"))
        assert run(app, "spool").exit_code == 0


@pytest.mark.parametrize("damage", ["zeroed", "garbage", "removed"])
def test_spool_without_its_helper_file_is_stored_whole(make: MakeApp, tmp_path: Path, damage: str) -> None:
    killed_with_rows_that_wait(tmp_path)
    (file,) = (tmp_path / "spool").glob("*.sqlite")
    for beside in (tmp_path / "spool").glob("*.sqlite-*"):
        beside.unlink()
    if damage == "removed":
        file.unlink()
    else:
        file.write_bytes(bytes(4096) if damage == "zeroed" else b"no database" * 500)
    app = make()
    app.client.get("/last")
    until_there(tmp_path / "app.sqlite", expected(5, "/last"))


def test_spool_counts_what_is_damaged_beyond_being_known(
    make: MakeApp, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    killed_with_rows_that_wait(tmp_path, 40)
    (file,) = journals(tmp_path)
    text = bytearray(file.read_bytes())
    start, end = len(text) // 4, len(text) // 2
    text[start:end] = bytes(end - start)
    file.write_bytes(text)
    app = make()
    app.client.get("/last")
    wait_until(lambda: "/last" in stored_in(tmp_path / "app.sqlite"), "it is not stored")
    health = app.json("health")
    stored = len(stored_in(tmp_path / "app.sqlite")) - 2
    assert health["refused"] == 1
    assert health["lost_because"] == {"SpoolDamaged": health["lost"]}
    assert stored + health["refused"] + health["lost"] == 40
    assert any("is damaged: is its disk whole?" in text for text in messages(caplog))


# ---- pulled away -----------------------------------------------------------------------------------------------------


def removed(folder: Path, what: str) -> None:
    if what == "folder":
        shutil.rmtree(folder)
    else:
        for path in folder.glob(what):
            path.unlink()


@pytest.mark.parametrize("what", ["folder", "*", "*.lock", "*.journal", "*.sqlite*", "*.sqlite"])
def test_spool_goes_on_when_its_files_are_deleted(
    make: MakeApp, tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = make()
    app.client.get("/before")
    app.json("summary")
    with Away(app):
        for number in range(5):
            app.client.get(f"/{number}")
        removed(tmp_path / "spool", what)
        for number in range(5, 10):
            app.client.get(f"/{number}")
        wait_until(lambda: any("deleted, moved or replaced" in text for text in messages(caplog)), "it is not said")
    until_there(tmp_path / "app.sqlite", sorted(expected(10)))
    assert app.json("health")["lost"] == 0
    assert sum("deleted, moved or replaced" in text for text in messages(caplog)) == 1


def test_spool_counts_what_was_deleted_and_could_not_be_saved(
    make: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "FILE_BYTES", 2_000)
    app = make()
    app.client.get("/before")
    app.json("summary")
    with Away(app):
        for number in range(40):
            app.client.get(f"/{number}")
        removed(tmp_path / "spool", "folder")
        app.client.get("/after")
    wait_until(lambda: "/after" in stored_in(tmp_path / "app.sqlite"), "it is not stored")
    wait_until(lambda: app.json("health")["waiting"] == 0, "something waits")
    stored = stored_in(tmp_path / "app.sqlite")
    health = app.json("health")
    assert 0 < health["lost"] < 40
    assert health["lost"] + len(stored) == 42
    assert len(set(stored)) == len(stored)


def test_spool_that_was_moved_away_is_stored_when_it_is_put_back(make: MakeApp, tmp_path: Path) -> None:
    app = make()
    app.client.get("/before")
    app.json("summary")
    folder = tmp_path / "spool"
    with Away(app):
        app.client.get("/waits")
        folder.rename(tmp_path / "away")
        app.client.get("/after")
    until_there(tmp_path / "app.sqlite", ["/after", "/before"])
    assert app.json("health")["lost"] == 1
    for path in (tmp_path / "away").iterdir():
        if path.suffix != ".lock" and not (folder / path.name.replace("-1.", "-99.")).exists():
            shutil.move(path, folder / path.name.replace("-1.", "-99."))
    until_there(tmp_path / "app.sqlite", ["/after", "/before", "/waits"])


def test_spool_is_never_owned_by_two(make: MakeApp, tmp_path: Path) -> None:
    first, second = make(), make()
    with Away(first):
        first.client.get("/1")
        removed(tmp_path / "spool", "*.lock")
        second.client.get("/2")
        first.client.get("/3")
        owned = [writer_of(app)._spool for app in (first, second)]
        assert len({one.path for one in owned if one is not None}) == 2
    until_there(tmp_path / "app.sqlite", ["/1", "/2", "/3"])


# ---- refused, and over -----------------------------------------------------------------------------------------------


def test_spool_tries_what_was_set_aside_again(make: MakeApp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(moving, "PAUSE_S", (0.1, 0.2))
    app = make()
    with app.flask.app_context(), app.db.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER no BEFORE INSERT ON request WHEN NEW.path LIKE '/bad%' BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    app.client.get("/bad1")
    app.client.get("/good")
    wait_until(lambda: app.json("health")["refused"] == 1, "it is not set aside")
    with app.flask.app_context(), app.db.engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER no")
    until_there(tmp_path / "app.sqlite", ["/bad1", "/good"])
    wait_until(lambda: app.json("health")["refused"] == 0, "it is still aside")


def test_spool_retry_stores_once_what_was_set_aside(
    make: MakeApp, new_database: Callable[[str], AbstractContextManager[str]], make_app: MakeApp, tmp_path: Path
) -> None:
    with new_database("postgresql") as url:
        app = make_app(url, model=picky, STATISTICS_WRITER="spool", STATISTICS_SPOOL_PATH=str(tmp_path / "spool"))
        for path in ("/bad1", "/good", "/bad2"):
            app.client.get(path)
        wait_until(lambda: app.json("health")["refused"] == 2, "it is not set aside")
        again = run(app, "spool", "retry")
        assert (again.exit_code, again.output.splitlines()[-1]) == (1, "0 requests stored, 2 are refused still.")
        with app.flask.app_context(), app.db.engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE request DROP CONSTRAINT request_path_check"))
        again = run(app, "spool", "retry")
        assert (again.exit_code, again.output) == (0, "2 requests stored.\n")
        assert sorted(paths(app)) == ["/bad1", "/bad2", "/good"]
        assert app.json("health")["refused"] == 0
        app.close()


def test_spool_problem_that_is_over_leaves_health(make: MakeApp, tmp_path: Path) -> None:
    killed_with_rows_that_wait(tmp_path)
    app = make()
    app.client.get("/last")
    until_there(tmp_path / "app.sqlite", expected(5, "/last"))
    wait_until(lambda: app.json("health")["problems"] == [], "a problem stays")
    assert run(app, "status").exit_code == 0


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_spool_folder_that_cannot_be_written_is_said_by_init_and_status(make: MakeApp, tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir(mode=0o500)
    app = make()
    for command in ("init", "status"):
        found = run(app, command)
        assert found.exit_code == 1
        assert f"The app's user may not write to {tmp_path / 'spool'}" in found.output


def test_spool_folder_that_is_a_file_is_said_by_init_and_status(make: MakeApp, tmp_path: Path) -> None:
    app = make()
    (tmp_path / "spool").write_text("in the way")
    for command in ("init", "status"):
        found = run(app, command)
        assert found.exit_code == 1
        assert f"A file is in the way of the folder {tmp_path / 'spool'}" in found.output
