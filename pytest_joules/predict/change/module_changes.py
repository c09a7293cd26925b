"""What a changed statement of a module leaves changed: itself, or some attributes of the class that it is."""

from __future__ import annotations

import ast
from functools import lru_cache


@lru_cache(maxsize=8192)
def touched(name: str, old: str, new: str) -> frozenset[str]:
    """The names of which a use may be another: ``name``, or, of a class of which only attributes differ, these.

    Nothing where only what nobody runs is another: texts that document, annotations without a value, ``object`` among bases.
    """
    before, now = _only(old), _only(new)
    imports = ast.Import | ast.ImportFrom
    if isinstance(before, imports) and isinstance(now, imports) and _bound(before, name) == _bound(now, name):
        return frozenset()
    if not isinstance(before, ast.ClassDef) or not isinstance(now, ast.ClassDef):
        return frozenset((name,))
    (head, attributes), (head_now, attributes_now) = _parts(before), _parts(now)
    found = {key for key in (*attributes, *attributes_now) if attributes.get(key) != attributes_now.get(key)}
    return frozenset(found | ({name} if head != head_now else set()))


def _only(text: str) -> ast.stmt | None:
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError):
        return None
    return body[0] if len(body) == 1 else None


def _bound(node: ast.Import | ast.ImportFrom, name: str) -> tuple[str, ...] | None:
    """What an import binds a name to."""
    module = f"{'.' * node.level}{node.module or ''}" if isinstance(node, ast.ImportFrom) else ""
    found = (entry.name for entry in node.names if (entry.asname or entry.name.partition(".")[0]) == name)
    return next(((module, called) for called in found), None)


def _parts(node: ast.ClassDef) -> tuple[str, dict[str, str]]:
    """What makes a class what it is besides its methods: its head with statements that bind no attribute, and its attributes."""
    bases = [base for base in node.bases if not (isinstance(base, ast.Name) and base.id == "object")]
    head = [ast.dump(entry) for entry in (*bases, *node.keywords, *node.decorator_list)]
    attributes: dict[str, str] = {}
    for entry in node.body:
        targets = entry.targets if isinstance(entry, ast.Assign) else [entry.target] if isinstance(entry, ast.AnnAssign) else []
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if names and len(names) == len(targets):
            value = entry.value if isinstance(entry, ast.Assign | ast.AnnAssign) else None
            if value is not None:
                attributes |= dict.fromkeys(names, ast.dump(value))
        elif not isinstance(entry, ast.Pass | ast.FunctionDef | ast.AsyncFunctionDef) and not _documents(entry):
            head.append(ast.dump(entry))
    return "\n".join(head), attributes


def _documents(entry: ast.stmt) -> bool:
    return isinstance(entry, ast.Expr) and isinstance(entry.value, ast.Constant)
