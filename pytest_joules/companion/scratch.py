"""Temporary folders of this process: those of processes that were killed are found by their names, and removed."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

_NAME = re.compile(r"pytest-joules-(\d+)-([a-z]+)-.*")


def folder(kind: str) -> Path:
    """A new folder that no other user can read. ``kind``: a word of lower-case letters. Raises ``OSError``."""
    return Path(tempfile.mkdtemp(prefix=f"pytest-joules-{os.getpid()}-{kind}-")).resolve()


def left_behind(kind: str) -> list[Path]:
    """Folders of this kind whose processes are gone."""
    found = Path(tempfile.gettempdir()).glob(f"pytest-joules-*-{kind}-*")
    return [path for path in found if is_orphan(path.name, kind) and _mine(path)]


def is_orphan(name: str, kind: str) -> bool:
    """Whether a folder of this name was made by a process that is gone."""
    match = _NAME.fullmatch(name)
    return match is not None and match[2] == kind and not _alive(int(match[1]))


def remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def _mine(path: Path) -> bool:
    try:
        return not hasattr(os, "getuid") or path.lstat().st_uid == os.getuid()
    except OSError:
        return False


def _alive(pid: int) -> bool:
    import psutil

    return bool(psutil.pid_exists(pid))
