"""Functions that keep what they make for others, told by their syntax.

What a test executes is not all that its result was made by: a cached value was made by whoever asked first. A function may keep
what it makes where a decorator wraps it, or where it stores into what outlives the call and looks there first.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from pytest_joules.code.definitions import Function

#: Decorators, by the last part of their name, that keep nothing.
_KEEPS_NOTHING = frozenset(
    (
        *("property", "staticmethod", "classmethod", "setter", "getter", "deleter", "abstractmethod", "abstractproperty"),
        *("overload", "override", "final", "wraps", "contextmanager", "asynccontextmanager", "coroutine", "no_type_check"),
        *("fixture", "given", "settings", "example", "composite", "parametrize", "hookimpl", "hookspec", "skip", "skipIf"),
        *("skipUnless", "expectedFailure", "patch", "object", "dict", "total_ordering", "singledispatch", "singledispatchmethod"),
        *("runtime_checkable", "deprecated", "positional", "njit", "jit"),
    )
)
#: Methods of containers by which a module's own is filled.
_FILLS = frozenset(
    (
        *("append", "appendleft", "add", "update", "setdefault", "extend", "insert", "register", "connect", "pop", "remove"),
        *("clear", "discard", "popitem", "__setitem__", "put"),
    )
)
_BRANCHES = (ast.If, ast.Try, ast.IfExp, ast.BoolOp, ast.While, ast.Match)
#: In these an attribute of the object is set, not kept for later.
_MAKERS = frozenset(("__init__", "__new__", "__post_init__", "__setstate__", "__set_name__"))
_CONTAINERS = (ast.List, ast.Dict, ast.Set, ast.Tuple, ast.ListComp, ast.DictComp, ast.SetComp, ast.GeneratorExp, ast.Constant)


def is_wrapped(node: Function) -> bool:
    """Whether a decorator may keep what it returns: any that is not known to keep nothing."""
    return any(_last(decorator) not in _KEEPS_NOTHING and not _is_mark(decorator) for decorator in node.decorator_list)


def is_lazy(node: Function) -> bool:
    """Whether it looks where it stores, and stores only where it has to."""
    inner = list(_own(node))
    if not any(isinstance(part, _BRANCHES) for part in inner) or not any(isinstance(part, ast.Call) for part in inner):
        return False
    stored = set(_stored(node, inner))
    return bool(stored) and not stored.isdisjoint(_looked_at(inner))


def fills(node: ast.AST) -> bool:
    """Whether it changes what belongs to a module: a global, an entry of one, an attribute of one."""
    for function in ast.walk(node):
        if isinstance(function, ast.Global):
            return True
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and _fills_a_global(function):
            return True
    return False


def _fills_a_global(node: Function) -> bool:
    inner = list(_own(node))
    local = {name.id for name in inner if isinstance(name, ast.Name) and not isinstance(name.ctx, ast.Load)}
    local |= {argument.arg for argument in inner if isinstance(argument, ast.arg)} - {"cls", "mcs"}
    for part in inner:
        target: ast.AST | None = None
        if isinstance(part, ast.Attribute | ast.Subscript) and not isinstance(part.ctx, ast.Load):
            target = part.value
        elif isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute) and part.func.attr in _FILLS:
            target = part.func.value
        base = _base(target) if target is not None else None
        if base is not None and base not in local:
            return True
    return False


def _own(node: Function) -> Iterator[ast.AST]:
    """What is in its body and its arguments, without the functions and classes inside."""
    waiting: list[ast.AST] = [node.args, *node.body]
    while waiting:
        part = waiting.pop()
        yield part
        if not isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            waiting += ast.iter_child_nodes(part)


def _stored(node: Function, inner: list[ast.AST]) -> Iterator[str]:
    """Names of globals, attributes and containers that a value is put into which was made."""
    outer = {name for part in inner if isinstance(part, ast.Global | ast.Nonlocal) for name in part.names}
    fresh = _fresh(inner)
    parameters = {argument.arg for argument in inner if isinstance(argument, ast.arg)}
    for part in inner:
        if isinstance(part, ast.Assign):
            targets, value = part.targets, part.value
        elif isinstance(part, ast.AnnAssign) and part.value is not None:
            targets, value = [part.target], part.value
        elif isinstance(part, ast.Call) and _last(part) == "setattr":
            yield from _texts(part)
            yield "setattr"
            continue
        else:
            continue
        if not _is_made(value, parameters):
            continue
        for target in targets:
            for name in ast.walk(target):
                yield from _place(name, outer, fresh, in_maker=node.name in _MAKERS)


def _place(target: ast.AST, outer: set[str], fresh: set[str], *, in_maker: bool) -> Iterator[str]:
    if isinstance(target, ast.Name) and target.id in outer:
        yield target.id
    elif isinstance(target, ast.Attribute) and not isinstance(target.ctx, ast.Load) and not in_maker:
        yield target.attr
    elif isinstance(target, ast.Subscript) and not isinstance(target.ctx, ast.Load):
        container = target.value
        if isinstance(container, ast.Attribute):
            yield container.attr
        elif isinstance(container, ast.Name) and container.id not in fresh:
            yield container.id


def _fresh(inner: list[ast.AST]) -> set[str]:
    """Local names that stand for a container which this call made."""
    made: set[str] = set()
    other: set[str] = set()
    for part in inner:
        if isinstance(part, ast.Assign):
            new = isinstance(part.value, _CONTAINERS) or (
                isinstance(part.value, ast.Call) and isinstance(part.value.func, ast.Name)
            )
            (made if new else other).update(target.id for target in part.targets if isinstance(target, ast.Name))
    return made - other


def _is_made(value: ast.expr, parameters: set[str]) -> bool:
    """Whether a value may be the result of work: not a constant and not what was given."""
    return any(
        isinstance(part, ast.Call | ast.Await | ast.comprehension)
        or (isinstance(part, ast.Name) and part.id not in parameters and isinstance(part.ctx, ast.Load))
        for part in ast.walk(value)
    )


def _looked_at(inner: list[ast.AST]) -> Iterator[str]:
    for part in inner:
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load):
            yield part.id
        elif isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Load):
            yield part.attr
        elif isinstance(part, ast.Call) and _last(part) in ("hasattr", "getattr"):
            yield from _texts(part)
            yield "setattr"


def _texts(call: ast.Call) -> Iterator[str]:
    return (part.value for part in call.args if isinstance(part, ast.Constant) and isinstance(part.value, str))


def _last(node: ast.expr) -> str:
    inner: ast.expr = node
    while isinstance(inner, ast.Call | ast.Subscript):
        inner = inner.func if isinstance(inner, ast.Call) else inner.value
    return inner.attr if isinstance(inner, ast.Attribute) else inner.id if isinstance(inner, ast.Name) else ""


def _is_mark(decorator: ast.expr) -> bool:
    inner = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Attribute | ast.Name) and _last(inner.value) == "mark"


def _base(node: ast.AST) -> str | None:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None
