"""The functions of a source file: what each refers to, and its bytecode hashed so that it does not depend on its layout."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from types import CodeType

from pytest_joules.code.bytecode import FIRST, all_inside, said_by
from pytest_joules.code.definitions import (
    Definitions,
    Function,
    Layout,
    Refers,
    Span,
    Statement,
    Unit,
    imported,
    joined,
    refers_of,
)
from pytest_joules.code.hashing import digest
from pytest_joules.code.memoising import fills, is_lazy, is_wrapped
from pytest_joules.code.statements import first_line, statements
from pytest_joules.code.syntax import Plain, arguments_of, dump, is_mark, nothing, without_docstring

_FUNCTIONS = frozenset((ast.FunctionDef, ast.AsyncFunctionDef))
#: Nodes that are more than their parts.
_PARTS = _FUNCTIONS | {ast.ClassDef, ast.Attribute, ast.Import, ast.ImportFrom, ast.AnnAssign, ast.Lambda}


class FunctionReader:
    """Gives all lines of a function one number, compiles the module, and hashes the code objects."""

    def __init__(self, found: Definitions) -> None:
        self._found = found
        self._units: dict[str, list[Unit]] = {}
        self._numbers: list[tuple[Function, str, Refers, str | None]] = []
        """Functions by the number that stands for their line."""

    def read(self, tree: ast.Module) -> None:
        for statement in tree.body:
            self._visit(statement, 1, "", None, Refers(), outer=True)
        codes = {(code.co_firstlineno, code.co_name): code for code in all_inside(compile(tree, "", "exec", dont_inherit=True))}
        for number, (node, qualname, refers, owner) in enumerate(self._numbers, FIRST):
            self._unit(node, qualname, refers, owner, codes.get((number, node.name)))
        for qualname, units in self._units.items():
            self._found.functions[qualname] = units[0] if len(units) == 1 else _together(units)

    def _visit(self, node: ast.AST, number: int, prefix: str, owner: str | None, refers: Refers, *, outer: bool) -> None:
        kind = node.__class__  # tens of thousands of nodes: no chain of isinstance
        if kind is ast.Name:
            refers.names.add(node.id)  # type: ignore[attr-defined]  # a Name
            _on_one_line(node, number)
            return
        if kind in _PARTS:
            self._part(node, number, prefix, owner, refers, outer=outer)
            if kind in _FUNCTIONS:
                return
            if kind is ast.ClassDef:
                name: str = node.name  # type: ignore[attr-defined]  # a ClassDef
                # A class body in a function runs with the function.
                prefix, owner = f"{prefix}{name}.", owner or (name if outer else None)
        if "lineno" in node.__dict__:
            _on_one_line(node, number)
        for field_name in node._fields:
            value = getattr(node, field_name, None)
            if value.__class__ is list:
                for inner in value:
                    if isinstance(inner, ast.AST):
                        self._visit(inner, number, prefix, owner, refers, outer=outer)
            elif isinstance(value, ast.AST) and value._fields:
                self._visit(value, number, prefix, owner, refers, outer=outer)

    def _part(self, node: ast.AST, number: int, prefix: str, owner: str | None, refers: Refers, *, outer: bool) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self._function(node, number, prefix, owner, refers, outer=outer)
        elif isinstance(node, ast.ClassDef):
            node.body = without_docstring(node.body) or [ast.Pass(lineno=1, col_offset=0)]
        elif isinstance(node, ast.Attribute):
            refers.attributes.add(node.attr)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            refers.imports += [entry for _, entry in imported(node)]
        elif isinstance(node, ast.AnnAssign) and not outer:
            node.annotation = nothing()
        elif isinstance(node, ast.Lambda):
            _without_annotations(node.args)

    def _function(self, node: Function, number: int, prefix: str, owner: str | None, refers: Refers, *, outer: bool) -> None:
        qualname = f"{prefix}{node.name}"
        self._found.spans.append(Span(first_line(node), node.end_lineno or node.lineno, qualname, True))
        self._found.first_lines[node.name, first_line(node)] = qualname
        node.body = without_docstring(node.body) or [ast.Pass(lineno=1, col_offset=0)]
        layouts = self._found.layouts
        layouts[qualname] = None if qualname in layouts else _layout(node)
        node.returns = None
        _without_annotations(node.args)
        # Decorators and defaults run where the function is defined.
        for child in (*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)):
            self._visit(child, number, prefix, owner, refers, outer=outer)
        own = Refers()
        self._numbers.append((node, qualname, own, owner))
        mine = FIRST + len(self._numbers) - 1
        _on_one_line(node, mine)
        for decorator in node.decorator_list:
            # The code object begins at its first decorator.
            _on_one_line(decorator, mine)
        for part in (*ast.walk(node.args), *getattr(node, "type_params", ())):
            if hasattr(part, "lineno"):
                _on_one_line(part, mine)
        inside = f"{qualname}.<locals>."
        for statement in node.body:
            self._visit(statement, mine, inside, owner, own, outer=False)

    def _unit(self, node: Function, qualname: str, refers: Refers, owner: str | None, code: CodeType | None) -> None:
        called, marked = Refers(), Refers()
        marks: list[Plain] = []
        own: list[Plain] = []
        for decorator in node.decorator_list:
            if is_mark(decorator):
                marks.append(dump(decorator))
                marked.add(refers_of(decorator))
            else:
                own.append(dump(decorator))
                called.add(refers_of(decorator))
        decorators = len(own)
        for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
            own.append(dump(default))
            called.add(refers_of(default))
        body: object = dump(node) if code is None else said_by(code)  # in ``if 0:`` it leaves no code
        if code is not None:
            refers.names.difference_update(code.co_varnames, code.co_cellvars, code.co_freevars)
        wrapped = Statement(digest(own[:decorators]), called, calls=True) if decorators else None
        unit = Unit(digest(body, own), refers, called, owner, digest(marks) if marks else "", marked, wrapped=wrapped)
        unit.keeps, unit.lazy, unit.fills = is_wrapped(node), is_lazy(node), fills(node)
        self._units.setdefault(qualname, []).append(unit)


def _without_annotations(arguments: ast.arguments) -> None:
    for argument in arguments_of(arguments):
        argument.annotation = None


def _on_one_line(node: ast.AST, number: int) -> None:
    node.lineno = node.end_lineno = number  # type: ignore[attr-defined]  # of every node that has a place
    node.col_offset = node.end_col_offset = 0  # type: ignore[attr-defined]  # likewise


def _layout(node: Function) -> Layout:
    """To be asked while the lines are still those of the file."""
    headers = []
    for statement in statements(node):
        inner = [
            entry.lineno
            for name in ("body", "handlers", "cases")
            for entry in getattr(statement, name, ())[:1]
            if hasattr(entry, "lineno")
        ]
        first = first_line(statement)
        headers.append((first, max(first, min(inner) - 1) if inner else statement.end_lineno or first))
    # Of two on one line, the first.
    by_line = {line: number for number, (first, last) in reversed([*enumerate(headers)]) for line in range(first, last + 1)}
    return Layout(tuple(headers), by_line)


def _together(units: Sequence[Unit]) -> Unit:
    refers, called, marked = Refers(), Refers(), Refers()
    for unit in units:
        refers.add(unit.refers)
        called.add(unit.called)
        marked.add(unit.marks_refer)
    marks = "".join(unit.marks for unit in units)
    whole = Unit(digest(*(unit.digest for unit in units)), refers, called, units[0].owner, marks, marked)
    whole.keeps, whole.lazy = any(unit.keeps for unit in units), any(unit.lazy for unit in units)
    whole.fills = any(unit.fills for unit in units)
    wrapped = [unit.wrapped for unit in units if unit.wrapped is not None]
    whole.wrapped = joined(wrapped) if wrapped else None
    return whole
