"""The lines of log files and of standard input, plain or compressed. Reads them bit by bit, writes nothing."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Generator, Iterator
from functools import partial
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import IO, Any, Final

MAX_LINE: Final = 1 << 20
"""Characters of a line read at once. Servers refuse far shorter requests; a file without line ends stays readable."""

_GZIP, _BZIP2, _XZ, _ZSTD, _ZIP = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"PK\x03\x04"
_LONGEST_MAGIC: Final = 6


class Unreadable(Exception):
    """The file is in a form that is not read here; the message says what to do."""


def open_log(path: str | Path) -> Iterator[str]:
    """The lines of a log file, as `read_lines` gives them."""
    with Path(path).open("rb") as file:
        yield from read_lines(file)


def is_compressed(file: BufferedReader) -> bool:
    """Whether `file`, at its beginning, is one that a program compressed: such a file does not grow."""
    return file.peek(_LONGEST_MAGIC)[:_LONGEST_MAGIC].startswith((_GZIP, _BZIP2, _XZ, _ZSTD))


def read_lines(file: BufferedReader) -> Generator[str]:
    """The lines of a log file opened as bytes, read bit by bit; `file.tell()` shows how far that is, for progress.

    gzip, bzip2, xz and Zstandard are known by their first bytes, not by the file's name. Bytes that are not UTF-8 become
    U+FFFD; a byte order mark in front of all is left out.

    :raises ValueError: the compressed data are damaged or end early. All lines before were given.
    :raises Unreadable: an archive, or a compression that is not installed.
    """
    source = _decompressed(file)
    # only "\n" ends a line: clients can send other line ends, and not every server escapes them
    text = TextIOWrapper(source, encoding="utf-8", errors="replace", newline="\n")
    try:
        first = text.readline(MAX_LINE).removeprefix("\ufeff")
        if first:
            yield first
        yield from iter(partial(text.readline, MAX_LINE), "")
    except (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, OSError) as error:
        if source is file:
            raise
        raise ValueError(f"the compressed data are damaged or end early: {error}") from error
    except Exception as error:
        if type(error).__name__ != "ZstdError":  # of the standard library, or of one of two packages
            raise
        raise ValueError(f"the compressed data are damaged or end early: {error}") from error
    finally:
        text.detach()  # the file belongs to the caller


def _decompressed(file: BufferedReader) -> Any:
    magic = file.peek(_LONGEST_MAGIC)[:_LONGEST_MAGIC]
    if magic.startswith(_ZIP):
        raise Unreadable(
            "it is a zip archive: unpack it, or pipe it in with 'unzip -p FILE | flask statistics import-log -'"
        )
    if magic.startswith(_GZIP):
        return gzip.GzipFile(fileobj=file)
    if magic.startswith(_BZIP2):
        return bz2.BZ2File(file)
    if magic.startswith(_XZ):
        return lzma.LZMAFile(file)
    if magic.startswith(_ZSTD):
        return io.BufferedReader(_zstd(file))
    return file


def _zstd(file: IO[bytes]) -> Any:
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]  # Python 3.14
    except ImportError:
        try:
            from backports import zstd
        except ImportError:
            raise Unreadable(
                "it is compressed by zstd: pip install 'flask-statistics[zstd]', "
                "or pipe it in with 'zstdcat FILE | flask statistics import-log -'"
            ) from None
    return zstd.ZstdFile(file)
