"""What can be read off a statement or an expression of itself."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache

from pytest_joules.predict.facts import sizes

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
#: What holds what is iterated over and gives as many elements.
_WRAPPERS = frozenset(
    ("enumerate", "list", "tuple", "sorted", "reversed", "iter", "set", "frozenset", "zip", "map", "filter", "tqdm")
)
_VIEWS = frozenset(("items", "keys", "values", "copy"))


def argument(node: ast.expr, numbers: Mapping[str, float]) -> str:
    """An argument as text; numbers worked out."""
    value = sizes.number(node, numbers)
    return repr(value) if value is not None else over(node)


def over(node: ast.expr) -> str:
    """What an expression goes over, without what it is wrapped in: of ``enumerate(x)``, ``range(len(x))`` and the like, ``x``."""
    while True:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _VIEWS and not node.args:
            node = node.func.value
            continue
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or not node.args:
            return ast.unparse(node)
        argument = node.args[1 if node.func.id in ("map", "filter") and len(node.args) > 1 else 0]
        called = node.func.id
        if called in _WRAPPERS:
            node = argument
        elif called == "range" and len(node.args) == 1 and isinstance(argument, ast.Call) and ast.unparse(argument.func) == "len":
            node = argument.args[0] if argument.args else argument
        else:
            return ast.unparse(node)


def own(node: ast.AST) -> list[ast.AST]:
    """What is in a function, without what is in functions and classes inside it."""
    found = [child for child in ast.iter_child_nodes(node) if not isinstance(child, _SCOPES)]
    for entry in found:  # grows meanwhile
        found.extend(child for child in ast.iter_child_nodes(entry) if not isinstance(child, _SCOPES))
    return found


def header(node: ast.stmt) -> Iterator[ast.AST]:
    """The expressions of a statement itself; of a function inside, its decorators and defaults."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        yield from (*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults))
        return
    if isinstance(node, ast.ClassDef):
        yield from (*node.decorator_list, *node.bases)
        return
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "type_comment") or (name == "target" and isinstance(node, ast.AnnAssign)):
            continue
        for entry in value if isinstance(value, list) else [value]:
            if isinstance(entry, ast.expr):
                yield entry
            elif isinstance(entry, ast.withitem):
                yield entry.context_expr


def containers(inside: Iterable[ast.AST]) -> dict[str, str]:
    """Local names that are only ever bound to a new list. ``inside``: as :func:`own` gives it."""
    kinds: dict[str, str] = {}
    for entry in inside:
        if isinstance(entry, ast.Assign):
            made = isinstance(entry.value, ast.List | ast.ListComp) or (
                isinstance(entry.value, ast.Call)
                and isinstance(entry.value.func, ast.Name)
                and entry.value.func.id in ("list", "sorted")
            )
            for target in entry.targets:
                if isinstance(target, ast.Name):
                    kind = "list" if made else ""
                    kinds[target.id] = kind if kinds.get(target.id, kind) == kind else ""
    return kinds


def likely(node: ast.If | ast.While) -> float:
    """A guess: errors are rare, a test for a type is there because the type comes."""
    if isinstance(node, ast.If) and isinstance(node.body[-1], ast.Raise):
        return 0.02
    text = ast.unparse(node.test)
    if text.startswith(("type(", "isinstance(")):
        return 0.8
    return 0.3 if isinstance(node, ast.If) and isinstance(node.body[-1], ast.Return | ast.Continue | ast.Break) else 0.5


@lru_cache(maxsize=4096)
def shown(node: ast.stmt) -> str:
    """A statement's first line, shortened."""
    text = ast.unparse(node).partition("\n")[0]
    return text if len(text) <= 60 else text[:59].rstrip() + "…"


def aliases(inside: Iterable[ast.AST]) -> dict[str, ast.expr]:
    """Local names that are bound once, and to what. ``inside``: as :func:`own` gives it."""
    found: dict[str, ast.expr] = {}
    bound: dict[str, int] = {}
    for entry in inside:
        if isinstance(entry, ast.Name) and not isinstance(entry.ctx, ast.Load):
            bound[entry.id] = bound.get(entry.id, 0) + 1
        elif isinstance(entry, ast.Assign) and len(entry.targets) == 1 and isinstance(entry.targets[0], ast.Name):
            found[entry.targets[0].id] = entry.value
    return {name: value for name, value in found.items() if bound[name] == 1}


def turns_of(
    node: ast.expr, bound: Mapping[str, ast.expr], sizes_known: Callable[[str], float | None], depth: int = 0
) -> float | None:
    """How often ``range(node)`` turns, from how often loops over something like it were counted to turn.

    ``bound``: what local names stand for. ``sizes_known``: the turns of a loop over an expression, given as text.
    """
    if depth > 6:
        return None
    if isinstance(node, ast.Constant):
        return float(node.value) if isinstance(node.value, int | float) else None
    text = ast.unparse(node)
    known = sizes_known(f"range({text})")
    if known is None and isinstance(node, ast.Call) and text.startswith("len(") and len(node.args) == 1:
        known = sizes_known(over(node.args[0]))
    if known is not None:
        return known
    if isinstance(node, ast.Name) and node.id in bound:
        return turns_of(bound[node.id], bound, sizes_known, depth + 1)
    if isinstance(node, ast.BinOp):
        left = turns_of(node.left, bound, sizes_known, depth + 1)
        right = turns_of(node.right, bound, sizes_known, depth + 1)
        if left is not None and right is not None:
            return sizes.number(ast.BinOp(ast.Constant(left), node.op, ast.Constant(right)), {})
    return None
