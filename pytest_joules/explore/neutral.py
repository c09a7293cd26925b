"""Rewrites of a function that change neither what it does nor, but for a few instructions, what it costs."""

from __future__ import annotations

import ast
import copy
from collections.abc import Sequence

from pytest_joules.explore.rewriting import Draft, local_names, named, names, own, own_blocks, parse

_SCOPES = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
_COMPREHENSIONS = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In}


def locals_renamed(draft: Draft) -> bool:
    """Every local variable has another name, arguments keep theirs."""
    bound = {inner.arg for inner in ast.walk(draft.node) if isinstance(inner, ast.arg)}
    for inner in ast.walk(draft.node):
        if isinstance(inner, ast.ExceptHandler | ast.FunctionDef | ast.MatchAs | ast.MatchStar):
            bound.add(inner.name or "")
        elif isinstance(inner, ast.alias):
            bound.add(inner.asname or inner.name)
    new = {name: draft.fresh(f"{name.strip('_')}_value") for name in sorted(local_names(draft.node) - bound)}
    _rename(draft.node, new)
    return bool(new)


def _rename(node: ast.AST, new: dict[str, str]) -> None:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            inner.id = new.get(inner.id, inner.id)


def if_turned_round(draft: Draft) -> bool:
    """``if a: x else: y`` becomes ``if not a: y else: x``."""
    found = [node for node in own(draft.node) if isinstance(node, ast.If) and node.orelse]
    for node in found:
        node.test, node.body, node.orelse = _negated(node.test), node.orelse, node.body
    return bool(found)


def _negated(test: ast.expr) -> ast.expr:
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return test.operand
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and type(test.ops[0]) in _OPPOSITE:
        return ast.Compare(test.left, [_OPPOSITE[type(test.ops[0])]()], test.comparators)
    if isinstance(test, ast.BoolOp):  # De Morgan's: compiles to much the same
        other = ast.Or() if isinstance(test.op, ast.And) else ast.And()
        return ast.BoolOp(other, [_negated(value) for value in test.values])
    return ast.UnaryOp(ast.Not(), test)


def result_named(draft: Draft) -> bool:
    """``return f(x)`` becomes ``result = f(x)`` and ``return result``."""
    changed = False
    for block in list(own_blocks(draft.node)):
        last = block[-1]
        if isinstance(last, ast.Return) and last.value is not None and not isinstance(last.value, ast.Name | ast.Constant):
            name = draft.fresh("result")
            block[-1:] = [ast.Assign([ast.Name(name, ast.Store())], last.value, lineno=1), *parse(f"return {name}")]
            changed = True
    return changed


def choice_written_out(draft: Draft) -> bool:
    """``x = a if c else b`` becomes an ``if`` with two assignments; likewise what is returned."""
    changed = False
    for block in list(own_blocks(draft.node)):
        for place, node in enumerate(block):
            if not isinstance(node, ast.Return | ast.Assign) or not isinstance(node.value, ast.IfExp):
                continue
            if isinstance(node, ast.Assign) and not all(isinstance(target, ast.Name) for target in node.targets):
                continue
            one, other = copy.copy(node), copy.copy(node)
            one.value, other.value = node.value.body, node.value.orelse
            block[place] = ast.If(node.value.test, [one], [other])
            changed = True
    return changed


def loop_for_comprehension(draft: Draft) -> bool:
    """``x = [f(a) for a in b]`` becomes a loop that appends; likewise what is returned."""
    changed = False
    for block in list(own_blocks(draft.node)):
        for place in range(len(block) - 1, -1, -1):
            node = block[place]
            if not isinstance(node, ast.Return | ast.Assign) or not isinstance(node.value, ast.ListComp):
                continue
            if isinstance(node, ast.Assign) and not all(isinstance(target, ast.Name) for target in node.targets):
                continue
            inside = [inner for inner in ast.walk(node.value) if inner is not node.value]
            if any(isinstance(inner, ast.Lambda | _COMPREHENSIONS | ast.NamedExpr) for inner in inside):
                continue
            if not any(part.is_async for part in node.value.generators):
                result = draft.fresh("collected")
                block[place:place] = [*parse(f"{result} = []"), _collecting(draft, node.value, result)]
                node.value = ast.Name(result, ast.Load())
                changed = True
    return changed


def _collecting(draft: Draft, node: ast.ListComp, result: str) -> ast.stmt:
    """The loop; what a comprehension binds is seen in it alone, and so has another name."""
    first = copy.deepcopy(node.generators[0].iter)
    targets = sorted({name for part in node.generators for name in names(part.target)})
    _rename(node, {name: draft.fresh(f"each_{name}") for name in targets})
    node.generators[0].iter = first
    body: ast.stmt = ast.Expr(ast.Call(ast.parse(f"{result}.append", mode="eval").body, [node.elt], []))
    for part in reversed(node.generators):
        for test in reversed(part.ifs):
            body = ast.If(test, [body], [])
        body = ast.For(part.target, part.iter, [body], [], lineno=1)
    return body


def helper_extracted(draft: Draft) -> bool:
    """The end of the body becomes a function of its own."""
    body, begin = draft.node.body, draft.first
    inside = list(own(draft.node))
    held = ast.Delete | ast.Import | ast.ImportFrom | ast.Yield | ast.YieldFrom | ast.Await | _SCOPES
    if isinstance(draft.node, ast.AsyncFunctionDef) or any(isinstance(inner, held) for inner in inside) or len(body) < begin + 2:
        return False
    place = draft.draw.randrange(begin + 1, len(body))
    head, tail = body[begin:place], body[place:]
    always = draft.arguments.union(*(names(node, ast.Store) for node in head if isinstance(node, ast.Assign)))
    stored = draft.arguments.union(*(names(node, ast.Store) for node in head))
    used = sorted(local_names(draft.node).intersection(stored, names(ast.Module(tail, []))))
    if not always.issuperset(used):  # what is bound in a branch only may have no value here
        return False
    name = draft.fresh(f"_{draft.node.name.strip('_')}_rest")
    (helper,) = parse(f"def {name}({', '.join(used)}):\n    pass")
    assert isinstance(helper, ast.FunctionDef)
    helper.body = tail
    draft.before.append(ast.unparse(ast.fix_missing_locations(helper)) + "\n")
    body[place:] = parse(f"return {name}({', '.join(used)})")
    return True


def text_formatted(draft: Draft) -> bool:
    """``f"{a} b"`` becomes ``"{} b".format(a)``."""
    writer = _Formatting()
    writer.visit(draft.node)
    return writer.changed


class _Formatting(ast.NodeTransformer):
    changed = False

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        """What stands inside another text stays."""
        text, values = "", []
        for part in node.values:
            if isinstance(part, ast.Constant):
                text += str(part.value).replace("{", "{{").replace("}", "}}")
            elif isinstance(part, ast.FormattedValue) and part.format_spec is None:
                text += {-1: "{}", 115: "{!s}", 114: "{!r}", 97: "{!a}"}[part.conversion]
                values.append(part.value)
            else:
                return node
        self.changed |= bool(values)
        return ast.Call(ast.Attribute(ast.Constant(text), "format", ast.Load()), values, []) if values else node


def constant_named(draft: Draft) -> bool:
    """A number or text has a name in the module."""
    for node in _expressions(draft):
        for key, value in ast.iter_fields(node):
            if isinstance(value, ast.Constant) and isinstance(value.value, int | str) and not isinstance(value.value, bool):
                name = draft.fresh("_CONSTANT")
                draft.before.append(f"{name} = {ast.unparse(value)}\n")
                setattr(node, key, ast.Name(name, ast.Load()))
                return True
    return False


def _expressions(draft: Draft) -> Sequence[ast.AST]:
    """In which a constant may have a name: not in texts that are put together, nor in patterns."""
    whole = ast.Module(draft.node.body[draft.first :], [])
    kept = [node for node in ast.walk(whole) if isinstance(node, ast.JoinedStr | ast.Match)]
    inside = {id(inner) for node in kept for inner in ast.walk(node)}
    return [node for node in ast.walk(whole) if isinstance(node, ast.expr) and id(node) not in inside]


NEUTRAL = named(
    locals_renamed,
    if_turned_round,
    result_named,
    choice_written_out,
    loop_for_comprehension,
    helper_extracted,
    text_formatted,
    constant_named,
    neutral=True,
)
