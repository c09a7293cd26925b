"""What a function's bytecode says, whatever its layout, its docstrings and where it stands."""

from __future__ import annotations

import dis
from collections.abc import Iterator
from types import CodeType

#: Flags of a code object that say how it runs; the others tell of its docstring and of ``__future__``.
_FLAGS = 0x3FF
#: Flags of code that is called once and resumed often: generators, coroutines.
_RESUMED = 0x20 | 0x80 | 0x200
#: What stands for the lines of the first function; no number that a program is likely to have among its constants.
FIRST = 1_000_003


def all_inside(code: CodeType) -> Iterator[CodeType]:
    """All code objects inside."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from all_inside(constant)


def is_resumed(code: CodeType) -> bool:
    """Whether it is called once and resumed often."""
    return bool(code.co_flags & _RESUMED)


def resumed_at(code: CodeType) -> int | None:
    """Where code that is called once and resumed often begins; ``None`` of any other."""
    if not is_resumed(code):
        return None
    return next((step.offset for step in dis.get_instructions(code) if step.opname == "RESUME"), -1)


def said_by(code: CodeType) -> tuple[object, ...]:
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
        return ("def", value.co_name) if named else (value.co_name, said_by(value))
    if type(value) is int and value >= FIRST and value == line:
        return "line"  # from 3.13 on the body of a class keeps it in a constant
    if isinstance(value, tuple):
        return ("tuple", *map(_of_constant, value))
    if isinstance(value, frozenset):
        return ("frozenset", *sorted(map(repr, map(_of_constant, value))))
    return (type(value).__name__, repr(value))
