"""What the statements of one function do, as arrays, and what they do together when each ran so often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pytest_joules.predict.facts.sizes import size_of

Array = NDArray[np.float64]

#: What a part of a statement is: what it does whenever it is reached; on each trip of its loop; on each trip of its
#: comprehensions; of comprehensions that run on each trip of a loop (``while any(...)``).
REACHED, TRIP, INNER, INNER_OF_TRIP = range(4)

#: How often a loop runs of which nothing is known.
UNKNOWN_TRIPS = 10.0
LOOP_KINDS = frozenset(("For", "AsyncFor", "While"))
#: More trips than this are no more.
MOST_TRIPS = 1e9


class Loop(NamedTuple):
    """A loop statement, or the loop of a comprehension."""

    statement: int
    """The statement that it is or stands in."""
    kind: str
    """``for``, ``while`` or ``comprehension``."""
    iterated: str
    """What it goes over (of ``while``, its test), as text without layout."""
    size: float | None
    """How often it runs once entered, where literals say so."""
    names: tuple[str, ...]
    """Names in what it goes over: where one is a constant of the module or a parameter, it says the size."""
    depth: int
    """Loops of the function around it."""


class Place(NamedTuple):
    """Where a statement stands."""

    kind: str
    """The name of its syntax node."""
    parent: int
    """The statement it stands in, -1: the function itself."""
    depth: int
    """Loops of the function around it; a loop's header is not in the loop."""
    before: int
    """The last statement before it, or around it, that ran at least as often; -1: the function's call."""
    share: float
    """How often it runs each time that the block around its parent does, where nothing is known: 1, in a branch less. What is in
    a loop: each trip."""
    first: int
    """Of a loop, the statement that begins each trip; of ``try`` and ``with``, the one that begins their block; else -1."""
    inner: float
    """The most trips that a comprehension or a lambda of it is supposed to make each time; 0 without any."""
    comprehends: bool
    """It has a comprehension."""


@dataclass(frozen=True, slots=True, eq=False)
class Statements:
    """The statements of a function (of what a name of a module is bound to: none), in the order of
    :func:`pytest_joules.code.statements.statements`, and what each does when it runs.

    What a statement does is kept in *parts*: what it does whenever it is reached; of a loop, also what each trip does; of a
    comprehension, what each of its trips does. Part 0 is the function's call.
    """

    name: str
    """Of the function; ``""`` where the source is none."""
    kind: str
    """``function``, ``generator``, ``async``, ``fixture``, or ``statement`` of a module, ``class``, ``import``; ``nothing`` where
    the source does not parse."""
    places: tuple[Place, ...]
    irregular: tuple[int, ...]
    """The statements whose counts are not simply how often each was reached."""
    loops: tuple[Loop, ...]
    part_statement: NDArray[np.intp]
    """By part: 0 for the call, 1 + the number of its statement for the others."""
    part_kind: NDArray[np.intp]
    """``REACHED``, ``TRIP``, ``INNER`` or ``INNER_OF_TRIP``."""
    part_times: Array
    """How often the part is done each time; for comprehensions, their trips as literals say or are supposed."""
    operations: Array
    """Parts by the groups of :data:`pytest_joules.predict.facts.operations.OPERATIONS`."""
    names: tuple[str, ...]
    """``called:NAME`` and ``argument:NAME``."""
    name_part: NDArray[np.intp]
    name_index: NDArray[np.intp]
    name_amount: Array
    """Part, number in :attr:`names` and amount: calls, or the sum of the numbers among the arguments."""

    def fits(self, counts: Sequence[float]) -> bool:
        """Whether these are counts of its statements, and not of those of another version."""
        return len(counts) == len(self.places) + 1

    def reached(
        self, counts: Sequence[float] | None, constants: Mapping[str, float] | None = None
    ) -> tuple[list[float], list[float], list[float]]:
        """How often each statement was reached, its loop's trips, and a factor for the trips of its comprehensions; each with the
        call in front.

        ``counts``: ``[calls, times of each statement]``; only ``[calls]``, or those of another version: the rest as literals,
        ``constants`` (names to numbers) and 10 trips for any other loop say. ``None``: for one call.
        """
        if counts is not None and self.fits(counts):
            return self._counted(counts)
        return self._supposed(float(counts[0]) if counts else 1.0, constants or {})

    def _counted(self, counts: Sequence[float]) -> tuple[list[float], list[float], list[float]]:
        size = len(counts)
        times, trips, inner = list(counts), [0.0] * size, [1.0] * size
        for number in self.irregular:
            place = self.places[number]
            if place.inner and place.kind not in LOOP_KINDS:
                times[number + 1], inner[number + 1] = self._inside(place, times, times[number + 1])
        for number in reversed(self.irregular):
            place, at = self.places[number], number + 1
            if place.kind in LOOP_KINDS:
                trips[at] = times[place.first + 1] if place.first >= 0 else max(times[at] - times[place.before + 1], 0.0)
                # The header counts once more than the trips each time, unless its test is a constant.
                times[at] = max(times[at] - trips[at], min(times[at], 1.0))
                if place.inner:
                    times[at] = min(times[at], times[place.before + 1])
            elif place.first >= 0:
                times[at] = times[place.first + 1]
        return times, trips, inner

    def _inside(self, place: Place, times: Sequence[float], count: float) -> tuple[float, float]:
        """How often a statement was reached that has comprehensions, and a factor for their supposed trips.

        Its count is that of the line of it that ran most often. A comprehension's begins once more than it has trips; a statement
        is reached no more often than what stands before it.
        """
        most = times[place.before + 1]
        if place.before >= 0 and place.before == place.parent and self.places[place.parent].kind in LOOP_KINDS:
            most = max(most - times[self.places[place.parent].before + 1], 1.0)  # the header runs once more than its block
        if count > most > 0:
            return most, (count - most) / most / place.inner
        return count, 1.0 / place.inner if place.comprehends else 1.0

    def _supposed(self, calls: float, constants: Mapping[str, float]) -> tuple[list[float], list[float], list[float]]:
        size = len(self.places) + 1
        times, trips = [calls] * size, [0.0] * size
        sizes = {loop.statement: loop for loop in self.loops if loop.kind != "comprehension"}
        for at, place in enumerate(self.places, 1):
            around = place.parent + 1
            # The block of a loop is told from its ``else`` by its depth.
            looped = around and place.depth > self.places[place.parent].depth
            times[at] = min((trips if looped else times)[around] * place.share, MOST_TRIPS)
            if (loop := sizes.get(at - 1)) is not None:
                known = loop.size if loop.size is not None else _of_names(loop, constants)
                trips[at] = min(times[at] * (UNKNOWN_TRIPS if known is None else known), MOST_TRIPS)
        return times, trips, [1.0] * size


def _of_names(loop: Loop, constants: Mapping[str, float]) -> float | None:
    """The size of a loop over ``range(n)`` or ``range(2 * n)`` where ``n`` is known."""
    if not constants or not any(name in constants for name in loop.names):
        return None
    return size_of(loop.iterated, {name: constants[name] for name in loop.names if name in constants})
