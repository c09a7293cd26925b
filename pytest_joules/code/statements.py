"""The statements of a function in a fixed order: what its executed counts are counted by."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

_FIELDS = ("body", "handlers", "cases", "orelse", "finalbody")
_OTHERS_CODE = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def statements(node: ast.AST) -> list[ast.stmt]:
    """All statements of a function's body, each before those inside it, blocks in the order in which they are written.

    A function or a class inside is one statement: what is in it has a place of its own. What the compiler makes nothing of is
    left out (docstrings and other constants that stand alone, ``pass``, ``global``, ``nonlocal``, bare annotations), so that
    functions with the same bytecode have the same statements whatever is said about them.
    """
    return list(_below(node))


def blocks(node: ast.AST) -> Iterator[tuple[str, ast.AST, Sequence[ast.stmt]]]:
    """The blocks directly in a compound statement: the field's name, whose block it is (the statement itself, a handler or a
    case), and its statements, those that leave no code left out."""
    for name in _FIELDS:
        for entry in getattr(node, name, ()):
            if isinstance(entry, ast.ExceptHandler | ast.match_case):
                yield name, entry, [inner for inner in entry.body if _leaves_code(inner)]
        if name not in ("handlers", "cases") and (inside := getattr(node, name, ())):
            yield name, node, [inner for inner in inside if _leaves_code(inner)]


def _below(node: ast.AST) -> Iterator[ast.stmt]:
    for _, _, block in blocks(node):
        for statement in block:
            yield statement
            if not isinstance(statement, _OTHERS_CODE):
                yield from _below(statement)


def _leaves_code(node: ast.stmt) -> bool:
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant)
    if isinstance(node, ast.AnnAssign):
        return node.value is not None
    return not isinstance(node, ast.Pass | ast.Global | ast.Nonlocal)


def first_line(node: ast.stmt) -> int:
    """That of its first decorator, where it has one."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])
