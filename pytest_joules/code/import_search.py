"""Where a module of the project is, as a file of it would import it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from pytest_joules.code.installed_copies import INSTALLED
from pytest_joules.code.project_paths import ProjectPaths


class ImportSearch:
    """``copies``: paths of the files of the project's installed copy."""

    def __init__(self, paths: ProjectPaths, copies: Iterable[str]) -> None:
        self._paths = paths
        self._copies = frozenset(copies)
        self._copied = {name.partition("/")[0].removesuffix(".py") for name in self._copies}
        self._listed: dict[Path, frozenset[str]] = {}
        self._modules: dict[tuple[str, str], str | None] = {}

    def module(self, name: str, importer: str) -> str | None:
        """The file of a module of the project by its full name, as ``importer`` would import it."""
        top = name.partition(".")[0]
        imported = (INSTALLED,) if top in self._copied and self._is_of_the_copy(name) else ()
        for root in (*imported, self._package_root(importer), *self._roots(importer)):
            key = (root, name)
            if key not in self._modules:
                self._modules[key] = (
                    self.inside(root, name.split(".")) if f"{top}.py" in self._names(root) or top in self._names(root) else None
                )
            if (found := self._modules[key]) is not None:
                return found
        return None

    def _is_of_the_copy(self, name: str) -> bool:
        """Whether a module was imported from an installed copy: the tree has one of this name as well."""
        while name:
            file = getattr(sys.modules.get(name), "__file__", None)
            if isinstance(file, str):
                return (self._paths.relative(file) or "").startswith(f"{INSTALLED}/")
            name = name.rpartition(".")[0]
        return False

    def _roots(self, importer: str) -> Iterator[str]:
        if importer.startswith(f"{INSTALLED}/"):
            yield INSTALLED
            return
        yield from self._import_roots
        if self._copies:
            yield INSTALLED

    @cached_property
    def _import_roots(self) -> tuple[str, ...]:
        roots = ["", "src", "lib"]
        for entry in sys.path:
            path = os.path.realpath(entry or ".")
            if path != str(self._paths.root) and (inside := self._paths.relative(f"{path}{os.sep}x.py")) is not None:
                roots.append(inside.rpartition("/")[0])
        return tuple(dict.fromkeys(roots))

    def _package_root(self, importer: str) -> str:
        folder = importer.rpartition("/")[0]
        while folder and "__init__.py" in self._names(folder):
            folder = folder.rpartition("/")[0]
        return folder

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
        path = self._paths.root / folder
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
            names = [name[len(start) :].partition("/")[0] for name in self._copies if name.startswith(start)]
            self._listed[path] = frozenset(names)
        return self._listed[path]
