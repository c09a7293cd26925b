"""The project's own files: which code is the project's, what its modules are called, its data files, and what it runs on."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.machinery
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from pytest_joules import __version__
from pytest_joules.code import installed_copies, source_file
from pytest_joules.code.hashing import digest, file_digest
from pytest_joules.code.import_search import ImportSearch
from pytest_joules.code.installed_copies import INSTALLED
from pytest_joules.code.project_paths import FOREIGN, ProjectPaths
from pytest_joules.code.source_file import File
from pytest_joules.files import reading

#: What is recorded of a test: another number, and what was recorded before is not relied on.
RECORDED = 2
#: Of data files, so many bytes are read at most; of the rest, the sizes count.
_MOST_BYTES = 64 * 2**20
_MOST_FILES = 20_000


class Project:
    """The files below ``root`` that are not of an environment, the project's own distribution where that is installed as
    a copy (``pip install .``), and what lies elsewhere and belongs to no environment: the code beside an ini file in a folder of
    its own, another project that is installed as editable. Paths are relative to ``root``, with ``..`` where need be.

    ``around``: folders of which everything counts, though they are in a folder for temporary files.
    """

    def __init__(self, root: Path, around: Iterable[Path] = ()) -> None:
        self.root = root.resolve()
        around = [path.resolve() for path in around]
        found = installed_copies.find((self.root, *around))
        self.installed, self._own, self._local = found.copies, found.own, found.others
        paths = ProjectPaths(self.root, around, found.copies)
        self.relative, self.data, self.path = paths.relative, paths.data, paths.path
        modules = ImportSearch(paths, found.copies.values())
        self.module, self.inside = modules.module, modules.inside
        self._contents: dict[tuple[str, int, int], str] = {}
        self._files: dict[str, File | None] = {}
        self._early: dict[str, bytes] = {}
        """What stands in files that were read before tests ran, until it is asked for."""

    # Files

    def data_digest(self, key: str, seen: tuple[int, int] | None = None) -> str:
        """A hash of a file's content or of a folder's names as they are now. ``seen``: size and time of change of the file when
        it was read; where they are others now, what was read is not known and nothing will be equal to the hash."""
        path = self.path(key)
        if key.endswith("/"):
            return digest(sorted(self._shown(path)))
        try:
            found = path.stat()
        except OSError:
            return "missing"
        if seen is not None and seen != (found.st_size, found.st_mtime_ns):
            return digest("was", seen)
        known = (key, found.st_size, found.st_mtime_ns)
        if known not in self._contents:
            self._contents[known] = file_digest(path) if found.st_size <= _MOST_BYTES else digest(known[1:])
        return self._contents[known]

    def _shown(self, folder: Path) -> Iterator[str]:
        try:
            names = os.listdir(folder)  # noqa: PTH208 - names only
        except OSError:
            return
        for name in names:
            if name not in FOREIGN and not name.startswith(".coverage") and not name.endswith(".pyc"):
                yield name

    def file(self, relative: str) -> File | None:
        """What is in a source file; ``None`` where it is gone or is no Python."""
        if relative not in self._files:
            self._files[relative] = source_file.read(self.path(relative), self._early.pop(relative, None))
        return self._files[relative]

    def read_early(self, files: Iterable[str]) -> None:
        """Read source files before fixtures can put others in their place, or a file system of their own."""
        for relative in files:
            with contextlib.suppress(OSError):
                self._early[relative] = reading.read_bytes(self.path(relative), source_file.MOST_BYTES)

    # What is not Python

    def extensions(self) -> str | None:
        """A hash of the compiled modules of the project that are loaded, or ``None``."""
        found = {}
        for module in sys.modules.copy().values():
            name = getattr(module, "__file__", None) if isinstance(module, ModuleType) else None
            if isinstance(name, str) and name.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES)):
                relative = self.relative(name)
                if relative is not None:
                    found[relative] = file_digest(Path(name))
        return digest(sorted(found.items())) if found else None

    def data_files(self, leave_out: Iterable[Path] = ()) -> str:
        """A hash of the project's files that are no Python: those that git knows, or without git all of them outside hidden
        folders and environments. For what is read by code in C, that nothing tells of."""
        left_out = {path.resolve() for path in leave_out}
        result, left = hashlib.blake2b(digest_size=8), _MOST_BYTES
        for name in self._candidates():
            path = self.root / name
            if path.suffix in (".py", ".pyc", ".pyi", ".so", ".pyd") or path in left_out:
                continue
            try:
                size = path.stat().st_size
                left -= size
                content = reading.read_bytes(path, size) if left >= 0 else str(size).encode()
            except OSError:
                content = b"?"
            result.update(f"{name}\0{len(content)}\0".encode("utf-8", "surrogateescape") + content)
        return result.hexdigest()

    def modules(self) -> set[str]:
        """All Python files of the project that are known to git, or to be found, and those of its installed copy."""
        found = {path for name in self._candidates() if (path := self.relative(f"{self.root}{os.sep}{name}")) is not None}
        found |= {f"{INSTALLED}/{name}" for name in self.installed.values()}
        return {path for path in found if path.endswith(".py")}

    def _candidates(self) -> list[str]:
        try:
            done = subprocess.run(
                ["git", "-C", str(self.root), "ls-files", "-z"],
                capture_output=True,
                timeout=5,
                check=True,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.SubprocessError):
            found = []
            for folder, folders, names in os.walk(self.root):
                inside = os.path.relpath(folder, self.root)
                folders[:] = sorted(
                    name
                    for name in folders
                    if not name.startswith(".")
                    and name not in FOREIGN
                    and not name.endswith(".egg-info")
                    and not (Path(folder) / name / "pyvenv.cfg").exists()
                )
                found += [name if inside == "." else f"{inside}/{name}".replace(os.sep, "/") for name in names if name[0] != "."]
                if len(found) > _MOST_FILES:
                    break
            return sorted(found)
        return sorted(os.fsdecode(name) for name in done.stdout.split(b"\0") if name)

    def distributions(self) -> str:
        """A hash of the names and versions of what is installed, without the project itself."""
        found = set()
        for folder in installed_copies.search_path():
            if self._is_own(folder):
                continue
            found |= {name for name in installed_copies.metadata_folders(folder) if f"{folder}{os.sep}{name}" not in self._own}
        names = {name.rpartition(".")[0].lower() for name in found if not name.lower().startswith("pytest_joules-")}
        return digest(__version__, RECORDED, sorted(names), self._local)

    def _is_own(self, folder: str) -> bool:
        inside = f"{folder}{os.sep}".startswith(f"{self.root}{os.sep}")
        return inside and self.relative(f"{folder}{os.sep}x.py") is not None


def python() -> str:
    """A hash of the interpreter and how it runs."""
    flags = (sys.flags.optimize, sys.flags.dev_mode, getattr(sys.flags, "utf8_mode", 0))
    free_threaded = not getattr(sys, "_is_gil_enabled", lambda: True)()
    return digest(platform.python_implementation(), platform.python_version(), flags, free_threaded)
