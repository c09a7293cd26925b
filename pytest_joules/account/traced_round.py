"""What one traced round of a test hands on to its account."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_joules.account.power import Power
from pytest_joules.account.timeline import Timeline


@dataclass(frozen=True, slots=True)
class TracedRound:
    """A round that was run to be looked at, or several short ones: who ran when, what was drawn meanwhile. It is no sample."""

    timeline: Timeline
    powers: Sequence[Power]
    """Of the domains that are added to the total; empty where no counter was sampled. A domain whose readings have a gap is there
    several times, once for each piece between gaps."""
    begin: int
    """When the test's body began, nanoseconds of ``CLOCKS.wall()``."""
    end: int
    """When it was over."""
    bodies: int = 1
    """More than one: short rounds one after the other, with what lies between them as a part of its own."""

    @property
    def seconds(self) -> float:
        return (self.end - self.begin) / 1e9
