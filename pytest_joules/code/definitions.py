"""What one source file defines: its functions, classes, statements and imports, each with what it refers to."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from pytest_joules.code.hashing import digest

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef

#: Methods that run when a class is made.
_AT_CREATION = frozenset(("__init_subclass__", "__set_name__", "__prepare__"))


@dataclass(slots=True)
class Refers:
    """What a piece of code refers to."""

    names: set[str] = field(default_factory=set)
    """Of its module or builtin."""
    attributes: set[str] = field(default_factory=set)
    imports: list[Import] = field(default_factory=list)
    """Import statements inside it."""

    def add(self, other: Refers) -> None:
        self.names |= other.names
        self.attributes |= other.attributes
        self.imports += other.imports


@dataclass(frozen=True, slots=True)
class Import:
    """One name that an import statement binds."""

    module: str
    level: int
    """Leading dots."""
    name: str | None
    """What is imported from the module; ``None``: the module itself, ``*``: everything."""
    whole: bool = False
    """``import a.b as c`` binds the module itself, ``import a.b`` its outermost package."""


@dataclass(slots=True)
class Unit:
    """A function with a name; all of that name in the same place together (a property and its setter, two branches of an if)."""

    digest: str
    refers: Refers
    called: Refers
    """What its decorators and defaults refer to, which ran when it was defined."""
    owner: str | None
    """The outermost class it is in."""
    marks: str = ""
    """Hash of its ``pytest.mark`` decorators, which are not in ``digest``: their arguments come as parameters and markers."""
    marks_refer: Refers = field(default_factory=Refers)
    keeps: bool = False
    """Its result may be kept for others: see :mod:`.memoising`."""
    lazy: bool = False
    """It keeps what it calls others for."""
    fills: bool = False
    """It changes what belongs to a module."""
    wrapped: Statement | None = None
    """Its decorators alone."""


@dataclass(slots=True)
class Statement:
    """A statement of the module, or several that bind the same name."""

    digest: str
    refers: Refers
    calls: bool
    """It calls something, so what it refers to may have run."""


@dataclass(slots=True)
class Class:
    """A class without the code of its methods."""

    digest: str
    refers: Refers
    called: Refers
    """What its decorators, keywords and calls in its body refer to."""
    bases: Sequence[tuple[str, ...]]
    """Dotted names."""
    methods: dict[str, str]
    """Names to qualified names, of nested classes too."""

    @property
    def at_creation(self) -> Iterator[str]:
        return (qualname for name, qualname in self.methods.items() if name in _AT_CREATION)


Binding: TypeAlias = Unit | Class | Import | Statement


class Span(NamedTuple):
    """Lines of the file that belong to a function, or to what binds a name of the module."""

    first: int
    last: int
    name: str
    function: bool


class Layout(NamedTuple):
    """Where a function's statements are."""

    headers: tuple[tuple[int, int], ...]
    """First and last line of each statement, without the statements inside it."""
    by_line: dict[int, int]
    """By line, the number of the statement."""


@dataclass(slots=True)
class Definitions:
    """All that a file defines."""

    functions: dict[str, Unit] = field(default_factory=dict)
    """By qualified name."""
    bindings: dict[str, list[tuple[str, Binding]]] = field(default_factory=dict)
    """By name of the module, what binds it: a word for its kind and the facts."""
    stars: list[Import] = field(default_factory=list)
    effects: Statement | None = None
    """All statements that bind nothing."""
    layouts: dict[str, Layout | None] = field(default_factory=dict)
    """Of the statements of a function, by its qualified name; ``None`` where several have it."""
    first_lines: dict[tuple[str, int], str] = field(default_factory=dict)
    """Qualified names, by name and first line."""
    spans: list[Span] = field(default_factory=list)


def imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Import]]:
    """The names that an import statement binds."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            whole = alias.asname is not None
            yield alias.asname or alias.name.partition(".")[0], Import(alias.name, 0, None, whole)
    elif node.module != "__future__":
        for alias in node.names:
            yield alias.asname or alias.name, Import(node.module or "", node.level, alias.name)


def refers_of(node: ast.AST) -> Refers:
    """What a piece of syntax refers to."""
    result = Refers()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load):
            result.names.add(inner.id)
        elif isinstance(inner, ast.Attribute):
            result.attributes.add(inner.attr)
        elif isinstance(inner, ast.Import | ast.ImportFrom):
            result.imports += [entry for _, entry in imported(inner)]
    return result


def merged(all_of: Iterable[Refers]) -> Refers:
    """What all of them refer to."""
    result = Refers()
    for refers in all_of:
        result.add(refers)
    return result


def joined(several: Sequence[Statement]) -> Statement:
    """Several as one."""
    if len(several) == 1:
        return several[0]
    refers = merged(entry.refers for entry in several)
    return Statement(digest(*(entry.digest for entry in several)), refers, any(entry.calls for entry in several))
