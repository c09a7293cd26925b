"""The difference of two scores with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from pytest_joules.model import ScoreRecord

Array = NDArray[np.float64]

#: Resamples: of the widest interval that is asked for (99.9 %) some lie beyond each end.
_RESAMPLES = 8000
#: Values from which on the normal limit is taken: resampling scatters more than it differs.
_MOST = 2000


def difference(one: ScoreRecord, other: ScoreRecord, level: float) -> tuple[float, tuple[float, float] | None]:
    """One score minus the other, and the interval at this level by the percentile bootstrap.

    Lists of equal length are paired, item by item. Of two numbers that do not differ from round to round there is no interval.
    """
    a, b = one["items"], other["items"]
    moved = one["value"] - other["value"]
    if a is not None and b is not None and len(a) == len(b):
        differences = np.array(a, dtype=float) - np.array(b, dtype=float)
        return moved, _checked([differences], level)
    sides = [np.array(score["items"] or score["samples"], dtype=float) for score in (one, other)]
    if all(len(set(side.tolist())) < 2 for side in sides):
        return moved, None
    return moved, _checked(sides, level)


def _checked(sides: Sequence[Array], level: float) -> tuple[float, float] | None:
    """The interval of the first side's mean, minus the second's where there are two."""
    if any(len(side) < 2 or not np.isfinite(side).all() for side in sides):
        return None
    signs = (1.0, -1.0)[: len(sides)]
    if max(map(len, sides)) > _MOST:
        centre = sum(sign * float(side.mean()) for sign, side in zip(signs, sides, strict=True))
        error = float(np.sqrt(sum(side.var(ddof=1) / len(side) for side in sides)))
        half = NormalDist().inv_cdf((1 + level) / 2) * error
        return centre - half, centre + half
    draw = np.random.default_rng(20_250_101)
    means = np.zeros(_RESAMPLES)
    for sign, side in zip(signs, sides, strict=True):
        for part in np.array_split(np.arange(_RESAMPLES), 8):
            means[part] += sign * side[draw.integers(0, len(side), (len(part), len(side)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
