"""The search for the first of a line of commits that is dearer: which one to judge next, and when there is an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What is known when the search has ended: the first dearer one is after ``good``, and not after ``bad``."""

    good: int
    bad: int

    @property
    def found(self) -> bool:
        """Whether that is a single one."""
        return self.bad - self.good == 1


def bisect(bad: int, judge: Callable[[int], bool | None]) -> Narrowed:
    """Search between 0, which is not dearer, and ``bad``, which is.

    Args:
        bad: a number above 0
        judge: whether number ``n``, strictly between the two, is dearer; ``None``: that cannot be told. Asked once
            for each

    Where none cannot be told, it is asked ``ceil(log2(bad))`` times at most. What is beside one that cannot be told often cannot
    either (a commit that does not build, until another mends it), so the next ones are farther and farther from it.

    Raises:
        ValueError: there is nothing to search.
    """
    if bad < 1:
        raise ValueError(f"{bad}: a number above 0 is meant")
    good, skipped = 0, set[int]()
    while True:
        number = _next(good, bad, skipped)
        if number is None:
            return Narrowed(good, bad)
        dearer = judge(number)
        if dearer is None:
            skipped.add(number)
        elif dearer:
            bad = number
        else:
            good = number


def _next(good: int, bad: int, skipped: set[int]) -> int | None:
    """What may be judged next: the middle; where something between cannot be told, what is nearest to a quarter, to three
    quarters, and so on: the places of van der Corput's sequence."""
    between = [number for number in range(good + 1, bad) if number not in skipped]
    if not between:
        return None
    tried = sum(good < number < bad for number in skipped)
    place = good + (bad - good) * _van_der_corput(tried + 1)
    return min(between, key=lambda number: (abs(number - place), number))


def _van_der_corput(number: int) -> float:
    """The ``number``-th term, from 1: 1/2, 1/4, 3/4, 1/8, 5/8, ..."""
    value, share = 0.0, 0.5
    while number:
        value += share * (number & 1)
        number, share = number >> 1, share / 2
    return value
