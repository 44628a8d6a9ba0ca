"""One spool: what it gives, marks as moved, sets aside, and to whom it belongs."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from flask_statistics.writers.spool.aside import Refused
from flask_statistics.writers.spool.file import SpoolFile
from flask_statistics.writers.spool.journal import RANGE_BITS, PulledAway
from flask_statistics.writers.spool.notes import SpoolUnusable
from flask_statistics.writers.spool.own import EPOCH_S, OwnSpool

RANGE = 1 << RANGE_BITS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.sqlite"


def claimed(path: Path, *records: bytes, fields: str = "f") -> OwnSpool:
    spool = OwnSpool(path)
    assert spool.claim(fields, now=0.0)
    for record in records:
        spool.append(record)
    return spool


def journals(path: Path) -> list[Path]:
    return sorted(path.parent.glob("*.journal"))


def test_spool_file_gives_what_was_appended(path: Path) -> None:
    spool = claimed(path, b"a", b"b", b"c")
    batch = spool.batch(2)
    assert batch.rows == [(RANGE, b"a"), (RANGE + 1, b"b")]
    assert batch.fields == "f"
    assert len(batch.spool) == 32
    assert spool.waiting() == 3
    spool.close()


def test_spool_file_marks_moved_and_never_uses_an_id_again(path: Path) -> None:
    spool = claimed(path, b"a", b"b")
    assert len(spool.batch(9).rows) == 2
    spool.mark_moved(RANGE + 1)
    spool.append(b"c")
    assert spool.batch(9).rows == [(RANGE + 2, b"c")]
    spool.close()


def test_spool_file_second_owner_has_a_range_of_its_own(path: Path) -> None:
    claimed(path, b"a", b"b").close()
    second = claimed(path, b"c")
    assert second.waiting() == 3
    assert second.batch(9).rows == [(RANGE, b"a"), (RANGE + 1, b"b")]
    second.mark_moved(RANGE + 1)
    assert second.batch(9).rows == [(2 * RANGE, b"c")]
    second.close()


def test_spool_file_is_another_spool_when_it_was_copied(path: Path, tmp_path: Path) -> None:
    first = claimed(path)
    name = first.batch(1).spool
    first.close()
    copy = tmp_path / "copy.sqlite"
    copy.write_bytes(path.read_bytes())
    second = claimed(copy)
    assert second.batch(1).spool not in ("", name)
    second.close()


def test_spool_file_is_not_claimed_for_other_fields_while_records_wait(path: Path) -> None:
    claimed(path, b"a").close()
    second = OwnSpool(path)
    assert not second.claim("other", now=0.0)
    second.mark_moved(RANGE)
    assert second.claim("other", now=0.0)
    assert second.batch(1).fields == "other"
    second.close()


def test_spool_file_sets_aside(path: Path) -> None:
    spool = claimed(path, b"a", b"b")
    spool.aside.put(RANGE, b"a", "refused", spool="s", fields="f", next_at=None)
    assert (spool.aside.latest(9), spool.waiting()) == ([], 2)
    spool.mark_moved(RANGE)
    assert spool.aside.latest(9) == [Refused(RANGE, b"a", "refused", "s", "f", 0)]
    assert (spool.aside.count(), spool.waiting()) == (1, 1)
    spool.close()


def test_spool_file_stored_after_all_is_not_refused(path: Path) -> None:
    spool = claimed(path, b"a")
    spool.aside.put(RANGE, b"a", "refused", spool="s", fields="f", next_at=None)
    spool.mark_moved(RANGE, stored_from=RANGE)
    assert spool.aside.count() == 0
    spool.close()


def test_spool_file_notes_trouble(path: Path) -> None:
    spool = claimed(path)
    assert spool.trouble() is None
    spool.note("away")
    assert spool.trouble() == "away"
    spool.note(None)
    assert spool.trouble() is None
    spool.close()


def test_spool_file_of_a_killed_process_is_whole(path: Path) -> None:
    code = (
        "import os, sys, pathlib; from flask_statistics.writers.spool.own import OwnSpool; "
        "spool = OwnSpool(pathlib.Path(sys.argv[1])); spool.claim('f'); "
        "spool.append(b'a'); spool.append(b'b'); os.kill(os.getpid(), 9)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    found = subprocess.run([sys.executable, "-c", code, str(path)], env=environment, check=False)
    assert found.returncode == -9
    spool = SpoolFile(path)
    assert [record for _, record in spool.batch(9).rows] == [b"a", b"b"]
    spool.close()


def test_spool_file_leaves_nothing_of_what_is_moved(path: Path) -> None:
    spool = claimed(path, b"a", b"b")
    spool.mark_moved(RANGE)
    spool.close()
    spool.tidy()
    assert len(journals(path)) == 1
    spool.mark_moved(RANGE + 1)
    spool.tidy()
    assert journals(path) == []
    claimed(path, b"c").close()
    spool.mark_moved(2 * RANGE)
    claimed(path).close()
    assert journals(path) == []
    spool.close()


def test_spool_file_is_for_its_user_alone(path: Path) -> None:
    spool = claimed(path, b"a")
    assert spool.waiting() == 1
    files = [path, Path(f"{path}-wal"), Path(f"{path}-shm"), *journals(path)]
    assert [file.stat().st_mode & 0o77 for file in files] == [0, 0, 0, 0]
    spool.close()


def test_spool_file_of_another_version_is_left_alone(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(SpoolUnusable, match="is of version 99, and not of 2"):
        OwnSpool(path).claim("f")
    assert path.read_bytes() == before


def opened() -> list[Path]:
    """The files that this process has open."""
    return [one.resolve() for one in Path("/proc/self/fd").iterdir()]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_spool_file_survives_a_fork(path: Path) -> None:
    spool = claimed(path, b"a")
    child = os.fork()
    if child == 0:
        os._exit(1 if path.resolve() in opened() else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    spool.append(b"b")
    assert [record for _, record in spool.batch(9).rows] == [b"a", b"b"]
    spool.close()


def test_spool_file_gives_records_again_under_the_same_ids_after_a_power_cut(path: Path) -> None:
    spool = claimed(path, b"a", b"b")
    spool.close()
    before = path.read_bytes()
    spool.mark_moved(RANGE + 1)
    spool.close()
    path.write_bytes(before)  # what was written to the file last is gone
    spool = claimed(path, b"c")
    assert spool.batch(9).rows == [(RANGE, b"a"), (RANGE + 1, b"b")]
    spool.mark_moved(RANGE + 1)
    assert spool.batch(9).rows == [(2 * RANGE, b"c")]
    spool.close()


def test_spool_file_that_was_deleted_is_made_again_from_its_journal(path: Path) -> None:
    first = claimed(path, b"a", b"b")
    name = first.batch(1).spool
    first.close()
    for file in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        file.unlink(missing_ok=True)
    spool = claimed(path, b"c")
    batch = spool.batch(9)
    assert (batch.spool, batch.fields, batch.rows) == (name, "f", [(RANGE, b"a"), (RANGE + 1, b"b")])
    spool.mark_moved(RANGE + 1)  # as the database says
    assert spool.batch(9).rows == [(2 * RANGE, b"c")]
    spool.close()


def test_spool_file_without_a_header_is_nobodys(path: Path) -> None:
    (path.parent / f"{path.name}.{RANGE}.journal").write_bytes(b"%d a\n" % RANGE)
    spool = claimed(path, b"b")
    assert spool.batch(9).rows == [(RANGE, b"b")]
    assert [file.name for file in path.parent.glob("*.stray")] == [f"spool.sqlite.{RANGE}.journal.stray"]
    spool.close()


def test_spool_file_begins_ranges_that_a_machine_put_back_has_not_seen(path: Path) -> None:
    spool = OwnSpool(path)
    spool.claim("f", now=EPOCH_S + 100)
    spool.append(b"a")
    assert spool.batch(1).rows == [(100 * RANGE, b"a")]
    spool.close()
    assert spool.claim("f", now=EPOCH_S + 50)  # its clock was put back
    spool.append(b"b")
    spool.mark_moved(100 * RANGE)
    assert spool.batch(2).rows == [(101 * RANGE, b"b")]
    spool.close()


@pytest.mark.parametrize(("moved", "another"), [(None, False), (RANGE - 1, False), (RANGE, True), (9 * RANGE, True)])
def test_spool_file_is_another_spool_when_the_database_saw_its_range(
    path: Path, moved: int | None, another: bool
) -> None:
    spool = claimed(path, b"a")
    before = spool.batch(1)
    assert before.unmet
    assert spool.meet(before.first, moved) is another
    after = spool.batch(1)
    assert (after.spool != before.spool, after.rows, after.unmet) == (another, before.rows, False)
    assert not spool.meet(before.first, RANGE)  # it was moved meanwhile
    spool.close()


def test_spool_file_notices_that_it_was_deleted(path: Path) -> None:
    spool = claimed(path, b"a", b"b")
    spool.watch()
    spool.look()
    for file in path.parent.iterdir():
        file.unlink()
    with pytest.raises(PulledAway):
        spool.look()
    spool.note_moved(RANGE)
    saved = path.with_name("saved.sqlite")
    assert (spool.salvage(saved), spool.gone()) == (1, 0)
    other = OwnSpool(saved)
    batch = other.batch(9)
    assert (batch.rows, batch.last, batch.rest_of) == ([(RANGE + 1, b"b")], RANGE, spool.batch(1).spool)
    for one in (spool, other):
        one.close()


def test_spool_file_that_was_moved_away_is_not_saved(path: Path) -> None:
    spool = claimed(path, b"a", b"b")
    spool.watch()
    away = path.parent / "away"
    away.mkdir()
    for file in path.parent.glob("spool*"):
        file.rename(away / file.name)
    with pytest.raises(PulledAway):
        spool.look()
    assert (spool.salvage(path.with_name("saved.sqlite")), spool.gone()) == (0, 2)
    spool.close()
