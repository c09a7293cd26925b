"""How one value is kept and put back in place, type by type, by the methods of the built-in types alone: a foreign class may do
anything in its own (count, connect, compare by parts), and copying it is none of a test's work."""

from __future__ import annotations

import array
import datetime
import decimal
import enum
import fractions
import functools
import io
import itertools
import operator
import pathlib
import random
import re
import sys
import types
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from typing import Any, TypeVar, cast

Put = Callable[[], object]

_ALL = slice(None)
_ATOMS = frozenset(
    (type(None), bool, int, float, complex, str, bytes, range, slice, object, type, type(...), type(NotImplemented))
)
#: What most names of a module mean: quickly told.
_MOSTLY = _ATOMS | {types.FunctionType, types.BuiltinFunctionType, types.ModuleType, types.MethodType, list, tuple, dict, set}
#: Bases of values that nothing can change, or whose change is none of a round's.
_UNCHANGING = (
    *(*(_ATOMS - {object}), enum.Enum, decimal.Decimal, fractions.Fraction, uuid.UUID, pathlib.PurePath, re.Pattern),
    *(datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo, frozenset, tuple),
    *(types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.MethodWrapperType, functools.partial),
    *(types.ModuleType, types.CodeType, types.GenericAlias, types.UnionType, types.MappingProxyType),
    *(operator.itemgetter, operator.attrgetter, operator.methodcaller),
)
_CONTAINERS = (list, dict, set, deque, bytearray, array.array, io.BytesIO, io.StringIO, BaseException, random.Random)
#: Modules whose objects are bound to more than what they hold, and pytest's own.
_LIVING = frozenset(
    (
        *("threading", "subprocess", "multiprocessing", "concurrent", "asyncio", "logging", "socket", "socketserver", "ssl"),
        *("selectors", "sqlite3", "http", "weakref", "_pytest", "pytest", "pluggy"),
    )
)
#: Iterators that :mod:`copy` copies with their place.
_READ: tuple[Iterable[object], ...] = ([], (), "", "é", b"", bytearray(), range(0), range(2**70), set(), reversed([]))
_COPIED = frozenset(type(iter(value)) for value in (*_READ, {}, {}.values(), {}.items()))
_COUNT = re.compile(r"count\((-?\d+)(?:, (-?\d+))?\)")
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE of CPython
_KNOWN = frozenset(("builtins", "collections", "array", "_io", "random", "_random"))
_MOCKS = frozenset(("unittest.mock", "mock.mock", "mock"))
#: Bytes of an array of numpy that is kept.
_MOST_BYTES = 1_000_000

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Kept:
    """How to put a value back, and what it holds: each part with its place in ``holder``, where it has one that can be set."""

    put: Put | None
    parts: Sequence[tuple[Any, object]] = ()
    holder: Any = None
    is_object: bool = False


def is_atom(value: object) -> bool:
    return type(value) in _ATOMS


def is_iterator(value: object) -> bool:
    """Whether it can be read once only (a file is none: it can be read again from where it was)."""
    kind = type(value)
    if kind in _MOSTLY or issubclass(kind, type | io.IOBase):
        return False
    if kind is types.MethodWrapperType:
        return getattr(value, "__name__", "") == "__next__"  # iter([1, 2]).__next__
    if kind is types.CoroutineType:
        return True
    bases = kind.__mro__
    once = any("__next__" in vars(base) or "__anext__" in vars(base) for base in bases)
    return once and not any(base.__module__ in _MOCKS for base in bases)


def copy_of(iterator: object) -> object | None:
    """Another iterator at the same place; ``None`` where there can be none."""
    kind = type(iterator)
    if kind is itertools.count:
        # What it was made of is in its repr only: from 3.12 on copying it warns, from 3.14 on it cannot be copied.
        found = _COUNT.fullmatch(repr(iterator))
        return itertools.count(int(found[1]), int(found[2] or 1)) if found else None
    if kind in _COPIED:
        with suppress(RuntimeError):  # what it goes through has changed
            copied: object = copy(iterator)
            return copied
    return None


def is_tame(value: object) -> bool:
    """Whether it is plain data: holds nothing but what it is made of."""
    kind = type(value)
    if kind in _ATOMS or issubclass(kind, (*_UNCHANGING, *_CONTAINERS)):
        return True
    return is_iterator(value) or _is_array(value) or _is_simple(kind)


def size(value: object) -> int:
    """About as many steps as it takes to keep it."""
    kind = type(value)
    for base in (list, tuple, dict, set, frozenset, deque):
        if issubclass(kind, base):
            return base.__len__(value) + 1  # type: ignore[arg-type]  # it is one
    return 1


def keep(value: object) -> Kept | None:
    """How to put ``value`` back; ``None`` for what is no plain data, or cannot change."""
    kind = type(value)
    for base, keeper in _KEEPERS:
        if issubclass(kind, base):
            kept = keeper(value)
            state = _state(value) if kind is not base else None
            return kept if state is None else Kept(_both(kept.put, state.put), [*kept.parts], kept.holder)
    if _is_array(value):
        return _keep_array(value)
    return _state(value) if _is_simple(kind) else None


def attributes_of_function(function: types.FunctionType) -> Put | None:
    """Puts back what a function was marked with, such as a count of its calls."""
    names = vars(function)
    return _dict_back(names, dict(names)) if names else None


# One a type


def _keep_list(value: list[object]) -> Kept:
    before = list.__getitem__(value, _ALL)

    def put() -> None:
        if not _same(list.__iter__(value), before):
            list.__setitem__(value, _ALL, before)

    return Kept(put, list(enumerate(before)), value)


def _keep_dict(value: dict[object, object]) -> Kept:
    before = dict(dict.items(value))
    return Kept(_dict_back(value, before), list(before.items()), value)


def _keep_ordered(value: OrderedDict[object, object]) -> Kept:
    before = list(OrderedDict.items(value))

    def put() -> None:
        now = list(OrderedDict.items(value))
        if not _same((part for pair in now for part in pair), [part for pair in before for part in pair]):
            OrderedDict.clear(value)
            for key, part in before:
                OrderedDict.__setitem__(value, key, part)

    return Kept(put, [(None, part) for _, part in before])


def _keep_set(value: set[object]) -> Kept:
    before: set[object] = set()
    before.update(set.__iter__(value))

    def put() -> None:
        if {id(part) for part in set.__iter__(value)} != {id(part) for part in before}:
            set.clear(value)
            set.update(value, before)

    return Kept(put, [(None, part) for part in before])


def _keep_deque(value: deque[object]) -> Kept:
    before = list(deque.__iter__(value))

    def put() -> None:
        if not _same(deque.__iter__(value), before):
            deque.clear(value)
            deque.extend(value, before)

    return Kept(put, [(None, part) for part in before])


def _keep_frozen(value: Any) -> Kept:  # noqa: ANN401 - a tuple or a frozenset
    base: Any = tuple if issubclass(type(value), tuple) else frozenset
    return Kept(None, [(None, part) for part in base.__iter__(value)])


def _keep_buffer(value: Any) -> Kept:  # noqa: ANN401 - a bytearray or an array
    base: Any = bytearray if issubclass(type(value), bytearray) else array.array
    before = base.__getitem__(value, _ALL)

    def put() -> None:
        with suppress(BufferError):  # somebody looks into it: its size cannot change
            base.__setitem__(value, _ALL, before)

    return Kept(put)


def _keep_memory_file(value: Any) -> Kept:  # noqa: ANN401 - a BytesIO or a StringIO
    base: Any = io.BytesIO if issubclass(type(value), io.BytesIO) else io.StringIO
    try:
        state = base.__getstate__(value)[:-1]
    except ValueError:
        return Kept(None)  # closed

    def put() -> None:
        with suppress(ValueError, BufferError):  # closed meanwhile: the round says so
            base.__setstate__(value, (*state, None))

    return Kept(put)


def _keep_file(value: Any) -> Kept:  # noqa: ANN401 - a file that is open for reading
    try:
        place = value.tell() if not value.writable() and value.seekable() else None
    except (ValueError, OSError):
        place = None

    def put() -> None:
        with suppress(ValueError, OSError):
            value.seek(place)

    return Kept(put if place is not None else None)


def _keep_random(value: random.Random) -> Kept:
    base: Any = random.Random.__base__
    before = base.getstate(value)
    return Kept(lambda: base.setstate(value, before))


def _keep_exception(value: BaseException) -> Kept:
    """Raised in every round, it would carry the frames of all rounds along."""
    fields = [vars(BaseException)[name] for name in ("__traceback__", "__context__", "__cause__", "__suppress_context__", "args")]
    before = [field.__get__(value) for field in fields]

    def put() -> None:
        for field, part in zip(fields, before, strict=True):
            field.__set__(value, part)

    return Kept(put)


def _keep_call(value: Any) -> Kept:  # noqa: ANN401 - something that calls something else
    if type(value) is functools.partial:
        return Kept(None, [(None, value.func), (None, value.args), (None, value.keywords)])
    parts = [getattr(value, name, None) for name in ("__func__", "__self__")]
    return Kept(None, [(None, part) for part in parts])


def _keep_array(value: Any) -> Kept:  # noqa: ANN401 - numpy's, which need not be there
    before = value.copy()

    def put() -> None:
        if value.flags.writeable and value.shape == before.shape and value.dtype == before.dtype:
            value[...] = before

    return Kept(put)


_KEEPERS: tuple[tuple[type, Callable[[Any], Kept]], ...] = (
    (list, _keep_list),
    (OrderedDict, _keep_ordered),
    (dict, _keep_dict),
    (set, _keep_set),
    (deque, _keep_deque),
    (enum.Enum, lambda value: Kept(None)),
    (tuple, _keep_frozen),
    (frozenset, _keep_frozen),
    (bytearray, _keep_buffer),
    (array.array, _keep_buffer),
    (io.BytesIO, _keep_memory_file),
    (io.StringIO, _keep_memory_file),
    (io.TextIOWrapper, _keep_file),
    (io.BufferedReader, _keep_file),
    (io.FileIO, _keep_file),
    (BaseException, _keep_exception),
    (random.Random, _keep_random),
    (functools.partial, _keep_call),
    (types.MethodType, _keep_call),
    (types.BuiltinFunctionType, _keep_call),
)


# Objects


def _is_simple(kind: type) -> bool:
    """Whether its instances are made of attributes only, by a class that is written in Python."""
    if issubclass(kind, _UNCHANGING):
        return False
    bases = [base for base in kind.__mro__ if base is not object]
    for base in bases:
        if base.__module__ in _KNOWN and issubclass(base, _CONTAINERS):
            continue
        made_in_c = not base.__flags__ & _HEAP_TYPE or type(vars(base).get("__new__")) is types.BuiltinFunctionType
        if made_in_c or base.__module__.partition(".")[0] in _LIVING:
            return False
    return any("__dict__" in vars(base) or "__slots__" in vars(base) for base in bases)


def _state(value: object) -> Kept | None:
    """The attributes of an object. Where it holds a lock, a socket or the like by the time it would be put back, it is in use."""
    kind = type(value)
    if not _is_simple(kind):
        return None
    names = _dict_of(value)
    slots = [slot for base in kind.__mro__ if "__slots__" in vars(base) for slot in vars(base).values() if _is_slot(slot)]
    before = dict(names) if names is not None else {}
    filled = [(slot, _read(slot, value)) for slot in slots]

    def put() -> None:
        now = _dict_of(value)
        if now is not None and all(map(is_tame, now.values())):
            _dict_back(now, before)()
        for slot, part in filled:
            if part is not _MISSING:
                slot.__set__(value, part)
            elif _read(slot, value) is not _MISSING:
                slot.__delete__(value)

    if not names and not filled:
        return None
    parts = [*before.items(), *((None, part) for _, part in filled if part is not _MISSING)]
    return Kept(put, parts, names, is_object=True)


_MISSING = object()


def _is_slot(descriptor: object) -> bool:
    return type(descriptor) is types.MemberDescriptorType


def _read(slot: Any, value: object) -> object:  # noqa: ANN401 - a descriptor
    try:
        return cast(object, slot.__get__(value))
    except AttributeError:
        return _MISSING


def _dict_of(value: object) -> dict[str, object] | None:
    """Its ``__dict__``, past a property of that name."""
    for base in type(value).__mro__:
        descriptor = vars(base).get("__dict__")
        if type(descriptor) is types.GetSetDescriptorType:
            found: dict[str, object] = descriptor.__get__(value)
            return found
    return None


def _is_array(value: object) -> bool:
    numpy = sys.modules.get("numpy")
    if numpy is None or type(value) is not getattr(numpy, "ndarray", None):
        return False
    found: Any = value
    return not found.dtype.hasobject and found.nbytes <= _MOST_BYTES


def _same(now: Iterable[object], before: Sequence[object]) -> bool:
    """Whether the very same objects are there, in the same order."""
    found = list(now)
    return len(found) == len(before) and all(a is b for a, b in zip(found, before, strict=True))


def _dict_back(value: dict[K, V], before: Mapping[K, V]) -> Put:
    def put() -> None:
        now = dict.items(value)
        if not (_same((key for key, _ in now), list(before)) and _same((part for _, part in now), list(before.values()))):
            dict.clear(value)
            dict.update(value, before)

    return put


def _both(first: Put | None, second: Put | None) -> Put:
    def put() -> None:
        for each in (first, second):
            if each is not None:
                each()

    return put
