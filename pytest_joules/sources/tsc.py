"""The CPU's tick counter beside every sample, and the source ``tsc`` that reports ticks alone.

Where the compiled reader is missing or the architecture has no counter that a program may read, the monotonic clock
stands in for it and says so.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from pytest_joules.model import Counters
from pytest_joules.sources.base import Source

#: Nanoseconds after which the time since opening is long enough to tell the frequency.
SETTLED = 50_000_000
#: Nanoseconds of busy waiting where it is not, and the CPU does not state its frequency.
CALIBRATION = 20_000_000


def _reference(monotonic: Callable[[], int] = time.monotonic_ns) -> Callable[[], int]:
    """A clock in nanoseconds that nobody steers, where there is one."""
    if sys.platform == "win32" or not hasattr(time, "CLOCK_MONOTONIC_RAW"):
        return monotonic
    return partial(time.clock_gettime_ns, time.CLOCK_MONOTONIC_RAW)


@dataclass(slots=True)
class TickCounter:
    """A counter of ticks, and what is known of it.

    The clock functions are kept on the instance: a test that patches ``time`` does not reach them.
    """

    name: str
    """The instruction (``rdtscp``, ``rdtsc``, ``cntvct_el0``), or ``monotonic clock``."""
    read: Callable[[], int]
    """Ticks now. The reader itself, without a Python frame around it."""
    is_tsc: bool
    """Whether ``read`` is the CPU's counter; if not, a tick is a nanosecond of the monotonic clock."""
    hint: int = 0
    """Ticks per second as the CPU states them; 0 where it does not."""
    reference: Callable[[], int] = field(default_factory=_reference, repr=False)
    """The clock to calibrate against, nanoseconds."""
    opened: tuple[int, int] = field(default=(0, 0), repr=False)
    """Ticks and nanoseconds at the same instant, taken when the counter was opened."""

    def __post_init__(self) -> None:
        self.opened = self._together()

    def _together(self) -> tuple[int, int]:
        """Ticks and nanoseconds at one instant: the tightest of five brackets, so that a preemption in one does no harm."""
        best = None
        for _ in range(5):
            before = self.reference()
            ticks = self.read()
            after = self.reference()
            if best is None or after - before < best[0]:
                best = (after - before, ticks, (before + after) // 2)
        assert best is not None
        return best[1], best[2]

    def frequency(self) -> float:
        """Ticks per second, measured from the opening of the counter until now.

        The two ends are each known to about 0.2 µs: the error is below 1e-5 after 50 ms and below 1e-6 after 0.5 s.
        Earlier than 50 ms the CPU's own (nominal) figure is returned, or, where it states none, the counter is watched
        for another 20 ms (error below 3e-5). Nothing sleeps.
        """
        if not self.is_tsc:
            return 1e9
        ticks, nanoseconds = self._together()
        if nanoseconds - self.opened[1] < SETTLED:
            if self.hint:
                return float(self.hint)
            until = nanoseconds + CALIBRATION
            while self.reference() < until:
                pass
            ticks, nanoseconds = self._together()
        return (ticks - self.opened[0]) * 1e9 / (nanoseconds - self.opened[1])

    def describe(self) -> str:
        """One line for the header of a run."""
        if self.is_tsc:
            return f"ticks: {self.name}, {self.frequency() / 1e6:.4g} MHz"
        return "ticks: monotonic clock, nanoseconds (no compiled reader of the CPU's counter here)"


def open_counter(module: str = "pytest_joules.sources._tsc", monotonic: Callable[[], int] = time.monotonic_ns) -> TickCounter:
    """The best tick counter of this machine: the compiled reader in ``module``, else the clock ``monotonic``. Never raises."""
    try:
        reader = importlib.import_module(module)
        return TickCounter(name=reader.instruction, read=reader.read, is_tsc=True, hint=reader.frequency_hint())
    except (ImportError, AttributeError):
        return TickCounter(name="monotonic clock", read=monotonic, is_tsc=False)


class Tsc(Source):
    """Ticks alone, for ``--energy-source=tsc``: energy stays unavailable, the ticks of every sample are reported."""

    name = "tsc"
    rank = None

    def open(self) -> None:
        self.why = f"{open_counter().describe()}; a tick counter knows no joules: energy is unavailable"

    def read(self) -> Counters:
        return ()

    def joules(self, before: Counters, after: Counters, seconds: float) -> Counters:
        return ()
