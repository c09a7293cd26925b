"""What a test is given once and a round of it can change or consume: its parameters, what it closes over, the iterators of its
module. Kept before its first round and put back before every other one, so that each begins with what a plain run has.

Everything is put back in place, so that whoever else holds it sees what one run leaves. No method of a foreign class is called:
values are read and written as the built-in types do it, and what cannot be read so is left alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

from pytest_joules.rounds import snapshot
from pytest_joules.rounds.snapshot import Put

#: A test whose values have more parts than this has the rest left as a round leaves them: more would cost more than most tests.
_MOST_PARTS = 10_000
#: Objects, whose attributes are kept.
_MOST_OBJECTS = 500
#: Functions of a module that are looked through for the iterators that they use.
_MOST_FUNCTIONS = 200

_GIVEN = pytest.StashKey["Given"]()

#: Where a value stands: what is there now, and how to set it.
Slot = tuple[Callable[[], object], Callable[[object], object]]


def given_to(item: pytest.Item) -> Given:
    """What ``item`` is given, as it was when this was first asked for: before it ran for the first time in this process."""
    known = item.stash.get(_GIVEN, None)
    if known is None:
        known = item.stash[_GIVEN] = Given(item)
    return known


class Given:
    """What one test is given, as it was."""

    def __init__(self, item: pytest.Item) -> None:
        self._item = item
        self.spent = ""
        """Why the test can run once only: it is given what can be read once. Empty where it can run again."""
        self.keep()

    def keep(self) -> None:
        """Take what there is now as what every round is to begin with."""
        walk = _Walk(_modules(self._item))
        for name, value in _parameters(self._item).items():
            walk.add(value, f"parameter {name!r}", _slot(self._item.callspec.params, name))  # type: ignore[attr-defined]  # a Function's
        if isinstance(self._item, pytest.Function) and not getattr(self._item.obj, "is_hypothesis_test", False):
            # Not through self: a method has a new instance each round.
            walk.add(getattr(self._item.obj, "__func__", self._item.obj), "what it closes over")
            for function in _fixture_functions(self._item):
                walk.add_names(function)
            for owner in getattr(self._item.cls, "__mro__", ()):
                if owner.__module__ == self._item.module.__name__:
                    walk.add_attributes(owner)
        walk.run()
        self.spent = walk.spent
        self._puts = walk.puts()
        self._iterators = list(walk.iterators.values())

    def put_back(self) -> None:
        """Before every round but the first, in this block or in one before."""
        for put in self._puts:
            put()
        for iterator in self._iterators:
            iterator.renew()

    def done(self) -> None:
        """After the last round: iterators are where the first one left them, for the tests that come after."""
        for iterator in self._iterators:
            iterator.original_back()


class _Consumed:
    """An iterator that can be copied. The first round has the original, every other one a copy of what it was."""

    def __init__(self, original: object, copied: object) -> None:
        self.original = original
        self._before = copied
        self.slots: list[Slot] = []
        """Where it stands."""
        self._given: object = original

    def renew(self) -> None:
        given = snapshot.copy_of(self._before)
        self._set(given)
        self._given = given

    def original_back(self) -> None:
        self._set(self.original)
        self._given = self.original

    def _set(self, value: object) -> None:
        for get, put in self.slots:
            # Where the test has set something else, that is what it is to find.
            now = get()
            if now is self._given or now is self.original:
                put(value)


@dataclass(slots=True)
class _Visit:
    """A value to look at, and how it was come to."""

    value: object
    what: str
    """Whose it is, for the report."""
    root: int
    slot: Slot | None = None
    inside: bool = False
    """It is part of an object."""
    closed_over: bool = False
    """By a function: of what that refers to objects are left alone, which may be the whole application."""

    def part(self, value: object, slot: Slot | None) -> _Visit:
        return replace(self, value=value, slot=slot)


class _Walk:
    """Goes through values, breadth first, so that what holds is put back before what it holds."""

    def __init__(self, modules: frozenset[int]) -> None:
        self.iterators: dict[int, _Consumed] = {}
        self.spent = ""
        self._modules = modules
        self._left = _MOST_PARTS
        self._objects = _MOST_OBJECTS
        self._named: dict[int, FunctionType] = {}
        """Functions whose names have been looked up."""
        self._seen: dict[int, object] = {}
        self._waiting: deque[_Visit] = deque()
        self._puts: list[tuple[_Visit, Put]] = []
        self._roots = 0
        self._alive: set[int] = set()
        """Roots below which an object holds a lock, a socket or the like: objects there are left alone."""

    def add(self, value: object, what: str, slot: Slot | None = None) -> None:
        self._roots += 1
        self._waiting.append(_Visit(value, what, self._roots, slot))

    def add_names(self, function: object) -> None:
        """The iterators that a function, and what it calls of the same module, find by name."""
        if type(function) is not FunctionType or id(function.__globals__) not in self._modules:
            return
        if len(self._named) >= _MOST_FUNCTIONS or id(function) in self._named:
            return
        self._named[id(function)] = function
        for name in _names(function.__code__):
            value = function.__globals__.get(name)
            if snapshot.is_iterator(value):
                self.add(value, f"{name!r} of its module", _slot(function.__globals__, name))
            else:
                self.add_names(value)

    def add_attributes(self, owner: type) -> None:
        """The iterators that are attributes of a test class."""
        for name, value in list(vars(owner).items()):
            if snapshot.is_iterator(value):
                self.add(value, f"{owner.__name__}.{name}", (partial(vars(owner).get, name), partial(setattr, owner, name)))

    def run(self) -> None:
        """Look at all that was added."""
        while self._waiting and self._left > 0:
            visit = self._waiting.popleft()
            value = visit.value
            if snapshot.is_atom(value):
                continue
            if snapshot.is_iterator(value):
                self._iterator(visit)
            elif id(value) not in self._seen:
                self._seen[id(value)] = value
                if type(value) is FunctionType:
                    self._function(value, visit)
                else:
                    self._keep(visit)

    def puts(self) -> list[Put]:
        return [put for visit, put in self._puts if not (visit.inside and visit.root in self._alive)]

    def _keep(self, visit: _Visit) -> None:
        self._left -= snapshot.size(visit.value)
        kept = snapshot.keep(visit.value) if self._left >= 0 else None
        if kept is None:
            if visit.inside and not snapshot.is_tame(visit.value):
                self._alive.add(visit.root)
            return
        if kept.is_object:
            self._objects -= 1
            if visit.closed_over or self._objects < 0:
                return
            visit.inside = True
        if kept.put is not None:
            self._puts.append((visit, kept.put))
        for key, part in kept.parts:
            self._waiting.append(visit.part(part, None if key is None else _slot(kept.holder, key)))

    def _iterator(self, visit: _Visit) -> None:
        original = visit.value
        known = self.iterators.get(id(original))
        if known is None:
            copied = snapshot.copy_of(original) if visit.slot is not None else None
            if copied is None:
                self.spent = self.spent or f"{visit.what} ({type(original).__name__}) can be read once only"
                return
            known = self.iterators[id(original)] = _Consumed(original, copied)
        if visit.slot is not None:
            known.slots.append(visit.slot)

    def _function(self, function: FunctionType, visit: _Visit) -> None:
        visit.closed_over = True
        self.add_names(function)
        if (put := snapshot.attributes_of_function(function)) is not None:
            self._puts.append((visit, put))
        for cell in function.__closure__ or ():
            read, write = partial(getattr, cell, "cell_contents", None), partial(setattr, cell, "cell_contents")
            try:
                content = cell.cell_contents
            except ValueError:
                continue  # empty
            self._puts.append((visit, partial(write, content)))
            self._waiting.append(visit.part(content, (read, write)))
        for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self._waiting.append(visit.part(default, None))


def _slot(holder: Any, key: Any) -> Slot:  # noqa: ANN401 - a dict or a list, and what it is indexed with
    kind: Any = dict if issubclass(type(holder), dict) else list

    def get() -> object:
        try:
            return kind.__getitem__(holder, key)
        except LookupError:
            return None

    return get, lambda new: kind.__setitem__(holder, key, new)


def _parameters(item: pytest.Item) -> dict[str, object]:
    """The parameters of a test but those of fixtures that outlive it: a round sets up no such fixture anew."""
    callspec = getattr(item, "callspec", None)
    if callspec is None:
        return {}
    definitions = getattr(item, "_fixtureinfo").name2fixturedefs  # noqa: B009 - a Function's
    return {
        name: value
        for name, value in callspec.params.items()
        if callspec._arg2scope[name].value == "function" or all(_is_direct(each) for each in definitions.get(name, ()))
    }


def _is_direct(definition: Any) -> bool:  # noqa: ANN401 - pytest's
    return getattr(definition.func, "__name__", "") == "get_direct_param_fixture_func"


def _fixture_functions(item: pytest.Function) -> Iterator[object]:
    for definitions in item._fixtureinfo.name2fixturedefs.values():
        if definitions and definitions[-1].scope == "function":
            yield definitions[-1].func


def _modules(item: pytest.Item) -> frozenset[int]:
    """The namespaces of the test's module, and of its fixtures' modules that are the project's."""
    if not isinstance(item, pytest.Function) or item.module is None:
        return frozenset()
    namespaces: list[dict[str, object]] = [vars(item.module)]
    root = item.config.rootpath
    for function in _fixture_functions(item):
        if type(function) is FunctionType and all(function.__globals__ is not known for known in namespaces):
            path = Path(function.__code__.co_filename)
            if root in path.parents and "site-packages" not in path.parts:
                namespaces.append(function.__globals__)
    return frozenset(map(id, namespaces))


@lru_cache(maxsize=1024)
def _names(code: CodeType) -> tuple[str, ...]:
    """The names that a function, and the functions in it, look up."""
    inside = (name for constant in code.co_consts if type(constant) is CodeType for name in _names(constant))
    return tuple(dict.fromkeys((*code.co_names, *inside)))
