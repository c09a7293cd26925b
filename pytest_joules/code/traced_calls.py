"""Calls out of the project, timed by a trace function that is told of every instruction (Python 3.11).

A call lasts from its instruction to whatever comes next in its frame. What it calls is not seen; where a function of the project
begins meanwhile, its name is noted, and what that means is told where the callee's name is known. The calls of Python functions
outside of the project, each of which asks the trace function, are taken off; that their own instructions run more slowly while
anything traces is not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from statistics import median
from threading import get_ident
from types import CodeType, FrameType

from pytest_joules.clock import CLOCKS
from pytest_joules.code import recording_cost
from pytest_joules.code.callees import call_places, has_calls
from pytest_joules.code.counting import FOLLOWED, Counted, Site
from pytest_joules.code.recording_cost import EVENTS

#: The instructions of a line are told of when it is begun so often at most; later ones are taken to be like them.
_MOST_TURNS = 256
#: Runs of the trial of which the middle one counts, and calls in each.
_RUNS, _CALLS = 9, 200

See = Callable[[FrameType, str, object], object]


class CallTimer:
    """Of one recorder."""

    def __init__(self, look: Callable[[], None]) -> None:
        """``look`` is called once in a while, to tell what recording has cost."""
        self._look = look
        self.on = False
        self.told = 0
        """Instructions that were told of since this was last set to 0, in steps."""
        self.others = 0
        """Calls of functions outside of the project."""
        self.cost_of_other = 0.0
        """Nanoseconds by which each of these takes longer."""
        self.waiting: dict[int, tuple[FrameType, Site, int, int]] = {}
        """By thread, a call that has not ended: its frame, its site, when it began, and ``others`` then."""
        self._places: dict[int, tuple[CodeType, dict[int, int]]] = {}
        self.overhead = 0.0
        """Nanoseconds by which a call seems longer than it is."""
        self.cost = 0.0
        """Seconds that an instruction takes longer where it is told of."""

    def takes(self, code: CodeType) -> bool:
        """Whether the calls of this code can be timed."""
        return self.on and has_calls(code)

    def begin(self) -> None:
        """A round is recorded from now on. Before 3.11 no instruction tells where it stands in the source."""
        self.on = sys.version_info >= (3, 11)
        self.told = 0
        self.waiting.clear()

    def stop(self, counted: dict[int, Counted]) -> None:
        """It has become too dear: what comes is taken to be like what was timed until now."""
        self.on = False
        for entry in list(counted.values()):
            if entry.timed and entry.calls <= FOLLOWED:
                _time_no_more(entry)
        self.waiting.clear()

    def entered(self, code: CodeType) -> None:
        """A function of the project begins or goes on while a call waits: it is what was called, or the call came back."""
        if (call := self.waiting.pop(get_ident(), None)) is not None:
            names = call[1].entered
            names[code.co_name] = names.get(code.co_name, 0) + 1

    def came_back(self) -> None:
        """A call that waits leads to what is recorded apart."""
        if (call := self.waiting.pop(get_ident(), None)) is not None:
            call[1].returned += 1

    def follow(self, frame: FrameType, entry: Counted, line: See | None) -> See:
        """The trace function of a frame: ``line`` is told of what it is about."""
        frame.f_trace_opcodes = True
        places, sites = self._calls(frame.f_code), entry.sites
        waiting, thread, clock = self.waiting, get_ident, CLOCKS.wall

        def timed(frame: FrameType, event: str, argument: object) -> object:
            now = clock()
            call = waiting.get(thread()) if waiting else None
            if call is not None and call[0] is frame:
                del waiting[thread()]
                site = call[1]
                site.calls += 1
                site.nanoseconds += max(now - call[2] - round((self.others - call[3]) * self.cost_of_other), 0)
            if event != "opcode":
                if line is not None:
                    line(frame, event, argument)
                    if event == "line":
                        self._begun(frame, entry)
                return timed
            seen = entry.instructions = entry.instructions + 1
            if not seen % EVENTS:
                self.told += EVENTS
                self._look()
            if not (self.on and entry.timed):
                frame.f_trace_opcodes = False
            elif frame.f_lasti in places:
                new = sites.get(frame.f_lasti)
                if new is None:
                    new = sites[frame.f_lasti] = Site()
                waiting[thread()] = frame, new, clock(), self.others
            return timed

        return timed

    def _begun(self, frame: FrameType, entry: Counted) -> None:
        """A line is: whether its instructions are told of."""
        line = frame.f_lineno
        turns = entry.lines.get(line, 0)
        frame.f_trace_opcodes = turns <= _MOST_TURNS and self.on and entry.timed
        if turns == _MOST_TURNS + 1:
            places = self._calls(frame.f_code)
            for offset in [offset for offset in entry.sites if places[offset] == line]:
                entry.time_no_more(offset, _MOST_TURNS / turns)

    def _calls(self, code: CodeType) -> dict[int, int]:
        """The lines of the instructions that call."""
        known = self._places.get(id(code))
        if known is None:
            known = self._places[id(code)] = code, call_places(code)
        return known[1]

    def measure(self, switch: Callable[[bool], None], entry: Callable[[], Counted]) -> None:
        """What timing costs, and what of that is in what it finds; of calls that take next to nothing, now. ``switch`` switches
        the trace function on and off, ``entry`` has what it counted of :func:`recording_cost.c_calls`."""
        nothing, alone, timed, found, told = [], [], [], [], []
        for _ in range(_RUNS):
            nothing.append(recording_cost.duration(recording_cost.no_calls, _CALLS))
            alone.append(recording_cost.duration(recording_cost.c_calls, _CALLS))
            switch(True)
            timed.append(recording_cost.duration(recording_cost.c_calls, _CALLS))
            switch(False)
            counted = entry()
            sites = counted.sites.values()
            told.append(counted.instructions)
            found.append(sum(site.nanoseconds for site in sites) / max(sum(site.calls for site in sites), 1))
        of_call = max(median(alone) - median(nothing), 0) / _CALLS
        self.overhead = max(median(found) - of_call, 0.0)
        self.cost = max(median(timed) - median(alone), 0) / max(median(told), 1) / 1e9


def _time_no_more(entry: Counted) -> None:
    for offset in list(entry.sites):
        entry.time_no_more(offset)
    entry.timed = False
