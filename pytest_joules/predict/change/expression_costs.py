"""What an expression costs each time that it is evaluated."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping

from pytest_joules.predict.change.costs import CALL, COMPREHENSION, FORMATTED, ITEM, KNOWN, MEMBERSHIP, NODES, SHOWN
from pytest_joules.predict.change.steps import Inner, Part
from pytest_joules.predict.facts import sizes
from pytest_joules.predict.facts.expressions import argument, over


class ExpressionCosts:
    """``variables``: a function's own names; ``numbers``: names that stand for one; ``kinds``: built-in containers by name."""

    def __init__(self, variables: Collection[str], numbers: Mapping[str, float], kinds: Mapping[str, str]) -> None:
        self.locals, self.numbers, self.kinds = variables, numbers, kinds
        self.each: dict[int, tuple[str, float | None]] = {}
        """Of lambdas that are called for each element of something: what that is, and its size where literals say so."""

    def add(self, node: ast.AST, part: Part, weight: float, line: int) -> None:
        """Add what evaluating it costs, ``weight`` times."""
        if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            self.comprehension(node, part, weight, line)
            return
        part.ops += weight * NODES.get(type(node).__name__, 0.0)
        if isinstance(node, ast.Lambda):
            self.function(node, part, weight, line)
        elif isinstance(node, ast.BoolOp | ast.IfExp):
            self.choice(node, part, weight, line)
        else:
            self.own(node, part, weight)
            if isinstance(node, ast.List | ast.Set | ast.Dict | ast.Tuple) and not self.literal(node, part, weight):
                return
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr | ast.keyword | ast.Slice):
                    self.add(child, part, weight, line)

    def own(self, node: ast.AST, part: Part, weight: float) -> None:
        """Of calls, attributes and ``in``, which may go through something or call what is written."""
        if isinstance(node, ast.Call):
            self.call(node, part, weight)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            part.call(f"@{node.attr}", weight)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod) and _is_text(node.left):
            part.call(FORMATTED, weight)
            part.sized.append((FORMATTED, over(node.right), None, weight))
        elif isinstance(node, ast.FormattedValue):
            part.call(SHOWN, weight * (2.0 if node.format_spec is not None or node.conversion != -1 else 1.0))
        elif isinstance(node, ast.Compare) and any(isinstance(entry, ast.In | ast.NotIn) for entry in node.ops):
            held = node.comparators[-1]
            if isinstance(held, ast.List) or (isinstance(held, ast.Name) and self.kinds.get(held.id) == "list"):
                part.call(MEMBERSHIP, weight)
                part.sized.append((MEMBERSHIP, over(held), None, weight))

    def function(self, node: ast.Lambda, part: Part, weight: float, line: int) -> None:
        inner = Part()
        self.add(node.body, inner, 1.0, line)
        gone_over, size = self.each.get(id(node), ("", None))
        inner.ops += CALL
        part.inner.append(Inner(gone_over, size, inner, weight, node.body.lineno == line))

    def choice(self, node: ast.BoolOp | ast.IfExp, part: Part, weight: float, line: int) -> None:
        """What comes first is always evaluated, the rest about half of the times."""
        first, often = (node.values[0], 0.6) if isinstance(node, ast.BoolOp) else (node.test, 0.5)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.add(child, part, weight if child is first else weight * often, line)

    def called_for_each(self, node: ast.Call, name: str) -> None:
        """``sorted(x, key=lambda ...)`` and ``map(lambda ..., x)``."""
        given = [*node.args, *(entry.value for entry in node.keywords if entry.arg == "key")]
        if name not in ("sorted", "max", "min", "map", "filter", "sort"):
            return
        others = [entry for entry in given if not isinstance(entry, ast.Lambda)]
        if name == "sort" and isinstance(node.func, ast.Attribute):
            others = [node.func.value]
        for entry in given:
            if isinstance(entry, ast.Lambda) and others:
                self.each[id(entry)] = over(others[0]), sizes.iterations(others[0], self.numbers)

    @staticmethod
    def literal(node: ast.List | ast.Set | ast.Dict | ast.Tuple, part: Part, weight: float) -> bool:
        """Add what making it costs; whether its elements cost something as well."""
        if not isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
            return True
        if isinstance(node, ast.Dict):
            part.ops += weight * 15.0 * len(node.values)
            return True
        if all(isinstance(entry, ast.Constant) for entry in node.elts):
            # Made at once from a constant, and a tuple is one.
            part.ops += weight * len(node.elts) * {ast.List: 4.0, ast.Set: 14.0}.get(type(node), 0.0)
            return False
        part.ops += weight * 3.0 * len(node.elts)
        return True

    def call(self, node: ast.Call, part: Part, weight: float) -> None:
        name, bare = self.name(node.func), ""
        bare = name.rpartition(".")[2]
        known = KNOWN.get(bare)
        part.ops += weight * ((CALL if known is None else CALL / 3) + 5 * len(node.keywords))
        self.called_for_each(node, bare)
        if bare == "sleep" and node.args and (seconds := sizes.number(node.args[0], self.numbers)) is not None:
            part.ops += weight * seconds * 1e9
            return
        part.call(name, weight)
        if known is None or name.startswith("self."):
            texts = [argument(entry, self.numbers) for entry in node.args]
            first = ("self",) if name.startswith("self.") else ()
            named = [f"{entry.arg}={argument(entry.value, self.numbers)}" for entry in node.keywords if entry.arg]
            part.given[name] = (*first, *texts, *named)
            return
        value: ast.expr | None = node.args[0] if isinstance(node.func, ast.Name) and node.args else None
        if isinstance(node.func, ast.Attribute):
            value = node.args[0] if bare in ("extend", "update", "join", "deepcopy") and node.args else node.func.value
        if known[1] and value is not None and not isinstance(value, ast.GeneratorExp | ast.ListComp | ast.SetComp):
            part.sized.append((name, over(value), sizes.iterations(value, self.numbers), weight))

    def name(self, called: ast.expr) -> str:
        """What is called, as :class:`~pytest_joules.predict.change.steps.Part` names it."""
        if isinstance(called, ast.Name):
            return "?" if called.id in self.locals else called.id
        if not isinstance(called, ast.Attribute):
            return "?"
        base = called.value
        if isinstance(base, ast.Name) and base.id in ("self", "cls"):
            return f"self.{called.attr}"
        while isinstance(base, ast.Attribute):
            base = base.value
        if isinstance(base, ast.Name) and base.id not in self.locals:
            return ast.unparse(called)
        return f".{called.attr}"

    def comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp, part: Part, weight: float, line: int
    ) -> None:
        part.ops += weight * COMPREHENSION
        place, times = part, weight
        for generator in node.generators:
            self.add(generator.iter, place, times, line)
            inner = Part(ops=ITEM + (15.0 if isinstance(node, ast.GeneratorExp) else 3.0))
            seen = generator.iter.lineno == line and len(node.generators) == 1 and (node.end_lineno or 0) >= line
            place.inner.append(Inner(over(generator.iter), sizes.iterations(generator.iter, self.numbers), inner, times, seen))
            place, times = inner, 1.0
            for test in generator.ifs:
                self.add(test, place, times, line)
                times *= 0.7
        for expression in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
            self.add(expression, place, times, line)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
