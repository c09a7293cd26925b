"""How far held-out predictions are off, and how sure that is: packages are drawn, as tests of one package are alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pytest_joules.predict.scoring.arrays import Array

#: Draws of a bootstrap (Efron and Tibshirani 1993, chapter 13: percentile intervals).
DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Error:
    """The median of \\|truth - prediction\\| of log10 joules."""

    median: float
    draws: Array
    """The same, each of packages drawn with replacement; draws of one call go together."""

    @property
    def interval(self) -> tuple[float, float]:
        """95 %."""
        low, high = np.quantile(self.draws, (0.025, 0.975))
        return float(low), float(high)


def errors(off: Mapping[str, Array], groups: Array, seed: int) -> dict[str, Error]:
    """Of each configuration, by name, from the errors of the same tests.

    Args:
        off: truth minus prediction of each test
        groups: the number of each test's package
    """
    numbers = np.unique(groups, return_inverse=True)[1]
    count = int(numbers.max()) + 1
    chance = np.random.default_rng(seed)
    drawn = np.array([np.bincount(chance.integers(count, size=count), minlength=count) for _ in range(DRAWS)])
    found = {}
    for name, values in off.items():
        sizes = np.abs(values)
        order = np.argsort(sizes, kind="stable")
        reached = np.cumsum(drawn[:, numbers[order]], axis=1)
        places = (reached >= reached[:, -1:] / 2).argmax(axis=1)
        found[name] = Error(float(np.median(sizes)), sizes[order][places])
    return found
