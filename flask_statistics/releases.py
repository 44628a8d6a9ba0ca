"""Which release of the app is running: what `STATISTICS_RELEASE` says, or where it says to look. Reads files of git's."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .config import SettingError

LONGEST = 64
"""Characters that the column takes."""
_SHOWN = 12
"""Of a commit, so many are told."""
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_LINKS = 5
"""Refs that name other refs are followed so often; git stops there as well."""


def release_of(setting: str, root: Path) -> str:
    """The release: `setting` itself, `package:NAME`'s version, or for `git` the commit of the repository that holds `root`.

    Raises `SettingError` where it cannot be had.
    """
    if setting == "git":
        return _commit(root)
    kind, colon, name = setting.partition(":")
    if kind != "package" or not colon:
        return setting
    try:
        found = version(name)
    except (PackageNotFoundError, ValueError):  # ValueError: no name at all
        raise _refused(setting, f"no package {name!r} is installed here") from None
    if not found or len(found) > LONGEST:
        raise _refused(setting, f"the version of {name!r} is {found!r}, which is not of 1 to {LONGEST} characters")
    return found


def _refused(setting: str, because: str) -> SettingError:
    return SettingError(
        f"STATISTICS_RELEASE is {setting!r}, but {because}: set it to the release's name as a text, such as "
        'os.environ["RELEASE"].'
    )


def _commit(root: Path) -> str:
    """No process is started for it: images without git have the files, and a server's user may start nothing."""
    for folder in (root, *root.parents):
        try:
            if (folder / ".git").exists():
                commit = _head(_git_folder(folder / ".git"))
                break
        except (OSError, ValueError) as error:
            raise _refused("git", f"the repository at {str(folder)!r} cannot be read ({error})") from None
    else:
        raise _refused("git", f"{str(root)!r} is in no git repository")
    if commit is None:
        raise _refused("git", f"the repository at {str(folder)!r} names no commit in files")
    return commit[:_SHOWN]


def _git_folder(path: Path) -> Path:
    """Where a `.git` leads: itself, or what it names as a file, as in worktrees and submodules."""
    if path.is_dir():
        return path
    named = path.read_text("utf-8").strip().removeprefix("gitdir:").strip()
    return path.parent / named


def _head(folder: Path) -> str | None:
    """The commit that is checked out; None if no file names it, as before the first one."""
    common = folder / "commondir"  # a worktree has its own HEAD, and the refs of the repository
    shared = folder / common.read_text("utf-8").strip() if common.exists() else folder
    text = (folder / "HEAD").read_text("utf-8").strip()
    for _ in range(_LINKS):
        if not text.startswith("ref:"):
            break
        text = _ref(text.removeprefix("ref:").strip(), folder, shared)
    return text if _COMMIT.fullmatch(text) else None


def _ref(name: str, *folders: Path) -> str:
    """What the ref says, of a file of its own or of those that are packed; empty: there is none."""
    for folder in folders:
        if (folder / name).is_file():
            return (folder / name).read_text("utf-8").strip()
    packed = folders[-1] / "packed-refs"
    lines = packed.read_text("utf-8").splitlines() if packed.exists() else []
    return next((line.split(" ")[0] for line in lines if line.endswith(f" {name}")), "")
