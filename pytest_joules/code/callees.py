"""What the calls in a source file are called: each callee as the source names it."""

from __future__ import annotations

import ast
import dis
from collections.abc import Mapping
from types import CodeType

#: First line and column, last line and column (bytes), as a node of a tree and an instruction have them.
Position = tuple[int | None, int | None, int | None, int | None]

#: A callee that is no name and no attribute: what another call gave, what an index found.
UNNAMED = "()"
#: A longer name is none that a reader would look for.
_LONGEST = 100


def callees(source: bytes) -> dict[Position, str]:
    """The callee of each call by where the call stands.

    A name is itself (``len``), an attribute of an imported name has all of it (``os.path.join``), any other attribute is one of
    whatever object (``.split``). What is called by another syntax (an operator, ``with``, a decorator) is not there. Raises as
    ``ast.parse`` does.
    """
    tree = ast.parse(source)
    calls: list[ast.Call] = []
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            calls.append(node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            imported.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)
    return {position(node): _named(node.func, imported)[:_LONGEST] for node in calls}


def position(node: ast.expr) -> Position:
    return node.lineno, node.col_offset, node.end_lineno, node.end_col_offset


def _named(function: ast.expr, imported: set[str]) -> str:
    if isinstance(function, ast.Name):
        return function.id
    if not isinstance(function, ast.Attribute):
        return UNNAMED
    parts: list[str] = []
    base: ast.expr = function
    while isinstance(base, ast.Attribute):
        parts.insert(0, base.attr)
        base = base.value
    if isinstance(base, ast.Name) and base.id in imported:
        return ".".join((base.id, *parts))
    return f".{function.attr}"


_CALLS = frozenset(dis.opmap[name] for name in ("CALL", "CALL_KW", "CALL_FUNCTION_EX") if name in dis.opmap)


def has_calls(code: CodeType) -> bool:
    """Whether it calls anything itself."""
    return not _CALLS.isdisjoint(code.co_code[::2])


def call_places(code: CodeType) -> dict[int, int]:
    """The line of each instruction that calls. Python 3.11 and later."""
    return {
        step.offset: step.positions.lineno or 0
        for step in dis.get_instructions(code)
        if step.opcode in _CALLS and step.positions is not None
    }


def by_instruction(code: CodeType, known: Mapping[Position, str]) -> dict[int, str]:
    """The callee of each instruction that calls, as ``known`` has them (see :func:`callees`). Python 3.11 and later."""
    found: dict[int, str] = {}
    before: Position | None = None
    none = False
    for step in dis.get_instructions(code):
        if step.positions is None:
            continue
        here: Position = (
            step.positions.lineno,
            step.positions.col_offset,
            step.positions.end_lineno,
            step.positions.end_col_offset,
        )
        if step.opcode in _CALLS and (name := known.get(here)) is not None:
            # The end of a ``with`` calls with three times None, and a decorator is called with what it decorates: both stand
            # where the call stands that made them.
            leaves = none and before == here
            decorates = before is not None and not _inside(before, here)
            if not (leaves or decorates):
                found[step.offset] = name
        if step.opname not in _BETWEEN:
            before, none = here, step.opname.startswith("LOAD_") and step.argval is None
    return found


#: Instructions that stand between the last argument and the call.
_BETWEEN = frozenset(("CACHE", "EXTENDED_ARG", "PRECALL", "KW_NAMES", "PUSH_NULL"))


def _inside(inner: Position, outer: Position) -> bool:
    first, column, last, end = ((one or 0, other or 0) for one, other in zip(inner, outer, strict=True))
    return (first[1], column[1]) <= (first[0], column[0]) and (last[0], end[0]) <= (last[1], end[1])
