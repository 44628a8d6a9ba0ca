"""Files by which processes of one host meet: the name of what they share, a folder that is theirs alone, and locks.

A lock of the operating system ends with its process, however that ends.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
from pathlib import Path

import sqlalchemy as sa

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
"""A symbolic link in the place of a file of ours is somebody's trap: to open it is an error."""
ADDRESS_KEYS = frozenset({"host", "hostaddr", "port", "dbname", "service", "unix_socket", "read_default_file"})
"""What in a URL's query says which server or database it means: two servers on one host have the same name otherwise."""

Identity = tuple[int, int]
"""Device and inode of a file."""


def identity_of(path: Path) -> Identity | None:
    """What tells a file from another one of the same name; None: there is none."""
    try:
        found = path.stat()
    except OSError:  # also where the disk is gone
        return None
    return found.st_dev, found.st_ino


def name_of(url: sa.URL, table: sa.Table) -> str:
    """What tells the files of one app from those of others: a hash of the address of its database, and of its table."""
    asked = sorted((key, value) for key, value in url.query.items() if key in ADDRESS_KEYS)
    place = (url.get_backend_name(), url.host, url.port, url.database, table.fullname, asked)
    return hashlib.sha256(repr(place).encode()).hexdigest()[:10]


def make_folder(path: Path) -> None:
    """Make the folder if it is missing. Raises `OSError`, also if others may write to it: they could have us write anywhere."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not hasattr(os, "getuid"):
        return
    found = path.stat()
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(
            errno.EPERM, "others may write to it: 'chmod go-w', or name a folder inside of it", str(path)
        )
    # also of a link: whoever makes one in /tmp would choose the folder
    if not {found.st_uid, path.lstat().st_uid} <= {os.getuid(), 0}:
        raise PermissionError(errno.EPERM, "it belongs to another user: 'chown' it, or name another folder", str(path))


def try_lock(path: Path) -> int | None:
    """Descriptor of the lock `path`, a file of its own, as SQLite has locks in its files; None: a living process has it."""
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | NO_FOLLOW, 0o600)
        try:
            _lock(descriptor)
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
                return None
            raise  # a file system without locks
        locked = os.fstat(descriptor)
        if identity_of(path) == (locked.st_dev, locked.st_ino):
            return descriptor
        os.close(descriptor)  # somebody deleted it in between, and the next one makes another
