"""Unpacking a source distribution that anybody may have written: nothing lands outside, and no more than agreed."""

from __future__ import annotations

import gzip
import io
import os
import posixpath
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pytest_joules.collect.failure import Failed

#: Files and folders of one archive.
MOST_MEMBERS = 50_000
SUFFIXES = (".tar.gz", ".tgz", ".zip")

#: Folders of a project that hold what others wrote, or what was made.
LEFT_OUT = frozenset(
    (
        *(".git", ".hg", ".svn", ".tox", ".nox", ".venv", "venv", "node_modules", "__pycache__"),
        *(".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis"),
    )
)


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    size: int
    """Bytes; a folder has none."""
    content: IO[bytes] | None
    """``None`` for a folder."""
    link: str | None = None
    """Where a symbolic link leads."""


class _Bounded(io.RawIOBase):
    """Reads no more than so many bytes of a stream: a small archive may unpack to any size, its headers too."""

    def __init__(self, stream: gzip.GzipFile, limit: int) -> None:
        self._stream, self._left = stream, limit

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > self._left:
            size = self._left + 1
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise Failed("bad archive", "it unpacks to more than the disk limit")
        return data


def unpack(path: Path, folder: Path, limit: int) -> Path:
    """Unpack a ``.tar.gz`` or ``.zip`` into ``folder``, which must not exist; returns the folder inside that holds the project.

    ``limit`` is in bytes, of the archive and of what comes out of it. Regular files, folders, and symbolic links that stay
    inside; nothing else is made.

    Raises:
        Failed: it is no archive, is damaged, is too large, or wants to write outside of the folder.
    """
    try:
        size = path.stat().st_size
        if size > limit:
            raise Failed("bad archive", f"{path.name} has {size} bytes, more than the disk limit of {limit}")
        folder.mkdir(parents=True)
        if path.name.endswith(".zip"):
            with zipfile.ZipFile(path) as zipped:
                _write(_zip_members(zipped), folder, limit)
        else:
            # Headers and padding count as well: twice the size is room for any archive of small files.
            with gzip.open(path) as packed:
                stream = _Bounded(packed, 2 * limit)
                with tarfile.open(fileobj=stream, mode="r|") as tar:
                    _write(_tar_members(tar), folder, limit)
                # The checksum stands at the end.
                while stream.read(1 << 16):
                    pass
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        EOFError,
        ValueError,
        RuntimeError,
        NotImplementedError,
    ) as error:
        raise Failed("bad archive", f"{path.name} cannot be unpacked: {str(error) or type(error).__name__}") from None
    return _top(folder)


def _tar_members(tar: tarfile.TarFile) -> Iterator[_Member]:
    for member in tar:
        if member.isdir():
            yield _Member(member.name, 0, None)
        elif member.isreg():
            yield _Member(member.name, member.size, tar.extractfile(member))
        elif member.issym():
            yield _Member(member.name, 0, None, member.linkname)
        elif member.islnk():
            raise Failed("bad archive", f"{member.name!r} is a hard link")
        else:
            raise Failed("bad archive", f"{member.name!r} is a device or a pipe")


def _zip_members(zipped: zipfile.ZipFile) -> Iterator[_Member]:
    for member in zipped.infolist():
        if member.is_dir():
            yield _Member(member.filename, 0, None)
        else:
            with zipped.open(member) as content:
                yield _Member(member.filename, member.file_size, content)


def _write(members: Iterator[_Member], folder: Path, limit: int) -> None:
    links, left = [], limit
    for number, member in enumerate(members):
        if number >= MOST_MEMBERS:
            raise Failed("bad archive", f"it has more than {MOST_MEMBERS} members")
        target = folder / _inside(member.name)
        if member.link is not None:
            links.append((target, member.name, member.link))
        elif member.content is None:
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                while data := member.content.read(1 << 16):
                    left -= len(data)
                    if left < 0:
                        raise Failed("bad archive", f"it unpacks to more than the disk limit of {limit} bytes")
                    file.write(data)
    # After all files: none is written through a link. Each is followed at once: the next may go through it.
    root = folder.resolve()
    for target, name, link in links:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(link)
        if not target.resolve().is_relative_to(root):
            target.unlink()
            raise Failed("bad archive", f"the link {name!r} leads outside: {link!r}")


def _inside(name: str) -> str:
    """The member's path with its dots resolved."""
    path = posixpath.normpath(name.replace("\\", "/"))
    if path.startswith(("/", "../")) or path == ".." or "\0" in path or (os.name == "nt" and ":" in path):
        raise Failed("bad archive", f"{name!r} would be written outside of the folder")
    return path


def _top(folder: Path) -> Path:
    """The one folder that everything is in; where there are several, their folder."""
    entries = list(folder.iterdir())
    if not entries:
        raise Failed("bad archive", "it is empty")
    return entries[0] if len(entries) == 1 and entries[0].is_dir() and not entries[0].is_symlink() else folder


def copy(source: Path, folder: Path, limit: int) -> Path:
    """Copy a project's folder, without environments and caches; links stay links.

    Raises:
        Failed: it is larger than ``limit`` bytes, or cannot be read.
    """
    left = limit

    def counted(there: str, here: str) -> str:
        nonlocal left
        left -= Path(there).lstat().st_size
        if left < 0:
            raise Failed("disk", f"{source} is larger than the disk limit of {limit} bytes")
        return shutil.copy2(there, here, follow_symlinks=False)

    def left_out(inside: str, names: list[str]) -> set[str]:
        return {
            name
            for name in names
            if name in LEFT_OUT
            or (Path(inside) / name / "pyvenv.cfg").exists()
            or Path(inside, name).resolve() == folder.resolve()
        }

    try:
        shutil.copytree(source, folder, symlinks=True, ignore=left_out, copy_function=counted)
    except (OSError, shutil.Error) as error:
        raise Failed("bad archive", f"{source} cannot be copied: {error}") from None
    return folder
