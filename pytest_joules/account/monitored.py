"""Recording functions from Python 3.12 on: by ``sys.monitoring``, on the project's own code objects.

That a function ends by an exception is told for all code or none, so this is on only while rounds are traced.
"""

from __future__ import annotations

import gc
import sys
from _thread import get_ident
from collections.abc import Callable
from types import CodeType, FunctionType

from pytest_joules.account.events import CALLED, LEFT, RESUMED, Recorded
from pytest_joules.account.recorder import EVERY, OLD, Noted, name_of
from pytest_joules.clock import CLOCKS
from pytest_joules.code import recording_cost

assert sys.version_info >= (3, 12)

_monitoring = sys.monitoring
_EVENTS = _monitoring.events
#: What each event says.
_LOCAL = {_EVENTS.PY_START: CALLED, _EVENTS.PY_RESUME: RESUMED, _EVENTS.PY_RETURN: LEFT, _EVENTS.PY_YIELD: LEFT}
_GLOBAL = {_EVENTS.PY_THROW: RESUMED, _EVENTS.PY_UNWIND: LEFT}
_LOCAL_MASK, _GLOBAL_MASK = sum(_LOCAL), sum(_GLOBAL)

#: What recording may cost, of what a body takes without: the bar is a tenth.
SHARE = 0.04


class Monitored:
    """By events on the project's code objects."""

    def __init__(self, relative: Callable[[str], str | None]) -> None:
        self.trouble: str | None = None
        self._relative = relative
        self._noted = Noted(SHARE, self._fold)
        self._tool: int | None = None
        self._on = [False]
        self._loaded = -1
        self._own: dict[str, bool] = {}
        """By file, whether it is the project's."""
        self._measured = False

    @property
    def cut(self) -> bool:
        return self._noted.cut

    def arm(self, seconds: float) -> None:
        self.trouble = None
        # Not those of debuggers and coverage; the plugin's own recorder has 4, or 3.
        for tool in (3, 4, 2, 5):
            try:
                _monitoring.use_tool_id(tool, "pytest-joules account")
            except ValueError:
                continue
            self._tool = tool
            break
        else:
            self.trouble = "no free tool id: other tools use sys.monitoring"
            return
        for event, does in {**_LOCAL, **_GLOBAL}.items():
            _monitoring.register_callback(tool, event, self._callback(does))
        if not self._measured:
            self._noted.cost, self._measured = self._cost_of_event(tool), True
        if len(sys.modules) != self._loaded:
            self._find()
        self._noted.begin_test(seconds)
        for code in self._noted.codes.values():
            _monitoring.set_local_events(tool, code, _LOCAL_MASK)
        _monitoring.set_events(tool, _GLOBAL_MASK)

    def disarm(self) -> None:
        if self._tool is None:
            return
        tool, self._tool = self._tool, None
        _monitoring.set_events(tool, 0)
        for code in self._noted.codes.values():
            _monitoring.set_local_events(tool, code, 0)
        for event in (*_LOCAL, *_GLOBAL):
            _monitoring.register_callback(tool, event, None)
        _monitoring.free_tool_id(tool)

    def enter(self) -> None:
        self._noted.begin()
        self._on[0] = self._tool is not None

    def leave(self) -> Recorded:
        self._on[0] = False
        if self._tool is not None and _monitoring.get_tool(self._tool) != "pytest-joules account":
            self.trouble = "another tool took over its id of sys.monitoring"
        return self._noted.end(self._name)

    def remarks(self) -> list[str]:
        return self._noted.remarks(self._name)

    def _name(self, code: CodeType) -> str:
        return name_of(code, self._relative)

    def _callback(self, does: int) -> Callable[..., object]:
        """Runs so often that it looks up nothing twice."""
        noted, on = self._noted, self._on
        codes, due, append, look = noted.codes, noted.due, noted.events.append, noted.look
        wall, thread, process, ident = CLOCKS.wall, CLOCKS.thread, CLOCKS.cpu, get_ident
        left = EVERY

        def told(code: CodeType, offset: int, value: object = None) -> object:
            nonlocal left
            if not on[0]:
                return None
            key = id(code)
            if key not in codes:
                return None
            now, me = wall(), ident()
            if now > due.get(me, 0):
                due[me] = now + OLD
                append((now, me, key, does, (thread(), process()), 0))
            else:
                append((now, me, key, does, None, 0))
            left -= 1
            if not left:
                left = EVERY
                look()
            return None

        return told

    def _fold(self, key: int) -> None:
        if self._tool is not None:
            _monitoring.set_local_events(self._tool, self._noted.codes[key], 0)

    def _find(self) -> None:
        """The project's functions, wherever decorators have put them. Takes some 10 ms."""
        self._loaded = len(sys.modules)
        for value in gc.get_objects():
            if type(value) is FunctionType and self._is_own(value.__code__.co_filename):
                self._add(value.__code__)

    def _is_own(self, name: str) -> bool:
        known = self._own.get(name)
        if known is None:
            known = self._own[name] = self._relative(name) is not None
        return known

    def _add(self, code: CodeType) -> None:
        if id(code) in self._noted.codes:
            return
        self._noted.codes[id(code)] = code
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self._add(constant)

    def _cost_of_event(self, tool: int) -> float:
        code, noted = recording_cost.call.__code__, self._noted
        noted.codes[id(code)] = code
        noted.begin_test(3600.0)

        def switch(on: bool) -> None:
            noted.begin()
            self._on[0] = on
            _monitoring.set_local_events(tool, code, _LOCAL_MASK if on else 0)

        found = recording_cost.cost(recording_cost.calls, switch, events=2)
        del noted.codes[id(code)]
        return found
