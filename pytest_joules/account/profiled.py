"""Recording functions before Python 3.12: by a profile function, which is told of every call, those of C functions too.

A function that is left out is told of all the same: where that alone is too dear, recording ends.
"""

from __future__ import annotations

import sys
import threading
from _thread import get_ident
from collections.abc import Callable
from types import CodeType, FrameType

from pytest_joules.account.events import CALLED, LEFT, RESUMED, Recorded
from pytest_joules.account.recorder import EVERY, OLD, Noted, name_of
from pytest_joules.clock import CLOCKS
from pytest_joules.code import recording_cost
from pytest_joules.code.bytecode import resumed_at

#: What noting events may cost, of what a body takes without; and how many times its time recording in all, before that ends.
SHARE, END = 0.1, 4.0
#: From so much on, a reader is told.
SAID = 0.25


_get_profile, _set_profile = sys.getprofile, sys.setprofile


class Profiled:
    """By a profile function that is on in bodies only."""

    def __init__(self, relative: Callable[[str], str | None]) -> None:
        self.trouble: str | None = None
        self._relative = relative
        self._noted = Noted(SHARE, self._fold)
        self._begins: dict[int, int | None] = {}
        """By code object: its first instruction, where it is resumed; ``None`` for any other; -2: it is not told of."""
        self._kept: list[CodeType] = []
        """What ``_begins`` has identities of."""
        self._measured = False
        self._begun = self._begun_cpu = self._dear = 0
        self._seconds = self._dearest = 0.0
        self._silent = 0
        """Nanoseconds that being told of what is no event had taken when the body began."""
        self._see = self._profile()

    @property
    def cut(self) -> bool:
        return self._noted.cut

    def arm(self, seconds: float) -> None:
        self.trouble = None
        if not self._measured and _get_profile() is None:
            self._measure()
        for key in self._noted.folded:
            self._begins[key] = resumed_at(self._noted.codes[key])
        self._noted.begin_test(seconds)
        self._seconds, self._dearest = seconds, 0.0

    def disarm(self) -> None:
        pass

    def enter(self) -> None:
        self._noted.begin()
        self._dear = 0
        self._begun, self._begun_cpu, self._silent = CLOCKS.wall(), CLOCKS.cpu(), self._noted.silent()
        if _get_profile() is not None:
            self.trouble = "another profiler is active"
            return
        threading.setprofile(self._see)
        _set_profile(self._see)

    def leave(self) -> Recorded:
        if _get_profile() is self._see:
            _set_profile(None)
        elif self.trouble is None:
            self.trouble = "another profiler took over"
        if getattr(threading, "_profile_hook", None) is self._see:
            threading.setprofile(None)  # type: ignore[arg-type, unused-ignore]  # none from now on
        self._dearest = max(self._dearest, self._times())
        return self._noted.end(self._name)

    def remarks(self) -> list[str]:
        said = self._noted.remarks(self._name)
        if self._dearest > SAID:
            said.append(
                f"traced rounds took about {1 + self._dearest:.1f} times as long: what calls much is less certain than it looks"
            )
        return said

    def _name(self, code: CodeType) -> str:
        return name_of(code, self._relative)

    def _profile(self) -> Callable[[FrameType, str, object], object]:
        noted, begins, new = self._noted, self._begins, self._new
        due, append = noted.due, noted.events.append
        wall, thread, process, ident = CLOCKS.wall, CLOCKS.thread, CLOCKS.cpu, get_ident
        told = silent = of_c = of_python = 0
        unseen = -3

        def profile(frame: FrameType, event: str, argument: object) -> object:
            nonlocal told, silent
            told += 1
            if not told & (EVERY - 1):
                self._look()
            if event == "call":
                does = CALLED
            elif event == "return":
                does = LEFT
            else:
                silent += of_c
                return None
            key = id(frame.f_code)
            begin = begins.get(key, unseen)
            if begin == -3:
                begin = new(frame.f_code)
            if begin == -2:
                silent += of_python
                return None
            if does == CALLED and begin is not None and frame.f_lasti > begin:
                does = RESUMED
            now, me = wall(), ident()
            if now > due.get(me, 0):
                due[me] = now + OLD
                append((now, me, key, does, (thread(), process()), silent))
            else:
                append((now, me, key, does, None, silent))
            return None

        def silent_until_now() -> int:
            return silent

        def learn(c: float, python: float) -> None:
            nonlocal of_c, of_python
            of_c, of_python = round(c * 1e9), round(python * 1e9)

        noted.silent, self._learn = silent_until_now, learn
        return profile

    def _new(self, code: CodeType) -> int | None:
        key = id(code)
        self._kept.append(code)
        own = code.co_name != "<module>" and self._relative(code.co_filename) is not None
        self._begins[key] = resumed_at(code) if own else -2
        if own:
            self._noted.codes[key] = code
        return self._begins[key]

    def _look(self) -> None:
        self._noted.look()
        # CPU time too: a body that had to wait for a busy machine is no dearer for it.
        taken = min(CLOCKS.wall() - self._begun, CLOCKS.cpu() - self._begun_cpu) / 1e9
        # The one by what was measured of the recorder, the other by what was measured of the body.
        if self._times() > END or (taken > (1 + END) * self._seconds and self._times() > SAID):
            self._dear += 1
        # Once may be what else the machine did just then.
        if self._dear > 1:
            self.trouble = self.trouble or "too many calls to trace them before Python 3.12"
            threading.setprofile(None)  # type: ignore[arg-type, unused-ignore]  # none from now on
            _set_profile(None)

    def _times(self) -> float:
        """What recording has cost in this body, in times of what it takes without."""
        spent = (self._noted.silent() - self._silent) / 1e9 + len(self._noted.events) * self._noted.cost
        taken = (CLOCKS.wall() - self._begun) / 1e9
        return spent / max(taken - spent, self._seconds, 1e-9)

    def _measure(self) -> None:
        """What it costs to be told, and to note."""
        noted, self._measured = self._noted, True
        code = recording_cost.call.__code__
        self._kept.append(code)

        def switch(on: bool) -> None:
            noted.begin()
            self._begun, self._begun_cpu = CLOCKS.wall(), CLOCKS.cpu()
            _set_profile(self._see if on else None)

        self._seconds = 3600.0
        noted.begin_test(3600.0)
        self._begins[id(code)] = None
        noted.cost = recording_cost.cost(recording_cost.calls, switch, events=2)
        # Left out: a frame is made for it all the same, but for a function of C.
        self._begins[id(code)] = -2
        self._learn(recording_cost.cost(_c_calls, switch, events=2), recording_cost.cost(recording_cost.calls, switch, events=2))

    def _fold(self, key: int) -> None:
        self._begins[key] = -2


def _c_calls(times: int) -> None:
    for _ in range(times):
        len(())
