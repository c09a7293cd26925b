"""Feature names as numbers, so that what many functions have in common is added up by numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray


class Names:
    """Numbers names in the order in which they come; the numbers hold in this process only."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []
        self._lock = Lock()

    def number(self, name: str) -> int:
        known = self._numbers.get(name)
        if known is None:
            with self._lock:
                known = self._numbers.get(name)
                if known is None:
                    self._names.append(name)
                    known = self._numbers[name] = len(self._names) - 1
        return known

    def name(self, number: int) -> str:
        return self._names[number]

    def sparse(self, found: Mapping[str, float]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """The numbers and the values of a mapping."""
        return np.array([self.number(name) for name in found], np.intp), np.array([*found.values()], float)

    def summed(self, numbers: Sequence[NDArray[np.intp]], values: Sequence[NDArray[np.float64]]) -> dict[str, float]:
        """The sums of values by name, those that are not 0; in no particular order."""
        if not numbers:
            return {}
        sums = np.bincount(np.concatenate(numbers), np.concatenate(values))
        present = np.flatnonzero(sums != 0)
        names = self._names
        return dict(zip([names[at] for at in present.tolist()], sums[present].tolist(), strict=True))


NAMES = Names()
