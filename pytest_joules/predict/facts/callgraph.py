"""The path of a test that never ran, as far as its source shows: what it names, and what that names in turn.

Names are followed through imports. What a call of an attribute means is not known without running it: it may be any method of
that name of a class that is in reach. Fixtures come in by the names of arguments.
"""

from __future__ import annotations

import ast
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from pytest_joules.code.graph import Graph
from pytest_joules.code.source_file import Class, Import, Statement, Unit, merged
from pytest_joules.code.sources import source
from pytest_joules.predict.facts.facts import TestFacts, parameters_of, test_place
from pytest_joules.predict.facts.parsed import body_of

#: So many functions are followed at most, so many calls deep.
MOST_FUNCTIONS = 300
DEEPEST = 12
#: Methods that run without being named where a class is in reach; others of the kind (``__repr__``) hardly run in tests.
_UNNAMED = frozenset(
    f"__{name}__"
    for name in (
        *(
            "init",
            "new",
            "post_init",
            "enter",
            "exit",
            "aenter",
            "aexit",
            "iter",
            "next",
            "aiter",
            "anext",
            "call",
            "len",
            "getitem",
        ),
        *(
            "setitem",
            "delitem",
            "contains",
            "eq",
            "lt",
            "le",
            "gt",
            "ge",
            "hash",
            "add",
            "radd",
            "iadd",
            "sub",
            "mul",
            "rmul",
            "truediv",
        ),
        *(
            "floordiv",
            "mod",
            "pow",
            "matmul",
            "neg",
            "and",
            "or",
            "xor",
            "bool",
            "get",
            "set",
            "set_name",
            "init_subclass",
            "await",
        ),
    )
)
#: Names that frameworks call around each test.
_AROUND = frozenset(
    (
        *("setUp", "tearDown", "setUpClass", "tearDownClass", "asyncSetUp", "asyncTearDown", "setUpModule", "tearDownModule"),
        *("setup_method", "teardown_method", "setup_class", "teardown_class", "setup_function", "teardown_function"),
        *("setup_module", "teardown_module"),
    )
)


class _Place(NamedTuple):
    """A function, a class or a statement of a module."""

    kind: str
    path: str
    name: str

    @property
    def key(self) -> str:
        return f"{self.path}::{self.name}" if self.kind == "function" else f"{self.path}::<module> {self.name}"


class _Leads(NamedTuple):
    """What a function leads to."""

    places: tuple[_Place, ...]
    attributes: frozenset[str]


class _Fixture(NamedTuple):
    name: str
    place: _Place
    always: bool
    """It is set up for every test in its reach."""


@dataclass(slots=True)
class _Reach:
    """What has been found of one test."""

    functions: dict[_Place, None] = field(default_factory=dict)
    others: dict[_Place, None] = field(default_factory=dict)
    """Classes and statements."""
    classes: dict[_Place, Class] = field(default_factory=dict)
    attributes: set[str] = field(default_factory=set)
    waiting: deque[tuple[_Place, int]] = field(default_factory=deque)

    def function(self, place: _Place, depth: int) -> None:
        if place not in self.functions and len(self.functions) < MOST_FUNCTIONS and depth <= DEEPEST:
            self.functions[place] = None
            self.waiting.append((place, depth))


class CallGraph:
    """Paths of tests by the source as it is on disk now."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.project = graph.project
        self._fixtures: dict[str, list[_Fixture]] = {}
        self._leads: dict[_Place, _Leads] = {}
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
        self._set_up(reach, path, qualname, place)
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

    def _test(self, path: str, qualname: str) -> _Place | None:
        """The test function; one that a class inherits is where its base class is."""
        file = self.project.file(path)
        if file is None:
            return None
        if qualname in file.functions:
            return _Place("function", path, qualname)
        owner, _, name = qualname.rpartition(".")
        for base in self._with_bases(path, owner):
            found = self.project.file(base.path)
            if found is not None and f"{base.name}.{name}" in found.functions:
                return _Place("function", base.path, f"{base.name}.{name}")
        return None

    # What pytest calls around it

    def _set_up(self, reach: _Reach, path: str, qualname: str, place: _Place) -> None:
        offered = list(self._offered(path, qualname))
        known: dict[str, _Fixture] = {}
        for fixture in reversed(offered):  # the nearest is the one that counts
            known[fixture.name] = fixture
        wanted = [fixture.name for fixture in offered if fixture.always]
        wanted += self._wanted(place)
        seen = set()
        while wanted:
            name = wanted.pop()
            if name in known and name not in seen:
                seen.add(name)
                reach.function(known[name].place, 1)
                wanted += self._wanted(known[name].place)
        owner = qualname.rpartition(".")[0]
        for found in (*([_Place("class", path, "")] if not owner else ()), *self._with_bases(path, owner)):
            file = self.project.file(found.path)
            for name in _AROUND:
                inside = f"{found.name}.{name}".lstrip(".")
                if file is not None and inside in file.functions:
                    reach.function(_Place("function", found.path, inside), 1)

    def _offered(self, path: str, qualname: str) -> Iterator[_Fixture]:
        """The fixtures that a test may have, the nearest first: of its class, its module, the conftest files above."""
        owner = qualname.rpartition(".")[0]
        classes = {found.name for found in self._with_bases(path, owner)} if owner else set()
        mine = self._fixtures_of(path)
        yield from (fixture for fixture in mine if (around := fixture.place.name.rpartition(".")[0]) and around in classes)
        yield from (fixture for fixture in mine if "." not in fixture.place.name)
        folder = path
        while folder:
            folder = folder.rpartition("/")[0]
            conftest = f"{folder}/conftest.py".lstrip("/")
            if conftest != path:
                yield from self._fixtures_of(conftest)

    def _fixtures_of(self, path: str) -> list[_Fixture]:
        known = self._fixtures.get(path)
        if known is not None:
            return known
        found: list[_Fixture] = []
        self._fixtures[path] = found
        file = self.project.file(path)
        if file is None:
            return found
        for qualname, unit in file.functions.items():
            if "fixture" in unit.called.attributes | unit.called.names:
                found += self._fixture(_Place("function", path, qualname))
        for name, bound in file.bindings.items():
            if any(isinstance(entry, Import) for _, entry in bound):
                for place in self._resolved(path, name, (), set()):
                    if place.kind == "function" and place.path != path:
                        found += [fixture for fixture in self._fixtures_of(place.path) if fixture.place == place]
        for star in file.stars:
            target = self.graph.module_of(path, star.module, star.level)
            found += self._fixtures_of(target) if target is not None else []
        return found

    def _fixture(self, place: _Place) -> Iterator[_Fixture]:
        for node in self._definitions(place):
            for decorator in node.decorator_list:
                called = decorator.func if isinstance(decorator, ast.Call) else decorator
                if (getattr(called, "attr", None) or getattr(called, "id", "")) != "fixture":
                    continue
                given = {each.arg: each.value for each in decorator.keywords} if isinstance(decorator, ast.Call) else {}
                name, always = given.get("name"), given.get("autouse")
                own = name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else node.name
                yield _Fixture(own, place, isinstance(always, ast.Constant) and bool(always.value))

    def _wanted(self, place: _Place) -> list[str]:
        """The names of the fixtures that a function asks for."""
        wanted = []
        for node in self._definitions(place):
            arguments = node.args
            wanted += [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and getattr(decorator.func, "attr", "") == "usefixtures":
                    wanted += [str(name.value) for name in decorator.args if isinstance(name, ast.Constant)]
        return wanted

    def _definitions(self, place: _Place) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
        body = body_of(self._text(place.key) or "") or ()
        return [node for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]

    # What a function leads to

    def _follow(self, reach: _Reach, place: _Place, depth: int) -> None:
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

    def _leads_to(self, place: _Place) -> _Leads:
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
        found = [_Place("function", place.path, name) for name in inside]
        for name in sorted(refers.names):
            found += self._resolved(place.path, name, refers.attributes, seen)
        for entry in refers.imports:
            found += self._imported(place.path, entry, refers.attributes | refers.names, seen)
        return _Leads(tuple(dict.fromkeys(found)), frozenset(refers.attributes))

    def _add(self, reach: _Reach, place: _Place, depth: int) -> None:
        if place.kind == "function":
            reach.function(place, depth)
            return
        if place in reach.others or len(reach.others) >= MOST_FUNCTIONS:
            return
        reach.others[place] = None
        file = self.project.file(place.path)
        for _, entry in file.bindings.get(place.name, ()) if file is not None else ():
            if isinstance(entry, Class):
                for base in self._with_bases(place.path, place.name):
                    self._class(reach, base, depth)
            elif isinstance(entry, Statement) and file is not None:
                # It may be another name for a function; what it was made of may be a class whose methods are called.
                for name in sorted(entry.refers.names):
                    for found in self._resolved(place.path, name, entry.refers.attributes, set()):
                        if found.kind != "function" or not entry.calls:
                            self._add(reach, found, depth)

    def _class(self, reach: _Reach, place: _Place, depth: int) -> None:
        if place in reach.classes:
            return
        file = self.project.file(place.path)
        for _, entry in file.bindings.get(place.name, ()) if file is not None else ():
            if isinstance(entry, Class):
                reach.classes[place] = entry
                reach.others[place] = None
                self._methods(reach, place, entry, reach.attributes | _UNNAMED, depth)

    def _methods(self, reach: _Reach, place: _Place, entry: Class, names: Iterable[str], depth: int) -> None:
        for name, qualname in entry.methods.items():
            last = name.rpartition(".")[2]
            if last in names and not last.startswith("test"):
                reach.function(_Place("function", place.path, qualname), depth)

    def _with_bases(self, path: str, name: str) -> list[_Place]:
        """A class and its base classes in the project, itself first."""
        found: dict[_Place, None] = {}
        waiting = [_Place("class", path, name)]
        while waiting and len(found) < 50:
            place = waiting.pop(0)
            file = self.project.file(place.path)
            if place in found or file is None:
                continue
            for _, entry in file.bindings.get(place.name, ()):
                if isinstance(entry, Class):
                    found[place] = None
                    for base in entry.bases:
                        reached = self._resolved(place.path, base[0], base[1:], set())
                        waiting += [other for other in reached if other.kind == "class"]
        return list(found)

    # What a name stands for

    def _resolved(self, path: str, name: str, attributes: Iterable[str], seen: set[tuple[str, str]]) -> list[_Place]:
        """``seen``: what is not to be looked at again, names by file."""
        file = self.project.file(path)
        if file is None or (path, name) in seen:
            return []
        seen.add((path, name))
        bound = file.bindings.get(name)
        found: list[_Place] = []
        if bound is None:
            for star in file.stars if not name.startswith("_") else ():
                target = self.graph.module_of(path, star.module, star.level)
                if target is not None and not found:
                    found = self._resolved(target, name, attributes, seen)
            return found
        for _, entry in bound:
            if isinstance(entry, Unit):
                found.append(_Place("function", path, name))
            elif isinstance(entry, Import):
                found += self._imported(path, entry, attributes, seen)
            else:
                found.append(_Place("class" if isinstance(entry, Class) else "statement", path, name))
        return found

    def _imported(self, path: str, entry: Import, attributes: Iterable[str], seen: set[tuple[str, str]]) -> list[_Place]:
        modules = []
        if entry.name is None:
            modules = [self.graph.module_of(path, entry.module, entry.level)]
            if not entry.whole:  # import a.b binds a; both may be used
                modules.append(self.graph.module_of(path, entry.module.partition(".")[0], 0))
        elif entry.name != "*":
            target = self.graph.module_of(path, entry.module, entry.level)
            if target is not None and (found := self._resolved(target, entry.name, attributes, seen)):
                return found
            inside = f"{entry.module}.{entry.name}" if entry.module else entry.name
            modules = [self.graph.module_of(path, inside, entry.level)]
        return [place for module in dict.fromkeys(filter(None, modules)) for place in self._used(module, attributes, seen)]

    def _used(self, module: str, attributes: Iterable[str], seen: set[tuple[str, str]]) -> list[_Place]:
        """A module is at hand: whatever of it has the name of an attribute may be used."""
        if (module, "") in seen:
            return []
        seen.add((module, ""))
        result: list[_Place] = []
        folder = module.removesuffix("/__init__.py") if module.endswith("/__init__.py") else None
        for attribute in sorted(attributes):
            found = self._resolved(module, attribute, attributes, seen)
            if not found and folder is not None and (inner := self.project.inside(folder, [attribute])) is not None:
                found = self._used(inner, attributes, seen)
            result += found
        return result
