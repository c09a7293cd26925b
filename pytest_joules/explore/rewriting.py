"""Other versions of a real function that do the same: dearer ones, and refactorings that leave its cost alone.

What a variant may not change is what the function returns, raises or leaves behind. Operators are taken to have no effects of
their own; a function is called once more only where :func:`pure` can see that nobody will notice. Whoever uses variants runs the
project's own tests on them all the same: :mod:`pytest_joules.explore.explore` throws away those that fail one.
"""

from __future__ import annotations

import ast
import copy
import random
import zlib
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from pytest_joules.code.definitions import Function

#: Builtins that variants use; a module with its own of that name is left alone.
_USED = frozenset(
    (
        "type", "range", "list", "tuple", "dict", "set", "frozenset", "str", "bytes", "int", "float", "bool", "sum", "sorted",
        "reversed", "isinstance",
    )
)  # fmt: skip
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
#: A function that uses one of these can see how it is written.
_WATCHING = frozenset(
    ("locals", "globals", "eval", "exec", "vars", "dir", "inspect", "sys", "currentframe", "_getframe", "super")
)
#: Builtins whose result depends on nothing but the arguments, and that change nothing.
_PURE_BUILTINS = frozenset(
    (
        "abs", "bool", "bytes", "chr", "complex", "divmod", "float", "format", "frozenset", "hash", "int", "isinstance",
        "issubclass", "len", "max", "min", "ord", "pow", "repr", "round", "str", "tuple", "type", "range", "dict", "list",
        "set", "sorted", "sum", "any", "all", "enumerate", "zip", "reversed", "callable", "slice",
    )
)  # fmt: skip
#: Methods of the built-in types that change nothing, by names that others hardly use.
PURE_METHODS = frozenset(
    (
        "lower", "upper", "strip", "lstrip", "rstrip", "startswith", "endswith", "split", "rsplit", "splitlines", "join",
        "replace", "isdigit", "isalpha", "isalnum", "isupper", "islower", "isspace", "title", "capitalize", "casefold",
        "zfill", "ljust", "rjust", "partition", "rpartition", "bit_length",
    )
)  # fmt: skip
#: Values that may be read again and again, by exact type.
SAFE_TYPES = "(int, float, str, bytes, bool, tuple, list, dict, set, frozenset, range)"
COLLECTIONS = "(list, tuple, dict, set, frozenset, str, bytes)"


@dataclass(frozen=True, slots=True)
class Variant:
    """A module's source with one function written otherwise."""

    kind: str
    """What was done: ``"loop added"``, ``"if turned round"``."""
    neutral: bool
    """Meant to cost the same."""
    source: str
    """Of the whole module."""
    amount: int
    """How often it was done again, of those that are dearer."""


@dataclass
class Draft:
    """A function being rewritten."""

    node: Function
    """A copy, to be changed in place."""
    module: ast.Module
    """The whole file, not to be changed."""
    draw: random.Random
    amount: int
    """How many turns a loop that is added has, how often something is done again."""
    taken: set[str]
    before: list[str] = field(default_factory=list)
    """Statements that the module needs before the function."""

    def fresh(self, word: str) -> str:
        """A name that the module does not use."""
        name, number = word, 1
        while name in self.taken:
            number += 1
            name = f"{word}{number}"
        self.taken.add(name)
        return name

    @property
    def arguments(self) -> set[str]:
        """Names of the function's arguments."""
        return {inner.arg for inner in ast.walk(self.node.args) if isinstance(inner, ast.arg)}

    @property
    def first(self) -> int:
        """Where the body begins, after the docstring."""
        return int(ast.get_docstring(self.node) is not None)


Rewrite: TypeAlias = Callable[[Draft], bool]


def named(*rewrites: Rewrite, neutral: bool) -> Sequence[tuple[str, bool, Rewrite]]:
    """What each is called, whether it is neutral, and what does it."""
    return tuple((rewrite.__name__.replace("_", " "), neutral, rewrite) for rewrite in rewrites)


def parse(text: str) -> list[ast.stmt]:
    """The statements of a text."""
    return ast.parse(text).body


def indented(text: str) -> str:
    """The text inside a block."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def find(module: ast.Module, qualname: str) -> Function | None:
    """The function of that qualified name, where there is exactly one."""
    found = [node for name, node in functions(module) if name == qualname]
    return found[0] if len(found) == 1 else None


def functions(module: ast.Module) -> Iterator[tuple[str, Function]]:
    """All functions with their qualified names."""

    def visit(node: ast.AST, above: str) -> Iterator[tuple[str, Function]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{above}{child.name}", child
                yield from visit(child, f"{above}{child.name}.<locals>.")
            elif isinstance(child, ast.ClassDef):
                yield from visit(child, f"{above}{child.name}.")
            else:
                yield from visit(child, above)

    yield from visit(module, "")


def own(node: ast.AST) -> Iterator[ast.AST]:
    """A function's nodes without those of functions, classes and lambdas in it, itself left out."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, _SCOPES):
            yield from own(child)


def own_blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """Its blocks of statements, the body first."""
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
            yield block
            for statement in block:
                if not isinstance(statement, _SCOPES):
                    yield from own_blocks(statement)
    for inner in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
        yield from own_blocks(inner)


def names(node: ast.AST, context: type[ast.expr_context] | None = None) -> list[str]:
    """Names in it, of all scopes."""
    return [
        inner.id
        for inner in ast.walk(node)
        if isinstance(inner, ast.Name) and (context is None or isinstance(inner.ctx, context))
    ]


def local_names(node: Function) -> set[str]:
    """What a function binds: its arguments, and names that are stored or deleted in it."""
    bound = {inner.id for inner in own(node) if isinstance(inner, ast.Name) and not isinstance(inner.ctx, ast.Load)}
    return bound | {inner.arg for inner in ast.walk(node.args) if isinstance(inner, ast.arg)}


def pure_expression(node: ast.expr) -> bool:
    """Whether evaluating it once more goes unnoticed: names, constants, operators."""
    if isinstance(node, ast.Name | ast.Constant):
        return True
    allowed = ast.BinOp | ast.BoolOp | ast.UnaryOp | ast.Compare | ast.IfExp | ast.Tuple | ast.List | ast.Subscript | ast.Slice
    children = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
    return isinstance(node, allowed) and all(map(pure_expression, children))


def pure(module: ast.Module, name: str, seen: frozenset[str] = frozenset()) -> bool:
    """Whether the module's function of that name can be called once more, with values of built-in types, and nobody notices: it
    stores nothing but local names, and calls nothing but what is pure by this rule."""
    node = find(module, name)
    if not isinstance(node, ast.FunctionDef) or node.decorator_list or name in seen:
        return False
    arguments = {argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)}
    if node.args.vararg or node.args.kwarg:
        return False
    for inner in own(node):
        if isinstance(inner, ast.Call):
            if not _pure_call(module, inner, local_names(node), seen | {name}):
                return False
        elif isinstance(inner, ast.Attribute | ast.Subscript):
            if not isinstance(inner.ctx, ast.Load):
                return False
        elif isinstance(inner, ast.AugAssign):
            if isinstance(inner.target, ast.Name) and inner.target.id in arguments:
                return False
        elif isinstance(inner, _NOT_PURE):
            return False
    return True


def _pure_call(module: ast.Module, node: ast.Call, local: Container[str], seen: frozenset[str]) -> bool:
    called = node.func
    if isinstance(called, ast.Attribute):
        return called.attr in PURE_METHODS
    if not isinstance(called, ast.Name) or called.id in local:
        return False
    return called.id in _PURE_BUILTINS or pure(module, called.id, seen)


_NOT_PURE = (ast.Yield, ast.YieldFrom, ast.Await, ast.Global, ast.Nonlocal, ast.Import, ast.ImportFrom, ast.With, *_SCOPES)


def eligible(node: Function) -> bool:
    """Whether it can be rewritten at all: nothing in it sees how it is written, and no name in it is mangled."""
    for inner in ast.walk(node):
        name = getattr(inner, "id", None) or getattr(inner, "attr", None) or getattr(inner, "arg", None) or ""
        if name in _WATCHING or (name.startswith("__") and not name.endswith("__")):
            return False
        if isinstance(inner, ast.Global | ast.Nonlocal | ast.ClassDef):
            return False
    return node.end_lineno is not None and (node.body[0].lineno > node.lineno)


def variants(
    source: str, qualname: str, rewrites: Sequence[tuple[str, bool, Rewrite]], *, amounts: Sequence[int] = (1,), seed: int = 0
) -> Iterator[Variant]:
    """The module written otherwise in that function, for every one of ``rewrites`` (name, neutral or not, what does it) that
    finds something to do. The same for the same seed. ``amounts``: one is drawn for each.

    Those of this package are :data:`pytest_joules.explore.dearer.DEARER` and
    :data:`pytest_joules.explore.neutral.NEUTRAL`.
    """
    module = ast.parse(source)
    node = find(module, qualname)
    if node is None or not eligible(node):
        return
    bound = {inner.id for inner in ast.walk(module) if isinstance(inner, ast.Name) and not isinstance(inner.ctx, ast.Load)}
    bound |= {inner.arg for inner in ast.walk(node) if isinstance(inner, ast.arg)}
    bound |= {inner.name for inner in module.body if isinstance(inner, ast.FunctionDef | ast.ClassDef)}
    bound |= {
        alias.asname or alias.name for inner in ast.walk(module) if isinstance(inner, ast.ImportFrom) for alias in inner.names
    }
    if bound & _USED:
        return
    taken = set(names(module)) | {
        getattr(inner, key)
        for inner in ast.walk(module)
        for key in ("arg", "attr", "name")
        if isinstance(getattr(inner, key, None), str)
    }
    for kind, neutral, rewrite in rewrites:
        draw = random.Random(zlib.crc32(f"{seed} {qualname} {kind}".encode()))
        amount = draw.choice(list(amounts))
        draft = Draft(copy.deepcopy(node), module, draw, amount, set(taken))
        if not rewrite(draft):
            continue
        text = _written(source, module, node, qualname, draft)
        if text is not None:
            yield Variant(kind, neutral, text, amount)


def _written(source: str, module: ast.Module, node: Function, qualname: str, draft: Draft) -> str | None:
    """The module with the draft in the function's place; ``None`` where it would not be what was drafted."""
    lines = source.splitlines(keepends=True)
    begin = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1
    head = lines[begin]
    indent = head[: len(head) - len(head.lstrip())]
    if indent.strip(" ") or len(indent) % 4:
        return None
    # Written inside as many blocks, so that the lines of texts are not indented with the code.
    outer: ast.stmt = draft.node
    for _ in range(len(indent) // 4):
        outer = ast.If(ast.Constant(True), [outer], [])
    try:
        written = ast.unparse(ast.fix_missing_locations(outer)).splitlines(keepends=True)[len(indent) // 4 :]
    except (ValueError, RecursionError):
        return None
    lines[begin : node.end_lineno] = ["".join(written).lstrip("\n") + "\n"]
    if draft.before:
        top = next(outer for outer in module.body if outer.lineno <= node.lineno <= (outer.end_lineno or outer.lineno))
        place = min([top.lineno, *(decorator.lineno for decorator in getattr(top, "decorator_list", ()))]) - 1
        lines.insert(place, "".join(f"{entry}\n\n" for entry in draft.before))
    result = "".join(lines)
    try:
        compile(result, "", "exec", dont_inherit=True)
        now = find(ast.parse(result), qualname)
    except (SyntaxError, ValueError):
        return None
    drafted = ast.dump(ast.parse(ast.unparse(draft.node)).body[0])
    return result if now is not None and ast.dump(now) == drafted != ast.dump(node) else None
