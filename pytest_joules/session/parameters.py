"""A hash of a test's parameters and markers that is the same in another process."""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import pathlib
import re
import types
import uuid
from collections.abc import Iterable, Mapping

import pytest

from pytest_joules.code.hashing import digest

#: Types whose ``repr`` is their whole value.
_PLAIN = (
    *(type(None), bool, int, float, complex, str, bytes, bytearray, range, slice, type(...), type(NotImplemented)),
    *(decimal.Decimal, fractions.Fraction, uuid.UUID, pathlib.PurePath),
    *(datetime.date, datetime.time, datetime.timedelta, datetime.timezone),
)
#: A parameter with more elements than this is known by its id only.
_MOST_ELEMENTS = 10_000
#: Markers that say whether a test runs, not what it does.
_SELECTING = frozenset(("parametrize", "skip", "skipif", "xfail", "timeout", "flaky", "energy_budget", "order", "filterwarnings"))


class _Unknown(Exception):
    """A value that nothing stable is known of."""


class _Values:
    def __init__(self) -> None:
        self._left = _MOST_ELEMENTS

    def of(self, value: object, depth: int = 0) -> object:
        self._left -= 1
        if self._left < 0 or depth > 8:
            raise _Unknown
        kind = type(value)
        if isinstance(value, enum.Enum):
            return (kind.__qualname__, value.name)
        if isinstance(value, _PLAIN):
            return (kind.__name__, repr(value))
        if isinstance(value, list | tuple):
            return (kind.__qualname__, *(self.of(inner, depth + 1) for inner in value))
        if isinstance(value, set | frozenset):
            return (kind.__qualname__, *sorted(repr(self.of(inner, depth + 1)) for inner in value))
        if isinstance(value, dict):
            return (kind.__qualname__, *((self.of(key, depth + 1), self.of(inner, depth + 1)) for key, inner in value.items()))
        if isinstance(value, re.Pattern):
            return ("pattern", value.pattern, value.flags)
        return self._by_name(value) or self._by_state(value, depth)

    def _by_name(self, value: object) -> object:
        """Functions and classes: what runs of them is recorded, so here their names will do."""
        if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType | types.ModuleType):
            name = getattr(value, "__qualname__", value.__name__)
            if "<lambda>" not in name:
                return ("name", getattr(value, "__module__", None), name)
        return None

    def _by_state(self, value: object, depth: int) -> object:
        """An object by its type and attributes, which runs none of its code."""
        kind = type(value)
        if isinstance(value, types.FunctionType) or kind.__flags__ & (1 << 9) == 0 or kind.__basicsize__ > 64:
            raise _Unknown  # of a type that keeps its state elsewhere
        state = getattr(value, "__dict__", None)
        if not isinstance(state, dict) or any(getattr(base, "__slots__", ()) for base in kind.__mro__):
            raise _Unknown
        return (kind.__module__, kind.__qualname__, self.of(state, depth + 1))


def of_parameters(parameters: Mapping[str, object], name: str) -> tuple[str, bool]:
    """A hash of the values, and whether it tells all of them; else ``name``, the parameters' id, stands for them."""
    try:
        return digest(_Values().of(dict(sorted(parameters.items())))), True
    except Exception:  # a value's own code may fail: its repr, its keys' hash
        return digest(name), False


def of_markers(item: pytest.Item) -> str:
    """A hash of the markers that may change what a test costs; empty where there are none."""
    kept = [mark for mark in item.iter_markers() if mark.name not in _SELECTING]
    if not kept:
        return ""
    return digest([(mark.name, _of_any(mark.args), _of_any(sorted(mark.kwargs.items()))) for mark in kept])


def _of_any(values: Iterable[object]) -> object:
    try:
        return _Values().of(list(values))
    except Exception:  # as above
        return "?"
