"""What one source file holds: a hash for every function and every statement of the module, and the names that each refers to.

A function's hash is that of its bytecode, compiled here from the source, without line numbers, docstrings and annotations. What
pytest or an interpreter makes of the code when it runs (rewritten assertions, specialised instructions) does not show in it, and
neither do comments, layout and the names of local variables.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from pytest_joules.code.callees import Position, callees
from pytest_joules.code.definitions import Binding, Import, Unit
from pytest_joules.code.hashing import content_digest, digest
from pytest_joules.code.module_reader import definitions_of
from pytest_joules.code.syntax import function_texts, without_collecting
from pytest_joules.files import reading

#: No source file of more bytes is read: its tree takes a hundred times as much memory.
MOST_BYTES = 8 * 2**20


class File:
    """A source file. Raises ``SyntaxError`` or ``ValueError`` where it is none."""

    def __init__(self, source: bytes) -> None:
        self._source = source
        found = definitions_of(ast.parse(source))
        self.functions, self.bindings, self.stars, self.effects = found.functions, found.bindings, found.stars, found.effects
        self.statements = found.layouts
        self._first_lines, self._spans = found.first_lines, found.spans

    def text(self, name: str, *, function: bool) -> str | None:
        """The source of a function, by its qualified name, or of what binds a name of the module (of a class without its
        functions); ``None`` where there is none, or it is an import. Several of one name stand one after the other."""
        lines = self._source.decode("utf-8", "replace").splitlines(keepends=True)
        pieces = []
        for first, last, found, is_function in self._spans:
            if found != name or is_function != function or (not function and (first, last) in self._functions):
                continue
            inner = [span for span in self._spans if not function and span.function and first <= span.first and span.last <= last]
            kept = [
                line
                for number, line in enumerate(lines[first - 1 : last], first)
                if not any(span.first <= number <= span.last for span in inner)
            ]
            if inner and kept:
                kept.append(f"{kept[0][: len(kept[0]) - len(kept[0].lstrip())]}    pass\n")
            pieces.append(textwrap.dedent("".join(kept)))
            if not function and not _parses(pieces[-1]):
                pieces.pop()  # an elif; a class whose nested class has nothing but functions
        return "\n".join(pieces) or None

    def line_of(self, name: str) -> int | None:
        """The first line of what a record's key stands for: a function by its qualified name, ``<module> NAME`` for what binds a
        name; ``None`` where it is not there."""
        bound = name.startswith("<module>")
        wanted = name.removeprefix("<module>").strip()
        if bound and not wanted:
            return 1
        return next((first for first, _, found, function in self._spans if found == wanted and function is not bound), None)

    @cached_property
    def content(self) -> str:
        """A hash of its bytes."""
        return content_digest(self._source)

    @cached_property
    def callees(self) -> Mapping[Position, str]:
        """What each of its calls calls, by where that stands."""
        return callees(self._source)

    @cached_property
    def texts(self) -> Mapping[str, str]:
        """Hashes of what its functions and statements say, by what stands for them in a record's keys: those of the same text are
        the same on every Python, under every name."""
        found = {name: digest(text) for name, text in function_texts(self._source).items()}
        for name, bound in self.bindings.items():
            parts = [part for _, facts in bound if (part := _said(facts))]
            if parts:
                found[f"<module> {name}"] = digest(parts)
        if self.effects is not None:
            found["<module>"] = self.effects.digest
        return found

    @cached_property
    def _functions(self) -> set[tuple[int, int]]:
        return {(first, last) for first, last, _, function in self._spans if function}

    def locate(self, name: str, line: int) -> tuple[str, str] | None:
        """What a code object is part of, by its name and first line: ``("function", qualname)``, ``("statement", name)``
        or ``None``: of no statement that binds a name."""
        if (known := self._first_lines.get((name, line))) is not None:
            return "function", known
        around = [span for span in self._spans if span.first <= line <= span.last]
        if not around:
            return None
        # The innermost; of a statement and the function that it is, the function.
        found = max(around, key=lambda span: (span.first, -span.last, span.function))
        return ("function" if found.function else "statement"), found.name


def read(path: Path, content: bytes | None = None) -> File | None:
    """What is in a source file, or was when ``content`` was read; ``None`` where it is gone, is no Python, or is larger than
    anybody writes."""
    with without_collecting():
        try:
            return File(reading.read_bytes(path, MOST_BYTES) if content is None else content)
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return False
    return True


def _said(facts: Binding) -> str:
    if isinstance(facts, Unit):  # it has a text of its own
        return facts.wrapped.digest if facts.wrapped is not None else ""
    return digest(facts) if isinstance(facts, Import) else facts.digest
