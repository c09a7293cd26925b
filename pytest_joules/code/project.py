"""The project's own files: which code is the project's, what its modules are called, its data files, and what it runs on."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.machinery
import os
import platform
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from pytest_joules import __version__
from pytest_joules.code import installed_copies, source_file
from pytest_joules.code.installed_copies import INSTALLED
from pytest_joules.code.source_file import File, digest
from pytest_joules.files import reading

#: Folders inside a project that hold what others wrote, or what was made from its source.
_FOREIGN = frozenset(
    (
        *("site-packages", "dist-packages", "node_modules", "__pypackages__", "__pycache__", ".eggs", ".git", ".hg", ".svn"),
        *(".tox", ".nox", ".venv", ".direnv", ".hypothesis", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".joules"),
    )
)
#: Folders of the machine, and those for a while, in which nothing is a project's.
_MACHINES = ("/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr/lib", "/usr/lib64")
_TEMPORARY = ("/tmp", "/var/tmp", "/var/run", tempfile.gettempdir())
#: What is recorded of a test: another number, and what was recorded before is not relied on.
RECORDED = 2
#: Of data files, so many bytes are read at most; of the rest, the sizes count.
_MOST_BYTES = 64 * 2**20
_MOST_FILES = 20_000
#: Of one file that matters, so many bytes are read: a second or two.
_MOST_HASHED = 2**30


class Project:
    """The files below ``root`` that are not of an environment, the project's own distribution where that is installed as
    a copy (``pip install .``), and what lies elsewhere and belongs to no environment: the code beside an ini file in a folder of
    its own, another project that is installed as editable. Paths are relative to ``root``, with ``..`` where need be.

    ``around``: folders of which everything counts, though they are in a folder for temporary files.
    """

    def __init__(self, root: Path, around: Iterable[Path] = ()) -> None:
        self.root = root.resolve()
        self._prefix = f"{self.root}{os.sep}"
        around = [path.resolve() for path in around]
        self._around = tuple(f"{path}{os.sep}" for path in around)
        self._elsewhere: dict[str, bool] = {}
        self._contents: dict[tuple[str, int, int], str] = {}
        self._environments: dict[str, bool] = {}
        self._relative: dict[str, str | None] = {}
        self._folders: dict[str, str] = {}
        self._files: dict[str, File | None] = {}
        self._early: dict[str, bytes] = {}
        """What stands in files that were read before tests ran, until it is asked for."""
        self._listed: dict[Path, frozenset[str]] = {}
        self._modules: dict[tuple[str, str], str | None] = {}
        found = installed_copies.find((self.root, *around))
        self.installed, self._own, self._local = found.copies, found.own, found.others
        self._by_copy = {name: path for path, name in reversed([*self.installed.items()])}
        self._copied = {name.partition("/")[0].removesuffix(".py") for name in self._by_copy}

    # Paths

    def relative(self, filename: str) -> str | None:
        """The path in the project, with ``/``; ``None`` for a file that is not the project's, or for no file at all."""
        try:
            return self._relative[filename]
        except KeyError:
            found = self._relative[filename] = self._place(filename)
            return found

    def _place(self, filename: str) -> str | None:
        if filename.startswith("<") or not filename.endswith((".py", *importlib.machinery.EXTENSION_SUFFIXES)):
            return None
        folder, name = os.path.split(filename)
        if folder not in self._folders:  # one look at the disk for all files of a folder
            self._folders[folder] = os.path.realpath(folder)
        path = f"{self._folders[folder]}{os.sep}{name}"
        if (copied := self.installed.get(path)) is not None:
            return f"{INSTALLED}/{copied}"
        return self._below(path)

    def _below(self, path: str) -> str | None:
        if not path.startswith(self._prefix):
            folder = os.path.dirname(path)  # noqa: PTH120 - thousands of times
            return relative_path(path, str(self.root)) if self._is_elsewhere(folder) else None
        *folders, name = path.removeprefix(self._prefix).replace(os.sep, "/").split("/")
        if any(folder in _FOREIGN for folder in folders) or self._in_environment(folders):
            return None
        return "/".join((*folders, name))

    def _is_elsewhere(self, folder: str) -> bool:
        """Whether a folder outside of the root is one that people write."""
        known = self._elsewhere.get(folder)
        if known is None:
            known = self._elsewhere[folder] = self._looks_written(folder)
        return known

    def _looks_written(self, folder: str) -> bool:
        inside = f"{folder}{os.sep}"
        parts = Path(folder).parts
        if not _FOREIGN.isdisjoint(parts) or inside.startswith(_NOT_OURS):
            return False
        around = [prefix for prefix in self._around if inside.startswith(prefix)]
        if not around and inside.startswith(_NOWHERE):
            return False
        above = max(around, key=len, default="")
        folders = [path for path in (Path(folder), *Path(folder).parents) if len(str(path)) >= len(above)]
        return not any((path / marker).exists() for path in folders for marker in ("pyvenv.cfg", "conda-meta"))

    def data(self, filename: str) -> str | None:
        """The key of a file that is no code, or of a folder (with ``/`` at its end); ``None`` where it is nothing that a test
        should depend on."""
        folder, name = os.path.split(filename.rstrip(os.sep))
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        if name in _FOREIGN or name.startswith(".coverage"):
            return None
        path = f"{self._folders[folder]}{os.sep}{name}"
        if (copied := self.installed.get(path)) is not None:
            return f"{INSTALLED}/{copied}"
        return "./" if path == str(self.root) else self._below(path)

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
            self._contents[known] = content_digest(path) if found.st_size <= _MOST_BYTES else digest(known[1:])
        return self._contents[known]

    def _shown(self, folder: Path) -> Iterator[str]:
        try:
            names = os.listdir(folder)  # noqa: PTH208 - names only
        except OSError:
            return
        for name in names:
            if name not in _FOREIGN and not name.startswith(".coverage") and not name.endswith(".pyc"):
                yield name

    def _in_environment(self, folders: Iterable[str]) -> bool:
        here = str(self.root)
        for folder in folders:
            here = f"{here}{os.sep}{folder}"
            if here not in self._environments:
                markers = (f"{here}{os.sep}pyvenv.cfg", f"{here}{os.sep}conda-meta")
                self._environments[here] = any(map(os.path.exists, markers))
            if self._environments[here]:
                return True
        return False

    def path(self, relative: str) -> Path:
        """Where a file of the project is."""
        if relative.startswith(f"{INSTALLED}/"):
            copied = relative.removeprefix(f"{INSTALLED}/")
            return Path(self._by_copy.get(copied, "/nowhere"))
        return self.root / relative

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

    # Modules

    def module(self, name: str, importer: str) -> str | None:
        """The file of a module of the project by its full name, as ``importer`` would import it."""
        top = name.partition(".")[0]
        imported = (INSTALLED,) if top in self._copied and self._is_of_the_copy(name) else ()
        for root in (*imported, self._package_root(importer), *self._roots(importer)):
            key = (root, name)
            if key not in self._modules:
                self._modules[key] = (
                    self._find(root, name) if f"{top}.py" in self._names(root) or top in self._names(root) else None
                )
            if (found := self._modules[key]) is not None:
                return found
        return None

    def _is_of_the_copy(self, name: str) -> bool:
        """Whether a module was imported from an installed copy: the tree has one of this name as well."""
        while name:
            file = getattr(sys.modules.get(name), "__file__", None)
            if isinstance(file, str):
                return (self.relative(file) or "").startswith(f"{INSTALLED}/")
            name = name.rpartition(".")[0]
        return False

    def _roots(self, importer: str) -> Iterator[str]:
        if importer.startswith(f"{INSTALLED}/"):
            yield INSTALLED
            return
        yield from self._import_roots()
        if self.installed:
            yield INSTALLED

    @lru_cache(maxsize=1)  # noqa: B019 - there is one project in a session
    def _import_roots(self) -> tuple[str, ...]:
        roots = ["", "src", "lib"]
        for entry in sys.path:
            path = os.path.realpath(entry or ".")
            if path != str(self.root) and (inside := self.relative(f"{path}{os.sep}x.py")) is not None:
                roots.append(inside.rpartition("/")[0])
        return tuple(dict.fromkeys(roots))

    def _package_root(self, importer: str) -> str:
        folder = importer.rpartition("/")[0]
        while folder and "__init__.py" in self._names(folder):
            folder = folder.rpartition("/")[0]
        return folder

    def _find(self, root: str, name: str) -> str | None:
        return self.inside(root, name.split("."))

    def inside(self, folder: str, parts: Iterable[str]) -> str | None:
        """The file of a module below a folder."""
        *packages, last = parts
        for package in packages:
            folder = f"{folder}/{package}" if folder else package
        names = self._names(folder)
        base = f"{folder}/{last}" if folder else last
        if last in names and "__init__.py" in self._names(base):
            return f"{base}/__init__.py"
        return f"{base}.py" if f"{last}.py" in names else None

    def _names(self, folder: str) -> frozenset[str]:
        """What is in a folder of the project."""
        if folder == INSTALLED or folder.startswith(f"{INSTALLED}/"):
            return self._installed_names(folder)
        path = self.root / folder
        if path not in self._listed:
            try:
                self._listed[path] = frozenset(os.listdir(path))  # noqa: PTH208 - names only, thousands of times
            except OSError:
                self._listed[path] = frozenset()
        return self._listed[path]

    def _installed_names(self, folder: str) -> frozenset[str]:
        path = Path(folder)
        if path not in self._listed:
            inside = folder.removeprefix(INSTALLED).removeprefix("/")
            start = f"{inside}/" if inside else ""
            names = [name[len(start) :].partition("/")[0] for name in self.installed.values() if name.startswith(start)]
            self._listed[path] = frozenset(names)
        return self._listed[path]

    # What is not Python

    def extensions(self) -> str | None:
        """A hash of the compiled modules of the project that are loaded, or ``None``."""
        found = {}
        for module in sys.modules.copy().values():
            name = getattr(module, "__file__", None) if isinstance(module, ModuleType) else None
            if isinstance(name, str) and name.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES)):
                relative = self.relative(name)
                if relative is not None:
                    found[relative] = content_digest(Path(name))
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
        found = {path for name in self._candidates() if (path := self.relative(f"{self._prefix}{name}")) is not None}
        found |= {f"{INSTALLED}/{name}" for name in self._by_copy}
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
                    and name not in _FOREIGN
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
        return (folder == str(self.root) or folder.startswith(self._prefix)) and self.relative(
            f"{folder}{os.sep}x.py"
        ) is not None


def python() -> str:
    """A hash of the interpreter and how it runs."""
    flags = (sys.flags.optimize, sys.flags.dev_mode, getattr(sys.flags, "utf8_mode", 0))
    free_threaded = not getattr(sys, "_is_gil_enabled", lambda: True)()
    return digest(platform.python_implementation(), platform.python_version(), flags, free_threaded)


def content_digest(path: Path) -> str:
    """A hash of a file's bytes, as :func:`pytest_joules.code.source_file.content_digest`; of a very large one, of its size and
    time of change; ``"?"`` where it cannot be read."""
    found = hashlib.blake2b(digest_size=8)
    try:
        for chunk in reading.chunks(path, _MOST_HASHED):
            found.update(chunk)
    except ValueError:
        return "?"
    except OSError as error:
        if error.errno != errno.EFBIG:
            return "?"
        status = path.stat()
        return digest(status.st_size, status.st_mtime_ns)
    return found.hexdigest()


def relative_path(path: str, root: str) -> str:
    """The way from ``root`` to a path, with ``/``; the path itself where that is shorter or there is none."""
    try:
        way = os.path.relpath(path, root).replace(os.sep, "/")
    except ValueError:  # another drive
        return path
    return way if way.count("../") <= _HIGHEST else path


def folders_around(root: Path, paths: Iterable[Path]) -> list[Path]:
    """Folders that belong to a project besides ``root``: that of its repository, and the one that ``root`` and ``paths`` have in
    common (the ini file may lie in a folder of its own)."""
    found = [folder for folder in (root, *root.parents) if (folder / ".git").exists()][:1]
    with contextlib.suppress(ValueError):
        found.append(Path(os.path.commonpath([root, *paths])))
    return [folder for folder in found if folder not in (root, Path(folder.anchor), Path.home(), *map(Path, _TEMPORARY))]


def _folders(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple({f"{path}{os.sep}" for name in paths for path in (name, os.path.realpath(name))})


#: The standard library, and this plugin where it is run from its source.
_NOT_OURS = _folders([*filter(None, map(sysconfig.get_path, ("stdlib", "platstdlib"))), str(Path(__file__).parent.parent)])
_NOWHERE = _folders((*_MACHINES, *_TEMPORARY))
#: So many folders up a path is told from the root, further up from the top.
_HIGHEST = 3
