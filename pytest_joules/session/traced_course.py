"""The rounds of a test whose account is wanted: the measured ones, then others in which its parts are recorded.

When the first traced round begins the measurement is made and closed: nothing of what follows can be in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytest_joules.account.tracer import Tracer
from pytest_joules.measure.course import Course
from pytest_joules.measure.regions import Energy
from pytest_joules.model import Measurement, Phase
from pytest_joules.rounds.net import described

#: Traced rounds may take so much of the time for a test, and of the limit that somebody else sets for all its rounds.
OF_TIME, OF_LIMIT = 0.25, 0.2
#: Of the limit for a single round, its body may have taken so much: traced it takes longer.
NEAR_LIMIT = 0.3


class TracedCourse(Course):
    """A course that goes on after the last measured round."""

    def __init__(
        self,
        nodeid: str,
        tracer: Tracer,
        energy: Energy,
        *,
        why_not: str,
        of_all: float | None,
        **named: Any,  # noqa: ANN401 - a course's own
    ) -> None:
        """``why_not``: no traced round is to follow; ``of_all``: seconds that somebody else allows all rounds together."""
        super().__init__(**named)
        self.account_notes: list[str] = []
        """Why there is no account, and what a reader of it must know."""
        self.begins: Callable[[], object] = lambda: None
        """Told when traced rounds follow."""
        self._nodeid = nodeid
        self._tracer = tracer
        self._energy = energy
        self._why_not = why_not
        self._of_all = of_all
        self._limit = named.get("limit")
        self._made: Measurement | None = None
        self._traced = False
        """The round that runs is a traced one."""
        self._put_back: Callable[[], None] | None = None

    @property
    def complete(self) -> bool:
        return self._made is not None

    @property
    def measuring(self) -> bool:
        return self._put_back is None and super().measuring

    def begin(self, phase: Phase) -> None:
        if phase == "setup" and self._put_back is not None:
            self._traced = True
        if not self._traced:
            super().begin(phase)

    def end(self, phase: Phase) -> None:
        if not self._traced:
            super().end(phase)

    def enter(self) -> None:
        if not self._traced:
            super().enter()
            return
        self._apart(self._tracer.enter)

    def leave(self) -> None:
        if not self._traced:
            super().leave()
            return
        self._apart(self._tracer.leave)

    def another(self) -> bool:
        if not self._traced:
            return super().another() or (self._put_back is None and self._turns())
        going_on = False
        try:
            going_on = self._tracer.another()
        except Exception as error:
            self.account_notes.append(described(error, "traced"))
        if not going_on:
            self.stop_tracing()
        return going_on

    def cut_off(self) -> None:
        if self._traced:
            self.stop_tracing()
        else:
            super().cut_off()

    def measurement(self, nodeid: str) -> Measurement | None:
        self.stop_tracing()
        if self._made is not None:
            return self._made
        if self._why_not:
            self.account_notes.append(f"no account: {self._why_not}")
        self.notes.extend(self.account_notes)
        self.account_notes = []
        return super().measurement(nodeid)

    def _turns(self) -> bool:
        """Close the measurement; whether traced rounds follow it."""
        if self.broken or self._why_not:
            return False
        try:
            return self._closed()
        except Exception as error:
            self.broken = self.broken or error
            return False

    def _closed(self) -> bool:
        made = super().measurement(self._nodeid)
        if made is None or made.duration is None or not self.measuring:
            return False
        self._made = made
        seconds = made.duration["median"] * made.iterations
        most = OF_TIME * self.effort.max_time
        if self._of_all is not None:
            most = min(most, OF_LIMIT * self._of_all)
        if (self._of_all is not None and seconds > most) or (self._limit is not None and seconds > NEAR_LIMIT * self._limit):
            self.account_notes.append(f"no account: too near its time limit of {self._of_all or self._limit:g} s")
            return False
        self._tracer.begin_test(seconds, most)
        self._put_back = self._energy.set_aside(self._tracer if self._tracer.is_told else None)
        self.begins()
        return True

    def close(self) -> None:
        self.stop_tracing()

    def stop_tracing(self) -> None:
        """However the traced rounds ended; harmless where there were none."""
        if self._put_back is None:
            return
        put_back, self._put_back = self._put_back, None
        self._apart(self._tracer.end_test)
        put_back()
        self.account_notes += self._tracer.notes

    def _apart(self, step: Callable[[], object]) -> None:
        """The test is not to notice what goes wrong beside it."""
        try:
            step()
        except Exception as error:
            self.account_notes.append(described(error, "traced"))
