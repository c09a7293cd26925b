"""Rewrites of a function that make it dearer and change nothing else."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator

from pytest_joules.explore.rewriting import (
    COLLECTIONS,
    PURE_METHODS,
    SAFE_TYPES,
    Draft,
    indented,
    local_names,
    named,
    names,
    own,
    own_blocks,
    parse,
    pure,
    pure_expression,
)

_LOOPS = ast.For | ast.While
#: What makes a constant of a module that costs something to make, and what only reads one.
_MAKING = ("re.compile", "frozenset", "set", "dict", "tuple")
_READING = ("match", "search", "sub", "split", "findall", "finditer", "get", "fullmatch")


def _heads(draft: Draft) -> list[tuple[list[ast.stmt], int]]:
    """Where a statement may stand that runs once a call, or once a turn of a loop."""
    return [(draft.node.body, draft.first), *((node.body, 0) for node in own(draft.node) if isinstance(node, _LOOPS))]


def loop_added(draft: Draft) -> bool:
    """A loop that does nothing of use, at the function's head or inside a loop that is there."""
    block, place = draft.draw.choice(_heads(draft))
    turns = draft.amount if block is draft.node.body else max(2, draft.amount // 4)
    number, value = draft.fresh("turn"), draft.fresh("spent")
    loops = (
        f"for {number} in range({turns}):\n    {value} = {number} * 7 % 5",
        f"{value} = 0\nwhile {value} < {turns}:\n    {value} += 1",
        f"{value} = [{number} * 2 for {number} in range({turns})]",
        f"{value} = sorted(range({turns}), reverse=True)",
    )
    block[place:place] = parse(draft.draw.choice(loops))
    return True


def call_added(draft: Draft) -> bool:
    """A new function is called, at the function's head or inside a loop that is there."""
    block, place = draft.draw.choice(_heads(draft))
    turns = draft.amount if block is draft.node.body else max(1, draft.amount // 4)
    name, number, value = draft.fresh("_checked"), draft.fresh("number"), draft.fresh("value")
    bodies = (
        f"    {value} = 0\n    for {number} in range(count):\n        {value} += {number}\n    return {value}",
        f"    {value} = []\n    for {number} in range(count):\n        {value}.append(str({number}))\n    return {value}",
        f"    return sorted(range(count), key=lambda {number}: -{number})",
    )
    draft.before.append(f"def {name}(count):\n{draft.draw.choice(bodies)}\n")
    block[place:place] = parse(f"{name}({turns})")
    return True


def pass_added(draft: Draft) -> bool:
    """What is looped over is gone through once more, or several times, before the loop; or on every turn of it."""
    found = list(_collections(draft))
    if not found:
        return False
    block, loop, name = draft.draw.choice(found)
    element, again, value = draft.fresh("element"), draft.fresh("again"), draft.fresh("known")
    passes = (
        f"for {element} in {name}:\n    {value} = {element}",
        f"{value} = list({name})",
        f"{value} = sum(1 for {element} in {name})",
    )
    text, place = draft.draw.choice(passes), block.index(loop)
    if draft.draw.random() < 0.5 and name not in names(ast.Module(loop.body, []), ast.Store):
        block, place = loop.body, 0
    else:
        text = f"for {again} in range({max(1, min(draft.amount // 8, 30))}):\n{indented(text)}"
    # Only a collection of a built-in type does not notice.
    block[place:place] = parse(f"if type({name}) in {COLLECTIONS}:\n{indented(text)}")
    return True


def _collections(draft: Draft) -> Iterator[tuple[list[ast.stmt], ast.For, str]]:
    """Loops over something that has a name, with the block that they stand in."""
    for block in own_blocks(draft.node):
        for loop in block:
            if isinstance(loop, ast.For):
                inner = loop.iter
                while isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name) and inner.args:
                    inner = inner.args[0] if inner.func.id != "range" else ast.Constant(None)
                if isinstance(inner, ast.Name) and inner.id not in names(loop.target):
                    yield block, loop, inner.id


def recomputed(draft: Draft) -> bool:
    """A value is computed ``amount`` times in a row."""
    found = [
        (block, place)
        for block in own_blocks(draft.node)
        for place, node in enumerate(block)
        if isinstance(node, ast.Assign)
        and len(node.targets) == 1
        and isinstance(node.targets[0], ast.Name)
        and not isinstance(node.value, ast.Constant | ast.Name)
        and node.targets[0].id not in names(node.value)
        and pure_expression(node.value)
    ]
    if not found:
        return False
    block, place = draft.draw.choice(found)
    block[place] = _repeated(draft, block[place], draft.amount)
    return True


def _repeated(draft: Draft, statement: ast.stmt, times: int) -> ast.stmt:
    turns = ast.parse(f"range({times})", mode="eval").body
    return ast.For(ast.Name(draft.fresh("again"), ast.Store()), turns, [statement], [], lineno=1)


def call_repeated(draft: Draft) -> bool:
    """A call of a function of the module, or of a builtin, whose repetition nobody notices, is made again."""
    found = [
        (block, place, call)
        for block in own_blocks(draft.node)
        for place, node in enumerate(block)
        if isinstance(node, ast.Assign | ast.Return | ast.Expr | ast.AugAssign) and node.value is not None
        for call in _calls(node.value)
        if _harmless(draft, call)
    ]
    if not found:
        return False
    block, place, call = draft.draw.choice(found)
    again = _repeated(draft, ast.Expr(copy.deepcopy(call)), max(1, draft.amount // 8))
    function = [call.func.id] if isinstance(call.func, ast.Name) else []
    used = sorted(set(names(call)).difference(function))
    if used:
        test = " and ".join(f"type({name}) in {SAFE_TYPES}" for name in used)
        again = ast.If(ast.parse(test, mode="eval").body, [again], [])
    block.insert(place, again)
    return True


def _calls(node: ast.expr) -> Iterator[ast.Call]:
    """Calls that are made whenever the statement runs."""
    if isinstance(node, ast.Call):
        yield node
    if isinstance(node, ast.Call | ast.BinOp | ast.Attribute | ast.Subscript | ast.Tuple | ast.List):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                yield from _calls(child)


def _harmless(draft: Draft, call: ast.Call) -> bool:
    if not all(_plain(node) for node in (*call.args, *(keyword.value for keyword in call.keywords))):
        return False
    if any(keyword.arg is None for keyword in call.keywords):
        return False
    if isinstance(call.func, ast.Attribute):
        return call.func.attr in PURE_METHODS and _plain(call.func.value)
    if not isinstance(call.func, ast.Name) or call.func.id in local_names(draft.node):
        return False
    known = ("len", "sorted", "list", "tuple", "set", "str", "repr", "sum", "max", "min", "dict")
    return call.func.id in known or pure(draft.module, call.func.id)


def _plain(node: ast.expr) -> bool:
    """Built of names and constants, so that looking at the names' types says that all of it is harmless."""
    if isinstance(node, ast.Tuple | ast.List):
        return all(_plain(entry) for entry in node.elts)
    return isinstance(node, ast.Name | ast.Constant)


def constant_recomputed(draft: Draft) -> bool:
    """A constant of the module (a compiled pattern, a table) is made anew wherever the function reads it."""
    stored, local = names(draft.module, ast.Store), local_names(draft.node)
    constants = {
        name: value
        for name, value in _constants(draft.module)
        if stored.count(name) == 1 and name not in local and not local.intersection(names(value))
    }
    changed = False
    for above in [draft.node, *own(draft.node)]:
        for key, node in ast.iter_fields(above):
            if isinstance(node, ast.Name) and node.id in constants and _reads(above, key):
                setattr(above, key, copy.deepcopy(constants[node.id]))
                changed = True
        if isinstance(above, ast.Compare) and isinstance(above.ops[0], ast.In | ast.NotIn):
            held = above.comparators[0]
            if isinstance(held, ast.Name) and held.id in constants:
                above.comparators[0] = copy.deepcopy(constants[held.id])
                changed = True
    return changed


def _constants(module: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Names of a module that stand for a table of literals, or for what a call of literals made."""
    for node in module.body:
        if not isinstance(node, ast.Assign) or len(node.targets) != 1 or not isinstance(node.targets[0], ast.Name):
            continue
        value, inner = node.value, list(ast.walk(node.value))
        made = isinstance(value, ast.Call) and ast.unparse(value.func) in _MAKING
        table = isinstance(value, ast.Dict | ast.Set | ast.List | ast.Tuple) and len(ast.unparse(value)) > 20
        calls = sum(isinstance(each, ast.Call) for each in inner)
        others = [each for each in inner if isinstance(each, ast.Attribute) and ast.unparse(each.value) != "re"]
        if (table or made) and calls == made and not others and not any(isinstance(each, ast.Lambda) for each in inner):
            yield node.targets[0].id, value


def _reads(node: ast.AST, key: str) -> bool:
    """Whether a part of a node is only looked at: nothing keeps or changes what it is."""
    if isinstance(node, ast.Subscript):
        return key == "value" and isinstance(node.ctx, ast.Load)
    return (isinstance(node, ast.For) and key == "iter") or (isinstance(node, ast.Attribute) and node.attr in _READING)


DEARER = named(loop_added, call_added, pass_added, recomputed, call_repeated, constant_recomputed, neutral=False)
