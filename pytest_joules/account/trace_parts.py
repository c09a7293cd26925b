"""The parts of a trace: what an event is, by its name and by what it ran in, whichever profiler wrote it."""

from __future__ import annotations

import re
from array import array

from pytest_joules.account.timeline import Kind, Part, Pass
from pytest_joules.account.trace_rows import What

#: Parts below parts; deeper ones stand beside each other.
MOST_DEPTH = 100
_WRAPPED = re.compile(r"([\w.]+)\((.*)\)")
#: What TensorFlow puts before the names of the operations of the backward pass.
_GRADIENTS = ("gradients", "gradient_tape")
_KINDS: dict[What, Kind] = {What.OPERATION: "operation", What.SCOPE: "module", What.FUNCTION: "function"}


class Parts:
    """The tree as it grows. The names of modules and of what runs in them are qualified: ``encoder/layer_0/MatMul``."""

    def __init__(self) -> None:
        self.calls = array("q")
        self._parts: list[Part] = []
        self._places: dict[tuple[int, What, str, Pass], int] = {}
        self._scope: list[int] = []
        """By part: the module that it is or runs in; -1: none."""
        self._depth: list[int] = []
        self._paths: dict[str, int] = {}
        self.deep = 0
        """Events that were deeper than :data:`MOST_DEPTH`."""

    def done(self) -> tuple[Part, ...]:
        """All of them; operations are of the forward pass where there is a backward one."""
        both = any(part.direction == "backward" for part in self._parts)
        return tuple(
            Part(part.name, part.parent, part.kind, "forward")
            if both and part.kind == "operation" and not part.direction
            else part
            for part in self._parts
        )

    def enter(self, what: What, name: str, parent: int, backward: bool) -> int:
        """The part of an event that runs in another's, ``parent`` (-1: in none); it is a call of it."""
        if what is What.PATH:
            place = self._paths.get(name)
            if place is None:
                place = self._paths[name] = self._path(name)
        else:
            if parent >= 0 and self._depth[parent] >= MOST_DEPTH:
                self.deep += 1
                parent = self._parent(parent)
            inherited = parent >= 0 and self._parts[parent].direction == "backward"
            place = self._part(what, name, parent, "backward" if (backward or inherited) and what is What.OPERATION else "")
        self.calls[place] += 1
        return place

    def scope_of(self, place: int) -> int:
        """The module that a part runs in; -1: in none."""
        return self._scope[place]

    def above(self, place: int) -> int:
        """What a part runs in; where that is nothing, the part."""
        parent = self._parts[place].parent
        return place if parent is None else parent

    def _parent(self, place: int) -> int:
        parent = self._parts[place].parent
        return -1 if parent is None else parent

    def _part(self, what: What, name: str, parent: int, direction: Pass) -> int:
        if what is What.FUNCTION and parent >= 0 and (self._parts[parent].name, self._parts[parent].kind) == (name, "function"):
            return parent  # it calls itself
        key = (parent, what, name, direction)
        place = self._places.get(key)
        if place is None:
            scope = self._scope[parent] if parent >= 0 else -1
            qualified = name if scope < 0 or what is What.FUNCTION else f"{self._parts[scope].name}/{name}"
            place = self._places[key] = len(self._parts)
            self._parts.append(Part(qualified, parent if parent >= 0 else None, _KINDS[what], direction))
            self._depth.append(self._depth[parent] + 1 if parent >= 0 else 0)
            self._scope.append(place if what is What.SCOPE else scope)
            self.calls.append(0)
        return place

    def _path(self, text: str) -> int:
        direction: Pass = ""
        found: list[str] = []
        for word in text.split("/"):
            inner, backward = _unwrapped(word)
            if backward or (not found and inner in _GRADIENTS):
                direction = "backward"
            if inner and (found or inner not in _GRADIENTS):
                found.append(inner)
        *scopes, name = found or [text]
        place = -1
        for scope in scopes[:MOST_DEPTH]:
            place = self._part(What.SCOPE, scope, place, "")
        return self._part(What.OPERATION, name, place, direction)


def _unwrapped(word: str) -> tuple[str, bool]:
    """A word of a JAX path without what transformed it, and whether it is of the backward pass: ``transpose(jvp(mlp))``."""
    backward = False
    while (found := _WRAPPED.fullmatch(word)) is not None:
        transform, word = found[1], found[2]
        if transform in ("jit", "pjit"):
            return "", backward  # a function that was compiled, no module
        backward = backward or transform == "transpose"
    return word, backward
