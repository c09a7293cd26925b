"""What no execution shows: who made a value that is kept, who fills a module from elsewhere, who was asked for by a text.

All of it is told by names, so it is more than what really ran: what is missed is called unchanged, what is too much is measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pytest_joules.code.definitions import Class, Refers, Unit
from pytest_joules.code.graph import Graph, Node, References
from pytest_joules.code.source_file import File


class Reach:
    """Follows functions that keep what they make, and modules that others fill."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._loaded: frozenset[str] = frozenset()
        self._methods: dict[str, list[Node]] = {}
        """Of the loaded files, by their last name."""
        self._keepers: dict[Node, frozenset[Node]] = {}
        self._calls: dict[Node, frozenset[Node]] = {}
        self._feeds: dict[str, dict[str, set[Node]]] = {}

    def load(self, paths: Iterable[str]) -> None:
        """The files of the project whose code is loaded; what is in no such file has made nothing."""
        loaded = frozenset(paths)
        if loaded == self._loaded:
            return
        for path in loaded - self._loaded:
            file = self.graph.project.file(path)
            for name, unit in file.functions.items() if file is not None else ():
                if unit.owner is not None and "<locals>" not in name:
                    self._methods.setdefault(name.rpartition(".")[2], []).append(Node("function", path, name))
        self._loaded = loaded
        self._keepers.clear()
        self._calls.clear()

    def _unit(self, node: Node) -> tuple[File, Unit] | None:
        file = self.graph.project.file(node.path)
        unit = file.functions.get(node.name) if file is not None else None
        return (file, unit) if file is not None and unit is not None else None

    # What is kept

    def made(self, executed: Iterable[Node]) -> set[Node]:
        """The functions that may have made what these functions were given from what is kept, which may have run for another
        test."""
        waiting = [node for function in executed for node in self._kept(function)]
        found = set(waiting)
        while waiting:
            new = self._callees(waiting.pop()) - found
            found |= new
            waiting += new
        return found

    def _kept(self, node: Node) -> frozenset[Node]:
        known = self._keepers.get(node)
        if known is None:
            known = self._keepers[node] = frozenset(self._keepers_of(node))
        return known

    def _keepers_of(self, node: Node) -> Iterator[Node]:
        known = self._unit(node)
        if known is None:
            return
        file, unit = known
        if unit.lazy:
            yield node
        for function in self._named(node.path, file, unit.refers):
            named = self._unit(function)
            if named is not None and named[1].keeps:
                yield function

    def _callees(self, node: Node) -> frozenset[Node]:
        known = self._calls.get(node)
        if known is None:
            found = self._unit(node)
            known = frozenset(self._named(node.path, found[0], found[1].refers) if found is not None else ())
            self._calls[node] = known
        return known

    def _named(self, path: str, file: File, refers: Refers) -> Iterator[Node]:
        """Functions that names and attributes may stand for."""
        references = References(self.graph, path, calls=False)
        nodes = references.of(file, refers)
        for key in references.functions:
            where, _, name = key.partition("::")
            yield Node("function", where, name)
        for node in nodes:
            if node.kind == "class":
                yield from self._makers(node)
            elif node.kind == "made":
                yield Node("function", node.path, node.name)
        for attribute in refers.attributes:
            yield from self._methods.get(attribute, ())

    def _makers(self, node: Node) -> Iterator[Node]:
        """What may run of a class without being named."""
        file = self.graph.project.file(node.path)
        for kind, entry in file.bindings.get(node.name, ()) if file is not None else ():
            if kind == "class" and isinstance(entry, Class):
                for name, qualname in entry.methods.items():
                    if name.startswith("__") and name.endswith("__"):
                        yield Node("function", node.path, qualname)

    # What is filled from elsewhere

    def feeders(self, paths: Iterable[str]) -> set[Node]:
        """What of other loaded modules has changed these at import: entries in a registry, attributes that were set."""
        wanted = set(paths)
        found: set[Node] = set()
        for path in self._loaded:
            if path not in self._feeds:
                self._feeds[path] = self._fed_by(path)
            for target, nodes in self._feeds[path].items():
                if target in wanted:
                    found |= nodes
        return found

    def _fed_by(self, path: str) -> dict[str, set[Node]]:
        """By module, the pieces of a file that change it."""
        found: dict[str, set[Node]] = {}
        file = self.graph.project.file(path)
        for node in self._acting(path, file) if file is not None else ():
            for target in self._changed_by(node):
                if target != path:
                    found.setdefault(target, set()).add(node)
        return found

    def _acting(self, path: str, file: File) -> Iterator[Node]:
        if file.effects is not None:
            yield Node("effects", path)
        for name, bound in file.bindings.items():
            kinds = {kind for kind, _ in bound}
            if "statement" in kinds:
                yield Node("statement", path, name)
            if "class" in kinds:
                yield Node("class", path, name)
            if "function" in kinds and file.functions[name].wrapped is not None:
                yield Node("decorators", path, name)

    def _changed_by(self, node: Node) -> set[str]:
        """Files that running a piece of a module changes, by the functions that it calls or the names that it is about."""
        needed = self.graph.needs(node)
        targets = {other.path for other in needed if other.path != node.path and self._is_direct(node, other)}
        if node.kind == "class":
            targets |= {base.path for base in self._closed(needed, "class") if self._knows_its_own(base)}
        for function in self._closed(needed, "made"):
            known = self._unit(function)
            if known is not None and known[1].fills:
                targets.add(function.path)
                targets |= {other.path for other in self.graph.needs(function) if other.kind == "statement"}
        return targets

    def _closed(self, nodes: Iterable[Node], kind: str) -> set[Node]:
        """Those of a kind, and what they need of that kind in turn."""
        waiting = [node for node in nodes if node.kind == kind]
        found = set(waiting)
        while waiting:
            new = {node for node in self.graph.needs(waiting.pop()) if node.kind == kind} - found
            found |= new
            waiting += new
        return found

    def _is_direct(self, node: Node, needed: Node) -> bool:
        """``core.LIMIT = 5``, ``REGISTRY.append(5)``."""
        if node.kind == "effects":
            return needed.kind == "statement"
        file = self.graph.project.file(node.path)
        bound = {kind for kind, _ in file.bindings.get(node.name, ())} if file is not None else set()
        return node.kind == "statement" and "import" in bound and needed.kind in ("statement", "class", "effects")

    def _knows_its_own(self, base: Node) -> bool:
        """Whether a class, or who asks it, may know its subclasses."""
        file = self.graph.project.file(base.path)
        entries = file.bindings.get(base.name, ()) if file is not None else ()
        if file is None or any(isinstance(entry, Class) and (entry.called.names or [*entry.at_creation]) for _, entry in entries):
            return file is not None
        return any("__subclasses__" in unit.refers.attributes for unit in file.functions.values())
