"""Recording from Python 3.12 on: by ``sys.monitoring``.

Events are set on the project's own code objects and on nothing else: pytest's code runs as ever. What runs in the warm-up round
is counted, and its events are off when the round has ended; of what runs later for the first time each event switches itself off.
Switching events on and off for all code instead would make the interpreter look at every code object again on both occasions
(2.4 µs each on the machine this was written on, 0.5 to 1 ms a test).

Counting costs several times what a small function does: where it becomes too dear, lines are no longer counted, and then calls
are not. Which functions run is seen all the same: each tells it once.
"""

from __future__ import annotations

import dis
import gc
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import CodeType, FunctionType

from pytest_joules.code import recording_cost
from pytest_joules.code.counting import FOLLOWED, MOST_OF_A_LINE, Counted, is_straight
from pytest_joules.code.project import Project
from pytest_joules.code.recorder import Recorder
from pytest_joules.code.recording_cost import EVENTS, MOST

assert sys.version_info >= (3, 12)

_monitoring = sys.monitoring
_START, _LINE, _JUMP = _monitoring.events.PY_START, _monitoring.events.LINE, _monitoring.events.JUMP


class _Armed:
    """Code objects of the project whose events are told of to ``tool``."""

    def __init__(self, tool: int) -> None:
        self.tool = tool
        self.events: dict[int, tuple[CodeType, int]] = {}
        """Code objects with the events that are theirs."""
        self.loops: dict[int, dict[int, int]] = {}
        """Lines of the backward jumps that stay on their line, by code object and instruction: no line event tells of those."""
        self.quiet: dict[int, CodeType] = {}
        """Code objects that have not all of their events now."""

    def add(self, code: CodeType, project: Project) -> None:
        """A code object and those inside it."""
        if id(code) in self.events:
            return
        events = _START
        if not is_straight(code) and project.relative(code.co_filename) is not None:
            events |= _LINE
            if loops := _loops_on_a_line(code):
                self.loops[id(code)] = loops
                events |= _JUMP
        self.events[id(code)] = code, events
        _monitoring.set_local_events(self.tool, code, events)
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self.add(constant, project)

    def again(self, counted: Mapping[int, Counted]) -> None:
        """All have the events that are theirs, but for what need not be followed further."""
        for key, code in self.quiet.items():
            entry = counted.get(key)
            followed = entry is not None and (entry.cut or entry.calls > FOLLOWED)
            _monitoring.set_local_events(self.tool, code, 0)
            _monitoring.set_local_events(self.tool, code, _START if followed else self.events[key][1])
        self.quiet.clear()

    def disarm(self, codes: Mapping[int, CodeType]) -> None:
        """Measured rounds come next: what was counted is told of no more."""
        for key, code in codes.items():
            self.quiet[key] = code
            _monitoring.set_local_events(self.tool, code, 0)

    def close(self) -> None:
        for code, _ in self.events.values():
            _monitoring.set_local_events(self.tool, code, 0)
        for event in (_START, _LINE, _JUMP):
            _monitoring.register_callback(self.tool, event, None)
        _monitoring.free_tool_id(self.tool)


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
        self._armed: _Armed | None = None
        """``None``: no tool is free, or the session has ended."""
        self._unread: set[str] = set()
        # Not those that debuggers, coverage, profilers and optimisers take for themselves.
        for tool in (4, 3):
            try:
                _monitoring.use_tool_id(tool, "pytest-joules")
            except ValueError:
                continue
            armed = self._armed = _Armed(tool)
            break
        else:
            self.trouble = "no free tool id: other tools use sys.monitoring"
            return
        self._events = 0
        """Looks at the clock since :meth:`begin`, in events."""
        self._following = True
        """Lines are counted."""
        started, line_begun = self._callbacks(armed)
        callbacks: dict[int, Callable[..., object]] = {_START: started, _LINE: line_begun, _JUMP: _on_jump(armed, line_begun)}
        for event, callback in callbacks.items():
            _monitoring.register_callback(armed.tool, event, callback)
        self._cost = 0.0
        self._cost = self._cost_of_event(armed)

    def _callbacks(self, armed: _Armed) -> tuple[Callable[[CodeType, int], object], Callable[[CodeType, int], object]]:
        """What the interpreter calls: for each call, and each line, of the project's code that runs while it is recorded."""
        counted, executed, disable = self.counted, self.executed, _monitoring.DISABLE
        tool, quiet = armed.tool, armed.quiet
        left = EVENTS

        def started(code: CodeType, offset: int) -> object:
            nonlocal left
            key = id(code)
            entry = counted.get(key)
            if entry is None:
                executed[key] = quiet[key] = code
                if not (self._recording and self.counting):
                    return disable
                entry = counted[key] = Counted(code, straight=armed.events[key][1] == _START)
                if not self._following and not entry.straight:
                    _follow_no_more(tool, code, entry)
            left -= 1
            if not left:
                left = EVENTS
                self._look()
            calls = entry.calls = entry.calls + 1
            if not entry.straight and not entry.cut:
                if calls <= FOLLOWED:
                    entry.followed = calls
                elif calls == FOLLOWED + 1:
                    _monitoring.set_local_events(tool, code, _START)
            return None

        def line_begun(code: CodeType, line: int) -> object:
            nonlocal left
            try:
                lines = counted[id(code)].lines
            except KeyError:
                quiet[id(code)] = code
                return disable
            left -= 1
            if not left:
                left = EVENTS
                self._look()
            times = lines[line] = lines.get(line, 0) + 1
            return disable if times > MOST_OF_A_LINE else None

        return started, line_begun

    def _look(self) -> None:
        """What recording has cost until now, and whether it is to see less from now on."""
        self._events += EVENTS
        left = self.bound.left(self._events * self._cost)
        if self._armed is None:
            return
        if left < 0.5 and self._following:
            self._following = False
            for entry in list(self.counted.values()):
                if not entry.straight and entry.calls <= FOLLOWED:
                    _follow_no_more(self._armed.tool, entry.code, entry)
        elif left < 0 and self.counting:
            self.counting = False
            seen = {key: entry.code for key, entry in list(self.counted.items())}
            self.counted.clear()
            self._armed.disarm(seen)

    def _cost_of_event(self, armed: _Armed) -> float:
        """Seconds of a call that is told of, measured now."""
        code = recording_cost.call.__code__
        armed.events[id(code)] = code, _START

        def switch(on: bool) -> None:
            self._recording = on
            self._afresh()
            _monitoring.set_local_events(armed.tool, code, _START if on else 0)

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


def _follow_no_more(tool: int, code: CodeType, entry: Counted) -> None:
    entry.cut = True
    _monitoring.set_local_events(tool, code, _START)


def _on_jump(armed: _Armed, line_begun: Callable[[CodeType, int], object]) -> Callable[[CodeType, int, int], object]:
    """A jump back to the same line is a line that begins."""

    def jumped(code: CodeType, offset: int, destination: int) -> object:
        line = armed.loops[id(code)].get(offset)
        if line is None:
            armed.quiet[id(code)] = code
            return _monitoring.DISABLE
        return line_begun(code, line)

    return jumped


_BACKWARD = frozenset(number for name, number in dis.opmap.items() if name.startswith("JUMP_BACKWARD"))


def _loops_on_a_line(code: CodeType) -> dict[int, int]:
    """By instruction, the line of each backward jump to an instruction of the same line."""
    if _BACKWARD.isdisjoint(code.co_code[::2]):
        return {}
    lines: dict[int, int] = {}
    jumps = []
    line = 0
    for step in dis.get_instructions(code):
        line = (step.positions.lineno if step.positions is not None else None) or line
        lines[step.offset] = line
        if step.opname.startswith("JUMP_BACKWARD"):
            jumps.append((step.offset, step.argval))
    return {offset: lines[offset] for offset, target in jumps if lines.get(target) == lines[offset]}
