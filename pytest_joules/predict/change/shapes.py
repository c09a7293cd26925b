"""Expressions as texts that two versions of a function have in common: without names of local variables and negations."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping


class Shapes:
    """``variables``: names of a function's own; ``constants``: what names of its module stand for."""

    def __init__(self, variables: Collection[str], constants: Mapping[str, object]) -> None:
        self._locals, self._constants = variables, constants

    def of(self, node: ast.AST | None) -> str:
        """The expression without names of local variables."""
        if node is None:
            return ""
        if isinstance(node, ast.Name):
            if node.id in self._constants:
                return repr(self._constants[node.id])
            return "$" if node.id in self._locals else node.id
        if isinstance(node, ast.Constant):
            return repr(node.value)
        if isinstance(node, ast.arg):
            return ""
        if isinstance(node, ast.BoolOp | ast.UnaryOp | ast.Compare):
            text, turned = self.condition(node)
            return f"not {text}" if turned else text
        inner = []
        for value in (getattr(node, name, None) for name in node._fields):
            if isinstance(value, list):
                inner.append("[" + " ".join(self.of(entry) for entry in value if isinstance(entry, ast.AST)) + "]")
            elif isinstance(value, ast.AST):
                if not isinstance(value, ast.expr_context):
                    inner.append(self.of(value))
            elif value is not None:
                inner.append(str(value))
        return f"{type(node).__name__}({' '.join(inner)})"

    def condition(self, node: ast.expr) -> tuple[str, bool]:
        """A test without its negations, and whether it is negated: ``not a or not b`` is the negation of ``a and b``."""
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            text, turned = self.condition(node.operand)
            return text, not turned
        if isinstance(node, ast.BoolOp):
            parts = [self.condition(value) for value in node.values]
            turned = isinstance(node.op, ast.Or)
            # In terms of "and": a or b = not (not a and not b).
            texts = [f"not {text}" if negated != turned else text for text, negated in parts]
            return f"And({' '.join(texts)})", turned
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], ast.IsNot | ast.NotIn | ast.NotEq):
            name = {"IsNot": "Is", "NotIn": "In", "NotEq": "Eq"}[type(node.ops[0]).__name__]
            return f"{name}({self.of(node.left)} {self.of(node.comparators[0])})", True
        if isinstance(node, ast.Compare):
            names = " ".join(type(entry).__name__ for entry in node.ops)
            return f"{names}({self.of(node.left)} {' '.join(self.of(entry) for entry in node.comparators)})", False
        if isinstance(node, ast.UnaryOp):
            return f"{type(node.op).__name__}({self.of(node.operand)})", False
        return self.of(node), False
