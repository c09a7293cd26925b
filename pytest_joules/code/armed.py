"""Code objects of the project, and which events of ``sys.monitoring`` are set on them."""

from __future__ import annotations

import dis
import sys
from collections.abc import Mapping
from types import CodeType
from typing import Any

from pytest_joules.code.bytecode import is_resumed
from pytest_joules.code.callees import has_calls
from pytest_joules.code.counting import FOLLOWED, Counted, is_straight
from pytest_joules.code.project import Project

#: ``sys.monitoring``: whoever imports this asks first whether it is there.
monitoring: Any = getattr(sys, "monitoring", None)
_events = monitoring.events
START, LINE, JUMP = _events.PY_START, _events.LINE, _events.JUMP
CALL, C_RETURN, C_RAISE = _events.CALL, _events.C_RETURN, _events.C_RAISE
RETURN, YIELD, RESUME = _events.PY_RETURN, _events.PY_YIELD, _events.PY_RESUME


class Armed:
    """Code objects of the project whose events are told of to ``tool``."""

    def __init__(self, tool: int) -> None:
        self.tool = tool
        self.timing = True
        """Calls out of the project are told of."""
        self.events: dict[int, tuple[CodeType, int, int, int]] = {}
        """Code objects with the events of one whose calls out of the project are timed, of one whose lines are counted, and of
        one whose calls are."""
        self.loops: dict[int, dict[int, int]] = {}
        """Lines of the backward jumps that stay on their line, by code object and instruction: no line event tells of those."""
        self.quiet: dict[int, CodeType] = {}
        """Code objects that have not all of their events now."""

    def add(self, code: CodeType, project: Project) -> None:
        """A code object and those inside it."""
        if id(code) in self.events:
            return
        least = lines = START
        inside = project.relative(code.co_filename) is not None
        if inside and not is_straight(code):
            lines |= LINE
            if loops := _loops_on_a_line(code):
                self.loops[id(code)] = loops
                lines |= JUMP
        every = lines
        if inside and has_calls(code):
            every |= CALL | LINE | RETURN
        if inside and is_resumed(code):
            # Whoever resumes it has come back into the project.
            least, every = least | RESUME, every | RESUME | YIELD
        self.known(code, every, lines, least)
        monitoring.set_local_events(self.tool, code, every)
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self.add(constant, project)

    def known(self, code: CodeType, every: int, lines: int = START, least: int = START) -> None:
        self.events[id(code)] = code, every, lines, least

    def counted(self, code: CodeType) -> Counted:
        """A new count of it."""
        _, every, lines, _ = self.events[id(code)]
        return Counted(code, straight=not lines & LINE, timed=bool(self.timing and every & CALL))

    def again(self, counted: Mapping[int, Counted]) -> None:
        """All have the events that are theirs, but for what need not be followed further."""
        for key, code in self.quiet.items():
            entry = counted.get(key)
            monitoring.set_local_events(self.tool, code, 0)
            if entry is not None and (entry.cut or entry.calls > FOLLOWED):
                self.follow_no_more(code)
            elif self.timing:
                monitoring.set_local_events(self.tool, code, self.events[key][1])
            else:
                self.time_no_more(code)
        self.quiet.clear()

    def time_no_more(self, code: CodeType) -> None:
        """Its lines are told of, its calls out of the project are not."""
        monitoring.set_local_events(self.tool, code, self.events[id(code)][2])

    def follow_no_more(self, code: CodeType) -> None:
        """It is told of that it is called."""
        _, _, _, least = self.events[id(code)]
        monitoring.set_local_events(self.tool, code, least if self.timing else START)

    def disarm(self, codes: Mapping[int, CodeType]) -> None:
        """Measured rounds come next: what was counted is told of no more."""
        for key, code in codes.items():
            self.quiet[key] = code
            monitoring.set_local_events(self.tool, code, 0)

    def close(self) -> None:
        for code, *_ in self.events.values():
            monitoring.set_local_events(self.tool, code, 0)
        for event in (START, LINE, JUMP, CALL, C_RETURN, C_RAISE, RETURN, YIELD, RESUME):
            monitoring.register_callback(self.tool, event, None)
        monitoring.free_tool_id(self.tool)


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
