"""A function as steps: what each of its statements does whenever it runs, written so that versions can be laid side by side.

Names of local variables do not count, nor does whether a value is returned, named first or thrown away, nor whether a test is
negated.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from pytest_joules.code.source_file import Function
from pytest_joules.code.statements import blocks, statements
from pytest_joules.predict.change.costs import CALL, COMPREHENSION, ITEM, KNOWN, NODES, SLEEP, TURN, UNKNOWN
from pytest_joules.predict.facts import sizes
from pytest_joules.predict.facts.expressions import aliases, argument, containers, header, likely, over, shown

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_LOOPS = (ast.For, ast.AsyncFor, ast.While)


@dataclass(slots=True)
class Part:
    """What happens each time: nanoseconds of the interpreter's own work, of builtins, and of what is called and not known."""

    ops: float = 0.0
    known: float = 0.0
    unknown: float = 0.0
    sites: dict[str, float] = field(default_factory=dict)
    """How often a name is called; ``.name`` where it is a method's or an attribute's."""
    sized: list[tuple[str, float]] = field(default_factory=list)
    """What a builtin goes through, and nanoseconds for each of its elements."""
    inner: list[Inner] = field(default_factory=list)
    given: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The arguments of the last call of a name."""

    def call(self, name: str, times: float) -> None:
        self.sites[name] = self.sites.get(name, 0.0) + times


@dataclass(slots=True)
class Inner:
    """A comprehension or a lambda."""

    over: str
    """What it goes over; ``""`` of a lambda."""
    size: float | None
    part: Part
    weight: float
    seen: bool
    """A statement's count shows how often it ran: it stands on the statement's first line."""


@dataclass(slots=True, eq=False)
class Step:
    """A statement without those inside it."""

    kind: str
    key: str
    turned: bool
    """Its test is the negation of what ``key`` says."""
    part: Part
    turn: Part
    """On each turn of a loop, before its body."""
    index: int
    """Its place among the function's counts; -1: not counted."""
    over: str = ""
    size: float | None = None
    """How often a loop runs, where literals say so."""
    range: ast.expr | None = None
    """The end of the range that a loop goes over."""
    branches: list[tuple[str, list[Step]]] = field(default_factory=list)
    leaves: str = ""
    """``return``, ``continue`` or ``break``."""
    names: tuple[str, ...] = ()
    """Of local variables, in order."""
    likely: float = 0.5
    """How often a test is taken to hold of which nothing is known."""
    text: str = ""

    @property
    def is_loop(self) -> bool:
        return bool(self.over and self.branches)

    def inside(self) -> Iterator[Step]:
        """Every step in it."""
        for _, block in self.branches:
            yield from _flat(block)


@dataclass(slots=True, eq=False)
class Code:
    """A function."""

    steps: list[Step]
    counted: int
    """How many counts it has besides that of its calls."""
    decorators: tuple[str, ...]
    arguments: tuple[str, ...]
    size: int
    """How many steps it has."""
    aliases: dict[str, ast.expr]
    """Local names that are bound once, and to what."""

    def all(self) -> Iterator[Step]:
        """Every step, each before those inside it."""
        return _flat(self.steps)


def _flat(steps: Iterable[Step]) -> Iterator[Step]:
    for step in steps:
        yield step
        yield from step.inside()


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
        arguments = node.args
        self.arguments = tuple(
            entry.arg
            for entry in (*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg)
            if entry is not None
        )
        stored = {entry.id for entry in ast.walk(node) if isinstance(entry, ast.Name) and not isinstance(entry.ctx, ast.Load)}
        self.locals = stored.union(self.arguments) - {
            name for entry in ast.walk(node) if isinstance(entry, ast.Global) for name in entry.names
        }
        self.constants = {name: value for name, value in constants.items() if name not in self.locals}
        numbers = {name: float(value) for name, value in self.constants.items() if isinstance(value, int | float)}
        self.numbers = (
            numbers | {name: value for name, value in given.items() if name not in stored} | sizes.local_constants(node)
        )
        self.kinds = containers(node)
        self.each: dict[int, tuple[str, float | None]] = {}
        """Of lambdas that are called for each element of something: what that is, and its size where literals say so."""

    def code(self) -> Code:
        node = self.node
        decorators = tuple(ast.unparse(entry) for entry in node.decorator_list)
        steps = self.block(next((inside for _, _, inside in blocks(node)), ()))
        return Code(steps, len(self.places), decorators, self.arguments, sum(1 for _ in _flat(steps)), aliases(node))

    def block(self, block: Iterable[ast.stmt]) -> list[Step]:
        return [self.step(node) for node in block]

    def step(self, node: ast.stmt) -> Step:
        kind = type(node).__name__
        part, turn = Part(ops=NODES.get(kind, 5.0)), Part()
        parts = list(header(node))
        for expression in parts:
            self.expression(expression, part if not isinstance(node, ast.While) else turn, 1.0, node.lineno)
        step = Step(kind, "", False, part, turn, self.places.get(id(node), -1))
        step.names = tuple(
            entry.id
            for expression in parts
            for entry in ast.walk(expression)
            if isinstance(entry, ast.Name) and entry.id in self.locals
        )
        shapes = [self.shape(expression) for expression in parts]
        step.key = f"{kind}({' '.join(shapes)})"
        if isinstance(node, ast.If | ast.While):
            text, step.turned = self.condition(node.test)
            step.key = f"{kind}({text})"
            step.likely = likely(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.Return | ast.Expr) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
            if all(isinstance(target, ast.Name) for target in targets):
                step.key = f"value({self.shape(node.value)})"
        if isinstance(node, ast.For | ast.AsyncFor):
            turn.ops += TURN + 2 * max(1, len(list(ast.walk(node.target))) - 1)
            step.over, step.size = over(node.iter), sizes.iterations(node.iter, self.numbers)
            step.key = f"For({self.shape(node.iter)})"
            if isinstance(node.iter, ast.Call) and isinstance(node.iter.func, ast.Name) and node.iter.func.id == "range":
                step.range = node.iter.args[0] if len(node.iter.args) == 1 else None
        elif isinstance(node, ast.While):
            turn.ops += 2
            step.over, step.size = ast.unparse(node.test), self.limit(node)
        step.leaves = {"Return": "return", "Raise": "return", "Continue": "continue", "Break": "break"}.get(kind, "")
        step.text = shown(node)
        if not isinstance(node, _SCOPES):
            for name, owner, inside in blocks(node):
                label = (
                    name
                    if owner is node
                    else f"{name} {self.shape(getattr(owner, 'type', None) or getattr(owner, 'pattern', None))}"
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

    # Shapes

    def shape(self, node: ast.AST | None) -> str:
        """The expression without names of local variables."""
        if node is None:
            return ""
        if isinstance(node, ast.Name):
            if node.id in self.constants:
                return repr(self.constants[node.id])
            return "$" if node.id in self.locals else node.id
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
                inner.append("[" + " ".join(self.shape(entry) for entry in value if isinstance(entry, ast.AST)) + "]")
            elif isinstance(value, ast.AST):
                if not isinstance(value, ast.expr_context):
                    inner.append(self.shape(value))
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
            return f"{name}({self.shape(node.left)} {self.shape(node.comparators[0])})", True
        if isinstance(node, ast.Compare):
            names = " ".join(type(entry).__name__ for entry in node.ops)
            return f"{names}({self.shape(node.left)} {' '.join(self.shape(entry) for entry in node.comparators)})", False
        if isinstance(node, ast.UnaryOp):
            return f"{type(node.op).__name__}({self.shape(node.operand)})", False
        return self.shape(node), False

    # Costs

    def expression(self, node: ast.AST, part: Part, weight: float, line: int) -> None:
        """Add what evaluating it costs, ``weight`` times."""
        if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            self.comprehension(node, part, weight, line)
            return
        kind = type(node).__name__
        part.ops += weight * NODES.get(kind, 0.0)
        if isinstance(node, ast.Lambda):
            inner = Part()
            self.expression(node.body, inner, 1.0, line)
            gone_over, size = self.each.get(id(node), ("", None))
            inner.ops += CALL
            part.inner.append(Inner(gone_over, size, inner, weight, node.body.lineno == line))
            return
        if isinstance(node, ast.BoolOp | ast.IfExp):
            first = node.values[0] if isinstance(node, ast.BoolOp) else node.test
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    self.expression(
                        child, part, weight if child is first else weight * (0.6 if isinstance(node, ast.BoolOp) else 0.5), line
                    )
            return
        if isinstance(node, ast.Call):
            self.call(node, part, weight)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            part.call(f"@{node.attr}", weight)
        elif isinstance(node, ast.Compare) and any(isinstance(entry, ast.In | ast.NotIn) for entry in node.ops):
            held = node.comparators[-1]
            if isinstance(held, ast.List) or (isinstance(held, ast.Name) and self.kinds.get(held.id) == "list"):
                part.sized.append((over(held), 6.0 * weight))
        if isinstance(node, ast.List | ast.Set | ast.Dict | ast.Tuple) and not self.literal(node, part, weight):
            return
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr | ast.keyword | ast.Slice):
                self.expression(child, part, weight, line)

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
        name = "?"
        if isinstance(node.func, ast.Name):
            name = node.func.id
        elif isinstance(node.func, ast.Attribute):
            name = f".{node.func.attr}"
        known = KNOWN.get(name.removeprefix("."))
        part.ops += weight * ((CALL if known is None else CALL / 3) + 5 * len(node.keywords))
        self.called_for_each(node, name.removeprefix("."))
        if isinstance(node.func, ast.Name) and node.func.id in self.locals:
            part.call("?", weight)  # whatever was handed over
            part.unknown += weight * UNKNOWN
            return
        if (
            isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id in ("self", "cls")
        ):
            part.call(f"self{name}", weight)
            part.given[f"self{name}"] = ("self", *(argument(entry, self.numbers) for entry in node.args))
            return
        if name.removeprefix(".") == "sleep":
            seconds = sizes.number(node.args[0], self.numbers) if node.args else None
            part.known += weight * (seconds * 1e9 if seconds is not None else SLEEP)
            return
        part.call(name, weight)
        if known is None:
            texts = [argument(entry, self.numbers) for entry in node.args]
            part.given[name] = (
                *texts,
                *(f"{entry.arg}={argument(entry.value, self.numbers)}" for entry in node.keywords if entry.arg),
            )
            return
        part.known += weight * known[0]
        value: ast.expr | None = node.args[0] if isinstance(node.func, ast.Name) and node.args else None
        if isinstance(node.func, ast.Attribute):
            value = node.args[0] if name in (".extend", ".update", ".join", ".deepcopy") and node.args else node.func.value
        if known[1] and value is not None and not isinstance(value, ast.GeneratorExp | ast.ListComp | ast.SetComp):
            size = sizes.iterations(value, self.numbers)
            if size is not None:
                part.known += weight * known[1] * size
            else:
                part.sized.append((over(value), weight * known[1]))

    def comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp, part: Part, weight: float, line: int
    ) -> None:
        part.ops += weight * COMPREHENSION
        place, times = part, weight
        for generator in node.generators:
            self.expression(generator.iter, place, times, line)
            inner = Part(ops=ITEM + (15.0 if isinstance(node, ast.GeneratorExp) else 3.0))
            seen = generator.iter.lineno == line and len(node.generators) == 1 and (node.end_lineno or 0) >= line
            place.inner.append(Inner(over(generator.iter), sizes.iterations(generator.iter, self.numbers), inner, times, seen))
            place, times = inner, 1.0
            for test in generator.ifs:
                self.expression(test, place, times, line)
                times *= 0.7
        for expression in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
            self.expression(expression, place, times, line)


def bound(code: Code, given: Sequence[str]) -> dict[str, str]:
    """The arguments of a call, by the names that the function has for them."""
    plain = [entry for entry in given if not re.match(r"\w+=[^=]", entry)]
    named = dict(entry.split("=", 1) for entry in given if entry not in plain)
    return dict(zip(code.arguments, plain, strict=False)) | named
