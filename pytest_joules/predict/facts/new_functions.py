"""Functions that are new: what a changed function calls now and no test has executed yet, such as a helper taken out of it."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable

from pytest_joules.code import function_source
from pytest_joules.code.definitions import Import
from pytest_joules.code.graph import Graph
from pytest_joules.code.source_file import File

#: More are not looked for.
_MOST = 40


def added(graph: Graph, changed: Iterable[str], known: Collection[str]) -> dict[str, str]:
    """The source of functions and module statements, by key, that the ``changed`` ones (keys) refer to by name and that are not
    among ``known`` keys: of the same file, or imported from another file of the project. Those that these refer to as well."""
    found: dict[str, str] = {}
    waiting = [key for key in changed if "::" in key]
    while waiting and len(found) < _MOST:
        key = waiting.pop(0)
        path = key.partition("::")[0]
        text = found.get(key) or function_source.source(graph.project, key)
        file = graph.project.file(path)
        if text is None or file is None:
            continue
        for other in _named(graph, path, file, _names(text)):
            if other in known or other in found or (source := function_source.source(graph.project, other)) is None:
                continue
            found[other] = source
            waiting.append(other)
    return found


def _names(text: str) -> set[str]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return set()
    return {
        node.id if isinstance(node, ast.Name) else node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute)
    }


def _named(graph: Graph, path: str, file: File, names: set[str]) -> Iterable[str]:
    for qualname in file.functions:
        if qualname.rpartition(".")[2] in names:
            yield f"{path}::{qualname}"
    for name in names & file.bindings.keys():
        for kind, entry in file.bindings[name]:
            if kind == "statement":
                yield f"{path}::<module> {name}"
            elif isinstance(entry, Import):
                target = graph.module_of(path, entry.module, entry.level)
                if target is not None and entry.name is not None:
                    yield f"{target}::{entry.name}"
