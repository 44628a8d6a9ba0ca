"""What helps where the spool's folder, or a file in it, does not take what it is given."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path


def fix_folder(error: Exception, folder: Path) -> str:
    """What the operator can do about `error`, which the spool's folder or a file in it gave."""
    number = getattr(error, "errno", None)
    other = "Or name another folder by STATISTICS_SPOOL_PATH."
    if number in (errno.ENOSPC, errno.EDQUOT) or "database or disk is full" in str(error):
        return f"The disk of {folder} is full{_free(folder)}: make room on it. {other}"
    if number in (errno.EACCES, errno.EPERM):
        return f"The app's user may not write to {folder}: give it the folder (chown). {other}"
    if number == errno.EROFS or "readonly database" in str(error):
        return f"{folder} is read-only: mount it to be written, or give the app's user the right to. {other}"
    if number in (errno.ENOTDIR, errno.EEXIST):
        return f"A file is in the way of the folder {folder}: move it. {other}"
    if number in (errno.EMFILE, errno.ENFILE):
        return "The process has too many files open: raise its limit (ulimit -n)."
    if number in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
        return f"The file system of {folder} has no locks, as a network drive may: name a local disk by STATISTICS_SPOOL_PATH."
    return f"Is the disk of {folder} there and whole? {other}"


def _free(folder: Path) -> str:
    """How much is free where the folder is, or shall be."""
    path = next((path for path in (folder, *folder.absolute().parents) if path.exists()), folder)
    try:
        return f" ({shutil.disk_usage(path).free // 1024:,} kB free)"
    except OSError:  # the disk is gone, and not only full
        return ""
