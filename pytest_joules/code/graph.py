"""What a function needs besides itself: the module's constants it reads, the class it is in, what ran to make them.

A function that a test executes brings with it the statements that bind the names it uses, in its own module or in the modules of
the project that those names were imported from; these bring what they refer to in turn. What a statement calls ran when its
module was imported, before anything was recorded, so there the functions count as well. A module's statements that bind nothing
count for everything that uses the module.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import compress
from typing import NamedTuple

from pytest_joules.code.definitions import Binding, Class, Import, Refers, Statement, Unit
from pytest_joules.code.hashing import digest
from pytest_joules.code.project import Project
from pytest_joules.code.source_file import File

#: Names by which a function reaches what no name shows.
_DYNAMIC = frozenset(("globals", "eval", "exec", "vars"))


class Node(NamedTuple):
    """A piece of the project's code: ``function`` (executed by a test), ``made`` (a function that ran at import, with all it
    may have called), ``decorators`` (of a function), ``class``, ``statement``, ``import``, ``effects`` (of a module) or
    ``gone``."""

    kind: str
    path: str
    name: str = ""

    @property
    def key(self) -> str:
        """Its name in a record."""
        if self.kind in ("function", "made"):
            return f"{self.path}::{self.name}"
        return f"{self.path}::<module> {self.name}".rstrip()


class Graph:
    """Hashes of the project's code as it is on disk now, with what belongs to each piece."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._edges: dict[Node, tuple[str, str, frozenset[Node]]] = {}
        """By node: its key, its hash, and what it needs."""
        self._numbers: dict[Node, int] = {}
        self._entries: list[tuple[str, str]] = []
        """By number: a node's key and hash."""
        self._reaches: dict[Node, int] = {}
        """By node: the bits of all numbers that it leads to, its own among them."""
        self._named: dict[str, Node | None] = {}

    def closure(self, roots: Iterable[Node]) -> dict[str, str]:
        """Hashes of ``roots`` and of all that they need, by key; of what does not exist any more, ``"gone"``."""
        bits = 0
        for root in roots:
            known = self._reaches.get(root)
            bits |= known if known is not None else self._reach(root)
        result: dict[str, str] = {}
        several: dict[str, set[str]] = {}
        # Hundreds to thousands of nodes for every test: no loop of ours looks at those that are not in it.
        for key, own in compress(self._entries, map("1".__eq__, reversed(f"{bits:b}"))):
            if own and result.setdefault(key, own) != own:
                several.setdefault(key, {result[key]}).add(own)
        for key, hashes in several.items():
            result[key] = _one_of(hashes)
        return result

    def _known(self, node: Node) -> tuple[str, str, frozenset[Node]]:
        known = self._edges.get(node)
        if known is None:
            known = self._edges[node] = node.key, *self._look(node)
            self._numbers[node] = len(self._entries)
            self._entries.append(known[:2])
        return known

    def _reach(self, root: Node) -> int:
        bits, waiting = 0, [root]
        while waiting:
            node = waiting.pop()
            if (known := self._reaches.get(node)) is not None:
                bits |= known
                continue
            further = self._known(node)[2]
            one = 1 << self._numbers[node]
            if not bits & one:
                bits |= one
                waiting += further
        self._reaches[root] = bits
        return bits

    def needs(self, node: Node) -> frozenset[Node]:
        """What a piece needs at once."""
        return self._known(node)[2]

    def roots(self, keys: Iterable[str]) -> Iterator[Node]:
        """The pieces that a record's keys name."""
        for key in keys:
            try:
                node = self._named[key]
            except KeyError:
                node = self._named[key] = _named_by(key)
            if node is not None:
                yield node

    def hash_of(self, key: str) -> str:
        """The hash that :meth:`closure` has for one key of a record, without what that needs: its own file and those it imports
        from are read, no others. ``"gone"`` for what does not exist any more."""
        hashes: list[str] = []
        for root in self.roots([key]):
            _, own, further = self._known(root)
            # A name's own entries are made by the nodes it leads to.
            hashes += [self._known(node)[1] for node in further] if root.kind == "name" and not own else [own]
        return _one_of(hashes) if hashes else "gone"

    def whole_module(self, path: str, *, functions: bool = True) -> Iterator[Node]:
        """Everything in a module, or what is no function."""
        file = self.project.file(path)
        if file is None:
            yield Node("gone", path)
            return
        if functions:
            yield from (Node("function", path, name) for name in file.functions)
        yield from (Node("name", path, name) for name in file.bindings)
        yield Node("effects", path)

    def refers(self, path: str, refers: Refers) -> frozenset[Node]:
        """What a piece of text needs that is evaluated in the module of ``path``, such as a doctest."""
        file = self.project.file(path)
        return frozenset(References(self, path, calls=False).of(file, refers)) if file is not None else frozenset()

    # What one piece is and needs

    def _look(self, node: Node) -> tuple[str, frozenset[Node]]:
        file = self.project.file(node.path)
        if file is None:
            return "gone", frozenset()
        if node.kind in ("function", "made"):
            unit = file.functions.get(node.name)
            return ("gone", frozenset()) if unit is None else self._function(node, file, unit)
        if node.kind == "effects":
            return self._effects(node, file)
        bound = file.bindings.get(node.name, [])
        if node.kind == "name":
            # Its own entries are made by the nodes it leads to.
            if not bound:
                return "gone", frozenset()
            kinds = ["decorators" if kind == "function" else kind for kind, _ in bound]
            wrapped = node.name in file.functions and file.functions[node.name].wrapped is not None
            return "", frozenset(Node(kind, node.path, node.name) for kind in kinds if kind != "decorators" or wrapped)
        if node.kind == "decorators":
            unit = file.functions.get(node.name)
            facts: list[Binding] = [unit.wrapped] if unit is not None and unit.wrapped is not None else []
        else:
            facts = [entry for kind, entry in bound if kind == node.kind]
        if not facts:
            return "gone", frozenset()
        further: set[Node] = {Node("effects", node.path)}
        own = []
        for entry in facts:
            if isinstance(entry, Class):
                own.append(self._class(node, file, entry, further))
            elif isinstance(entry, Statement):
                further |= References(self, node.path, calls=entry.calls).of(file, entry.refers)
                own.append(entry.digest)
            elif isinstance(entry, Import):
                own.append(digest(entry))
        return digest(node.kind, own), frozenset(further)

    def _function(self, node: Node, file: File, unit: Unit) -> tuple[str, frozenset[Node]]:
        made = node.kind == "made"
        body = References(self, node.path, calls=made)
        found = body.of(file, unit.refers) | References(self, node.path, calls=True).of(file, unit.called)
        if unit.owner is not None:
            found.add(Node("name", node.path, unit.owner))
        found.add(Node("effects", node.path))
        # A function that now stands where a builtin was used changes what this one does.
        return digest(unit.digest, sorted(body.functions)), frozenset(found)

    def marks(self, path: str, qualname: str) -> tuple[str, frozenset[Node]]:
        """The ``pytest.mark`` decorators of a test function, for parameters that cannot be told apart by their values."""
        file = self.project.file(path)
        unit = file.functions.get(qualname) if file is not None else None
        if file is None or unit is None or not unit.marks:
            return "", frozenset()
        return unit.marks, frozenset(References(self, path, calls=True).of(file, unit.marks_refer))

    def _class(self, node: Node, file: File, entry: Class, further: set[Node]) -> str:
        further |= References(self, node.path, calls=False).of(file, entry.refers)
        further |= References(self, node.path, calls=True).of(file, entry.called)
        further |= {Node("made", node.path, qualname) for qualname in entry.at_creation}
        # A method that is added counts where it takes the place of another one; what is called test... nobody calls.
        names = {name for name in entry.methods if not name.startswith("test")}
        inherited = (
            set().union(*(_members(self, node.path, file, base) or names for base in entry.bases)) if entry.bases else set()
        )
        own = [name for name in names if name in inherited or (name.startswith("__") and name.endswith("__"))]
        return digest(entry.digest, sorted(own))

    def _effects(self, node: Node, file: File) -> tuple[str, frozenset[Node]]:
        """Those of the module and of the packages that it is in, which were imported first."""
        further: set[Node] = set()
        folder, _, name = node.path.rpartition("/")
        if name == "__init__.py":
            folder = folder.rpartition("/")[0]
        if folder and (package := self.project.inside(folder, ["__init__"])) is not None:
            further.add(Node("effects", package))
        if file.effects is None:
            return "", frozenset(further)
        further |= References(self, node.path, calls=True).of(file, file.effects.refers)
        return file.effects.digest, frozenset(further)

    def module_of(self, importer: str, module: str, level: int) -> str | None:
        """The file that an import statement names, where it is the project's."""
        if not level:
            return self.project.module(module, importer)
        folder = importer
        for _ in range(level):
            folder = folder.rpartition("/")[0]
        return self.project.inside(folder, module.split(".")) if module else self.project.inside(folder, ["__init__"])


class References:
    """What names stand for, followed through imports."""

    def __init__(self, graph: Graph, path: str, *, calls: bool) -> None:
        self.graph = graph
        self.path = path
        self.calls = calls
        """What is referred to may have been called before anything was recorded."""
        self.functions: set[str] = set()
        """Names that stand for functions of the project."""
        self._found: set[Node] = set()
        self._seen: set[tuple[str, str]] = set()

    def of(self, file: File, refers: Refers) -> set[Node]:
        for name in refers.names:
            self._name(self.path, file, name, refers.attributes)
        for entry in refers.imports:
            self._import(self.path, entry, refers.attributes | refers.names)
        if refers.names & _DYNAMIC:
            self._found.update(Node("name", self.path, name) for name in file.bindings)
        return self._found

    def _name(self, path: str, file: File, name: str, attributes: Iterable[str]) -> bool:
        if (path, name) in self._seen:
            return True
        bound = file.bindings.get(name)
        if bound is None:
            return self._starred(path, file, name, attributes)
        self._seen.add((path, name))
        for kind, entry in bound:
            if isinstance(entry, Unit):
                self.functions.add(f"{path}::{name}")
                if self.calls:
                    self._found.add(Node("made", path, name))
                continue
            self._found.add(Node(kind, path, name))
            if isinstance(entry, Class) and self.calls:
                self._found.update(Node("made", path, qualname) for qualname in entry.methods.values())
            elif isinstance(entry, Import):
                self._import(path, entry, attributes)
        return True

    def _starred(self, path: str, file: File, name: str, attributes: Iterable[str]) -> bool:
        if name.startswith("_"):
            return False
        for star in file.stars:
            target = self.graph.module_of(path, star.module, star.level)
            other = self.graph.project.file(target) if target is not None else None
            # Once only: modules may import everything from each other.
            if target is None or other is None or (target, f"*{name}") in self._seen:
                continue
            self._seen.add((target, f"*{name}"))
            if self._name(target, other, name, attributes):
                return True
        return False

    def _import(self, path: str, entry: Import, attributes: Iterable[str]) -> None:
        target = self.graph.module_of(path, entry.module, entry.level)
        if target is None and entry.name is None:
            return
        if entry.name is None:
            whole = entry.module if entry.whole else entry.module.partition(".")[0]
            for name in (whole, entry.module):
                if (module := self.graph.module_of(path, name, 0)) is not None:
                    self._module(module, attributes)
            return
        file = self.graph.project.file(target) if target is not None else None
        if target is not None and file is not None and entry.name == "*":
            self._module(target, attributes)
            return
        if target is not None and file is not None and self._name(target, file, entry.name, attributes):
            self._found.add(Node("effects", target))
            return
        inside = f"{entry.module}.{entry.name}" if entry.module else entry.name
        module = self.graph.module_of(path, inside, entry.level)
        if module is not None:
            self._module(module, attributes)
        elif target is not None and file is not None:
            self._asked(target, file)

    def _asked(self, path: str, file: File) -> None:
        """A name that a module makes when it is asked for (PEP 562), once."""
        if "__getattr__" in file.functions:
            self._found.add(Node("made", path, "__getattr__"))

    def _module(self, path: str, attributes: Iterable[str]) -> None:
        """A module is at hand: whatever of it has the name of an attribute may be used."""
        file = self.graph.project.file(path)
        if file is None or (path, "") in self._seen:
            return
        self._seen.add((path, ""))
        self._found.add(Node("effects", path))
        folder = path.removesuffix("__init__.py").rstrip("/") if path.endswith("__init__.py") else None
        for name in attributes:
            if self._name(path, file, name, attributes):
                continue
            module = self.graph.project.inside(folder, [name]) if folder is not None else None
            if module is not None:
                self._module(module, attributes)
            else:
                self._asked(path, file)


def _members(graph: Graph, path: str, file: File, dotted: tuple[str, ...], depth: int = 0) -> set[str] | None:
    """Names that a base class defines; ``None`` where it is not known."""
    if depth > 8:
        return None
    first, *rest = dotted
    for kind, entry in file.bindings.get(first, ()):
        if isinstance(entry, Class) and not rest:
            found = set(entry.methods)
            for base in entry.bases:
                more = _members(graph, path, file, base, depth + 1)
                if more is None:
                    return None
                found |= more
            return found
        if kind == "import" and isinstance(entry, Import):
            return _imported_members(graph, path, entry, rest, depth)
    value = getattr(builtins, first, None)
    return set(dir(value)) if isinstance(value, type) and not rest else None


def _imported_members(graph: Graph, path: str, entry: Import, rest: list[str], depth: int) -> set[str] | None:
    target = graph.module_of(path, entry.module, entry.level)
    if target is None and not entry.level:
        # A library's: what it was imported from is loaded where tests run.
        names = ([entry.name] if entry.name is not None else []) + rest
        value: object = sys.modules.get(entry.module)
        for name in names:
            value = getattr(value, name, None)
        return set(dir(value)) if isinstance(value, type) else None
    file = graph.project.file(target) if target is not None else None
    inside = entry.name or (rest[0] if len(rest) == 1 else None)
    if target is None or file is None or inside is None:
        return None
    return _members(graph, target, file, (inside,), depth + 1) if inside in file.bindings else None


def _named_by(key: str) -> Node | None:
    path, separator, name = key.partition("::")
    if not separator:
        return None  # of no file: "<python>"
    if not name.startswith("<module>"):
        return Node("function", path, name)
    name = name.removeprefix("<module>").strip()
    return Node("effects", path) if not name else Node("name", path, name)


def _one_of(hashes: Iterable[str]) -> str:
    """For pieces of the same key."""
    different = set(hashes)
    return different.pop() if len(different) == 1 else digest(sorted(different))


def fingerprint(functions: Mapping[str, str]) -> str:
    """Of a whole mapping from keys to hashes."""
    return digest(sorted(functions.items()))
