"""What pytest calls around a test, by the source: its fixtures and those that these ask for, setup and teardown."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import NamedTuple

from pytest_joules.code.definitions import Import
from pytest_joules.code.syntax import last_name
from pytest_joules.predict.facts.named import Names, Place
from pytest_joules.predict.facts.parsed import body_of

#: Names that frameworks call around each test.
_AROUND = frozenset(
    (
        *("setUp", "tearDown", "setUpClass", "tearDownClass", "asyncSetUp", "asyncTearDown", "setUpModule", "tearDownModule"),
        *("setup_method", "teardown_method", "setup_class", "teardown_class", "setup_function", "teardown_function"),
        *("setup_module", "teardown_module"),
    )
)


class _Fixture(NamedTuple):
    name: str
    place: Place
    always: bool
    """It is set up for every test in its reach."""


class Fixtures:
    """``text`` gives the source of a function by its key."""

    def __init__(self, names: Names, text: Callable[[str], str | None]) -> None:
        self._names = names
        self._text = text
        self._fixtures: dict[str, list[_Fixture]] = {}

    def around(self, path: str, qualname: str, place: Place) -> Iterator[Place]:
        """The functions around a test."""
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
                yield known[name].place
                wanted += self._wanted(known[name].place)
        owner = qualname.rpartition(".")[0]
        for found in (*([Place("class", path, "")] if not owner else ()), *self._names.with_bases(path, owner)):
            file = self._names.project.file(found.path)
            for name in _AROUND:
                inside = f"{found.name}.{name}".lstrip(".")
                if file is not None and inside in file.functions:
                    yield Place("function", found.path, inside)

    def _offered(self, path: str, qualname: str) -> Iterator[_Fixture]:
        """The fixtures that a test may have, the nearest first: of its class, its module, the conftest files above."""
        owner = qualname.rpartition(".")[0]
        classes = {found.name for found in self._names.with_bases(path, owner)} if owner else set()
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
        file = self._names.project.file(path)
        if file is None:
            return found
        for qualname, unit in file.functions.items():
            if "fixture" in unit.called.attributes | unit.called.names:
                found += self._fixture(Place("function", path, qualname))
        for name, bound in file.bindings.items():
            if any(isinstance(entry, Import) for _, entry in bound):
                for place in self._names.resolved(path, name, (), set()):
                    if place.kind == "function" and place.path != path:
                        found += [fixture for fixture in self._fixtures_of(place.path) if fixture.place == place]
        for star in file.stars:
            target = self._names.graph.module_of(path, star.module, star.level)
            found += self._fixtures_of(target) if target is not None else []
        return found

    def _fixture(self, place: Place) -> Iterator[_Fixture]:
        for node in self._definitions(place):
            for decorator in node.decorator_list:
                if last_name(decorator) != "fixture":
                    continue
                given = {each.arg: each.value for each in decorator.keywords} if isinstance(decorator, ast.Call) else {}
                name, always = given.get("name"), given.get("autouse")
                own = name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else node.name
                yield _Fixture(own, place, isinstance(always, ast.Constant) and bool(always.value))

    def _wanted(self, place: Place) -> list[str]:
        """The names of the fixtures that a function asks for."""
        wanted = []
        for node in self._definitions(place):
            arguments = node.args
            wanted += [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and getattr(decorator.func, "attr", "") == "usefixtures":
                    wanted += [str(name.value) for name in decorator.args if isinstance(name, ast.Constant)]
        return wanted

    def _definitions(self, place: Place) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
        body = body_of(self._text(place.key) or "") or ()
        return [node for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
