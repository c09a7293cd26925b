"""Putting a file in its place: checked before the run, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex
from typing import TextIO


class ReportPathError(ValueError):
    """A file cannot be written; the message names the file, the reason and what to do."""


def check(path: str | os.PathLike[str], option: str) -> None:
    """Find out before the run whether a report can be written. Changes nothing; missing folders are made when writing.

    ``option`` is the option that named the path, for the message.

    Raises:
        ReportPathError: the path is a directory, lies under something that is none, or may not be written.
    """
    text = os.fspath(path)
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
    trial = _beside(folder)
    try:
        os.close(os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise ValueError(f"no file can be made in {folder} ({error.strerror})") from None
    trial.unlink()


def atomically(path: str | os.PathLike[str], writer: Callable[[TextIO], None], what: str = "report") -> None:
    """Let ``writer`` write a UTF-8 text file (lone surrogates as backslash escapes, line ends as given).

    A regular file is written beside its place and then moved there, so that the old one stays until the new one is whole.
    Devices, pipes and what ``/dev`` and ``/proc`` name are written to directly and never replaced. ``what`` is written, for the
    message.

    Raises:
        ReportPathError: the file cannot be written; an older file is as it was, and nothing is left beside it.
    """
    text = os.fspath(path)
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
    trial = _beside(target.parent)
    try:
        with _opened(os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)) as file:
            writer(file)
            file.flush()
            os.fsync(file.fileno())
        if found is not None:
            trial.chmod(stat.S_IMODE(found.st_mode))
        trial.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            trial.unlink()
        raise


def _opened(descriptor: int) -> TextIO:
    return os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace", newline="")


def _beside(folder: Path) -> Path:
    return folder / f".joules-{os.getpid()}-{token_hex(4)}.tmp"


def _stat(path: str | os.PathLike[str]) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116 - as open would: through /dev/stdout, which Path.resolve cannot follow
    except FileNotFoundError:
        return None


def _in_place(text: str, found: os.stat_result) -> bool:
    return not stat.S_ISREG(found.st_mode) or os.path.abspath(text).startswith(("/dev/", "/proc/"))  # noqa: PTH100
