"""What the statements of a function make the interpreter do: operations and called names for each, from its source text.

The operations are those of the bytecode that the compiler emits, in groups that mean the same in every version of Python. They
are counted on the syntax tree and not in compiled code: compilers of different versions emit the test of a ``while`` once or
twice, the block of a ``finally`` twice or three times, comprehensions inside or outside their function and two loads as one
instruction, and what is learnt on one version must hold on the others.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from pytest_joules.code.definitions import Function
from pytest_joules.code.statements import blocks
from pytest_joules.code.syntax import last_name
from pytest_joules.predict.facts.operations import BRANCH, Operations, Part
from pytest_joules.predict.facts.parsed import UNREADABLE, body_of
from pytest_joules.predict.facts.sizes import iterations, limit, local_constants
from pytest_joules.predict.facts.statement import LOOP_KINDS, REACHED, TRIP, Place, Statements

_LOOPS = (ast.For, ast.AsyncFor, ast.While)
#: Statements whose block begins whenever they do.
_TRANSPARENT = (ast.Try, getattr(ast, "TryStar", ast.Try), ast.With, ast.AsyncWith)
#: How often an exception's handler runs for each time that its ``try`` is reached, where nothing is known.
_HANDLER = 0.1


@lru_cache(maxsize=16_384)
def statement_features(source: str) -> Statements:
    """The statements of a function's source text, and what each does. Of a source that does not parse, and of one without a
    function: none."""
    try:
        return _analysed(body_of(source) or ())
    except UNREADABLE:  # nested deeper than can be walked
        return _analysed(())


def _analysed(body: Sequence[ast.stmt]) -> Statements:
    """The statements of the functions in ``body``: those of one name, where several have it, are taken for one function."""
    reader = _Reader()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            reader.function(node)
        elif not reader.name:
            reader.kind = {ast.ClassDef: "class", ast.Import: "import", ast.ImportFrom: "import"}.get(type(node), "statement")
    return reader.result()


class _Around(NamedTuple):
    """What a statement stands in; the fields are those of :class:`Place`."""

    parent: int
    depth: int
    before: int
    share: float


class _Reader(Operations):
    def __init__(self) -> None:
        super().__init__()
        self.name = ""
        self.kind = "nothing"
        self.places: list[Place] = []

    def function(self, node: Function) -> None:
        self.name, self.kind = node.name, _kind(node)
        self.constants = local_constants(node)
        self.parts[0].add("enter")
        self._blocks(node, _Around(-1, 0, -1, 1.0))
        if self.yields and self.kind == "function":
            self.kind = "generator"
        if not isinstance(node.body[-1], ast.Return | ast.Raise):
            self.parts[0].add("constant")
            self.parts[0].add("return")

    # Statements

    def _blocks(self, node: ast.AST, around: _Around) -> None:
        """The blocks of a statement or a function."""
        for name, owner, block in blocks(node):
            share = 1.0
            if isinstance(node, ast.If):
                share = BRANCH
            elif name == "handlers":
                share = _HANDLER
            elif isinstance(node, ast.Match):
                share = 1.0 / len(node.cases)
            depth = around.depth + (isinstance(node, _LOOPS) and name == "body")
            self._block(owner, block, around._replace(depth=depth, share=share))

    def _block(self, owner: ast.AST, block: Sequence[ast.stmt], around: _Around) -> None:
        for position, node in enumerate(block):
            at = len(self.places)
            if isinstance(owner, ast.ExceptHandler) and not position:
                self._handler(owner, Part(at + 1, REACHED, 1.0, around.depth))
            self._statement(node, around)
            if not isinstance(node, _LOOPS) and not _transparent(node):
                around = around._replace(before=at)

    def _statement(self, node: ast.stmt, around: _Around) -> None:
        at = len(self.places)
        place = Place(type(node).__name__, around.parent, around.depth, around.before, around.share, -1, 0.0, False)
        self.places.append(place)
        self.inner = 0.0
        own = Part(at + 1, REACHED, 1.0, around.depth)
        self.parts.append(own)
        if isinstance(node, _LOOPS):
            self._loop(node, at, own)
        else:
            self.count(node, own)
        place = place._replace(inner=self.inner, comprehends=bool(self.loops and self.loops[-1].statement == at and self.inner))
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if (isinstance(node, _LOOPS) or _transparent(node)) and _begins(node):
                place = place._replace(first=at + 1)
            self._blocks(node, _Around(at, around.depth, around.before if _transparent(node) else at, 1.0))
        self.places[at] = place

    def _loop(self, node: ast.For | ast.AsyncFor | ast.While, at: int, own: Part) -> None:
        trip = Part(at + 1, TRIP, 1.0, own.depth + 1)
        self.parts.append(trip)
        trip.add("jump")
        if isinstance(node, ast.While):
            size = limit(node.test, self.constants)
            self.note(at, "while", node.test, size, own.depth)
            if not isinstance(node.test, ast.Constant):
                self.test(node.test, own)
                self.test(node.test, trip)
                trip.add("jump", -1.0)
            return
        self.note(at, "for", node.iter, iterations(node.iter, self.constants), own.depth)
        self.count(node.iter, own)
        own.add("iterator")
        for part in (own, trip):
            part.add("iterate")
            part.add("await", float(isinstance(node, ast.AsyncFor)))
        self.count(node.target, trip)

    def _handler(self, node: ast.ExceptHandler, part: Part) -> None:
        self.parts.append(part)
        part.add("exception", 2.0)
        if node.type is not None:
            self.count(node.type, part)
            part.add("exception")
            part.add("jump")
        if node.name is not None:
            part.add("store", 2.0)
            part.add("delete")

    # Together

    def result(self) -> Statements:
        parts = self.parts
        names = {name: index for index, name in enumerate(dict.fromkeys(name for part in parts for name in part.names))}
        triples = [(at, names[name], amount) for at, part in enumerate(parts) for name, amount in part.names.items()]
        irregular = [at for at, place in enumerate(self.places) if place.first >= 0 or place.inner or place.kind in LOOP_KINDS]
        return Statements(
            self.name,
            self.kind,
            tuple(self.places),
            tuple(irregular),
            tuple(self.loops),
            np.array([part.statement for part in parts], np.intp),
            np.array([part.kind for part in parts], np.intp),
            np.array([part.times for part in parts]),
            np.array([part.operations for part in parts]),
            tuple(names),
            np.array([at for at, _, _ in triples], np.intp),
            np.array([index for _, index, _ in triples], np.intp),
            np.array([amount for _, _, amount in triples], float),
        )


def _kind(node: Function) -> str:
    if any(last_name(decorator) == "fixture" for decorator in node.decorator_list):
        return "fixture"
    return "async" if isinstance(node, ast.AsyncFunctionDef) else "function"


def _begins(node: ast.stmt) -> bool:
    return any(name == "body" and block for name, _, block in blocks(node))


def _transparent(node: ast.stmt) -> bool:
    true = isinstance(node, ast.If) and isinstance(node.test, ast.Constant) and node.test.value
    return isinstance(node, _TRANSPARENT) or bool(true)
