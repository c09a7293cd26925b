"""The interpreter's functions that open, list, load and start, told of while somebody listens.

An audit hook would see the same and more, but it stays for the life of the process, and while there is one, each call of ``id``
costs five times as much: ``copy.deepcopy`` takes twice as long, in the rounds that are measured too. So these stand in for the
functions while a round is recorded, and in no other.
"""

from __future__ import annotations

import _io
import _thread
import builtins
import contextlib
import functools
import importlib
import importlib.util
import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType

_source_of = importlib.util.source_from_cache


class _InPython:
    """What stands in for a function where there is no compiled extension. Like a builtin function it does not bind to an object
    that has it as an attribute."""

    def __init__(self, function: Callable[..., object], tell: Callable[..., None]) -> None:
        functools.update_wrapper(self, function, updated=())
        self._function = function
        self._tell = tell

    def __call__(self, *args: object, **kwargs: object) -> object:
        __tracebackhide__ = True
        with contextlib.suppress(Exception):
            self._tell(*args, **kwargs)
        return self._function(*args, **kwargs)

    def __reduce__(self) -> str:
        return self._function.__name__


def _made(function: Callable[..., object], tell: Callable[..., None]) -> Callable[..., object]:
    """What stands in for ``function``: calls ``tell`` with the same arguments first, whose errors count for nothing."""
    try:
        stand_in = importlib.import_module("pytest_joules.code._standin").stand_in
    except ImportError:
        return _InPython(function, tell)
    name = getattr(function, "__name__", "function")
    signature = getattr(function, "__text_signature__", None)
    doc = getattr(function, "__doc__", None) or ""
    made: Callable[..., object] = stand_in(
        function, tell, name, f"{name}{signature}\n--\n\n{doc}" if signature else doc, getattr(function, "__module__", None)
    )
    return made


def _put(place: ModuleType | type, name: str, function: object) -> None:
    if isinstance(place, type):
        setattr(place, name, function)
    else:
        vars(place)[name] = function  # past what a module makes of setattr


class Interception:
    """Puts them in place and takes them out. ``tell`` gets the name of the audit event of a call and its arguments, and must not
    raise."""

    def __init__(self, tell: Callable[[str, tuple[object, ...]], None]) -> None:
        for name in ("ctypes", "sqlite3"):
            with contextlib.suppress(ImportError):  # built without
                importlib.import_module(name)
        self._tell = tell
        self._places: list[tuple[ModuleType | type, str, object, object]] = []
        """Modules (or a class), names in them, the functions that have these names, and what stands in for them."""
        self._pairs: dict[int, tuple[object, object]] = {}
        """The last two of these by the identity of either."""
        self._names: frozenset[str] = frozenset()
        self._known: dict[str, ModuleType] = {}
        self._on = False
        for modules, names, how in self._table():
            for module in modules:
                for name in names.split():
                    self._add(module, name, how)
        self._names = frozenset(name for _, name, _, _ in self._places) | {"bltn_open", "_builtin_open"}
        accessor: type | None = getattr(sys.modules.get("pathlib"), "_NormalAccessor", None)
        if accessor is not None:  # before Python 3.11, what a Path does goes by copies in this class
            self._add_copies(accessor)

    def on(self) -> None:
        """From now on calls are told of."""
        if self._on:
            return
        self._on = True
        self._look_for_copies()
        for module, name, function, instead in self._places:
            if vars(module).get(name) is function:  # else somebody else stands in for it
                _put(module, name, instead)

    def off(self) -> None:
        """From now on they are not."""
        if not self._on:
            return
        self._on = False
        self._look_for_copies()
        for module, name, function, instead in self._places:
            if vars(module).get(name) is instead:
                _put(module, name, function)

    def _add(self, module: ModuleType, name: str, how: Callable[..., None]) -> None:
        function = vars(module).get(name)
        if function is not None:
            if id(function) not in self._pairs:
                pair = function, _made(function, how)
                self._pairs.update((id(one), pair) for one in pair)
            self._places.append((module, name, *self._pairs[id(function)]))

    def _look_for_copies(self) -> None:
        """Names of modules that are such a function, or what stands in for it: ``from os import listdir``."""
        if len(self._known) == len(sys.modules):
            return
        for key, module in sys.modules.copy().items():
            if self._known.get(key) is module:
                continue
            self._known[key] = module
            inside = getattr(module, "__dict__", None)
            if not isinstance(module, ModuleType) or not inside or self._names.isdisjoint(inside):
                continue
            self._add_copies(module)

    def _add_copies(self, place: ModuleType | type) -> None:
        inside = vars(place)
        placed = {name for known, name, _, _ in self._places if known is place}
        for name in self._names.intersection(inside) - placed:
            pair = self._pairs.get(id(inside[name]))
            if pair is not None:  # both are kept, so no other object has their identity
                self._places.append((place, name, *pair))

    # What is told

    def _table(self) -> Iterator[tuple[tuple[ModuleType, ...], str, Callable[..., None]]]:
        """Modules, names of functions in them, and what tells of a call."""
        yield (builtins, io, _io), "open", self._open
        yield (io, _io), "open_code", self._code
        yield (os,), "open", lambda path, flags=0, *_, **__: self._say("open", path, None, flags)
        yield (os,), "listdir scandir", lambda path=".", **__: self._say("os.listdir", path)
        yield (os,), "rename replace", lambda source, target, **__: self._say("os.rename", source, target)
        yield (threading, _thread), "_start_new_thread _start_joinable_thread start_new_thread", self._started("thread")
        process = self._started("process")
        yield (os,), "fork forkpty posix_spawn posix_spawnp system startfile", process
        posix = sys.modules.get("_posixsubprocess")
        yield (subprocess, *([posix] if posix is not None else [])), "_fork_exec fork_exec", process
        windows = sys.modules.get("_winapi")
        if windows is not None:
            yield (windows,), "CreateProcess", process
        if "ctypes" in sys.modules:
            yield (sys.modules["ctypes"],), "_dlopen", lambda name=None, *_, **__: self._say("ctypes.dlopen", name)
        for name in ("sqlite3", "sqlite3.dbapi2"):
            if name in sys.modules:
                connect: Callable[..., None] = lambda database=None, *_, **__: self._say("sqlite3.connect", database)  # noqa: E731
                yield (sys.modules[name],), "connect", connect

    def _say(self, event: str, *arguments: object) -> None:
        if self._on:
            self._tell(event, arguments)

    def _open(self, file: object = None, mode: object = "r", *_: object, **__: object) -> None:
        self._say("open", file, mode if isinstance(mode, str) else "r", 0)

    def _code(self, path: object = None, *_: object, **__: object) -> None:
        """Code is read to be executed, or what lies beside it."""
        self._say("open", path, "r", 0)
        if isinstance(path, str) and path.endswith((".py", ".pyc")):
            with contextlib.suppress(ValueError, NotImplementedError):
                self._say("exec", _source_of(path) if path.endswith(".pyc") else path)

    def _started(self, what: str) -> Callable[..., None]:
        event = "_thread.start_new_thread" if what == "thread" else "subprocess.Popen"
        return lambda *args, **_: self._say(event, *args)
