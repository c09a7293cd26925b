"""What names of a module stand for: constants that are numbers or texts, and functions of another name."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from functools import lru_cache

_NAMES = re.compile(r"[A-Za-z_]\w*")


@lru_cache(maxsize=8192)
def constant(name: str, text: str) -> int | float | str | None:
    """What a statement of a module binds a name to, where that is a number or a text and the statement does nothing else."""
    if len(text) > 200:
        return None
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError):
        return None
    node = body[0] if len(body) == 1 else None
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Constant):
        return None
    return node.value.value if isinstance(node.value.value, int | float | str) else None


def module_name(path: str) -> str:
    """What a file is called where it is imported."""
    parts = path.removesuffix(".py").removesuffix("/__init__").split("/")
    return parts[-1]


def meant(name: str, key: str, sources: Mapping[str, str]) -> str:
    """What a function (``key``) calls by a name that its module gives it: ``f`` for ``g`` of ``import f as g``."""
    if not name.isidentifier():
        return name
    statement = sources.get(f"{key.partition('::')[0]}::<module> {name}")
    return _alias(name, statement) if statement is not None else name


@lru_cache(maxsize=8192)
def _alias(name: str, text: str) -> str:
    if len(text) > 2000:
        return name
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError):
        return name
    for node in body:
        if isinstance(node, ast.ImportFrom):
            return next((entry.name for entry in node.names if entry.asname == name), name)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
            return node.value.id
    return name


@lru_cache(maxsize=8192)
def words(text: str) -> frozenset[str]:
    """All names and keywords in a source text."""
    return frozenset(_NAMES.findall(text))


def used(key: str, text: str, sources: Mapping[str, str]) -> tuple[tuple[str, object], ...]:
    """Numbers and texts that a function names: constants of its module."""
    path = key.partition("::")[0]
    found = []
    for name in words(text):
        source = sources.get(f"{path}::<module> {name}")
        if source is not None and (value := constant(name, source)) is not None:
            found.append((name, value))
    return tuple(sorted(found))
