"""Putting a file in its place: checked before the run, written whole or not at all, and not outside of where it belongs.

Where a person typed the name, it belongs there. What a repository names (an ini file, a baseline's folder) belongs inside the
project, whatever its links lead to.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from io import FileIO
from pathlib import Path
from secrets import token_hex
from typing import TextIO

_OURS = re.compile(r"\.joules-\d+-[0-9a-f]{8}\.tmp")


class ReportPathError(ValueError):
    """A file cannot be written; the message names the file, the reason and what to do."""


def check(path: str | os.PathLike[str], option: str, inside: Sequence[Path] = ()) -> None:
    """Find out before the run whether a report can be written. Changes nothing; missing folders are made when writing.

    ``option`` is the option that named the path, for the message. ``inside``: folders that nothing is written out of.

    Raises:
        ReportPathError: the path is a directory, lies under something that is none, leads out, or may not be written.
    """
    text = os.fspath(path)
    if inside:
        stay(path, inside, option)
    try:
        _check(text)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ReportPathError(f"{option}={text}: {reason}. Name a file in a folder that you may write to.") from None


def _check(text: str) -> None:
    if not text.strip():
        raise ValueError("a file name is missing")
    if text.endswith(("/", os.sep)):
        raise ValueError("this names a folder, not a file")
    found = _stat(text)
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise ValueError("this is a folder, not a file")
    if found is not None and not os.access(text, os.W_OK):
        raise ValueError("the file exists and may not be written")
    if found is not None and _in_place(text, found):
        return
    folder = Path(os.path.realpath(text)).parent
    while _stat(folder) is None:
        folder = folder.parent
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file, not a folder")
    # Permission bits do not tell the truth for root, on network drives and on read-only mounts: try.
    try:
        with _beside(folder, 0o600):
            pass
    except OSError as error:
        raise ValueError(f"no file can be made in {folder} ({error.strerror})") from None


def stay(path: str | os.PathLike[str], inside: Sequence[Path], what: str) -> None:
    """Raises :class:`ReportPathError` where a path, with the links on its way, leads out of all of these folders; ``what`` is the
    subject of the message."""
    text, real = Path(os.path.abspath(path)), Path(os.path.realpath(path))  # noqa: PTH100 - with the links as they are
    if any(real.is_relative_to(os.path.realpath(folder)) for folder in inside):
        return
    if any(text.is_relative_to(os.path.abspath(folder)) for folder in inside):  # noqa: PTH100
        raise ReportPathError(f"{what}: {text} is, or lies behind, a link that leads out of the project, to {real}: remove it.")
    raise ReportPathError(f"{what}: {text} lies outside of the project: only whoever types the command may name such a place.")


def atomically(
    path: str | os.PathLike[str], writer: Callable[[TextIO], None], what: str = "report", inside: Sequence[Path] = ()
) -> None:
    """Let ``writer`` write a UTF-8 text file (lone surrogates as backslash escapes, line ends as given).

    A regular file is written beside its place and then moved there, so that the old one stays until the new one is whole.
    Devices, pipes and what ``/dev`` and ``/proc`` name are written to directly and never replaced. ``what`` is written, for the
    message. ``inside``: folders that nothing is written out of.

    Raises:
        ReportPathError: the file cannot be written; an older file is as it was, and nothing is left beside it.
    """
    text = os.fspath(path)
    if inside:
        stay(path, inside, f"cannot write the {what}")
    try:
        found = _stat(text)
        if found is not None and stat.S_ISDIR(found.st_mode):
            raise ReportPathError(f"cannot write the {what} to {text}: it is a folder. Name a file.")
        if found is not None and _in_place(text, found):
            # Appended: /dev/stdout may be a regular file that already holds the run's output.
            with _opened(os.open(text, os.O_WRONLY | os.O_APPEND)) as file:
                writer(file)
            return
        _replace(Path(os.path.realpath(text)), found, writer)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ReportPathError(f"cannot write the {what} to {text}: {reason}. Make room or name another file.") from error


def _replace(target: Path, found: os.stat_result | None, writer: Callable[[TextIO], None]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with _beside(target.parent, 0o666) as (trial, held):
        with _opened(os.dup(held.fileno())) as file:
            writer(file)
            file.flush()
            os.fsync(file.fileno())
        if found is not None:
            trial.chmod(stat.S_IMODE(found.st_mode))
        if _lock is None:
            held.close()  # Windows moves no open file
        trial.replace(target)


def _opened(descriptor: int) -> TextIO:
    return os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace", newline="")


@contextlib.contextmanager
def _beside(folder: Path, mode: int) -> Iterator[tuple[Path, FileIO]]:
    """A new file of ours in a folder, locked while it is written, and gone at the end if nobody moved it."""
    _clean(folder)
    while True:
        trial = folder / f".joules-{os.getpid()}-{token_hex(4)}.tmp"
        held = os.fdopen(os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb", buffering=0)
        if _lock is not None:
            _lock(held.fileno(), wait=True)
        if os.fstat(held.fileno()).st_nlink:
            break
        held.close()  # somebody took it for a dead process's before it was locked
    try:
        yield trial, held
    finally:
        with contextlib.suppress(OSError):
            trial.unlink()
        held.close()


def _clean(folder: Path) -> None:
    """Remove what processes left that were killed while they wrote: what nobody holds a lock on. A number of a process says
    nothing of one in another container or on another host."""
    if _lock is None:
        return
    with contextlib.suppress(OSError):
        left = [folder / name for name in os.listdir(folder) if _OURS.fullmatch(name)]  # noqa: PTH208 - names only
        for path in left:
            with contextlib.suppress(OSError):
                descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    if stat.S_ISREG(os.fstat(descriptor).st_mode) and _lock(descriptor, wait=False):
                        path.unlink()
                finally:
                    os.close(descriptor)


def _stat(path: str | os.PathLike[str]) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116 - as open would: through /dev/stdout, which Path.resolve cannot follow
    except FileNotFoundError:
        return None


def _in_place(text: str, found: os.stat_result) -> bool:
    return not stat.S_ISREG(found.st_mode) or os.path.abspath(text).startswith(("/dev/", "/proc/"))  # noqa: PTH100


def _locking() -> Callable[..., bool] | None:
    """A function that locks an open file until its process ends, and says whether it could; ``None`` where there is none."""
    if sys.platform == "win32":
        return None
    import fcntl

    def lock(descriptor: int, *, wait: bool) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # held, or a file system without locks: then nothing is taken away
            return False
        return True

    return lock


_lock = _locking()
