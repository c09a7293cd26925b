"""What code says, told by its syntax tree: the same on every Python, whatever bytecode that makes of it."""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

#: What :func:`dump` makes of a tree: nested tuples of texts.
Plain: TypeAlias = "str | tuple[Plain, ...]"
#: Fields that say nothing more, or what not every Python has.
_IDLE = frozenset(("ctx", "kind", "type_comment", "type_ignores"))


def dump(node: object) -> Plain:
    """A node with all that is in it. Empty fields are left out: a newer Python may have more of them."""
    if isinstance(node, ast.Constant):
        return ("Constant", type(node.value).__name__, repr(node.value))
    if isinstance(node, ast.AST):
        return (node.__class__.__name__, *_fields(node))
    if isinstance(node, list):
        return ("list", *map(dump, node))
    return repr(node)


def _fields(node: ast.AST) -> Iterator[Plain]:
    for name in node._fields:
        value = getattr(node, name, None)
        if value is not None and value != [] and name not in _IDLE:
            yield name
            yield dump(_merged(value) if isinstance(node, ast.JoinedStr) else value)


def _merged(values: list[ast.expr]) -> list[ast.expr]:
    """The parts of a formatted text; texts that stand side by side are one, empty ones (3.12 has some) none."""
    found: list[ast.expr] = []
    for value in values:
        if isinstance(value, ast.Constant) and value.value == "":
            continue
        last = found[-1] if found else None
        if isinstance(value, ast.Constant) and isinstance(last, ast.Constant):
            found[-1] = ast.Constant(f"{last.value!s}{value.value!s}")
        else:
            found.append(value)
    return found


def function_texts(source: bytes) -> dict[str, Plain]:
    """What each function says, by qualified name, without its name, comments, docstring, annotations and ``pytest.mark``
    decorators. A function inside it says something for itself."""
    found: dict[str, tuple[Plain, ...]] = {}
    for name, node in _functions(ast.parse(source), ""):
        node.decorator_list = [entry for entry in node.decorator_list if not is_mark(entry)]
        node.returns = None
        _Bare().generic_visit(node)
        node.name = ""
        found[name] = (*found.get(name, ()), dump(node))
    return {**found}


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """All functions below a node, those inside others first."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _functions(child, f"{prefix}{child.name}.<locals>.")
            yield f"{prefix}{child.name}", child
        else:
            yield from _functions(child, f"{prefix}{child.name}." if isinstance(child, ast.ClassDef) else prefix)


class _Bare(ast.NodeTransformer):
    """Takes out what leaves no code, and functions inside: of them stays what runs where they are defined."""

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        arguments = ast.arguments([], [], None, [], node.args.kw_defaults, None, node.args.defaults)
        return ast.FunctionDef(node.name, arguments, [], [entry for entry in node.decorator_list if not is_mark(entry)])

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        node.annotation = ast.Constant(None)
        return None if node.value is None else self.generic_visit(node)

    def visit_Pass(self, node: ast.Pass) -> None:
        return None


def without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    """Without any text or number that stands alone: the compiler drops them too."""
    return [node for node in body if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))]


def nothing() -> ast.Constant:
    """What stands in the place of an annotation."""
    return ast.Constant(None, lineno=1, col_offset=0)


def dotted(node: ast.expr) -> tuple[str, ...]:
    """The parts of ``a.b.c``; none of what is no such name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return (*[node.id, *reversed(parts)],) if isinstance(node, ast.Name) else ()


def last_name(decorator: ast.expr) -> str:
    """The last part of a decorator's name, whether it is called or not."""
    named = decorator.func if isinstance(decorator, ast.Call) else decorator
    return named.attr if isinstance(named, ast.Attribute) else named.id if isinstance(named, ast.Name) else ""


def arguments_of(node: ast.arguments) -> list[ast.arg]:
    """All of them, in the order in which they are written."""
    found = (*node.posonlyargs, *node.args, node.vararg, *node.kwonlyargs, node.kwarg)
    return [argument for argument in found if argument is not None]


@contextmanager
def without_collecting() -> Iterator[None]:
    """A syntax tree has no cycles: looking for them while it grows takes longer than reading it."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def is_mark(decorator: ast.expr) -> bool:
    """Whether a decorator is one of ``pytest.mark``."""
    named = dotted(decorator.func if isinstance(decorator, ast.Call) else decorator)
    return named[:2] in (("pytest", "mark"),) or named[:1] == ("mark",)
