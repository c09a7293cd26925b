"""The source text of a function, read as steps."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from functools import lru_cache

from pytest_joules.code.definitions import Function
from pytest_joules.code.statements import blocks, statements
from pytest_joules.code.syntax import arguments_of
from pytest_joules.predict.change.costs import NODES, TURN
from pytest_joules.predict.change.expression_costs import ExpressionCosts
from pytest_joules.predict.change.shapes import Shapes
from pytest_joules.predict.change.steps import Code, Part, Step, flat
from pytest_joules.predict.facts import sizes
from pytest_joules.predict.facts.expressions import aliases, containers, header, likely, over, own

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


@lru_cache(maxsize=8192)
def code_of(
    source: str,
    constants: tuple[tuple[str, object], ...] = (),
    counted: int | None = None,
    given: tuple[tuple[str, float], ...] = (),
) -> Code | None:
    """The function in a source text; ``None`` where there is none.

    ``constants``: names of the module that stand for a number or a text. ``given``: numbers that its arguments are. Of several
    functions of one name (a property and its setter) it is the one with ``counted`` statements, else the last.
    """
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    found = [node for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    if not found:
        return None
    fitting = [node for node in found if counted is not None and len(statements(node)) == counted]
    try:
        return _Reader((fitting or found)[-1], dict(constants), dict(given)).code()
    except RecursionError:
        return None


class _Reader:
    def __init__(self, node: Function, constants: Mapping[str, object], given: Mapping[str, float]) -> None:
        self.node = node
        listed = statements(node)
        self.places = {id(entry): number for number, entry in enumerate(listed)}
        self.arguments = tuple(entry.arg for entry in arguments_of(node.args))
        stored, shared = set(), set()
        for entry in ast.walk(node):
            if isinstance(entry, ast.Name) and not isinstance(entry.ctx, ast.Load):
                stored.add(entry.id)
            elif isinstance(entry, ast.Global):
                shared.update(entry.names)
        self.locals = stored.union(self.arguments) - shared
        constants = {name: value for name, value in constants.items() if name not in self.locals}
        numbers = {name: float(value) for name, value in constants.items() if isinstance(value, int | float)}
        self.numbers = (
            numbers | {name: value for name, value in given.items() if name not in stored} | sizes.local_constants(node)
        )
        self.shapes = Shapes(self.locals, constants)
        self.inside = own(node)
        self.costs = ExpressionCosts(self.locals, self.numbers, containers(self.inside))

    def code(self) -> Code:
        node = self.node
        decorators = tuple(ast.unparse(entry) for entry in node.decorator_list)
        steps = self.block(next((inside for _, _, inside in blocks(node)), ()))
        return Code(steps, len(self.places), decorators, self.arguments, sum(1 for _ in flat(steps)), aliases(self.inside))

    def block(self, block: Iterable[ast.stmt]) -> list[Step]:
        return [self.step(node) for node in block]

    def step(self, node: ast.stmt) -> Step:
        kind = type(node).__name__
        part, turn = Part(ops=NODES.get(kind, 5.0)), Part()
        parts = list(header(node))
        for expression in parts:
            self.costs.add(expression, part if not isinstance(node, ast.While) else turn, 1.0, node.lineno)
        step = Step(node, kind, "", False, part, turn, self.places.get(id(node), -1))
        step.names = tuple(
            entry.id
            for expression in parts
            for entry in ast.walk(expression)
            if isinstance(entry, ast.Name) and entry.id in self.locals
        )
        shapes = [self.shapes.of(expression) for expression in parts]
        step.key = f"{kind}({' '.join(shapes)})"
        if isinstance(node, ast.If | ast.While):
            text, step.turned = self.shapes.condition(node.test)
            step.key = f"{kind}({text})"
            step.likely = likely(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.Return | ast.Expr) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
            if all(isinstance(target, ast.Name) for target in targets):
                step.key = f"value({self.shapes.of(node.value)})"
        if isinstance(node, ast.For | ast.AsyncFor):
            turn.ops += TURN + 2 * max(1, len(list(ast.walk(node.target))) - 1)
            step.over, step.size = over(node.iter), sizes.iterations(node.iter, self.numbers)
            step.key = f"For({self.shapes.of(node.iter)})"
            if isinstance(node.iter, ast.Call) and isinstance(node.iter.func, ast.Name) and node.iter.func.id == "range":
                step.range = node.iter.args[0] if len(node.iter.args) == 1 else None
        elif isinstance(node, ast.While):
            turn.ops += 2
            step.over, step.size = ast.unparse(node.test), self.limit(node)
        step.leaves = {"Return": "return", "Raise": "return", "Continue": "continue", "Break": "break"}.get(kind, "")
        step.spread = any(getattr(part, "end_lineno", node.lineno) != node.lineno for part in parts)
        if not isinstance(node, _SCOPES):
            for name, owner, inside in blocks(node):
                label = (
                    name
                    if owner is node
                    else f"{name} {self.shapes.of(getattr(owner, 'type', None) or getattr(owner, 'pattern', None))}"
                )
                step.branches.append((label, self.block(inside)))
        return step

    def limit(self, node: ast.While) -> float | None:
        """``while i < 100``, with what is added to ``i``."""
        size = sizes.limit(node.test, self.numbers)
        test = node.test
        if size is None or not isinstance(test, ast.Compare) or not isinstance(test.left, ast.Name):
            return None
        for entry in ast.walk(node):
            if isinstance(entry, ast.AugAssign) and isinstance(entry.target, ast.Name) and entry.target.id == test.left.id:
                by = sizes.number(entry.value, self.numbers)
                return size / by if by and by > 0 and isinstance(entry.op, ast.Add) else None
        return None
