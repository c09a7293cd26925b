"""Which of the project's code objects run in a test's warm-up round, and how often: what both ways have in common."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType, ModuleType
from typing import ClassVar

from pytest_joules.code.counting import Counted
from pytest_joules.code.project import Project
from pytest_joules.code.recording_cost import MOST, Bound

#: Functions of the standard library and what it means that one of them runs, where nothing else may tell it.
_TELLING = (
    ("threading", "Thread.start", "starts a thread"),
    ("subprocess", "Popen.__init__", "starts a process"),
    ("multiprocessing.process", "BaseProcess.start", "starts a process"),
)


class Recorder:
    """What both ways have in common."""

    _TIMES: ClassVar[float]
    _FREE: ClassVar[float]
    """See :class:`Bound`."""
    sees_new_code: ClassVar[bool]
    """Whether it sees functions that were not there when the round began."""
    sees_threads: ClassVar[bool]
    """Whether it sees what threads execute that were there."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.executed: dict[int, CodeType] = {}
        """The code objects that ran since :meth:`begin`, by identity: comparing them would compare their bytecode."""
        self.counted: dict[int, Counted] = {}
        """How often those of the project did."""
        self.other_calls: int | None = None
        """Calls of Python functions that are not the project's, where that is seen."""
        self.imported: list[str] = []
        """Files of the project that were imported since."""
        self.trouble: str | None = None
        """Why nothing can be recorded."""
        self.incomplete: str | None = None
        """Why not all that ran since :meth:`begin` is in ``executed``."""
        self.gap: str | None = None
        """The same of what ran last :meth:`apart`."""
        self.counting = True
        """``counted`` has all calls: counting them has not become too dear."""
        self.overhead = 0.0
        """Nanoseconds by which each call out of the project seems longer than it is."""
        self.bound = Bound(self._TIMES, self._FREE)
        self._in_round = False
        self.loaded: set[str] = set()
        """Files of the project that were imported until now, by their paths in it."""
        self.by_path: dict[str, str] = {}
        """Files of the project whose code was executed by other means than an import, as it names them, and their paths in it:
        to be looked for."""
        self._telling: dict[int, str] = {}
        self._modules: dict[str, ModuleType] = {}
        self._loaded = 0

    def prepare(self) -> None:
        """No round runs now: time to look for code that is new."""
        self._new_modules()

    def begin(self, *, again: bool = False, most: float = MOST) -> None:
        """A test's warm-up round begins; ``again``: another one of the same test, which is counted anew. Recording may take
        ``most`` seconds: then it gives up counting, and where that is not enough itself."""
        self._in_round = True
        self._afresh(most)
        self.counted.clear()
        if not again:
            self.executed.clear()
            self.imported.clear()

    def events(self) -> int:
        """How much ran: calls and lines, and calls of other code."""
        return (self.other_calls or 0) + sum(entry.calls + sum(entry.lines.values()) for entry in self.counted.values())

    def _afresh(self, most: float = MOST) -> None:
        """What comes now has its own bound."""
        self.bound.begin(most)
        self.incomplete = None
        self.counting = True

    def end(self) -> None:
        """It has ended."""
        self._in_round = False

    def enter(self) -> None:
        """The project's code may run now: a fixture of its own, the test's body."""

    def leave(self) -> None:
        """That has ended."""

    def close(self) -> None:
        """The session ends."""

    @contextmanager
    def apart(self) -> Iterator[dict[int, CodeType]]:
        """Record what runs inside by itself as well, in the dictionary that is given: complete when the block has ended."""
        before, counted = dict(self.executed), dict(self.counted)
        known = self.incomplete, self.counting
        if not self._in_round:
            self._afresh()
        self.executed.clear()
        self.counted.clear()
        inside: dict[int, CodeType] = {}
        try:
            yield inside
        finally:
            inside.update(self.executed)
            self.gap = self.incomplete
            if not self._in_round:
                self.incomplete, self.counting = known
            self.executed.update(before)
            # It stays up for other tests: its calls are none of this test's body.
            self.counted.clear()
            self.counted.update(counted)

    def told(self, codes: Iterable[CodeType]) -> set[str]:
        """What these code objects give away: that a process is started."""
        return {self._telling[id(code)] for code in codes if id(code) in self._telling}

    def _new_modules(self) -> dict[str, str]:
        """Files of the project that were imported since this was last asked: what Python calls them, and their paths in it."""
        found = [name for name, module in self._modules.items() if sys.modules.get(name) is not module]
        files, self.by_path = self.by_path, {}
        if len(sys.modules) == self._loaded and not found:
            return files
        self._loaded = len(sys.modules)
        for name in found:
            del self._modules[name]
        # A copy is made at once: a list of the items is not, and what the garbage collector ends meanwhile may import.
        for name, module in sys.modules.copy().items():
            file = getattr(module, "__file__", None) if isinstance(module, ModuleType) and name not in self._modules else None
            if isinstance(file, str) and (relative := self.project.relative(file)) is not None:
                self._modules[name] = module
                files[file] = relative
        self.loaded.update(files.values())
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
