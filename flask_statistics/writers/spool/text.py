"""The text of a journal's files: a header, and a line for each record, with its id; whole, cut off or damaged.

A line is an id, a space and the record, which has no line ends.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ...local_files import NO_FOLLOW

HEADER = b"# "
"""Begins a header."""
CANCELLED = b"\x18"
"""Ends a line that could not be written as a whole, and that nobody was told is stored."""
BINARY = getattr(os, "O_BINARY", 0)
"""Windows would translate line ends."""

READ_BYTES = 4 << 20
"""So much is read in one call: usually a whole file."""
LOOKAHEAD = 8
"""Lines that are looked at to tell a damaged id from ids that are missing."""


class Line(NamedTuple):
    """One line of a file."""

    number: int
    """Its id; -1 if that cannot be read."""
    record: bytes
    end: int
    """Where the next line begins."""


def lines_of(text: bytes) -> Iterator[Line]:
    """The whole lines of `text`, but for headers and those that were cancelled."""
    start = 0
    while (end := text.find(b"\n", start)) >= 0:
        line = text[start:end]
        number, _, record = line.partition(b" ")
        if line.endswith(CANCELLED) or line.startswith(HEADER):
            pass
        elif number.isdigit() and len(number) < 20:
            yield Line(int(number), record, end + 1)
        else:
            yield Line(-1, line, end + 1)
        start = end + 1


def parse(
    text: bytes, before: int, last: int, end: int, limit: float, *, complete: bool
) -> list[tuple[int, bytes, int]]:
    """Id, record, and where its line ends, of the first `limit` in `text` after the id `last`.

    `before` is the id before the first line, and ids stay below `end`. They have no gaps, so a line whose id is damaged gets
    the one that is missing where it is; what is missing beside leaves a gap.
    """
    rows: list[tuple[int, bytes, int]] = []
    damaged: list[Line] = []
    lines = lines_of(text)
    ahead = deque(islice(lines, LOOKAHEAD))
    while ahead and len(rows) < limit:
        line = ahead.popleft()
        ahead.extend(islice(lines, 1))
        expected = before + 1 + len(damaged)
        if line.number != expected and not (before < line.number < end and _goes_on(ahead, line.number, expected)):
            damaged.append(line)
            continue
        for number, stray in enumerate(damaged[: line.number - before - 1], before + 1):
            if number > last:
                rows.append((number, stray.record, stray.end))
        if line.number > last:
            rows.append((line.number, line.record, line.end))
        before, damaged = line.number, []
    if complete and not ahead:
        for number, stray in enumerate(damaged[: end - before - 1], before + 1):
            if number > last:
                rows.append((number, stray.record, stray.end))
    return rows


def _goes_on(ahead: Collection[Line], number: int, expected: int) -> bool:
    """Whether the next lines go on from the id `number`, and not from the one that was expected instead of it."""
    from_it = sum(line.number == number + place for place, line in enumerate(ahead, 1))
    return from_it >= sum(line.number == expected + place for place, line in enumerate(ahead, 1))


def read_from(path: Path, offset: int) -> bytes:
    """What a file has from `offset` on; nothing, if whoever else moves it was faster and deleted it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | NO_FOLLOW | BINARY)
    except FileNotFoundError:
        return b""
    try:
        return read(descriptor, offset)
    finally:
        os.close(descriptor)


def read(descriptor: int, offset: int) -> bytes:
    """The same of an open file, in as few calls as can be: after each the thread waits for the interpreter."""
    os.lseek(descriptor, offset, os.SEEK_SET)
    text = os.read(descriptor, READ_BYTES)
    while text and len(text) % READ_BYTES == 0:
        part = os.read(descriptor, READ_BYTES)
        if not part:
            break
        text += part
    return text


def as_header(header: Mapping[str, str]) -> bytes:
    """The first line of a file."""
    return HEADER + json.dumps(header).encode("ascii") + b"\n"


def header_of(path: Path) -> dict[str, str]:
    """The header of a file; empty: it has none that can be read."""
    try:
        with open(os.open(path, os.O_RDONLY | NO_FOLLOW | BINARY), "rb") as file:  # noqa: PTH123 - it takes no flags
            lines = file.read(1 << 16).split(b"\n")
    except OSError:
        return {}
    for line in lines:
        if line.startswith(HEADER) and not line.endswith(CANCELLED):
            with suppress(ValueError):
                found = json.loads(line[len(HEADER) :])
                return {name: text for name, text in found.items() if isinstance(text, str)}
    return {}


def count_lines(text: bytes) -> int:
    """How many whole lines there are, but for headers and those that were cancelled."""
    headers = text.count(b"\n" + HEADER) + text.startswith(HEADER)
    return text.count(b"\n") - text.count(CANCELLED + b"\n") - headers
