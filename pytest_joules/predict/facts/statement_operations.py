"""The operations of a statement by itself, without those of the statements inside it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

from pytest_joules.code.definitions import Function
from pytest_joules.predict.facts.operations import BRANCH, Expressions, Part


class StatementOperations(Expressions):
    """Adds them to a part."""

    def statement(self, node: ast.stmt, part: Part) -> None:
        """Of what is no loop."""
        _STATEMENTS.get(type(node).__name__, StatementOperations._other)(self, node, part)

    def _assign(self, node: ast.Assign, part: Part) -> None:
        exchanged = (
            len(node.targets) == 1
            and isinstance(node.value, ast.Tuple)
            and isinstance(node.targets[0], ast.Tuple)
            and len(node.value.elts) == len(node.targets[0].elts) <= 3
            and not any(isinstance(entry, ast.Starred) for entry in (*node.value.elts, *node.targets[0].elts))
        )
        self.expression(node.value, part, 1.0)
        for target in node.targets:
            self.expression(target, part, 1.0)
        if exchanged:  # a, b = b, a builds no tuple
            part.add("build", -1.0)
            part.add("unpack", -1.0)

    def _augmented(self, node: ast.AugAssign, part: Part) -> None:
        self.expression(node.target, part, 1.0)
        self.expression(node.value, part, 1.0)
        part.add({ast.Name: "load", ast.Attribute: "attribute"}.get(type(node.target), "subscript"))
        self.operator(node.op, part, 1.0)

    def _return(self, node: ast.Return, part: Part) -> None:
        if node.value is None:
            part.add("constant")
        else:
            self.expression(node.value, part, 1.0)
        part.add("return")

    def _raise(self, node: ast.Raise, part: Part) -> None:
        part.add("exception")
        for inner in (node.exc, node.cause):
            if inner is not None:
                self.expression(inner, part, 1.0)

    def _assert(self, node: ast.Assert, part: Part) -> None:
        self.test(node.test, part)  # what follows runs where it fails

    def _if(self, node: ast.If, part: Part) -> None:
        if not _constant_test(node):
            self.test(node.test, part)

    def _with(self, node: ast.With | ast.AsyncWith, part: Part) -> None:
        for item in node.items:
            self.expression(item.context_expr, part, 1.0)
            part.add("with", 2.0)
            part.add("await", 2.0 * isinstance(node, ast.AsyncWith))
            if item.optional_vars is not None:
                self.expression(item.optional_vars, part, 1.0)

    def _match(self, node: ast.Match, part: Part) -> None:
        self.expression(node.subject, part, 1.0)
        for case in node.cases:
            # The first that fits ends it: half of them are tried.
            self.expression(case.pattern, part, BRANCH)
            part.add("jump", BRANCH)
            if case.guard is not None:
                self.expression(case.guard, part, BRANCH)

    def _define(self, node: Function | ast.ClassDef, part: Part) -> None:
        for decorator in node.decorator_list:
            self.expression(decorator, part, 1.0)
        part.add("call", float(len(node.decorator_list)))
        part.add("function")
        part.add("constant")
        part.add("store")
        if not isinstance(node, ast.ClassDef):
            self.defaults(node.args, part, 1.0)
            return
        part.add("class")
        for inner in (*node.bases, *(keyword.value for keyword in node.keywords)):
            self.expression(inner, part, 1.0)
        for statement in node.body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                self._define(statement, part)
            else:
                self._other(statement, part)

    def _import(self, node: ast.Import | ast.ImportFrom, part: Part) -> None:
        part.add("import")
        part.add("constant", 2.0)
        part.add("store", float(len(node.names)))
        part.add("attribute", float(len(node.names)) * isinstance(node, ast.ImportFrom))

    def _jump(self, node: ast.stmt, part: Part) -> None:
        part.add("jump")

    def _annotated(self, node: ast.AnnAssign, part: Part) -> None:
        if node.value is not None:
            self.expression(node.value, part, 1.0)
            self.expression(node.target, part, 1.0)

    def _try(self, node: ast.stmt, part: Part) -> None:
        """Costs nothing where nothing is raised."""

    def _other(self, node: ast.AST, part: Part) -> None:
        for child in ast.iter_child_nodes(node):
            self.expression(child, part, 1.0)


def _constant_test(node: ast.stmt) -> bool:
    """``if True:``, which the compiler leaves out."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Constant)


#: By kind of statement, which each of them takes.
_STATEMENTS: Mapping[str, Callable[[StatementOperations, Any, Part], None]] = {
    "Assign": StatementOperations._assign,
    "AugAssign": StatementOperations._augmented,
    "AnnAssign": StatementOperations._annotated,
    "Return": StatementOperations._return,
    "Raise": StatementOperations._raise,
    "Assert": StatementOperations._assert,
    "If": StatementOperations._if,
    "With": StatementOperations._with,
    "AsyncWith": StatementOperations._with,
    "Match": StatementOperations._match,
    "FunctionDef": StatementOperations._define,
    "AsyncFunctionDef": StatementOperations._define,
    "ClassDef": StatementOperations._define,
    "Import": StatementOperations._import,
    "ImportFrom": StatementOperations._import,
    "Break": StatementOperations._jump,
    "Continue": StatementOperations._jump,
    "Try": StatementOperations._try,
    "TryStar": StatementOperations._try,
}
