"""The garbage collector at the start of every round: in the same state, cheaply.

What it does inside the test is part of the test's cost, so it is neither switched off nor frozen. Emptying the young generations
takes some 10 µs and makes a collection fall due after the same number of allocations in every round. That does not govern full
collections, which fall due when a quarter of all objects is new; where one hits a test, its later rounds begin with a full one,
if that costs less than the round itself.
"""

from __future__ import annotations

from gc import collect, get_stats, isenabled

from pytest_joules.clock import CLOCKS
from pytest_joules.machine import YOUNG

#: No full collection is quicker than this in a process that has loaded pytest, nanoseconds.
_SHORTEST_FULL = 1_000_000


class Collector:
    """Settles the garbage collector before each round of one test."""

    #: What a full collection took when it was last done, nanoseconds; of this process, so of the class.
    full_cost = 0

    def __init__(self) -> None:
        self._full = False
        self._seen: int | None = None

    def settle(self, body_ns: int) -> None:
        """Before a round; ``body_ns`` is how long the last body took (0: not known)."""
        if not isenabled():
            return  # somebody switched it off: leave it alone
        if self._full and Collector.full_cost <= body_ns:
            begun = CLOCKS.wall()
            collect()
            Collector.full_cost = CLOCKS.wall() - begun
        else:
            collect(YOUNG)
        self._seen = _full_collections() if body_ns > _SHORTEST_FULL // 2 else None

    def look(self, body_ns: int) -> None:
        """After a body that took so long: did a full collection hit it?"""
        if body_ns > _SHORTEST_FULL and self._seen is not None and not self._full:
            self._full = _full_collections() != self._seen


def _full_collections() -> int:
    return int(get_stats()[2]["collections"])
