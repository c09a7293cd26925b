"""The project's own files: which code is the project's, what its modules are called, its data files, and what it runs on."""

from __future__ import annotations

import gc
import hashlib
import importlib.machinery
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

from pytest_joules import __version__
from pytest_joules.dependencies.code import File, digest

#: Folders inside a project that hold what others wrote, or what was made from its source.
_FOREIGN = frozenset(
    (
        *("site-packages", "dist-packages", "node_modules", "__pypackages__", "__pycache__", ".eggs", ".git", ".hg", ".svn"),
        *(".tox", ".nox", ".venv", ".direnv", ".hypothesis", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".joules"),
    )
)
#: Stands before the path of a file of the project that was installed, in the place of the folder it was installed to.
INSTALLED = "installed"
#: Files that are text for people.
_PROSE = frozenset((".md", ".rst", ".txt", ".adoc", ".html", ".css"))
#: Of data files, so many bytes are read at most; of the rest, the sizes count.
_MOST_BYTES = 64 * 2**20
_MOST_FILES = 20_000


class Project:
    """The files below ``root`` that are not of an environment, and the project's own distribution where that is installed as
    a copy (``pip install .``)."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._prefix = f"{self.root}{os.sep}"
        self._environments: dict[str, bool] = {}
        self._relative: dict[str, str | None] = {}
        self._folders: dict[str, str] = {}
        self._files: dict[str, File | None] = {}
        self._listed: dict[Path, frozenset[str]] = {}
        self._modules: dict[tuple[str, str], str | None] = {}
        self.installed, self._own = _installed_copies(self.root)

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
        if not path.startswith(self._prefix):
            return None
        *folders, name = path.removeprefix(self._prefix).replace(os.sep, "/").split("/")
        if any(folder in _FOREIGN for folder in folders) or self._in_environment(folders):
            return None
        return "/".join((*folders, name))

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
            return Path(next((path for path, name in self.installed.items() if name == copied), "/nowhere"))
        return self.root / relative

    def file(self, relative: str) -> File | None:
        """What is in a source file; ``None`` where it is gone or is no Python."""
        if relative not in self._files:
            # A syntax tree has no cycles: looking for them while it grows takes longer than reading it.
            collecting = gc.isenabled()
            gc.disable()
            try:
                self._files[relative] = File(self.path(relative).read_bytes())
            except (OSError, SyntaxError, ValueError, RecursionError):
                self._files[relative] = None
            finally:
                if collecting:
                    gc.enable()
        return self._files[relative]

    # Modules

    def module(self, name: str, importer: str) -> str | None:
        """The file of a module of the project by its full name, as ``importer`` would import it."""
        top = name.partition(".")[0]
        for root in (self._package_root(importer), *self._roots(importer)):
            key = (root, name)
            if key not in self._modules:
                self._modules[key] = (
                    self._find(root, name) if f"{top}.py" in self._names(root) or top in self._names(root) else None
                )
            if (found := self._modules[key]) is not None:
                return found
        return None

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
            if path.startswith(self._prefix) and self.relative(f"{path}{os.sep}x.py") is not None:
                roots.append(path[len(self._prefix) :].replace(os.sep, "/"))
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
        """A hash of the project's files that are neither Python nor prose: those that git knows, or without git all of them
        outside hidden folders and environments."""
        left_out = {path.resolve() for path in leave_out}
        result, left = hashlib.blake2b(digest_size=8), _MOST_BYTES
        for name in self._candidates():
            path = self.root / name
            if path.suffix in _PROSE or path.suffix in (".py", ".pyc", ".pyi", ".so", ".pyd") or path in left_out:
                continue
            try:
                size = path.stat().st_size
                left -= size
                content = path.read_bytes() if left >= 0 else str(size).encode()
            except OSError:
                content = b"?"
            result.update(f"{name}\0{len(content)}\0".encode("utf-8", "surrogateescape") + content)
        return result.hexdigest()

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
        for folder in _search_path():
            if self._is_own(folder):
                continue
            found |= {name for name in _metadata_folders(folder) if f"{folder}{os.sep}{name}" not in self._own}
        names = {name.rpartition(".")[0].lower() for name in found if not name.lower().startswith("pytest_joules-")}
        return digest(__version__, sorted(names))

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
    """A hash of a file's bytes; ``"?"`` where it cannot be read."""
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
    except OSError:
        return "?"


def _search_path() -> list[str]:
    return list(dict.fromkeys(os.path.realpath(entry or ".") for entry in sys.path))


def _metadata_folders(folder: str) -> tuple[str, ...]:
    # The folder's name has the distribution's name and version: reading the files would take 0.3 ms each.
    try:
        return tuple(name for name in os.listdir(folder) if name.endswith((".dist-info", ".egg-info")))  # noqa: PTH208 - names only
    except OSError:
        return ()


def _installed_copies(root: Path) -> tuple[Mapping[str, str], frozenset[str]]:
    """Files of the project that were installed as a copy, by where they are; and the metadata folders of its installations.

    ``direct_url.json`` (PEP 610) of an installation says from which folder it was made.
    """
    copies: dict[str, str] = {}
    own = set()
    for folder in _search_path():
        for name in _metadata_folders(folder):
            try:
                record = json.loads((Path(folder) / name / "direct_url.json").read_bytes())
                source = urlsplit(record["url"])
                path = unquote(source.path).removeprefix("/" if os.name == "nt" else "")  # file:///C:/there
                if source.scheme != "file" or Path(path).resolve() != root:
                    continue
                own.add(f"{folder}{os.sep}{name}")
                if not record.get("dir_info", {}).get("editable"):
                    lines = (Path(folder) / name / "RECORD").read_text("utf-8").splitlines()
                    files = [line.split(",", 1)[0] for line in lines]
                    copies |= {
                        os.path.realpath(f"{folder}/{file}"): file for file in files if file.endswith(".py") and file[0] != "."
                    }
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue
    return copies, frozenset(own)
