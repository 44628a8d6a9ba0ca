"""Which files are meant, and in which order: globs, directories, standard input, and the time of the first line. Reads files."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click

from .formats import SAMPLE, recognised
from .lines import NEVER
from .reading import Unreadable, open_log


def found(names: Sequence[str]) -> list[Path | None]:
    """The files that `names` mean, each once; None: standard input. Raises `click.UsageError` for what is none."""
    paths: dict[Path | None, None] = {}
    for name in names:
        if name == "-":
            paths[None] = None
            continue
        matching = [name] if Path(name).exists() else sorted(glob.glob(name))  # noqa: PTH207  (a pattern may be absolute)
        if not matching:
            raise click.UsageError(f"There is no file {name!r}.")
        for path in map(Path, matching):
            if path.is_dir():
                raise click.UsageError(f"{name!r} is a directory: name its files, as in {str(path / '*.log*')!r}.")
            paths[path] = None
    return list(paths)


def in_order_of_time(paths: Iterable[Path | None], zone: ZoneInfo) -> list[Path | None]:
    """`paths` by the date of their first request, those without one last: a set that was rotated, oldest first."""
    paths = list(paths)
    return sorted(paths, key=lambda path: _first_date(path, zone) or NEVER) if len(paths) > 1 else paths


def _first_date(path: Path | None, zone: ZoneInfo) -> datetime | None:
    if path is None:
        return None
    try:
        lines = list(islice(open_log(path), SAMPLE))
    except (ValueError, OSError, Unreadable):
        return None  # said when it is imported
    reader = recognised(lines, zone)
    for line in lines if reader is not None else ():
        try:
            entry = reader(line) if reader is not None else None
        except ValueError:
            continue
        if entry is not None:
            return entry.date
    return None


@contextmanager
def opened(path: Path | None) -> Iterator[BufferedReader]:
    """A file's bytes, or those of standard input."""
    source: Any = nullcontext(sys.stdin.buffer) if path is None else path.open("rb")
    with source as file:
        yield file if isinstance(file, BufferedReader) else BufferedReader(file)
