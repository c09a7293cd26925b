"""The operations of statements and expressions, in groups that mean the same in every version of Python."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
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
#: What is no part of a node that runs whenever the node does: blocks have statements of their own.
_APART = ast.stmt | ast.ExceptHandler | ast.expr_context | ast.operator | ast.unaryop | ast.cmpop


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


class Operations:
    """Counts the operations of nodes into parts."""

    def __init__(self) -> None:
        self.parts = [Part(0, REACHED, 1.0, 0)]
        self.loops: list[Loop] = []
        self.constants: Constants = {}
        self.yields = False
        self.inner = 0.0
        """Most trips of a comprehension or a lambda of the statement that is read."""

    def count(self, node: ast.AST, part: Part, times: float = 1.0) -> None:
        """What a node does that is reached so often; of a statement, without the blocks in it."""
        kind = node.__class__
        context = getattr(node, "ctx", None)
        for column in _ADDS.get((kind, context.__class__) if context is not None else kind, ()):
            part.operations[column] += times
        own = _OWN.get(kind)
        if own is not None:
            own(self, node, part, times)
            return
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, _APART):
                self.count(child, part, times)

    def _call(self, node: ast.Call, part: Part, times: float) -> None:
        self.count(node.func, part, times)
        name = getattr(node.func, "id", None) or getattr(node.func, "attr", "()")
        part.name(f"called:{name}", times)
        part.add("keyword", times * bool(node.keywords))
        total = 0.0
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            total += abs(number(argument, self.constants) or 0.0)
            self.count(argument, part, times)
        if total:
            part.name(f"argument:{name}", total * times)

    def _operator(self, node: ast.BinOp | ast.AugAssign, part: Part, times: float) -> None:
        if (name := _DEAR.get(type(node.op))) is not None:
            part.name(name, times)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.count(child, part, times)

    def _either(self, node: ast.BoolOp, part: Part, times: float) -> None:
        self.count(node.values[0], part, times)
        for value in node.values[1:]:
            part.add("jump", times)
            self.count(value, part, times * BRANCH)

    def _choice(self, node: ast.IfExp, part: Part, times: float) -> None:
        self.count(node.test, part, times)
        self.count(node.body, part, times * BRANCH)
        self.count(node.orelse, part, times * BRANCH)

    def _compare(self, node: ast.Compare, part: Part, times: float) -> None:
        self.count(node.left, part, times)
        for operator, value in zip(node.ops, node.comparators, strict=True):
            part.add("contains" if isinstance(operator, ast.In | ast.NotIn) else "compare", times)
            if isinstance(operator, ast.In | ast.NotIn):
                part.name("called:in", times)
            self.count(value, part, times)

    def _display(self, node: ast.Tuple | ast.List | ast.Set, part: Part, times: float) -> None:
        if node.elts and all(isinstance(entry, ast.Constant) for entry in node.elts):
            part.add("constant", times)  # kept whole by the compiler
            return
        for entry in node.elts:
            self.count(entry, part, times)

    def _yield(self, node: ast.Yield | ast.YieldFrom, part: Part, times: float) -> None:
        self.yields = True
        if node.value is not None:
            self.count(node.value, part, times)

    def _lambda(self, node: ast.Lambda, part: Part, times: float) -> None:
        self._defaults(node.args, part, times)
        inside = self._inside(part, UNKNOWN_TRIPS * times)
        inside.add("enter")
        inside.add("return")
        self.count(node.body, inside)

    def _comprehension(self, node: ast.AST, part: Part, times: float) -> None:
        generators: list[ast.comprehension] = node.generators  # type: ignore[attr-defined]  # of all comprehensions
        around, share = part, times
        for each in generators:
            size = iterations(each.iter, self.constants)
            self.note(max(part.statement - 1, 0), "comprehension", each.iter, size, around.depth)
            self.count(each.iter, around, share)
            around.add("iterator", share)
            around.add("iterate", share)
            around = self._inside(around, (UNKNOWN_TRIPS if size is None else size) * share)
            share = 1.0
            around.add("iterate")
            around.add("jump")
            self.count(each.target, around)
            for test in each.ifs:
                self.test(test, around)
                share *= BRANCH
        around.add("yield" if isinstance(node, ast.GeneratorExp) else "append", share)
        for inner in (getattr(node, name, None) for name in ("elt", "key", "value")):
            if inner is not None:
                self.count(inner, around, share)

    def _inside(self, part: Part, trips: float) -> Part:
        """What runs so often each time that ``part`` does."""
        inside = Part(part.statement, _INSIDE[part.kind] if part.statement else REACHED, part.times * trips, part.depth + 1)
        self.inner = max(self.inner, inside.times)
        self.parts.append(inside)
        return inside

    def _define(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, part: Part, times: float) -> None:
        part.add("call", times * len(node.decorator_list))
        for inner in (*node.decorator_list, *_of_class(node)):
            self.count(inner, part, times)
        if not isinstance(node, ast.ClassDef):
            self._defaults(node.args, part, times)

    def _defaults(self, arguments: ast.arguments, part: Part, times: float) -> None:
        for default in (*arguments.defaults, *filter(None, arguments.kw_defaults)):
            self.count(default, part, times)

    def _annotated(self, node: ast.AnnAssign, part: Part, times: float) -> None:
        if node.value is not None:
            self.count(node.value, part, times)
            self.count(node.target, part, times)

    def _assert(self, node: ast.Assert, part: Part, times: float) -> None:
        self.count(node.test, part, times)  # what follows runs where it fails

    def _with_item(self, node: ast.withitem, part: Part, times: float) -> None:
        part.add("with", 2.0 * times)
        self.count(node.context_expr, part, times)
        if node.optional_vars is not None:
            self.count(node.optional_vars, part, times)

    def test(self, node: ast.expr, part: Part) -> None:
        """A condition, and the jump that follows."""
        self.count(node, part)
        part.add("jump")

    def note(self, at: int, kind: str, node: ast.expr, size: float | None, depth: int) -> None:
        """A loop."""
        text = ast.unparse(node)
        names = dict.fromkeys(inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name))
        self.loops.append(Loop(at, kind, text if len(text) <= 200 else "", size, tuple(names), depth))


def _of_class(node: ast.AST) -> Iterator[ast.AST]:
    """What a class statement runs: its bases, and its block."""
    if isinstance(node, ast.ClassDef):
        yield from (*node.bases, *(keyword.value for keyword in node.keywords), *node.body)


_INSIDE = {REACHED: INNER, INNER: INNER, TRIP: INNER_OF_TRIP, INNER_OF_TRIP: INNER_OF_TRIP}
#: By kind of node, what counts it otherwise than by its parts.
_OWN: Mapping[type[ast.AST], Callable[[Operations, Any, Part, float], None]] = {
    ast.Call: Operations._call,
    ast.BinOp: Operations._operator,
    ast.AugAssign: Operations._operator,
    ast.BoolOp: Operations._either,
    ast.IfExp: Operations._choice,
    ast.Compare: Operations._compare,
    **dict.fromkeys((ast.Tuple, ast.List, ast.Set), Operations._display),
    **dict.fromkeys((ast.Yield, ast.YieldFrom), Operations._yield),
    ast.Lambda: Operations._lambda,
    **dict.fromkeys((ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp), Operations._comprehension),
    **dict.fromkeys((ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef), Operations._define),
    ast.AnnAssign: Operations._annotated,
    ast.Assert: Operations._assert,
    ast.withitem: Operations._with_item,
}
#: By kind of node (by what is done with it, too, where that matters), what it is besides its parts.
_KINDS: Mapping[str, tuple[str, ...]] = {
    **{"Name Load": ("load",), "Name Store": ("store",), "Name Del": ("delete",), "Constant": ("constant",)},
    **{"Attribute Load": ("attribute",), "Attribute Store": ("store attribute",), "Attribute Del": ("delete",)},
    **{"Subscript Load": ("subscript",), "Subscript Store": ("store item",), "Subscript Del": ("delete",)},
    **{"Tuple Load": ("build",), "Tuple Store": ("unpack",), "List Load": ("build",), "List Store": ("unpack",)},
    **{"Starred Load": ("build",), "Starred Store": ("store",), "Set": ("build",), "Dict": ("build",), "Slice": ("slice",)},
    **{"ListComp": ("build",), "SetComp": ("build",), "DictComp": ("build",), "GeneratorExp": ("function",)},
    **{"BinOp": ("binary",), "AugAssign": ("load", "binary"), "UnaryOp": ("unary",), "IfExp": ("jump",), "Call": ("call",)},
    **{"JoinedStr": ("build",), "TemplateStr": ("build",), "FormattedValue": ("format",), "Interpolation": ("format",)},
    **{"Yield": ("yield",), "YieldFrom": ("yield",), "Await": ("await",), "NamedExpr": ("load",), "Lambda": ("function",)},
    **{"Return": ("return",), "Raise": ("exception",), "Assert": ("jump",), "If": ("jump",), "Break": ("jump",)},
    **{"Continue": ("jump",), "Import": ("import", "constant"), "ImportFrom": ("import", "constant"), "alias": ("store",)},
    **{"FunctionDef": ("function", "store"), "AsyncFunctionDef": ("function", "store"), "ClassDef": ("class", "call", "store")},
    **{"MatchValue": ("compare",), "MatchSingleton": ("compare",), "MatchSequence": ("unpack",), "MatchMapping": ("unpack",)},
    **{"MatchClass": ("call",), "MatchStar": ("store",), "MatchAs": ("store",), "TypeAlias": ("function",)},
}


def _adds() -> Iterator[tuple[object, tuple[int, ...]]]:
    for key, groups in _KINDS.items():
        kind, context = (getattr(ast, name, None) if name else None for name in (*key.split(" "), "")[:2])
        if kind is not None:  # of this version
            yield (kind, context) if context is not None else kind, tuple(_COLUMN[group] for group in groups)


_ADDS: Mapping[object, tuple[int, ...]] = dict(_adds())
