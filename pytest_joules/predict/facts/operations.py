"""The operations of an expression, in groups that mean the same in every version of Python."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_joules.predict.facts.sizes import Constants, iterations, number
from pytest_joules.predict.facts.statement import INNER, INNER_OF_TRIP, REACHED, TRIP, UNKNOWN_TRIPS, Loop

#: The groups, in the order of the columns of :attr:`pytest_joules.predict.facts.statement.Statements.operations`.
OPERATIONS = (
    *("load", "constant", "store", "delete", "attribute", "store attribute", "subscript", "slice", "store item", "unary"),
    *("binary", "compare", "contains", "jump", "call", "keyword", "iterator", "iterate", "build", "append", "unpack", "format"),
    *("exception", "with", "function", "class", "import", "yield", "await", "return", "enter"),
)
_COLUMN = {name: column for column, name in enumerate(OPERATIONS)}

#: How often what stands in a branch runs for each time that its test is reached.
BRANCH = 0.5
#: Operators whose cost depends much on what they are given are told like calls.
_DEAR = {ast.Pow: "called:**", ast.MatMult: "called:@", ast.Mod: "called:%"}


@dataclass(slots=True)
class Part:
    """What runs as one piece."""

    statement: int
    kind: int
    times: float
    depth: int
    operations: list[float] = field(default_factory=lambda: [0.0] * len(OPERATIONS))
    names: dict[str, float] = field(default_factory=dict)

    def add(self, group: str, times: float = 1.0) -> None:
        self.operations[_COLUMN[group]] += times

    def name(self, name: str, times: float) -> None:
        self.names[name] = self.names.get(name, 0.0) + times


class Expressions:
    """Counts the operations of expressions into parts."""

    def __init__(self) -> None:
        self.parts = [Part(0, REACHED, 1.0, 0)]
        self.loops: list[Loop] = []
        self.constants: Constants = {}
        self.yields = False
        self.inner = 0.0
        """Most trips of a comprehension or a lambda of the statement that is read."""

    def expression(self, node: ast.AST, part: Part, times: float) -> None:
        kind = node.__class__
        if kind is ast.Name:
            part.operations[_CONTEXT[node.ctx.__class__]] += times  # type: ignore[attr-defined]  # a Name
            return
        if kind is ast.Constant:
            part.operations[_CONSTANT] += times
            return
        own = _EXPRESSIONS.get(kind)
        if own is not None:
            own(self, node, part, times)
            return
        if (group := _GROUPS.get(kind)) is not None:
            part.operations[group] += times
        for child in ast.iter_child_nodes(node):
            self.expression(child, part, times)

    def _call(self, node: ast.Call, part: Part, times: float) -> None:
        part.add("call", times)
        self.expression(node.func, part, times)
        name = getattr(node.func, "id", None) or getattr(node.func, "attr", "()")
        part.name(f"called:{name}", times)
        total = 0.0
        for argument in node.args:
            if isinstance(argument, ast.Starred):
                part.add("build", 2.0 * times)
                argument = argument.value  # noqa: PLW2901 - what is inside it
            elif (value := number(argument, self.constants)) is not None:
                total += abs(value)
            self.expression(argument, part, times)
        for keyword in node.keywords:
            if (value := number(keyword.value, self.constants)) is not None:
                total += abs(value)
            self.expression(keyword.value, part, times)
        if node.keywords:
            part.add("keyword", times)
        if total:
            part.name(f"argument:{name}", total * times)

    def _attribute(self, node: ast.Attribute, part: Part, times: float) -> None:
        group = {ast.Load: "attribute", ast.Store: "store attribute"}.get(type(node.ctx), "delete")
        part.add(group, times)
        self.expression(node.value, part, times)

    def _subscript(self, node: ast.Subscript, part: Part, times: float) -> None:
        part.add({ast.Load: "subscript", ast.Store: "store item"}.get(type(node.ctx), "delete"), times)
        self.expression(node.value, part, times)
        self.expression(node.slice, part, times)

    def _binary(self, node: ast.BinOp, part: Part, times: float) -> None:
        if number(node, {}) is not None:  # calculated by the compiler
            part.add("constant", times)
            return
        self.expression(node.left, part, times)
        self.expression(node.right, part, times)
        self.operator(node.op, part, times)

    def operator(self, node: ast.operator, part: Part, times: float) -> None:
        part.add("binary", times)
        if (name := _DEAR.get(type(node))) is not None:
            part.name(name, times)

    def _unary(self, node: ast.UnaryOp, part: Part, times: float) -> None:
        if isinstance(node.operand, ast.Constant):
            part.add("constant", times)
            return
        part.add("unary", times)
        self.expression(node.operand, part, times)

    def _either(self, node: ast.BoolOp, part: Part, times: float) -> None:
        self.expression(node.values[0], part, times)
        for value in node.values[1:]:
            part.add("jump", times)
            self.expression(value, part, times * BRANCH)

    def _choice(self, node: ast.IfExp, part: Part, times: float) -> None:
        part.add("jump", times)
        self.expression(node.test, part, times)
        self.expression(node.body, part, times * BRANCH)
        self.expression(node.orelse, part, times * BRANCH)

    def _compare(self, node: ast.Compare, part: Part, times: float) -> None:
        self.expression(node.left, part, times)
        for operator, value in zip(node.ops, node.comparators, strict=True):
            if isinstance(operator, ast.In | ast.NotIn):
                part.add("contains", times)
                part.name("called:in", times)
            else:
                part.add("compare", times)
            self.expression(value, part, times)
        part.add("jump", times * (len(node.ops) - 1))

    def _display(self, node: ast.Tuple | ast.List | ast.Set, part: Part, times: float) -> None:
        if isinstance(getattr(node, "ctx", None), ast.Store | ast.Del):
            part.add("unpack", times)
        elif all(isinstance(entry, ast.Constant) for entry in node.elts) and node.elts:
            # Kept by the compiler; a list or a set is copied from it.
            part.add("constant", times)
            part.add("build", times * (not isinstance(node, ast.Tuple)))
            return
        else:
            part.add("build", times)
        for entry in node.elts:
            self.expression(entry, part, times)

    def _dictionary(self, node: ast.Dict, part: Part, times: float) -> None:
        part.add("build", times)
        for key in node.keys:
            if key is None:
                part.add("build", times)
            else:
                self.expression(key, part, times)
        for value in node.values:
            self.expression(value, part, times)

    def _yield(self, node: ast.Yield | ast.YieldFrom, part: Part, times: float) -> None:
        self.yields = True
        part.add("yield", times)
        if node.value is not None:
            self.expression(node.value, part, times)

    def _formatted(self, node: ast.FormattedValue, part: Part, times: float) -> None:
        part.add("format", times)
        self.expression(node.value, part, times)
        if node.format_spec is not None:
            self.expression(node.format_spec, part, times)

    def _lambda(self, node: ast.Lambda, part: Part, times: float) -> None:
        part.add("function", times)
        self.defaults(node.args, part, times)
        inside = self.inside(part, UNKNOWN_TRIPS * times)
        inside.add("enter")
        inside.add("return")
        self.expression(node.body, inside, 1.0)

    def _comprehension(self, node: ast.AST, part: Part, times: float) -> None:
        generators: list[ast.comprehension] = node.generators  # type: ignore[attr-defined]  # of all comprehensions
        lazy = isinstance(node, ast.GeneratorExp)
        part.add("build", times * (not lazy))
        part.add("function", times * lazy)
        around, share = part, times
        for each in generators:
            size = iterations(each.iter, self.constants)
            self.note(max(part.statement - 1, 0), "comprehension", each.iter, size, around.depth)
            self.expression(each.iter, around, share)
            around.add("iterator", share)
            around.add("iterate", share)
            around = self.inside(around, (UNKNOWN_TRIPS if size is None else size) * share)
            share = 1.0
            around.add("iterate")
            around.add("jump")
            self.expression(each.target, around, 1.0)
            for test in each.ifs:
                self.test(test, around)
                share *= BRANCH
        around.add("yield" if lazy else "append", share)
        for inner in (getattr(node, name, None) for name in ("elt", "key", "value")):
            if inner is not None:
                self.expression(inner, around, share)

    def inside(self, part: Part, trips: float) -> Part:
        """What runs so often each time that ``part`` does."""
        inside = Part(part.statement, _INSIDE[part.kind] if part.statement else REACHED, part.times * trips, part.depth + 1)
        self.inner = max(self.inner, inside.times)
        self.parts.append(inside)
        return inside

    def test(self, node: ast.expr, part: Part) -> None:
        self.expression(node, part, 1.0)
        part.add("jump")

    def defaults(self, arguments: ast.arguments, part: Part, times: float) -> None:
        for default in (*arguments.defaults, *filter(None, arguments.kw_defaults)):
            self.expression(default, part, times)

    def note(self, at: int, kind: str, node: ast.expr, size: float | None, depth: int) -> None:
        text = ast.unparse(node)
        if len(text) > 200:
            text = ""
        names = dict.fromkeys(inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name))
        self.loops.append(Loop(at, kind, text, size, tuple(names), depth))


_INSIDE = {REACHED: INNER, INNER: INNER, TRIP: INNER_OF_TRIP, INNER_OF_TRIP: INNER_OF_TRIP}
_CONSTANT = _COLUMN["constant"]
_CONTEXT = {ast.Load: _COLUMN["load"], ast.Store: _COLUMN["store"], ast.Del: _COLUMN["delete"]}
_EXPRESSIONS: Mapping[type[ast.AST], Callable[[Expressions, Any, Part, float], None]] = {
    ast.Call: Expressions._call,
    ast.Attribute: Expressions._attribute,
    ast.Subscript: Expressions._subscript,
    ast.BinOp: Expressions._binary,
    ast.UnaryOp: Expressions._unary,
    ast.BoolOp: Expressions._either,
    ast.IfExp: Expressions._choice,
    ast.Compare: Expressions._compare,
    ast.Tuple: Expressions._display,
    ast.List: Expressions._display,
    ast.Set: Expressions._display,
    ast.Dict: Expressions._dictionary,
    ast.FormattedValue: Expressions._formatted,
    ast.Yield: Expressions._yield,
    ast.YieldFrom: Expressions._yield,
    ast.Lambda: Expressions._lambda,
    ast.ListComp: Expressions._comprehension,
    ast.SetComp: Expressions._comprehension,
    ast.DictComp: Expressions._comprehension,
    ast.GeneratorExp: Expressions._comprehension,
}
#: Other nodes that are one operation besides their parts.
_GROUPS = {
    kind: _COLUMN[group]
    for name, group in (
        *(("Slice", "slice"), ("JoinedStr", "build"), ("TemplateStr", "build"), ("Interpolation", "format")),
        *(("NamedExpr", "load"), ("Await", "await"), ("Starred", "build")),
        *(("MatchValue", "compare"), ("MatchSingleton", "compare"), ("MatchSequence", "unpack"), ("MatchMapping", "unpack")),
        *(("MatchClass", "call"), ("MatchStar", "store"), ("MatchAs", "store"), ("TypeAlias", "function")),
    )
    if (kind := getattr(ast, name, None)) is not None
}
