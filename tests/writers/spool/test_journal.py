"""A journal: what it gives back, in which files, and after which faults."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest

from flask_statistics.writers.spool import journal
from flask_statistics.writers.spool.journal import RANGE_BITS, FileJournal, Journal, MemoryJournal, PulledAway
from flask_statistics.writers.spool.text import as_header

RANGE = 1 << RANGE_BITS
HEADER = {"spool": "s", "fields": "f"}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "spool.sqlite"


def begun(base: Path, *records: bytes, first: int = RANGE) -> FileJournal:
    made = FileJournal(base)
    made.begin(first, HEADER)
    for record in records:
        made.append(record)
    made.close()
    return made


def files(base: Path) -> list[Path]:
    return sorted(base.parent.glob("*.journal"))


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_journal_gives_what_was_appended(base: Path, kind: str) -> None:
    made: Journal = FileJournal(base) if kind == "file" else MemoryJournal()
    made.begin(RANGE, HEADER)
    for record in (b"a", b"b", b"c"):
        made.append(record)
    assert made.after(0, 2) == ([(RANGE, b"a"), (RANGE + 1, b"b")], True)
    assert made.waiting(0) == 3
    assert made.after(RANGE + 1, 2) == ([(RANGE + 2, b"c")], False)
    assert made.waiting(RANGE + 1) == 1
    made.append(b"d")
    assert made.after(RANGE + 2, 2) == ([(RANGE + 3, b"d")], False)
    assert made.after(RANGE + 3, 2) == ([], False)
    assert made.waiting(RANGE + 3) == 0
    made.clear()
    assert made.waiting(0) == 0
    made.close()


def test_journal_is_read_from_anywhere(base: Path) -> None:
    begun(base, b"a", b"b", b"c")
    for last, expected in ((0, b"a"), (RANGE, b"b"), (RANGE + 1, b"c")):
        other = FileJournal(base)
        assert other.waiting(last) == max(3 - max(last - RANGE + 1, 0), 0)
        assert other.after(last, 1)[0][0][1] == expected


def test_journal_is_many_files_that_are_deleted_when_they_are_moved(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "FILE_BYTES", 100 + len(as_header(HEADER)))
    made = begun(base, *(b"x" * 30 for _ in range(20)))
    assert len(files(base)) == 7
    assert made.waiting(0) == 20
    assert made.waiting(RANGE + 3) == 16
    last, found = 0, 0
    while True:
        rows, more = made.after(last, 2)
        found += len(rows)
        if not more:
            break
        last = rows[-1][0]
    assert found == 20
    assert len(files(base)) == 1


def test_memory_journal_says_whether_more_waits() -> None:
    made = MemoryJournal()
    made.begin(0, HEADER)
    made.append(b"a")
    made.append(b"b")
    assert made.after(-1, 1) == ([(0, b"a")], True)
    assert made.after(-1, 2) == ([(0, b"a"), (1, b"b")], False)
    assert made.waiting(0) == 1


def test_journal_has_a_header_and_a_line_for_each_record(base: Path) -> None:
    begun(base, b"a", b"b")
    (file,) = files(base)
    assert file.name == f"spool.sqlite.{RANGE}.journal"
    assert file.read_bytes() == as_header(HEADER) + b"%d a\n%d b\n" % (RANGE, RANGE + 1)
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_file_is_deleted_as_soon_as_its_last_record_is_moved(base: Path) -> None:
    begun(base, b"a", b"b")
    begun(base, b"c", first=2 * RANGE)
    other = FileJournal(base)
    other.after(RANGE, 9)
    assert len(files(base)) == 2
    other.after(2 * RANGE - 1, 9)
    assert [file.name for file in files(base)] == [f"spool.sqlite.{2 * RANGE}.journal"]


def test_a_damaged_id_reaches_into_no_later_range(base: Path) -> None:
    begun(base, b"a", b"b")
    begun(base, b"c", first=3 * RANGE)
    first, _ = files(base)
    # an id of the range between, that nobody began, and one that is another owner's
    for damaged in (2 * RANGE, 3 * RANGE + 1):
        first.write_bytes(as_header(HEADER) + b"%d a\n%d b\n" % (RANGE, damaged))
        assert FileJournal(base).after(0, 9)[0] == [(RANGE, b"a"), (RANGE + 1, b"b")]


def test_journal_counts_across_owners(base: Path) -> None:
    begun(base, b"a", b"b")
    begun(base, b"c", first=2 * RANGE)
    other = FileJournal(base)
    assert other.waiting(0) == 3
    assert other.waiting(RANGE) == 2
    assert other.after(0, 9) == ([(RANGE, b"a"), (RANGE + 1, b"b")], True)
    assert other.after(RANGE + 1, 9) == ([(2 * RANGE, b"c")], False)


def test_journal_leaves_a_line_that_is_not_whole_yet(base: Path) -> None:
    made = begun(base, b"a")
    (file,) = files(base)
    with file.open("ab") as output:
        output.write(b"%d b" % (RANGE + 1))
    assert made.after(0, 9)[0] == [(RANGE, b"a")]
    with file.open("ab") as output:
        output.write(b"b\n")
    assert made.after(0, 9)[0] == [(RANGE, b"a"), (RANGE + 1, b"bb")]


class FullDisk(io.FileIO):
    """A file on a disk that takes no more than so many bytes of each line; None: all."""

    takes: int | None = None

    def write(self, line: Any) -> int:
        return super().write(line[: self.takes])


def test_journal_goes_on_after_a_line_that_the_disk_had_no_space_for(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(io, "FileIO", FullDisk)
    made = FileJournal(base)
    made.begin(RANGE, HEADER)
    made.append(b"a")
    monkeypatch.setattr(FullDisk, "takes", 3)
    with pytest.raises(OSError, match="No space left on device"):
        made.append(b"bb")
    monkeypatch.setattr(FullDisk, "takes", None)
    made.append(b"c")
    assert made.after(0, 9)[0] == [(RANGE, b"a"), (RANGE + 1, b"c")]
    made.close()


def damage(base: Path, number: int, *, wrong_id: int) -> None:
    (file,) = files(base)
    file.write_bytes(file.read_bytes().replace(b"\n%d " % (RANGE + number), b"\n%d " % (RANGE + wrong_id)))


@pytest.mark.parametrize("wrong_id", [250, 51, 3, 0, 390, 399, 400, 5_000])
def test_journal_wrong_id_costs_nothing(base: Path, wrong_id: int) -> None:
    made = begun(base, *(b"%d" % number for number in range(400)))
    damage(base, 50, wrong_id=wrong_id)
    rows: list[tuple[int, bytes]] = []
    last = 0
    while batch := made.after(last, 30)[0]:
        rows += batch
        last = batch[-1][0]
    assert rows == [(RANGE + number, b"%d" % number) for number in range(400)]
    assert made.waiting(0) == 400
    assert FileJournal(base).after(RANGE + 47, 4)[0] == rows[48:52]
    assert FileJournal(base).waiting(RANGE + 47) == 352


def test_journal_leaves_a_gap_where_lines_are_missing(base: Path) -> None:
    made = begun(base, *(b"%d" % number for number in range(400)))
    (file,) = files(base)
    text = bytearray(file.read_bytes())
    text[2_000:4_000] = bytes(2_000)
    file.write_bytes(text)
    rows = made.after(0, 500)[0]
    damaged = [record for _, record in rows if b"\0" in record]
    assert (len(damaged), rows[0][0], rows[-1][0]) == (1, RANGE, RANGE + 399)
    assert all(record == b"%d" % (number - RANGE) for number, record in rows if b"\0" not in record)


def test_journal_damaged_line_stands_for_the_records_that_are_missing(base: Path) -> None:
    made = begun(base, b"a", b"b", b"c", b"d")
    (file,) = files(base)
    file.write_bytes(file.read_bytes().replace(b"%d c\n" % (RANGE + 2), b"\0\0\xff\n"))
    assert made.after(0, 9)[0] == [(RANGE, b"a"), (RANGE + 1, b"b"), (RANGE + 2, b"\0\0\xff"), (RANGE + 3, b"d")]


def test_journal_damaged_line_that_nothing_is_missing_for_is_left_out(base: Path) -> None:
    made = begun(base, b"a")
    (file,) = files(base)
    with file.open("ab") as output:
        output.write(b"\n\0\xff\nx y\n99999999999999999999999 z\n%d again\n%d b\n" % (RANGE, RANGE + 1))
    assert made.after(0, 9)[0] == [(RANGE, b"a"), (RANGE + 1, b"b")]


def test_journal_damaged_end_of_a_dead_process_is_told(base: Path) -> None:
    begun(base, b"a")
    (file,) = files(base)
    with file.open("ab") as output:
        output.write(b"\0\0\n")
    made = begun(base, b"b", first=2 * RANGE)
    assert made.after(0, 9)[0] == [(RANGE, b"a"), (RANGE + 1, b"\0\0")]
    assert made.after(RANGE + 1, 9)[0] == [(2 * RANGE, b"b")]


def test_journal_damaged_id_does_not_reach_into_another_range(base: Path) -> None:
    made = begun(base, b"a", b"b")
    (file,) = files(base)
    file.write_bytes(file.read_bytes().replace(b"%d b" % (RANGE + 1), b"%d b" % (9 * RANGE)))
    begun(base, b"c", first=2 * RANGE)
    assert made.after(0, 9)[0] == [(RANGE, b"a"), (RANGE + 1, b"b")]
    assert made.after(RANGE + 1, 9)[0] == [(2 * RANGE, b"c")]


def test_journal_damaged_line_is_told_whoever_reads(base: Path) -> None:
    begun(base, b"a", b"b", b"c")
    (file,) = files(base)
    file.write_bytes(file.read_bytes().replace(b"%d b" % (RANGE + 1), b"\0"))
    assert FileJournal(base).after(RANGE, 9)[0] == [(RANGE + 1, b"\0"), (RANGE + 2, b"c")]


def test_journal_does_not_count_lines_that_the_disk_had_no_space_for(base: Path) -> None:
    made = begun(base, b"a")
    (file,) = files(base)
    with file.open("ab") as output:
        output.write(b"%d b\x18\n" % (RANGE + 1))
    assert made.waiting(0) == 1
    assert made.waiting(RANGE) == 0


def test_journal_leaves_foreign_files_alone(base: Path) -> None:
    made = begun(base, b"a")
    stray = base.parent / f"{base.name}.copy.journal"
    stray.write_bytes(b"1 x\n")
    assert made.after(0, 9)[0] == [(RANGE, b"a")]
    made.clear()
    assert stray.exists()


def test_journal_that_ended_takes_nothing(base: Path) -> None:
    made = FileJournal(base)
    made.begin(RANGE, HEADER)
    made.append(b"a")
    made.end()
    with pytest.raises(OSError, match="about to end"):
        made.append(b"b")
    assert made.after(0, 9)[0] == [(RANGE, b"a")]


def test_journal_rests_when_all_is_moved(base: Path) -> None:
    made = FileJournal(base)
    made.begin(RANGE, HEADER)
    made.append(b"a")
    made.append(b"b")
    made.delete_if_moved(RANGE)
    assert len(files(base)) == 1
    made.delete_if_moved(RANGE + 1)
    assert files(base) == []
    made.append(b"c")
    assert made.after(RANGE + 1, 9)[0] == [(RANGE + 2, b"c")]
    made.close()


def test_journal_that_another_one_moved_and_deleted_is_no_error(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = begun(base, b"a")
    (file,) = files(base)
    whole = os.listdir

    def listed_and_gone(folder: Path) -> list[str]:
        found = whole(folder)
        file.unlink()
        return found

    monkeypatch.setattr(os, "listdir", listed_and_gone)
    assert made.after(0, 9) == ([], False)


def test_journal_whose_process_went_elsewhere_deletes_nothing(base: Path) -> None:
    made = FileJournal(base)
    made.begin(RANGE, HEADER)
    made.append(b"a")
    made.go_elsewhere()
    made.delete_if_moved(RANGE)
    assert len(files(base)) == 1


def test_journal_that_is_sealed_takes_nothing_and_can_be_saved(base: Path) -> None:
    made = FileJournal(base)
    made.begin(RANGE, HEADER)
    made.append(b"a")
    files(base)[0].unlink()
    made.seal()
    with pytest.raises(PulledAway):
        made.append(b"b")
    saved = made.salvage(0)
    assert (made.count(saved, 0), saved.gone) == (1, 0)
    made.close()
