"""Locked files, which say whether what somebody made is still in use: the system takes a lock away when its holder ends, however
that ends, and no process needs to be known by its number, which means nothing in another container that shares the file.

flock(2), not the record locks of fcntl(2): those are lost when any part of the process closes the file, and cannot be handed to a
child. A flock goes with the open file. So a program that works for us (git, pip) can be given it, and what a killed run has left
counts as in use until that program has ended too. What a test forks must not have it, as a daemon would hold it for ever: copies
are closed in every fork.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from pathlib import Path

#: Seconds after which a file counts as left where nothing can be locked (some network file systems).
UNKNOWN = 7 * 86400.0

_held: dict[int, tuple[int, int]] = {}
"""Descriptors of locked files, with which files they were: a number may lead to another one by now."""

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


class NoLock(OSError):
    """What stands in the file's place is no file that could be locked; the message says what it is."""


def make(path: Path) -> int | None:
    """Make a file and lock it. ``None`` where somebody who clears up was quicker: make another.

    Raises:
        OSError: it cannot be made, or is there already.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        locked = _lock(descriptor)
    except OSError:
        locked = True  # nothing can be locked here: then its age tells
    if locked and _is(descriptor, path):
        _held[descriptor] = identity(descriptor)
        return descriptor
    os.close(descriptor)
    return None


def take(path: Path, *, shared: bool = False) -> int | None:
    """Lock a file, if nobody holds it. It is not waited for, and no link is followed.

    Args:
        shared: between users: it is made where it is not there, and one that may only be read can be locked too

    Raises:
        NoLock: something else is there.
        OSError: it cannot be opened or locked.
    """
    descriptor = _open(path, shared=shared)
    try:
        if _lock(descriptor):
            if _is(descriptor, path):
                _held[descriptor] = identity(descriptor)
                return descriptor
            _unlock(descriptor)  # removed meanwhile
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def is_held(descriptor: int) -> bool:
    """Whether this process has the lock: a fork of the one that took it has not."""
    return _held.get(descriptor) == identity(descriptor)


def release(descriptor: int) -> None:
    """Give a lock back: what others have of it as well is theirs no more."""
    if is_held(descriptor):
        del _held[descriptor]
        with contextlib.suppress(OSError):
            _unlock(descriptor)
        os.close(descriptor)


def take_left(path: Path) -> int | None:
    """Lock a file that its maker holds no more. ``None`` while he does. Raises ``FileNotFoundError``."""
    try:
        return take(path)
    except FileNotFoundError:
        raise
    except OSError:
        if not is_old(path):
            return None
    descriptor = os.open(path, os.O_RDONLY)
    _held[descriptor] = identity(descriptor)
    return descriptor


def is_old(path: Path) -> bool:
    """Whether a file or folder is so old that nobody can be using it."""
    return time.time() - path.lstat().st_mtime > UNKNOWN


def holder(path: Path) -> int | None:
    """The process that holds a lock, where the system tells: not of another container, and only on Linux."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        status = path.stat()
        place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5] == place:
                return int(fields[4]) or None
    return None


def _open(path: Path, *, shared: bool) -> int:
    flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        status = path.lstat()
    except FileNotFoundError:
        if not shared:
            raise
        # Not O_CREAT alone: of another user's file in /tmp, some systems forbid even that.
        return os.open(path, flags | os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    _refuse(status.st_mode)
    try:
        descriptor = os.open(path, flags | os.O_RDWR)
    except PermissionError:
        if not shared:
            raise
        descriptor = os.open(path, flags | os.O_RDONLY)
    try:
        _refuse(os.fstat(descriptor).st_mode)
    except NoLock:
        os.close(descriptor)
        raise
    return descriptor


def _refuse(mode: int) -> None:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFLNK: "a link", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    if not stat.S_ISREG(mode):
        raise NoLock(kinds.get(stat.S_IFMT(mode), "a device"))


def _is(descriptor: int, path: Path) -> bool:
    """Whether an open file still has this name: whoever removes it locks it first."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return identity(descriptor) == (status.st_dev, status.st_ino)


def identity(descriptor: int) -> tuple[int, int]:
    """Which file a descriptor leads to: a number that was closed may lead to another one by now."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return (-1, -1)
    return (status.st_dev, status.st_ino)


def _forked() -> None:
    for descriptor, known in _held.items():
        if identity(descriptor) == known:
            os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
