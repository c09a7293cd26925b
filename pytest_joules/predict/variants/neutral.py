"""Rewrites of a function that change neither what it does nor, but for a few instructions, what it costs."""

from __future__ import annotations

import ast
import copy

from pytest_joules.predict.variants.comprehensions import comprehension_for_loop, loop_for_comprehension
from pytest_joules.predict.variants.rewriting import Draft, named, names, own, own_blocks, parse, pure_expression

_SCOPES = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
_OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In}


def _locals(draft: Draft) -> set[str]:
    return draft.arguments | {
        inner.id for inner in own(draft.node) if isinstance(inner, ast.Name) and not isinstance(inner.ctx, ast.Load)
    }


def _closures(draft: Draft) -> bool:
    return any(isinstance(inner, _SCOPES) for inner in own(draft.node))


def _negated(test: ast.expr) -> ast.expr:
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return test.operand
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and type(test.ops[0]) in _OPPOSITE:
        return ast.Compare(test.left, [_OPPOSITE[type(test.ops[0])]()], test.comparators)
    return ast.UnaryOp(ast.Not(), test)


def locals_renamed(draft: Draft) -> bool:
    """Every local variable has another name, arguments keep theirs."""
    new = {name: draft.fresh(f"{name.strip('_')}_value") for name in sorted(_locals(draft) - draft.arguments)}
    bound = {inner.arg for inner in ast.walk(draft.node) if isinstance(inner, ast.arg)}
    bound |= {
        inner.name for inner in ast.walk(draft.node) if isinstance(inner, ast.ExceptHandler | ast.FunctionDef) and inner.name
    }
    bound |= {inner.asname or inner.name for inner in ast.walk(draft.node) if isinstance(inner, ast.alias)}
    bound |= {inner.name or "" for inner in ast.walk(draft.node) if isinstance(inner, ast.MatchAs | ast.MatchStar)}
    new = {name: other for name, other in new.items() if name not in bound}
    for inner in ast.walk(draft.node):
        if isinstance(inner, ast.Name) and inner.id in new:
            inner.id = new[inner.id]
    return bool(new)


def if_turned_round(draft: Draft) -> bool:
    """``if a: x else: y`` becomes ``if not a: y else: x``."""
    found = [node for node in own(draft.node) if isinstance(node, ast.If) and node.orelse]
    for node in found:
        node.test, node.body, node.orelse = _negated(node.test), node.orelse, node.body
    return bool(found)


def else_dropped(draft: Draft) -> bool:
    """``if a: return x else: y`` becomes ``if a: return x`` and then ``y``."""
    changed = False
    for block in list(own_blocks(draft.node)):
        last = block[-1]
        if isinstance(last, ast.If) and last.orelse and isinstance(last.body[-1], ast.Return | ast.Raise | ast.Continue):
            block.extend(last.orelse)
            last.orelse = []
            changed = True
    return changed


def else_added(draft: Draft) -> bool:
    """``if a: return x`` and then ``y`` becomes ``if a: return x else: y``."""
    for block in list(own_blocks(draft.node)):
        for place, node in enumerate(block[:-1]):
            if isinstance(node, ast.If) and not node.orelse and isinstance(node.body[-1], ast.Return | ast.Raise):
                node.orelse = block[place + 1 :]
                del block[place + 1 :]
                return True
    return False


def result_named(draft: Draft) -> bool:
    """``return f(x)`` becomes ``result = f(x)`` and ``return result``."""
    changed = False
    for block in list(own_blocks(draft.node)):
        last = block[-1]
        if isinstance(last, ast.Return) and last.value is not None and not isinstance(last.value, ast.Name | ast.Constant):
            name = draft.fresh("result")
            block[-1:] = [ast.Assign([ast.Name(name, ast.Store())], last.value, lineno=1), ast.Return(ast.Name(name, ast.Load()))]
            changed = True
    return changed


def name_dropped(draft: Draft) -> bool:
    """``result = f(x)`` and ``return result`` becomes ``return f(x)``."""
    changed = False
    for block in list(own_blocks(draft.node)):
        if len(block) < 2 or not isinstance(block[-1], ast.Return) or not isinstance(block[-1].value, ast.Name):
            continue
        before, name = block[-2], block[-1].value.id
        if not isinstance(before, ast.Assign) or len(before.targets) != 1 or not isinstance(before.targets[0], ast.Name):
            continue
        inside = any(isinstance(inner, ast.Try) for inner in own(draft.node)) or _closures(draft)
        if before.targets[0].id == name and not inside:
            block[-2:] = [ast.Return(before.value)]
            changed = True
    return changed


def argument_named(draft: Draft) -> bool:
    """The first argument of a call has a name before: ``f(a + b)`` becomes ``first = a + b`` and ``f(first)``."""
    for block in own_blocks(draft.node):
        for place, node in enumerate(block):
            if not isinstance(node, ast.Return | ast.Assign | ast.Expr) or not isinstance(node.value, ast.Call):
                continue
            call = node.value
            if not isinstance(call.func, ast.Name) or not call.args or call.func.id in _locals(draft):
                continue
            first = call.args[0]
            if isinstance(first, ast.Name | ast.Constant | ast.Starred) or any(
                isinstance(inner, ast.Yield | ast.Await | ast.NamedExpr) for inner in ast.walk(first)
            ):
                continue
            name = draft.fresh("first")
            call.args[0] = ast.Name(name, ast.Load())
            block.insert(place, ast.Assign([ast.Name(name, ast.Store())], first, lineno=1))
            return True
    return False


def helper_extracted(draft: Draft) -> bool:
    """The end of the body becomes a function of its own."""
    if draft.suspends or _closures(draft) or isinstance(draft.node, ast.AsyncFunctionDef):
        return False
    body = draft.node.body
    begin = draft.first
    places = list(range(begin + 1, len(body)))
    if not places:
        return False
    place = draft.draw.choice(places)
    tail = body[place:]
    known = _locals(draft)
    stored_before = draft.arguments
    for statement in body[begin:place]:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            return False
        stored_before |= set(names(statement, ast.Store))
        if isinstance(statement, ast.If | ast.Try | ast.For | ast.While | ast.With | ast.Match):
            always = set().union(
                *(set(names(earlier, ast.Store)) for earlier in body[begin:place] if isinstance(earlier, ast.Assign)), set()
            )
            # What is bound in a branch only may have no value here.
            if {name for name in names(statement, ast.Store) if name not in always | draft.arguments} & set(
                names(ast.Module(tail, []))
            ):
                return False
    whole = ast.Module(tail, [])
    if any(isinstance(inner, ast.Delete | ast.Import | ast.ImportFrom) for inner in ast.walk(ast.Module(body, []))):
        return False
    used = sorted(set(names(whole)) & known & stored_before)
    name = draft.fresh(f"_{draft.node.name.strip('_')}_rest")
    helper = ast.parse(f"def {name}({', '.join(used)}):\n    pass").body[0]
    assert isinstance(helper, ast.FunctionDef)
    helper.body = tail
    draft.before.append(ast.unparse(ast.fix_missing_locations(helper)) + "\n")
    call = ast.Call(ast.Name(name, ast.Load()), [ast.Name(entry, ast.Load()) for entry in used], [])
    body[place:] = [ast.Return(call)]
    return True


def statements_reordered(draft: Draft) -> bool:
    """Two assignments in a row that have nothing to do with each other change places."""
    for block in own_blocks(draft.node):
        for place in range(len(block) - 1):
            pair = block[place : place + 2]
            if not all(isinstance(node, ast.Assign) and all(isinstance(t, ast.Name) for t in node.targets) for node in pair):
                continue
            first, second = pair
            assert isinstance(first, ast.Assign) and isinstance(second, ast.Assign)
            stored = [set(names(node, ast.Store)) for node in pair]
            plain = [
                isinstance(node.value, ast.Constant | ast.Name | ast.List | ast.Dict | ast.Tuple) and pure_or_empty(node.value)
                for node in (first, second)
            ]
            if not any(plain) or stored[0] & set(names(second)) or stored[1] & set(names(first)):
                continue
            if not all(plain) and any(
                isinstance(inner, ast.Yield | ast.Await | ast.NamedExpr) for node in pair for inner in ast.walk(node)
            ):
                continue
            local = _locals(draft)
            # A name of the module may be rebound by what the other statement calls.
            if any(inner not in local for node, simple in zip(pair, plain, strict=True) if simple for inner in names(node)):
                continue
            block[place : place + 2] = [second, first]
            return True
    return False


def pure_or_empty(node: ast.expr) -> bool:
    """A constant, a local name, or a collection of such."""
    return (isinstance(node, ast.Dict) and not node.keys) or (not isinstance(node, ast.Dict) and pure_expression(node))


def text_formatted(draft: Draft) -> bool:
    """``f"{a} b"`` becomes ``"{} b".format(a)``."""
    changed = False
    nested = {
        id(inner)
        for node in ast.walk(draft.node)
        if isinstance(node, ast.FormattedValue)
        for inner in ast.walk(node)
        if inner is not node
    }

    class Text(ast.NodeTransformer):
        def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
            nonlocal changed
            text, values = "", []
            for part in node.values:
                if isinstance(part, ast.Constant):
                    text += str(part.value).replace("{", "{{").replace("}", "}}")
                elif isinstance(part, ast.FormattedValue) and part.format_spec is None:
                    text += {-1: "{}", 115: "{!s}", 114: "{!r}", 97: "{!a}"}[part.conversion]
                    values.append(part.value)
                else:
                    return node
            if not values or id(node) in nested:
                return node
            changed = True
            return ast.Call(ast.Attribute(ast.Constant(text), "format", ast.Load()), values, [])

    Text().visit(draft.node)
    return changed


def de_morgan(draft: Draft) -> bool:
    """``if a and b`` becomes ``if not (not a or not b)``, which compiles to much the same."""
    found = [node for node in own(draft.node) if isinstance(node, ast.If | ast.While) and isinstance(node.test, ast.BoolOp)]
    for node in found:
        assert isinstance(node.test, ast.BoolOp)
        other = ast.Or() if isinstance(node.test.op, ast.And) else ast.And()
        node.test = ast.UnaryOp(ast.Not(), ast.BoolOp(other, [_negated(value) for value in node.test.values]))
    return bool(found)


def choice_written_out(draft: Draft) -> bool:
    """``x = a if c else b`` becomes an ``if`` with two assignments; likewise what is returned."""
    changed = False
    for block in list(own_blocks(draft.node)):
        for place, node in enumerate(block):
            if isinstance(node, ast.Return | ast.Assign) and isinstance(node.value, ast.IfExp):
                choice = node.value
                if isinstance(node, ast.Assign) and not all(isinstance(target, ast.Name) for target in node.targets):
                    continue
                one, other = copy.copy(node), copy.copy(node)
                one.value, other.value = choice.body, choice.orelse
                block[place] = ast.If(choice.test, [one], [other])
                changed = True
    return changed


def constant_named(draft: Draft) -> bool:
    """A number or text has a name in the module."""
    docstring = draft.node.body[0].value if isinstance(draft.node.body[0], ast.Expr) else None
    inside = {
        id(inner) for node in ast.walk(draft.node) if isinstance(node, ast.JoinedStr | ast.Match) for inner in ast.walk(node)
    }
    for statement in draft.node.body:
        for node in ast.walk(statement):
            for key, value in ast.iter_fields(node):
                if (
                    not isinstance(value, ast.Constant)
                    or value is docstring
                    or id(value) in inside
                    or not isinstance(node, ast.expr)
                ):
                    continue
                if isinstance(value.value, int | str) and not isinstance(value.value, bool):
                    name = draft.fresh("_CONSTANT")
                    draft.before.append(f"{name} = {ast.unparse(value)}\n")
                    setattr(node, key, ast.Name(name, ast.Load()))
                    return True
    return False


def arguments_annotated(draft: Draft) -> bool:
    """Arguments say their type, and the function says more about itself."""
    for argument in draft.node.args.args:
        if argument.annotation is None and argument.arg not in ("self", "cls"):
            argument.annotation = ast.Constant("object")
    place = draft.first
    draft.node.body[place:place] = parse("'What follows does as it did.'") if place else []
    return True


def tests_nested(draft: Draft) -> bool:
    """``if a and b: x`` becomes ``if a: if b: x``."""
    found = [
        node
        for node in own(draft.node)
        if isinstance(node, ast.If)
        and not node.orelse
        and isinstance(node.test, ast.BoolOp)
        and isinstance(node.test.op, ast.And)
    ]
    for node in found:
        assert isinstance(node.test, ast.BoolOp)
        first, *others = node.test.values
        rest = others[0] if len(others) == 1 else ast.BoolOp(ast.And(), others)
        node.test, node.body = first, [ast.If(rest, node.body, [])]
    return bool(found)


NEUTRAL = named(
    locals_renamed,
    if_turned_round,
    else_dropped,
    else_added,
    result_named,
    name_dropped,
    argument_named,
    loop_for_comprehension,
    comprehension_for_loop,
    helper_extracted,
    statements_reordered,
    text_formatted,
    de_morgan,
    choice_written_out,
    constant_named,
    arguments_annotated,
    tests_nested,
    neutral=True,
)
