"""Temporary folders of this process. A file in each is locked as long as it lives: folders whose file is not are removed."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import shutil
import stat
import sys
import tempfile
from pathlib import Path

from pytest_joules.files import locks

_NAME = re.compile(r"pytest-joules-[a-z]+-[a-z0-9_]{8}")
_LOCK = ".lock"
_folders: dict[Path, int] = {}


def folder(kind: str) -> Path:
    """A new folder that no other user can read. ``kind``: a word of lower-case letters. Raises ``OSError``."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=f"pytest-joules-{kind}-")).resolve()
        # Until the file is locked, another run may take the folder for one that was left: then it removes it.
        with contextlib.suppress(FileNotFoundError):
            descriptor = locks.make(path / _LOCK)
            if descriptor is not None:
                _folders[path] = descriptor
                return path


def remove(path: Path) -> None:
    """Remove a folder of this process. A fork of ours does not."""
    descriptor = _folders.pop(path, None)
    if descriptor is not None and locks.is_held(descriptor):
        _remove(path, descriptor)


@atexit.register
def _remove_all() -> None:
    """What an interruption has kept from being removed."""
    for path in list(_folders):
        remove(path)


def shared_with_children(path: Path) -> tuple[int, ...]:
    """What a program must be given (``pass_fds=``) that works in the folder, and may outlive this process."""
    return (_folders[path],) if path in _folders and sys.platform != "win32" else ()


def is_one(name: str) -> bool:
    """Whether a folder of this name is such a one."""
    return _NAME.fullmatch(name) is not None


def sweep() -> None:
    """Remove what runs have left that were killed."""
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for path in [Path(entry.path) for entry in entries if is_one(entry.name)]:
            with contextlib.suppress(OSError):
                _sweep(path)


def _sweep(path: Path) -> None:
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or (hasattr(os, "getuid") and status.st_uid != os.getuid()):
        return
    try:
        descriptor = locks.take_left(path / _LOCK)
    except FileNotFoundError:
        # Just made, if it is empty, and made anew then.
        if locks.is_old(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.rmdir()
        return
    if descriptor is not None:
        _remove(path, descriptor)


def _remove(path: Path, descriptor: int) -> None:
    """The locked file last: where something cannot be removed, or this process is killed now, the next run goes on."""
    left = False
    with contextlib.suppress(OSError):
        for entry in path.iterdir():
            if entry.name != _LOCK:
                left |= not remove_all(entry)
    if sys.platform == "win32":  # what is open cannot be removed there
        locks.release(descriptor)
    if not left:
        with contextlib.suppress(OSError):
            remove_all(path / _LOCK)
            path.rmdir()
    locks.release(descriptor)


def remove_all(path: Path) -> bool:
    """Remove a file, or a folder with all that is in it, in whatever state tests have left it; whether it is gone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            with contextlib.suppress(OSError):
                path.chmod(0o700)
            for place, names, _ in os.walk(path):
                for name in names:
                    inner = Path(place, name)
                    if not inner.is_symlink():
                        with contextlib.suppress(OSError):
                            inner.chmod(0o700)
            shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    return not os.path.lexists(path)
