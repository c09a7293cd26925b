"""The traced rounds of one test after the other: what each of them showed, and when it is enough."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pytest_joules.account.events import Recorded, timeline
from pytest_joules.account.in_sequence import Body, in_sequence
from pytest_joules.account.modules import Modules, is_model
from pytest_joules.account.power import Power
from pytest_joules.account.recorder import Functions
from pytest_joules.account.timeline import Timeline
from pytest_joules.account.traced_round import TracedRound
from pytest_joules.clock import CLOCKS

if TYPE_CHECKING:
    from pytest_joules.account.trace_events import Trace

#: Seconds of traced bodies that are enough for a counter that is read every 10 to 60 ms, in no fewer rounds than these where
#: there is time, and no more.
ENOUGH, LEAST, MOST = 1.5, 3, 200
#: Events of a test, all rounds together.
MOST_EVENTS = 600_000
#: Seconds of a body from which on the counter is read often enough while it runs.
SHORT = 0.2
#: By how much what an event costs is believed to differ from what was found beforehand.
_LEAST_COST, _MOST_COST = 0.5, 2.5
#: Rounds besides, where functions were left out in the first ones.
_CUT = 5


@dataclass(slots=True)
class _Body:
    begin: int
    end: int
    recorded: Recorded
    file: Timeline | None
    """What a trace file says of it."""
    cut: bool
    """It cost more than it may, until functions were left out."""


def functions(relative: Callable[[str], str | None]) -> Functions:
    """The way to record them that this Python offers. ``relative``: the path of a project's file; ``None`` of any other."""
    if sys.version_info >= (3, 12):
        from pytest_joules.account.monitored import Monitored

        return Monitored(relative)
    from pytest_joules.account.profiled import Profiled

    return Profiled(relative)


class Tracer:
    """Records functions, or the modules and the trace file that a test names."""

    def __init__(
        self, recorder: Functions | Modules, read: Callable[[str], Trace], quiesce: Callable[[], object] | None = None
    ) -> None:
        """``read``: a trace file, or raises ``ValueError`` or ``OSError``; ``quiesce``: waits for work that was started."""
        self.notes: list[str] = []
        """On the test that runs or ran last."""
        self._recorder = recorder
        self._read = read
        self._quiesce = quiesce
        self._bodies: list[_Body] = []
        self._body: _Body | None = None
        self._file: str | None = None
        self._begun = self._until = 0
        self._seconds = 0.0
        self._armed = False

    @property
    def what(self) -> Literal["functions", "modules", "operations"]:
        """What the parts of the last test are."""
        if not isinstance(self._recorder, Modules):
            return "functions"
        return "operations" if any(body.file is not None for body in self._bodies) else "modules"

    @property
    def is_told(self) -> bool:
        """Tests name what is recorded."""
        return isinstance(self._recorder, Modules)

    @property
    def named_nothing(self) -> bool:
        """The test has no part that could be recorded: it names none."""
        return isinstance(self._recorder, Modules) and not self._recorder.models and self._file is None

    def begin_test(self, seconds: float, most: float) -> None:
        """Traced rounds follow: of a body that takes ``seconds``, in ``most`` seconds."""
        self.notes, self._bodies, self._body = [], [], None
        self._begun, self._seconds = CLOCKS.wall(), seconds
        self._until = self._begun + int(most * 1e9)
        self._armed = True
        if isinstance(self._recorder, Modules):
            self._recorder.notes = self.notes
        else:
            self._recorder.arm(seconds)

    def trace(self, what: object) -> None:
        """The test names a model, or a file. Of functions there is nothing to name."""
        if not isinstance(self._recorder, Modules):
            return
        if is_model(what):
            self._recorder.trace(what)
        else:
            self._file = os.fspath(what)  # type: ignore[call-overload]  # its type was looked at

    def enter(self) -> None:
        """A body begins."""
        self._body = self._file = None
        begin = CLOCKS.wall()
        self._recorder.enter()
        self._body = _Body(begin, 0, Recorded((), {}, {}), None, cut=False)

    def leave(self) -> None:
        """It has ended, however that went."""
        if self._quiesce is not None:
            self._quiesce()
        recorded = self._recorder.leave()
        if self._body is not None:
            self._body.end, self._body.recorded = CLOCKS.wall(), recorded

    def another(self) -> bool:
        """After a call that passed: whether another traced round is to follow."""
        body, self._body = self._body, None
        if body is None or not body.end:
            self._say("its body was not seen")
            return False
        if not isinstance(self._recorder, Modules):
            body.cut = self._recorder.cut
            if self._recorder.trouble is not None:
                self._say(self._recorder.trouble)
                self._bodies.clear()
                return False
        elif self.named_nothing or not self._take_file(body):
            return False
        self._bodies.append(body)
        return self._goes_on()

    def _goes_on(self) -> bool:
        bodies = [body for body in self._bodies if not body.cut]
        now = CLOCKS.wall()
        longest = (now - self._begun) / len(self._bodies)
        if now + longest > self._until or sum(len(body.recorded.events) for body in self._bodies) > MOST_EVENTS:
            return False
        if len(bodies) < LEAST:
            return len(self._bodies) < LEAST + _CUT
        return len(bodies) < MOST and sum(body.end - body.begin for body in bodies) < ENOUGH * 1e9

    def _take_file(self, body: _Body) -> bool:
        """Read what the test has written; whether that is of use."""
        if self._file is None:
            return True
        if isinstance(self._recorder, Modules) and self._recorder.models:
            self._say(f"energy.trace({self._file!r}) is left out: the test names a model too")
            return True
        try:
            trace = self._read(self._file)
        except (ValueError, OSError) as error:
            self._say(f"energy.trace({self._file!r}): {error}")
            return False
        body.file = trace.timeline
        for note in trace.notes:
            self._say(note)
        return True

    def end_test(self) -> None:
        """No traced round follows; also where one did not come to its end. Nothing is recorded from now on."""
        if not self._armed:
            return
        self._armed, self._body = False, None
        if not isinstance(self._recorder, Modules):
            self._recorder.disarm()
            self.notes += self._recorder.remarks()

    def rounds(self, powers: Callable[[int, int], Sequence[Power]]) -> list[TracedRound]:
        """What the traced rounds of the last test showed: those in which nothing had to be left out, where there are any."""
        bodies = [body for body in self._bodies if not body.cut] or self._bodies
        if not bodies:
            return []
        left_out, factor = self._bodies[-1].recorded.left_out, self._dearer(bodies)
        showed = [
            Body(
                body.file if body.file is not None else timeline(_costing(body.recorded, factor, left_out)),
                body.begin,
                body.end,
                *body.recorded.process_seconds,
            )
            for body in bodies
        ]
        together = _together(bodies)
        groups = [showed[number : number + together] for number in range(0, len(showed), together)]
        return [
            TracedRound(in_sequence(group), powers(group[0].begin, group[-1].end), group[0].begin, group[-1].end, len(group))
            for group in groups
        ]

    def _dearer(self, bodies: Sequence[_Body]) -> float:
        """By how much recording has cost more than it was found to: what the bodies took longer than measured ones tells it."""
        found = sum(body.recorded.cost for body in bodies)
        more = sum(body.end - body.begin for body in bodies) / 1e9 - len(bodies) * self._seconds
        return min(max(more / found, _LEAST_COST), _MOST_COST) if found > 0 else 1.0

    def forget(self) -> None:
        """What the last test's rounds showed has been used."""
        self._bodies = []

    def _say(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


def _together(bodies: Sequence[_Body]) -> int:
    """How many bodies are looked at as one."""
    if sum(body.end - body.begin for body in bodies) >= SHORT * len(bodies) * 1e9:
        return 1
    span = (bodies[-1].end - bodies[0].begin) / 1e9
    return math.ceil(len(bodies) / (4 if span > 1 else 2))


def _costing(recorded: Recorded, factor: float, left_out: Collection[object]) -> Recorded:
    return replace(recorded, left_out=left_out, dearer=factor)
