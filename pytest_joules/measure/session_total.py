"""What a session draws in all."""

from __future__ import annotations

from pytest_joules.clock import CLOCKS
from pytest_joules.measure.meter import Meter
from pytest_joules.model import Reading

#: Nanoseconds: the total is brought up to date no more often, and a gap from which on a counter that tells nothing has failed.
_OFTEN, _FAILED = 100_000_000, 1_000_000_000


class SessionTotal:
    """Adds up stretches of time, from the first test on; of a worker, those of its turns."""

    def __init__(self, meter: Meter) -> None:
        self.joules: float | None = 0.0
        """``None`` where a part of it is not known."""
        self.lost = ""
        """Why, where a counter jumped."""
        self._meter = meter
        self._mark: Reading | None = None

    def begin(self) -> None:
        """A stretch begins."""
        self._mark = self._meter.read()

    def add(self, *, final: bool = False) -> None:
        """What was drawn since this was last done. ``final``: the next stretch does not begin where this one ends."""
        if self._mark is None or (not final and CLOCKS.wall() - self._mark.wall < _OFTEN):
            return
        now = self._meter.read()
        if self.joules is not None:
            total = self._meter.total(self._meter.between(self._mark, now))
            if not self._meter.counts:
                self.joules = None
            elif total is not None:
                self.joules += total
            elif jumped := self._meter.jumped():
                self.joules = None  # what was drawn meanwhile is lost, however long the stretch is made
                self.lost = jumped
            elif not final:
                return  # a stretch too short for the counter: it is part of the next one
            elif now.wall - self._mark.wall > _FAILED:
                self.joules = None  # the counter failed: a part is no total
        self._mark = now
