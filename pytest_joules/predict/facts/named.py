"""What a name in the source stands for: functions, classes and statements of the project, followed through imports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pytest_joules.code.definitions import Class, Import, Unit
from pytest_joules.code.graph import Graph


class Place(NamedTuple):
    """A function, a class or a statement of a module."""

    kind: str
    path: str
    name: str

    @property
    def key(self) -> str:
        return f"{self.path}::{self.name}" if self.kind == "function" else f"{self.path}::<module> {self.name}"


class Names:
    """Looked up in the source as it is on disk now."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.project = graph.project

    def with_bases(self, path: str, name: str) -> list[Place]:
        """A class and its base classes in the project, itself first."""
        found: dict[Place, None] = {}
        waiting = [Place("class", path, name)]
        while waiting and len(found) < 50:
            place = waiting.pop(0)
            file = self.project.file(place.path)
            if place in found or file is None:
                continue
            for _, entry in file.bindings.get(place.name, ()):
                if isinstance(entry, Class):
                    found[place] = None
                    for base in entry.bases:
                        reached = self.resolved(place.path, base[0], base[1:], set())
                        waiting += [other for other in reached if other.kind == "class"]
        return list(found)

    def resolved(self, path: str, name: str, attributes: Iterable[str], seen: set[tuple[str, str]]) -> list[Place]:
        """What a name of a file stands for. ``seen``: what is not to be looked at again, names by file."""
        file = self.project.file(path)
        if file is None or (path, name) in seen:
            return []
        seen.add((path, name))
        bound = file.bindings.get(name)
        found: list[Place] = []
        if bound is None:
            for star in file.stars if not name.startswith("_") else ():
                target = self.graph.module_of(path, star.module, star.level)
                if target is not None and not found:
                    found = self.resolved(target, name, attributes, seen)
            return found
        for _, entry in bound:
            if isinstance(entry, Unit):
                found.append(Place("function", path, name))
            elif isinstance(entry, Import):
                found += self.imported(path, entry, attributes, seen)
            else:
                found.append(Place("class" if isinstance(entry, Class) else "statement", path, name))
        return found

    def imported(self, path: str, entry: Import, attributes: Iterable[str], seen: set[tuple[str, str]]) -> list[Place]:
        """What an import statement brings."""
        modules = []
        if entry.name is None:
            modules = [self.graph.module_of(path, entry.module, entry.level)]
            if not entry.whole:  # import a.b binds a; both may be used
                modules.append(self.graph.module_of(path, entry.module.partition(".")[0], 0))
        elif entry.name != "*":
            target = self.graph.module_of(path, entry.module, entry.level)
            if target is not None and (found := self.resolved(target, entry.name, attributes, seen)):
                return found
            inside = f"{entry.module}.{entry.name}" if entry.module else entry.name
            modules = [self.graph.module_of(path, inside, entry.level)]
        return [place for module in dict.fromkeys(filter(None, modules)) for place in self._used(module, attributes, seen)]

    def _used(self, module: str, attributes: Iterable[str], seen: set[tuple[str, str]]) -> list[Place]:
        """A module is at hand: whatever of it has the name of an attribute may be used."""
        if (module, "") in seen:
            return []
        seen.add((module, ""))
        result: list[Place] = []
        folder = module.removesuffix("/__init__.py") if module.endswith("/__init__.py") else None
        for attribute in sorted(attributes):
            found = self.resolved(module, attribute, attributes, seen)
            if not found and folder is not None and (inner := self.project.inside(folder, [attribute])) is not None:
                found = self._used(inner, attributes, seen)
            result += found
        return result
