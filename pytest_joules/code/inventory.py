"""What the project's code says, on one side of a comparison: as it is on disk, or as a baseline has it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol, TypeAlias

from pytest_joules.code.hashing import file_digest
from pytest_joules.code.installed_copies import other_paths, own_path
from pytest_joules.code.project import Project
from pytest_joules.code.source_file import File

#: By the path of a file: hashes of the texts in it, by name (see :attr:`.code.File.texts`); of a file that nothing executed, a
#: hash of its bytes.
Inventory: TypeAlias = "Mapping[str, Mapping[str, str] | str]"
#: Of files that nothing executed, so many bytes are read function by function: that takes about half a second.
_READ = 256 * 2**10
#: Of a hash, so many digits are kept: two texts are alike by chance once in four milliards.
_DIGITS = 8


class Texts(Protocol):
    """One side. A path stands for the module of this name, wherever this side has it."""

    def of(self, path: str) -> Mapping[str, str] | None:
        """Hashes of the texts in a file, by name, none where there is no such file; ``None`` where that is not known."""

    def content(self, path: str) -> str | None:
        """A hash of its bytes, ``None`` where that is not known."""


class OnDisk:
    """Files as they are now. ``find`` gives what is in a file of the project."""

    def __init__(self, find: Callable[[str], File | None]) -> None:
        self._find = find
        self._known: dict[str, File | None] = {}
        self._texts: dict[str, Mapping[str, str]] = {}

    def _file(self, path: str) -> File | None:
        if path not in self._known:
            found = (self._find(place) for place in (path, *other_paths(path)))
            self._known[path] = next((file for file in found if file is not None), None)
        return self._known[path]

    def of(self, path: str) -> Mapping[str, str]:
        if path not in self._texts:
            file = self._file(path)
            self._texts[path] = _short(file.texts) if file is not None else {}
        return self._texts[path]

    def content(self, path: str) -> str | None:
        file = self._file(path)
        return file.content[:_DIGITS] if file is not None else None


class Stored:
    """Files as they were."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        # A copy that was installed, which ran, before the tree's file.
        ordered = sorted(inventory, key=lambda path: (isinstance(inventory[path], str), path))
        self._places = {own_path(path): path for path in reversed(ordered)}

    def _entry(self, path: str) -> Mapping[str, str] | str | None:
        found = self._inventory.get(path)
        return self._inventory.get(self._places.get(own_path(path), "")) if found is None or isinstance(found, str) else found

    def of(self, path: str) -> Mapping[str, str] | None:
        entry = self._entry(path)
        # Without any, the baseline is of a version that did not write them.
        return {} if entry is None and self._inventory else entry if isinstance(entry, Mapping) else None

    def content(self, path: str) -> str | None:
        entry = self._entry(path)
        return entry if isinstance(entry, str) else None


def take(project: Project, keys: Iterable[str], since: float) -> Inventory:
    """The inventory of a project whose tests have executed what is under ``keys``. Files that were changed after ``since``
    (seconds of the epoch) are left out: what ran may have been something else."""
    executed = {key.partition("::")[0] for key in keys if "::" in key}
    left = _READ
    found: dict[str, Mapping[str, str] | str] = {}
    for size, path in sorted(_unchanged(project, executed | project.modules(), since)):
        left -= 0 if path in executed else size
        file = project.file(path) if path in executed or left >= 0 else None
        found[path] = _short(file.texts) if file is not None else file_digest(project.path(path))[:_DIGITS]
    return dict(sorted(found.items()))


def _unchanged(project: Project, paths: Iterable[str], since: float) -> Iterator[tuple[int, str]]:
    """Sizes (bytes) and paths."""
    for path in paths:
        with contextlib.suppress(OSError):
            found = project.path(path).stat()
            if found.st_mtime < since:
                yield found.st_size, path


def _short(texts: Mapping[str, str]) -> dict[str, str]:
    return {name: text[:_DIGITS] for name, text in texts.items()}
