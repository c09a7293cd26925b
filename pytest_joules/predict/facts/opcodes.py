"""What the statements of a function make the interpreter do: operations and called names for each, from its source text.

The operations are those of the bytecode that the compiler emits, in groups that mean the same in every version of Python. They
are counted on the syntax tree and not in compiled code: compilers of different versions emit the test of a ``while`` once or
twice, the block of a ``finally`` twice or three times, comprehensions inside or outside their function and two loads as one
instruction, and what is learnt on one version must hold on the others.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from pytest_joules.code.statements import blocks
from pytest_joules.predict.facts.operations import BRANCH, Expressions, Part
from pytest_joules.predict.facts.sizes import iterations, limit, local_constants
from pytest_joules.predict.facts.statement import LOOP_KINDS, REACHED, TRIP, Place, Statements

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
#: Statements whose block begins whenever they do.
_TRANSPARENT = (ast.Try, getattr(ast, "TryStar", ast.Try), ast.With, ast.AsyncWith)
#: How often an exception's handler runs for each time that its ``try`` is reached, where nothing is known.
_HANDLER = 0.1


def analysed(body: Sequence[ast.stmt]) -> Statements:
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


class _Reader(Expressions):
    def __init__(self) -> None:
        super().__init__()
        self.name = ""
        self.kind = "nothing"
        self.parameters: list[str] = []
        self.places: list[Place] = []

    def function(self, node: Function) -> None:
        self.name, self.kind = node.name, _kind(node)
        arguments = node.args
        for argument in (*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg):
            if argument is not None:
                self.parameters.append(argument.arg)
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
            _STATEMENTS.get(place.kind, _Reader._other)(self, node, own)
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
        self.expression(node.iter, own, 1.0)
        own.add("iterator")
        for part in (own, trip):
            part.add("iterate")
            part.add("await", float(isinstance(node, ast.AsyncFor)))
        self.expression(node.target, trip, 1.0)

    def _handler(self, node: ast.ExceptHandler, part: Part) -> None:
        self.parts.append(part)
        part.add("exception", 2.0)
        if node.type is not None:
            self.expression(node.type, part, 1.0)
            part.add("exception")
            part.add("jump")
        if node.name is not None:
            part.add("store", 2.0)
            part.add("delete")

    def _assign(self, node: ast.Assign, part: Part) -> None:
        exchanged = (
            len(node.targets) == 1
            and isinstance(node.value, ast.Tuple)
            and isinstance(node.targets[0], ast.Tuple)
            and len(node.value.elts) == len(node.targets[0].elts) <= 3
            and not any(isinstance(entry, ast.Starred) for entry in (*node.value.elts, *node.targets[0].elts))
        )
        self.expression(node.value, part, 1.0)
        for target in node.targets:
            self.expression(target, part, 1.0)
        if exchanged:  # a, b = b, a builds no tuple
            part.add("build", -1.0)
            part.add("unpack", -1.0)

    def _augmented(self, node: ast.AugAssign, part: Part) -> None:
        self.expression(node.target, part, 1.0)
        self.expression(node.value, part, 1.0)
        part.add({ast.Name: "load", ast.Attribute: "attribute"}.get(type(node.target), "subscript"))
        self.operator(node.op, part, 1.0)

    def _return(self, node: ast.Return, part: Part) -> None:
        if node.value is None:
            part.add("constant")
        else:
            self.expression(node.value, part, 1.0)
        part.add("return")

    def _raise(self, node: ast.Raise, part: Part) -> None:
        part.add("exception")
        for inner in (node.exc, node.cause):
            if inner is not None:
                self.expression(inner, part, 1.0)

    def _assert(self, node: ast.Assert, part: Part) -> None:
        self.test(node.test, part)  # what follows runs where it fails

    def _if(self, node: ast.If, part: Part) -> None:
        if not _constant_test(node):
            self.test(node.test, part)

    def _with(self, node: ast.With | ast.AsyncWith, part: Part) -> None:
        for item in node.items:
            self.expression(item.context_expr, part, 1.0)
            part.add("with", 2.0)
            part.add("await", 2.0 * isinstance(node, ast.AsyncWith))
            if item.optional_vars is not None:
                self.expression(item.optional_vars, part, 1.0)

    def _match(self, node: ast.Match, part: Part) -> None:
        self.expression(node.subject, part, 1.0)
        for case in node.cases:
            # The first that fits ends it: half of them are tried.
            self.expression(case.pattern, part, BRANCH)
            part.add("jump", BRANCH)
            if case.guard is not None:
                self.expression(case.guard, part, BRANCH)

    def _define(self, node: Function | ast.ClassDef, part: Part) -> None:
        for decorator in node.decorator_list:
            self.expression(decorator, part, 1.0)
        part.add("call", float(len(node.decorator_list)))
        part.add("function")
        part.add("constant")
        part.add("store")
        if not isinstance(node, ast.ClassDef):
            self.defaults(node.args, part, 1.0)
            return
        part.add("class")
        for inner in (*node.bases, *(keyword.value for keyword in node.keywords)):
            self.expression(inner, part, 1.0)
        for statement in node.body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                self._define(statement, part)
            else:
                self._other(statement, part)

    def _import(self, node: ast.Import | ast.ImportFrom, part: Part) -> None:
        part.add("import")
        part.add("constant", 2.0)
        part.add("store", float(len(node.names)))
        part.add("attribute", float(len(node.names)) * isinstance(node, ast.ImportFrom))

    def _jump(self, node: ast.stmt, part: Part) -> None:
        part.add("jump")

    def _annotated(self, node: ast.AnnAssign, part: Part) -> None:
        if node.value is not None:
            self.expression(node.value, part, 1.0)
            self.expression(node.target, part, 1.0)

    def _try(self, node: ast.stmt, part: Part) -> None:
        """Costs nothing where nothing is raised."""

    def _other(self, node: ast.AST, part: Part) -> None:
        for child in ast.iter_child_nodes(node):
            self.expression(child, part, 1.0)

    # Together

    def result(self) -> Statements:
        parts = self.parts
        names = {name: index for index, name in enumerate(dict.fromkeys(name for part in parts for name in part.names))}
        triples = [(at, names[name], amount) for at, part in enumerate(parts) for name, amount in part.names.items()]
        irregular = [at for at, place in enumerate(self.places) if place.first >= 0 or place.inner or place.kind in LOOP_KINDS]
        return Statements(
            self.name,
            self.kind,
            tuple(self.parameters),
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
    for decorator in node.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        if (getattr(called, "attr", None) or getattr(called, "id", "")) == "fixture":
            return "fixture"
    return "async" if isinstance(node, ast.AsyncFunctionDef) else "function"


def _begins(node: ast.stmt) -> bool:
    return any(name == "body" and block for name, _, block in blocks(node))


def _constant_test(node: ast.stmt) -> bool:
    """``if True:``, which the compiler leaves out."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Constant)


def _transparent(node: ast.stmt) -> bool:
    true = isinstance(node, ast.If) and isinstance(node.test, ast.Constant) and node.test.value
    return isinstance(node, _TRANSPARENT) or bool(true)


_STATEMENTS: Mapping[str, Callable[[_Reader, Any, Part], None]] = {
    "Assign": _Reader._assign,
    "AugAssign": _Reader._augmented,
    "AnnAssign": _Reader._annotated,
    "Return": _Reader._return,
    "Raise": _Reader._raise,
    "Assert": _Reader._assert,
    "If": _Reader._if,
    "With": _Reader._with,
    "AsyncWith": _Reader._with,
    "Match": _Reader._match,
    "FunctionDef": _Reader._define,
    "AsyncFunctionDef": _Reader._define,
    "ClassDef": _Reader._define,
    "Import": _Reader._import,
    "ImportFrom": _Reader._import,
    "Break": _Reader._jump,
    "Continue": _Reader._jump,
    "Try": _Reader._try,
    "TryStar": _Reader._try,
}
