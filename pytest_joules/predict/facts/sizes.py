"""How large the literals of a source text are: numbers, and how often a loop over an expression of literals runs."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TypeAlias

from pytest_joules.code.statements import statements

#: What is known of names: the number that each stands for.
Constants: TypeAlias = Mapping[str, float]

#: Larger sizes count as this.
MOST = 1e7

_ARITHMETIC: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
#: Calls that give as many elements as their first argument has.
_SAME_SIZE = frozenset(("enumerate", "reversed", "sorted", "list", "tuple", "iter", "tqdm"))
_METHODS = frozenset(("items", "keys", "values", "copy"))


def number(node: ast.AST | None, known: Constants) -> float | None:
    """The value of an expression of numbers and known names, ``None`` for any other; of larger size than 10\N{SUPERSCRIPT SEVEN},
    that with its sign."""
    value: float | None = None
    if isinstance(node, ast.Constant):
        value = _bounded(node.value) if isinstance(node.value, int | float) and not isinstance(node.value, bool) else None
    elif isinstance(node, ast.Name):
        value = known.get(node.id)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = number(node.operand, known)
        value = -value if value is not None and isinstance(node.op, ast.USub) else value
    elif isinstance(node, ast.BinOp):
        value = _calculated(node, known)
    elif (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("int", "float")
        and len(node.args) == 1
    ):
        value = number(node.args[0], known)
    return value


def _calculated(node: ast.BinOp, known: Constants) -> float | None:
    left, right = number(node.left, known), number(node.right, known)
    if left is None or right is None:
        return None
    try:
        if isinstance(node.op, ast.Pow | ast.LShift):
            base = 2.0 if isinstance(node.op, ast.LShift) else left
            value = (1.0 if base == left else left) * float(base) ** min(right, 64.0)
            return _bounded(value) if isinstance(value, float) else None  # (-8) ** 0.5 is complex
        calculate = _ARITHMETIC.get(type(node.op))
        return _bounded(calculate(left, right)) if calculate is not None else None
    except (ArithmeticError, ValueError):
        return None


def _bounded(value: float) -> float | None:
    return None if math.isnan(value) else float(max(-MOST, min(MOST, value)))


def iterations(node: ast.AST, known: Constants) -> float | None:
    """How often a loop over an expression runs, where its literals or ``known`` say so."""
    size: float | None = None
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        size = None if any(isinstance(entry, ast.Starred) for entry in node.elts) else float(len(node.elts))
    elif isinstance(node, ast.Dict):
        size = None if None in node.keys else float(len(node.keys))
    elif isinstance(node, ast.Constant):
        size = float(len(node.value)) if isinstance(node.value, str | bytes) else None
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        size = _repeated(node, known)
    elif isinstance(node, ast.Call):
        size = _of_call(node, known)
    elif isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp):
        sizes = [iterations(each.iter, known) for each in node.generators]
        size = 1.0
        for each in sizes:
            size = None if size is None or each is None else size * each
    return min(size, MOST) if size is not None else None


@lru_cache(maxsize=4096)
def _expression(text: str) -> ast.AST | None:
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def size_of(text: str, known: Constants) -> float | None:
    """How often a loop runs, from the text of what it goes over or of its test."""
    node = _expression(text)
    if node is None:
        return None
    return limit(node, known) if isinstance(node, ast.Compare) else iterations(node, known)


def limit(node: ast.AST, known: Constants) -> float | None:
    """The number that a test compares with: ``i < 100``."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], ast.Lt | ast.LtE | ast.NotEq):
        value = number(node.comparators[0], known)
        return max(value, 0.0) if value is not None else None
    return None


def _repeated(node: ast.BinOp, known: Constants) -> float | None:
    """``[0] * 100``."""
    for some, times in ((node.left, node.right), (node.right, node.left)):
        size, factor = iterations(some, known), number(times, known)
        if size is not None and factor is not None:
            return size * max(factor, 0.0)
    return None


def _of_call(node: ast.Call, known: Constants) -> float | None:
    if isinstance(node.func, ast.Attribute):
        if node.func.attr in _METHODS and not node.args:
            return iterations(node.func.value, known)
        return _range(node, known) if node.func.attr == "arange" else None
    if not isinstance(node.func, ast.Name) or not node.args:
        return None
    if node.func.id == "range":
        return _range(node, known)
    if node.func.id in _SAME_SIZE:
        return iterations(node.args[0], known)
    if node.func.id == "zip":
        sizes = [size for argument in node.args if (size := iterations(argument, known)) is not None]
        return min(sizes) if sizes else None
    if node.func.id in ("map", "filter") and len(node.args) > 1:
        return iterations(node.args[1], known)
    return None


def _range(node: ast.Call, known: Constants) -> float | None:
    bounds = [number(argument, known) for argument in node.args[:3]]
    if not bounds or any(bound is None for bound in bounds):
        return None
    start, stop, step = (0.0, bounds[0], 1.0) if len(bounds) == 1 else (*bounds, 1.0)[:3]
    assert start is not None and stop is not None and step is not None
    return max(float(-((start - stop) // step)), 0.0) if step else None


def local_constants(function: ast.AST) -> dict[str, float]:
    """Names that a function binds once, to a number."""
    values: dict[str, float] = {}
    for node in statements(function):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            value = number(node.value, values)
            if value is not None:
                values[node.targets[0].id] = value
    if not values:  # mostly: then nothing has to be searched
        return values
    bound: dict[str, int] = {}
    for inner in ast.walk(function):
        if isinstance(inner, ast.Name) and not isinstance(inner.ctx, ast.Load):
            bound[inner.id] = bound.get(inner.id, 0) + 1
        elif isinstance(inner, ast.arg):
            bound[inner.arg] = 2
        elif isinstance(inner, ast.Global | ast.Nonlocal):
            bound.update(dict.fromkeys(inner.names, 2))
    return {name: value for name, value in values.items() if bound.get(name) == 1}
