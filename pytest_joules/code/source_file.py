"""What one source file holds: a hash for every function and every statement of the module, and the names that each refers to.

A function's hash is that of its bytecode, compiled here from the source, without line numbers, docstrings and annotations. What
pytest or an interpreter makes of the code when it runs (rewritten assertions, specialised instructions) does not show in it, and
neither do comments, layout and the names of local variables.
"""

from __future__ import annotations

import ast
import gc
import hashlib
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import CodeType
from typing import NamedTuple, TypeAlias

from pytest_joules.code.memoising import fills, is_lazy, is_wrapped
from pytest_joules.code.statements import statements
from pytest_joules.code.texts import Plain, dotted, dump, function_texts, is_mark, without_docstring
from pytest_joules.files import reading

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
_COMPOUND = (
    ast.If,
    ast.Try,
    ast.With,
    ast.For,
    ast.While,
    ast.AsyncFor,
    ast.AsyncWith,
    ast.Match,
    getattr(ast, "TryStar", ast.Try),
)
#: No source file of more bytes is read: its tree takes a hundred times as much memory.
MOST_BYTES = 8 * 2**20
_FUNCTIONS = frozenset((ast.FunctionDef, ast.AsyncFunctionDef))
#: Nodes that are more than their parts.
_PARTS = _FUNCTIONS | {ast.ClassDef, ast.Attribute, ast.Import, ast.ImportFrom, ast.AnnAssign, ast.Lambda}
#: Flags of a code object that say how it runs; the others tell of its docstring and of ``__future__``.
_FLAGS = 0x3FF
#: What stands for the lines of the first function; no number that a program is likely to have among its constants.
_FIRST = 1_000_003
#: Methods that run when a class is made.
_AT_CREATION = frozenset(("__init_subclass__", "__set_name__", "__prepare__"))


def digest(*parts: object) -> str:
    """Sixteen hexadecimal digits for the representation of ``parts``."""
    return hashlib.blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def content_digest(content: bytes) -> str:
    """The same of the bytes themselves."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


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
    """Its result may be kept for others: see :mod:`.keeping`."""
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


class Layout(NamedTuple):
    """Where a function's statements are."""

    headers: tuple[tuple[int, int], ...]
    """First and last line of each statement, without the statements inside it."""
    by_line: dict[int, int]
    """By line, the number of the statement."""


class File:
    """A source file. Raises ``SyntaxError`` or ``ValueError`` where it is none."""

    def __init__(self, source: bytes) -> None:
        self.functions: dict[str, Unit] = {}
        self.bindings: dict[str, list[tuple[str, Binding]]] = {}
        """By name, what binds it: a word for its kind and the facts."""
        self.stars: list[Import] = []
        self.effects: Statement | None = None
        """All statements that bind nothing."""
        self.statements: dict[str, Layout | None] = {}
        """By qualified name of a function; ``None`` where several have it."""
        self._first: dict[tuple[str, int], str] = {}
        self._spans: list[tuple[int, int, str, bool]] = []
        self._source = source
        _Reader(self).read(ast.parse(source))

    def text(self, name: str, *, function: bool) -> str | None:
        """The source of a function, by its qualified name, or of what binds a name of the module (of a class without its
        functions); ``None`` where there is none, or it is an import. Several of one name stand one after the other."""
        lines = self._source.decode("utf-8", "replace").splitlines(keepends=True)
        pieces = []
        for first, last, found, is_function in self._spans:
            if found != name or is_function != function or (not function and (first, last) in self._functions):
                continue
            inner = [span for span in self._spans if not function and span[3] and first <= span[0] and span[1] <= last]
            kept = [
                line
                for number, line in enumerate(lines[first - 1 : last], first)
                if not any(span[0] <= number <= span[1] for span in inner)
            ]
            if inner and kept:
                kept.append(f"{kept[0][: len(kept[0]) - len(kept[0].lstrip())]}    pass\n")
            pieces.append(textwrap.dedent("".join(kept)))
            if not function and not _parses(pieces[-1]):
                pieces.pop()  # an elif; a class whose nested class has nothing but functions
        return "\n".join(pieces) or None

    @cached_property
    def content(self) -> str:
        """A hash of its bytes."""
        return content_digest(self._source)

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
        if (known := self._first.get((name, line))) is not None:
            return "function", known
        around = [span for span in self._spans if span[0] <= line <= span[1]]
        if not around:
            return None
        # The innermost; of a statement and the function that it is, the function.
        *_, found, function = max(around, key=lambda span: (span[0], -span[1], span[3]))
        return ("function" if function else "statement"), found


def read(path: Path, content: bytes | None = None) -> File | None:
    """What is in a source file, or was when ``content`` was read; ``None`` where it is gone, is no Python, or is larger than
    anybody writes."""
    # A syntax tree has no cycles: looking for them while it grows takes longer than reading it.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return File(reading.read_bytes(path, MOST_BYTES) if content is None else content)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    finally:
        if collecting:
            gc.enable()


class _Reader:
    def __init__(self, file: File) -> None:
        self.file = file
        self._units: dict[str, list[Unit]] = {}
        self._numbers: list[tuple[Function, str, Refers, str | None]] = []
        """Functions by the number that stands for their line."""
        self._statements: list[tuple[ast.stmt, list[str]]] = []
        self._effects: list[ast.stmt] = []
        self._classes: list[tuple[ast.ClassDef, str]] = []

    def read(self, tree: ast.Module) -> None:
        for statement in without_docstring(tree.body):
            self._top(statement)
        tree.body = without_docstring(tree.body) or [ast.Pass(lineno=1, col_offset=0)]
        self._number(tree)
        codes = {(code.co_firstlineno, code.co_name): code for code in _named(compile(tree, "", "exec", dont_inherit=True))}
        for number, (node, qualname, refers, owner) in enumerate(self._numbers, _FIRST):
            self._unit(node, qualname, refers, owner, codes.get((number, node.name)))
        for qualname, units in self._units.items():
            self.file.functions[qualname] = units[0] if len(units) == 1 else _together(units)
        self._bind()

    # Which statement binds what

    def _top(self, node: ast.stmt) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self._span(node, node.name)
            self.file.bindings.setdefault(node.name, []).append(("function", _PLACEHOLDER))
        elif isinstance(node, ast.ClassDef):
            self._span(node, node.name)
            self._classes.append((node, node.name))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            self._import(node)
        elif isinstance(node, ast.If) and _never_in_tests(node.test):
            for inner in node.orelse:
                self._top(inner)
        elif isinstance(node, _COMPOUND):
            self._compound(node)
        elif isinstance(node, ast.Pass | ast.Global) or (isinstance(node, ast.AnnAssign) and node.value is None):
            pass
        else:
            self._simple(node)

    def _span(self, node: ast.stmt | Function, name: str, *, function: bool = False) -> None:
        self.file._spans.append((_first_line(node), node.end_lineno or node.lineno, name, function))

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        for name, entry in imported(node):
            if entry.name == "*":
                self.file.stars.append(entry)
            else:
                self.file.bindings.setdefault(name, []).append(("import", entry))

    def _compound(self, node: ast.stmt) -> None:
        bound = list(_stored(node))
        acts = False
        for inner in _inner_statements(node):
            if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom):
                if not isinstance(inner, ast.Import | ast.ImportFrom):
                    bound.append(inner.name)
                else:
                    bound += [name for name, _ in imported(inner)]
                self._top(inner)
            elif isinstance(inner, ast.Expr | ast.Assert):
                acts = True
        if bound:
            self._statements.append((node, bound))
            self._span(node, bound[0])
        if acts or not bound:
            self._effects.append(node)

    def _simple(self, node: ast.stmt) -> None:
        if bound := list(_stored(node)):
            self._statements.append((node, bound))
            self._span(node, bound[0])
        else:
            self._effects.append(node)

    # One number for all lines of a function, so that its bytecode does not depend on its layout

    def _number(self, tree: ast.Module) -> None:
        for statement in tree.body:
            self._visit(statement, 1, "", None, Refers(), outer=True)

    def _visit(self, node: ast.AST, number: int, prefix: str, owner: str | None, refers: Refers, *, outer: bool) -> None:
        kind = node.__class__  # tens of thousands of nodes: no chain of isinstance
        if kind is ast.Name:
            refers.names.add(node.id)  # type: ignore[attr-defined]  # a Name
            _on_one_line(node, number)
            return
        if kind in _PARTS:
            self._part(node, number, prefix, owner, refers, outer=outer)
            if kind in _FUNCTIONS:
                return
            if kind is ast.ClassDef:
                name: str = node.name  # type: ignore[attr-defined]  # a ClassDef
                # A class body in a function runs with the function.
                prefix, owner = f"{prefix}{name}.", owner or (name if outer else None)
        if "lineno" in node.__dict__:
            _on_one_line(node, number)
        for field_name in node._fields:
            value = getattr(node, field_name, None)
            if value.__class__ is list:
                for inner in value:
                    if isinstance(inner, ast.AST):
                        self._visit(inner, number, prefix, owner, refers, outer=outer)
            elif isinstance(value, ast.AST) and value._fields:
                self._visit(value, number, prefix, owner, refers, outer=outer)

    def _part(self, node: ast.AST, number: int, prefix: str, owner: str | None, refers: Refers, *, outer: bool) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self._function(node, number, prefix, owner, refers, outer=outer)
        elif isinstance(node, ast.ClassDef):
            node.body = without_docstring(node.body) or [ast.Pass(lineno=1, col_offset=0)]
        elif isinstance(node, ast.Attribute):
            refers.attributes.add(node.attr)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            refers.imports += [entry for _, entry in imported(node)]
        elif isinstance(node, ast.AnnAssign) and not outer:
            node.annotation = _nothing()
        elif isinstance(node, ast.Lambda):
            _without_annotations(node.args)

    def _function(self, node: Function, number: int, prefix: str, owner: str | None, refers: Refers, *, outer: bool) -> None:
        qualname = f"{prefix}{node.name}"
        self._span(node, qualname, function=True)
        self.file._first[node.name, _first_line(node)] = qualname
        node.body = without_docstring(node.body) or [ast.Pass(lineno=1, col_offset=0)]
        self.file.statements[qualname] = None if qualname in self.file.statements else _layout(node)
        node.returns = None
        _without_annotations(node.args)
        # Decorators and defaults run where the function is defined.
        for child in (*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)):
            self._visit(child, number, prefix, owner, refers, outer=outer)
        own = Refers()
        self._numbers.append((node, qualname, own, owner))
        mine = _FIRST + len(self._numbers) - 1
        _on_one_line(node, mine)
        for decorator in node.decorator_list:
            # The code object begins at its first decorator.
            _on_one_line(decorator, mine)
        for part in (*ast.walk(node.args), *getattr(node, "type_params", ())):
            if hasattr(part, "lineno"):
                _on_one_line(part, mine)
        inside = f"{qualname}.<locals>."
        for statement in node.body:
            self._visit(statement, mine, inside, owner, own, outer=False)

    # Hashes

    def _unit(self, node: Function, qualname: str, refers: Refers, owner: str | None, code: CodeType | None) -> None:
        called, marked = Refers(), Refers()
        marks: list[Plain] = []
        own: list[Plain] = []
        for decorator in node.decorator_list:
            if is_mark(decorator):
                marks.append(dump(decorator))
                marked.add(_refers(decorator))
            else:
                own.append(dump(decorator))
                called.add(_refers(decorator))
        decorators = len(own)
        for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
            own.append(dump(default))
            called.add(_refers(default))
        body: object = dump(node) if code is None else _of_code(code)  # in ``if 0:`` it leaves no code
        if code is not None:
            refers.names.difference_update(code.co_varnames, code.co_cellvars, code.co_freevars)
        wrapped = Statement(digest(own[:decorators]), called, calls=True) if decorators else None
        unit = Unit(digest(body, own), refers, called, owner, digest(marks) if marks else "", marked, wrapped=wrapped)
        unit.keeps, unit.lazy, unit.fills = is_wrapped(node), is_lazy(node), fills(node)
        self._units.setdefault(qualname, []).append(unit)

    def _bind(self) -> None:
        """Only now, when the code is compiled, functions are taken out of what is hashed."""
        bindings = self.file.bindings
        for name, found in bindings.items():
            bindings[name] = [(kind, self.file.functions[name] if kind == "function" else facts) for kind, facts in found]
        for node, name in self._classes:
            bindings.setdefault(name, []).append(("class", self._class(node)))
        by_name: dict[str, list[Statement]] = {}
        for statement, bound in self._statements:
            facts = _statement(statement)
            for name in dict.fromkeys(bound):
                by_name.setdefault(name, []).append(facts)
        for name, several in by_name.items():
            bindings.setdefault(name, []).append(("statement", _joined(several)))
        if self._effects:
            self.file.effects = _joined([_statement(node) for node in self._effects])

    def _class(self, node: ast.ClassDef) -> Class:
        refers, called = Refers(), Refers()
        methods: dict[str, str] = {}
        keep = bool(node.decorator_list or node.bases or node.keywords)
        for decorator in (*node.decorator_list, *node.keywords):
            called.add(_refers(decorator))
        for base in node.bases:
            refers.add(_refers(base))
        hashed: list[Plain] = [dump(part) for part in (*node.decorator_list, *node.bases, *node.keywords)]
        for statement in self._body(node, f"{node.name}.", methods):
            if isinstance(statement, ast.AnnAssign) and not keep:
                if statement.value is None:
                    continue
                statement.annotation = _nothing()
            _take_out_functions(statement)
            hashed.append(dump(statement))
            (called if _has_calls(statement) else refers).add(_refers(statement))
        bases = [name for base in node.bases if (name := dotted(base))]
        return Class(digest(hashed), refers, called, bases, methods)

    def _body(self, node: ast.ClassDef, prefix: str, methods: dict[str, str]) -> Iterator[ast.stmt]:
        """Its statements without methods, whose names are noted."""
        for statement in node.body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                methods.setdefault(statement.name, prefix + statement.name)
                continue
            for inner in ast.walk(statement):
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    nested = f"{statement.name}." if isinstance(statement, ast.ClassDef) else ""
                    methods.setdefault(nested + inner.name, f"{prefix}{nested}{inner.name}")
            if not isinstance(statement, ast.Pass):
                yield statement


_PLACEHOLDER = Unit("", Refers(), Refers(), None)


def imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Import]]:
    """The names that an import statement binds."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            whole = alias.asname is not None
            yield alias.asname or alias.name.partition(".")[0], Import(alias.name, 0, None, whole)
    elif node.module != "__future__":
        for alias in node.names:
            yield alias.asname or alias.name, Import(node.module or "", node.level, alias.name)


def _said(facts: Binding) -> str:
    if isinstance(facts, Unit):  # it has a text of its own
        return facts.wrapped.digest if facts.wrapped is not None else ""
    return digest(facts) if isinstance(facts, Import) else facts.digest


def _without_annotations(arguments: ast.arguments) -> None:
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
        if argument is not None:
            argument.annotation = None


def _nothing() -> ast.Constant:
    return ast.Constant(None, lineno=1, col_offset=0)


def _on_one_line(node: ast.AST, number: int) -> None:
    node.lineno = node.end_lineno = number  # type: ignore[attr-defined]  # of every node that has a place
    node.col_offset = node.end_col_offset = 0  # type: ignore[attr-defined]  # likewise


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return False
    return True


def _layout(node: Function) -> Layout:
    """To be asked while the lines are still those of the file."""
    headers = []
    for statement in statements(node):
        inner = [
            entry.lineno
            for name in ("body", "handlers", "cases")
            for entry in getattr(statement, name, ())[:1]
            if hasattr(entry, "lineno")
        ]
        first = _first_line(statement)
        headers.append((first, max(first, min(inner) - 1) if inner else statement.end_lineno or first))
    # Of two on one line, the first.
    by_line = {line: number for number, (first, last) in reversed([*enumerate(headers)]) for line in range(first, last + 1)}
    return Layout(tuple(headers), by_line)


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _inner_statements(node: ast.AST) -> Iterator[ast.stmt]:
    """The statements in a compound one, not those in functions and classes."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
        if not isinstance(child, ast.expr):
            yield from _inner_statements(child)


def _stored(node: ast.AST) -> Iterator[str]:
    """The names that a statement of the module binds or changes: ``X = 1``, ``X.a = 1``, ``X[0] = 1``."""
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
        inner: ast.expr = node
        while isinstance(inner, ast.Attribute | ast.Subscript):
            inner = inner.value
        if isinstance(inner, ast.Name):
            yield inner.id
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
        return
    for child in ast.iter_child_nodes(node):
        yield from _stored(child)


def _never_in_tests(test: ast.expr) -> bool:
    """``if __name__ == "__main__"`` and ``if TYPE_CHECKING``."""
    if isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "__name__":
        return isinstance(test.ops[0], ast.Eq)
    return (dotted(test) or ("",))[-1] == "TYPE_CHECKING"


def _has_calls(node: ast.AST) -> bool:
    return any(isinstance(inner, ast.Call) or getattr(inner, "decorator_list", ()) for inner in ast.walk(node))


def _refers(node: ast.AST) -> Refers:
    result = Refers()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load):
            result.names.add(inner.id)
        elif isinstance(inner, ast.Attribute):
            result.attributes.add(inner.attr)
        elif isinstance(inner, ast.Import | ast.ImportFrom):
            result.imports += [entry for _, entry in imported(inner)]
    return result


def _take_out_functions(node: ast.AST) -> None:
    """A function in a branch is hashed by itself."""
    for name in ("body", "orelse", "finalbody", "handlers", "cases"):
        inner = getattr(node, name, None)
        if isinstance(inner, list):
            inner[:] = [entry for entry in inner if not isinstance(entry, ast.FunctionDef | ast.AsyncFunctionDef)]
            for entry in inner:
                _take_out_functions(entry)


def _statement(node: ast.stmt) -> Statement:
    _take_out_functions(node)
    if isinstance(node, ast.AnnAssign):
        node.annotation = _nothing()
    return Statement(digest(dump(node)), _refers(node), _has_calls(node))


def _joined(several: Sequence[Statement]) -> Statement:
    if len(several) == 1:
        return several[0]
    refers = Refers()
    for statement in several:
        refers.add(statement.refers)
    return Statement(digest(*(entry.digest for entry in several)), refers, any(entry.calls for entry in several))


def _together(units: Sequence[Unit]) -> Unit:
    refers, called, marked = Refers(), Refers(), Refers()
    for unit in units:
        refers.add(unit.refers)
        called.add(unit.called)
        marked.add(unit.marks_refer)
    marks = "".join(unit.marks for unit in units)
    whole = Unit(digest(*(unit.digest for unit in units)), refers, called, units[0].owner, marks, marked)
    whole.keeps, whole.lazy = any(unit.keeps for unit in units), any(unit.lazy for unit in units)
    whole.fills = any(unit.fills for unit in units)
    wrapped = [unit.wrapped for unit in units if unit.wrapped is not None]
    whole.wrapped = _joined(wrapped) if wrapped else None
    return whole


# Bytecode


def _named(code: CodeType) -> Iterator[CodeType]:
    """All code objects inside."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _named(constant)


def _of_code(code: CodeType) -> tuple[object, ...]:
    arguments = code.co_argcount + code.co_kwonlyargcount
    arguments += bool(code.co_flags & 0x04) + bool(code.co_flags & 0x08)
    return (
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & _FLAGS),
        code.co_varnames[:arguments],
        code.co_names,
        code.co_code,
        getattr(code, "co_exceptiontable", b""),
        tuple(_of_constant(value, code.co_firstlineno) for value in code.co_consts),
    )


def _of_constant(value: object, line: int = 0) -> object:
    if isinstance(value, CodeType):
        # A function with a name is recorded by itself where it is executed; the body of a class, a lambda and the like are not.
        named = value.co_flags & 0x02 and not value.co_name.startswith("<")
        return ("def", value.co_name) if named else (value.co_name, _of_code(value))
    if type(value) is int and value >= _FIRST and value == line:
        return "line"  # from 3.13 on the body of a class keeps it in a constant
    if isinstance(value, tuple):
        return ("tuple", *map(_of_constant, value))
    if isinstance(value, frozenset):
        return ("frozenset", *sorted(map(repr, map(_of_constant, value))))
    return (type(value).__name__, repr(value))


def merged(all_of: Iterable[Refers]) -> Refers:
    """What all of them refer to."""
    result = Refers()
    for refers in all_of:
        result.add(refers)
    return result
