"""The statements of a module: which of them binds what, and what each says."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from pytest_joules.code.definitions import Class, Definitions, Refers, Span, Statement, Unit, imported, joined, refers_of
from pytest_joules.code.function_reader import FunctionReader
from pytest_joules.code.hashing import digest
from pytest_joules.code.statements import first_line
from pytest_joules.code.syntax import Plain, dotted, dump, nothing, without_docstring

_COMPOUND = (
    ast.If,
    ast.Try,
    ast.With,
    ast.For,
    ast.While,
    ast.AsyncFor,
    ast.AsyncWith,
    ast.Match,
    getattr(ast, "TryStar", ast.Try),
)
_PLACEHOLDER = Unit("", Refers(), Refers(), None)


def definitions_of(tree: ast.Module) -> Definitions:
    """What a module defines; the tree is used up."""
    reader = _ModuleReader()
    reader.read(tree)
    return reader.found


class _ModuleReader:
    def __init__(self) -> None:
        self.found = Definitions()
        self._statements: list[tuple[ast.stmt, list[str]]] = []
        self._effects: list[ast.stmt] = []
        self._classes: list[tuple[ast.ClassDef, str]] = []

    def read(self, tree: ast.Module) -> None:
        for statement in without_docstring(tree.body):
            self._top(statement)
        tree.body = without_docstring(tree.body) or [ast.Pass(lineno=1, col_offset=0)]
        FunctionReader(self.found).read(tree)
        self._bind()

    def _top(self, node: ast.stmt) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self._span(node, node.name)
            self.found.bindings.setdefault(node.name, []).append(("function", _PLACEHOLDER))
        elif isinstance(node, ast.ClassDef):
            self._span(node, node.name)
            self._classes.append((node, node.name))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            self._import(node)
        elif isinstance(node, ast.If) and _never_in_tests(node.test):
            for inner in node.orelse:
                self._top(inner)
        elif isinstance(node, _COMPOUND):
            self._compound(node)
        elif isinstance(node, ast.Pass | ast.Global) or (isinstance(node, ast.AnnAssign) and node.value is None):
            pass
        else:
            self._simple(node)

    def _span(self, node: ast.stmt, name: str) -> None:
        self.found.spans.append(Span(first_line(node), node.end_lineno or node.lineno, name, False))

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        for name, entry in imported(node):
            if entry.name == "*":
                self.found.stars.append(entry)
            else:
                self.found.bindings.setdefault(name, []).append(("import", entry))

    def _compound(self, node: ast.stmt) -> None:
        bound = list(_stored(node))
        acts = False
        for inner in _inner_statements(node):
            if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom):
                if not isinstance(inner, ast.Import | ast.ImportFrom):
                    bound.append(inner.name)
                else:
                    bound += [name for name, _ in imported(inner)]
                self._top(inner)
            elif isinstance(inner, ast.Expr | ast.Assert):
                acts = True
        if bound:
            self._statements.append((node, bound))
            self._span(node, bound[0])
        if acts or not bound:
            self._effects.append(node)

    def _simple(self, node: ast.stmt) -> None:
        if bound := list(_stored(node)):
            self._statements.append((node, bound))
            self._span(node, bound[0])
        else:
            self._effects.append(node)

    def _bind(self) -> None:
        """Only now, when the code is compiled, functions are taken out of what is hashed."""
        bindings = self.found.bindings
        for name, found in bindings.items():
            bindings[name] = [(kind, self.found.functions[name] if kind == "function" else facts) for kind, facts in found]
        for node, name in self._classes:
            bindings.setdefault(name, []).append(("class", self._class(node)))
        by_name: dict[str, list[Statement]] = {}
        for statement, bound in self._statements:
            facts = _statement(statement)
            for name in dict.fromkeys(bound):
                by_name.setdefault(name, []).append(facts)
        for name, several in by_name.items():
            bindings.setdefault(name, []).append(("statement", joined(several)))
        if self._effects:
            self.found.effects = joined([_statement(node) for node in self._effects])

    def _class(self, node: ast.ClassDef) -> Class:
        refers, called = Refers(), Refers()
        methods: dict[str, str] = {}
        keep = bool(node.decorator_list or node.bases or node.keywords)
        for decorator in (*node.decorator_list, *node.keywords):
            called.add(refers_of(decorator))
        for base in node.bases:
            refers.add(refers_of(base))
        hashed: list[Plain] = [dump(part) for part in (*node.decorator_list, *node.bases, *node.keywords)]
        for statement in self._body(node, f"{node.name}.", methods):
            if isinstance(statement, ast.AnnAssign) and not keep:
                if statement.value is None:
                    continue
                statement.annotation = nothing()
            _take_out_functions(statement)
            hashed.append(dump(statement))
            (called if _has_calls(statement) else refers).add(refers_of(statement))
        bases = [name for base in node.bases if (name := dotted(base))]
        return Class(digest(hashed), refers, called, bases, methods)

    def _body(self, node: ast.ClassDef, prefix: str, methods: dict[str, str]) -> Iterator[ast.stmt]:
        """Its statements without methods, whose names are noted."""
        for statement in node.body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                methods.setdefault(statement.name, prefix + statement.name)
                continue
            for inner in ast.walk(statement):
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    nested = f"{statement.name}." if isinstance(statement, ast.ClassDef) else ""
                    methods.setdefault(nested + inner.name, f"{prefix}{nested}{inner.name}")
            if not isinstance(statement, ast.Pass):
                yield statement


def _inner_statements(node: ast.AST) -> Iterator[ast.stmt]:
    """The statements in a compound one, not those in functions and classes."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
        if not isinstance(child, ast.expr):
            yield from _inner_statements(child)


def _stored(node: ast.AST) -> Iterator[str]:
    """The names that a statement of the module binds or changes: ``X = 1``, ``X.a = 1``, ``X[0] = 1``."""
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
        inner: ast.expr = node
        while isinstance(inner, ast.Attribute | ast.Subscript):
            inner = inner.value
        if isinstance(inner, ast.Name):
            yield inner.id
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
        return
    for child in ast.iter_child_nodes(node):
        yield from _stored(child)


def _never_in_tests(test: ast.expr) -> bool:
    """``if __name__ == "__main__"`` and ``if TYPE_CHECKING``."""
    if isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "__name__":
        return isinstance(test.ops[0], ast.Eq)
    return (dotted(test) or ("",))[-1] == "TYPE_CHECKING"


def _has_calls(node: ast.AST) -> bool:
    return any(isinstance(inner, ast.Call) or getattr(inner, "decorator_list", ()) for inner in ast.walk(node))


def _take_out_functions(node: ast.AST) -> None:
    """A function in a branch is hashed by itself."""
    for name in ("body", "orelse", "finalbody", "handlers", "cases"):
        inner = getattr(node, name, None)
        if isinstance(inner, list):
            inner[:] = [entry for entry in inner if not isinstance(entry, ast.FunctionDef | ast.AsyncFunctionDef)]
            for entry in inner:
                _take_out_functions(entry)


def _statement(node: ast.stmt) -> Statement:
    _take_out_functions(node)
    if isinstance(node, ast.AnnAssign):
        node.annotation = nothing()
    return Statement(digest(dump(node)), refers_of(node), _has_calls(node))
