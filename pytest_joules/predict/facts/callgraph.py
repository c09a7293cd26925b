"""The path of a test that never ran, as far as its source shows: what it names, and what that names in turn.

Names are followed through imports. What a call of an attribute means is not known without running it: it may be any method of
that name of a class that is in reach. Fixtures come in by the names of arguments.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from pytest_joules.code.definitions import Class, Statement, merged
from pytest_joules.code.function_source import source
from pytest_joules.code.graph import Graph
from pytest_joules.predict.facts.fixtures import Fixtures
from pytest_joules.predict.facts.named import Names, Place
from pytest_joules.predict.facts.of_test import TestFacts, parameters_of, test_place

#: So many functions are followed at most, so many calls deep.
MOST_FUNCTIONS = 300
DEEPEST = 12
#: Methods that run without being named where a class is in reach; others of the kind (``__repr__``) hardly run in tests.
_UNNAMED = frozenset(
    f"__{name}__"
    for name in (
        *("init", "new", "post_init", "enter", "exit", "aenter", "aexit", "iter", "next", "aiter", "anext", "call", "len"),
        *("getitem", "setitem", "delitem", "contains", "eq", "lt", "le", "gt", "ge", "hash", "add", "radd", "iadd", "sub"),
        *("mul", "rmul", "truediv", "floordiv", "mod", "pow", "matmul", "neg", "and", "or", "xor", "bool", "get", "set"),
        *("set_name", "init_subclass", "await"),
    )
)


class _Leads(NamedTuple):
    """What a function leads to."""

    places: tuple[Place, ...]
    attributes: frozenset[str]


@dataclass(slots=True)
class _Reach:
    """What has been found of one test."""

    functions: dict[Place, None] = field(default_factory=dict)
    others: dict[Place, None] = field(default_factory=dict)
    """Classes and statements."""
    classes: dict[Place, Class] = field(default_factory=dict)
    attributes: set[str] = field(default_factory=set)
    waiting: deque[tuple[Place, int]] = field(default_factory=deque)

    def function(self, place: Place, depth: int) -> None:
        if place not in self.functions and len(self.functions) < MOST_FUNCTIONS and depth <= DEEPEST:
            self.functions[place] = None
            self.waiting.append((place, depth))


class CallGraph:
    """Paths of tests by the source as it is on disk now."""

    def __init__(self, graph: Graph) -> None:
        self.project = graph.project
        self._names = Names(graph)
        self._fixtures = Fixtures(self._names, self._text)
        self._leads: dict[Place, _Leads] = {}
        self._texts: dict[str, str | None] = {}

    def facts(self, nodeid: str) -> TestFacts:
        """The facts of a test that never ran, without counts. Of a test that is not where its node id says (a doctest, one that a
        plugin makes): without sources."""
        path, _, qualname = test_place(nodeid).partition("::")
        place = self._test(path, qualname)
        if place is None:
            return TestFacts(nodeid, {}, {}, None, parameters_of(nodeid))
        reach = _Reach()
        reach.function(place, 0)
        for around in self._fixtures.around(path, qualname, place):
            reach.function(around, 1)
        while reach.waiting:
            function, depth = reach.waiting.popleft()
            self._follow(reach, function, depth + 1)
        found = {entry.key: self._text(entry.key) for entry in (*reach.functions, *reach.others)}
        sources = {key: text for key, text in found.items() if text is not None}
        return TestFacts(nodeid, sources, {}, place.key, parameters_of(nodeid))

    def _text(self, key: str) -> str | None:
        if key not in self._texts:
            self._texts[key] = source(self.project, key)
        return self._texts[key]

    def _test(self, path: str, qualname: str) -> Place | None:
        """The test function; one that a class inherits is where its base class is."""
        file = self.project.file(path)
        if file is None:
            return None
        if qualname in file.functions:
            return Place("function", path, qualname)
        owner, _, name = qualname.rpartition(".")
        for base in self._names.with_bases(path, owner):
            found = self.project.file(base.path)
            if found is not None and f"{base.name}.{name}" in found.functions:
                return Place("function", base.path, f"{base.name}.{name}")
        return None

    # What a function leads to

    def _follow(self, reach: _Reach, place: Place, depth: int) -> None:
        leads = self._leads.get(place)
        if leads is None:
            leads = self._leads[place] = self._leads_to(place)
        for found in leads.places:
            self._add(reach, found, depth)
        new = leads.attributes - reach.attributes
        if new:
            reach.attributes |= new
            for owner, known in list(reach.classes.items()):
                self._methods(reach, owner, known, new, depth)

    def _leads_to(self, place: Place) -> _Leads:
        file = self.project.file(place.path)
        unit = file.functions.get(place.name) if file is not None else None
        if file is None or unit is None:
            return _Leads((), frozenset())
        inside = [name for name in file.functions if name.startswith(f"{place.name}.<locals>.")]
        # What is imported in a function may be used in those inside it; what decorates it stands around each call.
        refers = merged((unit.refers, unit.called, unit.marks_refer, *(file.functions[name].refers for name in inside)))
        if unit.owner is not None:
            refers.names.add(unit.owner)
        seen: set[tuple[str, str]] = set()
        found = [Place("function", place.path, name) for name in inside]
        for name in sorted(refers.names):
            found += self._names.resolved(place.path, name, refers.attributes, seen)
        for entry in refers.imports:
            found += self._names.imported(place.path, entry, refers.attributes | refers.names, seen)
        return _Leads(tuple(dict.fromkeys(found)), frozenset(refers.attributes))

    def _add(self, reach: _Reach, place: Place, depth: int) -> None:
        if place.kind == "function":
            reach.function(place, depth)
            return
        if place in reach.others or len(reach.others) >= MOST_FUNCTIONS:
            return
        reach.others[place] = None
        file = self.project.file(place.path)
        for _, entry in file.bindings.get(place.name, ()) if file is not None else ():
            if isinstance(entry, Class):
                for base in self._names.with_bases(place.path, place.name):
                    self._class(reach, base, depth)
            elif isinstance(entry, Statement) and file is not None:
                # It may be another name for a function; what it was made of may be a class whose methods are called.
                for name in sorted(entry.refers.names):
                    for found in self._names.resolved(place.path, name, entry.refers.attributes, set()):
                        if found.kind != "function" or not entry.calls:
                            self._add(reach, found, depth)

    def _class(self, reach: _Reach, place: Place, depth: int) -> None:
        if place in reach.classes:
            return
        file = self.project.file(place.path)
        for _, entry in file.bindings.get(place.name, ()) if file is not None else ():
            if isinstance(entry, Class):
                reach.classes[place] = entry
                reach.others[place] = None
                self._methods(reach, place, entry, reach.attributes | _UNNAMED, depth)

    def _methods(self, reach: _Reach, place: Place, entry: Class, names: Iterable[str], depth: int) -> None:
        for name, qualname in entry.methods.items():
            last = name.rpartition(".")[2]
            if last in names and not last.startswith("test"):
                reach.function(Place("function", place.path, qualname), depth)
