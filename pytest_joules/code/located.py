"""Where a code object stands in the project's source."""

from __future__ import annotations

from types import CodeType

from pytest_joules.code.graph import Node
from pytest_joules.code.project import Project
from pytest_joules.code.source_file import File


class Located:
    """Looks each code object up once; those it has seen are kept, so that no other takes their place in memory."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._nodes: dict[int, tuple[CodeType, Node | None]] = {}

    def node(self, code: CodeType) -> Node | None:
        """``None`` for what is not the project's."""
        known = self._nodes.get(id(code))
        if known is None:
            known = self._nodes[id(code)] = code, self._locate(code)
        return known[1]

    def function(self, code: CodeType) -> tuple[str, str, File] | None:
        """Path, qualified name and file of a function of the project."""
        node = self.node(code)
        file = self._project.file(node.path) if node is not None and node.kind == "function" else None
        return None if node is None or file is None else (node.path, node.name, file)

    def _locate(self, code: CodeType) -> Node | None:
        path = self._project.relative(code.co_filename)
        if path is None:
            return None
        file = self._project.file(path)
        if file is None:
            return Node("function", path, code.co_name)
        found = file.locate(code.co_name, code.co_firstlineno)
        if found is None:
            return Node("effects", path)
        kind, name = found
        return Node("function" if kind == "function" else "name", path, name)
