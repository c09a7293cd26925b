"""Recording before Python 3.12: by a trace function, or where another tool traces (coverage, a debugger) by a profile function.

A trace function is asked once a call, and line by line in the frames that it wants to follow: the project's. A profile function
sees calls only, those of C functions too, and takes longer. Both are on only where the project's code can run.
"""

from __future__ import annotations

import dis
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType

from pytest_joules.dependencies.counting import FOLLOWED, MOST_OF_A_LINE, Counted, is_straight
from pytest_joules.dependencies.project import Project
from pytest_joules.dependencies.recorder import Recorder

#: A test that makes more calls is not followed to its end: each costs 0.1 µs or more.
MOST_CALLS = 5_000_000

#: Flags of code that is called once and resumed often: generators, coroutines.
_RESUMED = 0x20 | 0x80 | 0x200

_get_profile, _get_trace = sys.getprofile, sys.gettrace


def _no_profile() -> None:
    """What ``sys.getprofile`` is while a test is recorded."""


def _no_trace() -> None:
    """What ``sys.gettrace`` is while a test is recorded."""


class _Tool:
    """One of the interpreter's two ways to be told of calls."""

    def __init__(self, name: str, get: Callable[[], object], hidden: Callable[[], None]) -> None:
        self.name = name
        self.get = get
        self.hidden = hidden
        self.set: Callable[[object], None] = getattr(sys, f"set{name}")

    def switch_on(self, see: Callable[[FrameType, str, object], object]) -> None:
        # A test may ask whether it is traced: what it does on being told is not what it does in its measured rounds.
        setattr(sys, f"get{self.name}", self.hidden)
        getattr(threading, f"set{self.name}")(see)
        self.set(see)

    def forget(self, see: object) -> None:
        """What :meth:`switch_on` did besides switching on."""
        if getattr(sys, f"get{self.name}") is self.hidden:
            setattr(sys, f"get{self.name}", self.get)
        if getattr(threading, f"_{self.name}_hook", None) is see:
            getattr(threading, f"set{self.name}")(None)


_TRACE, _PROFILE = _Tool("trace", _get_trace, _no_trace), _Tool("profile", _get_profile, _no_profile)


class Traced(Recorder):
    """By a trace or a profile function: switched on only where the project's code can run."""

    sees_new_code, sees_threads = True, False

    def __init__(self, project: Project) -> None:
        super().__init__(project)
        self.other_calls: int = 0
        self._on = 0
        self._calls = 0
        self._tool = _TRACE
        self._kinds: dict[int, tuple[CodeType, int | None, bool]] = {}
        """By identity, a code object, of the project's own the instruction at which it begins, and whether it is straight."""
        self._see: Callable[[FrameType, str, object], object] = self._trace

    def begin(self, *, again: bool = False) -> None:
        super().begin(again=again)
        self.other_calls = 0
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
        self._tool = _TRACE if _get_trace() is None else _PROFILE
        if self._tool.get() is not None:
            self.trouble = "another profiler is active"
            return
        self._see = self._trace if self._tool is _TRACE else self._profile
        self._tool.switch_on(self._see)

    def leave(self) -> None:
        self._on -= 1
        if self._on:
            return
        tool = self._tool
        # No call of Python before it is off: it would be told of it.
        if tool.get() is self._see:
            tool.set(None)
        elif self.trouble is None and self._calls <= MOST_CALLS:
            self.trouble = f"another {'tracer' if tool is _TRACE else 'profiler'} took over"
        tool.forget(self._see)

    @contextmanager
    def apart(self) -> Iterator[dict[int, CodeType]]:
        other = self.other_calls
        self.enter()
        try:
            with super().apart() as inside:
                yield inside
        finally:
            self.leave()
            self.other_calls = other

    def _trace(self, frame: FrameType, event: str, argument: object) -> object:
        """Told of every call, and asked how it is to be followed."""
        self._calls += 1
        if self._calls > MOST_CALLS or not self._on:
            sys.settrace(None)
            return None
        entry = self._called(frame)
        if entry is None or entry.straight or entry.calls > FOLLOWED:
            return None
        entry.followed = entry.calls
        lines = entry.lines

        def line(frame: FrameType, event: str, argument: object) -> object:
            if event == "line":
                number = frame.f_lineno
                times = lines[number] = lines.get(number, 0) + 1
                if times > MOST_OF_A_LINE:
                    frame.f_trace = None
                    frame.f_trace_lines = False
            return line

        return line

    def _profile(self, frame: FrameType, event: str, argument: object) -> object:
        if event == "call":
            self._calls += 1
            self._called(frame)
            if self._calls > MOST_CALLS or not self._on:
                sys.setprofile(None)
        return None

    def _called(self, frame: FrameType) -> Counted | None:
        """What is counted of a frame's code, this call too where it is one; ``None`` where it is not the project's."""
        code = frame.f_code
        key = id(code)
        self.executed[key] = code
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = code, self._begin_of(code), is_straight(code)
        begin = kind[1]
        if begin is None:
            self.other_calls += 1
            return None
        entry = self.counted.get(key)
        if entry is None:
            entry = self.counted[key] = Counted(code, straight=kind[2])
        if frame.f_lasti <= begin or not entry.calls:
            entry.calls += 1
        return entry

    def _begin_of(self, code: CodeType) -> int | None:
        if code.co_name == "<module>" or self.project.relative(code.co_filename) is None:
            return None
        if not code.co_flags & _RESUMED:
            return sys.maxsize
        return next((step.offset for step in dis.get_instructions(code) if step.opname == "RESUME"), -1)
