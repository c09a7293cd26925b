"""Which files are the project's, and what each is called."""

from __future__ import annotations

import contextlib
import importlib.machinery
import os
import sysconfig
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from pytest_joules.code.installed_copies import INSTALLED

#: Folders inside a project that hold what others wrote, or what was made from its source.
FOREIGN = frozenset(
    (
        *("site-packages", "dist-packages", "node_modules", "__pypackages__", "__pycache__", ".eggs", ".git", ".hg", ".svn"),
        *(".tox", ".nox", ".venv", ".direnv", ".hypothesis", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".joules"),
    )
)
#: How names of files end that are imported.
_CODE = (".py", *importlib.machinery.EXTENSION_SUFFIXES)
#: Folders of the machine, and those for a while, in which nothing is a project's.
_MACHINES = ("/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr/lib", "/usr/lib64")
_TEMPORARY = ("/tmp", "/var/tmp", "/var/run", tempfile.gettempdir())


class ProjectPaths:
    """Paths are relative to ``root``, with ``..`` where need be; ``copies``: files of its installed copy, by where they are.
    ``around``: folders of which everything counts, though they are in a folder for temporary files."""

    def __init__(self, root: Path, around: Iterable[Path], copies: Mapping[str, str]) -> None:
        self.root = root
        self._prefix = f"{root}{os.sep}"
        self._around = tuple(f"{path}{os.sep}" for path in around)
        self._copies = copies
        self._by_copy = {name: path for path, name in reversed([*copies.items()])}
        self._elsewhere: dict[str, bool] = {}
        self._environments: dict[str, bool] = {}
        self._relative: dict[str, str | None] = {}
        self._folders: dict[str, str] = {}
        self._nobodys: set[str] = set()
        """Folders of which no file is the project's."""

    def relative(self, filename: str) -> str | None:
        """The path in the project, with ``/``; ``None`` for a file that is not the project's, or for no file at all."""
        try:
            return self._relative[filename]
        except KeyError:
            found = self._relative[filename] = self._place(filename)
            return found

    def _place(self, filename: str) -> str | None:
        if filename.startswith("<") or not filename.endswith(_CODE):
            return None
        folder, name = os.path.split(filename)
        if folder not in self._folders:  # one look at the disk for all files of a folder
            self._folders[folder] = os.path.realpath(folder)
        inside = self._folders[folder]
        path = f"{inside}{os.sep}{name}"
        if (copied := self._copies.get(path)) is not None:
            return f"{INSTALLED}/{copied}"
        if inside in self._nobodys:
            return None
        found = self._below(path)
        if found is None:  # which its folder alone decides
            self._nobodys.add(inside)
        return found

    def _below(self, path: str) -> str | None:
        if not path.startswith(self._prefix):
            folder = os.path.dirname(path)  # noqa: PTH120 - thousands of times
            return relative_path(path, str(self.root)) if self._is_elsewhere(folder) else None
        *folders, name = path.removeprefix(self._prefix).replace(os.sep, "/").split("/")
        if any(folder in FOREIGN for folder in folders) or self._in_environment(folders):
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
        if not FOREIGN.isdisjoint(parts) or inside.startswith(_NOT_OURS):
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
        if name in FOREIGN or name.startswith(".coverage"):
            return None
        path = f"{self._folders[folder]}{os.sep}{name}"
        if (copied := self._copies.get(path)) is not None:
            return f"{INSTALLED}/{copied}"
        return "./" if path == str(self.root) else self._below(path)

    def path(self, relative: str) -> Path:
        """Where a file of the project is."""
        if relative.startswith(f"{INSTALLED}/"):
            copied = relative.removeprefix(f"{INSTALLED}/")
            return Path(self._by_copy.get(copied, "/nowhere"))
        return self.root / relative

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
