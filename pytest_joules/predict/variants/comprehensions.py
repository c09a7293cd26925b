"""Loops that collect, and comprehensions, each written as the other."""

from __future__ import annotations

import ast
import copy

from pytest_joules.predict.variants.rewriting import Draft, names, own, own_blocks, parse

_COMPREHENSIONS = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


def loop_for_comprehension(draft: Draft) -> bool:
    """``x = [f(a) for a in b]`` becomes a loop that appends; likewise what is returned, and sets."""
    changed = False
    for block in list(own_blocks(draft.node)):
        for place in range(len(block) - 1, -1, -1):
            node = block[place]
            simple = isinstance(node, ast.Return) or (
                isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)
            )
            if (
                not simple
                or not isinstance(node, ast.Return | ast.Assign)
                or not isinstance(node.value, ast.ListComp | ast.SetComp)
            ):
                continue
            comprehension = node.value
            if any(
                isinstance(inner, ast.Lambda | _COMPREHENSIONS | ast.NamedExpr)
                for inner in ast.walk(comprehension)
                if inner is not comprehension
            ):
                continue
            if any(part.is_async for part in comprehension.generators):
                continue
            result = draft.fresh("collected")
            targets = {
                inner.id for part in comprehension.generators for inner in ast.walk(part.target) if isinstance(inner, ast.Name)
            }
            inside = _Renamed({name: draft.fresh(f"each_{name}") for name in sorted(targets)})
            first = comprehension.generators[0].iter
            renamed = inside.visit(copy.deepcopy(comprehension))
            renamed.generators[0].iter = first
            is_set = isinstance(comprehension, ast.SetComp)
            method = "add" if is_set else "append"
            body: list[ast.stmt] = [ast.Expr(ast.Call(ast.parse(f"{result}.{method}", mode="eval").body, [renamed.elt], []))]
            for part in reversed(renamed.generators):
                for test in reversed(part.ifs):
                    body = [ast.If(test, body, [])]
                body = [ast.For(part.target, part.iter, body, [], lineno=1)]
            node.value = ast.Name(result, ast.Load())
            block[place:place] = [*parse(f"{result} = {'set()' if is_set else '[]'}"), *body]
            changed = True
    return changed


class _Renamed(ast.NodeTransformer):
    def __init__(self, new: dict[str, str]) -> None:
        self.new = new

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self.new.get(node.id, node.id), node.ctx)


def comprehension_for_loop(draft: Draft) -> bool:
    """``x = []`` and a loop that only appends to it become a comprehension."""
    if draft.suspends or any(isinstance(inner, ast.Try | ast.With) for inner in own(draft.node)):
        return False
    for block in own_blocks(draft.node):
        for place in range(len(block) - 1):
            begin, loop = block[place], block[place + 1]
            if (
                not isinstance(begin, ast.Assign)
                or not isinstance(begin.targets[0], ast.Name)
                or ast.unparse(begin.value) != "[]"
            ):
                continue
            if not isinstance(loop, ast.For) or loop.orelse or len(loop.body) != 1 or len(begin.targets) != 1:
                continue
            inner, tests = loop.body[0], []
            while isinstance(inner, ast.If) and not inner.orelse and len(inner.body) == 1:
                tests.append(inner.test)
                inner = inner.body[0]
            name = begin.targets[0].id
            if not (isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Call) and len(inner.value.args) == 1):
                continue
            if ast.unparse(inner.value.func) != f"{name}.append" or name in names(
                ast.Tuple([loop.iter, *tests, inner.value.args[0]])
            ):
                continue
            targets = set(names(loop.target))
            inside = {id(node) for node in ast.walk(loop)}
            used = {node.id for node in ast.walk(draft.node) if isinstance(node, ast.Name) and id(node) not in inside}
            if (
                used & targets
                or any(isinstance(node, ast.Lambda | ast.NamedExpr) for node in ast.walk(loop))
                or loop.iter is None
            ):
                continue
            if not isinstance(loop.target, ast.Name | ast.Tuple) or isinstance(inner.value.args[0], ast.Starred):
                continue
            begin.value = ast.ListComp(inner.value.args[0], [ast.comprehension(loop.target, loop.iter, tests, 0)])
            del block[place + 1]
            return True
    return False
