"""Recording before Python 3.12: by a trace function, or where another tool traces (coverage, a debugger) by a profile function.

A trace function is asked once a call, and line by line in the frames that it wants to follow: the project's. A profile function
sees calls only, those of C functions too, and takes longer. Both are on only where the project's code can run, and both cost
several times what a small function does: where they become too dear, lines are no longer followed, and then nothing is seen.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType

from pytest_joules.code import recording_cost
from pytest_joules.code.bytecode import resumed_at
from pytest_joules.code.counting import FOLLOWED, MOST_OF_A_LINE, Counted, is_straight
from pytest_joules.code.project import Project
from pytest_joules.code.recorder import Recorder
from pytest_joules.code.recording_cost import EVENTS, MOST
from pytest_joules.code.traced_calls import CallTimer

#: Why not all is known of a test that was not recorded to its end.
TOO_DEAR = "too many calls to record them all before Python 3.12"


_get_profile, _get_trace = sys.getprofile, sys.gettrace


def _no_profile() -> None:
    """What ``sys.getprofile`` is while a test is recorded."""


def _no_trace() -> None:
    """What ``sys.gettrace`` is while a test is recorded."""


_See = Callable[[FrameType, str, object], object]


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

    #: With what recording costs before that is noticed, a round takes no more than three times as long.
    _TIMES, _FREE = 1.4, 0.03
    sees_new_code, sees_threads = True, False

    def __init__(self, project: Project) -> None:
        super().__init__(project)
        self.other_calls: int = 0
        self._on = 0
        self._events = self._lines = 0
        """Looks at the clock since :meth:`begin`, in calls and in lines."""
        self._following = True
        """Lines are counted."""
        self._tool = _TRACE
        self._kinds: dict[int, tuple[CodeType, bool, int | None, bool]] = {}
        """By identity, a code object, whether it is the project's, the instruction at which it begins where it is resumed, and
        whether it is straight."""
        self._timer = CallTimer(self._look)
        self._known: dict[int, Counted | None] = {}
        """What is counted of the code objects that have run since; ``None`` where they are not the project's."""
        self._trace, self._profile = self._trace_function(), self._profile_function()
        self._see = self._trace
        self._cost_of_call = self._cost_of_line = 0.0
        self._cost_of_call, self._cost_of_line = self._costs()
        self.overhead = self._timer.overhead

    def begin(self, *, again: bool = False, most: float = MOST) -> None:
        self._known.clear()
        super().begin(again=again, most=most)
        self.other_calls = 0
        if len(sys.modules) != self._loaded:
            self._new_modules()
        self.trouble = None

    def _afresh(self, most: float = MOST) -> None:
        super()._afresh(most)
        self._events = self._lines = 0
        self._following = True
        self._timer.begin()

    def end(self) -> None:
        while self._on:
            self.leave()
        super().end()

    def enter(self) -> None:
        self._on += 1
        if self._on > 1 or self.incomplete is not None:
            return
        self._tool = _TRACE if _get_trace() is None else _PROFILE
        if self._tool.get() is not None:
            self.trouble = "another profiler is active"
            return
        self._see = self._trace if self._tool is _TRACE else self._profile
        self.bound.on()
        self._tool.switch_on(self._see)

    def leave(self) -> None:
        self._on -= 1
        if self._on:
            return
        tool = self._tool
        # No call of Python before it is off: it would be told of it.
        if tool.get() is self._see:
            tool.set(None)
        elif self.trouble is None and self.incomplete is None:
            self.trouble = f"another {'tracer' if tool is _TRACE else 'profiler'} took over"
        tool.forget(self._see)
        self.bound.off()

    @contextmanager
    def apart(self) -> Iterator[dict[int, CodeType]]:
        other = self.other_calls
        self._known.clear()
        with super().apart() as inside:
            # Only what runs is asked for.
            following, self._following = self._following, False
            timing, self._timer.on = self._timer.on, False
            self._timer.came_back()
            self.enter()
            try:
                yield inside
            finally:
                self.leave()
                self._following = following and self.counting
                self._timer.on = timing and self._following
        self.other_calls = other
        self._known.clear()

    def _look(self, calls: int = 0, lines: int = 0) -> None:
        """What recording has cost until now, with these calls and lines, and whether it is to see less from now on."""
        self._events += calls
        self._lines += lines
        timing = self._timer.told * self._timer.cost
        left = self.bound.left(self._events * self._cost_of_call + self._lines * self._cost_of_line + timing)
        if left < 0.75 and self._timer.on:
            self._timer.stop(self.counted)
        if left < 0.5 and self._following:
            self._following = False
        elif left < 0 and self.incomplete is None:
            self.counting = False
            self.incomplete = TOO_DEAR

    def _trace_function(self) -> _See:
        """Told of every call, and asked how it is to be followed; it runs so often that it looks up nothing twice."""
        known, new, unseen = self._known, self._new, _UNSEEN
        settrace, left = sys.settrace, EVENTS
        timer, waiting, follow = self._timer, self._timer.waiting, self._line_function

        def trace(frame: FrameType, event: str, argument: object) -> object:
            nonlocal left
            left -= 1
            if not left:
                left = EVENTS
                self._look(calls=EVENTS)
            if self.incomplete is not None or not self._on:
                settrace(None)
                return None
            entry = known.get(id(frame.f_code), unseen)
            if entry is unseen:
                entry = new(frame.f_code)
            if entry is None:
                self.other_calls += 1
                timer.others += 1
                return None
            if waiting:
                timer.entered(frame.f_code)
            if entry.begin is None or frame.f_lasti <= entry.begin or not entry.calls:
                entry.calls += 1
            if entry.calls > FOLLOWED or not self._following or (entry.straight and not entry.timed):
                return None
            entry.followed = entry.calls
            if entry.straight:
                frame.f_trace_lines = False
                return timer.follow(frame, entry, None)
            line = follow(entry)
            return timer.follow(frame, entry, line) if entry.timed else line

        return trace

    def _line_function(self, entry: Counted) -> _See:
        """Told of the lines of one call."""
        lines = entry.lines

        def line(frame: FrameType, event: str, argument: object) -> object:
            if event == "line":
                number = frame.f_lineno
                times = lines[number] = lines.get(number, 0) + 1
                if not times % EVENTS:
                    self._look(lines=EVENTS)
                if times > MOST_OF_A_LINE or not self._following:
                    entry.cut = entry.cut or not self._following
                    frame.f_trace = None
                    frame.f_trace_lines = False
            return line

        return line

    def _profile_function(self) -> _See:
        known, new, unseen = self._known, self._new, _UNSEEN
        left = EVENTS

        def profile(frame: FrameType, event: str, argument: object) -> object:
            nonlocal left
            left -= 1
            if not left:
                left = EVENTS
                self._look(calls=EVENTS)
            if event != "call":
                return None
            if self.incomplete is not None or not self._on:
                sys.setprofile(None)
            else:
                entry = known.get(id(frame.f_code), unseen)
                if entry is unseen:
                    entry = new(frame.f_code)
                if entry is None:
                    self.other_calls += 1
                elif entry.begin is None or frame.f_lasti <= entry.begin or not entry.calls:
                    entry.calls += 1
            return None

        return profile

    def _new(self, code: CodeType) -> Counted | None:
        """Of code that has not run since :meth:`begin`: what is counted of it."""
        key = id(code)
        self.executed[key] = code
        kind = self._kinds.get(key)
        if kind is None:
            own = code.co_name != "<module>" and self.project.relative(code.co_filename) is not None
            kind = self._kinds[key] = code, own, resumed_at(code), is_straight(code)
        _, own, begin, straight = kind
        entry = self.counted.get(key) if own else None
        if own and entry is None:
            entry = self.counted[key] = Counted(code, straight=straight, begin=begin, timed=self._timer.takes(code))
        self._known[key] = entry
        return entry

    # What it costs

    def _costs(self) -> tuple[float, float]:
        """Seconds of a call and of a line that are told of; of small functions, measured now."""
        if _get_trace() is not None or _get_profile() is not None:
            return 1e-6, 0.5e-6  # who traces now would be told of the trial
        for function, straight in ((recording_cost.call, True), (recording_cost.calls, True), (_loop, False)):
            self._kinds[id(function.__code__)] = function.__code__, True, None, straight

        timing = False

        def switch(on: bool) -> None:
            self._known.clear()
            self._afresh()
            self._timer.on &= timing
            self._on = int(on)
            _TRACE.set(self._trace if on else None)

        found = recording_cost.cost(recording_cost.calls, switch), recording_cost.cost(_loop, switch, events=2)
        self._timer.cost_of_other = found[0] * 1e9
        timed = recording_cost.c_calls.__code__
        self._kinds[id(timed)] = timed, True, None, False
        timing = True
        self._timer.measure(switch, lambda: self.counted.pop(id(timed)))
        for known in (self._kinds, self._known, self.executed, self.counted):
            known.clear()
        return found


def _loop(times: int) -> None:
    for _ in range(times):
        pass


#: Stands for code that has not run yet.
_UNSEEN = Counted(recording_cost.call.__code__)
