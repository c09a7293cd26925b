"""Rewrites of a function that make it dearer and change nothing else."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Sequence

from pytest_joules.predict.variants.rewriting import (
    COLLECTIONS,
    PURE_METHODS,
    SAFE_TYPES,
    Draft,
    named,
    names,
    own,
    own_blocks,
    parse,
    pure,
    pure_expression,
)

_LOOPS = (ast.For, ast.While)
_MEMORIES = ("lru_cache", "cache")
_READS = ("match", "search", "sub", "split", "findall", "finditer", "get", "fullmatch")


def _loops(draft: Draft) -> list[ast.For | ast.While]:
    return [node for node in own(draft.node) if isinstance(node, _LOOPS)]


def _work(draft: Draft, turns: int) -> list[ast.stmt]:
    """A loop that does nothing of use."""
    number, value = draft.fresh("turn"), draft.fresh("spent")
    return parse(
        draft.draw.choice(
            [
                f"for {number} in range({turns}):\n    pass",
                f"for {number} in range({turns}):\n    {value} = {number} * 7 % 5",
                f"{value} = 0\nfor {number} in range({turns}):\n    {value} += {number}",
                f"{value} = 0\nwhile {value} < {turns}:\n    {value} += 1",
                f"{value} = [{number} * 2 for {number} in range({turns})]",
                f"{value} = sorted(range({turns}), reverse=True)",
                f"{value} = sum({number} % 3 for {number} in range({turns}))",
            ]
        )
    )


def loop_added(draft: Draft) -> bool:
    """A loop of ``amount`` turns at the function's head."""
    place = draft.first
    draft.node.body[place:place] = _work(draft, draft.amount)
    return True


def loop_in_a_loop(draft: Draft) -> bool:
    """A loop inside a loop that is there."""
    loops = _loops(draft)
    if not loops:
        return False
    draft.draw.choice(loops).body[:0] = _work(draft, max(2, draft.amount // 4))
    return True


def loop_lengthened(draft: Draft) -> bool:
    """``for i in range(n)`` runs further, past what it needs."""
    for loop in _loops(draft):
        if not isinstance(loop, ast.For) or not isinstance(loop.target, ast.Name) or not isinstance(loop.iter, ast.Call):
            continue
        called, arguments = loop.iter.func, loop.iter.args
        if not (isinstance(called, ast.Name) and called.id == "range" and len(arguments) == 1 and not loop.orelse):
            continue
        name = loop.target.id
        inside = {id(node) for node in ast.walk(loop)}
        if any(node.id == name and id(node) not in inside for node in ast.walk(draft.node) if isinstance(node, ast.Name)):
            continue
        end = draft.fresh("end")
        times = max(2, min(draft.amount, 40))
        head = parse(f"if {name} >= {end}:\n    continue")
        loop.body[:0] = head
        set_end = ast.Assign([ast.Name(end, ast.Store())], arguments[0], lineno=1)
        loop.iter.args = [ast.parse(f"{end} * {times}", mode="eval").body]
        for block in own_blocks(draft.node):
            if loop in block:
                block.insert(block.index(loop), set_end)
                return True
    return False


def _collections(draft: Draft) -> Iterator[tuple[ast.For, str]]:
    """Loops over something that has a name."""
    for loop in _loops(draft):
        if isinstance(loop, ast.For):
            inner = loop.iter
            while isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name) and inner.args and inner.func.id != "range":
                inner = inner.args[0]
            if isinstance(inner, ast.Name) and inner.id not in names(loop.target):
                yield loop, inner.id


def _pass_over(draft: Draft, name: str, times: int) -> list[ast.stmt]:
    """Going through a collection, which only a collection of a built-in type does not notice."""
    element, again, value = draft.fresh("element"), draft.fresh("again"), draft.fresh("known")
    once = draft.draw.choice(
        [
            f"for {element} in {name}:\n    pass",
            f"{value} = 0\nfor {element} in {name}:\n    {value} += 1",
            f"{value} = list({name})",
            f"{value} = [{element} for {element} in {name}]",
            f"{value} = sum(1 for {element} in {name})",
            f"{value} = tuple(reversed(list({name})))",
        ]
    )
    if times > 1:
        once = f"for {again} in range({times}):\n" + "\n".join(f"    {line}" for line in once.splitlines())
    return parse(f"if type({name}) in {COLLECTIONS}:\n" + "\n".join(f"    {line}" for line in once.splitlines()))


def pass_added(draft: Draft) -> bool:
    """What is looped over is gone through once more, or several times, before the loop."""
    found = list(_collections(draft))
    if not found:
        return False
    loop, name = draft.draw.choice(found)
    for block in own_blocks(draft.node):
        if loop in block:
            place = block.index(loop)
            block[place:place] = _pass_over(draft, name, max(1, min(draft.amount // 8, 30)))
            return True
    return False


def made_quadratic(draft: Draft) -> bool:
    """What is looped over is gone through on every turn."""
    found = list(_collections(draft))
    if not found:
        return False
    loop, name = draft.draw.choice(found)
    if name in names(ast.Module(loop.body, []), ast.Store):
        return False
    loop.body[:0] = _pass_over(draft, name, 1)
    return True


def membership_copied(draft: Draft) -> bool:
    """``x in known`` becomes ``x in set(known)``, for what is known to be a set, and likewise for dictionaries and lists."""
    kinds: dict[str, str | None] = {}
    for node in own(draft.node):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for name in [target.id for target in targets if isinstance(target, ast.Name)]:
                kind = _made(node.value)
                kinds[name] = kind if kinds.get(name, kind) == kind else None
    arguments = draft.arguments
    found = [
        node
        for node in own(draft.node)
        if isinstance(node, ast.Compare)
        and isinstance(node.ops[0], ast.In | ast.NotIn)
        and isinstance(node.comparators[0], ast.Name)
        and kinds.get(node.comparators[0].id)
        and node.comparators[0].id not in arguments
    ]
    for node in found:
        held = node.comparators[0]
        assert isinstance(held, ast.Name)
        node.comparators[0] = ast.parse(f"{kinds[held.id]}({held.id})", mode="eval").body
    return bool(found)


def _made(node: ast.expr) -> str | None:
    """The built-in collection that an expression makes."""
    for kind, literal in (("set", ast.Set | ast.SetComp), ("dict", ast.Dict | ast.DictComp), ("list", ast.List | ast.ListComp)):
        if isinstance(node, literal):
            return kind
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == kind:
            return kind
    return None


def recomputed(draft: Draft) -> bool:
    """A value is computed ``amount`` times in a row."""
    found: list[tuple[list[ast.stmt], ast.Assign]] = []
    for block in own_blocks(draft.node):
        for statement in block:
            if (
                not isinstance(statement, ast.Assign)
                or len(statement.targets) != 1
                or not isinstance(statement.targets[0], ast.Name)
            ):
                continue
            value = statement.value
            if isinstance(value, ast.Constant | ast.Name) or statement.targets[0].id in names(value):
                continue
            if pure_expression(value):
                found.append((block, statement))
    if not found:
        return False
    block, statement = draft.draw.choice(found)
    again = draft.fresh("again")
    loop = ast.For(ast.Name(again, ast.Store()), _range(draft.amount), [statement], [], lineno=1)
    block[block.index(statement)] = loop
    return True


def _range(turns: int) -> ast.expr:
    return ast.parse(f"range({turns})", mode="eval").body


def call_added(draft: Draft) -> bool:
    """A new function is called, at the head or in a loop."""
    name, number = draft.fresh("_checked"), draft.fresh("number")
    value = draft.fresh("value")
    body = draft.draw.choice(
        [
            f"    {value} = 0\n    for {number} in range(count):\n        {value} += {number}\n    return {value}",
            f"    return sum({number} * 2 for {number} in range(count))",
            f"    {value} = []\n    for {number} in range(count):\n        {value}.append(str({number}))\n    return {value}",
            f"    return sorted(range(count), key=lambda {number}: -{number})",
        ]
    )
    draft.before.append(f"def {name}(count):\n{body}\n")
    blocks = [draft.node.body, *(loop.body for loop in _loops(draft))]
    block = draft.draw.choice(blocks)
    place = draft.first if block is draft.node.body else 0
    block[place:place] = parse(f"{name}({max(1, draft.amount // (1 if place or block is draft.node.body else 4))})")
    return True


def call_repeated(draft: Draft) -> bool:
    """A call of a function of the module, or of a builtin, whose repetition nobody notices, is made again."""
    found: list[tuple[list[ast.stmt], ast.stmt, ast.Call]] = []
    for block in own_blocks(draft.node):
        for statement in block:
            if not isinstance(statement, ast.Assign | ast.Return | ast.Expr | ast.AugAssign) or statement.value is None:
                continue
            found += [(block, statement, call) for call in _calls(statement.value) if _harmless(draft, call)]
    if not found:
        return False
    block, statement, call = draft.draw.choice(found)
    used = sorted(
        {node.id for part in (call.func, *call.args) for node in ast.walk(part) if isinstance(node, ast.Name)} - {_called(call)}
    )
    again: list[ast.stmt] = [ast.Expr(copy.deepcopy(call))]
    times = max(1, draft.amount // 8)
    if times > 1:
        again = [ast.For(ast.Name(draft.fresh("again"), ast.Store()), _range(times), again, [], lineno=1)]
    if used:
        test = " and ".join(f"type({name}) in {SAFE_TYPES}" for name in used)
        again = [ast.If(ast.parse(test, mode="eval").body, again, [])]
    place = block.index(statement)
    block[place:place] = again
    return True


def _calls(node: ast.expr) -> Iterator[ast.Call]:
    """Calls that are made whenever the statement runs."""
    if isinstance(node, ast.Call):
        yield node
    if isinstance(node, ast.Call | ast.BinOp | ast.Attribute | ast.Subscript | ast.Tuple | ast.List):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                yield from _calls(child)


def _called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _harmless(draft: Draft, call: ast.Call) -> bool:
    arguments: Sequence[ast.expr] = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg)]
    if len(arguments) != len(call.args) + len(call.keywords) or not all(_plain(node) for node in arguments):
        return False
    if isinstance(call.func, ast.Attribute):
        return call.func.attr in PURE_METHODS and _plain(call.func.value)
    if not isinstance(call.func, ast.Name):
        return False
    local = set(names(draft.node, ast.Store)) | draft.arguments
    if call.func.id in local:
        return False
    known = call.func.id in ("len", "sorted", "list", "tuple", "set", "str", "repr", "sum", "max", "min", "dict")
    return known or pure(draft.module, call.func.id)


def _plain(node: ast.expr) -> bool:
    """Built of names and constants, so that looking at the names' types says that all of it is harmless."""
    if isinstance(node, ast.Tuple | ast.List):
        return all(_plain(entry) for entry in node.elts)
    return isinstance(node, ast.Name | ast.Constant)


def memory_removed(draft: Draft) -> bool:
    """``functools.lru_cache`` or ``functools.cache`` is taken away."""

    def remembers(node: ast.expr) -> bool:
        inner = node.func if isinstance(node, ast.Call) else node
        return (inner.attr if isinstance(inner, ast.Attribute) else getattr(inner, "id", "")) in _MEMORIES

    kept = [node for node in draft.node.decorator_list if not remembers(node)]
    used = {inner.attr for inner in ast.walk(draft.module) if isinstance(inner, ast.Attribute)}
    if len(kept) == len(draft.node.decorator_list) or used & {"cache_clear", "cache_info", "cache_parameters", "__wrapped__"}:
        return False
    draft.node.decorator_list = kept
    return True


def memory_added(draft: Draft) -> bool:
    """For preparing a project: a pure function remembers its results, so that there is something to remove."""
    if draft.node.decorator_list or not pure(draft.module, draft.node.name) or draft.method or "functools" in draft.taken:
        return False
    if not draft.node.args.args or any(isinstance(inner, ast.List | ast.Dict | ast.Set) for inner in own(draft.node)):
        return False
    name = draft.fresh("_functools")
    draft.before.append(f"import functools as {name}\n")
    draft.node.decorator_list = [ast.parse(f"{name}.lru_cache(maxsize=None)", mode="eval").body]
    return True


def constant_recomputed(draft: Draft) -> bool:
    """A constant of the module (a compiled pattern, a table) is made anew wherever the function uses it."""
    constants: dict[str, ast.expr] = {}
    for statement in draft.module.body:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1 and isinstance(statement.targets[0], ast.Name):
            value = statement.value
            plain = isinstance(value, ast.Dict | ast.Set | ast.List | ast.Tuple) and len(ast.unparse(value)) > 20
            made = isinstance(value, ast.Call) and ast.unparse(value.func) in ("re.compile", "frozenset", "set", "dict", "tuple")
            inner = [*ast.walk(value)]
            simple = not any(isinstance(node, ast.Lambda | ast.Call | ast.Attribute) for node in inner if node is not value) or (
                made
                and all(
                    isinstance(node.value, ast.Name) and node.value.id == "re"
                    for node in inner
                    if isinstance(node, ast.Attribute)
                )
                and sum(isinstance(node, ast.Call) for node in inner) == 1
            )
            if (plain or made) and simple:
                constants[statement.targets[0].id] = value
    stored = names(draft.module, ast.Store)
    parents = {id(child): node for node in ast.walk(draft.node) for child in ast.iter_child_nodes(node)}
    changed = False
    local = set(names(draft.node, ast.Store)) | draft.arguments
    for node in list(own(draft.node)):
        if not isinstance(node, ast.Name) or node.id not in constants or stored.count(node.id) != 1 or node.id in local:
            continue
        if set(names(constants[node.id])) & local:
            continue
        above = parents[id(node)]
        reads = isinstance(above, ast.Subscript) and above.value is node and isinstance(above.ctx, ast.Load)
        reads |= isinstance(above, ast.Compare) and isinstance(above.ops[0], ast.In | ast.NotIn) and above.left is not node
        reads |= isinstance(above, ast.For) and above.iter is node
        reads |= isinstance(above, ast.Attribute) and above.attr in _READS
        if not reads:
            continue
        for key, value in ast.iter_fields(above):
            if value is node:
                setattr(above, key, copy.deepcopy(constants[node.id]))
                changed = True
            elif isinstance(value, list) and node in value:
                value[value.index(node)] = copy.deepcopy(constants[node.id])
                changed = True
    return changed


DEARER = named(
    loop_added,
    loop_in_a_loop,
    loop_lengthened,
    pass_added,
    made_quadratic,
    membership_copied,
    recomputed,
    call_added,
    call_repeated,
    memory_removed,
    constant_recomputed,
    neutral=False,
)
PREPARING = named(memory_added, neutral=True)
