"""Reading a source text: what does not parse is nothing, never an error."""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Sequence
from functools import lru_cache

from pytest_joules.code.syntax import without_collecting

#: What reading or walking a source text may raise.
UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError, IndentationError)


@lru_cache(maxsize=64)
def body_of(source: str) -> Sequence[ast.stmt] | None:
    """Its statements; ``None`` where it does not parse. Kept while the representations of a function are made one by one."""
    with without_collecting(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of strange escapes and comparisons: others say so
        try:
            return tuple(ast.parse(source).body)
        except IndentationError:
            return _unindented(source)
        except UNREADABLE:
            return None


def _unindented(source: str) -> Sequence[ast.stmt] | None:
    """A text in it without indentation kept the others' from being taken away."""
    try:
        (around,) = ast.parse(f"if 1:\n{source}").body
        inside = around.body if isinstance(around, ast.If) else []
        return tuple(ast.increment_lineno(node, -1) for node in inside)
    except UNREADABLE:
        return None


def nested(body: Sequence[ast.stmt]) -> list[ast.stmt]:
    """The functions in the functions and classes of a source text: each has a source of its own."""
    found: list[ast.stmt] = []
    waiting: list[ast.AST] = [inner for node in body for inner in ast.iter_child_nodes(node)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.append(node)
        else:
            waiting += ast.iter_child_nodes(node)
    return found


def magnitude(value: float) -> str:
    """The power of ten below a number, as text: ``1e3`` for 4,000, ``0`` for none."""
    size = abs(value)
    if not size:
        return "0"
    if math.isinf(size) or math.isnan(size):
        return "1e18"
    return f"1e{max(-6, min(18, math.floor(math.log10(size))))}"
