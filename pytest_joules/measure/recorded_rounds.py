"""Which of a test's rounds are recorded. A recorded round takes longer than a plain one, so it is never a sample."""

from __future__ import annotations

from typing import Protocol

from pytest_joules.clock import CLOCKS
from pytest_joules.model import Phase

#: Where so many rounds are measured, one more goes first: it counts what runs when caches are warm.
COUNTED_APART = 10
#: Seconds of a body that is not run once more for that.
TOO_LONG = 0.5
#: Recording a round may take so much of the time for a test, and of the limit that somebody sets for it.
OF_TIME, OF_LIMIT = 0.25, 0.05
#: Seconds that recording may add to a test that runs once.
MOST_SECONDS = 2.5


class Recording(Protocol):
    """Notes what a round executes."""

    def begin(self, *, again: bool, most: float) -> None:
        """A round to record; ``again``: another one of the same test. It may become ``most`` seconds longer."""

    def end(self) -> None: ...
    def enter(self) -> None: ...
    def leave(self) -> None: ...
    def much_ran(self) -> bool:
        """Whether it matters if a round's caches are warm."""


class RecordedRounds:
    """Has the first round recorded, and where it matters another one, in which what runs is counted anew."""

    def __init__(self, recording: Recording | None, max_time: float, limit: float | None) -> None:
        """``max_time``: seconds for the test; ``limit``: that somebody else allows a round."""
        self.number = 0
        """Rounds that were recorded."""
        self.traced = False
        """The round that runs or ran last is recorded."""
        self._now = recording
        self._next: Recording | None = None
        self._most = min(OF_TIME * max_time, OF_LIMIT * limit if limit else 1.0)

    def begin(self) -> None:
        """A round begins."""
        self.traced = self._now is not None
        if self._now is not None:
            self._now.begin(again=self.number > 0, most=self._most)
            self.number += 1

    def enter(self) -> None:
        if self._now is not None:
            self._now.enter()

    def leave(self) -> None:
        if self._now is not None:
            self._now.leave()

    def end(self) -> None:
        """A round ends."""
        if self._now is not None:
            self._now.end()
            self._now, self._next = self._next, None

    def counts_anew(self, seconds: float, *, warmups_left: int, rounds: int | None) -> bool:
        """Whether a second round is worth counting, of a body so long: the first one filled caches, which the measured ones find
        full. ``rounds`` that are to be measured; ``None`` for auto."""
        if self.number > 1 or self._now is None or not self._now.much_ran():
            return False
        return warmups_left > 0 or ((rounds is None or rounds >= COUNTED_APART) and seconds < TOO_LONG)

    def again(self) -> None:
        """The round that follows this one is recorded too."""
        self._next = self._now


class RecordedOnce:
    """The course of a test that runs once and is recorded: nothing is measured."""

    measuring = False

    def __init__(self, recording: Recording | None, *, around_runtest: bool) -> None:
        self.around_runtest = around_runtest
        """The body is what ``pytest_runtest_call`` surrounds; else, closer, what ``pytest_pyfunc_call`` does."""
        self.notes: list[str] = []
        self._rounds = RecordedRounds(recording, MOST_SECONDS / OF_TIME, None)
        self.seconds = 0.0
        """That the body took, recorded."""
        self._begun = 0

    def begin(self, phase: Phase) -> None:
        """See ``Course`` of ``rounds/running.py``."""
        if phase == "setup":
            self._rounds.begin()

    def end(self, phase: Phase) -> None:
        """See ``Course``."""
        if phase == "teardown":
            self._rounds.end()

    def enter(self) -> None:
        """The body begins."""
        self._rounds.enter()
        self._begun = CLOCKS.wall()

    def leave(self) -> None:
        """The body has ended."""
        self.seconds = (CLOCKS.wall() - self._begun) / 1e9
        self._rounds.leave()

    def another(self) -> bool:
        """See ``Course``."""
        return False

    def cut_off(self) -> None:
        """See ``Course``."""
