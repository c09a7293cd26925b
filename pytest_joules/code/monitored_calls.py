"""Calls out of the project, timed by ``sys.monitoring`` (Python 3.12 on).

A call of a C function or a class is told of at its beginning and its end. Of a Python function only the beginning is: it has
ended when the next thing is told of the code that called it. Where code of the project runs meanwhile, the call has come back.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from threading import get_ident
from types import CodeType, FunctionType, MethodType

from pytest_joules.clock import CLOCKS
from pytest_joules.code import recording_cost
from pytest_joules.code.armed import C_RAISE, C_RETURN, CALL, RESUME, RETURN, START, YIELD, Armed, monitoring
from pytest_joules.code.counting import FOLLOWED, MOST_AT_A_SITE, Counted, Site
from pytest_joules.code.recording_cost import EVENTS

#: Runs of the trial of which the middle one counts, and calls in each.
_RUNS, _CALLS = 9, 200


class CallTimer:
    """Of one recorder: what it has ``counted``, by code object, gets its sites."""

    def __init__(self, armed: Armed, counted: dict[int, Counted], look: Callable[[], None]) -> None:
        """``look`` is called once in a while, to tell what recording has cost."""
        self._armed = armed
        self._counted = counted
        self._look = look
        self.told = 0
        """Calls that were told of since this was last set to 0, in steps; what else is told of them counts half."""
        self._others = 2 * EVENTS
        self.waiting: dict[int, tuple[CodeType, int, Site, int]] = {}
        """By thread, a call that has not ended: by which instruction of which code object, its site, when it began."""
        called, ended = self._called(), self._ended()
        for event, callback in ((CALL, called), (C_RETURN, ended), (C_RAISE, ended)):
            monitoring.register_callback(armed.tool, event, callback)
        for event, callback in ((RETURN, self._left), (YIELD, self._left), (RESUME, self._resumed)):
            monitoring.register_callback(armed.tool, event, callback)
        self.overhead = 0.0
        """Nanoseconds by which a call seems longer than it is."""
        self.cost = 0.0
        """Seconds that a call takes longer where it is timed."""
        self._try()

    def _called(self) -> Callable[..., object]:
        """For each call that begins; it runs so often that it looks up nothing twice."""
        counted, waiting, projects = self._counted, self.waiting, self._armed.events
        clock, thread, disable, most = CLOCKS.wall, get_ident, monitoring.DISABLE, MOST_AT_A_SITE
        left = EVENTS

        def called(code: CodeType, offset: int, function: object, first: object) -> object:
            nonlocal left
            if waiting:
                self.close(code)
            entry = counted.get(id(code))
            if entry is None:
                self._armed.quiet[id(code)] = code
                return disable
            left -= 1
            if not left:
                left = EVENTS
                self.told += EVENTS
                self._look()
                if not self._armed.timing:
                    return None
            site = entry.sites.get(offset)
            if site is None:
                site = entry.sites[offset] = Site()
            seen = site.seen = site.seen + 1
            if seen > most:
                entry.time_no_more((site,), MOST_AT_A_SITE / seen)
                return disable
            kind = type(function)
            if kind is MethodType:
                function = function.__func__  # type: ignore[attr-defined]  # its type was asked above
                kind = type(function)
            if kind is not FunctionType or id(function.__code__) not in projects:  # type: ignore[attr-defined]  # as above
                waiting[thread()] = code, offset, site, clock()
            return None

        return called

    def _ended(self) -> Callable[..., object]:
        """For each call of a C function or a class that ends."""
        waiting, clock, thread = self.waiting, CLOCKS.wall, get_ident

        def ended(code: CodeType, offset: int, function: object, first: object) -> None:
            now = clock()
            call = waiting.pop(thread(), None) if waiting else None
            if call is None:
                return
            there, place, site, begun = call
            if place == offset and there is code:
                site.calls += 1
                site.nanoseconds += now - begun
            else:
                self._close(call, code, now)

        return ended

    def close(self, code: CodeType) -> None:
        """Something of this code is told of: a call that waits for its end, in this thread, has ended."""
        now = CLOCKS.wall()
        if (call := self.waiting.pop(get_ident(), None)) is not None:
            self._close(call, code, now)

    def _close(self, call: tuple[CodeType, int, Site, int], code: CodeType, now: int) -> None:
        there, _, site, begun = call
        # It raised, and what called it ended so too: who knows what has run since, if that was not called by the project.
        if there is not code and any(other.returned for other in self._counted_sites(code)):
            site.returned += 1
            return
        site.calls += 1
        site.nanoseconds += now - begun

    def _counted_sites(self, code: CodeType) -> list[Site]:
        entry = self._counted.get(id(code))
        return [*entry.sites.values()] if entry is not None else []

    def came_back(self) -> None:
        """Code of the project begins, though the call that waits has not ended."""
        if (call := self.waiting.pop(get_ident(), None)) is not None:
            call[2].returned += 1

    def _left(self, code: CodeType, offset: int, value: object) -> object:
        if self.waiting:
            self.close(code)
        return self._goes_on(code)

    def _resumed(self, code: CodeType, offset: int) -> object:
        if self.waiting:
            self.came_back()
        return self._goes_on(code)

    def _goes_on(self, code: CodeType) -> object:
        if id(code) not in self._counted:
            self._armed.quiet[id(code)] = code
            return monitoring.DISABLE
        self._others -= 1
        if not self._others:
            self._others = 2 * EVENTS
            self.told += EVENTS
            self._look()
        return None

    def enough(self, entry: Counted) -> None:
        """What was timed of this function stands for its other calls, of which one begins."""
        entry.time_no_more(list(entry.sites.values()))
        entry.timed = False
        if entry.straight:
            self._armed.follow_no_more(entry.code)
        else:
            entry.followed = entry.calls
            self._armed.time_no_more(entry.code)

    def begin(self) -> None:
        """A round is recorded from now on."""
        self._armed.timing = True
        self.told = 0
        self.waiting.clear()

    def stop(self) -> None:
        """It has become too dear: what comes is taken to be like what was timed until now."""
        armed = self._armed
        armed.timing = False
        for key, entry in list(self._counted.items()):
            _, every, lines, least = armed.events[key]
            if entry.cut or entry.calls > FOLLOWED:
                if least != START:
                    armed.follow_no_more(entry.code)
            elif every != lines:
                entry.time_no_more(list(entry.sites.values()))
                armed.time_no_more(entry.code)
            entry.timed = False
        self.waiting.clear()

    def _try(self) -> None:
        """What timing costs, and what of that is in what it finds; of calls that take next to nothing, now."""
        code = recording_cost.c_calls.__code__
        self._armed.known(code, CALL)
        entry = self._counted[id(code)] = Counted(code, timed=True)
        nothing, alone, timed, found = [], [], [], []
        for _ in range(_RUNS):
            nothing.append(recording_cost.duration(recording_cost.no_calls, _CALLS))
            alone.append(recording_cost.duration(recording_cost.c_calls, _CALLS))
            monitoring.set_local_events(self._armed.tool, code, CALL)
            timed.append(recording_cost.duration(recording_cost.c_calls, _CALLS))
            monitoring.set_local_events(self._armed.tool, code, 0)
            found.append(sum(site.nanoseconds / _CALLS for site in entry.sites.values()))
            entry.sites.clear()
        of_call = max(median(alone) - median(nothing), 0) / _CALLS
        self.overhead = max(median(found) - of_call, 0.0)
        self.cost = max(median(timed) - median(alone), 0) / _CALLS / 1e9
        for known in (self._armed.events, self._armed.quiet, self._counted):
            known.pop(id(code), None)
