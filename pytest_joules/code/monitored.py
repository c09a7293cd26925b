"""Recording from Python 3.12 on: by ``sys.monitoring``.

Events are set on the project's own code objects and on nothing else: pytest's code runs as ever. What runs in the warm-up round
is counted, and its events are off when the round has ended; of what runs later for the first time each event switches itself off.
Switching events on and off for all code instead would make the interpreter look at every code object again on both occasions
(2.4 µs each on the machine this was written on, 0.5 to 1 ms a test).

Counting costs several times what a small function does: where it becomes too dear, lines are no longer counted, and then calls
are not. Which functions run is seen all the same: each tells it once.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType

from pytest_joules.code import recording_cost
from pytest_joules.code.armed import JUMP, LINE, START, Armed
from pytest_joules.code.counting import FOLLOWED, MOST_OF_A_LINE, Counted
from pytest_joules.code.monitored_calls import CallTimer
from pytest_joules.code.project import Project
from pytest_joules.code.recorder import Recorder
from pytest_joules.code.recording_cost import EVENTS, MOST

assert sys.version_info >= (3, 12)

_monitoring = sys.monitoring


class Monitored(Recorder):
    """By events on the project's code objects."""

    #: With what it costs before that is noticed, a round takes no more than half as long again.
    _TIMES, _FREE = 0.35, 0.012
    sees_new_code, sees_threads = False, True

    def __init__(self, project: Project) -> None:
        super().__init__(project)
        self._inside: dict[int, CodeType] = {}
        """What ran apart from the test while it was recorded."""
        self._recording = False
        self._armed: Armed | None = None
        """``None``: no tool is free, or the session has ended."""
        self._timer: CallTimer | None = None
        self._cost = 0.0
        self._unread: set[str] = set()
        # Not those that debuggers, coverage, profilers and optimisers take for themselves.
        for tool in (4, 3):
            try:
                _monitoring.use_tool_id(tool, "pytest-joules")
            except ValueError:
                continue
            armed = self._armed = Armed(tool)
            break
        else:
            self.trouble = "no free tool id: other tools use sys.monitoring"
            return
        self._events = 0
        """Looks at the clock since :meth:`begin`, in events."""
        self._following = True
        """Lines are counted."""
        timer = CallTimer(armed, self.counted, self._look)
        self.overhead = timer.overhead
        started, line_begun = self._started(armed, timer), self._line_begun(armed, timer)
        callbacks: dict[int, Callable[..., object]] = {START: started, LINE: line_begun, JUMP: _on_jump(armed, line_begun)}
        for event, callback in callbacks.items():
            _monitoring.register_callback(armed.tool, event, callback)
        self._timer = timer
        self._cost = self._cost_of_event(armed)

    # What the interpreter calls while the project's code is recorded

    def _started(self, armed: Armed, timer: CallTimer) -> Callable[[CodeType, int], object]:
        """For each call."""
        counted, executed, quiet, waiting = self.counted, self.executed, armed.quiet, timer.waiting
        left = EVENTS

        def started(code: CodeType, offset: int) -> object:
            nonlocal left
            if waiting:
                timer.came_back()
            key = id(code)
            entry = counted.get(key)
            if entry is None:
                executed[key] = quiet[key] = code
                if not (self._recording and self.counting):
                    return _monitoring.DISABLE
                entry = counted[key] = armed.counted(code)
                if not self._following and not entry.straight:
                    _follow_no_more(armed, entry)
                elif not armed.timing:
                    armed.time_no_more(code)
            left -= 1
            if not left:
                left = EVENTS
                self._events += EVENTS
                self._look()
            calls = entry.calls = entry.calls + 1
            if (entry.timed or not entry.straight) and not entry.cut:
                if calls <= FOLLOWED:
                    entry.followed = calls
                elif calls == FOLLOWED + 1:
                    armed.follow_no_more(code)
            return None

        return started

    def _line_begun(self, armed: Armed, timer: CallTimer) -> Callable[[CodeType, int], object]:
        """For each line."""
        counted, disable, quiet, waiting = self.counted, _monitoring.DISABLE, armed.quiet, timer.waiting
        left = EVENTS

        def line_begun(code: CodeType, line: int) -> object:
            nonlocal left
            if waiting:
                timer.close(code)
            entry = counted.get(id(code))
            if entry is None:
                quiet[id(code)] = code
                return disable
            left -= 1
            if not left:
                left = EVENTS
                self._events += EVENTS
                self._look()
            if entry.straight:
                return None
            lines = entry.lines
            times = lines[line] = lines.get(line, 0) + 1
            return disable if times > MOST_OF_A_LINE else None

        return line_begun

    def _look(self) -> None:
        """What recording has cost until now, and whether it is to see less from now on."""
        if self._armed is None or self._timer is None:
            return
        left = self.bound.left(self._events * self._cost + self._timer.told * self._timer.cost)
        if left < 0.75 and self._armed.timing:
            self._timer.stop()
        if left < 0.5 and self._following:
            self._following = False
            for entry in list(self.counted.values()):
                if not entry.straight and entry.calls <= FOLLOWED:
                    _follow_no_more(self._armed, entry)
        elif left < 0 and self.counting:
            self.counting = False
            seen = {key: entry.code for key, entry in list(self.counted.items())}
            self.counted.clear()
            self._armed.disarm(seen)

    def _cost_of_event(self, armed: Armed) -> float:
        """Seconds of a call that is told of, measured now."""
        code = recording_cost.call.__code__
        armed.known(code, START)

        def switch(on: bool) -> None:
            self._recording = on
            self._afresh()
            _monitoring.set_local_events(armed.tool, code, START if on else 0)

        found = recording_cost.cost(recording_cost.calls, switch)
        for known in (armed.events, armed.quiet, self.executed, self.counted):
            known.clear()
        return found

    # Rounds

    def prepare(self) -> None:
        self._find()
        self._read()

    def begin(self, *, again: bool = False, most: float = MOST) -> None:
        super().begin(again=again, most=most)
        if self._armed is not None:
            self._armed.again(self.counted)
        if len(sys.modules) != self._loaded:
            self._find()
        self._read()
        self._recording = True
        self.bound.on()

    def _afresh(self, most: float = MOST) -> None:
        super()._afresh(most)
        self._events = 0
        self._following = True
        if self._timer is not None:
            self._timer.begin()

    def end(self) -> None:
        super().end()
        self.bound.off()
        self._recording = False
        if self._armed is not None:
            self._armed.disarm(self.executed | self._inside)
        self._inside.clear()
        self._find()

    def close(self) -> None:
        if self._armed is not None:
            self._armed.close()
            self._armed = None

    @contextmanager
    def apart(self) -> Iterator[dict[int, CodeType]]:
        quiet: dict[int, CodeType] = {}
        if self._timer is not None:
            self._timer.came_back()  # a call has led to the fixture
        if self._armed is not None:
            quiet.update(self._armed.quiet)
            self._armed.again(self.counted)
        self._find()
        # Only what runs is asked for: each function tells it once.
        recording, self._recording = self._recording, False
        try:
            with super().apart() as inside:
                yield inside
        finally:
            self._recording = recording
            self._find()
            if recording:
                self._inside.update(inside)
            if self._armed is not None and recording:
                self._armed.again(self.counted)
            elif self._armed is not None:
                # A fixture of a class is set up in every round of a function that is in none: such a round may be measured.
                self._armed.disarm(quiet | inside)

    # Which code

    def _find(self) -> None:
        """Note modules that are new here."""
        new = self._new_modules()
        self.imported += new.values()
        self._unread.update(new)

    def _read(self) -> None:
        """Set events on the functions of new modules: all of them, wherever decorators have put them. Takes some 10 ms."""
        if not self._unread or self._armed is None:
            return
        for value in gc.get_objects():
            if type(value) is FunctionType and value.__code__.co_filename in self._unread:
                self._watch(value.__code__)
        self._unread.clear()

    def _watch(self, code: CodeType) -> None:
        if self._armed is not None:
            self._armed.add(code, self.project)


def _on_jump(armed: Armed, line_begun: Callable[[CodeType, int], object]) -> Callable[[CodeType, int, int], object]:
    """A jump back to the same line is a line that begins."""

    def jumped(code: CodeType, offset: int, destination: int) -> object:
        line = armed.loops[id(code)].get(offset)
        if line is None:
            armed.quiet[id(code)] = code
            return _monitoring.DISABLE
        return line_begun(code, line)

    return jumped


def _follow_no_more(armed: Armed, entry: Counted) -> None:
    entry.cut = True
    armed.follow_no_more(entry.code)
