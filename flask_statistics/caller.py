"""Where in the app's files a frame is: the nearest one that is the app's own, and which files these are.

Looks at the frames of the present thread, and at no value in them.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path
from types import CodeType, FrameType

MOST_KNOWN = 10_000
"""Files of which it is known whose they are; then all are looked at again."""
DEEPEST = 200
"""Frames that are looked at."""
LONGEST = 200
"""Characters of a place; of a longer one the end."""
PACKAGES = ("site-packages", "dist-packages")
"""Folders of what is installed."""


class Files:
    """The files of one app: its package, what is beside it, and all below, but for what is installed there."""

    def __init__(self, root_path: str) -> None:
        package = Path(root_path).absolute()
        top = package
        while (top / "__init__.py").is_file() and top.parent != top:
            top = top.parent
        installed = top.name in PACKAGES  # then what is beside the package is others'
        self._below = _folder(top)
        self._root = _folder(package) if installed else self._below
        self._others = tuple(_folders_of_others(installed=installed))
        self._known: dict[str, str | None] = {}

    def find(self, frame: FrameType | None, depth: int, end: CodeType) -> tuple[str | None, int, CodeType | None, int]:
        """The nearest frame of the app from `frame` on, which is `depth` above whoever asks, up to one that runs `end`.

        Its place, such as `shop/views.py:41`, its own depth, its code and the instruction in it; the place is None where it
        is the end, and so is the code where there is not even that.
        """
        known = self._known
        for above in range(depth, depth + DEEPEST):
            if frame is None:
                break
            code = frame.f_code
            if code is end:
                return None, above, code, frame.f_lasti
            file = code.co_filename  # not the code, as pieces of two files that read the same are equal
            name = known[file] if file in known else self._learn(file)
            if name is not None:
                return f"{name}:{_line(frame)}"[-LONGEST:], above, code, frame.f_lasti
            frame = frame.f_back
        return None, 0, None, 0

    def _learn(self, file: str) -> str | None:
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        name = self._known[file] = self.name_of(file)
        return name

    def name_of(self, filename: str) -> str | None:
        """The path of a file of the app's, below its root; None: it is another one's."""
        path = filename.replace("\\", "/")
        if not path.startswith(self._root) or path.startswith(self._others):
            return None
        parts = path[len(self._root) :].split("/")
        return None if any(part in PACKAGES for part in parts) else path[len(self._below) :]

    def is_others(self, path: str) -> bool:
        """Whether a file, written with slashes, is Python's, of what is installed beside it, or this package's."""
        return path.startswith(self._others)


def _folder(path: Path) -> str:
    return f"{path.as_posix().rstrip('/')}/"


def _folders_of_others(*, installed: bool) -> set[str]:
    """Where Python, what is installed, and this package are."""
    paths = sysconfig.get_paths()
    names = ["stdlib", "platstdlib"] if installed else ["stdlib", "platstdlib", "purelib", "platlib"]
    folders = [Path(paths[name]) for name in names if name in paths] + [Path(__file__).absolute().parent]
    return {_folder(each) for folder in folders for each in (folder, folder.resolve())}


def _line(frame: FrameType) -> int:
    """The line of a frame; of a template's the one in the template, and not in what Jinja makes of it."""
    template = frame.f_globals.get("__jinja_template__")
    if template is not None:
        return int(template.get_corresponding_lineno(frame.f_lineno))
    return frame.f_lineno or 0
