"""How long a test's rounds take, and whether there is time for more."""

from __future__ import annotations

from collections.abc import Callable

from pytest_joules.measure.recorded_rounds import OF_TIME
from pytest_joules.model import Effort

#: A round that takes more of its limit is not run again for more samples: once more, and it may fail.
NEAR_LIMIT = 0.6


class TimeLeft:
    """The time of one test, from when this is made."""

    def __init__(self, wall: Callable[[], int], effort: Effort, limit: float | None) -> None:
        """``wall``: a clock, nanoseconds; ``limit``: seconds that somebody else (pytest-timeout) allows a round."""
        self.why_not = ""
        """What was up when there was none left, where more rounds would be better."""
        self.round_begun = wall()
        self._wall = wall
        self._begun = self.round_begun
        self._effort = effort
        self._limit = limit
        self._longest = 0.0
        self._recorded = 0.0

    def begin_round(self) -> None:
        self.round_begun = self._wall()

    def note(self, *, recorded: bool) -> None:
        """The round has taken so long until now."""
        seconds = (self._wall() - self.round_begun) / 1e9
        if recorded:
            self._recorded = max(self._recorded, seconds)
        else:
            self._longest = max(self._longest, seconds)

    def left(self, rounds: int = 1) -> bool:
        """Whether so many rounds like the longest so far still fit: like a recorded one only where there is no other."""
        longest, effort = self._longest or self._recorded, self._effort
        if self._limit is not None and longest > NEAR_LIMIT * self._limit:
            self.why_not = f"too near its time limit of {self._limit:g} s"
        elif (self._wall() - self._begun) / 1e9 + rounds * longest > effort.max_time:
            self.why_not = f"the time was up, {effort.bound or f'--energy-max-time={effort.max_time:g}'}"
            if self._recorded > OF_TIME * effort.max_time:
                self.why_not += f", of which recording a round took {self._recorded:.2g} s"
        else:
            self.why_not = ""
        return not self.why_not
