"""Which of the project's code objects run: by ``sys.monitoring`` from Python 3.12 on, by ``sys.setprofile`` before.

With ``sys.monitoring`` an event is set on the project's own code objects and on nothing else, and each switches its own off when
it fires: pytest's code runs as ever, what ran while the recording was on costs nothing afterwards, and a function that runs later
for the first time is noted once more. Switching events on and off for all code instead would make the interpreter look at every
code object again on both occasions (2.4 µs each on the machine this was written on, 0.5 to 1 ms a test).
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType, FunctionType, ModuleType

from pytest_joules.dependencies.project import Project

#: Before 3.12, a test that makes more calls is not followed to its end: each costs 0.1 µs or more.
MOST_CALLS = 5_000_000

#: Functions of the standard library and what it means that one of them runs.
_TELLING = (
    ("threading", "Thread.start", "starts a thread"),
    ("subprocess", "Popen.__init__", "starts a process"),
    ("multiprocessing.process", "BaseProcess.start", "starts a process"),
    ("os", "_spawnvef", "starts a process"),
    ("pathlib", "Path.open", "reads files"),
    ("pathlib", "Path.read_text", "reads files"),
    ("pathlib", "Path.read_bytes", "reads files"),
    ("pkgutil", "get_data", "reads files"),
    ("importlib.resources", "files", "reads files"),
)


class Recorder:
    """What both ways have in common."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.executed: dict[int, CodeType] = {}
        """The code objects that ran since :meth:`begin`, by identity: comparing them would compare their bytecode."""
        self.imported: list[str] = []
        """Files of the project that were imported since."""
        self.trouble: str | None = None
        """Why nothing can be recorded."""
        self._telling: dict[int, str] = {}
        self._modules: dict[str, ModuleType] = {}
        self._loaded = 0

    def prepare(self) -> None:
        """No round runs now: time to look for code that is new."""
        self._new_modules()

    def begin(self) -> None:
        """A test's warm-up round begins."""
        self.executed.clear()
        self.imported.clear()

    def end(self) -> None:
        """It has ended."""

    def enter(self) -> None:
        """The project's code may run now: a fixture of its own, the test's body."""

    def leave(self) -> None:
        """That has ended."""

    def close(self) -> None:
        """The session ends."""

    @contextmanager
    def apart(self) -> Iterator[dict[int, CodeType]]:
        """Record what runs inside by itself as well, in the dictionary that is given: complete when the block has ended."""
        before = dict(self.executed)
        self.executed.clear()
        inside: dict[int, CodeType] = {}
        try:
            yield inside
        finally:
            inside.update(self.executed)
            self.executed.update(before)

    def told(self, codes: Iterable[CodeType]) -> set[str]:
        """What these code objects give away: that a thread or a process is started, that files are read."""
        return {self._telling[id(code)] for code in codes if id(code) in self._telling}

    def _new_modules(self) -> dict[str, str]:
        """Files of the project that were imported since this was last asked: what Python calls them, and their paths in it."""
        found = [name for name, module in self._modules.items() if sys.modules.get(name) is not module]
        if len(sys.modules) == self._loaded and not found:
            return {}
        self._loaded = len(sys.modules)
        files = {}
        for name in found:
            del self._modules[name]
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None) if isinstance(module, ModuleType) and name not in self._modules else None
            if isinstance(file, str) and (relative := self.project.relative(file)) is not None:
                self._modules[name] = module
                files[file] = relative
        for module_name, qualname, meaning in _TELLING:
            value: object = sys.modules.get(module_name)
            for part in qualname.split("."):
                value = getattr(value, part, None)
            if isinstance(value, FunctionType) and id(value.__code__) not in self._telling:
                self._telling[id(value.__code__)] = meaning
                self._watch(value.__code__)
        return files

    def _watch(self, code: CodeType) -> None:
        """Take note of this code object too."""


if sys.version_info >= (3, 12):
    _monitoring = sys.monitoring

    class Monitored(Recorder):
        """By events on the project's code objects."""

        def __init__(self, project: Project) -> None:
            super().__init__(project)
            self._armed: dict[int, CodeType] = {}
            self._tool: int | None = None
            self._unread: set[str] = set()
            # Not those that debuggers, coverage, profilers and optimisers take for themselves.
            for tool in (4, 3):
                try:
                    _monitoring.use_tool_id(tool, "pytest-joules")
                except ValueError:
                    continue
                self._tool = tool
                break
            else:
                self.trouble = "no free tool id: other tools use sys.monitoring"
                return
            executed, disable = self.executed, _monitoring.DISABLE

            def started(code: CodeType, offset: int) -> object:
                executed[id(code)] = code
                return disable

            _monitoring.register_callback(self._tool, _monitoring.events.PY_START, started)

        def prepare(self) -> None:
            self._find()
            self._read()

        def begin(self) -> None:
            self._arm_again()
            if len(sys.modules) != self._loaded:
                self._find()
            self._read()
            super().begin()

        def end(self) -> None:
            self._find()

        def close(self) -> None:
            if self._tool is not None:
                for code in self._armed.values():
                    _monitoring.set_local_events(self._tool, code, 0)
                _monitoring.register_callback(self._tool, _monitoring.events.PY_START, None)
                _monitoring.free_tool_id(self._tool)
                self._tool = None
                self._armed.clear()

        @contextmanager
        def apart(self) -> Iterator[dict[int, CodeType]]:
            self._arm_again()
            self._find()
            with super().apart() as inside:
                yield inside
            self._find()

        def _arm_again(self) -> None:
            tool = self._tool
            if tool is None:
                return
            for code in self.executed.values():
                _monitoring.set_local_events(tool, code, 0)
                _monitoring.set_local_events(tool, code, _monitoring.events.PY_START)

        def _find(self) -> None:
            """Note modules that are new here."""
            new = self._new_modules()
            self.imported += new.values()
            self._unread.update(new)

        def _read(self) -> None:
            """Set events on the functions of new modules: all of them, wherever decorators have put them. Takes some 10 ms."""
            if not self._unread or self._tool is None:
                return
            for value in gc.get_objects():
                if type(value) is FunctionType and value.__code__.co_filename in self._unread:
                    self._watch(value.__code__)
            self._unread.clear()

        def _watch(self, code: CodeType) -> None:
            if id(code) in self._armed or self._tool is None:
                return
            self._armed[id(code)] = code
            _monitoring.set_local_events(self._tool, code, _monitoring.events.PY_START)
            for constant in code.co_consts:
                if isinstance(constant, CodeType):
                    self._watch(constant)


_get_profile = sys.getprofile


def _no_profile() -> None:
    """What ``sys.getprofile`` is while a test is recorded."""


class Profiled(Recorder):
    """By a profile function, which sees every call: switched on only where the project's code can run."""

    def __init__(self, project: Project) -> None:
        super().__init__(project)
        self._on = 0
        self._calls = 0

        def see(frame: FrameType, event: str, argument: object) -> None:
            if event == "call":
                code = frame.f_code
                executed[id(code)] = code
                self._calls += 1
                if self._calls > MOST_CALLS or not self._on:
                    sys.setprofile(None)

        executed = self.executed
        self._see = see

    def begin(self) -> None:
        super().begin()
        if len(sys.modules) != self._loaded:
            self._new_modules()
        self._calls = 0
        self.trouble = None

    def end(self) -> None:
        if self._calls > MOST_CALLS:
            self.trouble = f"more than {MOST_CALLS:,} calls: Python 3.12 can record them"
        while self._on:
            self.leave()

    def enter(self) -> None:
        self._on += 1
        if self._on > 1:
            return
        if _get_profile() is not None:
            self.trouble = "another profiler is active"
            return
        # A test may ask whether it is profiled: what it does on being told is not what it does in its measured rounds.
        sys.getprofile = _no_profile
        threading.setprofile(self._see)
        sys.setprofile(self._see)

    def leave(self) -> None:
        self._on -= 1
        if self._on:
            return
        if _get_profile() is self._see:
            sys.setprofile(None)
        elif self.trouble is None and self._calls <= MOST_CALLS:
            self.trouble = "another profiler took over"
        if sys.getprofile is _no_profile:
            sys.getprofile = _get_profile
        if getattr(threading, "_profile_hook", None) is self._see:
            threading.setprofile(None)

    @contextmanager
    def apart(self) -> Iterator[dict[int, CodeType]]:
        self.enter()
        try:
            with super().apart() as inside:
                yield inside
        finally:
            self.leave()


def make(project: Project) -> Recorder:
    """The way that this Python offers."""
    if sys.version_info >= (3, 12):
        return Monitored(project)
    return Profiled(project)


#: Names of functions that start processes and are not seen, being written in C.
STARTERS = frozenset(
    name for name in ("fork", "forkpty", "system", "posix_spawn", "posix_spawnp", "startfile") if hasattr(os, name)
)
