"""Counts over the syntax tree of a source text: kinds of nodes, nesting, sizes of literals, calls by depth of loops."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Sequence

from pytest_joules.code.syntax import last_name
from pytest_joules.predict.facts.parsed import UNREADABLE, body_of, magnitude
from pytest_joules.predict.facts.tokens import numbers

_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_CACHES = frozenset(("lru_cache", "cache", "cached_property", "memoize", "memoized", "cached"))
#: Deeper is as deep as this.
_DEEPEST = 4


def syntax(source: str) -> dict[str, float]:
    """What a source text consists of; comments, layout and docstrings do not count, nor do functions inside, which have sources
    of their own. ``{}`` for a source that does not parse.

    Node kinds by their names in :mod:`ast`; ``loop@N``, ``comprehension@N`` and ``call@N``: that many loops around them;
    ``number:1eN``, ``text:1eN``, ``display:1eN``: literals by size; ``recursive``, ``cached``, ``decorators``, ``parameters``.
    """
    body = body_of(source)
    if body is None:
        return {}
    counts: Counter[str] = Counter()
    try:
        _walk(body, counts)
    except UNREADABLE:
        return {}
    return {name: float(value) for name, value in counts.items()}


def _walk(body: Sequence[ast.stmt], counts: Counter[str]) -> None:
    name = next((node.name for node in body if isinstance(node, _FUNCTIONS)), None)
    waiting: list[tuple[ast.AST, int, bool]] = [(node, 0, False) for node in body]
    while waiting:
        node, loops, inside = waiting.pop()
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, ast.expr_context):
            continue
        counts[node.__class__.__name__] += 1
        if isinstance(node, ast.Constant):
            _constant(node, counts)
            continue
        deeper = _note(node, loops, name, counts)
        if inside and isinstance(node, _FUNCTIONS):
            continue
        for child in ast.iter_child_nodes(node):
            # What a loop goes over, and its else, is not in it.
            once = isinstance(node, ast.For | ast.AsyncFor) and (child is node.iter or child in node.orelse)
            waiting.append((child, loops if once else deeper, True))


def _note(node: ast.AST, loops: int, name: str | None, counts: Counter[str]) -> int:
    """What a node tells besides its kind; the loops around what is in it."""
    if isinstance(node, _LOOPS):
        counts[f"loop@{min(loops, _DEEPEST)}"] += 1
        return loops + 1
    if isinstance(node, _COMPREHENSIONS):
        for depth in range(len(node.generators)):
            counts[f"comprehension@{min(loops + depth, _DEEPEST)}"] += 1
        return loops + len(node.generators)
    if isinstance(node, ast.Call):
        counts[f"call@{min(loops, _DEEPEST)}"] += 1
        called = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
        if called is not None and called == name:
            counts["recursive"] += 1
    elif isinstance(node, ast.Tuple | ast.List | ast.Set | ast.Dict):
        entries = node.keys if isinstance(node, ast.Dict) else node.elts
        counts[f"display:{magnitude(len(entries))}"] += 1
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        _definition(node, counts)
    return loops


def _constant(node: ast.AST, counts: Counter[str]) -> None:
    value = getattr(node, "value", None)
    if isinstance(value, bool) or value is None or value is ...:
        return
    if isinstance(value, int | float | complex):
        try:
            counts[f"number:{magnitude(abs(value))}"] += 1
        except OverflowError:
            counts["number:1e18"] += 1
    elif isinstance(value, str | bytes):
        counts[f"text:{magnitude(len(value))}"] += 1


def _definition(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, counts: Counter[str]) -> None:
    counts["decorators"] += len(node.decorator_list)
    if cached := sum(last_name(decorator) in _CACHES for decorator in node.decorator_list):
        counts["cached"] += cached
    if not isinstance(node, ast.ClassDef):
        arguments = node.args
        counts["parameters"] += len(arguments.posonlyargs) + len(arguments.args) + len(arguments.kwonlyargs)


def parameter_sizes(parameters: str) -> dict[str, float]:
    """The numbers in the brackets of a node id, by size."""
    found = Counter(f"parameter:{magnitude(value)}" for value in numbers(parameters))
    return {name: float(count) for name, count in found.items()}
