"""How fast Python is here, against what :mod:`pytest_joules.predict.change.costs` says: machines and versions differ by a factor
of three and more."""

from __future__ import annotations

from functools import lru_cache

from pytest_joules.clock import CLOCKS, Clocks

#: Turns of :func:`work`, and the nanoseconds that they take by those costs.
_TURNS, NANOSECONDS = 300, 10_665.0
#: Runs of which the quickest counts: some 2 ms together.
_RUNS = 60
#: No machine is believed to be further from it.
_LEAST, _MOST = 0.2, 8.0


@lru_cache(maxsize=1)
def pace() -> float:
    """How many times as long as those costs say Python takes on this machine: measured once in a process."""
    return measured(CLOCKS)


def measured(clocks: Clocks) -> float:
    """As :func:`pace`, each time anew."""
    best = min(_taken(clocks) for _ in range(_RUNS))
    return min(max(best / NANOSECONDS, _LEAST), _MOST)


def _taken(clocks: Clocks) -> int:
    begun = clocks.wall()
    work(_TURNS)
    return clocks.wall() - begun


def work(turns: int) -> int:
    """A little of what all programs do; calls nothing, so that nobody who follows calls makes it slower."""
    total, seen = 0, {}
    for number in range(turns):
        if number % 3:
            total += number * 2
        else:
            seen[number] = total
    return total
