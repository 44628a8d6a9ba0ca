"""The frames of tracebacks: which are the app's own. Of exceptions as they are raised, and of texts as they are stored.

A place is a file below the app's root and a function: what is the same whatever else of the file changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import TracebackType

from ..caller import Files
from .text import MASK

DEEPEST = 5_000
"""Frames of one traceback that are looked at, the innermost last."""
_FRAME = re.compile(r'^[ |]*File "([^"\n]*)", line (\d+)(?:, in ([^\n]*))?$')
_BEGIN = re.compile(r"^[ |+]*(?:Exception Group )?Traceback \(most recent call last\):$")
_INSTALLED = re.compile(
    r"(?<![^/])(?:site-packages|dist-packages|lib(?:32|64)?/python\d[\d.]*(?:/lib-dynload)?|python\d+\.zip)/",
    re.IGNORECASE,
)
"""Folders of what is installed, whichever machine it is on."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a stored traceback."""

    file: str
    line: str
    function: str
    code: tuple[str, ...]
    """What stands below it."""


class AppFiles:
    """Tells the files of one app from those of others, also where a traceback comes from another folder or machine."""

    def __init__(self, root_path: str) -> None:
        self._files = Files(root_path)
        self._package = f"/{PurePosixPath(root_path.replace(chr(92), '/')).name}/"

    def own(self, filename: str) -> str | None:
        """The path of a file of the app's, below its root; None: it is another one's."""
        known = self._files.name_of(filename)
        if known is not None:
            return known
        path = filename.replace("\\", "/")
        if self._files.is_others(path) or _INSTALLED.search(path) or path.startswith("<"):
            return None
        _, found, below = path.rpartition(self._package)
        return f"{found[1:]}{below}" if found else _end_of(path)

    def name(self, filename: str) -> str:
        """What a file is called: one of the app's by its path, another one's by that below where it is installed."""
        own, path = self.own(filename), filename.replace("\\", "/")
        return own or (_INSTALLED.split(path)[-1] if _INSTALLED.search(path) else _end_of(path))

    def place_of(self, frames: Iterable[tuple[str, str]]) -> str | None:
        """Where the innermost frame of the app is, of files and functions, outermost first; of others' where it has none.

        `shop/cart.py in quantity`; None: there is no frame.
        """
        own = other = None
        for filename, function in frames:
            name = self.own(filename)
            if name is None:
                other = filename, function
            else:
                own = name, function
        if own is None and other is not None:
            own = self.name(other[0]), other[1]
        return None if own is None else f"{own[0]} in {own[1]}"


def raised_in(traceback: TracebackType | None) -> Iterator[tuple[str, str]]:
    """File and function of each frame of an exception, outermost first."""
    for _ in range(DEEPEST):
        if traceback is None:
            return
        code = traceback.tb_frame.f_code
        yield code.co_filename, code.co_name
        traceback = traceback.tb_next


def told_in(traceback: str) -> list[Frame]:
    """The frames of the exception that a stored traceback ends with, outermost first: of a group of some, those of the group.

    What caused it stands before it, what it groups behind it, indented.
    """
    frames: list[Frame] = []
    of_group = is_grouped = False
    for line in traceback.splitlines():
        if _BEGIN.match(line):
            is_grouped = of_group and line.startswith("   ")
            if not is_grouped:
                frames, of_group = [], "Exception Group" in line
            continue
        found = None if is_grouped else _FRAME.match(line)
        if found is not None:
            frames.append(Frame(found[1], found[2], found[3] or MASK, ()))
        elif frames and not is_grouped and line[:2] in ("  ", " |") and line.strip("| ^~"):
            last = frames[-1]
            frames[-1] = Frame(last.file, last.line, last.function, (*last.code, line.strip(" |")))
    return frames


def _end_of(path: str) -> str:
    return "/".join(path.split("/")[-2:])
