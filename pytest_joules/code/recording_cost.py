"""What recording a round may cost, and telling that while it runs.

Nobody knows beforehand how long a round takes without a recorder. So that is told from the time that it has taken until now and
how often the recorder was called: what one call of it costs is measured once in a process. Time is CPU time, which others on a
busy machine do not use up.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from pytest_joules.clock import CLOCKS, Clocks

#: Seconds that recording may add to a round.
MOST = 1.0
#: The part of a round's wall time that it may always add: a test that waits is not made much longer.
WALL = 0.1
#: Events from one look at the clock to the next.
EVENTS = 256

#: Runs of which the middle one counts, and calls in each.
_RUNS, _CALLS = 9, 200


class Bound:
    """Of one round after the other: whether recording it costs more than ``times`` what it takes without, or too many seconds."""

    def __init__(self, times: float, free: float, clocks: Clocks = CLOCKS) -> None:
        self._times = times
        self.free = free
        """Seconds that it may always cost: nobody waits for them."""
        self._clocks = clocks
        self._most = MOST
        self._passed = (0, 0)
        """Nanoseconds of CPU and wall time in which the round was recorded, until that was last switched off."""
        self._since: tuple[int, int] | None = None

    def begin(self, most: float = MOST) -> None:
        """A round begins, which may become no more than ``most`` seconds longer."""
        self._most = min(most, MOST)
        self._passed = (0, 0)
        self._since = None

    def on(self) -> None:
        """From now on the round is recorded."""
        self._since = self._clocks.cpu(), self._clocks.wall()

    def off(self) -> None:
        self._passed, self._since = self._until_now(), None

    def _until_now(self) -> tuple[int, int]:
        if self._since is None:
            return self._passed
        (cpu, wall), (cpu_then, wall_then) = self._passed, self._since
        return cpu + self._clocks.cpu() - cpu_then, wall + self._clocks.wall() - wall_then

    def left(self, spent: float) -> float:
        """The part of what recording may cost that is left when it has cost ``spent`` seconds; below 0 where that is too much."""
        cpu, wall = self._until_now()
        may = min(self._most, max(self.free, self._times * (cpu / 1e9 - spent), WALL * wall / 1e9))
        return 1 - spent / may if may > 0 else -1.0


def cost(work: Callable[[int], object], switch: Callable[[bool], None], events: int = 1, clocks: Clocks = CLOCKS) -> float:
    """Seconds that one event costs: ``work`` is run for a number of calls, of ``events`` events each, with the recorder and
    without (``switch``)."""

    def usual() -> float:
        times = []
        for _ in range(_RUNS):
            begun = clocks.cpu()
            work(_CALLS)
            times.append(clocks.cpu() - begun)
        return median(times)

    without = usual()
    switch(True)
    try:
        recorded = usual()
    finally:
        switch(False)
    # Never nothing, whatever disturbed the clock.
    return max((recorded - without) / (_CALLS * events * 1e9), 5e-8)


def duration(work: Callable[[int], object], times: int, clocks: Clocks = CLOCKS) -> int:
    """Nanoseconds of wall time that ``work`` takes."""
    begun = clocks.wall()
    work(times)
    return clocks.wall() - begun


def call() -> None:
    """What recorders are told of while their cost is measured."""


def calls(times: int) -> None:
    for _ in range(times):
        call()


def no_calls(times: int) -> None:
    for _ in range(times):
        pass


def c_calls(times: int) -> None:
    """Of a C function that takes next to nothing."""
    for _ in range(times):
        len(())
