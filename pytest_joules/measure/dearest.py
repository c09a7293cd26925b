"""The longest tests of a session so far: on these, rounds are well spent."""

from __future__ import annotations

from heapq import heappush, heappushpop


class Dearest:
    """Remembers how long the bodies of so many tests took."""

    def __init__(self, number: int = 10) -> None:
        self._number = number
        self._longest: list[float] = []

    def __call__(self, seconds: float) -> bool:
        """Whether a test so long is one of them."""
        return len(self._longest) < self._number or seconds >= self._longest[0]

    def add(self, seconds: float) -> None:
        """A test has been measured."""
        if len(self._longest) < self._number:
            heappush(self._longest, seconds)
        else:
            heappushpop(self._longest, seconds)
